"""The prompt library in an application's database: found, changed safely, put on record, brought back."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date

import psycopg
import pytest
from psycopg import sql

from orchestration.errors import PrismError
from orchestration.library.application import create_tables
from orchestration.library.metrics import Figures, PromptFigures
from orchestration.library.prompts import FIELDS, Change, ChangeSet, Filter, InvalidPromptError, Prompt
from orchestration.library.store import ConflictError, Library, PromptNotFoundError
from orchestration.library.templates import Sandbox
from orchestration.warehouse import Warehouse

pytestmark = pytest.mark.integration

BY = "editor@example.com"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as made:
        yield made


@pytest.fixture
def connection(module_warehouse: Warehouse) -> Iterator[psycopg.Connection]:
    """A session on an application of the test's own, in its own schema, with two agents."""
    with module_warehouse.connect() as made:
        made.execute("drop schema if exists shop cascade")
        create_tables(made, "shop")
        made.execute("insert into shop.agents (name) values ('desk'), ('bot')")
        made.commit()
        yield made


@pytest.fixture
def library(connection: psycopg.Connection, sandbox: Sandbox) -> Library:
    return Library(connection, "shop", sandbox, "shop")


def make(library: Library, name: str, **fields: object) -> Prompt:
    library.create({"name": name, "status": "active", **fields}, by=BY)
    return library.get(name)


def use(connection: psycopg.Connection, prompt: Prompt) -> str:
    row = connection.execute(
        "insert into shop.prompt_usage (prompt_id) values (%s) returning id::text", [prompt.id]
    ).fetchone()
    connection.commit()
    assert row is not None
    return str(row[0])


def contents(connection: psycopg.Connection) -> list[tuple[object, ...]]:
    """All that the library consists of, but for times."""
    rows = connection.execute(
        """
        select p.id, p.name, p.domain, p.status, p.owner, p.compliance_tags, p.system_prompt,
            p.user_prompt_template, array_agg(a.name order by a.name)
        from shop.prompts as p left join shop.agent_prompts as m on m.prompt_id = p.id
        left join shop.agents as a on a.id = m.agent_id group by p.id order by p.name
        """
    ).fetchall()
    connection.commit()
    return rows


# -- one by one


def test_a_prompt_is_made_with_its_first_version_and_its_record(library: Library) -> None:
    made = library.create(
        {"name": "triage", "user_prompt_template": "Sort: {{ text }}", "agents": ["desk"]},
        by=BY,
        why="asked for",
    )
    prompt = library.get("triage")
    assert (prompt.status, prompt.agents, prompt.version) == ("draft", ("desk",), 1)
    assert made.changes[0].after == replace(prompt, created_at=None, updated_at=None)
    [event] = library.history("triage")
    assert (event.change_id, event.action, event.version) == (made.change_id, "create", 1)
    assert (event.changed_by, event.reason) == (BY, "asked for")
    assert event.changed["user_prompt_template"] == (None, "Sort: {{ text }}")
    assert list(event.changed) == list(FIELDS)


def test_a_changed_text_makes_a_version_and_another_field_makes_none(library: Library) -> None:
    make(library, "triage", system_prompt="You sort.")
    library.edit("triage", {"domain": "support"}, by=BY)
    assert library.get("triage").version == 1
    library.edit("triage", {"system_prompt": "You sort well."}, by=BY, why="clearer")
    assert library.get("triage").version == 2
    assert library.version("triage", 1)["system_prompt"] == "You sort."
    assert [event.version for event in library.history("triage")] == [2, None, 1]


def test_a_version_that_the_application_forgot_is_kept_before_the_text_goes(
    library: Library, connection: psycopg.Connection
) -> None:
    connection.execute("insert into shop.prompts (name, system_prompt) values ('old', 'first')")
    connection.commit()
    assert library.get("old").version is None
    library.edit("old", {"system_prompt": "second"}, by=BY)
    connection.execute("update shop.prompts set system_prompt = 'by hand' where name = 'old'")
    connection.commit()
    library.edit("old", {"system_prompt": "fourth"}, by=BY)
    kept = [library.version("old", n)["system_prompt"] for n in (1, 2, 3, 4)]
    assert kept == ["first", "second", "by hand", "fourth"]
    assert library.get("old").version == 4


