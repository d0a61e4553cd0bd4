"""Whether a source's table still holds what was loaded of it: counts, sums and a digest of each day.

The same aggregate query runs over the source's table and over what was loaded; only days that differ are
looked at by key, and read again. Knows no column of either side but by its canonical name, and writes
nothing.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Any, Protocol, runtime_checkable
from zoneinfo import ZoneInfo

from psycopg import sql

from orchestration.sources.protocol import Batch
from orchestration.sources.snapshot import Snapshot, TableColumn

# What the digest of a day is made of, and what is summed up, where the source has it. Persons are not among
# them, since they are loaded as pseudonyms; a digest of times and texts is the same on every server.
_TEXTS = ("usage_id", "prompt_key", "prompt_version", "agent_key", "session_id", "model", "error_type")
_TIMES = ("used_at", "updated_at")
_MEASURES = (
    "response_time_ms", "success", "rating", "input_tokens", "output_tokens", "total_tokens", "cost",
)  # fmt: skip
_NUMBERS = ("int2", "int4", "int8", "float4", "float8", "numeric")
INSTANTS = ("timestamptz", "timestamp", "date")
# keys that are looked for at once
_KEYS_AT_ONCE = 10_000


@dataclass(frozen=True)
class Days:
    """Whole days of ``timezone``, ``last`` included."""

    first: date
    last: date
    timezone: str

    def span(self) -> tuple[datetime, datetime]:
        """From when on, and until before when."""
        zone = ZoneInfo(self.timezone)
        midnight = time(tzinfo=zone)
        return (
            datetime.combine(self.first, midnight),
            datetime.combine(self.last + timedelta(days=1), midnight),
        )

    def only(self, day: date) -> Days:
        return Days(day, day, self.timezone)


@dataclass(frozen=True)
class DayTotals:
    """What one day's uses come to; of each measure how many are known, and their sum."""

    row_count: int = 0
    digest: int = 0
    sums: tuple[tuple[int, float], ...] = ()

    def agrees(self, other: DayTotals) -> bool:
        if (self.row_count, self.digest) != (other.row_count, other.digest):
            return False
        return all(
            # the order of summing and the digits kept of a cost leave traces; a changed value leaves more
            known == known_there and math.isclose(total, there, rel_tol=1e-11, abs_tol=1e-9 * max(1, known))
            for (known, total), (known_there, there) in zip(self.sums, other.sums, strict=True)
        )

    def __str__(self) -> str:
        # without the last digits, which depend on the order of summing
        sums = [[known, f"{total:.9g}"] for known, total in self.sums]
        return json.dumps([self.row_count, self.digest, sums])


def totals_query(
    table: sql.Composable, columns: Mapping[str, sql.Composable], timezone: str, *, translated: bool
) -> sql.Composed:
    """One row a day: the day, its rows, its digest, and two numbers a measure. Ends after ``table``.

    ``columns`` are by canonical name; their order decides that of the digest and of the sums. Where texts
    are ``translated`` between the two sides, the digest is of their bytes in UTF-8, which takes longer.
    """
    used_at = columns["used_at"]
    parts = [
        sql.SQL("({} at time zone 'UTC')" if name in _TIMES else "{}").format(column)
        for name, column in columns.items()
        if name not in _MEASURES
    ]
    selected: list[sql.Composable] = [
        sql.SQL("({} at time zone {})::date").format(used_at, sql.Literal(timezone)),
        sql.SQL("count(*)"),
        sql.SQL(
            "sum(hashtextextended(encode(convert_to(concat({}), 'UTF8'), 'hex') collate \"C\", 0))"
            if translated
            else 'sum(hashtextextended(concat({}) collate "C", 0))'
        ).format(sql.SQL(", chr(31), ").join(parts)),
    ]
    for name, column in columns.items():
        if name in _MEASURES:
            selected.append(sql.SQL("count({})").format(column))
            selected.append(sql.SQL("coalesce(sum(({})::double precision), 0)").format(column))
    return sql.SQL("select {} from {}").format(sql.SQL(", ").join(selected), table)


