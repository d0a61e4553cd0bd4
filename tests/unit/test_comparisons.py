"""Comparisons: false alarms over nightly looks, power, the correction for many, and real scores."""

from __future__ import annotations

import math
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from orchestration.analytics.comparisons import (
    ALPHA,
    COLUMNS,
    METRICS,
    MINIMUM_SAMPLE,
    SUFFICIENT,
    Arm,
    evidence,
    prompt_comparisons,
    rejected,
)
from tests.nightly_looks import (
    CONTROL,
    KINDS,
    NIGHTLY,
    costs,
    ever_called,
    ever_called_by_a_test_for_one_look,
    log_times,
    nightly,
    outcomes,
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("before", "uses"), [(CONTROL, NIGHTLY), (30, 3), (5000, 4)])
def test_where_nothing_differs_thirty_nights_of_looking_raise_at_most_five_false_alarms_in_a_hundred(
    kind: str, before: int, uses: int
) -> None:
    draw = KINDS[kind](np.random.default_rng(11))
    trials = 400 if before > CONTROL else 1000
    assert ever_called(draw, draw, trials, before=before, uses=uses) <= ALPHA


@pytest.mark.parametrize("kind", KINDS)
def test_a_test_made_for_one_look_would_raise_many_more(kind: str) -> None:
    draw = KINDS[kind](np.random.default_rng(12))
    assert ever_called_by_a_test_for_one_look(draw, draw) > 3 * ALPHA


def test_a_real_difference_is_seen_within_the_thirty_nights() -> None:
    random = np.random.default_rng(13)
    assert ever_called(outcomes(random, 0.80), outcomes(random, 0.90), 300) > 0.95
    assert ever_called(log_times(random), log_times(random, 0.8), 300) > 0.95
    assert ever_called(costs(random), costs(random, 2.0), 300) > 0.95
    assert ever_called(outcomes(random, 0.85), outcomes(random, 0.90), 300) > 0.5


def test_intervals_hold_the_true_difference_on_all_nights_together() -> None:
    random = np.random.default_rng(14)
    missed = np.zeros(1000, dtype=bool)
    for first, second in nightly(outcomes(random, 0.8), outcomes(random, 0.87), 1000):
        low, high = evidence(first, second).interval(ALPHA)
        missed |= (low > 0.07) | (high < 0.07)
    assert missed.mean() <= ALPHA


def test_many_prompts_looked_at_nightly_raise_an_alarm_in_at_most_five_of_a_hundred_worlds() -> None:
    random = np.random.default_rng(15)
    worlds, prompts = 60, 50
    alarm, uncorrected = np.zeros(worlds, dtype=bool), np.zeros(worlds, dtype=bool)
    draw = outcomes(random, 0.85)
    for first, second in nightly(draw, draw, worlds * prompts, before=300, uses=30):
        log_e = evidence(first, second).log_e_value().reshape(worlds, prompts)
        alarm |= np.array([rejected(world)[0].any() for world in log_e])
        uncorrected |= (log_e >= math.log(1 / ALPHA)).any(axis=1)
    assert alarm.mean() <= ALPHA
    assert uncorrected.mean() > 2 * ALPHA  # without the correction many prompts would


def test_among_those_called_different_at_most_five_in_a_hundred_are_not() -> None:
    random = np.random.default_rng(16)
    same, other = outcomes(random, 0.8), outcomes(random, 0.9)
    *_, (first, second) = nightly(same, same, 900)
    *_, (third, fourth) = nightly(same, other, 100)
    log_e = np.append(evidence(first, second).log_e_value(), evidence(third, fourth).log_e_value())
    falls, level = rejected(log_e)
    assert falls[900:].sum() > 80
    assert falls[:900].sum() <= ALPHA * falls.sum()
    assert level == pytest.approx(ALPHA * falls.sum() / 1000)


