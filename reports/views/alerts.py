"""The alerts page: what is open, worst first, with evidence and advice; what is overdue, done and resolved.

Pure: frames in, one frozen dataclass out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports import format as fmt
from reports.options import ReportOptions
from reports.views import common
from reports.views.actions import ActionItems, action_items
from reports.views.common import Alert, Event, Page

_MOST_RESOLVED = 200
_MOST_EVENTS = 100


@dataclass(frozen=True)
class Severity:
    """The open alerts of one severity."""

    key: str
    title: str
    alerts: tuple[Alert, ...]


@dataclass(frozen=True)
class Alerts:
    """The page."""

    page: Page
    headline: str
    summary: str
    severities: tuple[Severity, ...]
    events: tuple[Event, ...]
    resolved: tuple[Alert, ...]
    resolved_left_out: int
    items: ActionItems


def alerts_page(
    *,
    alert_rows: pd.DataFrame,
    evidence: pd.DataFrame,
    item_rows: pd.DataFrame,
    events: tuple[Event, ...],
    prompts: Mapping[str, Mapping[str, Any]],
    options: ReportOptions,
) -> Alerts:
    """The page from `performance_alerts`, `alert_evidence`, `action_items` and the events, the newest first.

    ``prompts`` are today's prompts by `prompt_id`.
    """
    everything = common.alerts(alert_rows, options.as_of_date, prompts, evidence)
    unresolved = [one for one in everything if not one.resolved]
    resolved = sorted(
        (one for one in everything if one.resolved),
        key=lambda one: (one.last_detected_on or options.as_of_date, one.alert_id),
        reverse=True,
    )
    severities = tuple(
        Severity(key, f"{key.capitalize()} severity", tuple(one for one in unresolved if one.severity == key))
        for key in ("high", "medium", "low")
    )
    unseen = sum(one.state == "open" for one in unresolved)
    parts = [f"{len(group.alerts)} {group.key}" for group in severities if group.alerts]
    if unresolved:
        parts.append(f"{unseen} that nobody has taken up" if unseen else "somebody sees to each")
    return Alerts(
        page=common.page(options, "Alerts", "alerts"),
        headline=f"{fmt.plural(len(unresolved), 'alert')} open" if unresolved else "No alert is open",
        summary=", ".join(parts) + "." if parts else "",
        severities=tuple(one for one in severities if one.alerts),
        events=events[:_MOST_EVENTS],
        resolved=tuple(resolved[:_MOST_RESOLVED]),
        resolved_left_out=max(0, len(resolved) - _MOST_RESOLVED),
        items=action_items(item_rows, prompts, options),
    )
