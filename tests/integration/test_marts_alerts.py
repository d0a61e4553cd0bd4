"""Alerts over many nights, and the functions for applications that show them."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import psycopg
import pytest

from orchestration.warehouse import Warehouse
from tests.dbt import run_dbt
from tests.oracle import raw

pytestmark = pytest.mark.integration

FIRST = date(2025, 3, 1)
NEWEST = FIRST + timedelta(days=5)
PROMPT = "00000000-0000-0000-0000-000000000001"


def night(warehouse: Warehouse, day: date, **variables: Any) -> None:
    """Builds what alerts are made of, for one as-of date."""
    run_dbt(
        warehouse,
        "run",
        "--select",
        "+alert_events",
        "+performance_alerts",
        vars={"as_of_date": day.isoformat(), **variables},
    )


def failing_uses(day: date, failed: int, count: int) -> list[dict[str, Any]]:
    return [
        {
            "usage_id": f"{day} {number}",
            "prompt_key": PROMPT,
            "used_at": raw.at(day.isoformat()),
            "success": number >= failed,
        }
        for number in range(count)
    ]


@pytest.fixture(scope="module")
def nights(module_warehouse: Warehouse) -> Warehouse:
    """Five evaluated nights of six: failures come, get worse, go, and come again."""
    run_dbt(module_warehouse, "seed")
    with module_warehouse.connect() as connection:
        created_at = raw.at("2024-01-01")
        raw.write(
            connection,
            "prompts",
            [{"prompt_id": PROMPT, "name": "a prompt", "status": "active", "created_at": created_at}],
        )
        # month-long windows: a night's numbers are those of all nights so far
        for shift, (failed, count) in enumerate([(7, 20), (20, 25), (0, 0), (0, 150), (0, 0), (60, 60)]):
            day = FIRST + timedelta(days=shift)
            raw.write(connection, "prompt_usage", failing_uses(day, failed, count))
            if shift != 2:
                night(module_warehouse, day)
    run_dbt(module_warehouse, "run", vars={"as_of_date": NEWEST.isoformat()})
    return module_warehouse


def events(connection: psycopg.Connection[Any], schema: str = "marts") -> list[tuple[Any, ...]]:
    return connection.execute(
        f"select event_on, event, severity from {schema}.alert_events"  # type: ignore[call-overload]
        " where rule = 'poor_success_rate' order by event_on"
    ).fetchall()


def test_an_alert_s_life_is_told_in_events(nights: Warehouse) -> None:
    with nights.connect() as connection:
        assert events(connection) == [
            (date(2025, 3, 1), "opened", "low"),  # 13 of 20
            (date(2025, 3, 2), "escalated", "high"),  # 18 of 45
            (date(2025, 3, 5), "resolved", None),  # 168 of 195 since the 4th; the 3rd was never evaluated
            (date(2025, 3, 6), "reopened", "low"),  # 168 of 255
        ]
        alerts = connection.execute(
            "select first_detected_on, last_detected_on, days_open, state, sample_size"
            " from marts.performance_alerts where rule = 'poor_success_rate' order by first_detected_on"
        ).fetchall()
    assert alerts == [
        (date(2025, 3, 1), date(2025, 3, 2), 2, "resolved", 45),
        (date(2025, 3, 6), date(2025, 3, 6), 1, "open", 255),
    ]


def test_a_rebuild_of_any_kind_loses_no_alert_and_adds_no_event(nights: Warehouse) -> None:
    with nights.connect() as connection:
        before = events(connection)
        ids = connection.execute("select alert_id from marts.performance_alerts order by 1").fetchall()
    run_dbt(nights, "run", "--full-refresh", vars={"as_of_date": NEWEST.isoformat()})
    night(nights, FIRST + timedelta(days=1), marts_schema="marts_beside")
    night(nights, NEWEST)
    with nights.connect() as connection:
        assert events(connection) == before
        assert (
            connection.execute("select alert_id from marts.performance_alerts order by 1").fetchall() == ids
        )
        assert [event for _, event, _ in events(connection, "marts_beside")] == ["opened", "escalated"]


def test_the_api_answers_by_name_and_survives_a_rebuild(nights: Warehouse) -> None:
    with nights.connect(autocommit=True) as connection:
        functions = connection.execute(
            "select proname, oid from pg_proc where pronamespace = 'api'::regnamespace order by 1"
        ).fetchall()
        assert [name for name, _ in functions] == [
            "get_dashboard_metrics",
            "get_performance_alerts",
            "get_prompt_performance_summary",
            "get_prompt_recommendations",
            "get_top_performing_prompts",
        ]
        run_dbt(nights, "run", vars={"as_of_date": NEWEST.isoformat()})
        assert (
            functions
            == connection.execute(
                "select proname, oid from pg_proc where pronamespace = 'api'::regnamespace order by 1"
            ).fetchall()
        )
        for prompt in (PROMPT, "a prompt"):
            assert connection.execute(
                "select period, usage_count from api.get_prompt_performance_summary(prompt => %s)", [prompt]
            ).fetchall() == [("month", 255)]
        assert connection.execute(
            "select period, rank from api.get_top_performing_prompts(limit_count => 1, period => 'week')"
        ).fetchall() == [("week", 1)]
        assert connection.execute(
            "select period, open_alerts from api.get_dashboard_metrics()"
        ).fetchall() == [("month", 2)]
        low = connection.execute("select rule from api.get_performance_alerts(severity => 'low')").fetchall()
        assert sorted(low) == [("high_error_rate",), ("poor_success_rate",)]
        assert connection.execute("select rule from api.get_performance_alerts('high')").fetchall() == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            "select * from api.get_dashboard_metrics('decade')",
            "unknown period decade; known: day, week, month, quarter, year, all",
        ),
        (
            "select * from api.get_performance_alerts('dire')",
            "unknown severity dire; known: high, medium, low",
        ),
    ],
)
def test_an_unknown_argument_is_an_error_that_lists_the_known_ones(
    nights: Warehouse, call: str, message: str
) -> None:
    with nights.connect() as connection, pytest.raises(psycopg.errors.InvalidParameterValue, match=message):
        connection.execute(call)  # type: ignore[call-overload]
