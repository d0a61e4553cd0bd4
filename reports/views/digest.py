"""The mails about a period: nightly digest, weekly summary, monthly review, of all prompts or of some.

Made of the same view as the report's overview, cut to what a person reads before the first coffee, so that
page and mail never disagree. Pure: frames in, one frozen dataclass out; both forms of the mail, HTML and
text, render this one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any, Literal

from reports import format as fmt
from reports.errors import ReportError
from reports.marts import records
from reports.metrics import COST, SUCCESS
from reports.options import PERIOD_DAYS, Period, ReportOptions
from reports.selection import Frames, Selection
from reports.views.common import Alert, Banner, Check, prompt_href, prompt_name
from reports.views.overview import Card, News, Performer, PeriodOverview, TrendPoint, overview, performers

_MOST_PROMPTS = 5
_MOST_ALERTS = 6
_LONGEST_NAME = 80
_LONGEST_TEXT = 300


Kind = Literal["digest", "weekly", "monthly"]


@dataclass(frozen=True)
class _Kind:
    """What sets one mail apart: its name, the period it is about, and how its subject names that.

    ``period`` and ``title`` None: the report's own.
    """

    title: str | None
    period: Period | None
    subject: str


_KINDS: Mapping[Kind, _Kind] = {
    "digest": _Kind(None, None, ""),
    "weekly": _Kind("Weekly summary", "week", "week to "),
    "monthly": _Kind("Monthly review", "month", "month to "),
}


@dataclass(frozen=True)
class Letter:
    """What one mail is told beside the report's options.

    ``scope``: whom or what it is about, in words, empty where that is everything. ``reason``: why its
    reader gets it; ``contact``: whom to write to for no more. ``attached``: the whole tables come with it.
    ``folder``: where the report that it leads to lies, from the folder of all reports; empty: there itself.
    """

    kind: Kind = "digest"
    selection: Selection = field(default_factory=Selection)
    scope: str = ""
    reason: str = "your address is on the digest's list of recipients"
    contact: str | None = None
    attached: bool = False
    folder: str = ""


@dataclass(frozen=True)
class Row:
    """One prompt of a table; ``cells`` by the table's columns."""

    prompt: str
    domain: str
    href: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """A short table of prompts. ``more`` says where the rest is."""

    title: str
    explanation: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    more: str


@dataclass(frozen=True)
class DigestAlert:
    """An open alert; ``new``: it opened on the as-of date, or in the week or month that the mail is about."""

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

    ``lead`` is what a weekly or monthly mail says beside the headline; ``finding`` says in words what the
    chart of ``trend`` shows, ``legend`` how to read it. ``report_url`` is None where the report is not
    published, and ``report_file`` then says where it lies. ``fingerprint`` is the same for mails that say the
    same of alerts, targets, trends and prompts, whatever the digits.
    """

    as_of_date: date
    kind: Kind
    scope: str
    subject: str
    preheader: str
    title: str
    as_of: str
    period: str
    days: str
    compared: str
    banner: Banner | None
    headline: str
    lead: str
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
    overdue: str
    trust: Trust
    report_url: str | None
    report_file: str
    built: str
    timezone: str
    version: str
    reason: str
    contact: str | None
    empty: bool
    open_alerts: int
    fingerprint: str


def _subject(
    letter: Letter,
    options: ReportOptions,
    row: Mapping[str, Any],
    alerts: Sequence[DigestAlert],
    period: PeriodOverview,
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
    if letter.kind == "monthly" and row["total_cost"] is not None:
        change = COST.compare(row["total_cost"], row["previous_total_cost"])
        news.append(f"cost {fmt.money(row['total_cost'])}" + (f" ({change.text})" if change else ""))
    stale = "stale, " if options.build.state == "stale" else ""
    about = f", {fmt.cut(letter.scope, _LONGEST_NAME)}" if letter.scope else ""
    when = f"{_KINDS[letter.kind].subject}{options.as_of_date.isoformat()}"
    return f"Prism {when}{about}: {stale}{', '.join(news)}".replace(fmt.THIN, " ")


def _lead(kind: Kind, alerts: Sequence[DigestAlert], resolved: int) -> str:
    """How the alerts came and went in the week or the month."""
    if kind == "digest":
        return ""
    opened = sum(one.new for one in alerts)
    period = "week" if kind == "weekly" else "month"
    if not alerts and not resolved:
        return f"The {period} was free of alerts."
    return (
        f"Alerts of the {period}: {fmt.count(opened)} opened, {fmt.count(resolved)} resolved, "
        f"{fmt.count(len(alerts))} open now."
    )


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


def _lowest(rows: Sequence[Mapping[str, Any]], overall: float | None) -> tuple[Performer, ...]:
    """The prompts that succeed less often than all do, by more than chance: their 95 % interval ends below.

    The surest first; none without a sample.
    """
    known = [
        row
        for row in rows
        if row["success_rate_high"] is not None
        and row["outcome_count"] >= fmt.THIN_SAMPLE
        and overall is not None
        and row["success_rate_high"] < overall
    ]
    known.sort(key=lambda row: (row["success_rate_high"], str(row["prompt_id"])))
    return performers(
        [{**row, "rank": rank} for rank, row in enumerate(known, 1)],
        {str(row["prompt_id"]): row for row in known},
    )


def _rank(row: Performer) -> tuple[str, ...]:
    return row.uses, row.success, row.rating


def _moved(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The prompts whose success changed most, weighed by how many people felt it; none by a thin sample."""
    known = [
        row
        for row in rows
        if row["success_rate"] is not None
        and row["previous_success_rate"] is not None
        and min(row["outcome_count"] or 0, row["previous_usage_count"] or 0) >= fmt.THIN_SAMPLE
        and abs(row["success_rate"] - row["previous_success_rate"]) >= SUCCESS.steady
    ]
    known.sort(
        key=lambda row: (
            -abs(row["success_rate"] - row["previous_success_rate"]) * row["usage_count"],
            str(row["prompt_id"]),
        )
    )
    return known


