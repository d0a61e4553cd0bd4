"""What starts a load by itself: files that have come to rest in a landing folder.

Thin: which files count is decided by the sources, and moving them away belongs to the load.
"""

from __future__ import annotations

import hashlib

import dagster as dg

from orchestration.errors import PrismError
from orchestration.settings import FilesSource, Settings
from orchestration.sources.files import waiting

_EVERY_SECONDS = 30


def sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """One for all landing folders, on by default; none where no source has an `archive:`."""
    sources = [
        source
        for source in settings.sources
        if isinstance(source, FilesSource) and source.archive is not None
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
                for path in waiting(source, settings.base):
                    stat = path.stat()
                    found.append(f"{source.name} {path} {stat.st_size} {stat.st_mtime_ns}")
            except (PrismError, OSError) as error:
                faults.append(str(error))
        if not found:
            return dg.SkipReason("; ".join(faults) or "no complete file has come")
        # a load that failed is not tried again every half minute: only once other files are there
        return dg.RunRequest(run_key=hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest())

    return [landing_files]