def test_an_edit_that_changes_nothing_writes_nothing(library: Library) -> None:
    prompt = make(library, "triage", domain="support")
    done = library.edit("triage", {"domain": "support", "owner": ""}, by=BY)
    assert (done.changes, done.change_id) == ((), None)
    assert library.get("triage") == prompt
    assert len(library.history("triage")) == 1


def test_the_second_of_two_edits_is_refused_with_what_changed(library: Library) -> None:
    seen = make(library, "triage", description="Sorts.", system_prompt="You sort.")
    library.edit("triage", {"description": "Sorts tickets."}, by="other@example.com", expected=seen)
    library.edit("triage", {"agents": ["bot"]}, by="other@example.com")
    for expected in (seen, seen.revision):  # an editor has the prompt, a page's form its revision
        with pytest.raises(ConflictError) as refused:
            library.edit("triage", {"description": "Sorts mail."}, by=BY, expected=expected)
        assert "-description: Sorts.\n+description: Sorts tickets." in refused.value.diff
        assert "+  - bot" in refused.value.diff
        assert refused.value.diff.strip() in str(refused.value)
    assert library.get("triage").description == "Sorts tickets."


def test_a_change_outside_prism_since_is_refused_too(
    library: Library, connection: psycopg.Connection
) -> None:
    seen = make(library, "triage", description="Sorts.")
    connection.execute("update shop.prompts set description = 'By hand.'")
    connection.commit()
    with pytest.raises(ConflictError, match=r"\+description: By hand\."):
        library.edit("triage", {"description": "Mine."}, by=BY, expected=seen)
    with pytest.raises(ConflictError, match="outside Prism"):
        library.edit("triage", {"description": "Mine."}, by=BY, expected=seen.revision)


def test_a_plan_is_refused_if_a_prompt_changed_meanwhile(library: Library) -> None:
    first, second = make(library, "a", domain="x"), make(library, "b", domain="x")
    planned = library.bulk([first, second], lambda _: {"domain": "y"}, by=BY, dry_run=True)
    library.edit("b", {"owner": "o@example.com"}, by=BY)
    with pytest.raises(ConflictError, match="'b'"):
        library.apply(planned, "edit", by=BY)
    assert library.get("a").domain == "x"


def test_an_edit_waits_for_the_applications_own_writer_and_is_then_refused(
    library: Library, module_warehouse: Warehouse
) -> None:
    make(library, "triage", description="Sorts.")
    with module_warehouse.connect() as theirs, ThreadPoolExecutor(1) as pool:
        theirs.execute("update shop.prompts set description = 'Theirs.'")
        edit = pool.submit(library.edit, "triage", {"description": "Ours."}, by=BY)
        with module_warehouse.connect(autocommit=True) as watcher:
            waiting = "select from pg_locks where not granted and locktype in ('transactionid', 'tuple')"
            while not watcher.execute(waiting).fetchall():
                assert not edit.done()
        theirs.commit()
        with pytest.raises(ConflictError, match=r"\+description: Theirs\."):
            edit.result(60)
    assert library.get("triage").description == "Theirs."


def test_a_duplicate_is_a_draft_without_agents(library: Library) -> None:
    original = make(library, "triage", system_prompt="You sort.", agents=["desk"], compliance_tags=["pii"])
    library.duplicate("triage", "triage-2", by=BY)
    copy = library.get("triage-2")
    assert (copy.status, copy.agents, copy.version) == ("draft", (), 1)
    assert (copy.system_prompt, copy.compliance_tags) == (original.system_prompt, ("pii",))
    assert copy.id != original.id


