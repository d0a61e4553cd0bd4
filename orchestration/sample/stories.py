"""What happens to a prompt over the sample's days: it improves, decays, is edited, goes quiet.

A story changes a :class:`Life`, the day-by-day expectations that ``usage`` draws from. It knows
nothing of rows. Stories reach every end that they promise in the last third of the days, which is
the last month of the default ninety.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Days = NDArray[np.float64]


@dataclass
class Edit:
    """A new version of a prompt's text, in force from the first moment of ``day`` (counted from 0)."""

    day: int
    note: str
    added: str | None  # what the system prompt gains; None takes the first text up again


@dataclass
class Life:
    """Expectations for each day. Arrays have one value a day."""

    volume: Days
    """weight among all uses"""
    success: Days
    """share of uses that succeed, 0 to 1"""
    rating: Days
    """mean of the ratings, 1 to 5"""
    response_ms: Days
    """median response time"""
    edits: list[Edit] = field(default_factory=list)

    def version(self) -> NDArray[np.int64]:
        """The version in force on each day, from 1."""
        days = np.arange(len(self.volume))
        return 1 + sum((days >= edit.day for edit in self.edits), np.zeros(len(days), dtype=np.int64))


def _edit(life: Life, in_force: NDArray[np.bool_], note: str, added: str | None) -> None:
    if in_force.any():  # in a life of few days it may never come
        life.edits.append(Edit(int(np.argmax(in_force)), note, added))


def _steady(life: Life, x: Days) -> None:
    pass


def _improving(life: Life, x: Days) -> None:
    life.success += 0.02 - 0.17 * (1 - x)
    life.rating += 0.15 - 0.8 * (1 - x)


def _decaying(life: Life, x: Days) -> None:
    fall = np.clip((x - 0.35) / 0.65, 0, 1)
    life.success -= 0.16 * fall
    life.rating -= 0.7 * fall


def _growing(life: Life, x: Days) -> None:
    life.volume *= 0.3 + 2.2 * x**2


def _edited_better(life: Life, x: Days) -> None:
    before = x < 0.6
    life.success[before] -= 0.09
    life.rating[before] -= 0.5
    life.response_ms[~before] *= 0.85
    _edit(
        life, ~before, "Shorter answers, gaps named", "Answer in at most 150 words and name what is missing."
    )


def _edited_worse(life: Life, x: Days) -> None:
    after = x >= 0.8
    life.success[after] -= 0.13
    life.rating[after] -= 0.6
    life.response_ms[after] *= 1.2
    _edit(life, after, "Ask for reasons first", "Think through every step in writing before you answer.")


def _edited_then_reverted(life: Life, x: Days) -> None:
    between = (x >= 0.4) & (x < 0.62)
    life.success[between] -= 0.15
    life.rating[between] -= 0.7
    _edit(life, x >= 0.4, "One answer for all dialects", "Use no function that any dialect lacks.")
    _edit(life, x >= 0.62, "Back to version 1: too many questions went unanswered", None)


def _quiet(life: Life, x: Days) -> None:
    life.volume[x >= 0.6] = 0


def _new(life: Life, x: Days) -> None:
    life.volume[x < 0.8] = 0


def _archived(life: Life, x: Days) -> None:
    life.volume[x >= 0.3] = 0


def _unused(life: Life, x: Days) -> None:
    life.volume[:] = 0


def _low_success(life: Life, x: Days) -> None:
    life.success[:] = 0.78 - 0.16 * np.clip(x / 0.5, 0, 1)


def _disliked(life: Life, x: Days) -> None:
    life.rating[:] = 2.5


def _slow(life: Life, x: Days) -> None:
    """Its response time is in the catalogue; it got there with the logs it reads."""
    life.response_ms *= 0.6 + 0.4 * np.clip(x / 0.5, 0, 1)


def _failing(life: Life, x: Days) -> None:
    life.success[x >= 0.55] -= 0.21


STORIES: dict[str, Callable[[Life, Days], None]] = {
    "steady": _steady,
    "improving": _improving,
    "decaying": _decaying,
    "growing": _growing,
    "edited_better": _edited_better,
    "edited_worse": _edited_worse,
    "edited_then_reverted": _edited_then_reverted,
    "quiet": _quiet,
    "new": _new,
    "archived": _archived,
    "unused": _unused,
    "low_success": _low_success,  # fires poor_success_rate
    "disliked": _disliked,  # fires poor_rating
    "slow": _slow,  # fires slow_response
    "failing": _failing,  # fires high_error_rate, and that alone
    "expensive": _steady,  # its tier and its tokens make it so
}


def tell(story: str, life: Life) -> None:
    """Changes ``life`` by the story named ``story``."""
    days = len(life.volume)
    STORIES[story](life, (np.arange(days) + 0.5) / days)
