"""Using the library: the best prompt around a text, why that one, recorded and rated like any other use."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from orchestration import roles
from orchestration.cli import app
from orchestration.errors import PrismError
from orchestration.library.application import create_tables
from orchestration.library.enhance import Enhancer
from orchestration.library.metrics import Figures, PromptFigures
from orchestration.library.store import Library
from orchestration.library.templates import Sandbox
from orchestration.warehouse import Warehouse

pytestmark = pytest.mark.integration

BY = "editor@example.com"
LIBRARY: list[dict[str, Any]] = [
    {
        "name": "refund-decision",
        "description": "Proposes to grant or refuse a refund.",
        "user_prompt_template": "Policy: {{ policy | default('ours') }}\nReason: {{ reason }}",
        "system_prompt": "You decide on refunds.",
        "agents": ["desk"],
    },
    {
        "name": "reply-draft",
        "description": "Drafts an answer to a customer.",
        "user_prompt_template": "Customer wrote: {{ ticket_text }}\nTone: {{ tone }}",
        "agents": ["desk", "chat"],
    },
    {"name": "apology", "description": "Drafts an apology for a refund that came late.", "agents": ["desk"]},
    {"name": "refund-idea", "description": "A refund.", "agents": ["desk"], "status": "draft"},
]


@pytest.fixture(scope="module")
def connection(module_warehouse: Warehouse) -> Iterator[psycopg.Connection]:
    with module_warehouse.connect() as made:
        create_tables(made, "app")
        made.execute("insert into app.agents (name) values ('desk'), ('chat'), ('idle')")
        made.commit()
        yield made


@pytest.fixture(scope="module")
def library(connection: psycopg.Connection) -> Iterator[Library]:
    with Sandbox() as sandbox:
        made = Library(connection, "app", sandbox, "app")
        for fields in LIBRARY:
            made.create({"status": "active", **fields}, by=BY)
        yield made


@pytest.fixture(scope="module")
def figures(library: Library) -> Figures:
    shown = {
        "refund-decision": PromptFigures(outcome_count=100, success_count=90, success_rate_low=0.82),
        "reply-draft": PromptFigures(outcome_count=100, success_count=50, success_rate_low=0.4),
    }
    return Figures(date(2026, 3, 1), "month", {library.get(name).id: one for name, one in shown.items()})


@pytest.fixture
def enhancer(library: Library, figures: Figures) -> Enhancer:
    return Enhancer(library, figures)


def test_a_named_prompt_is_filled_with_the_text_and_its_values(enhancer: Enhancer) -> None:
    done = enhancer.enhance("it broke", prompt="reply-draft", values={"tone": "kind"})
    assert done.enhanced_prompt == "Customer wrote: it broke\nTone: kind"
    assert done.prompt.version == 1
    assert done.reasons == (
        "it was asked for by name",
        "it succeeds in at least 40% of its uses (50 of 100 in the month to 2026-03-01)",
    )


def test_of_an_agents_prompts_the_one_that_fits_is_taken_and_the_reasons_say_why(enhancer: Enhancer) -> None:
    done = enhancer.enhance("The customer wants a refund decision.", agent="desk")
    assert done.prompt.name == "refund-decision"
    assert done.system_prompt == "You decide on refunds."
    assert done.enhanced_prompt == "Policy: ours\nReason: The customer wants a refund decision."
    first, second, third = done.reasons
    assert first == "it ranks first of the 3 active prompts of desk"
    assert second.startswith("it speaks of decision, refund (fit 0.")
    assert third == "it succeeds in at least 82% of its uses (90 of 100 in the month to 2026-03-01)"
    assert [one.prompt.name for one in done.ranking] == ["refund-decision", "reply-draft", "apology"]


def test_of_equal_fits_the_proven_one_wins(library: Library, figures: Figures) -> None:
    text = "answer late"
    alone = [one.prompt.name for one in Enhancer(library, None).rank(text, agent="desk")]
    proven = [one.prompt.name for one in Enhancer(library, figures).rank(text, agent="desk")]
    assert alone[:2] == ["apology", "reply-draft"]
    assert proven[:2] == ["reply-draft", "apology"]


def test_a_text_that_fits_nothing_goes_by_success_alone(enhancer: Enhancer) -> None:
    done = enhancer.enhance("zzz", agent="desk")
    assert done.prompt.name == "refund-decision"
    assert done.reasons[1] == "none of the text's words is in any of them, so success alone decides"


def test_a_prompt_that_lacks_values_is_passed_over_only_for_another_that_fits(enhancer: Enhancer) -> None:
    passed = enhancer.enhance("Draft an answer to the customer about the refund", agent="desk")
    assert passed.prompt.name == "refund-decision"
    assert passed.reasons[0] == (
        "it ranks 2 of the 3 active prompts of desk: those before it need what was not given: "
        "reply-draft (tone)"
    )
    with pytest.raises(PrismError, match=r"reply-draft needs tone\. Give that"):
        enhancer.enhance("an answer", agent="chat")
    kept = enhancer.enhance("an answer", agent="chat", keep_gaps=True)
    assert kept.enhanced_prompt == "Customer wrote: an answer\nTone: {{ tone }}"


def test_without_an_agent_the_whole_library_is_the_choice(enhancer: Enhancer) -> None:
    assert enhancer.enhance("an apology, please").prompt.name == "apology"


@pytest.mark.parametrize(
    ("template", "values", "text_as", "expected"),
    [
        (None, {}, None, "Begin: hello"),
        ("Fixed.\n", {}, None, "Fixed.\n\nhello"),
        ("{{ a }} {{ text }}", {"a": 1}, None, "1 hello"),
        ("{{ a }}", {}, None, "hello"),
        ("{{ a }} {{ mail_text }} {{ b }}", {"a": 1, "b": [2]}, None, "1 hello [2]"),
        ("{{ a }} {{ b }}", {"a": "x"}, None, "x hello"),
        ("{{ a }} {{ b }}", {"b": "x"}, "a", "hello x"),
        ("${a} ${language:Czech}", {}, None, "hello Czech"),
    ],
)
def test_the_text_goes_where_the_template_has_a_place_for_it(
    library: Library,
    template: str | None,
    values: dict[str, Any],
    text_as: str | None,
    expected: str,
) -> None:
    library.create(
        {"name": "t", "status": "active", "user_prompt_template": template, "prompt_starter": "Begin: "},
        by=BY,
    )
    try:
        done = Enhancer(library, None).enhance("hello", prompt="t", values=values, text_as=text_as)
    finally:
        library.delete([library.get("t")], by=BY)
    assert done.enhanced_prompt == expected


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"prompt": "reply-draft"}, r"needs values that were not given: tone"),
        ({"prompt": "reply-draft", "text_as": "nope"}, "no variable 'nope'"),
        ({"prompt": "reply"}, r"no prompt 'reply'"),
        ({"agent": "dsk"}, r"no agent 'dsk'[\s\S]*Close to it: desk"),
        ({"agent": "idle"}, "no active prompt is mapped"),
        ({"prompt": "reply-draft", "values": {"tone": "x" * 1_000_001}}, "longer than 1,000,000"),
    ],
)
def test_what_can_not_be_enhanced_is_refused(enhancer: Enhancer, given: dict[str, Any], fault: str) -> None:
    with pytest.raises(PrismError, match=fault):
        enhancer.enhance("hello", **given)


def test_a_recorded_use_is_one_like_any_other_and_so_is_a_failure(
    enhancer: Enhancer, connection: psycopg.Connection
) -> None:
    done = enhancer.enhance("why", prompt="refund-decision", agent="desk", record={"user_id": "u17"})
    with pytest.raises(PrismError, match="not given"):
        enhancer.enhance("why", prompt="reply-draft", record={"session_id": "s1"})
    rows = connection.execute(
        """
        select u.id::text, p.name, u.prompt_version, a.name, u.user_id, u.session_id, u.user_prompt,
            u.enhanced_prompt, u.success, u.error_type, u.response_time_ms >= 0
        from app.prompt_usage as u inner join app.prompts as p on p.id = u.prompt_id
        left join app.agents as a on a.id = u.agent_id order by u.created_at
        """
    ).fetchall()
    connection.commit()
    text = "Policy: ours\nReason: why"
    assert rows[0] == (
        done.usage_id, "refund-decision", 1, "desk", "u17", None, "why", text, True, None, True
    )  # fmt: skip
    failed = ("reply-draft", 1, None, None, "s1", "why", None, False, "enhancement_failed", True)
    assert rows[1][1:] == failed


# -- the commands


Prism = Callable[..., Any]


@pytest.fixture
def prism(
    library: Library, module_warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Prism:
    """The command line on this library, in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PRISM_WAREHOUSE_URL", module_warehouse.url)
    monkeypatch.delenv("PRISM_CONFIG", raising=False)

    def call(*arguments: str, fails: str | None = None, typed: str | None = None) -> Any:
        done = CliRunner().invoke(app, list(arguments), input=typed)
        if fails is None:
            assert done.exit_code == 0, f"{done.output}\n{done.exception!r}"
        else:
            assert isinstance(done.exception, PrismError)
            assert fails in str(done.exception)
        return done

    return call


