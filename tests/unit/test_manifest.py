"""The rules of the dbt project's house, held against the manifest that dbt makes of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.reference import pages

PROJECT_DIR = Path(__file__).resolve().parents[2] / "dbt_project"
REFERENCE = PROJECT_DIR.parent / "docs" / "reference"
Node = Mapping[str, Any]

# The columns that the contract names, mart by mart: they may be joined by others, never be gone.
_MEASURES = "usage_count success_rate average_rating average_response_time_ms"
CONTRACT: Mapping[str, str] = {
    "prompt_performance_summary": "as_of_date period period_start period_end prompt_id prompt_name"
    " display_name domain complexity_level status suite usage_count outcome_count success_count success_rate"
    " success_rate_low success_rate_high error_count error_rate rated_count average_rating"
    " average_response_time_ms p50_response_time_ms p95_response_time_ms p99_response_time_ms total_tokens"
    " total_cost cost_per_use cost_per_success user_count session_count last_used_at previous_usage_count"
    " previous_success_rate previous_average_rating previous_average_response_time_ms previous_total_cost"
    " health",
    "top_performing_prompts": "as_of_date period rank prompt_id prompt_name domain score cost_per_use "
    + _MEASURES,
    "performance_alerts": "as_of_date alert_id prompt_id prompt_name domain rule severity period"
    " observed_value threshold sample_size first_detected_on last_detected_on days_open state message"
    " recommendation",
    "dashboard_metrics": "as_of_date period total_prompts active_prompts used_prompts suite_prompts"
    " total_agents mapped_agents total_mappings average_mappings_per_agent total_tokens total_cost"
    " open_alerts high_alerts medium_alerts low_alerts previous_usage_count previous_success_rate"
    " previous_average_rating previous_average_response_time_ms previous_total_tokens previous_total_cost "
    + _MEASURES,
}
FOLDERS = {"staging": "stg_", "intermediate": "int_"}
# They grow with every day, so they are kept and changed where their inputs have changed.
DAILY_MARTS = ("prompt_usage_daily", "usage_daily_totals")
# Made of rollups, and kept as they are.
KEPT = ("int_response_times_by_grain",)
LAYERS = ("staging", "intermediate", "marts")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """``dbt parse``, which needs no database."""
    target = tmp_path_factory.mktemp("dbt")
    done = subprocess.run(
        [str(Path(sys.executable).parent / "dbt"), "parse", "--quiet",
         "--project-dir", str(PROJECT_DIR), "--profiles-dir", str(PROJECT_DIR),
         "--target-path", str(target), "--log-path", str(target)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    parsed: Mapping[str, Any] = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
    return parsed


def models(manifest: Mapping[str, Any]) -> list[Node]:
    return [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]


def layer(node: Node) -> str:
    return str(node["fqn"][1])


def test_only_staging_reads_sources(manifest: Mapping[str, Any]) -> None:
    readers = {
        node["name"]
        for node in manifest["nodes"].values()
        if any(parent.startswith("source.") for parent in node["depends_on"].get("nodes", ()))
    }
    assert readers == {node["name"] for node in models(manifest) if layer(node) == "staging"}


def test_staging_is_one_view_a_source_table(manifest: Mapping[str, Any]) -> None:
    staging = [node for node in models(manifest) if layer(node) == "staging"]
    assert {node["config"]["materialized"] for node in staging} == {"view"}
    tables = [parent for node in staging for parent in node["depends_on"]["nodes"]]
    assert len(tables) == len(set(tables)) == len(staging)
    assert set(tables) == set(manifest["sources"])


def test_no_model_reads_a_layer_after_its_own(manifest: Mapping[str, Any]) -> None:
    layers = {node["unique_id"]: LAYERS.index(layer(node)) for node in models(manifest)}
    wrong = [
        (node["name"], parent)
        for node in models(manifest)
        for parent in node["depends_on"]["nodes"]
        if layers.get(parent, -1) > layers[node["unique_id"]]
    ]
    assert not wrong


def test_names_carry_their_layer_s_prefix(manifest: Mapping[str, Any]) -> None:
    for node in models(manifest):
        prefix = FOLDERS.get(layer(node))
        if prefix is None:
            assert not node["name"].startswith(("stg_", "int_", "fct_", "dim_", "mart_")), node["name"]
        elif prefix == "stg_":
            assert node["name"].startswith(f"stg_{node['fqn'][2]}__"), node["name"]
        else:
            assert node["name"].startswith(prefix), node["name"]


def test_models_lie_in_the_schema_of_their_layer(manifest: Mapping[str, Any]) -> None:
    assert {(layer(node), node["schema"]) for node in models(manifest)} == {(name, name) for name in LAYERS}


def test_every_model_column_seed_and_source_is_described(manifest: Mapping[str, Any]) -> None:
    described = [
        *(node for node in manifest["nodes"].values() if node["resource_type"] in ("model", "seed")),
        *manifest["sources"].values(),
    ]
    nothing = [node["name"] for node in described if not node["description"]]
    nothing += [
        f"{node['name']}.{column['name']}"
        for node in described
        for column in node["columns"].values()
        if not column["description"]
    ]
    assert not nothing


def test_a_model_s_description_states_its_grain(manifest: Mapping[str, Any]) -> None:
    vague = [node["name"] for node in models(manifest) if not node["description"].startswith("One row a")]
    assert not vague


def test_marts_have_an_enforced_contract_and_an_owner(manifest: Mapping[str, Any]) -> None:
    for node in models(manifest):
        if layer(node) == "marts":
            assert node["config"]["contract"]["enforced"], node["name"]
            assert node["config"]["group"] == "marts", node["name"]
            kept = "incremental" if node["name"] in DAILY_MARTS else "table"
            assert node["config"]["materialized"] == kept, node["name"]


def test_marts_have_the_columns_that_the_public_contract_names(manifest: Mapping[str, Any]) -> None:
    columns = {node["name"]: set(node["columns"]) for node in models(manifest)}
    for mart, names in CONTRACT.items():
        assert set(names.split()) <= columns[mart], mart


def test_daily_models_are_incremental_by_plain_delete_and_insert(manifest: Mapping[str, Any]) -> None:
    rollups = [node for node in models(manifest) if "rollup" in node["tags"] or node["name"] in KEPT]
    assert len(rollups) == 11
    for node in rollups:
        assert node["config"]["materialized"] == "incremental", node["name"]
        assert node["config"]["incremental_strategy"] == "append", node["name"]
        deletes = ("delete_touched_days", "delete_touched_months", "delete_touched_grains")
        assert any(one in hook["sql"] for one in deletes for hook in node["config"]["pre-hook"]), node["name"]
        assert node["config"]["full_refresh"] is False, node["name"]


def test_a_batch_counts_as_incorporated_only_after_every_rollup(manifest: Mapping[str, Any]) -> None:
    before: set[str] = set()
    waiting = ["model.prism.int_incorporated_batches"]
    while waiting:
        parents = manifest["parent_map"].get(waiting.pop(), [])
        waiting += [one for one in parents if one not in before]
        before.update(parents)
    rollups = {
        node["name"]: node["unique_id"]
        for node in models(manifest)
        if "rollup" in node["tags"] or node["name"] in KEPT
    }
    assert [name for name, one in rollups.items() if one not in before] == []


def test_only_the_daily_rollups_read_every_use_and_only_totals_of_them_every_day(
    manifest: Mapping[str, Any],
) -> None:
    """What a night may read: uses on touched days alone, and of history what stays as few as there are
    prompts. Whoever reads a rollup of single shares must be kept by day itself."""
    readers: dict[str, set[str]] = {}
    for node in models(manifest):
        for parent in node["depends_on"]["nodes"]:
            readers.setdefault(parent.rsplit(".", 1)[-1], set()).add(node["name"])
    assert readers["stg_prism__prompt_usage"] == {"int_touched_days", "int_touched_usage"}
    assert readers["int_touched_usage"] == {
        "int_prompt_usage_daily", "int_response_time_histogram_daily", "int_prompt_users_daily",
        "int_prompt_sessions_daily", "int_usage_hourly", "int_errors_daily",
    }  # fmt: skip
    # bookkeeping names a model to come after it
    bookkeeping = {"int_day_builds", "int_incorporated_batches"}
    assert readers["int_prompt_usage_daily"] - bookkeeping == {
        "int_prompt_totals_daily",
        "prompt_usage_daily",
    }
    assert readers["int_response_time_histogram_daily"] - bookkeeping == {"int_response_times_daily"}
    # by day alone where no longer stretch of the calendar will do, or a few days are made anew
    assert readers["int_response_times_daily"] == {
        "int_response_times_by_grain", "int_response_time_periods", "int_alert_response_times",
        "int_segment_blocks",
    }  # fmt: skip
    assert readers["int_prompt_visits"] == {
        "int_touched_visitors", "int_prompt_visitors", "int_prompt_reach",
    }  # fmt: skip


def test_visitors_their_counts_and_what_they_hold_change_in_one_transaction(
    manifest: Mapping[str, Any],
) -> None:
    visitors = manifest["nodes"]["model.prism.int_prompt_visitors"]["config"]
    hooks = visitors["pre-hook"] + visitors["post-hook"]
    assert all(hook["transaction"] for hook in hooks)
    for step in ("move_touched_visitors", "count_last_days", "remember_visitor_days"):
        assert [step in hook["sql"] for hook in hooks].count(True) == 1, step
    # a row whose last day changes stays where it is as long as no index has that day
    assert [index["columns"] for index in visitors["indexes"]] == [
        ["prompt_key", "visitor_key", "kind", "source"]
    ]


def test_the_selector_of_marts_leaves_out_nothing_between_them_and_the_rollups(
    manifest: Mapping[str, Any],
) -> None:
    selectors = yaml.safe_load((PROJECT_DIR / "selectors.yml").read_text(encoding="utf-8"))["selectors"]
    parts = next(one for one in selectors if one["name"] == "marts")["definition"]["union"]
    selected = {
        node["unique_id"]
        for node in models(manifest)
        if any(
            node["name"] == part["value"]
            if part["method"] == "fqn"
            else node["original_file_path"].startswith(f"{part['value']}/")
            for part in parts
        )
    }
    below = {parent for one in selected for parent in manifest["parent_map"][one]} - selected
    between = {
        manifest["nodes"][one]["name"]
        for one in below
        if one.startswith("model.")
        and "rollup" not in manifest["nodes"][one]["tags"]
        and not manifest["nodes"][one]["name"].startswith("stg_")
    }
    assert between == {*KEPT, "int_daily_basis"}


def test_what_dbt_depends_on_is_the_same_whatever_it_parses_for(manifest: Mapping[str, Any]) -> None:
    """A project parsed for `dbt test` is used again by the next `dbt build`: a ref that just one of the two
    renders is unknown to the other."""
    for node in manifest["nodes"].values():
        _, found, conditional = node.get("raw_code", "").partition("flags.WHICH")
        assert not found or "ref(" not in conditional, node["name"]


def test_no_sql_counts_distinct_beside_percentiles(manifest: Mapping[str, Any]) -> None:
    for node in models(manifest):
        if "rollup" in node["tags"]:
            assert not re.search(r"count\(\s*distinct", node["raw_code"]), node["name"]


def test_every_data_test_says_why(manifest: Mapping[str, Any]) -> None:
    mute = [
        node["name"]
        for node in manifest["nodes"].values()
        if node["resource_type"] == "test"
        and not node["description"]
        and "-- Business reason:" not in node["raw_code"]
    ]
    assert not mute


def test_every_exposure_has_an_owner_and_what_it_depends_on(manifest: Mapping[str, Any]) -> None:
    assert manifest["exposures"]
    for exposure in manifest["exposures"].values():
        assert exposure["owner"]["name"] and exposure["depends_on"]["nodes"], exposure["name"]


@pytest.mark.parametrize("name", ["marts.md", "seeds.md"])
def test_the_reference_says_what_the_project_says(manifest: Mapping[str, Any], name: str) -> None:
    text = pages(manifest)[name]
    page = REFERENCE / name
    if os.environ.get("UPDATE_DOCS"):
        page.write_text(text, encoding="utf-8")
    assert page.read_text(encoding="utf-8") == text, "UPDATE_DOCS=1 pytest writes it anew"
