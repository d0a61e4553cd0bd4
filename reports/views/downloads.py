"""The page of the files that lie in the report: each table, what it is, and in which formats it is there.

Pure: what was written in, one frozen dataclass out.
"""

from __future__ import annotations

from dataclasses import dataclass

from reports import format as fmt
from reports.downloads import Downloads, File
from reports.metrics import PERIOD_NAMES
from reports.options import ReportOptions
from reports.views.common import Page, page


@dataclass(frozen=True)
class Link:
    """One file: what it is called, where it lies from the report's folder, its size in words."""

    label: str
    href: str
    size: str


@dataclass(frozen=True)
class TableRow:
    """One table, its files, and how much of it they and the workbook hold, in words (empty: all)."""

    name: str
    description: str
    rows: str
    links: tuple[Link, ...]
    in_files: str
    in_workbook: str


@dataclass(frozen=True)
class DownloadsPage:
    """The page. ``whole`` are the files that hold the report itself or all of its tables."""

    page: Page
    whole: tuple[Link, ...]
    tables: tuple[TableRow, ...]


def _link(file: File, label: str) -> Link:
    return Link(label, file.href, fmt.size(file.size_bytes))


def downloads_page(found: Downloads, printed: File | None, options: ReportOptions) -> DownloadsPage:
    """The page; ``printed`` is the report as a PDF, if there is one."""
    period = PERIOD_NAMES[options.default_period].title.lower()
    left_out = {"all": "", "default period": f"{period} alone", "no": "too large: prism export"}
    whole = [_link(printed, "The report to print (PDF)")] if printed else []
    if found.workbook:
        whole.append(_link(found.workbook, "All tables, a sheet each (XLSX)"))
    return DownloadsPage(
        page=page(options, "Downloads", "downloads"),
        whole=tuple(whole),
        tables=tuple(
            TableRow(
                name=table.name,
                # the first sentence says what it is; the rest is for analysts, in the marts' reference
                description=table.description.split(". ")[0].rstrip(".") + ".",
                rows=fmt.plural(table.rows, "row"),
                links=tuple(_link(file, file.format.upper()) for file in table.files),
                in_files=left_out[table.in_files],
                in_workbook=left_out[table.in_workbook] if found.workbook else "",
            )
            for table in found.tables
        ),
    )
