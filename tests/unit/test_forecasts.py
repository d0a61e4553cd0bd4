"""Forecasts: what a series looks like decides what comes out; coverage is measured on days not seen."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from orchestration.analytics.anomalies import cost_anomalies, without_outliers
from orchestration.analytics.forecasts import (
    HORIZON,
    METRICS,
    NOT_ENOUGH_HISTORY,
    Forecasts,
    forecast,
    usage_forecasts,
)

AS_OF = date(2025, 6, 30)
WEEK = np.array([1.0, 1.0, 1.0, 1.0, 0.9, 0.3, 0.2])


def counts(values: np.ndarray) -> Forecasts:
    values = np.atleast_2d(values).astype(float)
    return forecast(values, np.maximum.accumulate(values > 0, axis=1).astype(float), "count")


def lives(series: int, days: int, seed: int) -> np.ndarray:
    """Busy and quiet, drifting and steady prompts, with weekdays and more noise than a Poisson's."""
    random = np.random.default_rng(seed)
    drift = np.cumsum(random.normal(0, 0.02, (series, days)), axis=1) * (np.arange(series) % 2)[:, None]
    level = np.exp(random.normal(3.5, 1, (series, 1)) + drift) * WEEK[np.arange(days) % 7]
    return random.poisson(level * random.gamma(10, 1 / 10, level.shape)).astype(float)


def daily_rows(values: np.ndarray, prompt: str = "p1", price: float = 0.01) -> pd.DataFrame:
    """One prompt's days up to the as-of date as the daily mart holds them: no row for a day without uses."""
    days = [AS_OF - timedelta(days=len(values) - 1 - n) for n in range(len(values))]
    used = values > 0
    return pd.DataFrame(
        {
            "usage_date": np.array(days, dtype=object)[used],
            "prompt_id": prompt,
            "usage_count": values[used],
            "outcome_count": values[used],
            "success_count": np.round(values[used] * 0.9),
            "priced_count": values[used],
            "total_cost": values[used] * price,
            "first_used_on": np.array(days, dtype=object)[used][0],
        }
    )


def test_a_weekly_rhythm_is_carried_forward_so_that_a_sunday_is_no_collapse() -> None:
    result = counts(np.round(np.tile(100 * WEEK, 12)))
    np.testing.assert_allclose(result.value[0, :7], np.round(100 * WEEK), rtol=0.03)
    assert (result.high[0] >= result.value[0]).all()


def test_growth_on_top_of_a_weekly_rhythm_is_followed_more_closely_than_by_repeating_last_week() -> None:
    random = np.random.default_rng(7)
    values = random.poisson(np.tile(700 * WEEK, 18) * np.linspace(1, 1.6, 126))
    past, future = values[None, :96], values[96:]
    result = counts(past)
    assert result.method[0].startswith("weekday profile")
    assert result.backtest_error[0] < 0.85 * result.naive_error[0]
    assert result.value[0].sum() == pytest.approx(future.sum(), rel=0.07)


def test_a_chosen_method_beats_seasonal_naive_on_days_it_has_not_seen() -> None:
    past, future = np.split(lives(300, 180 + HORIZON, seed=1), [180], axis=1)
    result = counts(past)
    naive = past[:, -7:][:, np.arange(HORIZON) % 7]
    error = np.sqrt(((future - result.value) ** 2).mean(axis=1))
    naive_error = np.sqrt(((future - naive) ** 2).mean(axis=1))
    assert np.median(error / naive_error) < 0.85
    # what is published of the past is what the future brings: the choice is not fitted to noise
    assert np.median(result.backtest_error / result.naive_error) == pytest.approx(
        np.median(error / naive_error), abs=0.06
    )


@pytest.mark.parametrize("days", [42, 90, 365])
def test_intervals_hold_eight_days_in_ten_and_the_published_coverage_says_so(days: int) -> None:
    past, future = np.split(lives(300, days + HORIZON, seed=2), [days], axis=1)
    # as amounts: whole uses round the intervals outwards, and so hold more
    result = forecast(past, np.ones_like(past), "amount")
    held = np.mean((future >= result.low) & (future <= result.high))
    assert 0.77 <= held <= 0.85
    assert np.nanmean(result.interval_coverage) == pytest.approx(held, abs=0.05)


def test_a_success_rate_is_weighed_by_uses_stays_a_share_and_its_interval_holds() -> None:
    random = np.random.default_rng(3)
    outcomes = random.poisson(np.exp(random.normal(2.5, 0.8, (200, 1))) * WEEK[np.arange(120) % 7])
    share = random.uniform(0.5, 0.99, (200, 1))
    successes = random.binomial(outcomes, share)
    past = forecast(successes[:, :90].astype(float), outcomes[:, :90].astype(float), "share")
    assert past.low.min() >= 0
    assert past.high.max() <= 1
    pooled = successes[:, :90].sum(axis=1) / outcomes[:, :90].sum(axis=1)
    assert np.abs(past.value.mean(axis=1) - pooled).mean() < 0.02
    known = outcomes[:, 90:] > 0
    rates = successes[:, 90:] / np.maximum(outcomes[:, 90:], 1)
    assert 0.76 <= ((rates >= past.low) & (rates <= past.high))[known].mean() <= 0.90


