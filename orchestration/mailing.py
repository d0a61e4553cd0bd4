"""Kept mails on their way: to whom each goes and why, what came of it, and what the owner hears.

Settings on one side, the outbox of `reports` on the other. What the mails say was settled when they were
rendered (:mod:`orchestration.kept_mails`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from email.message import EmailMessage

import psycopg

from orchestration import kept_mails, subscriptions
from orchestration.errors import PrismError
from orchestration.kept_mails import Kept, Mails
from orchestration.settings import RecipientsOfColumn, Settings, Subscription
from orchestration.warehouse import Warehouse
from reports import mail, outbox
from reports.domains import folder_of
from reports.errors import ReportError
from reports.mail import Content
from reports.outbox import Delivery, Entry, Patience
from reports.render import MANIFEST
from reports.views.operations import OperationsNotice, delivery_notice, failure_notice

# Beyond so many mails the lines for people count those that went well.
_MOST_LINES = 20
_PATIENCE = Patience()
_NO_PAGES = "the report of its domains alone could not be made; prism report says why"


@dataclass(frozen=True)
class Sending:
    """What became of a report's mails: ``lines`` in words, ``unsent`` how many due ones did not go out.

    ``counts`` says it without addresses, for where it is kept.
    """

    lines: tuple[str, ...]
    unsent: int
    counts: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Post:
    """One mail on its way: under which name in the outbox, to whom, and who is left out, in words.

    ``lacks_pages``: the report of its domains that it leads to is not there, so it goes to nobody.
    """

    subscription: Subscription
    kept: Kept
    report: str
    recipients: tuple[str, ...]
    left_out: tuple[str, ...]
    lacks_pages: bool

    def why_not(self, connection: psycopg.Connection, recipient: str, as_of_date: date) -> str | None:
        """Why the mail is kept back from a recipient; None where it is not."""
        if self.lacks_pages:
            return _NO_PAGES
        condition = self.subscription.condition
        if condition == "results" and self.kept.empty:
            return "there was no use, and it goes out with results only"
        if condition == "alerts" and not self.kept.open_alerts:
            return "no alert is open, and it goes out with alerts only"
        if condition == "change":
            last = outbox.last_said(connection, report=self.report, recipient=recipient, before=as_of_date)
            if last is not None and last[1] == self.kept.fingerprint:
                return f"nothing has changed since that of {last[0]}, and it goes out on change only"
        return None


def _posts(settings: Settings, mails: Mails, *, marked: str = "") -> Iterator[_Post]:
    by_name = {one.name: one for one in settings.config.reports.all_subscriptions}
    for one in mails.kept:
        subscription = by_name.get(one.subscription)
        if subscription is None:
            continue  # it was taken out of prism.yaml since
        left_out: list[str] = []
        recipients: list[str] = []
        for recipient in _named(settings, subscription, one.part):
            try:
                [address] = mail.addresses([recipient])
            except ReportError as error:
                left_out.append(f"{subscription.name}: {error.what}")
                continue
            if not settings.config.reports.allows(address):
                left_out.append(f"{subscription.name}: {address} is in none of reports.allowed_domains")
            elif address not in recipients:
                recipients.append(address)
        # a reader may be on the list of several domains; an owner gets one mail, and is named nowhere else
        each = one.part if isinstance(subscription.recipients, RecipientsOfColumn) else None
        by_owner = each is not None and subscription.recipients == RecipientsOfColumn(column="owner")
        name = subscription.name if each is None or by_owner else f"{subscription.name}/{each}"
        domains = subscriptions.domains(subscription, one.part)
        pages = settings.reports_dir / folder_of(domains) / mails.as_of_date.isoformat() / MANIFEST
        yield _Post(
            subscription,
            one,
            name + marked,
            tuple(recipients),
            tuple(left_out),
            lacks_pages=bool(domains) and not pages.is_file(),
        )


def _named(settings: Settings, subscription: Subscription, part: str | None) -> Sequence[str]:
    """Whom the settings, or a column's value, name as recipients: addresses, lists resolved."""
    lists = settings.config.reports.lists
    named = (
        [part or ""] if isinstance(subscription.recipients, RecipientsOfColumn) else subscription.recipients
    )
    return [address for name in named for address in lists.get(name, (name,))]


