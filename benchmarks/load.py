"""Loading, beside its peers in one run: seconds, their ratio, and the loader's peak memory.

Usage: python benchmarks/load.py [--rows N] [--repeat N] [--peer-rows N] [--only NAME …]

Writes N seeded uses (default 1,000,000) as CSV and as Parquet. Then, on an embedded PostgreSQL of its own:

- copies the CSV with psql into an empty table with the columns, key and indexes of raw.prompt_usage;
- loads each file into the empty warehouse, in a process of its own, and the CSV once more as a new file,
  where all its rows are known;
- copies the same rows from the table of an application in another database with ``COPY | COPY``, and loads
  them from there;
- merges the same rows, and then once more where all are known, with what else merges: pandas' ``to_sql`` with
  ``on conflict do update``, and dlt from Arrow, which is installed into an environment of its own in
  PRISM_HOME. Each has a table with the key and indexes of raw.prompt_usage. Beside them ``to_sql`` as it is,
  which only inserts and so does less. With ``--peer-rows`` fewer rows, and the rates are compared.

Exits 1 where a target is missed.
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
import venv
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import sqlalchemy
from pandas.io.sql import SQLTable
from sqlalchemy.dialects.postgresql import insert

from orchestration import postgres
from orchestration import warehouse as warehouses
from orchestration.loading.load import load_source
from orchestration.settings import load_settings
from orchestration.warehouse import Warehouse

MOST_TIMES_THE_COPY = 2.0
MOST_MEGABYTES = 500
LEAST_TIMES_DLT = 4.0
LEAST_TIMES_TO_SQL = 10.0
NOISE = 1.05  # of the same load twice
A_CHUNK = 1_000_000
KEY = ("source", "usage_id")
DLT = "dlt[postgres]==1.31.*"
COLUMNS = (
    "usage_id", "prompt_key", "prompt_version", "agent_key", "user_key", "session_id", "model", "used_at",
    "updated_at", "response_time_ms", "success", "error_type", "rating", "input_tokens", "output_tokens",
    "total_tokens", "cost",
)  # fmt: skip
# what the application calls them
THEIRS = {
    "usage_id": "id", "prompt_key": "prompt_id", "agent_key": "agent_id", "user_key": "user_id",
    "used_at": "created_at", "total_tokens": "tokens_used",
}  # fmt: skip
EVERY = ("csv", "again", "parquet", "application", "to_sql", "dlt")


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


def write_files(home: Path, count: int) -> dict[str, Path]:
    """The rows as CSV and as Parquet, and the CSV under another name."""
    files = {"csv": home / "uses.csv", "parquet": home / "uses.parquet", "again": home / "uses-again.csv"}
    with files["csv"].open("wb") as csv:
        parquet = None
        for n, first in enumerate(range(0, count, A_CHUNK)):
            table = rows(min(A_CHUNK, count - first), seed=7 + n)
            options = arrow_csv.WriteOptions(include_header=not n, quoting_style="none")
            arrow_csv.write_csv(table, csv, options)
            parquet = parquet or pq.ParquetWriter(files["parquet"], table.schema)
            parquet.write_table(table)
        if parquet:
            parquet.close()
    files["again"].hardlink_to(files["csv"])
    return files


# -- the peers


def bare_table(warehouse: Warehouse) -> None:
    """An empty table like raw.prompt_usage, with its key and indexes."""
    with warehouse.connect() as connection:
        connection.execute("drop table if exists bare")
        connection.execute("create table bare (like raw.prompt_usage including all)")
        connection.execute(
            "alter table bare alter source set default 'bench', "
            "alter batch_id set default 1, alter loaded_at set default now()"
        )


def psql(url: str, command: str) -> list[str]:
    return [str(postgres.program("psql")), url, "-qX", "-v", "ON_ERROR_STOP=1", "-c", command]


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def bare_copy(warehouse: Warehouse, path: Path) -> float:
    """Seconds that psql's \\copy of the CSV takes."""
    bare_table(warehouse)
    command = f"\\copy bare ({', '.join(COLUMNS)}) from '{path}' (format csv, header)"
    return timed(lambda: subprocess.run(psql(warehouse.url, command), check=True))


def copy_to_copy(warehouse: Warehouse, application: str) -> float:
    """Seconds that COPY from the application's table into COPY takes."""
    bare_table(warehouse)
    theirs = ", ".join(THEIRS.get(name, name) for name in COLUMNS)

    def piped() -> None:
        source = subprocess.Popen(
            psql(application, f"copy (select {theirs} from app.prompt_usage) to stdout"),
            stdout=subprocess.PIPE,
        )
        target = psql(warehouse.url, f"copy bare ({', '.join(COLUMNS)}) from stdin")
        subprocess.run(target, stdin=source.stdout, check=True)
        if source.wait():
            raise SystemExit("COPY from the application failed")

    return timed(piped)


