"""The outbox: every mail is kept before it is sent, leaves once, and each attempt is on record.

A mail is one row of ``ops.outbox``, unique by report, as-of date and recipient, with its rendered bytes and
their hash (one that was asked for again is a copy, with a row of its own). Its states::

    queued ──> sending ──> sent
                 │  ├────> retry       not taken (4xx, a broken connection); tried again
                 │  ├────> failed      refused (5xx), given up, or not wanted any more
                 └──┴────> uncertain   perhaps taken: the answer, or the sender, was lost; tried again

``sending`` is a lease: committed before the first byte goes out, and counted as ``uncertain`` once it has
run out. So no mail is lost, and only an uncertain one can arrive twice, then under the same Message-ID,
which most mail programs show once. Knows nothing of what the mails say.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, Literal

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg.rows import class_row

from reports.errors import ReportError
from reports.smtp import Reply, Server, Session, UnavailableError, Verdict, parse_url

State = Literal["queued", "sending", "sent", "retry", "failed", "uncertain"]
# What the owner hears of the program itself. It goes out to a suppressed address, too: nobody else is told.
OPERATIONS = ("failure notice", "source notice", "delivery notice", "heartbeat")
UNSUBSCRIBED = "unsubscribed"


@dataclass(frozen=True)
class Entry:
    """One mail of the outbox, without its bytes."""

    outbox_id: int
    report: str
    as_of_date: date
    recipient: str
    copy: int
    message_id: str
    subject: str
    body_sha256: str
    state: State
    attempts: int
    lease_until: datetime | None
    next_attempt_at: datetime | None
    last_reply: str | None
    created_at: datetime
    updated_at: datetime


_COLUMNS = sql.SQL(", ").join([sql.Identifier(one.name) for one in fields(Entry)])


@dataclass(frozen=True)
class Attempt:
    """One try to deliver one mail."""

    recipient: str
    subject: str
    outcome: Verdict
    reply: str


@dataclass(frozen=True)
class Delivery:
    """What one call of :func:`deliver` did, and which of the mails that were due it could not send."""

    attempts: tuple[Attempt, ...]
    unsent: tuple[Entry, ...]
    fault: str | None


@dataclass(frozen=True)
class Patience:
    """How long to wait, and how often to try; all times in seconds but ``messages_a_minute``.

    ``pauses``: the waits between the rounds of one call; a mail not taken is tried once a round.
    ``backoff``: the earliest try by a later call after the first, second, … failed attempt (the last value
    holds for all further ones). ``give_up``: older mails are not begun, and no longer tried. ``lease``
    outlasts ``deadline`` and what comes before a connection (name look-up, several addresses).
    ``messages_a_minute``: what one sender tries at most, for servers that count; None as fast as it goes.
    ``stop_after``: no mail is begun later than that in one call; what is left waits for the next.
    """

    timeout: float = 30
    deadline: float = 120
    lease: float = 600
    pauses: Sequence[float] = (2, 10)
    backoff: Sequence[float] = (60, 300, 1800, 7200, 21600)
    give_up: float = 4 * 86400
    messages_a_minute: float | None = None
    stop_after: float = math.inf


def queue(
    connection: psycopg.Connection[Any],
    *,
    report: str,
    as_of_date: date,
    messages: Iterable[EmailMessage],
    not_before: datetime | None = None,
    fingerprint: str | None = None,
    sign: Callable[[bytes], bytes] | None = None,
    copy: int = 0,
) -> list[Entry]:
    """Keeps the mails, all or none; one that is there already stays as it was, whatever became of it.

    Returns the rows as they are now, in the order of ``messages``, each of which has one recipient; a
    recipient who wants no more mails has none, unless ``report`` is one of :data:`OPERATIONS`. ``sign`` turns
    a mail's bytes into those that are kept; what was kept is what goes out, not before ``not_before``.
    """
    entries = []
    with connection.transaction(), connection.cursor(row_factory=class_row(Entry)) as cursor:
        unwanted = frozenset() if report in OPERATIONS else suppressed(connection)
        for message in messages:
            recipient = recipient_of(message)
            if recipient.lower() in unwanted:
                continue
            content = message.as_bytes(policy=policy.SMTP)
            if sign is not None:
                content = sign(content)
            cursor.execute(
                """
                insert into ops.outbox (
                    report, as_of_date, recipient, copy, message_id, subject, body, body_sha256,
                    next_attempt_at, fingerprint
                )
                values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
                on conflict (report, as_of_date, recipient, copy) do nothing
                """,
                [
                    report,
                    as_of_date,
                    recipient,
                    copy,
                    str(message["Message-ID"]),
                    str(message["Subject"]),
                    content,
                    hashlib.sha256(content).hexdigest(),
                    not_before,
                    fingerprint,
                ],
            )
            cursor.execute(
                sql.SQL(
                    "select {} from ops.outbox"
                    " where report = %s and as_of_date = %s and recipient = %s and copy = %s"
                ).format(_COLUMNS),
                [report, as_of_date, recipient, copy],
            )
            entry = cursor.fetchone()
            assert entry is not None
            entries.append(entry)
    return entries


def suppressed(connection: psycopg.Connection[Any]) -> frozenset[str]:
    """The addresses, in lower case, that get no reports and no notices any more."""
    with connection.transaction():
        return frozenset(
            address for (address,) in connection.execute("select recipient from ops.mail_suppressions")
        )


def suppress(connection: psycopg.Connection[Any], address: str) -> bool:
    """From now on the address gets none; what waits for it is not sent. False where it was so already."""
    with connection.transaction():
        return bool(
            connection.execute(
                "insert into ops.mail_suppressions (recipient) values (lower(%s)) on conflict do nothing",
                [address],
            ).rowcount
        )


def unsuppress(connection: psycopg.Connection[Any], address: str) -> bool:
    """The address gets what is queued from now on; False where it was not suppressed."""
    with connection.transaction():
        return bool(
            connection.execute(
                "delete from ops.mail_suppressions where recipient = lower(%s)", [address]
            ).rowcount
        )


def last_said(
    connection: psycopg.Connection[Any], *, report: str, recipient: str, before: date
) -> tuple[date, str | None] | None:
    """The date and the fingerprint of the last mail of a report that the recipient got, or is to get."""
    with connection.transaction():
        return connection.execute(
            """
            select as_of_date, fingerprint from ops.outbox
            where report = %s and recipient = %s and as_of_date < %s and state <> 'failed'
            order by as_of_date desc, copy desc limit 1
            """,
            [report, recipient, before],
        ).fetchone()


def next_copy(connection: psycopg.Connection[Any], *, report: str, as_of_date: date, recipient: str) -> int:
    """The number of the next copy of a mail; 0 where there is none yet."""
    with connection.transaction():
        row = connection.execute(
            "select coalesce(max(copy) + 1, 0) from ops.outbox"
            " where report = %s and as_of_date = %s and recipient = %s",
            [report, as_of_date, recipient],
        ).fetchone()
    assert row is not None
    return int(row[0])


def revive(connection: psycopg.Connection[Any]) -> int:
    """Makes every mail due now that failed, waits to be tried again, or may not have come; returns how many.

    Those that are not wanted any more stay as they are.
    """
    with connection.transaction():
        return connection.execute(
            """
            update ops.outbox
            set state = case when state = 'failed' then 'retry' else state end,
                next_attempt_at = null, revived_at = now(), is_owner_told = false, updated_at = now()
            where state in ('failed', 'retry', 'uncertain')
                and (
                    report = any(%s)
                    or lower(recipient) not in (select recipient from ops.mail_suppressions)
                )
            """,
            [list(OPERATIONS)],
        ).rowcount


def take_untold_failures(connection: psycopg.Connection[Any]) -> list[Entry]:
    """The mails that failed since the last call, for the owner's notice; counts them as told.

    To be called in a transaction that also keeps the notice. An address that wants no mails is no failure.
    """
    with connection.transaction(), connection.cursor(row_factory=class_row(Entry)) as cursor:
        return sorted(
            cursor.execute(
                sql.SQL(
                    """
                    update ops.outbox set is_owner_told = true
                    where state = 'failed' and not is_owner_told and report <> all(%s)
                        and last_reply is distinct from %s
                    returning {}
                    """
                ).format(_COLUMNS),
                [list(OPERATIONS), UNSUBSCRIBED],
            ).fetchall(),
            key=lambda entry: entry.outbox_id,
        )


def entries(
    connection: psycopg.Connection[Any], *, report: str | None = None, as_of_date: date | None = None
) -> list[Entry]:
    """The outbox's rows, oldest first, of all or of one report or date."""
    with connection.transaction(), connection.cursor(row_factory=class_row(Entry)) as cursor:
        return cursor.execute(
            sql.SQL(
                """
                select {} from ops.outbox
                where (%(report)s::text is null or report = %(report)s)
                    and (%(as_of_date)s::date is null or as_of_date = %(as_of_date)s)
                order by outbox_id
                """
            ).format(_COLUMNS),
            {"report": report, "as_of_date": as_of_date},
        ).fetchall()


