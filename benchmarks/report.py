"""Rendering the report: seconds and peak memory for the sample's 62 prompts and for 10,000, by their limits.

Usage: python benchmarks/report.py [--prompts N ...] [--history DAYS]

Fills an embedded PostgreSQL of its own with sample data, builds the marts with the real dbt project, and
renders each report in a process of its own, so that imports count and memory is that report's alone. The
last line renders the first size again over four times the history: its ratio shows that the time follows
the prompts, not the days. The overview and the table of prompts are opened in Chromium, too: how long until
they can be used and show their charts. Exits 1 where a limit is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from orchestration import warehouse as warehouses
from orchestration.postgres import EmbeddedServer
from orchestration.warehouse import Warehouse

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests import chromium, report_life

# Most seconds in all, and most MB, by number of prompts.
LIMITS = {62: (5.0, 1000.0), 10_000: (60.0, 1000.0)}
MOST_TIMES_FOR_HISTORY = 1.5
MOST_BYTES_OF_OVERVIEW = 1_500_000
MOST_MILLISECONDS_UNTIL_USABLE = 1000.0
_RENDER = """
import json, resource, sys, time
started = time.perf_counter()
from datetime import date
from pathlib import Path
import psycopg
from reports.options import Build, ReportOptions
from reports.render import render_report
options = ReportOptions(as_of_date=date.fromisoformat(sys.argv[3]), build=Build("green"))
with psycopg.connect(sys.argv[1]) as connection:
    made = render_report(connection, Path(sys.argv[2]), options)
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({
    "seconds": time.perf_counter() - started,
    "cpu_seconds": usage.ru_utime + usage.ru_stime,
    "megabytes": usage.ru_maxrss / 1024,
    "pages": made.pages,
    "size": made.size_bytes,
    "overview": (made.path / "index.html").stat().st_size,
    "table": (made.path / "prompts.html").stat().st_size,
}))
"""


@dataclass(frozen=True)
class Rendered:
    """One report: what it took and what it weighs."""

    seconds: float
    cpu_seconds: float
    megabytes: float
    pages: int
    size: int
    overview: int
    table: int


def _warehouse(server: EmbeddedServer, name: str, *, prompts: int, days: int) -> Warehouse:
    made = Warehouse(url=server.url(name), dagster_url=server.url(f"{name}_dagster"), embedded=server)
    warehouses.setup(made)
    started = time.perf_counter()
    report_life.fill(made, prompts=prompts, days=days, rows=max(20_000, prompts * 20) * days // 90)
    report_life.build(made)
    print(f"{name}: filled and built in {time.perf_counter() - started:.0f} s", flush=True)
    return made


def _render(warehouse: Warehouse, folder: Path) -> Rendered:
    output = subprocess.run(
        [sys.executable, "-c", _RENDER, warehouse.url, str(folder), report_life.AS_OF.isoformat()],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[1],
    )
    return Rendered(**json.loads(output.stdout))


def _milliseconds_until_usable(page_file: Path, usable: str) -> float:
    """From navigation until the JavaScript ``usable`` is true: median of five openings, no cache."""
    taken = []
    with chromium.launched() as browser:
        for _ in range(5):
            context = browser.new_context(viewport={"width": 1440, "height": 900})
            page = context.new_page()
            page.goto(page_file.as_uri(), wait_until="commit")
            taken.append(page.wait_for_function(f"() => ({usable}) && performance.now()").json_value())
            context.close()
    return statistics.median(taken)


# the switch stands, which the script shows, and every chart in sight is drawn
_OVERVIEW = """
document.readyState === "complete" && document.querySelector("[data-choose]").checkVisibility()
&& [...document.querySelectorAll("[data-chart]")].every(
    one => !one.checkVisibility() || one.querySelector("svg"))
"""
_TABLE = """ document.querySelector("#prompts[data-ready]") """


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, nargs="+", default=list(LIMITS))
    parser.add_argument("--history", type=int, default=90, help="days of uses (default 90)")
    chosen = parser.parse_args()
    missed = []
    with tempfile.TemporaryDirectory() as home:
        server = EmbeddedServer(Path(home) / "postgres")
        server.acquire()
        try:
            base = None
            for prompts in chosen.prompts:
                warehouse = _warehouse(server, f"prompts_{prompts}", prompts=prompts, days=chosen.history)
                one = _render(warehouse, Path(home) / f"reports_{prompts}")
                base = base or one
                line = (
                    f"{prompts:>6} prompts  {one.seconds:6.1f} s ({one.cpu_seconds:.1f} s of CPU)  "
                    f"{one.megabytes:6.0f} MB memory  "
                    f"{one.pages:>6} pages  {one.size / 1e6:6.1f} MB  "
                    f"overview {one.overview / 1e3:.0f} kB, table {one.table / 1e3:.0f} kB"
                )
                if prompts in LIMITS:
                    seconds, megabytes = LIMITS[prompts]
                    line += f"  time/limit {one.seconds / seconds:.2f}"
                    line += f", memory/limit {one.megabytes / megabytes:.2f}"
                    if one.seconds > seconds or one.megabytes > megabytes:
                        missed.append(f"{prompts} prompts")
                print(line, flush=True)
                report = next((Path(home) / f"reports_{prompts}").glob("*/index.html")).parent
                waits = [
                    _milliseconds_until_usable(report / name, usable)
                    for name, usable in (("index.html", _OVERVIEW), ("prompts.html", _TABLE))
                ]
                print(f"        usable: overview after {waits[0]:.0f} ms, table after {waits[1]:.0f} ms")
                if one.overview > MOST_BYTES_OF_OVERVIEW or waits[0] > MOST_MILLISECONDS_UNTIL_USABLE:
                    missed.append(f"overview of {prompts} prompts")
            first = chosen.prompts[0]
            long = _warehouse(server, "history", prompts=first, days=4 * chosen.history)
            ratio = _render(long, Path(home) / "history").seconds / (base.seconds if base else 1)
            print(f"{first:>6} prompts, 4 times the history: {ratio:.2f} times the time")
            if ratio > MOST_TIMES_FOR_HISTORY:
                missed.append("history")
        finally:
            server.stop()
    if missed:
        print(f"missed: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
