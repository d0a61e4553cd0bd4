"""The files that lie in a report beside its pages: its tables for spreadsheets and programs.

Marts in, files in the report's folder out, and what there is to say of each. Knows no page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reports import exports
from reports.marts import Extract, Marts
from reports.options import ReportOptions

FOLDER = "exports"
# The marts whose rows the pages show; the library's texts are not among them.
TABLES = (
    "dashboard_metrics",
    "prompt_performance_summary",
    "top_performing_prompts",
    "prompt_recommendations",
    "performance_alerts",
    "alert_events",
    "prompts",
    "prompt_version_performance",
    "performance_by_segment",
    "performance_over_time",
    "usage_by_hour",
    "performance_distribution",
    "cost_analysis",
    "usage_forecasts",
    "prompt_comparisons",
    "data_quality",
    "rules_in_force",
)
# A workbook is for people: a sheet of more cells than this takes long to write and longer to open.
MOST_CELLS = 300_000


@dataclass(frozen=True)
class File:
    """One file of a table: its format, where it lies from the report's folder, and how large it is."""

    format: str
    href: str
    size_bytes: int


@dataclass(frozen=True)
class Table:
    """One table and its files. ``in_workbook``: ``all``, the ``default period``'s rows alone, or ``no``."""

    name: str
    description: str
    rows: int
    files: tuple[File, ...]
    in_workbook: str


@dataclass(frozen=True)
class Downloads:
    """What was written; ``workbook`` is None where no `xlsx` is asked for."""

    workbook: File | None
    tables: tuple[Table, ...]


def write(marts: Marts, folder: Path, options: ReportOptions) -> Downloads:
    """Writes the tables in ``options.exports`` into ``folder/exports``; a workbook holds them all as sheets.

    A sheet that would be too large for people holds the default period alone, or is left out.
    """
    formats = [one for one in options.exports if one not in ("xlsx", "pdf")]
    tables, sheets = [], []
    for name in TABLES:
        extract = marts.extract(name)
        rows = extract.count()
        files = (
            exports.write_extract(extract, folder / FOLDER, f"{name}-{options.as_of_date}", formats)
            if formats
            else []
        )
        sheet, held = _sheet(marts, extract, rows, options)
        if sheet and "xlsx" in options.exports:
            sheets.append(sheet)
        tables.append(Table(name, extract.description, rows, tuple(_file(path) for path in files), held))
    workbook = None
    if sheets:
        path = folder / FOLDER / f"prism-{options.as_of_date}.xlsx"
        path.parent.mkdir(parents=True, exist_ok=True)
        exports.write_workbook(sheets, path)
        workbook = _file(path)
    return Downloads(workbook, tuple(tables))


def _sheet(marts: Marts, extract: Extract, rows: int, options: ReportOptions) -> tuple[Extract | None, str]:
    width = len(extract.columns)
    if rows * width <= MOST_CELLS:
        return extract, "all"
    if "period" in extract.names:
        fewer = marts.extract(extract.name, {"period": options.default_period})
        if fewer.count() * width <= MOST_CELLS:
            return fewer, "default period"
    return None, "no"


def _file(path: Path) -> File:
    return File(path.suffix[1:], f"{FOLDER}/{path.name}", path.stat().st_size)


def total_bytes(found: Downloads) -> int:
    """What all the files come to."""
    files: Sequence[File] = [one for table in found.tables for one in table.files]
    return sum(one.size_bytes for one in files) + (found.workbook.size_bytes if found.workbook else 0)
