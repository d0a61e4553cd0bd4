"""What Dagster sees: assets with all that a reader needs, jobs, schedules in the reporting time zone."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import dagster as dg
import pytest

from orchestration.dbt import target_path
from orchestration.definitions import compose
from orchestration.errors import PrismError
from orchestration.jobs import MAIL, NOTICES
from orchestration.partitions import check_as_of_date, last_ended_day
from orchestration.settings import Settings, load_settings


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("definitions")
    (folder / "prism.yaml").write_text(
        """
timezone: Pacific/Auckland
start_date: 2025-01-01
reports: {schedule: "15 3 * * *"}
sources:
  - {name: app, type: application, url: "postgresql://nobody@localhost/app"}
  - {name: log, type: files, path: log.csv, archive: done}
""",
        encoding="utf-8",
    )
    return load_settings({}, folder)


@pytest.fixture(scope="module")
def definitions(settings: Settings) -> dg.Definitions:
    return compose(settings)


def test_every_asset_has_a_group_a_description_an_owner_and_kinds(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    groups = set()
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        groups.add(node.group_name)
        assert node.description, key
        assert node.owners, key
        assert node.kinds, key
    assert groups == {"library", "usage", "staging", "rollups", "rules", "marts", "analytics", "reports"}


def test_the_report_stands_on_the_marts_that_its_exposure_names(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    parents = {
        key.to_user_string() for key in graph.get(dg.AssetKey(["reports", "nightly_report"])).parent_keys
    }
    assert parents >= {"marts/dashboard_metrics", "marts/prompt_performance_summary", "marts/data_quality"}
    assert graph.get(MAIL).parent_keys == {dg.AssetKey(["reports", "nightly_report"])}


def test_each_source_and_every_test_of_dbt_is_a_check(
    definitions: dg.Definitions, settings: Settings
) -> None:
    names = {check.name for check in definitions.resolve_asset_graph().asset_check_keys}
    manifest = json.loads((target_path(settings) / "manifest.json").read_text(encoding="utf-8"))
    tests = {node["name"] for node in manifest["nodes"].values() if node["resource_type"] == "test"}
    assert len(tests) > 10
    assert names == {"loaded_app", "loaded_log", "nobody_waits_with_a_high_alert", *tests}


def test_a_landing_folder_is_watched_and_only_loads(definitions: dg.Definitions) -> None:
    sensor = definitions.resolve_sensor_def("landing_files")
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    (job,) = (definitions.resolve_job_def(name) for name in [sensor.job_name])
    keys = job.asset_layer.selected_asset_keys
    assert {key.path[0] for key in keys} == {"raw"}
    assert dg.AssetKey(["raw", "load_batches"]) in keys
    assert job.partitions_def is None


def test_the_nightly_job_makes_all_of_a_day_in_one_process(definitions: dg.Definitions) -> None:
    nightly, refresh = (definitions.resolve_job_def(name) for name in ("nightly", "refresh"))
    for job in (nightly, refresh):
        assert isinstance(job.partitions_def, dg.DailyPartitionsDefinition)
        assert job.executor_def is dg.in_process_executor
    graph = definitions.resolve_asset_graph()
    assert nightly.asset_layer.selected_asset_keys == graph.materializable_asset_keys
    assert nightly.asset_layer.selected_asset_keys - refresh.asset_layer.selected_asset_keys == {
        MAIL,
        NOTICES,
    }


@pytest.mark.parametrize(("name", "status"), [("nightly", "RUNNING"), ("hourly_refresh", "STOPPED")])
def test_a_schedule_asks_for_the_day_that_has_ended_in_the_reporting_zone(
    definitions: dg.Definitions, name: str, status: str
) -> None:
    schedule = definitions.resolve_schedule_def(name)
    assert schedule.execution_timezone == "Pacific/Auckland"
    assert schedule.default_status.value == status
    # 14:15 UTC on the 9th is 03:15 on the 10th in Auckland: the 9th has just ended there
    at = datetime(2026, 1, 9, 14, 15, tzinfo=UTC)
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_schedule_context(
            instance=instance, scheduled_execution_time=at, repository_def=definitions.get_repository_def()
        )
        (request,) = schedule.evaluate_tick(context).run_requests or []
    assert request.partition_key == "2026-01-09"


def test_a_day_counts_once_it_has_ended_in_the_reporting_zone(settings: Settings) -> None:
    now = datetime(2026, 1, 9, 10, 59, tzinfo=UTC)  # 23:59 in Auckland
    assert last_ended_day(settings, now) == date(2026, 1, 8)
    with pytest.raises(PrismError, match="has not ended yet"):
        check_as_of_date(settings, date(2026, 1, 9), now)
    with pytest.raises(PrismError, match="before the first day"):
        check_as_of_date(settings, date(2024, 12, 31), now)
    check_as_of_date(settings, date(2025, 1, 1), now)


@pytest.mark.parametrize("name", ["owner_hears", "mail_goes_out", "heartbeat"])
def test_what_sends_mail_by_itself_is_on_by_default(definitions: dg.Definitions, name: str) -> None:
    sensor = definitions.resolve_sensor_def(name)
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING


@pytest.mark.parametrize(
    "told", [{"dbt_cli": {"config": {"dbt_executable": "/bin/sh"}}}, {"prism": {"config": {"home": "/"}}}]
)
def test_no_run_may_say_which_program_it_calls_or_what_it_works_on(
    definitions: dg.Definitions, told: dict[str, object]
) -> None:
    nightly = definitions.resolve_job_def("nightly")
    assert dg.validate_run_config(nightly)
    with pytest.raises(dg.DagsterInvalidConfigError):
        dg.validate_run_config(nightly, {"resources": told})
