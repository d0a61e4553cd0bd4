"""Rows for the raw tables, written as the loader writes them: a batch, its touched days, the rows.

Knows no source and no validation; the loader has tests of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

Row = Mapping[str, Any]
_KEYS = {
    "prompts": ("source", "prompt_id"),
    "prompt_versions": ("source", "prompt_id", "version"),
    "agents": ("source", "agent_id"),
    "agent_prompts": ("source", "agent_id", "prompt_id"),
    "prompt_usage": ("source", "usage_id"),
}


def write(
    connection: psycopg.Connection[Any],
    table: str,
    rows: Sequence[Row],
    *,
    timezone: str = "UTC",
    source: str = "app",
    started_at: datetime | None = None,
    rejected: int = 0,
    values_rejected: int = 0,
) -> int:
    """Inserts or replaces ``rows`` of one source as one batch, commits, and returns the batch's number.

    Rows may leave out columns. ``started_at`` defaults to the database's clock; rows without ``loaded_at``
    are loaded then.
    """
    row = connection.execute(
        """
        insert into raw.load_batches (
            source, entity, started_at, finished_at, rows_read, inserted, updated, unchanged, superseded,
            rejected, values_rejected
        )
        values (
            %(source)s, %(entity)s, coalesce(%(at)s, now()), coalesce(%(at)s, now()), %(read)s, %(inserted)s,
            0, 0, 0, %(rejected)s, %(values)s
        )
        returning batch_id, started_at
        """,
        {
            "source": source,
            "entity": "usage" if table == "prompt_usage" else table,
            "at": started_at,
            "read": len(rows) + rejected,
            "inserted": len(rows),
            "rejected": rejected,
            "values": values_rejected,
        },
    ).fetchone()
    assert row is not None
    batch_id, loaded_at = row
    days = set(_days(connection, table, source, rows, timezone))
    stamped = [{"source": source, "batch_id": batch_id, "loaded_at": loaded_at, **row} for row in rows]
    for columns, group in _by_columns(stamped):
        _upsert(connection, table, columns, group)
    days |= set(_days(connection, table, source, rows, timezone))
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into raw.load_days values (%s, %s)", [(batch_id, day) for day in sorted(days)]
        )
    connection.commit()
    return int(batch_id)


def at(day: str, clock: str = "12:00", *, seconds: float = 0) -> datetime:
    """A moment in UTC."""
    return datetime.fromisoformat(f"{day}T{clock}:00+00:00") + timedelta(seconds=seconds)


def _by_columns(rows: Iterable[Row]) -> list[tuple[tuple[str, ...], list[Row]]]:
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row), []).append(row)
    return list(groups.items())


def _upsert(
    connection: psycopg.Connection[Any], table: str, columns: Sequence[str], rows: Sequence[Row]
) -> None:
    names = [sql.Identifier(column) for column in columns]
    statement = sql.SQL(
        "insert into {table} ({names}) values ({values}) on conflict ({key}) do update set {changes}"
    ).format(
        table=sql.Identifier("raw", table),
        names=sql.SQL(", ").join(names),
        values=sql.SQL(", ").join(sql.Placeholder(column) for column in columns),
        key=sql.SQL(", ").join(sql.Identifier(column) for column in _KEYS[table]),
        changes=sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(name) for name in names),
    )
    with connection.cursor() as cursor:
        cursor.executemany(statement, rows)


def _days(
    connection: psycopg.Connection[Any], table: str, source: str, rows: Sequence[Row], timezone: str
) -> list[Any]:
    if table != "prompt_usage":
        return []
    found = connection.execute(
        "select distinct (used_at at time zone %s)::date from raw.prompt_usage"
        " where source = %s and usage_id = any(%s)",
        [timezone, source, [row["usage_id"] for row in rows]],
    )
    return [day for (day,) in found]
