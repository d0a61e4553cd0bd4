"""The application's own side: the printed script on a plain PostgreSQL, and what each role may then do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from orchestration.library.application import script
from orchestration.postgres import EmbeddedServer

pytestmark = pytest.mark.integration

PROMPT, DRAFT = "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"


@pytest.fixture(scope="module")
def application(server: EmbeddedServer) -> Iterator[psycopg.Connection[Any]]:
    """A database without Prism, set up by the script, twice."""
    with psycopg.connect(server.url("postgres"), autocommit=True) as admin:
        admin.execute("create database application")
    with psycopg.connect(server.url("application"), autocommit=True) as connection:
        for _ in range(2):
            connection.execute(script("shop"))  # type: ignore[call-overload]
        connection.execute("set search_path to shop")
        connection.execute(
            "insert into prompts (id, name, status) values (%s, 'a', 'active'), (%s, 'b', 'draft')",
            [PROMPT, DRAFT],
        )
        connection.execute(
            "insert into prompt_versions (prompt_id, version, system_prompt)"
            " values (%s, 1, 'x'), (%s, 1, 'y')",
            [PROMPT, DRAFT],
        )
        connection.execute(
            "insert into prompt_usage (prompt_id, user_id) values (%s, 'ann'), (%s, 'ann'), (%s, 'bob')",
            [PROMPT] * 3,
        )
        yield connection


@pytest.fixture
def as_role(application: psycopg.Connection[Any]) -> Iterator[Any]:
    def become(role: str, /, **claims: Any) -> psycopg.Connection[Any]:
        application.execute("select set_config('request.jwt.claims', %s, false)", [json.dumps(claims)])
        application.execute(f"set role {role}")  # type: ignore[call-overload]
        return application

    yield become
    application.execute("reset role")


def rows(connection: psycopg.Connection[Any], query: str) -> list[Any]:
    return connection.execute(query).fetchall()  # type: ignore[call-overload, no-any-return]


def test_a_person_sees_the_active_prompts_and_their_own_uses(as_role: Any) -> None:
    ann = as_role("authenticated", sub="ann")
    assert rows(ann, "select name from prompts") == [("a",)]
    assert rows(ann, "select system_prompt from prompt_versions") == [("x",)]
    assert rows(ann, "select user_id, count(*) from prompt_usage group by 1") == [("ann", 2)]
    assert rows(ann, "select * from prompt_changes") == []


def test_a_person_rates_their_own_uses_and_changes_nothing_else(as_role: Any) -> None:
    ann = as_role("authenticated", sub="ann")
    assert ann.execute("update prompt_usage set rating = 5").rowcount == 2
    for statement in (
        "update prompt_usage set cost = 0",
        "update prompt_usage set user_id = 'bob'",
        "delete from prompt_usage",
        f"insert into prompt_usage (prompt_id, user_id) values ('{PROMPT}', 'bob')",
        "insert into prompts (name) values ('mine')",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            ann.execute(statement)
    assert ann.execute("update prompts set name = 'mine'").rowcount == 0
    new = f"insert into prompt_usage (prompt_id, user_id, rating) values ('{PROMPT}', 'ann', 1)"
    assert ann.execute(new).rowcount == 1
    ann.execute("reset role")
    assert rows(ann, "select count(*) from prompt_usage where rating is null") == [(1,)]  # bob's


def test_a_person_without_a_name_sees_no_use(as_role: Any) -> None:
    assert rows(as_role("authenticated"), "select * from prompt_usage") == []


def test_claims_that_a_person_sets_make_no_administrator(as_role: Any) -> None:
    eve = as_role("authenticated", sub="eve", role="admin", user_metadata={"role": "admin"})
    assert rows(eve, "select * from prompt_usage") == []
    assert rows(eve, "select name from prompts") == [("a",)]


def test_an_administrator_sees_all_and_keeps_the_library(as_role: Any) -> None:
    admin = as_role("authenticated", sub="root", app_metadata={"role": "admin"})
    assert rows(admin, "select count(distinct user_id) from prompt_usage") == [(2,)]
    assert rows(admin, "select name from prompts order by 1") == [("a",), ("b",)]
    assert admin.execute("update prompts set description = 'of the shop'").rowcount == 2


def test_nobody_logged_in_sees_nothing_and_the_server_all(as_role: Any) -> None:
    for table in ("prompts", "prompt_usage", "agents"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            as_role("anon").execute(f"select * from shop.{table}")
        as_role("anon").execute("reset role")
    assert rows(as_role("service_role"), "select count(distinct user_id) from prompt_usage") == [(2,)]
