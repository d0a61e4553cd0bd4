"""What the marts must say of a usage log, computed from the raw CSV with pandas alone.

Written from the contract's definitions, without a look at the SQL that it checks: one frame of uses,
one mask a window, one aggregate a number. Slow and plain on purpose.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pandas as pd

PERIODS: dict[str, int | None] = {"day": 1, "week": 7, "month": 30, "quarter": 90, "year": 365, "all": None}
MINIMUM_SAMPLE = 20
# rule: metric, what it is a sample of, whether it fires below or above, threshold, cut-offs of the severities
ALERT_RULES = {
    "poor_success_rate": ("success_rate", "outcome_count", "below", 0.70),
    "poor_rating": ("average_rating", "rated_count", "below", 3.0),
    "slow_response": ("average_response_time_ms", "response_time_count", "above", 5000),
    "high_error_rate": ("error_rate", "error_known_count", "above", 0.20),
}
# a rule that no health depends on
SLOW_TAIL = {"slow_tail": ("p95_response_time_ms", "response_time_count", "above", 20_000)}
TARGETS = {
    "success_rate": ("outcome_count", "above", 0.80),
    "average_rating": ("rated_count", "above", 4.0),
    "average_response_time_ms": ("response_time_count", "below", 2000),
}
_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Window:
    """A period's days, both ends included, and the days of the same length just before."""

    period: str
    start: date
    end: date
    previous_start: date | None

    @property
    def previous_end(self) -> date:
        return self.start - timedelta(days=1)


def read_usage(path: Path) -> pd.DataFrame:
    """The uses of ``aider_usage.csv`` in the contract's columns; ``used_on`` is their day in UTC."""
    log = pd.read_csv(path, dtype={"error": "string", "model": "string", "edit_format": "string"})
    used_at = pd.to_datetime(log["ts_utc"], utc=True)
    success = log["success"].map({1: True, 0: False}).astype("boolean")
    is_error = log["error"].notna().astype("boolean").where(log["error"].notna())  # said where there is one
    return pd.DataFrame(
        {
            "prompt": log["edit_format"].fillna("unknown"),
            "used_at": used_at,
            "used_on": used_at.dt.date,
            "user": log["user_id"],
            "session": log["session_id"],
            "model": log["model"],
            "success": success,
            "error": is_error.fillna(~success),
            "rating": pd.Series(float("nan"), index=log.index),  # the log has none
            "response_ms": log["latency_s"] * 1000,
            "tokens": log["total_tokens"],
            "cost": log["cost_usd"],
        }
    )


def read_library(path: Path) -> pd.DataFrame:
    """The prompts of ``prompts_chat.csv``; the second of a name gets `` (2)`` and shows its original."""
    rows = pd.read_csv(path, keep_default_na=False)
    number = rows.groupby("act").cumcount() + 1
    name = rows["act"].where(number == 1, rows["act"] + " (" + number.astype(str) + ")")
    return pd.DataFrame(
        {"prompt": name, "display_name": rows["act"], "domain": rows["type"], "status": "active"}
    )


def windows(uses: pd.DataFrame, as_of: date) -> list[Window]:
    """The six periods that end on ``as_of``."""
    first = uses.loc[uses["used_on"] <= as_of, "used_on"].min()
    found = []
    for period, days in PERIODS.items():
        start = first if days is None else as_of - timedelta(days=days - 1)
        found.append(Window(period, start, as_of, None if days is None else start - timedelta(days=days)))
    return found


