"""The Python API for alerts: list and show them, acknowledge, snooze, assign and resolve them.

Reads the alerts of the marts, and writes nothing but rows of ``ops.alert_actions``, which a rebuild of the
marts leaves alone. Every function takes a session, the moment that counts as now and the reporting time
zone, in which days are cut; none commits, and what one does is done to all of its alerts or to none.

An alert is named by its id or the beginning of it, or by one that it had before it turned out to be the same
as another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any, get_args
from zoneinfo import ZoneInfo

import psycopg
from psycopg.rows import class_row, dict_row

from orchestration.alerting.states import (
    Action,
    Episode,
    Kind,
    State,
    last_assignment,
    last_standing,
    state_of,
)
from orchestration.errors import PrismError

STATES: tuple[State, ...] = get_args(State)
# A slip of the hand should not name an alert.
_SHORTEST_PREFIX = 4
_WHERE = "marts.performance_alerts"


@dataclass(frozen=True)
class Alert:
    """An alert as it stands now. ``owner`` looks after its rule or prompt; ``assigned_to`` is to see to it.

    ``prompt_id`` is None where it is of a source or of all prompts together.

    Its values are None where its nights were evaluated again and none bears it out any more; ``former_ids``
    are those of alerts that turned out to be one with it, whose history is its own.

    ``until_on`` is the end of a snooze that holds; ``is_overdue``: due before today, and not resolved.
    """

    alert_id: str
    former_ids: tuple[str, ...]
    state: State
    severity: str
    rule: str
    prompt_id: str | None
    prompt_name: str
    domain: str | None
    owner: str | None
    period: str
    observed_value: float | None
    threshold: float | None
    sample_size: int | None
    first_detected_on: date
    last_detected_on: date
    resolved_on: date | None
    as_of_date: date
    message: str
    recommendation: str
    assigned_to: str | None
    due_on: date | None
    is_overdue: bool
    until_on: date | None
    history: tuple[Action, ...]

    def record(self) -> dict[str, Any]:
        """All of it in Python's plain types, days and times as ISO texts."""
        return {name: _plain(value) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Filter:
    """Which alerts to list; None: any. Without ``states``, those that are not resolved."""

    severity: str | None = None
    states: Sequence[str] = ("open", "acknowledged", "snoozed")
    domain: str | None = None
    owner: str | None = None
    assigned_to: str | None = None
    overdue: bool = False

    def takes(self, alert: Alert) -> bool:
        """Whether an alert is one of them."""
        return (
            alert.state in self.states
            and self.severity in (None, alert.severity)
            and self.domain in (None, alert.domain)
            and self.owner in (None, alert.owner)
            and self.assigned_to in (None, alert.assigned_to)
            and (alert.is_overdue or not self.overdue)
        )


def list_alerts(
    connection: psycopg.Connection[Any], *, now: datetime, zone: ZoneInfo, wanted: Filter = Filter()
) -> list[Alert]:
    """The alerts as they stand now, the worst and longest open first.

    Raises :class:`PrismError` where the marts are not built.
    """
    histories: dict[str, list[Action]] = {}
    with connection.transaction():
        done, rows = _actions(connection, zone), _rows(connection)
    now_known_as = {former: row["alert_id"] for row in rows for former in row["former_ids"]}
    for action in done:
        histories.setdefault(now_known_as.get(action.alert_id, action.alert_id), []).append(action)
    today = now.astimezone(zone).date()
    alerts = [_alert(row, tuple(histories.get(row["alert_id"], ())), today) for row in rows]
    return [alert for alert in alerts if wanted.takes(alert)]


def show(connection: psycopg.Connection[Any], alert_id: str, *, now: datetime, zone: ZoneInfo) -> Alert:
    """One alert with its history. Raises :class:`PrismError` for an id that none or several have."""
    return _found(_everything(connection, now, zone), alert_id)


def evidence(connection: psycopg.Connection[Any], alert: Alert) -> list[str]:
    """What the newest build found behind an alert that is open, in words: changes around its beginning, the
    segments that drive it, types of errors; each kind the most telling first."""
    return [
        description
        for (description,) in connection.execute(
            """
            select description from marts.alert_evidence where alert_id = %s
            order by array_position(array['change', 'segment', 'errors'], kind), rank
            """,
            [alert.alert_id],
        )
    ]


def acknowledge(
    connection: psycopg.Connection[Any],
    alert_ids: Iterable[str],
    *,
    by: str,
    now: datetime,
    zone: ZoneInfo,
    note: str | None = None,
) -> list[Alert]:
    """Somebody knows of it: it stays quiet unless it escalates. Raises :class:`PrismError`."""
    return _act(connection, alert_ids, "acknowledge", by=by, now=now, zone=zone, note=note)


def snooze(
    connection: psycopg.Connection[Any],
    alert_ids: Iterable[str],
    *,
    until_on: date,
    by: str,
    now: datetime,
    zone: ZoneInfo,
    note: str | None = None,
) -> list[Alert]:
    """Quiet until that day begins, unless it escalates. Raises :class:`PrismError`, also for a past day."""
    if until_on <= now.astimezone(zone).date():
        raise _past("a snooze must end on a day to come", until_on, now, zone)
    return _act(connection, alert_ids, "snooze", by=by, now=now, zone=zone, until_on=until_on, note=note)


def assign(
    connection: psycopg.Connection[Any],
    alert_ids: Iterable[str],
    *,
    assigned_to: str,
    by: str,
    now: datetime,
    zone: ZoneInfo,
    due_on: date | None = None,
    note: str | None = None,
) -> list[Alert]:
    """Names who is to see to it, and by when; quiet it is not. Raises :class:`PrismError`."""
    if due_on is not None and due_on < now.astimezone(zone).date():
        raise _past("what is to be done can't be due on a day that is over", due_on, now, zone)
    if not assigned_to.strip():
        raise PrismError("an alert is assigned to somebody", where="prism alerts assign")
    return _act(
        connection,
        alert_ids,
        "assign",
        by=by,
        now=now,
        zone=zone,
        assigned_to=assigned_to.strip(),
        due_on=due_on,
        note=note,
    )


def resolve(
    connection: psycopg.Connection[Any],
    alert_ids: Iterable[str],
    *,
    by: str,
    now: datetime,
    zone: ZoneInfo,
    note: str | None = None,
) -> list[Alert]:
    """It is seen to. It opens again by itself where it escalates, or where its rule fires over a window that
    lies wholly after this day. Raises :class:`PrismError`."""
    return _act(connection, alert_ids, "resolve", by=by, now=now, zone=zone, note=note)


def reopen(
    connection: psycopg.Connection[Any],
    alert_ids: Iterable[str],
    *,
    by: str,
    now: datetime,
    zone: ZoneInfo,
    note: str | None = None,
) -> list[Alert]:
    """Takes back an acknowledgement, a snooze or a resolve. Raises :class:`PrismError`."""
    return _act(connection, alert_ids, "reopen", by=by, now=now, zone=zone, note=note)


def remark(
    connection: psycopg.Connection[Any],
    alert_ids: Iterable[str],
    *,
    note: str,
    by: str,
    now: datetime,
    zone: ZoneInfo,
) -> list[Alert]:
    """Keeps a note with it, of a resolved one too. Raises :class:`PrismError`."""
    return _act(connection, alert_ids, "note", by=by, now=now, zone=zone, note=note)


def _act(
    connection: psycopg.Connection[Any],
    alert_ids: Iterable[str],
    action: Kind,
    *,
    by: str,
    now: datetime,
    zone: ZoneInfo,
    until_on: date | None = None,
    assigned_to: str | None = None,
    due_on: date | None = None,
    note: str | None = None,
) -> list[Alert]:
    """Adds the action to each alert's history; returns the alerts as they stand then."""
    if not by.strip():
        raise PrismError("an action needs somebody who did it", where="prism alerts", mend="Name them: --by")
    if action == "note" and not (note or "").strip():
        raise PrismError("a note needs words", where="prism alerts note")
    with connection.transaction():
        before = _everything(connection, now, zone)
        ids = dict.fromkeys(_found(before, alert_id).alert_id for alert_id in alert_ids)
        for alert in before:
            if alert.alert_id not in ids:
                continue
            if action != "note" and alert.resolved_on is not None:
                raise PrismError(
                    f"alert {alert.alert_id[:8]} is over: its rule no longer fires since {alert.resolved_on}",
                    where=f"prism alerts {action}",
                    mend="A note can still be kept with it.",
                )
            connection.execute(
                """
                insert into ops.alert_actions
                (alert_id, acted_at, acted_by, action, severity, until_on, assigned_to, due_on, note)
                values (%s, %s, %s, %s, %s, %s, %s, %s, %s)
                """,
                [
                    alert.alert_id,
                    now,
                    by.strip(),
                    action,
                    alert.severity,
                    until_on,
                    assigned_to,
                    due_on,
                    note,
                ],
            )
        after = {alert.alert_id: alert for alert in _everything(connection, now, zone)}
    return [after[alert_id] for alert_id in ids]


def _everything(connection: psycopg.Connection[Any], now: datetime, zone: ZoneInfo) -> list[Alert]:
    return list_alerts(connection, now=now, zone=zone, wanted=Filter(states=STATES))


def _found(alerts: Sequence[Alert], alert_id: str) -> Alert:
    if len(alert_id) >= _SHORTEST_PREFIX:
        found = [
            alert
            for alert in alerts
            if any(one.startswith(alert_id.lower()) for one in (alert.alert_id, *alert.former_ids))
        ]
        if len(found) == 1:
            return found[0]
        if found:
            raise PrismError(
                f"{len(found)} alerts have an id that begins with {alert_id!r}",
                where=_WHERE,
                mend="Give more of it: prism alerts list",
            )
    raise PrismError(
        f"there is no alert {alert_id!r}",
        where=_WHERE,
        mend=f"prism alerts list shows them; {_SHORTEST_PREFIX} characters of an id are enough "
        "where no other begins so.",
    )


def _past(what: str, day: date, now: datetime, zone: ZoneInfo) -> PrismError:
    today = now.astimezone(zone).date()
    return PrismError(f"{what}: {day}", where="prism alerts", mend=f"Today is {today} ({zone.key}).")


def _alert(row: dict[str, Any], history: tuple[Action, ...], today: date) -> Alert:
    episode = Episode(row["severity"], row["period"], row["resolved_on"], row["as_of_date"])
    state = state_of(episode, history, today)
    standing, assignment = last_standing(history), last_assignment(history)
    due_on = None if assignment is None else assignment.due_on
    return Alert(
        **row | {"former_ids": tuple(row["former_ids"])},
        state=state,
        assigned_to=None if assignment is None else assignment.assigned_to,
        due_on=due_on,
        is_overdue=state != "resolved" and due_on is not None and due_on < today,
        until_on=standing.until_on if standing is not None and state == "snoozed" else None,
        history=history,
    )


def _rows(connection: psycopg.Connection[Any]) -> list[dict[str, Any]]:
    try:
        with connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(
                """
                select
                    alerts.alert_id, coalesce(alerts.former_ids, '{}') as former_ids, alerts.severity,
                    alerts.rule, alerts.prompt_id, alerts.prompt_name,
                    alerts.domain, alerts.owner, alerts.period, alerts.observed_value, alerts.threshold,
                    alerts.sample_size, alerts.first_detected_on, alerts.last_detected_on,
                    alerts.resolved_on, alerts.as_of_date, alerts.message, alerts.recommendation
                from marts.performance_alerts as alerts
                order by
                    array_position(array['high', 'medium', 'low'], alerts.severity),
                    alerts.first_detected_on, alerts.alert_id
                """
            ).fetchall()
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):  # the latter: by an older version
        raise PrismError("the marts are not built yet", where=_WHERE, mend="Run: prism run") from None


def _actions(connection: psycopg.Connection[Any], zone: ZoneInfo) -> list[Action]:
    with connection.cursor(row_factory=class_row(Action)) as cursor:
        return cursor.execute(
            """
            select
                action_id, alert_id, acted_at, (acted_at at time zone %s)::date as acted_on, acted_by, action,
                severity, until_on, assigned_to, due_on, note
            from ops.alert_actions order by action_id
            """,
            [zone.key],
        ).fetchall()


def _plain(value: Any) -> Any:
    if isinstance(value, date):  # a datetime is one, too
        return value.isoformat()
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
