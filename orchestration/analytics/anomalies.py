"""Days that cost far more per use than their prompt and model usually do.

Robust on purpose: centre and spread are medians, so that one wild call neither hides the others nor moves
what counts as usual. Pure functions over frames; knows no database.
"""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# A day is an anomaly where all of these hold: its score is beyond THRESHOLD (3.5 is common for normal data;
# daily costs have longer tails), its series has so many priced days and uses that "usual" means something,
# and it cost at least so many USD more than usual.
THRESHOLD = 6.0
MINIMUM_DAYS = 14
MINIMUM_USES = 50
MINIMUM_EXCESS = 1.0
# What is usual is taken of so many days: a price that has changed for good is the new usual one after half.
WINDOW_DAYS = 90

# The median absolute deviation of a normal distribution is 0.6745 of its standard deviation.
_MAD_OF_NORMAL = 0.6745
# The least deviation on the log scale: less than 4.5 times the usual (6 times this) is never an anomaly, even
# where the price is always the same to the cent.
_LEAST_SPREAD = 0.25

COLUMNS = [
    "usage_date",
    "prompt_id",
    "model",
    "priced_count",
    "total_cost",
    "cost_per_use",
    "usual_cost_per_use",
    "excess_cost",
    "score",
]


def _usual(values: Floats) -> tuple[Floats, Floats]:
    """Median and robust deviation of each row's logarithms, as columns; values not above 0 take no part."""
    logs = np.log(np.where(values > 0, values, np.nan))
    median = _median(logs)
    return median, np.maximum(_median(np.abs(logs - median)) / _MAD_OF_NORMAL, _LEAST_SPREAD)


def robust_scores(values: Floats) -> Floats:
    """How far each value of (series, days) lies from its row's median on the log scale, in robust deviations.

    0.6745 (ln x - median) / MAD, MAD being the median absolute deviation (B. Iglewicz, D. Hoaglin, How to
    Detect and Handle Outliers, 1993). NaN for what is not above 0.
    """
    median, spread = _usual(values)
    return np.asarray((np.log(np.where(values > 0, values, np.nan)) - median) / spread)


def without_outliers(values: Floats) -> Floats:
    """``values`` with what scores beyond :data:`THRESHOLD` lowered to it, where the row has enough days."""
    median, spread = _usual(values)
    highest = np.exp(median + THRESHOLD * spread)
    enough = (values > 0).sum(axis=1, keepdims=True) >= MINIMUM_DAYS
    return np.asarray(np.where(enough & (values > highest), highest, values))


def _median(values: Floats) -> Floats:
    """The median of each row's numbers as a column; NaN for a row without any."""
    count = np.isfinite(values).sum(axis=1)
    ordered = np.sort(values, axis=1)  # NaN last
    rows = np.arange(len(values))
    lower = ordered[rows, np.maximum(count - 1, 0) // 2]
    upper = ordered[rows, np.minimum(count // 2, values.shape[1] - 1)]
    return np.asarray(np.where(count > 0, (lower + upper) / 2, np.nan))[:, None]


def cost_anomalies(daily: pd.DataFrame, as_of_date: date) -> pd.DataFrame:
    """The anomalous days among the last :data:`WINDOW_DAYS`, the dearest first.

    ``daily`` has a row a day, prompt and model: ``usage_date, prompt_id, model, priced_count, total_cost``
    (USD). Returns :data:`COLUMNS`; ``excess_cost`` is what the day cost beyond its uses at the usual cost.
    """
    recent = pd.to_datetime(daily["usage_date"]) > pd.Timestamp(as_of_date) - pd.Timedelta(days=WINDOW_DAYS)
    priced = daily[recent & (daily["priced_count"] > 0) & (daily["total_cost"] > 0)].copy()
    if priced.empty:
        return pd.DataFrame(columns=COLUMNS)
    keys = ["prompt_id", "model"]
    priced["cost_per_use"] = priced["total_cost"] / priced["priced_count"]
    series = priced.groupby(keys, dropna=False, sort=False, observed=True)
    row, day = series.ngroup().to_numpy(), series.cumcount().to_numpy()
    values = np.full((series.ngroups, int(day.max()) + 1), np.nan)
    values[row, day] = priced["cost_per_use"].to_numpy()
    usual = np.exp(_median(np.log(values))[row, 0])
    found = priced.assign(
        usage_date=pd.to_datetime(priced["usage_date"]).dt.date,
        priced_count=priced["priced_count"].astype("int64"),
        usual_cost_per_use=usual,
        excess_cost=priced["total_cost"] - usual * priced["priced_count"],
        score=robust_scores(values)[row, day],
    )
    enough = (series["cost_per_use"].transform("size") >= MINIMUM_DAYS) & (
        series["priced_count"].transform("sum") >= MINIMUM_USES
    )
    found = found[enough & (found["score"] > THRESHOLD) & (found["excess_cost"] >= MINIMUM_EXCESS)]
    return found.sort_values("excess_cost", ascending=False)[COLUMNS].reset_index(drop=True)
