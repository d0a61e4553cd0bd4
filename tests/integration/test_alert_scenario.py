"""Alert rules judged: sixty nights of generated life with known faults.

For every fault: within which night it is detected, and when it is over; for the whole: false alarms, flaps,
and how many notices people would have got. The table stands in docs/methods/alerts.md.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from orchestration.warehouse import Warehouse
from tests.dbt import run_dbt
from tests.oracle import alert_life as life
from tests.oracle import raw

pytestmark = pytest.mark.integration

PAGE = Path(__file__).resolve().parents[2] / "docs" / "methods" / "alerts.md"
LAST = life.day(life.DAYS)
TOLD = ("opened", "reopened", "escalated", "resolved")
# what the faults are: subject -> rules that may speak of it. All else is a false alarm.
TRUE = {
    "regressing": {"success_drop", "poor_success_rate", "high_error_rate", "worse_version"},
    "spiking": {"cost_spike"},
    "dying": {"usage_drop", "low_usage"},
    "at the threshold": {"poor_success_rate", "high_error_rate"},
    "gateway": {"data_gap"},
}


@dataclass(frozen=True)
class Event:
    """One change of one alert, on a numbered day."""

    number: int
    event: str
    rule: str
    subject: str


def build(warehouse: Warehouse, as_of: date, **variables: Any) -> None:
    run_dbt(
        warehouse,
        "run",
        "--select",
        "+alert_events",
        "+alert_evidence",
        "+performance_alerts",
        vars={"as_of_date": as_of.isoformat(), **variables},
    )


@pytest.fixture(scope="module")
def lived(module_warehouse: Warehouse) -> Warehouse:
    """The sixty nights, evaluated in one build."""
    run_dbt(module_warehouse, "seed")
    with module_warehouse.connect() as connection:
        raw.write(connection, "prompts", life.library())
        for source, rows in life.uses(seed=60).items():
            raw.write(connection, "prompt_usage", rows, source=source)
    build(module_warehouse, LAST, alerts_since=life.FIRST.isoformat())
    return module_warehouse


@pytest.fixture(scope="module")
def events(lived: Warehouse) -> list[Event]:
    return read(lived)


def read(warehouse: Warehouse, schema: str = "marts") -> list[Event]:
    with warehouse.connect() as connection:
        found = connection.execute(
            f"select event_on, event, rule, prompt_name from {schema}.alert_events order by 1, 3, 4"  # type: ignore[call-overload]
        ).fetchall()
    return [Event((day - life.FIRST).days + 1, event, rule, name) for day, event, rule, name in found]


def false_alarms(events: Sequence[Event]) -> list[Event]:
    return [
        one
        for one in events
        if one.event in ("opened", "reopened") and one.rule not in TRUE.get(one.subject, set())
    ]


def night_of(events: Sequence[Event], event: str, rule: str, subject: str) -> int:
    """The numbered day of the only event like that."""
    (number,) = [one.number for one in events if (one.event, one.rule, one.subject) == (event, rule, subject)]
    return number


def within(events: Sequence[Event], rule: str, subject: str, begins: int) -> int:
    """Within which night of a fault it was detected: 1 is the night after its first day."""
    return night_of(events, "opened", rule, subject) - begins + 1


def test_every_fault_is_detected_within_nights(events: list[Event]) -> None:
    found = {
        "regression": within(events, "success_drop", "regressing", life.REGRESSION.start),
        "spike": within(events, "cost_spike", "spiking", life.SPIKE.start),
        "death": within(events, "usage_drop", "dying", life.DEATH),
        "gap": within(events, "data_gap", "gateway", life.GAP.start),
    }
    assert found == {"regression": 3, "spike": 1, "death": 4, "gap": 1}


def test_an_alert_is_over_when_the_fault_is(events: list[Event]) -> None:
    # the week that success is counted over must first fill with days after the mend
    assert night_of(events, "resolved", "success_drop", "regressing") - life.REGRESSION.stop + 1 == 6
    # two clear nights close it, for a gap one
    assert night_of(events, "resolved", "cost_spike", "spiking") - life.SPIKE.stop + 1 == 2
    assert night_of(events, "resolved", "data_gap", "gateway") - life.GAP.stop + 1 == 1
    assert not [one for one in events if one.subject == "dying" and one.event == "resolved"]


def test_nothing_else_is_alarmed_and_nothing_flaps(events: list[Event]) -> None:
    assert false_alarms(events) == []
    assert [one for one in events if one.event == "reopened"] == []


def test_a_rate_that_wobbles_around_its_threshold_is_told_once(lived: Warehouse, events: list[Event]) -> None:
    """Without hysteresis it would have been told each time that it was crossed anew."""
    with lived.connect() as connection:
        nights = connection.execute(
            "select as_of_date, crossed_level > 0 from intermediate.int_alert_evaluations"
            " where rule = 'poor_success_rate' and prompt_name = 'at the threshold' order by 1"
        ).fetchall()
    crossed = [False, *(is_crossed for _, is_crossed in nights)]
    openings = sum(now and not before for before, now in itertools.pairwise(crossed))
    told = [one for one in events if (one.rule, one.subject) == ("poor_success_rate", "at the threshold")]
    assert openings == 3
    assert [one.event for one in told if one.event in TOLD] == ["opened"]


def test_a_night_that_runs_again_adds_no_event_and_nights_one_by_one_give_the_same(
    lived: Warehouse, events: list[Event]
) -> None:
    for number in (life.DAYS - 1, life.DAYS):
        build(lived, life.day(number))
    assert read(lived) == events


@pytest.fixture(scope="module")
def beside(lived: Warehouse, events: list[Event]) -> Warehouse:
    """Night 24 again, when all 60 are over."""
    build(lived, life.day(24), marts_schema="marts_beside")
    return lived


def test_a_past_night_that_runs_again_knows_its_own_past_and_changes_no_later_one(
    beside: Warehouse, events: list[Event]
) -> None:
    assert read(beside, "marts_beside") == [one for one in events if one.number <= 24]
    build(beside, LAST)
    assert read(beside) == events


def test_an_alert_says_what_changed_who_drives_it_and_which_errors_there_were(beside: Warehouse) -> None:
    """As of the fifth day of the regression: it is of a new version, and all failures are of one model."""
    with beside.connect() as connection:
        alerts = connection.execute(
            "select alert_id, owner, first_detected_on, observed_high, baseline_value, message"
            " from marts_beside.performance_alerts where rule = 'success_drop' and state = 'open'"
        ).fetchall()
        [(alert_id, owner, since, high, baseline, message)] = alerts
        evidence = connection.execute(
            "select kind, dimension, name, happened_on, share, description from marts_beside.alert_evidence"
            " where alert_id = %s order by kind, rank",
            [alert_id],
        ).fetchall()
    assert (owner, since) == ("ann@example.com", life.day(22))
    assert high < 0 and baseline == pytest.approx(0.92, abs=0.02)
    assert re.fullmatch(
        r"Success rate changed by −[\d.]+ % over \d+ uses with a known outcome"
        r" \(from 9[\d.]+ % in the 90 days before to [67][\d.]+ %\)"
        r" in the week to 2025-01-24, below the threshold of −10 %\.",
        message,
    )
    kinds = [(kind, dimension, name) for kind, dimension, name, *_ in evidence]
    assert ("change", "version", "2") in kinds
    assert dict(zip(kinds, evidence, strict=True))["change", "version", "2"][3] == life.day(20)
    assert {("segment", "version", "2"), ("segment", "model", "large")} < set(kinds)
    errors = [(name, share) for kind, _, name, _, share, _ in evidence if kind == "errors"]
    assert [name for name, _ in errors] == ["timeout", "refusal"]
    assert sum(share for _, share in errors) == pytest.approx(1)
    assert errors[0][1] == pytest.approx(0.7, abs=0.15)


def test_the_page_shows_the_figures(events: list[Event]) -> None:
    assert page_table(events) in PAGE.read_text(encoding="utf-8")


def page_table(events: Sequence[Event]) -> str:
    """The page's table: fault by fault, and the whole."""
    told = [one for one in events if one.event in TOLD]
    faults = [
        ("success falls from 92 % to 57 % on day 20, mended on day 30", "success_drop", "regressing", 20, 30),
        ("a call costs eight times as much on days 35 and 36", "cost_spike", "spiking", 35, 37),
        ("a prompt is used no more from day 40 on", "usage_drop", "dying", 40, None),
        ("a source brings nothing on days 45 to 47", "data_gap", "gateway", 45, 48),
    ]
    lines = ["| fault | rule | detected within night | over within night |", "| --- | --- | ---: | ---: |"]
    for fault, rule, subject, begins, ends in faults:
        over = "" if ends is None else str(night_of(events, "resolved", rule, subject) - ends + 1)
        lines.append(f"| {fault} | `{rule}` | {within(events, rule, subject, begins)} | {over} |")
    for what, subject in (
        ("a prompt is new on day 30", "newcomer"),
        ("success is 70 %, the threshold, all the time", "at the threshold"),
        ("a prompt is used on working days only", "working days only"),
    ):
        openings = sum(one.subject == subject and one.event in ("opened", "reopened") for one in events)
        lines.append(f"| {what} | {openings or 'no'} alert{'' if openings == 1 else 's'} | | |")
    nights = len({one.number for one in told})
    flaps = sum(one.event == "reopened" for one in events)
    lines.append("")
    lines.append(
        f"False alarms: {len(false_alarms(events))}. Flaps (an alert that opens again): {flaps}."
        f" To tell people: {len(told)} changes on {nights} of {life.DAYS} nights."
    )
    return "\n".join(lines)
