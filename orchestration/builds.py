"""Which marts are built, from what, and whether their tests passed (``ops.builds``).

The marts by period carry one as-of date. An older one is built beside them, in a schema of its own that
goes once its report is rendered, so that they never step back under an analyst.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

MARTS = "marts"


@dataclass(frozen=True)
class Build:
    """One build of the marts: ``running``, ``green`` or ``red``; ``failures`` name what failed."""

    build_id: int
    as_of_date: date
    marts_schema: str
    state: str
    started_at: datetime
    finished_at: datetime | None
    failures: tuple[str, ...]


def marts_schema_for(connection: psycopg.Connection, as_of_date: date) -> str:
    """``marts``, or for a date older than theirs the name of a schema beside them."""
    current = marts_as_of_date(connection)
    if current is not None and as_of_date < current:
        return f"{MARTS}_{as_of_date:%Y%m%d}"
    return MARTS


def marts_as_of_date(connection: psycopg.Connection) -> date | None:
    """The as-of date of the marts; none where they are not built."""
    if connection.execute("select to_regclass('marts.dashboard_metrics')").fetchone() == (None,):
        return None
    row = connection.execute("select max(as_of_date) from marts.dashboard_metrics").fetchone()
    return row[0] if row else None


def start(connection: psycopg.Connection, as_of_date: date, marts_schema: str, run_id: str) -> int:
    """Records that a build begins; returns its id."""
    row = connection.execute(
        """
        insert into ops.builds (as_of_date, marts_schema, started_at, state, batch_id, run_id)
        values (%s, %s, now(), 'running', (select max(batch_id) from raw.load_batches), %s)
        returning build_id
        """,
        [as_of_date, marts_schema, run_id],
    ).fetchone()
    assert row is not None
    return int(row[0])


def finish(connection: psycopg.Connection, build_id: int, failures: list[str]) -> None:
    """Records how a build ended: green without failures, else red."""
    connection.execute(
        "update ops.builds set finished_at = now(), state = %s, failures = %s where build_id = %s",
        ["red" if failures else "green", Jsonb(failures), build_id],
    )


def latest(connection: psycopg.Connection, as_of_date: date, marts_schema: str) -> Build | None:
    """The newest build of a schema for a date."""
    row = connection.execute(
        """
        select build_id, state, started_at, finished_at, failures
        from ops.builds where as_of_date = %s and marts_schema = %s order by build_id desc limit 1
        """,
        [as_of_date, marts_schema],
    ).fetchone()
    if row is None:
        return None
    build_id, state, started_at, finished_at, failures = row
    return Build(build_id, as_of_date, marts_schema, state, started_at, finished_at, tuple(failures))


def drop_beside(connection: psycopg.Connection, marts_schema: str) -> None:
    """Drops a schema that was built beside the marts; the marts themselves never."""
    if marts_schema != MARTS:
        connection.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(marts_schema)))
