"""What several pages show the same way: the page's frame, alerts, the verdict on the numbers.

Pure functions over frames and options; all text is made here, so that the templates only place it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

import pandas as pd

from reports import format as fmt
from reports.charts import Kind, Row
from reports.marts import records
from reports.metrics import PERIOD_NAMES, Tone
from reports.options import PERIODS, Period, ReportOptions

# The window that the verdict on the numbers looks at.
QUALITY_DAYS = 30
State = Literal["fine", "remark", "spoilt"]
Section = Literal["overview", "prompts", "performance", "analytics", "alerts", "settings", "downloads"]
# The tabs, in their order: what they are called and where they are.
TABS: tuple[tuple[Section, str, str], ...] = (
    ("overview", "Overview", "index.html"),
    ("prompts", "Prompts", "prompts.html"),
    ("performance", "Performance", "performance.html"),
    ("analytics", "Analytics", "analytics.html"),
    ("alerts", "Alerts", "alerts.html"),
    ("settings", "Settings", "settings.html"),
)


@dataclass(frozen=True)
class Banner:
    """What every page says first where the build behind it is not a fresh green one."""

    title: str
    text: str
    failures: tuple[str, ...]


@dataclass(frozen=True)
class PeriodChoice:
    """One button of the period switch."""

    key: Period
    label: str
    title: str


@dataclass(frozen=True)
class Page:
    """The frame around each page. ``root`` leads from the page to the report's folder: empty or ``../``.

    ``downloads``: the report has files of its tables.
    """

    title: str
    report_title: str
    section: Section
    tabs: tuple[tuple[Section, str, str], ...]
    root: str
    as_of: str
    as_of_iso: str
    timezone: str
    built: str
    version: str
    banner: Banner | None
    periods: tuple[PeriodChoice, ...]
    default_period: Period
    downloads: bool


@dataclass(frozen=True)
class Alert:
    """One episode of an alert. ``href`` is the prompt's page, from the report's folder."""

    alert_id: str
    anchor: str
    severity: str
    symbol: str
    rule: str
    rule_label: str
    state: str
    resolved: bool
    prompt_id: str
    prompt: str
    domain: str
    href: str
    message: str
    recommendation: str
    evidence: str
    since: str
    handling: str
    causes: tuple[str, ...]
    override: str
    first_detected_on: date | None
    last_detected_on: date | None


@dataclass(frozen=True)
class Event:
    """One change of an alert, in words."""

    on: date
    day: str
    event: str
    tone: Tone
    symbol: str
    rule_label: str
    change: str
    prompt_id: str
    prompt: str
    href: str
    cause: str


@dataclass(frozen=True)
class Advice:
    """One recommendation: what to do, why, and what it should bring, where that can be told."""

    prompt_id: str
    prompt: str
    href: str
    priority: str
    title: str
    reason: str
    gain: str
    basis: str


@dataclass(frozen=True)
class Chart:
    """One chart: its finding as the title, how to read it, its rows, and the table of its numbers.

    ``head`` and ``table`` hold what the chart draws, as text; the first column names the row.
    """

    key: str
    title: str
    note: str
    kind: Kind
    rows: tuple[Row, ...]
    head: tuple[str, ...]
    table: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Check:
    """One line of the verdict. Its symbol and word say what the colour says."""

    label: str
    value: str
    detail: str
    state: State

    @property
    def symbol(self) -> str:
        return {"fine": "✓", "remark": "!", "spoilt": "✗"}[self.state]

    @property
    def word(self) -> str:
        return {"fine": "fine", "remark": "mind this", "spoilt": "a problem"}[self.state]


@dataclass(frozen=True)
class Trust:
    """Can the numbers be trusted? The verdict in words, each check behind it, and what was counted."""

    state: State
    verdict: str
    checks: tuple[Check, ...]
    counts: tuple[tuple[str, str], ...]
    window: str


# What readers call the alert rules.
RULES: Mapping[str, str] = {
    "low_usage": "Low usage",
    "poor_success_rate": "Poor success rate",
    "poor_rating": "Poor rating",
    "slow_response": "Slow response",
    "high_error_rate": "High error rate",
    "slow_tail": "Slow tail",
    "high_cost_per_use": "High cost per use",
    "cost_spike": "Cost spike",
    "success_drop": "Drop in success",
    "rating_drop": "Drop in rating",
    "usage_drop": "Drop in use",
    "worse_version": "Worse version",
    "over_budget": "Over budget",
    "data_gap": "Data gap",
}
SYMBOLS: Mapping[str, str] = {"high": "▲▲▲", "medium": "▲▲", "low": "▲"}


def prompt_name(row: Mapping[str, Any]) -> str:
    """What a reader calls the prompt: its display name, else its name."""
    return str(row.get("display_name") or row["prompt_name"])


def prompt_href(row: Mapping[str, Any]) -> str:
    """The prompt's page, from the report's folder."""
    return f"prompts/{fmt.slug(str(row['prompt_name']), str(row['prompt_id']))}.html"


def page(options: ReportOptions, title: str, section: Section) -> Page:
    """The frame of one page of the report."""
    return Page(
        title=title,
        report_title=options.title,
        section=section,
        tabs=TABS,
        root="",
        as_of=fmt.day(options.as_of_date),
        as_of_iso=options.as_of_date.isoformat(),
        timezone=options.timezone,
        built=fmt.moment(options.build.finished_at, options.timezone),
        version=options.version,
        banner=banner(options),
        periods=tuple(
            PeriodChoice(period, PERIOD_NAMES[period].switch, PERIOD_NAMES[period].title)
            for period in PERIODS
        ),
        default_period=options.default_period,
        downloads=bool(options.exports),
    )


def banner(options: ReportOptions) -> Banner | None:
    """The warning over a report whose build is red or stale; None over a green one."""
    build = options.build
    if build.state == "green":
        return None
    if build.state == "red":
        return Banner(
            "These numbers failed their checks",
            f"The build for {fmt.day(options.as_of_date)} did not pass its tests. "
            "Do not decide anything by this report; the people who run it have been told.",
            build.failures,
        )
    made = fmt.moment(build.finished_at, options.timezone)
    since = f" The numbers below are those of the build of {made}." if build.finished_at else ""
    return Banner(
        "This report is stale",
        f"The latest build failed, so the last good one is shown.{since}",
        build.failures,
    )


# Metrics that are not counted over the rule's window.
_WITHOUT_WINDOW = ("version_quality", "forecast_cost", "days_without_use")


def _change(value: float) -> str:
    return ("+" if value > 0 else "") + fmt.percent(value)


# How a metric's value is written; a count where nothing is said.
_WRITERS: Mapping[str, Callable[[float], str]] = {
    "success_rate": fmt.percent,
    "error_rate": fmt.percent,
    "success_rate_change": _change,
    "average_rating_change": _change,
    "usage_count_change": _change,
    "version_quality": _change,
    "average_response_time_ms": fmt.duration,
    "p95_response_time_ms": fmt.duration,
    "average_rating": fmt.rating,
    "cost_per_use": fmt.money,
    "cost_spike": lambda value: f"{value:,.1f} times the usual",
    "forecast_cost": lambda value: f"{fmt.percent(value, 0)} of the budget",
    "days_without_use": lambda value: fmt.plural(round(value), "day"),
}
# What a metric that is itself a comparison was compared with is of another unit. Of a worse version that may
# be a rate or a rating: its message has both values.
_BASELINES: Mapping[str, str | None] = {
    "success_rate_change": "success_rate",
    "average_rating_change": "average_rating",
    "usage_count_change": "usage_count",
    "cost_spike": "cost_per_use",
    "version_quality": None,
}


def metric_text(metric: str, value: float | None) -> str:
    """A value of a metric that alerts, targets and action items speak of, in its unit."""
    return fmt.DASH if value is None else _WRITERS.get(metric, fmt.count)(value)


def rule_label(rule: str) -> str:
    """What readers call an alert rule."""
    return RULES.get(rule, rule.replace("_", " ").capitalize())


def _subject_href(row: Mapping[str, Any], known: Mapping[str, Any] | None) -> str:
    """What an alert is about: a prompt's page; of a source or of all prompts, the verdict on the numbers."""
    if known:
        return prompt_href(known)
    return "prompts.html" if row["prompt_id"] else "index.html#trust"