@dataclass(frozen=True)
class Plan:
    """What a send would do for one recipient, and why."""

    recipient: str
    sends: bool
    why: str


def plan(
    connection: psycopg.Connection[Any],
    *,
    report: str,
    as_of_date: date,
    recipients: Iterable[str],
    patience: Patience = Patience(),
    not_before: datetime | None = None,
) -> list[Plan]:
    """The dry run of queueing and delivering now: changes nothing."""
    there = {
        entry.recipient: entry
        for entry in entries(connection, report=report, as_of_date=as_of_date)
        if entry.copy == 0
    }
    due = {outbox_id for outbox_id, _ in _due(connection, patience)}
    unwanted = suppressed(connection)
    plans = []
    for recipient in recipients:
        entry = there.get(recipient)
        if recipient.lower() in unwanted and (entry is None or entry.state not in ("sent", "failed")):
            plans.append(Plan(recipient, False, "wants no mails: prism send --resubscribe takes it back"))
        elif entry is None:
            at = f"; it waits until {not_before:%Y-%m-%d %H:%M %Z}" if not_before else ""
            plans.append(Plan(recipient, True, f"has no {report} of {as_of_date} yet{at}"))
        else:
            plans.append(Plan(recipient, entry.outbox_id in due, _why(entry, entry.outbox_id in due)))
    return plans


