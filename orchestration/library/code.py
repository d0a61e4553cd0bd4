"""The library as files: a folder of YAML documents, one a prompt, written and read back; and CSV.

A round trip changes nothing: the same library writes the same bytes, and reading them back finds nothing to
do. Knows files; of the database it sees a :class:`~.store.Library`.
"""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestration.errors import PrismError
from orchestration.library.documents import ENDING, LONGEST_DOCUMENT, file_name, read_document
from orchestration.library.names import numbered
from orchestration.library.prompts import (
    FIELDS,
    LISTS,
    Change,
    ChangeSet,
    InvalidPromptError,
    Prompt,
    with_fields,
)
from orchestration.library.store import Library
from orchestration.library.templates import Sandbox, TemplateError, as_plain_text

_LONGEST_VALUE = 16 << 20  # characters of one value of a CSV


@dataclass(frozen=True)
class Document:
    """What a file says of one prompt; ``place`` is the file, with its line where it holds many."""

    place: str
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Exported:
    """The names of files: written anew, as they were already, and removed since their prompt is gone."""

    written: tuple[str, ...]
    unchanged: int
    removed: tuple[str, ...]


def export(prompts: Iterable[Prompt], folder: Path, *, whole: bool) -> Exported:
    """Writes each prompt into a file of its own in ``folder``.

    ``whole`` says that these are all there are: other files of theirs, and those that an earlier export wrote
    of prompts that are gone, are removed. What else is there stays, also prompts that were not imported yet,
    and so does a file that holds these very bytes.
    """
    written, unchanged, names, known = [], 0, set(), set()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for prompt in prompts:
            name = file_name(prompt.name)
            names.add(name)
            known.add(prompt.name)
            content = prompt.document().encode()
            path = folder / name
            if path.is_file() and path.read_bytes() == content:
                unchanged += 1
                continue
            _write(path, content)
            written.append(name)
        removed = [
            path.name for path in _files(folder) if whole and path.name not in names and _ours(path, known)
        ]
        for name in removed:
            (folder / name).unlink()
    except OSError as error:
        raise PrismError(f"the library can't be written there: {error.strerror}", where=str(folder)) from None
    return Exported(tuple(written), unchanged, tuple(removed))


def read_folder(path: Path) -> list[Document]:
    """The documents of a folder's YAML files, or of one file.

    Raises :class:`PrismError` naming the file that can't be read.
    """
    paths = _files(path) if path.is_dir() else [path]
    if not paths:
        raise PrismError(f"there is no file *{ENDING} in this folder", where=str(path))
    documents = []
    for one in paths:
        try:
            if one.stat().st_size > LONGEST_DOCUMENT:
                raise PrismError(f"the document has over {LONGEST_DOCUMENT:,} bytes", where=str(one))
            # newline='': a carriage return in a text is the text's
            with one.open(encoding="utf-8", newline="") as file:
                text = file.read()
        except OSError as error:
            raise PrismError(f"this file can't be read: {error.strerror}", where=str(one)) from None
        except UnicodeDecodeError:
            raise PrismError("this file is not UTF-8", where=str(one)) from None
        documents.append(Document(str(one), read_document(text, str(one))))
    return documents


