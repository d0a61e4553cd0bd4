"""The overview: what changed, the metrics, who performs best, what needs a hand, and whether to believe it.

The page and the digest mail render this same view. Pure: frames in, one frozen dataclass out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from reports import format as fmt
from reports import trends
from reports.marts import records
from reports.metrics import (
    COST,
    METRICS,
    PERIOD_NAMES,
    RATING,
    RESPONSE,
    SUCCESS,
    USES,
    Change,
    Metric,
    Target,
    Tone,
)
from reports.options import PERIOD_DAYS, PERIODS, Period, ReportOptions
from reports.views.common import (
    Advice,
    Alert,
    Event,
    Page,
    Trust,
    alerts,
    page,
    prompt_href,
    prompt_name,
    trust,
)

_MOST_NEWS = 6
_MOST_MOVERS = 2
_MOST_ADVICE = 4
# Of what is new since the last report, so many of each kind; the kinds of changes of alerts, in their order.
_MOST_OF_A_KIND = 3
_CHANGES: tuple[tuple[tuple[str, ...], Tone, str], ...] = (
    (("opened", "reopened"), "bad", "alert opened"),
    (("escalated",), "bad", "alert got worse"),
    (("eased",), "good", "alert eased"),
    (("resolved",), "good", "alert resolved"),
)
# Standard errors: 99 %, not 95, since every prompt of the library is tested at once.
_SURE = 2.58


@dataclass(frozen=True)
class Card:
    """One metric of one period. ``points`` is its trend, oldest first, None where unknown."""

    key: str
    label: str
    value: str
    detail: str
    change: Change | None
    previous: str
    target: Target | None
    points: tuple[float | None, ...]


@dataclass(frozen=True)
class News:
    """One line of what happened; ``href`` leads to what it is about, from the report's folder."""

    text: str
    tone: Tone
    href: str | None = None
    link: str | None = None

    @property
    def symbol(self) -> str:
        return {"good": "▲", "bad": "▼", "neutral": "•"}[self.tone]

    @property
    def word(self) -> str:
        return {"good": "Good", "bad": "Needs attention", "neutral": "Note"}[self.tone]


@dataclass(frozen=True)
class Performer:
    """One row of the top performers, with why it is there."""

    rank: int
    prompt: str
    href: str
    domain: str
    uses: str
    success: str
    rating: str
    response: str
    cost: str
    why: str


@dataclass(frozen=True)
class TrendPoint:
    """One point of the trend charts: numbers for the chart, words for the table behind it."""

    start: date
    end: date
    days: str
    current: bool
    usage_count: int
    success_rate: float | None
    success_target: float | None
    uses: str
    success: str
    outcomes: str
    response: str


@dataclass(frozen=True)
class PeriodOverview:
    """The overview of one period."""

    key: Period
    title: str
    days: str
    before: str
    headline: str
    empty: bool
    news: tuple[News, ...]
    cards: tuple[Card, ...]
    trend: tuple[TrendPoint, ...]
    trend_grain: str
    top: tuple[Performer, ...]


@dataclass(frozen=True)
class Overview:
    """The whole page. ``library_empty`` and ``usage_empty`` say that there never was a prompt, or a use.

    ``since`` is what is new since the report before, ``since_when`` which one that was.
    """

    page: Page
    periods: tuple[PeriodOverview, ...]
    alerts: tuple[Alert, ...]
    open_alerts: int
    alert_counts: tuple[tuple[str, int], ...]
    resolved_lately: int
    trust: Trust
    since: tuple[News, ...]
    since_when: str
    advice: tuple[Advice, ...]
    library_empty: bool
    usage_empty: bool

    def period(self, key: Period) -> PeriodOverview:
        """The overview of one period; mails show only one."""
        return next(period for period in self.periods if period.key == key)


def _start(period: Period, as_of_date: date, first_use: date | None) -> date:
    length = PERIOD_DAYS[period]
    if length is None:
        return first_use or as_of_date
    return as_of_date - timedelta(days=length - 1)


def _previous(metric: Metric, row: Mapping[str, Any], period: Period) -> str:
    if period == "all":
        return ""
    value = row[f"previous_{metric.key}"]
    then = PERIOD_NAMES[period].then
    return f"no data {then}" if value is None else f"{metric.write(value)} {then}"


