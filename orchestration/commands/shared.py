"""What several commands need: the settings of where they run, a date's option, progress for people."""
# ruff: noqa: PLC0415, T201

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestration.errors import PrismError
from orchestration.settings import Settings, load_settings

DateOption = Annotated[
    datetime | None,
    typer.Option("--date", formats=["%Y-%m-%d"], help="As-of date; default: the day that has just ended."),
]


def settings_here() -> Settings:
    """The settings by prism.yaml of the working directory and the PRISM_* variables."""
    return load_settings(os.environ, Path.cwd())


def warn_of_reach(host: str, what: str, danger: str) -> None:
    """Says loudly, on standard error, where ``what`` listens on more than this machine's loopback."""
    from reports.smtp import is_loopback

    if not is_loopback(host):
        print(
            f"WARNING: {what} listens on {host}, so others can reach it: {danger}. "
            "Put a reverse proxy with TLS and authentication before it (docs/access.md).",
            file=sys.stderr,
            flush=True,
        )


def name_and_value(pairs: list[str] | None) -> dict[str, str]:
    """``NAME=VALUE`` pairs of the command line."""
    for pair in pairs or []:
        if "=" not in pair:
            raise PrismError(f"{pair!r} is not NAME=VALUE", where="the command line")
    return dict(pair.split("=", 1) for pair in pairs or [])


def edited(text: str, ending: str) -> Path:
    """``text`` in the person's editor (VISUAL, EDITOR); returns the file with what they made of it.

    Raises :class:`PrismError` where there is no editor, or it fails; what was written stays in the file.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not editor:
        raise PrismError(
            "no editor is set",
            where="EDITOR",
            mend="export EDITOR=…, or say what to change: --set FIELD=VALUE",
        )
    descriptor, name = tempfile.mkstemp(prefix="prism-", suffix=ending)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        file.write(text)
    try:
        done = subprocess.run([*shlex.split(editor), name], check=False)
    except OSError as error:
        raise PrismError(f"the editor does not start: {error.strerror}", where=f"EDITOR={editor}") from None
    if done.returncode:
        raise PrismError(
            f"the editor ended with {done.returncode}, so nothing is changed",
            where=f"EDITOR={editor}",
            mend=f"What was written is kept: {name}",
        )
    return Path(name)


class Progress:
    """Progress for people: a bar or a line on a terminal, nothing elsewhere."""

    def __init__(self) -> None:
        self._bar: Any = None

    def __call__(self, text: str) -> None:
        if sys.stderr.isatty():
            print(f"  {text}", file=sys.stderr, flush=True)

    def count(self, label: str) -> Any:
        """A callback ``(done, total)``; ``total`` may be None."""
        if not sys.stderr.isatty():
            return None
        from rich.console import Console
        from rich.progress import Progress

        self._bar = Progress(console=Console(stderr=True), transient=True)
        self._bar.start()
        task = self._bar.add_task(label, total=None)

        def advance(done: int, total: int | None = None) -> None:
            self._bar.update(task, completed=done, total=total)

        return advance

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
