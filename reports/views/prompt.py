"""One prompt's page: who it is, its metrics in every period with their samples, its trend, shares and alerts.

Pure: rows in, one frozen dataclass out. Rows, not frames: a frame a prompt would cost more than its page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from reports import format as fmt
from reports import trends
from reports.metrics import METRICS, PERIOD_NAMES, RATING, RESPONSE, SUCCESS, Change, Metric, Target
from reports.options import PERIODS, Period, ReportOptions
from reports.views.analytics import Comparison
from reports.views.common import Advice, Alert, Event, Page, page, prompt_name
from reports.views.overview import TrendPoint, trend_points
from reports.views.peers import Peer, Peers
from reports.views.prompts import Health, health

# The trend of a prompt: half a year of weeks, since one prompt's days are too few to read.
TREND_DAYS = 26 * 7
# The period that prompts of a domain are compared in.
PEER_PERIOD: Period = "month"
# The window of the shares by model and agent.
BREAKDOWN_DAYS = 90
_MOST_SHARES = 12
_MOST_TEXT = 20_000
# What of a text is shown at once; the rest is folded away.
_FIRST_TEXT = 1_200
_MOST_VERSIONS = 30
_MOST_EVENTS = 30
# How a library calls its texts: label, and what it is for.
_TEXTS: Mapping[str, tuple[str, str]] = {
    "prompt_starter": ("Starter", "What a user begins with."),
    "system_prompt": ("System prompt", "What sets the model's task."),
    "user_prompt_template": ("Template", "What a user's words are put into."),
}


@dataclass(frozen=True)
class Figure:
    """One metric of one period: value, sample, what it was before, and whether the target is met."""

    label: str
    value: str
    detail: str
    previous: str
    change: Change | None
    target: Target | None


@dataclass(frozen=True)
class PromptPeriod:
    """One period of one prompt."""

    key: Period
    title: str
    days: str
    health: Health
    empty: bool
    figures: tuple[Figure, ...]
    more: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Share:
    """One model or agent: what it did for the prompt. ``width`` is its share of uses, 0 to 100."""

    name: str
    uses: str
    share: str
    width: int
    success: str
    outcomes: str
    response: str
    cost: str


@dataclass(frozen=True)
class Breakdown:
    """The prompt's uses by model or agent."""

    title: str
    column: str
    shares: tuple[Share, ...]
    left_out: int


@dataclass(frozen=True)
class Text:
    """One text of the library's entry: the beginning, the rest to fold away, and what is not shown at all."""

    title: str
    note: str
    beginning: str
    rest: str
    left_out: str


@dataclass(frozen=True)
class Version:
    """One version of the prompt's text, over all time, and what it did to the numbers."""

    name: str
    current: bool
    since: str
    uses: str
    success: str
    outcomes: str
    rating: str
    rated: str
    response: str
    cost: str
    against: Comparison | None


@dataclass(frozen=True)
class Bucket:
    """How many uses took so long. ``width`` is the share of the fullest bucket, 0 to 100."""

    name: str
    uses: str
    share: str
    width: int


@dataclass(frozen=True)
class Prompt:
    """The page."""

    page: Page
    name: str
    key: str
    description: str
    facts: tuple[tuple[str, str], ...]
    health: Health
    periods: tuple[PromptPeriod, ...]
    trend: tuple[TrendPoint, ...]
    breakdowns: tuple[Breakdown, ...]
    breakdown_days: str
    open_alerts: tuple[Alert, ...]
    resolved_alerts: tuple[Alert, ...]
    events: tuple[Event, ...]
    texts: tuple[Text, ...]
    listed: bool
    agents: tuple[str, ...]
    versions: tuple[Version, ...]
    peers: tuple[Peer, ...]
    peers_of: str
    advice: tuple[Advice, ...]
    times: tuple[Bucket, ...]
    times_text: str


def _sample(metric: Metric, row: Mapping[str, Any]) -> int | None:
    columns = {SUCCESS: "outcome_count", RATING: "rated_count", RESPONSE: "response_time_count"}
    return row[columns[metric]] if metric in columns else None


