"""Kept mails on their way: who gets which, when, once, and what the owner hears."""

from __future__ import annotations

import base64
import json
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import dkim
import psycopg
import pytest
import yaml

from orchestration import kept_mails, mailing, reporting
from orchestration.errors import PrismError
from orchestration.kept_mails import Kept
from orchestration.settings import Settings, load_settings
from orchestration.warehouse import Warehouse
from reports import mail, outbox
from reports.domains import folder_of
from reports.errors import ReportError
from reports.mail import Content
from reports.render import MANIFEST
from tests.mailbox import DAY, Mailbox, running

pytestmark = pytest.mark.integration

LISTS = {"leads": ["lea@example.com", "lou@example.com"]}
HOUSE = {"owner": "owner@example.com", "sender": "prism@example.com", "ui_url": "https://dagster.example.com"}


@pytest.fixture
def warehouse(module_warehouse: Warehouse) -> Warehouse:
    with module_warehouse.connect() as connection:
        connection.execute(
            "truncate ops.deliveries, ops.outbox, ops.mail_suppressions restart identity cascade"
        )
    return module_warehouse


@pytest.fixture
def session(warehouse: Warehouse) -> Iterator[psycopg.Connection[Any]]:
    with warehouse.connect(autocommit=True) as connection:
        yield connection


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def smtp(mailbox: Mailbox) -> Iterator[str]:
    with running(mailbox) as address:
        yield f"smtp://{address}"


