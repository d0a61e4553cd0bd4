"""An alert's state, from what its rule found and what people did."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from orchestration.alerting.states import Action, Episode, Kind, State, state_of, woke_on

AS_OF = date(2026, 11, 21)
TODAY = AS_OF + timedelta(days=1)


def episode(severity: str = "medium", period: str = "month", resolved_on: date | None = None) -> Episode:
    return Episode(severity=severity, period=period, resolved_on=resolved_on, as_of_date=AS_OF)


def did(action: Kind, on: date = TODAY, severity: str = "medium", **values: Any) -> Action:
    at = datetime(on.year, on.month, on.day, 9, tzinfo=UTC)
    return Action(1, "a", at, on, "ann", action, severity, **values)


@pytest.mark.parametrize(
    ("history", "state"),
    [
        ([], "open"),
        ([did("acknowledge")], "acknowledged"),
        ([did("snooze", until_on=TODAY + timedelta(days=1))], "snoozed"),
        ([did("resolve")], "resolved"),
        ([did("acknowledge"), did("reopen")], "open"),
        ([did("resolve"), did("acknowledge")], "acknowledged"),
        ([did("acknowledge"), did("assign", assigned_to="bob"), did("note", note="Why?")], "acknowledged"),
        ([did("assign", assigned_to="bob")], "open"),
    ],
)
def test_the_last_action_that_is_more_than_a_name_or_a_note_says_how_it_stands(
    history: list[Action], state: State
) -> None:
    assert state_of(episode(), history, TODAY) == state


def test_a_snooze_ends_by_itself_on_its_day() -> None:
    history = [did("snooze", until_on=TODAY + timedelta(days=3))]
    states = [state_of(episode(), history, TODAY + timedelta(days=day)) for day in range(5)]
    assert states == ["snoozed", "snoozed", "snoozed", "open", "open"]


@pytest.mark.parametrize(
    "action",
    [did("acknowledge"), did("snooze", until_on=TODAY + timedelta(days=9)), did("resolve")],
    ids=lambda one: one.action,
)
def test_nothing_holds_against_a_higher_severity(action: Action) -> None:
    assert state_of(episode("high"), [action], TODAY) == "open"
    assert state_of(episode("low"), [action], TODAY) != "open"


def test_what_was_resolved_opens_again_where_the_rule_fires_over_a_window_after_it() -> None:
    resolved_on = AS_OF - timedelta(days=29)  # the month to the as-of date begins on that day
    assert state_of(episode(), [did("resolve", resolved_on)], TODAY) == "resolved"
    assert state_of(episode(), [did("resolve", resolved_on - timedelta(days=1))], TODAY) == "open"
    assert state_of(episode(period="day"), [did("resolve", AS_OF)], TODAY) == "resolved"
    assert state_of(episode(period="day"), [did("resolve", AS_OF - timedelta(days=1))], TODAY) == "open"
    long_ago = did("resolve", AS_OF - timedelta(days=900))
    assert state_of(episode(period="all"), [long_ago], TODAY) == "resolved"


def test_a_rule_that_no_longer_fires_resolves_whatever_was_done() -> None:
    over = episode(resolved_on=AS_OF)
    for history in ([], [did("acknowledge")], [did("resolve"), did("reopen")]):
        assert state_of(over, history, TODAY) == "resolved"


def test_what_was_quiet_and_is_open_again_says_since_which_night() -> None:
    snoozed = did("snooze", until_on=TODAY + timedelta(days=3))
    assert woke_on(episode(), [snoozed]) == TODAY + timedelta(days=2)  # whose night is the next morning
    assert woke_on(episode(), [did("resolve")]) == TODAY + timedelta(days=30)
    for history in ([], [did("acknowledge")], [snoozed, did("reopen")]):
        assert woke_on(episode(), history) is None
    assert woke_on(episode("high"), [snoozed]) is None  # an escalation is told as one
