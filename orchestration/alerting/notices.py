"""Notices of alerts: each change that matters, to each recipient once, in one message a recipient and night.

A change is told when an alert opens (again, be it that a snooze is over or that a resolve did not help),
escalates or is resolved, unless somebody has made it quiet by then. What was told to whom stands in
``ops.notice_events``, written with the message and before anything is sent, so that neither a rerun nor a
kill sends a change twice or loses one. Mails leave by the outbox (`reports.outbox`), chats by
``ops.notices``, whose states are the outbox's.

It knows the ledger; how messages look is for `reports`, and which service is behind a URL for `chat`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from importlib.metadata import version
from typing import Any

import pandas as pd
import psycopg
from psycopg.rows import class_row

from orchestration import builds, mailing
from orchestration.alerting import actions, chat
from orchestration.alerting.actions import Alert
from orchestration.alerting.routing import Recipient, Subject, quiet_until, recipients
from orchestration.alerting.states import Episode, state_of, woke_on
from orchestration.errors import PrismError
from orchestration.settings import Settings
from orchestration.warehouse import Warehouse
from reports import mail, outbox
from reports.errors import ReportError
from reports.marts import reading, records
from reports.options import Build, ReportOptions
from reports.outbox import Patience
from reports.smtp import Reply
from reports.views.notice import Change, Notice, notice

# An older change is no news: of a night that was built late, or before there were routes.
NEWS_DAYS = 3
_TOLD = ("opened", "reopened", "escalated", "resolved")
_PATIENCE = Patience()
_Said = tuple[date, str]  # event_on, event: a change of some alert


@dataclass(frozen=True)
class Notified:
    """What became of the notices: ``lines`` in words, ``unsent`` how many due messages did not go out."""

    lines: tuple[str, ...]
    unsent: int


@dataclass(frozen=True)
class Message:
    """One message to come: its changes, how it reads, and why its recipient gets it."""

    recipient: Recipient
    changes: tuple[Change, ...]
    view: Notice
    why: str


def notify(
    warehouse: Warehouse,
    settings: Settings,
    *,
    now: datetime,
    dry_run: bool = False,
    patience: Patience = _PATIENCE,
    sleep: Callable[[float], None] = time.sleep,
) -> Notified:
    """Tells what is due now, to whom the routes of prism.yaml say; in quiet hours nothing, which stays due.

    With ``dry_run`` says who would be told what, and why, and changes nothing. Raises :class:`PrismError`
    where the newest build of the marts is not green: nobody is told what may be wrong.
    """
    wanted = settings.config.alerts
    if not wanted.routes:
        return Notified(("Notices: none, prism.yaml has no routes (alerts.routes).",), 0)
    until = quiet_until(wanted.quiet_hours, settings.alerts_zone, now)
    with warehouse.connect(autocommit=True) as connection:
        build = _good_build(connection)
        messages, remarks = _plan(connection, settings, build, now)
        if dry_run:
            lines = [f"would tell {_where(one)}: {one.view.headline} ({one.why})" for one in messages]
            if until is not None:
                lines.insert(0, f"Quiet until {until:%Y-%m-%d %H:%M} ({until.tzname()}); then:")
            return Notified((*remarks, *(lines or ["Notices: nothing is due."])), 0)
        if until is not None:
            due = f", {len(messages)} wait" if messages else ""
            return Notified((f"Notices: quiet until {until:%H:%M} ({until.tzname()}){due}.",), 0)
        for message in messages:
            _queue(connection, settings, message, now)
        sent, unsent = _deliver(connection, settings, patience, sleep)
    return Notified((*remarks, *(sent or ["Notices: nothing was due."])), unsent)


def _good_build(connection: psycopg.Connection[Any]) -> builds.Build:
    build = builds.latest(connection, builds.MARTS)
    if build is None or build.state != "green":
        state = "there is none" if build is None else f"it is {build.state}"
        raise PrismError(
            f"nobody is told of alerts without a good build, and of the newest {state}",
            where="marts",
            mend="Mend what failed, if anything, and run: prism run",
        )
    return build


def _plan(
    connection: psycopg.Connection[Any], settings: Settings, build: builds.Build, now: datetime
) -> tuple[list[Message], list[str]]:
    """The messages that are due, without looking at the hour, and remarks on who can't be told."""
    wanted = settings.config.alerts
    as_of_date = build.as_of_date
    since = as_of_date - timedelta(days=NEWS_DAYS - 1)
    with reading(connection, builds.MARTS, as_of_date) as marts:
        _good_build(connection)  # one that began meanwhile has left its marts half new in this snapshot
        frame, library, evidence = marts.alerts(), marts.prompts(), marts.alert_evidence()
        events = records(marts.alert_events(since))
        everything = actions.list_alerts(
            connection, now=now, zone=settings.zone, wanted=actions.Filter(states=actions.STATES)
        )
    alerts = {alert.alert_id: alert for alert in everything}
    frame = frame.assign(
        state=pd.Series([alerts[one].state for one in frame["alert_id"]], index=frame.index, dtype="object")
    )
    told, taken = _ledger(connection, as_of_date, everything)
    today = now.astimezone(settings.zone).date()
    unwanted = outbox.suppressed(connection)
    due: dict[Recipient, list[Change]] = {}
    why: dict[Recipient, str] = {}
    remarks: dict[str, None] = {}
    changes = [
        Change(event["alert_id"], event["event_on"], event["event"], event["previous_severity"])
        for event in events
    ]
    woken = [
        Change(alert.alert_id, woke, "reopened", None)
        for alert in everything
        if (woke := woke_on(_firing(alert), alert.history)) and since <= woke <= as_of_date
    ]
    for change in (*changes, *woken):
        alert = alerts[change.alert_id]
        if not _is_news(change, alert, today):
            continue
        over = change.event == "resolved"
        subject = Subject(None if over else alert.severity, alert.domain, alert.owner)
        for found, reason in recipients(subject, wanted.routes):
            try:
                recipient = _canonical(found)
            except ReportError as error:
                remarks[f"Notices: the owner of {alert.prompt_name} can't be told: {error.what}"] = None
                continue
            if recipient.channel == "mail":
                if recipient.name.lower() in unwanted:
                    continue
                if not settings.config.reports.allows(recipient.name):
                    remarks[f"Notices: {recipient.name} is in none of reports.allowed_domains"] = None
                    continue
            heard = told.get((recipient, alert.alert_id), ())
            queued = [_said(one) for one in due.get(recipient, ()) if one.alert_id == alert.alert_id]
            if recipient in taken or not _tells_more(change, [*heard, *queued], woken=change in woken):
                continue
            due.setdefault(recipient, []).append(change)
            why.setdefault(recipient, reason)
    options = _options(settings, build)
    prompts = {str(row["prompt_id"]): row for row in records(library)}
    messages = [
        Message(
            recipient,
            tuple(own),
            notice(
                alert_rows=frame,
                evidence=evidence,
                prompts=prompts,
                changes=own,
                options=options,
                most=wanted.most,
                reason=f"You get this by {why[recipient]} of alerts.routes in prism.yaml.",
            ),
            why[recipient],
        )
        for recipient, own in sorted(due.items())
    ]
    return messages, list(remarks)


