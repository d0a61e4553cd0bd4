"""When runs start by themselves."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from orchestration.partitions import last_ended_day
from orchestration.settings import Settings


def schedules(
    settings: Settings, nightly: UnresolvedAssetJobDefinition, refresh: UnresolvedAssetJobDefinition
) -> list[dg.ScheduleDefinition]:
    """The nightly job, on by default, at `reports.schedule`; the hourly refresh, off by default."""

    def last_day(context: dg.ScheduleEvaluationContext) -> str:
        return last_ended_day(settings, context.scheduled_execution_time).isoformat()

    @dg.schedule(
        name="nightly",
        job=nightly,
        cron_schedule=settings.config.reports.schedule,
        execution_timezone=settings.config.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Every night, for the day that has just ended in the reporting time zone.",
    )
    def nightly_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        day = last_day(context)
        return dg.RunRequest(run_key=day, partition_key=day)

    @dg.schedule(
        name="hourly_refresh",
        job=refresh,
        cron_schedule="5 * * * *",
        execution_timezone=settings.config.timezone,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Each hour, what came late for the last day; switch it on where that matters.",
    )
    def hourly_refresh(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        return dg.RunRequest(
            run_key=context.scheduled_execution_time.isoformat(), partition_key=last_day(context)
        )

    return [nightly_schedule, hourly_refresh]
