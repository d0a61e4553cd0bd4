"""The sample through load and marts: what it promises is what the marts show, number by number."""

from __future__ import annotations

import hashlib
import math
import re
from datetime import UTC, date, datetime
from pathlib import Path

import pandas as pd
import pytest

from orchestration.analytics import tables
from orchestration.library.enhance import Enhancer
from orchestration.library.store import Library
from orchestration.library.templates import Sandbox
from orchestration.loading.load import load_source
from orchestration.sample.write import write_sample
from orchestration.settings import SAMPLE, load_settings
from orchestration.warehouse import Warehouse
from tests import real_input_oracle as oracle
from tests.dbt import run_dbt
from tests.frames import differences, query
from tests.oracle import check
from tests.oracle.marts import Oracle

pytestmark = pytest.mark.integration

AS_OF = date(2026, 3, 1)
DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def built(module_warehouse: Warehouse, tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    with module_warehouse.connect() as connection:
        write_sample(connection, until=date(2026, 3, 2), rows=30_000)
    load_source(
        module_warehouse,
        SAMPLE,
        load_settings({}, tmp_path_factory.mktemp("sample")),
    )
    variables = {"as_of_date": AS_OF.isoformat(), "timezone": "UTC"}
    run_dbt(module_warehouse, "build", "--exclude-resource-type", "unit_test", vars=variables)
    with module_warehouse.connect() as connection:
        tables.refresh(connection, AS_OF, "marts")
    run_dbt(
        module_warehouse, "build", "--select", "tag:analytics", "--exclude-resource-type", "unit_test",
        vars=variables,
    )  # fmt: skip
    return module_warehouse


@pytest.fixture(scope="module")
def expected(built: Warehouse) -> pd.DataFrame:
    """The summary that pandas computes over the application's own rows."""
    uses = query(
        built,
        """
        select
            p.name as prompt, u.created_at as used_at, u.user_id as user, u.session_id as session, u.model,
            u.success, coalesce(u.error_type is not null or null, not u.success) as error,
            u.rating::double precision as rating, u.response_time_ms::double precision as response_ms,
            u.tokens_used::double precision as tokens, u.cost::double precision as cost
        from app.prompt_usage as u inner join app.prompts as p on u.prompt_id = p.id
        """,
    ).assign(used_on=lambda table: pd.to_datetime(table["used_at"], utc=True).dt.date)
    uses = uses.astype({"success": "boolean", "error": "boolean"})
    library = query(built, "select name as prompt, display_name, domain, status from app.prompts")
    return oracle.summary(uses, library, AS_OF)


def test_every_number_of_the_summary_is_that_of_pandas_over_the_applications_rows(
    built: Warehouse, expected: pd.DataFrame
) -> None:
    found = query(built, "select * from marts.prompt_performance_summary")
    assert len(found) == 6 * 62
    assert differences(expected, found, ["period", "prompt_name"]) == []


def test_every_alert_rule_fires_for_the_prompt_made_for_it(built: Warehouse) -> None:
    found = query(built, "select prompt_name, rule from marts.performance_alerts where state = 'open'")
    assert set(found.itertuples(index=False, name=None)) == {
        ("competitor-digest", "low_usage"),
        ("job-posting", "low_usage"),
        ("refund-decision", "poor_success_rate"),
        ("refund-decision", "high_error_rate"),
        ("campaign-brief", "poor_rating"),
        ("incident-summary", "slow_response"),
        ("expense-check", "high_error_rate"),
        ("unit-test-writer", "worse_version"),
        ("refund-decision", "slow_tail"),
        ("contract-risk-review", "high_cost_per_use"),
        ("unit-test-writer", "success_drop"),
        ("policy-question", "success_drop"),
    }


def test_the_dashboard_counts_the_library_as_promised(built: Warehouse) -> None:
    [row] = query(built, "select * from marts.dashboard_metrics where period = 'quarter'").to_dict("records")
    assert (row["total_prompts"], row["active_prompts"], row["suite_prompts"]) == (62, 58, 17)
    assert (row["total_agents"], row["mapped_agents"], row["total_mappings"]) == (52, 47, 89)
    assert row["average_mappings_per_agent"] == pytest.approx(89 / 47)
    assert row["usage_count"] == 30_000
    assert row["open_alerts"] == 12


def nearest_rank(values: pd.Series, share: float) -> float:
    known = sorted(values.dropna())
    return known[math.ceil(share * len(known)) - 1] if known else math.nan


def test_segments_and_hours_are_those_of_pandas_over_the_applications_rows(built: Warehouse) -> None:
    """By model and by domain, in the month and in its last week, and by hour of the weekday."""
    uses = query(
        built,
        """
        select
            p.domain, coalesce(u.model, 'none') as model, u.success,
            u.response_time_ms::double precision as ms,
            (u.created_at at time zone 'UTC') as used_at
        from app.prompt_usage as u inner join app.prompts as p on u.prompt_id = p.id
        where u.created_at < '2026-03-02'
        """,
    )
    days = pd.to_datetime(uses["used_at"]).dt.date
    windows = {"month": days > date(2026, 1, 30), "week": days > date(2026, 2, 22)}
    found = query(built, "select *, coalesce(segment, 'none') as name from marts.performance_by_segment")
    blocks = query(
        built,
        "select *, coalesce(segment, 'none') as name from marts.performance_over_time"
        " where grain = 'week' and ends_on = '2026-03-01'",
    )
    for period, scope, table in (
        ("month", "model", found),
        ("month", "domain", found),
        ("week", "domain", found),
        ("week", "model", blocks.assign(period="week")),
    ):
        expected = uses[windows[period]].groupby(scope)
        shown = table[(table["period"] == period) & (table["scope"] == scope)].set_index("name")
        assert shown["usage_count"].to_dict() == expected.size().to_dict()
        assert shown["success_count"].to_dict() == expected["success"].apply(lambda one: one.sum()).to_dict()
        for share, column in ((0.5, "p50_response_time_ms"), (0.95, "p95_response_time_ms")):
            exact = expected["ms"].apply(nearest_rank, share).dropna()
            assert (shown.loc[exact.index, column] / exact).sub(1).abs().max() < 0.0101
    hours = query(built, "select * from marts.usage_by_hour where period = 'month'")
    moments = pd.to_datetime(uses.loc[windows["month"], "used_at"]).dt
    exact = pd.DataFrame({"weekday": moments.day_of_week + 1, "usage_hour": moments.hour}).value_counts()
    assert hours.set_index(["weekday", "usage_hour"])["usage_count"].to_dict() == exact.to_dict()


def test_every_column_of_every_mart_is_that_of_pandas_over_the_raw_rows(built: Warehouse) -> None:
    with built.connect() as connection:
        expected = Oracle.of(connection, AS_OF, "UTC")
        wrong = {mart: check.differences(connection, "marts", mart, expected)[:5] for mart in check.KEYS}
    assert {mart: found for mart, found in wrong.items() if found} == {}


def test_the_sample_s_stories_call_for_the_actions_made_for_them(built: Warehouse) -> None:
    found = query(built, "select * from marts.prompt_recommendations order by rank")
    told = {(row.prompt_name, row.rule): row for row in found.itertuples()}
    assert set(found.loc[found["priority"] == "high", "action"]) == {"rewrite", "roll back"}
    assert told["refund-decision", "poor_success"].title == "Rewrite the prompt"
    assert told["campaign-brief", "poor_rating"].title == "Find out what users miss"
    assert told["incident-summary", "slow_answers"].title == "Shorten the prompt or its answers"
    assert told["competitor-digest", "unused"].title == "Archive it"
    assert told["job-posting", "little_used"].action == "promote"
    back = told["unit-test-writer", "version_fails_more"]
    assert back.title == "Go back to version 1"
    assert back.reason == (
        "Version 2 succeeds less often than version 1 did: by 19 points (8.5 points to 29.5 points). Go back,"
        " then try the change again as an experiment."
    )
    assert back.expected_successes == pytest.approx(-back.observed_value * back.monthly_usage_count)
    switch = told["discharge-letter", "cheaper_model"]
    assert (switch.title, switch.current_choice, switch.alternative) == (
        "Use gpt-4.1 instead of claude-opus-4", "claude-opus-4", "gpt-4.1",
    )  # fmt: skip
    assert f"would save about {switch.expected_saving:,.2f} USD a month" in switch.reason
    assert switch.basis == "What claude-opus-4 answered in the last 30 days, at the usual cost of gpt-4.1."


def test_every_prompt_in_use_or_meant_to_be_has_advice_that_reads_well(built: Warehouse) -> None:
    found = query(built, "select * from marts.prompt_recommendations order by rank")
    meant = query(
        built,
        "select prompt_name from marts.prompt_performance_summary"
        " where period = 'month' and (status = 'active' or usage_count > 0)",
    )
    assert set(found["prompt_name"]) == set(meant["prompt_name"])
    for row in found.itertuples():
        for text in [row.title, row.reason] + ([] if pd.isna(row.basis) else [row.basis]):
            assert not re.search(r"unknown|null|[{}]|  |\bNaN|\d{4,}[^ ]|\.\d{4,}", text), text
        assert not row.title.endswith(".") and row.reason.endswith("."), row
        assert len(row.title) < 60 and len(row.reason) < 260, row
        digest = hashlib.md5(f"{row.rule} {row.prompt_id}".encode()).hexdigest()
        assert row.recommendation_id == digest


def test_the_words_of_a_score_are_its_figures(built: Warehouse) -> None:
    found = query(built, "select * from marts.top_performing_prompts")
    assert len(found) > 100
    for row in found.itertuples():
        numbers = [float(number) for number in re.findall(r"[\d.]*\d", row.score_explanation)]
        points = [row.score, row.success_points, row.rating_points, row.speed_points, row.cost_points]
        told = [numbers[0], numbers[2], *re.findall(r"([\d.]+) of (?:30|5) for", row.score_explanation)]
        assert [float(one) for one in told] == pytest.approx([100 * one for one in points], abs=0.051)
        assert f"at least {round(100 * row.success_rate_low, 1):g} %" in row.score_explanation
        assert f"taken as {row.shrunken_rating:.2f})" in row.score_explanation
        assert ("ratings (none;" in row.score_explanation) == pd.isna(row.average_rating)


PAGES = (
    "answers.md",
    "marts.md",
    "methods/recommendations.md",
    "methods/comparisons.md",
    "methods/forecasts.md",
)
QUERIES = [
    (page, number, query)
    for page in PAGES
    for number, query in enumerate(
        re.findall(r"```sql\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL), start=1
    )
]


@pytest.mark.parametrize(("page", "number", "statement"), QUERIES)
def test_every_query_of_the_documentation_has_an_answer(
    built: Warehouse, page: str, number: int, statement: str
) -> None:
    assert not query(built, statement).empty, f"{page}: query {number}"


def test_there_are_ten_typical_answers() -> None:
    assert [number for page, number, _ in QUERIES if page == "answers.md"] == list(range(1, 11))


def test_the_next_night_shows_what_a_change_of_the_library_did(built: Warehouse, tmp_path: Path) -> None:
    """Last in this module: it builds some of the marts anew, as of today."""
    with built.connect() as connection, Sandbox() as sandbox:
        library = Library(connection, "app", sandbox, "app")
        assert library.get("ticket-triage").version == 1
        library.edit("ticket-triage", {"user_prompt_template": "Sort: {{ text }}"}, by="editor@example.com")
        enhancer = Enhancer(library, None)
        for _ in range(3):
            done = enhancer.enhance("it broke", prompt="ticket-triage", record={})
        assert done.usage_id is not None
        library.rate(done.usage_id, 5)
    load_source(built, SAMPLE, load_settings({}, tmp_path))
    variables = {"as_of_date": datetime.now(UTC).date().isoformat(), "timezone": "UTC"}
    run_dbt(built, "run", "--select", "+prompt_version_performance", vars=variables)
    found = query(
        built,
        """
        select
            prompt_version, is_current, usage_count > 3 as has_more, usage_count, success_rate, average_rating
        from marts.prompt_version_performance where prompt_name = 'ticket-triage' order by 1
        """,
    )
    first, second = found.to_dict("records")
    assert (first["prompt_version"], first["is_current"], first["has_more"]) == ("1", False, True)
    del second["has_more"]
    assert second == {
        "prompt_version": "2", "is_current": True, "usage_count": 3, "success_rate": 1.0,
        "average_rating": 5.0,
    }  # fmt: skip
