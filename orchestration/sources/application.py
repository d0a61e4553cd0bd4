"""The application's PostgreSQL (Supabase and others): prompts, versions, agents, mappings, usage.

All is read in one snapshot, read only, with row security off: a role that sees only some of the rows is
an error, not a small source. Usage comes in the order of (updated_at, id), from some time before the
last watermark on. Uses that were deleted there, and changes that leave ``updated_at`` as it was, are found
by comparing the last days. What it can't know: what happened so to older ones.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

from psycopg import sql

from orchestration.database import describe
from orchestration.errors import PrismError
from orchestration.settings import ApplicationSource
from orchestration.sources.comparison import INSTANTS, Comparison
from orchestration.sources.protocol import CANONICAL, Batch, Entity, Reading, Watermarks
from orchestration.sources.snapshot import Snapshot, TableColumn, open_snapshot

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


@contextmanager
def open_application(source: ApplicationSource, url: str, *, with_texts: bool) -> Iterator[ApplicationReader]:
    """A snapshot of the application's tables at ``url``. ``with_texts`` reads what users typed, too.

    Raises :class:`PrismError` where the database can't be reached, a required table or column is missing
    or the role may not read it all.
    """
    where = f"sources: {source.name}: {describe(url)}, schema {source.db_schema}"
    with open_snapshot(url, setting=f"sources: {source.name}: url", where=where) as snapshot:
        yield ApplicationReader(source, url, snapshot, where, with_texts=with_texts)


class ApplicationReader:
    """The tables of one application, in one snapshot."""

    readings: Mapping[str, Reading] = {}

    def __init__(
        self, source: ApplicationSource, url: str, snapshot: Snapshot, where: str, *, with_texts: bool
    ) -> None:
        self._source = source
        self._snapshot = snapshot
        self._with_texts = with_texts
        self._where = where
        self._tables = {
            entity: snapshot.columns(source.db_schema, table) for entity, table in _TABLES.items()
        }
        self._check()
        self.description = f"{describe(url)}, tables " + ", ".join(
            table for entity, table in _TABLES.items() if self._tables[entity]
        )
        self.entities: Sequence[Entity] = [entity for entity, columns in self._tables.items() if columns]

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
        place, table_name = self._place(entity)
        columns = self._tables[entity]
        given = self._given(entity)
        selected = self._selected(entity)
        if entity != "usage":
            key: sql.Composable = (
                sql.Identifier("id")
                if "id" in columns
                else sql.SQL(" || '/' || ").join(
                    sql.SQL("coalesce({}::text, '')").format(sql.Identifier(given[name]))
                    for name, column in CANONICAL[entity].items()
                    if column.required
                )
            )
            read = self._snapshot.batches(entity, place, selected, table_name, key=key)
        else:
            mark = watermarks.get(place)
            order, back = self._order(columns)
            read = self._snapshot.batches(
                entity,
                place,
                selected,
                table_name,
                key=sql.Identifier("id"),
                order=order,
                since=None if order is None else self._snapshot.since(mark, back),
                mark=mark,
            )
        note = self._unread(entity)
        for batch in read:
            yield replace(batch, note=note)

    def _unread(self, entity: Entity) -> str | None:
        """The columns that nothing reads, new ones among them, in words."""
        known = {*_TEXTS, *(_NAMES[entity].get(name, name) for name in CANONICAL[entity])}
        unread = sorted(repr(name) for name in self._tables[entity] if name not in known)
        return f"columns that are not read: {', '.join(unread)}"[:1000] if unread else None

    def comparison(self) -> Comparison | None:
        """The last days of usage, to be compared with what was loaded of them."""
        columns = self._tables["usage"]
        if not self._source.compare_days or columns["created_at"].type not in INSTANTS:
            return None
        place, table = self._place("usage")
        return Comparison(
            self._snapshot,
            place,
            table,
            columns=self._selected("usage"),
            types={name: columns[theirs] for name, theirs in self._given("usage").items()},
            days=self._source.compare_days,
        )

    def _place(self, entity: Entity) -> tuple[str, sql.Identifier]:
        """A table's name for people, and for SQL."""
        schema, table = self._source.db_schema, _TABLES[entity]
        return f"{schema}.{table}", sql.Identifier(schema, table)

    def _given(self, entity: Entity) -> dict[str, str]:
        """What the table has of the canonical columns, and what it calls them."""
        return {
            name: _NAMES[entity].get(name, name)
            for name in CANONICAL[entity]
            if _NAMES[entity].get(name, name) in self._tables[entity]
            and (self._with_texts or entity != "usage" or name not in _TEXTS)
        }

    def _selected(self, entity: Entity) -> dict[str, sql.Composable]:
        """How each canonical column is read."""
        return {
            name: sql.SQL("array_to_json({})" if self._tables[entity][theirs].is_array else "{}").format(
                sql.Identifier(theirs)
            )
            for name, theirs in self._given(entity).items()
        }

    def _order(self, columns: Mapping[str, TableColumn]) -> tuple[sql.Composable | None, timedelta]:
        """What usage is ordered by, and how far before its watermark it is read again.

        Where its times are no times there, nothing tells what is new, and all of it is read.
        """
        if columns["created_at"].type not in INSTANTS:
            return None, timedelta()
        if "updated_at" not in columns or columns["updated_at"].type not in INSTANTS:
            return sql.Identifier("created_at"), timedelta(days=self._source.reread_days)
        back = timedelta(minutes=self._source.overlap_minutes)
        if columns["updated_at"].not_null:
            return sql.Identifier("updated_at"), back
        return sql.SQL("coalesce(updated_at, created_at)"), back
