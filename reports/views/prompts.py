"""The table of every prompt: who it is, and its metrics in each period, to be searched and sorted in place.

Pure: frames in, one frozen dataclass out. A cell carries the number it is sorted by beside its text, so
that the page's script never formats anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from reports import format as fmt
from reports.charts import script_json
from reports.marts import records
from reports.metrics import PERIOD_NAMES
from reports.options import PERIODS, ReportOptions
from reports.views.common import Page, page, prompt_href, prompt_name

# The static table for readers without JavaScript is in the page whole; with it, this many rows a page.
ROWS_A_PAGE = 100


@dataclass(frozen=True)
class Health:
    """A prompt's health: a word and a symbol, so that colour is never alone."""

    key: str
    word: str
    symbol: str
    order: int


HEALTHS: Mapping[str, Health] = {
    health.key: health
    for health in (
        Health("at_risk", "At risk", "✗", 3),
        Health("watch", "Watch", "!", 2),
        Health("healthy", "Healthy", "✓", 1),
        Health("no_data", "No data", fmt.DASH, 0),
    )
}


@dataclass(frozen=True)
class Column:
    """One column of metrics; ``note`` says what the small print under a value means."""

    key: str
    label: str
    hint: str


COLUMNS = (
    Column("health", "Health", "against targets and alert rules; no data under 20 uses"),
    Column("uses", "Uses", "all uses; below: change against the previous period"),
    Column("success", "Success", "share of uses that succeeded; below: uses with a known outcome"),
    Column("rating", "Rating", "average of 1 to 5; below: how many ratings"),
    Column("response", "Response", "average response time; below: the 95th percentile"),
    Column("cost", "Cost", "US dollars; below: per use"),
)


@dataclass(frozen=True)
class Cell:
    """One value: what it is sorted by (None: always last), its text, and the small print under it."""

    order: float | None
    text: str
    note: str = ""


@dataclass(frozen=True)
class PromptRow:
    """One prompt of the table, with its cells in the default period."""

    name: str
    key: str
    href: str
    domain: str
    status: str
    suite: str
    complexity: str
    health: Health
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Facet:
    """One filter: its values with how many prompts each has."""

    key: str
    label: str
    values: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True)
class Prompts:
    """The page. ``data`` is the table of all periods for the page's script."""

    page: Page
    total: int
    unlisted: int
    columns: tuple[Column, ...]
    rows: tuple[PromptRow, ...]
    rows_a_page: int
    facets: tuple[Facet, ...]
    default_title: str
    data: Markup


def health(row: Mapping[str, Any] | None) -> Health:
    """The health of a summary row; of a prompt without one, no data."""
    return HEALTHS.get(str(row["health"]) if row else "no_data", HEALTHS["no_data"])


def _cells(row: Mapping[str, Any] | None) -> tuple[Cell, ...]:
    state = health(row)
    known = Cell(state.order, state.word)
    if row is None or not row["usage_count"]:
        return (known, Cell(0, "0"), *(Cell(None, fmt.DASH) for _ in COLUMNS[2:]))
    change = fmt.difference(row["usage_count"], row["previous_usage_count"], "relative")
    outcomes, rated = row["outcome_count"] or 0, row["rated_count"] or 0
    p95, per_use = row["p95_response_time_ms"], row["cost_per_use"]
    return (
        known,
        Cell(row["usage_count"], fmt.count(row["usage_count"]), change or ""),
        Cell(
            row["success_rate"],
            fmt.percent(row["success_rate"]),
            f"of {fmt.count(outcomes)}" + (", thin" if outcomes < fmt.THIN_SAMPLE else "")
            if outcomes
            else "",
        ),
        Cell(
            row["average_rating"],
            fmt.rating(row["average_rating"]),
            f"{fmt.count(rated)} rated" + (", thin" if rated < fmt.THIN_SAMPLE else "") if rated else "",
        ),
        Cell(
            row["average_response_time_ms"],
            fmt.duration(row["average_response_time_ms"]),
            f"p95 {fmt.duration(p95)}" if p95 is not None else "",
        ),
        Cell(
            row["total_cost"],
            fmt.money(row["total_cost"]),
            f"{fmt.money(per_use)} a use" if per_use is not None else "",
        ),
    )


def _order(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def _packed(cells: tuple[Cell, ...]) -> list[list[object]] | int:
    """Cells for the page's script; 0 for a prompt without a use, of which many libraries have thousands."""
    if cells[1].order == 0:
        return 0
    return [[_order(cell.order), cell.text, cell.note] for cell in cells]


def _facet(key: str, label: str, values: list[tuple[str, str]]) -> Facet:
    counts = Counter(values)
    return Facet(key, label, tuple((value, text, counts[value, text]) for value, text in sorted(counts)))


def prompts(*, library: pd.DataFrame, summary: pd.DataFrame, options: ReportOptions) -> Prompts:
    """The table from `prompts` and `prompt_performance_summary`; one without a summary row has no uses."""
    by_period: dict[str, dict[str, dict[str, Any]]] = {period: {} for period in PERIODS}
    for row in records(summary):
        by_period[row["period"]][row["prompt_id"]] = row
    listed = records(library)
    rows = []
    packed: dict[str, list[list[list[object]] | int]] = {period: [] for period in PERIODS}
    default = by_period[options.default_period]
    # The most used first: what a reader without a search in mind wants to see.
    listed.sort(
        key=lambda row: (
            -((default.get(row["prompt_id"]) or {}).get("usage_count") or 0),
            prompt_name(row).casefold(),
            str(row["prompt_id"]),
        )
    )
    for row in listed:
        for period in PERIODS:
            packed[period].append(_packed(_cells(by_period[period].get(row["prompt_id"]))))
        now = default.get(row["prompt_id"])
        rows.append(
            PromptRow(
                name=prompt_name(row),
                key=str(row["prompt_name"]),
                href=prompt_href(row),
                domain=str(row["domain"] or "no domain"),
                status=str(row["status"] or "unknown"),
                suite=str(row["suite"] or ""),
                complexity=str(row["complexity_level"] or ""),
                health=health(now),
                cells=_cells(now),
            )
        )
    data = {
        "columns": [column.key for column in COLUMNS],
        "rowsAPage": ROWS_A_PAGE,
        "healths": {key: [one.word, one.symbol] for key, one in HEALTHS.items()},
        "prompts": [
            [row.name, row.key if row.key != row.name else "", row.href, row.domain, row.status, row.suite]
            for row in rows
        ],
        "health": {
            period: [health(by_period[period].get(row["prompt_id"])).key for row in listed]
            for period in PERIODS
        },
        "cells": packed,
    }
    facets = (
        _facet("domain", "Domain", [(row.domain, row.domain) for row in rows]),
        _facet("status", "Status", [(row.status, row.status.capitalize()) for row in rows]),
        _facet("suite", "Suite", [(row.suite, row.suite) for row in rows if row.suite]),
        Facet(
            "health",
            "Health",
            tuple((key, one.word, sum(row.health is one for row in rows)) for key, one in HEALTHS.items()),
        ),
    )
    return Prompts(
        page=page(options, "Prompts", "prompts"),
        total=len(rows),
        unlisted=sum(row["is_listed"] is False for row in listed),
        columns=COLUMNS,
        rows=tuple(rows),
        rows_a_page=ROWS_A_PAGE,
        facets=tuple(facet for facet in facets if facet.values),
        default_title=PERIOD_NAMES[options.default_period].title,
        data=script_json(data),
    )
