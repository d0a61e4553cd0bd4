"""What people do about alerts: kept over rebuilds, and the same state in the marts and live."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from click.testing import Result
from typer.testing import CliRunner

from orchestration.alerting import actions
from orchestration.alerting.actions import Filter
from orchestration.cli import app
from orchestration.errors import PrismError
from orchestration.warehouse import Warehouse
from tests.dbt import run_dbt
from tests.oracle import raw

pytestmark = pytest.mark.integration

FIRST = date(2025, 3, 1)
AS_OF = FIRST + timedelta(days=3)
DAY = timedelta(days=1)
ZONE = ZoneInfo("UTC")
NOW = datetime(2025, 3, 5, 9, tzinfo=UTC)  # the morning after the as-of date
TODAY = NOW.date()
PROMPTS = 60


def prompt(number: int) -> str:
    return f"00000000-0000-0000-0000-{number:012}"


def uses(number: int, day: date, failed: int, count: int) -> list[dict[str, Any]]:
    return [
        {
            "usage_id": f"{number} {day} {n}",
            "prompt_key": prompt(number),
            "used_at": raw.at(day.isoformat()),
            "success": n >= failed,
        }
        for n in range(count)
    ]


def night(warehouse: Warehouse, day: date) -> None:
    run_dbt(
        warehouse,
        "run",
        "--select",
        "+performance_alerts",
        "+alert_events",
        "+prompts",
        vars={"as_of_date": day.isoformat()},
    )


@pytest.fixture(scope="module")
def built(module_warehouse: Warehouse) -> Warehouse:
    """A night on which every prompt fails; some are mended for two nights then, some worse on the second."""
    run_dbt(module_warehouse, "seed")
    with module_warehouse.connect() as connection:
        raw.write(
            connection,
            "prompts",
            [
                {
                    "prompt_id": prompt(number),
                    "name": f"prompt {number}",
                    "status": "active",
                    "domain": "support" if number % 2 else "sales",
                    "owner": "ann@example.com" if number % 3 else None,
                    "created_at": raw.at("2024-01-01"),
                }
                for number in range(PROMPTS)
            ],
        )
        raw.write(
            connection,
            "prompt_usage",
            [use for number in range(PROMPTS) for use in uses(number, FIRST, 7 + number % 5, 20)],
        )
        night(module_warehouse, FIRST)
        mended = [uses(number, AS_OF - DAY, 0, 400) for number in range(1, PROMPTS, 6)]
        raw.write(connection, "prompt_usage", [use for some in mended for use in some])
        night(module_warehouse, AS_OF - DAY)
        worse = [uses(number, AS_OF, 40, 40) for number in range(0, PROMPTS, 3)]
        raw.write(connection, "prompt_usage", [use for some in worse for use in some])
    night(module_warehouse, AS_OF)
    return module_warehouse


@pytest.fixture
def connection(built: Warehouse) -> Iterator[psycopg.Connection[Any]]:
    """A session whose actions are gone with the test."""
    with built.connect() as connection:
        yield connection
        connection.rollback()


def listed(connection: psycopg.Connection[Any], **wanted: Any) -> list[actions.Alert]:
    return actions.list_alerts(connection, now=NOW, zone=ZONE, wanted=Filter(**wanted))


def test_marts_and_live_state_agree_whatever_people_did(built: Warehouse) -> None:
    """Random histories of up to five actions, done on and before the morning of the build."""
    dice = random.Random(5)
    with built.connect() as connection:
        everything = listed(connection, states=actions.STATES)
        for alert in everything:
            for _ in range(dice.randrange(6)):
                kind = dice.choice(["acknowledge", "snooze", "assign", "resolve", "reopen", "note"])
                at = NOW - timedelta(days=dice.choice([0, 0, 1, 5, 29, 30, 31, 60]), hours=dice.randrange(9))
                connection.execute(
                    "insert into ops.alert_actions"
                    " (alert_id, acted_at, acted_by, action, severity, until_on, assigned_to, note)"
                    " values (%s, %s, 'ann', %s, %s, %s, %s, %s)",
                    [
                        alert.alert_id,
                        at,
                        kind,
                        dice.choice(["low", "medium", "high"]),
                        TODAY + timedelta(days=dice.randrange(-2, 3)) if kind == "snooze" else None,
                        "bob" if kind == "assign" else None,
                        "because" if kind == "note" else None,
                    ],
                )
    run_dbt(
        built,
        "run",
        "--select",
        "int_alert_standing",
        "performance_alerts",
        vars={"as_of_date": AS_OF.isoformat()},
    )
    with built.connect() as connection:
        live = {alert.alert_id: alert for alert in listed(connection, states=actions.STATES)}
        mart = connection.execute(
            "select alert_id, state, assigned_to, due_on from marts.performance_alerts"
        ).fetchall()
    assert {state for _, state, _, _ in mart} == {"open", "acknowledged", "snoozed", "resolved"}
    assert len(mart) == len(live) > 60
    for alert_id, *found in mart:
        alert = live[alert_id]
        assert found == [alert.state, alert.assigned_to, alert.due_on], alert.history


def test_a_rebuild_of_any_kind_keeps_what_people_did(built: Warehouse) -> None:
    with built.connect() as connection:
        alert = listed(connection, states=["open"])[0]
        actions.acknowledge(connection, [alert.alert_id], by="ann", now=NOW, zone=ZONE, note="On it.")
        kept = actions.show(connection, alert.alert_id, now=NOW, zone=ZONE)
    run_dbt(built, "run", "--full-refresh", vars={"as_of_date": AS_OF.isoformat()})
    with built.connect() as connection:
        assert actions.show(connection, alert.alert_id, now=NOW, zone=ZONE) == kept
        [row] = connection.execute(
            "select state from marts.performance_alerts where alert_id = %s", [alert.alert_id]
        ).fetchall()
    assert (kept.state, row) == ("acknowledged", ("acknowledged",))


def test_an_alert_goes_from_open_to_resolved_and_keeps_its_history(
    connection: psycopg.Connection[Any],
) -> None:
    alert = listed(connection, states=["open"])[-1]
    begin = alert.alert_id[:8]
    actions.assign(
        connection,
        [begin],
        assigned_to="bob@example.com",
        due_on=TODAY + timedelta(days=2),
        by="ann",
        now=NOW,
        zone=ZONE,
    )
    [snoozed] = actions.snooze(
        connection, [begin], until_on=TODAY + timedelta(days=5), by="bob", now=NOW, zone=ZONE
    )
    assert (snoozed.state, snoozed.until_on, snoozed.is_overdue) == (
        "snoozed",
        TODAY + timedelta(days=5),
        False,
    )
    later = actions.show(connection, begin, now=NOW + timedelta(days=5), zone=ZONE)
    assert (later.state, later.until_on, later.is_overdue) == ("open", None, True)
    [resolved] = actions.resolve(
        connection, [begin], by="bob", now=NOW + timedelta(days=5), zone=ZONE, note="Version 4."
    )
    assert (resolved.state, resolved.is_overdue) == ("resolved", False)
    own = resolved.history[len(alert.history) :]
    assert [(one.acted_by, one.action, one.note) for one in own] == [
        ("ann", "assign", None),
        ("bob", "snooze", None),
        ("bob", "resolve", "Version 4."),
    ]
    assert json.loads(json.dumps(resolved.record()))["history"][-1]["acted_on"] == "2025-03-10"


def test_alerts_are_found_by_severity_state_domain_owner_and_assignee(
    connection: psycopg.Connection[Any],
) -> None:
    everything = listed(connection, states=actions.STATES)
    for wanted in (
        {"severity": "high"},
        {"domain": "support"},
        {"owner": "ann@example.com"},
        {"assigned_to": "bob"},
    ):
        [(name, value)] = wanted.items()
        found = listed(connection, states=actions.STATES, **wanted)
        assert found == [alert for alert in everything if getattr(alert, name) == value]
        assert 0 < len(found) < len(everything)
    severities = [alert.severity for alert in everything]
    assert severities == sorted(severities, key=["high", "medium", "low"].index)
    assert {alert.state for alert in listed(connection)} == {"open", "acknowledged", "snoozed"}


def test_several_alerts_are_acted_on_at_once_or_not_at_all(connection: psycopg.Connection[Any]) -> None:
    ids = [alert.alert_id for alert in listed(connection, states=["open"])[:3]]
    count = "select count(*) from ops.alert_actions"
    before = connection.execute(count).fetchone()
    with pytest.raises(PrismError, match="there is no alert 'ffffffff-none'"):
        actions.acknowledge(connection, [*ids, "ffffffff-none"], by="ann", now=NOW, zone=ZONE)
    assert connection.execute(count).fetchone() == before
    done = actions.acknowledge(connection, [*ids, ids[0]], by="ann", now=NOW, zone=ZONE)
    assert [(alert.alert_id, alert.state) for alert in done] == [(one, "acknowledged") for one in ids]


@pytest.mark.parametrize("begin", ["", "abc", "0", "%", "________"])
def test_an_id_that_is_too_short_or_unknown_is_refused(
    connection: psycopg.Connection[Any], begin: str
) -> None:
    with pytest.raises(PrismError, match="there is no alert"):
        actions.show(connection, begin, now=NOW, zone=ZONE)


def test_days_that_are_over_and_alerts_that_are_over_are_refused(connection: psycopg.Connection[Any]) -> None:
    alert = listed(connection)[0].alert_id
    said: dict[str, Any] = {"by": "ann", "now": NOW, "zone": ZONE}
    with pytest.raises(PrismError, match="a snooze must end on a day to come: 2025-03-05"):
        actions.snooze(connection, [alert], until_on=TODAY, **said)
    with pytest.raises(PrismError, match="due on a day that is over: 2025-03-04"):
        actions.assign(connection, [alert], assigned_to="bob", due_on=AS_OF, **said)
    with pytest.raises(PrismError, match="an action needs somebody"):
        actions.resolve(connection, [alert], by=" ", now=NOW, zone=ZONE)
    over = next(one for one in listed(connection, states=["resolved"]) if one.resolved_on is not None)
    with pytest.raises(PrismError, match="its rule no longer fires since 2025-03-04"):
        actions.acknowledge(connection, [over.alert_id], **said)
    [noted] = actions.remark(connection, [over.alert_id], note="Version 4 did it.", **said)
    assert noted.history[-1].note == "Version 4 did it."


def test_the_commands_say_and_do_what_the_api_does(
    built: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRISM_WAREHOUSE_URL", built.url)
    monkeypatch.chdir(tmp_path)

    def prism(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["alerts", *arguments])

    found = json.loads(prism("list", "--json", "--severity", "high", "--state", "open").stdout)
    assert found and {alert["severity"] for alert in found} == {"high"}
    one, two = (alert["alert_id"][:8] for alert in found[:2])
    told = prism("assign", one, two, "--to", "bob@example.com", "--due", "2w", "--by", "ann").stdout
    assert told.count("open, assigned to bob@example.com, due ") == 2
    for command in (["acknowledge"], ["snooze", "--until", "3d"], ["resolve"], ["reopen"], ["note"]):
        assert prism(command[0], one, *command[1:], "--by", "ann", "--note", "On it.").exit_code == 0
    shown = prism("show", one).stdout
    assert shown.count("On it.") == 5 and "ann, assign to bob@example.com, due " in shown
    assert one in prism("list", "--assigned-to", "bob@example.com").stdout
    assert prism("list", "--overdue").stdout == "No alert is like that.\n"
    for arguments, complaint in (
        (["show", "nonsense"], "there is no alert 'nonsense'"),
        (["snooze", two, "--until", "tomorrow"], "'tomorrow' is not a day"),
        (["snooze", two, "--until", "2020-01-01"], "must end on a day to come"),
    ):
        failed = prism(*arguments)
        assert failed.exit_code == 1 and complaint in str(failed.exception)


@pytest.mark.parametrize(
    "change",
    [
        "update ops.alert_actions set acted_by = 'eve'",
        "delete from ops.alert_actions",
        "truncate ops.alert_actions",
    ],
)
def test_the_history_only_grows(connection: psycopg.Connection[Any], change: str) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="added to, never changed"):
        connection.execute(change)  # type: ignore[call-overload]
