"""The five metrics that every page and mail speaks of: how each is written, compared and judged.

Pure: values in, words out. Targets come with the marts, where analysts set them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from reports import format as fmt
from reports.options import Period

Tone = Literal["good", "bad", "neutral"]


@dataclass(frozen=True)
class Change:
    """A metric against the previous period: ``+12 %``, up or down, for better or worse."""

    text: str
    direction: Literal["up", "down", "steady"]
    tone: Tone

    @property
    def symbol(self) -> str:
        return {"up": "▲", "down": "▼", "steady": "▬"}[self.direction]

    @property
    def word(self) -> str:
        """Whether that is good news, in a word; empty where it is neither."""
        return {"good": "better", "bad": "worse", "neutral": ""}[self.tone]


@dataclass(frozen=True)
class Target:
    """A target and whether it is met; ``met`` is None where nothing, or too little, is known."""

    text: str
    met: bool | None
    thin: bool = False

    @property
    def symbol(self) -> str:
        return {True: "✓", False: "✗", None: fmt.DASH}[self.met]

    @property
    def word(self) -> str:
        return {True: "met", False: "missed", None: "too few to tell" if self.thin else "no data"}[self.met]


@dataclass(frozen=True)
class Metric:
    """One metric. ``key`` is its column in the marts; ``steady`` the change below which nothing happened.

    ``steady`` is a ratio for relative changes, else in the metric's own unit.
    """

    key: str
    label: str
    write: Callable[[float | None], str]
    change: Literal["relative", "points", "absolute"]
    better: Literal["up", "down"] | None
    steady: float
    missing: str

    def compare(self, now: float | None, before: float | None) -> Change | None:
        """The change from ``before`` to ``now``; None where one of them is unknown or nothing can be said."""
        text = fmt.difference(now, before, self.change)
        if text is None or now is None or before is None:
            return None
        size = (now / before - 1) if self.change == "relative" else now - before
        if abs(size) < self.steady:
            return Change(text, "steady", "neutral")
        direction: Literal["up", "down"] = "up" if size > 0 else "down"
        if self.better is None:
            return Change(text, direction, "neutral")
        return Change(text, direction, "good" if direction == self.better else "bad")

    def judge(self, value: float | None, target: float | None, sample: int | None) -> Target | None:
        """``value`` of ``sample`` uses against ``target`` (strictly better is met); None without a target."""
        if target is None or self.better is None:
            return None
        text = f"{'above' if self.better == 'up' else 'under'} {fmt.plain(self.write(target))}"
        if value is None:
            return Target(text, None)
        if (sample or 0) < fmt.THIN_SAMPLE:
            return Target(text, None, thin=True)
        return Target(text, value > target if self.better == "up" else value < target)


USES = Metric("usage_count", "Uses", fmt.count, "relative", None, 0.05, "no uses in this period")
SUCCESS = Metric(
    "success_rate",
    "Success rate",
    fmt.percent,
    "points",
    "up",
    0.005,
    "no use with a known outcome in this period",
)
RATING = Metric(
    "average_rating",
    "Average rating",
    fmt.rating,
    "absolute",
    "up",
    0.05,
    "nobody has rated a use of this period yet",
)
RESPONSE = Metric(
    "average_response_time_ms",
    "Average response time",
    fmt.duration,
    "relative",
    "down",
    0.05,
    "no use with a response time in this period",
)
COST = Metric(
    "total_cost", "Cost", fmt.money, "relative", "down", 0.05, "no use with a known cost in this period"
)
METRICS: tuple[Metric, ...] = (USES, SUCCESS, RATING, RESPONSE, COST)


@dataclass(frozen=True)
class PeriodName:
    """A period in words: on its button, as a title, the one before it, and and then, in a sentence."""

    switch: str
    title: str
    before: str
    then: str


PERIOD_NAMES: Mapping[Period, PeriodName] = {
    "day": PeriodName("Day", "The day", "the day before", "on the day before"),
    "week": PeriodName("Week", "Last 7 days", "the 7 days before", "in the 7 days before"),
    "month": PeriodName("Month", "Last 30 days", "the 30 days before", "in the 30 days before"),
    "quarter": PeriodName("Quarter", "Last 90 days", "the 90 days before", "in the 90 days before"),
    "year": PeriodName("Year", "Last 365 days", "the 365 days before", "in the 365 days before"),
    "all": PeriodName("All", "All time", "", ""),
}
