"""Marts as frames, compared with what they should be, number by number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from orchestration.warehouse import Warehouse

PERCENTILES = ("p50_response_time_ms", "p95_response_time_ms", "p99_response_time_ms")
# USD to ten decimals, as raw.prompt_usage.cost is
RATIOS_OF_COST = ("cost_per_use", "cost_per_success")


def query(warehouse: Warehouse, statement: str) -> pd.DataFrame:
    with warehouse.connect() as connection:
        cursor = connection.execute(statement.encode())
        return pd.DataFrame(cursor.fetchall(), columns=[c.name for c in cursor.description or ()])


def differences(expected: pd.DataFrame, actual: pd.DataFrame, keys: Sequence[str]) -> list[str]:
    """Every value of ``expected`` that ``actual`` does not have, in words."""
    wanted = expected.set_index(list(keys)).sort_index()
    found = actual.set_index(list(keys)).sort_index()
    assert wanted.index.is_unique
    assert found.index.is_unique
    assert not wanted.index.symmetric_difference(found.index).tolist()
    assert not set(wanted.columns) - set(found.columns)
    return [
        f"{key} {column}: {value!r} in pandas, {got!r} in the mart"
        for column in wanted.columns
        for key, value, got in zip(wanted.index, wanted[column], found[column], strict=True)
        if not _same(column, value, got)
    ]


def _same(column: str, value: Any, got: Any) -> bool:
    """Equal to nine digits, percentiles within 1 %; an unknown value is only equal to an unknown one."""
    if pd.isna(value) or pd.isna(got):
        return bool(pd.isna(value) and pd.isna(got))
    if isinstance(value, int | float) and not isinstance(value, bool):
        relative = 0.01 if column in PERCENTILES else 1e-9
        absolute = 0.501e-10 if column in RATIOS_OF_COST else 0.0
        return abs(float(got) - value) <= max(relative * abs(value), absolute)
    return bool(value == got)
