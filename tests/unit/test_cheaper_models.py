"""How often a cheaper model that is worse is called as good, and one that is as good is seen: a simulation.

The verdict is the oracle's, which the mart `model_savings` is held against, column by column, elsewhere.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.oracle.marts import wilson

MARGIN = 0.05
TRIALS = 20_000


def called_as_good(dear_rate: float, cheap_rate: float, outcomes: int) -> float:
    """The share of trials in which the low end of Newcombe's interval lies above minus the margin."""
    random = np.random.default_rng(3)
    count = pd.Series(np.full(TRIALS, outcomes))
    dear, cheap = (pd.Series(random.binomial(outcomes, rate, TRIALS)) for rate in (dear_rate, cheap_rate))
    difference = (cheap - dear) / outcomes
    below = np.hypot(
        cheap / outcomes - wilson(cheap, count, -1), wilson(dear, count, 1) - dear / outcomes
    )  # fmt: skip
    return float((difference - below > -MARGIN).mean())


@pytest.mark.parametrize("outcomes", [50, 200, 1000])
@pytest.mark.parametrize("rate", [0.55, 0.8, 0.95, 0.99])
def test_one_that_is_worse_by_the_margin_is_called_as_good_one_time_in_forty(
    rate: float, outcomes: int
) -> None:
    assert called_as_good(rate, rate - MARGIN, outcomes) < 0.035


def test_one_that_is_as_good_is_seen_with_some_hundred_outcomes() -> None:
    # as docs/methods/recommendations.md says
    seen = [called_as_good(0.95, 0.95, outcomes) for outcomes in (100, 200, 400, 800)]
    assert [round(share, 2) for share in seen] == [0.31, 0.58, 0.88, 0.99]
