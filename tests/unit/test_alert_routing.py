"""Who hears of an alert's change, and when it is quiet."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from orchestration.alerting.routing import Subject, quiet_until, recipients
from orchestration.errors import PrismError
from orchestration.settings import Alerts, Route, load_settings

BERLIN = ZoneInfo("Europe/Berlin")


def told(subject: Subject, *routes: Route) -> list[str]:
    return [recipient.name for recipient, _ in recipients(subject, routes)]


def test_a_route_leads_by_severity_domain_and_owner() -> None:
    route = Route(to=("a@example.com",), severity="medium", domains=("legal",), owners=("ann@example.com",))
    assert told(Subject("medium", "legal", "ann@example.com"), route) == ["a@example.com"]
    assert told(Subject("high", "legal", "ann@example.com"), route) == ["a@example.com"]
    for other in (
        Subject("low", "legal", "ann@example.com"),
        Subject("high", "sales", "ann@example.com"),
        Subject("high", None, "ann@example.com"),
        Subject("high", "legal", "bob@example.com"),
        Subject("high", "legal", None),
    ):
        assert told(other, route) == []


def test_a_resolution_is_for_whoever_the_alert_was_for_whatever_its_severity_was() -> None:
    assert told(Subject(None, "legal", None), Route(to=("a@example.com",), severity="high")) == [
        "a@example.com"
    ]


def test_a_recipient_of_several_routes_is_told_once_by_the_first_of_them() -> None:
    routes = [
        Route(to=("owner", "team")),
        Route(to=("ann@example.com", "team", "bob@example.com")),
        Route(to=("never@example.com",), severity="high"),
    ]
    found = [
        (one.channel, one.name, why)
        for one, why in recipients(Subject("low", None, "ann@example.com"), routes)
    ]
    assert found == [
        ("mail", "ann@example.com", "route 1 (the prompt's owner)"),
        ("chat", "team", "route 1"),
        ("mail", "bob@example.com", "route 2"),
    ]
    assert told(Subject("low", None, None), routes[0]) == ["team"]  # nobody owns it


@pytest.mark.parametrize(
    ("span", "at", "until"),
    [
        ("22:00-07:00", "2026-11-21T21:59:59", None),
        ("22:00-07:00", "2026-11-21T22:00:00", "2026-11-22T07:00"),
        ("22:00-07:00", "2026-11-22T00:30:00", "2026-11-22T07:00"),
        ("22:00-07:00", "2026-11-22T06:59:59", "2026-11-22T07:00"),
        ("22:00-07:00", "2026-11-22T07:00:00", None),
        ("00:00-06:30", "2026-11-22T06:29:00", "2026-11-22T06:30"),
        ("12:00-13:00", "2026-11-22T12:30:00", "2026-11-22T13:00"),
        ("12:00-13:00", "2026-11-22T23:30:00", None),
        (None, "2026-11-22T00:30:00", None),
    ],
)
def test_quiet_hours_hold_in_their_own_zone_and_over_midnight(
    span: str | None, at: str, until: str | None
) -> None:
    now = datetime.fromisoformat(at).replace(tzinfo=BERLIN).astimezone(UTC)
    expected = None if until is None else datetime.fromisoformat(until).replace(tzinfo=BERLIN)
    assert quiet_until(span, BERLIN, now) == expected


def test_quiet_hours_end_by_the_clock_on_the_wall_when_clocks_change() -> None:
    now = datetime(2026, 3, 28, 22, 30, tzinfo=UTC)  # 23:30, the night that Berlin loses an hour
    end = quiet_until("22:00-07:00", BERLIN, now)
    assert end is not None
    assert end.astimezone(UTC) == datetime(2026, 3, 29, 5, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"quiet_hours": "22-7"}, "not a span of hours"),
        ({"quiet_hours": "22:00-22:00"}, "not a span of hours"),
        ({"quiet_hours": "24:00-07:00"}, "not a span of hours"),
        ({"timezone": "Mars/Base"}, "not a time zone"),
        ({"routes": [{"to": []}]}, "at least 1 item"),
        ({"routes": [{"to": ["team"]}]}, "neither a mail address nor `owner`"),
        ({"channels": {"owner": "json://localhost"}}, "can't be the name of a channel"),
        ({"channels": {"team": "s3cret"}}, "the URL of team is none that apprise knows"),
        ({"most": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_of_alerts_that_can_not_work_are_refused(values: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Alerts.model_validate(values)


def test_a_channel_s_url_never_shows(tmp_path: Path) -> None:
    (tmp_path / "prism.yaml").write_text("alerts: {channels: {team: '${TEAM_URL}'}, routes: [{to: [team]}]}")
    settings = load_settings({"TEAM_URL": "json://user:s3cret@localhost/t0ken"}, tmp_path)
    assert settings.config.alerts.channels == {"team": "json://user:s3cret@localhost/t0ken"}
    assert "s3cret" not in repr(settings) + str(settings.config.alerts)
    with pytest.raises(PrismError, match="the URL of team is none that apprise knows") as raised:
        load_settings({"TEAM_URL": "jsonn://user:s3cret@localhost/t0ken"}, tmp_path)
    assert "s3cret" not in str(raised.value) and "t0ken" not in str(raised.value)
    with pytest.raises(PrismError, match=r"alerts\.channels\.team uses \$\{TEAM_URL\}"):
        load_settings({}, tmp_path)