def _is_news(change: Change, alert: Alert, today: date) -> bool:
    """Whether a change is told at all: it is of a kind that is, still so, and nobody has made it quiet."""
    if change.event not in _TOLD or (change.event == "resolved") != (alert.resolved_on is not None):
        return False
    return state_of(_firing(alert), alert.history, today) == "open"


def _firing(alert: Alert) -> Episode:
    """The alert as if its rule still fired: what people did about it is looked at by itself."""
    return Episode(alert.severity, alert.period, None, alert.as_of_date)


def _said(change: Change) -> _Said:
    return change.event_on, change.event


def _tells_more(change: Change, heard: Sequence[_Said], *, woken: bool) -> bool:
    """Whether a change is more than somebody has ``heard`` of its alert, in that order.

    A past night that is built, or built over other uses, can move what they heard of to another night: that
    the alert is open is told to who does not know it, and its end to who does. ``woken``: open again by
    itself, after somebody had made it quiet.
    """
    if _said(change) in heard:
        return False
    if woken:
        return True
    knows_it_open = bool(heard) and heard[-1][1] != "resolved"
    if change.event == "resolved":
        return knows_it_open
    if change.event == "escalated":
        return not knows_it_open or change.event_on > max(on for on, _ in heard)
    return not knows_it_open


