"""The sensor that tells the owner: what a failed run makes it say."""

from __future__ import annotations

from datetime import date
from typing import Any

import dagster as dg
import pytest

from orchestration import reporting
from orchestration.jobs import MAIL
from orchestration.resources import Prism
from orchestration.sensors import owner_hears


@pytest.mark.parametrize(("key", "is_told"), [(["marts", "prompts"], True), (MAIL.path, False)])
def test_the_owner_hears_what_kept_the_report_from_being_made(
    monkeypatch: pytest.MonkeyPatch, key: list[str], is_told: bool
) -> None:
    told: list[tuple[Any, ...]] = []
    monkeypatch.setattr(reporting, "tell_owner", lambda *arguments: told.append(arguments))
    monkeypatch.setattr(Prism, "settings", "the settings")
    monkeypatch.setattr(Prism, "warehouse", "the warehouse")

    @dg.asset(key=key, partitions_def=dg.DailyPartitionsDefinition("2026-01-01"))
    def broken() -> None:
        raise dg.Failure("the marts do not add up", allow_retries=False)

    job = dg.Definitions(assets=[broken], jobs=[dg.define_asset_job("night", "*")]).resolve_job_def("night")
    with dg.DagsterInstance.ephemeral() as instance:
        run = job.execute_in_process(instance=instance, partition_key="2026-01-02", raise_on_error=False)
        context = dg.build_run_status_sensor_context(
            "owner_hears", run.get_run_failure_event(), instance, run.dagster_run, partition_key="2026-01-02"
        ).for_run_failure()
        owner_hears()(context, prism=Prism())
    expected = ("the warehouse", "the settings", date(2026, 1, 2), ["the marts do not add up"], run.run_id)
    assert told == ([expected] if is_told else [])
