"""What happens by itself: a load when files have come to rest in a landing folder, a mail to the owner
when a run has failed or is overdue, the notices that waited for the morning, mails at their hour.

Thin: which files count is decided by the sources, moving them away belongs to the load, what the owner
reads to `reporting`, and what is due to whom to `alerting.notices`.
"""

import hashlib
from datetime import UTC, datetime

import dagster as dg

from orchestration import mailing, metadata, reporting
from orchestration.alerting import notices
from orchestration.errors import PrismError
from orchestration.jobs import is_report_made
from orchestration.partitions import as_of_date
from orchestration.resources import Prism
from orchestration.settings import FileSource, Settings
from orchestration.sources.open import waiting
from reports.outbox import Patience

_EVERY_SECONDS = 30
_EVERY_SECONDS_FOR_NOTICES = 600
_EVERY_SECONDS_FOR_MAIL = 300
# a sensor has a minute: what is not taken at once waits for the next tick
_WITHOUT_PAUSES = Patience(timeout=10, deadline=30, pauses=(), stop_after=20)


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
        if day is not None and not is_report_made(event.step_key for event in events if event.step_key):
            failures = [metadata.failure(event) for event in events]
            told = failures or [context.failure_event.message or "the run ended before its first step"]
            run_id = context.dagster_run.run_id
            reporting.tell_owner(prism.reporter, prism.settings, as_of_date(day), told, run_id)

    return tell_owner


def notice_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """What sends the notices that wait: over once the quiet hours are, again where a channel was down. On by
    default; none where nobody is to be told."""
    if not settings.config.alerts.routes:
        return []

    @dg.sensor(
        name="notices_due",
        minimum_interval_seconds=_EVERY_SECONDS_FOR_NOTICES,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Sends the alert notices that are due: after quiet hours, or where a channel was down.",
    )
    def notices_due(_: dg.SensorEvaluationContext, prism: Prism) -> dg.SkipReason:
        try:
            told = notices.notify(
                prism.reporter, prism.settings, now=datetime.now(UTC), patience=_WITHOUT_PAUSES
            )
        except PrismError as error:
            return dg.SkipReason(str(error))
        return dg.SkipReason("\n".join(told.lines))

    return [notices_due]


def mail_sensors() -> list[dg.SensorDefinition]:
    """What goes out at its hour or is tried again, and the word that a report is overdue; on by default."""

    @dg.sensor(
        name="mail_goes_out",
        minimum_interval_seconds=_EVERY_SECONDS_FOR_MAIL,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Sends what has come due in the outbox: mails with an hour of their own, and retries.",
    )
    def mail_goes_out(_: dg.SensorEvaluationContext, prism: Prism) -> dg.SkipReason:
        if not prism.settings.smtp_url:
            return dg.SkipReason("PRISM_SMTP_URL is not set")
        delivery = mailing.deliver_due(prism.reporter, prism.settings, _WITHOUT_PAUSES)
        return dg.SkipReason("; ".join(mailing.counted(delivery) if delivery else ()) or "nothing was due")

    @dg.sensor(
        name="heartbeat",
        minimum_interval_seconds=_EVERY_SECONDS_FOR_MAIL,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Mails reports.owner, once a day, where reports.heartbeat has passed without a report.",
    )
    def heartbeat(_: dg.SensorEvaluationContext, prism: Prism) -> dg.SkipReason:
        notice = reporting.heartbeat(prism.settings, datetime.now(UTC))
        return dg.SkipReason(notice.subject if notice else "no report is overdue")

    return [mail_goes_out, heartbeat]


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
