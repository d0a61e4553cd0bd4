"""The views: frames in, words out."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reports import charts
from reports.marts import records
from reports.options import Build
from reports.views import common
from reports.views.alerts import alerts_page
from reports.views.analytics import comparisons_of
from reports.views.overview import Overview, PeriodOverview, overview
from reports.views.peers import Peers
from reports.views.prompt import Prompt, prompt
from reports.views.prompts import prompts
from tests.unit import report_frames as frames
from tests.unit.report_frames import AS_OF

GOOD_DAY = {
    "usage_date": AS_OF,
    "usage_count": 200,
    "outcome_count": 190,
    "success_count": 170,
    "rated_count": 5,
    "rating_sum": 21.0,
    "response_time_count": 200,
    "response_time_sum_ms": 500_000.0,
    "priced_count": 150,
    "total_cost": 3.5,
}
MONTH = {
    "usage_count": 200,
    "used_prompts": 2,
    "success_rate": 170 / 190,
    "average_rating": 4.2,
    "average_response_time_ms": 2500.0,
    "total_cost": 3.5,
    "previous_usage_count": 100,
    "previous_success_rate": 0.95,
}


def view(**changes: Any) -> Overview:
    values: dict[str, Any] = {
        "dashboard": frames.dashboard(**MONTH),
        "summary": frames.summary(),
        "top": frames.top(),
        "alert_rows": frames.alerts(),
        "daily": frames.daily(GOOD_DAY),
        "quality": frames.quality({}),
        "options": frames.options(),
    }
    return overview(**(values | changes))


def month(**changes: Any) -> PeriodOverview:
    return view(**changes).period("month")


def card(key: str, **changes: Any) -> Any:
    return next(one for one in month(**changes).cards if one.key == key)


def test_the_headline_says_what_changed() -> None:
    assert month().headline == (
        "200 uses, 100\u202f% more than in the 30 days before; success down 5.5 points to 89.5\u202f%."
    )


def test_a_period_without_uses_says_so() -> None:
    period = month(dashboard=frames.dashboard(usage_count=0, previous_usage_count=7))
    assert period.empty
    assert period.headline == "No uses in this period; in the 30 days before there were 7."


def test_success_that_moved_less_than_chance_is_called_steady() -> None:
    dashboard = frames.dashboard(**(MONTH | {"previous_success_rate": 170 / 190 + 0.004}))
    assert "success steady at 89.5" in month(dashboard=dashboard).headline


@pytest.mark.parametrize(
    ("key", "word", "symbol"),
    [
        ("success_rate", "met", "✓"),
        ("average_response_time_ms", "missed", "✗"),
        ("average_rating", "too few to tell", "–"),
    ],
)
def test_a_target_is_judged_in_words_and_only_on_enough_uses(key: str, word: str, symbol: str) -> None:
    target = card(key).target
    assert (target.word, target.symbol) == (word, symbol)


def test_a_value_right_at_its_target_misses_it() -> None:
    dashboard = frames.dashboard(**(MONTH | {"success_rate": 0.8}))
    assert card("success_rate", dashboard=dashboard).target.met is False


def test_targets_are_those_of_the_marts() -> None:
    dashboard = frames.dashboard(**(MONTH | {"target_success_rate": 0.925}))
    target = card("success_rate", dashboard=dashboard).target
    assert (target.text, target.met) == ("above 92.5\u202f%", False)


def test_an_unknown_metric_is_a_dash_with_its_reason_and_never_zero() -> None:
    rating = card("average_rating", dashboard=frames.dashboard(**(MONTH | {"average_rating": None})))
    assert rating.value == "–"
    assert rating.detail == "nobody has rated a use of this period yet"
    assert rating.target.word == "no data"
    assert rating.change is None


def test_a_thin_sample_is_called_thin() -> None:
    assert card("average_rating").detail == "of 5 ratings, thin"


def test_more_time_is_worse_more_success_better_more_uses_neither() -> None:
    dashboard = frames.dashboard(
        **MONTH
        | {
            "previous_average_response_time_ms": 1000.0,
            "previous_success_rate": 0.5,
            "previous_total_cost": 9,
        }
    )
    changes = {one.key: one.change for one in month(dashboard=dashboard).cards}
    assert changes["average_response_time_ms"].word == "worse"
    assert changes["success_rate"].word == "better"
    assert changes["total_cost"].word == "better"
    assert (changes["usage_count"].word, changes["usage_count"].symbol) == ("", "▲")


def _moved(prompt_id: str, then: float, low: float, high: float, **more: Any) -> dict[str, Any]:
    return {
        "prompt_id": prompt_id,
        "usage_count": 100,
        "outcome_count": 100,
        "success_rate": (low + high) / 2,
        "success_rate_low": low,
        "success_rate_high": high,
        "previous_usage_count": 100,
        "previous_success_rate": then,
    } | more


def test_only_moves_beyond_chance_and_on_enough_uses_are_news() -> None:
    news = month(
        summary=frames.summary(
            _moved("fell", 0.9, 0.5, 0.7, display_name="It fell"),
            _moved("within chance", 0.72, 0.5, 0.7),
            _moved("thin", 0.9, 0.1, 0.7, outcome_count=19),
            _moved("thin before", 0.9, 0.1, 0.7, previous_usage_count=19),
            _moved("rose", 0.4, 0.5, 0.7),
        )
    ).news
    assert [(item.link, item.tone) for item in news if item.link] == [("It fell", "bad"), ("rose", "good")]


def test_a_prompt_that_went_quiet_is_news() -> None:
    rows = [{"prompt_id": "quiet", "usage_count": 0, "previous_usage_count": 40}]
    news = month(summary=frames.summary(*rows)).news
    assert [item.text for item in news if item.link == "quiet"] == [
        "no longer used: 40 uses in the 30 days before"
    ]


def test_alerts_of_the_period_are_news_and_older_ones_are_not() -> None:
    old = AS_OF - timedelta(days=200)
    rows = frames.alerts(
        {"alert_id": "1", "prompt_id": "a", "severity": "high"},
        {"alert_id": "2", "prompt_id": "b", "first_detected_on": old},
        {"alert_id": "3", "prompt_id": "c", "first_detected_on": old, "state": "resolved"},
    )
    shown = view(alert_rows=rows)
    texts = [item.text for item in shown.period("month").news]
    assert "1 alert opened in the last 30 days, 1 of high severity" in texts
    assert "1 alert resolved in the last 30 days" in texts
    assert shown.open_alerts == 2
    assert dict(shown.alert_counts) == {"high": 1, "medium": 1, "low": 0}


def test_a_top_performer_says_why_it_is_there() -> None:
    shown = month(
        summary=frames.summary(_moved("best", 0.9, 0.85, 0.97, rated_count=30, display_name="The best")),
        top=frames.top({"rank": 1, "prompt_id": "best", "prompt_name": "best", "usage_count": 100}
                       | {"success_rate": 0.91, "average_rating": 4.5}),
    ).top  # fmt: skip
    assert shown[0].prompt == "The best"
    assert shown[0].why == (
        "91.0\u202f% of 100 outcomes succeeded, at least 85.0\u202f% with 95\u202f% confidence; "
        "rated 4.50 (30 ratings)"
    )


def test_what_is_new_since_the_last_report_is_said_whatever_the_period() -> None:
    def prompt(uses: int, successes: int, cost: float, period: str) -> dict[str, Any]:
        rate = successes / uses
        return {"prompt_id": "p", "period": period, "usage_count": uses, "outcome_count": uses} | {
            "success_count": successes, "success_rate": rate, "total_cost": cost,
        }  # fmt: skip

    yesterday = AS_OF - timedelta(days=1)
    version = {"prompt_id": "p", "prompt_version": "3", "usage_count": 7}
    shown = view(
        summary=frames.summary(prompt(100, 40, 9.0, "day"), prompt(1000, 850, 38.0, "month")),
        events=common.events(
            frames.events(
                {"prompt_id": "p", "severity": "high", "event_on": yesterday, "alert_id": "old"},
                {"prompt_id": "p", "severity": "high"},
                {"prompt_id": "q", "event": "resolved", "previous_severity": "low"},
            ),
            {},
        ),
        versions=[version | {"version_created_at": datetime(2026, 3, 1, 9, tzinfo=UTC)}],
        options=frames.options(previous_report=yesterday),
    )
    assert shown.since_when == "since the report of 28 Feb 2026"
    assert [(item.link, item.text) for item in shown.since] == [
        ("p", "alert opened: slow response, high"),
        ("q", "alert resolved: slow response, low"),
        ("p", "version 3, 7 uses so far"),
        ("p", "success fell to 40.0\u202f% (100 outcomes) from 90.0\u202f% in the 29 days before"),
        ("p", "cost $9.00 on the last day, 9.0 times the $1.00 of a usual day"),
    ]


def test_an_empty_warehouse_is_told_from_a_quiet_day() -> None:
    nothing = view(dashboard=frames.dashboard(total_prompts=0), daily=frames.daily())
    assert nothing.usage_empty
    assert not view().usage_empty
    assert not view().library_empty


@pytest.mark.parametrize(
    ("build", "rows", "state"),
    [
        (Build("green"), [{}], "fine"),
        (Build("green"), [{"verdict": "warning", "reasons": "5 % rejected"}], "remark"),
        (Build("green"), [{"verdict": "error", "reasons": "80 hours without use"}], "spoilt"),
        (Build("green"), [{}, {"source": "gateway", "verdict": "error", "reasons": "x"}], "spoilt"),
        (Build("red", None, ("a test",)), [{}], "spoilt"),
        (Build("stale"), [{}], "spoilt"),
        (Build("green"), [], "spoilt"),
    ],
)
def test_the_verdict_is_the_worst_of_build_and_sources(
    build: Build, rows: list[dict[str, Any]], state: str
) -> None:
    assert common.trust(frames.quality(*rows), frames.options(build=build)).state == state


def test_past_faults_of_a_source_are_counted_but_do_not_spoil_today() -> None:
    rows = [
        {"notes": "columns that are not read: 'mood'"},
        {"usage_date": AS_OF - timedelta(days=3), "verdict": "error", "reasons": "cut off"},
    ]
    trust = common.trust(frames.quality(*rows), frames.options())
    assert trust.state == "fine"
    assert "1 earlier day with remarks; columns that are not read: 'mood'" in trust.checks[1].detail
    of_some = common.trust(frames.quality(*rows), frames.options(domains=("sales",)))
    assert "mood" not in of_some.checks[1].detail


@pytest.mark.parametrize(("state", "title"), [("red", "failed their checks"), ("stale", "stale")])
def test_a_build_that_is_not_green_is_said_first_on_every_page(state: Any, title: str) -> None:
    options = frames.options(build=Build(state, datetime(2026, 2, 28, 1, tzinfo=UTC), ("unique_prompt_id",)))
    banner = common.banner(options)
    assert banner is not None
    assert title in banner.title
    assert banner.failures == ("unique_prompt_id",)
    assert common.banner(frames.options()) is None


@pytest.mark.parametrize(
    ("metric", "comparator", "observed", "threshold", "said"),
    [
        (
            "success_rate_change",
            "below",
            -0.31,
            -0.1,
            "−31.0 % in the last 30 days, should be at least −10 %",
        ),
        ("cost_per_use", "above", 0.5, 0.25, "$0.50 in the last 30 days, should be at most $0.25, "),
        (
            "cost_spike",
            "above",
            6.24,
            3.0,
            "6.2 times the usual in the last 30 days, should be at most 3 times the usual",
        ),
        ("forecast_cost", "above", 1.3, 1.0, "130 % of the budget, should be at most 100 % of the budget"),
        ("days_without_use", "above", 2.0, 0.0, "2 days, should be at most 0 days"),
    ],
)
def test_an_alert_s_values_are_written_in_the_unit_of_its_metric(
    metric: str, comparator: str, observed: float, threshold: float, said: str
) -> None:
    values = {"metric": metric, "comparator": comparator, "observed_value": observed, "threshold": threshold}
    page = alerts_page(
        alert_rows=frames.alerts({"alert_id": "1", "prompt_id": None, "prompt_name": "app"} | values),
        evidence=frames.evidence(),
        item_rows=frames.action_items(),
        events=(),
        prompts={},
        options=frames.options(),
    )
    (group,) = page.severities
    assert group.alerts[0].evidence.replace("\u202f", " ").startswith(said)
    assert (group.alerts[0].prompt, group.alerts[0].domain) == ("app", "no prompt")


@pytest.mark.parametrize(
    ("metric", "baseline", "said"),
    [
        ("success_rate", 0.92, "; before, 92.0 %"),
        ("success_rate_change", 0.92, "; before, 92.0 %"),
        ("average_rating_change", 4.2, "; before, 4.20"),
        ("usage_count_change", 120.0, "; before, 120"),
        ("cost_spike", 3.5, "; before, $3.50"),
        ("version_quality", 0.97, ""),
    ],
)
def test_what_an_alert_is_compared_with_is_written_in_its_own_unit(
    metric: str, baseline: float, said: str
) -> None:
    row = {"alert_id": "1", "prompt_id": "a", "metric": metric, "baseline_value": baseline}
    [one] = common.alerts(frames.alerts(row), AS_OF, {})
    assert one.evidence.replace("\u202f", " ").partition("sample 184")[2] == said


def test_an_alert_that_no_night_bears_out_any_more_says_so_and_shows_no_numbers() -> None:
    values = dict.fromkeys(("observed_value", "threshold", "sample_size"))
    row = {"alert_id": "1", "prompt_id": "a", "state": "resolved", "message": "Evaluated again."} | values
    page = alerts_page(
        alert_rows=frames.alerts(row),
        evidence=frames.evidence(),
        item_rows=frames.action_items(),
        events=(),
        prompts={},
        options=frames.options(),
    )
    assert [(one.message, one.evidence) for one in page.resolved] == [("Evaluated again.", "")]


def test_alerts_are_grouped_by_severity_with_the_resolved_apart() -> None:
    rows = frames.alerts(
        {"alert_id": "1", "prompt_id": "a", "severity": "high", "rule": "slow_response"}
        | {"metric": "average_response_time_ms", "comparator": "above", "observed_value": 7190.0}
        | {"threshold": 5000.0, "assigned_to": "kim", "due_on": AS_OF - timedelta(days=3)},
        {"alert_id": "2", "prompt_id": "b", "severity": "low", "rule": "a_new_rule"},
        {"alert_id": "3", "prompt_id": "c", "state": "resolved"},
    )
    page = alerts_page(
        alert_rows=rows,
        evidence=frames.evidence({"alert_id": "1", "kind": "change", "description": "A new version."}),
        item_rows=frames.action_items(),
        events=(),
        prompts={"a": {"prompt_id": "a", "prompt_name": "a", "display_name": "Alpha"}},
        options=frames.options(),
    )
    assert [(group.key, len(group.alerts)) for group in page.severities] == [("high", 1), ("low", 1)]
    slow = page.severities[0].alerts[0]
    assert slow.href.startswith("prompts/a-")
    assert page.severities[1].alerts[0].href == "prompts.html"
    assert (slow.prompt, slow.rule_label) == ("Alpha", "Slow response")
    assert slow.evidence == "7.19\u202fs in the last 30 days, should be at most 5\u202fs, sample 184"
    assert slow.since == "since 1 Mar 2026 (new)"
    assert slow.handling == "kim sees to it; due 26 Feb 2026, 4 days overdue"
    assert slow.causes == ("A new version.",)
    assert page.summary == "1 high, 1 low, 2 that nobody has taken up."
    assert page.severities[1].alerts[0].rule_label == "A new rule"
    assert [one.prompt for one in page.resolved] == ["c"]


def test_an_alert_about_a_source_leads_to_the_verdict_on_the_numbers() -> None:
    row = {"alert_id": "1", "prompt_id": None, "prompt_name": "gateway", "rule": "data_gap"}
    (one,) = common.alerts(frames.alerts(row), AS_OF, {})
    assert (one.prompt, one.href, one.rule_label) == ("gateway", "index.html#trust", "Data gap")


def test_the_table_has_every_prompt_most_used_first_with_or_without_uses() -> None:
    table = prompts(
        library=frames.library({"prompt_id": "quiet"}, {"prompt_id": "busy"}, {"prompt_id": "never"}),
        summary=frames.summary(
            {"prompt_id": "quiet", "usage_count": 0},
            {"prompt_id": "busy", "usage_count": 30, "health": "watch", "outcome_count": 3}
            | {"success_rate": 0.5},
        ),
        options=frames.options(),
    )
    assert [row.name for row in table.rows] == ["busy", "never", "quiet"]
    busy, never, _ = table.rows
    assert (busy.health.word, busy.cells[2].text, busy.cells[2].note) == (
        "Watch",
        "50.0\u202f%",
        "of 3, thin",
    )
    assert [cell.text for cell in never.cells] == ["No data", "0", "–", "–", "–", "–"]
    numbers = {period: json.loads(text) for period, text in table.numbers()}
    assert numbers["month"]["cells"][0][1][:2] == [30, "30"]
    assert numbers["month"]["cells"][1:] == [0, 0]
    assert numbers["day"]["cells"] == [0, 0, 0]
    assert [one[0] for one in json.loads(table.listing)["prompts"]] == ["busy", "never", "quiet"]


def page_of(**changes: Any) -> Prompt:
    values: dict[str, Any] = {
        "row": dict.fromkeys(frames.library().columns) | {"prompt_id": "p", "prompt_name": "p"},
        "summary": [],
        "weeks": [],
        "shares": [],
        "alerts": (),
        "events": (),
        "entry": None,
        "versions": [],
        "compared": (),
        "advice": (),
        "times": [],
        "peers": Peers([]),
        "targets": {"success_rate": 0.8},
        "options": frames.options(),
    }
    return prompt(**(values | changes))


def test_a_prompt_states_its_interval_sample_and_previous_period() -> None:
    rows = frames.summary(
        _moved("p", 0.9, 0.5, 0.7, success_rate=0.6, user_count=3, session_count=4),
        {"prompt_id": "p", "period": "day"},
    )
    page = page_of(summary=records(rows))
    assert [(one.title, one.empty) for one in page.periods] == [("The day", True), ("Last 30 days", False)]
    uses, success = page.periods[1].figures[:2]
    assert uses.detail == "3 users, 4 sessions"
    assert success.detail == "of 100 outcomes; 95\u202f% interval 50.0\u202f% to 70.0\u202f%"
    assert success.previous == "90.0\u202f%"
    assert success.target is not None
    assert success.target.word == "missed"


def test_shares_add_up_to_the_whole_and_name_the_unknown() -> None:
    shares = frames.shares(
        {"by": "model", "share": "gpt", "usage_count": 3, "outcome_count": 3, "success_count": 3},
        {"by": "model", "share": None, "usage_count": 1},
    )
    part = page_of(shares=records(shares)).breakdowns[0]
    assert [(one.name, one.share, one.success) for one in part.shares] == [
        ("gpt", "75\u202f%", "100\u202f%"),
        ("unknown model", "25\u202f%", "–"),
    ]


def test_a_long_text_is_folded_and_one_longer_still_says_what_is_missing() -> None:
    entry = dict.fromkeys(("prompt_starter", "user_prompt_template", "mapped_agent_names"))
    entry |= {"system_prompt": "x" * 20_000, "system_prompt_characters": 10_000_000}
    (text,) = page_of(entry=entry).texts
    assert len(text.beginning) < 2_000
    assert len(text.beginning + text.rest) == 20_000
    assert text.left_out == "9,980,000 more of 10,000,000 characters are in the library."


def test_a_version_says_what_it_did_against_the_one_before() -> None:
    versions = records(
        frames.versions(
            {"prompt_version": "2", "is_current": True}, {"prompt_version": None, "usage_count": 5}
        )
    )
    compared = comparisons_of(
        records(frames.comparisons({"prompt_id": "p", "prompt_name": "p", "verdict": "worse"})), {}
    )
    first, unknown = page_of(versions=versions, compared=compared).versions
    assert first.against is not None
    assert (first.name, first.current, first.against.verdict) == ("2", True, "worse")
    assert (unknown.name, unknown.against) == ("version not known", None)


def test_a_prompt_is_ranked_among_those_of_its_domain_with_enough_uses() -> None:
    rates = (("p", 0.9, 50), ("best", 0.95, 50), ("worst", 0.2, 50), ("thin", 1.0, 3))
    rows = [
        {"prompt_id": name, "success_rate": rate, "outcome_count": count, "domain": "legal"}
        for name, rate, count in rates
    ]
    elsewhere = {"prompt_id": "x", "success_rate": 1.0, "outcome_count": 99, "domain": "people"}
    summary = records(frames.summary(*rows, elsewhere))
    peers = Peers(summary)
    shown = {row["prompt_id"]: peers.of(row) for row in summary}
    (own,) = shown["p"]
    assert (own.standing, own.median, own.tone) == ("2nd of 3", "90.0\u202f%", "neutral")
    assert shown["worst"][0].tone == "bad"
    assert (shown["thin"][0].standing, shown["thin"][0].place) == ("too few uses to rank", None)
    assert shown["x"] == ()


def test_advice_says_what_it_should_bring_only_where_that_is_known() -> None:
    frame = frames.recommendations(
        {"prompt_id": "a", "expected_successes": 129.4, "expected_saving": 0.15},
        {"prompt_id": "b", "expected_saving": 116.55},
        {"prompt_id": "c", "expected_successes": 0.2, "action": "keep"},
    )
    found = common.advices(frame, {})
    assert [one.gain for one in found] == [
        "about 129 more successes and saves about $0.15 a month",
        "saves about $116.55 a month",
        "",
    ]
    assert [one.prompt for one in common.advices(frame, {}, calm=False)] == ["a", "b"]


def test_a_sparkline_breaks_where_nothing_is_known_and_needs_two_values() -> None:
    assert charts.sparkline([None, 1.0, None]) == ""
    assert charts.sparkline([1.0, 2.0, None, 3.0, 4.0]).count('class="spark-line"') == 2
    assert "nan" not in charts.sparkline([2.0, 2.0, 2.0])


def test_json_in_a_page_cannot_end_its_script() -> None:
    hostile = "</script><script>alert(1)</script><!--\u2028&"
    text = charts.script_json({"name": hostile})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"name": hostile}


def test_json_in_a_page_refuses_what_no_browser_reads() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        charts.script_json({"value": float("nan")})


@pytest.mark.parametrize("kind", [kind for kind in charts.KINDS if kind.startswith("split-")])
def test_lines_side_by_side_have_one_legend_of_both_colour_and_shape(kind: charts.Kind) -> None:
    name = kind.removeprefix("split-")
    rows = [
        {
            "day": f"2026-07-{day:02d}T00:00:00",
            "series": series,
            "rank": rank,
            name: 0.9,
            "days": "",
            "text": "",
        }
        for rank, series in enumerate(("support", "law", "sales"))
        for day in (5, 12)
    ]
    svg = charts.svg(kind, rows, width=360, palette=charts.PAPER)
    assert [svg.count(f">{series}<") for series in ("support", "law", "sales")] == [1, 1, 1]
    symbols = re.findall(r'role-legend-symbol[^>]*><path[^>]* d="([^"]+)" fill="([^"]+)"', svg)
    assert len(symbols) == len({shape for shape, _ in symbols}) == len({colour for _, colour in symbols}) == 3
