"""The error that a report raises: what went wrong, where, and how to mend it."""

from __future__ import annotations


class ReportError(Exception):
    """A report that cannot be made, with its remedy.

    ``what`` says in one sentence what went wrong, ``where`` names the mart, folder or template, ``mend``
    what a person can do. Secrets never belong in any of the three.
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
