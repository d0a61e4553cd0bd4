"""The mails of a date: rendered from its marts by subscription, and kept in one file until they are sent.

``PRISM_HOME/mails/<date>.zip``, apart from the reports folder: that may be published, and these name people.
Knows no recipient but by the values of a column; who gets what is :mod:`orchestration.mailing`'s.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

import psycopg

from orchestration import subscriptions
from orchestration.errors import PrismError
from orchestration.settings import RecipientsOfColumn, Settings, Subscription
from reports import mail
from reports.mail import Content
from reports.marts import reading
from reports.options import ReportOptions
from reports.views.digest import Letter

_INDEX = "index.json"


@dataclass(frozen=True)
class Kept:
    """A rendered mail: of which subscription and, where there is one for each value of a column, for which.

    ``stale_file`` is the same marked as stale, for a later date that has no report of its own.
    """

    subscription: str
    part: str | None
    file: str
    stale_file: str | None
    empty: bool
    open_alerts: int
    fingerprint: str


@dataclass(frozen=True)
class Mails:
    """The kept mails of a date. ``hours_without_use``: how old their data was at the end of it."""

    path: Path
    as_of_date: date
    hours_without_use: float | None
    kept: tuple[Kept, ...]

    def content(self, file: str) -> Content:
        with zipfile.ZipFile(self.path) as archive:
            return mail.parse(archive.read(file))


def path_of(settings: Settings, as_of_date: date) -> Path:
    """Where the mails of a date are kept."""
    return settings.home / "mails" / f"{as_of_date.isoformat()}.zip"


def keep(connection: psycopg.Connection, settings: Settings, options: ReportOptions) -> Path:
    """Renders and keeps the mails of every subscription whose turn it is, all or none.

    ``connection`` must be idle. Raises :class:`ReportError` where a mail can't be made; what was kept before
    is then as it was.
    """
    path = path_of(settings, options.as_of_date)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    building = path.with_suffix(".building")
    stale_options = None
    if settings.config.reports.on_failure == "last good":
        stale_options = replace(options, build=replace(options.build, state="stale"))
    with reading(connection, options.marts_schema, options.as_of_date) as marts:
        desk = mail.Desk(marts, options)
        stale_desk = mail.Desk(marts, stale_options) if stale_options else None
        kept: list[Kept] = []
        with zipfile.ZipFile(building, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for subscription in settings.config.reports.all_subscriptions:
                if not subscriptions.is_due(subscription, options.as_of_date):
                    continue
                for part, letter, content in _made(desk, settings, subscription):
                    view = desk.view(letter)
                    one = Kept(
                        subscription=subscription.name,
                        part=part,
                        file=f"{len(kept):04d}-{subscription.name}.eml",
                        stale_file=f"{len(kept):04d}-{subscription.name}-stale.eml" if stale_desk else None,
                        empty=view.empty,
                        open_alerts=view.open_alerts,
                        fingerprint=view.fingerprint,
                    )
                    archive.writestr(one.file, unaddressed(content, settings))
                    if stale_desk and one.stale_file:
                        stale = mail.render_digest(stale_desk.view(letter), content.attachments)
                        archive.writestr(
                            one.stale_file, unaddressed(replace(stale, report=subscription.name), settings)
                        )
                    kept.append(one)
            index = {
                "as_of_date": options.as_of_date.isoformat(),
                "hours_without_use": desk.hours_without_use(),
                "mails": [asdict(one) for one in kept],
            }
            archive.writestr(_INDEX, json.dumps(index, indent=1))
    building.replace(path)
    return path


def _made(
    desk: mail.Desk, settings: Settings, subscription: Subscription
) -> Iterator[tuple[str | None, Letter, Content]]:
    """The mails of a subscription: part, letter, content."""
    parts = []
    if isinstance(subscription.recipients, RecipientsOfColumn):
        parts = desk.values(subscription.recipients.column, subscriptions.selection(subscription))
    for part, letter in subscriptions.letters(subscription, settings.config.reports, parts):
        content = mail.render_digest(desk.view(letter), desk.tables(letter, subscription.attach))
        if subscription.format == "text":
            content = replace(content, html=None, chart=None)
        yield part, letter, replace(content, report=subscription.name)


def first_made(
    connection: psycopg.Connection, settings: Settings, options: ReportOptions, subscription: Subscription
) -> Content:
    """A subscription's mail of the marts as they are: the first, where there is one for each value."""
    with reading(connection, options.marts_schema, options.as_of_date) as marts:
        for _, _, content in _made(mail.Desk(marts, options), settings, subscription):
            return content
    raise PrismError(
        f"the subscription {subscription.name!r} has no mail: no prompt has a value in its column",
        where="prism.yaml, reports.subscriptions",
        mend="Give prompts an owner, a domain or a suite, or the subscription recipients.",
    )


def unaddressed(content: Content, settings: Settings) -> bytes:
    """A mail as it is kept: from the sender to the sender, to be addressed when it is sent."""
    sender = settings.config.reports.sender
    message = mail.compose(
        content,
        sender=sender,
        recipient=sender,
        message_id=mail.message_id(content.report, content.as_of_date, sender, sender),
        composed_at=datetime.now(UTC),
    )
    return message.as_bytes()


def kept(settings: Settings, as_of_date: date) -> Mails | None:
    """The kept mails of a date; None where there are none."""
    path = path_of(settings, as_of_date)
    try:
        with zipfile.ZipFile(path) as archive:
            index = json.loads(archive.read(_INDEX))
    except FileNotFoundError:
        return None
    return Mails(
        path=path,
        as_of_date=date.fromisoformat(index["as_of_date"]),
        hours_without_use=index["hours_without_use"],
        kept=tuple(Kept(**one) for one in index["mails"]),
    )


def last_kept(settings: Settings, before: date) -> Mails | None:
    """The newest kept mails of a date before another; None where there are none."""
    days = sorted(
        date.fromisoformat(path.stem)
        for path in (settings.home / "mails").glob("????-??-??.zip")
        if path.stem < before.isoformat()
    )
    return kept(settings, days[-1]) if days else None


def of_date(settings: Settings, as_of_date: date) -> Mails:
    """The kept mails of a date. Raises :class:`PrismError` where there are none."""
    found = kept(settings, as_of_date)
    if found is not None:
        return found
    known = sorted(path.stem for path in (settings.home / "mails").glob("????-??-??.zip"))
    raise PrismError(
        f"there are no rendered mails of {as_of_date}",
        where=str(settings.home / "mails"),
        mend=f"There are those of: {', '.join(known)}." if known else "Run: prism run",
    )