def make_application(warehouse: Warehouse, files: dict[str, Path]) -> str:
    """An application's tables with the same rows in another database; its URL."""
    with warehouse.connect(autocommit=True) as connection:
        connection.execute("create database application")
    parts = urlsplit(warehouse.url)
    url = urlunsplit(parts._replace(path="/application"))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            """
            create schema app;
            create table app.prompts (id text primary key, name text);
            create table app.prompt_usage (
                id uuid primary key, prompt_id text, prompt_version text, agent_id text, user_id text,
                session_id text, model text, created_at timestamptz, updated_at timestamptz,
                response_time_ms double precision, success boolean, error_type text, rating integer,
                input_tokens integer, output_tokens integer, tokens_used integer, cost numeric(20, 10)
            );
            create index on app.prompt_usage (updated_at, id);
            """
        )
        theirs = ", ".join(THEIRS.get(name, name) for name in COLUMNS)
        command = f"\\copy app.prompt_usage ({theirs}) from '{files['csv']}' (format csv, header)"
        subprocess.run(psql(url, command), check=True)
        connection.execute(
            "insert into app.prompts select distinct prompt_id, prompt_id from app.prompt_usage"
        )
        connection.execute("vacuum analyze")
        connection.execute("checkpoint")
    return url


def to_sql(warehouse: Warehouse, table: pa.Table) -> float:
    """Seconds that pandas takes to insert the rows, by the quickest of SQLAlchemy's drivers."""
    bare_table(warehouse)
    frame = table.to_pandas()
    engine = sqlalchemy.create_engine(warehouse.url.replace("postgresql://", "postgresql+psycopg://", 1))
    return timed(lambda: frame.to_sql("bare", engine, if_exists="append", index=False))


def to_sql_merging(warehouse: Warehouse, table: pa.Table) -> tuple[float, float]:
    """Seconds that pandas takes to merge the rows, and to merge them again.

    With the driver that SQLAlchemy takes for ``postgresql://``, and a method as pandas' documentation shows
    it for an "on conflict" clause, but for a statement that is executed with many rows in place of one that
    spells them out, which is three times slower.
    """
    bare_table(warehouse)
    frame = table.to_pandas()
    frame.insert(0, "source", "bench")

    def upsert(
        into: SQLTable, connection: sqlalchemy.Connection, keys: list[str], rows: Iterable[Any]
    ) -> int:
        statement = insert(into.table)
        statement = statement.on_conflict_do_update(
            index_elements=KEY, set_={key: statement.excluded[key] for key in keys if key not in KEY}
        )
        return connection.execute(statement, [dict(zip(keys, row, strict=True)) for row in rows]).rowcount

    def merge() -> None:
        frame.to_sql("bare", engine, if_exists="append", index=False, method=upsert, chunksize=10_000)

    engine = sqlalchemy.create_engine(warehouse.url)
    return timed(merge), timed(merge)


def dlt(warehouse: Warehouse, table: pa.Table, home: Path) -> tuple[float, float]:
    """Seconds that dlt takes to merge the rows from Arrow, and to merge them again."""
    environment = Path(os.environ.get("PRISM_HOME", ".prism")).resolve() / "tmp" / "bench-dlt"
    python = environment / "bin" / "python"
    if not python.exists():
        venv.create(environment, with_pip=True)
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", DLT, "pyarrow", "numpy"]
        subprocess.run([python, *install], check=True)
    path = home / "peer.parquet"
    pq.write_table(table.add_column(0, "source", pa.array(["bench"] * table.num_rows)), path)
    # dlt asks for a host and a password, also where the server listens on a socket and wants none
    url = warehouse.url.replace("prism@/", "prism:none@localhost:5432/", 1)
    done = subprocess.run(
        [python, Path(__file__).with_name("dlt_peer.py"), path, url],
        env={**os.environ, "DLT_DATA_DIR": str(home / "dlt"), "RUNTIME__DLTHUB_TELEMETRY": "false"},
        stdout=subprocess.PIPE,
        check=True,
    )
    new, known = done.stdout.split()[-2:]
    return float(new), float(known)


def merging_peers(
    warehouse: Warehouse, table: pa.Table, home: Path, only: Sequence[str]
) -> Iterator[tuple[str, float, str, float]]:
    """What does it, its seconds, which load it stands beside, and how many times as fast that shall be."""
    if "to_sql" in only:
        yield "pandas to_sql, which only inserts", to_sql(warehouse, table), "csv", 0
        new, known = to_sql_merging(warehouse, table)
        yield "pandas to_sql, merging", new, "csv", LEAST_TIMES_TO_SQL
        yield "the same rows, all known", known, "again", LEAST_TIMES_TO_SQL
    if "dlt" in only:
        new, known = dlt(warehouse, table, home)
        yield "dlt, merging from Arrow", new, "csv", LEAST_TIMES_DLT
        yield "the same rows, all known", known, "again", LEAST_TIMES_DLT


# -- the loader


