"""Dagster's own instance: its home under ``PRISM_HOME``, its storage in PostgreSQL beside the warehouse."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from orchestration import warehouse as warehouses
from orchestration.settings import Settings
from orchestration.warehouse import Warehouse

_URL = "PRISM_DAGSTER_URL"


def prepare(settings: Settings, warehouse: Warehouse) -> Path:
    """Makes Dagster's home and storage; returns the home.

    Sets the process's own DAGSTER_HOME and PRISM_* variables, absolute, so that Dagster and every process
    that it starts find the same instance and settings from whatever directory.
    """
    home = settings.home / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)  # runs' output, and sockets
    warehouses.ensure_dagster_database(warehouse)
    content = {
        # the URL may hold a password: it stays in the environment
        "storage": {"postgres": {"postgres_url": {"env": _URL}}},
        "telemetry": {"enabled": False},
        "run_monitoring": {
            "enabled": True,
            "start_timeout_seconds": 300,
            "poll_interval_seconds": 60,
            # a run that hangs, or whose process was killed unnoticed, must not hold up the next night
            "max_runtime_seconds": 6 * 3600,
        },
        "run_coordinator": {
            "module": "dagster._core.run_coordinator.queued_run_coordinator",
            "class": "QueuedRunCoordinator",
        },
        # a night loads and builds the whole warehouse: two at once would only wait for each other
        "concurrency": {"runs": {"max_concurrent_runs": 1}},
        "nux": {"enabled": False},
    }
    text = yaml.safe_dump(content, sort_keys=False)
    path = home / "dagster.yaml"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
    os.environ.update(
        {
            "DAGSTER_HOME": str(home),
            _URL: warehouse.dagster_url,
            "PRISM_HOME": str(settings.home),
        }
    )
    if settings.config_path.is_file():
        os.environ["PRISM_CONFIG"] = str(settings.config_path)
    return home