def test_many_are_duplicated_at_once_or_none_is(library: Library) -> None:
    chosen = [make(library, name, system_prompt=name, agents=["desk"]) for name in ("one", "two")]
    done = library.duplicate_all(chosen, " (copy)", by=BY, why="a trial")
    assert {(one.prompt.name, one.prompt.status) for one in done.changes} == {
        ("one (copy)", "draft"), ("two (copy)", "draft"),
    }  # fmt: skip
    assert library.get("two (copy)").system_prompt == "two"
    library.undo(done.change_id or 0, by=BY)
    make(library, "two (copy)")
    with pytest.raises(InvalidPromptError, match="is taken by another prompt"):
        library.duplicate_all(chosen, " (copy)", by=BY)
    assert [one.name for one in library.find()] == ["one", "two", "two (copy)"]


def test_a_prompt_without_uses_is_deleted_and_one_with_uses_archived(
    library: Library, connection: psycopg.Connection
) -> None:
    used, unused = make(library, "used"), make(library, "unused", agents=["desk"])
    use(connection, used)
    done = library.delete([used, unused], by=BY, why="clean up")
    assert done.notes == ("used has uses, so it is archived, not deleted",)
    assert library.get("used").status == "archived"
    with pytest.raises(PromptNotFoundError, match="Close to it: used"):
        library.get("unused")
    assert [event.action for event in library.history("unused")] == ["delete", "create"]


def test_a_prompt_that_is_used_between_plan_and_deletion_stays(
    library: Library, connection: psycopg.Connection
) -> None:
    prompt = make(library, "triage")
    planned = library.delete([prompt], by=BY, dry_run=True)
    use(connection, prompt)
    with pytest.raises(ConflictError, match="used since"):
        library.apply(planned, "delete", by=BY)


def test_agents_are_mapped_and_unmapped(library: Library, connection: psycopg.Connection) -> None:
    library.map([make(library, "a"), make(library, "b", agents=["bot"])], ["desk"], by=BY)
    assert [prompt.agents for prompt in library.find()] == [("desk",), ("bot", "desk")]
    since = (
        "select m.created_at from shop.agent_prompts as m inner join shop.agents as a on m.agent_id = a.id"
    )
    mapped = connection.execute(since + " where a.name = 'desk' order by 1").fetchall()
    connection.commit()
    library.unmap(library.find(Filter(agent="bot")), ["bot"], by=BY)
    assert [prompt.agents for prompt in library.find()] == [("desk",), ("desk",)]
    # those that stay are not made anew
    assert connection.execute(since + " order by 1").fetchall() == mapped
    connection.commit()
    with pytest.raises(InvalidPromptError, match=r"no agent 'dsk'\. Close to it: desk"):
        library.map(library.find(), ["dsk"], by=BY)


# -- refused


@pytest.mark.parametrize(
    ("fields", "field", "fault"),
    [
        ({"name": "taken"}, "name", "taken by another"),
        ({"name": " "}, "name", "missing"),
        ({"name": "a\nb"}, "name", "one line"),
        ({"name": "x" * 201}, "name", "201 characters; at most 200"),
        ({"complexity_level": "hard"}, "complexity_level", "known: basic, intermediate, advanced, expert"),
        ({"status": "live"}, "status", "known: draft, active, archived"),
        ({"status": None}, "status", "known: draft"),
        ({"owner": "me"}, "owner", "not a mail address"),
        ({"compliance_tags": ["a", "a"]}, "compliance_tags", "twice"),
        ({"compliance_tags": "pii"}, "compliance_tags", "list"),
        ({"system_prompt": "a\x00b"}, "system_prompt", "NUL"),
        ({"system_prompt": "\ud800"}, "system_prompt", "surrogate"),
        ({"user_prompt_template": "x" * 1_000_001}, "user_prompt_template", "1,000,001 characters"),
        ({"user_prompt_template": "a\n{{ b"}, "user_prompt_template", "line 2"),
        ({"user_prompt_template": "{{ b | nofilter }}"}, "user_prompt_template", "no filter"),
        ({"nonsense": "x"}, "nonsense", "no field"),
        ({"description": 7}, "description", "must be text"),
    ],
)
def test_what_a_prompt_can_not_be_is_refused_by_its_field(
    library: Library, fields: dict[str, object], field: str, fault: str
) -> None:
    make(library, "taken")
    before = library.find()
    with pytest.raises(InvalidPromptError) as refused:
        library.create({"name": "new", **fields}, by=BY)
    assert fault in refused.value.faults[field]
    assert library.find() == before


