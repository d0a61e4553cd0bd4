"""What a prompt of the library is, what may be written into it, and how a change of it reads.

Pure: knows no database and no file. Templates are looked into by a :class:`~.templates.Sandbox` that is
handed in, since looking into one may mean running it.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from typing import Any

from orchestration.errors import PrismError
from orchestration.library.documents import write_document
from orchestration.library.templates import Sandbox, TemplateError

COMPLEXITY_LEVELS = ("basic", "intermediate", "advanced", "expert")
STATUSES = ("draft", "active", "archived")
# What people write of a prompt, in the order of its document.
FIELDS = (
    "name", "display_name", "description", "domain", "complexity_level", "status", "suite", "owner",
    "compliance_tags", "agents", "prompt_starter", "system_prompt", "user_prompt_template",
)  # fmt: skip
LISTS = ("compliance_tags", "agents")
# A change of one of these makes a version.
TEXTS = ("system_prompt", "user_prompt_template")

# Characters. The longest text of a large public library has 144,260.
LONGEST: Mapping[str, int] = {
    "name": 200,
    "display_name": 200,
    "description": 10_000,
    "domain": 100,
    "suite": 100,
    "owner": 320,
    "prompt_starter": 2_000,
    "system_prompt": 1_000_000,
    "user_prompt_template": 1_000_000,
}
_MOST_TAGS, _LONGEST_TAG = 50, 100
_ONE_LINE = ("name", "display_name", "domain", "suite", "owner")
_ADDRESS = re.compile(r"[^@\s,;<>\"']+@[^@\s,;<>\"']+")
# what neither PostgreSQL nor UTF-8 can hold
_UNWRITABLE = re.compile("[\x00\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]")

Value = str | tuple[str, ...] | None


@dataclass(frozen=True)
class Prompt:
    """A prompt as it stands. ``agents`` are the names of those that may use it, in order.

    ``version`` is the number of the version that holds the texts in force, none where no version does.
    ``id`` is empty while it is not written yet.
    """

    name: str
    id: str = ""
    display_name: str | None = None
    description: str | None = None
    domain: str | None = None
    complexity_level: str | None = None
    status: str | None = "draft"
    suite: str | None = None
    owner: str | None = None
    compliance_tags: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    prompt_starter: str | None = None
    system_prompt: str | None = None
    user_prompt_template: str | None = None
    version: int | None = None
    starter_is_generated: bool = False
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @property
    def fields(self) -> dict[str, Value]:
        """What people write of it: :data:`FIELDS`."""
        return {name: getattr(self, name) for name in FIELDS}

    @property
    def revision(self) -> str:
        """A name of this very content: whoever edits hands in the one that they saw."""
        content = json.dumps(self.fields, ensure_ascii=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def document(self) -> str:
        """The prompt as a YAML document, the one that ``export`` writes."""
        return write_document({"id": self.id or None, **self.fields}, TEXTS)

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {**asdict(self), "revision": self.revision}


@dataclass(frozen=True)
class Filter:
    """Which prompts are meant: those that fit all that is given; ``keys`` are ids or names.

    ``search`` is looked for in names, description and texts, whatever its case. ``health`` and
    ``unused_since`` need figures.
    """

    keys: tuple[str, ...] = ()
    domain: str | None = None
    complexity_level: str | None = None
    status: str | None = None
    suite: str | None = None
    tag: str | None = None
    agent: str | None = None
    search: str | None = None
    health: str | None = None
    unused_since: date | None = None

    @property
    def is_empty(self) -> bool:
        return self == Filter()

    @property
    def needs_figures(self) -> bool:
        return self.health is not None or self.unused_since is not None


@dataclass(frozen=True)
class Change:
    """What becomes of one prompt: made where there is no ``before``, deleted where there is no ``after``."""

    before: Prompt | None
    after: Prompt | None

    @property
    def prompt(self) -> Prompt:
        found = self.after or self.before
        assert found is not None
        return found

    @property
    def fields(self) -> dict[str, tuple[Value, Value]]:
        """Each field that differs: what it was, what it becomes."""
        before = self.before.fields if self.before else dict.fromkeys(FIELDS)
        after = self.after.fields if self.after else dict.fromkeys(FIELDS)
        whole = self.before is None or self.after is None
        return {name: (before[name], after[name]) for name in FIELDS if whole or before[name] != after[name]}

    @property
    def changes_texts(self) -> bool:
        return any(before != after for name, (before, after) in self.fields.items() if name in TEXTS)

    def diff(self) -> str:
        """The change as a unified diff of the prompt's document."""
        return diff(self.before, self.after)


@dataclass(frozen=True)
class ChangeSet:
    """Changes that are made together or not at all.

    ``change_id`` is the number under which they are on record; none where nothing was written, since it was
    a dry run or there was nothing to change. ``notes`` are what a person should know of it.
    """

    changes: tuple[Change, ...]
    notes: tuple[str, ...] = ()
    change_id: int | None = None

    def diff(self) -> str:
        return "".join(change.diff() for change in self.changes)


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


