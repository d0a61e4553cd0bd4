"""Each query that reports make of the marts, in milliseconds, at 10,000 prompts and 365 days.

    python benchmarks/queries.py [--prompts N] [--days N] [--runs N]

Fills an embedded PostgreSQL of its own with sample data and builds the marts with the real dbt project. Times
the whole method: the query, the transfer and the frame; the query alone beside it, by `explain analyze`. The
limit is of the query. Exits with 1 where one misses it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any, ClassVar

import psycopg
from psycopg import sql

from orchestration import warehouse as warehouses
from orchestration.analytics import tables as statistics_of_marts
from orchestration.postgres import EmbeddedServer
from orchestration.warehouse import Warehouse
from reports.marts import Marts, reading

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests import report_life
from tests.dbt import run_dbt

LIMIT = 100.0
# as many prompts as a report asks for at once
AT_ONCE = 50


class Explained(Marts):
    """The queries, each made a second time by `explain analyze`, which transfers no row."""

    taken: ClassVar[list[float]] = []

    def _frame(
        self, query: sql.Composed, columns: Mapping[str, str], parameters: Mapping[str, Any] | None = None
    ) -> Any:
        explain = sql.SQL("explain (analyze, timing off, format json) ") + query
        row = self.connection.execute(explain, parameters).fetchone()
        assert row is not None
        self.taken.append(row[0][0]["Planning Time"] + row[0][0]["Execution Time"])
        return super()._frame(query, columns, parameters)


def calls(marts: Marts, prompts: list[str], last_day: date) -> Iterator[tuple[str, Callable[[], object]]]:
    """The name of each query and how the report calls it."""
    year, month = last_day - timedelta(days=364), last_day - timedelta(days=29)
    for name in (
        "dashboard", "summary", "top", "alerts", "alert_evidence", "action_items", "prompts", "segments",
        "over_time", "hours", "cost_by_model", "distribution", "trend_days_of_all", "forecasts",
        "comparisons", "recommendations", "rules",
    ):  # fmt: skip
        yield name, getattr(marts, name)
    yield "alert_events", lambda: marts.alert_events(month)
    yield "data_quality", lambda: marts.data_quality(month, last_day)
    yield "cost_anomalies", lambda: marts.cost_anomalies(10)
    yield "movers", lambda: marts.movers(last_day, 5)
    yield "new_versions", lambda: marts.new_versions(month, "UTC")
    yield "daily", lambda: marts.daily(last_day)
    yield "daily (prompts)", lambda: marts.daily(last_day, prompts)
    yield "daily_by", lambda: marts.daily_by("domain", prompts, last_day)
    yield "trend_days", lambda: marts.trend_days(prompts)
    yield "versions", lambda: marts.versions(prompts)
    yield "library", lambda: marts.library(prompts)
    yield "response_times", lambda: marts.response_times(prompts)
    yield "weekly_by_prompt", lambda: marts.weekly_by_prompt(prompts, year, last_day)
    yield "shares", lambda: marts.shares(prompts, month, last_day)


@contextmanager
def _warehouse(prompts: int, days: int) -> Iterator[Warehouse]:
    with tempfile.TemporaryDirectory(prefix="prism-benchmark-") as folder:
        server = EmbeddedServer(Path(folder) / "postgres")
        server.acquire()
        try:
            made = Warehouse(url=server.url("queries"), dagster_url="", embedded=server)
            warehouses.setup(made)
            started = time.perf_counter()
            report_life.fill(made, prompts=prompts, days=days, rows=prompts * 20 * days // 90)
            report_life.build(made)
            with made.connect() as connection:
                statistics_of_marts.refresh(connection, report_life.AS_OF, "marts")
            run_dbt(
                made, "build", "--selector", "statistics", "--exclude-resource-type", "test", "unit_test",
                vars={"as_of_date": report_life.AS_OF.isoformat(), "marts_schema": "marts"},
            )  # fmt: skip
            print(f"filled and built in {time.perf_counter() - started:.0f} s", flush=True)
            yield made
        finally:
            server.stop()
            server.release()


def measure(connection: psycopg.Connection[Any], runs: int) -> list[str]:
    """Prints a line a query; the names of those over the limit."""
    missed = []
    with reading(connection, "marts", report_life.AS_OF):
        marts = Explained(connection, "marts")
        prompts = sorted(marts.prompts()["prompt_id"])[:AT_ONCE]
        for name, call in calls(marts, prompts, report_life.AS_OF):
            marts.taken.clear()
            whole, rows = [], 0
            for _ in range(runs):
                begun = time.perf_counter()
                rows = len(call())  # type: ignore[arg-type]
                whole.append(1000 * (time.perf_counter() - begun))
            query = statistics.median(marts.taken)
            late = query > LIMIT
            missed += [name] * late
            frame = statistics.median(whole) - query
            print(
                f"{name:20} {query:8.1f} ms  with its frame {frame:8.1f} ms  {rows:>7,} rows"
                f"{'  over the limit' if late else ''}",
                flush=True,
            )
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=10_000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with _warehouse(options.prompts, options.days) as made, made.connect() as connection:
        missed = measure(connection, options.runs)
    print(f"over {LIMIT:.0f} ms: {', '.join(missed) or 'none'}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