def _why(entry: Entry, is_due: bool) -> str:
    at = f"{entry.updated_at:%Y-%m-%d %H:%M %Z}"
    why = {
        "queued": f"waits in the outbox since {at}",
        "sending": f"a sender that has ended since began at {at}"
        if is_due
        else f"another process is sending it since {at}",
        "sent": f"got it at {at}",
        "retry": f"it was not taken at {at} ({entry.last_reply})",
        "failed": f"it was refused at {at} ({entry.last_reply})",
        "uncertain": f"may have got it at {at} ({entry.last_reply}); it goes out as the same mail again",
    }[entry.state]
    if is_due or entry.state in ("sending", "sent", "failed"):
        return why
    if entry.next_attempt_at is not None:
        first = "it goes out" if entry.state == "queued" else "next try"
        return f"{why}; {first} from {entry.next_attempt_at:%Y-%m-%d %H:%M %Z}"
    return f"{why}, which is too long ago for news"


def deliver(
    connection: psycopg.Connection[Any],
    smtp_url: str,
    *,
    patience: Patience = Patience(),
    sleep: Callable[[float], None] = time.sleep,
) -> Delivery:
    """Sends what is due in the outbox, each mail in a transaction of its own.

    Commits as it goes, so ``connection`` must not be inside a transaction. Several processes may deliver at
    once. Raises :class:`ReportError` for a URL that is none; a fault of the server is part of the result.
    """
    if connection.info.transaction_status is not TransactionStatus.IDLE:
        raise ValueError("deliver() commits: hand it a connection that is not inside a transaction")
    server = parse_url(smtp_url)
    _sweep(connection, patience)
    due = _due(connection, patience)
    wanted = [outbox_id for outbox_id, _ in due]
    attempts: list[Attempt] = []
    fault: UnavailableError | None = None
    pace = _Pace(patience, sleep)
    for pause in (0, *patience.pauses):
        if not due or (fault is not None and fault.permanent):
            break
        if pause:
            sleep(pause)
        due, fault = _round(connection, server, due, patience, attempts, pace)
    return Delivery(
        attempts=tuple(attempts),
        unsent=tuple(_unsent(connection, wanted)),
        fault=f"{server.where}: {fault.text}" if fault else None,
    )