def test_what_was_wrong_before_does_not_stop_another_change(
    library: Library, connection: psycopg.Connection
) -> None:
    connection.execute("insert into shop.prompts (name, owner) values ('old', 'nobody')")
    connection.commit()
    library.edit("old", {"domain": "support"}, by=BY)
    assert library.get("old").domain == "support"


# -- in bulk


def test_a_bulk_change_is_all_or_nothing(library: Library) -> None:
    for name in ("a", "b", "c"):
        make(library, name, domain="x")
    before = library.find()
    with pytest.raises(InvalidPromptError, match="given to two"):
        library.bulk(before, lambda prompt: {"domain": "y", "name": "same"}, by=BY)
    with pytest.raises(PrismError, match="prompt 'c'"):
        library.bulk(
            before, lambda prompt: {"owner": "o@example.com" if prompt.name < "c" else "nobody"}, by=BY
        )
    assert library.find() == before


def test_a_dry_run_shows_each_change_as_a_diff_and_writes_nothing(library: Library) -> None:
    for name in ("a", "b"):
        make(library, name, domain="x", system_prompt="One.\nTwo.\n")
    before = library.find()
    planned = library.bulk(
        before, lambda one: {"system_prompt": str(one.system_prompt).replace("Two", "2")}, by=BY, dry_run=True
    )
    assert planned.change_id is None
    assert planned.diff().count("-  Two.\n+  2.\n") == 2
    assert "--- a/a\n+++ b/a\n" in planned.diff()
    assert library.find() == before


def test_a_change_that_the_application_swallows_is_told_and_the_others_are_not_made(
    library: Library, connection: psycopg.Connection
) -> None:
    for name in ("a", "b"):
        make(library, name, domain="x")
    connection.execute(
        """
        create function shop.keep() returns trigger language plpgsql as 'begin return null; end';
        create trigger keep before update on shop.prompts for each row when (old.name = 'b')
        execute function shop.keep();
        """
    )
    connection.commit()
    before = library.find()
    with pytest.raises(PrismError, match="'b': the application left it as it was"):
        library.bulk(before, lambda _: {"domain": "y"}, by=BY)
    assert library.find() == before
    assert len(library.history()) == 2


def test_a_change_whose_session_is_killed_half_way_leaves_nothing(
    library: Library, module_warehouse: Warehouse
) -> None:
    for name in ("a", "b", "c"):
        make(library, name, domain="x")
    before = library.find()
    with module_warehouse.connect(autocommit=True) as theirs:
        theirs.execute(
            """
            create function shop.die() returns trigger language plpgsql as
                'begin perform pg_terminate_backend(pg_backend_pid()); return new; end';
            create trigger die before update on shop.prompts for each row when (old.name = 'b')
            execute function shop.die();
            """
        )
        with pytest.raises(PrismError, match="the application's database says: terminating connection"):
            library.bulk(before, lambda _: {"domain": "y"}, by=BY)
        theirs.execute("drop function shop.die cascade")
    with module_warehouse.connect() as anew:
        again = Library(anew, "shop", library.sandbox, "shop")
        assert again.find() == before
        assert len(again.history()) == 3


def test_a_change_says_which_variables_its_template_needs_now(library: Library) -> None:
    make(library, "triage", user_prompt_template="{{ text }} {{ style }}")
    done = library.edit(
        "triage", {"user_prompt_template": "{{ text }} {{ tone }} {{ n | default(1) }}"}, by=BY
    )
    assert done.notes == ("triage: its template now needs tone and no longer needs style",)
    assert library.edit("triage", {"user_prompt_template": "{{ text }}, {{ tone }}"}, by=BY).notes == ()


def test_names_can_change_places_only_one_after_the_other(library: Library) -> None:
    first, second = make(library, "a"), make(library, "b")
    swap = ChangeSet((Change(first, replace(first, name="b")), Change(second, replace(second, name="a"))))
    with pytest.raises(PrismError, match="refuses this"):
        library.apply(swap, "edit", by=BY)
    assert [prompt.id for prompt in library.find()] == [first.id, second.id]


