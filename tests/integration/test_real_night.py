"""`prism run` on the real input of docs/real-input.md: the whole job, for both dates, as an operator does it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from orchestration.warehouse import Warehouse
from tests import real_input_oracle as oracle
from tests.frames import differences, query
from tests.prism import Prism

pytestmark = [pytest.mark.integration, pytest.mark.shared_data, pytest.mark.xdist_group("real_night")]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "real-input.md"
NEWER, OLDER = date(2025, 2, 28), date(2024, 12, 31)


@pytest.fixture(scope="module")
def prism(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Iterator[Prism]:
    """An installation after the nights of both dates, the newer first; all rows are loaded with it."""
    installed = Prism(tmp_path_factory.mktemp("real"))
    (installed.folder / "landing").mkdir()
    for name in ("aider_usage.csv", "prompts_chat.csv"):
        shutil.copyfile(shared_data / name, installed.folder / "landing" / name)
    settings = re.search(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert settings
    installed.configure(settings[1])
    installed("db", "start")
    for day, loaded in ((NEWER, "2,711 new"), (OLDER, "0 new")):
        assert f"Loaded: {loaded}" in installed("run", "--date", day.isoformat(), "--no-send").stdout
    yield installed
    installed.stop()


@pytest.fixture(scope="module")
def uses(shared_data: Path) -> pd.DataFrame:
    return oracle.read_usage(shared_data / "aider_usage.csv")


def test_the_marts_are_those_of_the_newer_date_and_equal_pandas(
    prism: Prism, uses: pd.DataFrame, shared_data: Path
) -> None:
    warehouse = Warehouse(url=prism.server.url(), dagster_url="")
    library = oracle.read_library(shared_data / "prompts_chat.csv")
    wanted = oracle.summary(uses, library, NEWER)
    found = query(warehouse, "select * from marts.prompt_performance_summary")
    assert differences(wanted, found, ["period", "prompt_name"]) == []
    schemas = query(warehouse, "select nspname from pg_namespace where nspname like '%%marts%%'")
    assert schemas["nspname"].tolist() == ["marts"]


@pytest.mark.parametrize("as_of", [NEWER, OLDER])
def test_each_dates_report_tells_that_dates_uses(prism: Prism, uses: pd.DataFrame, as_of: date) -> None:
    page = (prism.folder / ".prism" / "reports" / as_of.isoformat() / "index.html").read_text(
        encoding="utf-8"
    )
    told = dict(re.findall(r'id="title-(\w+)">(No|[\d,]+) uses', page))
    counts = {
        window.period: int(uses["used_on"].between(window.start, window.end).sum())
        for window in oracle.windows(uses, as_of)
    }
    assert told == {period: f"{count:,}" if count else "No" for period, count in counts.items()}


def test_the_latest_report_is_that_of_the_newer_date(prism: Prism) -> None:
    assert (prism.folder / ".prism" / "reports" / "latest").resolve().name == NEWER.isoformat()


def test_every_entry_of_the_library_and_every_edit_format_has_a_page(
    prism: Prism, uses: pd.DataFrame
) -> None:
    pages = list((prism.folder / ".prism" / "reports" / NEWER.isoformat() / "prompts").glob("*.html"))
    assert len(pages) == 1528 + uses["prompt"].nunique()
