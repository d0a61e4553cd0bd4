"""A night over a long history beside the same night over a short one, and beside building every day anew.

    python benchmarks/history.py [--rows SHORT LONG] [--new N] [--days N]

Both histories have as many prompts, agents, models and days; the long one has more uses, visits of users and
sessions. They are written straight into raw, with a batch and its days as the loader does it. Then, for each,
a night: N new uses on one new day, and a dbt build with its tests, without dbt's unit tests. Last, over the
long history, every day is built anew (`--full-refresh`) up to the daily rollups, beside the touched days.
Prints seconds and ratios; exits with 1 where a target is missed. Beside the seconds stand those of processor
time that the server took, which other work on the machine disturbs less. Model by model: --timings.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from orchestration import warehouse as warehouses
from orchestration.postgres import EmbeddedServer
from orchestration.warehouse import Warehouse

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.dbt import run_dbt

MOST_TIMES_THE_SHORT, LEAST_TIMES_THE_TOUCHED = 1.2, 10.0
# the middle of a month and of a week: nights at their beginning have less to read
LAST_DAY = date(2025, 9, 16)
PROMPTS = 200
_LIBRARY = """
insert into raw.prompts (source, prompt_id, name, domain, status, created_at, batch_id, loaded_at)
select 'app', 'p' || n, 'prompt ' || n, 'domain ' || n % 8, 'active', '2024-01-01', 0, now()
from generate_series(1, %(prompts)s) as n;
insert into raw.agents (source, agent_id, name, batch_id, loaded_at)
select 'app', 'a' || n, 'agent ' || n, 0, now() from generate_series(1, 60) as n;
"""
# an agent has a few prompts and two models; a session has five uses of one prompt; users come by chance
_USES = """
with batch as (
    insert into raw.load_batches (
        source, entity, started_at, finished_at, rows_read, inserted, updated, unchanged, superseded, rejected
    )
    values ('app', 'usage', now(), now(), %(rows)s, %(rows)s, 0, 0, 0, 0)
    returning batch_id
),

uses as (
    insert into raw.prompt_usage (
        source, usage_id, prompt_key, prompt_version, agent_key, user_key, session_id, model, used_at,
        response_time_ms, success, rating, input_tokens, output_tokens, total_tokens, cost, batch_id,
        loaded_at
    )
    select
        'app', %(name)s || '-' || n, 'p' || s.prompt, case when n %% 3 > 0 then '1' end,
        'a' || (s.prompt %% 20) * 3 + n %% 3 + 1, 'u' || (random() * 20000)::integer,
        %(name)s || '-s' || n / 5, 'model ' || (s.prompt + n %% 2) %% 8,
        %(first)s::timestamptz + (n::double precision / %(rows)s) * %(days)s * interval '1 day',
        exp(7 + 0.8 * (random() + random() + random() - 1.5) * 2), random() < 0.93,
        case when random() < 0.08 then 1 + (random() * 4)::integer end, 500, 200, 700,
        round((0.001 + random() * 0.01)::numeric, 6), batch.batch_id, now()
    from batch
    cross join generate_series(0, %(rows)s - 1) as n
    cross join lateral (
        select 1 + (%(prompts)s * power((hashint4(n / 5) & 1048575) / 1048576.0, 2))::integer
            %% %(prompts)s as prompt
    ) as s
)

