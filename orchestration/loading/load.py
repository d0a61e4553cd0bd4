"""A source into ``raw``, batch by batch: each one transaction, retried where the server went away.

Composes sources, validation and merge; knows no format and no SQL of its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import psycopg
import pyarrow as pa

from orchestration.errors import PrismError
from orchestration.loading import library, merge, reconcile
from orchestration.loading.validate import REJECTS, Checked, Rules, check, key_id
from orchestration.settings import FileSource, Settings, Source
from orchestration.sources.archive import Archive, ArchivingReader
from orchestration.sources.comparison import ComparableReader, Comparison, Days
from orchestration.sources.open import open_source
from orchestration.sources.protocol import Batch, Entity, Reader, SourceLostError
from orchestration.warehouse import Warehouse

log = logging.getLogger(__name__)

# called after each batch with the rows read so far; the total is not known beforehand
Progress = Callable[[int, int | None], None]

_ATTEMPTS = 8  # half a minute in all; a server that recovers from a crash needs some seconds
_READ_ATTEMPTS = 3
_LARGEST_LIBRARY = 256 << 20

_T = TypeVar("_T")


@dataclass(frozen=True)
class BatchResult:
    """What one batch did. rows_read = inserted + updated + unchanged + superseded + rejected."""

    batch_id: int
    source: str
    entity: Entity
    location: str
    rows_read: int
    inserted: int
    updated: int
    unchanged: int
    superseded: int
    rejected: int
    values_rejected: int
    deleted: int
    note: str | None

    def __str__(self) -> str:
        fates = ("inserted", "updated", "unchanged", "superseded", "rejected", "deleted")
        told = [f"{getattr(self, fate):,} {fate}" for fate in fates if getattr(self, fate)]
        if self.values_rejected:
            told.append(f"{self.values_rejected:,} values unreadable")
        return (
            f"{self.source}: {self.rows_read:,} rows of {self.entity} from {self.location}"
            f"{': ' if told else ''}{', '.join(told)}{f' ({self.note})' if self.note else ''}"
        )


def load_source(
    warehouse: Warehouse,
    source: Source,
    settings: Settings,
    *,
    files: Sequence[Path] | None = None,
    progress: Progress | None = None,
    accept_deletions: bool = False,
    again: Sequence[str] = (),
) -> list[BatchResult]:
    """Loads what is new of one source; ``files`` instead of those that its path names.

    ``again`` are keys of uses in a database that are read whether they are new or not.

    A source that can be compared is: days that differ are read again, and what is gone there is marked
    deleted; more than a tenth of it only with ``accept_deletions``. Returns one result a batch. Loading
    the same again changes nothing. Raises :class:`PrismError` where the source can't be read, lacks what
    is required or the warehouse stays away; batches that were committed before stand, and the next load
    goes on from them.
    """
    with _Session(warehouse) as session:
        load = _Load(session, source, settings, progress, accept_deletions=accept_deletions)
        for attempt in range(_READ_ATTEMPTS):
            try:
                with open_source(source, settings, warehouse.url, files=files).reader() as reader:
                    for entity in reader.entities:
                        load.entity(reader, entity)
                    comparison = reader.comparison() if isinstance(reader, ComparableReader) else None
                    if again:
                        load.again(reader, comparison, again)
                    if comparison is not None:
                        load.compare(reader, comparison)
                    if isinstance(reader, ArchivingReader) and reader.archive is not None:
                        load.resolve_again()
                        load.put_away(reader, reader.archive)
                break
            except SourceLostError as error:
                if attempt == _READ_ATTEMPTS - 1:
                    raise PrismError(
                        str(error),
                        where=f"source {source.name}",
                        mend="What was read is loaded. Load again once that server is well.",
                    ) from None
                log.warning("%s; it is read again", error)
        return load.results


@dataclass(frozen=True)
class _Prepared:
    """A batch of uses, read, judged and encoded; what it was read from is let go."""

    batch_id: int
    location: str
    watermark: Mapping[str, Any] | None
    note: str | None
    checked: Checked
    encoded: merge.EncodedUsage
    started_at: datetime


class _Load:
    """One load of one source."""

    def __init__(
        self,
        session: _Session,
        source: Source,
        settings: Settings,
        progress: Progress | None,
        *,
        accept_deletions: bool,
    ) -> None:
        self._accept_deletions = accept_deletions
        # otherwise what lies at a place is one thing that changes
        self._files_follow = isinstance(source, FileSource) and source.archive is not None
        self._zone = settings.zone
        self.results: list[BatchResult] = []
        self._session = session
        self._source = source.name
        self._prices = source.prices
        self._timezone = settings.config.timezone
        self._progress = progress
        self._rating: set[str] = set()  # the places that hold ratings, which are no rows
        privacy = settings.config.privacy
        keys = settings.hmac_keys()
        key_ids = [key_id(key) for key in keys]
        erased, self._sealed_through = session.run(lambda connection: merge.forgotten(connection, key_ids))
        self._rules = Rules(
            now=datetime.now(UTC),
            start=datetime.combine(settings.config.start_date, clock(), settings.zone),
            hmac_key=None if privacy.persons == "plain" else keys[0],
            with_texts=privacy.prompt_texts != "none",
            redacted=privacy.prompt_texts == "redacted",
            erased=erased,
            erased_keys=keys,
            sealed_before=_start_of_day_after(self._sealed_through, settings.zone),
        )

    def entity(self, reader: Reader, entity: Entity) -> None:
        """Everything that is new of one entity."""
        marks = self._session.run(lambda connection: merge.watermarks(connection, self._source, entity))
        batches = reader.batches(entity, marks)
        if entity != "usage":
            self._library(reader, entity, batches)
            return
        self._uses(reader, batches)

    def resolve_again(self) -> None:
        """The earlier records of what was rejected again in a file that came again."""
        told = [result.location for result in self.results if result.rejected or result.values_rejected]
        for place in dict.fromkeys(told):
            ids = [result.batch_id for result in self.results if result.location == place]
            self._session.run(lambda connection, ids=ids: merge.resolve_again(connection, ids))  # type: ignore[misc]

    def put_away(self, reader: ArchivingReader, archive: Archive) -> None:
        """Loaded files into the archive, those that gave neither row nor rating beside it with the reason."""
        for path, name in reader.to_put_away():
            batches = [result for result in self.results if result.location == name]
            read = sum(result.rows_read for result in batches)
            if read and read == sum(result.rejected for result in batches) and name not in self._rating:
                ids = [result.batch_id for result in batches]
                reasons = self._session.run(
                    lambda connection, ids=ids: merge.refuse_file(connection, ids)  # type: ignore[misc]
                )
                place = archive.put_to_failed(path, "\n".join(reasons))
                log.warning("source %s: nothing of %s could be loaded: %s", self._source, name, reasons[0])
            else:
                place = archive.put_away(path)
            log.info("%s is now %s", name, place)

    def again(self, reader: Reader, comparison: Comparison | None, keys: Sequence[str]) -> None:
        """The uses with these keys; all uses, where the reader can't find them by key."""
        self._uses(reader, comparison.uses_with(keys) if comparison else reader.batches("usage", {}))

    def compare(self, reader: Reader, comparison: Comparison) -> None:
        """The last days there and here: what differs is read again, what is gone there marked deleted."""
        days = comparison.days(self._rules.now.astimezone(self._zone).date(), self._timezone)
        if days is None:
            return
        if self._sealed_through is not None:
            days = replace(days, first=max(days.first, self._sealed_through + timedelta(days=1)))
        theirs = comparison.totals(days, reconcile.RANGES)

        def compared(connection: psycopg.Connection) -> reconcile.Found:
            return reconcile.compare(
                connection, self._source, days, comparison.compared, theirs, translated=comparison.translated
            )

        found = self._session.run(compared)
        differed = found.to_read()
        mended: dict[date, reconcile.Mended] = {}
        if differed:
            mended = self._mend(reader, comparison, days, differed, found.kept_rows)
            log.warning(
                "source %s: %d of its days since %s differed from what was loaded: %s",
                self._source, len(differed), days.first,
                ", ".join(f"{fate} {sum(getattr(day, fate) for day in mended.values()):,}"
                          for fate in ("inserted", "updated", "deleted")),
            )  # fmt: skip
            found = self._session.run(compared)
        reported = comparison.own_totals(days)
        if wrong := [day for day, totals in reported.items() if not totals.agrees]:
            log.warning(
                "source %s: %d of its days since %s differed from its own totals of them: %s",
                self._source, len(wrong), days.first,
                ", ".join(f"{day} ({reported[day].reported.calls} calls, {reported[day].logged.calls} rows)"
                          for day in sorted(wrong)[:3]),
            )  # fmt: skip
        self._session.run(
            lambda connection: reconcile.keep(connection, self._source, found, differed, mended, reported)
        )

    def _mend(
        self, reader: Reader, comparison: Comparison, days: Days, differed: Sequence[date], kept: int
    ) -> dict[date, reconcile.Mended]:
        """Reads the days that differed again. Nothing is written where too much would be marked deleted."""
        missing: list[str] = []
        for day in differed:
            there = set(comparison.keys(days.only(day)))
            here = self._session.run(
                lambda connection, day=day: reconcile.kept_keys(  # type: ignore[misc]
                    connection, self._source, days.only(day)
                )
            )
            missing += [key for key in here if key not in there]
        moved = comparison.still_there(missing)
        gone = [key for key in missing if key not in moved]
        if not self._accept_deletions:
            reconcile.refuse_many(len(gone), kept, source=self._source, place=comparison.place)
        mended = {day: reconcile.Mended() for day in differed}
        for day in differed:
            first = len(self.results)
            self._uses(reader, comparison.uses_of(days.only(day)))
            mended[day].inserted = sum(result.inserted for result in self.results[first:])
            mended[day].updated = sum(result.updated for result in self.results[first:])
        self._uses(reader, comparison.uses_with(sorted(moved)))
        if gone:
            for day, count in self._mark_deleted(gone, comparison.place).items():
                mended.setdefault(day, reconcile.Mended()).deleted = count
        return mended

    def _mark_deleted(self, gone: Sequence[str], place: str) -> dict[date, int]:
        by_day: dict[date, int] = {}
        batch_id = self._batch_id()

        def work(connection: psycopg.Connection) -> merge.Merged:
            nonlocal by_day
            merged, by_day = reconcile.mark_deleted(
                connection, gone, source=self._source, batch_id=batch_id, timezone=self._timezone
            )
            return merged

        nothing = Checked("usage", pa.table({}), 0, REJECTS.empty_table(), 0)
        self._write("usage", f"{place}, deleted there", None, nothing, datetime.now(UTC), batch_id, work)
        return by_day

    def _uses(self, reader: Reader, batches: Generator[Batch]) -> None:
        """Batches of uses, judged and merged."""
        with closing(batches), ThreadPoolExecutor(max_workers=1) as ahead:
            # while the server merges one batch, the next is read and checked
            upcoming = ahead.submit(self._prepared, reader, batches, self._batch_id())
            while (current := upcoming.result()) is not None:
                upcoming = ahead.submit(self._prepared, reader, batches, self._batch_id())
                self._usage(current)

    def _batch_id(self) -> int:
        return self._session.run(merge.next_batch_id)

    def _prepared(self, reader: Reader, batches: Iterator[Batch], batch_id: int) -> _Prepared | None:
        started_at = datetime.now(UTC)
        batch = next(batches, None)
        if batch is None:
            return None
        if batch.rates:
            self._rating.add(batch.place)
        checked = check(batch, reader.readings, self._rules)
        if self._prices:
            from orchestration.loading.prices import priced  # noqa: PLC0415 - slow, and not always needed

            checked = replace(checked, rows=priced(checked.rows))
        encoded = merge.encode_usage(
            checked.rows, source=self._source, batch_id=batch_id, with_texts=self._rules.with_texts
        )
        return _Prepared(batch_id, batch.place, batch.watermark, batch.note, checked, encoded, started_at)

    def _usage(self, prepared: _Prepared) -> None:
        def work(connection: psycopg.Connection) -> merge.Merged:
            return merge.merge_usage(
                connection,
                prepared.encoded,
                source=self._source,
                batch_id=prepared.batch_id,
                timezone=self._timezone,
            )

        self._write(
            "usage",
            prepared.location,
            prepared.watermark,
            prepared.checked,
            prepared.started_at,
            prepared.batch_id,
            work,
            prepared.note,
        )
        pa.default_memory_pool().release_unused()

    def _library(self, reader: Reader, entity: Entity, batches: Iterator[Batch]) -> None:
        """A library is small, and read whole: what is not in it any more is gone."""
        started_at = datetime.now(UTC)
        parts: list[Checked] = []
        places: list[str] = []
        notes: list[str] = []
        size = 0
        partial = False
        for batch in batches:
            partial = partial or batch.partial
            parts.append(check(batch, reader.readings, self._rules))
            places.append(batch.place)
            if batch.note:
                notes.append(batch.note)
            size += parts[-1].rows.nbytes
            if size > _LARGEST_LIBRARY:
                raise PrismError(
                    f"over {_LARGEST_LIBRARY >> 20} MB of {entity.replace('_', ' ')}: this is no library",
                    where=f"source {self._source}: {batch.place}",
                    mend="If it is a log of uses, set `entity: usage`.",
                )
        if not parts:
            return
        rows = pa.concat_tables([part.rows for part in parts])
        kept = library.finish(rows, entity, self._source)
        whole = Checked(
            entity=entity,
            rows=kept,
            superseded=rows.num_rows - kept.num_rows,
            rejects=pa.concat_tables([part.rejects for part in parts]),
            rows_read=sum(part.rows_read for part in parts),
        )
        partial = partial or whole.rejected > 0
        if partial:
            log.warning(
                "source %s: not all of its %s could be read, so none is marked deleted this time",
                self._source, entity.replace("_", " "),
            )  # fmt: skip

        batch_id = self._batch_id()

        def work(connection: psycopg.Connection) -> merge.Merged:
            return merge.merge_library(
                connection,
                entity=entity,
                rows=kept,
                source=self._source,
                batch_id=batch_id,
                complete=not partial,
                accept_deletions=self._accept_deletions,
                own_versions="prompt_versions" in reader.entities,
            )

        place = places[0] if len(set(places)) == 1 else f"{places[0]} and {len(set(places)) - 1} more"
        note = "; ".join(dict.fromkeys(notes)) or None
        self._write(entity, place, None, whole, started_at, batch_id, work, note)

    def _write(
        self,
        entity: Entity,
        location: str,
        watermark: Mapping[str, Any] | None,
        checked: Checked,
        started_at: datetime,
        batch_id: int,
        work: Callable[[psycopg.Connection], merge.Merged],
        note: str | None = None,
    ) -> None:
        """One batch in one transaction: rows, days, rejects, watermark, and the batch's own record."""

        def transaction(connection: psycopg.Connection) -> BatchResult:
            merged = work(connection)
            merge.record(
                connection,
                batch_id=batch_id,
                source=self._source,
                entity=entity,
                location=location,
                started_at=started_at,
                rows_read=checked.rows_read,
                merged=merged,
                superseded=checked.superseded,
                rejects=checked.rejects,
                rejected=checked.rejected,
                watermark=watermark,
                note=note,
                resolves=not self._files_follow,
            )
            return BatchResult(
                batch_id=batch_id,
                source=self._source,
                entity=entity,
                location=location,
                rows_read=checked.rows_read,
                inserted=merged.inserted,
                updated=merged.updated,
                unchanged=merged.unchanged,
                superseded=merged.superseded + checked.superseded,
                rejected=checked.rejected,
                values_rejected=checked.values_rejected,
                deleted=merged.deleted,
                note=note,
            )

        self.results.append(self._session.run(transaction, batch_id))
        if self._progress is not None:
            self._progress(sum(result.rows_read for result in self.results), None)


