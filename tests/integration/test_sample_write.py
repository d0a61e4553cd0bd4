"""The sample in PostgreSQL: the application's tables, repeatable, replaced whole, never over other data."""

from __future__ import annotations

from datetime import UTC, date, datetime

import psycopg
import pytest
from psycopg import sql

from orchestration.errors import PrismError
from orchestration.library.application import TABLES, create_tables
from orchestration.sample.write import other_data, sample_reaches, write_sample
from orchestration.warehouse import Warehouse

pytestmark = pytest.mark.integration

UNTIL = date(2026, 3, 2)


def fingerprint(connection: psycopg.Connection, schema: str) -> dict[str, object]:
    """Each table's rows as one hash, in an order of their own."""
    found: dict[str, object] = {}
    for table in TABLES:
        query = sql.SQL("select count(*), md5(string_agg(t::text, '|' order by t::text)) from {} as t")
        found[table] = connection.execute(query.format(sql.Identifier(schema, table))).fetchone()
    return found


def definitions(connection: psycopg.Connection, schema: str) -> set[tuple[str, ...]]:
    """Indexes, constraints and triggers of the schema, without its name."""
    rows = connection.execute(
        """
        select conname, pg_get_constraintdef(oid) from pg_constraint
        where connamespace = to_regnamespace(%(schema)s)
        union all
        select indexname, indexdef from pg_indexes where schemaname = %(schema)s::text
        union all
        select tgname, pg_get_triggerdef(t.oid)
        from pg_trigger as t inner join pg_class as c on t.tgrelid = c.oid
        where c.relnamespace = to_regnamespace(%(schema)s) and not tgisinternal
        """,
        {"schema": schema},
    ).fetchall()
    return {(name, text.replace(f"{schema}.", "")) for name, text in rows}


def test_the_sample_fills_the_applications_tables_and_says_how_far(warehouse: Warehouse) -> None:
    steps: list[tuple[int, int]] = []
    with warehouse.connect() as connection:
        summary = write_sample(
            connection, until=UNTIL, rows=60_000, progress=lambda done, total: steps.append((done, total))
        )
        counts = [fingerprint(connection, "app")[table][0] for table in TABLES]  # type: ignore[index]
        newest = connection.execute(
            """
            select bool_and(p.system_prompt = v.system_prompt), count(*) filter (where v.version > 1)
            from app.prompts as p inner join lateral (
                select * from app.prompt_versions where prompt_id = p.id order by version desc limit 1
            ) as v on true
            """
        ).fetchone()
        unversioned = connection.execute(
            """
            select count(*) from app.prompt_usage as u left join app.prompt_versions as v
                on u.prompt_id = v.prompt_id and u.prompt_version = v.version and u.created_at >= v.created_at
            where v.prompt_id is null
            """
        ).fetchone()
    assert counts == [62, summary.prompt_versions, 52, 89, 60_000]
    assert (summary.prompts, summary.agents, summary.mappings, summary.usage) == (62, 52, 89, 60_000)
    assert (summary.since, summary.until) == (
        datetime(2025, 12, 2, tzinfo=UTC),
        datetime(2026, 3, 2, tzinfo=UTC),
    )
    assert steps[-1] == (60_000, 60_000)
    assert newest == (True, 3)
    assert unversioned == (0,)


def test_the_same_sample_twice_is_the_same_rows_and_another_one_replaces_it(warehouse: Warehouse) -> None:
    with warehouse.connect() as connection:
        write_sample(connection, until=UNTIL, rows=2_000)
        first = fingerprint(connection, "app")
        write_sample(connection, until=datetime(2026, 3, 2, tzinfo=UTC), rows=2_000)
        assert fingerprint(connection, "app") == first
        write_sample(connection, until=UNTIL, prompts=30, agents=5, rows=100, seed=9)
        other = fingerprint(connection, "app")
    assert other["prompts"][0] == 30  # type: ignore[index]
    assert other["prompt_usage"][0] == 100  # type: ignore[index]


def test_indexes_and_foreign_keys_are_those_of_the_application_afterwards(warehouse: Warehouse) -> None:
    with warehouse.connect() as connection:
        create_tables(connection, "bare")
        connection.commit()
        write_sample(connection, "filled", until=UNTIL, rows=100)
        bare, filled = definitions(connection, "bare"), definitions(connection, "filled")
    assert filled == bare
    assert {"prompt_usage_by_change", "prompt_usage_prompt_id_fkey"} <= {name for name, _ in filled}


@pytest.mark.parametrize(
    "statement",
    [
        "insert into app.prompts (name) values ('mine')",
        "insert into app.agents (name) values ('mine')",
        "insert into app.prompt_usage (prompt_id) select id from app.prompts limit 1",
    ],
)
def test_a_row_that_is_not_of_the_sample_is_never_replaced(warehouse: Warehouse, statement: str) -> None:
    with warehouse.connect() as connection:
        write_sample(connection, until=UNTIL, rows=100)
        connection.execute(statement.encode())
        connection.commit()
        before = fingerprint(connection, "app")
        with pytest.raises(PrismError, match="rows that are not sample data"):
            write_sample(connection, until=UNTIL, rows=100)
        assert fingerprint(connection, "app") == before