def _canonical(recipient: Recipient) -> Recipient:
    """The recipient as the outbox knows it. Raises :class:`ReportError` for what is no address."""
    if recipient.channel == "chat":
        return recipient
    return replace(recipient, name=mail.addresses([recipient.name])[0])


def _ledger(
    connection: psycopg.Connection[Any], as_of_date: date, alerts: Iterable[Alert]
) -> tuple[dict[tuple[Recipient, str], list[_Said]], set[Recipient]]:
    """What each recipient heard of each alert, in that order, and who has had this night's one message."""
    now_known_as = {former: alert.alert_id for alert in alerts for former in alert.former_ids}
    told: dict[tuple[Recipient, str], list[_Said]] = {}
    for channel, name, alert_id, *said in connection.execute(
        "select channel, recipient, alert_id, event_on, event from ops.notice_events"
        " order by notice_id, event_on"
    ):
        key = (Recipient(channel, name), now_known_as.get(alert_id, alert_id))
        told.setdefault(key, []).append((said[0], said[1]))
    rows = connection.execute(
        "select channel, recipient from ops.notices where as_of_date = %s", [as_of_date]
    ).fetchall()
    return told, {Recipient(channel, name) for channel, name in rows}


def _options(settings: Settings, build: builds.Build) -> ReportOptions:
    base_url = settings.config.reports.base_url
    return ReportOptions(
        as_of_date=build.as_of_date,
        build=Build("green", build.finished_at),
        marts_schema=build.marts_schema,
        timezone=settings.config.timezone,
        base_url=base_url.rstrip("/") if base_url else None,
        version=version("prism-performance"),
    )


def _queue(connection: psycopg.Connection[Any], settings: Settings, message: Message, now: datetime) -> None:
    """Keeps the message and its changes, all or none; does nothing where another process was quicker."""
    recipient, view = message.recipient, message.view
    try:
        with connection.transaction():
            outbox_id, body = None, None
            if recipient.channel == "mail":
                queued = outbox.queue(
                    connection,
                    report=mail.ALERT_NOTICE,
                    as_of_date=view.as_of_date,
                    messages=mail.compose_all(
                        mail.render_notice(view),
                        sender=settings.config.reports.sender,
                        recipients=[recipient.name],
                        composed_at=now,
                        reply_to=settings.config.reports.owner,
                        unsubscribe=settings.config.reports.contact,
                    ),
                    sign=mailing.signature(settings),
                )
                if not queued:
                    return  # it has said meanwhile that it wants no mails
                outbox_id, title = queued[0].outbox_id, queued[0].subject
            else:
                title, body = mail.render_chat(view)
            row = connection.execute(
                """
                insert into ops.notices (channel, recipient, as_of_date, title, body, outbox_id, state)
                values (%s, %s, %s, %s, %s, %s, %s) returning notice_id
                """,
                [
                    recipient.channel,
                    recipient.name,
                    view.as_of_date,
                    title,
                    body,
                    outbox_id,
                    None if body is None else "queued",
                ],
            ).fetchone()
            assert row is not None
            for change in message.changes:
                connection.execute(
                    """
                    insert into ops.notice_events (alert_id, event_on, event, channel, recipient, notice_id)
                    values (%s, %s, %s, %s, %s, %s)
                    """,
                    [change.alert_id, *_said(change), recipient.channel, recipient.name, row[0]],
                )
    except psycopg.errors.UniqueViolation:
        return  # this night's message to this recipient is there


