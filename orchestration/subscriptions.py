"""Subscriptions, in time and in words: whose turn a day is, from when a mail may go, and what each is about.

Decided by as-of date alone, so that a night that runs late, again or for a past day sends what that day's
night would have sent. Knows no warehouse and no mail.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from orchestration.settings import RecipientsOfColumn, Reports, Subscription
from reports.domains import folder_of
from reports.selection import Selection
from reports.views.digest import Letter


def delivery_day(as_of_date: date) -> date:
    """The day on which the report of an as-of date is read: the next."""
    return as_of_date + timedelta(days=1)


def is_due(subscription: Subscription, as_of_date: date) -> bool:
    """Whether the morning after the as-of date is one on which the subscription's mails go out.

    So a week that is sent on Monday ends with Sunday, and a month that is sent on the 1st with its last day.
    """
    day, schedule = delivery_day(as_of_date), subscription.schedule
    if schedule.every == "week":
        return day.weekday() == schedule.on
    if schedule.every == "month":
        return day.day == min(schedule.on, calendar.monthrange(day.year, day.month)[1])
    return schedule.every == "day" or day.weekday() < 5


def not_before(subscription: Subscription, as_of_date: date, timezone: str) -> datetime | None:
    """When the mails of an as-of date may go out at the earliest; None where they go at once."""
    if subscription.at is None:
        return None
    zone = ZoneInfo(subscription.timezone or timezone)
    return datetime.combine(delivery_day(as_of_date), subscription.at, zone)


def turn(subscription: Subscription) -> str:
    """Its schedule in words: ``weekly on monday at 07:30``."""
    at = f" at {subscription.at:%H:%M}" if subscription.at else ""
    return f"{subscription.schedule}{at}"


def selection(subscription: Subscription) -> Selection:
    """What all mails of a subscription are about."""
    filters = subscription.filters
    values = {"domain": filters.domain, "suite": filters.suite}
    return Selection({column: wanted for column, wanted in values.items() if wanted}, tuple(filters.severity))


def domains(subscription: Subscription, part: str | None) -> tuple[str, ...]:
    """The domains that a mail with pages of its own is about; ``part`` is the value of its column."""
    if subscription.pages == "whole":
        return ()
    return (part,) if subscription.is_by_domain and part else subscription.filters.domain


def letters(
    subscription: Subscription, reports: Reports, parts: Sequence[str]
) -> Iterator[tuple[str | None, Letter]]:
    """Each mail of a subscription: for whom it is (a value of its column, else None), and what it is told.

    ``parts`` are the values of its column.
    """
    whole = selection(subscription)
    about = [*subscription.filters.domain, *subscription.filters.suite]
    about += [f"{severity} alerts" for severity in subscription.filters.severity]
    reason = f"your address is on the list of the subscription “{subscription.name}”"
    letter = Letter(
        kind=subscription.report,
        selection=whole,
        scope=", ".join(about),
        reason=reason,
        contact=reports.contact,
        attached=bool(subscription.attach),
        folder=_folder(subscription, None),
    )
    if not isinstance(subscription.recipients, RecipientsOfColumn):
        yield None, letter
        return
    column = subscription.recipients.column
    # an owner written in two ways is one recipient, who gets one mail about the prompts of both
    spelled: dict[str, list[str]] = {}
    for part in parts:
        spelled.setdefault(_recipient(part) if column == "owner" else part, []).append(part)
    for spellings in spelled.values():
        part = spellings[0]
        mine = f"prompts of {part}" if column == "owner" else part
        values = {**whole.values, column: tuple(spellings)}
        yield (
            part,
            replace(
                letter,
                selection=Selection(values, whole.severities, each=column),
                scope=", ".join([mine, *about]),
                folder=_folder(subscription, part),
                reason="you are named as the owner of these prompts" if column == "owner" else reason,
            ),
        )


def _folder(subscription: Subscription, part: str | None) -> str:
    wanted = domains(subscription, part)
    return folder_of(wanted) if wanted else ""


def _recipient(owner: str) -> str:
    """An address as the outbox knows it: the case of a domain says nothing, that of a mailbox may."""
    mailbox, at, domain = owner.rpartition("@")
    return f"{mailbox}{at}{domain.lower()}"
