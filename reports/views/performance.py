"""The performance page: success, rating and response time over time, by domain, model and agent, by hour.

Pure: frames in, one frozen dataclass out. Percentiles come from the marts, which make them from histograms;
nothing here averages one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import pandas as pd

from reports import format as fmt
from reports.charts import Kind, Row
from reports.marts import records
from reports.metrics import PERIOD_NAMES
from reports.options import PERIODS, Period, ReportOptions
from reports.views.common import Chart, Page, page

Scope = Literal["domain", "model", "agent"]
# What uses are told apart by: title, column head, and what a use without one is called.
SCOPES: Mapping[Scope, tuple[str, str, str]] = {
    "domain": ("By domain", "Domain", "no domain"),
    "model": ("By model", "Model", "unknown model"),
    "agent": ("By agent", "Agent", "no agent"),
}
# Length of a point and the most of them, by period: the period itself and some time to compare it with.
_POINTS: Mapping[Period, tuple[str, int]] = {
    "day": ("day", 14),
    "week": ("day", 28),
    "month": ("day", 60),
    "quarter": ("week", 26),
    "year": ("week", 53),
    "all": ("week", 53),
}
_WHEN = {"day": "One point a day", "week": "One point a calendar week, the last one so far"}
SPLIT_WEEKS = 26
_MOST_LINES = 5
_MOST_SEGMENTS, _MOST_MORE = 8, 100
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_LEVELS = 5
_METRICS: tuple[tuple[str, str, Kind], ...] = (
    ("success", "Success", "split-success"),
    ("rating", "Rating", "split-rating"),
    ("median", "Median time", "split-median"),
    ("p95", "95th percentile", "split-p95"),
)


@dataclass(frozen=True)
class Segment:
    """One domain, model or agent in a period. ``width`` is its share of uses, 0 to 100."""

    name: str
    uses: str
    share: str
    width: int
    success: str
    outcomes: str
    interval: str
    rating: str
    rated: str
    median: str
    p95: str
    cost: str


@dataclass(frozen=True)
class Segments:
    """A period's uses by domain, model or agent.

    ``finding`` says who stands out, ``more`` are the smaller ones, ``left_out`` how many are smaller still.
    """

    scope: Scope
    title: str
    column: str
    finding: str
    segments: tuple[Segment, ...]
    more: tuple[Segment, ...]
    left_out: int


@dataclass(frozen=True)
class Hour:
    """One hour of a weekday: mean uses a day, a level 0 to 5 for its shade, and everything in words."""

    text: str
    level: int
    words: str


@dataclass(frozen=True)
class Week:
    """Uses by weekday and hour. ``rows`` holds 24 hours for each weekday."""

    finding: str
    hours: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Hour, ...]], ...]


@dataclass(frozen=True)
class PeriodPerformance:
    """One period of the page."""

    key: Period
    title: str
    days: str
    headline: str
    empty: bool
    charts: tuple[Chart, ...]
    week: Week | None
    segments: tuple[Segments, ...]


@dataclass(frozen=True)
class Split:
    """The lines of the largest segments of one scope, a chart for each metric."""

    scope: Scope
    title: str
    names: str
    charts: tuple[tuple[str, str, Chart], ...]


@dataclass(frozen=True)
class Performance:
    """The page. ``splits`` are the same whatever period is shown."""

    page: Page
    periods: tuple[PeriodPerformance, ...]
    splits: tuple[Split, ...]
    split_days: str
    metrics: tuple[tuple[str, str], ...]


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds / 1000, 4)


def _midnight(value: date) -> str:
    return f"{value.isoformat()}T00:00:00"


def _by(rows: Sequence[Mapping[str, Any]], *names: str) -> dict[Any, list[Mapping[str, Any]]]:
    grouped: dict[Any, list[Mapping[str, Any]]] = {}
    for row in rows:
        key = tuple(row[name] for name in names)
        grouped.setdefault(key if len(names) > 1 else key[0], []).append(row)
    return grouped


def _side(value: float | None, target: float | None, words: tuple[str, str], text: str) -> str:
    if value is None or target is None:
        return ""
    return f", {words[0] if value > target else words[1]} the target of {fmt.plain(text)}"


def _charts(
    period: Period,
    start: date,
    blocks: Sequence[Mapping[str, Any]],
    now: Mapping[str, Any],
    targets: Mapping[str, float | None],
) -> tuple[Chart, ...]:
    """Success, rating and response time over time; ``now`` is the row of the whole period, from ``start``."""
    grain, most = _POINTS[period]
    points = blocks[-most:]
    days = [fmt.days_between(row["starts_on"], row["ends_on"]) for row in points]
    when = _WHEN[grain]
    # the week that the period begins in counts as one of it
    is_now = [row["ends_on"] >= start for row in points]
    of_period = "" if all(is_now) else "; strong: this period, pale: before"

    def line(name: str, column: str, count: str, digits: int) -> tuple[Row, ...]:
        write = fmt.percent if column == "success_rate" else fmt.rating
        return tuple(
            {
                "day": _midnight(row["ends_on"]),
                "value": round(row[column], digits),
                "now": is_now[n],
                "target": targets.get(column),
                "days": days[n],
                "text": write(row[column]),
                "of": fmt.count(row[count]),
            }
            for n, row in enumerate(points)
            if row[column] is not None
        )

    success, rated = now["success_rate"], now["average_rating"]
    target = targets.get("success_rate")
    rating_target = targets.get("average_rating")
    return (
        Chart(
            key=f"success-{period}",
            title=f"{fmt.percent(success)} succeed"
            + _side(success, target, ("above", "not above"), fmt.percent(target)),
            note=f"Success rate. {when}{of_period}; dashed: the target. "
            f"Of {fmt.sample(now['outcome_count'], 'outcome')}.",
            kind="success",
            rows=line("success", "success_rate", "outcome_count", 5),
            head=("Days", "Success", "Outcomes"),
            table=tuple(
                (days[n], fmt.percent(row["success_rate"]), fmt.count(row["outcome_count"]))
                for n, row in enumerate(points)
            ),
        ),
        Chart(
            key=f"rating-{period}",
            title="Nobody has rated a use"
            if rated is None
            else f"Rated {fmt.rating(rated)} of 5"
            + _side(rated, rating_target, ("above", "not above"), fmt.rating(rating_target)),
            note=f"Average rating. {when}{of_period}; dashed: the target. "
            f"Of {fmt.sample(now['rated_count'], 'rating')}.",
            kind="rating",
            rows=line("rating", "average_rating", "rated_count", 4),
            head=("Days", "Rating", "Ratings"),
            table=tuple(
                (days[n], fmt.rating(row["average_rating"]), fmt.count(row["rated_count"]))
                for n, row in enumerate(points)
            ),
        ),
        Chart(
            key=f"response-{period}",
            title="No response time is known"
            if now["p50_response_time_ms"] is None
            else f"Half answer within {fmt.duration(now['p50_response_time_ms'])}, "
            f"95{fmt.THIN}% within {fmt.duration(now['p95_response_time_ms'])}",
            note=f"Response time in seconds, median and 95th percentile. {when}. "
            f"Of {fmt.sample(now['response_time_count'], 'timed use')}.",
            kind="response",
            rows=tuple(
                {
                    "day": _midnight(row["ends_on"]),
                    "value": _seconds(row[column]),
                    "series": series,
                    "days": days[n],
                    "text": fmt.duration(row[column]),
                    "of": fmt.count(row["response_time_count"]),
                }
                for series, column in (
                    ("Median", "p50_response_time_ms"),
                    ("95th percentile", "p95_response_time_ms"),
                )
                for n, row in enumerate(points)
                if row[column] is not None
            ),
            head=("Days", "Median", "95th percentile", "Mean", "Timed uses"),
            table=tuple(
                (
                    days[n],
                    fmt.duration(row["p50_response_time_ms"]),
                    fmt.duration(row["p95_response_time_ms"]),
                    fmt.duration(row["average_response_time_ms"]),
                    fmt.count(row["response_time_count"]),
                )
                for n, row in enumerate(points)
            ),
        ),
    )


def _segment(row: Mapping[str, Any], whole: int, unknown: str) -> Segment:
    low, high = row["success_rate_low"], row["success_rate_high"]
    return Segment(
        name=unknown if row["segment"] is None else str(row["segment"]),
        uses=fmt.count(row["usage_count"]),
        share=fmt.percent(row["usage_count"] / whole, 0) if whole else fmt.DASH,
        width=round(100 * row["usage_count"] / whole) if whole else 0,
        success=fmt.percent(row["success_rate"]),
        outcomes=f"of {fmt.sample(row['outcome_count'], 'outcome')}" if row["outcome_count"] else "",
        interval="" if low is None else f"{fmt.percent(low)} to {fmt.percent(high)}",
        rating=fmt.rating(row["average_rating"]),
        rated=f"of {fmt.sample(row['rated_count'], 'rating')}" if row["rated_count"] else "",
        median=fmt.duration(row["p50_response_time_ms"]),
        p95=fmt.duration(row["p95_response_time_ms"]),
        cost=fmt.money(row["cost_per_use"]),
    )


def _finding(rows: Sequence[Mapping[str, Any]], everyone: Mapping[str, Any]) -> str:
    """Who succeeds less than all together by more than chance, and who is slowest; of enough uses.

    Uses without a model or an agent are nobody: a failed call often has no model.
    """
    named = [row for row in rows if row["segment"] is not None]
    enough = [row for row in named if (row["outcome_count"] or 0) >= fmt.THIN_SAMPLE]
    whole = everyone["success_rate"]
    parts = []
    worse = [row for row in enough if whole is not None and row["success_rate_high"] < whole]
    if worse:
        lowest = min(worse, key=lambda row: (row["success_rate"], str(row["segment"])))
        parts.append(
            f"{lowest['segment']} succeeds least: {fmt.percent(lowest['success_rate'])} "
            f"against {fmt.percent(whole)} of all"
        )
    timed = [row for row in named if (row["response_time_count"] or 0) >= fmt.THIN_SAMPLE]
    if len(timed) > 1:
        slowest = max(timed, key=lambda row: (row["p95_response_time_ms"], str(row["segment"])))
        parts.append(
            f"{slowest['segment']} is slowest: 95{fmt.THIN}% within "
            f"{fmt.duration(slowest['p95_response_time_ms'])}"
        )
    if not parts:
        return "Nobody stands out beyond chance." if enough else "Too few uses to tell anyone apart."
    return "; ".join(parts) + "."


def _segments(scope: Scope, rows: Sequence[Mapping[str, Any]], everyone: Mapping[str, Any]) -> Segments:
    title, column, unknown = SCOPES[scope]
    made = tuple(_segment(row, everyone["usage_count"], unknown) for row in rows)
    return Segments(
        scope=scope,
        title=title,
        column=column,
        finding=_finding(rows, everyone),
        segments=made[:_MOST_SEGMENTS],
        more=made[_MOST_SEGMENTS : _MOST_SEGMENTS + _MOST_MORE],
        left_out=max(0, len(made) - _MOST_SEGMENTS - _MOST_MORE),
    )


def _week(rows: Sequence[Mapping[str, Any]], first: date, last: date) -> Week | None:
    """The shares of a week's hours; ``rows`` are those of one period of `usage_by_hour`."""
    if not rows:
        return None
    known = {(row["weekday"], row["usage_hour"]): row for row in rows}
    length = (last - first).days + 1
    # how often each weekday lies in the period
    times = [length // 7 + ((weekday - first.isoweekday()) % 7 < length % 7) for weekday in range(1, 8)]
    most = max(row["usage_count"] / times[row["weekday"] - 1] for row in rows)
    table = []
    for weekday, name in enumerate(_WEEKDAYS, start=1):
        cells = []
        for hour in range(24):
            row = known.get((weekday, hour))
            uses = row["usage_count"] / times[weekday - 1] if row else 0.0
            success = (
                f", {fmt.percent(row['success_rate'])} succeeded"
                if row and row["success_rate"] is not None
                else ""
            )
            a_day = "" if times[weekday - 1] == 1 else " a day"
            cells.append(
                Hour(
                    text=""
                    if not row
                    else f"{uses:.0f}"
                    if uses >= 9.95
                    else f"{uses:.1f}".removesuffix(".0"),
                    level=0 if not row else max(1, min(_LEVELS, 1 + int(uses / most * _LEVELS))),
                    words=f"{name} {hour:02}:00 to {(hour + 1) % 24:02}:00: "
                    f"{fmt.plural(row['usage_count'] if row else 0, 'use')}"
                    + (f", {uses:,.1f}{a_day}" if row and a_day else "")
                    + success,
                )
            )
        if times[weekday - 1]:
            table.append((name, tuple(cells)))
    by_hour = _by(rows, "usage_hour")
    busiest = max(sorted(by_hour), key=lambda hour: sum(row["usage_count"] for row in by_hour[hour]))
    total = sum(row["usage_count"] for row in rows)
    share = sum(row["usage_count"] for row in by_hour[busiest]) / total
    weekend = sum(row["usage_count"] for row in rows if row["weekday"] >= 6) / total
    finding = (
        f"Busiest from {busiest:02}:00 to {(busiest + 1) % 24:02}:00, {fmt.percent(share, 0)} of all uses"
    )
    if length >= 7:
        finding += f"; Saturday and Sunday bring {fmt.percent(weekend, 0)}"
    return Week(finding, tuple(f"{hour:02}" for hour in range(24)), tuple(table))


def _headline(now: Mapping[str, Any] | None) -> str:
    if now is None:
        return "No uses in this period."
    parts = []
    if now["success_rate"] is not None:
        parts.append(f"{fmt.percent(now['success_rate'])} of uses succeed")
    if now["average_rating"] is not None:
        parts.append(f"people rate them {fmt.rating(now['average_rating'])} of 5")
    if now["p50_response_time_ms"] is not None:
        parts.append(f"half are answered within {fmt.duration(now['p50_response_time_ms'])}")
    if not parts:
        return f"{fmt.plural(now['usage_count'], 'use')}, of which nothing more is known."
    text = "; ".join(parts) + "."
    return text[0].upper() + text[1:]


def _split(scope: Scope, weeks: Sequence[Mapping[str, Any]]) -> Split | None:
    """The largest segments' lines, from the weeks of one scope."""
    title, _, unknown = SCOPES[scope]
    by_name = _by(weeks, "segment")
    largest = sorted(
        by_name,
        key=lambda name: (-sum(row["usage_count"] for row in by_name[name]), str(name)),
    )[:_MOST_LINES]
    if not largest:
        return None
    # a segment that is called like those without one is still another line
    names = {name: unknown if name is None else fmt.cut(str(name), 40) for name in largest}
    rows: list[Row] = []
    table = []
    for rank, name in enumerate(largest):
        for row in by_name[name]:
            enough = (row["outcome_count"] or 0) >= fmt.THIN_SAMPLE
            words = (
                f"{fmt.plural(row['usage_count'], 'use')}, {fmt.percent(row['success_rate'])} succeed, "
                f"rated {fmt.rating(row['average_rating'])}, median "
                f"{fmt.duration(row['p50_response_time_ms'])}, "
                f"95th percentile {fmt.duration(row['p95_response_time_ms'])}"
            )
            days = fmt.days_between(row["starts_on"], row["ends_on"])
            timed = (row["response_time_count"] or 0) >= fmt.THIN_SAMPLE
            rated = (row["rated_count"] or 0) >= fmt.THIN_SAMPLE
            rows.append(
                {
                    "day": _midnight(row["ends_on"]),
                    "series": names[name],
                    "rank": rank,
                    "days": days,
                    "text": words,
                    "success": round(row["success_rate"], 5) if enough else None,
                    "rating": round(row["average_rating"], 3) if rated else None,
                    "median": _seconds(row["p50_response_time_ms"]) if timed else None,
                    "p95": _seconds(row["p95_response_time_ms"]) if timed else None,
                }
            )
            table.append(
                (
                    names[name],
                    days,
                    fmt.count(row["usage_count"]),
                    fmt.percent(row["success_rate"]),
                    fmt.rating(row["average_rating"]),
                    fmt.duration(row["p50_response_time_ms"]),
                    fmt.duration(row["p95_response_time_ms"]),
                )
            )
    head = (SCOPES[scope][1], "Week", "Uses", "Success", "Rating", "Median", "95th percentile")
    shared = tuple(rows)
    units = {"success": "", "rating": "", "median": ", in seconds", "p95": ", in seconds"}
    left_out = "" if len(by_name) <= _MOST_LINES else f", the {_MOST_LINES} most used of {len(by_name)}"
    return Split(
        scope=scope,
        title=title,
        names=", ".join(names.values()),
        charts=tuple(
            (
                key,
                label,
                Chart(
                    key=f"{scope}-{key}",
                    title=f"{label} {title.lower()}",
                    note=f"{_WHEN['week']}, of 20 or more{units[key]}{left_out}.",
                    kind=kind,
                    rows=shared,
                    head=head,
                    table=tuple(reversed(table)),
                ),
            )
            for key, label, kind in _METRICS
        ),
    )


def performance(
    *,
    dashboard: pd.DataFrame,
    segments: pd.DataFrame,
    over_time: pd.DataFrame,
    hours: pd.DataFrame,
    options: ReportOptions,
) -> Performance:
    """The page from the frames of :class:`reports.marts.Marts`."""
    metrics = {row["period"]: row for row in records(dashboard)}
    by_segment = _by(records(segments), "period", "scope")
    blocks = _by(records(over_time), "grain", "scope")
    by_hour = _by(records(hours), "period")

    # of one domain alone the domains say what the whole says
    scopes = [scope for scope in SCOPES if scope != "domain" or len(options.domains) != 1]

    def one_period(period: Period) -> PeriodPerformance:
        row = metrics[period]
        now = next(iter(by_segment.get((period, "all"), ())), None)
        targets = {
            name: row[f"target_{name}"]
            for name in ("success_rate", "average_rating", "average_response_time_ms")
        }
        # of an empty warehouse all time has no start
        start, end = row["period_start"] or options.as_of_date, row["period_end"] or options.as_of_date
        return PeriodPerformance(
            key=period,
            title=PERIOD_NAMES[period].title,
            days=fmt.days_between(start, end),
            headline=_headline(now),
            empty=now is None,
            charts=_charts(period, start, blocks.get((_POINTS[period][0], "all"), ()), now, targets)
            if now
            else (),
            week=_week(by_hour.get(period, ()), start, end),
            segments=tuple(
                _segments(scope, by_segment[period, scope], now)
                for scope in scopes
                if now and (period, scope) in by_segment
            ),
        )

    weeks = {scope: blocks.get(("week", scope), ())[:] for scope in scopes}
    ends = sorted({row["ends_on"] for row in blocks.get(("week", "all"), ())})[-SPLIT_WEEKS:]
    since = ends[0] if ends else options.as_of_date
    splits = (
        _split(scope, [row for row in rows if row["ends_on"] >= since]) for scope, rows in weeks.items()
    )
    first = next(
        (row["starts_on"] for row in blocks.get(("week", "all"), ()) if row["ends_on"] == since), since
    )
    return Performance(
        page=page(options, "Performance", "performance"),
        periods=tuple(one_period(period) for period in PERIODS),
        splits=tuple(one for one in splits if one),
        split_days=fmt.days_between(first, options.as_of_date),
        metrics=tuple((key, label) for key, label, _ in _METRICS),
    )
