"""Notices of alerts against real SMTP and web servers, which take, refuse, stall and hang up."""

from __future__ import annotations

import json
import logging
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import psycopg
import pytest
import requests
from dagster._core.storage.tags import BACKFILL_ID_TAG
from psycopg import sql

from orchestration.alerting import actions, notices
from orchestration.alerting.notices import Notified, notify
from orchestration.assets.reports import report_assets
from orchestration.checks import alert_checks
from orchestration.errors import PrismError
from orchestration.jobs import NOTICES
from orchestration.partitions import as_of_dates
from orchestration.resources import Prism
from orchestration.sensors import notice_sensors
from orchestration.settings import Config, Settings, load_settings
from orchestration.warehouse import Warehouse
from reports.outbox import Patience
from tests.dbt import run_dbt
from tests.integration.test_outbox_delivery import Mailbox, running
from tests.ports import free_port
from tests.unit.mail_samples import HOSTILE

pytestmark = pytest.mark.integration

DAY = date(2026, 11, 21)
NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
QUICK = Patience(timeout=5, deadline=20, lease=60, pauses=(0.0,), backoff=(3600,))


class Webhook:
    """A web server on loopback that keeps what was posted and answers as it was told to: a status, ``stall``
    or ``reset``, used up one by one; 200 after that."""

    def __init__(self) -> None:
        self.posted: list[dict[str, Any]] = []
        self.answers: list[int | str] = []
        self.stalling = threading.Event()
        self.ended = threading.Event()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                answer = hook.answers.pop(0) if hook.answers else 200
                hook.posted.append(json.loads(body))
                if answer == "stall":
                    hook.stalling.set()
                    hook.ended.wait(30)
                    return
                if answer == "reset":
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.send_response(int(answer))
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")  # which is how Slack says that it has taken a message

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"json://hook:s3cret@127.0.0.1:{self.server.server_port}/t0ken"

    @property
    def texts(self) -> list[str]:
        return [f"{one['title']}\n{one['message']}" for one in self.posted]