def summary(uses: pd.DataFrame, library: pd.DataFrame, as_of: date) -> pd.DataFrame:
    """``prompt_performance_summary``: each period with each prompt that is listed or was used by then."""
    counted = uses[uses["used_on"] <= as_of]
    listed = library.assign(suite=None, complexity_level=None)
    unlisted = pd.DataFrame({"prompt": sorted(set(counted["prompt"]) - set(library["prompt"]))}).assign(
        domain="unlisted"
    )
    prompts = pd.concat([listed, unlisted], ignore_index=True).to_dict("records")
    nothing = metrics(counted.iloc[:0])
    rows = []
    for window in windows(uses, as_of):
        current = _by_prompt(counted, window.start, window.end)
        previous = (
            {}
            if window.previous_start is None
            else _by_prompt(counted, window.previous_start, window.previous_end)
        )
        for prompt in prompts:
            now = current.get(prompt["prompt"], nothing)
            before = previous.get(prompt["prompt"], nothing)
            if window.previous_start is None:
                before = dict.fromkeys(nothing)
            rows.append(
                {
                    "as_of_date": as_of,
                    "period": window.period,
                    "period_start": window.start,
                    "period_end": window.end,
                    "prompt_name": prompt["prompt"],
                    "domain": prompt["domain"],
                    **now,
                    **{f"previous_{name}": before[name] for name in _PREVIOUS_OF_PROMPTS},
                    "health": health(now),
                }
            )
    return pd.DataFrame(rows)


_PREVIOUS_OF_PROMPTS = (
    "usage_count",
    "success_rate",
    "average_rating",
    "average_response_time_ms",
    "total_cost",
)


def _by_prompt(uses: pd.DataFrame, start: date, end: date) -> dict[str, dict[str, Any]]:
    within = uses[(uses["used_on"] >= start) & (uses["used_on"] <= end)]
    return {str(prompt): metrics(group) for prompt, group in within.groupby("prompt")}


def metrics(uses: pd.DataFrame) -> dict[str, Any]:
    """Every number of one set of uses, unknown ones None."""
    outcomes = uses["success"].dropna()
    errors = uses["error"].dropna()
    ratings = uses["rating"].dropna()
    times = uses["response_ms"].dropna().sort_values()
    tokens = uses["tokens"].dropna()
    priced = uses[uses["cost"].notna()]
    successes = int(outcomes.sum())
    priced_successes = int(priced["success"].fillna(False).sum())
    low, high = wilson(successes, len(outcomes))
    return {
        "usage_count": len(uses),
        "outcome_count": len(outcomes),
        "success_count": successes,
        "success_rate": _ratio(successes, len(outcomes)),
        "success_rate_low": low,
        "success_rate_high": high,
        "error_count": int(errors.sum()),
        "error_known_count": len(errors),
        "error_rate": _ratio(int(errors.sum()), len(errors)),
        "rated_count": len(ratings),
        "average_rating": _ratio(math.fsum(ratings), len(ratings)),
        "response_time_count": len(times),
        "average_response_time_ms": _ratio(math.fsum(times), len(times)),
        "p50_response_time_ms": nearest_rank(times, 0.50),
        "p95_response_time_ms": nearest_rank(times, 0.95),
        "p99_response_time_ms": nearest_rank(times, 0.99),
        "total_tokens": int(tokens.sum()) if len(tokens) else None,
        "total_cost": math.fsum(priced["cost"]) if len(priced) else None,
        "cost_per_use": _ratio(math.fsum(priced["cost"]), len(priced)),
        "cost_per_success": _ratio(math.fsum(priced["cost"]), priced_successes),
        "user_count": uses["user"].nunique(),
        "session_count": uses["session"].nunique(),
        "last_used_at": uses["used_at"].max() if len(uses) else None,
    }


def wilson(successes: int, outcomes: int) -> tuple[float | None, float | None]:
    """The 95 % score interval of a share (Wilson 1927)."""
    if not outcomes:
        return None, None
    share, z2 = successes / outcomes, _Z**2
    middle = share + z2 / (2 * outcomes)
    half = _Z * math.sqrt(share * (1 - share) / outcomes + z2 / (4 * outcomes**2))
    low, high = (middle - half) / (1 + z2 / outcomes), (middle + half) / (1 + z2 / outcomes)
    return max(0.0, min(share, low)), min(1.0, max(share, high))  # rounding aside they never pass the share


