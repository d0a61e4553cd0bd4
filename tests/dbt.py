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
from dbt_common.behavior_flags import BehaviorFlagRendered

from orchestration.dbt_process import session_options
from orchestration.warehouse import Warehouse

PROJECT_DIR = Path(__file__).resolve().parents[1] / "dbt_project"


def run_dbt(
    warehouse: Warehouse,
    *arguments: str,
    vars: Mapping[str, Any] | None = None,  # noqa: A002 - dbt's own word
    check: bool = True,
    views: Sequence[str] = (),
) -> dbtRunnerResult:
    """Runs ``dbt ARGUMENTS`` (``build``, ``run --select …``) and returns what dbt returns.

    With ``check`` a failed run is an AssertionError that names the nodes that failed and why. ``views`` are
    models that are built as views, whatever the project says.
    """
    libpq = warehouse.dbt_environment()
    with patch.dict(os.environ, {**libpq, **session_options(libpq["PRISM_DBT_ROLE"])}):
        given = dict(vars or {})
        # the schema is decided when the project is parsed, all other variables when a model is compiled
        manifest = _manifest(given.get("marts_schema", "marts")).deepcopy()
        _move(manifest, libpq["PGDATABASE"])
        for name in views:
            manifest.nodes[f"model.prism.{name}"].config.materialized = "view"
        result = _invoke(arguments, given, manifest)
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
def _manifest(marts_schema: str) -> Manifest:
    """The project as parsed for whichever warehouse was first: parsing takes longer than most builds."""
    result = _invoke(["parse"], {"marts_schema": marts_schema}, None)
    if not isinstance(result.result, Manifest):
        raise AssertionError(f"dbt parse failed: {result.exception}")
    # a run reads the selectors from the project; with them dbt can't copy its own manifest
    result.result.selectors = {}
    return result.result


def _move(manifest: Manifest, database: str) -> None:
    """Writes the warehouse's name into a parsed project, which holds that of another."""
    for node in (*manifest.nodes.values(), *manifest.sources.values()):
        node.database = database
        if node.relation_name is not None:
            node.relation_name = f'"{database}".{node.relation_name.split(".", 1)[1]}'
    # what macros read as `graph` is a copy of its own, made with the manifest's
    for kind in ("nodes", "sources"):
        for read in manifest.flat_graph[kind].values():
            read["database"] = database


def _invoke(
    arguments: Sequence[str], variables: Mapping[str, Any], manifest: Manifest | None
) -> dbtRunnerResult:
    # dbt walks the stack once for each flag of its adapter, for a warning that nobody reads: 0.2 s a run
    no_walk = patch.object(BehaviorFlagRendered, "_default_source", staticmethod(lambda: "tests"))
    with no_walk, TemporaryDirectory(prefix="prism-dbt-", ignore_cleanup_errors=True) as folder:
        return dbtRunner(manifest=manifest).invoke(
            [
                "--quiet",
                "--no-write-json",
                *arguments,
                "--project-dir", str(PROJECT_DIR),
                "--profiles-dir", str(PROJECT_DIR),
                "--target-path", f"{folder}/target",
                "--log-path", f"{folder}/logs",
                "--vars", json.dumps(variables),
            ]
        )  # fmt: skip
