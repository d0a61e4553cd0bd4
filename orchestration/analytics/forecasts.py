"""What the next days bring: uses, cost and success rate per prompt and in all, 30 days ahead.

All series are forecast at once, as one matrix. Each gets the method that would have served it best, found by
forecasting its own past; the error of that method and of the naive one are published, and how many of the
days tested fell into the interval. Pure functions over arrays and frames; knows no database.
`docs/methods/forecasts.md` tells analysts what is computed here.

Every daily value is a ratio, value = amount / exposure: uses or USD over one day, successes over known
outcomes. That way one code path weighs a success rate by its uses, skips days without a value, and starts
each series at its first use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestration.analytics.anomalies import without_outliers

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

HORIZON = 30
WINDOW_DAYS = 365
MINIMUM_HISTORY_DAYS = 21
COVERAGE = 0.80
NOT_ENOUGH_HISTORY = "not enough history"

_WEEK = 7
# The past is forecast from up to so many earlier ends of week, each with at least two weeks before it.
_ORIGINS = 8
_MINIMUM_TRAINING_DAYS = 14
# A more elaborate method is taken only where its error is smaller by this share.
_WORTHWHILE = 0.02
# Series that are computed at once: few enough for the caches and for bounded memory.
_CHUNK = 1000
# Blocks of days in which costs are cleaned of outliers; they fill the window.
_COST_BLOCK_DAYS = 73
_PROFILE_DECAY = 0.9  # a week
_TREND_DAMPING = 0.95  # a day


@dataclass(frozen=True)
class Forecasts:
    """Forecasts of S series, H days ahead. Arrays are (S, H) or (S,); NaN where there is no value."""

    value: Floats
    low: Floats
    high: Floats
    method: list[str]
    backtest_error: Floats
    naive_error: Floats
    interval_coverage: Floats


@dataclass(frozen=True)
class _Discounted:
    """A mean whose weights fade by ``decay`` a step: amounts over exposures, and the mean age of them."""

    decay: float
    amount: Floats
    exposure: Floats
    age: Floats

    @classmethod
    def empty(cls, decay: float, shape: tuple[int, ...]) -> _Discounted:
        return cls(decay, np.zeros(shape), np.zeros(shape), np.zeros(shape))

    def add(self, amount: Floats, exposure: Floats) -> None:
        """One step on, in place: a loop over days over all series has no time for copies."""
        self.age[...] = self.decay * (self.age + self.exposure)
        self.amount[...] = self.decay * self.amount + amount
        self.exposure[...] = self.decay * self.exposure + exposure

    def mean(self) -> Floats:
        return _ratio(self.amount, self.exposure)

    def mean_age(self) -> Floats:
        return _ratio(self.age, self.exposure)


def _ratio(part: Floats, whole: Floats) -> Floats:
    result = np.full(part.shape, np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result


# A method goes through the days of all series once, and at each origin (a count of days seen) yields the next
# HORIZON values of each series, (S, H).
_Method = Callable[[Floats, Floats, frozenset[int]], Iterator[Floats]]


def _following_weekdays(origin: int) -> Integers:
    return np.arange(origin, origin + HORIZON) % _WEEK


def _seasonal_naive(amount: Floats, exposure: Floats, origins: frozenset[int]) -> Iterator[Floats]:
    """The last known value of the same weekday."""
    value = _ratio(amount, exposure)
    last = np.full((len(value), _WEEK), np.nan)
    for day in range(value.shape[1] + 1):
        if day in origins:
            yield last[:, _following_weekdays(day)]
        if day < value.shape[1]:
            known = exposure[:, day] > 0
            last[known, day % _WEEK] = value[known, day]


def _mean_rate(decay: float) -> _Method:
    """One discounted mean for all days: for sparse series, what Croston's methods come down to (TSB)."""

    def forecast_at(amount: Floats, exposure: Floats, origins: frozenset[int]) -> Iterator[Floats]:
        level = _Discounted.empty(decay, (len(amount),))
        for day in range(amount.shape[1] + 1):
            if day in origins:
                yield np.repeat(level.mean()[:, None], HORIZON, axis=1)
            if day < amount.shape[1]:
                level.add(amount[:, day], exposure[:, day])

    return forecast_at


