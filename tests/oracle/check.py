"""Holds every column of every mart against the oracle's, and says what no oracle recomputes, and why."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import date
from typing import Any

import pandas as pd
import psycopg

from tests.oracle import advice
from tests.oracle.marts import Oracle, frame

# mart -> what names a row
KEYS: Mapping[str, list[str]] = {
    "prompts": ["prompt_id"],
    "prompt_library": ["prompt_id"],
    "prompt_usage_daily": ["usage_date", "prompt_id", "prompt_version", "agent_name", "model"],
    "usage_daily_totals": ["usage_date", "scope", "prompt_id", "model"],
    "prompt_performance_summary": ["period", "prompt_id"],
    "top_performing_prompts": ["period", "rank"],
    "dashboard_metrics": ["period"],
    "usage_trends": ["scope", "prompt_id", "usage_date"],
    "performance_distribution": ["period", "scope", "domain", "metric", "bucket"],
    "performance_by_segment": ["period", "scope", "segment"],
    "performance_over_time": ["grain", "ends_on", "scope", "segment"],
    "response_time_distribution": ["prompt_id", "bucket"],
    "usage_by_hour": ["period", "weekday", "usage_hour"],
    "cost_analysis": ["period", "prompt_id", "model"],
    "agent_costs": ["period", "agent_name", "prompt_id", "model"],
    "data_quality": ["source", "usage_date"],
    "prompt_version_performance": ["prompt_id", "prompt_version"],
    "model_savings": ["prompt_id", "model", "cheaper_model"],
    "prompt_recommendations": ["prompt_id", "rule"],
}
# mart, or mart and column -> what else holds it
ELSEWHERE: Mapping[str, str] = {
    "performance_alerts": "which are open: test_marts_numbers; lives of many nights: test_alert_scenario",
    "alert_events": "lives of many nights: test_alert_scenario and test_marts_alerts",
    "usage_forecasts": "fitted by back-test: test_forecasts and test_analytics_tables",
    "prompt_comparisons": "single uses in test_analytics_tables, verdicts in test_comparisons",
    "alert_evidence": "what lies behind an alert: test_alert_scenario",
    "mail_deliveries": "what became of mails: test_mail_deliveries",
    "action_items": "states of people's work over nights: test_action_items",
    "rules_in_force": "the seeds as they stand: no number is computed",
    "experiments": "a seed",
    "dashboard_metrics.open_alerts": "counted from performance_alerts by test_marts_numbers",
    "dashboard_metrics.high_alerts": "counted from performance_alerts by test_marts_numbers",
    "dashboard_metrics.medium_alerts": "counted from performance_alerts by test_marts_numbers",
    "dashboard_metrics.low_alerts": "counted from performance_alerts by test_marts_numbers",
    "top_performing_prompts.score_explanation": "words over the other columns: test_sample_marts",
    "prompt_recommendations.recommendation_id": "a digest: test_sample_marts",
    "prompt_recommendations.title": "words over the other columns: test_sample_marts",
    "prompt_recommendations.reason": "words over the other columns: test_sample_marts",
    "prompt_recommendations.basis": "words over the other columns: test_sample_marts",
}
_PERCENTILES = ("p50_response_time_ms", "p95_response_time_ms", "p99_response_time_ms")
# differences of large sums: what is zero is so but for rounding
_LEAST = {"usage_slope": 1e-7, "usage_slope_error": 1e-7}
# sums of squares and logarithms lose digits
_ROUGH = (
    "response_time_log_sum",
    "response_time_log_square_sum",
    "observed_value",
    "value_low",
    "value_high",
)


@functools.cache
def computed(oracle: Oracle, mart: str) -> pd.DataFrame:
    """The oracle's rows of a mart."""
    found: pd.DataFrame = getattr(advice, mart)(oracle) if hasattr(advice, mart) else getattr(oracle, mart)()
    return found


def columns(connection: psycopg.Connection[Any], schema: str) -> dict[str, list[str]]:
    """The marts of a schema with their columns."""
    found: dict[str, list[str]] = {}
    for table, column in connection.execute(
        "select table_name, column_name from information_schema.columns"
        " where table_schema = %s order by table_name, ordinal_position",
        [schema],
    ):
        found.setdefault(table, []).append(column)
    return found


def uncovered(connection: psycopg.Connection[Any], schema: str, oracle: Oracle) -> list[str]:
    """The marts and columns that neither the oracle computes nor :data:`ELSEWHERE` names."""
    missing = []
    for mart, names in columns(connection, schema).items():
        if mart in ELSEWHERE or mart.startswith("int_"):
            continue
        if mart not in KEYS:
            missing.append(mart)
            continue
        ours = computed(oracle, mart)
        missing += [
            f"{mart}.{name}" for name in names if name not in ours and f"{mart}.{name}" not in ELSEWHERE
        ]
    return missing


def differences(connection: psycopg.Connection[Any], schema: str, mart: str, oracle: Oracle) -> list[Any]:
    """Every value of a mart that the oracle has otherwise: key, column, the mart's, the oracle's."""
    found = frame(connection, f"select * from {schema}.{mart}")
    expected = computed(oracle, mart).copy()
    if expected.empty or found.empty:
        return [] if expected.empty and found.empty else [(mart, len(found), len(expected))]
    if "prompt_id" in found:
        named = found["prompt_id"].notna()
        found.loc[named, "prompt_id"] = oracle.ids(found.loc[named, "prompt_id"])
    keys = KEYS[mart]
    for table in (found, expected):
        table[keys] = table[keys].astype(object).where(table[keys].notna(), "(null)")
    both = expected.merge(
        found, on=keys, how="outer", validate="1:1", suffixes=("", " found"), indicator="side"
    )
    alone = both[both["side"] != "both"]
    if len(alone):
        return [*alone[[*keys, "side"]].itertuples(index=False, name=None)]
    wrong: list[Any] = []
    for column in found.columns.difference(keys).intersection(expected.columns):
        if f"{mart}.{column}" in ELSEWHERE:
            continue
        relative = 0.0101 if column in _PERCENTILES else 1e-7 if column in _ROUGH else 1e-9
        if mart == "prompt_recommendations" and column == "observed_value":
            relative = 0.0101  # medians are percentiles
        pairs = zip(both[f"{column} found"], both[column], both[keys].to_numpy(), strict=True)
        wrong += [
            (*key, column, ours, theirs)
            for ours, theirs, key in pairs
            if not _equal(ours, theirs, relative, _LEAST.get(column, 1e-12))
        ]
    return wrong


def _equal(found: Any, expected: Any, relative: float, least: float) -> bool:
    if pd.isna(found) or pd.isna(expected):
        return bool(pd.isna(found) and pd.isna(expected))
    if isinstance(expected, (str, bool, date, pd.Timestamp)):
        return bool(found == expected)
    return abs(float(found) - float(expected)) <= max(relative * abs(float(expected)), least)