def alert(
    row: Mapping[str, Any],
    as_of_date: date,
    known: Mapping[str, Any] | None,
    causes: Sequence[str] = (),
) -> Alert:
    """One row of `performance_alerts`, in words; ``known`` is its prompt's row of today, if there is one.

    ``causes`` are what speaks for it, from `alert_evidence`.

    An episode keeps the name that its prompt had then, so name and page come from ``known``.
    """
    rule = str(row["rule"])
    severity = str(row["severity"])
    resolved = row["state"] == "resolved"
    first, last = row["first_detected_on"], row["last_detected_on"]
    metric = str(row["metric"])
    observed = metric_text(metric, row["observed_value"])
    limit = fmt.plain(metric_text(metric, row["threshold"]))
    side = "at least" if row["comparator"] == "below" else "at most"
    period = PERIOD_NAMES[row["period"]].title.lower() if row["period"] in PERIOD_NAMES else row["period"]
    within = "" if metric in _WITHOUT_WINDOW else f" in the {period.removeprefix('the ')}"
    of = "" if metric == "usage_count" else f", sample {fmt.count(row['sample_size'])}"
    low, high = row["observed_low"], row["observed_high"]
    if low is not None and high is not None:
        of += f", interval {metric_text(metric, low)} to {metric_text(metric, high)}"
    baseline = _BASELINES.get(metric, metric)
    if row["baseline_value"] is not None and baseline is not None:
        of += f"; before, {metric_text(baseline, row['baseline_value'])}"
    if resolved:
        since = f"open {fmt.days_between(first, last)}, resolved"
    elif first is None:
        since = ""
    else:
        since = f"since {fmt.day(first)} ({fmt.age((as_of_date - first).days)})"
        since = since.replace("(today)", "(new)")
    return Alert(
        alert_id=str(row["alert_id"]),
        anchor="alert-" + fmt.slug("", str(row["alert_id"])),
        severity=severity,
        symbol=SYMBOLS.get(severity, "▲"),
        rule=rule,
        rule_label=rule_label(rule),
        state=str(row["state"]),
        resolved=resolved,
        prompt_id=str(row["prompt_id"] or ""),
        prompt=prompt_name(known or row),
        domain=str(row["domain"] or ("no domain" if row["prompt_id"] else "no prompt")),
        href=_subject_href(row, known),
        message=str(row["message"] or ""),
        recommendation=str(row["recommendation"] or ""),
        # of one that no night bears out any more there are no numbers
        evidence="" if row["observed_value"] is None else f"{observed}{within}, should be {side} {limit}{of}",
        since=since,
        handling=_handling(row, as_of_date),
        causes=tuple(causes),
        override=str(row["override_reason"] or ""),
        first_detected_on=first,
        last_detected_on=last,
    )


