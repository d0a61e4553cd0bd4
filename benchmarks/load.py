"""Loading, beside a bare ``\\copy`` of the same rows: seconds, their ratio, and the loader's peak memory.

Usage: python benchmarks/load.py [--rows N] [--repeat N]

Writes N seeded uses (default 1,000,000) as CSV and as Parquet; then, on an embedded PostgreSQL of its own,
copies the CSV with psql into an empty table with the columns, key and indexes of raw.prompt_usage, and
loads each file into the empty warehouse, in a process of its own; and once more as a new file, where all
its rows are known. Exits 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from orchestration import postgres
from orchestration import warehouse as warehouses
from orchestration.loading.load import load_source
from orchestration.settings import load_settings
from orchestration.warehouse import Warehouse

MOST_TIMES_THE_COPY = 2.5
MOST_MEGABYTES = 600
COLUMNS = (
    "usage_id", "prompt_key", "prompt_version", "agent_key", "user_key", "session_id", "model", "used_at",
    "updated_at", "response_time_ms", "success", "error_type", "rating", "input_tokens", "output_tokens",
    "total_tokens", "cost",
)  # fmt: skip


def rows(count: int, seed: int = 7) -> pa.Table:
    """Uses as an application logs them: random keys, in the order of time."""
    random = np.random.default_rng(seed)
    raw = random.bytes(16 * count).hex()
    ids = [
        "-".join(raw[n + start : n + end] for start, end in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32)))
        for n in range(0, 32 * count, 32)
    ]

    def named(prefix: str, most: int) -> pa.Array:
        names = pa.array([f"{prefix}-{n:06d}" for n in range(most)])
        return names.take(pa.array(np.minimum(random.zipf(1.3, count) - 1, most - 1)))

    seconds = np.sort(random.integers(1_735_689_600, 1_759_276_800, count)) * 1_000_000
    success = random.random(count) < 0.93
    tokens_in, tokens_out = random.integers(50, 8000, count), random.integers(5, 2000, count)
    rated = random.random(count) < 0.08
    return pa.table(
        {
            "usage_id": ids,
            "prompt_key": named("prompt", 62),
            "prompt_version": pa.array(random.integers(1, 6, count)).cast(pa.string()),
            "agent_key": named("agent", 52),
            "user_key": named("user", 20_000),
            "session_id": named("session", 200_000),
            "model": named("model", 8),
            "used_at": pa.array(seconds, pa.timestamp("us", "UTC")),
            "updated_at": pa.array(seconds + 5_000_000, pa.timestamp("us", "UTC")),
            "response_time_ms": np.round(random.lognormal(7, 0.8, count), 1),
            "success": success,
            "error_type": pa.array(np.where(success, None, "timeout"), pa.string()),
            "rating": pa.array(random.integers(1, 6, count), mask=~rated),
            "input_tokens": tokens_in,
            "output_tokens": tokens_out,
            "total_tokens": tokens_in + tokens_out,
            "cost": np.round(tokens_in * 2.5e-6 + tokens_out * 1e-5, 7),
        }
    ).select(COLUMNS)


def bare_copy(warehouse: Warehouse, path: Path) -> float:
    """Seconds that psql's \\copy takes into an empty table like raw.prompt_usage."""
    with warehouse.connect() as connection:
        connection.execute("drop table if exists bare")
        connection.execute("create table bare (like raw.prompt_usage including all)")
        connection.execute(
            "alter table bare alter source set default 'bench', "
            "alter batch_id set default 1, alter loaded_at set default now()"
        )
    command = f"\\copy bare ({', '.join(COLUMNS)}) from '{path}' (format csv, header)"
    begun = time.perf_counter()
    subprocess.run(
        [postgres.program("psql"), "-qX", "-v", "ON_ERROR_STOP=1", "-c", command],
        env={**os.environ, **warehouse.libpq_environment()},
        check=True,
    )
    return time.perf_counter() - begun


