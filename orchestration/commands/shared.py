"""What several commands need: the settings of where they run, a date's option, progress for people."""
# ruff: noqa: PLC0415, T201

from __future__ import annotations

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestration.settings import Settings, load_settings

DateOption = Annotated[
    datetime | None,
    typer.Option("--date", formats=["%Y-%m-%d"], help="As-of date; default: the day that has just ended."),
]


def settings_here() -> Settings:
    """The settings by prism.yaml of the working directory and the PRISM_* variables."""
    return load_settings(os.environ, Path.cwd())


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
