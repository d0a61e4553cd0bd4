"""The alerts page: what is open, worst first, with evidence and advice; and what was resolved.

Pure: a frame in, one frozen dataclass out.
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
from reports.views.common import Alert, Page

_MOST_RESOLVED = 200


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
    severities: tuple[Severity, ...]
    resolved: tuple[Alert, ...]
    resolved_left_out: int
    items: ActionItems


def alerts_page(
    *,
    alert_rows: pd.DataFrame,
    item_rows: pd.DataFrame,
    prompts: Mapping[str, Mapping[str, Any]],
    options: ReportOptions,
) -> Alerts:
    """The page from `performance_alerts` and `action_items`; ``prompts`` are today's by `prompt_id`."""
    everything = common.alerts(alert_rows, options.as_of_date, prompts)
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
    return Alerts(
        page=common.page(options, "Alerts", "alerts"),
        headline=f"{fmt.plural(len(unresolved), 'alert')} open" if unresolved else "No alert is open",
        severities=tuple(one for one in severities if one.alerts),
        resolved=tuple(resolved[:_MOST_RESOLVED]),
        resolved_left_out=max(0, len(resolved) - _MOST_RESOLVED),
        items=action_items(item_rows, prompts, options),
    )
