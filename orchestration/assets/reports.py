"""The report and its mail as assets: made from green marts, kept, sent. Thin over `reporting`."""

import json
from datetime import UTC, datetime

import dagster as dg
from dagster._core.storage.tags import BACKFILL_ID_TAG
from dagster_dbt import DbtProject

from orchestration import builds, mailing, metadata, reporting
from orchestration.alerting import notices
from orchestration.jobs import MAIL, NOTICES, REPORT
from orchestration.partitions import as_of_date
from orchestration.resources import Prism

_OWNERS = ["team:analytics"]


def report_assets(project: DbtProject, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The report's pages with the digest, and what reaches people: the digest, the notices of alerts."""

    @dg.asset(
        key=REPORT,
        deps=_marts_of(project, REPORT.path[-1]),
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=1),
        group_name="reports",
        kinds={"html"},
        owners=_OWNERS,
        description="The report of an as-of date: a folder of pages that opens offline, and its mails, kept.",
    )
    def nightly_report(context: dg.AssetExecutionContext, prism: Prism) -> dg.MaterializeResult[None]:
        day = as_of_date(context.partition_key)
        with prism.warehouse.lock("build"):
            with prism.reporter.connect(autocommit=True) as connection:
                schema = builds.schema_of(connection, context.run_id, day)
                report, failures = reporting.render(connection, prism.settings, day, schema)
            with prism.transformer.connect(autocommit=True) as connection:
                builds.drop_beside(connection, schema)
        for failure in failures:
            context.log.error(failure)  # the mails that lead there are withheld, and fail
        index = report.path / "index.html"
        base = prism.settings.config.reports.base_url
        published = f"{base.rstrip('/')}/{day}/index.html" if base else index.as_uri()
        return dg.MaterializeResult(
            metadata={
                metadata.SUMMARY: "\n".join([f"Report: {index}", *failures]),
                "report": dg.MetadataValue.url(published),
                "folder": dg.MetadataValue.path(report.path),
                "pages": report.pages,
                "bytes": report.size_bytes,
            }
        )

    @dg.asset(
        key=MAIL,
        deps=[REPORT],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=1),
        group_name="reports",
        kinds={"email"},
        owners=_OWNERS,
        description="The mails of the subscriptions whose turn it is, once to each, by way of the outbox.",
    )
    def digest_mail(context: dg.AssetExecutionContext, prism: Prism) -> dg.MaterializeResult[None]:
        if context.run.tags.get(BACKFILL_ID_TAG):
            told = f"Mail: none, old dates are made anew; prism send {context.partition_key} sends this one"
            return dg.MaterializeResult(metadata={metadata.SUMMARY: told})
        day = as_of_date(context.partition_key)
        failed = metadata.failed_loads(context.instance, context.run_id)
        if failed:
            reporting.tell_of_sources(prism.reporter, prism.settings, day, failed, context.run_id)
        sending = mailing.send(prism.reporter, prism.settings, day)
        told = "\n".join(sending.counts)  # an address would stay in Dagster's event log
        if sending.unsent:
            mend = f"{sending.unsent} that were due did not go out: prism send --status says which, and why"
            raise dg.Failure(description=f"{told}\n{mend}", allow_retries=False)
        return dg.MaterializeResult(metadata={metadata.SUMMARY: told})

    @dg.asset(
        key=NOTICES,
        # not after the digest: an address that its server refuses must not silence the alerts
        deps=[REPORT, dg.AssetKey(["marts", "alert_events"])],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=1),
        group_name="reports",
        kinds={"email"},
        owners=_OWNERS,
        description="Tells of alerts that opened, escalated or were resolved: each change once to each.",
    )
    def alert_notices(context: dg.AssetExecutionContext, prism: Prism) -> dg.MaterializeResult[None]:
        with prism.reporter.connect() as connection:
            newest = builds.marts_as_of_date(connection)
        if context.run.tags.get(BACKFILL_ID_TAG) or newest != as_of_date(context.partition_key):
            told = f"Notices: none, {context.partition_key} is an old date made anew"
            return dg.MaterializeResult(metadata={metadata.SUMMARY: told})
        notified = notices.notify(prism.reporter, prism.settings, now=datetime.now(UTC))
        if notified.unsent:
            raise dg.Failure(description="\n".join(notified.lines), allow_retries=False)
        return dg.MaterializeResult(metadata={metadata.SUMMARY: "\n".join(notified.lines)})

    return [nightly_report, digest_mail, alert_notices]


def _marts_of(project: DbtProject, exposure: str) -> list[dg.AssetKey]:
    """The marts that an exposure of the dbt project says it is made from."""
    manifest = json.loads(project.manifest_path.read_text(encoding="utf-8"))
    nodes = manifest["exposures"][f"exposure.{manifest['metadata']['project_name']}.{exposure}"]["depends_on"]
    return [dg.AssetKey(["marts", node.rsplit(".", 1)[-1]]) for node in nodes["nodes"]]
