"""The table of every prompt: who it is, and its metrics in each period, to be searched and sorted in place.

Pure: frames in, one frozen dataclass out. A cell carries the number it is sorted by beside its text, so
that the page's script never formats anything. What the script reads lies in files of its own, one a period,
so that ten thousand prompts cost a reader only the period that is looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from reports import format as fmt
from reports.charts import script_json
from reports.marts import records
from reports.metrics import PERIOD_NAMES
from reports.options import PERIODS, Period, ReportOptions
from reports.views.common import Page, page, prompt_href, prompt_name

# With a script, this many rows a page; without, the table is in the page whole.
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
    """One column of metrics; ``hint`` says what it and the small print under a value mean.

    ``better``: which way is better, for prompts side by side. The first are shown unless a reader chooses.
    """

    key: str
    label: str
    hint: str
    better: str = ""


COLUMNS = (
    Column("health", "Health", "against targets and alert rules; no data under 20 uses"),
    Column("uses", "Uses", "all uses; below: change against the previous period"),
    Column("success", "Success", "share of uses that succeeded; below: uses with a known outcome", "up"),
    Column("rating", "Rating", "average of 1 to 5; below: how many ratings", "up"),
    Column("response", "Response", "average response time; below: the 95th percentile", "down"),
    Column("cost", "Cost", "US dollars; below: per use"),
    Column("interval", "95 % interval", "where the success rate lies, with 95 % confidence"),
    Column("errors", "Errors", "share of uses that were errors, of those where it is known", "down"),
    Column("median", "Median time", "half of the uses are answered within it", "down"),
    Column("p95", "95th percentile", "95 % of the uses are answered within it", "down"),
    Column("per_use", "Per use", "US dollars for each use with a known cost", "down"),
    Column("per_success", "Per success", "US dollars, failures included, for each success", "down"),
    Column("tokens", "Tokens", "all known tokens"),
    Column("users", "Users", "distinct known users"),
    Column("sessions", "Sessions", "distinct known sessions"),
    Column("last_used", "Last used", "the last use within the period"),
)
# How many of the columns are shown before a reader chooses, and in the table without a script.
SHOWN = 6


@dataclass(frozen=True)
class Cell:
    """One value: what it is sorted by (None: always last), its text, and the small print under it.

    ``end`` is the upper end of an interval.
    """

    order: float | None
    text: str
    note: str = ""
    end: float | None = None


@dataclass(frozen=True)
class PromptRow:
    """One prompt of the table, with the columns that are shown first, in the default period."""

    name: str
    key: str
    href: str
    domain: str
    status: str
    suite: str
    complexity: str
    tags: tuple[str, ...]
    health: Health
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Facet:
    """One filter: its values, with how many prompts each has."""

    key: str
    label: str
    values: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True)
class Prompts:
    """The page. ``listing`` says who all prompts are, in the order of ``rows``; :meth:`numbers` the rest."""

    page: Page
    total: int
    unlisted: int
    columns: tuple[Column, ...]
    rows: tuple[PromptRow, ...]
    rows_a_page: int
    facets: tuple[Facet, ...]
    default_title: str
    listing: Markup
    by_period: Mapping[Period, Sequence[Mapping[str, Any] | None]]
    timezone: str

    def numbers(self) -> Iterator[tuple[Period, Markup]]:
        """What the script shows in each period; one at a time, since all together are large."""
        for period, some in self.by_period.items():
            yield (
                period,
                script_json(
                    {
                        "health": [health(row).key for row in some],
                        "cells": [_packed(cells(row, self.timezone)) for row in some],
                    }
                ),
            )


def health(row: Mapping[str, Any] | None) -> Health:
    """The health of a summary row; of a prompt without one, no data."""
    return HEALTHS.get(str(row["health"]) if row else "no_data", HEALTHS["no_data"])


def cells(row: Mapping[str, Any] | None, timezone: str) -> tuple[Cell, ...]:
    """A summary row's values, one for each of :data:`COLUMNS`."""
    known = Cell(health(row).order, health(row).word)
    if row is None or not row["usage_count"]:
        return (known, Cell(0, "0"), *(Cell(None, fmt.DASH) for _ in COLUMNS[2:]))
    change = fmt.difference(row["usage_count"], row["previous_usage_count"], "relative")
    outcomes, rated = row["outcome_count"] or 0, row["rated_count"] or 0
    p95, per_use = row["p95_response_time_ms"], row["cost_per_use"]
    low, high, last = row["success_rate_low"], row["success_rate_high"], row["last_used_at"]
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
        Cell(low, fmt.DASH if low is None else f"{fmt.percent(low)} to {fmt.percent(high)}", end=high),
        Cell(row["error_rate"], fmt.percent(row["error_rate"])),
        Cell(row["p50_response_time_ms"], fmt.duration(row["p50_response_time_ms"])),
        Cell(p95, fmt.duration(p95)),
        Cell(per_use, fmt.money(per_use)),
        Cell(row["cost_per_success"], fmt.money(row["cost_per_success"])),
        Cell(row["total_tokens"], fmt.tokens(row["total_tokens"])),
        Cell(row["user_count"], fmt.count(row["user_count"])),
        Cell(row["session_count"], fmt.count(row["session_count"])),
        Cell(last and last.timestamp(), fmt.moment(last, timezone)),
    )