def _weekday_means(decay: float) -> _Method:
    """A discounted mean of each weekday by itself; ``decay`` is by week."""

    def forecast_at(amount: Floats, exposure: Floats, origins: frozenset[int]) -> Iterator[Floats]:
        means = [_Discounted.empty(decay, (len(amount),)) for _ in range(_WEEK)]
        for day in range(amount.shape[1] + 1):
            if day in origins:
                yield np.stack([mean.mean() for mean in means], axis=1)[:, _following_weekdays(day)]
            if day < amount.shape[1]:
                means[day % _WEEK].add(amount[:, day], exposure[:, day])

    return forecast_at


def _weekday_profile(decay: float, slow: float | None = None) -> _Method:
    """A quick level of all days times a slow profile of the weekdays; with ``slow``, a damped trend as well.

    The trend is the slope between the levels of two discounts, which stand for two mean ages.
    """

    def forecast_at(amount: Floats, exposure: Floats, origins: frozenset[int]) -> Iterator[Floats]:
        series = len(amount)
        profile = np.ones((series, _WEEK))
        weekdays = [_Discounted.empty(_PROFILE_DECAY, (series,)) for _ in range(_WEEK)]
        overall = _Discounted.empty(_PROFILE_DECAY ** (1 / _WEEK), (series,))
        level = _Discounted.empty(decay, (series,))
        slow_level = _Discounted.empty(slow or decay, (series,))
        damped = np.cumsum(_TREND_DAMPING ** np.arange(1, HORIZON + 1))
        for day in range(amount.shape[1] + 1):
            if day in origins:
                ahead = np.repeat(level.mean()[:, None], HORIZON, axis=1)
                if slow is not None:
                    older = slow_level.mean_age() - level.mean_age()
                    slope = np.nan_to_num(_ratio(level.mean() - slow_level.mean(), older))[:, None]
                    ahead = np.maximum(ahead + slope * (level.mean_age()[:, None] + damped), 0)
                yield ahead * profile[:, _following_weekdays(day)]
            if day < amount.shape[1]:
                weekday, today, weight = day % _WEEK, amount[:, day], exposure[:, day]
                level.add(today, weight * profile[:, weekday])
                if slow is not None:
                    slow_level.add(today, weight * profile[:, weekday])
                overall.add(today, weight)
                weekdays[weekday].add(today, weight)
                share = _ratio(weekdays[weekday].mean(), overall.mean())
                profile[:, weekday] = np.nan_to_num(share, nan=1.0)

    return forecast_at


# From the plainest to the most elaborate, but the naive one, which all are measured against, last: where
# others are as good it is not taken, since it repeats the noise of its last week. The numbers are discounts:
# what a week (weekday means) or a day (the others) still weighs a week or a day later.
_METHODS: tuple[tuple[str, _Method], ...] = (
    *(("mean rate", _mean_rate(decay)) for decay in (0.99, 0.97, 0.9)),
    *(("weekday means", _weekday_means(decay)) for decay in (0.95, 0.85, 0.6)),
    *(("weekday profile", _weekday_profile(decay)) for decay in (0.98, 0.95, 0.85, 0.7)),
    *(("weekday profile with trend", _weekday_profile(*decays)) for decays in ((0.9, 0.98), (0.95, 0.99))),
    ("seasonal naive", _seasonal_naive),
)

# What a series counts: whole uses, an amount of money, or a share of successes. It decides how noise grows
# (with the root of the level, or against the root of the outcomes) and where values end.
Kind = Literal["count", "amount", "share"]


def forecast(amount: Floats, exposure: Floats, kind: Kind) -> Forecasts:
    """Forecasts all series (at least one), HORIZON days ahead of the last column.

    ``amount`` and ``exposure`` are (S, T), a column a day; exposure 0 where there is no value. The amounts
    may not be negative. A series is too short where fewer than :data:`MINIMUM_HISTORY_DAYS` days have passed
    since its first value, or fewer than seven of the days that it is tested on have one.
    """
    series = len(amount)
    parts = [
        _forecast_chunk(amount[start : start + _CHUNK], exposure[start : start + _CHUNK], kind)
        for start in range(0, series, _CHUNK)
    ]
    return Forecasts(
        value=np.concatenate([part.value for part in parts]),
        low=np.concatenate([part.low for part in parts]),
        high=np.concatenate([part.high for part in parts]),
        method=[method for part in parts for method in part.method],
        backtest_error=np.concatenate([part.backtest_error for part in parts]),
        naive_error=np.concatenate([part.naive_error for part in parts]),
        interval_coverage=np.concatenate([part.interval_coverage for part in parts]),
    )


