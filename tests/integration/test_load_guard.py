"""An error that nobody foresaw, in one source: it is told under its name, and the others are loaded."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from orchestration.assets.raw import load_assets
from orchestration.cli import app
from orchestration.errors import PrismError
from orchestration.loading import load
from orchestration.resources import Prism
from orchestration.warehouse import Warehouse

pytestmark = pytest.mark.integration

CONFIG = """
sources:
  - {name: odd, type: files, path: odd.csv}
  - {name: log, type: files, path: log.csv}
"""


@pytest.fixture
def house(warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    """A warehouse and two sources, of which the first ends in an error of Python's."""
    opened = load.open_source

    def open_source(source: Any, *arguments: Any, **options: Any) -> Any:
        if source.name == "odd":
            raise OverflowError("date value out of range")
        return opened(source, *arguments, **options)

    monkeypatch.setattr(load, "open_source", open_source)
    monkeypatch.setenv("PRISM_WAREHOUSE_URL", warehouse.url)
    monkeypatch.setenv("PRISM_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prism.yaml").write_text(CONFIG)
    for name in ("odd", "log"):
        (tmp_path / f"{name}.csv").write_text(f"usage_id,prompt_key,used_at\n{name},p,2025-01-01\n")
    return warehouse


def loaded(house: Warehouse) -> list[str]:
    with house.connect() as connection:
        return [key for (key,) in connection.execute("select usage_id from raw.prompt_usage")]


def test_the_nightly_step_loads_the_other_sources_and_fails_the_check_of_that_one(
    house: Warehouse, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "orchestration.errors"):
        done = dg.materialize([load_assets(Prism().settings)], resources={"prism": Prism()})
    checks = {check.check_name: check for check in done.get_asset_check_evaluations()}
    assert {name: check.passed for name, check in checks.items()} == {
        "loaded_odd": False,
        "loaded_log": True,
    }
    failure = checks["loaded_odd"].metadata["failure"].value
    assert str(failure).startswith("source odd: unexpected OverflowError: date value out of range")
    assert loaded(house) == ["log"]
    assert "Traceback" in caplog.text


def test_the_command_loads_the_other_sources_and_fails(house: Warehouse) -> None:
    done = CliRunner().invoke(app, ["load"])
    assert isinstance(done.exception, PrismError)
    assert "source odd: unexpected OverflowError: date value out of range" in str(done.exception)
    assert "log: 1 rows of usage from log.csv: 1 inserted" in done.output
    assert loaded(house) == ["log"]