def test_a_whole_change_is_taken_back(library: Library, connection: psycopg.Connection) -> None:
    kept, gone = make(library, "kept", system_prompt="One."), make(library, "gone", agents=["bot"])
    before = contents(connection)
    edited = library.bulk([kept], lambda _: {"system_prompt": "Two.", "agents": ["desk"]}, by=BY)
    deleted = library.delete([gone], by=BY)
    made = library.create({"name": "made"}, by=BY)
    for done in (made, deleted, edited):
        assert done.change_id is not None
        library.undo(done.change_id, by=BY, why="a mistake")
    assert contents(connection) == before
    assert library.get("kept").version == 3
    assert [event.action for event in library.history("gone")] == ["revert", "delete", "create"]


def test_a_change_is_not_taken_back_over_a_later_one(library: Library) -> None:
    make(library, "triage", domain="x", owner="a@example.com")
    done = library.edit("triage", {"domain": "y"}, by=BY)
    library.edit("triage", {"owner": "b@example.com"}, by=BY)
    assert done.change_id is not None
    library.undo(done.change_id, by=BY, dry_run=True)  # another field
    library.edit("triage", {"domain": "z"}, by=BY)
    with pytest.raises(ConflictError, match=r"-domain: y\n\+domain: z"):
        library.undo(done.change_id, by=BY)
    with pytest.raises(PrismError, match="no change 999"):
        library.undo(999, by=BY)


def test_the_texts_of_a_version_come_back_as_a_new_one(library: Library) -> None:
    make(library, "triage", system_prompt="One.")
    library.edit("triage", {"system_prompt": "Two."}, by=BY)
    library.revert("triage", 1, by=BY)
    assert (library.get("triage").system_prompt, library.get("triage").version) == ("One.", 3)
    with pytest.raises(PrismError, match="no version 9"):
        library.revert("triage", 9, by=BY)


# -- found


def test_prompts_are_found_by_what_they_are_and_by_how_they_do(library: Library) -> None:
    a = make(library, "a", domain="x", suite="PRISM", compliance_tags=["pii"], complexity_level="basic")
    b = make(library, "b", domain="y", description="Sorts TICKETS.", agents=["bot"])
    figures = Figures(
        date(2026, 3, 1),
        "month",
        {a.id: PromptFigures(health="at_risk", last_used_on=date(2026, 2, 1))},
    )

    def names(figures: Figures | None = figures, **wanted: object) -> list[str]:
        return [prompt.name for prompt in library.find(Filter(**wanted), figures)]  # type: ignore[arg-type]

    assert names() == ["a", "b"]
    assert names(domain="x") == names(suite="PRISM") == names(tag="pii") == names(complexity_level="basic")
    assert names(domain="x") == names(health="at_risk") == names(keys=(a.id,)) == ["a"]
    assert names(search="tickets") == names(agent="bot") == ["b"]
    assert names(status="archived") == names(domain="x", agent="bot") == []
    assert names(unused_since=date(2026, 2, 1)) == ["b"]  # never used
    assert names(unused_since=date(2026, 2, 2)) == ["a", "b"]
    assert b.version == 1
    with pytest.raises(PrismError, match="no figures yet"):
        names(None, health="at_risk")


# -- used


def test_a_rating_is_written_to_its_use(library: Library, connection: psycopg.Connection) -> None:
    usage_id = use(connection, make(library, "triage"))
    library.rate(usage_id, 4)
    row = connection.execute("select rating, updated_at > created_at from shop.prompt_usage").fetchone()
    assert row == (4, True)
    for bad, message in ((str(uuid.uuid4()), "no use"), ("17", "can't keep"), (usage_id, "no rating")):
        with pytest.raises(PrismError, match=message):
            library.rate(bad, 6 if message == "no rating" else 5)


# -- real applications