def load(path: Path, url: str, home: Path) -> None:
    """Loads one file, in this process, and prints what it took."""
    config = home / "prism.yaml"
    config.write_text(f"sources:\n  - {{name: bench, type: files, path: {path}}}\n")
    settings = load_settings({"PRISM_HOME": str(home), "PRISM_WAREHOUSE_URL": url}, home)
    warehouse = warehouses.open_warehouse(settings)
    begun = time.perf_counter()
    results = load_source(warehouse, settings.config.sources[0], settings)
    seconds = time.perf_counter() - begun
    print(
        json.dumps(
            {
                "seconds": seconds,
                "megabytes": peak_megabytes(),
                "inserted": sum(result.inserted for result in results),
                "unchanged": sum(result.unchanged for result in results),
            }
        )
    )


def peak_megabytes() -> float:
    """This process's own peak; getrusage counts what its parent had when it started this one."""
    match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match.group(1)) / 1024


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=1, help="runs of each; the fastest counts")
    parser.add_argument("--load", nargs=3, metavar=("FILE", "URL", "HOME"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.load:
        path, url, home = arguments.load
        load(Path(path), url, Path(home))
        return 0
    with tempfile.TemporaryDirectory(prefix="prism-bench-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        server = postgres.EmbeddedServer(home / "postgres")
        server.acquire()
        try:
            return compare(Warehouse(url=server.url(), dagster_url="", embedded=server), home, arguments)
        finally:
            server.stop()


def compare(warehouse: Warehouse, home: Path, arguments: argparse.Namespace) -> int:
    warehouses.setup(warehouse)
    table = rows(arguments.rows)
    files = {"csv": home / "uses.csv", "parquet": home / "uses.parquet"}
    arrow_csv.write_csv(table, files["csv"], arrow_csv.WriteOptions(quoting_style="none"))
    pq.write_table(table, files["parquet"])
    del table
    taken: dict[str, list[float]] = {"copy": [], "csv": [], "again": [], "parquet": []}
    memory = dict.fromkeys(taken, 0.0)
    files["again"] = home / "uses-again.csv"
    files["again"].hardlink_to(files["csv"])
    for _ in range(arguments.repeat):
        taken["copy"].append(bare_copy(warehouse, files["csv"]))
        for kind in ("csv", "again", "parquet"):
            with warehouse.connect(autocommit=True) as connection:
                connection.execute("drop table if exists bare")
                if kind != "again":
                    connection.execute(
                        "truncate raw.prompt_usage, raw.load_batches, raw.load_days, raw.rejected_rows"
                    )
                connection.execute("checkpoint")
            done = subprocess.run(
                [sys.executable, __file__, "--load", files[kind], warehouse.url, home],
                stdout=subprocess.PIPE,
                check=True,
            )
            result = json.loads(done.stdout)
            loaded = result["unchanged" if kind == "again" else "inserted"]
            if loaded != arguments.rows:
                raise SystemExit(f"{kind}: {loaded} rows loaded, {arguments.rows} expected")
            taken[kind].append(result["seconds"])
            memory[kind] = max(memory[kind], result["megabytes"])
    bare = min(taken["copy"])
    size = files["csv"].stat().st_size / 1e6
    print(f"{arguments.rows:,} uses, {size:.0f} MB as CSV; the fastest of {arguments.repeat}")
    print(f"{'':<28}{'seconds':>9}{'times':>8}{'peak MB':>9}")
    print(f"{'psql copy, keyed table':<28}{bare:>9.2f}{1:>8.2f}")
    missed = False
    names = {"csv": "load of CSV", "again": "the same rows, all known", "parquet": "load of Parquet"}
    for kind, name in names.items():
        times = min(taken[kind]) / bare
        print(f"{name:<28}{min(taken[kind]):>9.2f}{times:>8.2f}{memory[kind]:>9.0f}")
        missed |= times > MOST_TIMES_THE_COPY or memory[kind] > MOST_MEGABYTES
    verdict = "missed" if missed else "met"
    print(f"target: at most {MOST_TIMES_THE_COPY} times, under {MOST_MEGABYTES} MB: {verdict}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