def send(warehouse: Warehouse, settings: Settings, as_of_date: date, *, only: str | None = None) -> Sending:
    """Queues a date's mails for each recipient who has none of them yet, and delivers what is due.

    ``only`` one subscription. Without an SMTP server the mails are kept in the outbox, which is no failure.
    Where their data is older than the settings allow, nobody but the owner gets one; one that leads to a
    report of some domains goes out once that is there.
    """
    mails = kept_mails.of_date(settings, as_of_date)
    posts = [one for one in _posts(settings, mails) if only in (None, one.subscription.name)]
    if _too_old(settings, mails):
        limit = settings.config.reports.max_data_age_hours
        told = (
            f"the newest use of any source is {mails.hours_without_use:.0f} hours older than the end of "
            f"{as_of_date}; reports.max_data_age_hours allows {limit}"
        )
        withhold(warehouse, settings, as_of_date, [told], look="prism doctor says which source is silent.")
        line = f"Mail: withheld, since {told}"
        return Sending((line,), sum(len(post.recipients) for post in posts), (line,))
    left_out = [f"Mail: left out: {why}" for post in posts for why in post.left_out]
    number = [f"Mail: {len(left_out)} left out"] if left_out else []
    lacking = [post for post in posts if post.lacks_pages and post.recipients]
    remarks = [f"Mail: {post.report} withheld, since {_NO_PAGES}" for post in lacking]
    withheld = sum(len(post.recipients) for post in lacking)
    if not any(post.recipients for post in posts):
        remarks.append(
            "Mail: no recipients in prism.yaml: nobody gets it; see it: prism send --to you@example.com"
            if posts
            else "Mail: it is no subscription's turn."
        )
    waiting = 0
    with warehouse.connect() as connection:
        for post in posts:
            queued = _queue(connection, settings, mails, post, as_of_date, post.kept.file)
            waiting += sum(entry.state == "queued" for entry in queued)
        if not settings.smtp_url:
            if waiting:
                remarks.append(f"Mail: {waiting} in the outbox, kept there: PRISM_SMTP_URL is not set.")
            return Sending((*left_out, *remarks), withheld, (*number, *remarks))
        delivery = deliver(connection, settings)
    nothing = [] if delivery.attempts or delivery.fault else ["Mail: nothing was due."]
    return Sending(
        (*left_out, *remarks, *in_words(delivery), *nothing),
        len(delivery.unsent) + withheld,
        (*number, *remarks, *counted(delivery), *nothing),
    )


def _queue(
    connection: psycopg.Connection,
    settings: Settings,
    mails: Mails,
    post: _Post,
    as_of_date: date,
    file: str,
) -> list[Entry]:
    wanted = [
        recipient for recipient in post.recipients if post.why_not(connection, recipient, as_of_date) is None
    ]
    connection.commit()
    if not wanted:
        return []
    content = mails.content(file)
    return outbox.queue(
        connection,
        report=post.report,
        as_of_date=as_of_date,
        messages=[
            _addressed(settings, content, recipient, report=post.report, as_of_date=as_of_date)
            for recipient in wanted
        ],
        not_before=subscriptions.not_before(post.subscription, as_of_date, settings.config.timezone),
        fingerprint=post.kept.fingerprint,
        sign=signature(settings),
    )


def _addressed(
    settings: Settings, content: Content, recipient: str, *, report: str, as_of_date: date
) -> EmailMessage:
    reports = settings.config.reports
    return mail.compose(
        content,
        sender=reports.sender,
        recipient=recipient,
        message_id=mail.message_id(report, as_of_date, recipient, reports.sender),
        composed_at=datetime.now(UTC),
        reply_to=reports.owner,
        unsubscribe=reports.contact,
    )


def patience(settings: Settings, base: Patience = _PATIENCE) -> Patience:
    """How the outbox tries, by the settings."""
    return replace(base, messages_a_minute=settings.config.reports.messages_a_minute)


