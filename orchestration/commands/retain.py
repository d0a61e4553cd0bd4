"""`prism retain`: what is past its retention, forgotten now rather than tonight."""
# ruff: noqa: PLC0415, T201

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from orchestration.commands.shared import settings_here
from orchestration.errors import PrismError


def retain(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would be removed; change nothing.")
    ] = False,
) -> None:
    """Removes what is past the retention of prism.yaml, as each night does after its report."""
    import dagster as dg

    from orchestration import instance, warehouse
    from orchestration.forgetting.retention import retain as apply

    settings = settings_here()
    if not settings.config.retention.is_any:
        raise PrismError(
            "no retention is set: everything is kept",
            where=str(settings.config_path),
            mend="For example: retention: {texts: 90, uses: 800}; see docs/privacy.md.",
        )
    house = warehouse.open_warehouse(settings)
    warehouse.setup(house)
    instance.prepare(settings, house)
    with dg.DagsterInstance.get() as dagster:
        for line in apply(house, settings, datetime.now(UTC), dagster, dry_run=dry_run).lines:
            print(line)
