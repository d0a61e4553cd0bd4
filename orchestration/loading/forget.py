"""A source out of ``raw``, as though it had never been loaded; the next build takes it out of the marts."""

from __future__ import annotations

from psycopg import sql

from orchestration.warehouse import Warehouse

_TABLES = (
    "prompt_texts", "prompt_usage", "agent_prompts", "agents", "prompt_versions", "prompts",
    "reconciliations",
)  # fmt: skip


def forget_source(warehouse: Warehouse, source: str, timezone: str) -> int:
    """Deletes the rows of ``source`` and its watermarks, and marks its days as touched; returns its uses.

    ``timezone`` is the reporting time zone that the days are cut in. What the source's loads did stays on
    record. One transaction.
    """
    with warehouse.lock("load"), warehouse.connect() as connection:
        row = connection.execute(
            """
            with batch as (
                insert into raw.load_batches (
                    source, entity, location, started_at, finished_at,
                    rows_read, inserted, updated, unchanged, superseded, rejected, deleted
                )
                select %(source)s, 'usage', 'forgotten', now(), now(), 0, 0, 0, 0, 0, 0, count(*)
                from raw.prompt_usage where source = %(source)s
                having count(*) > 0
                returning batch_id, deleted
            ), days as (
                insert into raw.load_days (batch_id, usage_date)
                select distinct batch.batch_id, (uses.used_at at time zone %(timezone)s)::date
                from batch cross join raw.prompt_usage as uses
                where uses.source = %(source)s
            )
            select deleted from batch
            """,
            {"source": source, "timezone": timezone},
        ).fetchone()
        for table in _TABLES:
            statement = sql.SQL("delete from {} where source = %s").format(sql.Identifier("raw", table))
            connection.execute(statement, [source])
        connection.execute("update raw.load_batches set watermark = null where source = %s", [source])
    return int(row[0]) if row else 0
