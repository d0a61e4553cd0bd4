"""What the owner hears of the program itself: a night without a report, a source that failed, mails that were
refused, a report that is overdue. Plain words, made for whoever has to mend it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from reports import format as fmt

_MOST_ITEMS = 20
_LONGEST_ITEM = 500

Readers = Literal["nothing", "stale", "earlier"]


@dataclass(frozen=True)
class OperationsNotice:
    """One notice. ``report`` is its kind, one of :data:`reports.outbox.OPERATIONS`; ``mend`` ends in what to
    do, ``often`` says how often there is such a mail."""

    report: str
    as_of_date: date
    subject: str
    lead: str
    title: str
    items: tuple[str, ...]
    more_items: str
    look: str
    mend: str
    often: str


def _items(items: Sequence[str], one: str) -> tuple[tuple[str, ...], str]:
    left_out = len(items) - _MOST_ITEMS
    return (
        tuple(fmt.cut(item, _LONGEST_ITEM) for item in items[:_MOST_ITEMS]),
        f"and {fmt.plural(left_out, f'more {one}')}" if left_out > 0 else "",
    )


def failure_notice(
    *, as_of_date: date, failures: Sequence[str], look: str, readers: Readers = "nothing"
) -> OperationsNotice:
    """A night gave no report, or one that is not to be sent. ``look`` says where more is to be found: a run's
    address or a command; ``readers`` what the audience got instead."""
    what = fmt.plural(len(failures), "failure") if failures else "the build failed"
    consequence = {
        "nothing": "Its readers got nothing.",
        "stale": "Its readers got the last good report, marked as stale.",
        "earlier": "What an earlier run of this date has made stays, and nobody got more.",
    }[readers]
    items, more = _items(failures, "failure")
    return OperationsNotice(
        report="failure notice",
        as_of_date=as_of_date,
        subject=f"Prism {as_of_date.isoformat()}: no fresh report, {what}",
        lead=f"There is no fresh report for {fmt.day(as_of_date)}. {consequence}",
        title="What failed",
        items=items or ("The build ended before any check of its own could fail.",),
        more_items=more,
        look=look,
        mend=f"Once it is mended, build the day again: prism run --date {as_of_date.isoformat()}",
        often="There is one for each day that failed.",
    )


def source_notice(*, as_of_date: date, failures: Sequence[str], look: str) -> OperationsNotice:
    """Some sources failed, and the report was made of what the others gave."""
    items, more = _items(failures, "failure")
    sources = fmt.plural(len(failures), "source")
    return OperationsNotice(
        report="source notice",
        as_of_date=as_of_date,
        subject=f"Prism {as_of_date.isoformat()}: report made, but {sources} failed",
        lead=f"The report for {fmt.day(as_of_date)} was made and sent without what is new in {sources}.",
        title="What failed",
        items=items,
        more_items=more,
        look=look,
        mend=f"Once it is mended: prism load, and then prism run --date {as_of_date.isoformat()} --no-send",
        often="There is one for each day on which a source failed.",
    )


def delivery_notice(*, as_of_date: date, failures: Sequence[str]) -> OperationsNotice:
    """Mails were refused for good, or given up."""
    items, more = _items(failures, "mail")
    mails = fmt.plural(len(failures), "mail")
    return OperationsNotice(
        report="delivery notice",
        as_of_date=as_of_date,
        subject=f"Prism {as_of_date.isoformat()}: {mails} could not be delivered",
        lead=f"{mails} will not be tried again.",
        title="Who did not get what, and what the server said",
        items=items,
        more_items=more,
        look="prism send --status",
        mend="Correct the address, or have the server take it; prism send --retry tries again.",
        often="Each mail that fails is told once.",
    )


def heartbeat_notice(*, as_of_date: date, by: str, last: date | None) -> OperationsNotice:
    """By an hour (``by``, with its zone) there should have been a report, and there is none."""
    newest = "There never was one." if last is None else f"The newest is that for {fmt.day(last)}."
    return OperationsNotice(
        report="heartbeat",
        as_of_date=as_of_date,
        subject=f"Prism {as_of_date.isoformat()}: no report by {by}",
        lead=f"By {by} there was no report for {fmt.day(as_of_date)}. {newest}",
        title="What to look at",
        items=(
            "Is Prism running? (prism ui, or the cron job that calls prism run)",
            "Is all in place? (prism doctor)",
            "Did the night fail? (the runs in Dagster's UI)",
        ),
        more_items="",
        look="prism doctor",
        mend=f"Make the report: prism run --date {as_of_date.isoformat()}",
        often="There is one for each day without a report.",
    )
