"""Is one version, prompt, model or agent better than another? A verdict that stands nightly looking.

A test made for one look raises false alarms when it is looked at every night until it shows something. Here
each comparison is an e-value that may be looked at at any time, and many of them are corrected together.
Works from counts, sums and sums of squares, so that daily rollups suffice. Pure functions over arrays
and frames; knows no database. `docs/methods/comparisons.md` tells analysts what is computed here.

The method is the mixture sequential probability ratio test for a normal mean (H. Robbins, Statistical methods
related to the law of the iterated logarithm, Ann. Math. Stat. 41, 1970; for A/B tests R. Johari, P. Koomen,
L. Pekelis, D. Walsh, Always Valid Inference, Operations Research 70, 2022), with the variance estimated
(I. Waudby-Smith, D. Arbour, R. Sinha, E. Kennedy, A. Ramdas, Time-uniform central limit theory and
asymptotic confidence sequences, Ann. Stat. 52, 2024). A difference of means over its variance is a Brownian
motion in the information 1 / variance however the uses of the two arms are interleaved (C. Jennison, B.
Turnbull, Group-sequential analysis incorporating covariate information, JASA 92, 1997), so that it does not
matter whether one version follows the other or both are in use.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ALPHA = 0.05
# Uses that each arm needs before it is looked at: the variance is estimated from them.
MINIMUM_SAMPLE = 20
# The test is most sensitive to differences of about so many standard deviations of one use (J. Cohen,
# Statistical Power Analysis, 1988, calls 0.2 small). It must not depend on the data.
EFFECT = 0.2


@dataclass(frozen=True)
class Metric:
    """What is compared: the columns with its count, sum and sum of squares, and which direction is good.

    ``logarithmic``: the sums are of logarithms, means are geometric, and differences are relative.
    """

    count: str
    total: str
    squares: str
    higher_is_better: bool
    logarithmic: bool = False


METRICS: Mapping[str, Metric] = {
    # the square of a success is the success
    "success_rate": Metric("outcome_count", "success_count", "success_count", higher_is_better=True),
    "average_rating": Metric("rated_count", "rating_sum", "rating_square_sum", higher_is_better=True),
    "response_time_ms": Metric(
        "response_time_log_count",
        "response_time_log_sum",
        "response_time_log_square_sum",
        higher_is_better=False,
        logarithmic=True,
    ),
    "cost_per_use": Metric("priced_count", "total_cost", "cost_square_sum", higher_is_better=False),
}
SUFFICIENT = tuple(
    dict.fromkeys(
        column for metric in METRICS.values() for column in (metric.count, metric.total, metric.squares)
    )
)


def _ratio(part: Floats, whole: Floats) -> Floats:
    result = np.full(part.shape, np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result


@dataclass(frozen=True)
class Arm:
    """Sufficient statistics of one side of C comparisons, each (C,)."""

    count: Floats
    total: Floats
    squares: Floats

    @property
    def mean(self) -> Floats:
        return _ratio(self.total, self.count)

    def variance(self) -> Floats:
        """The unbiased sample variance of one use; NaN under two uses.

        Not less than rounding may leave of equal values, else the last digit of a sum would be a difference.
        """
        spread = self.squares - self.count * np.nan_to_num(self.mean) ** 2
        spread = np.maximum(spread, 1e-12 * self.squares)
        return _ratio(spread, self.count - 1)

    def __add__(self, other: Arm) -> Arm:
        return Arm(self.count + other.count, self.total + other.total, self.squares + other.squares)


@dataclass(frozen=True)
class Evidence:
    """What is known of C differences, variant minus control: estimate, variance, the mixture's; all (C,).

    NaN where an arm has fewer than :data:`MINIMUM_SAMPLE` uses.
    """

    difference: Floats
    variance: Floats
    mixture: Floats

    def log_e_value(self) -> Floats:
        """The logarithm of the e-value against "no difference": where there is none, at most 1 in 20 ever
        reaches 20. The mixture of normal likelihood ratios over differences N(0, mixture)."""
        information = self.mixture / self.variance
        z_square = self.difference**2 / self.variance
        return np.asarray((z_square * information / (1 + information) - np.log1p(information)) / 2)

    def interval(self, alpha: float) -> tuple[Floats, Floats]:
        """All differences with an e-value below 1 / alpha: they hold the true one at all times together."""
        information = self.mixture / self.variance
        reach = np.sqrt(
            self.variance * (1 + information) / information * (2 * np.log(1 / alpha) + np.log1p(information))
        )
        return self.difference - reach, self.difference + reach


def evidence(control: Arm, variant: Arm) -> Evidence:
    """Weighs C pairs of arms.

    The variance is the larger of the two arms' own and of one pooled under "no difference": a small arm
    without a single failure, or without its one dear call, looks steadier than it is.
    """
    enough = np.minimum(control.count, variant.count) >= MINIMUM_SAMPLE
    pooled = (control + variant).variance()
    with np.errstate(divide="ignore"):
        own = control.variance() / control.count + variant.variance() / variant.count
        shared = pooled * (1 / control.count + 1 / variant.count)
    # where every value is 0 there is no variance to divide by
    variance = np.where(enough, np.maximum(np.maximum(own, shared), 1e-300), np.nan)
    mixture = np.where(enough, np.maximum(EFFECT**2 * pooled, 1e-300), np.nan)
    return Evidence(np.where(enough, variant.mean - control.mean, np.nan), variance, mixture)


def rejected(log_e_values: Floats, alpha: float = ALPHA) -> tuple[NDArray[np.bool_], float]:
    """Which "no difference" fall, of many looked at together, and the level that each is tested at.

    Benjamini-Hochberg on e-values (R. Wang, A. Ramdas, False discovery rate control with e-values, JRSS B 84,
    2022): among m, the k largest fall where the k-th reaches m / (alpha k); the expected share of false
    ones among them is at most alpha whatever the dependence. Intervals at the level alpha k / m agree with it
    (Z. Xu, R. Wang, A. Ramdas, Post-selection inference for e-value based confidence intervals, EJS 18,
    2024). NaN takes no part.
    """
    known = np.flatnonzero(np.isfinite(log_e_values))
    m = len(known)
    if m == 0:
        return np.zeros(len(log_e_values), dtype=bool), alpha
    order = known[np.argsort(-log_e_values[known], kind="stable")]
    rank = np.arange(1, m + 1)
    reached = np.flatnonzero(log_e_values[order] >= np.log(m / (alpha * rank)))
    k = int(reached[-1]) + 1 if len(reached) else 0
    result = np.zeros(len(log_e_values), dtype=bool)
    result[order[:k]] = True
    return result, alpha * max(k, 1) / m


COLUMNS = [
    "comparison_id",
    "kind",
    "experiment",
    "prompt_id",
    "compares",
    "control",
    "variant",
    "starts_on",
    "ends_on",
    "metric",
    "control_count",
    "variant_count",
    "control_value",
    "variant_value",
    "difference",
    "difference_low",
    "difference_high",
    "is_relative",
    "confidence",
    "log_e_value",
    "verdict",
]
_IDENTITY = ["kind", "experiment", "prompt_id", "compares", "control", "variant", "metric"]
_SIDES = ("control", "variant")

# what an experiment may compare: the column of the daily rollup that tells its arms apart
ARMS: Mapping[str, str] = {
    "prompt": "prompt_name",
    "version": "prompt_version",
    "model": "model",
    "agent": "agent_name",
}


def prompt_comparisons(
    versions: pd.DataFrame, daily: pd.DataFrame, experiments: pd.DataFrame
) -> pd.DataFrame:
    """Every version against the one before, and every declared experiment: :data:`COLUMNS`, a row a metric.

    ``versions`` has a row a prompt and version: ``prompt_id, prompt_version, first_used_on, last_used_on``
    and :data:`SUFFICIENT`. ``daily`` has ``usage_date, prompt_id``, the columns of :data:`ARMS` and
    :data:`SUFFICIENT`, from the first experiment's start on, of the arms at least. ``experiments`` is the
    seed: ``experiment, compares, prompt, control, variant, metric, starts_on, ends_on``. The two kinds are
    corrected apart, so that what was declared beforehand does not pay for what is compared as a matter of
    course.
    """
    pairs = pd.concat([_version_pairs(versions), _experiment_pairs(daily, experiments)], ignore_index=True)
    return compare(pairs).pipe(lambda frame: frame.assign(comparison_id=_ids(frame)))[COLUMNS]


def _version_pairs(versions: pd.DataFrame) -> pd.DataFrame:
    """Each version beside the one before it, a row a metric."""
    numbers = pd.to_numeric(versions["prompt_version"], errors="coerce")
    # versions that are not all numbers are in the order of their first uses
    numbered = numbers.notna().groupby(versions["prompt_id"]).transform("all")
    ordered = (
        versions.assign(number=numbers.where(numbered, 0.0))
        .sort_values(["prompt_id", "number", "first_used_on", "prompt_version"])
        .drop(columns="number")
        .reset_index(drop=True)
    )
    before = ordered.groupby("prompt_id", sort=False)[["prompt_version", *SUFFICIENT]].shift(1)
    pairs = ordered.join(before.add_prefix("control_"))[before["prompt_version"].notna()]
    pairs = pairs.rename(
        columns={
            **{column: f"variant_{column}" for column in SUFFICIENT},
            "control_prompt_version": "control",
            "prompt_version": "variant",
            "first_used_on": "starts_on",
            "last_used_on": "ends_on",
        }
    ).assign(kind="version", experiment=None, compares="version")
    return pairs.merge(pd.DataFrame({"metric": list(METRICS)}), how="cross")


def _experiment_pairs(daily: pd.DataFrame, experiments: pd.DataFrame) -> pd.DataFrame:
    """Both arms of each experiment over its days."""
    rows = []
    for experiment in experiments.to_dict("records"):
        arm = daily[ARMS[str(experiment["compares"])]]
        here = daily["usage_date"] >= experiment["starts_on"]
        if pd.notna(experiment["ends_on"]):
            here &= daily["usage_date"] <= experiment["ends_on"]
        within = pd.notna(experiment["prompt"])
        prompt = daily["prompt_name"] == experiment["prompt"]
        uses = daily[here & prompt if within else here]
        found = daily.loc[prompt, "prompt_id"]
        rows.append(
            {
                "kind": "experiment",
                "experiment": experiment["experiment"],
                "prompt_id": found.iloc[0] if within and len(found) else None,
                **{name: experiment[name] for name in ("compares", "control", "variant", "metric")},
                "starts_on": experiment["starts_on"],
                "ends_on": uses["usage_date"].max() if len(uses) else None,
                **{
                    f"{side}_{column}": uses.loc[arm.reindex(uses.index) == experiment[side], column].sum()
                    for side in _SIDES
                    for column in SUFFICIENT
                },
            }
        )
    sums = [f"{side}_{column}" for side in _SIDES for column in SUFFICIENT]
    return pd.DataFrame(rows, columns=[*_IDENTITY, "starts_on", "ends_on", *sums])


def _ids(pairs: pd.DataFrame) -> list[str]:
    """A name for each comparison that stays the same from night to night."""
    return [
        hashlib.sha256(json.dumps([None if pd.isna(part) else part for part in row]).encode()).hexdigest()[
            :32
        ]
        for row in pairs[_IDENTITY].itertuples(index=False)
    ]


def compare(pairs: pd.DataFrame) -> pd.DataFrame:
    """Verdicts over pairs of arms, one row in, one row out, in the same order and with the same index.

    ``pairs`` has a ``metric`` (of :data:`METRICS`), a ``kind`` (rows of one kind are corrected together), and
    for each column of :data:`SUFFICIENT` one ``control_…`` and one ``variant_…``. Returns ``pairs`` with
    counts, values, difference, interval and verdict instead of those sums. Differences are variant minus
    control, in the metric's unit, or as a share of the control's value where ``is_relative``. The interval
    leaves out 0 exactly where the verdict is ``better`` or ``worse``.
    """
    control, variant = (_arms(pairs, side) for side in _SIDES)
    weighed = evidence(control, variant)
    log_e = weighed.log_e_value()
    falls = np.zeros(len(pairs), dtype=bool)
    low, high, level = (np.full(len(pairs), np.nan) for _ in range(3))
    for rows in pairs.groupby("kind", sort=False).indices.values():
        falls[rows], alpha = rejected(log_e[rows])
        lows, highs = weighed.interval(alpha)
        low[rows], high[rows], level[rows] = lows[rows], highs[rows], 1 - alpha
    logarithmic = pairs["metric"].map(lambda name: METRICS[name].logarithmic).to_numpy(dtype=bool)
    higher_is_better = pairs["metric"].map(lambda name: METRICS[name].higher_is_better).to_numpy(dtype=bool)
    known = np.isfinite(log_e)
    verdict = np.select(
        [~known, ~falls, (weighed.difference > 0) == higher_is_better],
        ["not enough data", "no difference seen", "better"],
        "worse",
    )

    def relative(values: Floats) -> Floats:
        return np.where(logarithmic, np.expm1(np.where(logarithmic, values, 0)), values)

    def plain(values: Floats) -> Floats:
        return np.where(logarithmic, np.exp(np.where(logarithmic, values, 0)), values)

    return pairs.drop(columns=[f"{side}_{column}" for side in _SIDES for column in SUFFICIENT]).assign(
        control_count=control.count.astype(np.int64),
        variant_count=variant.count.astype(np.int64),
        control_value=plain(control.mean),
        variant_value=plain(variant.mean),
        difference=relative(weighed.difference),
        difference_low=relative(low),
        difference_high=relative(high),
        is_relative=logarithmic,
        confidence=np.where(known, level, np.nan),
        log_e_value=log_e,
        verdict=verdict,
    )


def _arms(pairs: pd.DataFrame, side: str) -> Arm:
    """The sums that each row's metric is about."""

    def chosen(role: Literal["count", "total", "squares"]) -> Floats:
        values = np.full(len(pairs), np.nan)
        for name, metric in METRICS.items():
            rows = (pairs["metric"] == name).to_numpy()
            values[rows] = pairs.loc[rows, f"{side}_{getattr(metric, role)}"].fillna(0).to_numpy(np.float64)
        return values

    return Arm(chosen("count"), chosen("total"), chosen("squares"))
