"""Every column of every mart is as computed from the raw rows by pandas, on the cases that break sums."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import pandas as pd
import psycopg
import pytest

from orchestration.analytics import tables
from orchestration.warehouse import Warehouse
from tests.dbt import PROJECT_DIR, run_dbt
from tests.oracle import alerts, check, life, raw
from tests.oracle.marts import Oracle, frame

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Built:
    """A built warehouse, and what it should hold."""

    connection: psycopg.Connection[Any]
    schema: str
    oracle: Oracle

    def mart(self, name: str) -> pd.DataFrame:
        return frame(self.connection, f"select * from {self.schema}.{name}")


# Berlin's clocks went forward on the 30th; the second date is one that both loads reach beyond.
@pytest.fixture(scope="module", params=["marts", "marts_beside"])
def built(request: pytest.FixtureRequest, module_warehouse: Warehouse) -> Iterator[Built]:
    timezone, newest = "Europe/Berlin", date(2025, 3, 31)
    as_of = newest if request.param == "marts" else date(2024, 10, 27)
    with module_warehouse.connect() as connection:
        if connection.execute("select count(*) from raw.prompt_usage").fetchone() == (0,):
            _load(connection, timezone, newest)
        variables = {"as_of_date": as_of.isoformat(), "timezone": timezone, "marts_schema": request.param}
        run_dbt(module_warehouse, "build", "--exclude-resource-type", "unit_test", vars=variables)
        tables.refresh(connection, as_of, request.param)
        connection.commit()
        run_dbt(
            module_warehouse, "build", "--select", "tag:analytics", "--exclude-resource-type", "unit_test",
            vars=variables,
        )  # fmt: skip
        yield Built(connection, request.param, Oracle.of(connection, as_of, timezone))


def _load(connection: psycopg.Connection[Any], timezone: str, newest: date) -> None:
    gone = {"deleted_at": raw.at("2025-01-01")}
    raw.write(connection, "prompts", life.prompts())
    raw.write(connection, "prompts", [{"prompt_id": "gone", "name": "a deleted prompt", **gone}])
    raw.write(connection, "prompt_versions", life.versions())
    raw.write(connection, "agents", life.agents())
    raw.write(connection, "agent_prompts", life.mappings())
    raw.write(connection, "agent_prompts", [{"agent_id": "a3", "prompt_id": "gone", **gone}])
    raw.write(connection, "prompt_usage", life.uses(1, newest, timezone), timezone=timezone)
    # another source with the same prompts, users and sessions, and rows that are deleted
    other = life.uses(2, newest, timezone, count=400)
    raw.write(connection, "prompt_usage", other, timezone=timezone, source="gateway")
    raw.write(
        connection,
        "prompt_usage",
        [{**use, **gone} for use in other[:50]],
        timezone=timezone,
        source="gateway",
    )


@pytest.mark.parametrize("mart", check.KEYS)
def test_a_mart_equals_an_independent_computation(built: Built, mart: str) -> None:
    assert check.differences(built.connection, built.schema, mart, built.oracle) == []


def test_no_mart_and_no_column_is_left_out(built: Built) -> None:
    assert check.uncovered(built.connection, built.schema, built.oracle) == []
    marts = check.columns(built.connection, "marts")
    names = {*marts, *(f"{mart}.{column}" for mart, columns in marts.items() for column in columns)}
    assert set(check.ELSEWHERE) <= names, "what is held elsewhere is there"


def test_the_cases_that_break_sums_are_among_those_compared(built: Built) -> None:
    summary = check.computed(built.oracle, "prompt_performance_summary").query("period == 'all'")
    assert summary.eval("usage_count == 0").any(), "a prompt never used"
    unknown = summary.query("usage_count > 20 and outcome_count == 0")
    assert len(unknown) == (built.schema == "marts"), "no outcome known"
    assert set(check.computed(built.oracle, "usage_trends")["direction"]) >= {"steady", "too little data"}
    assert check.computed(built.oracle, "prompt_version_performance")["timed_count"].gt(0).sum() >= 2
    assert {date(2024, 2, 29), date(2024, 10, 27)} <= set(built.oracle.uses["day"]), "a leap day, a long one"
    recommendations = check.computed(built.oracle, "prompt_recommendations")
    assert recommendations["rule"].nunique() > 3
    advised = summary[
        (summary["status"] == "active") | summary["prompt_id"].isin(set(built.oracle.back(30)["prompt_id"]))
    ]
    assert set(recommendations["prompt_id"]) == set(advised["prompt_id"]), "each has something to do"


def test_the_dashboard_counts_the_open_alerts(built: Built) -> None:
    found = built.mart("dashboard_metrics")
    unresolved = built.mart("performance_alerts").query("state != 'resolved'")
    assert set(found["open_alerts"]) == {len(unresolved)}
    for severity in ("high", "medium", "low"):
        assert set(found[f"{severity}_alerts"]) == {(unresolved["severity"] == severity).sum()}


def test_an_alert_is_open_exactly_where_pandas_opens_one(built: Built) -> None:
    """All rules but those on forecasts and comparisons, on a first night."""
    uses = built.oracle.uses
    uses = uses.assign(error=uses["failed"].where(uses["error_known"] == 1))
    made = pd.to_datetime(built.oracle.library["created_at"], utc=True).dt.tz_convert(built.oracle.timezone)
    active = built.oracle.library["status"] == "active"
    known = dict(zip(built.oracle.library["prompt_id"], made.dt.date.where(active, None), strict=True))
    expected = alerts.opened(
        uses.rename(columns={"prompt_id": "prompt", "response_time_ms": "response_ms"}),
        {prompt: known.get(prompt) for prompt in {*known, *uses["prompt_id"]}},
        alerts.read_rules(PROJECT_DIR / "seeds" / "alert_rules.csv"),
        built.oracle.as_of,
    )
    found = built.mart("performance_alerts").query("state == 'open' and rule != 'worse_version'")
    ids = {key: f"unlisted:{key}" for key in uses["prompt_key"]}
    subjects = [
        ids.get(name, subject) if domain == "unlisted" else subject
        for name, subject, domain in zip(
            found["prompt_name"], found["subject_id"], found["domain"], strict=True
        )
    ]
    assert {*zip(subjects, found["rule"], found["severity"], strict=True)} == {
        *expected.itertuples(index=False, name=None)
    }
    assert expected["rule"].nunique() > 1


def test_every_table_and_column_says_in_the_database_what_it_is(built: Built) -> None:
    mute = built.connection.execute(
        """
        select c.oid::regclass::text, a.attname
        from pg_class as c
        inner join pg_attribute as a on c.oid = a.attrelid and a.attnum >= 0 and not a.attisdropped
        where c.relnamespace in ('staging'::regnamespace, 'intermediate'::regnamespace, %s::regnamespace)
            and c.relkind in ('r', 'v')
            and (
                col_description(c.oid, a.attnum) is null or obj_description(c.oid, 'pg_class') is null
            )
        """,
        [built.schema],
    ).fetchall()
    assert not mute