def _detail(metric: Metric, row: Mapping[str, Any], known: trends.Sums) -> str:
    if row[metric.key] is None:
        return metric.missing
    if metric is USES:
        return f"of {fmt.plural(row['used_prompts'] or 0, 'prompt')}"
    if metric is SUCCESS:
        return f"of {fmt.sample(known.outcome_count, 'outcome')}"
    if metric is RATING:
        return f"of {fmt.sample(known.rated_count, 'rating')}"
    if metric is RESPONSE:
        return f"over {fmt.sample(known.response_time_count, 'timed use')}"
    return f"over {fmt.sample(known.priced_count, 'priced use')}"


def _judged(metric: Metric, row: Mapping[str, Any], known: trends.Sums) -> Target | None:
    samples = {
        SUCCESS: known.outcome_count,
        RATING: known.rated_count,
        RESPONSE: known.response_time_count,
    }
    return metric.judge(row[metric.key], row.get(f"target_{metric.key}"), samples.get(metric))


def _point(metric: Metric, block: trends.Block) -> float | None:
    value: float | None = getattr(block.sums, metric.key)
    return value


def _cards(
    row: Mapping[str, Any], period: Period, known: trends.Sums, blocks: Sequence[trends.Block]
) -> tuple[Card, ...]:
    suite, agents = row["suite_prompts"] or 0, row["total_agents"] or 0
    parts = [
        f"{fmt.count(row['active_prompts'] or 0)} active",
        f"{fmt.count(row['used_prompts'] or 0)} used",
        *([f"{fmt.count(suite)} in a suite"] if suite else []),
        *([fmt.plural(agents, "agent")] if agents else []),
    ]
    library = Card(
        "total_prompts", "Prompts", fmt.count(row["total_prompts"]), " · ".join(parts), None, "", None, ()
    )
    return (
        library,
        *(
            Card(
                key=metric.key,
                label=metric.label,
                value=metric.write(row[metric.key]),
                detail=_detail(metric, row, known),
                change=metric.compare(row[metric.key], row[f"previous_{metric.key}"]),
                previous=_previous(metric, row, period),
                target=_judged(metric, row, known),
                points=tuple(_point(metric, block) for block in blocks),
            )
            for metric in METRICS
        ),
    )


def _headline(row: Mapping[str, Any], period: Period) -> str:
    name = PERIOD_NAMES[period]
    uses = row["usage_count"] or 0
    if not uses:
        before = row["previous_usage_count"]
        tail = f"; {name.then} there were {fmt.count(before)}" if before and period != "all" else ""
        return f"No uses in this period{tail}."
    first = fmt.plural(uses, "use")
    change = USES.compare(row["usage_count"], row["previous_usage_count"])
    if change is None:
        lead = first
    elif change.direction == "steady":
        lead = f"{first}, about as many as {name.then}"
    elif change.text.startswith("×"):
        lead = f"{first}, {change.text.removeprefix('×').strip(fmt.THIN)} times as many as {name.then}"
    else:
        size = change.text.lstrip("+" + fmt.MINUS)
        lead = f"{first}, {size} {'more' if change.direction == 'up' else 'fewer'} than {name.then}"
    rate = row["success_rate"]
    if rate is None:
        return f"{lead}; no outcome is known."
    moved = SUCCESS.compare(rate, row["previous_success_rate"])
    if moved is None:
        return f"{lead}; {fmt.percent(rate)} succeeded."
    if moved.direction == "steady":
        return f"{lead}; success steady at {fmt.percent(rate)}."
    points = moved.text.lstrip("+" + fmt.MINUS)
    return f"{lead}; success {'up' if moved.direction == 'up' else 'down'} {points} to {fmt.percent(rate)}."


def _beyond_chance(now: float, after: int, then: float, before: int) -> bool:
    """Whether shares of ``after`` and ``before`` outcomes differ: the test of two proportions, pooled."""
    pooled = (then * before + now * after) / (before + after)
    return abs(now - then) > _SURE * math.sqrt(pooled * (1 - pooled) * (1 / before + 1 / after))


