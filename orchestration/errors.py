"""The one error that a person is meant to read: what went wrong, where, and how to mend it."""

from __future__ import annotations


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
