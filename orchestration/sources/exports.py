"""Files that a gateway writes: its calls, and ratings that stand apart from them and may come days later.

A module a gateway says what stands in its files (:class:`Use`, :class:`Rated`, :class:`Fault`); here the
ratings find their uses. A rating that came with a later file brings its use's row again, from the file
that holds it. Knows no format.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from orchestration.settings import Scales
from orchestration.sources.archive import Archive
from orchestration.sources.json_lines import Gathering
from orchestration.sources.landing import Landing, Mark, Piece, readable
from orchestration.sources.protocol import CANONICAL, Batch, Entity, Reading, Reject, Watermarks

_DAY_S = 86_400
_UNMATCHED_TOLD = 10_000
_COLUMNS = tuple(CANONICAL["usage"])


@dataclass(frozen=True)
class Use:
    """One call: canonical columns, and what ratings may name it by, itself and the trace it is part of.

    ``began`` is when, in seconds since 1970, where that is known: no file from before then rates it.
    """

    number: int
    values: Mapping[str, Any]
    names: Sequence[str] = ()
    trace: str | None = None
    began: float = math.inf


@dataclass(frozen=True)
class Rated:
    """A value that somebody gave to one use (by one of its names), or to a whole trace."""

    number: int
    name: str
    value: Any
    at: str  # orders the ratings of one target
    use: str | None = None
    trace: str | None = None
    source: str | None = None


@dataclass(frozen=True)
class Fault:
    """A row that could not be read (``field`` is null), or one value of a row that could not."""

    number: int
    field: str | None
    reason: str


Event = Use | Rated | Fault


class ExportReader:
    """The files of one gateway.

    ``events`` reads one file, ``paths`` of the landing's are read, ``others`` lie beside them where files
    were named, or in the archive. ``rates`` tells the files that hold ratings and no uses: they are small,
    and read each time that there is something new. Of the others those of the last ``reread_days`` are
    looked through for the uses of new ratings, and those since ``reread_days`` before the earliest new use:
    one that comes again late has ratings from before, and others of its trace. ``finished`` tells what else
    is done with once some files were read, and goes to the archive with them.
    """

    entities: Sequence[Entity] = ("usage",)

    def __init__(
        self,
        landing: Landing,
        events: Callable[[Path], Iterator[Event]],
        *,
        description: str,
        readings: Mapping[str, Reading],
        read_as: str,
        paths: Sequence[Path] | None = None,
        others: Callable[[], Sequence[Path]] | None = None,
        scales: Scales | None = None,
        rates: Callable[[Path], bool] = lambda _: False,
        reread_days: int = 0,
        finished: Callable[[Collection[Path]], Sequence[Path]] = lambda _: (),
    ) -> None:
        self.description = description
        self.readings = readings
        self._landing = landing
        self._events = events
        self._read_as = read_as
        self.paths = landing.paths if paths is None else paths
        self._others = others or (lambda: [*landing.beside(), *landing.archived()])
        self._finished = finished
        self._scales = scales or {}
        self._rates = rates
        self._reread_s = reread_days * _DAY_S
        self._with_ratings: set[Path] = set()  # of those that were read

    def batches(self, entity: Entity, watermarks: Watermarks) -> Generator[Batch]:
        """The rows of all files that were not loaded yet, and again those whose rating is new."""
        new = {}
        for path in self.paths:
            mark = self._landing.news(path, self._read_as, watermarks)
            if mark is None:
                self._landing.was_read(path)
            else:
                new[path] = mark
        if not new:
            return
        if not self._scales:
            for path, mark in new.items():
                yield from self._whole(path, entity, mark, None)
            return
        with closing(_Ratings()) as ratings:
            yield from self._rated(entity, new, ratings)

    @property
    def archive(self) -> Archive | None:
        return self._landing.archive

    def to_put_away(self) -> list[tuple[Path, str]]:
        """The files that were read to their end, and what belongs to them, with their names."""
        done = self._landing.to_put_away()
        if self.archive is not None:
            done += self._finished(done)
        return [(path, self._landing.name(path)) for path in done]

    def _rated(self, entity: Entity, new: Mapping[Path, Mark], ratings: _Ratings) -> Generator[Batch]:
        logs = self._gather_all(new, ratings)
        if ratings.has_traces:
            for path in logs:
                with readable(path):
                    for use in self._events(path):
                        if isinstance(use, Use):
                            ratings.see(use, new=path in new)
        for path in logs:
            if path not in new:
                for batch in self._landing.batches(path, entity, {}, self._pieces(path, ratings, new=False)):
                    if batch.rows_read:  # its mark stays as it is
                        yield Batch(entity, batch.place, batch.columns, batch.rows)
        # the files of the ratings last: until their uses are loaded, they are not
        for path in sorted(new, key=self._rates):
            yield from self._whole(path, entity, new[path], ratings)
        lost, more = ratings.unmatched()
        if lost:
            reason = f"rates a use that is not in the files of the last {self._reread_s // _DAY_S} days"
            rejects = [Reject(place, "rating", reason) for place in lost]
            if more:
                rejects.append(Reject(lost[-1], "rating", f"{more:,} ratings after this one: each {reason}"))
            yield Batch(entity, self.description, {}, pa.array([], pa.int64()), rejects)

    def _gather_all(self, new: Collection[Path], ratings: _Ratings) -> list[Path]:
        """Takes all ratings that may count for a new use; returns the files whose uses they may rate."""
        order = {path: number for number, path in enumerate(sorted({*self.paths, *self._others()}))}
        began = min(self._gather(path, ratings, order[path], new=True) for path in new)
        since = min(began, max(_written_at(path) for path in new)) - self._reread_s
        old = order.keys() - new
        read = {path for path in old if self._rates(path) or _written_at(path) >= since}
        for path in sorted(read):
            self._gather(path, ratings, order[path], new=False)
        return sorted(path for path in {*new, *read} if not self._rates(path))

    def _gather(self, path: Path, ratings: _Ratings, order: int, *, new: bool) -> float:
        """Takes the ratings of a file, which is that many'th of all; returns when its earliest use began."""
        name = self._landing.name(path)
        earliest = math.inf
        with readable(path):
            for event in self._events(path):
                if isinstance(event, Use):
                    earliest = min(earliest, event.began)
                elif isinstance(event, Rated) and event.name in self._scales:
                    rating = on_scale(event.value, self._scales[event.name])
                    if isinstance(rating, float):
                        ratings.add(event, rating, order, place=f"{name}:{event.number}", new=new)
        return earliest

    def _whole(self, path: Path, entity: Entity, mark: Mark, ratings: _Ratings | None) -> Generator[Batch]:
        """A new file. That it holds ratings stands in its last batch at the latest."""
        for batch in self._landing.batches(path, entity, mark, self._pieces(path, ratings, new=True)):
            yield replace(batch, rates=path in self._with_ratings)

    def _pieces(self, path: Path, ratings: _Ratings | None, *, new: bool) -> Iterator[Piece]:
        """A file's rows with their ratings; of one loaded before just those whose rating is new."""
        gathering = Gathering(self._landing.name(path), _COLUMNS)
        for event in self._events(path):
            if isinstance(event, Use):
                values = event.values
                if ratings is not None:
                    found, changed = ratings.of(event)
                    if not (new or changed):
                        continue
                    values = {**values, **found}
                gathering.add(event.number, [values.get(name) for name in _COLUMNS])
            elif not new:
                continue
            elif isinstance(event, Fault):
                gathering.reject(event.number, event.field, event.reason)
            else:
                self._with_ratings.add(path)
                self._judge(event, gathering)
            if gathering.full:
                yield gathering.take()
        yield gathering.take()

    def _judge(self, rated: Rated, gathering: Gathering) -> None:
        """Tells what is wrong with a rating, where its name is one of ours."""
        if rated.name in self._scales:
            rating = on_scale(rated.value, self._scales[rated.name])
            if isinstance(rating, str):
                gathering.reject(rated.number, "rating", rating, str(rated.value))
            elif not (rated.use or rated.trace):
                gathering.reject(rated.number, "rating", "rates neither a use nor a trace")


