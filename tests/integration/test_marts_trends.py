"""The words for where use is going, on histories made to rise, to fall and to rest at weekends."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from orchestration.warehouse import Warehouse
from tests.dbt import run_dbt
from tests.frames import query
from tests.oracle import raw

pytestmark = pytest.mark.integration

SUNDAY = date(2025, 3, 30)


def test_a_sunday_is_no_collapse_and_a_trend_is_one_of_equal_weekdays(warehouse: Warehouse) -> None:
    rows: list[raw.Row] = []
    for back in range(28):
        day = SUNDAY - timedelta(days=back)
        level, week = (2 if day.isoweekday() > 5 else 12), 3 - back // 7
        for prompt, uses in (
            ("weekly", level),
            ("more", level + week),
            ("less", level - week if level > 2 else 0),
            ("rare", day.isoweekday() == 1),
        ):
            rows += [
                {
                    "usage_id": f"{prompt} {day} {number}",
                    "prompt_key": prompt,
                    "used_at": datetime(day.year, day.month, day.day, 12, tzinfo=UTC),
                }
                for number in range(uses)
            ]
    with warehouse.connect() as connection:
        raw.write(connection, "prompt_usage", rows)
    run_dbt(warehouse, "run", "--select", "+usage_trends", vars={"as_of_date": SUNDAY.isoformat()})
    found = query(
        warehouse,
        "select prompt_name, direction, usage_slope from marts.usage_trends"
        " where scope = 'prompt' and usage_date = as_of_date",
    ).set_index("prompt_name")
    assert found["direction"].to_dict() == {
        "weekly": "steady",
        "more": "rising",
        "less": "falling",
        "rare": "too little data",
    }
    assert found["usage_slope"].round(12).to_dict() == {
        "weekly": 0.0,
        "more": round(1 / 7, 12),
        "less": round(-5 / 7 / 7, 12),
        "rare": 0.0,
    }
    # four weeks make a trend, a day less none
    assert query(
        warehouse, "select distinct direction from marts.usage_trends where usage_date < as_of_date"
    )["direction"].tolist() == ["too little data"]
