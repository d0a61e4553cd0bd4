"""What several pages show the same way: the page's frame, alerts, the verdict on the numbers.

Pure functions over frames and options; all text is made here, so that the templates only place it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

import pandas as pd

from reports import format as fmt
from reports.marts import records
from reports.metrics import PERIOD_NAMES
from reports.options import PERIODS, Period, ReportOptions

# The window that the verdict on the numbers looks at.
QUALITY_DAYS = 30
# Shares of a month's rows above which a fault is worth a remark, and above which it spoils the numbers.
_REMARK, _SPOILT = 0.01, 0.05


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
    """The frame around each page. ``root`` leads from the page to the report's folder: empty or ``../``."""

    title: str
    report_title: str
    section: Literal["overview", "prompts", "alerts"]
    root: str
    as_of: str
    as_of_iso: str
    timezone: str
    built: str
    version: str
    banner: Banner | None
    periods: tuple[PeriodChoice, ...]
    default_period: Period


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
    first_detected_on: date | None
    last_detected_on: date | None


@dataclass(frozen=True)
class Check:
    """One line of the verdict. Its symbol and word say what the colour says."""

    label: str
    value: str
    detail: str
    state: Literal["fine", "remark", "spoilt"]

    @property
    def symbol(self) -> str:
        return {"fine": "✓", "remark": "!", "spoilt": "✗"}[self.state]

    @property
    def word(self) -> str:
        return {"fine": "fine", "remark": "mind this", "spoilt": "a problem"}[self.state]


@dataclass(frozen=True)
class Trust:
    """Can the numbers be trusted? The verdict in words, and each check behind it."""

    state: Literal["fine", "remark", "spoilt"]
    verdict: str
    checks: tuple[Check, ...]
    window: str


_RULES: Mapping[str, str] = {
    "low_usage": "Low usage",
    "poor_success_rate": "Poor success rate",
    "poor_rating": "Poor rating",
    "slow_response": "Slow response",
    "high_error_rate": "High error rate",
}
_SYMBOLS: Mapping[str, str] = {"high": "▲▲▲", "medium": "▲▲", "low": "▲"}


def prompt_name(row: Mapping[str, Any]) -> str:
    """What a reader calls the prompt: its display name, else its name."""
    return str(row.get("display_name") or row["prompt_name"])


def prompt_href(row: Mapping[str, Any]) -> str:
    """The prompt's page, from the report's folder."""
    return f"prompts/{fmt.slug(str(row['prompt_name']), str(row['prompt_id']))}.html"


def page(options: ReportOptions, title: str, section: Literal["overview", "prompts", "alerts"]) -> Page:
    """The frame of one page of the report."""
    return Page(
        title=title,
        report_title=options.title,
        section=section,
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


def _value_of(rule: str, value: float | None) -> str:
    if rule == "slow_response":
        return fmt.duration(value)
    if rule in ("poor_success_rate", "high_error_rate"):
        return fmt.percent(value)
    return fmt.rating(value) if rule == "poor_rating" else fmt.count(value)


def alert(row: Mapping[str, Any], as_of_date: date) -> Alert:
    """One row of `performance_alerts`, in words."""
    rule = str(row["rule"])
    severity = str(row["severity"])
    resolved = row["state"] == "resolved"
    first, last = row["first_detected_on"], row["last_detected_on"]
    observed, limit = _value_of(rule, row["observed_value"]), _value_of(rule, row["threshold"])
    side = "at least" if rule in ("low_usage", "poor_success_rate", "poor_rating") else "at most"
    period = PERIOD_NAMES[row["period"]].title.lower() if row["period"] in PERIOD_NAMES else row["period"]
    of = "" if rule == "low_usage" else f", sample {fmt.count(row['sample_size'])}"
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
        symbol=_SYMBOLS.get(severity, "▲"),
        rule=rule,
        rule_label=_RULES.get(rule, rule.replace("_", " ").capitalize()),
        state=str(row["state"]),
        resolved=resolved,
        prompt_id=str(row["prompt_id"]),
        prompt=prompt_name(row),
        domain=str(row["domain"] or "no domain"),
        href=prompt_href(row),
        message=str(row["message"] or ""),
        recommendation=str(row["recommendation"] or ""),
        evidence=f"{observed} in the {period.removeprefix('the ')}, should be {side} {limit}{of}",
        since=since,
        first_detected_on=first,
        last_detected_on=last,
    )