class _Session:
    """A load's one connection, under the lock that keeps two loads apart; opened anew where it is lost."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._stack = ExitStack()
        self._connection: psycopg.Connection | None = None
        self._backend: tuple[int, datetime] | None = None

    def __enter__(self) -> _Session:
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def run(self, work: Callable[[psycopg.Connection], _T], batch_id: int | None = None) -> _T:
        """``work`` with a connection, in one transaction, until it is committed.

        A connection that is lost, a deadlock and the like are tried again; where the answer to a COMMIT
        was lost, the record of the batch that ``work`` wrote tells whether it landed.
        """
        failure: Exception | None = None
        sent: list[_T] = []  # what a COMMIT without an answer would have made true
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(min(0.25 * 2 ** (attempt - 1), 5))
            try:
                connection = self._open()
            except (psycopg.OperationalError, PrismError) as error:
                if failure is None:
                    raise
                log.warning("no connection to the warehouse yet: %s", error)
                continue
            try:
                if sent and batch_id is not None and merge.landed(connection, batch_id):
                    return sent[0]
                sent = []
                done = work(connection)
                sent = [done]
                connection.commit()
            except psycopg.Error as error:
                transient = _is_transient(error, connection)
                self._close()
                if not transient:
                    raise PrismError(
                        f"the warehouse refused a batch: {' '.join(str(error).split())}",
                        where=self._warehouse.where,
                        mend=_mend(error),
                    ) from error
                log.warning("the warehouse's connection was lost (%s); trying again", error)
                failure = error
            except BaseException:
                self._close()
                raise
            else:
                return done
        raise PrismError(
            f"the warehouse went away while a batch was loaded: {' '.join(str(failure).split())}",
            where=self._warehouse.where,
            mend="Whether the last batch was loaded is not known; loading again is safe. "
            "Load again once the server is well.",
        ) from failure

    def _open(self) -> psycopg.Connection:
        if self._connection is not None:
            return self._connection
        self._stack = ExitStack()
        self._stack.enter_context(self._warehouse.lock("load"))
        connection = self._warehouse.connect()
        self._stack.callback(connection.close)
        # sessions are the user's, not the role's: a role is not shown them, and may not end them
        with self._warehouse.acting_as(None).connect(autocommit=True) as owner:
            if self._backend is not None:
                # the session that was lost may still be at work, holding its rows or even committing them
                owner.execute(
                    """
                    select pg_terminate_backend(pid, 10000) from pg_stat_activity
                    where pid = %s and backend_start = %s
                    """,
                    self._backend,
                )
            row = owner.execute(
                "select pid, backend_start from pg_stat_activity where pid = %s",
                [connection.info.backend_pid],
            ).fetchone()
            assert row is not None
            self._backend = (row[0], row[1])
        connection.execute("set timezone = 'UTC'")
        connection.execute("set temp_buffers = '32MB'")
        connection.commit()
        self._connection = connection
        return connection

    def _close(self) -> None:
        self._connection = None
        try:
            self._stack.close()
        except psycopg.Error as error:
            log.debug("closing the warehouse's connection: %s", error)


def _start_of_day_after(day: date | None, zone: ZoneInfo) -> datetime | None:
    return None if day is None else datetime.combine(day + timedelta(days=1), clock(), zone)


def _is_transient(error: psycopg.Error, connection: psycopg.Connection) -> bool:
    """Whether the same batch may well go through on another try."""
    if connection.broken or connection.closed:
        return True
    state = error.sqlstate or ""
    return state.startswith(("08", "40", "57P")) or state == "53300"


def _mend(error: psycopg.Error) -> str:
    if isinstance(error, psycopg.errors.DiskFull):
        return "Make room on the disk of that server, and load again."
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return "Use a role that may write the schema raw; `prism db setup` grants it."
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
        return "Bring the warehouse up to date: prism db setup."
    return "Nothing of that batch was loaded; the batches before it stand."