@pytest.fixture
def hook() -> Iterator[Webhook]:
    hook = Webhook()
    thread = threading.Thread(target=hook.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield hook
    hook.ended.set()
    hook.server.shutdown()
    hook.server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def marts(module_warehouse: Warehouse) -> Warehouse:
    """The marts as dbt makes them, empty, for tests to write the nights into that they are about."""
    run_dbt(module_warehouse, "seed")
    run_dbt(module_warehouse, "run", "--select", "path:models", vars={"as_of_date": DAY.isoformat()})
    return module_warehouse


@dataclass
class Life:
    """Nights of alerts, written as the marts would have them."""

    connection: psycopg.Connection[Any]
    owners: Mapping[str, str | None] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    domains: Mapping[str, str] = field(default_factory=dict)
    alerts: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: list[tuple[str, date, str, str | None, str | None]] = field(default_factory=list)

    def night(self, day: date, *events: tuple[str, str, str], state: str = "green") -> None:
        """One more night: each event as (alert, event, severity); an alert's prompt has its name."""
        for alert, event, severity in events:
            row = self.alerts.setdefault(alert, {"severity": severity, "since": day, "over": None})
            before = row["severity"] if event in ("escalated", "resolved") else None
            row |= {"severity": severity, "over": day if event == "resolved" else None}
            self.events.append((alert, day, event, before, None if event == "resolved" else severity))
        self._write(day)
        self.connection.execute(
            "insert into ops.builds (as_of_date, marts_schema, started_at, finished_at, state)"
            " values (%s, 'marts', now(), now(), %s)",
            [day, state],
        )

    def _write(self, day: date) -> None:
        execute = self.connection.execute
        execute(
            "truncate marts.performance_alerts, marts.alert_events, marts.prompts, marts.dashboard_metrics,"
            " marts.prompt_performance_summary, marts.top_performing_prompts"
        )
        execute("insert into marts.dashboard_metrics (as_of_date, period) values (%s, 'month')", [day])
        for alert, row in self.alerts.items():
            name, domain = self.names.get(alert, f"prompt {alert}"), self.domains.get(alert, "support")
            execute(
                "insert into marts.prompts (as_of_date, prompt_id, prompt_name, display_name, owner, domain)"
                " values (%s, %s, %s, %s, %s, %s)",
                [day, f"p-{alert}", name, name, self.owners.get(alert), domain],
            )
            execute(
                "insert into marts.performance_alerts (as_of_date, alert_id, prompt_id, prompt_name, domain,"
                " owner, rule, severity, period, observed_value, threshold, sample_size, first_detected_on,"
                " last_detected_on, days_open, resolved_on, state, message, recommendation)"
                " values (%s, %s, %s, %s, %s, %s, 'poor_success_rate', %s, 'month', 0.4, 0.7, 40, %s, %s, 1,"
                " %s, %s, 'Success rate 40 %%.', 'Read the failed calls.')",
                [day, alert, f"p-{alert}", name, domain, self.owners.get(alert), row["severity"],
                 row["since"], day, row["over"], "open" if row["over"] is None else "resolved"],
            )  # fmt: skip
        for alert, on, event, before, severity in self.events:
            execute(
                "insert into marts.alert_events (as_of_date, alert_id, event_on, event, prompt_id, rule,"
                " previous_severity, severity) values (%s, %s, %s, %s, %s, 'poor_success_rate', %s, %s)",
                [day, alert, on, event, f"p-{alert}", before, severity],
            )


@pytest.fixture
def life(marts: Warehouse) -> Iterator[Life]:
    with marts.connect(autocommit=True) as connection:
        connection.execute("alter table ops.alert_actions disable trigger alert_actions_only_grow")
        connection.execute(
            "truncate ops.alert_actions, ops.notice_events, ops.notices, ops.deliveries, ops.outbox,"
            " ops.builds"
        )
        connection.execute("alter table ops.alert_actions enable trigger alert_actions_only_grow")
        for table, column in connection.execute(
            "select c.table_name, c.column_name from information_schema.columns as c"
            " where c.table_schema = 'marts' and c.is_nullable = 'NO' and c.table_name in"
            " ('performance_alerts', 'alert_events', 'prompts', 'dashboard_metrics')"
            " and c.column_name not in"
            " (select column_name from information_schema.key_column_usage where table_schema = 'marts')"
        ).fetchall():
            connection.execute(
                sql.SQL("alter table {} alter column {} drop not null").format(
                    sql.Identifier("marts", table), sql.Identifier(column)
                )
            )
        yield Life(connection)


@dataclass
class House:
    """Settings of a test's own over the module's marts."""

    warehouse: Warehouse
    folder: Path
    text: str
    variables: dict[str, str]

    @property
    def settings(self) -> Settings:
        (self.folder / "prism.yaml").write_text(self.text, encoding="utf-8")
        return load_settings(self.variables, self.folder)

    def tell(self, now: datetime = NOW, **options: Any) -> Notified:
        return notify(self.warehouse, self.settings, now=now, patience=QUICK, sleep=lambda _: None, **options)


@pytest.fixture
def house(marts: Warehouse, hook: Webhook, tmp_path: Path) -> House:
    text = """
reports: {sender: prism@example.com, base_url: https://reports.example.com/prism}
alerts:
  channels: {team: "${TEAM_URL}"}
  routes:
    - {to: [owner], severity: medium}
    - {to: [team]}
"""
    return House(marts, tmp_path, text, {"TEAM_URL": hook.url})


def at(day: date) -> datetime:
    """The morning after a night."""
    return datetime(day.year, day.month, day.day, 9, tzinfo=UTC) + timedelta(days=1)


def subjects(mailbox: Mailbox) -> list[tuple[str, str]]:
    return [
        (recipient, str(message_from_bytes(content, _class=EmailMessage, policy=policy.default)["Subject"]))
        for recipient, content in mailbox.taken
    ]


def test_each_change_is_told_once_to_each_in_one_message_a_recipient_and_night(
    life: Life, house: House, hook: Webhook
) -> None:
    life.owners = {"aaaa-1": "ann@example.com", "aaaa-2": "bob@example.com", "aaaa-3": "ann@example.com"}
    mailbox = Mailbox()
    with running(mailbox) as address:
        house.variables["PRISM_SMTP_URL"] = f"smtp://{address}"
        life.night(
            DAY,
            ("aaaa-1", "opened", "high"), ("aaaa-2", "opened", "medium"),
            ("aaaa-3", "reopened", "high"), ("aaaa-4", "opened", "low"),
        )  # fmt: skip
        first = house.tell()
        assert first.unsent == 0
        again = house.tell()
        life.night(DAY)  # the same night, built again
        once_more = house.tell()
        tomorrow = DAY + timedelta(days=1)
        life.night(tomorrow, ("aaaa-1", "eased", "low"), ("aaaa-4", "escalated", "high"))
        house.tell(at(tomorrow))
        later = DAY + timedelta(days=2)
        life.night(later, ("aaaa-1", "resolved", "low"), ("aaaa-2", "resolved", "medium"))
        house.tell(at(later))
    assert subjects(mailbox) == [
        ("ann@example.com", "Prism 2026-11-21: 2 new high alerts"),
        ("bob@example.com", "Prism 2026-11-21: 1 new medium alert"),
        ("ann@example.com", "Prism 2026-11-23: 1 resolved"),
        ("bob@example.com", "Prism 2026-11-23: 1 resolved"),
    ]
    assert [one["title"] for one in hook.posted] == [
        "Prism 2026-11-21: 2 new high alerts, 1 new medium alert, 1 new low alert",
        "Prism 2026-11-22: 1 escalated to high",
        "Prism 2026-11-23: 2 resolved",
    ]
    assert (again.lines, once_more.lines) == (("Notices: nothing was due.",),) * 2
    assert "LOW · NEW · prompt aaaa-4 (support)" in hook.texts[0]
    assert "Advice: Read the failed calls." in hook.texts[0]
    assert hook.texts[0].endswith("https://reports.example.com/prism/2026-11-21/alerts.html")


def test_a_change_that_comes_with_a_later_build_of_a_night_is_told_with_the_next(
    life: Life, house: House, hook: Webhook
) -> None:
    life.night(DAY, ("aaaa-1", "opened", "high"))
    house.tell()
    life.night(DAY, ("aaaa-2", "opened", "high"))
    assert house.tell().lines == ("Notices: nothing was due.",)
    tomorrow = DAY + timedelta(days=1)
    life.night(tomorrow)
    house.tell(at(tomorrow))
    assert ["prompt aaaa-2" in text for text in hook.texts] == [False, True]


def test_what_somebody_knows_of_is_quiet_until_it_escalates(
    life: Life, house: House, hook: Webhook, marts: Warehouse
) -> None:
    said: dict[str, Any] = {"by": "ann", "now": NOW, "zone": house.settings.zone}
    life.night(DAY, *((f"aaaa-{n}", "opened", "low") for n in range(1, 5)))
    with marts.connect(autocommit=True) as connection:
        actions.acknowledge(connection, ["aaaa-1"], **said)
        actions.snooze(connection, ["aaaa-2"], until_on=DAY + timedelta(days=9), **said)
        actions.resolve(connection, ["aaaa-3"], **said)
    house.tell()
    assert [one["title"] for one in hook.posted] == ["Prism 2026-11-21: 1 new low alert"]
    tomorrow = DAY + timedelta(days=1)
    life.night(tomorrow, ("aaaa-1", "escalated", "high"), ("aaaa-2", "resolved", "low"))
    house.tell(at(tomorrow))
    assert [one["title"] for one in hook.posted[1:]] == ["Prism 2026-11-22: 1 escalated to high"]
    assert "HIGH · ESCALATED FROM LOW · prompt aaaa-1" in hook.texts[1]


def test_what_wakes_by_itself_is_told_again_and_once(
    life: Life, house: House, hook: Webhook, marts: Warehouse
) -> None:
    said: dict[str, Any] = {"by": "ann", "now": NOW, "zone": house.settings.zone}
    life.night(DAY, ("aaaa-1", "opened", "low"), ("aaaa-2", "opened", "low"))
    with marts.connect(autocommit=True) as connection:
        actions.snooze(connection, ["aaaa-1"], until_on=DAY + timedelta(days=3), **said)
        actions.resolve(connection, ["aaaa-2"], **said)
    told = []
    for back in (0, 1, 2, 3, 30, 31, 32):
        day = DAY + timedelta(days=back)
        life.night(day)
        house.tell(at(day))
        told.append([text for text in hook.texts if str(day) in text.splitlines()[0]])
    found = {back: some for back, some in zip((0, 1, 2, 3, 30, 31, 32), told, strict=True) if some}
    assert list(found) == [2, 31]
    assert "LOW · AGAIN · prompt aaaa-1" in found[2][0] and "LOW · AGAIN · prompt aaaa-2" in found[31][0]


def test_an_end_is_told_to_those_alone_who_heard_of_the_beginning(
    life: Life, house: House, hook: Webhook
) -> None:
    life.night(DAY, ("aaaa-1", "opened", "low"), ("aaaa-2", "opened", "low"))
    life.night(DAY + timedelta(days=1), ("aaaa-2", "resolved", "low"))
    house.tell(at(DAY + timedelta(days=1)))
    assert [one["title"] for one in hook.posted] == ["Prism 2026-11-22: 1 new low alert"]


def test_changes_of_long_ago_are_no_news(life: Life, house: House, hook: Webhook) -> None:
    old = DAY - timedelta(days=notices.NEWS_DAYS)
    life.night(old, ("aaaa-1", "opened", "high"))
    life.night(old + timedelta(days=1), ("aaaa-2", "opened", "high"))  # a night whose notices never left
    life.night(DAY)
    house.tell()
    [text] = hook.texts
    assert "aaaa-2" in text and "aaaa-1" not in text


def test_quiet_hours_put_off_what_is_due_until_they_are_over(
    life: Life, house: House, hook: Webhook, marts: Warehouse
) -> None:
    house.text += '  quiet_hours: "22:00-07:00"\n  timezone: Europe/Berlin\n'
    life.night(DAY, ("aaaa-1", "opened", "high"), ("aaaa-2", "opened", "high"))
    night = datetime(2026, 11, 22, 1, 30, tzinfo=UTC)
    assert house.tell(night).lines == ("Notices: quiet until 07:00 (CET), 1 wait.",)
    assert hook.posted == []
    with marts.connect(autocommit=True) as connection:
        actions.acknowledge(connection, ["aaaa-2"], by="ann", now=night, zone=house.settings.zone)
    house.tell(datetime(2026, 11, 22, 6, 0, tzinfo=UTC))  # 07:00 in Berlin
    assert [one["title"] for one in hook.posted] == ["Prism 2026-11-21: 1 new high alert"]


def test_a_message_is_capped_and_sums_up_the_rest(life: Life, house: House, hook: Webhook) -> None:
    house.text += "  most: 2\n"
    severities = ["low", "high", "medium", "high", "low"]
    life.night(DAY, *((f"aaaa-{n}", "opened", severity) for n, severity in enumerate(severities)))
    house.tell()
    [text] = hook.texts
    assert text.count("· NEW ·") == 2 and text.count("HIGH · NEW") == 2
    assert "And 3 more: 1 medium, 2 low." in text
    with life.connection.cursor() as cursor:  # and all five are told: none comes again
        assert cursor.execute("select count(*) from ops.notice_events").fetchone() == (5,)


@pytest.mark.parametrize("state", ["red", "running"])
def test_nobody_is_told_anything_by_a_build_that_is_not_good(
    life: Life, house: House, hook: Webhook, state: str
) -> None:
    life.night(DAY, ("aaaa-1", "opened", "high"), state=state)
    with pytest.raises(PrismError, match=f"of the newest it is {state}"):
        house.tell()
    assert hook.posted == []
    assert life.connection.execute("select count(*) from ops.notices").fetchone() == (0,)


def test_a_dry_run_says_who_would_hear_what_and_why_and_changes_nothing(
    life: Life, house: House, hook: Webhook
) -> None:
    life.owners = {"aaaa-1": "ann@example.com", "aaaa-2": "not an address"}
    life.night(DAY, ("aaaa-1", "opened", "high"), ("aaaa-2", "opened", "medium"))
    told = house.tell(dry_run=True)
    remark = "Notices: the owner of prompt aaaa-2 can't be told: 'not an address' is not an address"
    assert told.lines == (
        f"{remark} that mail can be sent to",
        "would tell team in its channel: 1 new high alert, 1 new medium alert (route 2)",
        "would tell ann@example.com by mail: 1 new high alert (route 1 (the prompt's owner))",
    )
    assert hook.posted == []
    assert life.connection.execute("select count(*) from ops.notices").fetchone() == (0,)


def test_without_a_mail_server_notices_are_kept_in_the_outbox(life: Life, house: House) -> None:
    life.owners = {"aaaa-1": "ann@example.com"}
    life.night(DAY, ("aaaa-1", "opened", "high"))
    assert "Notices by mail: 1 in the outbox, kept there: PRISM_SMTP_URL is not set." in house.tell().lines
    assert life.connection.execute("select report, recipient, state from ops.outbox").fetchall() == [
        ("alert notice", "ann@example.com", "queued")
    ]


def crossed(life: Life, *days: int) -> None:
    """Evaluations as a night freezes them: of one rule and prompt, which is slow on these days, high from the
    23rd on."""
    life.connection.execute("truncate intermediate.int_alert_evaluations")
    for day in days:
        level = 3 if day >= 23 else 1
        life.connection.execute(
            "insert into intermediate.int_alert_evaluations (as_of_date, rule, scope, subject_id, prompt_id,"
            " prompt_name, period, metric, comparator, crossed_level, held_level, is_evaluated,"
            " observed_value, threshold, sample_size) values (%s, 'slow_response', 'prompt', 'p1', 'p1',"
            " 'slow', 'month', 'average_response_time_ms', 'above', %s, %s, true, 6000, 5000, 40)",
            [DAY.replace(day=day), level, level],
        )


def derived(life: Life, warehouse: Warehouse, since: int, day: int) -> list[tuple[Any, ...]]:
    """Nights up to a day, the first of them perhaps a past one; the alerts as the marts have them then."""
    life.night(DAY.replace(day=day))
    run_dbt(
        warehouse, "run", "--select", "int_alert_states", "int_alert_ids", "int_alert_nights",
        "int_alert_standing", "performance_alerts", "alert_events",
        vars={"as_of_date": str(DAY.replace(day=day)), "alerts_since": str(DAY.replace(day=since))},
    )  # fmt: skip
    return life.connection.execute(
        "select extract(day from first_detected_on)::int, extract(day from resolved_on)::int, state,"
        " observed_value, alert_id from marts.performance_alerts order by first_detected_on, alert_id"
    ).fetchall()


def test_whichever_night_is_built_late_what_was_done_and_told_stays_with_its_alert(
    life: Life, house: House, hook: Webhook, marts: Warehouse
) -> None:
    """Nights of one prompt that is slow, built in an order of their own; two clear nights close an alert."""

    def said(day: int) -> dict[str, Any]:
        return {"by": "ann", "now": at(DAY.replace(day=day)), "zone": house.settings.zone}

    def told(day: int) -> list[str]:
        house.tell(at(DAY.replace(day=day)))
        return [one["title"] for one in hook.posted]

    crossed(life, 21)
    [(*found, first)] = derived(life, marts, 21, 21)
    assert found == [21, None, "open", 6000]
    assert told(21) == ["Prism 2026-11-21: 1 new low alert"]
    actions.acknowledge(life.connection, [first], note="On it.", **said(21))
    # the night before is built late: the alert is a day older and the same, and no news
    crossed(life, 20, 21)
    assert derived(life, marts, 20, 22) == [(20, None, "acknowledged", 6000, first)]
    actions.reopen(life.connection, [first], **said(22))
    assert len(told(22)) == 1
    # clear on the 21st and 22nd, by uses that came late: it was over, and what came then is another
    crossed(life, 20, 23)
    (*over, kept), (*again, second) = derived(life, marts, 21, 23)
    assert (over, kept, again) == ([20, 22, "resolved", 6000], first, [23, None, "open", 6000])
    actions.assign(life.connection, [second], assigned_to="bob", **said(23))
    assert told(23)[1:] == ["Prism 2026-11-23: 1 new high alert, 1 resolved"]
    # and not so after all: one alert, with what was done about either and what was heard of either
    crossed(life, 20, 21, 22, 23)
    assert derived(life, marts, 22, 24) == [(20, None, "open", 6000, first)]
    alert = actions.show(life.connection, second[:8], now=at(DAY), zone=house.settings.zone)
    assert (alert.alert_id, alert.former_ids) == (first, (second,))
    assert [one.action for one in alert.history] == ["acknowledge", "reopen", "assign"]
    assert len(told(24)) == 2
    # none of the nights bears it out: it is over, and with what was done still there
    crossed(life)
    over, other = sorted(derived(life, marts, 20, 25))
    assert (over, other) == ((20, 20, "resolved", None, first), (23, 23, "resolved", None, second))
    assert told(25)[2:] == ["Prism 2026-11-25: 1 resolved"]
    events = life.connection.execute("select event, cause from marts.alert_events").fetchall()
    assert (
        events == [("resolved", "Evaluated again, the rule does not fire on the nights it was told of.")] * 2
    )


def states(life: Life) -> list[tuple[str, int, str]]:
    return life.connection.execute("select state, attempts, last_reply from ops.notices").fetchall()


def let_it_try_again(life: Life) -> None:
    life.connection.execute(
        "update ops.notices set next_attempt_at = now(), lease_until = now() - interval '1 second'"
    )


@pytest.mark.parametrize(
    ("answers", "first", "second", "posts"),
    [
        ([500], ("sent", 2, "taken"), ("sent", 2, "taken"), 2),
        ([429, 503], ("retry", 2, "HTTP 503"), ("sent", 3, "taken"), 3),
        ([404], ("failed", 1, "HTTP 404"), ("failed", 1, "HTTP 404"), 1),
        (["reset"], ("uncertain", 1, "no answer"), ("sent", 2, "taken"), 2),
        (
            ["reset", "reset"],
            ("uncertain", 1, "no answer"),
            ("failed", 2, "given up, it may have come through: no answer"),
            2,
        ),
    ],
)
def test_a_channel_that_does_not_take_a_message_gets_it_again_as_far_as_that_makes_sense(
    life: Life,
    house: House,
    hook: Webhook,
    answers: list[int | str],
    first: tuple[str, int, str],
    second: tuple[str, int, str],
    posts: int,
) -> None:
    hook.answers = answers
    life.night(DAY, ("aaaa-1", "opened", "high"))
    told = house.tell()
    assert states(life) == [first]
    assert told.unsent == (first[0] != "sent")
    house.tell()  # not before its time
    let_it_try_again(life)
    house.tell()
    house.tell()
    assert states(life) == [second]
    assert len(hook.posted) == posts
    assert len({json.dumps(one) for one in hook.posted}) == 1  # each time the same bytes


def test_slack_teams_and_a_webhook_get_the_message_in_the_form_that_they_document(
    life: Life, house: House, hook: Webhook, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By the addresses that these services give out; the requests end on loopback."""
    asked: list[str] = []
    send = requests.Session.request

    def redirected(session: requests.Session, method: str, url: str, **options: Any) -> requests.Response:
        asked.append(f"{method.upper()} {url}")
        return send(session, method, f"http://127.0.0.1:{hook.server.server_port}/", **options)

    monkeypatch.setattr(requests.Session, "request", redirected)
    workflow = "https://prod-1.westeurope.logic.azure.com:443/workflows/{}/triggers/manual/paths/invoke"
    house.variables = {
        "SLACK_URL": "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
        "TEAMS_URL": workflow.format("643e69f8")
        + "?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=s3cr3tsig",
        "WEB_URL": "jsons://hook:s3cret@hooks.example.com/t0ken",
    }
    house.text = house.text.replace(
        '{team: "${TEAM_URL}"}', '{slack: "${SLACK_URL}", teams: "${TEAMS_URL}", web: "${WEB_URL}"}'
    ).replace("[team]", "[slack, teams, web]")
    hook.answers = [503, 429, 500]
    life.night(DAY, *((f"aaaa-{n:02}", "opened", "high") for n in range(30)))
    with caplog.at_level(logging.DEBUG):
        told = house.tell()
    assert told.lines == (
        "Notice to slack: retry (HTTP 503)",
        "Notice to teams: retry (HTTP 429)",
        "Notice to web: retry (HTTP 500)",
        *(f"Notice to {name}: sent (taken)" for name in ("slack", "teams", "web")),
    )
    assert (
        asked[:3]
        == asked[3:]
        == [
            "POST https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
            f"POST {workflow.format('643e69f8')}",
            "POST https://hooks.example.com/t0ken",
        ]
    )
    slack, teams, web = hook.posted[3:]
    title = "Prism 2026-11-21: 30 new high alerts"
    # https://api.slack.com/reference/messaging/payload: text of an attachment, read as plain text
    [attachment] = slack["attachments"]
    assert (attachment["title"], attachment["footer"], slack["mrkdwn"]) == (title, "Prism", False)
    # https://learn.microsoft.com/power-automate/teams: a message with one adaptive card, under 28 KB
    [card] = teams["attachments"]
    assert (teams["type"], card["contentType"]) == ("message", "application/vnd.microsoft.card.adaptive")
    assert card["content"]["type"] == "AdaptiveCard"
    heading, body = card["content"]["body"]
    assert [heading["type"], heading["text"], body["type"]] == ["TextBlock", title, "TextBlock"]
    assert len(json.dumps(teams)) < 28_000
    assert "http" not in json.dumps([slack, body]).replace("https://reports.example.com", "")  # no pictures
    assert body["text"].split("\n\n")[1:3] == ["Success rate 40 %.", "Advice: Read the failed calls."]
    for text in (attachment["text"], body["text"], web["message"]):
        assert text.count("HIGH · NEW · prompt aaaa-") == 20 and "And 10 more: 10 high." in text
        assert text.endswith("https://reports.example.com/prism/2026-11-21/alerts.html")
    kept = str(life.connection.execute("select n::text from ops.notices as n").fetchall())
    for secret in ("TIiajkdnlazkcOXrIdevi7FQ", "s3cr3tsig", "s3cret", "t0ken", "azure.com"):
        assert secret not in " ".join([*told.lines, caplog.text, kept])


def test_a_channel_that_stalls_ends_with_the_deadline_and_one_that_is_down_is_tried_again(
    life: Life, house: House, hook: Webhook
) -> None:
    hook.answers = ["stall"]
    house.variables["TEAM_URL"] = hook.url + "?rto=0.5"
    life.night(DAY, ("aaaa-1", "opened", "high"))
    house.tell()
    assert states(life) == [("uncertain", 1, "no answer")]
    life.connection.execute("update ops.notices set state = 'queued', next_attempt_at = null")
    house.variables["TEAM_URL"] = f"json://127.0.0.1:{free_port()}"
    assert house.tell().unsent == 1
    assert states(life) == [("retry", 3, "no connection")]


def test_what_a_url_holds_is_neither_logged_nor_told_nor_kept(
    life: Life,
    house: House,
    hook: Webhook,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    hook.answers = [500, 404]
    life.night(DAY, ("aaaa-1", "opened", "high"))
    with caplog.at_level(logging.DEBUG):
        told = house.tell()
    kept = str(life.connection.execute("select n::text from ops.notices as n").fetchall())
    seen = " ".join([*told.lines, caplog.text, *capfd.readouterr(), kept])
    assert "HTTP 404" in seen
    for secret in ("s3cret", "t0ken", str(hook.server.server_port)):
        assert secret not in seen


def test_hostile_names_are_inert_in_a_channel(life: Life, house: House, hook: Webhook) -> None:
    hostile = "<!channel> @everyone [x](javascript:1) *b* " + HOSTILE.replace("\x00", "").replace(
        "\ud800", ""
    )
    life.names, life.domains = {"aaaa-1": hostile}, {"aaaa-1": hostile}
    life.night(DAY, ("aaaa-1", "opened", "high"))
    house.tell()
    [post] = hook.posted
    own = post["message"].rsplit("\n\n", 1)[0]  # then comes the address of the report
    assert not set("<>@[]`*_~|\r\x1b\u202e") & set(own)
    assert len(own) < 1000


_KILLED = """
import sys
from datetime import datetime
from pathlib import Path
from orchestration.alerting.notices import notify
from orchestration.settings import load_settings
from orchestration.warehouse import Warehouse
folder, warehouse, team, now = sys.argv[1:]
notify(Warehouse(url=warehouse, dagster_url=""), load_settings({"TEAM_URL": team}, Path(folder)),
       now=datetime.fromisoformat(now))
"""


def test_a_sender_killed_in_mid_air_leaves_the_message_to_the_next_one(
    life: Life, house: House, hook: Webhook, marts: Warehouse
) -> None:
    hook.answers = ["stall"]
    life.night(DAY, ("aaaa-1", "opened", "high"))
    _ = house.settings  # writes prism.yaml
    command = [sys.executable, "-c", _KILLED, str(house.folder), marts.url, hook.url, NOW.isoformat()]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    assert hook.stalling.wait(60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [state for state, _, _ in states(life)] == ["sending"]
    assert house.tell().lines == ("Notices: nothing was due.",)  # its lease still holds
    let_it_try_again(life)
    house.tell()
    house.tell()
    assert states(life) == [("sent", 2, "taken")]
    assert len(hook.posted) == 2


def test_a_fault_between_the_message_and_its_changes_leaves_neither(
    life: Life, house: House, hook: Webhook
) -> None:
    life.owners = {"aaaa-1": "ann@example.com"}
    life.night(DAY, ("aaaa-1", "opened", "high"))
    life.connection.execute(
        "create function pg_temp.fails() returns trigger language plpgsql as"
        " $$ begin raise exception 'disk full'; end $$"
    )
    life.connection.execute(
        "create trigger fails before insert on ops.notice_events execute function pg_temp.fails()"
    )
    try:
        with pytest.raises(psycopg.errors.RaiseException, match="disk full"):
            house.tell()
    finally:
        life.connection.execute("drop trigger fails on ops.notice_events")
    for table in ("notices", "notice_events", "outbox"):
        count = sql.SQL("select count(*) from {}").format(sql.Identifier("ops", table))
        assert life.connection.execute(count).fetchone() == (0,)
    assert hook.posted == []
    house.tell()
    assert len(hook.posted) == 1


def test_several_processes_at_once_tell_everybody_once(life: Life, house: House, hook: Webhook) -> None:
    life.owners = {f"aaaa-{n}": f"owner{n}@example.com" for n in range(6)}
    mailbox = Mailbox()
    with running(mailbox) as address:
        house.variables["PRISM_SMTP_URL"] = f"smtp://{address}"
        life.night(DAY, *((f"aaaa-{n}", "opened", "high") for n in range(6)))
        settings = house.settings
        start = threading.Barrier(4)
        faults: list[BaseException] = []

        def tell() -> None:
            start.wait()
            try:
                notify(house.warehouse, settings, now=NOW, patience=QUICK, sleep=lambda _: None)
            except BaseException as error:
                faults.append(error)

        threads = [threading.Thread(target=tell) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert faults == []
    assert sorted(mailbox.recipients()) == sorted(life.owners.values())
    assert len(hook.posted) == 1


def test_the_nightly_step_tells_and_dagster_s_ui_shows_who_waits(
    life: Life, house: House, hook: Webhook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = tmp_path / "manifest.json"
    exposure = {"depends_on": {"nodes": ["model.prism.performance_alerts"]}}
    manifest.write_text(
        json.dumps(
            {"metadata": {"project_name": "prism"}, "exposures": {"exposure.prism.nightly_report": exposure}}
        )
    )
    partitions = as_of_dates(house.settings)
    project: Any = SimpleNamespace(manifest_path=manifest)
    step = next(one for one in report_assets(project, partitions) if one.key == NOTICES)
    monkeypatch.setenv("PRISM_WAREHOUSE_URL", house.warehouse.url)
    monkeypatch.setenv("TEAM_URL", hook.url)
    monkeypatch.delenv("PRISM_SMTP_URL", raising=False)
    monkeypatch.chdir(house.folder)

    def night(day: date, **options: Any) -> str:
        done = dg.materialize(
            [step],
            partition_key=day.isoformat(),
            resources={"prism": Prism()},
            raise_on_error=False,
            **options,
        )
        [made] = done.asset_materializations_for_node(NOTICES.to_python_identifier())
        return str(made.metadata["summary"].value)

    life.names = {"aaaa-1": "one | two", "aaaa-2": "three"}
    life.night(DAY, ("aaaa-1", "opened", "high"), ("aaaa-2", "opened", "low"))
    old = "is an old date made anew"
    assert night(DAY, tags={BACKFILL_ID_TAG: "b"}) == f"Notices: none, 2026-11-21 {old}"
    assert night(DAY - timedelta(days=1)) == f"Notices: none, 2026-11-20 {old}"
    assert hook.posted == []
    assert night(DAY) == "Notice to team: sent (taken)"
    assert len(hook.posted) == 1

    [check] = alert_checks()
    found: Any = check(prism=Prism())
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    counts = {name: found.metadata[name].value for name in ("unresolved", "open_high", "open_low")}
    assert counts == {"unresolved": 2, "open_high": 1, "open_low": 1}
    assert "| aaaa-1 | high | open | poor_success_rate | one \\| two |" in found.metadata["alerts"].value
    life.alerts["aaaa-1"]["over"] = DAY
    life.night(DAY)
    again: Any = check(prism=Prism())
    assert again.passed


def test_a_step_whose_notices_did_not_all_leave_fails_and_the_sensor_sends_them_later(
    life: Life, house: House, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook.answers = [503, 503]
    life.night(DAY, ("aaaa-1", "opened", "high"))
    assert house.tell().unsent == 1
    let_it_try_again(life)
    [sensor] = notice_sensors(house.settings)
    monkeypatch.setenv("PRISM_WAREHOUSE_URL", house.warehouse.url)
    monkeypatch.setenv("TEAM_URL", hook.url)
    monkeypatch.delenv("PRISM_SMTP_URL", raising=False)
    monkeypatch.chdir(house.folder)
    tick: Any = sensor(dg.build_sensor_context(resources={"prism": Prism()}))
    assert tick.skip_message == "Notice to team: sent (taken)"
    life.night(DAY, state="red")
    tick = sensor(dg.build_sensor_context(resources={"prism": Prism()}))
    assert "nobody is told of alerts without a good build" in tick.skip_message
    assert notice_sensors(house.settings.model_copy(update={"config": Config()})) == []
