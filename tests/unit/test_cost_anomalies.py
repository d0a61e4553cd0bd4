"""Days that cost far more than usual, on the costs of a real log: found however wild, and hiding no other."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from orchestration.analytics.anomalies import WINDOW_DAYS, cost_anomalies

AS_OF = date(2025, 2, 28)
KEYS = ["usage_date", "prompt_id", "model"]


@pytest.fixture(scope="module")
def calls(shared_data: Path) -> pd.DataFrame:
    """The priced calls of the last 90 days, cents each."""
    log = pd.read_csv(shared_data / "aider_usage.csv")
    calls = log.assign(
        usage_date=pd.to_datetime(log["ts_utc"].str[:10]), prompt_id=log["edit_format"], cost=log["cost_usd"]
    )
    recent = calls["usage_date"] > pd.Timestamp(AS_OF) - pd.Timedelta(days=WINDOW_DAYS)
    return calls.loc[recent & calls["cost"].notna(), [*KEYS, "cost"]]


def found(calls: pd.DataFrame) -> pd.DataFrame:
    daily = calls.groupby(KEYS, dropna=False)["cost"].agg(priced_count="size", total_cost="sum")
    return cost_anomalies(daily.reset_index(), AS_OF)


def busiest(calls: pd.DataFrame) -> pd.DataFrame:
    """The calls of the prompt and model with the most days."""
    series = calls.groupby(["prompt_id", "model"])
    prompt, model = series["usage_date"].nunique().idxmax()
    return calls[(calls["prompt_id"] == prompt) & (calls["model"] == model)]


@pytest.mark.shared_data
def test_one_call_of_9990_usd_among_cents_is_found_and_does_not_hide_the_rest(calls: pd.DataFrame) -> None:
    assert calls["cost"].max() < 3
    before = found(calls)
    series = busiest(calls)
    days = series["usage_date"].drop_duplicates().to_list()
    wild = {days[3]: 9990.0, days[7]: 40.0, days[11]: 4000.0}
    extra = [series.iloc[[0]].assign(usage_date=day, cost=cost) for day, cost in wild.items()]
    after = found(pd.concat([calls, *extra]))
    told = after.set_index("usage_date")
    for day, cost in wild.items():
        assert told.loc[day.date(), "excess_cost"] == pytest.approx(cost, rel=0.05)
    assert set(before[KEYS].itertuples(index=False)) <= set(after[KEYS].itertuples(index=False))
    assert len(after) == len(before) + len(wild)
