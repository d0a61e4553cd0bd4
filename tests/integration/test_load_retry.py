"""Rows in quarantine, loaded again after a mend: nothing is lost, nothing is there twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestration.errors import PrismError
from orchestration.loading.load import load_source
from orchestration.loading.retry import Retried, retry_rejected
from orchestration.settings import Settings, load_settings
from orchestration.warehouse import Warehouse

pytestmark = pytest.mark.integration

FILES = """
sources:
  - {{name: log, type: files, path: "*.csv", usage_id: line,
     columns: {{prompt_key: prompt, used_at: at, rating: {rating}}}}}
"""
APPLICATION = "sources: [{name: app, type: application, schema: theirs, compare_days: %s}]"


class House:
    def __init__(self, warehouse: Warehouse, folder: Path) -> None:
        self.warehouse, self.folder = warehouse, folder

    def configure(self, text: str) -> None:
        (self.folder / "prism.yaml").write_text(text)

    @property
    def settings(self) -> Settings:
        variables = {"PRISM_HOME": str(self.folder / "home"), "PRISM_HMAC_KEY": "of the test"}
        return load_settings(variables, self.folder)

    def load(self) -> None:
        load_source(self.warehouse, self.settings.sources[0], self.settings)

    def retry(self) -> Retried:
        return retry_rejected(self.warehouse, self.settings.sources[0], self.settings)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with self.warehouse.connect() as connection:
            cursor = connection.execute(query)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def open(self) -> list[tuple[object, ...]]:
        return self.rows("select location, field from raw.rejected_rows where resolved_at is null order by 1")


@pytest.fixture
def house(warehouse: Warehouse, tmp_path: Path) -> House:
    return House(warehouse, tmp_path)


def test_a_mended_file_is_loaded_whole_and_its_records_are_resolved(house: House) -> None:
    house.configure(FILES.format(rating="stars"))
    path = house.folder / "a.csv"
    path.write_text("prompt,at,stars\np,2025-01-01,5\np,nonsense,4\np,2025-01-03,nine\n")
    (house.folder / "b.csv").write_text("prompt,at,stars\np,2025-01-01,5\n")
    house.load()
    assert house.open() == [("a.csv:3", None), ("a.csv:4", "rating")]
    path.write_text("prompt,at,stars\np,2025-01-01,5\np,2025-01-02,4\np,2025-01-03,nine\n")
    done = house.retry()
    assert (done.before, done.resolved, done.after) == (2, 2, 1)
    assert {result.location for result in done.results} == {"a.csv"}
    assert house.open() == [("a.csv:4", "rating")]
    assert house.rows("select usage_id, rating from raw.prompt_usage order by 1") == [
        ("a.csv:2", 5.0), ("a.csv:3", 4.0), ("a.csv:4", None), ("b.csv:2", 5.0),
    ]  # fmt: skip
    assert str(done) == "log: 2 of 2 rejected rows or values were read again; 1 is in quarantine now"


def test_mended_settings_load_what_was_rejected(house: House) -> None:
    house.configure(FILES.format(rating="stars"))
    (house.folder / "a.csv").write_text("prompt,at,stars\np,2025-01-01,10\n")
    house.load()
    house.configure(FILES.format(rating="{from: stars, scale: [1, 10]}"))
    assert (house.retry().resolved, house.open()) == (1, [])
    assert house.rows("select rating from raw.prompt_usage") == [(5.0,)]


def test_what_is_still_wrong_stands_in_quarantine_once_however_often_it_is_tried(house: House) -> None:
    house.configure(FILES.format(rating="stars"))
    (house.folder / "a.csv").write_text("prompt,at,stars\np,nonsense,4\n")
    house.load()
    for _ in range(3):
        assert house.retry().after == 1
    assert house.open() == [("a.csv:2", None)]


def test_a_file_that_is_gone_keeps_its_records(house: House) -> None:
    house.configure(FILES.format(rating="stars"))
    (house.folder / "a.csv").write_text("prompt,at,stars\np,nonsense,4\n")
    house.load()
    (house.folder / "a.csv").unlink()
    done = house.retry()
    assert (done.resolved, done.gone) == (0, ["a.csv"])
    assert "not there any more: a.csv; 1 is in quarantine now" in str(done)
    assert house.open() == [("a.csv:2", None)]


def test_a_file_that_can_not_be_read_keeps_its_records_and_holds_up_no_other(house: House) -> None:
    house.configure(FILES.format(rating="stars"))
    for name in ("a", "b"):
        (house.folder / f"{name}.csv").write_text(f"prompt,at,stars\n{name},nonsense,4\n")
    house.load()
    (house.folder / "a.csv").write_text("prompt,stars\np,4\n")
    (house.folder / "b.csv").write_text("prompt,at,stars\np,2025-01-01,4\n")
    done = house.retry()
    assert done.resolved == 1
    assert ["has no column 'at'" in failure for failure in done.failures] == [True]
    assert house.open() == [("a.csv:2", None)]


@pytest.mark.parametrize("compare_days", [35, 0])
def test_rows_of_a_database_are_read_again_by_their_keys(house: House, compare_days: int) -> None:
    house.configure(APPLICATION % compare_days)
    old = (datetime.now(UTC) - timedelta(days=90)).isoformat()
    house.rows("create schema theirs")
    house.rows("create table theirs.prompts (id int, name text)")
    house.rows("insert into theirs.prompts values (1, 'a')")
    house.rows(
        "create table theirs.prompt_usage (id int, prompt_id int, rating text, created_at timestamptz, "
        "updated_at timestamptz)"
    )
    house.rows(
        "insert into theirs.prompt_usage "
        f"select n, case when n <> 2 then 1 end, case when n = 3 then 'x' else '4' end, '{old}', '{old}' "
        "from generate_series(1, 5) as n"
    )
    house.rows(f"insert into theirs.prompt_usage values (6, null, '4', '{old}', '{old}')")
    house.rows("insert into theirs.prompt_usage select 7, 1, '5', now(), now()")
    house.load()
    assert house.open() == [
        ("theirs.prompt_usage:2", None), ("theirs.prompt_usage:3", "rating"), ("theirs.prompt_usage:6", None),
    ]  # fmt: skip
    # mended there, long ago as far as updated_at tells
    house.rows("update theirs.prompt_usage set prompt_id = 1 where id in (2, 3)")
    house.rows("update theirs.prompt_usage set rating = 3 where id = 3")
    done = house.retry()
    assert (done.before, done.resolved, done.after) == (3, 3, 1)
    assert house.open() == [("theirs.prompt_usage:6", None)]
    assert house.rows("select usage_id, rating from raw.prompt_usage order by 1") == [
        ("1", 4.0), ("2", 4.0), ("3", 3.0), ("4", 4.0), ("5", 4.0), ("7", 5.0),
    ]  # fmt: skip


def test_a_rejected_row_that_is_gone_there_is_told(house: House) -> None:
    house.configure(APPLICATION % 35)
    house.rows("create schema theirs")
    house.rows("create table theirs.prompts (id int, name text)")
    house.rows("create table theirs.prompt_usage (id uuid, prompt_id int, created_at timestamptz)")
    house.rows("insert into theirs.prompt_usage values (null, 1, now())")
    house.rows("insert into theirs.prompt_usage values (gen_random_uuid(), null, now())")
    house.load()
    house.rows("delete from theirs.prompt_usage where id is not null")
    done = house.retry()
    assert (done.resolved, len(done.gone)) == (0, 1)


def test_nothing_rejected_reads_nothing(house: House) -> None:
    house.configure(APPLICATION % 35)
    done = house.retry()
    assert (str(done), done.results) == ("app: nothing was rejected", [])


def test_a_database_that_is_not_there_resolves_nothing(house: House) -> None:
    house.configure(FILES.format(rating="stars"))
    (house.folder / "a.csv").write_text("prompt,at,stars\np,nonsense,4\n")
    house.load()
    house.configure("sources: [{name: log, type: application, url: 'postgresql://127.0.0.1:1/none'}]")
    with pytest.raises(PrismError, match="no connection"):
        house.retry()
    assert house.open() == [("a.csv:2", None)]
