"""`prism db`: the warehouse's address, its server, its set-up."""
# ruff: noqa: PLC0415, T201

from __future__ import annotations

import os
import subprocess
from typing import Annotated

import typer

from orchestration.commands.shared import settings_here
from orchestration.errors import PrismError

db = typer.Typer(help="The warehouse: its address, its server, its set-up.", no_args_is_help=True)


@db.command("url")
def db_url() -> None:
    """Prints one libpq URI that `psql` accepts, alone; it may hold a password."""
    from orchestration.warehouse import address

    print(address(settings_here()))


@db.command("env")
def db_env() -> None:
    """Prints `export PG…` lines for a shell: eval "$(prism db env)"; dbt and psql read them."""
    import shlex

    from orchestration.warehouse import Warehouse, address

    for name, value in Warehouse(url=address(settings_here()), dagster_url="").libpq_environment().items():
        print(f"export {name}={shlex.quote(value)}")


@db.command("psql", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def db_psql(context: typer.Context) -> None:
    """Opens `psql` on the warehouse; takes its options: prism db psql -c 'select …'."""
    import shutil

    from orchestration import postgres, warehouse

    house = warehouse.open_warehouse(settings_here())
    # psql must not read a password from the command line, where every process list shows it
    psql = shutil.which("psql") if house.embedded is None else None
    done = subprocess.run(
        [psql or str(postgres.program("psql")), *context.args],
        env={**os.environ, **house.libpq_environment()},
        check=False,
    )
    raise SystemExit(done.returncode)


@db.command("start")
def db_start() -> None:
    """Starts the embedded server and leaves it up until `prism db stop`; succeeds where it is up."""
    settings = settings_here()
    from orchestration import warehouse

    house = warehouse.open_warehouse(settings)
    warehouse.setup(house)
    if house.embedded is None:
        print(f"The warehouse is a server of yours, and it answers: {house.where}")
    else:
        house.embedded.keep()
        print(f"The embedded PostgreSQL is up: {house.where}")


@db.command("stop")
def db_stop() -> None:
    """Stops the embedded server."""
    from orchestration.postgres import EmbeddedServer

    settings = settings_here()
    if settings.warehouse_url:
        raise PrismError(
            "the warehouse is a server of yours, which Prism does not stop", where="PRISM_WAREHOUSE_URL"
        )
    stopped = EmbeddedServer(settings.home / "postgres").stop()
    print("The embedded PostgreSQL is stopped." if stopped else "The embedded PostgreSQL was not running.")


@db.command("setup")
def db_setup(
    application: Annotated[
        bool, typer.Option("--application", help="The application's own tables, where they are missing.")
    ] = False,
    source: Annotated[
        str | None, typer.Option("--source", help="Which application, where prism.yaml has several.")
    ] = None,
    as_sql: Annotated[
        bool,
        typer.Option(
            "--sql",
            help="Print what an administrator would run, and do nothing: roles and grants, or with "
            "--application its schema, tables and row level security.",
        ),
    ] = False,
) -> None:
    """Makes databases, schemas, tables, roles and grants, or brings them up to date."""
    from orchestration import roles, warehouse
    from orchestration.library import application as tables
    from orchestration.library.open import application as application_of
    from orchestration.library.open import setup_application

    settings = settings_here()
    if as_sql and application:
        print(tables.script(application_of(settings, source).db_schema))
        return
    if as_sql:
        print(roles.script_for(warehouse.address(settings)))
        return
    house = warehouse.open_warehouse(settings)
    warehouse.setup(house)
    if application:
        print(f"The application's tables are set up: {setup_application(settings, house, source)}")
        return
    warehouse.ensure_dagster_database(house)
    print(f"The warehouse is set up: {house.where}")
    with house.connect(autocommit=True) as connection:
        if not roles.apply(connection):
            print(
                "The roles are not made, since this user may make none; Prism works without them. "
                "An administrator can: prism db setup --sql | psql …"
            )
