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
from reports.options import PERIODS, ReportOptions
from reports.views.common import Alert, Page, page, prompt_name
from reports.views.overview import TrendPoint, trend_points
from reports.views.prompts import Health, health

# The trend of a prompt: half a year of weeks, since one prompt's days are too few to read.
TREND_DAYS = 26 * 7
# The window of the shares by model, agent and version.
BREAKDOWN_DAYS = 90
_MOST_SHARES = 12
_MOST_TEXT = 20_000


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

    title: str
    days: str
    health: Health
    empty: bool
    figures: tuple[Figure, ...]
    more: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Share:
    """One model, agent or version: what it did for the prompt. ``width`` is its share of uses, 0 to 100."""

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
    """The prompt's uses by model, agent or version."""

    title: str
    column: str
    shares: tuple[Share, ...]
    left_out: int


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
        ("Mapped agents", None if row["mapped_agents"] is None else fmt.count(row["mapped_agents"])),
        ("First used", row["first_used_at"] and fmt.moment(row["first_used_at"], options.timezone)),
        ("Last used", row["last_used_at"] and fmt.moment(row["last_used_at"], options.timezone)),
    ]
    return tuple((label, str(value)) for label, value in facts if value)


def prompt(
    *,
    row: Mapping[str, Any],
    summary: Sequence[Mapping[str, Any]],
    weeks: Sequence[Mapping[str, Any]],
    shares: Sequence[Mapping[str, Any]],
    alerts: Sequence[Alert],
    targets: Mapping[str, float | None],
    options: ReportOptions,
) -> Prompt:
    """The page of the prompt in ``row`` (of `prompts`).

    ``summary`` holds its rows of `prompt_performance_summary`, ``weeks`` its weeks, ``shares`` what each
    model, agent and version has of its uses, ``alerts`` its own, ``targets`` those of the metrics by key.
    """
    by_period = {str(one["period"]): one for one in summary}
    name = prompt_name(row)
    blocks = trends.blocks(weeks, options.as_of_date, "quarter")
    labels = {
        "model": ("By model", "Model", "unknown model"),
        "agent": ("By agent", "Agent", "no agent"),
        "version": ("By version", "Version", "unknown version"),
    }
    first = options.as_of_date - timedelta(days=BREAKDOWN_DAYS - 1)
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
    )
