"""What Python computes of the marts, as assets: forecasts, comparisons, anomalies. Thin over `analytics`.

Made after the daily mart and before the marts that show them, which dbt builds in a step of their own
(``tag:analytics``).
"""

from collections.abc import Iterator

import dagster as dg

from orchestration import builds, metadata
from orchestration.analytics import tables
from orchestration.partitions import as_of_date
from orchestration.resources import Prism

_PROMPTS, _DAILY, _TOTALS, _VERSIONS = (
    dg.AssetKey(["marts", name])
    for name in ("prompts", "prompt_usage_daily", "usage_daily_totals", "prompt_version_performance")
)
# table of analytics -> the marts it is computed of, and what it holds
_TABLES = {
    "usage_forecasts": (
        [_TOTALS, _PROMPTS],
        "Uses, cost and success rate of the coming 30 days, by prompt and in all, with 80 % intervals.",
    ),
    "prompt_comparisons": (
        [_VERSIONS, _DAILY, dg.AssetKey(["seeds", "experiments"])],
        "Each version against the one before, and declared experiments: differences and verdicts.",
    ),
    "cost_anomalies": ([_TOTALS], "Days that cost far more per use than their prompt and model usually do."),
}


def analytics_assets(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """One step for the schema ``analytics``: its tables are read from the marts and written in one
    transaction."""

    @dg.multi_asset(
        name="analytics",
        specs=[
            dg.AssetSpec(
                ["analytics", table],
                deps=deps,
                group_name="analytics",
                description=description,
                kinds={"python", "postgres", "table"},
                owners=["team:analytics"],
            )
            for table, (deps, description) in _TABLES.items()
        ],
        partitions_def=partitions,
        # a night is one as-of date: a backfill makes them one by one
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=1),
        description="Computes forecasts, comparisons and anomalies of the marts of an as-of date.",
    )
    def analytics(context: dg.AssetExecutionContext, prism: Prism) -> Iterator[dg.MaterializeResult[None]]:
        day = as_of_date(context.partition_key)
        with prism.warehouse.lock("build"), prism.transformer.connect() as connection:
            schema = builds.schema_of(connection, context.run_id, day)
            written = tables.refresh(connection, day, schema)
        with prism.transformer.connect(autocommit=True) as connection:
            for table, figures in written.items():
                yield dg.MaterializeResult(
                    asset_key=["analytics", table],
                    metadata={**metadata.table(connection, "analytics", table), **figures},
                )

    return analytics
