"""The outbox against a real SMTP server that takes, refuses, stalls and hangs up."""

from __future__ import annotations

import random
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import psycopg
import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from orchestration.warehouse import Warehouse
from reports import outbox, smtp
from reports.errors import ReportError
from reports.outbox import Patience
from tests.mailbox import DAY, Mailbox, hang_up, mail, running, scripted

pytestmark = pytest.mark.integration

QUICK = Patience(timeout=5, deadline=20, lease=60, pauses=(0.0, 0.0), backoff=(3600,))


def waits(_: float) -> None:
    """Stands in for time.sleep: the pauses between rounds need not pass."""


def queued(connection: psycopg.Connection[Any], *recipients: str) -> list[outbox.Entry]:
    return outbox.queue(
        connection, report="digest", as_of_date=DAY, messages=[mail(recipient) for recipient in recipients]
    )


def states(connection: psycopg.Connection[Any]) -> dict[str, str]:
    return {entry.recipient: entry.state for entry in outbox.entries(connection)}


def log(connection: psycopg.Connection[Any]) -> list[tuple[str, str, str]]:
    return connection.execute(
        "select recipient, outcome, reply from ops.deliveries inner join ops.outbox using (outbox_id)"
        " order by delivery_id"
    ).fetchall()


@pytest.fixture
def warehouse(module_warehouse: Warehouse) -> Warehouse:
    """The module's warehouse with an empty outbox: a database for each test would cost seconds to write."""
    with module_warehouse.connect() as connection:
        connection.execute("truncate ops.deliveries, ops.outbox, ops.mail_suppressions restart identity")
    return module_warehouse


@pytest.fixture(params=["transactions by block", "autocommit"])
def connection(request: pytest.FixtureRequest, warehouse: Warehouse) -> Iterator[psycopg.Connection[Any]]:
    with warehouse.connect(autocommit=request.param == "autocommit") as connection:
        yield connection


@pytest.fixture
def session(warehouse: Warehouse) -> Iterator[psycopg.Connection[Any]]:
    with warehouse.connect(autocommit=True) as connection:
        yield connection


def test_each_recipient_gets_one_mail_in_a_transaction_of_its_own(
    connection: psycopg.Connection[Any], warehouse: Warehouse
) -> None:
    queued(connection, "ann@example.com", "bob@example.org")
    mailbox = Mailbox()
    with running(mailbox) as address:
        delivery = outbox.deliver(connection, f"smtp://{address}", patience=QUICK)
    assert mailbox.transactions == [["ann@example.com"], ["bob@example.org"]]
    assert [attempt.outcome for attempt in delivery.attempts] == ["sent", "sent"]
    assert delivery.unsent == () and delivery.fault is None
    with warehouse.connect() as another:  # committed, not merely seen by this session
        assert states(another) == {"ann@example.com": "sent", "bob@example.org": "sent"}
        assert log(another) == [
            ("ann@example.com", "sent", "250 taken"),
            ("bob@example.org", "sent", "250 taken"),
        ]


def test_what_arrives_is_byte_for_byte_what_was_kept(session: psycopg.Connection[Any]) -> None:
    text = ".\r\n..two\r\nFrom here\r\n" + "x" * 2000 + "\r\nZürich\r\n"
    [entry] = outbox.queue(session, report="digest", as_of_date=DAY, messages=[mail("ann@example.com", text)])
    mailbox = Mailbox()
    with running(mailbox) as address:
        outbox.deliver(session, f"smtp://{address}", patience=QUICK)
    [(_, arrived)] = mailbox.taken
    assert arrived == outbox.content_of(session, entry.outbox_id)
    parsed = message_from_bytes(arrived, policy=policy.default)
    assert isinstance(parsed, EmailMessage)
    assert parsed.get_content().splitlines() == text.splitlines()


def test_a_rerun_queues_and_sends_nothing_again(session: psycopg.Connection[Any]) -> None:
    [first] = queued(session, "ann@example.com")
    mailbox = Mailbox()
    with running(mailbox) as address:
        outbox.deliver(session, f"smtp://{address}", patience=QUICK)
        again = outbox.queue(
            session, report="digest", as_of_date=DAY, messages=[mail("ann@example.com", "Other words.")]
        )
        delivery = outbox.deliver(session, f"smtp://{address}", patience=QUICK)
    assert mailbox.recipients() == ["ann@example.com"]
    assert delivery.attempts == ()
    assert [(entry.outbox_id, entry.state, entry.body_sha256) for entry in again] == [
        (first.outbox_id, "sent", first.body_sha256)
    ]