def history_days(exposure: Floats) -> Integers:
    """Days since the first value of each series of (S, T), that day included; 0 without one."""
    known = exposure > 0
    return np.where(known.any(axis=1), exposure.shape[1] - known.argmax(axis=1), 0)


def _forecast_chunk(amount: Floats, exposure: Floats, kind: Kind) -> Forecasts:
    series, days = amount.shape
    # the methods go through them day by day, over all series
    amount, exposure = np.asfortranarray(amount), np.asfortranarray(exposure)
    origins = [days - _WEEK * week for week in range(_ORIGINS, 0, -1) if days > _WEEK * week]
    tests = _Tests.of(amount, exposure, origins, kind)

    path, method, error, naive_error = _best(amount, exposure, tests)
    tested, ahead = path[:, :-1], path[:, -1]

    # residuals in units of the noise to be expected, so that quiet and busy days can be told from each other
    floor = 0.05 * _ratio(amount.sum(axis=1), exposure.sum(axis=1))[:, None, None]
    tested_noise = _noise(tested, tests.exposure, floor, kind)
    residuals = np.where(tests.weight > 0, (tests.truth - tested) / tested_noise, np.nan)
    days_tested = tests.days_tested()

    def interval(value: Floats, noise: Floats, known: Floats) -> tuple[Floats, Floats]:
        low, high = _quantiles(known.reshape(series, -1), days_tested)
        return _within(value + low[:, None, None] * noise, value + high[:, None, None] * noise, kind)

    value = ahead[:, None]
    noise = _noise(value, _expected_exposure(exposure)[:, None], floor, kind)
    low, high = interval(value, noise, residuals)
    if kind == "share":
        value = np.clip(value, 0, 1)
    hits, trials = np.zeros(series), np.zeros(series)
    for week in range(_ORIGINS):
        here = tests.week == week
        week_low, week_high = interval(tested, tested_noise, np.where(here, np.nan, residuals))
        counted = here & (tests.weight > 0) & np.isfinite(week_low)
        hits += (counted & (tests.truth >= week_low) & (tests.truth <= week_high)).sum(axis=(1, 2))
        trials += counted.sum(axis=(1, 2))

    enough = (history_days(exposure) >= MINIMUM_HISTORY_DAYS) & (days_tested >= _WEEK)
    scale = _seasonal_scale(amount, exposure)

    def published(numbers: Floats) -> Floats:
        return np.where(enough.reshape(-1, *[1] * (numbers.ndim - 1)), numbers, np.nan)

    return Forecasts(
        value=published(value[:, 0]),
        low=published(np.minimum(low, value)[:, 0]),
        high=published(np.maximum(high, value)[:, 0]),
        method=[
            _METHODS[number][0] if known else NOT_ENOUGH_HISTORY
            for number, known in zip(method, enough, strict=True)
        ],
        backtest_error=published(np.sqrt(_ratio(error, scale))),
        naive_error=published(np.sqrt(_ratio(naive_error, scale))),
        interval_coverage=published(_ratio(hits, trials)),
    )


