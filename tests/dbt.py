"""Runs the dbt project in tests: in this process, against a test's own warehouse, with artifacts in a temporary folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from dbt.cli.main import dbtRunner, dbtRunnerResult

from orchestration.warehouse import Warehouse

PROJECT_DIR = Path(__file__).resolve().parents[1] / "dbt_project"


def run_dbt(
    warehouse: Warehouse,
    *arguments: str,
    vars: Mapping[str, Any] | None = None,  # noqa: A002 - dbt's own word
    check: bool = True,
    project_dir: Path = PROJECT_DIR,
) -> dbtRunnerResult:
    """Runs ``dbt ARGUMENTS`` (``build``, ``run --select …``) and returns what dbt returns.

    With ``check`` a failed run is an AssertionError that names the nodes that failed and why.
    """
    with TemporaryDirectory(prefix="prism-dbt-") as folder, patch.dict(os.environ, environment(warehouse)):
        result = dbtRunner().invoke(
            [
                "--quiet",
                *arguments,
                "--project-dir", str(project_dir),
                "--profiles-dir", str(project_dir),
                "--target-path", f"{folder}/target",
                "--log-path", f"{folder}/logs",
                "--vars", json.dumps(dict(vars or {})),
            ]
        )  # fmt: skip
    if check and not result.success:
        raise AssertionError(f"dbt {' '.join(arguments)} failed: {failures(result) or result.exception}")
    return result


def failures(result: dbtRunnerResult) -> dict[str, str]:
    """What failed in a run: the node's name -> dbt's message."""
    nodes = getattr(result.result, "results", None) or []
    return {
        node.node.name: " ".join(str(node.message).split())
        for node in nodes
        if node.status in ("error", "fail", "runtime error")
    }


def environment(warehouse: Warehouse) -> dict[str, str]:
    """The variables that the project's profile reads."""
    return warehouse.libpq_environment()
