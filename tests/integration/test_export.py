"""Whole marts as files: the same rows in every format, texts inert, each file whole or not there."""

from __future__ import annotations

import csv
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import openpyxl
import psycopg
import pyarrow.parquet as pq
import pytest

from orchestration.warehouse import Warehouse
from reports import exports, marts
from reports.errors import ReportError

pytestmark = pytest.mark.integration

AT = datetime(2026, 11, 21, 1, 30, tzinfo=UTC)
HOSTILE = '=HYPERLINK("http://example.com")'


@pytest.fixture
def connection(warehouse: Warehouse) -> psycopg.Connection:
    """A warehouse with one mart of every type that marts have: 25,000 rows, more than a batch."""
    with warehouse.connect(autocommit=True) as made:
        made.execute("create schema if not exists marts")
        made.execute(
            "create table marts.things (n bigint, name text, on_day date, at timestamptz,"
            " rate double precision, cost numeric, small integer, good boolean, tags text[])"
        )
        made.execute("comment on column marts.things.rate is 'Share of good ones, 0 to 1.'")
        made.execute(
            "insert into marts.things values"
            " (1, %s, '2026-11-21', %s, 0.25, 0.0000000001, 7, true, '{a,\"b c\"}')",
            [HOSTILE, AT],
        )
        made.execute("insert into marts.things (n, name) select n, 'x' from generate_series(2, 25000) n")
        made.autocommit = False
        yield made


def written(connection: psycopg.Connection, folder: Path, form: str, **where: str) -> Path:
    with marts.extracting(connection, "marts", "things", where) as extract:
        [path] = exports.write_extract(extract, folder / "new", "things-2026-11-21", [form])
    return path


def test_csv_holds_every_row_in_order_with_formulas_as_text(
    connection: psycopg.Connection, tmp_path: Path
) -> None:
    with written(connection, tmp_path, "csv").open(encoding="utf-8", newline="") as file:
        header, first, *rest = csv.reader(file)
    assert header == ["n", "name", "on_day", "at", "rate", "cost", "small", "good", "tags"]
    assert first == [
        "1", f"'{HOSTILE}", "2026-11-21", AT.isoformat(), "0.25", "1E-10", "7", "true", '["a", "b c"]',
    ]  # fmt: skip
    assert [row[0] for row in rest] == [str(n) for n in range(2, 25001)]
    assert rest[0][1:] == ["x", *[""] * 7]


def test_json_is_one_array_of_objects(connection: psycopg.Connection, tmp_path: Path) -> None:
    rows = json.loads(written(connection, tmp_path, "json").read_text(encoding="utf-8"))
    assert len(rows) == 25_000
    assert rows[0] == {
        "n": 1, "name": HOSTILE, "on_day": "2026-11-21", "at": AT.isoformat(), "rate": 0.25,
        "cost": 1e-10, "small": 7, "good": True, "tags": ["a", "b c"],
    }  # fmt: skip
    assert rows[1]["rate"] is None


def test_a_mart_without_rows_is_an_empty_array(connection: psycopg.Connection, tmp_path: Path) -> None:
    assert json.loads(written(connection, tmp_path, "json", name="nobody").read_text()) == []


def test_parquet_keeps_types_and_descriptions(connection: psycopg.Connection, tmp_path: Path) -> None:
    table = pq.read_table(written(connection, tmp_path, "parquet"))
    assert table.num_rows == 25_000
    assert table.slice(0, 1).to_pylist() == [
        {
            "n": 1, "name": HOSTILE, "on_day": date(2026, 11, 21), "at": AT, "rate": 0.25,
            "cost": Decimal("0.0000000001"), "small": 7, "good": True, "tags": ["a", "b c"],
        }
    ]  # fmt: skip
    assert table.schema.field("rate").metadata == {b"description": b"Share of good ones, 0 to 1."}


def test_xlsx_holds_the_rows_that_match_and_no_formula(
    connection: psycopg.Connection, tmp_path: Path
) -> None:
    path = written(connection, tmp_path, "xlsx", good="true")
    sheet = openpyxl.load_workbook(path)["things"]
    assert sheet.max_row == 2 and sheet.auto_filter.ref == "A1:I2"
    assert sheet["B2"].data_type == "s" and sheet["B2"].value == HOSTILE
    assert sheet["F2"].value == pytest.approx(1e-10)


def test_more_rows_than_a_sheet_holds_are_refused_and_leave_no_file(
    connection: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "MOST_XLSX_ROWS", 24_999)
    with pytest.raises(ReportError, match="a sheet holds at most 24,999 rows"):
        written(connection, tmp_path, "xlsx")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_fault_half_way_leaves_the_last_good_file(connection: psycopg.Connection, tmp_path: Path) -> None:
    path = written(connection, tmp_path, "csv", good="true")
    before = path.read_bytes()
    connection.execute("update marts.things set rate = 'NaN' where n = 24000")
    connection.commit()
    with pytest.raises(ValueError, match="not JSON compliant"):
        written(connection, tmp_path, "json")
    assert [one.name for one in path.parent.iterdir()] == [path.name] and path.read_bytes() == before


def test_what_is_not_there_is_named_with_what_is(connection: psycopg.Connection, tmp_path: Path) -> None:
    with (
        pytest.raises(ReportError, match=r"no mart 'nothing'.*\n.*There are: .*things"),
        marts.extracting(connection, "marts", "nothing"),
    ):
        pass
    with (
        pytest.raises(ReportError, match=r"no column 'colour'.*\n.*It has: n, name"),
        marts.extracting(connection, "marts", "things", {"colour": "red"}),
    ):
        pass
    with pytest.raises(ReportError, match=r"no format pdf"):
        written(connection, tmp_path, "pdf")
    (tmp_path / "new").write_text("a file where the folder should be")
    with pytest.raises(ReportError, match=r"the export could not be written: File exists"):
        written(connection, tmp_path, "csv")