def load(url: str, home: Path) -> None:
    """Loads the one source of a prism.yaml, in this process, and prints what it took."""
    settings = load_settings({"PRISM_HOME": str(home), "PRISM_WAREHOUSE_URL": url}, home)
    warehouse = warehouses.open_warehouse(settings)
    begun = time.perf_counter()
    results = load_source(warehouse, settings.config.sources[0], settings)
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - begun,
                "megabytes": peak_megabytes(),
                "inserted": sum(result.inserted for result in results if result.entity == "usage"),
                "unchanged": sum(result.unchanged for result in results if result.entity == "usage"),
            }
        )
    )


def peak_megabytes() -> float:
    """This process's own peak; getrusage counts what its parent had when it started this one."""
    match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match.group(1)) / 1024


def loaded(warehouse: Warehouse, kind: str, source: str, home: Path, rows: int) -> tuple[float, float]:
    """Seconds and megabytes of loading one source in a process of its own."""
    with warehouse.connect(autocommit=True) as connection:
        connection.execute("drop table if exists bare")
        if kind != "again":
            connection.execute(
                "truncate raw.prompt_usage, raw.load_batches, raw.load_days, raw.rejected_rows"
            )
        connection.execute("checkpoint")
    (home / "prism.yaml").write_text(f"sources:\n  - {source}\n")
    command = [sys.executable, __file__, "--load", warehouse.url, str(home)]
    result = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    done = result["unchanged" if kind == "again" else "inserted"]
    if done != rows:
        raise SystemExit(f"{kind}: {done} rows loaded, {rows} expected")
    return result["seconds"], result["megabytes"]


# -- all in one run


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--peer-rows", type=int, help="default: as many")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each; the fastest counts")
    parser.add_argument("--only", nargs="+", choices=EVERY, default=EVERY)
    parser.add_argument("--load", nargs=2, metavar=("URL", "HOME"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.load:
        url, home = arguments.load
        load(url, Path(home))
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
    count = arguments.rows
    files = write_files(home, count)
    sources = {kind: f"{{name: bench, type: files, path: {path}}}" for kind, path in files.items()}
    peers: dict[str, Callable[[], float]] = {"csv": lambda: bare_copy(warehouse, files["csv"])}
    if "application" in arguments.only:
        url = make_application(warehouse, files)
        sources["application"] = f"{{name: bench, type: application, schema: app, url: '{url}'}}"
        peers["application"] = lambda: copy_to_copy(warehouse, url)
    kinds = [kind for kind in ("csv", "again", "parquet", "application") if kind in arguments.only]
    bare: dict[str, float] = {}
    taken: dict[str, float] = {}
    memory: dict[str, float] = {}
    for _ in range(arguments.repeat):
        for kind in kinds:
            if kind in peers:
                bare[kind] = min(bare.get(kind, float("inf")), peers[kind]())
            seconds, megabytes = loaded(warehouse, kind, sources[kind], home, count)
            taken[kind] = min(taken.get(kind, float("inf")), seconds)
            memory[kind] = max(memory.get(kind, 0), megabytes)

    missed = False

    def told(
        name: str, seconds: float, times: float, met: bool = True, megabytes: float | None = None
    ) -> None:
        nonlocal missed
        missed |= not met
        memory_used = "" if megabytes is None else f"{megabytes:.0f}"
        print(f"{name:<44}{seconds:>9.2f}{times:>8.2f}{memory_used:>9}{'' if met else '  missed'}")

    print(f"{count:,} uses, {files['csv'].stat().st_size / 1e6:.0f} MB as CSV; best of {arguments.repeat}")
    print(f"{'':<44}{'seconds':>9}{'times':>8}{'peak MB':>9}")
    names = {
        "csv": "load of CSV", "parquet": "load of Parquet", "again": "the same rows, all known",
        "application": "load from another PostgreSQL",
    }  # fmt: skip
    for kind in kinds:
        if kind in bare:
            name = "psql \\copy, keyed table" if kind == "csv" else "COPY | COPY, keyed table"
            told(name, bare[kind], 1)
        peer = bare.get(kind, bare.get("csv", taken[kinds[0]]))
        times = taken[kind] / peer
        met = times <= MOST_TIMES_THE_COPY and memory[kind] <= MOST_MEGABYTES
        if kind == "again" and "csv" in taken:
            met &= taken[kind] <= NOISE * taken["csv"]
        told(names[kind], taken[kind], times, met, memory[kind])
    if "csv" in taken and {"to_sql", "dlt"} & {*arguments.only}:
        some = rows(arguments.peer_rows or count)
        print(
            f"rows a second, of {some.num_rows:,} uses; times: how many times as fast Prism's load of CSV is"
        )
        for name, seconds, kind, least in merging_peers(warehouse, some, home, arguments.only):
            if kind in taken:
                rate = some.num_rows / seconds
                times = count / taken[kind] / rate
                told(name, rate, times, times >= least)
    print(
        f"targets: at most {MOST_TIMES_THE_COPY:g} times, under {MOST_MEGABYTES} MB, known rows no slower "
        f"than new ones, {LEAST_TIMES_DLT:g} times dlt, {LEAST_TIMES_TO_SQL:g} times to_sql: "
        + ("missed" if missed else "met")
    )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
