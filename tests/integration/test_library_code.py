"""The library as files: a round trip changes nothing, and an import says first what it would do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import psycopg
import pytest

from orchestration.errors import PrismError
from orchestration.library import code
from orchestration.library.application import create_tables
from orchestration.library.prompts import InvalidPromptError
from orchestration.library.store import Library
from orchestration.library.templates import Sandbox
from orchestration.sample.write import write_sample
from orchestration.warehouse import Warehouse

pytestmark = pytest.mark.integration

BY = "editor@example.com"


@pytest.fixture
def connection(module_warehouse: Warehouse) -> Iterator[psycopg.Connection]:
    with module_warehouse.connect() as made:
        made.execute("drop schema if exists shop cascade")
        create_tables(made, "shop")
        made.commit()
        yield made


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as made:
        yield made


@pytest.fixture
def library(connection: psycopg.Connection, sandbox: Sandbox) -> Library:
    return Library(connection, "shop", sandbox, "shop")


@pytest.fixture
def sample(connection: psycopg.Connection, sandbox: Sandbox) -> Library:
    write_sample(connection, "shop", until=date(2026, 3, 2), rows=100)
    connection.commit()
    return Library(connection, "shop", sandbox, "shop")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_round_trip_changes_nothing(sample: Library, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert len(code.export(sample.find(), first, whole=True).written) == 62
    planned = code.plan(sample, code.read_folder(first), prune=True)
    assert planned.changes == ()
    assert sample.apply(planned, "import", by=BY).change_id is None
    assert sample.history() == []
    code.export(sample.find(), second, whole=True)
    assert files(first) == files(second)
    again = code.export(sample.find(), first, whole=True)
    assert (again.written, again.unchanged, again.removed) == ((), 62, ())


def test_an_empty_library_becomes_the_one_that_was_exported(
    sample: Library, connection: psycopg.Connection, sandbox: Sandbox, tmp_path: Path
) -> None:
    code.export(sample.find(), tmp_path, whole=True)
    before = {prompt.id: prompt.revision for prompt in sample.find()}
    connection.execute("truncate shop.prompts, shop.prompt_usage, shop.prompt_changes cascade")
    connection.commit()
    done = sample.apply(code.plan(sample, code.read_folder(tmp_path)), "import", by=BY)
    assert len(done.changes) == 62
    assert {prompt.id: prompt.revision for prompt in sample.find()} == before


def test_what_changed_in_the_files_is_what_is_imported(sample: Library, tmp_path: Path) -> None:
    code.export(sample.find(), tmp_path, whole=True)
    triage = tmp_path / "ticket-triage.yaml"
    triage.write_text(triage.read_text().replace("name: ticket-triage", "name: triage"))
    (tmp_path / "reply-draft.yaml").unlink()
    (tmp_path / "made.yaml").write_text("name: new\nagents: [ticket-desk]\nsystem_prompt: Hello\n")
    (tmp_path / "README.md").write_text("kept")
    (tmp_path / "other.yaml").write_text("name: x\nversion: y\n")
    with pytest.raises(PrismError, match="no field"):
        code.plan(sample, code.read_folder(tmp_path))
    (tmp_path / "other.yaml").rename(tmp_path / "other.txt")
    planned = code.plan(sample, code.read_folder(tmp_path), prune=True)
    told = [
        (one.before and one.before.name, one.after and (one.after.name, one.after.status))
        for one in planned.changes
    ]
    assert told == [
        (None, ("new", "active")),
        ("ticket-triage", ("triage", "active")),
        ("reply-draft", ("reply-draft", "archived")),  # it has uses
    ]
    assert len(code.plan(sample, code.read_folder(tmp_path)).changes) == 2  # without --prune
    sample.apply(planned, "import", by=BY, why="a pull request")
    assert sample.get("triage").id == planned.changes[1].prompt.id
    done = code.export(sample.find(), tmp_path, whole=True)
    assert set(done.removed) == {"ticket-triage.yaml", "made.yaml"}
    assert set(done.written) == {"triage.yaml", "new.yaml", "reply-draft.yaml"}
    assert (tmp_path / "README.md").read_text() == "kept"
    assert code.plan(sample, code.read_folder(tmp_path), prune=True).changes == ()


def test_a_prompt_that_was_not_imported_yet_is_not_removed_by_an_export(
    sample: Library, tmp_path: Path
) -> None:
    (tmp_path / "new.yaml").write_text("name: new\n")
    (tmp_path / "other.yaml").write_text("on: push\n")
    assert code.export(sample.find(), tmp_path, whole=True).removed == ()


def test_a_part_that_is_exported_removes_no_other_file(sample: Library, tmp_path: Path) -> None:
    code.export(sample.find(), tmp_path, whole=True)
    done = code.export([sample.get("ticket-triage")], tmp_path, whole=False)
    assert (done.written, done.unchanged, done.removed) == ((), 1, ())


@pytest.mark.parametrize(
    ("documents", "fault"),
    [
        ({"a.yaml": "name: a\n", "b.yaml": "name: a\n"}, "the prompt 'a' stands in two documents"),
        ({"a.yaml": "id: x\nname: a\n", "b.yaml": "id: x\nname: b\n"}, "the id x stands in two"),
        ({"a.yaml": "domain: x\n"}, "names no prompt"),
        ({"a.yaml": "name: a\nnonsense: x\n"}, "no field of a prompt"),
        ({"a.yaml": "name: a\n", "b.yaml": "name: b\nstatus: live\n"}, "known: draft"),
        ({"a.yaml": "name: a\nagents: [nobody]\n"}, "no agent 'nobody'"),
        ({"a.yaml": "id: x\nname: a\n"}, "can't keep this value"),
        ({}, "no file"),
    ],
)
def test_one_bad_document_stops_the_whole_import(
    library: Library, tmp_path: Path, documents: dict[str, str], fault: str
) -> None:
    for name, text in {"0.yaml": "name: fine\n", **documents}.items() if documents else ():
        (tmp_path / name).write_text(text)
    with pytest.raises((PrismError, InvalidPromptError), match=fault):
        library.apply(code.plan(library, code.read_folder(tmp_path)), "import", by=BY)
    assert library.find() == []


def test_a_folder_that_can_not_be_written_is_told(sample: Library, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(PrismError, match="can't be written there"):
        code.export(sample.find(), tmp_path / "file" / "folder", whole=True)


def test_a_csv_needs_its_columns_named_and_keeps_what_only_looks_like_jinja(
    library: Library, sandbox: Sandbox, tmp_path: Path
) -> None:
    path = tmp_path / "library.csv"
    path.write_text(
        'act,prompt,tags\na,"Say ${{ secrets.KEY }} and {{","x, y"\na,Hello {{ name }},\n',
        encoding="utf-8-sig",
    )
    with pytest.raises(PrismError, match=r"--column name=COLUMN\. It has: act, prompt, tags"):
        code.read_csv(path, {}, sandbox)
    with pytest.raises(PrismError, match="no column 'nope'"):
        code.read_csv(path, {"name": "nope"}, sandbox)
    columns = {"name": "act", "user_prompt_template": "prompt", "compliance_tags": "tags"}
    documents, notes = code.read_csv(path, columns, sandbox)
    assert notes == ["a: its template looks like Jinja but is none, so it is kept as plain text"]
    library.apply(code.plan(library, documents), "import", by=BY)
    first, second = library.find()
    assert (first.name, first.display_name, first.status) == ("a", None, "active")
    assert (second.name, second.display_name) == ("a (2)", "a")
    assert first.compliance_tags == ("x", "y")
    assert sandbox.fill(first.user_prompt_template or "", {}) == "Say ${{ secrets.KEY }} and {{"
    assert second.user_prompt_template == "Hello {{ name }}"
    documents, _ = code.read_csv(path, columns, sandbox)
    assert code.plan(library, documents).changes == ()


@pytest.mark.shared_data
def test_a_real_library_survives_a_round_trip_a_change_in_bulk_and_its_revert(
    library: Library, connection: psycopg.Connection, shared_data: Path, tmp_path: Path
) -> None:
    columns = {"name": "act", "user_prompt_template": "prompt"}
    documents, notes = code.read_csv(shared_data / "prompts_chat.csv", columns, library.sandbox)
    imported = library.apply(code.plan(library, documents), "import", by=BY)
    assert len(imported.changes) == 1528
    assert len(notes) == 5  # `${{ …`, `{{ here` and the like
    found = library.find()
    assert sum(prompt.display_name is not None for prompt in found) == 16
    assert max(len(prompt.user_prompt_template or "") for prompt in found) == 144_260

    first = tmp_path / "first"
    assert len(code.export(found, first, whole=True).written) == 1528
    before = files(first)
    assert sum(b"user_prompt_template: |" in content for content in before.values()) == 1528 - 16
    assert code.plan(library, code.read_folder(first), prune=True).changes == ()

    chosen = [one for one in found if "act as" in (one.user_prompt_template or "").lower()][:200]
    assert len(chosen) == 200
    done = library.bulk(
        chosen,
        lambda one: {"user_prompt_template": f"{one.user_prompt_template}\nBe brief.", "domain": "personas"},
        by=BY,
        why="a trial",
    )
    assert done.change_id is not None
    assert done.diff().count("+domain: personas") == 200
    assert len(code.export(library.find(), first, whole=True).written) == 200

    library.undo(done.change_id, by=BY)
    code.export(library.find(), first, whole=True)
    assert files(first) == before
    assert library.get(chosen[0].id).version == 3
    assert connection.execute("select count(*) from shop.prompt_versions").fetchone() == (1528 + 400,)