def _movers(rows: Sequence[Mapping[str, Any]], when: str) -> list[News]:
    """Prompts whose success differs from before by more than chance, those that most people feel first."""
    moved = []
    for row in rows:
        then, now = row["previous_success_rate"], row["success_rate"]
        before, after = row["previous_usage_count"] or 0, row["outcome_count"] or 0
        if then is None or now is None or min(before, after) < fmt.THIN_SAMPLE:
            continue
        # Uses stand for the outcomes before, which the summary does not keep.
        if not _beyond_chance(now, after, then, before):
            continue
        # Weighed by uses: a fall that many people feel comes before a steeper one that few do.
        moved.append(((now - then) * row["usage_count"], row))
    moved.sort(key=lambda item: (item[0], str(item[1]["prompt_id"])))
    worst = [row for weight, row in moved if weight < 0][:_MOST_MOVERS]
    best = [row for weight, row in reversed(moved) if weight > 0][:_MOST_MOVERS]
    groups: tuple[tuple[Tone, list[Mapping[str, Any]]], ...] = (("bad", worst), ("good", best))
    return [
        News(
            f"success {'fell' if tone == 'bad' else 'rose'} from {fmt.percent(row['previous_success_rate'])} "
            f"{when} to {fmt.percent(row['success_rate'])} ({fmt.sample(row['outcome_count'], 'outcome')})",
            tone,
            prompt_href(row),
            prompt_name(row),
        )
        for tone, group in groups
        for row in group
    ]


def _alert_news(all_alerts: Sequence[Alert], start: date, end: date, days: str) -> list[News]:
    opened = [
        one
        for one in all_alerts
        if one.first_detected_on and start <= one.first_detected_on <= end and not one.resolved
    ]
    closed = [
        one for one in all_alerts if one.resolved and one.last_detected_on and one.last_detected_on >= start
    ]
    news = []
    if opened:
        high = sum(one.severity == "high" for one in opened)
        which = f", {fmt.count(high)} of high severity" if high else ""
        news.append(
            News(f"{fmt.plural(len(opened), 'alert')} opened {days}{which}", "bad", "alerts.html", "Alerts")
        )
    if closed:
        text = f"{fmt.plural(len(closed), 'alert')} resolved {days}"
        news.append(News(text, "good", "alerts.html#resolved", "Alerts"))
    return news


def _news(
    row: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    all_alerts: Sequence[Alert],
    *,
    known: trends.Sums,
    period: Period,
    start: date,
    as_of_date: date,
) -> tuple[News, ...]:
    name = PERIOD_NAMES[period]
    within = "on this day" if period == "day" else f"in the {name.title.lower()}"
    news: list[News] = []
    for metric in METRICS:
        target = _judged(metric, row, known)
        if target and target.met is False:
            value = metric.write(row[metric.key])
            news.append(News(f"{metric.label} {value} misses the target, {target.text}", "bad"))
    if period != "all":
        news += _alert_news(all_alerts, start, as_of_date, within)
        news += _movers(rows, name.then)
        for metric in (RESPONSE, RATING, COST):
            change = metric.compare(row[metric.key], row[f"previous_{metric.key}"])
            if change and change.direction != "steady":
                news.append(
                    News(
                        f"{metric.label} {metric.write(row[metric.key])}, {change.text} against "
                        f"{metric.write(row[f'previous_{metric.key}'])} {name.then}",
                        change.tone,
                    )
                )
        quiet = [
            one
            for one in rows
            if not one["usage_count"] and (one["previous_usage_count"] or 0) >= fmt.THIN_SAMPLE
        ]
        if quiet:
            most = max(quiet, key=lambda one: one["previous_usage_count"])
            others = f", and {fmt.plural(len(quiet) - 1, 'other')}" if len(quiet) > 1 else ""
            text = f"no longer used: {fmt.plural(most['previous_usage_count'], 'use')} {name.then}{others}"
            news.append(News(text, "bad", prompt_href(most), prompt_name(most)))
    return tuple(news[:_MOST_NEWS])