@dataclass(frozen=True)
class _Tests:
    """The past to be forecast: for series, origin and day ahead the truth, its exposure and its weight.

    ``week`` counts, by origin and day ahead, the weeks from the end back to the day; the weight is 0 where
    there is nothing to compare.
    """

    truth: Floats
    exposure: Floats
    weight: Floats
    week: Integers
    origins: list[int]
    days: int

    @classmethod
    def of(cls, amount: Floats, exposure: Floats, origins: list[int], kind: Kind) -> _Tests:
        days = amount.shape[1]
        target = np.array(origins, dtype=np.int64)[:, None] + np.arange(HORIZON)
        inside = np.minimum(target, days - 1)
        tested = exposure[:, inside]
        first = days - history_days(exposure)
        valid = (target < days) & (np.array(origins) - first[:, None] >= _MINIMUM_TRAINING_DAYS)[:, :, None]
        weight = np.where(valid & (tested > 0), tested if kind == "share" else 1.0, 0.0)
        truth = np.nan_to_num(_ratio(amount[:, inside], tested))
        return cls(truth, tested, weight, (days - 1 - target) // _WEEK, origins, days)

    def days_tested(self) -> Integers:
        """How many different days of each series are compared: each is in the first week of one origin."""
        return np.asarray((self.weight[:, :, :_WEEK] > 0).sum(axis=(1, 2)))

    def mean_square(self, path: Floats) -> Floats:
        total = self.weight.sum(axis=(1, 2))
        return _ratio((self.weight * (self.truth - path) ** 2).sum(axis=(1, 2)), total)


def _best(amount: Floats, exposure: Floats, tests: _Tests) -> tuple[Floats, Integers, Floats, Floats]:
    """The best method's paths from each origin and from the end, (S, K + 1, H); its number and errors.

    Errors are mean squares: they are least for the method that gets the mean right, and the mean is what adds
    up to a month's uses and cost. Absolute errors would forecast 0 for what is used on fewer than half of
    the days.
    """
    ends = [*tests.origins, tests.days]

    def paths(method: _Method) -> Floats:
        return np.stack(list(method(amount, exposure, frozenset(ends))), axis=1)

    (_, plainest), *others = _METHODS
    # a weekday never seen is forecast as the mean of all
    plain = np.nan_to_num(paths(plainest))
    chosen, error = plain.copy(), tests.mean_square(plain[:, :-1])
    number, its_error = np.zeros(len(amount), dtype=np.int64), error
    for candidate, (_, method) in enumerate(others, start=1):
        path = paths(method)
        path = np.where(np.isnan(path), plain, path)
        its_error = tests.mean_square(path[:, :-1])
        better = its_error < error * (1 - _WORTHWHILE) ** 2
        chosen[better], error[better], number[better] = path[better], its_error[better], candidate
    return chosen, number, error, its_error  # the naive one is the last


def _noise(value: Floats, exposure: Floats, floor: Floats, kind: Kind) -> Floats:
    """The size of noise to be expected, but for a factor of the series' own."""
    if kind == "share":
        return np.asarray(1 / np.sqrt(np.maximum(exposure, 1)))
    return np.asarray(np.sqrt(np.maximum(np.maximum(value, floor), 1e-12)))


def _quantiles(residuals: Floats, days_tested: Integers) -> tuple[Floats, Floats]:
    """The quantiles of each row's residuals between which COVERAGE of new ones should lie; NaN without any.

    With n days tested the levels are widened by (n + 1) / n, as in conformal prediction (J. Lei et al.,
    Distribution-Free Predictive Inference for Regression, JASA 113, 2018): n is the days, since the errors of
    several origins on one day are hardly independent.
    """
    count = np.isfinite(residuals).sum(axis=1)
    ordered = np.sort(residuals, axis=1)  # NaN last
    level = np.minimum((1 + COVERAGE) / 2 * (1 + 1 / np.maximum(days_tested, 1)), 1)
    rows, last = np.arange(len(residuals)), np.maximum(count - 1, 0)

    def at(level: Floats) -> Floats:
        place = level * last
        below = np.floor(place).astype(np.int64)
        above = np.minimum(below + 1, last)
        start, end = ordered[rows, below], ordered[rows, above]
        return np.asarray(start + (end - start) * (place - below))

    return at(1 - level), at(level)


def _within(low: Floats, high: Floats, kind: Kind) -> tuple[Floats, Floats]:
    """Intervals as such values can be: not below 0, shares not above 1, uses whole numbers."""
    low, high = np.maximum(low, 0), np.maximum(high, 0)
    if kind == "share":
        return np.minimum(low, 1), np.minimum(high, 1)
    if kind == "count":
        return np.rint(low), np.rint(high)
    return low, high


def _expected_exposure(exposure: Floats) -> Floats:
    """The mean exposure of each coming day's weekday over the last eight weeks, (S, HORIZON)."""
    days = exposure.shape[1]
    recent = exposure[:, max(0, days - 8 * _WEEK) :]
    means = np.stack([recent[:, day::_WEEK].mean(axis=1) for day in range(_WEEK)], axis=1)
    return means[:, (recent.shape[1] + np.arange(HORIZON)) % _WEEK]


def _seasonal_scale(amount: Floats, exposure: Floats) -> Floats:
    """The mean squared difference between a day and the same weekday a week before, over all the history."""
    value = _ratio(amount, exposure)
    pairs = np.minimum(exposure[:, _WEEK:], exposure[:, :-_WEEK])
    square = np.nan_to_num(value[:, _WEEK:] - value[:, :-_WEEK]) ** 2
    return _ratio((pairs * square).sum(axis=1), pairs.sum(axis=1))


METRICS: Mapping[str, Kind] = {"usage_count": "count", "total_cost": "amount", "success_rate": "share"}

COLUMNS = [
    "prompt_id",
    "metric",
    "forecast_date",
    "value",
    "low",
    "high",
    "method",
    "backtest_error",
    "naive_error",
    "interval_coverage",
    "history_days",
]


def usage_forecasts(daily: pd.DataFrame, as_of_date: date) -> pd.DataFrame:
    """Forecasts of every prompt and of all together, a row a series, metric and coming day.

    ``daily`` has a row a day and prompt with at least one use: ``usage_date, prompt_id, usage_count,
    outcome_count, success_count, priced_count, total_cost`` and the prompt's ``first_used_on``; days of the
    last :data:`WINDOW_DAYS` up to ``as_of_date``. A day without a row is a day without uses, from the
    prompt's first on. Returns :data:`COLUMNS`; ``prompt_id`` is null for all prompts together.
    """
    if daily.empty:
        return pd.DataFrame(columns=COLUMNS)
    prompt, prompts = pd.factorize(daily["prompt_id"])

    def column_of(days: pd.Series) -> Integers:
        past = (pd.Timestamp(as_of_date) - pd.to_datetime(days)).dt.days
        return np.asarray(WINDOW_DAYS - 1 - past.to_numpy(dtype=np.int64))

    day = column_of(daily["usage_date"])
    if day.min() < 0 or day.max() >= WINDOW_DAYS:
        raise ValueError(f"the days must be among the {WINDOW_DAYS} up to {as_of_date}")

    def matrix(column: str) -> Floats:
        numbers = np.zeros((len(prompts), WINDOW_DAYS))
        np.add.at(numbers, (prompt, day), daily[column].fillna(0).to_numpy(dtype=np.float64))
        return numbers

    def with_all(numbers: Floats) -> Floats:
        return np.vstack([numbers, numbers.sum(axis=0)])

    first = np.zeros(len(prompts), dtype=np.int64)
    first[prompt] = column_of(daily["first_used_on"])
    first = np.append(first, first.min())
    uses, priced = with_all(matrix("usage_count")), with_all(matrix("priced_count"))
    cost = with_all(_usual_cost(matrix("total_cost"), priced[:-1]))
    used = np.arange(WINDOW_DAYS) >= first[:, None]
    inputs: Mapping[str, tuple[Floats, Floats]] = {
        "usage_count": (uses, used.astype(np.float64)),
        "total_cost": (cost, _known_cost(uses, priced, used)),
        "success_rate": (with_all(matrix("success_count")), with_all(matrix("outcome_count"))),
    }
    names = np.array([*prompts, None], dtype=object)
    dates = [as_of_date + timedelta(days=ahead) for ahead in range(1, HORIZON + 1)]
    frames = []
    for metric, kind in METRICS.items():
        amount, exposure = inputs[metric]
        result = forecast(amount, exposure, kind)

        frames.append(
            pd.DataFrame(
                {
                    "prompt_id": np.repeat(names, HORIZON),
                    "metric": metric,
                    "forecast_date": np.tile(np.array(dates, dtype=object), len(names)),
                    "value": result.value.ravel(),
                    "low": result.low.ravel(),
                    "high": result.high.ravel(),
                    "method": np.repeat(np.array(result.method, dtype=object), HORIZON),
                    "backtest_error": np.repeat(result.backtest_error, HORIZON),
                    "naive_error": np.repeat(result.naive_error, HORIZON),
                    "interval_coverage": np.repeat(result.interval_coverage, HORIZON),
                    "history_days": np.repeat(history_days(exposure), HORIZON),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)[COLUMNS]


def _known_cost(uses: Floats, priced: Floats, used: NDArray[np.bool_]) -> Floats:
    """1 for each day whose cost is known: with a priced use, or without any use.

    Before the first priced use the latter counts only where no use was unpriced, else a prompt whose costs
    are reported since last week would seem to have been free before.
    """
    since_priced = np.maximum.accumulate(priced > 0, axis=1)
    unpriced_before = ((uses > 0) & ~since_priced).any(axis=1, keepdims=True)
    without_use = (uses == 0) & used & (since_priced | ~unpriced_before)
    return np.asarray((priced > 0) | without_use, dtype=np.float64) * (priced > 0).any(axis=1, keepdims=True)


def _usual_cost(cost: Floats, priced: Floats) -> Floats:
    """Costs with what is anomalous in them taken out, in blocks of days: one wild call is no forecast.

    Blocks, so that a price which changes for good is the usual one soon.
    """
    series, block = len(cost), _COST_BLOCK_DAYS
    per_use = without_outliers(np.nan_to_num(_ratio(cost, priced)).reshape(-1, block))
    return per_use.reshape(series, -1) * priced
