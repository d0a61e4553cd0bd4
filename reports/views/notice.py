"""The alert notice: what changed about alerts since the last one, for one recipient, in one message.

Pure: alerts, their changes and options in, one frozen dataclass out; mail, text and chat render this one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import pandas as pd

from reports import format as fmt
from reports.options import ReportOptions
from reports.views import common
from reports.views.common import Alert

_LONGEST_NAME = 80
_LONGEST_TEXT = 300
# what is behind an alert, the most telling first; the report has all of it
_MOST_CAUSES = 2
_LONGEST_CAUSE = 160
_SEVERITIES = ("high", "medium", "low")
# What happened, from the news that matters most to the least; the last of an alert's changes is told.
_WORDS: Mapping[str, str] = {"escalated": "escalated", "opened": "new", "reopened": "again", "resolved": ""}


@dataclass(frozen=True)
class Change:
    """One change of an alert: opened, reopened, escalated or resolved."""

    alert_id: str
    event_on: date
    event: str
    previous_severity: str | None


@dataclass(frozen=True)
class NoticeAlert:
    """An alert with what happened to it. ``command`` is what acknowledges it."""

    alert: Alert
    label: str
    command: str


@dataclass(frozen=True)
class Notice:
    """The whole message. ``href`` of whatever is in it is absolute, or empty where nothing is published."""

    as_of_date: date
    subject: str
    preheader: str
    title: str
    as_of: str
    headline: str
    alerts: tuple[NoticeAlert, ...]
    resolved: tuple[NoticeAlert, ...]
    more: str
    report_url: str | None
    report_file: str
    reason: str
    built: str
    timezone: str
    version: str


def notice(
    *,
    alert_rows: pd.DataFrame,
    evidence: pd.DataFrame,
    prompts: Mapping[str, Mapping[str, Any]],
    changes: Sequence[Change],
    options: ReportOptions,
    most: int,
    reason: str,
) -> Notice:
    """The message about ``changes``, each of an alert of ``alert_rows`` (`performance_alerts`), with what
    ``evidence`` (`alert_evidence`) has of it.

    ``prompts`` are today's prompts by `prompt_id`. At most ``most`` alerts stand in it, the worst first; the
    rest is counted. ``reason`` says why its reader gets it.
    """
    last = {
        change.alert_id: change
        for change in sorted(changes, key=lambda one: (one.event_on, one.event != "resolved"))
    }
    everything = common.alerts(
        alert_rows[alert_rows["alert_id"].isin(list(last))], options.as_of_date, prompts, evidence
    )
    folder = f"{options.base_url}/{options.as_of_date.isoformat()}" if options.base_url else None
    told = [_told(alert, last[alert.alert_id], folder) for alert in everything]
    told.sort(key=lambda one: (one.alert.resolved, _SEVERITIES.index(one.alert.severity), one.alert.alert_id))
    shown, left_out = told[:most], told[most:]
    news = _news(told, last)
    return Notice(
        as_of_date=options.as_of_date,
        subject=f"Prism {options.as_of_date.isoformat()}: {news}",
        preheader=", ".join(dict.fromkeys(one.alert.prompt for one in told[:5])),
        title=options.title,
        as_of=fmt.day(options.as_of_date),
        headline=news[0].upper() + news[1:],
        alerts=tuple(one for one in shown if not one.alert.resolved),
        resolved=tuple(one for one in shown if one.alert.resolved),
        more=f"And {len(left_out)} more: {_counted(left_out)}." if left_out else "",
        report_url=f"{folder}/alerts.html" if folder else None,
        report_file=f"reports/{options.as_of_date.isoformat()}/alerts.html",
        reason=reason,
        built=fmt.moment(options.build.finished_at, options.timezone),
        timezone=options.timezone,
        version=options.version,
    )


def _told(alert: Alert, change: Change, folder: str | None) -> NoticeAlert:
    label = _WORDS.get(change.event, change.event).upper()
    if change.event == "escalated" and change.previous_severity:
        label += f" FROM {change.previous_severity.upper()}"
    return NoticeAlert(
        alert=replace(
            alert,
            prompt=fmt.cut(alert.prompt, _LONGEST_NAME),
            domain=fmt.cut(alert.domain, _LONGEST_NAME),
            message=fmt.cut(alert.message, _LONGEST_TEXT),
            recommendation=fmt.cut(alert.recommendation, _LONGEST_TEXT),
            causes=tuple(fmt.cut(cause, _LONGEST_CAUSE) for cause in alert.causes[:_MOST_CAUSES]),
            href=f"{folder}/{alert.href}" if folder else "",
        ),
        label=label,
        command=f"prism alerts acknowledge {alert.alert_id[:8]}",
    )


def _news(told: Iterable[NoticeAlert], last: Mapping[str, Change]) -> str:
    """The changes in one line, the worst first: ``2 new high alerts, 1 escalated to medium, 3 resolved``."""
    counts = Counter(
        ("resolved", "")
        if one.alert.resolved
        else (
            "escalated" if last[one.alert.alert_id].event == "escalated" else "opened",
            one.alert.severity,
        )
        for one in told
    )
    parts = []
    for severity in _SEVERITIES:
        if fresh := counts["opened", severity]:
            parts.append(fmt.plural(fresh, f"new {severity} alert"))
        if worse := counts["escalated", severity]:
            parts.append(f"{worse} escalated to {severity}")
    if gone := counts["resolved", ""]:
        parts.append(f"{gone} resolved")
    return ", ".join(parts)


def _counted(left_out: Sequence[NoticeAlert]) -> str:
    counts = Counter("resolved" if one.alert.resolved else one.alert.severity for one in left_out)
    return ", ".join(f"{counts[key]} {key}" for key in (*_SEVERITIES, "resolved") if counts[key])
