"""Where a prompt stands among those of its domain: rank, median, and everyone's place on a line.

Pure: rows in, frozen dataclasses out. What all prompts of a domain share is made once for all of them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from reports import format as fmt
from reports.metrics import RATING, RESPONSE, SUCCESS, Metric, Tone

_COST = Metric("cost_per_use", "Cost per use", fmt.money, "relative", "down", 0.05, "")
_COMPARED: tuple[tuple[Metric, str], ...] = (
    (SUCCESS, "outcome_count"),
    (RATING, "rated_count"),
    (RESPONSE, "response_time_count"),
    (_COST, "priced_count"),
)
# A line of more dots than this is a smear.
_MOST_DOTS = 400
_WIDTH = 200


@dataclass(frozen=True)
class Peer:
    """One metric: the prompt's own value against its peers'.

    ``place`` is where it stands on the line of ``dots`` (an SVG path), 0 to :data:`_WIDTH`; None where its
    sample is too thin to stand anywhere.
    """

    label: str
    value: str
    standing: str
    tone: Tone
    median: str
    dots: str
    place: float | None


@dataclass(frozen=True)
class _Line:
    values: tuple[float, ...]
    median: float
    low: float
    spread: float
    dots: str


class Peers:
    """The prompts of each domain with enough uses in one period, by metric."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """``rows`` are one period's of `prompt_performance_summary`."""
        found: dict[tuple[str | None, str], list[float]] = {}
        for row in rows:
            for metric, count in _COMPARED:
                if row[metric.key] is not None and (row[count] or 0) >= fmt.THIN_SAMPLE:
                    found.setdefault((row["domain"], metric.key), []).append(row[metric.key])
        self._lines = {key: _line(sorted(values)) for key, values in found.items()}

    def of(self, row: Mapping[str, Any] | None) -> tuple[Peer, ...]:
        """How the prompt of a summary row stands; empty where its domain has no other to compare with."""
        if row is None:
            return ()
        made = []
        for metric, count in _COMPARED:
            line = self._lines.get((row["domain"], metric.key))
            value = row[metric.key]
            if line is None or len(line.values) < 2:
                continue
            enough = value is not None and (row[count] or 0) >= fmt.THIN_SAMPLE
            made.append(_peer(metric, line, value) if enough else _unknown(metric, line, value))
        return tuple(made)


def _line(values: list[float]) -> _Line:
    low, high = values[0], values[-1]
    spread = high - low or 1.0
    step = max(1, len(values) // _MOST_DOTS)
    dots = "".join(f"M{_x(value, low, spread)} 8h0" for value in values[::step])
    return _Line(tuple(values), median(values), low, spread, dots)


def _x(value: float, low: float, spread: float) -> float:
    return round(6 + (_WIDTH - 12) * (value - low) / spread, 1)


def _peer(metric: Metric, line: _Line, value: float) -> Peer:
    more = len(line.values) - bisect_right(line.values, value)
    fewer = bisect_left(line.values, value)
    better = fewer if metric.better == "down" else more
    of = len(line.values)
    third = of / 3
    tone: Tone = "good" if better < third else "bad" if better >= of - third else "neutral"
    return Peer(
        label=metric.label,
        value=metric.write(value),
        standing=f"{_ordinal(better + 1)} of {of}",
        tone=tone,
        median=metric.write(line.median),
        dots=line.dots,
        place=_x(value, line.low, line.spread),
    )


def _unknown(metric: Metric, line: _Line, value: float | None) -> Peer:
    return Peer(
        label=metric.label,
        value=metric.write(value),
        standing="no data" if value is None else "too few uses to rank",
        tone="neutral",
        median=metric.write(line.median),
        dots=line.dots,
        place=None,
    )


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
