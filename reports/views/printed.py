"""The report on paper: one period of the overview, every alert that is open, and the most used prompts.

Pure: the views of the pages in, one frozen dataclass out, so that paper and page can't say two things.
"""

from __future__ import annotations

from dataclasses import dataclass

from reports import format as fmt
from reports.options import ReportOptions
from reports.views.alerts import Alerts
from reports.views.overview import Overview, PeriodOverview
from reports.views.prompts import SHOWN, Column, PromptRow, Prompts

# Paper is for reading through; a longer list is looked up on the pages.
MOST_PROMPTS = 200


@dataclass(frozen=True)
class Printed:
    """The document. ``left_out`` prompts, the least used ones, are on the pages alone."""

    overview: Overview
    period: PeriodOverview
    alerts: Alerts
    columns: tuple[Column, ...]
    prompts: tuple[PromptRow, ...]
    left_out: str


def printed(overview: Overview, alerts: Alerts, prompts: Prompts, options: ReportOptions) -> Printed:
    """The document of ``options.default_period``."""
    more = len(prompts.rows) - MOST_PROMPTS
    return Printed(
        overview=overview,
        period=overview.period(options.default_period),
        alerts=alerts,
        columns=prompts.columns[:SHOWN],
        prompts=prompts.rows[:MOST_PROMPTS],
        left_out=f"{fmt.plural(more, 'prompt')} with fewer uses: on the pages alone." if more > 0 else "",
    )