def test_a_mail_refused_for_now_is_tried_again_within_the_call(session: psycopg.Connection[Any]) -> None:
    queued(session, "ann@example.com")
    mailbox = Mailbox()
    mailbox.answers["ann@example.com"] = ["451 try later"]
    pauses: list[float] = []
    patience = Patience(timeout=5, pauses=(2, 10), backoff=(3600,))
    with running(mailbox) as address:
        delivery = outbox.deliver(session, f"smtp://{address}", patience=patience, sleep=pauses.append)
    assert pauses == [2]
    assert [attempt.outcome for attempt in delivery.attempts] == ["retry", "sent"]
    assert log(session) == [
        ("ann@example.com", "retry", "451 try later"),
        ("ann@example.com", "sent", "250 taken"),
    ]


def test_a_mail_refused_for_now_again_and_again_is_left_to_a_later_run(
    session: psycopg.Connection[Any],
) -> None:
    queued(session, "ann@example.com")
    mailbox = Mailbox()
    mailbox.answers["ann@example.com"] = ["451 4.3.0 try later"] * 3
    with running(mailbox) as address:
        delivery = outbox.deliver(session, f"smtp://{address}", patience=QUICK, sleep=waits)
        assert [attempt.outcome for attempt in delivery.attempts] == ["retry"] * 3
        [entry] = delivery.unsent
        assert (entry.recipient, entry.state, entry.last_reply) == (
            "ann@example.com",
            "retry",
            "451 4.3.0 try later",
        )
        assert entry.next_attempt_at is not None
        assert (entry.next_attempt_at - entry.updated_at).total_seconds() == 3600

        assert outbox.deliver(session, f"smtp://{address}", patience=QUICK).attempts == ()  # not yet
        session.execute("update ops.outbox set next_attempt_at = now()")
        outbox.deliver(session, f"smtp://{address}", patience=QUICK)
    assert mailbox.recipients() == ["ann@example.com"]


def test_a_refused_recipient_fails_and_the_others_still_get_theirs(session: psycopg.Connection[Any]) -> None:
    queued(session, "ann@example.com", "gone@example.com", "full@example.com", "bob@example.com")
    mailbox = Mailbox()
    mailbox.answers = {
        "gone@example.com": ["550 5.1.1 no such user"],
        "full@example.com": ["452 4.2.2 mailbox full"] * 3,
    }
    with running(mailbox) as address:
        delivery = outbox.deliver(session, f"smtp://{address}", patience=QUICK, sleep=waits)
        later = outbox.deliver(session, f"smtp://{address}", patience=QUICK, sleep=waits)
    assert mailbox.recipients() == ["ann@example.com", "bob@example.com"]
    assert states(session) == {
        "ann@example.com": "sent",
        "gone@example.com": "failed",
        "full@example.com": "retry",
        "bob@example.com": "sent",
    }
    assert {entry.recipient for entry in delivery.unsent} == {"gone@example.com", "full@example.com"}
    assert later.attempts == ()  # a refusal for good is not tried again


@pytest.mark.parametrize(("reply", "state"), [("554 spam", "failed"), ("451 busy", "retry")])
def test_a_mail_refused_after_its_data_is_not_counted_as_sent(
    session: psycopg.Connection[Any], reply: str, state: str
) -> None:
    queued(session, "ann@example.com")
    mailbox = Mailbox()
    mailbox.after_data = [reply] * 3
    with running(mailbox) as address:
        outbox.deliver(session, f"smtp://{address}", patience=QUICK, sleep=waits)
    assert states(session) == {"ann@example.com": state}
    assert mailbox.taken == []


def test_an_answer_lost_after_the_data_is_uncertain_and_tried_again_as_the_same_mail(
    session: psycopg.Connection[Any],
) -> None:
    queued(session, "ann@example.com", "bob@example.com")
    mailbox = Mailbox()
    mailbox.after_data = [hang_up]
    with running(mailbox) as address:
        first = outbox.deliver(session, f"smtp://{address}", patience=QUICK, sleep=waits)
        assert [(a.recipient, a.outcome) for a in first.attempts] == [
            ("ann@example.com", "uncertain"),  # once: a second try at once would surely be a second mail
            ("bob@example.com", "sent"),
        ]
        session.execute("update ops.outbox set next_attempt_at = now() where state = 'uncertain'")
        second = outbox.deliver(session, f"smtp://{address}", patience=QUICK, sleep=waits)
    assert [attempt.outcome for attempt in second.attempts] == ["sent"]
    assert mailbox.recipients() == ["ann@example.com", "bob@example.com", "ann@example.com"]
    assert mailbox.taken[0][1] == mailbox.taken[2][1]  # the same bytes, so the same Message-ID
    assert [outcome for _, outcome, _ in log(session)] == ["uncertain", "sent", "sent"]


def test_a_server_that_hangs_up_before_the_data_is_tried_again(session: psycopg.Connection[Any]) -> None:
    queued(session, "ann@example.com")

    def script(connection: socket.socket) -> None:
        connection.sendall(b"220 hello\r\n")
        connection.recv(1000)
        connection.sendall(b"250 hello\r\n")
        connection.recv(1000)
        connection.shutdown(socket.SHUT_RDWR)

    with scripted(script) as address:
        delivery = outbox.deliver(session, f"smtp://{address}", patience=QUICK, sleep=waits)
    assert [attempt.outcome for attempt in delivery.attempts] == ["retry"] * 3
    assert delivery.attempts[0].reply.startswith("the connection broke: ")


