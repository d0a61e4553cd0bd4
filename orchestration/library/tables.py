"""The application's tables of the library: what of them is there, and rows read and written.

Knows SQL and no rules: what may become of a prompt is decided in :mod:`~.store`. An application may lack
columns and tables, and may have ids of any type.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, LiteralString
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from orchestration.errors import PrismError
from orchestration.library.prompts import FIELDS, LISTS, TEXTS, Change, Event, Prompt, Value

_COLUMNS = tuple(name for name in FIELDS if name != "agents")
_TIMES = ("created_at", "updated_at")
_KEPT = ("prompts", "prompt_versions", "prompt_changes", "agents", "agent_prompts", "prompt_usage")


class Tables:
    """One application's tables, over a connection that they have to themselves.

    ``has``: table -> its columns, each with whether it has a default; none where there is no such table.
    """

    def __init__(self, connection: psycopg.Connection, schema: str, where: str) -> None:
        """``where`` names the place for messages."""
        self.connection = connection
        self.where = where
        self._schema = schema
        with self.reading():
            self.has = {table: self._columns(table) for table in _KEPT}

    @contextmanager
    def reading(self) -> Iterator[psycopg.Connection]:
        """One snapshot of all rows: a role that sees only some of them is refused."""
        with self._told(), self.connection.transaction():
            self.connection.execute("set transaction isolation level repeatable read, read only")
            self.connection.execute("set local row_security = off")
            yield self.connection

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One transaction. All rows are read until :meth:`policies_on`."""
        with self._told(), self.connection.transaction():
            self.connection.execute("set local row_security = off")
            self.connection.execute("set local lock_timeout = '30s'")
            yield

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What the server says, as messages of ours."""
        try:
            yield
        except psycopg.errors.InsufficientPrivilege as error:
            told = error.diag.message_primary or ""
            raise PrismError(
                f"the role may not do this: {told}",
                where=self.where,
                mend="Row level security hides rows from it: use the owner of the tables or a role with "
                "BYPASSRLS."
                if "row-level security" in told
                else "Have the owner of the tables grant it.",
            ) from None
        except psycopg.errors.LockNotAvailable:
            raise PrismError(
                "another change of the library has been under way for over 30 s",
                where=self.where,
                mend="Wait until it is done, and try again.",
            ) from None
        except (psycopg.errors.InvalidTextRepresentation, psycopg.errors.NumericValueOutOfRange) as error:
            raise PrismError(
                f"the application can't keep this value: {error.diag.message_primary}", where=self.where
            ) from None
        except psycopg.errors.IntegrityError as error:
            raise PrismError(
                f"the application refuses this: {error.diag.message_primary}"
                + (f" ({error.diag.message_detail})" if error.diag.message_detail else ""),
                where=self.where,
                mend="Nothing was changed.",
            ) from None
        except psycopg.Error as error:
            raise PrismError(
                f"the application's database says: {' '.join(str(error).split())}", where=self.where
            ) from error

    def alone(self) -> None:
        """Waits until nobody else changes the library through Prism, and keeps others out until the end."""
        self.connection.execute(
            "select pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"prism.library.{self._schema}"]
        )

    def policies_on(self) -> None:
        """What is written from here on goes through the role's own policies."""
        self.connection.execute("set local row_security = on")

    def _columns(self, table: str) -> dict[str, bool]:
        """A table's columns, and whether each has a default; none where there is no such table."""
        rows = self.connection.execute(
            """
            select a.attname, a.atthasdef or a.attidentity <> ''
            from pg_attribute as a
            inner join pg_class as c on a.attrelid = c.oid
            inner join pg_namespace as n on c.relnamespace = n.oid
            where n.nspname = %s and c.relname = %s and c.relkind in ('r', 'p', 'v', 'f')
                and a.attnum > 0 and not a.attisdropped
            """,
            [self._schema, table],
        ).fetchall()
        return {str(name): bool(default) for name, default in rows}

    def table(self, name: str) -> sql.Identifier:
        return sql.Identifier(self._schema, name)

    def rows(self, query: LiteralString, table: str, parameters: Any = None) -> list[dict[str, Any]]:
        """The rows of a query that names its one table as ``{}``."""
        with self.connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(sql.SQL(query).format(self.table(table)), parameters).fetchall()

    def load(self, *, ids: Sequence[str] | None = None, key: str | None = None) -> list[Prompt]:
        """Prompts in the order of their names: of these ids, or of an id or name; all without either."""
        columns = [name for name in (*_COLUMNS, *_TIMES) if name in self.has["prompts"]]
        query = sql.SQL(
            "select id::text as id, {} from {} as p"
            " where (%(ids)s::text[] is null or p.id::text = any(%(ids)s))"
            " and (%(key)s::text is null or p.id::text = %(key)s or p.name = %(key)s)"
            " order by p.name, p.id"
        ).format(
            sql.SQL(", ").join(sql.SQL("p.{}").format(sql.Identifier(name)) for name in columns),
            self.table("prompts"),
        )
        with self.connection.cursor(row_factory=dict_row) as cursor:
            given = {"ids": _listed(ids), "key": key}
            rows = cursor.execute(query, given).fetchall()
        if ids is not None or key is not None:
            ids = [row["id"] for row in rows]
        agents, versions, generated = self._mapped(ids), self.newest_versions(ids), self._generated(ids)
        prompts = []
        for row in rows:
            fields: dict[str, Any] = {
                name: _words(row.get(name)) if name in LISTS else row.get(name) or None for name in _COLUMNS
            }
            number, *texts = versions.get(row["id"], (None, None, None))
            in_force = [row.get(name) or None for name in TEXTS] == [text or None for text in texts]
            prompts.append(
                Prompt(
                    **{**fields, "name": row["name"] or ""},
                    id=row["id"],
                    agents=tuple(sorted(agents.get(row["id"], ()))),
                    version=number if in_force else None,
                    starter_is_generated=fields["prompt_starter"] is not None
                    and generated.get(row["id"]) == fields["prompt_starter"],
                    created_at=row.get("created_at"),
                    updated_at=row.get("updated_at"),
                )
            )
        return prompts

    def changes(
        self,
        *,
        change_id: int | None = None,
        ids: Sequence[str] | None = None,
        gone: str | None = None,
        limit: int | None = None,
    ) -> list[Event]:
        """What is on record, the latest first: of a change, of prompts, of one that is gone by id or name."""
        if not self.has["prompt_changes"]:
            return []
        rows = self.rows(
            "select * from {} where (%(change_id)s::bigint is null or change_id = %(change_id)s)"
            " and (%(ids)s::text[] is null or prompt_id = any(%(ids)s))"
            " and (%(gone)s::text is null or %(gone)s in (prompt_id, prompt_name))"
            " order by change_id desc, prompt_name limit %(limit)s",
            "prompt_changes",
            {"change_id": change_id, "ids": _listed(ids), "gone": gone, "limit": limit},
        )
        return [_event(row) for row in rows]

    def versions(self, prompt: Prompt) -> list[Event]:
        """A prompt's versions."""
        if not self.has["prompt_versions"]:
            return []
        rows = self.rows("select * from {} where prompt_id = %s", "prompt_versions", [prompt.id])
        return [
            Event(
                change_id=None,
                prompt_id=prompt.id,
                prompt_name=prompt.name,
                action="version",
                changed={},
                version=int(row["version"]) if str(row["version"]).isdecimal() else None,
                changed_at=row.get("created_at"),
                changed_by=row.get("created_by"),
                reason=row.get("note"),
            )
            for row in rows
        ]

    def _mapped(self, ids: Sequence[str] | None) -> dict[str, list[str]]:
        if not (self.has["agents"] and self.has["agent_prompts"]):
            return {}
        query = sql.SQL(
            "select m.prompt_id::text, array_agg(distinct a.name::text) from {} as m"
            " inner join {} as a on m.agent_id = a.id"
            " where %(ids)s::text[] is null or m.prompt_id::text = any(%(ids)s) group by 1"
        ).format(self.table("agent_prompts"), self.table("agents"))
        return dict(self.connection.execute(query, {"ids": _listed(ids)}).fetchall())

    def newest_versions(self, ids: Sequence[str] | None) -> dict[str, tuple[int, str | None, str | None]]:
        """The newest version of each prompt, with its texts."""
        if not {"prompt_id", "version", *TEXTS} <= set(self.has["prompt_versions"]):
            return {}
        query = sql.SQL(
            "select distinct on (prompt_id) prompt_id::text, version::integer, system_prompt,"
            " user_prompt_template from {}"
            " where (%(ids)s::text[] is null or prompt_id::text = any(%(ids)s))"
            " and version::text ~ '^[0-9]{{1,9}}$'"  # what an application numbers otherwise is none of ours
            " order by prompt_id, version::integer desc"
        ).format(self.table("prompt_versions"))
        rows = self.connection.execute(query, {"ids": _listed(ids)}).fetchall()
        return {str(key): (int(number), system, user) for key, number, system, user in rows}

    def _generated(self, ids: Sequence[str] | None) -> dict[str, str]:
        """The starters that were made by rules, where that is the last that is known of them."""
        if not self.has["prompt_changes"]:
            return {}
        query = sql.SQL(
            "select distinct on (prompt_id) prompt_id,"
            " case action when 'starters' then changed -> 'prompt_starter' ->> 'after' end"
            " from {} where changed ? 'prompt_starter'"
            " and (%(ids)s::text[] is null or prompt_id = any(%(ids)s))"
            " order by prompt_id, change_id desc"
        ).format(self.table("prompt_changes"))
        rows = self.connection.execute(query, {"ids": _listed(ids)}).fetchall()
        return {key: starter for key, starter in rows if starter is not None}

    def used(self, ids: Sequence[str]) -> set[str]:
        """Which of the prompts were ever used."""
        if not ids or "prompt_id" not in self.has["prompt_usage"]:
            return set()
        query = sql.SQL(
            "select p.id::text from {} as p where p.id::text = any(%s)"
            " and exists (select from {} as u where u.prompt_id = p.id)"
        ).format(self.table("prompts"), self.table("prompt_usage"))
        return {str(row[0]) for row in self.connection.execute(query, [list(ids)])}

    def ids_of(self, names: Iterable[str]) -> list[tuple[str, str]]:
        """Name and id of the prompts that have one of these names."""
        rows = self.rows("select name, id::text as id from {} where name = any(%s)", "prompts", [list(names)])
        return [(str(row["name"]), row["id"]) for row in rows]

    def names(self, table: str) -> list[str]:
        """The names in ``prompts`` or ``agents``, in order; none where there is no such table."""
        if not self.has[table]:
            return []
        return [str(row["name"]) for row in self.rows("select name from {} order by name", table)]

    def lock(self, ids: Sequence[str]) -> None:
        """Holds prompts until the transaction's end: nobody changes or uses them meanwhile."""
        self.rows("select id from {} where id::text = any(%s) order by id for update", "prompts", [list(ids)])

    def next_change_id(self) -> int:
        """The number of a new change."""
        sequence = sql.Identifier(self._schema, "prompt_change_ids").as_string(self.connection)
        row = self.connection.execute("select nextval(%s::regclass)", [sequence]).fetchone()
        assert row is not None
        return int(row[0])

    def agent_ids(self, names: Iterable[str]) -> dict[str, str]:
        if not self.has["agents"]:
            return {}
        query = sql.SQL("select name::text, id::text from {} where name = any(%s)")
        rows = self.connection.execute(query.format(self.table("agents")), [list(names)]).fetchall()
        return dict(rows)

    def needs(self, table: str, *columns: str) -> None:
        if not self.has[table]:
            raise PrismError(
                f"the application keeps no {table}",
                where=self.where,
                mend="Have its missing tables made: prism db setup --application",
            )
        for column in columns:
            if column not in self.has[table]:
                raise PrismError(
                    f"the application's table {table} has no column {column}",
                    where=self.where,
                    mend="Add it there, or leave this field alone.",
                )

    def execute(self, query: LiteralString, table: str, values: Sequence[Any]) -> int:
        """Runs a statement that names its one table as ``{}``; returns how many rows it touched."""
        return self.connection.execute(sql.SQL(query).format(self.table(table)), values).rowcount

    def insert_row(
        self, table: str, values: Mapping[str, Any], returning: LiteralString = ""
    ) -> psycopg.Cursor:
        return self.connection.execute(
            sql.SQL("insert into {} ({}) values ({}) {}").format(
                self.table(table),
                sql.SQL(", ").join(map(sql.Identifier, values)),
                sql.SQL(", ").join([sql.Placeholder()] * len(values)),
                sql.SQL(returning),
            ),
            list(values.values()),
        )

    def _one(self, touched: int, prompt: Prompt) -> None:
        if touched != 1:
            raise PrismError(
                "the application left it as it was, without saying why",
                where=f"prompt {prompt.name!r}",
                mend="A trigger or a rule of its own stops the change. Nothing was changed.",
            )

    def insert(self, prompt: Prompt) -> Prompt:
        """Writes a new prompt; what it does not say is left to the application's defaults."""
        values = {
            name: _value(prompt.fields[name]) for name in _COLUMNS if prompt.fields[name] not in (None, ())
        }
        if prompt.id or not self.has["prompts"]["id"]:
            values["id"] = prompt.id or str(uuid4())
        row = self.insert_row("prompts", values, "returning id::text").fetchone()
        assert row is not None
        return replace(prompt, id=str(row[0]))

    def update(self, prompt: Prompt, fields: Iterable[str]) -> None:
        """Writes these fields of a prompt."""
        sets: list[sql.Composable] = [sql.SQL("{} = %s").format(sql.Identifier(name)) for name in fields]
        if "updated_at" in self.has["prompts"]:
            sets.append(sql.SQL("updated_at = now()"))
        query = sql.SQL("update {} set {} where id = %s")
        done = self.connection.execute(
            query.format(self.table("prompts"), sql.SQL(", ").join(sets)),
            [*(_value(prompt.fields[name]) for name in fields), prompt.id],
        )
        self._one(done.rowcount, prompt)

    def delete(self, prompt: Prompt) -> None:
        """Deletes a prompt with its versions and mappings."""
        for table in ("agent_prompts", "prompt_versions"):
            if self.has[table]:
                self.execute("delete from {} where prompt_id = %s", table, [prompt.id])
        self._one(self.execute("delete from {} where id = %s", "prompts", [prompt.id]), prompt)

    def map(self, prompt: Prompt) -> None:
        """Has the prompt mapped to its agents and no others; mappings that stay are not touched."""
        ids = list(self.agent_ids(prompt.agents).values())
        self.execute(
            "delete from {} where prompt_id = %s and not agent_id::text = any(%s)",
            "agent_prompts",
            [prompt.id, ids],
        )
        mappings, agents = self.table("agent_prompts"), self.table("agents")
        self.connection.execute(
            sql.SQL(
                "insert into {mappings} (prompt_id, agent_id)"
                " select p.id, a.id from {prompts} as p cross join {agents} as a"
                " where p.id = %(prompt)s and a.id::text = any(%(agents)s) and not exists"
                " (select from {mappings} as m where m.prompt_id = p.id and m.agent_id = a.id)"
            ).format(mappings=mappings, agents=agents, prompts=self.table("prompts")),
            {"prompt": prompt.id, "agents": ids},
        )

    def record(
        self, change_id: int, change: Change, action: str, version: int | None, by: str, why: str | None
    ) -> None:
        """Puts one prompt's part of a change on record."""
        changed = {name: {"before": old, "after": new} for name, (old, new) in change.fields.items()}
        self.insert_row(
            "prompt_changes",
            {
                "change_id": change_id,
                "prompt_id": change.prompt.id,
                "prompt_name": change.prompt.name,
                "action": action,
                "changed": Jsonb(changed),
                "version": version,
                "changed_by": by,
                "reason": why,
            },
        )

    def insert_version(
        self, prompt: Prompt, number: int, moment: datetime | None, by: str | None, note: str | None
    ) -> None:
        values: dict[str, Any] = {
            "prompt_id": prompt.id, "version": number, "system_prompt": prompt.system_prompt,
            "user_prompt_template": prompt.user_prompt_template, "created_by": by, "note": note,
        }  # fmt: skip
        if moment is not None:
            values["created_at"] = moment
        kept = {name: value for name, value in values.items() if name in self.has["prompt_versions"]}
        self.insert_row("prompt_versions", kept)


def _words(value: Any) -> tuple[str, ...]:
    """A list of words, also where the application keeps them as a text with commas."""
    listed = value.split(",") if isinstance(value, str) else value or ()
    return tuple(word.strip() for word in listed if isinstance(word, str) and word.strip())


def _value(value: Value) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _listed(ids: Sequence[str] | None) -> list[str] | None:
    return None if ids is None else list(ids)


# jsonb keeps its keys in an order of its own
_ORDER = {name: place for place, name in enumerate(FIELDS)}


def _event(row: Mapping[str, Any]) -> Event:
    changed = sorted(row["changed"].items(), key=lambda one: _ORDER.get(one[0], len(_ORDER)))
    return Event(
        change_id=int(row["change_id"]),
        prompt_id=row["prompt_id"],
        prompt_name=row["prompt_name"],
        action=row["action"],
        changed={name: (pair["before"], pair["after"]) for name, pair in changed},
        version=row["version"],
        changed_at=row["changed_at"],
        changed_by=row["changed_by"],
        reason=row["reason"],
    )