def totals(rows: Sequence[tuple[Any, ...]]) -> dict[date, DayTotals]:
    """The rows of such a query."""
    return {
        day: DayTotals(
            int(count),
            int(digest),
            tuple((int(known), float(total)) for known, total in zip(sums[::2], sums[1::2], strict=True)),
        )
        for day, count, digest, *sums in rows
    }


@dataclass(frozen=True)
class Tally:
    """What one day's calls come to by one account; null where it does not count such."""

    calls: int | None = None
    cost: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None

    @classmethod
    def of(cls, totals: Mapping[str, float]) -> Tally:
        """From sums by name, as doubles."""
        whole = {name: int(total) for name, total in totals.items() if name != "cost"}
        return cls(cost=totals.get("cost"), **whole)

    def agrees(self, other: Tally) -> bool:
        # costs were added up in another order there, which leaves traces
        return replace(self, cost=None) == replace(other, cost=None) and math.isclose(
            self.cost or 0, other.cost or 0, rel_tol=1e-9, abs_tol=1e-9
        )

    def __str__(self) -> str:
        cost = None if self.cost is None else f"{self.cost:.9g}"
        return json.dumps([self.calls, cost, self.input_tokens, self.output_tokens])


@dataclass(frozen=True)
class Reported:
    """One day of UTC by a source's own totals, and by the rows of its log."""

    reported: Tally
    logged: Tally

    @property
    def agrees(self) -> bool:
        return self.reported.agrees(self.logged)


