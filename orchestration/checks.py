"""What Dagster's UI warns of besides dbt's tests: alerts that wait for somebody.

Thin: what is open is for the marts to say, and how it is shown for `metadata`.
"""

import dagster as dg

from orchestration import builds, metadata
from orchestration.resources import Prism


def alert_checks() -> list[dg.AssetChecksDefinition]:
    """The warning about open alerts of high severity. A night with some is no failed night."""

    @dg.asset_check(
        asset=dg.AssetKey(["marts", "performance_alerts"]),
        name="nobody_waits_with_a_high_alert",
        description="No alert of high severity is open: each is acknowledged, snoozed or resolved.",
    )
    def nobody_waits_with_a_high_alert(prism: Prism) -> dg.AssetCheckResult:
        with prism.warehouse.connect(autocommit=True) as connection:
            counts, table = metadata.open_alerts(connection, builds.MARTS)
        return dg.AssetCheckResult(
            passed=counts["open_high"] == 0,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={**counts, "alerts": dg.MetadataValue.md(table)},
        )

    return [nobody_waits_with_a_high_alert]