def _handling(row: Mapping[str, Any], as_of_date: date) -> str:
    """Who sees to an alert, and by when, in words; empty where nobody does."""
    parts = []
    if row["state"] in ("acknowledged", "snoozed"):
        parts.append(str(row["state"]))
    if row["assigned_to"]:
        parts.append(f"{row['assigned_to']} sees to it")
    elif row["owner"]:
        parts.append(f"owner {row['owner']}")
    if row["due_on"] and row["state"] != "resolved":
        late = (as_of_date - row["due_on"]).days + 1
        parts.append(
            f"due {fmt.day(row['due_on'])}" + (f", {fmt.plural(late, 'day')} overdue" if late > 0 else "")
        )
    return "; ".join(parts)


def alerts(
    frame: pd.DataFrame,
    as_of_date: date,
    prompts: Mapping[str, Mapping[str, Any]],
    evidence: pd.DataFrame | None = None,
) -> tuple[Alert, ...]:
    """All episodes in the frame's order: the worst and longest open first.

    ``prompts`` are today's prompts by `prompt_id`, each with its names; ``evidence`` the rows of
    `alert_evidence`.
    """
    causes: dict[str, list[str]] = {}
    for row in records(evidence) if evidence is not None else ():
        causes.setdefault(row["alert_id"], []).append(str(row["description"]))
    return tuple(
        alert(row, as_of_date, prompts.get(row["prompt_id"]), causes.get(row["alert_id"], ()))
        for row in records(frame)
    )


_EVENTS: Mapping[str, tuple[Tone, str]] = {
    "opened": ("bad", "▲"),
    "reopened": ("bad", "▲"),
    "escalated": ("bad", "▲"),
    "eased": ("good", "▼"),
    "resolved": ("good", "✓"),
}


def events(frame: pd.DataFrame, prompts: Mapping[str, Mapping[str, Any]]) -> tuple[Event, ...]:
    """The rows of `alert_events` in words, the newest first; ``prompts`` are today's by `prompt_id`."""
    made = []
    for row in reversed(records(frame)):
        known = prompts.get(row["prompt_id"])
        tone, symbol = _EVENTS.get(str(row["event"]), ("neutral", "•"))
        before, after = row["previous_severity"], row["severity"]
        made.append(
            Event(
                on=row["event_on"],
                day=fmt.day(row["event_on"]),
                event=str(row["event"]),
                tone=tone,
                symbol=symbol,
                rule_label=rule_label(str(row["rule"])),
                change=f"{before} → {after}" if before and after else str(after or before or ""),
                prompt_id=str(row["prompt_id"] or ""),
                prompt=prompt_name(known or row),
                href=_subject_href(row, known),
                cause=str(row["cause"]),
            )
        )
    return tuple(made)


# Advice that says to go on as before.
_CALM = ("keep", "watch", "wait")


