"""What domains come to together: sums and means of sums, and nothing of what can't be summed."""

from __future__ import annotations

from typing import Any

import pandas as pd

from reports.domains import together
from reports.marts import _DTYPES, _SEGMENTS, records


def segment(domain: str, **values: Any) -> dict[str, Any]:
    known = {
        "period": "month", "scope": "domain", "segment": domain, "usage_count": 10, "outcome_count": 8,
        "success_rate": 0.5, "success_rate_low": 0.2, "success_rate_high": 0.8, "rated_count": 2,
        "average_rating": 4.0, "response_time_count": 10, "average_response_time_ms": 100.0,
        "p50_response_time_ms": 90.0, "p95_response_time_ms": 200.0, "priced_count": 5, "total_cost": 1.0,
        "cost_per_use": 0.2,
    }  # fmt: skip
    return {**known, **values}


def frame(*rows: dict[str, Any]) -> pd.DataFrame:
    made = pd.DataFrame(rows, columns=list(_SEGMENTS), dtype=object)
    return made.astype({name: _DTYPES[kind] for name, kind in _SEGMENTS.items()})


def test_two_domains_are_summed_and_their_percentiles_are_not_known() -> None:
    unrated = {"rated_count": 0, "average_rating": None}
    rows = frame(segment("a"), segment("b", usage_count=30, outcome_count=24, success_rate=1.0, **unrated))
    whole, *rest = records(together(rows, ["period"]))
    assert rest == records(rows)
    assert (whole["scope"], whole["segment"], whole["usage_count"], whole["outcome_count"]) == (
        "all", None, 40, 32,
    )  # fmt: skip
    assert (whole["success_rate"], whole["average_rating"], whole["rated_count"]) == (0.875, 4.0, 2)
    assert (whole["total_cost"], whole["cost_per_use"]) == (2.0, 0.2)
    assert whole["p50_response_time_ms"] is whole["p95_response_time_ms"] is whole["success_rate_low"] is None


def test_one_domain_alone_is_the_whole_and_none_is_nothing() -> None:
    rows = frame(segment("a", priced_count=0, total_cost=None, cost_per_use=None))
    whole, alone = records(together(rows, ["period"]))
    assert whole == {**alone, "scope": "all", "segment": None}
    assert together(frame(), ["period"]).empty
