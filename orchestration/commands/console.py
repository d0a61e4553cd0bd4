"""`prism console`: the web console, and who may sign in to it."""
# ruff: noqa: PLC0415, T201

from __future__ import annotations

import contextlib
import getpass
import socket
import sys
from typing import Annotated, Literal

import typer

from orchestration.commands.shared import settings_here, warn_of_reach
from orchestration.errors import PrismError


def console(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port.")] = 3001,
    add_user: Annotated[
        str | None,
        typer.Option(help="Add an account, or give it a new role and password, read from standard input."),
    ] = None,
    role: Annotated[Literal["viewer", "editor", "admin"], typer.Option(help="For --add-user.")] = "viewer",
    remove_user: Annotated[str | None, typer.Option(help="Take an account away.")] = None,
    source: Annotated[str | None, typer.Option(help="Which application, where there are several.")] = None,
) -> None:
    """The web console over library, alerts and reports, until interrupted."""
    from orchestration.console.app import accounts_of, build

    settings = settings_here()
    accounts = accounts_of(settings)
    if remove_user is not None:
        accounts.remove(remove_user)
        print(f"{remove_user} is removed.")
        return
    if add_user is not None:
        accounts.put(add_user, role, _password())
        print(f"{add_user} may sign in, as {role}.")
        return

    import logging

    import uvicorn

    from orchestration import warehouse
    from orchestration.console.house import House
    from orchestration.library.open import application

    if settings.config.console.proxy_header is None and not accounts.all():
        raise PrismError(
            "nobody may sign in to the console yet",
            where=str(accounts.path),
            mend="prism console --add-user NAME --role admin",
        )
    application(settings, source)  # says at once where there is none, or several
    listening = _listening(host, port)
    house = warehouse.open_warehouse(settings)
    warehouse.setup(house)
    warn_of_reach(host, "the console", "without TLS they can read passwords on the way")
    # it warns of every request without a session; what matters of that is in console.log
    logging.getLogger("starlette_admin").setLevel(logging.ERROR)
    config = uvicorn.Config(
        build(House(settings, house, source)), log_level="warning", access_log=False, proxy_headers=False,
        server_header=False,
    )  # fmt: skip
    with listening, contextlib.suppress(KeyboardInterrupt):
        print(f"Prism's console: http://{host}:{port} (stop with Ctrl-C)", flush=True)
        uvicorn.Server(config).run(sockets=[listening])


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise PrismError(
            f"the console can't listen there: {error.strerror}",
            where=f"{host}:{port}",
            mend="Another one may be running. Choose another port: --port",
        ) from None


def _password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        raise PrismError("the two passwords differ", where="--add-user")
    return password
