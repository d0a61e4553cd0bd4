"""The files that lie in a report beside its pages: its tables for spreadsheets and programs.

Marts in, files in the report's folder out, and what there is to say of each. Knows no page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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
    "alert_evidence",
    "action_items",
    "prompts",
    "prompt_version_performance",
    "performance_by_segment",
    "performance_over_time",
    "usage_by_hour",
    "performance_distribution",
    "response_time_distribution",
    "cost_analysis",
    "agent_costs",
    "model_savings",
    "usage_forecasts",
    "prompt_comparisons",
    "data_quality",
    "rules_in_force",
)
# A workbook is for people: a sheet of more cells than this takes long to write and longer to open. A longer
# file than this is for a program, which asks for it with `prism export`.
MOST_CELLS = 300_000
MOST_ROWS = 100_000
Held = Literal["all", "default period", "no"]


@dataclass(frozen=True)
class File:
    """One file of a table: its format, where it lies from the report's folder, and how large it is."""

    format: str
    href: str
    size_bytes: int


@dataclass(frozen=True)
class Table:
    """One table and its files, and how much of it they and the workbook hold."""

    name: str
    description: str
    rows: int
    files: tuple[File, ...]
    in_files: Held
    in_workbook: Held


@dataclass(frozen=True)
class Downloads:
    """What was written; ``workbook`` is None where no `xlsx` is asked for."""

    workbook: File | None
    tables: tuple[Table, ...]


def write(marts: Marts, folder: Path, options: ReportOptions) -> Downloads:
    """Writes the tables in ``options.exports`` into ``folder/exports``; a workbook holds them all as sheets.

    What would be too large holds the default period alone, or is left out.
    """
    formats = [one for one in options.exports if one not in ("xlsx", "pdf")]
    tables, sheets = [], []
    for name in TABLES:
        whole = marts.extract(name)
        rows = whole.count()
        if options.domains and not rows:
            continue  # it is of all domains together
        listed, in_files = _fitting(marts, whole, rows, MOST_ROWS, options)
        files = (
            exports.write_extract(listed, folder / FOLDER, f"{name}-{options.as_of_date}", formats)
            if listed and formats
            else []
        )
        sheet, in_workbook = _fitting(marts, whole, rows, MOST_CELLS // len(whole.columns), options)
        if sheet and "xlsx" in options.exports:
            sheets.append(sheet)
        found = tuple(_file(path) for path in files)
        tables.append(Table(name, whole.description, rows, found, in_files, in_workbook))
    workbook = None
    if sheets:
        path = folder / FOLDER / f"prism-{options.as_of_date}.xlsx"
        path.parent.mkdir(parents=True, exist_ok=True)
        exports.write_workbook(sheets, path)
        workbook = _file(path)
    return Downloads(workbook, tuple(tables))


def _fitting(
    marts: Marts, whole: Extract, rows: int, most_rows: int, options: ReportOptions
) -> tuple[Extract | None, Held]:
    """As much of a table as is at most ``most_rows`` long: all, the default period's rows, or nothing."""
    if rows <= most_rows:
        return whole, "all"
    if "period" in whole.names:
        fewer = marts.extract(whole.name, {"period": options.default_period})
        if fewer.count() <= most_rows:
            return fewer, "default period"
    return None, "no"


def _file(path: Path) -> File:
    return File(path.suffix[1:], f"{FOLDER}/{path.name}", path.stat().st_size)


def total_bytes(found: Downloads) -> int:
    """What all the files come to."""
    files: Sequence[File] = [one for table in found.tables for one in table.files]
    return sum(one.size_bytes for one in files) + (found.workbook.size_bytes if found.workbook else 0)