def _detail(metric: Metric, row: Mapping[str, Any]) -> str:
    if metric is SUCCESS and row["success_rate"] is not None:
        sample = f"of {fmt.sample(row['outcome_count'], 'outcome')}"
        if row["success_rate_low"] is None:
            return sample
        low, high = fmt.percent(row["success_rate_low"]), fmt.percent(row["success_rate_high"])
        return f"{sample}; 95{fmt.THIN}% interval {low} to {high}"
    if row[metric.key] is None:
        return metric.missing
    details = {
        "usage_count": lambda: (
            f"{fmt.plural(row['user_count'] or 0, 'user')}, "
            f"{fmt.plural(row['session_count'] or 0, 'session')}"
        ),
        "average_rating": lambda: f"of {fmt.sample(row['rated_count'], 'rating')}",
        "average_response_time_ms": lambda: (
            f"half under {fmt.duration(row['p50_response_time_ms'])}, "
            f"95{fmt.THIN}% under {fmt.duration(row['p95_response_time_ms'])}"
        ),
        "total_cost": lambda: (
            f"{fmt.money(row['cost_per_use'])} a use, {fmt.money(row['cost_per_success'])} a success"
        ),
    }
    return details[metric.key]()


def _period(row: Mapping[str, Any], targets: Mapping[str, float | None]) -> PromptPeriod:
    period = row["period"]
    figures = []
    for metric in METRICS:
        value, before = row[metric.key], row[f"previous_{metric.key}"]
        figures.append(
            Figure(
                label=metric.label,
                value=metric.write(value),
                detail=_detail(metric, row),
                previous="" if period == "all" or before is None else metric.write(before),
                change=metric.compare(value, before),
                target=metric.judge(value, targets.get(metric.key), _sample(metric, row)),
            )
        )
    return PromptPeriod(
        key=period,
        title=PERIOD_NAMES[row["period"]].title,
        days=fmt.days_between(row["period_start"], row["period_end"]),
        health=health(row),
        empty=not row["usage_count"],
        figures=tuple(figures),
        more=(
            ("Errors", f"{fmt.count(row['error_count'])} ({fmt.percent(row['error_rate'])})"),
            ("Tokens", fmt.tokens(row["total_tokens"])),
            ("99th percentile of response time", fmt.duration(row["p99_response_time_ms"])),
        ),
    )


def _of(outcomes: int) -> str:
    return f"of {fmt.count(outcomes)}" + (", thin" if 0 < outcomes < fmt.THIN_SAMPLE else "")


def _breakdown(labels: tuple[str, str, str], rows_of_shares: Sequence[Mapping[str, Any]]) -> Breakdown:
    title, column, unknown = labels
    rows = [(row["share"], trends.sums([row])) for row in rows_of_shares]
    whole = sum(one.usage_count for _, one in rows) or 1
    shares = tuple(
        Share(
            name=unknown if name is None else str(name),
            uses=fmt.count(one.usage_count),
            share=fmt.percent(one.usage_count / whole, 0),
            width=round(100 * one.usage_count / whole),
            success=fmt.percent(one.success_rate),
            outcomes=_of(one.outcome_count),
            response=fmt.duration(one.average_response_time_ms),
            cost=fmt.money(one.total_cost),
        )
        for name, one in rows[:_MOST_SHARES]
    )
    return Breakdown(title, column, shares, max(0, len(rows) - _MOST_SHARES))


def _facts(row: Mapping[str, Any], options: ReportOptions) -> tuple[tuple[str, str], ...]:
    facts = [
        ("Domain", row["domain"]),
        ("Status", row["status"]),
        ("Complexity", row["complexity_level"]),
        ("Suite", row["suite"]),
        ("Owner", row["owner"]),
        ("Compliance", row["compliance_tags"]),
        ("Current version", row["current_version"]),
        ("First used", row["first_used_at"] and fmt.moment(row["first_used_at"], options.timezone)),
        ("Last used", row["last_used_at"] and fmt.moment(row["last_used_at"], options.timezone)),
    ]
    return tuple((label, str(value)) for label, value in facts if value)


def _texts(entry: Mapping[str, Any] | None) -> tuple[Text, ...]:
    made = []
    for name, (title, note) in _TEXTS.items():
        text = entry[name] if entry else None
        if not text:
            continue
        length = entry[f"{name}_characters"] if entry else 0
        left_out = (
            f"{fmt.count(length - len(text))} more of {fmt.count(length)} characters are in the library."
            if length > len(text)
            else ""
        )
        beginning = text if len(text) <= _FIRST_TEXT * 1.25 else text[:_FIRST_TEXT]
        made.append(Text(title, note, beginning, text[len(beginning) :], left_out))
    return tuple(made)


