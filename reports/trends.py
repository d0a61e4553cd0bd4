"""Daily sums folded into the points of a trend: blocks of whole days that end on the as-of date.

Every block is full, so that the last point is never low just because its week has not ended. The number
of points is bounded whatever the history. Pure functions over rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

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


def sums(rows: Iterable[Mapping[str, Any]]) -> Sums:
    """Rows with :data:`reports.marts.SUMS`, added up; an unknown value adds nothing."""
    added = dict.fromkeys(SUMS, 0)
    for row in rows:
        for name in SUMS:
            added[name] += row[name] or 0
    cost = added.pop("total_cost")
    return Sums(**added, cost_sum=cost)


def total(daily: Iterable[Mapping[str, Any]], first_day: date, last_day: date) -> Sums:
    """The sums of the days from ``first_day`` to ``last_day``."""
    return sums(row for row in daily if first_day <= row["usage_date"] <= last_day)


def blocks(daily: Sequence[Mapping[str, Any]], as_of_date: date, period: Period) -> tuple[Block, ...]:
    """The trend of ``period`` from rows with `usage_date` and :data:`reports.marts.SUMS`.

    Blocks before the first use are left out, as long as the period itself is whole; the rest have every
    block, with zero uses where there were none. Oldest first; empty where there was never a use.
    """
    if not daily:
        return ()
    oldest = max((as_of_date - row["usage_date"]).days for row in daily)
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
    folded: dict[int, list[Mapping[str, Any]]] = {}
    for row in daily:
        folded.setdefault((as_of_date - row["usage_date"]).days // days, []).append(row)
    return tuple(
        Block(
            start=as_of_date - timedelta(days=days * (n + 1) - 1),
            end=as_of_date - timedelta(days=days * n),
            current=n < in_period,
            sums=sums(folded.get(n, ())),
        )
        for n in reversed(range(number))
    )
