"""How fast sample data is written, beside a bare COPY of the same rows into the same table with its keys.

    python -m benchmarks.sample [--rows 1000000]

Runs a server of its own in a temporary folder and prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from datetime import date
from pathlib import Path

import psycopg

from orchestration.library.application import create_tables
from orchestration.postgres import EmbeddedServer
from orchestration.sample.write import write_sample


def measure(connection: psycopg.Connection, rows: int) -> dict[str, float]:
    """Seconds of ``write_sample`` and of a bare COPY of its rows into an empty copy of the tables."""
    started = time.perf_counter()
    write_sample(connection, "written", until=date(2026, 3, 2), rows=rows)
    connection.commit()
    written = time.perf_counter() - started

    with tempfile.TemporaryFile() as file:
        with connection.cursor().copy("copy written.prompt_usage to stdout") as source:
            for chunk in source:
                file.write(chunk)
        create_tables(connection, "copied")
        for table in ("prompts", "agents"):
            connection.execute(f"insert into copied.{table} select * from written.{table}".encode())
        connection.commit()
        file.seek(0)
        started = time.perf_counter()
        with connection.cursor().copy("copy copied.prompt_usage from stdin") as target:
            while chunk := file.read(1 << 16):
                target.write(chunk)
        connection.commit()
        copied = time.perf_counter() - started
    return {
        "rows": rows,
        "sample_seconds": round(written, 2),
        "sample_rows_per_second": round(rows / written),
        "bare_copy_seconds": round(copied, 2),
        "ratio_to_bare_copy": round(written / copied, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer(Path(folder) / "postgres")
        server.acquire()
        try:
            with psycopg.connect(server.url("postgres")) as connection:
                print(json.dumps(measure(connection, arguments.rows)))
        finally:
            server.stop()
            server.release()


if __name__ == "__main__":
    main()
