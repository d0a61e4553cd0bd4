"""The whole job on real input: `prism run` for two past dates, every number against pandas over the raw CSV.

The later rows are loaded when the older date is built: they must not count in it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from orchestration.warehouse import Warehouse
from tests import real_input_oracle as oracle
from tests.dbt import PROJECT_DIR
from tests.frames import differences, query
from tests.integration.test_real_input import page_block
from tests.prism import Prism

pytestmark = [pytest.mark.long, pytest.mark.integration, pytest.mark.shared_data]

DATES = (date(2024, 12, 31), date(2025, 2, 28))


@pytest.fixture(scope="module")
def nights(
    shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[date, dict[str, pd.DataFrame]]]:
    """The marts as each night left them."""
    prism = Prism(tmp_path_factory.mktemp("real-job"))
    (prism.folder / "landing").mkdir()
    for name in ("aider_usage.csv", "prompts_chat.csv"):
        shutil.copyfile(shared_data / name, prism.folder / "landing" / name)
    prism.configure(page_block("yaml"))
    prism("db", "start")
    try:
        found = {}
        for as_of in DATES:
            output = prism("run", "--no-send", "--date", as_of.isoformat()).stdout
            index = prism.folder / ".prism" / "reports" / as_of.isoformat() / "index.html"
            assert f"Report: {index}" in output
            warehouse = Warehouse(url=prism.server.url(), dagster_url="")
            found[as_of] = {
                mart: query(warehouse, f"select * from marts.{mart}")
                for mart in ("prompt_performance_summary", "dashboard_metrics")
            } | {"page": pd.DataFrame({"html": [index.read_text(encoding="utf-8")]})}
        yield found
    finally:
        prism.stop()


@pytest.mark.parametrize("as_of", DATES)
def test_a_night_on_a_real_log_gives_the_numbers_of_pandas(
    nights: dict[date, dict[str, pd.DataFrame]], shared_data: Path, as_of: date
) -> None:
    uses = oracle.read_usage(shared_data / "aider_usage.csv")
    library = oracle.read_library(shared_data / "prompts_chat.csv")
    rules = pd.read_csv(PROJECT_DIR / "seeds" / "alert_rules.csv").set_index("rule")
    cutoffs = {str(rule): (row["medium_cutoff"], row["high_cutoff"]) for rule, row in rules.iterrows()}
    summary = oracle.summary(uses, library, as_of)
    dashboard = oracle.dashboard(uses, library, oracle.alerts(summary, cutoffs), as_of)
    found = nights[as_of]
    assert differences(summary, found["prompt_performance_summary"], ["period", "prompt_name"]) == []
    assert differences(dashboard, found["dashboard_metrics"], ["period"]) == []


@pytest.mark.parametrize("as_of", DATES)
def test_the_page_tells_the_uses_that_pandas_counts(
    nights: dict[date, dict[str, pd.DataFrame]], shared_data: Path, as_of: date
) -> None:
    uses = oracle.read_usage(shared_data / "aider_usage.csv")
    library = oracle.read_library(shared_data / "prompts_chat.csv")
    summary = oracle.summary(uses, library, as_of).query("period == 'month'")
    (page,) = nights[as_of]["page"]["html"]
    assert f"{int(summary['usage_count'].sum()):,} uses" in page