def test_e_bh_takes_the_largest_set_that_reaches_its_bar() -> None:
    # 4 looked at: bars for 1, 2, 3, 4 are 80, 40, 26.7, 20
    falls, level = rejected(np.log(np.array([21.0, 39.0, 41.0, 27.0])))
    assert falls.tolist() == [True, True, True, True]
    assert level == ALPHA
    falls, level = rejected(np.log(np.array([19.0, 1.0, 81.0, 39.0])))
    assert falls.tolist() == [False, False, True, False]
    assert level == ALPHA / 4
    assert not rejected(np.array([np.nan, np.nan]))[0].any()
    assert not rejected(np.array([]))[0].any()


def sums(metric: str, values: np.ndarray) -> dict[str, float]:
    """A use's values as the sums that a rollup keeps of them."""
    columns = dict.fromkeys(SUFFICIENT, 0.0)
    names = METRICS[metric]
    columns[names.squares] = float((values**2).sum())
    columns[names.total] = float(values.sum())
    columns[names.count] = float(len(values))
    return columns


def version(
    name: str, metric: str, values: np.ndarray, day: int = 1, prompt: str = "p1"
) -> dict[str, object]:
    return {
        "prompt_id": prompt,
        "prompt_version": name,
        "first_used_on": date(2025, 1, day),
        "last_used_on": date(2025, 2, day),
        **sums(metric, values),
    }


DAILY = ["usage_date", "prompt_id", "prompt_name", "prompt_version", "agent_name", "model", *SUFFICIENT]
EXPERIMENTS = ["experiment", "compares", "prompt", "control", "variant", "metric", "starts_on", "ends_on"]
NO_USES, NO_EXPERIMENTS = pd.DataFrame(columns=DAILY), pd.DataFrame(columns=EXPERIMENTS)


def of_versions(*rows: dict[str, object]) -> pd.DataFrame:
    return prompt_comparisons(pd.DataFrame(rows), NO_USES, NO_EXPERIMENTS)


@pytest.mark.parametrize(
    ("metric", "up"),
    [
        ("success_rate", "better"),
        ("average_rating", "better"),
        ("response_time_ms", "worse"),
        ("cost_per_use", "worse"),
    ],
)
def test_what_is_better_depends_on_the_metric(metric: str, up: str) -> None:
    random = np.random.default_rng(17)
    low, high = (random.random(500) < 0.2).astype(float), (random.random(500) < 0.6).astype(float)
    down = {"better": "worse", "worse": "better"}[up]
    result = of_versions(version("1", metric, low), version("2", metric, high), version("3", metric, low))
    verdicts = result[result["metric"] == metric].set_index("variant")["verdict"]
    assert verdicts.to_dict() == {"2": up, "3": down}
    assert (result.loc[result["metric"] != metric, "verdict"] == "not enough data").all()


def test_the_interval_leaves_out_zero_exactly_where_the_verdict_sees_a_difference() -> None:
    random = np.random.default_rng(18)
    rows = [
        version(name, "success_rate", outcomes(random, rate)((400,)), prompt=f"p{n}")
        for n, rates in enumerate(random.uniform(0.6, 0.9, (200, 2)))
        for name, rate in zip("12", rates, strict=True)
    ]
    result = of_versions(*rows).query("metric == 'success_rate'")
    outside = (result["difference_low"] > 0) | (result["difference_high"] < 0)
    assert set(result["verdict"]) == {"better", "worse", "no difference seen"}
    assert (outside == (result["verdict"] != "no difference seen")).all()
    assert result["confidence"].between(1 - ALPHA, 1).all()


def test_values_counts_and_differences_are_in_the_unit_of_the_metric() -> None:
    times = np.log(np.tile([500.0, 2000.0], 100))
    result = of_versions(
        version("1", "response_time_ms", times), version("2", "response_time_ms", times + math.log(0.5))
    ).query("metric == 'response_time_ms'")
    row = result.iloc[0]
    assert (row["control_count"], row["variant_count"]) == (200, 200)
    assert (row["control_value"], row["variant_value"]) == (pytest.approx(1000), pytest.approx(500))
    assert row["is_relative"]
    assert row["difference"] == pytest.approx(-0.5)
    assert -1 < row["difference_low"] < -0.5 < row["difference_high"] < 0


