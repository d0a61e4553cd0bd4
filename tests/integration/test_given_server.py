"""A night on a PostgreSQL of the operator's: Debian's, over TCP, with a password."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tests.prism import Prism

pytestmark = [pytest.mark.integration, pytest.mark.debian_postgres]


def test_a_night_runs_on_debians_postgresql(debian_server: str, tmp_path: Path) -> None:
    with psycopg.connect(debian_server, autocommit=True) as connection:
        connection.execute("create database given")
    url = debian_server.rsplit("/", 1)[0] + "/given"
    prism = Prism(tmp_path, {"PRISM_WAREHOUSE_URL": url})
    prism.here("sample", "--rows", "3000")
    assert "Report: " in prism("run", "--no-send").stdout
    with psycopg.connect(url) as connection:
        uses = connection.execute(
            "select usage_count from marts.dashboard_metrics where period = 'all'"
        ).fetchone()
        assert uses == (3000,)
    with psycopg.connect(url + "_dagster") as connection:
        assert connection.execute("select status from runs").fetchall() == [("SUCCESS",)]
    assert prism.here("db", "url").stdout == f"{url}\n"
    assert prism("db", "psql", "-Atc", "select 1").stdout == "1\n"
    assert "which Prism does not stop" in prism.here("db", "stop", fails=True).stderr
    assert not (tmp_path / ".prism" / "postgres").exists()
    written = [path for path in (tmp_path / ".prism").rglob("*") if path.is_file()]
    assert not [path for path in written if b"t0p-secret" in path.read_bytes()]
