"""Every number of the summary and the dashboard equals one computed independently from the raw rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import pandas as pd
import psycopg
import pytest

from orchestration.warehouse import Warehouse
from tests.dbt import run_dbt
from tests.oracle import life, marts, raw

pytestmark = pytest.mark.integration

PERCENTILES = ("p50_response_time_ms", "p95_response_time_ms", "p99_response_time_ms")
# differences of sums of squares: what is zero is so but for rounding
SLOPES = ("usage_slope", "usage_slope_error")


@dataclass(frozen=True)
class Built:
    """A built warehouse, and what it was built from."""

    connection: psycopg.Connection[Any]
    timezone: str
    as_of: date
    schema: str
    usage: pd.DataFrame
    prompts: pd.DataFrame
    agents: pd.DataFrame
    mappings: pd.DataFrame
    versions: pd.DataFrame

    def mart(self, name: str) -> pd.DataFrame:
        cursor = self.connection.execute(f"select * from {self.schema}.{name}")  # type: ignore[call-overload]
        return pd.DataFrame(cursor.fetchall(), columns=[c.name for c in cursor.description or ()])


# Berlin's clocks went forward on the 30th; the second date is one that both loads reach beyond.
@pytest.fixture(scope="module", params=["marts", "marts_beside"])
def built(request: pytest.FixtureRequest, module_warehouse: Warehouse) -> Iterator[Built]:
    timezone, newest = "Europe/Berlin", date(2025, 3, 31)
    as_of = newest if request.param == "marts" else date(2024, 10, 27)
    with module_warehouse.connect() as connection:
        if connection.execute("select count(*) from raw.prompt_usage").fetchone() == (0,):
            _load(connection, timezone, newest)
        run_dbt(
            module_warehouse,
            "build",
            "--exclude-resource-type",
            "unit_test",
            vars={"as_of_date": as_of.isoformat(), "timezone": timezone, "marts_schema": request.param},
        )

        def frame(table: str) -> pd.DataFrame:
            cursor = connection.execute(f"select * from raw.{table} where deleted_at is null")  # type: ignore[call-overload]
            return pd.DataFrame(cursor.fetchall(), columns=[c.name for c in cursor.description or ()])

        yield Built(
            connection, timezone, as_of, request.param,
            frame("prompt_usage"), frame("prompts"), frame("agents"), frame("agent_prompts"),
            frame("prompt_versions"),
        )  # fmt: skip


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


def test_the_summary_equals_an_independent_computation(built: Built) -> None:
    expected = marts.summary(built.usage, built.prompts, built.as_of, built.timezone)
    found = _with_prompt(built, built.mart("prompt_performance_summary"))
    assert set(found["as_of_date"]) == {built.as_of}
    assert len(expected) > 60
    _compare(expected, found, ["period", "prompt"])


def test_the_dashboard_equals_an_independent_computation(built: Built) -> None:
    expected = marts.dashboard(
        built.usage, built.prompts, built.agents, built.mappings, built.as_of, built.timezone
    )
    found = built.mart("dashboard_metrics")
    _compare(expected, found, ["period"])
    alerts = built.mart("performance_alerts").query("state == 'open'")
    assert set(found["open_alerts"]) == {len(alerts)}
    for severity in ("high", "medium", "low"):
        assert set(found[f"{severity}_alerts"]) == {(alerts["severity"] == severity).sum()}


def test_the_trends_equal_an_independent_computation(built: Built) -> None:
    expected = marts.trends(built.usage, built.prompts, built.as_of, built.timezone)
    found = _with_prompt(built, built.mart("usage_trends"))
    assert set(expected["direction"]) >= {"steady", "too little data"}
    _compare(expected, found, ["prompt", "usage_date"])


def test_the_distribution_equals_an_independent_computation(built: Built) -> None:
    expected = marts.distribution(built.usage, built.prompts, built.as_of, built.timezone)
    found = built.mart("performance_distribution")
    found["domain"] = found["domain"].where(found["scope"] == "domain", "all").fillna("none")
    assert set(expected["domain"]) == {"all", "none", "legal", "sales", "unlisted"}
    _compare(expected, found, ["period", "domain", "metric", "bucket"])


def test_the_costs_equal_an_independent_computation(built: Built) -> None:
    expected = marts.costs(built.usage, built.prompts, built.as_of, built.timezone)
    found = _with_prompt(built, built.mart("cost_analysis"))
    found["model"] = found["model"].fillna("none")
    assert set(expected["model"]) == {"none", "small", "large"}
    _compare(expected, found, ["period", "prompt", "model"])


def test_the_versions_equal_an_independent_computation(built: Built) -> None:
    expected = marts.version_performance(
        built.usage, built.prompts, built.versions, built.as_of, built.timezone
    )
    found = _with_prompt(built, built.mart("prompt_version_performance"))
    found["version"] = found["prompt_version"].fillna("none")
    assert expected["timed_count"].gt(0).sum() >= 2
    _compare(expected, found, ["version", "prompt"])


CONTRACT_RULES = ("low_usage", "poor_success_rate", "poor_rating", "slow_response", "high_error_rate")


def test_an_alert_is_open_exactly_where_a_rule_is_crossed(built: Built) -> None:
    summary = built.mart("prompt_performance_summary").query("period == 'month'").set_index("prompt_id")
    prompts = built.prompts.set_index("prompt_id")
    expected = set()
    for prompt_id, row in summary.iterrows():
        if row["outcome_count"] >= 20 and row["success_rate"] < 0.7:
            expected.add((prompt_id, "poor_success_rate"))
        if row["rated_count"] >= 20 and row["average_rating"] < 3:
            expected.add((prompt_id, "poor_rating"))
        if row["response_time_count"] >= 20 and row["average_response_time_ms"] > 5000:
            expected.add((prompt_id, "slow_response"))
        if row["error_known_count"] >= 20 and row["error_rate"] > 0.2:
            expected.add((prompt_id, "high_error_rate"))
        if (
            row["usage_count"] < 5
            and prompt_id in prompts.index
            and prompts.loc[prompt_id, "status"] == "active"
        ):
            expected.add((prompt_id, "low_usage"))
    alerts = built.mart("performance_alerts").query("state == 'open'")
    alerts = alerts[alerts["rule"].isin(CONTRACT_RULES)]
    assert {tuple(pair) for pair in alerts[["prompt_id", "rule"]].itertuples(index=False)} == expected
    assert len(expected) > 3


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


def _with_prompt(built: Built, found: pd.DataFrame) -> pd.DataFrame:
    """A mart with `prompt` as the oracle names it, all prompts together as `all`."""
    listed = set(built.prompts["prompt_id"])
    return found.assign(
        prompt=[
            "all" if pd.isna(prompt) else prompt if prompt in listed else ("unlisted", name)
            for prompt, name in zip(found["prompt_id"], found["prompt_name"], strict=True)
        ]
    )


def _compare(expected: pd.DataFrame, found: pd.DataFrame, keys: list[str]) -> None:
    """Every column of ``expected`` equals that of ``found``; percentiles within 1 %."""
    both = expected.merge(
        found, on=keys, how="outer", validate="1:1", suffixes=("", " found"), indicator=True
    )
    assert set(both["_merge"]) == {"both"}, both.loc[both["_merge"] != "both", keys]
    wrong = []
    for column in expected.columns.difference(keys):
        tolerance = 0.01 if column in PERCENTILES else 1e-9
        for _, row in both.iterrows():
            ours, theirs = row[f"{column} found"], row[column]
            if not _equal(ours, theirs, tolerance, 1e-7 if column in SLOPES else 0):
                wrong.append((*row[keys], column, ours, theirs))
    assert not wrong, wrong[:20]


def _equal(found: Any, expected: Any, tolerance: float, least: float) -> bool:
    if pd.isna(found) or pd.isna(expected):
        return bool(pd.isna(found) and pd.isna(expected))
    if isinstance(expected, (str, date, pd.Timestamp)):
        return bool(found == expected)
    return abs(float(found) - float(expected)) <= max(tolerance * abs(float(expected)), least)