insert into raw.load_days (batch_id, usage_date)
select batch.batch_id, %(first)s::date + day from batch cross join generate_series(0, %(days)s - 1) as day
"""


def add(warehouse: Warehouse, rows: int, first: date, days: int, name: str) -> None:
    """``rows`` uses spread evenly over ``days``, as one batch."""
    with warehouse.connect() as connection:
        connection.execute(
            _USES, {"rows": rows, "first": first, "days": days, "name": name, "prompts": PROMPTS}
        )
        connection.commit()
    with warehouse.connect(autocommit=True) as connection:
        connection.execute("vacuum analyze raw.prompt_usage")


@dataclass(frozen=True, order=True)
class Taken:
    """Seconds of a build, and how many of processor time the server took for it."""

    seconds: float
    processor: float

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s ({self.processor:.1f} s of the server's processor time)"


def _processor_seconds(warehouse: Warehouse) -> float:
    """Of the server and of all its processes that have ended."""
    assert warehouse.embedded is not None
    pid = (warehouse.embedded.data / "postmaster.pid").read_text().split()[0]
    # after the name, which may hold anything: the 14th to 17th of proc_pid_stat(5)
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def build(warehouse: Warehouse, as_of: date, *arguments: str, timings: bool = False) -> Taken:
    """What a dbt build takes, parsing left out."""
    begun, processor = time.perf_counter(), _processor_seconds(warehouse)
    result = run_dbt(
        warehouse,
        "build", "--exclude-resource-type", "unit_test", *arguments,
        vars={"as_of_date": as_of.isoformat()},
    )  # fmt: skip
    taken = Taken(time.perf_counter() - begun, _processor_seconds(warehouse) - processor)
    if timings:
        for one in sorted(result.result.results, key=lambda one: -one.execution_time)[:20]:
            print(f"  {one.execution_time:7.2f} s  {one.node.name}")
    return taken


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs=2, default=[1_000_000, 20_000_000])
    parser.add_argument("--new", type=int, default=200_000)
    parser.add_argument("--days", type=int, default=400)
    parser.add_argument("--timings", action="store_true")
    options = parser.parse_args()
    nights: list[Taken] = []
    with tempfile.TemporaryDirectory(prefix="prism-benchmark-") as folder:
        server = EmbeddedServer(Path(folder) / "postgres")
        server.acquire()
        try:
            for rows in options.rows:
                warehouse = Warehouse(url=server.url(f"rows_{rows}"), dagster_url="", embedded=server)
                warehouses.setup(warehouse)
                with warehouse.connect() as connection:
                    connection.execute(_LIBRARY.replace("%(prompts)s", str(PROMPTS)).encode())
                    connection.commit()
                add(warehouse, rows, LAST_DAY - timedelta(days=options.days - 1), options.days, "history")
                first = build(warehouse, LAST_DAY)
                print(f"{rows:,} uses on {options.days} days: built at first in {first}", flush=True)
                with warehouse.connect(autocommit=True) as connection:
                    # what the server does by itself until the next night
                    connection.execute("vacuum analyze")
                    connection.execute("checkpoint")
                taken = []
                for night in (1, 2, 3):
                    day = LAST_DAY + timedelta(days=night)
                    add(warehouse, options.new, day, 1, f"night {night}")
                    taken.append(build(warehouse, day, timings=options.timings))
                nights.append(min(taken))
                print(f"  a night with {options.new:,} new uses: {min(taken)}", flush=True)
            rollups = ["--select", "+int_incorporated_batches"]
            day = LAST_DAY + timedelta(days=4)
            add(warehouse, options.new, day, 1, "rollups")
            touched = build(warehouse, day, *rollups)
            whole = build(warehouse, day, *rollups, "--full-refresh")
        finally:
            server.stop()
    times, refresh = nights[1].seconds / nights[0].seconds, whole.seconds / touched.seconds
    print(
        f"the night over the long history: {times:.2f} times "
        f"({nights[1].processor / nights[0].processor:.2f} in processor time), "
        f"target at most {MOST_TIMES_THE_SHORT}"
    )
    print(
        f"every day anew: {whole}, touched days {touched}: {refresh:.1f} times, "
        f"target at least {LEAST_TIMES_THE_TOUCHED:.0f}"
    )
    return int(times > MOST_TIMES_THE_SHORT or refresh < LEAST_TIMES_THE_TOUCHED)


if __name__ == "__main__":
    sys.exit(main())
