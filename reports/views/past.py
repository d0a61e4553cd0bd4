"""The page of all reports that were made, beside their folders: each stays as it was rendered.

Pure: what each report says of itself in, one frozen dataclass out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from reports import format as fmt
from reports.options import ReportOptions


@dataclass(frozen=True)
class PastReport:
    """One report: its day, what its overview said first, and how its build went."""

    href: str
    day: str
    iso: str
    headline: str
    built: str
    note: str


@dataclass(frozen=True)
class PastReports:
    """The page. ``assets`` leads to the newest report's style sheet."""

    title: str
    reports: tuple[PastReport, ...]
    assets: str


def past_reports(manifests: Sequence[tuple[str, Mapping[str, Any]]], options: ReportOptions) -> PastReports:
    """The page from folder names and the `report.json` in each, the newest first."""
    made = []
    for name, content in manifests:
        built = content.get("built_at")
        state = str(content.get("build") or "")
        made.append(
            PastReport(
                href=f"{name}/index.html",
                day=fmt.day(date.fromisoformat(name)),
                iso=name,
                headline=str(content.get("headline") or content.get("title") or ""),
                built=fmt.moment(datetime.fromisoformat(built), options.timezone) if built else fmt.DASH,
                note="" if state == "green" else "its build failed its tests" if state == "red" else state,
            )
        )
    return PastReports(options.title, tuple(made), f"{manifests[0][0]}/assets/" if manifests else "")
