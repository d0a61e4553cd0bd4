"""Retention in the settings: a step of the night where something has one, and none where nothing has."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestration.definitions import compose
from orchestration.errors import PrismError
from orchestration.jobs import NIGHTLY, REPORT, RETENTION
from orchestration.settings import load_settings


def test_a_night_forgets_after_its_report_where_something_has_a_retention(tmp_path: Path) -> None:
    (tmp_path / "prism.yaml").write_text("retention: {texts: 30}")
    job = compose(load_settings({}, tmp_path)).resolve_job_def(NIGHTLY)
    graph = job.asset_layer.asset_graph
    assert graph.get(RETENTION).parent_keys == {REPORT}
    (tmp_path / "prism.yaml").write_text("retention: {}")
    job = compose(load_settings({}, tmp_path)).resolve_job_def(NIGHTLY)
    assert RETENTION not in job.asset_layer.selected_asset_keys


def test_uses_are_kept_for_longer_than_any_source_reads_them_again(tmp_path: Path) -> None:
    source = "sources: [{name: app, type: application, compare_days: 90, reread_days: 7}]\n"
    (tmp_path / "prism.yaml").write_text(source + "retention: {uses: 90}")
    with pytest.raises(PrismError, match="over the 90 days that source app reads again"):
        load_settings({}, tmp_path)
    (tmp_path / "prism.yaml").write_text(source + "retention: {uses: 91}")
    assert load_settings({}, tmp_path).config.retention.uses == 91