def signature(settings: Settings) -> mail.Sign | None:
    """What signs a mail, where the settings have a DKIM selector. Raises where the key is not to be had."""
    dkim = settings.config.reports.dkim
    if dkim is None:
        return None
    if settings.dkim_key_path is None:
        raise PrismError(
            "reports.dkim is set, but the variable that names the key's file is not",
            where="PRISM_DKIM_KEY",
            mend="Set it to a file with the private key in PEM, or take reports.dkim out.",
        )
    try:
        key = settings.dkim_key_path.read_bytes()
    except OSError as error:
        raise PrismError(
            f"the key that signs mails can't be read: {error.strerror}",
            where=f"PRISM_DKIM_KEY, {settings.dkim_key_path}",
            mend="Name a file that this account may read.",
        ) from error
    domain = dkim.domain or settings.config.reports.sender.rpartition("@")[2]
    return mail.signer(key, dkim.selector, domain)


def deliver(connection: psycopg.Connection, settings: Settings, base: Patience = _PATIENCE) -> Delivery:
    """Sends what is due in the outbox; the owner hears of each mail that has failed for good, once."""
    assert settings.smtp_url is not None
    wait = patience(settings, base)
    delivery = outbox.deliver(connection, settings.smtp_url, patience=wait)
    if _tell_of_failures(connection, settings):
        outbox.deliver(connection, settings.smtp_url, patience=wait)
    return delivery


def deliver_due(warehouse: Warehouse, settings: Settings, base: Patience = _PATIENCE) -> Delivery | None:
    """Sends what has come due since; None where nothing goes out, since there is no SMTP server."""
    if not settings.smtp_url:
        return None
    with warehouse.connect() as connection:
        return deliver(connection, settings, base)


def counted(delivery: Delivery) -> list[str]:
    """What a delivery did, in numbers, without anybody's address."""
    outcomes = Counter(attempt.outcome for attempt in delivery.attempts).most_common()
    lines = (
        [f"Mail: {', '.join(f'{number:,} {outcome}' for outcome, number in outcomes)}"] if outcomes else []
    )
    return lines + ([f"Mail: {delivery.fault}"] if delivery.fault else [])


def in_words(delivery: Delivery) -> list[str]:
    """What a delivery did, for people: each mail, or beyond some the counts and what went wrong."""
    attempts = delivery.attempts
    if len(attempts) <= _MOST_LINES:
        lines = [f"Mail: {delivery.fault}"] if delivery.fault else []
    else:
        lines = counted(delivery)
        attempts = tuple(one for one in attempts if one.outcome != "sent")[:_MOST_LINES]
    return [f"Mail to {one.recipient}: {one.outcome} ({one.reply})" for one in attempts] + lines


def tell(warehouse: Warehouse, settings: Settings, notice: OperationsNotice) -> bool:
    """Mails a notice to the owner, once a kind and date; False where there is no owner."""
    if settings.config.reports.owner is None:
        return False
    with warehouse.connect() as connection:
        _queue_notice(connection, settings, notice)
        connection.commit()
        if settings.smtp_url:
            deliver(connection, settings)
    return True


def _queue_notice(
    connection: psycopg.Connection, settings: Settings, notice: OperationsNotice, copy: int = 0
) -> None:
    owner, sender = settings.config.reports.owner, settings.config.reports.sender
    assert owner is not None
    message = mail.compose(
        mail.render_operations(notice),
        sender=sender,
        recipient=owner,
        message_id=mail.message_id(_copy(notice.report, copy), notice.as_of_date, owner, sender),
        composed_at=datetime.now(UTC),
    )
    outbox.queue(
        connection,
        report=notice.report,
        as_of_date=notice.as_of_date,
        messages=[message],
        sign=signature(settings),
        copy=copy,
    )


def _copy(report: str, number: int) -> str:
    return report if number == 0 else f"{report}, copy {number}"


def _tell_of_failures(connection: psycopg.Connection, settings: Settings) -> bool:
    """Queues one notice of the mails that failed since the last; together, so that none is told twice."""
    owner = settings.config.reports.owner
    if owner is None:
        return False
    with connection.transaction():
        failed = outbox.take_untold_failures(connection)
        if not failed:
            return False
        today = datetime.now(settings.zone).date()
        told = [f"{one.report} of {one.as_of_date} to {one.recipient}: {one.last_reply}" for one in failed]
        notice = delivery_notice(as_of_date=today, failures=told)
        [address] = mail.addresses([owner])
        copy = outbox.next_copy(connection, report=notice.report, as_of_date=today, recipient=address)
        _queue_notice(connection, settings, notice, copy)
    return True


