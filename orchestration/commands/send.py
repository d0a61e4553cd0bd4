"""`prism send`: a rendered report to its recipients, and what became of it."""
# ruff: noqa: PLC0415, T201

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orchestration.commands.shared import settings_here
from orchestration.errors import PrismError

if TYPE_CHECKING:
    from orchestration.mailing import Sending
    from orchestration.settings import Settings
    from orchestration.warehouse import Warehouse


def send(
    report: Annotated[str, typer.Argument(help="A rendered report: its as-of date, or `latest`.")] = "latest",
    only: Annotated[str | None, typer.Option("--only", help="One subscription of prism.yaml.")] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", help="A test to this address, which counts as nothing; with --resend, to whom."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say who would get what, and why; send nothing.")
    ] = False,
    resend: Annotated[
        bool, typer.Option("--resend", help="Send the recipient of --to once more what it was sent.")
    ] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="Try at once what has failed or waits to be tried again.")
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Say what is in the outbox, by report and state; send nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --status: each mail, as JSON.")] = False,
    unsubscribe: Annotated[
        str | None, typer.Option("--unsubscribe", help="This address gets no mails any more.")
    ] = None,
    resubscribe: Annotated[
        str | None, typer.Option("--resubscribe", help="This address gets mails again.")
    ] = None,
) -> None:
    """Sends a rendered report to its recipients, once each."""
    wishes = [dry_run, resend, retry, status, bool(unsubscribe), bool(resubscribe), bool(to and not resend)]
    if sum(wishes) > 1:
        raise typer.BadParameter(
            "choose one of --to, --dry-run, --resend, --retry, --status, --unsubscribe, --resubscribe"
        )
    if resend and to is None:
        raise typer.BadParameter("--resend needs --to: to whom")
    from orchestration import mailing, reporting, roles, warehouse

    settings = settings_here()
    house = warehouse.open_warehouse(settings)
    warehouse.setup(house)
    house = house.acting_as(roles.REPORTER)
    if unsubscribe or resubscribe:
        print(mailing.subscribe(house, unsubscribe or resubscribe or "", wanted=bool(resubscribe)))
    elif status:
        _print_status(house, as_json=as_json)
    elif retry:
        _print(mailing.retry(house, settings))
    else:
        day = reporting.rendered(settings, report)
        if resend and to:
            _print(mailing.resend(house, settings, day, to, only=only))
        elif to:
            _print(_test(house, settings, report, only, to))
        else:
            mailing.check_subscription(settings, only)
            _print((mailing.preview if dry_run else mailing.send)(house, settings, day, only=only))


def _test(house: Warehouse, settings: Settings, report: str, only: str | None, to: str) -> Sending:
    from orchestration import mailing, reporting

    day = reporting.rendered(settings, report)
    content = mailing.content_for_test(
        settings, day, only, lambda one: reporting.mail_of_marts(house, settings, day, one)
    )
    return mailing.send_test(settings, content, to)


def _print(sending: Sending) -> None:
    for line in sending.lines:
        print(line)
    if sending.unsent:
        raise PrismError(
            f"{sending.unsent} mails that were due did not go out",
            where="prism send",
            mend="Mend what the lines above say, and send again: nobody gets the same mail twice.",
        )


def _print_status(house: Warehouse, *, as_json: bool) -> None:
    import json
    from dataclasses import asdict

    from reports import outbox

    with house.connect() as connection:
        entries = outbox.entries(connection)
        unwanted = sorted(outbox.suppressed(connection))
    if as_json:
        print(json.dumps([asdict(entry) for entry in entries], default=str, indent=1))
        return
    from collections import Counter

    counts = Counter((entry.as_of_date, entry.report, entry.state) for entry in entries)
    for (day, report, state), number in sorted(counts.items()):
        print(f"{day}  {report}: {number:,} {state}")
    for entry in entries:
        if entry.state != "sent":
            at = f"; due {entry.next_attempt_at:%Y-%m-%d %H:%M %Z}" if entry.next_attempt_at else ""
            said = f" ({entry.last_reply})" if entry.last_reply else ""
            print(f"  {entry.as_of_date} {entry.report} to {entry.recipient}: {entry.state}{said}{at}")
    if unwanted:
        print(f"No mails any more: {', '.join(unwanted)}")
    if not entries:
        print("The outbox is empty.")
