"""The marts cut to some of their prompts: frames in, frames of the same shape out.

So a mail about one owner's prompts, a domain or a suite is made by the same views as one about all. The
numbers of the whole are summed anew from the days of the prompts chosen, by the marts' own definitions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

import pandas as pd

from reports import trends
from reports.marts import records
from reports.metrics import METRICS
from reports.options import PERIOD_DAYS

SELECTABLE = ("owner", "domain", "suite")


@dataclass(frozen=True)
class Selection:
    """Which prompts and alerts: ``values`` by column of :data:`SELECTABLE`, ``severities``; empty: all.

    ``each``: the column of which this is one value among those that get a mail each.
    """

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    severities: tuple[str, ...] = ()
    each: str | None = None

    def prompts(self, library: pd.DataFrame) -> pd.DataFrame:
        """The rows of the mart `prompts` that are meant."""
        for column, wanted in self.values.items():
            library = library[library[column].isin(wanted)]
        return library

    @property
    def is_all_prompts(self) -> bool:
        return not self.values


@dataclass(frozen=True)
class Frames:
    """What a mail is made of: frames as :class:`reports.marts.Marts` returns them."""

    dashboard: pd.DataFrame
    summary: pd.DataFrame
    top: pd.DataFrame
    alert_rows: pd.DataFrame
    daily: pd.DataFrame
    quality: pd.DataFrame


def cut(
    frames: Frames,
    selection: Selection,
    library: pd.DataFrame,
    daily: pd.DataFrame,
    as_of_date: date,
) -> Frames:
    """``frames`` of all prompts cut to a selection.

    ``library`` is the mart `prompts`, ``daily`` the sums by day of the prompts chosen. Whether the numbers
    can be trusted is a matter of whole sources, so that stays as it is.
    """
    alerts = frames.alert_rows
    if selection.severities:
        alerts = alerts[alerts["severity"].isin(selection.severities)]
    if selection.is_all_prompts:
        return replace(frames, alert_rows=alerts)
    chosen = selection.prompts(library)
    ids = set(chosen["prompt_id"])
    summary = frames.summary[frames.summary["prompt_id"].isin(ids)]
    return replace(
        frames,
        dashboard=dashboard(frames.dashboard, summary, chosen, records(daily), as_of_date),
        summary=summary,
        top=frames.top[frames.top["prompt_id"].isin(ids)],
        alert_rows=alerts[alerts["prompt_id"].isin(ids)],
        daily=daily,
    )


def dashboard(
    whole: pd.DataFrame,
    summary: pd.DataFrame,
    chosen: pd.DataFrame,
    days: Sequence[Mapping[str, Any]],
    as_of_date: date,
) -> pd.DataFrame:
    """`dashboard_metrics` of the prompts chosen: of agents, mappings and tokens it says nothing.

    ``whole`` is that of all, for its periods and targets; ``chosen`` are rows of the mart `prompts`,
    ``summary`` and ``days`` (sums by day) are theirs alone.
    """
    listed = chosen[chosen["is_listed"].fillna(False)]
    library = {
        "total_prompts": len(listed),
        "active_prompts": int((listed["status"] == "active").sum()),
        "suite_prompts": int(listed["suite"].notna().sum()),
    }
    used = summary[summary["usage_count"] > 0].groupby("period").size()
    rows = []
    for row in records(whole):
        length = PERIOD_DAYS[row["period"]]
        first = date.min if length is None else as_of_date - timedelta(days=length - 1)
        now = trends.total(days, first, as_of_date)
        before = (
            None
            if length is None
            else trends.total(days, first - timedelta(days=length), first - timedelta(days=1))
        )
        rows.append(
            {name: row[name] for name in ("period", "period_start", "period_end")}
            | {name: value for name, value in row.items() if name.startswith("target_")}
            | library
            | {"used_prompts": int(used.get(row["period"], 0))}
            | {metric.key: getattr(now, metric.key) for metric in METRICS}
            | {
                f"previous_{metric.key}": None if before is None else getattr(before, metric.key)
                for metric in METRICS
            }
        )
    made = pd.DataFrame(rows, columns=list(whole.columns), dtype=object)
    return made.astype(whole.dtypes.to_dict())
