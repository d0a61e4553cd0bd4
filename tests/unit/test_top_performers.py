"""Ranks by evidence hold still under noise where ranks by the bare rate do not: a simulation.

The score is the oracle's, which the mart is held against, column by column, elsewhere.
"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from tests.oracle.marts import ratios, top_performers

PROMPTS = 60
ROUNDS = 60
TOP = 10


@pytest.fixture(scope="module")
def ranks() -> dict[str, np.ndarray]:
    """The ranks of prompts over months, as (rounds, prompts), by `score` and by `rate`; `uses` as one row.

    A library like most: a few prompts make most of the uses, most do well, one use in eight is rated. Every
    month draws its uses anew from prompts that stay as they are: what moves is noise.
    """
    random = np.random.default_rng(7)
    uses = np.maximum(6, (random.pareto(1.0, PROMPTS) * 25).astype(int))
    quality = random.beta(12, 2.5, PROMPTS)
    time = random.lognormal(7.3, 0.6, PROMPTS)
    cost = random.lognormal(-5, 1, PROMPTS)
    found: dict[str, list[np.ndarray]] = {"score": [], "rate": []}
    for _ in range(ROUNDS):
        successes = random.binomial(uses, quality)
        rated = random.binomial(uses, 0.125)
        stars = np.array(
            [1 + random.binomial(4, share, size=count).sum() + (count - 1) if count else np.nan
             for share, count in zip(quality, rated, strict=True)]
        )  # fmt: skip
        summary = ratios(
            pd.DataFrame(
                {
                    "period": "month", "prompt_id": [f"p{n:02d}" for n in range(PROMPTS)], "domain": "all",
                    "usage_count": uses, "outcome_count": uses, "success_count": successes,
                    "error_known_count": 0, "error_count": 0, "rated_count": rated, "rating_sum": stars,
                    "response_time_count": uses, "response_time_sum_ms": uses * time,
                    "priced_count": uses, "priced_success_count": successes, "total_cost": uses * cost,
                }
            )
        ).assign(prompt_name=lambda table: table["prompt_id"])  # fmt: skip
        ranked = top_performers(summary).set_index("prompt_id")["rank"]
        found["score"].append(ranked.reindex(summary["prompt_id"]).to_numpy())
        by_rate = summary.sort_values(["success_rate", "prompt_name"], ascending=[False, True])
        found["rate"].append(by_rate.reset_index()["index"].argsort().to_numpy() + 1)
    return {**{name: np.array(rows) for name, rows in found.items()}, "uses": uses}


def stability(rounds: np.ndarray) -> tuple[float, float]:
    """Between one month and the next: the rank correlation, and the share of the top ten that stays."""
    pairs = list(itertools.pairwise(rounds))
    correlation = float(np.mean([np.corrcoef(one, other)[0, 1] for one, other in pairs]))
    overlap = float(np.mean([np.mean((one <= TOP)[other <= TOP]) for one, other in pairs]))
    return correlation, overlap


def test_ranks_by_evidence_are_stabler_than_ranks_by_the_rate(ranks: dict[str, np.ndarray]) -> None:
    by_score, by_rate = stability(ranks["score"]), stability(ranks["rate"])
    # as docs/marts.md says
    assert [round(figure, 2) for figure in (*by_score, *by_rate)] == [0.82, 0.63, 0.46, 0.41]


def test_luck_with_a_handful_of_uses_puts_nobody_on_top(ranks: dict[str, np.ndarray]) -> None:
    scarce = ranks["uses"] < 12
    assert scarce.sum() > 5
    first_by_score = (ranks["score"][:, scarce] <= 3).mean()
    first_by_rate = (ranks["rate"][:, scarce] <= 3).mean()
    assert first_by_score == 0 < first_by_rate