def withhold(
    warehouse: Warehouse, settings: Settings, as_of_date: date, failures: Sequence[str], *, look: str
) -> None:
    """The owner hears that a date gives no report, once; the audience gets nothing or, where the settings say
    so, the last good report marked as stale."""
    reports = settings.config.reports
    good = kept_mails.kept(settings, as_of_date)
    is_earlier = good is not None and not _too_old(settings, good)
    last = None
    if not is_earlier and reports.on_failure == "last good":
        last = kept_mails.last_kept(settings, as_of_date)
    stale = False
    with warehouse.connect() as connection:
        for post in _posts(settings, last, marked=" (stale)") if last else ():
            if post.kept.stale_file and subscriptions.is_due(post.subscription, as_of_date):
                assert last is not None
                queued = _queue(connection, settings, last, post, as_of_date, post.kept.stale_file)
                stale = stale or bool(queued)
    notice = failure_notice(
        as_of_date=as_of_date,
        failures=failures,
        look=look,
        readers="earlier" if is_earlier else "stale" if stale else "nothing",
    )
    if not tell(warehouse, settings, notice) and stale:
        deliver_due(warehouse, settings)


def _too_old(settings: Settings, mails: Mails) -> bool:
    hours = mails.hours_without_use
    return hours is not None and hours > settings.config.reports.max_data_age_hours


def preview(
    warehouse: Warehouse, settings: Settings, as_of_date: date, *, only: str | None = None
) -> Sending:
    """Who would get what, and why; changes nothing."""
    mails = kept_mails.of_date(settings, as_of_date)
    lines: list[str] = []
    if _too_old(settings, mails):
        lines.append(
            f"nobody would get anything: the data is {mails.hours_without_use:.0f} hours old, and "
            f"reports.max_data_age_hours allows {settings.config.reports.max_data_age_hours}"
        )
    with warehouse.connect() as connection:
        for post in _posts(settings, mails):
            if only in (None, post.subscription.name):
                lines += _previewed(connection, settings, mails, post)
    there = {one.subscription for one in mails.kept}
    lines += [
        f"{one.name}: not this time; its turn is {subscriptions.turn(one)}"
        for one in settings.config.reports.all_subscriptions
        if one.name not in there and only in (None, one.name)
    ]
    return Sending(tuple(lines), 0)


def _previewed(
    connection: psycopg.Connection, settings: Settings, mails: Mails, post: _Post
) -> Iterator[str]:
    yield f"{post.report} ({subscriptions.turn(post.subscription)}): {mails.content(post.kept.file).subject}"
    wanted = []
    for recipient in post.recipients:
        why = post.why_not(connection, recipient, mails.as_of_date)
        if why is None:
            wanted.append(recipient)
        else:
            yield f"  would not     {recipient}: {why}"
    connection.commit()
    plans = outbox.plan(
        connection,
        report=post.report,
        as_of_date=mails.as_of_date,
        recipients=wanted,
        patience=patience(settings),
        not_before=subscriptions.not_before(post.subscription, mails.as_of_date, settings.config.timezone),
    )
    for plan in plans:
        yield f"  {'would get it ' if plan.sends else 'would not    '} {plan.recipient}: {plan.why}"
    for why in post.left_out:
        yield f"  left out      {why}"
    if not post.recipients and not post.left_out:
        yield "  No recipients in prism.yaml: nobody would get it."


def send_test(settings: Settings, content: Content, address: str) -> Sending:
    """Sends a mail to one address past the outbox; it counts as nothing.

    Without an SMTP server it is written into ``PRISM_HOME/outbox`` instead.
    """
    reports = settings.config.reports
    [recipient] = mail.addresses([address])
    if not reports.allows(recipient):
        raise PrismError(
            f"{recipient} is in none of the domains that mail may go to",
            where="prism.yaml, reports.allowed_domains",
            mend="Add its domain there, or send the test to another address.",
        )
    now = datetime.now(UTC)
    message = _addressed(
        settings, content, recipient, report=f"test {now.isoformat()}", as_of_date=content.as_of_date
    )
    if settings.smtp_url:
        reply = outbox.send_test(settings.smtp_url, message, sign=signature(settings))
        return Sending((f"Test mail to {recipient}: {reply}",), 0)
    path = settings.home / "outbox" / f"test-{content.report}-{content.as_of_date}.eml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(message.as_bytes())
    return Sending((f"PRISM_SMTP_URL is not set; the test mail is in {path}",), 0)


