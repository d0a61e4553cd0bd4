"""`prism erase`: a person out of everything that is kept."""
# ruff: noqa: PLC0415, T201

from __future__ import annotations

import json
from typing import Annotated

import typer

from orchestration.commands.shared import settings_here
from orchestration.errors import PrismError


def erase(
    user: Annotated[
        str, typer.Option("--user", help="The key as the source has it (or an address), or the pseudonym.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would be removed; change nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The receipt as JSON.")] = False,
) -> None:
    """Removes a person's data everywhere it is kept, leaves a tombstone, and searches for what is left.

    The receipt counts by table. The next build makes the days anew that the person was in.
    """
    from orchestration import warehouse
    from orchestration.forgetting.erase import erase as erase_person

    settings = settings_here()
    house = warehouse.open_warehouse(settings)
    warehouse.setup(house)
    receipt = erase_person(house, settings, user, dry_run=dry_run)
    if as_json:
        print(json.dumps(receipt.as_json(), indent=2))
    else:
        for line in receipt.lines:
            print(line)
    if receipt.found or receipt.unread:
        left = [*receipt.found, *receipt.unread]
        raise PrismError(
            f"something of the person may be left: {', '.join(left)}",
            where="prism erase",
            mend="Marts are without them after: prism run. Mend files that can't be read, and erase again.",
        )
