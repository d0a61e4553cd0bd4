"""The `prism` command as a user calls it: in a folder of its own, and where that matters in a process."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import psycopg

from orchestration import cli
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
        return self._checked(done, fails)

    def here(self, *arguments: str, fails: bool = False) -> subprocess.CompletedProcess[str]:
        """The same in this process, which is quicker: for what starts no other and ends by itself."""
        out, err = io.StringIO(), io.StringIO()
        with (
            patch.dict(os.environ, self.environment(), clear=True),
            patch.object(sys, "argv", ["prism", *arguments]),
            chdir(self.folder),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            try:
                cli.main()
                code: int | str | None = 0
            except SystemExit as ended:
                code = ended.code
        if isinstance(code, str):
            err.write(f"{code}\n")
        number = 1 if isinstance(code, str) else code or 0
        done = subprocess.CompletedProcess(list(arguments), number, out.getvalue(), err.getvalue())
        return self._checked(done, fails)

    @staticmethod
    def _checked(done: subprocess.CompletedProcess[str], fails: bool) -> subprocess.CompletedProcess[str]:
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
