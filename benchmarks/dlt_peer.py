"""dlt merging rows from Arrow into PostgreSQL: run by load.py, in an environment of its own that has dlt.

Usage: python benchmarks/dlt_peer.py FILE.parquet URL

dlt makes its table first, from one row that is then deleted, and the table gets the key and the index of
raw.prompt_usage, as every other peer has. Prints the seconds of merging all rows into it, and of doing it
once more, where all are known.
"""

from __future__ import annotations

import os
import sys
import time

import dlt
import pyarrow as pa
import pyarrow.parquet as pq

KEYED = """
delete from peer.prompt_usage;
alter table peer.prompt_usage add primary key (source, usage_id);
create index on peer.prompt_usage (used_at);
"""


def main() -> None:
    path, url = sys.argv[1:]
    table = pq.read_table(path)
    pipeline = dlt.pipeline(
        "peer",
        destination=dlt.destinations.postgres(url),
        dataset_name="peer",
        pipelines_dir=os.environ["DLT_DATA_DIR"],
    )

    def merge(rows: pa.Table) -> float:
        begun = time.perf_counter()
        key = ["source", "usage_id"]
        pipeline.run(rows, table_name="prompt_usage", write_disposition="merge", primary_key=key)
        return time.perf_counter() - begun

    merge(table.slice(0, 1))
    with pipeline.sql_client() as client:
        client.execute_sql(KEYED)
    print(merge(table), merge(table))


if __name__ == "__main__":
    main()
