"""What the marts say of prompts: the figures that stand beside their texts.

Reads two marts in the session that it is handed, and knows nothing of the application's database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from orchestration.library.prompts import Prompt


@dataclass(frozen=True)
class PromptFigures:
    """One prompt in one period. Rates are 0 to 1, costs USD; what is not known is none, counts are 0.

    ``success_rate_low`` and ``…_high`` are the ends of its 95 % interval. ``last_used_on`` is of all time, in
    the reporting time zone.
    """

    usage_count: int = 0
    outcome_count: int = 0
    success_count: int = 0
    success_rate: float | None = None
    success_rate_low: float | None = None
    success_rate_high: float | None = None
    average_rating: float | None = None
    average_response_time_ms: float | None = None
    cost_per_use: float | None = None
    health: str | None = None
    last_used_on: date | None = None


@dataclass(frozen=True)
class Figures:
    """The figures of all prompts: by id, as of a date."""

    as_of_date: date
    period: str
    by_id: Mapping[str, PromptFigures]

    def of(self, prompt: Prompt) -> PromptFigures:
        """A prompt's figures; those of one without uses where the marts don't know it yet."""
        return self.by_id.get(prompt.id, PromptFigures())


def read_figures(connection: psycopg.Connection, period: str, timezone: str) -> Figures | None:
    """The marts' figures for a ``period`` (``month``, ``quarter``, …); none where they are not built.

    ``timezone`` is the reporting time zone.
    """
    with connection.transaction():
        built = connection.execute(
            "select count(*) from unnest(array['prompts', 'prompt_performance_summary']) as mart (name)"
            " where to_regclass('marts.' || name) is not null"
        ).fetchone()
        if built != (2,):
            return None
        rows = connection.execute(
            """
            select
                p.prompt_id, s.as_of_date, s.usage_count, s.outcome_count, s.success_count,
                s.success_rate::double precision, s.success_rate_low::double precision,
                s.success_rate_high::double precision, s.average_rating::double precision,
                s.average_response_time_ms::double precision, s.cost_per_use::double precision,
                s.health, (p.last_used_at at time zone %s)::date
            from marts.prompts as p
            inner join marts.prompt_performance_summary as s on p.prompt_id = s.prompt_id
            where s.period = %s
            """,
            [timezone, period],
        ).fetchall()
    if not rows:
        return None
    return Figures(rows[0][1], period, {str(row[0]): PromptFigures(*row[2:]) for row in rows})
