"""The prompt library in the application's database: found, changed, put on record.

Every change, of one prompt or of a thousand, is a :class:`~.prompts.ChangeSet` and goes through
:meth:`Library.apply`: one transaction, all or nothing, refused where a prompt is not any more as it was when
the change was made up, each changed text kept as a version, each change on record. Knows nothing of files,
of marts and of how changes are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, LiteralString
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from orchestration.errors import PrismError
from orchestration.library.documents import write_document
from orchestration.library.metrics import Figures, PromptFigures
from orchestration.library.prompts import (
    FIELDS,
    LISTS,
    TEXTS,
    Change,
    ChangeSet,
    Filter,
    InvalidPromptError,
    Prompt,
    check,
    closest,
    diff,
    document_diff,
    with_fields,
)
from orchestration.library.templates import Sandbox

_COLUMNS = tuple(name for name in FIELDS if name != "agents")
_TIMES = ("created_at", "updated_at")
_SEARCHED = 50_000  # characters of a text that its words are taken of: PostgreSQL bounds them too
_KEPT_TABLES = ("prompts", "prompt_versions", "prompt_changes", "agents", "agent_prompts", "prompt_usage")


class ConflictError(PrismError):
    """A prompt is not any more as it was when a change was made up; ``diff`` is what changed since."""

    def __init__(self, what: str, name: str, changed: str = "") -> None:
        self.diff = changed
        mend = "Nothing was changed. Look at it anew and change it again."
        super().__init__(what, where=f"prompt {name!r}", mend=f"{mend}\n{changed}".rstrip())


class PromptNotFoundError(PrismError):
    """There is no prompt of that id or name."""


@dataclass(frozen=True)
class Event:
    """One entry of a prompt's history: a change through Prism, or a version that the application made itself.

    ``changed``: field -> (before, after). ``version`` is the one that it made, if any. Of a version of the
    application's own ``change_id`` is none and ``changed`` empty.
    """

    change_id: int | None
    prompt_id: str
    prompt_name: str
    action: str
    changed: Mapping[str, tuple[Any, Any]]
    version: int | None
    changed_at: datetime | None
    changed_by: str | None
    reason: str | None

    @property
    def makes(self) -> bool:
        """Whether it made the prompt."""
        return "name" in self.changed and self.changed["name"][0] is None

    @property
    def deletes(self) -> bool:
        """Whether it deleted the prompt."""
        return "name" in self.changed and self.changed["name"][1] is None

    def diff(self) -> str:
        """The fields that it changed, as a unified diff of documents."""
        old, new = (
            write_document({name: pair[n] for name, pair in self.changed.items()}, TEXTS) for n in (0, 1)
        )
        return document_diff(
            "" if self.makes else old,
            "" if self.deletes else new,
            "/dev/null" if self.makes else f"a/{self.prompt_name}",
            "/dev/null" if self.deletes else f"b/{self.prompt_name}",
        )


class Library:
    """The prompt library behind one connection, which it has to itself while it is used.

    Methods that change something take ``by`` (who) and ``why``, and with ``dry_run`` only say what they
    would do. ``key`` is a prompt's id or its name.
    """

    def __init__(self, connection: psycopg.Connection, schema: str, sandbox: Sandbox, where: str) -> None:
        """``where`` names the place for messages."""
        self._connection = connection
        self._schema = schema
        self.sandbox = sandbox
        self.where = where
        with self._reading():
            self._has = {table: self._columns(table) for table in _KEPT_TABLES}
        for column in ("id", "name"):
            if column not in self._has["prompts"]:
                what = f"the table prompts has no column {column}" if self._has["prompts"] else ""
                raise PrismError(
                    what or "there is no table prompts",
                    where=where,
                    mend="Correct `url:` or `schema:` of this source in prism.yaml, "
                    "or have the tables made: prism db setup --application",
                )

    # -- finding

    def find(self, wanted: Filter | None = None, figures: Figures | None = None) -> list[Prompt]:
        """The prompts that fit ``wanted``, in the order of their names; all without one.

        Raises :class:`PrismError` where it asks for figures and ``figures`` is none.
        """
        wanted = wanted or Filter()
        if wanted.needs_figures and figures is None:
            raise PrismError(
                "there are no figures yet to choose prompts by", where=self.where, mend="Run: prism run"
            )
        with self._reading():
            found = self._load()
        return [prompt for prompt in found if _fits(prompt, wanted, figures)]

    def get(self, key: str) -> Prompt:
        """The prompt of that id or name. Raises :class:`PromptNotFoundError`."""
        with self._reading():
            found = self._load(sql.SQL("p.id::text = {key} or p.name = {key}").format(key=sql.Literal(key)))
            if not found:
                names = [str(row["name"]) for row in self._rows("select name from {}", "prompts")]
                raise PromptNotFoundError(
                    f"there is no prompt {key!r}", where=self.where, mend=closest(key, names) or None
                )
        return next((prompt for prompt in found if prompt.id == key), found[0])

    def agents(self) -> list[str]:
        """The names of the agents."""
        if not self._has["agents"]:
            return []
        with self._reading():
            rows = self._rows("select name from {} order by name", "agents")
        return [str(row["name"]) for row in rows]

    def history(self, key: str | None = None, *, limit: int | None = None) -> list[Event]:
        """What happened to a prompt, the latest first; without a key, to all of the library.

        A prompt that is gone has a history still, under its id or the name that it had.
        """
        events: list[Event] = []
        with self._reading():
            ids = [prompt.id for prompt in self._load(_by_key(key))] if key is not None else []
            if self._has["prompt_changes"]:
                rows = self._rows(
                    "select * from {} where %(key)s::text is null or prompt_id = any(%(ids)s)"
                    " or %(gone)s and %(key)s in (prompt_id, prompt_name)"
                    " order by change_id desc, prompt_name limit %(limit)s",
                    "prompt_changes",
                    {"ids": ids, "gone": not ids, "key": key, "limit": limit},
                )
                events += [_event(row) for row in rows]
            if ids and self._has["prompt_versions"]:
                known = {event.version for event in events}
                rows = self._rows(
                    "select * from {} where prompt_id::text = any(%s)", "prompt_versions", [ids]
                )
                events += [
                    Event(
                        None, str(row["prompt_id"]), key or "", "version", {}, int(row["version"]),
                        row.get("created_at"), row.get("created_by"), row.get("note"),
                    )
                    for row in rows
                    if int(row["version"]) not in known
                ]  # fmt: skip
        if not events and key is not None and not ids:
            self.get(key)  # says that there is none
        oldest = datetime.min.replace(tzinfo=UTC)
        ordered = sorted(
            events,
            key=lambda one: (one.changed_at or oldest, one.change_id or 0, one.version or 0),
            reverse=True,
        )
        return ordered[:limit]

    def version(self, key: str, version: int) -> dict[str, str | None]:
        """The texts of one version. Raises :class:`PrismError` where it was never kept."""
        self._needs("prompt_versions", *TEXTS)
        prompt = self.get(key)
        with self._reading():
            rows = self._rows(
                "select * from {} where prompt_id::text = %s and version::text = %s",
                "prompt_versions",
                [prompt.id, str(version)],
            )
        if not rows:
            raise PrismError(
                f"there is no version {version} of it",
                where=f"prompt {prompt.name!r}",
                mend=f"prism prompts history {prompt.name!r} lists them.",
            )
        return {name: rows[0][name] for name in TEXTS}

    # -- changing

    def blank(self, *, status: str = "draft", id: str = "") -> Prompt:  # noqa: A002 - the field's name
        """A prompt to be made, with nothing in it yet but a status, where the application keeps one."""
        return Prompt(name="", id=id, status=status if "status" in self._has["prompts"] else None)

    def create(
        self,
        fields: Mapping[str, Any],
        *,
        by: str,
        why: str | None = None,
        dry_run: bool = False,
    ) -> ChangeSet:
        """Makes a prompt. ``fields`` need a ``name``; a status that is left out is ``draft``.

        Raises :class:`InvalidPromptError`, also where the name is taken.
        """
        prompt = with_fields(self.blank(), fields)
        return self.apply(ChangeSet((Change(None, prompt),)), "create", by=by, why=why, dry_run=dry_run)

    def duplicate(
        self,
        key: str,
        name: str,
        *,
        by: str,
        why: str | None = None,
        dry_run: bool = False,
    ) -> ChangeSet:
        """Makes a draft like the prompt under another name, without its agents: it is not in use yet."""
        copy = self.blank()
        fields = {**self.get(key).fields, "name": name, "status": copy.status, "agents": ()}
        made = Change(None, with_fields(copy, fields))
        return self.apply(ChangeSet((made,)), "duplicate", by=by, why=why, dry_run=dry_run)

    def edit(
        self,
        key: str,
        changes: Mapping[str, Any],
        *,
        by: str,
        why: str | None = None,
        expected: Prompt | str | None = None,
        dry_run: bool = False,
    ) -> ChangeSet:
        """Replaces fields of one prompt.

        ``expected`` is the prompt as the person saw it, or its ``revision``: where it has changed since,
        nothing is written and :class:`ConflictError` says what changed.
        """
        prompt = self.get(key)
        if expected is not None:
            seen = expected if isinstance(expected, str) else expected.revision
            if prompt.revision != seen:
                base = self._at_revision(prompt, seen) if isinstance(expected, str) else expected
                raise _changed_since(base, prompt)
        change = Change(prompt, with_fields(prompt, changes))
        return self.apply(ChangeSet((change,)), "edit", by=by, why=why, dry_run=dry_run)

    def bulk(
        self,
        prompts: Iterable[Prompt],
        change: Callable[[Prompt], Mapping[str, Any]],
        *,
        by: str,
        why: str | None = None,
        action: str = "edit",
        dry_run: bool = False,
    ) -> ChangeSet:
        """Replaces fields of many prompts by what ``change`` says of each: all of them or none.

        A dry run's answer can be handed to :meth:`apply` later: it is refused if a prompt changed meanwhile.
        """
        made = tuple(Change(prompt, with_fields(prompt, change(prompt))) for prompt in prompts)
        return self.apply(ChangeSet(made), action, by=by, why=why, dry_run=dry_run)

    def archive(
        self, prompts: Iterable[Prompt], *, by: str, why: str | None = None, dry_run: bool = False
    ) -> ChangeSet:
        """Sets the status ``archived``."""
        return self.bulk(
            prompts, lambda _: {"status": "archived"}, by=by, why=why, action="archive", dry_run=dry_run
        )

    def delete(
        self, prompts: Iterable[Prompt], *, by: str, why: str | None = None, dry_run: bool = False
    ) -> ChangeSet:
        """Deletes prompts; one that was ever used is archived instead, since its uses must stay countable."""
        chosen = list(prompts)
        with self._reading():
            used = self._used([prompt.id for prompt in chosen])
        made, notes = [], []
        for prompt in chosen:
            if prompt.id in used:
                made.append(Change(prompt, replace(prompt, status="archived")))
                notes.append(f"{prompt.name} has uses, so it is archived, not deleted")
            else:
                made.append(Change(prompt, None))
        return self.apply(ChangeSet(tuple(made), tuple(notes)), "delete", by=by, why=why, dry_run=dry_run)

    def map(
        self,
        prompts: Iterable[Prompt],
        agents: Sequence[str],
        *,
        by: str,
        why: str | None = None,
        dry_run: bool = False,
    ) -> ChangeSet:
        """Lets agents use prompts. Raises :class:`InvalidPromptError` for an agent that is not known."""
        return self.bulk(
            prompts,
            lambda prompt: {"agents": {*prompt.agents, *agents}},
            by=by,
            why=why,
            action="map",
            dry_run=dry_run,
        )

    def unmap(
        self,
        prompts: Iterable[Prompt],
        agents: Sequence[str],
        *,
        by: str,
        why: str | None = None,
        dry_run: bool = False,
    ) -> ChangeSet:
        """Takes prompts from agents."""
        return self.bulk(
            prompts,
            lambda prompt: {"agents": set(prompt.agents) - set(agents)},
            by=by,
            why=why,
            action="unmap",
            dry_run=dry_run,
        )

    def revert(
        self, key: str, version: int, *, by: str, why: str | None = None, dry_run: bool = False
    ) -> ChangeSet:
        """Brings back the texts of a version, as a new version."""
        texts = self.version(key, version)
        prompt = self.get(key)
        change = Change(prompt, with_fields(prompt, texts))
        return self.apply(ChangeSet((change,)), "revert", by=by, why=why, dry_run=dry_run)

    def undo(self, change_id: int, *, by: str, why: str | None = None, dry_run: bool = False) -> ChangeSet:
        """Takes back a whole change, of however many prompts, as a new change.

        Fields that it did not touch stay as they are now. Raises :class:`ConflictError` where one that it
        did touch has been changed since.
        """
        self._needs("prompt_changes")
        with self._reading():
            rows = self._rows(
                "select * from {} where change_id = %s order by prompt_name",
                "prompt_changes",
                [change_id],
            )
            events = [_event(row) for row in rows]
            ids = [event.prompt_id for event in events]
            now = {prompt.id: prompt for prompt in self._load(_by_ids(ids))}
            used = self._used(ids)
        if not events:
            raise PrismError(
                f"there is no change {change_id}", where=self.where, mend="prism prompts history lists them."
            )
        made, notes = [], []
        for event in events:
            prompt = now.get(event.prompt_id)
            before = {name: pair[0] for name, pair in event.changed.items()}
            after = {name: pair[1] for name, pair in event.changed.items()}
            if event.deletes:
                if prompt is not None:
                    raise ConflictError("it was deleted then, and is there again", event.prompt_name)
                made.append(Change(None, with_fields(self.blank(id=event.prompt_id), before)))
                continue
            if prompt is None:
                raise ConflictError("it has been deleted since", event.prompt_name)
            as_left = with_fields(prompt, after)
            if as_left != prompt:
                raise _changed_since(as_left, prompt)
            if event.makes:
                if prompt.id in used:
                    made.append(Change(prompt, replace(prompt, status="archived")))
                    notes.append(f"{prompt.name} has uses, so it is archived, not deleted")
                else:
                    made.append(Change(prompt, None))
                continue
            made.append(Change(prompt, with_fields(prompt, before)))
        return self.apply(ChangeSet(tuple(made), tuple(notes)), "revert", by=by, why=why, dry_run=dry_run)

    def apply(
        self,
        planned: ChangeSet,
        action: str,
        *,
        by: str,
        why: str | None = None,
        dry_run: bool = False,
    ) -> ChangeSet:
        """Writes changes: all of them or none. Those that change nothing are left out.

        Raises :class:`InvalidPromptError` for what may not be written, :class:`ConflictError` where a prompt
        is not as it was when the change was made up, :class:`PrismError` for what this application
        can't keep. ``action`` is what the record calls it.
        """
        changes = tuple(change for change in planned.changes if change.fields)
        for change in changes:
            check(change, self.sandbox, self._has["prompts"])
            self._can_keep(change)
        done = replace(planned, changes=changes)
        with self._writing() as connection:
            self._check_names(changes)
            if dry_run or not changes:
                return done
            self._lock_and_compare(changes)
            connection.execute("set local row_security = on")
            row = connection.execute(
                sql.SQL("select nextval({})").format(
                    sql.Literal(sql.Identifier(self._schema, "prompt_change_ids").as_string(connection))
                )
            ).fetchone()
            assert row is not None
            change_id = int(row[0])
            written = [
                self._write(change, action, change_id, by, why)
                for change in sorted(changes, key=lambda one: (one.after is not None, one.before is None))
            ]
        places = {change.prompt.name: n for n, change in enumerate(changes)}
        written.sort(key=lambda change: places[change.prompt.name])
        return replace(done, changes=tuple(written), change_id=change_id)

    # -- using

    def record_use(self, use: Mapping[str, Any]) -> str:
        """Writes one use into ``prompt_usage``; returns its id.

        ``use``: columns of that table; the application's that are not there are left out. It needs a
        ``prompt_id``. ``agent`` may name the agent.
        """
        given = dict(use)
        agent = given.pop("agent", None)
        columns = self._has["prompt_usage"]
        if not {"id", "prompt_id"} <= set(columns):
            raise PrismError(
                "the application keeps no prompt_usage, so a use can't be recorded",
                where=self.where,
                mend="Have the tables made: prism db setup --application",
            )
        with self._writing() as connection:
            if agent is not None:
                given["agent_id"] = self._agent_ids([agent]).get(agent)
            connection.execute("set local row_security = on")
            if not columns["id"]:  # no default
                given["id"] = str(uuid4())
            kept = {name: value for name, value in given.items() if name in columns and value is not None}
            row = self._insert_row("prompt_usage", kept, "returning id::text").fetchone()
        assert row is not None
        return str(row[0])

    def rate(self, usage_id: str, rating: int) -> None:
        """Writes a person's rating of one use, 1 to 5.

        Raises :class:`PrismError` where there is no such use.
        """
        if rating not in range(1, 6):
            raise PrismError(f"{rating} is no rating", where="prism rate", mend="Give 1 to 5.")
        columns = self._has["prompt_usage"]
        if "rating" not in columns:
            raise PrismError(
                "the application keeps no ratings: prompt_usage has no column rating", where=self.where
            )
        moment = sql.SQL(", updated_at = now()") if "updated_at" in columns else sql.SQL("")
        with self._writing() as connection:
            connection.execute("set local row_security = on")
            query = sql.SQL("update {} set rating = %s{} where id = %s")
            done = connection.execute(
                query.format(self._table("prompt_usage"), moment), [rating, usage_id]
            ).rowcount
        if not done:
            raise PrismError(
                f"there is no use {usage_id!r}, or this role may not rate it",
                where=self.where,
                mend="The id is that of prompt_usage; enhance --record tells it.",
            )

    def word_weights(self, prompts: Iterable[Prompt]) -> dict[str, dict[str, str]]:
        """The words that each prompt speaks of, by its id: lexeme -> the weight of where it stands.

        ``A``: name and display name; ``B``: description, starter, domain, suite, tags; ``D``: the template.
        """
        told: dict[str, dict[str, str]] = {}
        texts = [
            (
                prompt.id,
                _joined(prompt.name, prompt.display_name),
                _joined(
                    prompt.description,
                    prompt.prompt_starter,
                    prompt.domain,
                    prompt.suite,
                    *prompt.compliance_tags,
                ),
                _joined(prompt.user_prompt_template)[:_SEARCHED],
            )
            for prompt in prompts
        ]
        with self._reading() as connection:
            for key, lexemes, weights in connection.execute(
                """
                select one.id, array_agg(word.lexeme), array_agg(array_to_string(word.weights, ''))
                from unnest(%s::text[], %s::text[], %s::text[], %s::text[]) as one (id, a, b, d)
                cross join lateral unnest(
                    setweight(to_tsvector('english', a), 'A') || setweight(to_tsvector('english', b), 'B')
                    || setweight(to_tsvector('english', d), 'D')
                ) as word
                group by one.id
                """,
                [list(column) for column in zip(*texts, strict=True)] or [[], [], [], []],
            ):
                told[key] = {
                    lexeme: min(weight) for lexeme, weight in zip(lexemes, weights, strict=True) if weight
                }
        return {key: told.get(key, {}) for key, *_ in texts}

    def words(self, text: str) -> dict[str, str]:
        """A text's words without stop words: lexeme -> the word as it first stood, in lower case."""
        with self._reading() as connection:
            rows = connection.execute(
                "select lexeme, lower(min(token)) from ts_debug('english', %s) as found,"
                " unnest(found.lexemes) as lexeme group by lexeme",
                [text[:_SEARCHED]],
            ).fetchall()
        return dict(rows)

    # -- inside: reading

    @contextmanager
    def _reading(self) -> Iterator[psycopg.Connection]:
        """One snapshot of all rows: a role that sees only some of them is refused."""
        with self._told(), self._connection.transaction():
            self._connection.execute("set local row_security = off")
            yield self._connection

    @contextmanager
    def _writing(self) -> Iterator[psycopg.Connection]:
        """One transaction; two of ours never at once. Begins with row security off, for what is read."""
        with self._told(), self._connection.transaction():
            self._connection.execute("set local row_security = off")
            self._connection.execute("set local lock_timeout = '30s'")
            self._connection.execute(
                "select pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"prism.library.{self._schema}"]
            )
            yield self._connection

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

    def _columns(self, table: str) -> dict[str, bool]:
        """A table's columns, and whether each has a default; none where there is no such table."""
        rows = self._connection.execute(
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

    def _table(self, name: str) -> sql.Identifier:
        return sql.Identifier(self._schema, name)

    def _rows(self, query: LiteralString, table: str, parameters: Any = None) -> list[dict[str, Any]]:
        """The rows of a query that names its one table as ``{}``."""
        with self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(sql.SQL(query).format(self._table(table)), parameters).fetchall()

    def _load(self, where: sql.Composable | None = None) -> list[Prompt]:
        """Prompts in the order of their names, with agents and the version of the texts in force."""
        has = self._has
        columns = [name for name in (*_COLUMNS, *_TIMES) if name in has["prompts"]]
        query = sql.SQL("select p.id::text as id, {} from {} as p").format(
            sql.SQL(", ").join(sql.SQL("p.{}").format(sql.Identifier(name)) for name in columns),
            self._table("prompts"),
        )
        if where is not None:
            query += sql.SQL(" where ") + where
        with self._connection.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(query + sql.SQL(" order by p.name, p.id")).fetchall()
        ids = [row["id"] for row in rows] if where is not None else None
        agents, versions, generated = self._mapped(ids), self._versions(ids), self._generated(ids)
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

    def _mapped(self, ids: list[str] | None) -> dict[str, list[str]]:
        if not (self._has["agents"] and self._has["agent_prompts"]):
            return {}
        query = sql.SQL(
            "select m.prompt_id::text, array_agg(distinct a.name::text) from {} as m"
            " inner join {} as a on m.agent_id = a.id"
            " where %(ids)s::text[] is null or m.prompt_id::text = any(%(ids)s) group by 1"
        ).format(self._table("agent_prompts"), self._table("agents"))
        return dict(self._connection.execute(query, {"ids": ids}).fetchall())

    def _versions(self, ids: list[str] | None) -> dict[str, tuple[int, str | None, str | None]]:
        """The newest version of each prompt, with its texts."""
        if not {"prompt_id", "version", *TEXTS} <= set(self._has["prompt_versions"]):
            return {}
        query = sql.SQL(
            "select distinct on (prompt_id) prompt_id::text, version::integer, system_prompt,"
            " user_prompt_template from {}"
            " where %(ids)s::text[] is null or prompt_id::text = any(%(ids)s)"
            " order by prompt_id, version::integer desc"
        ).format(self._table("prompt_versions"))
        rows = self._connection.execute(query, {"ids": ids}).fetchall()
        return {str(key): (int(number), system, user) for key, number, system, user in rows}

    def _generated(self, ids: list[str] | None) -> dict[str, str]:
        """The starters that were made by rules, where that is the last that is known of them."""
        if not self._has["prompt_changes"]:
            return {}
        query = sql.SQL(
            "select distinct on (prompt_id) prompt_id,"
            " case action when 'starters' then changed -> 'prompt_starter' ->> 'after' end"
            " from {} where changed ? 'prompt_starter'"
            " and (%(ids)s::text[] is null or prompt_id = any(%(ids)s))"
            " order by prompt_id, change_id desc"
        ).format(self._table("prompt_changes"))
        rows = self._connection.execute(query, {"ids": ids}).fetchall()
        return {key: starter for key, starter in rows if starter is not None}

    def _used(self, ids: list[str]) -> set[str]:
        """Which of the prompts were ever used."""
        if not ids or "prompt_id" not in self._has["prompt_usage"]:
            return set()
        query = sql.SQL(
            "select p.id::text from {} as p where p.id::text = any(%s)"
            " and exists (select from {} as u where u.prompt_id = p.id)"
        ).format(self._table("prompts"), self._table("prompt_usage"))
        return {str(row[0]) for row in self._connection.execute(query, [ids])}

    def _agent_ids(self, names: Iterable[str]) -> dict[str, str]:
        if not self._has["agents"]:
            return {}
        query = sql.SQL("select name::text, id::text from {} where name = any(%s)")
        rows = self._connection.execute(query.format(self._table("agents")), [list(names)]).fetchall()
        return dict(rows)

    def _at_revision(self, prompt: Prompt, revision: str) -> Prompt | None:
        """The prompt as it was at a revision, by what is on record; none where that is not known."""
        for event in self.history(prompt.id):
            prompt = with_fields(prompt, {name: pair[0] for name, pair in event.changed.items()})
            if prompt.revision == revision:
                return prompt
        return None

    # -- inside: writing

    def _needs(self, table: str, *columns: str) -> None:
        if not self._has[table]:
            raise PrismError(
                f"the application keeps no {table}",
                where=self.where,
                mend="Have its missing tables made: prism db setup --application",
            )
        for column in columns:
            if column not in self._has[table]:
                raise PrismError(
                    f"the application's table {table} has no column {column}",
                    where=self.where,
                    mend="Add it there, or leave this field alone.",
                )

    def _can_keep(self, change: Change) -> None:
        """Refuses what this application has no place for."""
        self._needs("prompt_changes")
        if change.changes_texts and change.after is not None:
            self._needs("prompt_versions", "prompt_id", "version", *TEXTS)
        for name, (before, after) in change.fields.items():
            if name == "agents":
                if before != after and (before or after):
                    self._needs("agents", "id", "name")
                    self._needs("agent_prompts", "agent_id", "prompt_id")
            elif after not in (None, ()) or before not in (None, ()):
                self._needs("prompts", name)

    def _check_names(self, changes: Sequence[Change]) -> None:
        """No two prompts of one name, no agent that is not known."""
        wanted: dict[str, Prompt] = {}
        for change in changes:
            if change.after is not None and "name" in change.fields:
                if change.after.name in wanted:
                    raise InvalidPromptError(change.after.name, {"name": "is given to two prompts"})
                wanted[change.after.name] = change.after
        if wanted:
            query = sql.SQL("select name::text, id::text from {} where name = any(%s)")
            rows = self._connection.execute(query.format(self._table("prompts")), [list(wanted)]).fetchall()
            leaving = {change.before.id for change in changes if change.before and "name" in change.fields}
            for name, key in rows:
                if key not in leaving:
                    raise InvalidPromptError(name, {"name": "is taken by another prompt"})
        agents = {
            agent: change.after.name
            for change in changes
            if change.after is not None and "agents" in change.fields
            for agent in change.after.agents
        }
        if agents:
            known = self._agent_ids(agents)
            for agent, prompt_name in agents.items():
                if agent not in known:
                    rows = self._connection.execute(
                        sql.SQL("select name::text from {}").format(self._table("agents"))
                    ).fetchall()
                    near = closest(agent, [str(row[0]) for row in rows])
                    told = f"there is no agent {agent!r}. {near}".strip()
                    raise InvalidPromptError(prompt_name, {"agents": told})

    def _lock_and_compare(self, changes: Sequence[Change]) -> None:
        """Holds the prompts, and refuses where one is not as it was."""
        before = {change.before.id: change.before for change in changes if change.before is not None}
        self._connection.execute(
            sql.SQL("select from {} where id::text = any(%s) order by id for update").format(
                self._table("prompts")
            ),
            [list(before)],
        )
        now = {prompt.id: prompt for prompt in self._load(_by_ids(list(before)))}
        for key, seen in before.items():
            if key not in now:
                raise ConflictError("it has been deleted since", seen.name)
            if now[key].revision != seen.revision:
                raise _changed_since(seen, now[key])
        deleted = [change.before.id for change in changes if change.before and change.after is None]
        for key in self._used(deleted):
            raise ConflictError("it has been used since, so it can only be archived", before[key].name)

    def _write(self, change: Change, action: str, change_id: int, by: str, why: str | None) -> Change:
        """One change, with its version and its record."""
        before, after, fields = change.before, change.after, change.fields
        version = None
        if after is None:
            assert before is not None
            for table in ("agent_prompts", "prompt_versions"):
                if self._has[table]:
                    self._execute("delete from {} where prompt_id = %s", table, [before.id])
            self._one(self._execute("delete from {} where id = %s", "prompts", [before.id]), before)
        else:
            if before is None:
                after = self._insert(after)
            elif columns := [name for name in fields if name in _COLUMNS]:
                sets: list[sql.Composable] = [
                    sql.SQL("{} = %s").format(sql.Identifier(name)) for name in columns
                ]
                if "updated_at" in self._has["prompts"]:
                    sets.append(sql.SQL("updated_at = now()"))
                done = self._connection.execute(
                    sql.SQL("update {} set {} where id = %s").format(
                        self._table("prompts"), sql.SQL(", ").join(sets)
                    ),
                    [*(_value(fields[name][1]) for name in columns), after.id],
                )
                self._one(done.rowcount, after)
            if after.agents != (before.agents if before else ()):
                self._map(after)
            # also a prompt without texts begins with a version, where versions are kept
            if change.changes_texts or (before is None and self._has["prompt_versions"]):
                version = self._keep_version(before, after, by, why)
                after = replace(after, version=version)
        made = Change(before, after)
        self._insert_row(
            "prompt_changes",
            {
                "change_id": change_id,
                "prompt_id": made.prompt.id,
                "prompt_name": made.prompt.name,
                "action": action,
                "changed": Jsonb(
                    {name: {"before": old, "after": new} for name, (old, new) in fields.items()}
                ),
                "version": version,
                "changed_by": by,
                "reason": why,
            },
        )
        return made

    def _execute(self, query: LiteralString, table: str, values: Sequence[Any]) -> int:
        """Runs a statement that names its one table as ``{}``; returns how many rows it touched."""
        return self._connection.execute(sql.SQL(query).format(self._table(table)), values).rowcount

    def _insert_row(
        self, table: str, values: Mapping[str, Any], returning: LiteralString = ""
    ) -> psycopg.Cursor:
        return self._connection.execute(
            sql.SQL("insert into {} ({}) values ({}) {}").format(
                self._table(table),
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

    def _insert(self, prompt: Prompt) -> Prompt:
        values = {name: _value(getattr(prompt, name)) for name in _COLUMNS if name in self._has["prompts"]}
        if prompt.id or not self._has["prompts"]["id"]:
            values["id"] = prompt.id or str(uuid4())
        row = self._insert_row("prompts", values, "returning id::text").fetchone()
        assert row is not None
        return replace(prompt, id=str(row[0]))

    def _map(self, prompt: Prompt) -> None:
        """Has the prompt mapped to its agents and no others; mappings that stay are not touched."""
        ids = list(self._agent_ids(prompt.agents).values())
        self._execute(
            "delete from {} where prompt_id = %s and not agent_id::text = any(%s)",
            "agent_prompts",
            [prompt.id, ids],
        )
        mappings, agents = self._table("agent_prompts"), self._table("agents")
        self._connection.execute(
            sql.SQL(
                "insert into {mappings} (prompt_id, agent_id)"
                " select p.id, a.id from {prompts} as p cross join {agents} as a"
                " where p.id = %(prompt)s and a.id::text = any(%(agents)s) and not exists"
                " (select from {mappings} as m where m.prompt_id = p.id and m.agent_id = a.id)"
            ).format(mappings=mappings, agents=agents, prompts=self._table("prompts")),
            {"prompt": prompt.id, "agents": ids},
        )

    def _keep_version(self, before: Prompt | None, after: Prompt, by: str, why: str | None) -> int:
        """Keeps the new texts as a version; those before them as well, where nothing holds them yet."""
        newest = self._versions([after.id]).get(after.id)
        number = newest[0] if newest else 0
        if before is not None and before.version is None:
            number += 1
            note = "found by Prism before its first change" if newest is None else "changed outside Prism"
            self._insert_version(before, number, before.updated_at or before.created_at, None, note)
        self._insert_version(after, number + 1, None, by, why)
        return number + 1

    def _insert_version(
        self, prompt: Prompt, number: int, moment: datetime | None, by: str | None, note: str | None
    ) -> None:
        values: dict[str, Any] = {
            "prompt_id": prompt.id, "version": number, "system_prompt": prompt.system_prompt,
            "user_prompt_template": prompt.user_prompt_template, "created_by": by, "note": note,
        }  # fmt: skip
        if moment is not None:
            values["created_at"] = moment
        kept = {name: value for name, value in values.items() if name in self._has["prompt_versions"]}
        self._insert_row("prompt_versions", kept)


def _by_ids(ids: list[str]) -> sql.Composable:
    return sql.SQL("p.id::text = any({})").format(sql.Literal(ids))


def _by_key(key: str) -> sql.Composable:
    return sql.SQL("p.id::text = {key} or p.name = {key}").format(key=sql.Literal(key))


def _words(value: Any) -> tuple[str, ...]:
    """A list of words, also where the application keeps them as a text with commas."""
    listed = value.split(",") if isinstance(value, str) else value or ()
    return tuple(word.strip() for word in listed if isinstance(word, str) and word.strip())


def _joined(*texts: str | None) -> str:
    # hyphens and underlines join words in names
    return " ".join(text for text in texts if text).replace("_", " ").replace("-", " ")


def _value(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _event(row: Mapping[str, Any]) -> Event:
    return Event(
        change_id=int(row["change_id"]),
        prompt_id=row["prompt_id"],
        prompt_name=row["prompt_name"],
        action=row["action"],
        changed={name: (pair["before"], pair["after"]) for name, pair in row["changed"].items()},
        version=row["version"],
        changed_at=row["changed_at"],
        changed_by=row["changed_by"],
        reason=row["reason"],
    )


def _changed_since(base: Prompt | None, now: Prompt) -> ConflictError:
    if base is None:
        return ConflictError("it has been changed outside Prism since you looked at it", now.name)
    return ConflictError("it has been changed since you looked at it", now.name, diff(base, now))


def _fits(prompt: Prompt, wanted: Filter, figures: Figures | None) -> bool:
    texts = (
        prompt.name, prompt.display_name, prompt.description, prompt.prompt_starter,
        prompt.system_prompt, prompt.user_prompt_template,
    )  # fmt: skip
    return (
        (not wanted.keys or bool({prompt.id, prompt.name} & set(wanted.keys)))
        and all(
            getattr(wanted, name) in (None, getattr(prompt, name))
            for name in ("domain", "complexity_level", "status", "suite")
        )
        and (wanted.tag is None or wanted.tag in prompt.compliance_tags)
        and (wanted.agent is None or wanted.agent in prompt.agents)
        and (
            wanted.search is None
            or any(wanted.search.casefold() in text.casefold() for text in texts if text)
        )
        and (figures is None or _figures_fit(figures.of(prompt), wanted))
    )


def _figures_fit(figures: PromptFigures, wanted: Filter) -> bool:
    unused = (
        wanted.unused_since is None
        or figures.last_used_on is None
        or figures.last_used_on < wanted.unused_since
    )
    return unused and wanted.health in (None, figures.health)