def test_one_bad_quiet_day_hardly_moves_a_success_rate() -> None:
    outcomes = np.full((1, 60), 100.0)
    successes = np.full((1, 60), 90.0)
    outcomes[0, -1], successes[0, -1] = 2, 0
    assert forecast(successes, outcomes, "share").value[0] == pytest.approx(0.9, abs=0.01)


def test_a_sparse_prompt_gets_its_mean_rate_not_zero_and_not_its_last_day() -> None:
    random = np.random.default_rng(4)
    result = counts(np.hstack([np.ones((100, 1)), random.poisson(0.15, (100, 299))]))
    assert result.value.mean() == pytest.approx(0.15, abs=0.03)
    assert result.method.count("mean rate") > 80
    assert (result.low == 0).all()
    assert np.nanmedian(result.backtest_error) < 0.8 * np.nanmedian(result.naive_error)


def test_a_growing_prompt_is_forecast_above_its_mean_and_one_gone_quiet_near_zero() -> None:
    growing = np.linspace(10, 130, 120)
    quiet = np.where(np.arange(120) < 60, 50.0, 0.0)
    result = counts(np.stack([growing, quiet]))
    assert result.value[0].mean() > 125
    assert result.value[1].max() < 0.5


def test_nothing_is_negative_or_infinite_whatever_the_history() -> None:
    random = np.random.default_rng(5)
    falling = np.maximum(0, 100 - 2 * np.arange(60))
    odd = [
        falling,
        falling[::-1],
        np.eye(60)[3],
        np.zeros(60),
        np.full(60, 1e9),
        random.pareto(0.7, 60) * 100,
    ]
    for kind in ("count", "amount"):
        values = np.stack(odd).astype(float)
        result = forecast(values, np.maximum.accumulate(values > 0, axis=1).astype(float), kind)
        known = np.isfinite(result.value[:, 0])
        assert known.tolist() == [True, True, True, False, True, True]
        for numbers in (result.value, result.low, result.high):
            assert np.isfinite(numbers[known]).all()
            assert numbers[known].min() >= 0
        assert (result.low[known] <= result.value[known]).all()
        assert (result.value[known] <= result.high[known]).all()


def test_under_three_weeks_there_is_no_forecast_and_at_three_weeks_there_is() -> None:
    values = np.zeros((2, 100))
    values[0, -20:] = values[1, -21:] = 5
    result = counts(values)
    assert result.method[0] == NOT_ENOUGH_HISTORY
    assert np.isnan([result.value[0], result.low[0], result.high[0]]).all()
    assert result.value[1] == pytest.approx(5)


def test_a_series_with_constant_values_has_no_scaled_error_but_a_forecast() -> None:
    result = counts(np.full((1, 60), 7.0))
    assert np.isnan(result.backtest_error[0])
    assert result.value[0] == pytest.approx(7)


def test_the_frame_has_a_row_for_each_prompt_and_all_by_metric_and_coming_day() -> None:
    busy, rare = np.round(np.tile(100 * WEEK, 10)), np.zeros(70)
    rare[::10] = 1
    frame = usage_forecasts(pd.concat([daily_rows(busy), daily_rows(rare, "p2")]), AS_OF)
    assert len(frame) == 3 * len(METRICS) * HORIZON
    assert not frame.duplicated(["prompt_id", "metric", "forecast_date"]).any()
    assert frame["forecast_date"].min() == AS_OF + timedelta(days=1)
    means = frame.groupby(["metric", frame["prompt_id"].fillna("all")])["value"].mean()
    assert means["usage_count", "all"] == pytest.approx(busy.mean() + 0.1, rel=0.05)
    assert means["total_cost", "all"] == pytest.approx(means["usage_count", "all"] * 0.01, rel=0.05)
    assert means["success_rate", "p1"] == pytest.approx(0.9, abs=0.01)


def test_a_prompt_first_used_long_ago_has_enough_history_however_rarely_it_is_used() -> None:
    rows = daily_rows(np.eye(10)[0]).assign(first_used_on=date(2020, 1, 1))
    frame = usage_forecasts(rows, AS_OF).query("metric == 'usage_count' and prompt_id == 'p1'")
    assert (frame["history_days"] == 365).all()
    assert (frame["method"] != NOT_ENOUGH_HISTORY).all()


