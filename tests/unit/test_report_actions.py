"""The section of action items: what is to be done, the overdue first, and what the completed ones did."""

from __future__ import annotations

from datetime import timedelta

from reports.views.actions import action_items
from tests.unit import report_frames as frames
from tests.unit.report_frames import AS_OF

BEFORE_AND_AFTER = {
    "before_value": 0.301, "before_low": 0.25, "before_high": 0.358, "before_count": 1210,
    "after_value": 0.549, "after_low": 0.48, "after_high": 0.61, "after_count": 144,
}  # fmt: skip


def test_what_is_overdue_comes_first_and_is_counted() -> None:
    rows = frames.action_items(
        {"prompt_id": "a", "alert_id": "1"},
        {"prompt_id": "b", "alert_id": "2", "due_on": AS_OF + timedelta(days=3), "assigned_to": "Bob"},
        {"prompt_id": "c", "alert_id": "3", "due_on": AS_OF, "is_overdue": True},
    )
    found = action_items(rows, {}, frames.options())
    assert found.headline == "3 action items to see to, 1 overdue"
    assert [(one.prompt, one.who, one.due, one.overdue) for one in found.waiting] == [
        ("c", "nobody named", "overdue since 1 Mar 2026", True),
        ("b", "Bob", "due 4 Mar 2026", False),
        ("a", "nobody named", "no date", False),
    ]
    assert found.done == ()


def test_a_completed_item_says_what_it_did_as_far_as_that_is_known() -> None:
    done = {"state": "done", "done_on": AS_OF}
    rows = frames.action_items(
        {"prompt_id": "a", "alert_id": "1", "effect_metric": "success_rate", "verdict": "better"}
        | {"done_by": "Ann"} | done | BEFORE_AND_AFTER,
        {"prompt_id": "b", "alert_id": "2", "effect_metric": "average_rating", "verdict": "not enough data"}
        | {"before_value": 2.5, "before_count": 30} | done,
        {"prompt_id": "c", "alert_id": "3", "rule": "over_budget"} | done,
    )  # fmt: skip
    found = action_items(rows, {}, frames.options())
    assert found.headline == "0 action items to see to"
    told = {
        one.prompt: (one.effect.replace("\u202f", " "), one.due, one.verdict, one.tone) for one in found.done
    }
    assert told == {
        "a": (
            "Success rate 30.1 % (25.0 % to 35.8 %, 1,210) → 54.9 % (48.0 % to 61.0 %, 144)",
            "1 Mar 2026, Ann", "better", "good",
        ),
        "b": (
            "Average rating 2.50 (30) → nothing known",
            "1 Mar 2026, the rule no longer fired", "not enough data", "neutral",
        ),
        "c": (
            "no metric of a prompt, so nothing to measure",
            "1 Mar 2026, the rule no longer fired", "", "neutral",
        ),
    }  # fmt: skip