@pytest.fixture
def bare(connection: psycopg.Connection, sandbox: Sandbox) -> Library:
    """An application with numbers for ids, few columns and none of the tables that Prism would add."""
    connection.execute("drop schema shop cascade")
    connection.execute("create schema shop")
    connection.execute(
        "create table shop.prompts (id bigint generated always as identity primary key, name text not null)"
    )
    connection.execute("insert into shop.prompts (name) values ('one')")
    connection.commit()
    return Library(connection, "shop", sandbox, "shop")


def create_tables_of_changes(connection: psycopg.Connection) -> None:
    connection.execute(
        """
        create sequence shop.prompt_change_ids;
        create table shop.prompt_changes (
            change_id bigint, prompt_id text, prompt_name text, action text, changed jsonb, version integer,
            changed_at timestamptz default now(), changed_by text, reason text
        )
        """
    )
    connection.commit()


def test_an_application_that_keeps_less_is_told_what_it_lacks(
    bare: Library, connection: psycopg.Connection, sandbox: Sandbox
) -> None:
    assert [prompt.name for prompt in bare.find()] == ["one"]
    with pytest.raises(PrismError, match="keeps no prompt_changes"):
        bare.edit("one", {"name": "two"}, by=BY)
    create_tables_of_changes(connection)
    library = Library(connection, "shop", sandbox, "shop")
    library.edit("one", {"name": "two"}, by=BY)
    assert library.get("two").id == "1"
    library.create({"name": "three"}, by=BY)
    assert library.get("three").status is None
    with pytest.raises(PrismError, match="prompts has no column domain"):
        library.edit("two", {"domain": "x"}, by=BY)
    with pytest.raises(PrismError, match="keeps no prompt_versions"):
        library.edit("two", {"system_prompt": "x"}, by=BY)
    with pytest.raises(PrismError, match="keeps no agents"):
        library.edit("two", {"agents": ["desk"]}, by=BY)
    with pytest.raises(PrismError, match="keeps no prompt_usage"):
        library.record_use({"prompt_id": "1"})


def test_versions_that_are_no_numbers_and_columns_with_defaults_are_the_applications_own(
    bare: Library, connection: psycopg.Connection, sandbox: Sandbox
) -> None:
    connection.execute(
        """
        alter table shop.prompts
        add domain text not null default 'general', add system_prompt text, add user_prompt_template text,
        add compliance_tags text;
        create table shop.prompt_versions (
            prompt_id bigint, version text, system_prompt text, user_prompt_template text
        );
        insert into shop.prompt_versions values (1, 'v1', 'old', null);
        update shop.prompts set system_prompt = 'old', compliance_tags = 'pii, gdpr';
        """
    )
    create_tables_of_changes(connection)
    library = Library(connection, "shop", sandbox, "shop")
    prompt = library.get("one")
    assert (prompt.version, prompt.compliance_tags, prompt.domain) == (None, ("pii", "gdpr"), "general")
    library.edit("one", {"system_prompt": "new"}, by=BY)
    assert [library.version("one", n)["system_prompt"] for n in (1, 2)] == ["old", "new"]
    library.create({"name": "two"}, by=BY)
    assert library.get("two").domain == "general"


def test_a_library_that_a_role_sees_only_in_part_is_refused(
    library: Library, connection: psycopg.Connection, sandbox: Sandbox
) -> None:
    make(library, "mine", owner="me@example.com")
    make(library, "theirs", owner="them@example.com")
    role = sql.Identifier(f"part_{uuid.uuid4().hex[:8]}")
    for statement in (
        "create role {role}",
        "grant usage on schema shop to {role}",
        "grant select, insert, update on all tables in schema shop to {role}",
        "alter table shop.prompts enable row level security",
        "create policy own on shop.prompts using (owner = 'me@example.com')",
    ):
        connection.execute(sql.SQL(statement).format(role=role))  # type: ignore[arg-type]
    connection.commit()
    connection.execute(sql.SQL("set role {}").format(role))
    connection.commit()
    with pytest.raises(PrismError, match="Row level security hides rows"):
        Library(connection, "shop", sandbox, "shop").find()
    connection.execute("reset role")
    connection.execute(sql.SQL("drop owned by {role}; drop role {role}").format(role=role))
    connection.commit()