def nearest_rank(ordered: pd.Series, share: float) -> float | None:
    """The smallest value that at least ``share`` of all values do not exceed."""
    if ordered.empty:
        return None
    return float(ordered.iloc[max(math.ceil(share * len(ordered)), 1) - 1])


def _ratio(above: float, below: int) -> float | None:
    return above / below if below else None


def _crosses(value: float | None, direction: str, limit: float) -> bool:
    if value is None:
        return False
    return value < limit if direction == "below" else value > limit


def health(numbers: dict[str, Any]) -> str:
    if numbers["usage_count"] < MINIMUM_SAMPLE:
        return "no_data"
    if any(
        numbers[sample] >= MINIMUM_SAMPLE and _crosses(numbers[metric], direction, threshold)
        for metric, sample, direction, threshold in ALERT_RULES.values()
    ):
        return "at_risk"
    missed = (
        numbers[sample] >= MINIMUM_SAMPLE and not _crosses(numbers[metric], direction, target)
        for metric, (sample, direction, target) in TARGETS.items()
    )
    return "watch" if any(missed) else "healthy"


def alerts(by_prompt: pd.DataFrame, cutoffs: dict[str, tuple[float, float]]) -> pd.DataFrame:
    """What fires at the end of a month; ``cutoffs`` are (medium, high) of each rule.

    ``low_usage`` is left out: it is for prompts that are known to be older than the period, and
    neither of the two files says when a prompt was made.
    """
    rows = []
    for numbers in by_prompt[by_prompt["period"] == "month"].to_dict("records"):
        for rule, (metric, sample, direction, threshold) in (ALERT_RULES | SLOW_TAIL).items():
            value = None if pd.isna(numbers[metric]) else numbers[metric]
            if numbers[sample] < MINIMUM_SAMPLE or not _crosses(value, direction, threshold):
                continue
            medium, high = cutoffs[rule]
            severity = (
                "high"
                if _crosses(value, direction, high)
                else "medium"
                if _crosses(value, direction, medium)
                else "low"
            )
            rows.append(
                {
                    "prompt_name": numbers["prompt_name"],
                    "rule": rule,
                    "severity": severity,
                    "observed_value": value,
                    "threshold": threshold,
                    "sample_size": numbers[sample],
                }
            )
    return pd.DataFrame(
        rows, columns=["prompt_name", "rule", "severity", "observed_value", "threshold", "sample_size"]
    )


def dashboard(uses: pd.DataFrame, library: pd.DataFrame, fired: pd.DataFrame, as_of: date) -> pd.DataFrame:
    """``dashboard_metrics`` of a library without agents: a row for each period."""
    counted = uses[uses["used_on"] <= as_of]
    severities = fired["severity"].value_counts()
    rows = []
    for window in windows(uses, as_of):
        current = counted[(counted["used_on"] >= window.start) & (counted["used_on"] <= window.end)]
        now = metrics(current)
        if window.previous_start is None:
            before: dict[str, Any] = dict.fromkeys(now)
            previously_used = None
        else:
            earlier = counted[
                (counted["used_on"] >= window.previous_start) & (counted["used_on"] <= window.previous_end)
            ]
            before = metrics(earlier)
            previously_used = earlier["prompt"].nunique()
        names = ("usage_count", "success_rate", "average_rating", "average_response_time_ms")
        names += ("total_tokens", "total_cost")
        rows.append(
            {
                "as_of_date": as_of,
                "period": window.period,
                "total_prompts": len(library),
                "active_prompts": int((library["status"] == "active").sum()),
                "used_prompts": current["prompt"].nunique(),
                "suite_prompts": 0,
                "total_agents": 0,
                "mapped_agents": 0,
                "total_mappings": 0,
                "average_mappings_per_agent": None,
                **{name: now[name] for name in names},
                "open_alerts": len(fired),
                **{f"{level}_alerts": int(severities.get(level, 0)) for level in ("high", "medium", "low")},
                "previous_used_prompts": previously_used,
                **{f"previous_{name}": before[name] for name in names},
            }
        )
    return pd.DataFrame(rows)
