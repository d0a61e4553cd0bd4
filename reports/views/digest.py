"""The digest mail: the overview of one period, cut to what a person reads before the first coffee.

Made of the same view as the report's overview, so that page and mail never disagree. Pure: frames in, one
frozen dataclass out; both forms of the mail, HTML and text, render this one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Literal

import pandas as pd

from reports import format as fmt
from reports.errors import ReportError
from reports.marts import records
from reports.metrics import SUCCESS
from reports.options import ReportOptions
from reports.views.common import Alert, Banner, Check
from reports.views.overview import Card, News, Performer, PeriodOverview, TrendPoint, overview, performers

_MOST_PROMPTS = 5
_MOST_ALERTS = 6
_LONGEST_NAME = 80
_LONGEST_TEXT = 300


@dataclass(frozen=True)
class Section:
    """A short table of prompts."""

    title: str
    explanation: str
    rows: tuple[Performer, ...]


@dataclass(frozen=True)
class DigestAlert:
    """An open alert; ``new``: it opened on the as-of date."""

    alert: Alert
    new: bool


@dataclass(frozen=True)
class Trust:
    """The verdict on the numbers, and the checks that are not fine."""

    state: Literal["fine", "remark", "spoilt"]
    verdict: str
    remarks: tuple[Check, ...]


@dataclass(frozen=True)
class Digest:
    """The whole mail. ``href`` of whatever is in it is absolute, or empty where the report is not published.

    ``finding`` says in words what the chart of ``trend`` shows, ``legend`` how to read it. ``report_url`` is
    None where the report is not published, and ``report_file`` then says where it lies.
    """

    as_of_date: date
    subject: str
    preheader: str
    title: str
    as_of: str
    period: str
    days: str
    compared: str
    banner: Banner | None
    headline: str
    news: tuple[News, ...]
    cards: tuple[Card, ...]
    trend: tuple[TrendPoint, ...]
    trend_title: str
    finding: str
    legend: str
    sections: tuple[Section, ...]
    alerts_title: str
    alerts: tuple[DigestAlert, ...]
    more_alerts: str
    trust: Trust
    report_url: str | None
    report_file: str
    built: str
    timezone: str
    version: str


def _subject(
    options: ReportOptions, row: Mapping[str, Any], alerts: Sequence[DigestAlert], period: PeriodOverview
) -> str:
    """The news in one line: ``Prism 2026-11-21: success 91.2 % (−3.1), 2 new high alerts``."""
    if period.empty:
        news = [f"no uses ({period.title[0].lower()}{period.title[1:]})"]
    elif row["success_rate"] is None:
        news = [fmt.plural(row["usage_count"], "use")]
    else:
        rate = f"success {fmt.percent(row['success_rate'])}"
        change = SUCCESS.compare(row["success_rate"], row["previous_success_rate"])
        news = [f"{rate} ({change.text.removesuffix(' points')})" if change else rate]
    high = [one for one in alerts if one.alert.severity == "high"]
    fresh, fresh_high = [one for one in alerts if one.new], [one for one in high if one.new]
    if fresh_high:
        news.append(fmt.plural(len(fresh_high), "new high alert"))
    elif fresh:
        news.append(fmt.plural(len(fresh), "new alert"))
    elif high:
        news.append(fmt.plural(len(high), "open high alert"))
    elif alerts:
        news.append(fmt.plural(len(alerts), "open alert"))
    else:
        news.append("no open alerts")
    stale = "stale, " if options.build.state == "stale" else ""
    return f"Prism {options.as_of_date.isoformat()}: {stale}{', '.join(news)}".replace(fmt.THIN, " ")


def _finding(period: PeriodOverview) -> str:
    """What the chart shows, for those who do not see it."""
    points = [point for point in period.trend if point.current]
    busiest = max(points, key=lambda point: point.usage_count)
    parts = [f"Busiest: {busiest.days}, {fmt.plural(busiest.usage_count, 'use')}"]
    rated = [point for point in points if point.success_rate is not None]
    if len(rated) > 1:
        lowest = min(rated, key=lambda point: point.success_rate or 0)
        highest = max(rated, key=lambda point: point.success_rate or 0)
        parts.append(
            f"success between {lowest.success} ({lowest.days}) and {highest.success} ({highest.days})"
        )
    return "; ".join(parts) + "."


def _lowest(
    rows: Sequence[Mapping[str, Any]], overall: float | None, besides: Sequence[Performer]
) -> tuple[Performer, ...]:
    """The prompts that succeed less often than all do, by more than chance: their 95 % interval ends below.

    The surest first; none without a sample.
    """
    above = {one.href for one in besides}
    known = [
        row
        for row in rows
        if row["success_rate_high"] is not None
        and row["outcome_count"] >= fmt.THIN_SAMPLE
        and overall is not None
        and row["success_rate_high"] < overall
    ]
    known.sort(key=lambda row: (row["success_rate_high"], str(row["prompt_id"])))
    ranked = performers(
        [{**row, "rank": rank} for rank, row in enumerate(known, 1)],
        {str(row["prompt_id"]): row for row in known},
    )
    return tuple(one for one in ranked if one.href not in above)[:_MOST_PROMPTS]


def digest(
    *,
    dashboard: pd.DataFrame,
    summary: pd.DataFrame,
    top: pd.DataFrame,
    alert_rows: pd.DataFrame,
    daily: pd.DataFrame,
    quality: pd.DataFrame,
    options: ReportOptions,
) -> Digest:
    """The mail for ``options.default_period`` from the frames of :class:`reports.marts.Marts`.

    Raises :class:`ReportError` for the marts of a red build, which no mail is made of, and for a
    ``base_url`` that is not a web address.
    """
    if options.build.state == "red":
        raise ReportError(
            f"the build for {fmt.day(options.as_of_date)} failed its tests, so no digest is made of it",
            where=f"schema {options.marts_schema}",
            mend="Mend what failed and build again; until then the owner gets a failure notice.",
        )
    if options.base_url is not None and not options.base_url.startswith(("https://", "http://")):
        raise ReportError(
            f"{options.base_url!r} is not a web address",
            where="prism.yaml, reports.base_url",
            mend="Give the address under which the reports folder is published: https://…",
        )
    whole = overview(
        dashboard=dashboard,
        summary=summary,
        top=top,
        alert_rows=alert_rows,
        daily=daily,
        quality=quality,
        options=options,
    )
    period = whole.period(options.default_period)
    [row] = records(dashboard[dashboard["period"] == period.key])
    rows = records(summary[summary["period"] == period.key])
    folder = f"{options.base_url}/{options.as_of_date.isoformat()}" if options.base_url else None

    def link(href: str | None) -> str:
        return f"{folder}/{href}" if folder and href else ""

    def shown(performer: Performer) -> Performer:
        return replace(
            performer,
            prompt=fmt.cut(performer.prompt, _LONGEST_NAME),
            domain=fmt.cut(performer.domain, _LONGEST_NAME),
            href=link(performer.href),
        )

    alerts = [DigestAlert(alert, alert.first_detected_on == options.as_of_date) for alert in whole.alerts]
    alerts.sort(key=lambda one: ({"high": 0, "medium": 1}.get(one.alert.severity, 2), not one.new))
    best = period.top[:_MOST_PROMPTS]
    sections = (
        Section("Best performers", "By evidence: success, rating and how often they were used.", best),
        Section(
            "Lowest success",
            f"Below the overall {fmt.percent(row['success_rate'])} by more than chance.",
            _lowest(rows, row["success_rate"], best),
        ),
    )
    subject = _subject(options, row, alerts, period)
    left_out = len(alerts) - _MOST_ALERTS
    counts = ", ".join(f"{fmt.count(number)} {severity}" for severity, number in whole.alert_counts if number)
    return Digest(
        as_of_date=options.as_of_date,
        subject=subject,
        preheader=period.headline,
        title=options.title,
        as_of=fmt.day(options.as_of_date),
        period=period.title,
        days=period.days,
        compared=period.before,
        banner=whole.page.banner,
        headline=period.headline,
        news=tuple(
            replace(
                one,
                text=fmt.cut(one.text, _LONGEST_TEXT),
                href=link(one.href),
                link=None if one.link is None else fmt.cut(one.link, _LONGEST_NAME),
            )
            for one in period.news
        ),
        cards=period.cards,
        trend=() if period.empty else period.trend,
        trend_title=f"Uses and success by {period.trend_grain}",
        finding="" if period.empty else _finding(period),
        legend="Dashed: the target."
        if all(point.current for point in period.trend)
        else f"Pale: {period.before}; dashed: the target.",
        sections=tuple(
            replace(section, rows=tuple(shown(one) for one in section.rows))
            for section in sections
            if section.rows
        ),
        alerts_title=f"Open alerts: {counts}" if alerts else "No open alerts",
        alerts=tuple(
            replace(
                one,
                alert=replace(
                    one.alert,
                    prompt=fmt.cut(one.alert.prompt, _LONGEST_NAME),
                    domain=fmt.cut(one.alert.domain, _LONGEST_NAME),
                    message=fmt.cut(one.alert.message, _LONGEST_TEXT),
                    recommendation=fmt.cut(one.alert.recommendation, _LONGEST_TEXT),
                    href=link(one.alert.href),
                ),
            )
            for one in alerts[:_MOST_ALERTS]
        ),
        more_alerts=f"{fmt.plural(left_out, 'more alert')} in the report." if left_out > 0 else "",
        trust=Trust(
            whole.trust.state,
            whole.trust.verdict,
            tuple(check for check in whole.trust.checks if check.state != "fine"),
        ),
        report_url=link("index.html") or None,
        report_file=f"reports/{options.as_of_date.isoformat()}/index.html",
        built=whole.page.built,
        timezone=options.timezone,
        version=options.version,
    )
