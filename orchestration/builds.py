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

from orchestration.database import has_table

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
    """The as-of date of the marts; none where they are not built.

    That of the newest of the two steps that build them: the second may have failed after the first.
    """
    days: list[date] = []
    for mart in ("prompt_performance_summary", "dashboard_metrics"):
        if not has_table(connection, f"{MARTS}.{mart}"):
            continue
        query = sql.SQL("select distinct as_of_date from {}").format(sql.Identifier(MARTS, mart))
        days += [day for (day,) in connection.execute(query)]
    return max(days, default=None)


def schema_of(connection: psycopg.Connection, run_id: str, as_of_date: date) -> str:
    """The schema that a run builds into: chosen once, when its build begins; else as it would be now."""
    row = connection.execute(
        "select marts_schema from ops.builds where run_id = %s order by build_id desc limit 1", [run_id]
    ).fetchone()
    return str(row[0]) if row else marts_schema_for(connection, as_of_date)


def start(connection: psycopg.Connection, as_of_date: date, marts_schema: str, run_id: str) -> None:
    """Records that a run begins to build all of the marts."""
    connection.execute(
        """
        insert into ops.builds (as_of_date, marts_schema, started_at, state, batch_id, run_id)
        values (%s, %s, now(), 'running', (select max(batch_id) from raw.load_batches), %s)
        """,
        [as_of_date, marts_schema, run_id],
    )


def finish(connection: psycopg.Connection, run_id: str) -> None:
    """Records that all that a run began to build is built and has passed its tests."""
    connection.execute(
        "update ops.builds set finished_at = now(), state = 'green' where run_id = %s and state = 'running'",
        [run_id],
    )


def spoil(
    connection: psycopg.Connection, as_of_date: date, marts_schema: str, failures: list[str], run_id: str
) -> None:
    """Records that the marts are not to be reported on: something failed, or was changed by hand."""
    connection.execute(
        """
        with own as (
            update ops.builds set finished_at = now(), state = 'red', failures = %(failures)s
            where run_id = %(run_id)s and state = 'running'
            returning build_id
        )
        insert into ops.builds (as_of_date, marts_schema, started_at, finished_at, state, failures, run_id)
        select %(as_of_date)s, %(marts_schema)s, now(), now(), 'red', %(failures)s, %(run_id)s
        where not exists (select 1 from own)
        """,
        {
            "as_of_date": as_of_date,
            "marts_schema": marts_schema,
            "failures": Jsonb(failures),
            "run_id": run_id,
        },
    )


def latest(connection: psycopg.Connection, marts_schema: str) -> Build | None:
    """The newest build of a schema, whatever its date; none where it was never built as a whole."""
    row = connection.execute(
        """
        select build_id, as_of_date, state, started_at, finished_at, failures
        from ops.builds where marts_schema = %s order by build_id desc limit 1
        """,
        [marts_schema],
    ).fetchone()
    if row is None:
        return None
    build_id, as_of_date, state, started_at, finished_at, failures = row
    return Build(build_id, as_of_date, marts_schema, state, started_at, finished_at, tuple(failures))


def drop_spoilt(connection: psycopg.Connection) -> None:
    """Drops what builds beside the marts have left behind that failed, and so gave no report."""
    schemas = connection.execute(
        "select nspname from pg_namespace where nspname ~ %s", [rf"^{MARTS}_\d{{8}}$"]
    ).fetchall()
    for (schema,) in schemas:
        build = latest(connection, schema)
        if build is None or build.state == "red":
            drop_beside(connection, schema)


def drop_beside(connection: psycopg.Connection, marts_schema: str) -> None:
    """Drops a schema that was built beside the marts; the marts themselves never."""
    if marts_schema != MARTS:
        connection.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(marts_schema)))
