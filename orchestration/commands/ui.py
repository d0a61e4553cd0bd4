"""`prism ui`: Dagster's UI and daemon, with the schedules running."""
# ruff: noqa: PLC0415, T201

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from typing import Annotated

import typer

from orchestration.commands.shared import settings_here, warn_of_reach
from orchestration.errors import PrismError


def ui(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port.")] = 3000,
    read_only: Annotated[
        bool,
        typer.Option(
            "--read-only", help="Show everything and take no change; the schedules run all the same."
        ),
    ] = False,
) -> None:
    """Dagster's UI and daemon on loopback, the schedules running, until interrupted."""
    from orchestration import instance, nightly, warehouse

    seen = "sees every run" if read_only else "sees, starts and stops every run"
    warn_of_reach(host, "Dagster's UI", f"it has no sign-in: whoever reaches it {seen}")
    settings = settings_here()
    house = warehouse.open_warehouse(settings)
    warehouse.setup(house)
    home = instance.prepare(settings, house)
    only_ui = (home / "ui.lock").open("ab")
    try:
        fcntl.flock(only_ui, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise PrismError(
            "another prism ui is running on this PRISM_HOME", where=str(home), mend="Use that one, or end it."
        ) from None
    nightly.mend_dead_runs()
    # where SIGINT came in ignored (a shell's background job), Dagster would inherit that and never end
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestration.dagster_ui", "--host", host, "--port", str(port),
         *(["--read-only"] if read_only else [])],
        start_new_session=True,
    )  # fmt: skip
    # Dagster's processes and the database must end with us, however we are told to end
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: process.send_signal(signal.SIGINT))
    told = ", only to be looked at" if read_only else ""
    print(f"Dagster's UI: http://{host}:{port}{told} (stop with Ctrl-C)", flush=True)
    try:
        code = process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    if code not in (0, -signal.SIGINT, 128 + signal.SIGINT):
        raise PrismError(f"Dagster ended with exit code {code}", where=f"port {port}")