def _deliver(
    connection: psycopg.Connection[Any],
    settings: Settings,
    patience: Patience,
    sleep: Callable[[float], None],
) -> tuple[list[str], int]:
    """Sends what lies in both outboxes and is due; says what became of it, and how much did not go out."""
    lines: list[str] = []
    unsent = 0
    if settings.smtp_url:
        wait = mailing.patience(settings, patience)
        delivery = outbox.deliver(connection, settings.smtp_url, patience=wait, sleep=sleep)
        lines += [f"Notice to {one.recipient}: {one.outcome} ({one.reply})" for one in delivery.attempts]
        lines += [f"Mail: {delivery.fault}"] if delivery.fault else []
        unsent += sum(entry.report == mail.ALERT_NOTICE for entry in delivery.unsent)
    elif waiting := sum(
        entry.state == "queued" for entry in outbox.entries(connection, report=mail.ALERT_NOTICE)
    ):
        lines.append(f"Notices by mail: {waiting} in the outbox, kept there: PRISM_SMTP_URL is not set.")
    _sweep(connection, patience)
    due = _due(connection)
    for pause in (0, *patience.pauses):
        if not due:
            break
        if pause:
            sleep(pause)
        again = []
        for one in due:
            attempt = _attempt(connection, settings, one, patience)
            if attempt is None:
                continue  # another process has it
            recipient, reply = attempt
            lines.append(f"Notice to {recipient}: {reply.verdict} ({reply.text})")
            if reply.verdict == "retry":
                again.append(replace(one, attempts=one.attempts + 1, state="retry"))
            elif reply.verdict != "sent":
                unsent += 1
        due = again
    return lines, unsent + len(due)


def _sweep(connection: psycopg.Connection[Any], patience: Patience) -> None:
    """Takes up what a sender left behind that ended in mid-air, and gives up what is no news any more."""
    connection.execute(
        """
        update ops.notices
        set state = 'uncertain', lease_until = null, next_attempt_at = null, updated_at = now(),
            last_reply = 'the sender ended before it knew the answer'
        where state = 'sending' and lease_until < now()
        """
    )
    connection.execute(
        """
        update ops.notices
        set state = 'failed', next_attempt_at = null, updated_at = now(),
            last_reply = concat_ws(': ', 'given up', last_reply)
        where state in ('queued', 'retry', 'uncertain')
            and created_at < now() - make_interval(secs => %s)
        """,
        [patience.give_up],
    )


@dataclass(frozen=True)
class _Due:
    """A message to send; whoever claims it adds an attempt, so that only one process can."""

    notice_id: int
    attempts: int
    state: str


def _due(connection: psycopg.Connection[Any]) -> list[_Due]:
    with connection.cursor(row_factory=class_row(_Due)) as cursor:
        return cursor.execute(
            """
            select notice_id, attempts, state from ops.notices
            where state in ('queued', 'retry', 'uncertain')
                and (next_attempt_at is null or next_attempt_at <= now())
            order by notice_id
            """
        ).fetchall()


def _attempt(
    connection: psycopg.Connection[Any], settings: Settings, due: _Due, patience: Patience
) -> tuple[str, Reply] | None:
    """Sends one message, its lease committed before; None where it is no longer to be had.

    A chat shows a message that came twice as two: without an answer it is tried a second time, not more.
    """
    row = connection.execute(
        """
        update ops.notices
        set state = 'sending', attempts = attempts + 1, next_attempt_at = null, updated_at = now(),
            lease_until = now() + make_interval(secs => %s)
        where notice_id = %s and attempts = %s and state in ('queued', 'retry', 'uncertain')
        returning recipient, title, body
        """,
        [patience.lease, due.notice_id, due.attempts],
    ).fetchone()
    if row is None:
        return None
    recipient, title, body = row
    url = settings.config.alerts.channels.get(recipient)
    if url is None:
        reply = Reply("failed", "prism.yaml has no such channel any more")
    else:
        reply = chat.send(url, title, body, seconds=patience.timeout)
    if reply.verdict == "uncertain" and due.state == "uncertain":
        reply = Reply("failed", f"given up, it may have come through: {reply.text}")
    pause = patience.backoff[min(due.attempts, len(patience.backoff) - 1)]
    connection.execute(
        """
        update ops.notices
        set state = %(state)s, lease_until = null, last_reply = %(reply)s, updated_at = now(),
            next_attempt_at = case
                when %(state)s in ('retry', 'uncertain') then now() + make_interval(secs => %(pause)s)
            end
        where notice_id = %(notice_id)s and state <> 'sent'
            and (attempts = %(attempts)s or %(state)s = 'sent')
        """,
        {
            "state": reply.verdict,
            "reply": reply.text,
            "pause": pause,
            "notice_id": due.notice_id,
            "attempts": due.attempts + 1,
        },
    )
    return recipient, reply


def _where(message: Message) -> str:
    by = "by mail" if message.recipient.channel == "mail" else "in its channel"
    return f"{message.recipient.name} {by}"
