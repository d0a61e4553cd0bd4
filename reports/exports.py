"""Tables as files that people open elsewhere: CSV and XLSX with every text inert, Parquet and JSON.

Frames and extracts in, files or bytes out; knows no mart by name, no page and no mail. A spreadsheet takes a
cell that begins with ``=`` for a formula, and prompt names are anybody's text: here a text stays a text.
Parquet and JSON are for programs, which take no text for a formula, and hold it as it is.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pandas as pd

from reports.errors import ReportError
from reports.marts import Extract, records

if TYPE_CHECKING:
    import pyarrow as pa

# What Excel, LibreOffice and Google Sheets take for a formula in a CSV file (OWASP: CSV injection).
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
# XML 1.0 has no such characters, and no spreadsheet a way to show them.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_LONGEST_CELL = 32_767
_LONGEST_TITLE = 31
_WIDEST = 60
# Rows by whose texts the columns get their widths.
_MEASURED = 200
# Excel's own limit, less the header.
MOST_XLSX_ROWS = 1_048_575


def to_csv(frame: pd.DataFrame, *, bom: bool = False) -> bytes:
    """The frame as CSV in UTF-8 with a header; a missing value is an empty cell.

    A text that a spreadsheet would take for a formula gets an apostrophe before it. ``bom``: with a byte
    order mark, without which Excel takes UTF-8 for the code page of the machine.
    """
    text = io.StringIO(newline="")
    _write_csv(text, frame.columns, (row.values() for row in records(frame)))
    return text.getvalue().encode("utf-8-sig" if bom else "utf-8", "replace")


def _write_csv(file: IO[str], names: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow([_inert(str(name)) for name in names])
    writer.writerows([_field(value) for value in row] for row in rows)


def _field(value: Any) -> Any:
    if isinstance(value, str):
        return _inert(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat() if value.tzinfo else value.isoformat()
    return _inert(_json(value)) if isinstance(value, list | dict) else value


def _inert(text: str) -> str:
    text = text.replace("\x00", "\ufffd")
    return f"'{text}" if _FORMULA.match(text) else text


def to_xlsx(sheets: Mapping[str, pd.DataFrame]) -> bytes:
    """The frames as sheets of a workbook, by title; a missing value is an empty cell, times are UTC.

    Numbers and days are such; every text is typed as one, so that no formula comes to life. A text longer
    than a cell can hold is cut.
    """
    made = io.BytesIO()
    _write_xlsx(
        made,
        {
            title: (list(frame.columns), (row.values() for row in records(frame)))
            for title, frame in sheets.items()
        },
    )
    return made.getvalue()


def _write_xlsx(file: IO[bytes], sheets: Mapping[str, tuple[Sequence[str], Iterable[Iterable[Any]]]]) -> None:
    from openpyxl import Workbook  # noqa: PLC0415 - a third of a second
    from openpyxl.cell import WriteOnlyCell  # noqa: PLC0415
    from openpyxl.styles import Font  # noqa: PLC0415

    book = Workbook(write_only=True)
    bold = Font(bold=True)

    def cells(sheet: Any, values: Iterable[Any], *, header: bool = False) -> list[Any]:
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

    for title, (columns, rows) in sheets.items():
        sheet = book.create_sheet(title[:_LONGEST_TITLE])
        names = [_cell(str(name)) for name in columns]
        values = ([_cell(value) for value in row] for row in rows)
        first = list(itertools.islice(values, _MEASURED))
        sheet.freeze_panes = "A2"
        for number, name in enumerate(names):
            longest = max([len(str(row[number])) for row in first if row[number] is not None], default=0)
            letter = _letters(number)
            sheet.column_dimensions[letter].width = min(_WIDEST, max(len(name), longest) + 2)
        sheet.append(cells(sheet, names, header=True))
        count = 0
        for count, row in enumerate(itertools.chain(first, values), 1):
            if count > MOST_XLSX_ROWS:
                sheet.close()  # else its half-written file complains when it is collected
                raise ReportError(
                    f"a sheet holds at most {MOST_XLSX_ROWS:,} rows, and there are more",
                    where=title,
                    mend="Take another format (csv, parquet, json) or fewer rows.",
                )
            sheet.append(cells(sheet, row))
        sheet.auto_filter.ref = f"A1:{_letters(max(0, len(names) - 1))}{count + 1}"
    book.save(file)


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


def write_extract(extract: Extract, folder: Path, stem: str, formats: Sequence[str]) -> list[Path]:
    """One file a format, `<stem>.<format>` in ``folder``, each written whole or not at all.

    Rows are streamed: a mart of any length takes a few batches of memory. Raises :class:`ReportError` for
    an unknown format, a folder that cannot be written, or more rows than a sheet holds.
    """
    unknown = sorted(set(formats) - set(WRITERS))
    if unknown or not formats:
        raise ReportError(
            f"there is no format {', '.join(unknown) or 'given'}",
            where="--format",
            mend=f"There are: {', '.join(WRITERS)}.",
        )
    written = []
    for form in formats:
        path = folder / f"{stem}.{form}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _whole(path, lambda file, form=form: WRITERS[form](file, extract))  # type: ignore[misc]
        except OSError as error:
            raise ReportError(
                f"the export could not be written: {error.strerror}",
                where=str(path),
                mend="Make room or choose another folder with --output.",
            ) from error
        written.append(path)
    return written


def _whole(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Writes beside ``path`` and renames, so that nobody sees half a file, not after a kill either."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).rename(path)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(name).unlink()
        raise


def write_workbook(extracts: Sequence[Extract], path: Path) -> None:
    """One workbook with a sheet an extract, in their order; a sheet's title holds at most 31 characters."""
    _whole(
        path,
        lambda file: _write_xlsx(
            file,
            {one.name: (one.names, itertools.chain.from_iterable(one.batches())) for one in extracts},
        ),
    )