def send_test(
    smtp_url: str,
    message: EmailMessage,
    *,
    patience: Patience = Patience(),
    sign: Callable[[bytes], bytes] | None = None,
) -> str:
    """Sends one mail past the outbox, returns the answer. Raises :class:`ReportError` if it is not taken."""
    server = parse_url(smtp_url)
    recipient = recipient_of(message)
    content = message.as_bytes(policy=policy.SMTP)
    if sign is not None:
        content = sign(content)
    with Session(server, timeout=patience.timeout, deadline=patience.deadline) as session:
        try:
            reply = session.send(_sender_of(message), recipient, content)
        except UnavailableError as unavailable:
            reply = Reply("failed", unavailable.text)
    if reply.verdict != "sent":
        raise ReportError(
            f"the mail to {recipient} was not taken: {reply.text}",
            where=server.where,
            mend="Check PRISM_SMTP_URL, the sender and the recipient.",
        )
    return reply.text


def content_of(connection: psycopg.Connection[Any], outbox_id: int) -> bytes:
    """The mail's bytes as kept. Raises :class:`ReportError` where they are not those that were rendered."""
    with connection.transaction():
        row = connection.execute(
            "select body, body_sha256 from ops.outbox where outbox_id = %s", [outbox_id]
        ).fetchone()
    if row is None:
        raise ReportError(f"there is no mail {outbox_id}", where="ops.outbox")
    if hashlib.sha256(row[0]).hexdigest() != row[1]:
        raise ReportError(f"mail {outbox_id} is not what was rendered: its hash differs", where="ops.outbox")
    return bytes(row[0])


def recipient_of(message: EmailMessage) -> str:
    """The one address of ``To``."""
    addresses = message["To"].addresses
    if len(addresses) != 1:
        raise ValueError("a mail of the outbox has one recipient")
    return str(addresses[0].addr_spec)


def _sender_of(message: EmailMessage) -> str:
    return str(message["From"].addresses[0].addr_spec)


def _sweep(connection: psycopg.Connection[Any], patience: Patience) -> None:
    """Takes up what a sender left behind that ended in mid-air, and gives up what is not wanted any more or
    too old to be news."""
    with connection.transaction():
        connection.execute(
            """
            with lost as (
                update ops.outbox
                set state = 'uncertain', lease_until = null, next_attempt_at = null, updated_at = now(),
                    last_reply = 'the sender ended before it knew the answer'
                where state = 'sending' and lease_until < now()
                returning outbox_id, last_reply
            )
            insert into ops.deliveries (outbox_id, attempted_at, outcome, reply)
            select outbox_id, now(), 'uncertain', last_reply from lost
            """
        )
        connection.execute(
            """
            with old as (
                update ops.outbox
                set state = 'failed', next_attempt_at = null, updated_at = now(),
                    last_reply = concat_ws(': ', 'given up', last_reply)
                where state in ('retry', 'uncertain')
                    and coalesce(revived_at, created_at) < now() - make_interval(secs => %s)
                returning outbox_id, last_reply
            )
            insert into ops.deliveries (outbox_id, attempted_at, outcome, reply)
            select outbox_id, now(), 'failed', last_reply from old
            """,
            [patience.give_up],
        )
        connection.execute(
            """
            with unwanted as (
                update ops.outbox
                set state = 'failed', next_attempt_at = null, updated_at = now(), last_reply = %s
                where state in ('queued', 'retry', 'uncertain') and report <> all(%s)
                    and lower(recipient) in (select recipient from ops.mail_suppressions)
                returning outbox_id, last_reply
            )
            insert into ops.deliveries (outbox_id, attempted_at, outcome, reply)
            select outbox_id, now(), 'failed', last_reply from unwanted
            """,
            [UNSUBSCRIBED, list(OPERATIONS)],
        )


class _Pace:
    """Spreads what one sender tries evenly over each minute, and ends it in time."""

    def __init__(self, patience: Patience, sleep: Callable[[float], None]) -> None:
        self._gap = 60 / patience.messages_a_minute if patience.messages_a_minute else 0.0
        self._sleep = sleep
        self._next = time.monotonic()
        self._end = self._next + patience.stop_after

    def wait(self) -> bool:
        """Waits until the next mail may be begun; False where that is too late for this call."""
        now = time.monotonic()
        begin = max(self._next, now)
        if begin > self._end:
            return False
        if begin > now:
            self._sleep(begin - now)
        self._next = begin + self._gap
        return True


_Due = tuple[int, int]  # outbox_id, attempts so far: whoever claims the mail adds one, so only one can


