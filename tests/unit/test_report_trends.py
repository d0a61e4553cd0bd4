"""Days folded into the points of a trend."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest

from reports import trends
from reports.options import PERIODS, Period
from tests.unit.report_frames import AS_OF, days


def _days(number: int) -> list[dict[str, object]]:
    return [
        {"usage_date": AS_OF - timedelta(days=n), "usage_count": 2, "outcome_count": 2, "success_count": 1}
        for n in range(number)
    ]


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("history", [1, 29, 400, 4000])
def test_blocks_are_whole_bounded_and_end_on_the_as_of_date(period: Period, history: int) -> None:
    blocks = trends.blocks(days(*_days(history)), AS_OF, period)
    lengths = {(block.end - block.start).days + 1 for block in blocks}
    assert blocks[-1].end == AS_OF
    assert len(lengths) == 1
    assert len(blocks) <= 104
    for earlier, later in itertools.pairwise(blocks):
        assert later.start - earlier.end == timedelta(days=1)


def test_all_of_the_history_is_in_the_trend_of_all_time() -> None:
    blocks = trends.blocks(days(*_days(4000)), AS_OF, "all")
    assert sum(block.sums.usage_count for block in blocks) == 8000
    assert all(block.current for block in blocks)


def test_the_period_itself_is_told_from_what_came_before() -> None:
    blocks = trends.blocks(days(*_days(60)), AS_OF, "month")
    assert [block.current for block in blocks] == [False] * 30 + [True] * 30


def test_a_day_without_uses_is_a_point_with_none_not_a_gap() -> None:
    rows = [{"usage_date": AS_OF - timedelta(days=2), "usage_count": 3}]
    blocks = trends.blocks(days(*rows), AS_OF, "week")
    assert [block.sums.usage_count for block in blocks] == [0, 0, 0, 0, 3, 0, 0]
    assert {block.sums.success_rate for block in blocks} == {None}


def test_without_a_single_use_there_is_no_trend() -> None:
    assert trends.blocks(days(), AS_OF, "month") == ()


def test_means_are_made_of_sums_and_unknown_over_nothing() -> None:
    rows = [
        {"usage_date": AS_OF, "usage_count": 3, "rated_count": 1, "rating_sum": 5.0},
        {"usage_date": AS_OF - timedelta(days=1), "usage_count": 3, "rated_count": 3, "rating_sum": 3.0},
    ]
    total = trends.total(days(*rows), AS_OF - timedelta(days=6), AS_OF)
    assert total.average_rating == 2.0
    assert total.total_cost is None
    assert total.average_response_time_ms is None
