"""The job on real input: a public usage log and a public prompt library, against pandas over the raw CSV.

The settings are those of docs/real-input.md, and so are the figures that the page shows.
"""

from __future__ import annotations

import csv
import itertools
import re
import shutil
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from orchestration.analytics import tables
from orchestration.loading.load import load_source
from orchestration.settings import load_settings
from orchestration.warehouse import Warehouse
from tests import real_input_oracle as oracle
from tests.dbt import PROJECT_DIR, run_dbt
from tests.frames import differences, query
from tests.oracle import check
from tests.oracle.marts import Oracle

pytestmark = [pytest.mark.integration, pytest.mark.shared_data]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "real-input.md"
# The newer date first: the older one is then built beside it, with the later uses loaded.
BUILDS = {date(2025, 2, 28): "marts", date(2024, 12, 31): "marts_2024_12_31"}


@dataclass(frozen=True)
class Built:
    """What was loaded and built, and what it should be."""

    warehouse: Warehouse
    uses: pd.DataFrame
    library: pd.DataFrame
    cutoffs: dict[str, tuple[float, float]]
    loads: list[dict[str, list[Any]]]

    def mart(self, name: str, as_of: date) -> pd.DataFrame:
        return query(self.warehouse, f"select * from {BUILDS[as_of]}.{name}")


