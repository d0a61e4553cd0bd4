"""The dbt project by itself: its unit tests, its sources' freshness, its documentation as one file."""

from __future__ import annotations

from datetime import date

import pytest

from orchestration.warehouse import Warehouse
from tests import report_life
from tests.dbt import failures, run_dbt

pytestmark = pytest.mark.integration

AS_OF = date(2026, 3, 1)


@pytest.fixture(scope="module")
def built(module_warehouse: Warehouse) -> Warehouse:
    report_life.fill(module_warehouse, rows=2_000, days=30)
    report_life.build(module_warehouse)
    return module_warehouse


def test_dbt_s_unit_tests_pass(built: Warehouse) -> None:
    result = run_dbt(built, "test", "--selector", "unit_tests", check=False)
    assert failures(result) == {}
    assert result.success and len(result.result.results) > 40
