"""A source that is forgotten leaves no row, and its days are rebuilt."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from orchestration.loading.forget import forget_source
from orchestration.loading.load import load_source
from orchestration.sample.write import write_sample
from orchestration.settings import SAMPLE, load_settings
from orchestration.warehouse import Warehouse

pytestmark = pytest.mark.integration


def test_a_forgotten_source_leaves_no_row_and_loads_anew(warehouse: Warehouse, tmp_path: Path) -> None:
    settings = load_settings({"PRISM_HMAC_KEY": "key"}, tmp_path)
    with warehouse.connect() as connection:
        write_sample(connection, "app", until=date(2026, 3, 2), rows=500, days=20)
    load_source(warehouse, SAMPLE, settings)
    with warehouse.connect() as connection:
        days = connection.execute(
            "select count(distinct (used_at at time zone 'UTC')::date) from raw.prompt_usage"
        )
        expected = days.fetchone()
        newest = connection.execute("select max(batch_id) from raw.load_batches").fetchone()
    assert forget_source(warehouse, "sample", "UTC") == 500
    with warehouse.connect() as connection:
        assert (
            connection.execute("select count(*) from raw.load_days where batch_id > %s", newest).fetchone()
            == expected
        )
        for table in ("prompt_usage", "prompts", "prompt_versions", "agents", "agent_prompts"):
            assert connection.execute(f"select count(*) from raw.{table}").fetchone() == (0,)  # type: ignore[call-overload]
        write_sample(connection, "app", until=date(2026, 3, 9), rows=500, days=20)
    assert forget_source(warehouse, "sample", "UTC") == 0
    assert (
        sum(one.inserted for one in load_source(warehouse, SAMPLE, settings) if one.entity == "usage") == 500
    )
    with warehouse.connect() as connection:
        assert connection.execute("select max(used_at)::date from raw.prompt_usage").fetchone() == (
            date(2026, 3, 8),
        )
