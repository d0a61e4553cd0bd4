"""What a build touches and what it leaves: days, zones, full refreshes, kills, builds beside the marts."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql

from orchestration.warehouse import Warehouse
from tests.dbt import failures, run_dbt
from tests.oracle import life, raw

pytestmark = pytest.mark.integration

AS_OF = date(2025, 3, 31)
EARLIER = AS_OF - timedelta(days=9)
ROLLUPS = (
    "int_prompt_usage_daily",
    "int_response_time_histogram_daily",
    "int_prompt_users_daily",
    "int_usage_hourly",
    "int_prompt_sessions_daily",
)
VISITORS = ("int_prompt_visitors", "int_prompt_last_days")
# and what is made of them by longer stretches, or by the last day
KEPT = (*ROLLUPS, "int_response_times_by_grain", *VISITORS)


def build(warehouse: Warehouse, *arguments: str, **variables: Any) -> None:
    """A whole build, as the nightly job does it."""
    variables = {"as_of_date": AS_OF.isoformat(), **variables}
    run_dbt(warehouse, "build", "--exclude-resource-type", "unit_test", *arguments, vars=variables)


def build_days(warehouse: Warehouse, *arguments: str, **variables: Any) -> None:
    """The daily rollups, their bookkeeping, the last visits, and the tests of all these."""
    build(
        warehouse,
        "--select",
        "+int_incorporated_batches",
        "+int_prompt_visitors",
        "days_hold_what_raw_holds",
        *arguments,
        **variables,
    )


def rows(connection: psycopg.Connection[Any], table: str, schema: str = "intermediate") -> list[str]:
    """A table's rows as sorted JSON; doubles are rounded, as the order they are summed in may differ."""
    found = connection.execute(
        sql.SQL("select to_jsonb(t) from {} as t").format(sql.Identifier(schema, table))
    )
    return sorted(str({name: _rounded(value) for name, value in row.items()}) for (row,) in found)