def _due(connection: psycopg.Connection[Any], patience: Patience) -> list[_Due]:
    with connection.transaction():
        return connection.execute(
            """
            select outbox_id, attempts from ops.outbox
            where (state in ('queued', 'retry', 'uncertain') or (state = 'sending' and lease_until < now()))
                and (next_attempt_at is null or next_attempt_at <= now())
                and coalesce(revived_at, created_at) >= now() - make_interval(secs => %s)
            order by outbox_id
            """,
            [patience.give_up],
        ).fetchall()


def _round(
    connection: psycopg.Connection[Any],
    server: Server,
    due: list[_Due],
    patience: Patience,
    attempts: list[Attempt],
    pace: _Pace,
) -> tuple[list[_Due], UnavailableError | None]:
    """Tries each mail once; returns those to try again, and the fault where the server is not to be had."""
    again: list[_Due] = []
    with Session(server, timeout=patience.timeout, deadline=patience.deadline) as session:
        for position, (outbox_id, so_far) in enumerate(due):
            if not pace.wait():
                return [], None
            claimed = _claim(connection, outbox_id, so_far, patience)
            if claimed is None:
                continue  # another process has it
            fault = None
            try:
                content = content_of(connection, outbox_id)
                sender = _sender_of(message_from_bytes(content, _class=EmailMessage, policy=policy.SMTP))
                reply = session.send(sender, claimed.recipient, content)
            except ReportError as error:
                reply = Reply("failed", error.what)
            except UnavailableError as unavailable:
                fault = unavailable
                reply = Reply("retry", unavailable.text)
            _record(connection, claimed, reply, patience)
            attempts.append(Attempt(claimed.recipient, claimed.subject, reply.verdict, reply.text))
            if reply.verdict == "retry":
                again.append((outbox_id, so_far + 1))
            if fault is not None:
                # What was not tried keeps its place: a server that is down is not asked once a mail.
                return again + due[position + 1 :], fault
    return again, None


def _claim(
    connection: psycopg.Connection[Any], outbox_id: int, so_far: int, patience: Patience
) -> Entry | None:
    """Takes the lease, committed before anything is sent; None where the mail is no longer to be had."""
    with connection.transaction(), connection.cursor(row_factory=class_row(Entry)) as cursor:
        return cursor.execute(
            sql.SQL(
                """
                update ops.outbox
                set state = 'sending', attempts = attempts + 1, updated_at = now(),
                    lease_until = now() + make_interval(secs => %s), next_attempt_at = null
                where outbox_id = %s and attempts = %s and state in ('queued', 'retry', 'uncertain')
                returning {}
                """
            ).format(_COLUMNS),
            [patience.lease, outbox_id, so_far],
        ).fetchone()


def _record(connection: psycopg.Connection[Any], entry: Entry, reply: Reply, patience: Patience) -> None:
    """Writes down what became of an attempt; where another process took over, only ``sent`` counts."""
    pause = patience.backoff[min(entry.attempts, len(patience.backoff)) - 1]
    with connection.transaction():
        connection.execute(
            """
            update ops.outbox
            set state = %(state)s, lease_until = null, last_reply = %(reply)s, updated_at = now(),
                next_attempt_at = case
                    when %(state)s in ('retry', 'uncertain') then now() + make_interval(secs => %(pause)s)
                end
            where outbox_id = %(outbox_id)s and state <> 'sent'
                and (attempts = %(attempts)s or %(state)s = 'sent')
            """,
            {
                "state": reply.verdict,
                "reply": reply.text,
                "pause": pause,
                "outbox_id": entry.outbox_id,
                "attempts": entry.attempts,
            },
        )
        connection.execute(
            "insert into ops.deliveries (outbox_id, attempted_at, outcome, reply) values (%s, %s, %s, %s)",
            [entry.outbox_id, entry.updated_at, reply.verdict, reply.text],
        )


def _unsent(connection: psycopg.Connection[Any], wanted: list[int]) -> list[Entry]:
    with connection.transaction(), connection.cursor(row_factory=class_row(Entry)) as cursor:
        return cursor.execute(
            sql.SQL(
                """
                select {} from ops.outbox
                where outbox_id = any(%s) and state not in ('sent', 'sending')
                order by outbox_id
                """
            ).format(_COLUMNS),
            [wanted],
        ).fetchall()
