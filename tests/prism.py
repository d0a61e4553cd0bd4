"""The `prism` command as a user calls it: in a process and a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from orchestration.postgres import EmbeddedServer


@dataclass
class Prism:
    """A working directory with its own PRISM_HOME and embedded server; ``stop`` ends it."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    def configure(self, text: str) -> None:
        (self.folder / "prism.yaml").write_text(text, encoding="utf-8")

    def environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PRISM_", "PG", "DAGSTER_"))
        }
        return {**kept, **self.variables}

    def __call__(self, *arguments: str, fails: bool = False) -> subprocess.CompletedProcess[str]:
        """Runs ``prism``; ``fails`` says whether it should."""
        done = subprocess.run(
            [str(Path(sys.executable).parent / "prism"), *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self.environment(),
            check=False,
            timeout=300,
        )
        assert (done.returncode != 0) == fails, f"{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    @property
    def server(self) -> EmbeddedServer:
        return EmbeddedServer(self.folder / ".prism" / "postgres")

    def connect(self) -> psycopg.Connection:
        """A session on its warehouse, which must be up (`prism db start`)."""
        return psycopg.connect(self.server.url(), autocommit=True)

    def stop(self) -> None:
        self.server.stop()