class InvalidPromptError(PrismError):
    """A prompt can't be as it is asked to be; ``faults``: field -> what is wrong with it."""

    def __init__(self, name: str, faults: Mapping[str, str]) -> None:
        self.faults = dict(faults)
        told = "; ".join(f"{field}: {fault}" for field, fault in faults.items())
        super().__init__(told, where=f"prompt {name!r}", mend="Nothing was changed.")


def diff(before: Prompt | None, after: Prompt | None) -> str:
    """A unified diff of two states of a prompt, by their documents; empty where they are equal."""
    return document_diff(
        before.document() if before else "",
        after.document() if after else "",
        f"a/{before.name}" if before else "/dev/null",
        f"b/{after.name}" if after else "/dev/null",
    )


def document_diff(old: str, new: str, old_name: str, new_name: str) -> str:
    """A unified diff of two documents."""
    # not splitlines: it also splits at characters that are no line's end in a document
    lines = difflib.unified_diff(old.split("\n")[:-1], new.split("\n")[:-1], old_name, new_name, lineterm="")
    return "".join(f"{line}\n" for line in lines)


def with_fields(prompt: Prompt, changes: Mapping[str, Any]) -> Prompt:
    """``prompt`` with fields replaced; empty texts become none.

    Raises :class:`InvalidPromptError` for a field that a prompt hasn't, or a value of another kind.
    """
    faults = {name: "is no field of a prompt" for name in changes if name not in FIELDS}
    values: dict[str, Any] = {}
    for name, value in changes.items():
        if name in LISTS:
            listed = () if value is None else value
            if isinstance(listed, str) or not all(isinstance(one, str) for one in listed):
                faults[name] = "must be a list of words"
                continue
            values[name] = tuple(sorted(set(listed)) if name == "agents" else listed)
        elif value is not None and not isinstance(value, str):
            faults[name] = "must be text"
        else:
            values[name] = value or (value if name == "name" else None)
    if faults:
        raise InvalidPromptError(prompt.name, faults)
    return replace(prompt, **values)


def check(change: Change, sandbox: Sandbox, kept: Collection[str]) -> None:
    """Raises :class:`InvalidPromptError` where the new state breaks a rule that the old one kept.

    What was there before and stays as it is, is not judged: a library may be older than the rules. ``kept``
    are the fields that this application has a place for.
    """
    if change.after is None:
        return
    touched = [name for name in change.fields if name in kept or getattr(change.after, name)]
    faults = dict(_faults(change.after, touched, sandbox))
    if faults:
        raise InvalidPromptError(change.after.name, faults)


def _faults(prompt: Prompt, touched: Sequence[str], sandbox: Sandbox) -> Iterator[tuple[str, str]]:
    for name in touched:
        value = getattr(prompt, name)
        if isinstance(value, str) and (fault := _fault_of_text(name, value)):
            yield name, fault
    if "name" in touched and not prompt.name.strip():
        yield "name", "is missing"
    for name, known in (("complexity_level", COMPLEXITY_LEVELS), ("status", STATUSES)):
        value = getattr(prompt, name)
        if name in touched and value not in known and not (value is None and name == "complexity_level"):
            yield name, f"is {value!r}; known: {', '.join(known)}"
    if "owner" in touched and prompt.owner is not None and not _ADDRESS.fullmatch(prompt.owner):
        yield "owner", "is not a mail address"
    if "compliance_tags" in touched and (fault := _fault_of_tags(prompt.compliance_tags)):
        yield "compliance_tags", fault
    if "user_prompt_template" in touched and prompt.user_prompt_template is not None:
        try:
            sandbox.inspect(prompt.user_prompt_template)
        except TemplateError as error:
            yield "user_prompt_template", error.reason


def _fault_of_text(name: str, value: str) -> str | None:
    if _UNWRITABLE.search(value):
        return "holds a NUL or half a surrogate pair, which no database can keep"
    if len(value) > LONGEST.get(name, len(value)):
        return f"has {len(value):,} characters; at most {LONGEST[name]:,} are kept"
    if name in _ONE_LINE and _CONTROL.search(value):
        return "must be one line, without control characters"
    return None


def _fault_of_tags(tags: Sequence[str]) -> str | None:
    if len(tags) > _MOST_TAGS:
        return f"are over {_MOST_TAGS}"
    if len(set(tags)) < len(tags):
        return "name one twice"
    for tag in tags:
        if not tag.strip() or len(tag) > _LONGEST_TAG or _CONTROL.search(tag):
            return f"hold {tag[:_LONGEST_TAG]!r}: a tag is one line of 1 to {_LONGEST_TAG} characters"
    return None


def closest(name: str, known: Sequence[str]) -> str:
    """What a person may have meant by a name that is not known."""
    near = difflib.get_close_matches(name, known, n=3)
    return f"Close to it: {', '.join(near)}." if near else ""
