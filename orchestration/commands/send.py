"""`prism send`: a rendered report to its recipients."""
# ruff: noqa: PLC0415, T201

from __future__ import annotations

from typing import Annotated

import typer

from orchestration.commands.shared import settings_here
from orchestration.errors import PrismError


def send(
    report: Annotated[str, typer.Argument(help="A rendered report: its as-of date, or `latest`.")] = "latest",
    to: Annotated[
        str | None, typer.Option("--to", help="A test to this address, which counts as nothing.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say who would get what, and why; send nothing.")
    ] = False,
) -> None:
    """Sends a rendered report to its recipients, once each."""
    from orchestration import reporting, warehouse

    settings = settings_here()
    folder = reporting.rendered(settings, report)
    if to is not None:
        sending = reporting.send_test(settings, folder, to)
    else:
        house = warehouse.open_warehouse(settings)
        warehouse.setup(house)
        sending = (reporting.preview if dry_run else reporting.send)(house, settings, folder)
    for line in sending.lines:
        print(line)
    if sending.unsent:
        raise PrismError(
            f"{sending.unsent} mails that were due did not go out",
            where="prism send",
            mend="Mend what the lines above say, and send again: nobody gets the same mail twice.",
        )
