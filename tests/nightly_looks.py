"""Simulated versions of a prompt that are compared every night: for tests and benchmarks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from orchestration.analytics.comparisons import ALPHA, MINIMUM_SAMPLE, Arm, evidence

NIGHTS = 30
# so many uses does the version before have, and so many more does the new one get each night
CONTROL, NIGHTLY = 1000, 40
Draw = Callable[[tuple[int, ...]], np.ndarray]


def outcomes(random: np.random.Generator, rate: float) -> Draw:
    return lambda shape: (random.random(shape) < rate).astype(float)


def log_times(random: np.random.Generator, factor: float = 1.0) -> Draw:
    """Logarithms of response times with a long tail and one in fifty that hangs for a minute."""

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        usual = 900 * random.lognormal(0, 0.7, shape)
        return np.log(np.where(random.random(shape) < 0.02, 60_000, usual) * factor)

    return draw


def costs(random: np.random.Generator, factor: float = 1.0) -> Draw:
    """Costs in USD, not their logarithms: a mean of them is ruled by few dear calls."""
    return lambda shape: 0.02 * random.lognormal(0, 1.5, shape) * factor


def nightly(
    control: Draw, variant: Draw, trials: int, before: int = CONTROL, uses: int = NIGHTLY
) -> Iterator[tuple[Arm, Arm]]:
    """Each night's arms of many trials at once: the control is history, the variant grows."""
    past = control((trials, before))
    first = Arm(np.full(trials, float(before)), past.sum(axis=1), (past**2).sum(axis=1))
    second = Arm(*np.zeros((3, trials)))
    for _ in range(NIGHTS):
        tonight = variant((trials, uses))
        second = second + Arm(np.full(trials, float(uses)), tonight.sum(axis=1), (tonight**2).sum(axis=1))
        yield first, second


def ever_called(control: Draw, variant: Draw, trials: int = 1000, **kwargs: int) -> float:
    """The share of trials in which any night called a difference."""
    called = np.zeros(trials, dtype=bool)
    for first, second in nightly(control, variant, trials, **kwargs):
        called |= evidence(first, second).log_e_value() >= math.log(1 / ALPHA)
    return float(called.mean())


def ever_called_by_a_test_for_one_look(
    control: Draw, variant: Draw, trials: int = 1000, **kwargs: int
) -> float:
    """The same for Welch's t-test at 5 % (in its normal limit), looked at every night."""
    called = np.zeros(trials, dtype=bool)
    for first, second in nightly(control, variant, trials, **kwargs):
        with np.errstate(invalid="ignore", divide="ignore"):
            error = np.sqrt(first.variance() / first.count + second.variance() / second.count)
            called |= (np.abs((second.mean - first.mean) / error) > 1.96) & (second.count >= MINIMUM_SAMPLE)
    return float(called.mean())


KINDS: dict[str, Callable[[np.random.Generator], Draw]] = {
    "half succeed": lambda random: outcomes(random, 0.5),
    "nearly all succeed": lambda random: outcomes(random, 0.98),
    "response times": log_times,
    "costs": costs,
}
