"""The `api` functions as an application calls them: after every rebuild, with any argument."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from orchestration.warehouse import Warehouse
from tests.dbt import run_dbt
from tests.oracle import life, raw

pytestmark = pytest.mark.integration

AS_OF = date(2025, 3, 31)
PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "functions.md"
CALLS = {
    "get_prompt_performance_summary": ("prompt_performance_summary", "period = 'month'"),
    "get_top_performing_prompts": ("top_performing_prompts", "period = 'month' and rank <= 10"),
    "get_dashboard_metrics": ("dashboard_metrics", "period = 'month'"),
    "get_performance_alerts": ("performance_alerts", "state <> 'resolved'"),
    "get_prompt_recommendations": ("prompt_recommendations", "true"),
}


def build(warehouse: Warehouse, *arguments: str, **variables: Any) -> None:
    run_dbt(warehouse, "run", *arguments, vars={"as_of_date": AS_OF.isoformat(), **variables})


@pytest.fixture(scope="module")
def built(module_warehouse: Warehouse) -> Warehouse:
    with module_warehouse.connect() as connection:
        raw.write(connection, "prompts", life.prompts())
        raw.write(connection, "prompt_usage", life.uses(5, AS_OF, "UTC", count=900))
    run_dbt(module_warehouse, "seed")
    build(module_warehouse)
    return module_warehouse


@pytest.fixture
def connection(built: Warehouse) -> Iterator[psycopg.Connection[Any]]:
    with built.connect(autocommit=True) as opened:
        yield opened


def rows(connection: psycopg.Connection[Any], query: str) -> list[Any]:
    return connection.execute(query).fetchall()  # type: ignore[call-overload, no-any-return]


def answers(connection: psycopg.Connection[Any]) -> dict[str, int]:
    """How many rows each function returns; they are those of its mart."""
    counts = {}
    for function, (mart, condition) in CALLS.items():
        found = rows(connection, f"select to_jsonb(f) from api.{function}() as f")
        wanted = rows(connection, f"select to_jsonb(m) from marts.{mart} as m where {condition}")
        assert sorted(map(str, found)) == sorted(map(str, wanted)), function
        counts[function] = len(found)
    return counts


def test_every_function_returns_its_mart_after_every_kind_of_rebuild(
    built: Warehouse, connection: psycopg.Connection[Any]
) -> None:
    before = answers(connection)
    assert all(before.values())
    build(built, "--full-refresh")
    assert answers(connection) == before
    build(built, "--select", "tag:analytics")
    assert answers(connection) == before
    older = (AS_OF - timedelta(days=40)).isoformat()
    build(built, "--select", "+dashboard_metrics", as_of_date=older, marts_schema="marts_beside")
    assert answers(connection) == before
    # as a newer version finds it: a function of other columns, and a mart that is gone
    connection.execute("drop type api.get_dashboard_metrics_row cascade")
    connection.execute("create type api.get_dashboard_metrics_row as (period text)")
    connection.execute("drop table marts.dashboard_metrics cascade")
    build(built, "--select", "dashboard_metrics")
    assert answers(connection) == before


def test_a_function_stays_as_it_was_while_its_mart_lacks_a_column_of_a_newer_version(
    built: Warehouse, connection: psycopg.Connection[Any]
) -> None:
    written = "select xmin::text from pg_proc where proname = 'get_top_performing_prompts'"
    before = rows(connection, written)
    connection.execute("alter table marts.top_performing_prompts rename score to old_score")
    build(built, "--select", "dashboard_metrics")
    assert rows(connection, written) == before
    build(built, "--select", "top_performing_prompts")
    assert rows(connection, written) != before
    assert rows(connection, "select count(score) > 0 from api.get_top_performing_prompts()") == [(True,)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("get_top_performing_prompts(-1)", "limit_count must be 0 or more, not -1"),
        ("get_top_performing_prompts(5, 'decade')", "unknown period decade; known: day, week, month,"),
        ("get_prompt_performance_summary(period => '')", "unknown period ; known: day, week, month,"),
        ("get_prompt_performance_summary(period => 'Month')", "unknown period Month; known: day,"),
        ("get_dashboard_metrics('month''; drop table marts.prompts')", "unknown period month'; drop table"),
        ("get_performance_alerts('dire')", "unknown severity dire; known: high, medium, low"),
        ("get_prompt_recommendations(priority => 'now')", "unknown priority now; known: high, medium, low"),
    ],
)
def test_an_argument_that_makes_no_sense_is_an_error_that_says_so(
    connection: psycopg.Connection[Any], call: str, message: str
) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=re.escape(message)):
        connection.execute(f"select * from api.{call}")  # type: ignore[call-overload]


def test_an_argument_that_is_null_is_as_one_left_out_and_one_that_matches_nothing_has_no_rows(
    connection: psycopg.Connection[Any],
) -> None:
    assert rows(connection, "select period from api.get_dashboard_metrics(null)") == [("month",)]
    assert rows(connection, "select count(*) from api.get_top_performing_prompts(null, null)") == rows(
        connection, "select count(*) from api.get_top_performing_prompts()"
    )
    assert rows(connection, "select * from api.get_top_performing_prompts(0)") == []
    for prompt in ("nobody's prompt", "", "PROMPT 1", "prompt%"):
        for function in ("get_prompt_performance_summary", "get_prompt_recommendations"):
            assert connection.execute(f"select * from api.{function}(%s)", [prompt]).fetchall() == []  # type: ignore[call-overload]


def test_what_a_function_s_names_mean_is_not_the_caller_s_to_say(
    connection: psycopg.Connection[Any],
) -> None:
    connection.execute("create schema evil")
    connection.execute(
        "create function evil.never(text, text) returns boolean language sql as 'select false'"
    )
    connection.execute("create operator evil.= (leftarg = text, rightarg = text, function = evil.never)")
    try:
        connection.execute("set search_path = evil, pg_catalog")
        assert rows(connection, "select period from api.get_dashboard_metrics('week')") == [("week",)]
    finally:
        connection.execute("reset search_path")
        connection.execute("drop schema evil cascade")


def test_the_reference_of_the_functions_is_up_to_date_and_its_examples_run(
    connection: psycopg.Connection[Any],
) -> None:
    page = ["# The functions", "", _OPENING]
    for function, (mart, _) in CALLS.items():
        [(arguments, comment)] = rows(
            connection,
            "select pg_get_function_arguments(oid), obj_description(oid, 'pg_proc') from pg_proc"
            f" where pronamespace = 'api'::regnamespace and proname = '{function}'",
        )
        what, example = comment.split("\n\n")
        connection.execute(example)
        arguments = arguments.replace("::text", "").replace("DEFAULT", "default").replace("NULL", "null")
        page += [
            f"## `api.{function}`", "",
            f"`api.{function}({arguments})`", "",
            " ".join(what.split()) + f" Its columns are those of [`{mart}`](marts.md#{mart}).", "",
            "```sql", f"{example};", "```", "",
        ]  # fmt: skip
    text = "\n".join(page).rstrip() + "\n"
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(text, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == text, "UPDATE_DOCS=1 pytest writes it anew"


_OPENING = """For applications, PostgREST and Supabase RPC. Each returns rows of a mart as they are after
the last good build. All arguments may be left out; null is the same as left out. An argument that makes no
sense (an unknown `period`, `severity` or `priority`, a negative number of rows) is an error
(`invalid_parameter_value`) that lists what is known. They run with the caller's rights (`security
invoker`): a role needs the use of the schemas `api` and `marts`, and may select from the mart. A rebuild
never drops them.

A test writes this page from the database: `UPDATE_DOCS=1 pytest tests/integration/test_api_functions.py`.
"""
