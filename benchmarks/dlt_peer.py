"""dlt merging rows from Arrow into PostgreSQL: run by load.py, in an environment of its own that has dlt.

Usage: python benchmarks/dlt_peer.py FILE.parquet URL

Prints the seconds that it took.
"""

from __future__ import annotations

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
    begun = time.perf_counter()
    pipeline.run(table, table_name="prompt_usage", write_disposition="merge", primary_key="usage_id")
    print(time.perf_counter() - begun)


if __name__ == "__main__":
    main()
