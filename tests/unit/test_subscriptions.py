"""Subscriptions: what prism.yaml may say of them, whose turn a day is, and what each mail is about."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestration import subscriptions
from orchestration.errors import PrismError
from orchestration.settings import Settings, Subscription, load_settings
from reports.domains import folder_of


def read(folder: Path, reports: dict[str, Any]) -> Settings:
    (folder / "prism.yaml").write_text(yaml.safe_dump({"reports": reports}), encoding="utf-8")
    return load_settings({}, folder)


def subscription(**values: Any) -> Subscription:
    return Subscription.model_validate({"name": "one", "recipients": ["ann@example.com"], **values})


MONDAY = date(2026, 11, 23)


def due_days(schedule: str, first: date, days: int) -> list[date]:
    """The mornings on which mails go out, of as-of dates from the day before ``first``."""
    one = subscription(schedule=schedule)
    mornings = [first + timedelta(days=n) for n in range(days)]
    return [day for day in mornings if subscriptions.is_due(one, day - timedelta(days=1))]


def test_a_schedule_names_the_mornings_on_which_mails_go_out() -> None:
    week = [MONDAY + timedelta(days=n) for n in range(7)]
    assert due_days("daily", MONDAY, 7) == week
    assert due_days("weekdays", MONDAY, 7) == week[:5]
    assert due_days("weekly on monday", MONDAY, 14) == [MONDAY, MONDAY + timedelta(days=7)]
    assert due_days("Weekly on Thursday", MONDAY, 7) == [week[3]]
    assert due_days("monthly on 1", date(2027, 1, 1), 60) == [
        date(2027, 1, 1),
        date(2027, 2, 1),
        date(2027, 3, 1),
    ]
    assert due_days("monthly on 31", date(2028, 2, 1), 90) == [
        date(2028, 2, 29),
        date(2028, 3, 31),
        date(2028, 4, 30),
    ]


def test_a_weekly_mail_on_monday_is_about_the_week_that_ended_with_sunday() -> None:
    assert subscriptions.is_due(subscription(report="weekly"), date(2026, 11, 22))
    assert not subscriptions.is_due(subscription(report="weekly"), MONDAY)
    assert subscriptions.is_due(subscription(report="monthly"), date(2026, 11, 30))


@pytest.mark.parametrize(
    ("at", "utc"),
    [("07:30", (6, 30)), (630, (9, 30)), ("00:05", None)],
    ids=["text", "yaml's number", "zone"],
)
def test_a_mail_waits_for_its_hour_in_its_own_zone(at: Any, utc: tuple[int, int] | None) -> None:
    berlin = subscription(at=at, timezone="Europe/Berlin")
    moment = subscriptions.not_before(berlin, date(2026, 11, 22), "UTC")
    assert moment is not None
    if utc is None:
        assert moment.astimezone(UTC) == datetime(2026, 11, 22, 23, 5, tzinfo=UTC)
    else:
        assert moment.astimezone(UTC) == datetime(2026, 11, 23, *utc, tzinfo=UTC)
    assert subscriptions.not_before(subscription(), MONDAY, "UTC") is None
    # without a zone of its own, in the report's
    auckland = subscriptions.not_before(subscription(at="07:00"), date(2026, 11, 22), "Pacific/Auckland")
    assert auckland is not None and auckland.astimezone(UTC) == datetime(2026, 11, 22, 18, 0, tzinfo=UTC)


def test_the_simple_recipients_are_a_daily_digest_beside_the_others(tmp_path: Path) -> None:
    weekly = {"name": "week", "report": "weekly", "recipients": ["ann@example.com"]}
    reports = read(tmp_path, {"recipients": ["bob@example.com"], "subscriptions": [weekly]}).config.reports
    assert [(one.name, one.report, str(one.schedule)) for one in reports.all_subscriptions] == [
        ("digest", "digest", "daily"),
        ("week", "weekly", "weekly on monday"),
    ]
    alone = read(tmp_path, {"subscriptions": [weekly]}).config.reports
    assert [one.name for one in alone.all_subscriptions] == ["week"]
    # with nobody to get it, so that there is something to look at
    assert [one.recipients for one in read(tmp_path, {}).config.reports.all_subscriptions] == [()]


@pytest.mark.parametrize(
    ("reports", "message"),
    [
        ({"subscriptions": [{"name": "x"}]}, r"reports.subscriptions\[0\].recipients: is missing"),
        (
            {"subscriptions": [{"name": "x", "recipients": ["leads"]}]},
            "reports.subscriptions: x: 'leads' is neither a mail address nor one of reports.lists",
        ),
        (
            {"subscriptions": [{"name": "x", "recipients": {"column": "prompt_name"}}]},
            r"reports.subscriptions\[0\].recipients",
        ),
        (
            {"subscriptions": [{"name": "x", "recipients": [], "schedule": "hourly"}]},
            r"reports.subscriptions\[0\].schedule: 'hourly' is not a schedule; expected daily, weekdays",
        ),
        (
            {"subscriptions": [{"name": "x", "recipients": [], "schedule": "monthly on 32"}]},
            "is not a schedule",
        ),
        (
            {"subscriptions": [{"name": "x", "recipients": [], "at": "25:00"}]},
            r"reports.subscriptions\[0\].at: '25:00' is not a time of day",
        ),
        (
            {"subscriptions": [{"name": "x", "recipients": [], "timezone": "Mars/Olympus"}]},
            r"reports.subscriptions\[0\].timezone: 'Mars/Olympus' is not a time zone",
        ),
        (
            {"subscriptions": [{"name": "x", "recipients": [], "filters": {"severity": ["huge"]}}]},
            r"reports.subscriptions\[0\].filters.severity\[0\]: ",
        ),
        (
            {"subscriptions": [{"name": "x", "recipients": [], "attach": ["pdf"]}]},
            r"reports.subscriptions\[0\].attach\[0\]: ",
        ),
        (
            {"subscriptions": [{"name": "x", "recipients": [], "on_change": True}]},
            r"reports.subscriptions\[0\].on_change: is not a setting that Prism knows",
        ),
        (
            {"recipients": ["a@example.com"], "subscriptions": [{"name": "digest", "recipients": []}]},
            "two subscriptions are named 'digest'",
        ),
        (
            {"allowed_domains": ["example.com"], "recipients": ["ann@example.org"]},
            "reports.recipients: 'ann@example.org' is in none of reports.allowed_domains",
        ),
        (
            {
                "allowed_domains": ["example.com"],
                "subscriptions": [{"name": "x", "recipients": ["ann@example.org"]}],
            },
            "reports.subscriptions: x: 'ann@example.org' is in none of reports.allowed_domains",
        ),
        (
            {"allowed_domains": ["example.com"], "lists": {"leads": ["ann@example.org"]}},
            "reports.lists: 'ann@example.org' is in none of reports.allowed_domains",
        ),
        ({"lists": {"leads": ["ann"]}}, r"reports.lists.leads\[0\]: 'ann' is not a mail address"),
        (
            {"subscriptions": [{"name": "x", "recipients": {"column": "owner"}, "pages": "own"}]},
            r"reports.subscriptions\[0\]: `pages: own` needs `filters: {domain: ",
        ),
        ({"heartbeat": "soon"}, "reports.heartbeat: 'soon' is not a time of day"),
        ({"messages_a_minute": 0}, "reports.messages_a_minute: "),
        ({"dkim": {"selector": "a b"}}, "reports.dkim.selector: "),
        ({"on_failure": "panic"}, "reports.on_failure: "),
    ],
)
def test_what_is_wrong_is_refused_with_the_keys_path(
    tmp_path: Path, reports: dict[str, Any], message: str
) -> None:
    with pytest.raises(PrismError, match=message):
        read(tmp_path, reports)


def test_an_owner_written_in_two_ways_gets_one_mail_about_the_prompts_of_both(tmp_path: Path) -> None:
    reports = read(tmp_path, {"owner": "ops@example.com"}).config.reports
    spelled = ["Ann@example.com", "ann@example.com", "ann@EXAMPLE.com"]
    made = dict(subscriptions.letters(subscription(recipients={"column": "owner"}), reports, spelled))
    assert [letter.selection.values["owner"] for letter in made.values()] == [
        ("Ann@example.com",),  # the case of a mailbox may matter to its server
        ("ann@example.com", "ann@EXAMPLE.com"),
    ]


def test_pages_of_their_own_are_of_the_domains_that_a_mail_is_about(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        {
            "subscriptions": [
                {"name": "some", "recipients": ["a@example.com"], "pages": "own",
                 "filters": {"domain": ["legal", "sales"]}},
                {"name": "each", "recipients": {"column": "domain"}, "pages": "own"},
                {"name": "whole", "recipients": {"column": "domain"}},
            ]
        },
    )  # fmt: skip
    made = {
        (one.name, part): letter.folder
        for one in settings.config.reports.all_subscriptions
        for part, letter in subscriptions.letters(one, settings.config.reports, ["legal", "sales"])
    }
    assert made["each", "legal"].startswith("domains/legal-")
    assert made["some", None].startswith("domains/legal-sales-")
    assert made["whole", "legal"] == made["whole", "sales"] == ""
    assert len(set(made.values())) == 4
    # the same domains in another order are one report; names that are cut alike are not
    assert folder_of(["sales", "legal"]) == made["some", None]
    assert folder_of(["legal-sales"]) != made["some", None]
    assert folder_of(["../../x"]).count("/") == 1


def test_each_mail_of_a_column_is_about_the_prompts_of_one_value(tmp_path: Path) -> None:
    reports = read(tmp_path, {"owner": "ops@example.com", "unsubscribe": "stop@example.com"}).config.reports
    owners = subscription(
        recipients={"column": "owner"}, filters={"suite": ["PRISM"], "severity": ["high"]}, attach=["csv"]
    )
    made = dict(subscriptions.letters(owners, reports, ["ann@example.com", "bob@example.com"]))
    assert list(made) == ["ann@example.com", "bob@example.com"]
    letter = made["ann@example.com"]
    assert letter.selection.values == {"suite": ("PRISM",), "owner": ("ann@example.com",)}
    assert (letter.selection.severities, letter.selection.each) == (("high",), "owner")
    assert letter.scope == "prompts of ann@example.com, PRISM, high alerts"
    assert (letter.contact, letter.attached) == ("stop@example.com", True)
    [(part, all_of_them)] = subscriptions.letters(subscription(report="monthly"), reports, [])
    assert part is None and all_of_them.kind == "monthly" and all_of_them.scope == ""
