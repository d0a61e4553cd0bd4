"""Percentiles from the logarithmic histogram beside exact ones of every use: seconds, and how far off.

    python benchmarks/percentiles.py [--rows N] [--runs N]

Runs PostgreSQL alone: N times of 62 prompts over a year, and their histogram by prompt and month as
`int_response_times_by_grain` keeps it. Then the 50th, 95th and 99th percentile of each prompt in all, by
`percentile_disc` over every use and by nearest rank over the histogram. What the histogram takes to make is
printed, too: a night makes that of its touched days alone. Exits with 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

from orchestration.postgres import EmbeddedServer

LEAST_TIMES, MOST_OFF = 10.0, 0.01
_USES = """
select setseed(0.5);
create table uses as
select n % 62 as prompt, date '2025-01-01' + n % 365 as used_on,
    exp(6 + (n % 62) / 20.0 + 1.6 * (random() + random() + random() - 1.5)) as ms
from generate_series(1, {rows}) as n;
vacuum analyze uses;
"""
# the macros histogram_bucket and bucket_value
_HISTOGRAM = """
create table histogram as
select prompt, date_trunc('month', used_on)::date as month_start, ceil(ln(ms) / ln(1.02))::integer as bucket,
    count(*) as usage_count
from uses group by 1, 2, 3;
analyze histogram;
"""
_EXACT = """
select prompt, unnest(percentile_disc(array[0.5, 0.95, 0.99]) within group (order by ms))
from uses group by prompt order by 1, 2
"""
# as in int_response_time_percentiles
_READ = """
with buckets as (
    select prompt, bucket, sum(usage_count) as usage_count from histogram group by prompt, bucket
),
ranked as (
    select prompt, power(1.02::double precision, bucket - 0.5) as ms,
        sum(usage_count) over (partition by prompt order by bucket) as last_rank,
        sum(usage_count) over (partition by prompt) as total_count
    from buckets
)
select prompt, unnest(array[
    min(ms) filter (where last_rank >= 0.50 * total_count),
    min(ms) filter (where last_rank >= 0.95 * total_count),
    min(ms) filter (where last_rank >= 0.99 * total_count)
]) from ranked group by prompt order by 1, 2
"""


def timed(connection: psycopg.Connection[Any], query: str, runs: int) -> tuple[float, list[tuple[Any, ...]]]:
    """The median seconds of a query, and its rows."""
    taken, rows = [], []
    for _ in range(runs):
        begun = time.perf_counter()
        rows = connection.execute(query.encode()).fetchall()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken), rows


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="prism-benchmark-") as folder:
        server = EmbeddedServer(Path(folder) / "postgres")
        server.acquire()
        try:
            with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
                for statement in _USES.format(rows=options.rows).split(";\n"):
                    if statement.strip():
                        connection.execute(statement.encode())
                begun = time.perf_counter()
                connection.execute(_HISTOGRAM.encode())
                made = time.perf_counter() - begun
                exact_seconds, exact = timed(connection, _EXACT, options.runs)
                read_seconds, read = timed(connection, _READ, options.runs)
                buckets = connection.execute("select count(*) from histogram").fetchone()
        finally:
            server.stop()
            server.release()
    off = max(abs(found[1] / true[1] - 1) for found, true in zip(read, exact, strict=True))
    times = exact_seconds / read_seconds
    print(f"{options.rows:,} uses; histogram of {buckets[0] if buckets else 0:,} rows made in {made:.1f} s")
    print(
        f"exact {exact_seconds:.2f} s, from the histogram {read_seconds:.3f} s: {times:.0f} times as fast, "
        f"target {LEAST_TIMES:.0f}; at most {off:.2%} off, target {MOST_OFF:.0%}"
    )
    return int(times < LEAST_TIMES or off > MOST_OFF)


if __name__ == "__main__":
    sys.exit(main())