def _costly(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    known = [row for row in rows if row["total_cost"]]
    known.sort(key=lambda row: (-row["total_cost"], str(row["prompt_id"])))
    return known


def _sections(
    kind: Kind,
    row: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    period: PeriodOverview,
    attached: bool,
) -> tuple[Section, ...]:
    """The tables of a mail, each cut to :data:`_MOST_PROMPTS`, with links into the report's folder."""
    lowest = _lowest(rows, row["success_rate"])
    low = {one.href for one in lowest}
    # of few prompts even the worst would be among the best
    best = [one for one in period.top if one.href not in low]
    columns = ("Uses", "Success", "Rating")
    where = "in the attached table" if attached else "in the report"

    def ranked(title: str, explanation: str, some: Sequence[Performer]) -> Section:
        shown = tuple(Row(one.prompt, one.domain, one.href, _rank(one)) for one in some[:_MOST_PROMPTS])
        return Section(title, explanation, columns, shown, "")

    def table(
        title: str,
        explanation: str,
        names: tuple[str, ...],
        some: Sequence[tuple[Mapping[str, Any], tuple[str, ...]]],
    ) -> Section:
        shown = tuple(
            Row(prompt_name(one), str(one["domain"] or "no domain"), prompt_href(one), cells)
            for one, cells in some[:_MOST_PROMPTS]
        )
        left_out = len(some) - len(shown)
        return Section(
            title, explanation, names, shown, f"{fmt.count(left_out)} more {where}." if left_out > 0 else ""
        )

    made = [
        ranked("Best performers", "By evidence: success, rating and how often they were used.", best),
        ranked(
            "Lowest success",
            f"Below the overall {fmt.percent(row['success_rate'])} by more than chance.",
            lowest,
        ),
    ]
    if kind != "digest":
        made.append(
            table(
                "Moved most",
                f"Success against {period.before}, weighed by uses.",
                ("Uses", "Before", "Now"),
                [
                    (
                        one,
                        (
                            fmt.count(one["usage_count"]),
                            fmt.percent(one["previous_success_rate"]),
                            fmt.percent(one["success_rate"]),
                        ),
                    )
                    for one in _moved(rows)
                ],
            )
        )
    if kind == "monthly":
        made.append(
            table(
                "Where the money went",
                f"Of {fmt.money(row['total_cost'])} in all.",
                ("Cost", "Share", "Per use"),
                [
                    (
                        one,
                        (
                            fmt.money(one["total_cost"]),
                            fmt.percent(one["total_cost"] / row["total_cost"]),
                            fmt.money(one["cost_per_use"]),
                        ),
                    )
                    for one in _costly(rows)
                ],
            )
        )
    made = [section for section in made if section.rows]
    in_all = sum(bool(one["usage_count"]) for one in rows)
    if attached and made and in_all:
        made[0] = replace(made[0], more=f"Every prompt that was used ({fmt.count(in_all)}) is {where}.")
    return tuple(made)


def _fingerprint(
    period: PeriodOverview, alerts: Sequence[DigestAlert], sections: Sequence[Section], trust: str
) -> str:
    """What the mail says, without its digits: two nights that say the same need one mail."""
    said = [trust, *sorted(f"{one.alert.alert_id} {one.alert.severity} {one.alert.state}" for one in alerts)]
    said += [
        f"{card.key} {card.target.met if card.target else ''} {card.change.direction if card.change else ''}"
        for card in period.cards
    ]
    said += sorted(f"{one.tone} {one.href}" for one in period.news if one.link)
    said += [f"{section.title} {sorted(row.href for row in section.rows)}" for section in sections[1:]]
    return hashlib.sha256("\n".join(said).encode("utf-8", "surrogatepass")).hexdigest()


def period_of(kind: Kind, options: ReportOptions) -> Period:
    """The period that a mail is about."""
    return _KINDS[kind].period or options.default_period


def digest(frames: Frames, options: ReportOptions, letter: Letter = Letter()) -> Digest:
    """A mail of the letter's kind from frames that are cut to its selection.

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
    kind = _KINDS[letter.kind]
    whole = overview(
        dashboard=frames.dashboard,
        summary=frames.summary,
        top=frames.top,
        alert_rows=frames.alert_rows,
        daily=frames.daily,
        quality=frames.quality,
        options=options,
    )
    period = whole.period(period_of(letter.kind, options))
    [row] = records(frames.dashboard[frames.dashboard["period"] == period.key])
    rows = records(frames.summary[frames.summary["period"] == period.key])
    place = f"{letter.folder}/{options.as_of_date}" if letter.folder else f"{options.as_of_date}"
    folder = f"{options.base_url}/{place}" if options.base_url else None
    since = options.as_of_date - timedelta(days=(PERIOD_DAYS[kind.period or "day"] or 1) - 1)

    def link(href: str | None) -> str:
        return f"{folder}/{href}" if folder and href else ""

    alerts = [
        DigestAlert(alert, alert.first_detected_on is not None and alert.first_detected_on >= since)
        for alert in whole.alerts
    ]
    alerts.sort(key=lambda one: ({"high": 0, "medium": 1}.get(one.alert.severity, 2), not one.new))
    resolved = sum(
        one["state"] == "resolved"
        and one["last_detected_on"] is not None
        and one["last_detected_on"] >= since
        for one in records(frames.alert_rows)
    )
    overdue = sum(
        one["state"] != "resolved" and one["due_on"] is not None and one["due_on"] <= options.as_of_date
        for one in records(frames.alert_rows)
    )
    sections = _sections(letter.kind, row, rows, period, letter.attached)
    left_out = len(alerts) - _MOST_ALERTS
    where = "in the attached table" if letter.attached else "in the report"
    counts = ", ".join(f"{fmt.count(number)} {severity}" for severity, number in whole.alert_counts if number)
    return Digest(
        as_of_date=options.as_of_date,
        kind=letter.kind,
        scope=fmt.cut(letter.scope, _LONGEST_NAME),
        subject=_subject(letter, options, row, alerts, period),
        preheader=period.headline,
        title=kind.title or options.title,
        as_of=fmt.day(options.as_of_date),
        period=period.title,
        days=period.days,
        compared=period.before,
        banner=whole.page.banner,
        headline=period.headline,
        lead=_lead(letter.kind, alerts, resolved),
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
            replace(
                section,
                rows=tuple(
                    replace(
                        one,
                        prompt=fmt.cut(one.prompt, _LONGEST_NAME),
                        domain=fmt.cut(one.domain, _LONGEST_NAME),
                        href=link(one.href),
                    )
                    for one in section.rows
                ),
            )
            for section in sections
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
        overdue=f"{fmt.plural(overdue, 'action item is', 'action items are')} overdue." if overdue else "",
        more_alerts=f"{fmt.plural(left_out, 'more alert')} {where}." if left_out > 0 else "",
        trust=Trust(
            whole.trust.state,
            whole.trust.verdict,
            tuple(check for check in whole.trust.checks if check.state != "fine"),
        ),
        report_url=link("index.html") or None,
        report_file=f"reports/{place}/index.html",
        built=whole.page.built,
        timezone=options.timezone,
        version=options.version,
        reason=letter.reason,
        contact=letter.contact,
        empty=period.empty,
        open_alerts=len(alerts),
        fingerprint=_fingerprint(period, alerts, sections, whole.trust.state),
    )
