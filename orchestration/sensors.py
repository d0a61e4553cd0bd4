"""What happens by itself: a load when files have come to rest in a landing folder, a mail to the owner
when a run has failed.

Thin: which files count is decided by the sources, moving them away belongs to the load, and what the owner
reads to `reporting`.
"""

import hashlib

import dagster as dg

from orchestration import metadata, reporting
from orchestration.errors import PrismError
from orchestration.jobs import MAIL_STEP
from orchestration.partitions import as_of_date
from orchestration.resources import Prism
from orchestration.settings import FileSource, Settings
from orchestration.sources.open import waiting

_EVERY_SECONDS = 30


def owner_hears() -> dg.SensorDefinition:
    """The mail to the owner after a run that failed, on by default."""

    @dg.run_failure_sensor(
        name="owner_hears",
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Mails reports.owner that a night has failed and gave no report, once a date.",
    )
    def tell_owner(context: dg.RunFailureSensorContext, prism: Prism) -> None:
        day = context.partition_key
        events = context.get_step_failure_events()
        if day is not None and {event.step_key for event in events} != {MAIL_STEP}:
            failures = [metadata.failure(event) for event in events]
            told = failures or [context.failure_event.message or "the run ended before its first step"]
            run_id = context.dagster_run.run_id
            reporting.tell_owner(prism.warehouse, prism.settings, as_of_date(day), told, run_id)

    return tell_owner


def landing_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """One for all landing folders, on by default; none where no source has an `archive:`."""
    sources = [
        source for source in settings.sources if isinstance(source, FileSource) and source.archive is not None
    ]
    if not sources:
        return []

    @dg.sensor(
        name="landing_files",
        target=dg.AssetSelection.key_prefixes(["raw"]),
        minimum_interval_seconds=_EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Loads once a complete file lies in the landing folder of a source with an archive.",
    )
    def landing_files(_: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        found: list[str] = []
        faults: list[str] = []
        for source in sources:
            try:
                for path in waiting(source, settings):
                    stat = path.stat()
                    found.append(f"{source.name} {path} {stat.st_size} {stat.st_mtime_ns}")
            except (PrismError, OSError) as error:
                faults.append(str(error))
        if not found:
            return dg.SkipReason("; ".join(faults) or "no complete file has come")
        # a load that failed is not tried again every half minute: only once other files are there
        return dg.RunRequest(run_key=hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest())

    return [landing_files]
