"""The application's PostgreSQL (Supabase and others): prompts, versions, agents, mappings, usage.

All is read in one snapshot, read only, with row security off: a role that sees only some of the rows is
an error, not a small source. Usage comes in the order of (updated_at, id), from some time before the
last watermark on. What it can't know: uses that were deleted there, and changes that leave
``updated_at`` as it was.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql

from orchestration.errors import PrismError
from orchestration.settings import ApplicationSource
from orchestration.sources.csv_text import CsvText
from orchestration.sources.protocol import (
    CANONICAL,
    Assembly,
    Batch,
    Entity,
    Reading,
    SourceLostError,
    Watermarks,
)
from orchestration.warehouse import connect, describe

_TABLES: Mapping[Entity, str] = {
    "prompts": "prompts",
    "prompt_versions": "prompt_versions",
    "agents": "agents",
    "agent_prompts": "agent_prompts",
    "usage": "prompt_usage",
}
_NEEDED_TABLES = ("prompts", "prompt_usage")
# canonical column -> the application's; all others have the same name
_NAMES: Mapping[Entity, Mapping[str, str]] = {
    "usage": {
        "usage_id": "id",
        "prompt_key": "prompt_id",
        "agent_key": "agent_id",
        "user_key": "user_id",
        "used_at": "created_at",
        "total_tokens": "tokens_used",
    },
    "prompts": {"prompt_id": "id"},
    "agents": {"agent_id": "id"},
    "prompt_versions": {},
    "agent_prompts": {},
}
_ALSO_NEEDED = {"prompts": ("id",), "agents": ("id",)}
_TEXTS = ("user_prompt", "enhanced_prompt")
_KEY, _ORDER = "prism_row_key", "prism_order"
_CHUNK = 1 << 20
_TOO_FAR_AHEAD = timedelta(hours=24)


@dataclass(frozen=True)
class _TableColumn:
    is_array: bool
    not_null: bool


@contextmanager
def open_application(source: ApplicationSource, url: str, *, with_texts: bool) -> Iterator[ApplicationReader]:
    """A snapshot of the application's tables at ``url``. ``with_texts`` reads what users typed, too.

    Raises :class:`PrismError` where the database can't be reached, a required table or column is missing
    or the role may not read it all.
    """
    setting = f"sources: {source.name}: url"
    with connect(url, setting=setting) as connection:
        connection.prepare_threshold = None  # a pooler in between would keep what is prepared
        connection.execute("set transaction isolation level repeatable read, read only")
        connection.execute("set local row_security = off")
        connection.execute("set local timezone = 'UTC'")
        connection.execute("set local datestyle = 'ISO'")
        connection.execute("set local extra_float_digits = 1")
        connection.execute("set local statement_timeout = 0")
        connection.execute("set local idle_in_transaction_session_timeout = 0")
        yield ApplicationReader(source, url, connection, with_texts=with_texts)
        if not connection.closed:
            connection.rollback()


class ApplicationReader:
    """The tables of one application, in one snapshot."""

    readings: Mapping[str, Reading] = {}

    def __init__(
        self, source: ApplicationSource, url: str, connection: psycopg.Connection, *, with_texts: bool
    ) -> None:
        self._source = source
        self._connection = connection
        self._with_texts = with_texts
        self._where = f"sources: {source.name}: {describe(url)}, schema {source.db_schema}"
        self._tables = {entity: self._columns(table) for entity, table in _TABLES.items()}
        self._check()
        self.description = f"{describe(url)}, tables " + ", ".join(
            table for entity, table in _TABLES.items() if self._tables[entity]
        )
        self.entities: Sequence[Entity] = [entity for entity, columns in self._tables.items() if columns]

    def _columns(self, table: str) -> dict[str, _TableColumn]:
        rows = self._connection.execute(
            """
            select a.attname, t.typcategory = 'A', a.attnotnull
            from pg_attribute as a
            inner join pg_class as c on a.attrelid = c.oid
            inner join pg_namespace as n on c.relnamespace = n.oid
            inner join pg_type as t on a.atttypid = t.oid
            where n.nspname = %s and c.relname = %s and c.relkind in ('r', 'p', 'v', 'm', 'f')
                and a.attnum > 0 and not a.attisdropped
            """,
            [self._source.db_schema, table],
        ).fetchall()
        return {str(name): _TableColumn(bool(is_array), bool(not_null)) for name, is_array, not_null in rows}

    def _check(self) -> None:
        """Stops before anything is loaded where a table or column is missing that nothing works without."""
        for entity, table in _TABLES.items():
            columns = self._tables[entity]
            if not columns:
                if table in _NEEDED_TABLES:
                    raise PrismError(
                        f"there is no table {table}",
                        where=self._where,
                        mend="Correct `url:` or `schema:` of this source in prism.yaml, "
                        "or grant the role the use of the schema.",
                    )
                continue
            needed = [
                _NAMES[entity].get(name, name)
                for name, column in CANONICAL[entity].items()
                if column.required
            ]
            missing = [
                name
                for name in dict.fromkeys([*_ALSO_NEEDED.get(entity, ()), *needed])
                if name not in columns
            ]
            if missing:
                raise PrismError(
                    f"the table {table} has no column {', '.join(missing)}",
                    where=self._where,
                    mend="Prism can't do without. Add it there, or make a view with it in another schema "
                    "and name that in `schema:`.",
                )

    def batches(self, entity: Entity, watermarks: Watermarks) -> Generator[Batch]:
        """The rows of one table; of usage those since the watermark, less the overlap."""
        table = _TABLES[entity]
        place = f"{self._source.db_schema}.{table}"
        columns = self._tables[entity]
        given = {
            name: _NAMES[entity].get(name, name)
            for name in CANONICAL[entity]
            if _NAMES[entity].get(name, name) in columns
            and (self._with_texts or entity != "usage" or name not in _TEXTS)
        }
        selected = [
            sql.SQL("array_to_json({}) as {}" if columns[theirs].is_array else "{} as {}").format(
                sql.Identifier(theirs), sql.Identifier(name)
            )
            for name, theirs in given.items()
        ]
        mark = watermarks.get(place)
        if entity == "usage":
            order, since = self._since(columns, mark)
            key: sql.Composable = sql.Identifier("id")
        else:
            order, since = sql.SQL("null::timestamptz"), None
            key = (
                sql.Identifier("id")
                if "id" in columns
                else sql.SQL(" || '/' || ").join(
                    sql.SQL("coalesce({}::text, '')").format(sql.Identifier(given[name]))
                    for name, column in CANONICAL[entity].items()
                    if column.required
                )
            )
        selected += [
            sql.SQL("{} as {}").format(key, sql.Identifier(_KEY)),
            # what lies ahead of the clock must not move the watermark
            sql.SQL("case when {order} <= now() then {order} end as {name}").format(
                order=order, name=sql.Identifier(_ORDER)
            ),
        ]
        query = sql.SQL("select {} from {}").format(
            sql.SQL(", ").join(selected), sql.Identifier(self._source.db_schema, table)
        )
        if since is not None:
            query += sql.SQL(" where {order} >= {since} or {order} is null").format(
                order=order, since=sql.Literal(since)
            )
        if entity == "usage":
            query += sql.SQL(" order by {}, id").format(order)
        assembly = Assembly(entity, place)
        text = CsvText(self._copy(query, place), header=[*given, _KEY, _ORDER])
        for piece in text.pieces(text.header):
            if assembly.full:
                batch = assembly.take(None)
                mark = _moved(mark, batch)
                yield _with_mark(batch, mark if entity == "usage" else None)
            assembly.add(piece.columns, piece.columns[_KEY], [])
        batch = assembly.take(None)
        mark = _moved(mark, batch)
        yield _with_mark(batch, mark if entity == "usage" else None)

    def _since(
        self, columns: Mapping[str, _TableColumn], mark: Mapping[str, Any] | None
    ) -> tuple[sql.Composable, datetime | None]:
        """What usage is ordered by, and from where on it is read (null: from the start)."""
        if "updated_at" in columns:
            back = timedelta(minutes=self._source.overlap_minutes)
            order: sql.Composable = sql.Identifier("updated_at")
            if not columns["updated_at"].not_null:
                order = sql.SQL("coalesce(updated_at, created_at)")
        else:
            back = timedelta(days=self._source.reread_days)
            order = sql.Identifier("created_at")
        if mark is None:
            return order, None
        last = datetime.fromisoformat(str(mark["read_to"]))
        row = self._connection.execute("select now()").fetchone()
        now = row[0] if row else datetime.now(UTC)
        if last > now + _TOO_FAR_AHEAD:
            raise PrismError(
                f"the last load read up to {last:%Y-%m-%d %H:%M} UTC, which lies in the future: "
                "what was written since would be passed over",
                where=self._where,
                mend="Set the clock of that server right. If the watermark is wrong, set it to null in this "
                "source's rows of raw.load_batches: the next load reads everything again.",
            )
        return order, min(last, now) - back

    def _copy(self, query: sql.Composable, place: str) -> Iterator[bytes]:
        """The query's rows as CSV, as the server sends them."""
        try:
            with (
                self._connection.cursor() as cursor,
                cursor.copy(sql.SQL("copy ({}) to stdout (format csv)").format(query)) as copy,
            ):
                parts: list[bytes] = []
                size = 0
                for row in copy:
                    parts.append(bytes(row))
                    size += len(row)
                    if size >= _CHUNK:
                        yield b"".join(parts)
                        parts, size = [], 0
                yield b"".join(parts)
        except psycopg.errors.InsufficientPrivilege as error:
            filtered = "row-level security" in str(error)
            raise PrismError(
                f"the role sees only some rows of {place}" if filtered else f"the role may not read {place}",
                where=self._where,
                mend="Row level security filters them. Use a role with BYPASSRLS, or the owner of the tables."
                if filtered
                else f"Have its owner run: grant select on {place} to that role.",
            ) from None
        except psycopg.OperationalError as error:
            raise SourceLostError(
                f"the connection was lost while {place} was read: {' '.join(str(error).split())}"
            ) from error
        except psycopg.Error as error:
            raise PrismError(
                f"{place} can't be read: {' '.join(str(error).split())}", where=self._where
            ) from error


def _moved(mark: Mapping[str, Any] | None, batch: Batch) -> Mapping[str, Any] | None:
    """The watermark after a batch: never before where it was."""
    order = batch.columns.get(_ORDER)
    last = None
    if order is not None and order.null_count < len(order):
        last = order.drop_null()[-1].as_py()  # the rows come in this order
    if last is None or (
        mark is not None and datetime.fromisoformat(last) <= datetime.fromisoformat(str(mark["read_to"]))
    ):
        return mark
    return {"read_to": last}


def _with_mark(batch: Batch, mark: Mapping[str, Any] | None) -> Batch:
    columns: dict[str, pa.Array] = {
        name: array for name, array in batch.columns.items() if name not in (_KEY, _ORDER)
    }
    return Batch(batch.entity, batch.place, columns, batch.rows, batch.rejects, mark)
