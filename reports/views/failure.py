"""The failure notice: what its reader, who runs Prism, has to know of a night without a fresh report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from reports import format as fmt

_MOST_FAILURES = 20
_LONGEST_FAILURE = 500


@dataclass(frozen=True)
class FailureNotice:
    """What failed, what follows from it, and where to look."""

    as_of_date: date
    subject: str
    as_of: str
    failures: tuple[str, ...]
    more_failures: str
    consequence: str
    look: str


def failure_notice(
    *, as_of_date: date, failures: Sequence[str], look: str, withheld: bool = True
) -> FailureNotice:
    """The notice of a red build. ``look`` says where more is to be found: a run's address or a command.

    ``withheld``: nobody else gets a mail; otherwise they get the last good report, marked as stale.
    """
    left_out = len(failures) - _MOST_FAILURES
    what = f"{fmt.plural(len(failures), 'failure')}" if failures else "the build failed"
    return FailureNotice(
        as_of_date=as_of_date,
        subject=f"Prism {as_of_date.isoformat()}: no fresh report, {what}",
        as_of=fmt.day(as_of_date),
        failures=tuple(fmt.cut(failure, _LONGEST_FAILURE) for failure in failures[:_MOST_FAILURES]),
        more_failures=f"and {fmt.plural(left_out, 'more failure')}" if left_out > 0 else "",
        consequence="Its readers got nothing."
        if withheld
        else "Its readers got the last good report, marked as stale.",
        look=look,
    )