def _rounded(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value


def physical_days(connection: psycopg.Connection[Any], table: str) -> dict[date, set[str]]:
    """The transactions that wrote each day's rows: a day that is left alone keeps its own."""
    written: dict[date, set[str]] = {}
    for day, transaction in connection.execute(
        sql.SQL("select usage_date, xmin::text from {}").format(sql.Identifier("intermediate", table))
    ):
        written.setdefault(day, set()).add(transaction)
    return written


def sampled(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    """When the planner's statistics were last taken of two rollups."""
    tables = ("int_prompt_usage_daily", "int_prompt_totals_daily")
    return dict(
        connection.execute(
            "select relname, last_analyze from pg_stat_all_tables"
            " where schemaname = 'intermediate' and relname = any(%s)",
            [list(tables)],
        ).fetchall()
    )


@pytest.fixture
def filled(warehouse: Warehouse) -> Warehouse:
    with warehouse.connect() as connection:
        raw.write(connection, "prompts", life.prompts())
        raw.write(connection, "prompt_usage", life.uses(3, AS_OF, "UTC", count=600))
    return warehouse


def test_an_empty_warehouse_builds_and_its_dashboard_counts_nothing(warehouse: Warehouse) -> None:
    build(warehouse)
    with warehouse.connect() as connection:
        found = connection.execute(
            "select period, usage_count, total_prompts, success_rate, period_start"
            " from marts.dashboard_metrics"
        ).fetchall()
    assert {row[0] for row in found} == {"day", "week", "month", "quarter", "year", "all"}
    assert {row[1:4] for row in found} == {(0, 0, None)}
    assert [row[4] for row in found if row[0] == "all"] == [None]


def test_a_rating_that_comes_late_rebuilds_only_its_day(filled: Warehouse) -> None:
    build_days(filled)
    with filled.connect() as connection:
        before = {table: physical_days(connection, table) for table in ROLLUPS}
        statistics = sampled(connection)
        usage_id, day = connection.execute(
            "select usage_id, used_at::date from raw.prompt_usage"
            " where rating is null and used_at < %s limit 1",
            [AS_OF - timedelta(days=10)],
        ).fetchone()  # type: ignore[misc]
        raw.write(
            connection,
            "prompt_usage",
            [{**_use(connection, usage_id), "rating": 2.0, "updated_at": raw.at("2025-03-31")}],
        )
    build_days(filled)
    with filled.connect() as connection:
        assert all(statistics.values())
        assert sampled(connection) == statistics
        for table in ROLLUPS:
            after = physical_days(connection, table)
            assert {one for one in after if after[one] != before[table][one]} == {day}, table
        assert (
            connection.execute(
                "select sum(rated_count) from intermediate.int_prompt_usage_daily where usage_date = %s",
                [day],
            ).fetchone()
            == connection.execute(
                "select count(rating) from raw.prompt_usage where used_at::date = %s", [day]
            ).fetchone()
        )


def test_blocks_of_days_are_made_anew_where_a_day_or_a_segment_of_theirs_is(filled: Warehouse) -> None:
    def made_anew(as_of: date = AS_OF) -> set[tuple[str, str, date]]:
        """Scope, grain and first day of the blocks that one more night writes."""
        models = ("+performance_over_time", "+int_incorporated_batches")
        run_dbt(filled, "run", "--select", *models, vars={"as_of_date": as_of.isoformat()})
        with filled.connect() as connection:
            new = written(connection)
        found = {block for block in new if new[block] != before.get(block)}
        before.update(new)
        return found

    def written(connection: psycopg.Connection[Any]) -> dict[tuple[str, str, date], set[str]]:
        blocks: dict[tuple[str, str, date], set[str]] = {}
        for *block, transaction in connection.execute(
            "select scope, grain, starts_on, xmin::text from intermediate.int_segment_blocks"
        ):
            blocks.setdefault((block[0], block[1], block[2]), set()).add(transaction)
        return blocks

    before: dict[tuple[str, str, date], set[str]] = {}
    scopes = {"all", "domain", "model", "agent"}
    assert {scope for scope, *_ in made_anew()} == scopes
    assert made_anew() == set()

    with filled.connect() as connection:
        usage_id, day = connection.execute(
            "select usage_id, used_at::date from raw.prompt_usage"
            " where rating is null and used_at between %s and %s limit 1",
            [AS_OF - timedelta(days=50), AS_OF - timedelta(days=10)],
        ).fetchone()  # type: ignore[misc]
        rated = {**_use(connection, usage_id), "rating": 2.0, "updated_at": raw.at("2025-03-31")}
        raw.write(connection, "prompt_usage", [rated])
    monday = day - timedelta(days=day.weekday())
    assert made_anew() == {(scope, *block) for scope in scopes for block in (("day", day), ("week", monday))}
    with filled.connect() as connection:
        assert (
            connection.execute(
                "select rated_count from marts.performance_over_time"
                " where scope = 'all' and grain = 'week' and starts_on = %s",
                [monday],
            ).fetchone()
            == connection.execute(
                "select count(rating) from raw.prompt_usage where used_at::date - %s between 0 and 6",
                [monday],
            ).fetchone()
        )

    with filled.connect() as connection:
        moved = {**life.prompts()[0], "domain": "claims"}
        raw.write(connection, "prompts", [moved])
    assert made_anew() == {block for block in before if block[0] == "domain"}

    # Tuesday: a day, and the week so far has another end
    tuesday = AS_OF + timedelta(days=1)
    assert {block[1:] for block in made_anew(tuesday)} == {("day", tuesday), ("week", AS_OF)}


def test_a_day_whose_uses_are_all_deleted_is_emptied(filled: Warehouse) -> None:
    build_days(filled)
    with filled.connect() as connection:
        deleted = connection.execute(
            "select usage_id, used_at::date from raw.prompt_usage"
            " where used_at::date = (select min(used_at)::date from raw.prompt_usage)"
        ).fetchall()
        raw.write(
            connection,
            "prompt_usage",
            [{**_use(connection, usage_id), "deleted_at": raw.at("2025-03-31")} for usage_id, _ in deleted],
        )
    build_days(filled)
    with filled.connect() as connection:
        for table in ROLLUPS:
            assert deleted[0][1] not in physical_days(connection, table)


def test_incremental_builds_a_full_refresh_and_an_upgrade_agree(filled: Warehouse) -> None:
    build_days(filled)
    with filled.connect() as connection:
        raw.write(connection, "prompt_usage", life.uses(3, AS_OF, "UTC", count=900)[300:])
    # nobody has come yet who came after the as-of date, also where that goes back
    build_days(filled, as_of_date=EARLIER.isoformat())
    with filled.connect() as connection:
        incremental = {table: rows(connection, table) for table in KEPT}
        last = connection.execute("select max(last_date) from intermediate.int_prompt_visitors").fetchone()
    assert last == (EARLIER,) and all(incremental.values())
    build_days(filled, "--full-refresh", as_of_date=EARLIER.isoformat())
    with filled.connect() as connection:
        assert {table: rows(connection, table) for table in KEPT} == incremental
        # an older version has no such table: it is made of the days, and none of them is built anew
        connection.execute("drop table intermediate.int_response_times_by_grain")
    build_days(filled, as_of_date=EARLIER.isoformat())
    with filled.connect() as connection:
        assert {table: rows(connection, table) for table in KEPT} == incremental
        assert rows(connection, "int_touched_days") == []


def test_another_time_zone_rebuilds_every_day(filled: Warehouse) -> None:
    # by the selector that operators have for it, whose first build has no mart to look at
    build(filled, "--selector", "daily_rollups", timezone="Pacific/Kiritimati")
    build(filled, "--selector", "daily_rollups", timezone="America/Havana")
    with filled.connect() as connection:
        expected = connection.execute(
            "select (used_at at time zone 'America/Havana')::date, count(*) from raw.prompt_usage"
            " group by 1 order by 1"
        ).fetchall()
        found = connection.execute(
            "select usage_date, sum(usage_count)::bigint from intermediate.int_prompt_usage_daily"
            " group by 1 order by 1"
        ).fetchall()
    assert found == expected


def test_a_build_that_died_between_two_rollups_or_before_the_last_visits_converges(filled: Warehouse) -> None:
    build_days(filled)
    with filled.connect() as connection:
        raw.write(connection, "prompt_usage", life.uses(4, AS_OF, "UTC", count=40)[:40])
    # as a kill leaves it: one rollup holds the batch, the others and the bookkeeping do not
    run_dbt(filled, "run", "--select", "+int_prompt_usage_daily", vars={"as_of_date": AS_OF.isoformat()})
    # and one that died before the last visits: they are known not to hold what the days do
    before_them = ["+int_incorporated_batches", "+int_touched_visitors"]
    run_dbt(filled, "run", "--select", *before_them, vars={"as_of_date": AS_OF.isoformat()})
    build_days(filled)
    with filled.connect() as connection:
        converged = {table: rows(connection, table) for table in KEPT}
        assert rows(connection, "int_touched_visitors") == []
    build_days(filled, "--full-refresh")
    with filled.connect() as connection:
        assert {table: rows(connection, table) for table in KEPT} == converged


def test_a_rollup_by_itself_does_not_mix_new_days_with_uses_of_old_ones(filled: Warehouse) -> None:
    # as an older version had it
    run_dbt(
        filled,
        "run", "--select", "+int_incorporated_batches",
        vars={"as_of_date": AS_OF.isoformat()}, views=["int_touched_usage"],
    )  # fmt: skip
    build_days(filled)
    with filled.connect() as connection:
        raw.write(connection, "prompt_usage", life.uses(4, AS_OF, "UTC", count=600)[:20])
    for selected in (["int_pending_batches", "int_touched_days"], ["int_prompt_usage_daily"]):
        variables = {"as_of_date": AS_OF.isoformat()}
        done = run_dbt(filled, "run", "--select", *selected, vars=variables, check=False)
    assert "int_touched_usage" in failures(done)["int_prompt_usage_daily"]
    build_days(filled)
    with filled.connect() as connection:
        converged = {table: rows(connection, table) for table in KEPT}
    build_days(filled, "--full-refresh")
    with filled.connect() as connection:
        assert {table: rows(connection, table) for table in KEPT} == converged


def test_a_rollup_or_a_column_of_one_that_is_missing_is_built_for_every_day(filled: Warehouse) -> None:
    build_days(filled)
    with filled.connect() as connection:
        before = {table: rows(connection, table) for table in KEPT}
    for statement in (
        """
        alter table intermediate.int_prompt_usage_daily drop column rated_count;
        -- as an older version left it
        create index old on intermediate.int_prompt_visitors (last_date);
        drop table intermediate.int_prompt_last_days;
        delete from intermediate.int_daily_basis where mart = 'int_prompt_visitors'
        """,
        "drop table intermediate.int_prompt_users_daily cascade",
    ):
        with filled.connect() as connection:
            connection.execute(statement)
        build_days(filled)
        with filled.connect() as connection:
            assert {table: rows(connection, table) for table in KEPT} == before
            assert connection.execute("select to_regclass('intermediate.old')").fetchone() == (None,)


def test_a_second_build_of_a_date_changes_nothing(filled: Warehouse) -> None:
    build(filled)
    with filled.connect() as connection:
        before = _marts(connection, "marts")
    build(filled)
    with filled.connect() as connection:
        assert _marts(connection, "marts") == before


def test_an_older_date_is_built_beside_the_marts_and_leaves_them_alone(filled: Warehouse) -> None:
    build(filled)
    older = AS_OF - timedelta(days=90)
    newcomer = {"user_key": "newcomer", "session_id": "first", "used_at": raw.at(AS_OF.isoformat())}
    with filled.connect() as connection:
        before = _marts(connection, "marts")
        files = _files(connection, "marts") | _files(connection, "api")
        periods = rows(connection, "int_periods")
        # somebody new on the newest day: taken in by the rollups, and not yet by what the marts are made of
        raw.write(connection, "prompt_usage", [{**_use(connection, "use 1"), "usage_id": "late", **newcomer}])
    build(filled, as_of_date=older.isoformat(), marts_schema="marts_older")
    with filled.connect() as connection:
        assert _marts(connection, "marts") == before
        assert _files(connection, "marts") | _files(connection, "api") == files
        assert rows(connection, "int_periods") == periods
        assert connection.execute(
            "select distinct as_of_date from marts_older.dashboard_metrics"
        ).fetchall() == [(older,)]
        beside = _marts(connection, "marts_older")
        events = connection.execute("select count(*) from marts_older.alert_events").fetchone()
        assert events != (0,)
    build(filled, as_of_date=older.isoformat(), marts_schema="marts_older")
    with filled.connect() as connection:
        assert _marts(connection, "marts_older") == beside


def test_a_test_on_the_days_finds_a_use_that_no_batch_announced(filled: Warehouse) -> None:
    build_days(filled)
    with filled.connect() as connection:
        use = _use(connection, "use 1")
        connection.execute(
            "insert into raw.prompt_usage (source, usage_id, prompt_key, used_at, batch_id, loaded_at)"
            " values ('app', 'smuggled', 'x', %s, 1, now())",
            [use["used_at"] + timedelta(days=1)],
        )
        connection.commit()
        raw.write(connection, "prompt_usage", [use])
    with pytest.raises(AssertionError, match="days_hold_what_raw_holds"):
        build_days(filled)


def test_a_seed_that_would_be_ignored_in_silence_is_refused(module_warehouse: Warehouse) -> None:
    run_dbt(module_warehouse, "seed")
    with module_warehouse.connect() as connection:
        connection.execute("update intermediate.data_quality_limits set measure = 'x'")
        connection.execute(
            "update intermediate.recommendation_rules"
            " set metric = 'speed', title = 'Do {it}', unless = 'unused' where rule = 'unused'"
        )
        connection.execute(
            "update intermediate.recommendation_rules set also_metric = null where rule = 'little_used'"
        )
    result = run_dbt(
        module_warehouse, "test", "--select", "data_quality_limits", "recommendation_rules", check=False
    )
    found = failures(result)
    assert set(found) == {"limits_are_possible", "recommendation_rules_are_sound"}
    assert (
        "seeds/recommendation_rules.csv: rule little_used: also_metric, also_comparator and also_threshold go"
        " together | rule unused: its metric is unknown; unless names no other rule, nor any; its title or"
        " text has an unknown placeholder"
    ) in found["recommendation_rules_are_sound"]


def test_an_as_of_date_that_is_no_date_is_refused(module_warehouse: Warehouse) -> None:
    with pytest.raises(
        AssertionError, match=r"as_of_date must be a day such as 2025-02-28, not '31\.03\.2025'"
    ):
        run_dbt(module_warehouse, "compile", "--select", "int_periods", vars={"as_of_date": "31.03.2025"})


def _use(connection: psycopg.Connection[Any], usage_id: str) -> dict[str, Any]:
    cursor = connection.execute("select * from raw.prompt_usage where usage_id = %s", [usage_id])
    row = dict(
        zip([column.name for column in cursor.description or ()], cursor.fetchone() or (), strict=True)
    )
    return {name: value for name, value in row.items() if name not in ("source", "batch_id", "loaded_at")}


def _files(connection: psycopg.Connection[Any], schema: str) -> set[tuple[str, int, int]]:
    """The tables and functions of a schema with what changes when they are made anew."""
    tables = connection.execute(
        "select relname, oid::bigint, relfilenode::bigint from pg_class"
        " where relnamespace = %s::regnamespace",
        [schema],
    ).fetchall()
    functions = connection.execute(
        "select proname, oid::bigint, 0 from pg_proc where pronamespace = %s::regnamespace", [schema]
    ).fetchall()
    return {(name, oid, file) for name, oid, file in tables + functions}


def _marts(connection: psycopg.Connection[Any], schema: str) -> dict[str, list[str]]:
    names = connection.execute(
        "select table_name from information_schema.tables where table_schema = 'marts'"
    ).fetchall()
    assert ("alert_events",) in names
    return {name: rows(connection, name, schema) for (name,) in names}
