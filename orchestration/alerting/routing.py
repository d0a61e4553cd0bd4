"""Who hears of an alert's change, by the routes of prism.yaml, and whether it is a quiet hour. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from orchestration.alerting.states import SEVERITIES
from orchestration.settings import Route


@dataclass(frozen=True, order=True)
class Recipient:
    """Where a message goes: an address by mail, or a channel of prism.yaml by its name."""

    channel: Literal["mail", "chat"]
    name: str


@dataclass(frozen=True)
class Subject:
    """What of a change and its alert a route looks at; ``severity`` None meets every route's."""

    severity: str | None
    domain: str | None
    owner: str | None


def recipients(subject: Subject, routes: Sequence[Route]) -> Iterator[tuple[Recipient, str]]:
    """Each recipient once, with why it is one: the first route that leads there."""
    seen = set()
    for number, route in enumerate(routes, 1):
        if not _leads(route, subject):
            continue
        for to in route.to:
            recipient = _recipient(to, subject.owner)
            if recipient is not None and recipient not in seen:
                seen.add(recipient)
                yield recipient, f"route {number}" + (" (the prompt's owner)" if to == "owner" else "")


def _leads(route: Route, subject: Subject) -> bool:
    high_enough = subject.severity is None or SEVERITIES.index(subject.severity) >= SEVERITIES.index(
        route.severity
    )
    return (
        high_enough
        and (not route.domains or subject.domain in route.domains)
        and (not route.owners or subject.owner in route.owners)
    )


def _recipient(to: str, owner: str | None) -> Recipient | None:
    if to == "owner":
        return None if owner is None else Recipient("mail", owner)
    return Recipient("mail" if "@" in to else "chat", to)


def quiet_until(quiet_hours: str | None, zone: ZoneInfo, now: datetime) -> datetime | None:
    """When the quiet hours that hold now are over, in ``zone``; None where none do.

    ``quiet_hours`` as in prism.yaml, 22:00-07:00: the first minute is quiet, the last one is not. Clock
    times that a change of the clocks skips or doubles count as the zone's rules have them.
    """
    if quiet_hours is None:
        return None
    begin, end = (time.fromisoformat(part) for part in quiet_hours.split("-"))
    local = now.astimezone(zone)
    clock = local.time()
    inside = begin <= clock < end if begin < end else clock >= begin or clock < end
    if not inside:
        return None
    day = local.date() + timedelta(days=1) if clock >= begin > end else local.date()
    return datetime.combine(day, end, tzinfo=zone)