def _order(value: float | None) -> float | int | None:
    """The number in six digits; whole ones without a point, which is shorter in ten thousand rows."""
    if value is None:
        return None
    short = float(f"{value:.6g}")
    return int(short) if short == int(short) else short


def _packed(some: tuple[Cell, ...]) -> list[list[object]] | int:
    """Cells for the page's script; 0 for a prompt without a use, of which many libraries have thousands."""
    if some[1].order == 0:
        return 0
    packed: list[list[object]] = []
    for cell in some:
        short: list[object] = [_order(cell.order), cell.text]
        if cell.note or cell.end is not None:
            short.append(cell.note)
        if cell.end is not None:
            short.append(_order(cell.end))
        packed.append(short)
    return packed


def _facet(key: str, label: str, values: list[tuple[str, str]]) -> Facet:
    counts = Counter(values)
    return Facet(key, label, tuple((value, text, counts[value, text]) for value, text in sorted(counts)))


def prompts(*, library: pd.DataFrame, summary: pd.DataFrame, options: ReportOptions) -> Prompts:
    """The table from `prompts` and `prompt_performance_summary`; one without a summary row has no uses."""
    by_period: dict[Period, dict[str, dict[str, Any]]] = {period: {} for period in PERIODS}
    for row in records(summary):
        by_period[row["period"]][row["prompt_id"]] = row
    listed = records(library)
    default = by_period[options.default_period]
    # The most used first: what a reader without a search in mind wants to see.
    listed.sort(
        key=lambda row: (
            -((default.get(row["prompt_id"]) or {}).get("usage_count") or 0),
            prompt_name(row).casefold(),
            str(row["prompt_id"]),
        )
    )
    rows = tuple(
        PromptRow(
            name=prompt_name(row),
            key=str(row["prompt_name"]),
            href=prompt_href(row),
            domain=str(row["domain"] or "no domain"),
            status=str(row["status"] or "unknown"),
            suite=str(row["suite"] or ""),
            complexity=str(row["complexity_level"] or ""),
            tags=tuple(tag for tag in str(row["compliance_tags"] or "").split(", ") if tag),
            health=health(default.get(row["prompt_id"])),
            cells=cells(default.get(row["prompt_id"]), options.timezone)[:SHOWN],
        )
        for row in listed
    )
    listing = {
        "columns": [
            {"key": one.key, "label": one.label, "better": one.better, "shown": n < SHOWN}
            for n, one in enumerate(COLUMNS)
        ],
        "rowsAPage": ROWS_A_PAGE,
        "healths": {key: [one.word, one.symbol] for key, one in HEALTHS.items()},
        "prompts": [
            [
                row.name,
                row.key if row.key != row.name else "",
                row.href,
                row.domain,
                row.status,
                row.suite,
                row.complexity,
                list(row.tags),
            ]
            for row in rows
        ],
    }
    levels = ("basic", "intermediate", "advanced", "expert")
    found = {row.complexity for row in rows if row.complexity}
    ordered = [level for level in levels if level in found] + sorted(found - set(levels))
    facets = (
        _facet("domain", "Domain", [(row.domain, row.domain) for row in rows]),
        Facet(
            "complexity",
            "Complexity",
            tuple(
                (level, level.capitalize(), sum(row.complexity == level for row in rows)) for level in ordered
            ),
        ),
        _facet("status", "Status", [(row.status, row.status.capitalize()) for row in rows]),
        _facet("suite", "Suite", [(row.suite, row.suite) for row in rows if row.suite]),
        Facet(
            "health",
            "Health",
            tuple((key, one.word, sum(row.health is one for row in rows)) for key, one in HEALTHS.items()),
        ),
        _facet("tags", "Tag", [(tag, tag) for row in rows for tag in row.tags]),
    )
    return Prompts(
        page=page(options, "Prompts", "prompts"),
        total=len(rows),
        unlisted=sum(row["is_listed"] is False for row in listed),
        columns=COLUMNS,
        rows=rows,
        rows_a_page=ROWS_A_PAGE,
        facets=tuple(facet for facet in facets if facet.values),
        default_title=PERIOD_NAMES[options.default_period].title,
        listing=script_json(listing),
        by_period={period: [by_period[period].get(row["prompt_id"]) for row in listed] for period in PERIODS},
        timezone=options.timezone,
    )