def _written_at(path: Path) -> float:
    with readable(path):
        return path.stat().st_mtime


def on_scale(value: Any, scale: tuple[float, float]) -> float | str:
    """A value on a scale, mapped linearly to 1 to 5; or why it is none."""
    low, high = scale
    if isinstance(value, bool):
        value = high if value else low
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return "not a number"
    if not math.isfinite(number) or not low <= number <= high:
        return f"not a rating from {low:g} to {high:g}"
    return 1 + 4 * (number - low) / (high - low)


class _Ratings:
    """Ratings by what they rate, the newest of each, in a temporary file where they are many."""

    def __init__(self) -> None:
        # the batches are read in one thread and let go of in another, never at the same time
        self._database = sqlite3.connect("", check_same_thread=False)
        self._database.executescript(
            """
            create table ratings (
                target blob primary key, at text, file integer, rating real, source text, place text,
                is_new integer, is_used integer default 0
            ) without rowid;
            create table firsts (
                trace blob primary key, used_at text, name blob, is_new integer
            ) without rowid;
            """
        )
        self.has_any = self.has_traces = False

    def close(self) -> None:
        self._database.close()

    def add(self, rated: Rated, rating: float, order: int, *, place: str, new: bool) -> None:
        """Keeps a rating if it is the newest of its target; of equally new ones that of the later file."""
        if rated.use:
            target = _key("use", rated.use)
        elif rated.trace:
            target = _key("trace", rated.trace)
            self.has_traces = True
        else:
            return
        self.has_any = True
        self._database.execute(
            """
            insert into ratings (target, at, file, rating, source, place, is_new)
            values (?, ?, ?, ?, ?, ?, ?)
            on conflict (target) do update set at = excluded.at, file = excluded.file,
                rating = excluded.rating, source = excluded.source, place = excluded.place,
                is_new = excluded.is_new
            where (excluded.at, excluded.file) >= (at, file)
            """,
            (target, _text(rated.at), order, rating, rated.source and _text(rated.source), _text(place), new),
        )

    def see(self, use: Use, *, new: bool) -> None:
        """Keeps which use of a rated trace is its first, of those that are not to be rejected."""
        if use.trace is None or not (use.values.get("prompt_key") and use.values.get("used_at")):
            return
        if self._row(_key("trace", use.trace)) is None:
            return
        used_at = _text(str(use.values["used_at"]))
        values = (_key("trace", use.trace), used_at, _key("use", *use.names[:1]), new)
        self._database.execute(
            """
            insert into firsts values (?, ?, ?, ?)
            on conflict (trace) do update set
                used_at = min(used_at, excluded.used_at),
                name = iif((excluded.used_at, excluded.name) < (used_at, name), excluded.name, name),
                is_new = is_new or excluded.is_new
            """,
            values,
        )

    def of(self, use: Use) -> tuple[Mapping[str, Any], bool]:
        """A use's rating as canonical columns, and whether it may be another than when it was loaded."""
        if not self.has_any:
            return {}, False
        found: list[tuple[Any, ...]] = []
        changed = False
        if use.trace is not None and self.has_traces and (row := self._row(_key("trace", use.trace))):
            first = self._database.execute(
                "select name, is_new from firsts where trace = ?", (_key("trace", use.trace),)
            ).fetchone()
            changed = bool(row[2] or (first and first[1]))
            if first and first[0] == _key("use", *use.names[:1]):
                found.append(row)
        own = next((row for name in use.names if (row := self._row(_key("use", name)))), None)
        if own is not None:
            found.append(own)
            changed = changed or bool(own[2])
        for row in found:
            self._database.execute("update ratings set is_used = 1 where target = ?", (row[3],))
        return ({"rating": found[-1][0], "rating_source": found[-1][1]} if found else {}), changed

    def unmatched(self) -> tuple[list[str], int]:
        """The places of new ratings that no use was found for, and how many more there are."""
        rows = self._database.execute(
            """
            select place, count(*) over () from ratings where is_new and not is_used
            order by place limit ?
            """,
            (_UNMATCHED_TOLD,),
        ).fetchall()
        return [place for place, _ in rows], rows[0][1] - len(rows) if rows else 0

    def _row(self, target: bytes) -> Any:
        return self._database.execute(
            "select rating, source, is_new, target from ratings where target = ?", (target,)
        ).fetchone()


def _text(word: str) -> str:
    return word.encode("utf-8", "backslashreplace").decode()


def _key(kind: str, name: str = "") -> bytes:
    """Bytes, as a name may hold what no text of SQLite can."""
    return f"{kind}:{name}".encode("utf-8", "surrogatepass")