def test_one_dear_call_is_no_difference_and_neither_is_a_small_arm_without_a_failure() -> None:
    wild = np.full(100, 0.02)
    wild[0] = 9990
    result = of_versions(
        version("1", "cost_per_use", np.full(1000, 0.02)), version("2", "cost_per_use", wild)
    )
    assert set(result["verdict"]) == {"no difference seen", "not enough data"}
    failing = np.repeat([0.0, 1.0], [100, 900])
    few = np.ones(MINIMUM_SAMPLE)
    result = of_versions(version("1", "success_rate", failing), version("2", "success_rate", few))
    assert result.set_index("metric").loc["success_rate", "verdict"] == "no difference seen"


def test_under_the_minimum_sample_there_is_no_verdict_and_no_interval() -> None:
    many, few = np.zeros(1000), np.ones(MINIMUM_SAMPLE - 1)
    row = of_versions(version("1", "success_rate", many), version("2", "success_rate", few)).iloc[0]
    assert row["verdict"] == "not enough data"
    assert pd.isna(row[["difference", "difference_low", "difference_high", "confidence"]]).all()
    assert row["variant_value"] == 1
    one_more = np.ones(MINIMUM_SAMPLE)
    row = of_versions(version("1", "success_rate", many), version("2", "success_rate", one_more)).iloc[0]
    assert row["verdict"] == "better"


@pytest.mark.parametrize("value", [0.0, 0.02, 0.0123, 1.0, 4.2])
def test_arms_without_any_spread_that_are_equal_show_no_difference(value: float) -> None:
    counts = np.arange(MINIMUM_SAMPLE, 400)
    # added up one by one, as a database does it: the last digits of means and squares are off
    sums = np.cumsum(np.full(400, value))[counts - 1]
    squares = np.cumsum(np.full(400, value**2))[counts - 1]
    every = Arm(counts.astype(float), sums, squares)
    first = Arm(*(np.full(len(counts), part[0]) for part in (every.count, every.total, every.squares)))
    weighed = evidence(first, every)
    assert weighed.log_e_value().max() < 0
    low, high = weighed.interval(ALPHA)
    assert ((low <= 0) & (high >= 0)).all()


def test_prices_that_never_vary_within_an_arm_are_told_apart() -> None:
    dear, cheap = np.full(50, 0.03), np.full(50, 0.02)
    row = of_versions(version("1", "cost_per_use", dear), version("2", "cost_per_use", cheap))
    assert row.set_index("metric").loc["cost_per_use", "verdict"] == "better"


def test_versions_follow_by_number_and_else_by_their_first_use() -> None:
    some = np.ones(30)
    numbered = [version(name, "success_rate", some, day=5) for name in ("10", "9", "2")]
    named = [
        version("spring", "success_rate", some, day=2, prompt="p2"),
        version("10", "success_rate", some, day=3, prompt="p2"),
        version("autumn", "success_rate", some, day=1, prompt="p2"),
    ]
    result = of_versions(*numbered, *named).query("metric == 'success_rate'")
    assert list(zip(result["control"], result["variant"], strict=True)) == [
        ("2", "9"),
        ("9", "10"),
        ("autumn", "spring"),
        ("spring", "10"),
    ]
    assert (result["kind"] == "version").all()


def uses(random: np.random.Generator, day: date, rate: float, **who: str) -> dict[str, object]:
    values = {
        "prompt_id": "p1",
        "prompt_name": "Greeter",
        "prompt_version": "1",
        "agent_name": "a",
        "model": "m",
    }
    return {"usage_date": day, **values, **who, **sums("success_rate", outcomes(random, rate)((300,)))}