def _versions(
    rows: Sequence[Mapping[str, Any]], compared: Sequence[Comparison], timezone: str
) -> tuple[Version, ...]:
    """``compared`` are the prompt's comparisons of versions."""
    against = {one.variant: one for one in compared if not one.kind}
    return tuple(
        Version(
            name="version not known" if row["prompt_version"] is None else str(row["prompt_version"]),
            current=bool(row["is_current"]),
            since=fmt.moment(row["version_created_at"], timezone).split(",")[0]
            if row["version_created_at"]
            else "",
            uses=fmt.count(row["usage_count"]),
            success=fmt.percent(row["success_rate"]),
            outcomes=_of(row["outcome_count"])
            + (
                f", {fmt.percent(row['success_rate_low'])} to {fmt.percent(row['success_rate_high'])}"
                if row["success_rate_low"] is not None
                else ""
            ),
            rating=fmt.rating(row["average_rating"]),
            rated=_of(row["rated_count"]) if row["rated_count"] else "",
            response=fmt.duration(row["average_response_time_ms"]),
            cost=fmt.money(row["cost_per_use"]),
            against=against.get(str(row["prompt_version"])),
        )
        for row in rows[:_MOST_VERSIONS]
    )


def _times(rows: Sequence[Mapping[str, Any]]) -> tuple[tuple[Bucket, ...], str]:
    total = sum(row["usage_count"] for row in rows)
    if not total:
        return (), ""
    most = max(row["usage_count"] for row in rows)

    def edge(value: float) -> str:
        return fmt.plain(fmt.duration(value))

    buckets = tuple(
        Bucket(
            name=f"over {edge(row['bucket_low_ms'])}"
            if row["bucket_high_ms"] is None
            else f"{edge(row['bucket_low_ms'])} to {edge(row['bucket_high_ms'])}"
            if row["bucket_low_ms"]
            else f"under {edge(row['bucket_high_ms'])}",
            uses=fmt.count(row["usage_count"]),
            share=fmt.percent(row["usage_count"] / total, 0),
            width=round(100 * row["usage_count"] / most),
        )
        for row in rows
    )
    return buckets, f"of {fmt.sample(total, 'timed use')}"


def prompt(
    *,
    row: Mapping[str, Any],
    summary: Sequence[Mapping[str, Any]],
    weeks: Sequence[Mapping[str, Any]],
    shares: Sequence[Mapping[str, Any]],
    alerts: Sequence[Alert],
    events: Sequence[Event],
    entry: Mapping[str, Any] | None,
    versions: Sequence[Mapping[str, Any]],
    compared: Sequence[Comparison],
    advice: Sequence[Advice],
    times: Sequence[Mapping[str, Any]],
    peers: Peers,
    targets: Mapping[str, float | None],
    options: ReportOptions,
) -> Prompt:
    """The page of the prompt in ``row`` (of `prompts`).

    ``summary`` holds its rows of `prompt_performance_summary`, ``weeks`` its weeks, ``shares`` what each
    model and agent has of its uses, ``alerts`` and ``events`` its own, ``entry`` its row of `prompt_library`
    (None: not in the library), ``versions`` and ``times`` its rows of `prompt_version_performance` and
    `response_time_distribution`, ``peers`` those of all prompts in :data:`PEER_PERIOD`, ``targets`` those of
    the metrics by key.
    """
    by_period = {str(one["period"]): one for one in summary}
    name = prompt_name(row)
    blocks = trends.blocks(weeks, options.as_of_date, "quarter")
    labels = {
        "model": ("By model", "Model", "unknown model"),
        "agent": ("By agent", "Agent", "no agent"),
    }
    first = options.as_of_date - timedelta(days=BREAKDOWN_DAYS - 1)
    buckets, times_text = _times(times)
    return Prompt(
        page=replace(page(options, name, "prompts"), root="../"),
        name=name,
        key=str(row["prompt_name"]),
        description=fmt.cut(str(row["description"] or ""), _MOST_TEXT),
        facts=_facts(row, options),
        health=health(by_period.get(options.default_period)),
        periods=tuple(_period(by_period[period], targets) for period in PERIODS if period in by_period),
        trend=trend_points(blocks, targets.get("success_rate")),
        breakdowns=tuple(
            _breakdown(label, rows)
            for by, label in labels.items()
            if (rows := [share for share in shares if share["by"] == by])
        ),
        breakdown_days=fmt.days_between(first, options.as_of_date),
        open_alerts=tuple(one for one in alerts if not one.resolved),
        resolved_alerts=tuple(one for one in alerts if one.resolved),
        events=tuple(events[:_MOST_EVENTS]),
        texts=_texts(entry),
        listed=row["is_listed"] is not False,
        agents=tuple(str(entry["mapped_agent_names"] or "").split("\n"))
        if entry and entry["mapped_agent_names"]
        else (),
        versions=_versions(versions, compared, options.timezone),
        peers=peers.of(by_period.get(PEER_PERIOD)),
        peers_of=str(row["domain"] or "no domain"),
        advice=tuple(advice),
        times=buckets,
        times_text=times_text,
    )
