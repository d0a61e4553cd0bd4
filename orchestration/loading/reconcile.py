"""What was loaded of a source's last days, beside what the source has of them now.

Knows the tables of ``raw``, nothing of how a source is read. Each function runs inside its caller's
transaction and commits nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import psycopg
from psycopg import sql

from orchestration.errors import PrismError
from orchestration.loading import merge, values
from orchestration.sources.comparison import Days, DayTotals, Reported, totals, totals_query

# Values that are loaded; others are null in raw, and no difference.
RANGES: Mapping[str, tuple[float, float]] = {
    "response_time_ms": (0, values.LONGEST_MS),
    "success": (0, 1),
    "rating": (1, 5),
    "input_tokens": (0, values.MOST_TOKENS),
    "output_tokens": (0, values.MOST_TOKENS),
    "total_tokens": (0, values.MOST_TOKENS),
    "cost": (0, values.MOST_COST),
}
_NOTHING = DayTotals()


@dataclass(frozen=True)
class Found:
    """A source's days and ours; the days to read again are those that differ, and not as they did before."""

    theirs: Mapping[date, DayTotals]
    ours: Mapping[date, DayTotals]
    before: Mapping[date, tuple[str, str]]

    @property
    def days(self) -> list[date]:
        return sorted({*self.theirs, *self.ours})

    @property
    def kept_rows(self) -> int:
        return sum(day.row_count for day in self.ours.values())

    def agrees(self, day: date) -> bool:
        theirs, ours = self.of(day)
        return (not theirs.row_count and not ours.row_count) or (
            theirs.row_count > 0 and ours.row_count > 0 and theirs.agrees(ours)
        )

    def of(self, day: date) -> tuple[DayTotals, DayTotals]:
        return self.theirs.get(day, _NOTHING), self.ours.get(day, _NOTHING)

    def to_read(self) -> list[date]:
        """What was read again and still differs in the same way holds values that can't be loaded."""
        return [
            day
            for day in self.days
            if not self.agrees(day) and self.before.get(day) != tuple(map(str, self.of(day)))
        ]


def compare(
    connection: psycopg.Connection,
    source: str,
    days: Days,
    compared: Sequence[str],
    theirs: Mapping[date, DayTotals],
    *,
    translated: bool,
) -> Found:
    """``theirs`` beside what is kept, by the ``compared`` columns, texts ``translated`` or as they are."""
    before = connection.execute(
        "select usage_date, source_totals, kept_totals from raw.reconciliations "
        "where source = %s and usage_date between %s and %s",
        [source, days.first, days.last],
    ).fetchall()
    return Found(
        theirs,
        _kept_totals(connection, source, days, compared, translated=translated),
        {day: (there, here) for day, there, here in before},
    )


def _kept_totals(
    connection: psycopg.Connection, source: str, days: Days, compared: Sequence[str], *, translated: bool
) -> dict[date, DayTotals]:
    """What is kept of each day, by the ``compared`` canonical columns."""
    columns: dict[str, sql.Composable] = {name: sql.Identifier(name) for name in compared}
    if "success" in columns:
        columns["success"] = sql.SQL("success::integer")
    if "cost" in columns:  # one that we found ourselves is no difference
        columns["cost"] = sql.SQL("case when cost_source is distinct from 'priced' then cost end")
    connection.execute("set local datestyle = 'ISO'")  # as on the other side: the digest is of texts
    query = totals_query(sql.Identifier("raw", "prompt_usage"), columns, days.timezone, translated=translated)
    query += sql.SQL(
        " where source = %s and used_at >= %s and used_at < %s and deleted_at is null group by 1"
    )
    return totals(connection.execute(query, [source, *days.span()]).fetchall())


def kept_keys(connection: psycopg.Connection, source: str, days: Days) -> list[str]:
    rows = connection.execute(
        "select usage_id from raw.prompt_usage "
        "where source = %s and used_at >= %s and used_at < %s and deleted_at is null",
        [source, *days.span()],
    ).fetchall()
    return [key for (key,) in rows]


def refuse_many(gone: int, kept: int, *, source: str, place: str) -> None:
    """Raises :class:`PrismError` where more than a tenth would be marked deleted."""
    if merge.too_many(gone, kept):
        raise PrismError(
            f"{gone:,} of the last {kept:,} uses loaded are not there any more; none was marked deleted",
            where=f"source {source}: {place}",
            mend="Look for what filters the source. If they were deleted on purpose, "
            f"run: prism load {source} --accept-deletions",
        )


def mark_deleted(
    connection: psycopg.Connection, keys: Sequence[str], *, source: str, batch_id: int, timezone: str
) -> tuple[merge.Merged, dict[date, int]]:
    """Uses that are gone at the source, by day; what was typed in them goes for good."""
    rows = connection.execute(
        """
        with marked as (
            update raw.prompt_usage set deleted_at = now(), batch_id = %(batch_id)s
            where source = %(source)s and usage_id = any(%(keys)s) and deleted_at is null
            returning (used_at at time zone %(timezone)s)::date as usage_date
        )
        select usage_date, count(*) from marked group by usage_date
        """,
        {"source": source, "batch_id": batch_id, "keys": list(keys), "timezone": timezone},
    ).fetchall()
    connection.execute(
        "delete from raw.prompt_texts where source = %s and usage_id = any(%s)", [source, list(keys)]
    )
    by_day: dict[date, int] = dict(rows)
    return merge.Merged(0, 0, 0, deleted=sum(by_day.values()), days=set(by_day)), by_day


@dataclass
class Mended:
    """What a comparison changed in one day."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0


def keep(
    connection: psycopg.Connection,
    source: str,
    after: Found,
    differed: Sequence[date],
    mended: Mapping[date, Mended],
    reported: Mapping[date, Reported],
) -> None:
    """Each day as it stands ``after`` the comparison, what was mended in it, and what its source counts."""
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            insert into raw.reconciliations as kept (
                source, usage_date, compared_at, source_count, kept_count, agrees, source_totals,
                kept_totals, differed_at, inserted, updated, deleted,
                reported_count, reported_agrees, reported_totals, logged_totals
            )
            values (
                %s, %s, now(), %s, %s, %s, %s, %s, case when %s then now() end, %s, %s, %s, %s, %s, %s, %s
            )
            on conflict (source, usage_date) do update
            set compared_at = excluded.compared_at, source_count = excluded.source_count,
                kept_count = excluded.kept_count, agrees = excluded.agrees,
                source_totals = excluded.source_totals, kept_totals = excluded.kept_totals,
                differed_at = coalesce(excluded.differed_at, kept.differed_at),
                inserted = kept.inserted + excluded.inserted,
                updated = kept.updated + excluded.updated,
                deleted = kept.deleted + excluded.deleted,
                reported_count = excluded.reported_count, reported_agrees = excluded.reported_agrees,
                reported_totals = excluded.reported_totals, logged_totals = excluded.logged_totals
            """,
            [
                (
                    source, day, *(side.row_count for side in after.of(day)), after.agrees(day),
                    *map(str, after.of(day)), day in differed,
                    done.inserted, done.updated, done.deleted,
                    *((None,) * 4 if own is None else
                      (own.reported.calls, own.agrees, str(own.reported), str(own.logged))),
                )
                for day in sorted({*after.days, *differed, *reported})
                for done, own in [(mended.get(day, Mended()), reported.get(day))]
            ],
        )  # fmt: skip