def _csv(file: IO[bytes], extract: Extract) -> None:
    text = io.TextIOWrapper(file, "utf-8", errors="replace", newline="")
    _write_csv(text, extract.names, itertools.chain.from_iterable(extract.batches()))
    text.flush()
    text.detach()


def _xlsx(file: IO[bytes], extract: Extract) -> None:
    _write_xlsx(file, {extract.name: (extract.names, itertools.chain.from_iterable(extract.batches()))})


def _json_array(file: IO[bytes], extract: Extract) -> None:
    """An array of objects, one a line; costs are numbers, days and times ISO 8601."""
    before = "[\n"
    for batch in extract.batches():
        for row in batch:
            file.write(
                f"{before}{_json(dict(zip(extract.names, row, strict=True)))}".encode("utf-8", "replace")
            )
            before = ",\n"
    file.write(b"\n]\n" if before == ",\n" else b"[]\n")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=_plain, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat() if value.tzinfo else value.isoformat()
    return float(value) if isinstance(value, Decimal) else str(value)


def _parquet(file: IO[bytes], extract: Extract) -> None:
    """Typed columns, each with its description; costs are decimals, times UTC."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    schema = pa.schema(
        [
            pa.field(one.name, _arrow(one.kind), metadata={"description": one.description})
            for one in extract.columns
        ]
    )
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in extract.batches():
            columns = [
                pa.array([_typed(value, field.type) for value in values], field.type)
                for values, field in zip(zip(*batch, strict=True), schema, strict=True)
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))


def _arrow(kind: str) -> pa.DataType:
    """The Arrow type of a PostgreSQL one; what has no equal is text."""
    import pyarrow as pa  # noqa: PLC0415

    return {
        "bigint": pa.int64(),
        "integer": pa.int32(),
        "double precision": pa.float64(),
        "numeric": pa.decimal128(38, 10),
        "boolean": pa.bool_(),
        "date": pa.date32(),
        "timestamp with time zone": pa.timestamp("us", "UTC"),
        "text[]": pa.list_(pa.string()),
    }.get(kind, pa.string())


def _typed(value: Any, kind: pa.DataType) -> Any:
    import pyarrow as pa  # noqa: PLC0415

    if value is None:
        return None
    if pa.types.is_decimal(kind):
        return value.quantize(_COST_UNIT)
    return value if not pa.types.is_string(kind) or isinstance(value, str) else _json(value)


# raw.prompt_usage keeps costs to ten places.
_COST_UNIT = Decimal("1e-10")
WRITERS: Mapping[str, Callable[[IO[bytes], Extract], None]] = {
    "csv": _csv,
    "xlsx": _xlsx,
    "parquet": _parquet,
    "json": _json_array,
}
