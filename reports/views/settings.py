"""The settings page: rules, targets, periods and settings that this report went by, and where to change each.

Rules come from the mart that keeps what the build went by, settings as handed in, without secrets. Pure:
a frame in, one frozen dataclass out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports import format as fmt
from reports.marts import records
from reports.metrics import PERIOD_NAMES
from reports.options import PERIODS, ReportOptions, Setting
from reports.views.common import Page, metric_text, page, rule_label

_METRICS: Mapping[str, str] = {
    "usage_count": "uses",
    "success_rate": "success rate",
    "average_rating": "average rating",
    "average_response_time_ms": "average response time",
    "error_rate": "error rate",
    "rejected_rows": "rejected rows",
    "rejected_values": "rejected values",
    "late_rows": "late uses",
    "unpriced_uses": "uses without a price",
    "unlisted_uses": "uses of unlisted prompts",
    "hours_without_use": "hours without a use",
}


@dataclass(frozen=True)
class Table:
    """Rules of one kind: what they say, as text, and where an analyst changes them."""

    key: str
    title: str
    note: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    empty: str
    where: str


@dataclass(frozen=True)
class Group:
    """Settings that belong together."""

    title: str
    settings: tuple[Setting, ...]


@dataclass(frozen=True)
class SettingsPage:
    """The page."""

    page: Page
    tables: tuple[Table, ...]
    periods: tuple[tuple[str, ...], ...]
    groups: tuple[Group, ...]
    config_file: str


def _written(row: Mapping[str, Any], value: float | None) -> str:
    """A limit of a rule in its unit; all measures of data quality but hours are shares."""
    metric = str(row["metric"])
    if row["kind"] == "data quality limit" and metric != "hours_without_use":
        return fmt.plain(fmt.percent(value))
    return fmt.plain(metric_text(metric, value))


def _whom(row: Mapping[str, Any]) -> str:
    if row["scope"] == "all":
        return "all prompts"
    return f"{'domain' if row['scope'] == 'domain' else 'prompt'} {row['scope_value']}"


def _limits(row: Mapping[str, Any]) -> tuple[str, ...]:
    side = "under" if row["comparator"] == "below" else "over"
    return (
        f"{side} {_written(row, row['threshold'])}",
        *(
            "in proportion" if row[cut] is None else f"{side} {_written(row, row[cut])}"
            for cut in ("medium_cutoff", "high_cutoff")
        ),
    )


def _tables(rows: Sequence[Mapping[str, Any]]) -> tuple[Table, ...]:
    of: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        of.setdefault(str(row["kind"]), []).append(row)

    def name(row: Mapping[str, Any]) -> str:
        return rule_label(str(row["name"]))

    def metric(row: Mapping[str, Any]) -> str:
        return _METRICS.get(str(row["metric"]), str(row["metric"]).replace("_", " "))

    def period(row: Mapping[str, Any]) -> str:
        return (
            PERIOD_NAMES[row["period"]].title if row["period"] in PERIOD_NAMES else str(row["period"] or "")
        )

    return (
        Table(
            "targets",
            "Targets",
            "What good looks like. A prompt that misses one is on watch.",
            ("Metric", "For", "Should be", "From a sample of"),
            tuple(
                (
                    metric(row).capitalize(),
                    _whom(row),
                    (
                        f"{'over' if row['comparator'] == 'above' else 'under'} "
                        f"{_written(row, row['threshold'])}"
                    ),
                    fmt.count(row["minimum_sample"]),
                )
                for row in of.get("target", ())
            ),
            "No target is set, so nothing is judged against one.",
            "dbt_project/seeds/targets.csv",
        ),
        Table(
            "rules",
            "Alert rules",
            "A prompt that crosses one is at risk, and an alert opens.",
            ("Rule", "Looks at", "Low", "Medium", "High", "Over", "From a sample of", "What to do"),
            tuple(
                (
                    name(row),
                    metric(row),
                    *_limits(row),
                    period(row),
                    fmt.count(row["minimum_sample"]),
                    str(row["meaning"] or ""),
                )
                for row in of.get("alert rule", ())
            ),
            "No alert rule is set, so no alert opens.",
            "dbt_project/seeds/alert_rules.csv",
        ),
        Table(
            "overrides",
            "Other thresholds for some",
            "A prompt's own threshold goes before its domain's, that before the rule's.",
            ("Rule", "For", "Low", "Medium", "High"),
            tuple((name(row), _whom(row), *_limits(row)) for row in of.get("alert override", ())),
            "None: every prompt is held to the same thresholds.",
            "dbt_project/seeds/alert_overrides.csv",
        ),
        Table(
            "limits",
            "When the numbers are doubted",
            "A source and day beyond these is a remark or a problem on the overview.",
            ("Measure", "A remark over", "A problem over"),
            tuple(
                (
                    metric(row).capitalize(),
                    _written(row, row["threshold"]),
                    _written(row, row["high_cutoff"]),
                )
                for row in of.get("data quality limit", ())
            ),
            "No limit is set, so only a failed build is told.",
            "dbt_project/seeds/data_quality_limits.csv",
        ),
    )


def settings_page(*, rules: pd.DataFrame, dashboard: pd.DataFrame, options: ReportOptions) -> SettingsPage:
    """The page from `rules_in_force`, `dashboard_metrics` (for the periods' days) and the options."""
    spans = {row["period"]: (row["period_start"], row["period_end"]) for row in records(dashboard)}
    groups: dict[str, list[Setting]] = {}
    for setting in options.settings:
        groups.setdefault(setting.group, []).append(setting)
    return SettingsPage(
        page=page(options, "Settings", "settings"),
        tables=_tables(records(rules)),
        periods=tuple(
            (
                PERIOD_NAMES[period].title,
                fmt.days_between(*spans.get(period, (None, None))),
                PERIOD_NAMES[period].before or "nothing: it has no period before",
                "shown first" if period == options.default_period else "",
            )
            for period in PERIODS
        ),
        groups=tuple(Group(title, tuple(some)) for title, some in groups.items()),
        config_file=options.config_file,
    )