def _day_movers(
    day: Sequence[Mapping[str, Any]], month: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[float, News]]:
    """Prompts whose last day's success or cost is out of line with the days of the month before it."""
    for row in day:
        longer = month.get(row["prompt_id"])
        if longer is None:
            continue
        now, uses = row["success_rate"], row["outcome_count"] or 0
        before = (longer["outcome_count"] or 0) - uses
        if now is not None and min(uses, before) >= fmt.THIN_SAMPLE:
            then = ((longer["success_count"] or 0) - (row["success_count"] or 0)) / before
            if _beyond_chance(now, uses, then, before):
                word, tone = ("fell", "bad") if now < then else ("rose", "good")
                yield (
                    abs(now - then) * row["usage_count"],
                    News(
                        f"success {word} to {fmt.percent(now)} ({fmt.sample(uses, 'outcome')}) "
                        f"from {fmt.percent(then)} in the 29 days before",
                        "bad" if tone == "bad" else "good",
                        prompt_href(row),
                        prompt_name(row),
                    ),
                )
        cost, usual = row["total_cost"], None
        if cost is not None and longer["total_cost"] is not None:
            usual = (longer["total_cost"] - cost) / 29
        if cost is not None and usual and cost > 2 * usual and cost - usual >= 1:
            yield (
                cost - usual,
                News(
                    f"cost {fmt.money(cost)} on the last day, {cost / usual:.1f} times the "
                    f"{fmt.money(usual)} of a usual day",
                    "bad",
                    prompt_href(row),
                    prompt_name(row),
                ),
            )


def _since(
    by_period: Mapping[str, Sequence[Mapping[str, Any]]],
    events: Sequence[Event],
    versions: Sequence[Mapping[str, Any]],
    options: ReportOptions,
) -> tuple[News, ...]:
    """What is new: changes of alerts, new versions, and prompts whose last day was out of line."""
    first = options.previous_report or options.as_of_date - timedelta(days=1)
    news = []
    fresh = [one for one in events if one.on > first]
    for names, tone, words in _CHANGES:
        some = [one for one in fresh if one.event in names]
        for one in some[:_MOST_OF_A_KIND]:
            severity = f", {one.change}" if one.change else ""
            news.append(News(f"{words}: {one.rule_label.lower()}{severity}", tone, one.href, one.prompt))
        if len(some) > _MOST_OF_A_KIND:
            rest = fmt.plural(len(some) - _MOST_OF_A_KIND, "more alert")
            news.append(News(f"{rest}: {words}", tone, "alerts.html#events", "Alerts"))
    known = {row["prompt_id"]: row for row in by_period["month"]}
    new_versions = [
        row
        for row in versions
        if row["version_created_at"].astimezone(ZoneInfo(options.timezone)).date() > first
    ]
    for row in new_versions[:_MOST_OF_A_KIND]:
        prompt = known.get(row["prompt_id"])
        if prompt:
            news.append(
                News(
                    f"version {row['prompt_version']}, {fmt.plural(row['usage_count'], 'use')} so far",
                    "neutral",
                    prompt_href(prompt),
                    prompt_name(prompt),
                )
            )
    moved = sorted(_day_movers(by_period["day"], known), key=lambda pair: -pair[0])
    return (*news, *(one for _, one in moved[:_MOST_OF_A_KIND]))


def performers(
    rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Mapping[str, Any]]
) -> tuple[Performer, ...]:
    """Rows of `top_performing_prompts` with why; ``summary`` are the same period's rows by `prompt_id`."""
    ranked = []
    for row in rows:
        known = summary.get(str(row["prompt_id"]), row)
        reasons = []
        if row["success_rate"] is not None and known.get("outcome_count"):
            low = known.get("success_rate_low")
            sure = "" if low is None else f", at least {fmt.percent(low)} with 95{fmt.THIN}% confidence"
            outcomes = fmt.sample(known["outcome_count"], "outcome")
            reasons.append(f"{fmt.percent(row['success_rate'])} of {outcomes} succeeded{sure}")
        if row["average_rating"] is not None and known.get("rated_count"):
            people = fmt.sample(known["rated_count"], "rating")
            reasons.append(f"rated {fmt.rating(row['average_rating'])} ({people})")
        ranked.append(
            Performer(
                rank=int(row["rank"]),
                prompt=prompt_name(known),
                href=prompt_href(row),
                domain=str(row["domain"] or "no domain"),
                uses=fmt.count(row["usage_count"]),
                success=fmt.percent(row["success_rate"]),
                rating=fmt.rating(row["average_rating"]),
                response=fmt.duration(row["average_response_time_ms"]),
                cost=fmt.money(row["cost_per_use"]),
                why="; ".join(reasons) or "no outcome or rating is known",
            )
        )
    return tuple(ranked)


