"""The sample's library and uses, without a server: sizes, repeatability, and the stories they tell."""

from __future__ import annotations

import ipaddress
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import jinja2
import jinja2.meta
import pandas as pd
import pyarrow as pa
import pytest

from orchestration.sample.catalogue import catalogue
from orchestration.sample.stories import STORIES
from orchestration.sample.usage import UsageGenerator

UNTIL = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday
AS_OF = date(2026, 3, 1)


def uses(
    prompts: int = 62,
    agents: int = 52,
    days: int = 90,
    rows: int = 60_000,
    seed: int = 1,
    until: datetime = UNTIL,
) -> pa.Table:
    listed, named = catalogue(prompts, agents)
    generator = UsageGenerator(listed, named, days=days, rows=rows, seed=seed, until=until)
    return pa.concat_tables(generator.blocks())


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """The default sample with its prompts' names."""
    names = {str(prompt.id): prompt.name for prompt in catalogue(62, 52)[0]}
    return uses().to_pandas().assign(prompt=lambda table: table["prompt_id"].map(names))


@pytest.fixture(scope="module")
def month(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a prompt over the thirty days that end on the as-of date."""
    last = frame[frame["created_at"] >= pd.Timestamp(AS_OF - timedelta(days=29), tz="UTC")]
    return last.groupby("prompt").agg(
        uses=("id", "size"),
        known=("success", "count"),
        success=("success", lambda values: values.dropna().astype(float).mean()),
        rated=("rating", "count"),
        rating=("rating", "mean"),
        timed=("response_time_ms", "count"),
        response_ms=("response_time_ms", "mean"),
        cost=("cost", "sum"),
    )


def test_every_text_of_the_catalogue_is_a_whole_sentence() -> None:
    for prompt in catalogue(62, 52)[0]:
        assert prompt.description.endswith("."), prompt.name
        assert prompt.system_prompt.endswith("."), prompt.name


def test_the_default_library_has_62_prompts_17_of_prism_and_52_agents_with_89_mappings() -> None:
    prompts, agents = catalogue(62, 52)
    assert len({prompt.name for prompt in prompts}) == len({prompt.id for prompt in prompts}) == 62
    assert sum(prompt.suite == "PRISM" for prompt in prompts) == 17
    assert all(bool(prompt.prompt_starter) == (prompt.suite == "PRISM") for prompt in prompts)
    assert len({agent.name for agent in agents}) == len({agent.id for agent in agents}) == 52
    assert sum(len(agent.prompts) for agent in agents) == 89
    assert all(len(set(agent.prompts)) == len(agent.prompts) for agent in agents)
    assert {prompt.status for prompt in prompts} == {"active", "archived", "draft"}
    assert {prompt.complexity_level for prompt in prompts} == {"basic", "intermediate", "advanced", "expert"}


def test_every_template_is_one_that_jinja_reads_and_has_a_variable() -> None:
    environment = jinja2.Environment(autoescape=True)
    for prompt in catalogue(62, 52)[0]:
        tree = environment.parse(prompt.user_prompt_template)
        assert jinja2.meta.find_undeclared_variables(tree), prompt.name


def test_every_story_happens_to_some_prompt() -> None:
    assert {prompt.story for prompt in catalogue(62, 52)[0]} == set(STORIES)


def test_the_page_tells_the_story_of_each_prompt_that_has_one() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "sample-data.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    told = {name for row in rows for name in re.findall(r"`([a-z-]+)`", row)}
    assert told == {prompt.name for prompt in catalogue(62, 52)[0] if prompt.story != "steady"}


@pytest.mark.parametrize(("prompts", "agents"), [(1, 1), (30, 10), (200, 52), (62, 300), (500, 0)])
def test_other_sizes_have_names_of_their_own_and_agents_of_the_same_domain(prompts: int, agents: int) -> None:
    listed, named = catalogue(prompts, agents)
    assert len({prompt.name for prompt in listed}) == len({prompt.id for prompt in listed}) == prompts
    assert len({agent.name for agent in named}) == agents
    for agent in named:
        assert all(listed[place].domain == agent.domain for place in agent.prompts)


@pytest.mark.parametrize(
    ("prompts", "agents", "days", "rows"),
    [(62, 52, 90, 1_000), (1, 1, 1, 10), (5, 0, 3, 1), (200, 60, 400, 20_000), (62, 52, 90, 130_000)],
)
def test_there_are_as_many_uses_as_asked_for_all_within_the_days(
    prompts: int, agents: int, days: int, rows: int
) -> None:
    until = datetime(2026, 3, 2, 7, 30, tzinfo=UTC)
    table = uses(prompts, agents, days, rows, until=until).to_pandas()
    assert len(table) == table["id"].nunique() == rows
    assert table["created_at"].is_monotonic_increasing
    assert table["created_at"].min() >= until - timedelta(days=days)
    assert table["updated_at"].max() < until
    assert (table["updated_at"] >= table["created_at"]).all()


def test_the_same_arguments_give_the_same_uses_and_another_seed_others() -> None:
    assert uses(rows=5_000).equals(uses(rows=5_000))
    assert not uses(rows=5_000).equals(uses(rows=5_000, seed=2))


def test_uses_keep_their_ids_when_the_sample_is_made_on_a_later_day() -> None:
    later = uses(rows=5_000, until=UNTIL + timedelta(days=1))
    assert set(later["id"].to_pylist()) == set(uses(rows=5_000)["id"].to_pylist())
    assert set(later["prompt_id"].to_pylist()) <= {str(prompt.id) for prompt in catalogue(62, 52)[0]}


def test_a_working_day_has_far_more_uses_than_a_day_of_the_weekend(frame: pd.DataFrame) -> None:
    by_weekday = frame.groupby(frame["created_at"].dt.day_of_week).size()
    assert by_weekday[5:].max() < by_weekday[:5].min() / 2
    people = frame[frame["user_id"].notna()]
    by_hour = people.groupby(people["created_at"].dt.hour).size()
    assert by_hour[8:17].sum() > 0.8 * len(people)


def test_a_few_prompts_have_most_of_the_uses(frame: pd.DataFrame) -> None:
    shares = frame["prompt"].value_counts(normalize=True)
    assert shares.iloc[:10].sum() > 0.5
    assert shares.iloc[-20:].sum() < 0.1


def test_each_alert_rule_is_fired_by_the_prompt_made_for_it_and_by_few_others(month: pd.DataFrame) -> None:
    active = {
        prompt.name for prompt in catalogue(62, 52)[0] if prompt.status == "active" and prompt.story != "new"
    }
    assert active - set(month[month["uses"] >= 5].index) == {"job-posting", "competitor-digest"}  # low_usage
    known = month[month["known"] >= 20]
    assert set(known[known["success"] < 0.7].index) == {"refund-decision"}  # poor_success_rate
    assert set(known[1 - known["success"] > 0.2].index) == {
        "refund-decision",
        "expense-check",
    }  # high_error_rate
    rated = month[month["rated"] >= 20]
    assert set(rated[rated["rating"] < 3].index) == {"campaign-brief"}  # poor_rating
    timed = month[month["timed"] >= 20]
    assert set(timed[timed["response_ms"] > 5_000].index) == {"incident-summary"}  # slow_response


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_other_seeds_fire_the_rules_too(seed: int) -> None:
    names = {str(prompt.id): prompt.name for prompt in catalogue(62, 52)[0]}
    table = uses(seed=seed).to_pandas()
    last = table[table["created_at"] >= pd.Timestamp(AS_OF - timedelta(days=29), tz="UTC")]
    by_prompt = last.groupby(last["prompt_id"].map(names))
    success = by_prompt["success"].agg(lambda values: values.dropna().astype(float).mean())
    assert success["refund-decision"] < 0.7
    assert 0.7 < success["expense-check"] < 0.8
    assert by_prompt["rating"].mean()["campaign-brief"] < 3
    assert by_prompt["response_time_ms"].mean()["incident-summary"] > 5_000
    assert "job-posting" not in success.index


def test_the_whole_looks_like_a_library_that_is_in_order(frame: pd.DataFrame) -> None:
    assert 0.9 < frame["success"].dropna().astype(float).mean() < 0.95
    assert 3.8 < frame["rating"].mean() < 4.4
    assert 0.1 < frame["rating"].notna().mean() < 0.14
    assert frame["response_time_ms"].mean() < 2_000
    assert 500 < frame["cost"].sum() < 2_000
    assert 0.02 < frame["cost"].isna().mean() < 0.2
    assert 0.005 < frame["success"].isna().mean() < 0.02


def test_one_prompt_costs_more_than_all_others_of_its_domain_together(frame: pd.DataFrame) -> None:
    domains = {prompt.name: prompt.domain for prompt in catalogue(62, 52)[0]}
    costs = frame.groupby(["prompt"])["cost"].sum()
    legal = costs[[domains[name] == "legal" for name in costs.index]]
    assert legal["contract-risk-review"] > 5 * legal.drop("contract-risk-review").sum()
    assert costs.idxmax() == "contract-risk-review"


def test_an_edit_changes_what_comes_after_it(frame: pd.DataFrame) -> None:
    known = frame.dropna(subset=["success"]).assign(success=lambda table: table["success"].astype(float))
    rates = known.groupby(["prompt", "prompt_version"])["success"].mean()
    assert rates["reply-draft", 2] > rates["reply-draft", 1] + 0.05
    assert rates["unit-test-writer", 2] < rates["unit-test-writer", 1] - 0.05
    assert rates["sql-from-question", 2] < rates["sql-from-question", 1] - 0.08
    assert rates["sql-from-question", 3] > rates["sql-from-question", 2] + 0.08
    for _, group in frame.groupby("prompt"):  # a version is never used again once the next one is there
        assert group["prompt_version"].is_monotonic_increasing


def test_prompts_improve_decay_grow_and_go_quiet(frame: pd.DataFrame) -> None:
    third = (frame["created_at"] - frame["created_at"].min()).dt.days // 30
    known = frame.assign(third=third).dropna(subset=["success"])
    rate = known.assign(success=known["success"].astype(float)).groupby(["prompt", "third"])["success"].mean()
    assert rate["pull-request-review", 2] > rate["pull-request-review", 0] + 0.06
    assert rate["policy-question", 2] < rate["policy-question", 0] - 0.08
    counts = frame.assign(third=third).groupby(["prompt", "third"]).size().unstack(fill_value=0)
    assert counts.loc["alert-explanation", 2] > 2 * counts.loc["alert-explanation", 0]
    assert counts.loc["job-posting", 0] > 50
    assert counts.loc["job-posting", 2] == 0


def test_most_ratings_come_days_after_the_use(frame: pd.DataFrame) -> None:
    rated = frame[frame["rating"].notna()]
    delay = rated["updated_at"] - rated["created_at"]
    assert (delay > timedelta(0)).all()
    assert 0.4 < (delay > timedelta(days=1)).mean() < 0.7
    assert (delay > timedelta(days=7)).sum() > 100
    unrated = frame[frame["rating"].isna()]
    assert (unrated["updated_at"] == unrated["created_at"]).all()


def test_tokens_add_up_and_calls_that_never_came_through_have_none(frame: pd.DataFrame) -> None:
    spent = frame.dropna(subset=["tokens_used"])
    assert (spent["tokens_used"] == spent["input_tokens"] + spent["output_tokens"]).all()
    lost = frame[frame["error_type"].isin(["timeout", "rate_limited", "provider_error", "connection_error"])]
    assert lost[["tokens_used", "input_tokens", "output_tokens", "cost"]].isna().all(axis=None)
    assert (
        frame.loc[frame["error_type"] == "connection_error", ["model", "response_time_ms"]]
        .isna()
        .all(axis=None)
    )
    assert not frame.loc[frame["error_type"].notna(), "success"].any()


def test_cost_follows_from_the_tokens_and_a_model_without_a_price_has_none(frame: pd.DataFrame) -> None:
    opus = frame[(frame["model"] == "claude-opus-4") & frame["tokens_used"].notna()]
    expected = (opus["input_tokens"] * 15 + opus["output_tokens"] * 75) / 1e6
    pd.testing.assert_series_equal(opus["cost"], expected, check_names=False)
    assert frame.loc[frame["model"] == "llama-3.3-70b", "cost"].isna().all()


def test_agents_use_only_prompts_that_are_mapped_to_them(frame: pd.DataFrame) -> None:
    prompts, agents = catalogue(62, 52)
    mapped = {(str(agent.id), str(prompts[place].id)) for agent in agents for place in agent.prompts}
    used = set(
        frame.dropna(subset=["agent_id"])[["agent_id", "prompt_id"]].itertuples(index=False, name=None)
    )
    assert used <= mapped
    assert len(used) > 70


def test_addresses_come_from_the_ranges_for_documentation(frame: pd.DataFrame) -> None:
    ranges = [
        ipaddress.ip_network(block)
        for block in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
    ]
    for text in frame["ip_address"].unique():
        address = ipaddress.ip_address(text)
        assert any(address in network for network in ranges if network.version == address.version), text


def test_a_session_is_one_persons_within_half_a_day(frame: pd.DataFrame) -> None:
    sessions = frame.dropna(subset=["session_id"]).groupby("session_id")
    assert (sessions["user_id"].nunique() == 1).all()
    assert (sessions["created_at"].max() - sessions["created_at"].min()).max() < timedelta(hours=12)
    assert sessions.size().mean() > 1.5