def check_subscription(settings: Settings, name: str | None) -> None:
    """Raises :class:`PrismError` for a name that is given and none of the settings' subscriptions has."""
    known = [one.name for one in settings.config.reports.all_subscriptions]
    if name is not None and name not in known:
        raise PrismError(
            f"there is no subscription {name!r}",
            where="prism.yaml, reports.subscriptions",
            mend=f"Known: {', '.join(known)}.",
        )


def content_for_test(
    settings: Settings, as_of_date: date, only: str | None, make: Callable[[Subscription], Content]
) -> Content:
    """The mail that a test shows: the kept one of a subscription, or else what ``make`` makes."""
    check_subscription(settings, only)
    mails = kept_mails.kept(settings, as_of_date)
    for one in mails.kept if mails else ():
        if mails and only in (None, one.subscription):
            return mails.content(one.file)
    return make(next(one for one in settings.config.reports.all_subscriptions if only in (None, one.name)))


def resend(
    warehouse: Warehouse, settings: Settings, as_of_date: date, address: str, *, only: str | None = None
) -> Sending:
    """Sends a recipient once more what it was sent of a date: the same words, as a mail of its own."""
    [recipient] = mail.addresses([address])
    with warehouse.connect() as connection:
        there = outbox.entries(connection, as_of_date=as_of_date)
        mine = {
            entry.report: entry
            for entry in there
            if entry.recipient == recipient and only in (None, entry.report.split("/")[0])
        }
        if not mine:
            who = sorted({entry.recipient for entry in there if only in (None, entry.report.split("/")[0])})
            raise PrismError(
                f"{recipient} was sent no mail of {as_of_date}, so there is none to send again",
                where="prism send --resend",
                mend=f"These were: {', '.join(who[:20])}." if who else "Nobody was: prism send",
            )
        for report, entry in mine.items():
            content = mail.parse(outbox.content_of(connection, entry.outbox_id))
            copy = outbox.next_copy(connection, report=report, as_of_date=as_of_date, recipient=recipient)
            message = _addressed(
                settings, content, recipient, report=_copy(report, copy), as_of_date=as_of_date
            )
            queued = outbox.queue(
                connection,
                report=report,
                as_of_date=as_of_date,
                messages=[message],
                sign=signature(settings),
                copy=copy,
            )
            if not queued:
                raise PrismError(
                    f"{recipient} wants no mails",
                    where="prism send --resend",
                    mend=f"If that is over: prism send --resubscribe {recipient}",
                )
        if not settings.smtp_url:
            return Sending((f"Mail: {len(mine)} in the outbox, kept there: PRISM_SMTP_URL is not set.",), 0)
        delivery = deliver(connection, settings)
    return Sending(tuple(in_words(delivery)), len(delivery.unsent))


def retry(warehouse: Warehouse, settings: Settings) -> Sending:
    """Tries at once what has failed, waits to be tried again, or may not have come."""
    with warehouse.connect() as connection:
        revived = outbox.revive(connection)
        lines = [f"Mail: {revived} to be tried again."]
        if not settings.smtp_url:
            return Sending((*lines, "Mail: kept in the outbox: PRISM_SMTP_URL is not set."), 0)
        delivery = deliver(connection, settings)
    return Sending((*lines, *in_words(delivery)), len(delivery.unsent))


def subscribe(warehouse: Warehouse, address: str, *, wanted: bool) -> str:
    """Puts an address on the list of those that get no mails, or takes it off; says what that means."""
    [recipient] = mail.addresses([address])
    with warehouse.connect() as connection:
        if wanted:
            was = outbox.unsuppress(connection, recipient)
            return (
                f"{recipient} gets what is sent from now on."
                if was
                else f"{recipient} was not on the list: nothing has changed."
            )
        new = outbox.suppress(connection, recipient)
        return (
            f"{recipient} gets no reports and no notices of alerts any more; what waits for it is not sent."
            if new
            else f"{recipient} was on the list already."
        )
