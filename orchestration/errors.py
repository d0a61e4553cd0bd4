"""The one error that a person is meant to read: what went wrong, where, and how to mend it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)


class PrismError(Exception):
    """A failure with a remedy.

    ``what`` says what went wrong in one sentence, ``where`` names the file, setting, table or host,
    ``mend`` what a person can do about it. Secrets never belong in any of the three.
    """

    def __init__(self, what: str, *, where: str | None = None, mend: str | None = None) -> None:
        self.what = what
        self.where = where
        self.mend = mend
        super().__init__(str(self))

    def __str__(self) -> str:
        parts = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.mend:
            parts.append(self.mend)
        return "\n  ".join(parts)


@contextmanager
def last_guard(where: str) -> Iterator[None]:
    """Raises an error that nobody foresaw as a :class:`PrismError`, its traceback in the log.

    For what is done one after the other (sources), so that one of them does not keep the others from it.
    """
    try:
        yield
    except PrismError:
        raise
    except Exception as error:
        log.exception("%s: an error that nobody foresaw", where)
        raise PrismError(
            f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:1000]}",
            where=where,
            mend="This is a fault of Prism; its traceback is in the log. What was loaded before it stands.",
        ) from error