@pytest.mark.parametrize(
    ("said", "state"),
    [
        (b"", "retry"),  # no greeting
        (b"220 hello\r\n", "retry"),  # no answer to EHLO
        (b"220 hello\r\n250 hello\r\n", "retry"),  # none to MAIL
        (b"220 hello\r\n250 hello\r\n250 ok\r\n250 ok\r\n354 go on\r\n", "uncertain"),  # none to the data
    ],
    ids=["greeting", "hello", "sender", "data"],
)
def test_a_server_that_stalls_ends_the_call_in_time(
    session: psycopg.Connection[Any], said: bytes, state: str
) -> None:
    queued(session, "ann@example.com")
    patience = Patience(timeout=0.2, deadline=20, pauses=())
    with scripted(lambda connection: connection.sendall(said)) as address:
        delivery = outbox.deliver(session, f"smtp://{address}", patience=patience, sleep=waits)
    [attempt] = delivery.attempts
    assert attempt.outcome == state
    assert attempt.reply.endswith("no answer within 0.2 s")


def test_a_server_that_answers_a_byte_at_a_time_is_cut_off_at_the_deadline(
    session: psycopg.Connection[Any],
) -> None:
    queued(session, "ann@example.com")
    over = threading.Event()

    def script(connection: socket.socket) -> None:
        while not over.wait(0.02):
            connection.sendall(b"220-still here\r\n")

    patience = Patience(timeout=5, deadline=0.3, pauses=())
    with scripted(script) as address:
        try:
            delivery = outbox.deliver(session, f"smtp://{address}", patience=patience, sleep=waits)
        finally:
            over.set()
    assert [attempt.outcome for attempt in delivery.attempts] == ["retry"]