class Comparison:
    """The uses of one table, to be compared with what was loaded of them.

    ``columns`` say by canonical name how each is selected, ``types`` of what type that is; ``compared_as``
    stands for the columns that are compared in another way than they are read. ``used_at`` must be one of
    ``INSTANTS``. Where the table ``loses_its_oldest`` rows by a retention of its own, days that may be cut
    off are not compared. ``own_totals`` gives what the source itself counts of some days.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        place: str,
        table: sql.Composable,
        *,
        columns: Mapping[str, sql.Composable],
        types: Mapping[str, TableColumn],
        days: int,
        compared_as: Mapping[str, sql.Composable] | None = None,
        loses_its_oldest: bool = False,
        own_totals: Callable[[Days], Mapping[date, Reported]] | None = None,
    ) -> None:
        self.place = place
        self.translated = snapshot.is_translated
        self._days = days
        self._snapshot = snapshot
        self._table = table
        self._columns = columns
        self._theirs = {**columns, **(compared_as or {})}
        self._types = types
        self._loses_its_oldest = loses_its_oldest
        self._own_totals = own_totals
        self.compared = tuple(
            name for name in (*_TEXTS, *_TIMES, *_MEASURES) if name in columns and self._is_comparable(name)
        )

    def days(self, today: date, timezone: str) -> Days | None:
        """The days to compare, ``today`` the last; null where there are none."""
        first = today - timedelta(days=self._days)
        if self._loses_its_oldest:
            query = sql.SQL(
                "select (min({0})::timestamptz at time zone {1})::date from {2} where {0} >= '1970-01-01'"
            ).format(self._theirs["used_at"], sql.Literal(timezone), self._table)
            ((oldest,),) = self._snapshot.fetch(query, self.place)
            if oldest is None:
                return None
            first = max(first, oldest + timedelta(days=1))
        return Days(first, today, timezone) if first <= today else None

    def own_totals(self, days: Days) -> Mapping[date, Reported]:
        """What the source itself counts of each day, cut in UTC; empty where it keeps no such totals."""
        return self._own_totals(days) if self._own_totals else {}

    def _is_comparable(self, name: str) -> bool:
        type_ = self._types[name].type
        if name in _TIMES:
            return type_ in INSTANTS
        if name in _MEASURES:
            return type_ in _NUMBERS or (name == "success" and type_ == "bool")
        return not self._types[name].is_array

    def totals(self, days: Days, ranges: Mapping[str, tuple[float, float]]) -> dict[date, DayTotals]:
        """Each day's totals. A value outside its range counts as unknown, a row without a prompt as none."""
        columns = {name: self._column(name, ranges) for name in self.compared}
        query = totals_query(self._table, columns, days.timezone, translated=self.translated)
        query += sql.SQL(" where {} and {} is not null and {}::text <> '' group by 1").format(
            self._within(days), self._theirs["usage_id"], self._theirs["prompt_key"]
        )
        return totals(self._snapshot.fetch(query, self.place))

    def _column(self, name: str, ranges: Mapping[str, tuple[float, float]]) -> sql.Composable:
        column: sql.Composable = self._theirs[name]
        type_ = self._types[name].type
        if name in _TIMES:
            return sql.SQL("{}::timestamptz").format(column)
        if name not in _MEASURES:
            return column
        if type_ == "bool":
            return sql.SQL("{}::integer").format(column)
        if type_ == "float4":  # as its text says, not as its bits are
            column = sql.SQL("{}::text::double precision").format(column)
        lowest, highest = ranges[name]
        return sql.SQL("case when {0} between {1} and {2} then {0} end").format(
            column, sql.Literal(lowest), sql.Literal(highest)
        )

    def _within(self, days: Days) -> sql.Composed:
        first, end = days.span()
        return sql.SQL("{0} >= {1} and {0} < {2}").format(
            self._theirs["used_at"], sql.Literal(first), sql.Literal(end)
        )

    def keys(self, days: Days) -> Iterator[str]:
        """The keys of the uses of some days."""
        query = sql.SQL("select {}::text from {} where {}").format(
            self._theirs["usage_id"], self._table, self._within(days)
        )
        return (key for (key,) in self._snapshot.fetch(query, self.place) if key is not None)

    def still_there(self, keys: Sequence[str]) -> set[str]:
        """Those of the keys that the table has, on whatever day."""
        found: set[str] = set()
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            query = sql.SQL("select {}::text from {} where {}").format(
                self._theirs["usage_id"], self._table, self._among(keys[start : start + _KEYS_AT_ONCE])
            )
            found.update(key for (key,) in self._snapshot.fetch(query, self.place))
        return found

    def _among(self, keys: Sequence[str]) -> sql.Composed:
        type_ = self._types["usage_id"].type
        if is_one := _TYPED_KEYS.get(type_):  # such a comparison uses the key's index
            # keys of another kind, from before they were renumbered, are not there
            return sql.SQL("{} = any({}::{})").format(
                self._theirs["usage_id"],
                sql.Literal([key for key in keys if is_one(key)]),
                sql.SQL(_ARRAYS[type_]),
            )
        return sql.SQL("{}::text = any({}::text[])").format(self._theirs["usage_id"], sql.Literal(list(keys)))

    def uses_of(self, days: Days) -> Generator[Batch]:
        """All uses of some days."""
        return self._batches(self._within(days))

    def uses_with(self, keys: Sequence[str]) -> Generator[Batch]:
        """The uses with these keys."""
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            yield from self._batches(self._among(keys[start : start + _KEYS_AT_ONCE]))

    def _batches(self, where: sql.Composable) -> Generator[Batch]:
        return self._snapshot.batches(
            "usage", self.place, self._columns, self._table, key=self._theirs["usage_id"], where=where
        )


def _is_uuid(key: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", key) is not None


def _is_whole(bits: int) -> Callable[[str], bool]:
    def is_one(key: str) -> bool:
        return (
            re.fullmatch(r"-?[0-9]{1,19}", key) is not None and -(1 << bits - 1) <= int(key) < 1 << bits - 1
        )

    return is_one


_ARRAYS = {"uuid": "uuid[]", "int2": "int2[]", "int4": "int4[]", "int8": "int8[]"}
_TYPED_KEYS = {"uuid": _is_uuid, "int2": _is_whole(16), "int4": _is_whole(32), "int8": _is_whole(64)}


@runtime_checkable
class ComparableReader(Protocol):
    """A reader whose uses can be compared with what was loaded of them."""

    def comparison(self) -> Comparison | None:
        """Null where the settings or the table's types leave nothing to compare."""
        ...