def alerts(frame: pd.DataFrame, as_of_date: date) -> tuple[Alert, ...]:
    """All episodes in the frame's order: the worst and longest open first."""
    return tuple(alert(row, as_of_date) for row in records(frame))


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _graded(share: float) -> Literal["fine", "remark", "spoilt"]:
    return "spoilt" if share > _SPOILT else "remark" if share > _REMARK else "fine"


def _freshness(quality: pd.DataFrame, options: ReportOptions) -> Check:
    used = quality[quality["usage_count"].fillna(0) > 0]
    last = max(used["usage_date"], default=None)
    loaded = [moment for moment in quality["last_loaded_at"] if moment is not None and not pd.isna(moment)]
    detail = f"last load {fmt.moment(max(loaded), options.timezone)}" if loaded else "nothing was loaded"
    if last is None:
        return Check("Freshness", f"no use in {QUALITY_DAYS} days", detail, "spoilt")
    behind = (options.as_of_date - last).days
    late = [
        str(source)
        for source, days in used.groupby("source")["usage_date"]
        if (options.as_of_date - max(days)).days > 1
    ]
    if late and quality["source"].nunique() > 1:
        detail += f"; nothing of the last day from {', '.join(late)}"
    if behind == 0:
        state: Literal["fine", "remark", "spoilt"] = "remark" if late else "fine"
        return Check("Freshness", "uses up to the as-of date", detail, state)
    value = f"last use {fmt.day(last)}, {fmt.plural(behind, 'day')} before the as-of date"
    return Check("Freshness", value, detail, "spoilt" if behind > 3 else "remark")


def _build_check(options: ReportOptions) -> Check:
    words = {
        "green": ("passed all its tests", "fine"),
        "stale": ("an older build is shown", "spoilt"),
        "red": ("failed its tests", "spoilt"),
    }
    value, state = words[options.build.state]
    detail = f"built {fmt.moment(options.build.finished_at, options.timezone)}"
    if options.build.failures:
        detail += f"; {fmt.plural(len(options.build.failures), 'failure')}"
    return Check("Build", value, detail, "fine" if state == "fine" else "spoilt")


def trust(quality: pd.DataFrame, options: ReportOptions) -> Trust:
    """The verdict from `data_quality` of the last :data:`QUALITY_DAYS` days, and the build's state."""
    sums = {
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
    rejected = _share(sums["rejected_rows"], sums["rows_read"])
    unpriced = _share(sums["unpriced_uses"], sums["usage_count"])
    unlisted = _share(sums["unlisted_uses"], sums["usage_count"])
    fields = sums["rejected_values"]

    def of_uses(part: int) -> str:
        share = _share(part, sums["usage_count"])
        return f"{fmt.count(part)} of {fmt.count(sums['usage_count'])} ({fmt.percent(share)})"

    checks = (
        _build_check(options),
        _freshness(quality, options),
        Check(
            "Rejected rows",
            f"{fmt.count(sums['rejected_rows'])} of {fmt.count(sums['rows_read'])} read"
            f" ({fmt.percent(rejected)})",
            "kept with their reason in raw.rejected_rows"
            + (f"; {fmt.plural(fields, 'single value')} left out" if fields else ""),
            _graded(rejected),
        ),
        Check(
            "Uses without a price",
            of_uses(sums["unpriced_uses"]),
            "costs are sums over the priced uses alone" if unpriced else "every use has a price",
            "remark" if unpriced > _SPOILT else "fine",
        ),
        Check(
            "Uses of unlisted prompts",
            of_uses(sums["unlisted_uses"]),
            "counted, under the domain “unlisted”" if unlisted else "every use belongs to the library",
            "remark" if unlisted > _REMARK else "fine",
        ),
        Check(
            "Late rows",
            fmt.count(sums["late_rows"]),
            "came after their day was reported; their days were built again",
            "fine",
        ),
    )
    states = {check.state for check in checks}
    first = options.as_of_date - timedelta(days=QUALITY_DAYS - 1)
    window = fmt.days_between(first, options.as_of_date)
    if "spoilt" in states:
        causes = ", ".join(check.label.lower() for check in checks if check.state == "spoilt")
        return Trust("spoilt", f"Not without a second look: {causes}.", checks, window)
    if "remark" in states:
        causes = ", ".join(check.label.lower() for check in checks if check.state == "remark")
        return Trust("remark", f"Yes, but mind: {causes}.", checks, window)
    return Trust("fine", "Yes: every check is fine.", checks, window)
