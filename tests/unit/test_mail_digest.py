"""What the digest says: its subject, what it puts first, what it leaves out, what it refuses."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pandas as pd
import pytest

from reports import mail
from reports.errors import ReportError
from reports.options import Build
from reports.selection import Frames
from reports.views.digest import Digest, digest
from tests.unit import mail_samples as samples

DAY = samples.DAY


def made(frames: dict[str, pd.DataFrame] | None = None, **options: Any) -> Digest:
    return digest(Frames(**(frames or samples.frames())), replace(samples.OPTIONS, **options))


def with_alerts(*alerts: dict[str, Any]) -> Digest:
    return made(samples.frames(alerts=list(alerts)))


OLD = DAY - timedelta(days=3)


@pytest.mark.parametrize(
    ("alerts", "news"),
    [
        ([], "no open alerts"),
        ([samples.alert(1)], "1 new high alert"),
        ([samples.alert(1), samples.alert(2)], "2 new high alerts"),
        ([samples.alert(1), samples.alert(2, first_detected_on=OLD)], "1 new high alert"),
        ([samples.alert(1, severity="low"), samples.alert(2, first_detected_on=OLD)], "1 new alert"),
        ([samples.alert(1, first_detected_on=OLD)], "1 open high alert"),
        ([samples.alert(1, first_detected_on=OLD, severity="low")], "1 open alert"),
        ([samples.alert(1, state="resolved")], "no open alerts"),
    ],
)
def test_the_subject_says_the_success_its_change_and_the_alerts(
    alerts: list[dict[str, Any]], news: str
) -> None:
    assert with_alerts(*alerts).subject == f"Prism 2026-11-21: success 90.7 % (\u22123.1), {news}"


def test_the_subject_of_a_quiet_month_says_that_there_was_no_use() -> None:
    subject = made(samples.frames((), alerts=[], days=0)).subject
    assert subject == "Prism 2026-11-21: no uses (last 30 days), no open alerts"


def test_the_subject_leaves_out_a_change_and_a_rate_that_are_unknown() -> None:
    frames = samples.frames(alerts=[])
    frames["dashboard"]["previous_success_rate"] = pd.NA
    assert made(frames).subject == "Prism 2026-11-21: success 90.7 %, no open alerts"
    frames["dashboard"]["success_rate"] = pd.NA
    assert made(frames).subject == "Prism 2026-11-21: 10,359 uses, no open alerts"


def test_a_stale_report_says_so_in_the_subject_and_first_of_all() -> None:
    view = made(build=Build("stale", samples.OPTIONS.build.finished_at, ("unique_prompts_prompt_id",)))
    assert view.subject.startswith("Prism 2026-11-21: stale, success")
    assert view.banner is not None and "stale" in view.banner.title


def test_no_digest_is_made_of_a_red_build() -> None:
    with pytest.raises(ReportError, match="failed its tests"):
        made(build=Build("red", None, ("unique_prompts_prompt_id",)))


@pytest.mark.parametrize("address", ["javascript:alert(1)", "reports.example.com", "file:///srv/reports"])
def test_a_base_url_that_is_no_web_address_is_refused(address: str) -> None:
    with pytest.raises(ReportError, match="not a web address"):
        made(base_url=address)


def test_the_mail_is_about_the_default_period() -> None:
    frames = samples.frames()
    dashboard = frames["dashboard"]
    dashboard.loc[dashboard["period"] == "week", "success_rate"] = 0.5
    week = made(frames, default_period="week")
    assert week.days == "15 Nov \u2013 21 Nov 2026"
    assert "success 50.0 %" in week.subject
    assert len([point for point in week.trend if point.current]) == 7


def test_every_metric_has_its_card_with_change_and_target() -> None:
    cards = {card.key: card for card in made().cards}
    assert list(cards) == [
        "total_prompts",
        "usage_count",
        "success_rate",
        "average_rating",
        "average_response_time_ms",
        "total_cost",
    ]
    success = cards["success_rate"]
    assert success.change is not None and success.change.text == "\u22123.1 points"
    assert success.change.tone == "bad"
    assert success.target is not None and success.target.met


def test_high_alerts_come_first_new_ones_before_old_ones_and_the_rest_is_counted() -> None:
    view = with_alerts(
        samples.alert(1, severity="low"),
        samples.alert(2, first_detected_on=OLD),
        samples.alert(3),
        *(samples.alert(n, severity="medium", first_detected_on=OLD) for n in range(4, 10)),
    )
    shown = [(one.alert.severity, one.new) for one in view.alerts]
    assert shown == [("high", True), ("high", False), *[("medium", False)] * 4]
    assert view.alerts_title == "Open alerts: 2 high, 6 medium, 1 low"
    assert view.more_alerts == "3 more alerts in the report."


def test_what_somebody_has_let_pass_its_due_date_is_counted() -> None:
    assert with_alerts(samples.alert(1)).overdue == ""
    view = with_alerts(
        samples.alert(1, due_on=OLD),
        samples.alert(2, due_on=DAY, state="acknowledged"),  # of the morning after, it is over
        samples.alert(3, due_on=DAY + timedelta(days=1)),
        samples.alert(4, due_on=OLD, state="resolved"),
    )
    assert view.overdue == "2 action items are overdue."
    content = mail.render_digest(view)
    assert content.html is not None
    assert view.overdue in content.text and view.overdue in content.html


def test_the_lowest_prompts_are_those_below_the_rest_by_more_than_chance_the_surest_first() -> None:
    names = (
        ("Unlucky twice", "a", 2, 0.0, None, 900.0),  # too few to say anything
        ("Bad for sure", "a", 900, 0.60, 3.0, 900.0),
        ("Bad by a small sample", "a", 25, 0.55, 3.0, 900.0),
        ("Perhaps unlucky", "a", 25, 0.80, 3.0, 900.0),
        *((f"Good {n}", "a", 500, 0.95 + n / 1000, 4.5, 900.0) for n in range(5)),
    )
    best, lowest = made(samples.frames(names)).sections
    assert [row.prompt for row in best.rows] == [f"Good {n}" for n in reversed(range(5))]
    assert [row.prompt for row in lowest.rows] == ["Bad for sure", "Bad by a small sample"]


def test_links_lead_into_the_published_report_or_nowhere() -> None:
    published = made()
    assert published.report_url == "https://reports.example.com/prism/2026-11-21/index.html"
    assert (
        published.sections[0]
        .rows[0]
        .href.startswith("https://reports.example.com/prism/2026-11-21/prompts/contract-summary-")
    )
    at_home = made(base_url=None)
    assert at_home.report_url is None
    assert at_home.report_file == "reports/2026-11-21/index.html"
    hrefs = [row.href for section in at_home.sections for row in section.rows]
    hrefs += [one.alert.href for one in at_home.alerts] + [one.href or "" for one in at_home.news]
    assert set(hrefs) == {""}


def test_the_finding_says_what_the_chart_shows() -> None:
    assert made().finding == (
        "Busiest: 17 Nov 2026, 450 uses; "
        "success between 85.9\u202f% (12 Nov 2026) and 94.5\u202f% (23 Oct 2026)."
    )


def test_remarks_on_the_numbers_are_named_and_a_clean_bill_is_short() -> None:
    assert [check.label for check in made().trust.remarks] == ["prism"]
    frames = samples.frames()
    frames["quality"]["verdict"] = "ok"
    clean = made(frames).trust
    assert clean.state == "fine" and clean.remarks == ()
