"""Runs the dbt project in tests: in this process, against a test's own warehouse, in a temporary folder."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.contracts.graph.manifest import Manifest

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
    with patch.dict(os.environ, warehouse.libpq_environment()):
        variables = json.dumps(dict(vars or {}), sort_keys=True)
        result = _invoke(
            arguments, project_dir, variables, _manifest(project_dir, variables, warehouse.url).deepcopy()
        )
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


@functools.cache
def _manifest(project_dir: Path, variables: str, warehouse_url: str) -> Manifest:
    """The project as parsed for a warehouse, whose name it holds: parsing takes longer than most builds."""
    result = _invoke(["parse"], project_dir, variables, None)
    if not isinstance(result.result, Manifest):
        raise AssertionError(f"dbt parse failed: {result.exception}")
    return result.result


def _invoke(
    arguments: Sequence[str], project_dir: Path, variables: str, manifest: Manifest | None
) -> dbtRunnerResult:
    with TemporaryDirectory(prefix="prism-dbt-") as folder:
        return dbtRunner(manifest=manifest).invoke(
            [
                "--quiet",
                *arguments,
                "--project-dir", str(project_dir),
                "--profiles-dir", str(project_dir),
                "--target-path", f"{folder}/target",
                "--log-path", f"{folder}/logs",
                "--vars", variables,
            ]
        )  # fmt: skip
