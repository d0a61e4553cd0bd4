"""The nightly job on sample data beside a bare `dbt build` of the same project, in one run.

    python benchmarks/nightly.py [--runs N] [--rows N]

Both start as commands, in turn, on the same warehouse, with nothing new to load: what is measured
is what the night costs beyond its build. The target is a median ratio of at most 3; the exit code says so.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TARGET = 3.0
PRISM = str(Path(sys.executable).parent / "prism")


def seconds(environment: dict[str, str], *arguments: str) -> float:
    """Wall seconds of one command, which must succeed."""
    begin = time.perf_counter()
    subprocess.run([PRISM, *arguments], env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rows", type=int, default=60_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="prism-benchmark-") as folder:
        environment = {**os.environ, "PRISM_HOME": folder}
        try:
            seconds(environment, "db", "start")
            seconds(environment, "sample", "--rows", str(options.rows))
            seconds(environment, "run")  # parses, loads and renders for the first time
            seconds(environment, "dbt", "build")
            pairs = []
            for number in range(options.runs):
                build = seconds(environment, "dbt", "build")
                night = seconds(environment, "run")
                pairs.append((night, build))
                print(
                    f"{number + 1}: night {night:5.1f} s, dbt build {build:5.1f} s, ratio {night / build:.2f}"
                )
        finally:
            subprocess.run([PRISM, "db", "stop"], env=environment, check=False, stdout=subprocess.DEVNULL)
    ratio = statistics.median(night / build for night, build in pairs)
    print(f"median ratio {ratio:.2f}, target at most {TARGET}")
    return 0 if ratio <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
