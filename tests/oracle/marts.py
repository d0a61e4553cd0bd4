"""The summary and the dashboard computed a second time, from the contract's definitions, with pandas alone.

Shares nothing with the dbt project: no SQL, no daily sums, no histogram. Reads the raw rows as frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

LENGTHS: Mapping[str, int | None] = {
    "day": 1,
    "week": 7,
    "month": 30,
    "quarter": 90,
    "year": 365,
    "all": None,
}
MINIMUM_SAMPLE = 20
_COMPARED = ("usage_count", "success_rate", "average_rating", "average_response_time_ms", "total_cost")
Z = 1.959963984540054


def resolve(usage: pd.DataFrame, prompts: pd.DataFrame) -> pd.DataFrame:
    """The uses with `prompt`: the library's id, or ``("unlisted", key)``."""
    by_id = set(prompts["prompt_id"])
    elder_first = prompts.sort_values("created_at", na_position="last", kind="stable")
    by_name = elder_first.drop_duplicates("name").set_index("name")["prompt_id"].to_dict()

    def prompt(key: str) -> Any:
        return key if key in by_id else by_name.get(key, ("unlisted", key))

    return usage.assign(prompt=usage["prompt_key"].map(prompt))


def with_days(usage: pd.DataFrame, timezone: str) -> pd.DataFrame:
    """The uses with `day`, cut in ``timezone``."""
    days = pd.to_datetime(usage["used_at"], utc=True).dt.tz_convert(timezone).dt.date
    return usage.assign(day=days)


def window(period: str, as_of: date, first_use: date | None) -> tuple[date | None, date | None]:
    """First day of the period and of the one before; null where there is none."""
    length = LENGTHS[period]
    if length is None:
        return first_use, None
    return as_of - timedelta(days=length - 1), as_of - timedelta(days=2 * length - 1)


def summary(usage: pd.DataFrame, prompts: pd.DataFrame, as_of: date, timezone: str) -> pd.DataFrame:
    """One row a period and prompt, with the contract's columns; `prompt` as :func:`resolve` gives it."""
    uses = _up_to(usage, prompts, as_of, timezone)
    names = _names(uses, prompts)
    rows = []
    for period in LENGTHS:
        start, before = window(period, as_of, uses["day"].min() if len(uses) else None)
        for prompt, name in names.items():
            mine = uses[uses["prompt"] == prompt] if len(uses) else uses
            now = mine[mine["day"] >= start] if start else mine
            rows.append(
                {
                    "period": period,
                    "period_start": start,
                    "period_end": as_of,
                    "prompt": prompt,
                    "prompt_name": name,
                    **measures(now),
                    **_before(mine, start, before, _COMPARED),
                }
            )
    return pd.DataFrame(rows)


