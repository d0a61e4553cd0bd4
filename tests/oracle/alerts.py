"""Which alerts the rules open on a first night, computed a second time with pandas alone.

From the words of docs/methods/alerts.md and the seed of rules; shares nothing with the dbt project: no SQL,
no daily sums, no histogram. One mask a window, use by use.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

LENGTHS = {"day": 1, "week": 7, "month": 30, "quarter": 90, "year": 365}
PAST = 90
Z = 3.290526731491926  # 99.9 %, two-sided


@dataclass(frozen=True)
class Found:
    """A metric of a prompt or source: whether it is more than chance, and how much money it is about."""

    value: float
    sample: int
    sure: bool = True
    amount: float = math.inf


def read_rules(path: Path) -> pd.DataFrame:
    """The seed, as analysts wrote it."""
    return pd.read_csv(path).query("enabled")


def opened(
    uses: pd.DataFrame, prompts: Mapping[Any, date | None], rules: pd.DataFrame, as_of: date
) -> pd.DataFrame:
    """One row an alert: ``subject, rule, severity``.

    ``uses`` has a row a use: ``prompt, source, day, success, error, rating, response_ms, cost``, null where
    not known. ``prompts`` are all there are, with the day since when an active one is known, else None.
    Rules on forecasts and comparisons are left out.
    """
    uses = uses[uses["day"] <= as_of]
    rows = []
    for rule in rules.to_dict("records"):
        for subject, known_since, found in _found(uses, prompts, rule, as_of):
            start = as_of - timedelta(days=LENGTHS.get(rule["period"], 1) - 1)
            established = known_since is not None and known_since < start
            if rule["needs_established_prompt"] and not established:
                continue
            if found.sample < rule["minimum_sample"] or not found.sure or found.amount < _amount(rule):
                continue
            levels = [
                found.value > limit if rule["comparator"] == "above" else found.value < limit
                for limit in (rule["threshold"], rule["medium_cutoff"], rule["high_cutoff"])
            ]
            if levels[0]:
                severity = ("low", "medium", "high")[sum(levels) - 1]
                rows.append({"subject": subject, "rule": rule["rule"], "severity": severity})
    return pd.DataFrame(rows, columns=["subject", "rule", "severity"])


def _amount(rule: Mapping[str, Any]) -> float:
    return 0.0 if math.isnan(rule["minimum_amount"]) else float(rule["minimum_amount"])


def _found(
    uses: pd.DataFrame, prompts: Mapping[Any, date | None], rule: Mapping[str, Any], as_of: date
) -> Iterator[tuple[Any, date | None, Found]]:
    if rule["metric"] == "days_without_use":
        for source, mine in uses[uses["day"] > as_of - timedelta(days=PAST)].groupby("source"):
            yield source, None, _silence(sorted(set(mine["day"])), as_of)
        return
    if rule["metric"] not in _METRICS:
        return
    days = LENGTHS[rule["period"]]
    start = as_of - timedelta(days=days - 1)
    for prompt, known_since in prompts.items():
        mine = uses[uses["prompt"] == prompt]
        past = mine[(mine["day"] < start) & (mine["day"] >= start - timedelta(days=PAST))]
        first = mine["day"].min() if len(mine) else None
        found = _METRICS[rule["metric"]](mine[mine["day"] >= start], past, days, start, first)
        if found is not None:
            yield prompt, known_since, found


def _mean(column: str) -> Any:
    def measure(now: pd.DataFrame, *_: Any) -> Found | None:
        known = now[column].dropna().astype(float)
        return Found(known.mean(), len(known)) if len(known) else None

    return measure


def _uses(now: pd.DataFrame, *_: Any) -> Found:
    return Found(len(now), len(now))


def _tail(now: pd.DataFrame, *_: Any) -> Found | None:
    times = sorted(now["response_ms"].dropna())
    return Found(times[math.ceil(0.95 * len(times)) - 1], len(times)) if times else None


def _cost(now: pd.DataFrame, *_: Any) -> Found | None:
    costs = now["cost"].dropna().astype(float)
    return Found(costs.mean(), len(costs), amount=costs.sum()) if len(costs) else None


def _spike(now: pd.DataFrame, past: pd.DataFrame, days: int, *_: Any) -> Found | None:
    known = past.dropna(subset="cost")
    daily = known["cost"].astype(float).groupby(known["day"]).sum()
    logs = np.log(daily[daily > 0])
    costs = now["cost"].dropna().astype(float)
    if len(logs) < 14 or not len(costs) or costs.sum() <= 0:
        return None
    spread = max(np.median(np.abs(logs - np.median(logs))) / 0.6745, 0.25)
    usual = math.exp(np.median(logs)) * days
    return Found(
        costs.sum() / usual,
        len(costs),
        (math.log(costs.sum() / days) - np.median(logs)) / spread > 3.5,
        costs.sum() - usual,
    )


def _wilson(successes: float, trials: int) -> tuple[float, float]:
    """Both shares p with (p - s/n)² = Z² p (1 - p) / n."""
    low, high = sorted(
        np.roots(
            [
                1 + Z**2 / trials,
                -(2 * successes / trials + Z**2 / trials),
                (successes / trials) ** 2,
            ]
        ).real
    )
    return low, high


def _success_drop(now: pd.DataFrame, past: pd.DataFrame, *_: Any) -> Found | None:
    new, old = (frame["success"].dropna().astype(float) for frame in (now, past))
    if not len(new) or not len(old) or not old.sum():
        return None
    upper, lower = _wilson(new.sum(), len(new))[1], _wilson(old.sum(), len(old))[0]
    fall = new.mean() - old.mean()
    sure = fall + math.hypot(upper - new.mean(), old.mean() - lower) < 0
    return Found(new.mean() / old.mean() - 1, min(len(new), len(old)), sure)


def _rating_drop(now: pd.DataFrame, past: pd.DataFrame, *_: Any) -> Found | None:
    new, old = (frame["rating"].dropna().astype(float) for frame in (now, past))
    if len(new) < 2 or len(old) < 2:
        return None
    own = new.var() / len(new) + old.var() / len(old)
    pooled = pd.concat([new, old]).var() * (1 / len(new) + 1 / len(old))
    sure = new.mean() - old.mean() + Z * math.sqrt(max(own, pooled)) < 0
    return Found(new.mean() / old.mean() - 1, min(len(new), len(old)), sure)


def _use_drop(
    now: pd.DataFrame, past: pd.DataFrame, days: int, start: date, first: date | None
) -> Found | None:
    windows = 0 if first is None else min(PAST, (start - first).days) // days
    if windows < 1:
        return None
    ages = [(start - day).days - 1 for day in past["day"]]
    counts = [sum(age // days == place for age in ages) for place in range(windows)]
    if not sum(counts):
        return None
    usual = sum(counts) / windows
    sure = windows >= 4 and len(now) < min(counts) and usual - len(now) > Z * math.sqrt(usual)
    return Found(len(now) / usual - 1, sum(counts), sure)


def _silence(days: list[date], as_of: date) -> Found:
    gaps = [(later - earlier).days - 1 for earlier, later in itertools.pairwise(days)]
    silent = (as_of - days[-1]).days
    return Found(silent, len(days), silent > max(gaps, default=0))


_METRICS = {
    "usage_count": _uses,
    "success_rate": _mean("success"),
    "error_rate": _mean("error"),
    "average_rating": _mean("rating"),
    "average_response_time_ms": _mean("response_ms"),
    "p95_response_time_ms": _tail,
    "cost_per_use": _cost,
    "cost_spike": _spike,
    "success_rate_change": _success_drop,
    "average_rating_change": _rating_drop,
    "usage_count_change": _use_drop,
}