@pytest.fixture(scope="module")
def built(module_warehouse: Warehouse, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The log comes in two nights: first every second row, then the rest, on days that are built by then."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "landing").mkdir()
    (folder / "prism.yaml").write_text(page_block("yaml"), encoding="utf-8")
    settings = load_settings({}, folder)

    def load() -> dict[str, list[Any]]:
        return {
            source.name: load_source(module_warehouse, source, settings) for source in settings.config.sources
        }

    def build(as_of: date) -> None:
        variables = {"as_of_date": as_of.isoformat(), "timezone": "UTC", "marts_schema": BUILDS[as_of]}
        run_dbt(module_warehouse, "build", "--exclude-resource-type", "unit_test", vars=variables)

    shutil.copyfile(shared_data / "prompts_chat.csv", folder / "landing" / "prompts_chat.csv")
    write_half(shared_data / "aider_usage.csv", folder / "landing" / "aider_usage.csv")
    loads = [load()]
    build(date(2025, 2, 28))
    shutil.copyfile(shared_data / "aider_usage.csv", folder / "landing" / "aider_usage.csv")
    loads.append(load())
    for as_of in BUILDS:
        build(as_of)
    with module_warehouse.connect() as connection:
        tables.refresh(connection, max(BUILDS), "marts")
    run_dbt(
        module_warehouse, "build", "--select", "tag:analytics", "--exclude-resource-type", "unit_test",
        vars={"as_of_date": max(BUILDS).isoformat(), "timezone": "UTC"},
    )  # fmt: skip
    rules = pd.read_csv(PROJECT_DIR / "seeds" / "alert_rules.csv").set_index("rule")
    return Built(
        warehouse=module_warehouse,
        uses=oracle.read_usage(shared_data / "aider_usage.csv"),
        library=oracle.read_library(shared_data / "prompts_chat.csv"),
        cutoffs={str(rule): (row["medium_cutoff"], row["high_cutoff"]) for rule, row in rules.iterrows()},
        loads=loads,
    )


@pytest.fixture(scope="module")
def expected(built: Built) -> dict[date, pd.DataFrame]:
    """The summaries that pandas computes."""
    return {as_of: oracle.summary(built.uses, built.library, as_of) for as_of in BUILDS}


def write_half(source: Path, target: Path) -> None:
    """The header and every second row after it."""
    with (
        source.open(newline="", encoding="utf-8") as old,
        target.open("w", newline="", encoding="utf-8") as new,
    ):
        rows = csv.reader(old)
        writer = csv.writer(new)
        writer.writerow(next(rows))
        writer.writerows(itertools.islice(rows, 0, None, 2))


def page_block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found, f"docs/real-input.md shows no {language}"
    return found[1]


def test_every_row_of_both_files_is_loaded_once(built: Built) -> None:
    def fates(load: int, source: str) -> tuple[int, ...]:
        batches = built.loads[load][source]
        return tuple(
            sum(getattr(batch, fate) for batch in batches)
            for fate in ("rows_read", "inserted", "unchanged", "rejected", "values_rejected")
        )

    assert fates(0, "prompts_chat") == (1528, 1528, 0, 0, 0)
    assert fates(0, "assistant") == (1356, 1356, 0, 0, 0)
    assert fates(1, "assistant") == (2711, 1355, 1356, 0, 0)
    assert query(built.warehouse, "select * from raw.rejected_rows").empty


@pytest.mark.parametrize("as_of", BUILDS)
def test_every_number_of_the_summary_is_that_of_pandas(
    built: Built, expected: dict[date, pd.DataFrame], as_of: date
) -> None:
    wanted = expected[as_of]
    assert len(wanted) == 6 * (
        len(built.library) + wanted.loc[wanted["domain"] == "unlisted", "prompt_name"].nunique()
    )
    assert (
        differences(wanted, built.mart("prompt_performance_summary", as_of), ["period", "prompt_name"]) == []
    )


@pytest.mark.parametrize("as_of", BUILDS)
def test_every_number_of_the_dashboard_is_that_of_pandas(
    built: Built, expected: dict[date, pd.DataFrame], as_of: date
) -> None:
    fired = oracle.alerts(expected[as_of], built.cutoffs)
    wanted = oracle.dashboard(built.uses, built.library, fired, as_of)
    assert differences(wanted, built.mart("dashboard_metrics", as_of), ["period"]) == []


@pytest.mark.parametrize("as_of", BUILDS)
def test_the_alerts_are_those_that_pandas_finds(
    built: Built, expected: dict[date, pd.DataFrame], as_of: date
) -> None:
    wanted = oracle.alerts(expected[as_of], built.cutoffs)
    assert len(wanted) == {date(2025, 2, 28): 4, date(2024, 12, 31): 3}[as_of]
    found = built.mart("performance_alerts", as_of).query("state == 'open'")
    exact, percentile = "rule != 'slow_tail'", "rule == 'slow_tail'"
    assert differences(wanted.query(exact), found.query(exact), ["prompt_name", "rule"]) == []
    tails = [
        alerts.query(percentile).rename(columns={"observed_value": "p95_response_time_ms"})
        for alerts in (wanted, found)
    ]
    assert differences(*tails, ["prompt_name", "rule"]) == []


def test_the_oracle_covers_every_column_that_the_contract_names(
    expected: dict[date, pd.DataFrame],
) -> None:
    """What it leaves out is held by the next test: what the library says of a prompt."""
    named = """
        as_of_date period period_start period_end prompt_id prompt_name display_name domain complexity_level
        status suite usage_count outcome_count success_count success_rate success_rate_low success_rate_high
        error_count error_rate rated_count average_rating average_response_time_ms p50_response_time_ms
        p95_response_time_ms p99_response_time_ms total_tokens total_cost cost_per_use cost_per_success
        user_count session_count last_used_at previous_usage_count previous_success_rate
        previous_average_rating previous_average_response_time_ms previous_total_cost health
    """
    left_out = set(named.split()) - set(expected[date(2025, 2, 28)].columns)
    assert left_out == {"prompt_id", "display_name", "complexity_level", "status", "suite"}


@pytest.mark.parametrize("as_of", BUILDS)
def test_the_summary_says_of_a_prompt_what_the_library_says(built: Built, as_of: date) -> None:
    found = built.mart("prompt_performance_summary", as_of)
    assert (found.groupby("prompt_name")["prompt_id"].nunique() == 1).all()
    assert (found.groupby("prompt_id")["prompt_name"].nunique() == 1).all()
    assert found["suite"].isna().all()
    assert found["complexity_level"].isna().all()
    listed = found[found["domain"] != "unlisted"].drop_duplicates("prompt_name").set_index("prompt_name")
    wanted = built.library.set_index("prompt")
    assert (listed["display_name"] == wanted["display_name"].reindex(listed.index)).all()
    assert (listed["status"] == "active").all()
    assert sum(listed["display_name"] != listed.index) == 16  # the names that stand twice in the file


def test_the_older_date_leaves_the_newer_marts_as_they_are(built: Built) -> None:
    for mart in ("prompt_performance_summary", "dashboard_metrics", "performance_alerts"):
        assert set(built.mart(mart, date(2025, 2, 28))["as_of_date"]) == {date(2025, 2, 28)}
        assert set(built.mart(mart, date(2024, 12, 31))["as_of_date"]) == {date(2024, 12, 31)}


def test_the_page_shows_the_figures_that_the_marts_hold(built: Built) -> None:
    dashboards = {as_of: built.mart("dashboard_metrics", as_of).set_index("period") for as_of in BUILDS}
    assert page_table(dashboards) in PAGE.read_text(encoding="utf-8")


def page_table(dashboards: dict[date, pd.DataFrame]) -> str:
    """The page's table of main figures."""
    lines = [
        "| as of | period | uses | prompts | success rate | response time | tokens | cost | open alerts |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for as_of, dashboard in dashboards.items():
        for period in oracle.PERIODS:
            row = dashboard.loc[period]
            figures = [
                f"{row['usage_count']:,}",
                f"{row['used_prompts']}",
                _or_dash(row["success_rate"], lambda value: f"{100 * value:.2f} %"),
                _or_dash(row["average_response_time_ms"], lambda value: f"{value / 1000:.2f} s"),
                _or_dash(row["total_tokens"], lambda value: f"{int(value):,}"),
                _or_dash(row["total_cost"], lambda value: f"{value:.4f} USD"),
                f"{row['open_alerts']}",
            ]
            lines.append(f"| {as_of} | {period} | {' | '.join(figures)} |")
    return "\n".join(lines)


def _or_dash(value: Any, text: Any) -> str:
    return "–" if pd.isna(value) else str(text(value))


def test_every_column_of_every_mart_is_that_of_pandas_over_the_raw_rows(built: Built) -> None:
    with built.warehouse.connect() as connection:
        expected = Oracle.of(connection, date(2025, 2, 28), "UTC")
        wrong = {mart: check.differences(connection, "marts", mart, expected)[:5] for mart in check.KEYS}
    assert {mart: found for mart, found in wrong.items() if found} == {}
