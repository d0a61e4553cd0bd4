"""The marts' advice computed a second time: savings of cheaper models, recommendations by their rules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from tests.oracle.marts import SEEDS, Oracle, Z, measures, only, percentiles, wilson

Facts = dict[str, dict[str, Any]]


def model_savings(oracle: Oracle) -> pd.DataFrame:
    recent = oracle.back(90)
    recent = recent[recent["model"].notna()]
    keys = ["prompt_id", "model"]
    sums = measures(recent, keys)
    monthly = recent[recent["day"] > oracle.as_of - timedelta(days=30)].groupby(keys).size()
    days = {oracle.as_of - timedelta(days=back) for back in range(90)}
    strange = oracle.anomalies[oracle.anomalies["usage_date"].isin(days)]
    excess = (
        strange.assign(prompt_id=oracle.ids(strange["prompt_id"]))
        .groupby(keys)["excess_cost"]
        .sum()
        .to_dict()
    )
    pairs = []
    for prompt, mine in sums.groupby("prompt_id"):
        models = {row["model"]: row for row in mine.to_dict("records")}
        for row in models.values():
            usual = row["total_cost"] - excess.get((prompt, row["model"]), 0)
            row["usual"] = usual / row["priced_count"] if row["priced_count"] else math.nan
        pairs += [
            _saving(prompt, dear, cheap, monthly.get((prompt, dear["model"]), 0))
            for dear in models.values()
            for cheap in models.values()
            if dear["usual"] > cheap["usual"]
        ]
    return oracle.dated(oracle.with_names(pd.DataFrame(pairs))) if pairs else pd.DataFrame()


def prompt_recommendations(oracle: Oracle) -> pd.DataFrame:
    evidence = _evidence(oracle)
    rules = pd.read_csv(SEEDS / "recommendation_rules.csv").query("enabled").to_dict("records")
    month = measures(oracle.back(30), ["prompt_id"]).set_index("prompt_id")
    found = []
    for prompt, facts in evidence.items():
        speaking = [
            rule
            for rule in rules
            if rule["metric"] in facts
            and facts[rule["metric"]]["sample_size"] >= rule["minimum_sample"]
            and _beyond(facts[rule["metric"]], rule["comparator"], rule["threshold"])
            and (
                pd.isna(rule["also_metric"])
                or (
                    rule["also_metric"] in facts
                    and _beyond(facts[rule["also_metric"]], rule["also_comparator"], rule["also_threshold"])
                )
            )
        ]
        weighty = any(rule["unless"] != "any" and rule["priority"] != "low" for rule in speaking)
        names = {rule["rule"] for rule in speaking}
        found += [
            {**rule, "prompt_id": prompt, **facts[rule["metric"]]}
            for rule in speaking
            if rule["unless"] not in names and not (rule["unless"] == "any" and weighty)
        ]
    rows = pd.DataFrame(found)
    rows["monthly_usage_count"] = rows["prompt_id"].map(month["usage_count"]).fillna(0)
    rows["failure_cost"] = rows["prompt_id"].map(month["failure_cost"])
    gains = [_gain(row) for row in rows.to_dict("records")]
    rows["expected_saving"] = [saving for saving, _ in gains]
    rows["expected_successes"] = [successes for _, successes in gains]
    rows = oracle.with_names(rows, ["prompt_name", "display_name", "domain"])
    rows["order"] = rows["priority"].map({"high": 0, "medium": 1, "low": 2})
    ordered = rows.sort_values(
        ["order", "expected_successes", "expected_saving", "monthly_usage_count", "prompt_name",
         "prompt_id", "rule"],
        ascending=[True, False, False, False, True, True, True],
        key=lambda column: column.astype(float).fillna(0).round(6)
        if column.name.startswith("expected_")
        else column,
    )  # fmt: skip
    return oracle.dated(ordered.assign(rank=range(1, len(ordered) + 1)))


def _evidence(oracle: Oracle) -> dict[str, Facts]:
    """prompt -> metric -> its value, interval and sample; only of prompts in use or meant to be."""
    recent = oracle.back(30)
    month = measures(recent, ["prompt_id"]).set_index("prompt_id")
    medians = percentiles(recent, ["prompt_id"], (50,)).set_index("prompt_id")["p50_response_time_ms"]
    shares = _shares(month)
    nothing = dict.fromkeys(["usage_count", "outcome_count"], 0)
    found: dict[str, Facts] = {}
    for prompt, about in oracle.prompts().set_index("prompt_id").iterrows():
        uses = month.loc[prompt].to_dict() if prompt in month.index else nothing
        if uses["usage_count"]:
            ratings = recent.loc[recent["prompt_id"] == prompt, "rating"].dropna()
            facts = {**shares[prompt], **_rating(ratings)}
            if prompt in medians:
                facts["p50_response_time_ms"] = _fact(medians[prompt], uses["response_time_count"])
        elif about["is_listed"] and about["status"] == "active":
            facts = {}
        else:
            continue
        found[str(prompt)] = {
            **facts,
            **_standing(oracle, about, uses),
            **_changes(oracle, str(prompt), about["current_version"]),
        }
    savings = model_savings(oracle)
    if len(savings):
        saving = savings[(savings["monthly_saving"] > 0) & savings["prompt_id"].isin(set(found))]
        best_last = saving.sort_values(
            ["monthly_saving", "model", "cheaper_model"], ascending=[True, False, False]
        )
        for row in best_last.to_dict("records"):
            found[row["prompt_id"]]["model_saving"] = _fact(
                row["monthly_saving"],
                min(row["outcome_count"], row["cheaper_outcome_count"]),
                current_choice=row["model"],
                alternative=row["cheaper_model"],
            )
    return found


def _fact(value: Any, sample: int, low: Any = None, high: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "observed_value": float(value),
        "value_low": low,
        "value_high": high,
        "sample_size": sample,
        "current_choice": None,
        "alternative": None,
        **more,
    }


def _shares(month: pd.DataFrame) -> dict[Any, Facts]:
    """Of every prompt in use the shares with their intervals."""
    month = month.assign(priceable=month["priced_count"] + month["unpriced_count"])
    found: dict[Any, Facts] = {prompt: {} for prompt in month.index}
    for metric, (part, whole) in _SHARES.items():
        lows, highs = (wilson(month[part], month[whole], side) for side in (-1, 1))
        for prompt, count in month.loc[month[whole] > 0, whole].items():
            share = month[part][prompt] / count
            found[prompt][metric] = _fact(share, count, lows[prompt], highs[prompt])
    return found


_SHARES = {
    "success_rate": ("success_count", "outcome_count"),
    "error_rate": ("error_count", "error_known_count"),
    "rated_share": ("rated_count", "usage_count"),
    "outcome_share": ("outcome_count", "usage_count"),
    "priced_share": ("priced_count", "priceable"),
}


def _rating(ratings: pd.Series) -> Facts:
    if ratings.empty:
        return {}
    mean = ratings.mean()
    reach = Z * ratings.std(ddof=1) / math.sqrt(len(ratings)) if len(ratings) > 1 else math.inf
    return {"average_rating": _fact(mean, len(ratings), max(1, mean - reach), min(5, mean + reach))}


def _standing(oracle: Oracle, about: Any, uses: Mapping[str, Any]) -> Facts:
    """What the library says of a prompt, and how long it has been without use."""
    zone = ZoneInfo(oracle.timezone)
    sample = uses["usage_count"]

    def day(*moments: Any) -> date | None:
        return next((moment.astimezone(zone).date() for moment in moments if not pd.isna(moment)), None)

    facts = {"outcome_count": _fact(uses["outcome_count"], uses["outcome_count"])}
    if about["is_listed"]:
        facts["mapped_agents"] = _fact(about["mapped_agents"], sample)
    else:
        facts["uses_while_unlisted"] = _fact(sample, sample)
    if about["status"] == "archived":
        facts["uses_while_archived"] = _fact(sample, sample)
    if about["is_listed"] and about["status"] == "active":
        since = day(about["created_at"], about["first_used_at"])
        if since is not None and since <= oracle.as_of - timedelta(days=30):
            facts["usage_count"] = _fact(sample, sample)
        last = day(about["last_used_at"], about["created_at"])
        if last is not None:
            facts["days_unused"] = _fact((oracle.as_of - last).days, sample)
    return facts


def _changes(oracle: Oracle, prompt: str, current: Any) -> Facts:
    """The newest version against the one before it, from what the comparisons found."""
    rows = oracle.comparisons
    rows = rows[(rows["kind"] == "version") & rows["difference"].notna()]
    rows = only(rows, (one == prompt for one in oracle.ids(rows["prompt_id"])))
    rows = only(rows, (day > oracle.as_of - timedelta(days=30) for day in rows["ends_on"]))
    if not pd.isna(current):
        rows = rows[rows["variant"] == current]
    facts = {}
    for row in rows.sort_values("starts_on").to_dict("records"):
        scale = row["control_value"] if row["metric"] == "cost_per_use" else 1
        if scale:
            facts[_CHANGES[row["metric"]]] = _fact(
                row["difference"] / scale,
                row["variant_count"],
                row["difference_low"] / scale,
                row["difference_high"] / scale,
                current_choice=row["variant"],
                alternative=row["control"],
                cost_difference=row["difference"],
            )
    return facts


_CHANGES = {
    "success_rate": "version_success_change",
    "average_rating": "version_rating_change",
    "response_time_ms": "version_response_time_change",
    "cost_per_use": "version_cost_change",
}


def _saving(prompt: Any, dear: Mapping[str, Any], cheap: Mapping[str, Any], monthly: int) -> dict[str, Any]:
    difference = cheap["success_rate"] - dear["success_rate"]
    low = difference - math.hypot(
        cheap["success_rate"] - cheap["success_rate_low"], dear["success_rate_high"] - dear["success_rate"]
    )
    high = difference + math.hypot(
        cheap["success_rate_high"] - cheap["success_rate"], dear["success_rate"] - dear["success_rate_low"]
    )
    samples = [one[name] for one in (dear, cheap) for name in ("outcome_count", "priced_count")]
    verdict = (
        "not enough data"
        if min(samples) < 50
        else "as good"
        if low > -0.05
        else "worse"
        if high < 0
        else "not known"
    )
    return {
        "prompt_id": prompt,
        "model": dear["model"],
        "cheaper_model": cheap["model"],
        **{name: dear[name] for name in ("usage_count", "outcome_count", "success_rate", "priced_count")},
        "usual_cost_per_use": dear["usual"],
        "monthly_usage_count": monthly,
        **{
            f"cheaper_{name}": cheap[name]
            for name in ("usage_count", "outcome_count", "success_rate", "priced_count")
        },
        "cheaper_usual_cost_per_use": cheap["usual"],
        "success_difference": difference,
        "success_difference_low": low,
        "success_difference_high": high,
        "margin": 0.05,
        "verdict": verdict,
        "monthly_saving": monthly * (dear["usual"] - cheap["usual"]) if verdict == "as good" else None,
    }


def _beyond(fact: Mapping[str, Any], comparator: str, threshold: float) -> bool:
    low = fact["observed_value"] if fact["value_low"] is None else fact["value_low"]
    high = fact["observed_value"] if fact["value_high"] is None else fact["value_high"]
    return bool(
        {"below": high < threshold, "above": low > threshold, "near": low <= threshold <= high}[comparator]
    )


def _gain(row: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """USD and successes a month."""
    uses, value = row["monthly_usage_count"], row["observed_value"]
    if row["metric"] == "model_saving":
        return value, None
    if row["metric"] == "version_cost_change":
        return max(row["cost_difference"], 0) * uses, None
    if row["metric"] == "version_success_change":
        return None, max(-value, 0) * uses
    if row["metric"] == "success_rate" and row["comparator"] == "below":
        saved = row["failure_cost"] * (row["threshold"] - value) / (1 - value)
        return (None if pd.isna(saved) else saved), (row["threshold"] - value) * uses
    return None, None
