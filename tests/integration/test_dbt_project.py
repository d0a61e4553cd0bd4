"""The dbt project by itself: its unit tests, its sources' freshness, its documentation as one file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestration.warehouse import Warehouse
from tests import report_life
from tests.dbt import failures, run_dbt
from tests.prism import Prism

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def built(module_warehouse: Warehouse) -> Warehouse:
    report_life.fill(module_warehouse, rows=2_000, days=30)
    report_life.build(module_warehouse)
    return module_warehouse


def test_dbt_s_unit_tests_pass(built: Warehouse) -> None:
    result = run_dbt(built, "test", "--selector", "unit_tests", check=False)
    assert failures(result) == {}
    assert result.success and len(result.result.results) > 40


def test_what_was_not_loaded_for_two_days_is_a_warning(built: Warehouse) -> None:
    with built.connect() as connection:
        connection.execute("update raw.prompt_usage set loaded_at = now() - interval '2 days'")
        connection.execute("update raw.load_batches set finished_at = now()")
        connection.commit()
    result = run_dbt(built, "source", "freshness")
    found = {
        one.node.name: str(one.status) for one in result.result.results if one.node.resource_type == "source"
    }
    assert found == {"prompt_usage": "warn", "load_batches": "pass"}


def test_the_documentation_is_one_file_that_asks_no_host(built: Warehouse, tmp_path: Path) -> None:
    prism = Prism(tmp_path, {"PRISM_WAREHOUSE_URL": built.url, "PRISM_HOME": str(tmp_path / "home")})
    said = prism("dbt", "docs", "generate", "--static", "--quiet").stdout
    page = tmp_path / "home" / "dbt" / "static_index.html"
    assert said.strip().endswith(str(page))
    text = page.read_text(encoding="utf-8")
    assert len(text) > 100_000
    assert "prompt_performance_summary" in text and "days_open" in text
    # tags and style that load something: what they name lies in the page itself
    loads = re.findall(r"<(?:script|link|img|iframe)\b[^>]*?\b(?:src|href)=[\"'](https?:[^\"']+)", text)
    loads += re.findall(r"(?:url\(|@import )[\"']?(https?:[^\"')]+)", text)
    assert loads == []