def test_a_server_that_is_down_is_asked_once_a_round_not_once_a_mail(
    session: psycopg.Connection[Any],
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening: refuses
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        queued(session, *(f"{n}@example.com" for n in range(20)))
        delivery = outbox.deliver(session, f"smtp://{address}", patience=QUICK, sleep=waits)
    assert len(delivery.attempts) == 3
    assert delivery.fault is not None and delivery.fault.startswith(f"mail server {address}: ")
    assert len(delivery.unsent) == 20
    mailbox = Mailbox()
    with running(mailbox) as address:
        session.execute("update ops.outbox set next_attempt_at = null")
        outbox.deliver(session, f"smtp://{address}", patience=QUICK)
    assert sorted(mailbox.recipients()) == sorted(f"{n}@example.com" for n in range(20))


def test_a_server_that_runs_out_takes_the_rest_later_and_nobody_is_held_to_have_failed(
    session: psycopg.Connection[Any],
) -> None:
    recipients = [f"{n}@example.com" for n in range(6)]
    queued(session, *recipients)

    class Limited(Mailbox):
        left = 4

        async def handle_MAIL(  # noqa: N802
            self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
        ) -> str:
            if self.left == 0:
                return "421 4.7.0 too many messages, closing"
            self.left -= 1
            envelope.mail_from = address
            return "250 OK"

    mailbox = Limited()
    with running(mailbox) as address:
        delivery = outbox.deliver(session, f"smtp://{address}", patience=QUICK, sleep=waits)
        assert mailbox.recipients() == recipients[:4]
        assert {entry.state for entry in delivery.unsent} == {"retry"}
        assert {entry.last_reply for entry in delivery.unsent} == {"421 4.7.0 too many messages, closing"}
        mailbox.left = 10
        session.execute("update ops.outbox set next_attempt_at = null")
        outbox.deliver(session, f"smtp://{address}", patience=QUICK, sleep=waits)
    assert mailbox.recipients() == recipients


def test_a_refused_sender_is_not_held_against_the_recipients(session: psycopg.Connection[Any]) -> None:
    queued(session, "ann@example.com", "bob@example.com")

    class Strict(Mailbox):
        async def handle_MAIL(  # noqa: N802
            self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
        ) -> str:
            return "550 5.7.1 not from you"

    with running(Strict()) as address:
        delivery = outbox.deliver(session, f"smtp://{address}", patience=QUICK, sleep=waits)
    assert states(session) == {"ann@example.com": "retry", "bob@example.com": "queued"}
    assert len(delivery.attempts) == 1  # trying again without a change ends the same way
    assert delivery.fault is not None
    assert "does not take mail from prism@example.com: 550 5.7.1 not from you" in delivery.fault


def test_an_open_lease_is_respected_and_an_expired_one_counts_as_uncertain(
    session: psycopg.Connection[Any],
) -> None:
    queued(session, "ann@example.com")
    session.execute(
        "update ops.outbox set state = 'sending', attempts = 1, lease_until = now() + interval '1 hour'"
    )
    mailbox = Mailbox()
    with running(mailbox) as address:
        assert outbox.deliver(session, f"smtp://{address}", patience=QUICK).attempts == ()
        session.execute("update ops.outbox set lease_until = now() - interval '1 second'")
        outbox.deliver(session, f"smtp://{address}", patience=QUICK)
    assert log(session) == [
        ("ann@example.com", "uncertain", "the sender ended before it knew the answer"),
        ("ann@example.com", "sent", "250 taken"),
    ]


@pytest.mark.parametrize(
    ("step", "arrived"),
    [
        ("outbox._claim = die", 0),  # before the lease
        ("after('_claim')", 0),  # with the lease, before a connection
        ("outbox.Session.send = die", 0),
        ("smtplib.SMTP.rcpt = die", 0),  # in the middle of a transaction
        (
            "smtplib.SMTP.getreply = die_after_data(smtplib.SMTP.getreply)",
            1,
        ),  # the data is out, no answer read
        ("outbox._record = die", 1),  # between the answer and its record
        ("after('_record')", 1),
    ],
)
def test_a_sender_killed_at_a_step_loses_no_mail_and_sends_at_most_twice_and_says_so(
    warehouse: Warehouse, session: psycopg.Connection[Any], step: str, arrived: int
) -> None:
    queued(session, "ann@example.com", "bob@example.com")
    script = f"""
import os, signal, smtplib, sys, time
import psycopg
from reports import outbox

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def after(name):
    step = getattr(outbox, name)
    setattr(outbox, name, lambda *a: (step(*a), die()))

def die_after_data(getreply):
    def read(self):
        code, text = getreply(self)
        if text == b"taken":
            die()
        return code, text
    return read

{step}
with psycopg.connect(sys.argv[1]) as connection:
    outbox.deliver(connection, sys.argv[2], patience=outbox.Patience(lease=60))
"""
    mailbox = Mailbox()
    with running(mailbox) as address:
        killed = subprocess.run(
            [sys.executable, "-c", script, warehouse.url, f"smtp://{address}"],
            cwd=Path(__file__).parents[2],
            check=False,
        )
        assert killed.returncode == -signal.SIGKILL
        assert mailbox.recipients() == ["ann@example.com"] * arrived
        left = states(session)["ann@example.com"]
        outbox.deliver(session, f"smtp://{address}", patience=QUICK)
        if left == "sending":  # the lease still holds
            assert mailbox.recipients().count("ann@example.com") == arrived
            session.execute("update ops.outbox set lease_until = now() where state = 'sending'")
        outbox.deliver(session, f"smtp://{address}", patience=QUICK)
        outbox.deliver(session, f"smtp://{address}", patience=QUICK)
    assert states(session) == {"ann@example.com": "sent", "bob@example.com": "sent"}
    assert mailbox.recipients().count("bob@example.com") == 1
    twice = [outcome for who, outcome, _ in log(session) if who == "ann@example.com"]
    if left == "sending":
        assert twice == ["uncertain", "sent"]
        assert mailbox.recipients().count("ann@example.com") == 1 + arrived
    else:
        assert twice == ["sent"] and mailbox.recipients().count("ann@example.com") == 1


def test_two_senders_at_once_send_each_mail_once(
    warehouse: Warehouse, session: psycopg.Connection[Any]
) -> None:
    recipients = [f"{n}@example.com" for n in range(30)]
    queued(session, *recipients)
    mailbox = Mailbox()
    with running(mailbox) as address:

        def send() -> None:
            with warehouse.connect() as connection:
                outbox.deliver(connection, f"smtp://{address}", patience=QUICK, sleep=waits)

        senders = [threading.Thread(target=send) for _ in range(3)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
    assert sorted(mailbox.recipients()) == sorted(recipients)
    assert set(states(session).values()) == {"sent"}


def test_old_news_is_not_begun_and_no_longer_tried(session: psycopg.Connection[Any]) -> None:
    queued(session, "never@example.com", "tried@example.com")
    session.execute("update ops.outbox set created_at = now() - interval '5 days'")
    session.execute("update ops.outbox set state = 'retry' where recipient = 'tried@example.com'")
    mailbox = Mailbox()
    with running(mailbox) as address:
        outbox.deliver(session, f"smtp://{address}", patience=QUICK)
    assert mailbox.taken == []
    assert states(session) == {"never@example.com": "queued", "tried@example.com": "failed"}
    assert log(session) == [("tried@example.com", "failed", "given up")]


def test_a_kept_mail_that_was_tampered_with_is_not_sent(session: psycopg.Connection[Any]) -> None:
    queued(session, "ann@example.com")
    session.execute("update ops.outbox set body = body || 'and more'::bytea")
    mailbox = Mailbox()
    with running(mailbox) as address:
        outbox.deliver(session, f"smtp://{address}", patience=QUICK)
    assert mailbox.taken == []
    [entry] = outbox.entries(session)
    assert entry.state == "failed" and entry.last_reply is not None and "hash differs" in entry.last_reply


def test_a_caller_inside_a_transaction_is_refused(warehouse: Warehouse) -> None:
    with warehouse.connect() as connection:
        connection.execute("select 1")
        with pytest.raises(ValueError, match="not inside a transaction"):
            outbox.deliver(connection, "smtp://127.0.0.1:1")


def test_queueing_keeps_all_mails_or_none(session: psycopg.Connection[Any]) -> None:
    broken = mail("bob@example.com")
    broken.replace_header("Message-ID", mail("ann@example.com")["Message-ID"])
    with pytest.raises(psycopg.errors.UniqueViolation):
        outbox.queue(session, report="digest", as_of_date=DAY, messages=[mail("ann@example.com"), broken])
    assert outbox.entries(session) == []


def test_the_dry_run_says_who_would_get_what_and_why_and_changes_nothing(
    session: psycopg.Connection[Any],
) -> None:
    recipients = [f"{state}@example.com" for state in ("sent", "failed", "retry", "uncertain", "sending")]
    queued(
        session, *recipients, "queued@example.com", "late@example.com", "old@example.com", "lost@example.com"
    )
    session.execute(
        "update ops.outbox set state = split_part(recipient, '@', 1), last_reply = '451 busy'"
        " where recipient = any(%s)",
        [recipients],
    )
    session.execute("update ops.outbox set lease_until = now() + interval '1 hour' where state = 'sending'")
    session.execute(
        "update ops.outbox set state = 'retry', next_attempt_at = now() + interval '1 hour'"
        " where recipient = 'late@example.com'"
    )
    session.execute(
        "update ops.outbox set created_at = now() - interval '9 days' where recipient = 'old@example.com'"
    )
    session.execute(
        "update ops.outbox set state = 'sending', lease_until = now() where recipient = 'lost@example.com'"
    )
    before = outbox.entries(session)
    everyone = [entry.recipient for entry in before] + ["new@example.com"]
    plans = outbox.plan(session, report="digest", as_of_date=DAY, recipients=everyone)
    assert outbox.entries(session) == before
    assert {plan.recipient.split("@")[0]: plan.sends for plan in plans} == {
        "sent": False,
        "failed": False,
        "retry": True,
        "uncertain": True,
        "sending": False,
        "queued": True,
        "late": False,
        "old": False,
        "lost": True,
        "new": True,
    }
    why = {plan.recipient.split("@")[0]: plan.why for plan in plans}
    assert why["sent"].startswith("got it at 2")
    assert "451 busy" in why["retry"]
    assert "next try from 2" in why["late"]
    assert why["old"].endswith("too long ago for news")
    assert why["new"] == "has no digest of 2026-11-21 yet"
    # What it says is what happens.
    mailbox = Mailbox()
    with running(mailbox) as address:
        queued(session, *everyone)
        outbox.deliver(session, f"smtp://{address}", patience=QUICK)
    assert sorted(mailbox.recipients()) == sorted(plan.recipient for plan in plans if plan.sends)


def test_a_mail_waits_for_its_hour_and_the_dry_run_says_so(session: psycopg.Connection[Any]) -> None:
    later = datetime.now(UTC) + timedelta(hours=5)
    outbox.queue(
        session, report="digest", as_of_date=DAY, messages=[mail("ann@example.com")], not_before=later
    )
    mailbox = Mailbox()
    with running(mailbox) as address:
        assert outbox.deliver(session, f"smtp://{address}", patience=QUICK).attempts == ()
        [plan] = outbox.plan(session, report="digest", as_of_date=DAY, recipients=["ann@example.com"])
        assert not plan.sends and f"it goes out from {later:%Y-%m-%d %H:%M} UTC" in plan.why
        session.execute("update ops.outbox set next_attempt_at = now()")
        outbox.deliver(session, f"smtp://{address}", patience=QUICK)
    assert mailbox.recipients() == ["ann@example.com"]


def test_who_unsubscribed_gets_neither_what_waits_nor_what_comes_but_the_owner_hears_of_faults(
    session: psycopg.Connection[Any],
) -> None:
    queued(session, "Ann@example.com", "bob@example.com")
    assert outbox.suppress(session, "ann@EXAMPLE.com")
    assert not outbox.suppress(session, "ann@example.com")  # it was so already
    assert outbox.queue(session, report="weekly", as_of_date=DAY, messages=[mail("ann@example.com")]) == []
    fault = mail("ann@example.com", "No report.")
    fault.replace_header("Message-ID", "<fault@example.com>")
    outbox.queue(session, report="failure notice", as_of_date=DAY, messages=[fault])
    plans = outbox.plan(session, report="weekly", as_of_date=DAY, recipients=["ann@example.com"])
    assert [(plan.sends, plan.why) for plan in plans] == [
        (False, "wants no mails: prism send --resubscribe takes it back")
    ]
    mailbox = Mailbox()
    with running(mailbox) as address:
        outbox.deliver(session, f"smtp://{address}", patience=QUICK)
        assert mailbox.recipients() == ["bob@example.com", "ann@example.com"]
        assert b"No report." in mailbox.taken[1][1]
        assert ("Ann@example.com", "failed", "unsubscribed") in log(session)
        assert outbox.revive(session) == 0
        assert outbox.unsuppress(session, "ANN@example.com")
        outbox.queue(
            session, report="digest", as_of_date=date(2026, 11, 22), messages=[mail("ann@example.com")]
        )
        outbox.deliver(session, f"smtp://{address}", patience=QUICK)
    assert mailbox.recipients()[2:] == ["ann@example.com"]
    assert outbox.take_untold_failures(session) == []  # what is not wanted is no failure


def test_a_copy_that_is_asked_for_is_another_mail_and_the_first_stays_as_it_was(
    session: psycopg.Connection[Any],
) -> None:
    [first] = queued(session, "ann@example.com")
    again = mail("ann@example.com")
    again.replace_header("Message-ID", "<copy@example.com>")
    [second] = outbox.queue(session, report="digest", as_of_date=DAY, messages=[again], copy=1)
    assert (first.copy, second.copy) == (0, 1)
    mailbox = Mailbox()
    with running(mailbox) as address:
        outbox.deliver(session, f"smtp://{address}", patience=QUICK)
    assert mailbox.recipients() == ["ann@example.com"] * 2
    assert len({content for _, content in mailbox.taken}) == 2


def test_what_failed_is_tried_again_once_asked_and_each_failure_is_told_once(
    session: psycopg.Connection[Any],
) -> None:
    queued(session, "gone@example.com", "bob@example.com")
    session.execute("update ops.outbox set created_at = now() - interval '3 days'")
    mailbox = Mailbox()
    mailbox.answers["gone@example.com"] = ["550 5.1.1 no such user"] * 2
    with running(mailbox) as address:
        outbox.deliver(session, f"smtp://{address}", patience=QUICK)
        [failed] = outbox.take_untold_failures(session)
        assert (failed.recipient, failed.last_reply) == ("gone@example.com", "550 5.1.1 no such user")
        assert outbox.take_untold_failures(session) == []
        session.execute("update ops.outbox set created_at = now() - interval '9 days'")
        for expected in ("failed", "sent"):  # also what was too old to be news
            assert outbox.revive(session) == 1
            outbox.deliver(session, f"smtp://{address}", patience=QUICK)
            assert states(session)["gone@example.com"] == expected
            assert len(outbox.take_untold_failures(session)) == (expected == "failed")
    assert mailbox.recipients() == ["bob@example.com", "gone@example.com"]


def test_a_sender_keeps_to_the_rate_it_was_given(session: psycopg.Connection[Any]) -> None:
    queued(session, *(f"{n}@example.com" for n in range(4)))
    waited: list[float] = []
    patience = Patience(timeout=5, pauses=(), messages_a_minute=30)
    with running(Mailbox()) as address:
        outbox.deliver(session, f"smtp://{address}", patience=patience, sleep=waited.append)
    # the sleep does not pass here, so each wait is up to the moment that mail was promised
    assert len(waited) == 3
    assert [round(seconds / 2) for seconds in waited] == [1, 2, 3]


def test_what_was_said_last_is_what_the_recipient_got_or_will_get(session: psycopg.Connection[Any]) -> None:
    for day, said in ((19, "a"), (20, "b"), (21, "c")):
        message = mail("ann@example.com")
        message.replace_header("Message-ID", f"<{day}@example.com>")
        outbox.queue(
            session, report="d", as_of_date=date(2026, 11, day), messages=[message], fingerprint=said
        )
    session.execute("update ops.outbox set state = 'failed' where fingerprint = 'b'")
    last = outbox.last_said(session, report="d", recipient="ann@example.com", before=DAY)
    assert last == (date(2026, 11, 19), "a")
    assert outbox.last_said(session, report="d", recipient="bob@example.com", before=DAY) is None


def test_a_test_send_arrives_and_leaves_no_trace(session: psycopg.Connection[Any]) -> None:
    mailbox = Mailbox()
    with running(mailbox) as address:
        assert outbox.send_test(f"smtp://{address}", mail("me@example.com")) == "250 taken"
        mailbox.answers["me@example.com"] = ["550 no"]
        with pytest.raises(ReportError, match=r"the mail to me@example.com was not taken: 550 no"):
            outbox.send_test(f"smtp://{address}", mail("me@example.com"))
    assert mailbox.recipients() == ["me@example.com"]
    assert outbox.entries(session) == []


class Stormy(Mailbox):
    """Takes, refuses and hangs up by chance, from a seed; ``taken`` has also what it took without a word."""

    def __init__(self, seed: int, refused: set[str]) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self.refused = refused

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.random.random() < 0.03:
            hang_up(server)
        envelope.mail_from = address
        return "451 not now" if self.random.random() < 0.05 else "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refused:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "451 greylisted" if self.random.random() < 0.1 else "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        chance = self.random.random()
        if chance < 0.1:
            return "451 no room"
        if chance < 0.15:
            hang_up(server)  # and the mail is lost
            return "451"
        if chance < 0.2:
            hang_up(server)  # and the mail is taken
        return await super().handle_DATA(server, session, envelope)


class Killed(BaseException):
    """Stands in for a kill: nothing catches it, and the sender's session is gone with it."""


def test_of_1_100_mails_in_a_storm_of_faults_and_kills_none_is_lost_and_only_uncertain_ones_come_twice(
    warehouse: Warehouse, session: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipients = [f"{n}@example.com" for n in range(1100)]
    refused = set(recipients[::50])
    queued(session, *recipients)
    mailbox = Stormy(2, refused)
    chance = random.Random(3)
    killed_at: Counter[str] = Counter()

    def perhaps_killed(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        """The step, before or after which the sender may be gone."""

        def stepped(*arguments: Any, **options: Any) -> Any:
            fate = chance.random()
            if fate < 0.004:
                killed_at[f"before {name}"] += 1
                raise Killed
            result = step(*arguments, **options)
            if fate > 0.996:
                killed_at[f"after {name}"] += 1
                raise Killed
            return result

        return stepped

    for name in ("_claim", "_record", "content_of"):
        monkeypatch.setattr(outbox, name, perhaps_killed(name, getattr(outbox, name)))
    monkeypatch.setattr(smtp.Session, "send", perhaps_killed("the transaction", smtp.Session.send))
    runs = 0
    with running(mailbox) as address:
        while set(states(session).values()) - {"sent", "failed"}:
            runs += 1
            assert runs < 200
            with suppress(Killed), warehouse.connect(autocommit=True) as connection:
                connection.execute("set synchronous_commit = off")  # no disk is lost here
                outbox.deliver(connection, f"smtp://{address}", patience=QUICK, sleep=waits)
            # The next night: leases have run out, and what was to wait has waited.
            session.execute("update ops.outbox set next_attempt_at = null, lease_until = now()")
    assert {who for who, state in states(session).items() if state == "failed"} == refused
    arrived = Counter(mailbox.recipients())
    assert set(arrived) == set(recipients) - refused
    uncertain = Counter(who for who, outcome, _ in log(session) if outcome == "uncertain")
    assert {who for who, times in arrived.items() if times > 1 + uncertain[who]} == set()
    assert sum(times > 1 for times in arrived.values()) > 10  # the storm was one
    assert len(killed_at) == 8, killed_at
    said: dict[str, set[bytes]] = {}
    for who, content in mailbox.taken:
        said.setdefault(who, set()).add(content)
    assert {len(contents) for contents in said.values()} == {1}


# TLS and credentials


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of the loopback's own making, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    paths = folder / "cert.pem", folder / "key.pem"
    try:
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
                *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2", "-nodes"),
                *("-out", str(paths[0]), "-keyout", str(paths[1])),
            ],
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        pytest.skip("left out: the program `openssl`, which makes the test's certificate, is not installed")
    return paths


@pytest.fixture
def tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*map(str, certificate))
    return context


@pytest.fixture
def trusted(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """What an operator sets for a mail server with a certificate of the house's own authority."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))


SECRET = "correct horse/b@ttery"  # has to be percent-encoded
CREDENTIALS = "prism%40example.com:correct%20horse%2Fb%40ttery"


def authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    return AuthResult(
        success=data.login == b"prism@example.com" and data.password == SECRET.encode(), handled=False
    )


def test_starttls_is_taken_where_it_is_offered(session: psycopg.Connection[Any], tls: ssl.SSLContext) -> None:
    queued(session, "ann@example.com")
    mailbox = Mailbox()
    with running(mailbox, tls_context=tls, require_starttls=True) as address:
        delivery = outbox.deliver(session, f"smtp://{address}", patience=QUICK, sleep=waits)
    assert delivery.unsent == ()
    assert mailbox.secured == [True]


def test_credentials_go_over_starttls_to_a_server_whose_certificate_holds(
    session: psycopg.Connection[Any], tls: ssl.SSLContext, trusted: None
) -> None:
    queued(session, "ann@example.com")
    mailbox = Mailbox()
    with running(mailbox, tls_context=tls, authenticator=authenticate, auth_required=True) as address:
        delivery = outbox.deliver(session, f"smtp://{CREDENTIALS}@{address}", patience=QUICK, sleep=waits)
    assert delivery.fault is None and delivery.unsent == ()
    assert mailbox.recipients() == ["ann@example.com"]


def test_smtps_speaks_tls_from_the_first_byte(
    session: psycopg.Connection[Any], tls: ssl.SSLContext, trusted: None
) -> None:
    queued(session, "ann@example.com")
    mailbox = Mailbox()
    with running(mailbox, ssl_context=tls) as address:
        delivery = outbox.deliver(session, f"smtps://{address}", patience=QUICK, sleep=waits)
    assert delivery.fault is None and delivery.unsent == ()
    assert mailbox.recipients() == ["ann@example.com"]


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_credentials_are_not_given_to_a_server_whose_certificate_does_not_hold(
    session: psycopg.Connection[Any], tls: ssl.SSLContext, scheme: str
) -> None:
    queued(session, "ann@example.com")
    asked: list[bool] = []

    def note(*arguments: Any) -> AuthResult:
        asked.append(True)
        return AuthResult(success=True)

    options = {"tls_context": tls} if scheme == "smtp" else {"ssl_context": tls}
    with running(Mailbox(), authenticator=note, **options) as address:
        delivery = outbox.deliver(session, f"{scheme}://{CREDENTIALS}@{address}", patience=QUICK, sleep=waits)
    assert delivery.fault is not None and "certificate verify failed" in delivery.fault
    assert asked == []
    assert states(session) == {"ann@example.com": "retry"}


def test_without_tls_no_mail_goes_to_another_machine_unless_the_url_allows_it(
    session: psycopg.Connection[Any], tls: ssl.SSLContext
) -> None:
    queued(session, "ann@example.com")
    mailbox = Mailbox()
    with running(mailbox) as address:
        # as for any host that is not this one
        delivery = outbox.deliver(session, f"smtp://{address}?tls=required", patience=QUICK, sleep=waits)
        assert delivery.fault is not None and "offers no STARTTLS" in delivery.fault
        assert mailbox.taken == []
        session.execute("update ops.outbox set next_attempt_at = null")
        outbox.deliver(session, f"smtp://{address}?tls=optional", patience=QUICK, sleep=waits)
    assert mailbox.recipients() == ["ann@example.com"] and mailbox.secured == [False]
    with running(Mailbox(), tls_context=tls) as address:
        queued(session, "bob@example.com")
        delivery = outbox.deliver(session, f"smtp://{address}?tls=required", patience=QUICK, sleep=waits)
        assert delivery.fault is not None and "certificate verify failed" in delivery.fault


def test_credentials_are_never_sent_in_the_clear(session: psycopg.Connection[Any]) -> None:
    queued(session, "ann@example.com")
    mailbox = Mailbox()
    with running(mailbox, authenticator=authenticate, auth_require_tls=False) as address:
        delivery = outbox.deliver(session, f"smtp://{CREDENTIALS}@{address}", patience=QUICK, sleep=waits)
    assert delivery.fault is not None and "offers no STARTTLS" in delivery.fault
    assert mailbox.taken == []


def test_tls_that_is_offered_and_then_refused_is_a_fault_not_a_reason_for_plain_text(
    session: psycopg.Connection[Any],
) -> None:
    queued(session, "ann@example.com")

    def script(connection: socket.socket) -> None:
        connection.sendall(b"220 hello\r\n")
        connection.recv(1000)
        connection.sendall(b"250-hello\r\n250 STARTTLS\r\n")
        connection.recv(1000)
        connection.sendall(b"454 4.7.0 TLS not available\r\n")

    with scripted(script) as address:
        delivery = outbox.deliver(session, f"smtp://{address}", patience=QUICK, sleep=waits)
    assert delivery.fault is not None and "454 4.7.0 TLS not available" in delivery.fault
    assert states(session) == {"ann@example.com": "retry"}


def test_a_wrong_password_is_told_once_and_shown_nowhere(
    session: psycopg.Connection[Any], tls: ssl.SSLContext, trusted: None
) -> None:
    queued(session, "ann@example.com", "bob@example.com")

    class Chatty(Mailbox):
        async def handle_AUTH(  # noqa: N802
            self, server: SMTP, session: Session, envelope: Envelope, arguments: list[str]
        ) -> str:
            return f"535 5.7.8 wrong: {SECRET} {' '.join(arguments)}"

    with running(Chatty(), tls_context=tls, authenticator=authenticate) as address:
        delivery = outbox.deliver(session, f"smtp://{CREDENTIALS}@{address}", patience=QUICK, sleep=waits)
    assert len(delivery.attempts) == 1
    told = f"{delivery} {log(session)} {outbox.entries(session)}"
    assert "535 5.7.8 wrong: ***" in told
    assert SECRET not in told and "cHJpc21A" not in told


def test_a_wrong_url_is_refused_before_anything_is_tried(session: psycopg.Connection[Any]) -> None:
    queued(session, "ann@example.com")
    with pytest.raises(ReportError, match="PRISM_SMTP_URL"):
        outbox.deliver(session, "https://mail.example.com")
    assert states(session) == {"ann@example.com": "queued"}