def trend_points(blocks: Sequence[trends.Block], success_target: float | None) -> tuple[TrendPoint, ...]:
    """The points of the trend charts, oldest first."""
    return tuple(
        TrendPoint(
            start=block.start,
            end=block.end,
            days=fmt.days_between(block.start, block.end),
            current=block.current,
            usage_count=block.sums.usage_count,
            success_rate=block.sums.success_rate,
            success_target=success_target,
            uses=fmt.count(block.sums.usage_count),
            success=fmt.percent(block.sums.success_rate),
            outcomes=fmt.count(block.sums.outcome_count),
            response=fmt.duration(block.sums.average_response_time_ms),
        )
        for block in blocks
    )


def overview(
    *,
    dashboard: pd.DataFrame,
    summary: pd.DataFrame,
    top: pd.DataFrame,
    alert_rows: pd.DataFrame,
    daily: pd.DataFrame,
    quality: pd.DataFrame,
    options: ReportOptions,
    events: Sequence[Event] = (),
    versions: Sequence[Mapping[str, Any]] = (),
    advice: Sequence[Advice] = (),
) -> Overview:
    """The overview of all periods from the frames of :class:`reports.marts.Marts`.

    ``events``, ``versions`` (rows of `prompt_version_performance`) and ``advice`` are the page's alone: mails
    go without them.
    """
    as_of_date = options.as_of_date
    metrics = {row["period"]: row for row in records(dashboard)}
    by_period: dict[str, list[dict[str, Any]]] = {period: [] for period in PERIODS}
    for row in records(summary):
        by_period[row["period"]].append(row)
    ranked: dict[str, list[dict[str, Any]]] = {period: [] for period in PERIODS}
    for row in records(top):
        ranked[row["period"]].append(row)
    known = {row["prompt_id"]: row for rows in by_period.values() for row in rows}
    all_alerts = alerts(alert_rows, as_of_date, known)
    open_alerts = tuple(one for one in all_alerts if not one.resolved)
    days = records(daily)
    first_use: date | None = min((row["usage_date"] for row in days), default=None)
    month_ago = as_of_date - timedelta(days=29)

    def one_period(period: Period) -> PeriodOverview:
        row, rows = metrics[period], by_period[period]
        start = _start(period, as_of_date, first_use)
        blocks = trends.blocks(days, as_of_date, period)
        known = trends.total(days, start, as_of_date)
        grain = (blocks[-1].end - blocks[-1].start).days + 1 if blocks else 1
        return PeriodOverview(
            key=period,
            title=PERIOD_NAMES[period].title,
            days=fmt.days_between(start, as_of_date),
            before=PERIOD_NAMES[period].before,
            headline=_headline(row, period),
            empty=not row["usage_count"],
            news=_news(row, rows, all_alerts, known=known, period=period, start=start, as_of_date=as_of_date),
            cards=_cards(row, period, known, blocks),
            trend=trend_points(blocks, row["target_success_rate"]),
            trend_grain="day" if grain == 1 else "week" if grain == 7 else f"{grain} days",
            top=performers(ranked[period], {str(one["prompt_id"]): one for one in rows}),
        )

    return Overview(
        page=page(options, "Overview", "overview"),
        periods=tuple(one_period(period) for period in PERIODS),
        alerts=open_alerts,
        open_alerts=len(open_alerts),
        alert_counts=tuple(
            (severity, sum(one.severity == severity for one in open_alerts))
            for severity in ("high", "medium", "low")
        ),
        resolved_lately=sum(
            one.resolved and one.last_detected_on is not None and one.last_detected_on >= month_ago
            for one in all_alerts
        ),
        trust=trust(quality, options),
        since=_since(by_period, events, versions, options),
        since_when=(
            f"since the report of {fmt.day(options.previous_report)}"
            if options.previous_report
            else f"on {fmt.day(as_of_date)}; there is no report before it"
        ),
        advice=tuple(advice[:_MOST_ADVICE]),
        library_empty=not any(row["total_prompts"] for row in metrics.values()),
        usage_empty=not days,
    )
