"""The views of performance, analytics and settings: frames in, findings in words out."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from reports import marts
from reports.options import Setting
from reports.views.analytics import Analytics, analytics
from reports.views.performance import Performance, performance
from reports.views.settings import SettingsPage, settings_page
from tests.unit import report_frames as frames
from tests.unit.report_frames import AS_OF

START = AS_OF - timedelta(days=29)
MONTH = {"usage_count": 300, "total_cost": 10.0, "period_start": START, "period_end": AS_OF}


def segment(name: str | None, rate: float, *, low: float, high: float, **more: Any) -> dict[str, Any]:
    return {
        "scope": "model",
        "segment": name,
        "usage_count": 100,
        "outcome_count": 100,
        "success_rate": rate,
        "success_rate_low": low,
        "success_rate_high": high,
    } | more


ALL = segment(None, 0.9, low=0.85, high=0.95, scope="all", usage_count=300, response_time_count=300) | {
    "p50_response_time_ms": 800.0,
    "p95_response_time_ms": 2400.0,
    "rated_count": 4,
    "average_rating": 4.5,
}


def of_time(**changes: Any) -> Performance:
    values: dict[str, Any] = {
        "dashboard": frames.dashboard(**MONTH),
        "segments": frames.segments(ALL),
        "over_time": frames.over_time(),
        "hours": frames.hours(),
        "options": frames.options(),
    }
    return performance(**(values | changes))


def month(view: Performance) -> Any:
    return next(one for one in view.periods if one.key == "month")


def test_performance_is_headed_by_what_was_found() -> None:
    shown = month(of_time())
    assert shown.headline == (
        "90.0\u202f% of uses succeed; people rate them 4.50 of 5; half are answered within 800\u202fms."
    )
    titles = [chart.title for chart in shown.charts]
    assert titles[0] == "90.0\u202f% succeed, above the target of 80\u202f%"
    assert titles[2] == "Half answer within 800\u202fms, 95\u202f% within 2.40\u202fs"
    assert "Of 4 ratings, thin." in shown.charts[1].note


def test_who_fails_more_than_all_beyond_chance_is_named_and_the_nameless_are_not() -> None:
    worst = segment("worst", 0.7, low=0.6, high=0.79)
    chance = segment("by chance", 0.6, low=0.3, high=0.91)
    thin = segment("thin", 0.1, low=0.0, high=0.4, outcome_count=5)
    nameless = segment(None, 0.0, low=0.0, high=0.1)
    part = month(of_time(segments=frames.segments(ALL, worst, chance, thin, nameless))).segments[0]
    assert part.finding == "worst succeeds least: 70.0\u202f% against 90.0\u202f% of all."
    assert [one.name for one in part.segments] == ["worst", "by chance", "thin", "unknown model"]
    assert part.segments[2].outcomes == "of 5 outcomes, thin"


def test_hours_are_means_over_the_days_of_that_weekday() -> None:
    # the 30 days to Sunday, 1 March 2026 hold five Saturdays, five Sundays and four of all others
    rows = [
        {"weekday": 1, "usage_hour": 9, "usage_count": 40, "success_rate": 0.5},
        {"weekday": 7, "usage_hour": 9, "usage_count": 10},
    ]
    week = month(of_time(hours=frames.hours(*rows))).week
    assert (
        week.finding
        == "Busiest from 09:00 to 10:00, 100\u202f% of all uses; Saturday and Sunday bring 20\u202f%"
    )
    monday, sunday = (dict(week.rows)[name][9] for name in ("Mon", "Sun"))
    assert (monday.text, monday.level, sunday.text, sunday.level) == ("10", 5, "2", 2)
    assert monday.words == "Mon 09:00 to 10:00: 40 uses, 10.0 a day, 50.0\u202f% succeeded"
    assert dict(week.rows)["Tue"][9].level == 0


def test_lines_leave_thin_weeks_out_and_tables_do_not() -> None:
    thin = {"scope": "model", "segment": "m", "usage_count": 9, "outcome_count": 9, "success_rate": 1.0}
    full = thin | {"outcome_count": 90, "ends_on": AS_OF - timedelta(days=7)}
    view = of_time(
        over_time=frames.over_time({"usage_count": 99}, {"ends_on": AS_OF - timedelta(days=7)}, full, thin)
    )
    _, _, chart = view.splits[0].charts[0]
    assert [row["success"] for row in chart.rows] == [1.0, None]
    assert len(chart.table) == 2


def insight(**changes: Any) -> Analytics:
    values: dict[str, Any] = {
        "dashboard": frames.dashboard(**MONTH),
        "summary": frames.summary(),
        "models": frames.frame(marts._MODELS, []),
        "anomalies": frames.frame(marts._ANOMALIES, []),
        "distribution": frames.frame(marts._DISTRIBUTION, []),
        "movers": frames.frame(marts._MOVERS, []),
        "mover_days": frames.frame(marts._TREND_DAYS, []),
        "days": frames.frame(marts._TREND_DAYS, []),
        "forecasts": frames.forecasts(),
        "comparisons": frames.comparisons(),
        "prompts": {},
        "options": frames.options(),
    }
    return analytics(**(values | changes))


def test_few_prompts_that_make_most_of_the_cost_are_the_headline() -> None:
    costs = (("dear", 7.0), ("middling", 2.0), ("cheap", 1.0), ("free", 0.0), ("unknown", None))
    rows = [{"prompt_id": name, "total_cost": cost, "usage_count": 5} for name, cost in costs]
    view = insight(summary=frames.summary(*rows))
    period = next(one for one in view.periods if one.key == "month")
    assert period.headline == "2 prompts of 3 make 90\u202f% of $10.00."
    assert period.costs is not None
    assert [row["label"] for row in period.costs.rows][:2] == ["$7.00 · 70\u202f%", "$2.00 · 90\u202f%"]


def test_costs_of_failures_and_what_has_no_price_are_said_beside_the_cost() -> None:
    row = {"period": "month", "model": "m", "usage_count": 9, "total_cost": 10.0, "failure_cost": 1.0}
    models = frames.frame(marts._MODELS, [row | {"unpriced_count": 3}])
    period = next(one for one in insight(models=models).periods if one.key == "month")
    assert period.cost_note == (
        "$1.00 (10.0\u202f%) went into uses that failed; "
        "3 uses that took tokens have no price, so the true cost is higher."
    )


def test_a_forecast_tells_its_past_error_against_repeating_last_week() -> None:
    rows = {"value": 10.0, "low": 5.0, "high": 20.0, "method": "mean rate"}
    errors = {"backtest_error": 0.6, "naive_error": 1.2, "interval_coverage": 0.75}
    one = insight(forecasts=frames.forecasts(rows | errors)).forecasts[0]
    assert one.chart.title == "About 10 uses in the coming 1 day"
    assert "50\u202f% less wrong than repeating the week before" in one.past
    assert "75\u202f% of the tested days fell into their interval" in one.past
    worse = insight(forecasts=frames.forecasts(rows | errors | {"naive_error": 0.5})).forecasts[0]
    assert "no better than repeating the week before" in worse.past


@pytest.mark.parametrize(
    ("rows", "words"),
    [([], "were not computed"), ([{"method": "not enough history"}], "a forecast needs 21 days")],
)
def test_a_forecast_that_is_not_there_says_why(rows: list[dict[str, Any]], words: str) -> None:
    chart = insight(forecasts=frames.forecasts(*rows)).forecasts[0].chart
    assert words in chart.note
    assert not chart.rows


def test_a_comparison_is_a_sentence_with_interval_and_samples() -> None:
    known = {"prompt_id": "p", "prompt_name": "p", "control_count": 1624, "variant_count": 436}
    success = {
        "control_value": 0.97,
        "variant_value": 0.858,
        "difference": -0.112,
        "difference_low": -0.17,
        "difference_high": -0.054,
        "verdict": "worse",
    }
    time = {"metric": "response_time_ms", "verdict": "not enough data"}
    view = insight(comparisons=frames.comparisons(known | success, known | time))
    (one,) = view.comparisons
    assert (one.verdict, one.tone, one.title) == ("worse", "bad", "version 2 against 1")
    assert [part.text for part in one.differences] == [
        (
            "Success rate worse: 97.0\u202f% → 85.8\u202f%, −11.2 points "
            "(95.0\u202f% interval −17.0 points to −5.4 points; 1,624 and 436 uses)"
        ),
        "Response time: not enough data to tell (1,624 and 436 uses)",
    ]


def of_settings(*rows: dict[str, Any], **changes: Any) -> SettingsPage:
    return settings_page(
        rules=frames.rules(*rows), dashboard=frames.dashboard(**MONTH), options=frames.options(**changes)
    )


def test_rules_in_force_are_words_with_their_units_and_where_to_change_them() -> None:
    view = of_settings(
        {"name": "slow_response", "metric": "average_response_time_ms", "comparator": "above"}
        | {"threshold": 5000.0, "medium_cutoff": 7500.0, "high_cutoff": 10_000.0, "period": "month"},
        {"kind": "alert override", "name": "poor_rating", "metric": "average_rating", "threshold": 2.5}
        | {"scope": "domain", "scope_value": "legal"},
    )
    tables = {table.key: table for table in view.tables}
    assert tables["rules"].rows[0][:6] == (
        "Slow response",
        "average response time",
        "over 5\u202fs",
        "over 7.50\u202fs",
        "over 10\u202fs",
        "Last 30 days",
    )
    assert tables["rules"].where == "dbt_project/seeds/alert_rules.csv"
    assert tables["overrides"].rows == (
        ("Poor rating", "domain legal", "under 2.50", "in proportion", "in proportion"),
    )
    assert tables["targets"].empty.startswith("No target is set")
    assert [row[1] for row in view.periods if row[3]] == ["31 Jan – 1 Mar 2026"]


def test_settings_are_grouped_as_they_are_handed_in() -> None:
    some = (Setting("Mail", "Digest goes to", "nobody", "reports.recipients"), Setting("Data", "Zone", "UTC"))
    assert [group.title for group in of_settings(settings=some).groups] == ["Mail", "Data"]
