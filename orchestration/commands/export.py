"""`prism export`: one mart to files."""
# ruff: noqa: PLC0415, T201

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestration.commands.shared import settings_here
from orchestration.errors import PrismError


def export(
    mart: Annotated[str, typer.Argument(help="A mart's name, such as prompt_performance_summary.")],
    formats: Annotated[
        str, typer.Option("--format", help="csv, xlsx, parquet, json: one or several, by commas.")
    ] = "csv",
    output: Annotated[
        Path, typer.Option("--output", file_okay=False, help="The folder to write into.")
    ] = Path(),
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            metavar="COLUMN=VALUE",
            help="Rows that equal this alone; may be repeated: --where period=month.",
        ),
    ] = None,
) -> None:
    """Writes one mart to files named by it and its as-of date, and prints their paths.

    Texts in csv and xlsx are inert: a spreadsheet takes none for a formula.
    """
    from orchestration import builds, roles, warehouse
    from reports.exports import write_extract
    from reports.marts import extracting

    conditions = dict(one.partition("=")[::2] for one in where or [])
    if not all("=" in one for one in where or []):
        raise typer.BadParameter("--where takes COLUMN=VALUE")
    house = warehouse.open_warehouse(settings_here())
    warehouse.setup(house)
    with house.acting_as(roles.REPORTER).connect() as connection:
        day = builds.marts_as_of_date(connection)
        connection.commit()
        if day is None:
            raise PrismError("the marts are not built yet", where=house.where, mend="Run: prism run")
        with extracting(connection, builds.MARTS, mart, conditions) as extract:
            wanted = [one.strip().lower() for one in formats.split(",") if one.strip()]
            for path in write_extract(extract, output, f"{mart}-{day}", wanted):
                print(path)