class House:
    """Settings in a folder of a test's own, and mails that are kept there as a night would have."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        self.variables = variables

    def settings(self, *subscriptions: dict[str, Any], **reports: Any) -> Settings:
        listed = [{"name": "one", "recipients": ["ann@example.com"], **one} for one in subscriptions]
        whole = {**HOUSE, **({"lists": LISTS, "subscriptions": listed} if listed else {}), **reports}
        (self.folder / "prism.yaml").write_text(yaml.safe_dump({"reports": whole}), encoding="utf-8")
        return load_settings(self.variables, self.folder)

    def keep(
        self, settings: Settings, *kept: dict[str, Any], day: date = DAY, hours: float | None = 2.0
    ) -> None:
        """Mails of a date as :func:`kept_mails.keep` keeps them, one for each of ``kept``."""
        path = kept_mails.path_of(settings, day)
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w") as archive:
            mails = []
            for number, values in enumerate(kept):
                one = Kept(
                    **{
                        "subscription": "one",
                        "part": None,
                        "file": f"{number}.eml",
                        "stale_file": f"{number}-stale.eml",
                        "empty": False,
                        "open_alerts": 1,
                        "fingerprint": "said",
                        **values,
                    }
                )
                for file, subject in (
                    (one.file, f"News of {one.part or day}"),
                    (one.stale_file, "Stale news"),
                ):
                    assert file is not None
                    content = Content(one.subscription, day, subject, "Good morning.", "<p>Good morning.</p>")
                    archive.writestr(file, kept_mails.unaddressed(content, settings))
                mails.append(asdict(one))
            index = {"as_of_date": day.isoformat(), "hours_without_use": hours, "mails": mails}
            archive.writestr("index.json", json.dumps(index))


@pytest.fixture
def house(tmp_path: Path, smtp: str) -> House:
    return House(tmp_path, PRISM_SMTP_URL=smtp)


def read(content: bytes) -> EmailMessage:
    return message_from_bytes(content, _class=EmailMessage, policy=policy.default)


def subjects(mailbox: Mailbox) -> list[tuple[str, str]]:
    return [(recipient, str(read(content)["Subject"])) for recipient, content in mailbox.taken]


def reports_of(session: psycopg.Connection[Any]) -> list[tuple[str, str, str]]:
    return [(entry.report, entry.recipient, entry.state) for entry in outbox.entries(session)]


def test_people_lists_and_columns_get_their_mails_once(
    house: House, warehouse: Warehouse, session: psycopg.Connection[Any], mailbox: Mailbox
) -> None:
    settings = house.settings(
        {"recipients": ["leads", "ann@example.com", "lou@example.com"]},
        {"name": "owners", "recipients": {"column": "owner"}},
        {"name": "domains", "recipients": {"column": "domain"}},
        allowed_domains=["example.com"],
    )
    house.keep(
        settings,
        {},
        {"subscription": "owners", "part": "ann@example.com"},
        {"subscription": "owners", "part": "eve@example.org"},
        {"subscription": "owners", "part": "nobody knows"},
        {"subscription": "domains", "part": "leads"},  # a domain by the name of a list
        {"subscription": "gone", "part": None},  # taken out of prism.yaml since
    )
    sending = mailing.send(warehouse, settings, DAY)
    assert sending.unsent == 0
    assert reports_of(session) == [
        ("one", "lea@example.com", "sent"),
        ("one", "lou@example.com", "sent"),
        ("one", "ann@example.com", "sent"),
        ("owners", "ann@example.com", "sent"),
        ("domains/leads", "lea@example.com", "sent"),
        ("domains/leads", "lou@example.com", "sent"),
    ]
    assert [line for line in sending.lines if "left out" in line] == [
        "Mail: left out: owners: eve@example.org is in none of reports.allowed_domains",
        "Mail: left out: owners: 'nobody knows' is not an address that mail can be sent to",
    ]
    again = mailing.send(warehouse, settings, DAY)
    assert len(mailbox.taken) == 6 and "Mail: nothing was due." in again.lines
    ids = {str(read(content)["Message-ID"]) for _, content in mailbox.taken}
    assert len(ids) == 6


def test_the_header_for_those_who_want_no_more_names_whom_to_write_to(
    house: House, warehouse: Warehouse, mailbox: Mailbox
) -> None:
    settings = house.settings({}, unsubscribe="stop@example.com")
    house.keep(settings, {})
    mailing.send(warehouse, settings, DAY)
    [(_, content)] = mailbox.taken
    message = read(content)
    assert message["List-Unsubscribe"] == (
        "<mailto:stop@example.com?subject=unsubscribe%20ann%40example.com%20from%20one>"
    )
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Reply-To"] == "owner@example.com"
    assert mailing.subscribe(warehouse, "ANN@example.com", wanted=False).endswith("is not sent.")
    house.keep(settings, {}, day=DAY + timedelta(days=1))
    assert mailing.send(warehouse, settings, DAY + timedelta(days=1)).unsent == 0
    assert len(mailbox.taken) == 1
    dry = mailing.preview(warehouse, settings, DAY + timedelta(days=1))
    assert "would not     ann@example.com: wants no mails" in "\n".join(dry.lines)
    assert "from now on" in mailing.subscribe(warehouse, "ann@example.com", wanted=True)
    mailing.send(warehouse, settings, DAY + timedelta(days=1))
    assert len(mailbox.taken) == 2


@pytest.mark.parametrize(
    ("condition", "kept", "sends"),
    [
        ("always", {"empty": True, "open_alerts": 0}, True),
        ("results", {"empty": True}, False),
        ("results", {"empty": False}, True),
        ("alerts", {"open_alerts": 0}, False),
        ("alerts", {"open_alerts": 1}, True),
        ("change", {"fingerprint": "said"}, False),
        ("change", {"fingerprint": "new"}, True),
    ],
)
def test_a_condition_keeps_a_mail_back_and_the_dry_run_says_why(
    house: House, warehouse: Warehouse, mailbox: Mailbox, condition: str, kept: dict[str, Any], sends: bool
) -> None:
    settings = house.settings({"condition": condition})
    house.keep(settings, {}, day=DAY - timedelta(days=1))
    mailing.send(warehouse, settings, DAY - timedelta(days=1))
    assert len(mailbox.taken) == 1  # the first has all: use, alerts, and nothing to be compared with
    house.keep(settings, kept)
    told = "\n".join(mailing.preview(warehouse, settings, DAY).lines)
    assert ("would get it" in told) == sends
    if not sends:
        assert "it goes out" in told
    mailing.send(warehouse, settings, DAY)
    assert len(mailbox.taken) == 1 + sends


def test_a_mail_with_an_hour_waits_for_it(
    house: House, warehouse: Warehouse, session: psycopg.Connection[Any], mailbox: Mailbox
) -> None:
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    settings = house.settings({"at": "07:30", "timezone": "Europe/Berlin"})
    house.keep(settings, {}, day=tomorrow)
    sending = mailing.send(warehouse, settings, tomorrow)
    assert sending.unsent == 0 and mailbox.taken == []
    [entry] = outbox.entries(session)
    assert entry.next_attempt_at is not None
    assert entry.next_attempt_at.date() == tomorrow + timedelta(days=1)
    session.execute("update ops.outbox set next_attempt_at = now()")
    assert mailing.deliver_due(warehouse, settings) is not None
    assert len(mailbox.taken) == 1
    # late is at once: the night ran after the hour
    past = house.settings({"name": "past", "at": "07:30"})
    house.keep(past, {"subscription": "past"})
    mailing.send(warehouse, past, DAY)
    assert len(mailbox.taken) == 2


def test_only_one_subscription_is_sent_where_it_is_named(
    house: House, warehouse: Warehouse, mailbox: Mailbox
) -> None:
    settings = house.settings({}, {"name": "two", "recipients": ["bob@example.com"]})
    house.keep(settings, {}, {"subscription": "two"})
    mailing.send(warehouse, settings, DAY, only="two")
    assert mailbox.recipients() == ["bob@example.com"]
    with pytest.raises(PrismError, match="there is no subscription 'three'"):
        mailing.check_subscription(settings, "three")


def test_a_mail_whose_pages_are_not_there_is_withheld_alone_and_goes_out_once_they_are(
    house: House, warehouse: Warehouse, mailbox: Mailbox
) -> None:
    settings = house.settings(
        {},
        {"name": "own", "recipients": ["bob@example.com"], "filters": {"domain": ["legal"]}, "pages": "own"},
    )
    house.keep(settings, {}, {"subscription": "own"})
    assert "  would not     bob@example.com: the report of its domains alone could not be made" in "\n".join(
        mailing.preview(warehouse, settings, DAY).lines
    )
    sending = mailing.send(warehouse, settings, DAY)
    assert (mailbox.recipients(), sending.unsent) == (["ann@example.com"], 1)
    assert any(line.startswith("Mail: own withheld, since the report of") for line in sending.counts)
    manifest = settings.reports_dir / folder_of(["legal"]) / DAY.isoformat() / MANIFEST
    manifest.parent.mkdir(parents=True)
    manifest.touch()
    assert mailing.send(warehouse, settings, DAY).unsent == 0
    assert mailbox.recipients() == ["ann@example.com", "bob@example.com"]


def test_a_preview_says_who_what_and_why_and_whose_turn_it_is_not(
    house: House, warehouse: Warehouse, session: psycopg.Connection[Any]
) -> None:
    settings = house.settings({"at": "23:59"}, {"name": "month", "report": "monthly"})
    house.keep(settings, {})
    lines = mailing.preview(warehouse, settings, DAY).lines
    assert lines == (
        "one (daily at 23:59): News of 2026-11-21",
        "  would get it  ann@example.com: has no one of 2026-11-21 yet; it waits until 2026-11-22 23:59 UTC",
        "month: not this time; its turn is monthly on 1",
    )
    assert outbox.entries(session) == []


def test_a_test_goes_to_one_address_and_counts_as_nothing(
    house: House, warehouse: Warehouse, session: psycopg.Connection[Any], mailbox: Mailbox, tmp_path: Path
) -> None:
    settings = house.settings({}, {"name": "two"}, allowed_domains=["example.com"])
    house.keep(settings, {}, {"subscription": "two", "part": "legal"})

    def make(one: Any) -> Content:
        return Content(one.name, DAY, f"Made of the marts: {one.name}", "Good morning.")

    content = mailing.content_for_test(settings, DAY, "two", make)
    assert mailing.send_test(settings, content, "me@example.com").lines == (
        "Test mail to me@example.com: 250 taken",
    )
    assert subjects(mailbox) == [("me@example.com", "News of legal")]
    assert outbox.entries(session) == []
    with pytest.raises(PrismError, match="in none of the domains"):
        mailing.send_test(settings, content, "me@example.org")
    other = date(2026, 11, 20)
    assert mailing.content_for_test(settings, other, "two", make).subject == "Made of the marts: two"
    without = house.settings({}).model_copy(update={"smtp_url": None})
    [line] = mailing.send_test(without, content, "me@example.com").lines
    assert (tmp_path / ".prism" / "outbox" / "test-two-2026-11-21.eml").is_file() and "test-two" in line


def test_a_refused_mail_is_told_to_the_owner_once_and_can_be_tried_again(
    house: House, warehouse: Warehouse, session: psycopg.Connection[Any], mailbox: Mailbox
) -> None:
    settings = house.settings({"recipients": ["gone@example.com", "ann@example.com"]})
    house.keep(settings, {})
    mailbox.answers["gone@example.com"] = ["550 5.1.1 no such user"] * 2
    sending = mailing.send(warehouse, settings, DAY)
    assert sending.unsent == 1
    assert "Mail to gone@example.com: failed (550 5.1.1 no such user)" in sending.lines
    assert sending.counts == ("Mail: 1 failed, 1 sent",)  # what Dagster keeps has no address
    [(_, notice)] = [one for one in mailbox.taken if one[0] == "owner@example.com"]
    text = read(notice).get_content()
    assert "one of 2026-11-21 to gone@example.com: 550 5.1.1 no such user" in text
    mailing.send(warehouse, settings, DAY)
    assert mailbox.recipients().count("owner@example.com") == 1
    assert mailing.retry(warehouse, settings).unsent == 1
    assert mailbox.recipients().count("owner@example.com") == 2  # a failure anew, a notice of its own
    assert mailing.retry(warehouse, settings).unsent == 0
    assert mailbox.recipients().count("gone@example.com") == 1
    states = {(report, recipient): state for report, recipient, state in reports_of(session)}
    assert states["one", "gone@example.com"] == "sent"


def test_what_was_sent_is_sent_once_more_where_it_is_asked_for(
    house: House, warehouse: Warehouse, session: psycopg.Connection[Any], mailbox: Mailbox
) -> None:
    settings = house.settings({})
    house.keep(settings, {})
    mailing.send(warehouse, settings, DAY)
    assert mailing.resend(warehouse, settings, DAY, "ann@example.com").unsent == 0
    mailing.resend(warehouse, settings, DAY, "ann@example.com", only="one")
    messages = [read(content) for _, content in mailbox.taken]
    assert len({message["Message-ID"] for message in messages}) == 3
    assert len({message["Subject"] for message in messages}) == 1
    assert [entry.copy for entry in outbox.entries(session)] == [0, 1, 2]
    with pytest.raises(PrismError, match=r"bob@example.com was sent no mail of 2026-11-21"):
        mailing.resend(warehouse, settings, DAY, "bob@example.com")
    mailing.subscribe(warehouse, "ann@example.com", wanted=False)
    with pytest.raises(PrismError, match="wants no mails"):
        mailing.resend(warehouse, settings, DAY, "ann@example.com")


def test_without_a_mail_server_mails_are_kept(
    house: House, warehouse: Warehouse, session: psycopg.Connection[Any]
) -> None:
    house.variables.clear()
    settings = house.settings({})
    house.keep(settings, {})
    sending = mailing.send(warehouse, settings, DAY)
    line = "Mail: 1 in the outbox, kept there: PRISM_SMTP_URL is not set."
    assert sending == mailing.Sending((line,), 0, (line,))
    assert reports_of(session) == [("one", "ann@example.com", "queued")]
    assert mailing.deliver_due(warehouse, settings) is None


def test_mails_of_old_data_go_to_nobody_and_the_owner_hears_why(
    house: House, warehouse: Warehouse, mailbox: Mailbox
) -> None:
    settings = house.settings({}, max_data_age_hours=48)
    house.keep(settings, {}, hours=49.0)
    sending = mailing.send(warehouse, settings, DAY)
    assert sending.unsent == 1
    assert subjects(mailbox) == [("owner@example.com", "Prism 2026-11-21: no fresh report, 1 failure")]
    text = read(mailbox.taken[0][1]).get_content()
    assert "49 hours older than the end of 2026-11-21; reports.max_data_age_hours allows 48" in text
    assert "nobody would get anything" in mailing.preview(warehouse, settings, DAY).lines[0]
    house.keep(settings, {}, hours=48.0)
    assert mailing.send(warehouse, settings, DAY).unsent == 0
    assert mailbox.recipients()[1:] == ["ann@example.com"]


@pytest.mark.parametrize("on_failure", ["nothing", "last good"])
def test_after_a_red_night_the_owner_hears_and_the_audience_gets_what_is_configured(
    house: House, warehouse: Warehouse, mailbox: Mailbox, on_failure: str
) -> None:
    settings = house.settings({}, {"name": "month", "report": "monthly"}, on_failure=on_failure)
    house.keep(settings, {}, {"subscription": "month"}, day=DAY - timedelta(days=2))
    house.keep(settings, {}, day=DAY - timedelta(days=1))
    for _ in range(2):
        reporting.tell_owner(warehouse, settings, DAY, ["a_test: 3 rows"], "4f1c")
    stale = [("ann@example.com", "Stale news")] if on_failure == "last good" else []
    notice = ("owner@example.com", "Prism 2026-11-21: no fresh report, 1 failure")
    assert subjects(mailbox) == [*stale, notice]
    text = read(mailbox.taken[-1][1]).get_content()
    assert "https://dagster.example.com/runs/4f1c" in text
    got = "got the last good report, marked as stale" if stale else "got nothing"
    assert got in text
    # mended: the fresh one still goes out
    house.keep(settings, {})
    mailing.send(warehouse, settings, DAY)
    assert subjects(mailbox)[-1] == ("ann@example.com", "News of 2026-11-21")
    # red again after that: what is there stays
    reporting.tell_owner(warehouse, settings, DAY, ["a_test: 3 rows"], "4f1d")
    assert len(mailbox.taken) == 2 + len(stale)


def test_a_source_that_failed_beside_a_report_is_told_once(
    house: House, warehouse: Warehouse, mailbox: Mailbox
) -> None:
    settings = house.settings({})
    for _ in range(2):
        reporting.tell_of_sources(warehouse, settings, DAY, ["broken: there is no such file"], "4f1c")
    assert subjects(mailbox) == [("owner@example.com", "Prism 2026-11-21: report made, but 1 source failed")]
    text = read(mailbox.taken[0][1]).get_content()
    assert "- broken: there is no such file" in text and "/runs/4f1c" in text


def test_the_heartbeat_tells_the_owner_once_a_day_that_a_report_is_overdue(
    house: House, warehouse: Warehouse, mailbox: Mailbox, tmp_path: Path
) -> None:
    house.variables["PRISM_WAREHOUSE_URL"] = warehouse.url
    settings = house.settings(heartbeat="08:00")
    early = datetime(2026, 11, 22, 7, 59, tzinfo=UTC)
    late = early + timedelta(minutes=1)
    assert reporting.heartbeat(settings, early) is None
    for _ in range(2):
        notice = reporting.heartbeat(settings, late)
        assert notice is not None and "There never was one." in notice.lead
    assert subjects(mailbox) == [("owner@example.com", "Prism 2026-11-21: no report by 08:00 UTC")]
    report = tmp_path / ".prism" / "reports" / "2026-11-21"
    report.mkdir(parents=True)
    (report / "report.json").write_text("{}")
    assert reporting.heartbeat(settings, late) is None
    tomorrow = reporting.heartbeat(settings, late + timedelta(days=1))
    assert tomorrow is not None and "The newest is that for 21 Nov 2026." in tomorrow.lead
    assert len(mailbox.taken) == 2
    assert reporting.heartbeat(house.settings(), late + timedelta(days=1)) is None  # not asked for


def test_the_heartbeat_is_heard_without_a_warehouse_too_once(house: House, mailbox: Mailbox) -> None:
    house.variables["PRISM_WAREHOUSE_URL"] = "postgresql://nobody@127.0.0.1:1/none"
    settings = house.settings(heartbeat="08:00")
    for day in (22, 22, 23):
        assert reporting.heartbeat(settings, datetime(2026, 11, day, 9, tzinfo=UTC)) is not None
    assert [subject for _, subject in subjects(mailbox)] == [
        "Prism 2026-11-21: no report by 08:00 UTC",
        "Prism 2026-11-22: no report by 08:00 UTC",
    ]
    assert "no connection to the" in read(mailbox.taken[0][1]).get_content()


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dkim") / "dkim.pem"
    try:
        subprocess.run(["openssl", "genrsa", "-out", str(path), "2048"], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("left out: the program `openssl`, which makes the test's key, is not installed")
    return path


def test_a_signed_mail_verifies_as_it_arrives_and_is_kept_as_it_was_signed(
    house: House, warehouse: Warehouse, session: psycopg.Connection[Any], mailbox: Mailbox, key: Path
) -> None:
    public = subprocess.run(
        ["openssl", "rsa", "-in", str(key), "-pubout", "-outform", "DER"], check=True, capture_output=True
    ).stdout
    record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)
    house.variables["PRISM_DKIM_KEY"] = str(key)
    settings = house.settings({}, dkim={"selector": "prism"})
    house.keep(settings, {})
    mailing.send(warehouse, settings, DAY)
    [(_, content)] = mailbox.taken
    asked: list[bytes] = []

    def dns(name: bytes, timeout: int = 5) -> bytes:
        asked.append(name)
        return record

    assert dkim.verify(content, dnsfunc=dns)
    assert asked == [b"prism._domainkey.example.com."]
    [entry] = outbox.entries(session)
    assert outbox.content_of(session, entry.outbox_id) == content
    assert not dkim.verify(content.replace(b"Good morning.", b"Good evening."), dnsfunc=dns)
    assert not dkim.verify(b"Subject: another\r\n" + content, dnsfunc=dns)


def test_a_key_that_is_none_is_told_before_anything_is_queued(
    house: House, warehouse: Warehouse, session: psycopg.Connection[Any], tmp_path: Path
) -> None:
    for name, message in (("none.pem", "can't be read"), ("prism.yaml", "mails can't be signed")):
        house.variables["PRISM_DKIM_KEY"] = str(tmp_path / name)
        settings = house.settings({}, dkim={"selector": "prism"})
        house.keep(settings, {})
        with pytest.raises((PrismError, ReportError), match=message):
            mailing.send(warehouse, settings, DAY)
    del house.variables["PRISM_DKIM_KEY"]
    with pytest.raises(PrismError, match="the variable that names the key's file is not"):
        mailing.send(warehouse, house.settings({}, dkim={"selector": "prism"}), DAY)
    assert outbox.entries(session) == []


def test_many_mails_are_counted_and_only_what_went_wrong_is_named() -> None:
    attempts = [outbox.Attempt(f"{n}@example.com", "News", "sent", "250 taken") for n in range(30)]
    attempts.append(outbox.Attempt("gone@example.com", "News", "failed", "550 no"))
    delivery = outbox.Delivery(tuple(attempts), (), None)
    assert mailing.in_words(delivery) == [
        "Mail to gone@example.com: failed (550 no)",
        "Mail: 30 sent, 1 failed",
    ]
    assert mailing.counted(delivery) == ["Mail: 30 sent, 1 failed"]
    assert mailing.in_words(replace(delivery, attempts=(), fault="mail server h:25: refused")) == [
        "Mail: mail server h:25: refused"
    ]


def test_dates_without_mails_are_named(house: House, warehouse: Warehouse) -> None:
    settings = house.settings({})
    with pytest.raises(PrismError, match="no rendered mails of 2026-11-21") as caught:
        mailing.send(warehouse, settings, DAY)
    assert "prism run" in str(caught.value)
    house.keep(settings, {}, day=DAY - timedelta(days=1))
    with pytest.raises(PrismError, match="There are those of: 2026-11-20"):
        mailing.send(warehouse, settings, DAY)
    assert mail.addresses(["ann@example.com"]) == ["ann@example.com"]
