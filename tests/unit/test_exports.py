"""Tables as CSV and XLSX: what goes in comes out, and no text comes to life in a spreadsheet."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime, time
from typing import Any

import openpyxl
import pandas as pd
import pytest

from reports import exports
from tests.unit.mail_samples import HOSTILE

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1+1", "\r=1", " =1+1", "=cmd|' /C calc'!A0", "\uff1d1+1"]


def frame(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), dtype=object)


def from_csv(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))


@pytest.mark.parametrize("text", FORMULAS)
def test_a_text_like_a_formula_is_a_text_in_csv_and_xlsx(text: str) -> None:
    made = frame({text: text, "n": -1})
    header, row = from_csv(exports.to_csv(made))
    assert header == [f"'{text}", "n"]
    assert row == [f"'{text}", "-1"]  # a number stays one
    sheet = openpyxl.load_workbook(io.BytesIO(exports.to_xlsx({"Prompts": made})))["Prompts"]
    for cell in (sheet["A1"], sheet["A2"]):
        assert cell.data_type == "s"
        assert cell.value.replace("_x000D_", "\r").strip() == text.strip()
    assert sheet["B2"].value == -1


def test_hostile_text_makes_files_that_open() -> None:
    made = frame({"prompt": HOSTILE, "uses": 3})
    [_, [name, uses]] = from_csv(exports.to_csv(made, bom=True))
    assert "<script>alert(1)</script>" in name and uses == "3"
    assert "\x00" not in name and "\ud800" not in name
    cell = openpyxl.load_workbook(io.BytesIO(exports.to_xlsx({"P": made})))["P"]["A2"]
    assert cell.data_type == "s" and cell.value.startswith("<script>alert(1)</script>")


def test_numbers_days_and_times_keep_their_kind_and_what_is_unknown_stays_empty() -> None:
    at = datetime(2026, 11, 21, 1, 30, tzinfo=UTC)
    made = frame(
        {"day": date(2026, 11, 21), "at": at, "rate": 0.5, "uses": 12, "rating": None},
        {"day": None, "at": None, "rate": float("inf"), "uses": None, "rating": pd.NA},
    )
    assert from_csv(exports.to_csv(made))[1] == ["2026-11-21", "2026-11-21T01:30:00+00:00", "0.5", "12", ""]
    sheet = openpyxl.load_workbook(io.BytesIO(exports.to_xlsx({"P": made})))["P"]
    rows = list(sheet.iter_rows(min_row=2, values_only=True))
    assert rows[0] == (datetime.combine(at, time.min), at.replace(tzinfo=None), 0.5, 12, None)
    assert rows[1] == (None, None, "inf", None, None)


def test_a_text_longer_than_a_cell_is_cut_and_a_workbook_has_its_sheets() -> None:
    book = openpyxl.load_workbook(
        io.BytesIO(
            exports.to_xlsx(
                {
                    "Prompts": frame({"prompt": "x" * 100_000}),
                    "Alerts": pd.DataFrame(columns=[f"c{n}" for n in range(30)]),
                }
            )
        )
    )
    assert book.sheetnames == ["Prompts", "Alerts"]
    assert len(book["Prompts"]["A2"].value) == 32_767
    assert book["Alerts"]["AD1"].value == "c29"
    assert book["Alerts"].auto_filter.ref == "A1:AD1"