def dashboard(
    usage: pd.DataFrame,
    prompts: pd.DataFrame,
    agents: pd.DataFrame,
    mappings: pd.DataFrame,
    as_of: date,
    timezone: str,
) -> pd.DataFrame:
    """One row a period, with the contract's columns but for the alerts."""
    uses = _up_to(usage, prompts, as_of, timezone)
    mapped = mappings[["source", "agent_id"]].drop_duplicates()
    rows = []
    for period in LENGTHS:
        start, before = window(period, as_of, uses["day"].min() if len(uses) else None)
        now = uses[uses["day"] >= start] if start else uses
        values = measures(now)
        rows.append(
            {
                "period": period,
                "total_prompts": len(prompts),
                "active_prompts": int((prompts["status"] == "active").sum()),
                "used_prompts": now["prompt"].nunique(),
                "suite_prompts": int(prompts["suite"].notna().sum()),
                "total_agents": len(agents),
                "mapped_agents": len(mapped),
                "total_mappings": len(mappings),
                "average_mappings_per_agent": len(mappings) / len(mapped) if len(mapped) else None,
                **{
                    name: values[name]
                    for name in (
                        "usage_count", "success_rate", "average_rating", "average_response_time_ms",
                        "total_tokens", "total_cost",
                    )
                },
                **_before(uses, start, before, (*_COMPARED, "total_tokens", "used_prompts")),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def version_performance(
    usage: pd.DataFrame, prompts: pd.DataFrame, versions: pd.DataFrame, as_of: date, timezone: str
) -> pd.DataFrame:
    """One row a prompt and version (`none` where not known), use by use."""
    uses = _up_to(usage, prompts, as_of, timezone)
    dated = with_days(versions.rename(columns={"created_at": "used_at"}), timezone)
    dated = dated[dated["used_at"].isna() | (dated["day"] <= as_of)]
    changes = {
        prompt: list(zip(mine["day"], mine["version"], strict=True))
        for prompt, mine in dated.dropna(subset="used_at").sort_values("used_at").groupby("prompt_id")
    }

    def version(prompt: Any, stated: Any, day: date) -> str:
        if not pd.isna(stated):
            return str(stated)
        made = changes.get(prompt, [])
        before = [version for changed, version in made if changed < day]
        today = [version for changed, version in made if changed == day]
        could_run = [*before[-1:], *today]
        return could_run[0] if len(could_run) == 1 else "none"

    used = uses.assign(
        version=[
            version(*use) for use in zip(uses["prompt"], uses["prompt_version"], uses["day"], strict=True)
        ]
    )
    names = (
        "usage_count", "success_count", "success_rate", "success_rate_low", "success_rate_high",
        "average_rating", "average_response_time_ms", "total_cost", "cost_per_use", "cost_per_success",
    )  # fmt: skip
    keys = {*zip(used["prompt"], used["version"], strict=True)}
    keys |= {*zip(dated["prompt_id"], dated["version"], strict=True)}
    rows = []
    for prompt, name in keys:
        mine = used[(used["prompt"] == prompt) & (used["version"] == name)]
        values = measures(mine)
        rows.append(
            {
                "prompt": prompt,
                "version": name,
                **{measure: values[measure] for measure in names},
                "timed_count": int(mine["prompt_version"].isna().sum()) if name != "none" else 0,
                "first_used_at": mine["used_at"].min() if len(mine) else None,
                "last_used_at": values["last_used_at"],
            }
        )
    return pd.DataFrame(rows)


def costs(usage: pd.DataFrame, prompts: pd.DataFrame, as_of: date, timezone: str) -> pd.DataFrame:
    """One row a period, prompt and model (`none` where not known) with a use."""
    uses = _up_to(usage, prompts, as_of, timezone)
    uses = uses.assign(model=uses["model"].fillna("none"))
    rows = []
    for period in LENGTHS:
        start, _ = window(period, as_of, uses["day"].min())
        now = uses[uses["day"] >= start]
        whole = sum(now["cost"].dropna())
        for (prompt, model), mine in now.groupby(["prompt", "model"]):
            values = measures(mine)
            failures = mine.loc[mine["success"].eq(False), "cost"].dropna()
            total = values["total_cost"]
            rows.append(
                {
                    "period": period,
                    "prompt": prompt,
                    "model": model,
                    "usage_count": values["usage_count"],
                    "success_count": values["success_count"],
                    "unpriced_count": int((mine["cost"].isna() & (mine["total_tokens"] > 0)).sum()),
                    "total_tokens": values["total_tokens"],
                    "total_cost": total,
                    "cost_share": float(total / whole) if total is not None and whole else None,
                    "cost_per_use": values["cost_per_use"],
                    "cost_per_success": values["cost_per_success"],
                    "failure_cost": sum(failures) if len(failures) else None,
                }
            )
    return pd.DataFrame(rows)


BUCKETS: Mapping[str, tuple[float, ...]] = {
    "success_rate": (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1),
    "average_rating": (1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5),
    "average_response_time_ms": (0, 100, 250, 500, 1000, 2000, 5000, 10000, 30000, math.inf),
    "cost_per_use": (0, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, math.inf),
}


def distribution(usage: pd.DataFrame, prompts: pd.DataFrame, as_of: date, timezone: str) -> pd.DataFrame:
    """One row a period, domain (`all` for all, `none` for those without), metric and bucket of it."""
    values = summary(usage, prompts, as_of, timezone)
    domains = dict(zip(prompts["prompt_id"], prompts["domain"].fillna("none"), strict=True))
    values["domain"] = [
        "unlisted" if isinstance(prompt, tuple) else domains[prompt] for prompt in values["prompt"]
    ]
    rows = []
    for metric, edges in BUCKETS.items():
        known = values[values[metric].notna()].astype({metric: float})
        # the highest value possible lies in the last bucket
        bins = pd.IntervalIndex.from_breaks([*edges[:-1], edges[-1] + 1e-9], closed="left")
        groups = [
            *known.groupby(["period", "domain"]),
            *(((period, "all"), group) for period, group in known.groupby("period")),
        ]
        for (period, domain), group in groups:
            counts = pd.cut(group[metric], bins).value_counts(sort=False)
            rows += [
                {
                    "period": period,
                    "domain": domain,
                    "metric": metric,
                    "bucket": number,
                    "prompt_count": count,
                    "prompt_share": count / len(group),
                }
                for number, count in enumerate(counts, start=1)
            ]
    return pd.DataFrame(rows)


def trends(usage: pd.DataFrame, prompts: pd.DataFrame, as_of: date, timezone: str) -> pd.DataFrame:
    """One row a day of the last 90 and prompt, and `all`: the day, its week, the slope of four weeks.

    The slope by least squares over the single days, with a dummy variable for each weekday.
    """
    uses = _up_to(usage, prompts, as_of, timezone)
    groups: dict[Any, pd.DataFrame] = {"all": uses, **dict(iter(uses.groupby("prompt")))}
    rows = []
    for prompt, mine in groups.items():
        if prompt != "all" and mine["day"].max() <= as_of - timedelta(days=118):
            continue
        first = mine["day"].min()
        for back in range(90):
            day = as_of - timedelta(days=back)
            if day < first:
                break
            today = measures(mine[mine["day"] == day])
            length = min(7, (day - first).days + 1)
            week = measures(mine[(mine["day"] > day - timedelta(days=7)) & (mine["day"] <= day)])
            before = [day - timedelta(days=7 * weeks) for weeks in (1, 2, 3, 4)]
            four_weeks = [day - timedelta(days=days) for days in range(28)]
            counts = mine["day"].value_counts().reindex(four_weeks, fill_value=0)
            slope, error = _slope(counts) if four_weeks[-1] >= first else (None, None)
            rows.append(
                {
                    "prompt": prompt,
                    "usage_date": day,
                    "usage_count": today["usage_count"],
                    "usual_usage_count": mine["day"].isin(before).sum() / 4 if before[-1] >= first else None,
                    "success_rate": today["success_rate"],
                    "average_rating": today["average_rating"],
                    "average_response_time_ms": today["average_response_time_ms"],
                    "total_cost": today["total_cost"],
                    "week_usage_count": week["usage_count"] / length,
                    "week_success_rate": week["success_rate"],
                    "week_average_rating": week["average_rating"],
                    "week_average_response_time_ms": week["average_response_time_ms"],
                    "week_cost": week["total_cost"] / length if week["total_cost"] is not None else None,
                    "usage_slope": slope,
                    "usage_slope_error": error,
                    "direction": _direction(slope, error, counts.sum()),
                }
            )
    return pd.DataFrame(rows)


def _slope(counts: pd.Series) -> tuple[float, float]:
    """Growth a day and its standard error, of counts of 28 days, the newest first."""
    days = -np.arange(28.0)
    design = np.column_stack([days, *(np.arange(28) % 7 == weekday for weekday in range(7))])
    found, *_ = np.linalg.lstsq(design, counts.to_numpy(float), rcond=None)
    left = counts.to_numpy(float) - design @ found
    covariance = np.linalg.inv(design.T @ design) * (left @ left) / (28 - 8)
    # what is zero but for rounding is zero
    return round(found[0], 9), round(float(np.sqrt(covariance[0, 0])), 9)


def _direction(slope: float | None, error: float | None, uses: int) -> str:
    if slope is None or error is None or uses < 20:
        return "too little data"
    reach = 2.0859634 * error
    return "rising" if slope > reach else "falling" if slope < -reach else "steady"


def measures(uses: pd.DataFrame) -> dict[str, Any]:
    """The contract's numbers over some uses: a count over nothing 0, a sum or ratio over nothing null."""
    outcomes = uses["success"].dropna().astype(bool)
    errors = [_is_error(*pair) for pair in zip(uses["is_error"], uses["success"], strict=True)]
    known_errors = [error for error in errors if error is not None]
    ratings = uses["rating"].dropna()
    times = uses["response_time_ms"].dropna()
    priced = uses[uses["cost"].notna()]
    cost = sum(priced["cost"]) if len(priced) else None
    successes = int(outcomes.sum())
    priced_successes = int(priced["success"].eq(True).sum())
    tokens = uses["total_tokens"].dropna()
    low, high = wilson(successes, len(outcomes))
    return {
        "usage_count": len(uses),
        "outcome_count": len(outcomes),
        "success_count": successes,
        "success_rate": successes / len(outcomes) if len(outcomes) else None,
        "success_rate_low": low,
        "success_rate_high": high,
        "error_count": sum(known_errors),
        "error_rate": sum(known_errors) / len(known_errors) if known_errors else None,
        "rated_count": len(ratings),
        "average_rating": ratings.mean() if len(ratings) else None,
        "average_response_time_ms": times.mean() if len(times) else None,
        "p50_response_time_ms": nearest_rank(times, Fraction(50, 100)),
        "p95_response_time_ms": nearest_rank(times, Fraction(95, 100)),
        "p99_response_time_ms": nearest_rank(times, Fraction(99, 100)),
        "total_tokens": int(tokens.sum()) if len(tokens) else None,
        "total_cost": cost,
        "cost_per_use": cost / len(priced) if cost is not None else None,
        "cost_per_success": cost / priced_successes if cost is not None and priced_successes else None,
        "user_count": uses["user_key"].dropna().nunique(),
        "session_count": len(uses[["source", "session_id"]].dropna().drop_duplicates()),
        "last_used_at": uses["used_at"].max() if len(uses) else None,
        "health": health(
            {
                "success_rate": (successes / len(outcomes) if len(outcomes) else 0, len(outcomes)),
                "average_rating": (ratings.mean() if len(ratings) else 0, len(ratings)),
                "average_response_time_ms": (times.mean() if len(times) else 0, len(times)),
                "error_rate": (sum(known_errors) / max(1, len(known_errors)), len(known_errors)),
            }
        ),
    }


_ALERTS: Mapping[str, Callable[[float], bool]] = {
    "success_rate": lambda value: value < 0.70,
    "average_rating": lambda value: value < 3.0,
    "average_response_time_ms": lambda value: value > 5000,
    "error_rate": lambda value: value > 0.20,
}
_TARGETS_MISSED: Mapping[str, Callable[[float], bool]] = {
    "success_rate": lambda value: value <= 0.80,
    "average_rating": lambda value: value <= 4.0,
    "average_response_time_ms": lambda value: value >= 2000,
}


def health(metrics: Mapping[str, tuple[float, int]]) -> str:
    """The verdict over metrics given as (value, sample)."""
    known = {name: value for name, (value, sample) in metrics.items() if sample >= MINIMUM_SAMPLE}
    if not known:
        return "no_data"
    if any(_ALERTS[name](value) for name, value in known.items()):
        return "at_risk"
    if any(_TARGETS_MISSED[name](value) for name, value in known.items() if name in _TARGETS_MISSED):
        return "watch"
    return "healthy"


def wilson(successes: int, trials: int) -> tuple[float | None, float | None]:
    """The Wilson interval at 95 %, from its quadratic: both p with |p - s/n| = z sqrt(p (1 - p) / n)."""
    if not trials:
        return None, None
    share = successes / trials
    a, b, c = 1 + Z**2 / trials, -(2 * share + Z**2 / trials), share**2
    root = math.sqrt(max(0.0, b**2 - 4 * a * c))
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def nearest_rank(values: pd.Series, share: Fraction) -> float | None:
    """The smallest value that at least ``share`` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else None


def _is_error(is_error: Any, success: Any) -> bool | None:
    if not pd.isna(is_error):
        return bool(is_error)
    return None if pd.isna(success) else not success


def _up_to(usage: pd.DataFrame, prompts: pd.DataFrame, as_of: date, timezone: str) -> pd.DataFrame:
    uses = resolve(with_days(usage, timezone), prompts)
    return uses[uses["day"] <= as_of]


def _names(uses: pd.DataFrame, prompts: pd.DataFrame) -> dict[Any, str]:
    names = dict(zip(prompts["prompt_id"], prompts["name"], strict=True))
    for prompt in uses["prompt"].unique():
        if prompt not in names:
            names[prompt] = prompt[1]
    return names


def _before(
    uses: pd.DataFrame, start: date | None, before: date | None, names: Sequence[str]
) -> dict[str, Any]:
    if before is None or start is None:
        return {f"previous_{name}": None for name in names}
    earlier = uses[(uses["day"] >= before) & (uses["day"] < start)]
    values = {**measures(earlier), "used_prompts": earlier["prompt"].nunique()}
    return {f"previous_{name}": values[name] for name in names}
