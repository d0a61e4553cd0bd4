"""`prism alerts`: what is open, and what people do about it."""
# ruff: noqa: PLC0415, T201

from __future__ import annotations

import getpass
import json
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from orchestration.commands.shared import settings_here
from orchestration.errors import PrismError

if TYPE_CHECKING:
    from orchestration.alerting.actions import Alert
    from orchestration.settings import Settings
    from orchestration.warehouse import Warehouse

alerts = typer.Typer(
    help="Alerts: what is open, and what people do about it. An alert is named by its id or the beginning "
    "of it.",
    no_args_is_help=True,
)

Ids = Annotated[list[str], typer.Argument(help="One or more alerts.", metavar="ALERT...")]
By = Annotated[str | None, typer.Option("--by", help="Who does it; default: this machine's user.")]
Note = Annotated[str | None, typer.Option("--note", help="Words to keep with it.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]


@alerts.command("list")
def list_command(
    severity: Annotated[
        Literal["low", "medium", "high"] | None, typer.Option(help="Of one severity.")
    ] = None,
    state: Annotated[
        Literal["open", "acknowledged", "snoozed", "resolved", "all"] | None,
        typer.Option(help="In one state, or all; default: what is not resolved."),
    ] = None,
    domain: Annotated[str | None, typer.Option(help="Of one domain.")] = None,
    owner: Annotated[str | None, typer.Option(help="Of one owner's prompts.")] = None,
    assigned_to: Annotated[str | None, typer.Option(help="Assigned to one person.")] = None,
    overdue: Annotated[bool, typer.Option("--overdue", help="Due before today.")] = False,
    as_json: AsJson = False,
) -> None:
    """The alerts as they stand now, the worst first."""
    from orchestration.alerting import actions

    settings, house = _house()
    wanted = actions.Filter(
        severity=severity,
        domain=domain,
        owner=owner,
        assigned_to=assigned_to,
        overdue=overdue,
        **({} if state is None else {"states": actions.STATES if state == "all" else (state,)}),
    )
    with house.connect() as connection:
        found = actions.list_alerts(connection, now=datetime.now(UTC), zone=settings.zone, wanted=wanted)
    if as_json:
        print(json.dumps([alert.record() for alert in found], indent=2))
        return
    for line in _table(found):
        print(line)


@alerts.command("show")
def show_command(
    alert: Annotated[str, typer.Argument(help="An alert.", metavar="ALERT")], as_json: AsJson = False
) -> None:
    """One alert: what was found and what is behind it, what to do, and what was done so far."""
    from orchestration.alerting import actions

    settings, house = _house()
    with house.connect() as connection:
        found = actions.show(connection, alert, now=datetime.now(UTC), zone=settings.zone)
        evidence = actions.evidence(connection, found)
    if as_json:
        print(json.dumps(found.record() | {"evidence": evidence}, indent=2))
        return
    for line in _in_full(found, evidence, settings):
        print(line)


@alerts.command("acknowledge")
def acknowledge_command(ids: Ids, by: By = None, note: Note = None) -> None:
    """Says that somebody knows of it: it stays quiet unless it escalates."""
    from orchestration.alerting import actions

    settings, house = _house()
    with house.connect() as connection:
        _tell(
            actions.acknowledge(
                connection, ids, by=_who(by), now=datetime.now(UTC), zone=settings.zone, note=note
            )
        )


@alerts.command("snooze")
def snooze_command(
    ids: Ids,
    until: Annotated[
        str, typer.Option("--until", help="The day on which it wakes: 2026-12-01, or 7d or 2w from today.")
    ],
    by: By = None,
    note: Note = None,
) -> None:
    """Keeps it quiet until a day, unless it escalates; the snooze ends by itself."""
    from orchestration.alerting import actions

    settings, house = _house()
    now = datetime.now(UTC)
    day = _day(until, "--until", now.astimezone(settings.zone).date())
    with house.connect() as connection:
        _tell(
            actions.snooze(connection, ids, until_on=day, by=_who(by), now=now, zone=settings.zone, note=note)
        )


@alerts.command("assign")
def assign_command(
    ids: Ids,
    to: Annotated[str, typer.Option("--to", help="Who is to see to it, best an address.")],
    due: Annotated[
        str | None, typer.Option("--due", help="By when: 2026-12-01, or 7d or 2w from today.")
    ] = None,
    by: By = None,
    note: Note = None,
) -> None:
    """Names who is to see to it, and by when."""
    from orchestration.alerting import actions

    settings, house = _house()
    now = datetime.now(UTC)
    due_on = None if due is None else _day(due, "--due", now.astimezone(settings.zone).date())
    with house.connect() as connection:
        _tell(
            actions.assign(
                connection,
                ids,
                assigned_to=to,
                due_on=due_on,
                by=_who(by),
                now=now,
                zone=settings.zone,
                note=note,
            )
        )


@alerts.command("resolve")
def resolve_command(ids: Ids, by: By = None, note: Note = None) -> None:
    """Closes it. It opens again where it escalates, or where its rule fires over a window after today."""
    from orchestration.alerting import actions

    settings, house = _house()
    with house.connect() as connection:
        _tell(
            actions.resolve(
                connection, ids, by=_who(by), now=datetime.now(UTC), zone=settings.zone, note=note
            )
        )


@alerts.command("reopen")
def reopen_command(ids: Ids, by: By = None, note: Note = None) -> None:
    """Takes back an acknowledgement, a snooze or a resolve."""
    from orchestration.alerting import actions

    settings, house = _house()
    with house.connect() as connection:
        _tell(
            actions.reopen(connection, ids, by=_who(by), now=datetime.now(UTC), zone=settings.zone, note=note)
        )


@alerts.command("note")
def note_command(
    ids: Ids, note: Annotated[str, typer.Option("--note", help="Words to keep with it.")], by: By = None
) -> None:
    """Keeps a note with it; its state stays as it is."""
    from orchestration.alerting import actions

    settings, house = _house()
    with house.connect() as connection:
        _tell(
            actions.remark(connection, ids, by=_who(by), now=datetime.now(UTC), zone=settings.zone, note=note)
        )


@alerts.command("notify")
def notify_command(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say who would be told what, and why; send nothing.")
    ] = False,
) -> None:
    """Sends the notices that are due now, each change to each recipient once; in quiet hours none."""
    from orchestration.alerting import notices

    settings, house = _house()
    told = notices.notify(house, settings, now=datetime.now(UTC), dry_run=dry_run)
    for line in told.lines:
        print(line)
    if told.unsent:
        raise PrismError(
            f"{told.unsent} notices that were due did not go out",
            where="prism alerts notify",
            mend="Mend what the lines above say, and call it again: nobody is told the same twice.",
        )


def _house() -> tuple[Settings, Warehouse]:
    from orchestration import roles, warehouse

    settings = settings_here()
    house = warehouse.open_warehouse(settings)
    warehouse.setup(house)
    return settings, house.acting_as(roles.REPORTER)


def _who(by: str | None) -> str:
    if by is not None:
        return by
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        raise PrismError(
            "this machine does not know who you are", where="prism alerts", mend="Name yourself: --by"
        ) from None


def _day(text: str, option: str, today: date) -> date:
    """A day, or so many days or weeks from today."""
    ahead = re.fullmatch(r"(\d{1,4})([dw])", text)
    try:
        if ahead:
            return today + timedelta(days=int(ahead[1]) * (7 if ahead[2] == "w" else 1))
        return date.fromisoformat(text)
    except (ValueError, OverflowError):
        raise PrismError(
            f"{text!r} is not a day",
            where=option,
            mend="Expected: a date such as 2026-12-01, or 7d or 2w from today.",
        ) from None


def _tell(found: Iterable[Alert]) -> None:
    for alert in found:
        print(f"{alert.alert_id[:8]}  {_standing(alert)}  {alert.prompt_name}: {alert.rule}")


def _standing(alert: Alert) -> str:
    """The state in words, with who is to see to it and by when."""
    parts = [alert.state if alert.until_on is None else f"{alert.state} until {alert.until_on}"]
    if alert.assigned_to is not None and alert.state != "resolved":
        parts.append(f"assigned to {alert.assigned_to}")
        if alert.due_on is not None:
            parts.append(f"{'OVERDUE since' if alert.is_overdue else 'due'} {alert.due_on}")
    return ", ".join(parts)


def _table(found: list[Alert]) -> list[str]:
    if not found:
        return ["No alert is like that."]
    rows = [("ALERT", "SEVERITY", "SINCE", "RULE", "PROMPT", "DOMAIN", "STATE")]
    rows += [
        (
            alert.alert_id[:8],
            alert.severity,
            str(alert.first_detected_on),
            alert.rule,
            _cut(alert.prompt_name, 36),
            _cut(alert.domain or "", 16),
            _standing(alert),
        )
        for alert in found
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    return ["  ".join([*map(str.ljust, row[:6], widths), row[6]]) for row in rows]


def _in_full(alert: Alert, evidence: Iterable[str], settings: Settings) -> list[str]:
    facts: list[tuple[str, Any]] = [
        ("alert", alert.alert_id),
        ("state", _standing(alert)),
        ("severity", alert.severity),
        ("prompt", f"{_cut(alert.prompt_name, 200)} ({alert.domain or 'no domain'})"),
        ("owner", alert.owner or "none"),
        ("rule", alert.rule),
        ("since", f"{alert.first_detected_on}, last seen {alert.last_detected_on}"),
        ("found", alert.message),
        *(("behind it", line) for line in evidence),
        ("to do", alert.recommendation),
    ]
    lines = [f"{name:<9} {_cut(str(value), 500)}" for name, value in facts]
    for action in alert.history:
        at = action.acted_at.astimezone(settings.zone)
        what = {
            "snooze": f"snooze until {action.until_on}",
            "assign": f"assign to {action.assigned_to}" + (f", due {action.due_on}" if action.due_on else ""),
        }.get(action.action, action.action)
        note = f": {action.note}" if action.note else ""
        lines.append(f"{at:%Y-%m-%d %H:%M}  {_cut(f'{action.acted_by}, {what}{note}', 500)}")
    return lines


def _cut(text: str, longest: int) -> str:
    """One printable line: names come from outside, and a terminal obeys control characters."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= longest else text[: longest - 1] + "…"