def test_a_use_is_enhanced_recorded_and_rated_from_the_command_line(
    prism: Prism, connection: psycopg.Connection
) -> None:
    told = prism("enhance", "a refund", "--agent", "desk", "--record", "--user", "u1").stdout
    assert "Prompt: refund-decision, version 1" in told
    assert "Reason: a refund" in told
    usage_id = told.split("prism rate ")[1].split()[0]
    prism("rate", usage_id, "5")
    row = connection.execute("select rating, user_id from app.prompt_usage where id = %s", [usage_id])
    assert row.fetchone() == (5, "u1")
    connection.commit()
    prism("rate", "00000000-0000-0000-0000-000000000000", "5", fails="there is no use")
    ranked = json.loads(prism("enhance", "a refund", "--agent", "desk", "--json").stdout)
    assert ranked["ranking"][0]["prompt"] == "refund-decision"


def test_a_batch_gives_a_line_for_each_line_in_order_and_fails_where_one_did(
    prism: Prism, tmp_path: Path
) -> None:
    lines = [
        '{"id": 7, "text": "a refund", "agent": "desk"}',
        "",
        "nonsense",
        '{"text": "x", "prompt": "reply-draft", "values": {"tone": "kind"}}',
        '{"prompt": "reply-draft"}',
        '{"text": "x", "propmt": "reply-draft"}',
        '{"text": "x", "prompt": 7}',
        '{"text": "x", "values": []}',
        '{"text": "\\ud800"}',
        '{"text": "\\u0000", "agent": "desk"}',
    ]
    path = tmp_path / "requests.jsonl"
    path.write_bytes("\n".join(lines).encode() + b'\n{"text": "\xff"}')
    done = prism("enhance", "--batch", str(path), fails="8 lines of the batch failed")
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result["line"] for result in results] == [1, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert (results[0]["id"], results[0]["prompt"]) == (7, "refund-decision")
    assert results[2]["enhanced_prompt"] == "Customer wrote: x\nTone: kind"
    errors = [result["error"].splitlines()[0] for result in results if "error" in result]
    assert [error.split(":")[0] for error in errors] == [
        "this line is no JSON", "a line needs a text", "a line can't say propmt", "prompt must be text",
        "values must be an object of values by name", "this line is no JSON", "sources",
        "this line is no JSON",
    ]  # fmt: skip
    assert all(result.get("error") for result in results[3:])
    good = prism(
        "enhance", "--batch", "-", "--agent", "desk", typed='{"text": "refund"}\n{"text": "refund"}\n'
    )
    assert len(good.stdout.splitlines()) == 2


def test_the_library_is_managed_from_the_command_line(
    prism: Prism, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "template.txt").write_text("Hello {{ name }}")
    prism("prompts", "create", "greet", "--file", "user_prompt_template=template.txt", "--tag", "pii",
          "--agent", "idle", "--by", "ann@example.com", "--why", "new")  # fmt: skip
    told = prism("prompts", "show", "greet").stdout
    assert "user_prompt_template: |-\n  Hello {{ name }}\n" in told
    assert "# variables: name\n" in told
    prism("prompts", "duplicate", "greet", "greet-2")
    prism("prompts", "duplicate", "greet", fails="say a prompt and the copy's name, or a filter and --suffix")
    prism("prompts", "duplicate", "--tag", "pii", "--suffix", " b", fails="nobody is here to be asked")
    told = prism("prompts", "duplicate", "--tag", "pii", "--suffix", " b", "--yes").stdout
    prism("prompts", "revert", "--change", told.split("Change ")[1].split(":")[0])
    prism("prompts", "map", "greet-2", "--agent", "idle")
    [first, second] = json.loads(prism("prompts", "list", "--agent", "idle", "--json").stdout)
    assert (first["name"], second["name"], first["figures"]) == ("greet", "greet-2", None)

    bulk = ("prompts", "edit", "--agent", "idle", "--replace", "Hello", "Good day", "--add-tag", "gdpr")
    shown = prism(*bulk, "--dry-run").stdout
    assert shown.count("-  Hello {{ name }}\n+  Good day {{ name }}\n") == 2
    assert shown.endswith("Would be: 2 changed.\n")
    prism(*bulk, fails="2 prompts would change, and nobody is here to be asked")
    change = prism(*bulk, "--yes").stdout.split("Change ")[1].split(":")[0]
    assert prism(*bulk, "--yes").stdout == "Nothing to change.\n"
    prism("prompts", "revert", "--change", change)
    assert "Good day" in prism("prompts", "history", "greet", "--diff").stdout
    history = json.loads(prism("prompts", "history", "greet", "--json").stdout)
    assert [one["action"] for one in history] == ["revert", "edit", "create"]
    assert (history[-1]["changed_by"], history[-1]["reason"]) == ("ann@example.com", "new")

    prism("prompts", "edit", "--set", "domain=x", fails="which prompts?")
    prism("prompts", "edit", "greet", "greet-2", fails="nothing was said to change")
    prism("prompts", "list", "--health", "watch", fails="no figures yet")
    assert CliRunner().invoke(app, ["prompts", "list", "--health", "well"]).exit_code == 2
    prism("prompts", "revert", "greet", fails="say what to revert")
    prism("prompts", "unmap", "greet", "--agent", "idle")
    prism("prompts", "archive", "greet")
    prism("prompts", "starters", "--domain", "nowhere")
    assert "the starter was made by Prism" not in prism("prompts", "show", "apology").stdout
    prism("prompts", "starters", "apology")
    told = prism("prompts", "show", "apology").stdout
    assert "prompt_starter: 'Draft an apology for a refund that came late: '" in told
    assert "the starter was made by Prism" in told
    prism("prompts", "edit", "apology", "--set", "prompt_starter=Sorry: ")
    assert "the starter was made by Prism" not in prism("prompts", "show", "apology").stdout
    prism("prompts", "export", "out")
    assert "Nothing to change." in prism("prompts", "import", "out").stdout
    prism("prompts", "delete", "greet", "greet-2", "--yes")
    assert "Would be: 2 made." in prism("prompts", "import", "out").stdout
    assert "Change" in prism("prompts", "import", "out", "--apply").stdout
    prism("prompts", "delete", "greet", "greet-2", "--yes")


def test_a_prompt_is_edited_whole_in_an_editor_and_nothing_written_there_is_lost(
    prism: Prism, library: Library, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.delenv("EDITOR", raising=False)
    prism("prompts", "edit", "reply-draft", fails="no editor is set")
    monkeypatch.setenv("EDITOR", "sed -i 's/^domain:.*/domain: support/'")
    assert "1 changed" in prism("prompts", "edit", "reply-draft").stdout
    assert library.get("reply-draft").domain == "support"
    assert prism("prompts", "edit", "reply-draft").stdout == "Nothing to change.\n"
    for editor, fault in (
        ("sed -i 's/^status:.*/status: live/'", "known: draft, active, archived"),
        ("sed -i 's/^id:.*/id: other/'", "the id is not to be edited"),
        ("sh -c 'echo [ > $0'", "not a document of YAML"),
        ("false", "the editor ended with 1"),
        ("/nowhere/editor", "the editor does not start"),
    ):
        monkeypatch.setenv("EDITOR", editor)
        done = prism("prompts", "edit", "reply-draft", fails=fault)
        if editor != "/nowhere/editor":
            kept = Path(str(done.exception).rsplit("kept: ", 1)[1])
            assert kept.is_file()
            kept.unlink()
    assert library.get("reply-draft").status == "active"


def test_figures_are_read_as_the_reporter_and_a_rating_needs_no_warehouse(
    prism: Prism, module_warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with module_warehouse.connect() as connection:
        connection.execute(
            """
            create schema marts;
            create view marts.prompts as select id::text as prompt_id, now() as last_used_at from app.prompts;
            create view marts.prompt_performance_summary as
            select
                id::text as prompt_id, 'month' as period, current_date as as_of_date, 1 as usage_count,
                1 as outcome_count, 1 as success_count, 1 as success_rate, 1 as success_rate_low,
                1 as success_rate_high, 5 as average_rating, 1 as average_response_time_ms,
                0 as cost_per_use, current_user::text as health
            from app.prompts;
            grant usage on schema marts to prism_reporter;
            grant select on all tables in schema marts to prism_reporter;
            """
        )
    try:
        shown = json.loads(prism("prompts", "show", "refund-decision", "--json").stdout)
        assert shown["figures"]["health"] == roles.REPORTER
    finally:
        with module_warehouse.connect() as connection:
            connection.execute("drop schema marts cascade")
    told = prism("enhance", "a refund", "--agent", "desk", "--record").stdout
    (tmp_path / "prism.yaml").write_text(
        f"sources:\n- {{name: shop, type: application, schema: app, url: '{module_warehouse.url}'}}\n"
    )
    monkeypatch.setenv("PRISM_WAREHOUSE_URL", "postgresql://127.0.0.1:1/none")
    usage_id = told.split("prism rate ")[1].split()[0]
    assert prism("rate", usage_id, "3").stdout == f"Rated {usage_id}: 3.\n"
    prism("enhance", "a refund", fails="no connection to the database none")


def test_several_applications_need_a_name(prism: Prism, tmp_path: Path) -> None:
    (tmp_path / "prism.yaml").write_text(
        "sources:\n- {name: one, type: application, schema: app}\n"
        "- {name: two, type: application, schema: two}\n- {name: log, type: files, path: x.csv}\n"
    )
    prism("prompts", "list", fails="there are several applications")
    prism("prompts", "list", "--source", "log", fails="there is no application 'log'")
    assert "refund-decision" in prism("prompts", "list", "--source", "one").stdout
    prism("db", "setup", "--application", "--source", "two")
    assert prism("prompts", "list", "--source", "two").stdout.splitlines()[-1].startswith("0 prompts")
    (tmp_path / "prism.yaml").write_text("sources:\n- {name: log, type: files, path: x.csv}\n")
    prism("prompts", "list", fails="no source is of type application")
