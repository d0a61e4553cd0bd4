"""`prism rate`: a person's rating of one use."""
# ruff: noqa: T201

from __future__ import annotations

from typing import Annotated

import typer

from orchestration.commands.prompts import Source, opened


def rate(
    usage_id: Annotated[str, typer.Argument(help="The use: the id of a row of prompt_usage.")],
    rating: Annotated[int, typer.Argument(min=1, max=5, help="1 (bad) to 5 (good).")],
    source: Source = None,
) -> None:
    """Writes a person's rating of one use to the application; the next night counts it."""
    with opened(source) as (library, _):
        library.rate(usage_id, rating)
    print(f"Rated {usage_id}: {rating}.")
