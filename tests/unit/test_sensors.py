"""The sensors of mail: what a failed run makes the owner hear, and what goes out when it is due."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from orchestration import mailing, reporting
from orchestration.jobs import MAIL
from orchestration.resources import Prism
from orchestration.sensors import mail_sensors, owner_hears
from orchestration.settings import load_settings
from reports.outbox import Attempt, Delivery, Patience


@pytest.mark.parametrize(("key", "is_told"), [(["marts", "prompts"], True), (MAIL.path, False)])
def test_the_owner_hears_what_kept_the_report_from_being_made(
    monkeypatch: pytest.MonkeyPatch, key: list[str], is_told: bool
) -> None:
    told: list[tuple[Any, ...]] = []
    monkeypatch.setattr(reporting, "tell_owner", lambda *arguments: told.append(arguments))
    monkeypatch.setattr(Prism, "settings", "the settings")
    monkeypatch.setattr(Prism, "reporter", "the warehouse")

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


def test_what_came_due_goes_out_in_a_sensor_s_minute_and_nobody_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    goes_out = next(one for one in mail_sensors() if one.name == "mail_goes_out")
    attempt = Attempt("ann@example.com", "News", "sent", "250 taken")
    patiences: list[Patience] = []

    def deliver(warehouse: object, settings: object, patience: Patience) -> Delivery:
        patiences.append(patience)
        return Delivery((attempt,), (), None)

    monkeypatch.setattr(mailing, "deliver_due", deliver)
    monkeypatch.setattr(Prism, "reporter", "the warehouse")
    for variables, told in (
        ({}, "PRISM_SMTP_URL is not set"),
        ({"PRISM_SMTP_URL": "smtp://h"}, "Mail: 1 sent"),
    ):
        monkeypatch.setattr(Prism, "settings", load_settings(variables, tmp_path))
        reason = goes_out(dg.build_sensor_context(resources={"prism": Prism()}))
        assert isinstance(reason, dg.SkipReason)
        assert reason.skip_message == told
    [patience] = patiences
    assert patience.stop_after + patience.deadline < 60
