"""The prompt library in the application's database: found, changed, put on record.

Every change, of one prompt or of a thousand, is a :class:`~.prompts.ChangeSet` and goes through
:meth:`Library.apply`: one transaction, all or nothing, refused where a prompt is not any more as it was when
the change was made up, each changed text kept as a version, each change on record. Knows nothing of files,
of marts and of how changes are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg

from orchestration.errors import PrismError
from orchestration.library.metrics import Figures, PromptFigures
from orchestration.library.prompts import (
    TEXTS,
    Change,
    ChangeSet,
    Event,
    Filter,
    InvalidPromptError,
    Prompt,
    check,
    closest,
    diff,
    with_fields,
)
from orchestration.library.tables import Tables
from orchestration.library.templates import Sandbox, TemplateError


class ConflictError(PrismError):
    """A prompt is not any more as it was when a change was made up; ``diff`` is what changed since."""

    def __init__(self, what: str, name: str, changed: str = "") -> None:
        self.diff = changed
        mend = "Nothing was changed. Look at it anew and change it again."
        super().__init__(what, where=f"prompt {name!r}", mend=f"{mend}\n{changed}".rstrip())


class PromptNotFoundError(PrismError):
    """There is no prompt of that id or name."""


class Library:
    """The prompt library behind one connection, which it has to itself while it is used.

    Methods that change something take ``by`` (who) and ``why``, and with ``dry_run`` only say what they
    would do. ``key`` is a prompt's id or its name.
    """

    def __init__(self, connection: psycopg.Connection, schema: str, sandbox: Sandbox, where: str) -> None:
        """``where`` names the place for messages."""
        self.tables = Tables(connection, schema, where)
        self.sandbox = sandbox
        self.where = where
        for column in ("id", "name"):
            if column not in self.tables.has["prompts"]:
                what = f"the table prompts has no column {column}" if self.tables.has["prompts"] else ""
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
        with self.tables.reading():
            found = self.tables.load()
        return [prompt for prompt in found if _fits(prompt, wanted, figures)]

    def get(self, key: str) -> Prompt:
        """The prompt of that id or name. Raises :class:`PromptNotFoundError`."""
        with self.tables.reading():
            found = self.tables.load(key=key)
            names = [] if found else self.tables.names("prompts")
        if not found:
            raise PromptNotFoundError(
                f"there is no prompt {key!r}", where=self.where, mend=closest(key, names) or None
            )
        return next((prompt for prompt in found if prompt.id == key), found[0])

    def agents(self) -> list[str]:
        """The names of the agents."""
        with self.tables.reading():
            return self.tables.names("agents")

    def history(self, key: str | None = None, *, limit: int | None = None) -> list[Event]:
        """What happened to a prompt, the latest first; without a key, to all of the library.

        A prompt that is gone has a history still, under its id or the name that it had.
        """
        with self.tables.reading():
            if key is None:
                events = self.tables.changes(limit=limit)
            elif found := self.tables.load(key=key):
                events = self.tables.changes(ids=[prompt.id for prompt in found])
                recorded = {event.version for event in events}
                for prompt in found:
                    events += [one for one in self.tables.versions(prompt) if one.version not in recorded]
            else:
                events = self.tables.changes(gone=key)
        if key is not None and not found and not events:
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
        self.tables.needs("prompt_versions", *TEXTS)
        prompt = self.get(key)
        with self.tables.reading():
            rows = self.tables.rows(
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
        return Prompt(name="", id=id, status=status if "status" in self.tables.has["prompts"] else None)

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
        made = self._copy(self.get(key), name)
        return self.apply(ChangeSet((made,)), "duplicate", by=by, why=why, dry_run=dry_run)

    def duplicate_all(
        self,
        prompts: Iterable[Prompt],
        suffix: str,
        *,
        by: str,
        why: str | None = None,
        dry_run: bool = False,
    ) -> ChangeSet:
        """Makes a draft like each prompt, named as that is with ``suffix`` behind it: all of them or none.

        Raises :class:`InvalidPromptError` where such a name is taken, or too long.
        """
        made = tuple(self._copy(prompt, f"{prompt.name}{suffix}") for prompt in prompts)
        return self.apply(ChangeSet(made), "duplicate", by=by, why=why, dry_run=dry_run)

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
        with self.tables.reading():
            used = self.tables.used([prompt.id for prompt in chosen])
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
        self.tables.needs("prompt_changes")
        with self.tables.reading():
            events = self.tables.changes(change_id=change_id)
            ids = [event.prompt_id for event in events]
            now = {prompt.id: prompt for prompt in self.tables.load(ids=ids)}
            used = self.tables.used(ids)
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
            check(change, self.sandbox, self.tables.has["prompts"])
            self._can_keep(change)
        notes = [note for change in changes if (note := self._changed_needs(change))]
        done = replace(planned, changes=changes, notes=tuple(dict.fromkeys([*planned.notes, *notes])))
        with self.tables.writing():
            self.tables.alone()
            self._check_names(changes)
            if dry_run or not changes:
                return done
            self._lock_and_compare(changes)
            self.tables.policies_on()
            change_id = self.tables.next_change_id()
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
        columns = self.tables.has["prompt_usage"]
        if not {"id", "prompt_id"} <= set(columns):
            raise PrismError(
                "the application keeps no prompt_usage, so a use can't be recorded",
                where=self.where,
                mend="Have the tables made: prism db setup --application",
            )
        with self.tables.writing():
            if agent is not None:
                given["agent_id"] = self.tables.agent_ids([agent]).get(agent)
            self.tables.policies_on()
            if not columns["id"]:  # no default
                given["id"] = str(uuid4())
            kept = {name: value for name, value in given.items() if name in columns and value is not None}
            row = self.tables.insert_row("prompt_usage", kept, "returning id::text").fetchone()
        assert row is not None
        return str(row[0])

    def rate(self, usage_id: str, rating: int) -> None:
        """Writes a person's rating of one use, 1 to 5.

        Raises :class:`PrismError` where there is no such use.
        """
        if rating not in range(1, 6):
            raise PrismError(f"{rating} is no rating", where="prism rate", mend="Give 1 to 5.")
        columns = self.tables.has["prompt_usage"]
        if "rating" not in columns:
            raise PrismError(
                "the application keeps no ratings: prompt_usage has no column rating", where=self.where
            )
        with self.tables.writing():
            self.tables.policies_on()
            done = self.tables.execute(
                "update {} set rating = %s, updated_at = now() where id = %s"
                if "updated_at" in columns
                else "update {} set rating = %s where id = %s",
                "prompt_usage",
                [rating, usage_id],
            )
        if not done:
            raise PrismError(
                f"there is no use {usage_id!r}, or this role may not rate it",
                where=self.where,
                mend="The id is that of prompt_usage; enhance --record tells it.",
            )

    # -- inside

    def _copy(self, prompt: Prompt, name: str) -> Change:
        copy = self.blank()
        fields = {**prompt.fields, "name": name, "status": copy.status, "agents": ()}
        return Change(None, with_fields(copy, fields))

    def _at_revision(self, prompt: Prompt, revision: str) -> Prompt | None:
        """The prompt as it was at a revision, by what is on record; none where that is not known."""
        for event in self.history(prompt.id):
            prompt = with_fields(prompt, {name: pair[0] for name, pair in event.changed.items()})
            if prompt.revision == revision:
                return prompt
        return None

    def _changed_needs(self, change: Change) -> str | None:
        """What a changed template asks of those who fill it that the old one did not; none where nothing."""
        if change.before is None or change.after is None or "user_prompt_template" not in change.fields:
            return None
        try:
            before, after = (
                self.sandbox.inspect(one.user_prompt_template or "").required
                for one in (change.before, change.after)
            )
        except TemplateError:  # the old one never parsed
            return None
        new, gone = [one for one in after if one not in before], [one for one in before if one not in after]
        told = [f"now needs {', '.join(new)}"] * bool(new) + [f"no longer needs {', '.join(gone)}"] * bool(
            gone
        )
        return f"{change.after.name}: its template {' and '.join(told)}" if told else None

    def _can_keep(self, change: Change) -> None:
        """Refuses what this application has no place for."""
        self.tables.needs("prompt_changes")
        if change.changes_texts and change.after is not None:
            self.tables.needs("prompt_versions", "prompt_id", "version", *TEXTS)
        for name, (before, after) in change.fields.items():
            if name == "agents":
                if before != after and (before or after):
                    self.tables.needs("agents", "id", "name")
                    self.tables.needs("agent_prompts", "agent_id", "prompt_id")
            elif after not in (None, ()) or before not in (None, ()):
                self.tables.needs("prompts", name)

    def _check_names(self, changes: Sequence[Change]) -> None:
        """No two prompts of one name, no agent that is not known."""
        wanted: dict[str, Prompt] = {}
        for change in changes:
            if change.after is not None and "name" in change.fields:
                if change.after.name in wanted:
                    raise InvalidPromptError(change.after.name, {"name": "is given to two prompts"})
                wanted[change.after.name] = change.after
        if wanted:
            leaving = {change.before.id for change in changes if change.before and "name" in change.fields}
            for name, key in self.tables.ids_of(wanted):
                if key not in leaving:
                    raise InvalidPromptError(name, {"name": "is taken by another prompt"})
        agents = {
            agent: change.after.name
            for change in changes
            if change.after is not None and "agents" in change.fields
            for agent in change.after.agents
        }
        if agents:
            known = self.tables.agent_ids(agents)
            for agent, prompt_name in agents.items():
                if agent not in known:
                    near = closest(agent, self.tables.names("agents"))
                    told = f"there is no agent {agent!r}. {near}".strip()
                    raise InvalidPromptError(prompt_name, {"agents": told})

    def _lock_and_compare(self, changes: Sequence[Change]) -> None:
        """Holds the prompts, and refuses where one is not as it was."""
        before = {change.before.id: change.before for change in changes if change.before is not None}
        self.tables.lock(list(before))
        now = {prompt.id: prompt for prompt in self.tables.load(ids=list(before))}
        for key, seen in before.items():
            if key not in now:
                raise ConflictError("it has been deleted since", seen.name)
            if now[key].revision != seen.revision:
                raise _changed_since(seen, now[key])
        deleted = [change.before.id for change in changes if change.before and change.after is None]
        for key in self.tables.used(deleted):
            raise ConflictError("it has been used since, so it can only be archived", before[key].name)

    def _write(self, change: Change, action: str, change_id: int, by: str, why: str | None) -> Change:
        """One change, with its version and its record."""
        before, after = change.before, change.after
        version = None
        if after is None:
            assert before is not None
            self.tables.delete(before)
        else:
            if before is None:
                after = self.tables.insert(after)
            elif columns := [name for name in change.fields if name != "agents"]:
                self.tables.update(after, columns)
            if after.agents != (before.agents if before else ()):
                self.tables.map(after)
            # also a prompt without texts begins with a version, where versions are kept
            if change.changes_texts or (before is None and self.tables.has["prompt_versions"]):
                version = self._keep_version(before, after, by, why)
                after = replace(after, version=version)
        made = Change(before, after)
        self.tables.record(change_id, made, action, version, by, why)
        return made

    def _keep_version(self, before: Prompt | None, after: Prompt, by: str, why: str | None) -> int:
        """Keeps the new texts as a version; those before them as well, where nothing holds them yet."""
        newest = self.tables.newest_versions([after.id]).get(after.id)
        number = newest[0] if newest else 0
        if before is not None and before.version is None:
            number += 1
            note = "found by Prism before its first change" if newest is None else "changed outside Prism"
            self.tables.insert_version(before, number, before.updated_at or before.created_at, None, note)
        self.tables.insert_version(after, number + 1, None, by, why)
        return number + 1


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
