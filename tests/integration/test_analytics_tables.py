"""The statistics from built marts into schema ``analytics`` and back into the marts that show them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import psycopg
import pytest

from orchestration.analytics import tables
from orchestration.analytics.forecasts import HORIZON
from orchestration.assets.forecasts import analytics_assets
from orchestration.resources import Prism
from orchestration.warehouse import Warehouse
from tests.dbt import failures, run_dbt
from tests.oracle import raw

pytestmark = pytest.mark.integration

AS_OF = date(2025, 3, 31)
DAYS = 60


@pytest.fixture(scope="module")
def connection(module_warehouse: Warehouse) -> Iterator[psycopg.Connection[Any]]:
    """Marts of two months in which version 2 of a prompt is better, quicker and dearer than version 1."""
    random = np.random.default_rng(21)
    usage = [_use(random, back, number) for back in range(DAYS) for number in range(12 if back % 7 else 3)]
    usage.append({**usage[100], "usage_id": "wild", "cost": 9990})
    # known of the future: loaded, but not yet counted
    usage.append({**usage[100], "usage_id": "later", "used_at": raw.at("2025-04-01"), "prompt_version": "3"})
    with module_warehouse.connect() as connection:
        raw.write(
            connection,
            "prompts",
            [{"prompt_id": "p1", "name": "Greeter", "domain": "sales", "status": "active"}],
        )
        raw.write(connection, "prompt_usage", usage)
        build(module_warehouse, AS_OF)
        with connection.transaction():
            connection.execute(
                """
                insert into marts.experiments values
                ('small or large', 'model', 'Greeter', 'small', 'large', 'success_rate', '2025-03-01', null),
                ('not begun', 'model', null, 'small', 'large', 'cost_per_use', '2025-05-01', null)
                """
            )
            connection.execute(
                """
                insert into intermediate.targets values
                ('total_cost', 'all', null, 'below', 30, 0),
                ('total_cost', 'prompt', 'Greeter', 'below', 1000, 0)
                """
            )
        yield connection


def _use(random: np.random.Generator, back: int, number: int) -> dict[str, Any]:
    is_new = back < DAYS // 2
    return {
        "usage_id": f"{back}-{number}",
        "prompt_key": "p1",
        "prompt_version": "2" if is_new else "1",
        "model": "small" if number % 2 else "large",
        "used_at": raw.at(str(AS_OF - timedelta(days=back))),
        "success": bool(random.random() < (0.95 if is_new else 0.5)),
        "rating": float(random.integers(1, 6)) if number == 0 else None,
        "response_time_ms": float(random.lognormal(6 if is_new else 7, 0.5)) * (number != 1),
        "cost": round(float(random.lognormal(-3, 0.3)) * (2 if is_new else 1), 10),
    }


def build(warehouse: Warehouse, day: date, schema: str = "marts") -> None:
    """The marts without their tests, which have tests of their own."""
    _dbt(warehouse, day, schema, "--exclude-resource-type", "unit_test", "test")


def build_analytics(warehouse: Warehouse, day: date, schema: str = "marts") -> None:
    """The marts over what was computed, and their tests."""
    _dbt(warehouse, day, schema, "--select", "tag:analytics", "--exclude-resource-type", "unit_test")


def _dbt(warehouse: Warehouse, day: date, schema: str, *arguments: str) -> None:
    run_dbt(warehouse, "build", *arguments, vars={"as_of_date": day.isoformat(), "marts_schema": schema})


def found(connection: psycopg.Connection[Any], query: str) -> list[Any]:
    return connection.execute(query).fetchall()  # type: ignore[call-overload, no-any-return]


def test_a_bare_build_without_statistics_has_empty_marts_for_them(
    connection: psycopg.Connection[Any],
) -> None:
    assert found(connection, "select count(*) from marts.usage_forecasts") == [(0,)]
    assert found(connection, "select count(*) from marts.prompt_comparisons") == [(0,)]


def test_what_is_computed_arrives_in_the_marts(
    connection: psycopg.Connection[Any], module_warehouse: Warehouse
) -> None:
    written = tables.refresh(connection, AS_OF, "marts")
    connection.commit()
    assert written["usage_forecasts"]["series"] == 6
    build_analytics(module_warehouse, AS_OF)
    assert found(
        connection,
        "select scope, metric, count(*), min(forecast_date), max(days_ahead), count(value), min(history_days)"
        " from marts.usage_forecasts group by 1, 2 order by 1, 2",
    ) == [
        (scope, metric, HORIZON, AS_OF + timedelta(days=1), HORIZON, HORIZON, DAYS)
        for scope in ("all", "prompt")
        for metric in ("success_rate", "total_cost", "usage_count")
    ]
    # the wild call does not make a forecast of 9,990 USD
    assert found(
        connection, "select max(value) < 3 from marts.usage_forecasts where metric = 'total_cost'"
    ) == [(True,)]
    assert found(
        connection,
        "select metric, prompt_name, control, variant, verdict from marts.prompt_comparisons"
        " where kind = 'version' order by metric",
    ) == [
        ("average_rating", "Greeter", "1", "2", "no difference seen"),
        ("cost_per_use", "Greeter", "1", "2", "no difference seen"),  # one call of 9,990 USD proves nothing
        ("response_time_ms", "Greeter", "1", "2", "better"),
        ("success_rate", "Greeter", "1", "2", "better"),
    ]
    assert found(
        connection,
        "select experiment, prompt_name, verdict from marts.prompt_comparisons where kind = 'experiment'",
    ) == [("small or large", "Greeter", "no difference seen")]
    assert found(connection, "select usage_date, round(excess_cost) from analytics.cost_anomalies") == [
        (found(connection, "select used_at::date from raw.prompt_usage where usage_id = 'wild'")[0][0], 9990)
    ]


def test_a_forecast_over_its_budget_is_an_alert(connection: psycopg.Connection[Any]) -> None:
    """Of the two budgets one is too small for what the next 30 days are forecast to cost."""
    [(cost, low, high)] = found(
        connection,
        "select sum(value), sum(low), sum(high) from marts.usage_forecasts"
        " where metric = 'total_cost' and scope = 'all'",
    )
    [(*subject, severity, threshold, sample, observed, observed_low, observed_high, message, advice)] = found(
        connection,
        "select scope, subject_id, prompt_id, prompt_name, severity, threshold, sample_size, observed_value,"
        " observed_low, observed_high, message, recommendation from marts.performance_alerts"
        " where rule = 'over_budget'",
    )
    assert subject == ["all", "all", None, "all prompts"]
    assert 36 < cost < 45 and (severity, threshold, sample) == ("medium", 1, DAYS)
    assert (observed, observed_low, observed_high) == pytest.approx((cost / 30, low / 30, high / 30))
    assert message == (
        f"Cost is forecast at {observed * 100:.0f} % of the budget ({cost:.2f} USD of 30 USD for the 30 days"
        " to 2025-04-30) to 2025-03-31, above the threshold of 100 % of the budget."
    )
    assert advice.startswith("Find the dearest prompts and models")
    assert found(connection, "select event, event_on from marts.alert_events where rule = 'over_budget'") == [
        ("opened", AS_OF)
    ]


def test_the_sums_are_those_of_the_single_uses(connection: psycopg.Connection[Any]) -> None:
    tables.refresh(connection, AS_OF, "marts")
    compared = found(
        connection,
        "select metric, control_count, control_value, variant_count, variant_value"
        " from analytics.prompt_comparisons where kind = 'version' order by metric",
    )
    single = found(
        connection,
        """
        select
            prompt_version,
            count(rating), avg(rating),
            count(cost), avg(cost)::double precision,
            count(response_time_ms) filter (where response_time_ms > 0),
            exp(avg(ln(response_time_ms)) filter (where response_time_ms > 0)),
            count(success), avg(success::integer)::double precision
        from raw.prompt_usage where used_at < '2025-04-01' group by 1 order by 1
        """,
    )
    for number, (_, *numbers) in enumerate(compared):
        expected = [*single[0][2 * number + 1 : 2 * number + 3], *single[1][2 * number + 1 : 2 * number + 3]]
        assert numbers == pytest.approx(expected)
    spread = found(
        connection,
        """
        select
            sum(rating_square_sum), sum(cost_square_sum), sum(response_time_log_square_sum)
        from marts.prompt_usage_daily
        """,
    )
    assert spread == [
        pytest.approx(row)
        for row in found(
            connection,
            """
            select
                sum(rating ^ 2), sum(cost ^ 2)::double precision,
                sum(ln(response_time_ms) ^ 2) filter (where response_time_ms > 0)
            from raw.prompt_usage where used_at < '2025-04-01'
            """,
        )
    ]


def test_a_second_run_changes_nothing_and_only_the_newest_other_date_is_kept(
    connection: psycopg.Connection[Any],
) -> None:
    def dates() -> list[Any]:
        return found(
            connection, "select as_of_date, count(*) from analytics.usage_forecasts group by 1 order by 1"
        )

    rows = 6 * HORIZON
    older, oldest = AS_OF - timedelta(days=3), AS_OF - timedelta(days=5)
    for day, kept in [
        (AS_OF, [(AS_OF, rows)]),
        (AS_OF, [(AS_OF, rows)]),
        (older, [(older, rows), (AS_OF, rows)]),
        (oldest, [(oldest, rows), (AS_OF, rows)]),
        (AS_OF, [(AS_OF, rows)]),
    ]:
        tables.refresh(connection, day, "marts")
        assert dates() == kept


def test_an_older_date_is_built_beside_without_touching_the_marts(
    connection: psycopg.Connection[Any], module_warehouse: Warehouse
) -> None:
    tables.refresh(connection, AS_OF, "marts")
    connection.commit()
    build_analytics(module_warehouse, AS_OF)
    older = AS_OF - timedelta(days=7)
    build(module_warehouse, older, "marts_older")
    tables.refresh(connection, older, "marts_older")
    connection.commit()
    build_analytics(module_warehouse, older, "marts_older")
    for table in ("usage_forecasts", "prompt_comparisons"):
        assert found(connection, f"select distinct as_of_date from marts_older.{table}") == [(older,)]
        assert found(connection, f"select distinct as_of_date from marts.{table}") == [(AS_OF,)]


def test_a_killed_refresh_leaves_what_was(
    connection: psycopg.Connection[Any], module_warehouse: Warehouse
) -> None:
    tables.refresh(connection, AS_OF, "marts")
    connection.commit()
    before = found(connection, "select count(*) from analytics.prompt_comparisons")
    with module_warehouse.connect() as other:
        other.execute("alter table analytics.cost_anomalies rename to gone")
        other.commit()
        try:
            with pytest.raises(psycopg.errors.UndefinedTable):
                tables.refresh(connection, AS_OF + timedelta(days=1), "marts")
        finally:
            other.execute("alter table analytics.gone rename to cost_anomalies")
            other.commit()
    connection.rollback()
    assert found(connection, "select distinct as_of_date from analytics.usage_forecasts") == [(AS_OF,)]
    assert found(connection, "select count(*) from analytics.prompt_comparisons") == before


def test_an_experiment_that_can_not_be_meant_fails_the_build(
    connection: psycopg.Connection[Any], module_warehouse: Warehouse
) -> None:
    slips = [
        "('a', 'prompt', null, 'x', 'x', 'success_rate', '2025-03-01', null)",  # equal arms
        "('b', 'colour', null, 'x', 'y', 'success_rate', '2025-03-01', null)",
        "('c', 'prompt', null, 'x', 'y', 'speed', '2025-03-01', null)",
        "('d', 'version', null, '1', '2', 'success_rate', '2025-03-01', null)",  # of which?
        "('e', 'prompt', 'Greeter', 'x', 'y', 'success_rate', '2025-03-01', null)",
        "('f', 'prompt', null, 'x', 'y', 'success_rate', '2025-03-01', '2025-02-01')",  # ends too early
        "('g', 'prompt', null, 'x', null, 'success_rate', '2025-03-01', null)",
        "('h', 'prompt', null, 'x', 'y', 'success_rate', null, null)",
        "('small or large', 'model', null, 'x', 'y', 'success_rate', '2025-03-01', null)",  # twice
    ]
    connection.commit()
    connection.execute("create table marts.kept as select * from marts.experiments")
    connection.execute(f"insert into marts.experiments values {', '.join(slips)}")  # type: ignore[call-overload]
    connection.commit()
    try:
        found_by = failures(run_dbt(module_warehouse, "test", "--select", "experiments", check=False))
    finally:
        connection.execute("truncate marts.experiments")
        connection.execute("insert into marts.experiments select * from marts.kept")
        connection.execute("drop table marts.kept")
        connection.commit()
    assert {name: re.sub(r"\D*(\d+) results?,.*", r"\1", message) for name, message in found_by.items()} == {
        "experiments_are_possible": "8",
        "experiments_are_declared_once": "1",
    }


def test_no_uses_at_all_give_no_forecasts_and_no_comparisons(connection: psycopg.Connection[Any]) -> None:
    connection.execute("create schema bare")
    for table in (
        "prompts", "prompt_usage_daily", "usage_daily_totals", "prompt_version_performance", "experiments"
    ):  # fmt: skip
        connection.execute(f"create table bare.{table} (like marts.{table})")  # type: ignore[call-overload]
    tables.refresh(connection, AS_OF, "bare")
    for table in tables.TABLES:
        assert found(connection, f"select count(*) from analytics.{table}") == [(0,)]
    connection.rollback()


def test_the_asset_computes_for_its_day_and_tells_what_came_of_it(
    connection: psycopg.Connection[Any],
    module_warehouse: Warehouse,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection.execute("truncate analytics.usage_forecasts")
    connection.commit()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PRISM_HOME", str(tmp_path))
    monkeypatch.setenv("PRISM_WAREHOUSE_URL", module_warehouse.url)
    result = dg.materialize(
        [analytics_assets(dg.DailyPartitionsDefinition("2025-01-01"))],
        partition_key=AS_OF.isoformat(),
        resources={"prism": Prism()},
    )
    told = {
        event.asset_key.path[-1]: event.step_materialization_data.materialization.metadata
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }
    assert set(told) == set(tables.TABLES)
    assert told["usage_forecasts"]["series"].value == 6
    assert told["usage_forecasts"]["dagster/row_count"].value == 6 * HORIZON
    assert told["prompt_comparisons"]["better"].value == 2
    assert told["cost_anomalies"]["anomalies"].value == 1
    assert "usage_count" in str(told["usage_forecasts"]["sample"].value)
