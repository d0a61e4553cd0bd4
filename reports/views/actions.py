"""Action items: who sees to which alert, what is overdue, and what the completed ones did.

Pure: a frame in, one frozen dataclass out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports import format as fmt
from reports.marts import records
from reports.metrics import Tone
from reports.options import ReportOptions
from reports.views import common

_MOST_DONE = 50
_LONGEST_NOTE = 300


@dataclass(frozen=True)
class Item:
    """One action item. ``href`` is the prompt's page, from the report's folder; ``effect`` what it did."""

    prompt: str
    href: str
    domain: str
    rule: str
    severity: str
    symbol: str
    state: str
    who: str
    due: str
    overdue: bool
    note: str
    effect: str
    verdict: str
    tone: Tone


@dataclass(frozen=True)
class ActionItems:
    """The section: what is to be done, the overdue first, and what is done, the newest first."""

    headline: str
    waiting: tuple[Item, ...]
    done: tuple[Item, ...]
    done_left_out: int


def _per_day(value: float | None) -> str:
    return fmt.DASH if value is None else f"{value:,.1f} uses a day"


_EFFECTS: Mapping[str, tuple[str, Callable[[float | None], str]]] = {
    "success_rate": ("Success rate", fmt.percent),
    "error_rate": ("Error rate", fmt.percent),
    "average_rating": ("Average rating", fmt.rating),
    "average_response_time_ms": ("Average response time", fmt.duration),
    "cost_per_use": ("Cost per use", fmt.money),
    "usage_count": ("Use", _per_day),
}
_TONES: Mapping[str | None, Tone] = {"better": "good", "worse": "bad"}


def action_items(
    item_rows: pd.DataFrame, prompts: Mapping[str, Mapping[str, Any]], options: ReportOptions
) -> ActionItems:
    """The section from `action_items`; ``prompts`` are today's prompts by `prompt_id`."""
    rows = records(item_rows)
    overdue = sum(row["is_overdue"] for row in rows)
    waiting = [row for row in rows if row["state"] != "done"]
    waiting.sort(key=lambda row: (row["due_on"] or options.as_of_date.max, str(row["alert_id"])))
    done = [row for row in rows if row["state"] == "done"]
    done.sort(key=lambda row: (row["done_on"], str(row["alert_id"])), reverse=True)
    headline = f"{fmt.plural(len(waiting), 'action item')} to see to"
    return ActionItems(
        headline=f"{headline}, {overdue} overdue" if overdue else headline,
        waiting=tuple(_item(row, prompts) for row in waiting),
        done=tuple(_item(row, prompts) for row in done[:_MOST_DONE]),
        done_left_out=max(0, len(done) - _MOST_DONE),
    )


def _item(row: Mapping[str, Any], prompts: Mapping[str, Mapping[str, Any]]) -> Item:
    known = prompts.get(row["prompt_id"])
    severity, rule = str(row["severity"]), str(row["rule"])
    done = row["state"] == "done"
    if done:
        due = f"{fmt.day(row['done_on'])}, {row['done_by'] or 'the rule no longer fired'}"
    elif row["due_on"] is None:
        due = "no date"
    else:
        due = f"{'overdue since' if row['is_overdue'] else 'due'} {fmt.day(row['due_on'])}"
    return Item(
        prompt=common.prompt_name(known or row),
        href=common.prompt_href(known) if known else "prompts.html",
        domain=str(row["domain"] or "no domain"),
        rule=common.RULES.get(rule, rule.replace("_", " ").capitalize()),
        severity=severity,
        symbol=common.SYMBOLS.get(severity, "▲"),
        state=str(row["state"]),
        who=str(row["assigned_to"] or "nobody named"),
        due=due,
        overdue=bool(row["is_overdue"]),
        note=fmt.cut(str(row["note"] or ""), _LONGEST_NOTE),
        effect=_effect(row) if done else "",
        verdict=str(row["verdict"] or ""),
        tone=_TONES.get(row["verdict"], "neutral"),
    )


def _effect(row: Mapping[str, Any]) -> str:
    """``Success rate 30.1 % (25.0 % – 35.8 %, 210) → 54.9 % (…), in 30 and 20 days``, as far as is known."""
    if row["effect_metric"] is None:
        return "no metric of a prompt, so nothing to measure"
    label, write = _EFFECTS[row["effect_metric"]]

    def side(name: str) -> str:
        value, low, high = (row[f"{name}_{end}"] for end in ("value", "low", "high"))
        if value is None:
            return "nothing known"
        between = "" if low is None else f"{write(low)} to {write(high)}, "
        return f"{write(value)} ({between}{fmt.count(row[f'{name}_count'])})"

    return f"{label} {side('before')} → {side('after')}"