@pytest.mark.parametrize(
    ("compares", "column"), [("prompt", "prompt_name"), ("model", "model"), ("agent", "agent_name")]
)
def test_a_declared_experiment_compares_its_arms_over_its_days(compares: str, column: str) -> None:
    random = np.random.default_rng(19)
    daily = pd.DataFrame(
        [
            uses(random, day, rate, **{column: arm})
            for day, rates in {
                date(2025, 1, 1): (0.9, 0.2),  # before it starts
                date(2025, 1, 2): (0.5, 0.9),
                date(2025, 1, 3): (0.5, 0.9),
                date(2025, 1, 4): (0.9, 0.2),  # after its end
            }.items()
            for arm, rate in zip(("old", "new"), rates, strict=True)
        ]
    )
    declared = ["trial", compares, None, "old", "new", "success_rate", date(2025, 1, 2), date(2025, 1, 3)]
    result = prompt_comparisons(
        pd.DataFrame(columns=["prompt_id", "prompt_version", "first_used_on", "last_used_on", *SUFFICIENT]),
        daily,
        pd.DataFrame([declared], columns=EXPERIMENTS),
    )
    assert list(result.columns) == COLUMNS
    row = result.iloc[0]
    assert (row["control_count"], row["variant_count"], row["verdict"]) == (600, 600, "better")
    assert (row["experiment"], row["starts_on"], row["ends_on"]) == (
        "trial",
        date(2025, 1, 2),
        date(2025, 1, 3),
    )


def test_an_experiment_within_a_prompt_leaves_other_prompts_out_and_may_have_no_uses_yet() -> None:
    random = np.random.default_rng(20)
    day = date(2025, 1, 2)
    daily = pd.DataFrame(
        [
            uses(random, day, 0.5, model="old"),
            uses(random, day, 0.5, model="new", prompt_name="Other", prompt_id="p2"),
        ]
    )
    declared = [
        ["within", "model", "Greeter", "old", "new", "success_rate", day, None],
        ["future", "model", None, "old", "new", "success_rate", date(2025, 2, 1), None],
    ]
    result = prompt_comparisons(
        pd.DataFrame(columns=["prompt_id", "prompt_version", "first_used_on", "last_used_on", *SUFFICIENT]),
        daily,
        pd.DataFrame(declared, columns=EXPERIMENTS),
    )
    assert result["verdict"].tolist() == ["not enough data"] * 2
    assert result["prompt_id"].tolist()[0] == "p1"
    assert result["control_count"].tolist() == [300, 0]
    assert result["variant_count"].tolist() == [0, 0]


def test_a_comparison_keeps_its_id_from_night_to_night() -> None:
    one, two = np.ones(30), np.ones(60)
    tonight = of_versions(version("1", "success_rate", one), version("2", "success_rate", one))
    tomorrow = of_versions(version("1", "success_rate", one), version("2", "success_rate", two))
    assert tonight["comparison_id"].tolist() == tomorrow["comparison_id"].tolist()
    assert tonight["comparison_id"].is_unique


@pytest.mark.shared_data
def test_two_versions_of_a_real_judging_prompt_show_no_difference_in_score(shared_data: Path) -> None:
    scores = pd.read_csv(shared_data / "wildbench_same_judge.csv")
    scores = scores.drop_duplicates(["prompt_version", "model_test", "session_id"])
    rating = 1 + (scores["score"] - 1) * 4 / 9
    rows = [
        version(name, "average_rating", values.to_numpy())
        for name, values in rating.groupby(scores["prompt_version"])
    ]
    row = of_versions(*rows).set_index("metric").loc["average_rating"]
    assert row["verdict"] == "no difference seen"
    assert min(row["control_count"], row["variant_count"]) > 8000
    assert row["difference_high"] - row["difference_low"] < 0.25
    # the same scores would tell a difference of a tenth of the scale
    shifted = version("x", "average_rating", rating.to_numpy() + 0.4, day=2)
    assert "better" in of_versions(rows[0], shifted)["verdict"].tolist()