def test_one_wild_call_does_not_move_the_forecast_of_cost() -> None:
    rows = daily_rows(np.round(np.tile(100 * WEEK, 10)))
    wild = rows.assign(total_cost=rows["total_cost"].where(rows.index != 60, 9990.0))
    means = [
        usage_forecasts(frame, AS_OF).query("metric == 'total_cost'")["value"].mean()
        for frame in (rows, wild)
    ]
    assert means[1] == pytest.approx(means[0], rel=0.25)


def test_costs_that_are_never_reported_are_not_forecast_as_nothing() -> None:
    rows = daily_rows(np.round(np.tile(100 * WEEK, 10))).assign(priced_count=0, total_cost=np.nan)
    frame = usage_forecasts(rows, AS_OF).query("metric == 'total_cost'")
    assert (frame["method"] == NOT_ENOUGH_HISTORY).all()
    assert frame["value"].isna().all()


def test_costs_reported_since_lately_are_not_taken_for_free_before() -> None:
    values = np.tile([10.0, 0.0], 35)
    rows = daily_rows(values)
    lately = pd.Series([day > AS_OF - timedelta(days=30) for day in rows["usage_date"]])
    rows = rows.assign(
        priced_count=rows["priced_count"].where(lately, 0), total_cost=rows["total_cost"].where(lately)
    )
    frame = usage_forecasts(rows, AS_OF).query("metric == 'total_cost'")
    assert frame["value"].mean() == pytest.approx(0.05, rel=0.1)
    assert frame["history_days"].max() == 30


def test_no_uses_at_all_give_an_empty_frame_and_days_out_of_the_window_are_refused() -> None:
    rows = daily_rows(np.ones(3))
    assert usage_forecasts(rows.iloc[:0], AS_OF).empty
    with pytest.raises(ValueError, match="365"):
        usage_forecasts(rows, AS_OF - timedelta(days=1))


def costs(per_use: np.ndarray, uses: int = 10, prompt: str = "p1") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "usage_date": [AS_OF - timedelta(days=len(per_use) - 1 - n) for n in range(len(per_use))],
            "prompt_id": prompt,
            "model": "m",
            "priced_count": uses,
            "total_cost": per_use * uses,
        }
    )


def test_one_call_of_9990_usd_among_cents_is_found_and_does_not_hide_the_rest() -> None:
    usual = 0.02 * np.exp(np.random.default_rng(6).normal(0, 0.3, 60))
    usual[20], usual[40] = 999.0, 0.5  # the day of one call at 9,990 USD; a day at 25 times the usual price
    found = cost_anomalies(costs(usual), AS_OF)
    assert found["usage_date"].tolist() == [AS_OF - timedelta(days=39), AS_OF - timedelta(days=19)]
    assert found["excess_cost"].iloc[0] == pytest.approx(9990, rel=0.001)
    assert found["usual_cost_per_use"].iloc[0] == pytest.approx(0.02, rel=0.3)


def test_cents_too_few_days_and_too_few_uses_are_no_anomaly() -> None:
    spike = np.where(np.arange(60) == 30, 50.0, 1.0)
    assert len(cost_anomalies(costs(0.02 * spike), AS_OF)) == 1
    assert cost_anomalies(costs(0.001 * spike), AS_OF).empty  # 49 cents
    assert cost_anomalies(costs(0.02 * spike[24:37]), AS_OF).empty  # 13 days
    assert cost_anomalies(costs(2 * spike[:49], uses=1), AS_OF).empty  # 49 uses
    assert cost_anomalies(costs(0.02 * spike).iloc[:0], AS_OF).empty


@pytest.mark.parametrize("dtype", ["object", "category"])
def test_uses_of_no_known_model_are_a_series_of_their_own(dtype: str) -> None:
    spike = np.where(np.arange(60) == 30, 50.0, 1.0)
    both = pd.concat([costs(0.02 * spike).assign(model=None), costs(np.full(60, 1.0))], ignore_index=True)
    found = cost_anomalies(both.astype({"model": dtype, "prompt_id": dtype}), AS_OF)
    assert len(found) == 1
    assert found["model"].isna().all()


def test_what_is_usual_is_told_by_prompt_and_model() -> None:
    dear, cheap = costs(np.full(60, 2.0), prompt="dear"), costs(np.full(60, 0.02), prompt="cheap")
    assert cost_anomalies(pd.concat([dear, cheap], ignore_index=True), AS_OF).empty


def test_outliers_are_lowered_and_nothing_else_is_touched() -> None:
    values = np.array([[1.0] * 20 + [1000.0, 0.0, 4.0]])
    np.testing.assert_array_equal(without_outliers(values)[0, [0, 21, 22]], [1, 0, 4])
    assert 4 < without_outliers(values)[0, 20] < 5
    np.testing.assert_array_equal(without_outliers(values[:, 10:]), values[:, 10:])
