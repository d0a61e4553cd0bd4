"""A PostgreSQL that rows are read from: one snapshot, read only, row security off, rows by COPY.

Knows nothing of what the tables mean, and nothing of the warehouse.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql
from psycopg.abc import Buffer
from psycopg.adapt import Loader

from orchestration.database import connect
from orchestration.errors import PrismError
from orchestration.sources.csv_text import CsvText
from orchestration.sources.protocol import Assembly, Batch, Entity, SourceLostError

_CHUNK = 1 << 20
_TOO_FAR_AHEAD = timedelta(hours=24)
# what each row is selected with beside its columns: what it is called, and what moves the watermark
_KEY, _ORDER = "prism_row_key", "prism_order"


@dataclass(frozen=True)
class TableColumn:
    """A column of a table as its database has it."""

    type: str
    is_array: bool
    not_null: bool


@contextmanager
def open_snapshot(url: str, *, setting: str, where: str) -> Iterator[Snapshot]:
    """The database at ``url``; ``setting`` names where that stands, ``where`` the place, for messages."""
    with connect(url, setting=setting) as connection:
        connection.execute("set transaction isolation level repeatable read, read only")
        connection.execute("set local row_security = off")
        # SQL_ASCII is no encoding: what it holds is handed over as it is, and judged value by value
        plain = connection.info.parameter_status("server_encoding") == "SQL_ASCII"
        connection.execute(f"set local client_encoding = '{'SQL_ASCII' if plain else 'UTF8'}'")
        connection.execute("set local timezone = 'UTC'")
        connection.execute("set local datestyle = 'ISO'")
        connection.execute("set local extra_float_digits = 1")
        connection.execute("set local statement_timeout = 0")
        connection.execute("set local idle_in_transaction_session_timeout = 0")
        for type_ in ("text", "varchar", "name"):
            connection.adapters.register_loader(type_, _AnyText)
        yield Snapshot(connection, where)
        if not connection.closed:
            connection.rollback()


class _AnyText(Loader):
    """Text of SQL_ASCII may hold any bytes; what of it is not UTF-8 was not loaded, and is no key here."""

    def load(self, data: Buffer) -> str:
        return bytes(data).decode("utf-8", "replace")


class Snapshot:
    """The tables of one database as they stood at one moment."""

    def __init__(self, connection: psycopg.Connection, where: str) -> None:
        self._connection = connection
        self._where = where

    def columns(self, schema: str, table: str) -> dict[str, TableColumn]:
        """A table's columns by name; none where there is no such table."""
        rows = self._connection.execute(
            """
            select a.attname, t.typname, t.typcategory = 'A', a.attnotnull
            from pg_attribute as a
            inner join pg_class as c on a.attrelid = c.oid
            inner join pg_namespace as n on c.relnamespace = n.oid
            inner join pg_type as t on a.atttypid = t.oid
            where n.nspname = %s and c.relname = %s and c.relkind in ('r', 'p', 'v', 'm', 'f')
                and a.attnum > 0 and not a.attisdropped
            """,
            [schema, table],
        ).fetchall()
        return {
            str(name): TableColumn(str(type_), bool(is_array), bool(not_null))
            for name, type_, is_array, not_null in rows
        }

    @property
    def is_translated(self) -> bool:
        """Whether texts have other bytes in the database than here."""
        return self._connection.info.parameter_status("server_encoding") not in ("UTF8", "SQL_ASCII")

    def may_read(self, schema: str, table: str) -> bool:
        """Whether there is such a table and the role may select from it."""
        row = self._connection.execute(
            """
            select has_table_privilege(c.oid, 'select') and has_schema_privilege(n.oid, 'usage')
            from pg_class as c
            inner join pg_namespace as n on c.relnamespace = n.oid
            where n.nspname = %s and c.relname = %s
            """,
            [schema, table],
        ).fetchone()
        return bool(row and row[0])

    def types(self, columns: Mapping[str, sql.Composable], table: sql.Composable) -> dict[str, TableColumn]:
        """Of what type each of some expressions over a table is."""
        query = sql.SQL("select {} from {} limit 0").format(sql.SQL(", ").join(columns.values()), table)
        found = {}
        described = self._connection.execute(query).description or ()
        for name, column in zip(columns, described, strict=True):
            known = self._connection.adapters.types.get(column.type_code)
            is_array = known is not None and column.type_code == known.array_oid
            found[name] = TableColumn(known.name if known else "", is_array, not_null=False)
        return found

    def since(self, mark: Mapping[str, Any] | None, back: timedelta) -> datetime | None:
        """From where on to read: what was read last, less the overlap; null: from the start."""
        if mark is None:
            return None
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
        return min(last, now) - back

    def batches(
        self,
        entity: Entity,
        place: str,
        columns: Mapping[str, sql.Composable],
        table: sql.Composable,
        *,
        key: sql.Composable,
        order: sql.Composable | None = None,
        since: datetime | None = None,
        mark: Mapping[str, Any] | None = None,
        where: sql.Composable | None = None,
    ) -> Generator[Batch]:
        """The rows of a table, ``columns`` by canonical name, each called by its ``key``.

        With an ``order`` (a time) they come in it, those at ``since`` and later, and each batch keeps how
        far it read, never before ``mark``. Without one, ``where`` may say which rows.
        """
        instant = order if order is not None else sql.SQL("null::timestamptz")
        selected = [
            sql.SQL("{} as {}").format(column, sql.Identifier(name)) for name, column in columns.items()
        ]
        selected += [
            sql.SQL("{} as {}").format(key, sql.Identifier(_KEY)),
            # what lies ahead of the clock must not move the watermark, nor what no calendar of ours has
            sql.SQL(
                "case when {order} between '1970-01-01' and now() then {order}::timestamptz end as {name}"
            ).format(order=instant, name=sql.Identifier(_ORDER)),
        ]
        query = sql.SQL("select {} from {}").format(sql.SQL(", ").join(selected), table)
        if since is not None:
            query += sql.SQL(" where {order} >= {since} or {order} is null").format(
                order=instant, since=sql.Literal(since)
            )
        if where is not None:
            query += sql.SQL(" where {}").format(where)
        if order is not None:
            query += sql.SQL(" order by {}, {}").format(order, key)
        assembly = Assembly(entity, place)
        text = CsvText(self._copy(query, place), header=[*columns, _KEY, _ORDER])
        for piece in text.pieces(text.header):
            if assembly.full:
                batch = assembly.take(None)
                mark = _moved(mark, batch)
                yield _with_mark(batch, mark)
            assembly.add(piece.columns, piece.columns[_KEY], [])
        batch = assembly.take(None)
        yield _with_mark(batch, _moved(mark, batch))

    def fetch(self, query: sql.Composed, place: str) -> list[tuple[Any, ...]]:
        """The query's rows, all at once."""
        with self._reading(place):
            return self._connection.execute(query).fetchall()

    def _copy(self, query: sql.Composable, place: str) -> Iterator[bytes]:
        """The query's rows as CSV, as the server sends them."""
        with (
            self._reading(place),
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

    @contextmanager
    def _reading(self, place: str) -> Iterator[None]:
        """What the server says against reading ``place``, as messages of ours."""
        try:
            yield
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
        instants = order.cast(pa.string())  # bytes, where another column was not UTF-8
        last = instants.drop_null()[-1].as_py()  # the rows come in this order
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
