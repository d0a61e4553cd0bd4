"""An alert's state from what its rule found and what people did about it. Pure: no database, no clock.

The marts say the same of the morning after their as-of date (the macro ``alert_state``); here it is live.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

from reports.options import PERIOD_DAYS

State = Literal["open", "acknowledged", "snoozed", "resolved"]
Kind = Literal["acknowledge", "snooze", "assign", "resolve", "reopen", "note"]
SEVERITIES = ("low", "medium", "high")
# After these, an alert stands otherwise than before.
_STANDING = ("acknowledge", "snooze", "resolve", "reopen")


@dataclass(frozen=True)
class Episode:
    """What a build says of an alert: ``resolved_on`` is None while its rule fires."""

    severity: str
    period: str
    resolved_on: date | None
    as_of_date: date


@dataclass(frozen=True)
class Action:
    """One thing that somebody did about an alert; ``severity`` is the alert's at that time."""

    action_id: int
    alert_id: str
    acted_at: datetime
    acted_on: date
    acted_by: str
    action: Kind
    severity: str
    until_on: date | None = None
    assigned_to: str | None = None
    due_on: date | None = None
    note: str | None = None


def state_of(episode: Episode, history: Iterable[Action], today: date) -> State:
    """The state on ``today``, a day of the reporting time zone; ``history`` is in the order it was done.

    Nothing holds against a higher severity than it was done at. A snooze is over on its day. What somebody
    resolved is open again where its rule fires over a window that lies wholly after that day.
    """
    if episode.resolved_on is not None:
        return "resolved"
    last = last_standing(history)
    if last is None or SEVERITIES.index(episode.severity) > SEVERITIES.index(last.severity):
        return "open"
    if last.action == "acknowledge":
        return "acknowledged"
    if last.action == "snooze" and last.until_on is not None and today < last.until_on:
        return "snoozed"
    if last.action == "resolve":
        reopens = reopens_on(last, episode.period)
        if reopens is None or episode.as_of_date < reopens:
            return "resolved"
    return "open"


def last_standing(history: Iterable[Action]) -> Action | None:
    """The action that the state hangs on: the last that is more than a note or a name."""
    return next((one for one in reversed(list(history)) if one.action in _STANDING), None)


def last_assignment(history: Iterable[Action]) -> Action | None:
    """Who is to see to it, and by when: the last time that somebody was named."""
    return next((one for one in reversed(list(history)) if one.action == "assign"), None)


def reopens_on(resolve: Action, period: str) -> date | None:
    """The first as-of date whose whole window lies after a resolve; None for the period of all days."""
    days = next((days for known, days in PERIOD_DAYS.items() if known == period), None)
    return None if days is None else resolve.acted_on + timedelta(days=days)


def woke_on(episode: Episode, history: Iterable[Action]) -> date | None:
    """The as-of date from which on an alert is open again by itself that somebody had made quiet: the eve of
    the day that a snooze ends, or :func:`reopens_on`. None for what nobody had, or what has escalated."""
    last = last_standing(history)
    if last is None or SEVERITIES.index(episode.severity) > SEVERITIES.index(last.severity):
        return None
    if last.action == "snooze" and last.until_on is not None:
        return last.until_on - timedelta(days=1)
    return reopens_on(last, episode.period) if last.action == "resolve" else None
