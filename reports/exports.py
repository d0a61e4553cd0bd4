"""Tables as files that people open elsewhere: CSV and XLSX, with every text inert.

Frames in, bytes out; knows no mart, no page and no mail. A spreadsheet takes a cell that begins with ``=``
for a formula, and prompt names are anybody's text: here a text stays a text.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pandas as pd

from reports.marts import records

# What Excel, LibreOffice and Google Sheets take for a formula in a CSV file (OWASP: CSV injection).
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
# XML 1.0 has no such characters, and no spreadsheet a way to show them.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_LONGEST_CELL = 32_767
_WIDEST = 60


def to_csv(frame: pd.DataFrame, *, bom: bool = False) -> bytes:
    """The frame as CSV in UTF-8 with a header; a missing value is an empty cell.

    A text that a spreadsheet would take for a formula gets an apostrophe before it. ``bom``: with a byte
    order mark, without which Excel takes UTF-8 for the code page of the machine.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([_inert(str(name)) for name in frame.columns])
    for row in records(frame):
        writer.writerow([_inert(value) if isinstance(value, str) else value for value in row.values()])
    return text.getvalue().encode("utf-8-sig" if bom else "utf-8", "replace")


def _inert(text: str) -> str:
    text = text.replace("\x00", "\ufffd")
    return f"'{text}" if _FORMULA.match(text) else text


def to_xlsx(sheets: Mapping[str, pd.DataFrame]) -> bytes:
    """The frames as sheets of a workbook, by title; a missing value is an empty cell, times are UTC.

    Numbers and days are such; every text is typed as one, so that no formula comes to life. A text longer
    than a cell can hold is cut.
    """
    from openpyxl import Workbook  # noqa: PLC0415 - a third of a second
    from openpyxl.cell import WriteOnlyCell  # noqa: PLC0415
    from openpyxl.styles import Font  # noqa: PLC0415

    book = Workbook(write_only=True)
    bold = Font(bold=True)

    def cells(sheet: Any, values: Iterator[Any], *, header: bool = False) -> list[Any]:
        made = []
        for value in values:
            cell = WriteOnlyCell(sheet, value=None if isinstance(value, str) else value)
            if isinstance(value, str):
                cell._value = value  # the setter would look at what the text says
                cell.data_type = "s"
            if header:
                cell.font = bold
            made.append(cell)
        return made

    for title, frame in sheets.items():
        sheet = book.create_sheet(title)
        rows = [[_cell(value) for value in row.values()] for row in records(frame)]
        names = [_cell(str(name)) for name in frame.columns]
        sheet.freeze_panes = "A2"
        for number, name in enumerate(names):
            longest = max([len(str(row[number])) for row in rows[:200] if row[number] is not None], default=0)
            letter = _letters(number)
            sheet.column_dimensions[letter].width = min(_WIDEST, max(len(name), longest) + 2)
        sheet.auto_filter.ref = f"A1:{_letters(max(0, len(names) - 1))}{len(rows) + 1}"
        sheet.append(cells(sheet, iter(names), header=True))
        for row in rows:
            sheet.append(cells(sheet, iter(row)))
    made = io.BytesIO()
    book.save(made)
    return made.getvalue()


def _cell(value: Any) -> Any:
    """A value as a spreadsheet can hold it."""
    if isinstance(value, str):
        return _NOT_XML.sub("\ufffd", value)[:_LONGEST_CELL]
    if isinstance(value, float | Decimal) and not math.isfinite(value):
        return str(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    if value is None or isinstance(value, bool | int | float | Decimal | date):
        return value
    return _NOT_XML.sub("\ufffd", str(value))[:_LONGEST_CELL]


def _letters(number: int) -> str:
    """A column's name in a spreadsheet: 0 is A, 26 is AA."""
    letters = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(65 + rest) + letters
    return letters
