"""One night from the command line: Dagster's nightly job in this process, on the instance that the UI shows.

Knows how a run is started and how its end is told; what the job does is the assets' affair.
"""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import date, datetime

import dagster as dg
import psutil

from orchestration import instance, metadata, reporting, warehouse
from orchestration.definitions import compose
from orchestration.errors import PrismError
from orchestration.jobs import NIGHTLY, SENDING, is_report_made
from orchestration.partitions import check_as_of_date, last_ended_day
from orchestration.settings import Settings
from reports.errors import ReportError

_PROCESS_TAG = "prism/process"
_RUNNING = (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)


@dataclass(frozen=True)
class Outcome:
    """How a night ended: ``lines`` for the reader, ``failures`` empty where all is well."""

    day: date
    run_id: str
    lines: tuple[str, ...]
    failures: tuple[str, ...]


def run(
    settings: Settings, *, day: date | None, now: datetime, send: bool, say: Callable[[str], None]
) -> Outcome:
    """Runs the nightly job for ``day`` (default: the day that has just ended).

    Raises :class:`PrismError` for a day that can't be reported and a warehouse that can't be reached.
    """
    day = day or last_ended_day(settings, now)
    check_as_of_date(settings, day, now)
    house = warehouse.open_warehouse(settings)
    warehouse.setup(house)
    if not settings.config.sources:
        _check_sample(house)
    instance.prepare(settings, house)
    job = compose(settings).resolve_job_def(NIGHTLY)
    say(f"The night of {day}: loading, building, checking, reporting …")
    # dagster-dbt repeats dbt's lines on standard output; they are in the run's log and in dbt.log
    with dg.DagsterInstance.get() as dagster, redirect_stdout(io.StringIO()):
        _fail_dead_runs(dagster)
        result = job.execute_in_process(
            instance=dagster,
            partition_key=day.isoformat(),
            raise_on_error=False,
            asset_selection=None if send else sorted(job.asset_layer.selected_asset_keys - set(SENDING)),
            tags={_PROCESS_TAG: _process(os.getpid())},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    failures = list(_failures(result))
    if not result.success and not is_report_made(result.get_failed_step_keys()):
        try:
            reporting.tell_owner(house, settings, day, failures, result.run_id)
        except ReportError as error:
            failures.append(f"The owner could not be told: {error}")
    return Outcome(day=day, run_id=result.run_id, lines=tuple(_lines(result)), failures=tuple(failures))


def mend_dead_runs() -> None:
    """Marks runs as failed whose process is gone; Dagster itself does not notice a killed one.

    To be called while no ``prism ui`` runs: what one started has ended with it.
    """
    with dg.DagsterInstance.get() as dagster:
        _fail_dead_runs(dagster, with_the_uis=True)


def _check_sample(house: warehouse.Warehouse) -> None:
    with house.connect() as connection:
        if connection.execute("select to_regclass('app.prompt_usage')").fetchone() == (None,):
            raise PrismError(
                "no source is configured, and there is no sample data",
                where="prism.yaml",
                mend="Name your sources there, or run: prism sample",
            )


def _process(pid: int) -> str:
    """A process by host, id and start: an id alone is used again."""
    return f"{socket.gethostname()}:{pid}:{psutil.Process(pid).create_time():.2f}"


def _fail_dead_runs(dagster: dg.DagsterInstance, *, with_the_uis: bool = False) -> None:
    """Only a run of `prism run` says which process runs it; those without are a ``prism ui``'s."""
    for run in dagster.get_runs(dg.RunsFilter(statuses=list(_RUNNING))):
        process = run.tags.get(_PROCESS_TAG)
        if process is None:
            dead = with_the_uis
        else:
            host, pid, _ = process.rsplit(":", 2)
            dead = host == socket.gethostname() and not _is_alive(int(pid), process)
        if dead:
            dagster.report_run_failed(run, "The process that ran this was killed.")


def _is_alive(pid: int, process: str) -> bool:
    try:
        return _process(pid) == process
    except psutil.NoSuchProcess:
        return False


def _lines(result: dg.ExecuteInProcessResult) -> Iterator[str]:
    """What the assets say of themselves in one line (`metadata.SUMMARY`), in the order they were made."""
    for event in result.get_asset_materialization_events():
        summary = event.step_materialization_data.materialization.metadata.get(metadata.SUMMARY)
        if summary is not None:
            yield str(summary.value)


def _failures(result: dg.ExecuteInProcessResult) -> Iterator[str]:
    yield from map(metadata.failure, result.get_step_failure_events())
    for evaluation in result.get_asset_check_evaluations():
        if not evaluation.passed and evaluation.severity is dg.AssetCheckSeverity.ERROR:
            failure = evaluation.metadata.get("failure")
            if failure is not None:
                yield str(failure.value)
