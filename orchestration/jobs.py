"""Which assets a run makes: the nightly job, and the refresh of marts and report beside it."""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

NIGHTLY = "nightly"
REFRESH = "refresh"
REPORT = dg.AssetKey(["reports", "nightly_report"])
MAIL = dg.AssetKey(["reports", "digest_mail"])
NOTICES = dg.AssetKey(["reports", "alert_notices"])
RETENTION = dg.AssetKey(["ops", "retention"])
# what reaches people
SENDING = (MAIL, NOTICES)


def is_report_made(failed_steps: Iterable[str]) -> bool:
    """Whether a failed run has made its report: nothing failed but what comes after it."""
    failed = set(failed_steps)
    return bool(failed) and failed <= {key.to_python_identifier() for key in (*SENDING, RETENTION)}


def jobs() -> list[UnresolvedAssetJobDefinition]:
    """Both run in one process: a process a step costs more than the steps do (docs/adr)."""
    return [
        dg.define_asset_job(
            NIGHTLY,
            selection=dg.AssetSelection.all(),
            executor_def=dg.in_process_executor,
            description="Load, build, check, report and send, for the day that has ended.",
        ),
        dg.define_asset_job(
            REFRESH,
            selection=dg.AssetSelection.all() - dg.AssetSelection.assets(*SENDING),
            executor_def=dg.in_process_executor,
            description="What came late for the day that has ended, in marts and report; sends nothing.",
        ),
    ]
