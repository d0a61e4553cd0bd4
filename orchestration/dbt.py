"""The dbt project as the program runs it: where it lies, its manifest, its environment.

Target and logs lie in ``PRISM_HOME``, so that the project's folder is only ever read.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from functools import cached_property
from pathlib import Path

import dagster as dg
from dagster_dbt import DbtCliInvocation, DbtCliResource, DbtProject
from packaging.version import Version

from orchestration.errors import PrismError
from orchestration.settings import Settings

PROJECT_DIR = Path(__file__).resolve().parents[1] / "dbt_project"
_NOT_PARSED = {"target", "logs", "dbt_packages"}


def target_path(settings: Settings) -> Path:
    """The folder of dbt's artifacts and logs."""
    return settings.home / "dbt"


def executable() -> str:
    """The dbt of this environment, whatever PATH says; it ends with the process that starts it."""
    return str(Path(sys.executable).parent / "prism-dbt")


def variables(settings: Settings, as_of_date: date, marts_schema: str) -> str:
    """dbt's ``--vars`` for one as-of date, in the reporting time zone."""
    return json.dumps(
        {
            "as_of_date": as_of_date.isoformat(),
            "timezone": settings.config.timezone,
            "marts_schema": marts_schema,
        }
    )


def build_arguments(settings: Settings, as_of_date: date, marts_schema: str) -> list[str]:
    """dbt's arguments for a build of one as-of date.

    Unit tests are left out: they test the models' SQL on rows of their own, not the night's data.
    """
    return [
        "build",
        "--no-use-colors",
        "--exclude-resource-type",
        "unit_test",
        "--vars",
        variables(settings, as_of_date, marts_schema),
    ]


def project(settings: Settings) -> DbtProject:
    """The project with a manifest that is up to date; parses it where one of its files has changed."""
    dbt_project = DbtProject(
        project_dir=PROJECT_DIR, target_path=target_path(settings), profiles_dir=PROJECT_DIR
    )
    fingerprint = _fingerprint()
    stamp = target_path(settings) / "parsed"
    fresh = stamp.is_file() and stamp.read_text(encoding="ascii") == fingerprint
    if not (fresh and dbt_project.manifest_path.is_file()):
        _parse(settings)
        stamp.write_text(fingerprint, encoding="ascii")
    return dbt_project


class QuickDbtCliResource(DbtCliResource):
    """dagster-dbt's resource without the two things that it does before dbt starts, and that we don't use.

    It calls ``dbt --version`` in a process of its own, and loads dbt's adapter into Dagster's process for row
    counts, which we take from PostgreSQL. Together they cost more than a small project's build (docs/adr).
    """

    @cached_property
    def _cli_version(self) -> Version:
        return Version(importlib.metadata.version("dbt-core"))

    def _initialize_dbt_core_adapter(self, args: Sequence[str]) -> None:  # type: ignore[override]
        return None


def resource() -> dg.ResourceDefinition:
    """Dagster's handle on dbt. It takes no configuration: a run must not say which program it calls."""
    cli = QuickDbtCliResource(
        project_dir=str(PROJECT_DIR), profiles_dir=str(PROJECT_DIR), dbt_executable=executable()
    )
    return dg.ResourceDefinition(lambda _: cli, config_schema={}, description="The dbt project's command.")


def clear_results(settings: Settings) -> None:
    """Removes the results of the build before, so that one that dies early is not taken for it."""
    (target_path(settings) / "run_results.json").unlink(missing_ok=True)


def failures(invocation: DbtCliInvocation) -> list[str]:
    """What failed in a build that is over, in words: models, tests, or the start itself."""
    if invocation.is_successful():
        return []
    results = (
        invocation.get_artifact("run_results.json").get("results", [])
        if (invocation.target_path / "run_results.json").is_file()
        else []
    )
    failed = [
        f"{result['unique_id'].split('.', 2)[-1]}: {' '.join(str(result.get('message') or '').split())[:500]}"
        for result in results
        if result["status"] in ("error", "fail", "runtime error")
    ]
    error = invocation.get_error()
    return failed or [" ".join(str(error).split())[:2000]]


@contextmanager
def environment(libpq: Mapping[str, str]) -> Iterator[None]:
    """The process's environment with the warehouse's libpq variables in it, which dbt's profile reads.

    dagster-dbt hands dbt the process's own environment and takes no other, so it is set for the block alone.
    """
    before = {name: os.environ.get(name) for name in libpq}
    os.environ.update(libpq)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for path in sorted(PROJECT_DIR.rglob("*")):
        relative = path.relative_to(PROJECT_DIR)
        if path.is_file() and relative.parts[0] not in _NOT_PARSED:
            digest.update(f"{relative}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _parse(settings: Settings) -> None:
    target = target_path(settings)
    target.mkdir(parents=True, exist_ok=True)
    target.chmod(0o700)  # dbt's logs
    done = subprocess.run(
        [executable(), "parse", "--quiet", "--no-use-colors", "--project-dir", str(PROJECT_DIR),
         "--profiles-dir", str(PROJECT_DIR), "--target-path", str(target), "--log-path", str(target)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"},
    )  # fmt: skip
    if done.returncode:
        raise PrismError(
            f"the dbt project does not parse: {(done.stdout + done.stderr).strip()}",
            where=str(PROJECT_DIR),
            mend="Mend the file that it names.",
        )
