"""What makes marts good enough to report on, and what spoils them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import psycopg
import pytest

from orchestration import builds
from orchestration.warehouse import Warehouse

pytestmark = pytest.mark.integration

FIRST, SECOND = date(2026, 3, 1), date(2026, 3, 2)


@pytest.fixture
def connection(warehouse: Warehouse) -> Iterator[psycopg.Connection]:
    with warehouse.connect(autocommit=True) as session:
        yield session


def state(connection: psycopg.Connection, schema: str = builds.MARTS) -> tuple[date, str] | None:
    build = builds.latest(connection, schema)
    return None if build is None else (build.as_of_date, build.state)


def test_marts_that_were_never_built_whole_are_not_good(connection: psycopg.Connection) -> None:
    assert state(connection) is None
    builds.finish(connection, "a part of a run")
    assert state(connection) is None


def test_a_build_is_good_only_when_its_run_is_through(connection: psycopg.Connection) -> None:
    builds.start(connection, FIRST, builds.MARTS, "one")
    assert state(connection) == (FIRST, "running")
    builds.finish(connection, "another")
    assert state(connection) == (FIRST, "running")
    builds.finish(connection, "one")
    assert state(connection) == (FIRST, "green")


def test_a_failed_later_date_spoils_what_was_good(connection: psycopg.Connection) -> None:
    builds.start(connection, FIRST, builds.MARTS, "one")
    builds.finish(connection, "one")
    builds.start(connection, SECOND, builds.MARTS, "two")
    builds.spoil(connection, SECOND, builds.MARTS, ["a test failed"], "two")
    assert state(connection) == (SECOND, "red")
    builds.finish(connection, "two")
    assert state(connection) == (SECOND, "red")


def test_a_part_built_by_itself_neither_mends_nor_spoils_unless_it_fails(
    connection: psycopg.Connection,
) -> None:
    builds.start(connection, FIRST, builds.MARTS, "one")
    builds.finish(connection, "one")
    builds.finish(connection, "a part")
    assert state(connection) == (FIRST, "green")
    builds.spoil(connection, FIRST, builds.MARTS, ["a part failed"], "a part")
    build = builds.latest(connection, builds.MARTS)
    assert build is not None
    assert (build.state, build.failures) == ("red", ("a part failed",))


def test_a_run_keeps_the_schema_that_it_began_with(connection: psycopg.Connection) -> None:
    connection.execute("create schema marts")
    connection.execute("create table marts.dashboard_metrics as select date '2026-03-01' as as_of_date")
    assert builds.schema_of(connection, "one", SECOND) == "marts"
    builds.start(connection, SECOND, "marts", "one")
    connection.execute("update marts.dashboard_metrics set as_of_date = '2026-03-03'")
    assert builds.schema_of(connection, "one", SECOND) == "marts"
    assert builds.schema_of(connection, "two", SECOND) == "marts_20260302"


def test_only_spoilt_schemas_beside_the_marts_are_dropped(connection: psycopg.Connection) -> None:
    for schema in ("marts", "marts_20260301", "marts_20260302", "marts_of_another_team"):
        connection.execute(f"create schema {schema}".encode())
    builds.start(connection, FIRST, "marts_20260301", "one")
    builds.spoil(connection, FIRST, "marts_20260301", ["a test failed"], "one")
    builds.start(connection, SECOND, "marts_20260302", "two")
    builds.drop_spoilt(connection)
    left = connection.execute(
        "select nspname from pg_namespace where nspname ~ '^marts' order by 1"
    ).fetchall()
    assert left == [("marts",), ("marts_20260302",), ("marts_of_another_team",)]
