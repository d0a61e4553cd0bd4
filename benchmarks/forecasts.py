"""How long it takes to forecast 10,000 series of 365 days on one core; the limit is 15 s.

The peer, in the same run: the seasonal naive method alone, without back-test or intervals, one pandas series
after the other, as one would write it first; measured on a part of the series and scaled up.
Prints both and their ratio; exits with 1 beyond the limit. Then how good the forecasts are, by length of
history, on days that they have not seen. Run: python benchmarks/forecasts.py
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

from orchestration.analytics.forecasts import HORIZON, forecast

SERIES, DAYS, LIMIT_SECONDS, PEER_SERIES = 10_000, 365, 15.0, 500


def histories(series: int, days: int, seed: int = 4) -> np.ndarray:
    """Counts with weekdays, drift and overdispersion; every fourth series sparse, every tenth young."""
    rng = np.random.default_rng(seed)
    level = np.exp(rng.normal(2, 1.5, (series, 1)) + np.cumsum(rng.normal(0, 0.02, (series, days)), axis=1))
    level *= np.array([1, 1, 1, 1, 0.9, 0.35, 0.3])[np.arange(days) % 7]
    level[::4] = rng.uniform(0.02, 0.5, (len(level[::4]), 1))
    counts = rng.poisson(level * rng.gamma(8, 1 / 8, level.shape)).astype(float)
    young = np.arange(series) % 10 == 9
    first = np.where(young, rng.integers(0, days, series), 0)
    return np.where(np.arange(days) >= first[:, None], counts, 0.0)


def seasonal_naive(history: pd.Series) -> pd.Series:
    """What the peer does for one series."""
    ahead = pd.date_range(history.index[-1] + pd.Timedelta(days=1), periods=HORIZON)
    last = history.groupby(history.index.day_of_week).last()
    return pd.Series([last[day.day_of_week] for day in ahead], index=ahead)


def accuracy(days: int) -> str:
    """How 1,000 series of so many days are forecast, in words: intervals, and errors beside the naive one."""
    past, future = np.split(histories(1000, days + HORIZON, seed=days), [days], axis=1)
    busy = past.mean(axis=1) >= 5  # of the others the whole numbers alone make intervals that hold more
    result = forecast(past, np.maximum.accumulate(past > 0, axis=1).astype(float), "count")
    known = np.isfinite(result.value[:, 0])
    held = (future >= result.low) & (future <= result.high)
    naive = past[:, -7:][:, np.arange(HORIZON) % 7]
    error, naive_error = (np.sqrt(((future - path) ** 2).mean(axis=1)) for path in (result.value, naive))
    return (
        f"{days} days: 80 % intervals held {held[known & busy].mean():.1%} of the days of busy series and"
        f" {held[known & ~busy].mean():.1%} of quiet ones"
        f" (published for busy ones: {np.nanmean(result.interval_coverage[busy]):.1%});"
        f" error {_median_ratio(error[known], naive_error[known]):.2f} of the naive one"
        f" (published: {_median_ratio(result.backtest_error[known], result.naive_error[known]):.2f})"
    )


def _median_ratio(part: np.ndarray, whole: np.ndarray) -> float:
    usable = whole > 0
    return float(np.median(part[usable] / whole[usable]))


def main() -> int:
    """Measures both, says what came of it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    amount = histories(SERIES, DAYS)
    exposure = np.maximum.accumulate(amount > 0, axis=1).astype(float)
    start = time.perf_counter()
    result = forecast(amount, exposure, "count")
    seconds = time.perf_counter() - start

    dates = pd.date_range("2025-01-01", periods=DAYS)
    start = time.perf_counter()
    for row in amount[:PEER_SERIES]:
        seasonal_naive(pd.Series(row, index=dates))
    peer = (time.perf_counter() - start) * SERIES / PEER_SERIES

    print(f"{SERIES:,} series x {DAYS} days, {HORIZON} days ahead, one core: {seconds:.1f} s")
    print(f"a loop over the series, seasonal naive alone: {peer:.1f} s; ratio {seconds / peer:.2f}")
    better = np.nanmean(result.backtest_error < result.naive_error)
    print(f"better than seasonal naive: {better:.0%} of the series; methods: {dict(Counter(result.method))}")
    for days in (28, 42, 90, 180, 365):
        print(accuracy(days))
    if seconds > LIMIT_SECONDS:
        print(f"slower than the limit of {LIMIT_SECONDS:.0f} s", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
