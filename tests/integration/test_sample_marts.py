"""The sample through load and marts: what it promises is what the marts show, number by number."""

from __future__ import annotations

from datetime import date

import pandas as pd
import pytest

from orchestration.loading.load import load_source
from orchestration.sample.write import write_sample
from orchestration.settings import SAMPLE, load_settings
from orchestration.warehouse import Warehouse
from tests import real_input_oracle as oracle
from tests.dbt import run_dbt
from tests.frames import differences, query

pytestmark = pytest.mark.integration

AS_OF = date(2026, 3, 1)


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
    }


def test_the_dashboard_counts_the_library_as_promised(built: Warehouse) -> None:
    [row] = query(built, "select * from marts.dashboard_metrics where period = 'quarter'").to_dict("records")
    assert (row["total_prompts"], row["active_prompts"], row["suite_prompts"]) == (62, 58, 17)
    assert (row["total_agents"], row["mapped_agents"], row["total_mappings"]) == (52, 47, 89)
    assert row["average_mappings_per_agent"] == pytest.approx(89 / 47)
    assert row["usage_count"] == 30_000
    assert row["open_alerts"] == 7
