"""Daily sums folded into the points of a trend: blocks of whole days that end on the as-of date.

Every block is full, so that the last point is never low just because its week has not ended. The number
of points is bounded whatever the history. Pure functions over frames.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import pandas as pd

from reports.marts import SUMS
from reports.options import PERIOD_DAYS, Period

# Days a block, and blocks at most: the period itself and some time before it, to compare with.
_BLOCKS: Mapping[Period, tuple[int, int]] = {
    "day": (1, 14),
    "week": (1, 28),
    "month": (1, 60),
    "quarter": (7, 26),
    "year": (7, 104),
}
_MOST_BLOCKS = 104


@dataclass(frozen=True)
class Sums:
    """What some days add up to; means are None over nothing."""

    usage_count: int = 0
    outcome_count: int = 0
    success_count: int = 0
    error_count: int = 0
    rated_count: int = 0
    rating_sum: float = 0.0
    response_time_count: int = 0
    response_time_sum_ms: float = 0.0
    priced_count: int = 0
    cost_sum: float = 0.0

    @property
    def success_rate(self) -> float | None:
        return self.success_count / self.outcome_count if self.outcome_count else None

    @property
    def average_rating(self) -> float | None:
        return self.rating_sum / self.rated_count if self.rated_count else None

    @property
    def average_response_time_ms(self) -> float | None:
        return self.response_time_sum_ms / self.response_time_count if self.response_time_count else None

    @property
    def total_cost(self) -> float | None:
        return self.cost_sum if self.priced_count else None


@dataclass(frozen=True)
class Block:
    """One point of a trend: the days from ``start`` to ``end`` and their sums. ``current``: in the period."""

    start: date
    end: date
    current: bool
    sums: Sums


def sums(values: Mapping[str, float | int | None]) -> Sums:
    """One row of :data:`reports.marts.SUMS` as :class:`Sums`."""

    def number(name: str) -> float:
        value = values[name]
        return 0.0 if value is None or pd.isna(value) else float(value)

    return Sums(
        usage_count=int(number("usage_count")),
        outcome_count=int(number("outcome_count")),
        success_count=int(number("success_count")),
        error_count=int(number("error_count")),
        rated_count=int(number("rated_count")),
        rating_sum=number("rating_sum"),
        response_time_count=int(number("response_time_count")),
        response_time_sum_ms=number("response_time_sum_ms"),
        priced_count=int(number("priced_count")),
        cost_sum=number("total_cost"),
    )


def total(daily: pd.DataFrame, first_day: date, last_day: date) -> Sums:
    """The sums of the days from ``first_day`` to ``last_day`` of a frame by day."""
    inside = daily[(daily["usage_date"] >= first_day) & (daily["usage_date"] <= last_day)]
    return sums({name: inside[name].sum() for name in SUMS})


def blocks(daily: pd.DataFrame, as_of_date: date, period: Period) -> tuple[Block, ...]:
    """The trend of ``period`` from a frame with `usage_date` and :data:`reports.marts.SUMS`.

    Blocks before the first use are left out, as long as the period itself is whole; the rest have every
    block, with zero uses where there were none. Oldest first; empty where there was never a use.
    """
    if daily.empty:
        return ()
    back = pd.Series([(as_of_date - one).days for one in daily["usage_date"]], index=daily.index)
    oldest = int(back.max())
    length = PERIOD_DAYS[period]
    if length is None:
        days = max(1, math.ceil((oldest + 1) / _MOST_BLOCKS))
        days = days if days == 1 else math.ceil(days / 7) * 7
        number = oldest // days + 1
        in_period = number
    else:
        days, most = _BLOCKS[period]
        in_period = math.ceil(length / days)
        number = min(most, max(in_period, oldest // days + 1))
    folded = daily[list(SUMS)].groupby(back // days).sum()
    rows = {int(str(index)): row for index, row in zip(folded.index, folded.to_dict("records"), strict=True)}
    return tuple(
        Block(
            start=as_of_date - timedelta(days=days * (n + 1) - 1),
            end=as_of_date - timedelta(days=days * n),
            current=n < in_period,
            sums=sums({str(key): value for key, value in rows[n].items()}) if n in rows else Sums(),
        )
        for n in reversed(range(number))
    )