def advices(
    frame: pd.DataFrame, prompts: Mapping[str, Mapping[str, Any]], *, calm: bool = True
) -> tuple[Advice, ...]:
    """The rows of `prompt_recommendations` in words, what to do first first.

    Without ``calm`` only what asks for something to be done.
    """
    made = []
    for row in records(frame):
        if not calm and row["action"] in _CALM:
            continue
        gains = []
        if row["expected_successes"] is not None and row["expected_successes"] >= 1:
            gains.append(
                f"about {fmt.plural(round(row['expected_successes']), 'more success', 'more successes')}"
            )
        if row["expected_saving"] is not None and row["expected_saving"] >= 0.01:
            gains.append(f"saves about {fmt.money(row['expected_saving'])}")
        known = prompts.get(row["prompt_id"], row)
        made.append(
            Advice(
                prompt_id=str(row["prompt_id"]),
                prompt=prompt_name(known),
                href=prompt_href(known),
                priority=str(row["priority"]),
                title=str(row["title"]),
                reason=str(row["reason"]),
                gain=f"{' and '.join(gains)} a month" if gains else "",
                basis=str(row["basis"] or ""),
            )
        )
    return tuple(made)


def _build_check(options: ReportOptions) -> Check:
    build = options.build
    value = {
        "green": "passed all its tests",
        "stale": "an older build is shown",
        "red": "failed its tests",
    }[build.state]
    detail = f"built {fmt.moment(build.finished_at, options.timezone)}" if build.finished_at else ""
    return Check("Build", value, detail, "fine" if build.state == "green" else "spoilt")


def _source_check(source: str, days: pd.DataFrame, options: ReportOptions) -> Check:
    """One source by the verdict that its mart gives it on the as-of date; past days are counted."""
    rows = records(days)
    now = rows[-1]
    detail = f"last load {fmt.moment(now['last_loaded_at'], options.timezone)}"
    faulty = sum(row["verdict"] != "ok" for row in rows[:-1])
    if faulty:
        detail += f"; {fmt.plural(faulty, 'earlier day')} with remarks"
    # what columns and files of a source are called is not for readers of some domains
    if now["notes"] and not options.domains:
        detail += f"; {now['notes']}"
    used = now["last_used_at"]
    value = "never used" if used is None else f"last use {fmt.moment(used, options.timezone)}"
    if now["verdict"] == "ok":
        return Check(source, value, detail, "fine")
    return Check(
        source, f"{value}; {now['reasons']}", detail, "spoilt" if now["verdict"] == "error" else "remark"
    )


def trust(quality: pd.DataFrame, options: ReportOptions) -> Trust:
    """The verdict from `data_quality` of the last :data:`QUALITY_DAYS` days, and the build's state.

    What is a remark and what spoils the numbers is the mart's decision, by the analysts' limits.
    """
    total = {
        name: int(quality[name].fillna(0).sum())
        for name in (
            "rows_read",
            "rejected_rows",
            "rejected_values",
            "late_rows",
            "usage_count",
            "unpriced_uses",
            "unlisted_uses",
        )
    }

    def share(part: str, whole: str, of: str) -> str:
        if not total[whole]:
            return f"0 of 0 {of}"
        of_all = fmt.percent(total[part] / total[whole])
        return f"{fmt.count(total[part])} of {fmt.count(total[whole])} {of} ({of_all})"

    compared = quality["is_reconciled"].dropna()
    checks = [_build_check(options)]
    checks += [
        _source_check(str(source), days.sort_values("usage_date"), options)
        for source, days in quality.groupby("source")
    ]
    if quality.empty:
        checks.append(Check("Sources", "nothing was ever loaded", "name a source in prism.yaml", "spoilt"))
    first = options.as_of_date - timedelta(days=QUALITY_DAYS - 1)
    worst: State = max((check.state for check in checks), key=("fine", "remark", "spoilt").index)
    causes = ", ".join(check.label for check in checks if check.state == worst)
    return Trust(
        state=worst,
        verdict={
            "fine": "Yes: the build passed its tests and every source is in order.",
            "remark": f"Yes, but mind the remarks: {causes}.",
            "spoilt": f"Not without a second look: {causes}.",
        }[worst],
        checks=tuple(checks),
        # how much there is of all domains is not for readers of some
        counts=()
        if options.domains
        else (
            ("Rejected rows", share("rejected_rows", "rows_read", "rows read")),
            ("Rejected values", fmt.count(total["rejected_values"])),
            ("Uses without a price", share("unpriced_uses", "usage_count", "uses")),
            ("Uses of unlisted prompts", share("unlisted_uses", "usage_count", "uses")),
            ("Uses that came late", share("late_rows", "usage_count", "uses")),
            (
                "Days that agree with the source",
                f"{fmt.count(int(compared.sum()))} of {fmt.count(len(compared))} compared"
                if len(compared)
                else "none compared",
            ),
        ),
        window=fmt.days_between(first, options.as_of_date),
    )