def read_csv(path: Path, columns: Mapping[str, str], sandbox: Sandbox) -> tuple[list[Document], list[str]]:
    """The prompts of a CSV file in UTF-8, and what is to be said of them.

    ``columns`` maps a field of a prompt to a column of the file; columns that have a field's name need no
    mapping. A repeated name gets `` (2)`` and keeps its original as ``display_name``; a status that is
    missing is ``active``. A text that looks like Jinja but does not parse is kept as plain text.
    """
    csv.field_size_limit(_LONGEST_VALUE)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            found = reader.fieldnames or []
            mapped = {**{name: name for name in FIELDS if name in found}, **columns}
            for field, column in mapped.items():
                if field not in FIELDS:
                    raise PrismError(
                        f"{field!r} is no field of a prompt",
                        where=str(path),
                        mend=f"Known: {', '.join(FIELDS)}.",
                    )
                if column not in found:
                    raise PrismError(
                        f"the file has no column {column!r}",
                        where=str(path),
                        mend=f"It has: {', '.join(found)}.",
                    )
            if "name" not in mapped:
                raise PrismError(
                    "no column of the file is the prompts' name",
                    where=str(path),
                    mend=f"Say which: --column name=COLUMN. It has: {', '.join(found)}.",
                )
            rows = [
                (reader.line_num, {field: row[column] or "" for field, column in mapped.items()})
                for row in reader
            ]
    except OSError as error:
        raise PrismError(f"this file can't be read: {error.strerror}", where=str(path)) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise PrismError(f"this file is no CSV in UTF-8: {error}", where=str(path)) from None
    names, display_names = numbered(
        [row["name"] for _, row in rows], [row.get("display_name") or None for _, row in rows]
    )
    documents, notes = [], []
    for (line, row), name, display_name in zip(rows, names, display_names, strict=True):
        fields: dict[str, Any] = {"status": "active", **{key: value for key, value in row.items() if value}}
        fields["name"] = name
        if display_name is not None:
            fields["display_name"] = display_name
        for field in LISTS:
            if field in fields:
                fields[field] = tuple(word.strip() for word in fields[field].split(",") if word.strip())
        place = f"{path}, line {line}"
        if plain := _kept_as_plain_text(fields.get("user_prompt_template"), sandbox, place):
            fields["user_prompt_template"] = plain
            notes.append(f"{name}: its template looks like Jinja but is none, so it is kept as plain text")
        documents.append(Document(place, fields))
    return documents, notes


def plan(library: Library, documents: Sequence[Document], *, prune: bool = False) -> ChangeSet:
    """What importing ``documents`` would change; :meth:`Library.apply` writes it.

    A document is of the prompt with its ``id``, else of the one with its name; of none, it makes a prompt. A
    field that it leaves out stays as it is. With ``prune`` prompts of which no document speaks are deleted,
    those that were ever used archived.
    """
    now = library.find()
    by_id, by_name = {prompt.id: prompt for prompt in now}, {prompt.name: prompt for prompt in now}
    changes: list[Change] = []
    seen: dict[str, str] = {}
    for document in documents:
        fields = dict(document.fields)
        key, name = fields.pop("id", None), fields.get("name")
        if not isinstance(name, str) or not name:
            raise PrismError("the document names no prompt: `name:` is missing", where=document.place)
        before = by_id.get(key or "") or (by_name.get(name) if key is None else None)
        for what in {f"the prompt {name!r}", *([f"the id {before.id if before else key}"] if key else [])}:
            if what in seen:
                raise PrismError(
                    f"{what} stands in two documents",
                    where=document.place,
                    mend=f"The other is {seen[what]}. A copy needs a name of its own, and no `id:`.",
                )
            seen[what] = document.place
        try:
            start = before or library.blank(status="active", id=key or "")
            changes.append(Change(before, with_fields(start, fields)))
        except InvalidPromptError as error:
            raise PrismError(error.what, where=document.place, mend=error.mend) from None
    planned = ChangeSet(tuple(change for change in changes if change.fields))
    if not prune:
        return planned
    spoken_of = {change.before.id for change in changes if change.before}
    gone = library.delete((one for one in now if one.id not in spoken_of), by="", dry_run=True)
    return replace(planned, changes=planned.changes + gone.changes, notes=gone.notes)


def _files(folder: Path) -> list[Path]:
    return sorted(one for one in folder.iterdir() if one.suffix in (ENDING, ".yml") and one.is_file())


def _ours(path: Path, names: Collection[str]) -> bool:
    """Whether a file was exported (only then it has an id), or is of one of the prompts named."""
    try:
        [document] = read_folder(path)
    except PrismError:
        return False
    fields = document.fields
    return set(fields) <= {"id", *FIELDS} and ("id" in fields or fields.get("name") in names)


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".prism-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _kept_as_plain_text(template: str | None, sandbox: Sandbox, place: str) -> str | None:
    """``template`` made plain where it looks like Jinja and is none; else none."""
    if template is None:
        return None
    try:
        sandbox.inspect(template)
    except TemplateError:
        try:
            return as_plain_text(template)
        except TemplateError as error:
            raise PrismError(f"the template can't be kept: {error.reason}", where=place) from None
    return None
