"""dlt merging rows from Arrow into PostgreSQL: run by load.py, in an environment of its own that has dlt.

Usage: python benchmarks/dlt_peer.py FILE.parquet URL

Prints the seconds of each of two runs over the same rows: into nothing, and over themselves.
"""

from __future__ import annotations

import json
import os
import sys
import time

import dlt
import pyarrow.parquet as pq


def main() -> None:
    path, url = sys.argv[1:]
    table = pq.read_table(path)
    pipeline = dlt.pipeline(
        "peer",
        destination=dlt.destinations.postgres(url),
        dataset_name="peer",
        pipelines_dir=os.environ["DLT_DATA_DIR"],
    )
    seconds = []
    for _ in range(2):
        begun = time.perf_counter()
        pipeline.run(table, table_name="prompt_usage", write_disposition="merge", primary_key="usage_id")
        seconds.append(time.perf_counter() - begun)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
