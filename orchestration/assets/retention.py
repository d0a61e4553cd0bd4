"""What is past its retention, forgotten at the end of each night. Thin over `forgetting.retention`."""

from datetime import UTC, datetime

import dagster as dg

from orchestration import metadata
from orchestration.forgetting.retention import retain
from orchestration.jobs import REPORT, RETENTION
from orchestration.resources import Prism
from orchestration.settings import Settings


def retention_assets(settings: Settings, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """One step after the report; none where nothing has a retention."""
    if not settings.config.retention.is_any:
        return []

    @dg.asset(
        key=RETENTION,
        # not after the mails: an address that its server refuses must not keep what is to go
        deps=[REPORT],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=1),
        group_name="reports",
        kinds={"postgres"},
        owners=["team:analytics"],
        description="Removes what is past the retention of prism.yaml, in bounded steps; days of uses that "
        "go are sealed first.",
    )
    def retention(context: dg.AssetExecutionContext, prism: Prism) -> dg.MaterializeResult[None]:
        done = retain(prism.warehouse, prism.settings, datetime.now(UTC), context.instance)
        return dg.MaterializeResult(
            metadata={
                metadata.SUMMARY: "Retention: " + "; ".join(done.lines),
                **{f"removed_{kind}": count for kind, count in done.removed.items()},
            }
        )

    return [retention]