def test_a_sample_is_current_until_the_next_day_has_ended(warehouse: Warehouse) -> None:
    with warehouse.connect() as connection:
        assert not sample_reaches(connection, "app", datetime(2026, 3, 2, tzinfo=UTC))
        assert other_data(connection, "app") is None
        write_sample(connection, until=UNTIL, rows=1_000)
        assert sample_reaches(connection, "app", datetime(2026, 3, 2, tzinfo=UTC))
        assert not sample_reaches(connection, "app", datetime(2026, 3, 3, tzinfo=UTC))
        assert other_data(connection, "app") is None
        connection.execute("insert into app.agents (name) values ('mine')")
        assert other_data(connection, "app") == "agents"


def test_tables_of_another_shape_are_left_alone(warehouse: Warehouse) -> None:
    with warehouse.connect(autocommit=True) as connection:
        connection.execute("create schema shop")
        connection.execute("create table shop.prompts (id bigint primary key, title text)")
        with pytest.raises(PrismError, match="schema shop: the sample data could not be written"):
            write_sample(connection, "shop", until=UNTIL, rows=10)
        connection.execute("insert into shop.prompts values (1, 'mine')")
        with pytest.raises(PrismError, match="rows that are not sample data"):
            write_sample(connection, "shop", until=UNTIL, rows=10)
        assert connection.execute("select * from shop.prompts").fetchall() == [(1, "mine")]
        assert connection.execute("select to_regclass('shop.prompt_usage')").fetchone() == (None,)


def test_a_sample_that_breaks_off_leaves_the_earlier_one(warehouse: Warehouse) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with warehouse.connect() as connection:
        write_sample(connection, until=UNTIL, rows=100)
        before = fingerprint(connection, "app"), definitions(connection, "app")
        with pytest.raises(KeyboardInterrupt):
            write_sample(connection, until=UNTIL, rows=500, seed=2, progress=stop)
        assert (fingerprint(connection, "app"), definitions(connection, "app")) == before


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"prompts": 0}, "prompts is 0"),
        ({"days": 0}, "days is 0"),
        ({"rows": -1}, "rows is -1"),
        ({"seed": -1}, "seed"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(
    warehouse: Warehouse, sizes: dict[str, int], message: str
) -> None:
    with warehouse.connect() as connection, pytest.raises(PrismError, match=message):
        write_sample(connection, until=UNTIL, **sizes)


def test_a_library_without_uses_can_be_written(warehouse: Warehouse) -> None:
    with warehouse.connect() as connection:
        assert write_sample(connection, until=UNTIL, rows=0, agents=0).mappings == 0
        assert fingerprint(connection, "app")["prompt_usage"] == (0, None)


def test_making_the_tables_again_changes_nothing_and_keeps_the_search_path(warehouse: Warehouse) -> None:
    schema = 'odd "schema'
    with warehouse.connect() as connection:
        create_tables(connection, schema)
        connection.execute(
            sql.SQL("insert into {} (name) values ('p')").format(sql.Identifier(schema, "prompts"))
        )
        create_tables(connection, schema)
        query = sql.SQL("select name, status, compliance_tags from {}").format(
            sql.Identifier(schema, "prompts")
        )
        assert connection.execute(query).fetchall() == [("p", "draft", [])]
        assert connection.execute("show search_path").fetchone() == ('"$user", public',)


def test_a_rating_or_an_edit_moves_updated_at_and_an_empty_update_does_not(warehouse: Warehouse) -> None:
    with warehouse.connect(autocommit=True) as connection:
        write_sample(connection, until=UNTIL, rows=50)
        rate = "update app.prompt_usage set rating = 5 where id = (select id from app.prompt_usage limit 1)"
        assert connection.execute(rate.encode()).rowcount == 1
        changed = "select count(*) from app.prompt_usage where updated_at >= now() - interval '1 hour'"
        assert connection.execute(changed.encode()).fetchone() == (1,)
        connection.execute("update app.prompts set owner = owner")
        recent = "select count(*) from app.prompts where updated_at >= now() - interval '1 hour'"
        assert connection.execute(recent.encode()).fetchone() == (0,)


@pytest.mark.parametrize(
    "statement",
    [
        "insert into app.prompts (name) values (' ')",
        "insert into app.prompts (name, complexity_level) values ('x', 'hard')",
        "insert into app.prompts (name, status) values ('x', 'gone')",
        "update app.prompt_usage set rating = 6",
        "update app.prompt_usage set cost = -1",
        "update app.prompt_usage set response_time_ms = -1",
        "delete from app.prompts",
    ],
)
def test_the_tables_refuse_what_makes_no_sense(module_sample: Warehouse, statement: str) -> None:
    with module_sample.connect() as connection, pytest.raises(psycopg.errors.IntegrityError):
        connection.execute(statement.encode())


@pytest.fixture(scope="module")
def module_sample(module_warehouse: Warehouse) -> Warehouse:
    with module_warehouse.connect() as connection:
        write_sample(connection, until=UNTIL, rows=50)
    return module_warehouse
