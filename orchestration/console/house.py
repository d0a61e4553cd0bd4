"""What the pages ask of Prism: a library and alerts, a session of their own for each request.

The library is opened as the user of the application's own URL, the warehouse as the reporter. The calls
block, so they run in a thread; a :class:`PrismError` comes back as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import psycopg
from starlette.concurrency import run_in_threadpool

from orchestration import roles
from orchestration.errors import PrismError
from orchestration.library.metrics import Figures, read_figures
from orchestration.library.open import open_library
from orchestration.library.store import Library
from orchestration.settings import Settings
from orchestration.warehouse import Warehouse

T = TypeVar("T")


@dataclass(frozen=True)
class House:
    """The settings, the warehouse, and which application's library is shown (none: the only one)."""

    settings: Settings
    warehouse: Warehouse
    source: str | None = None

    async def library(self, work: Callable[[Library], T]) -> T:
        """What ``work`` makes of the library."""

        def call() -> T:
            with open_library(self.settings, self.warehouse, self.source) as library:
                return work(library)

        return await run_in_threadpool(call)

    async def warehouse_session(self, work: Callable[[psycopg.Connection[Any]], T]) -> T:
        """What ``work`` makes of a session on the warehouse, committed.

        It is the reporter's, whoever the console connects as: to read marts and to write ``ops``.
        """

        def call() -> T:
            with self.warehouse.acting_as(roles.REPORTER).connect() as connection:
                return work(connection)

        return await run_in_threadpool(call)

    async def figures(self) -> Figures | None:
        """The marts' figures of the default period; none where they are not built."""
        config = self.settings.config
        return await self.warehouse_session(
            lambda connection: read_figures(connection, config.reports.default_period, config.timezone)
        )

    @property
    def now(self) -> dict[str, Any]:
        """The moment and the zone, as the functions over alerts take them."""
        return {"now": datetime.now(UTC), "zone": self.settings.zone}


def told(error: PrismError) -> str:
    """A refusal as a message above a page; what is long (a diff) does not fit the cookie that carries it."""
    text = str(error)
    return text if len(text) <= 1000 else f"{text[:1000]} …"


def unix(text: Any) -> str:
    """A form's text: a browser ends lines with CR LF."""
    return re.sub("\r\n?", "\n", str(text or ""))


def why_of(given: Mapping[str, Any]) -> str | None:
    """The reason that a form gives for a change."""
    return str(given.get("why") or "").strip() or None
