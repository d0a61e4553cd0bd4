"""Files: CSV, JSON Lines, Parquet, plain or gzip, read through the column map of prism.yaml.

Any log fits: the map says which column is which, in what unit and zone. What it can't know: whether a
file that nobody writes to at the moment is complete.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestration.errors import PrismError
from orchestration.settings import ColumnMap, FilesSource
from orchestration.sources import json_lines, octets, typed
from orchestration.sources.archive import Archive
from orchestration.sources.csv_text import CsvText, DamagedError, HeaderError
from orchestration.sources.landing import Landing, Mark, Piece, counted, fingerprint
from orchestration.sources.protocol import (
    BATCH_BYTES,
    BATCH_ROWS,
    CANONICAL,
    Batch,
    Entity,
    Reading,
    Reject,
    Watermarks,
)

Format = Literal["csv", "jsonl", "parquet"]
_ENDINGS: Mapping[str, Format] = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}
_SEPARATOR = "\x1f"
_LONGEST_NOTE = 1000

log = logging.getLogger(__name__)


def waiting(source: FilesSource, base: Path) -> list[Path]:
    """The files of a source that are there to be loaded, complete as far as can be told; reads none."""
    return _landing(source, base, None).paths


def _landing(source: FilesSource, base: Path, files: Sequence[Path] | None) -> Landing:
    return Landing(
        source.path,
        base,
        f"sources: {source.name}",
        accepted=lambda path: _format(source, path) is not None,
        files=files,
        archive=source.archive,
        settle_seconds=source.settle_seconds,
    )


def _format(source: FilesSource, path: Path) -> Format | None:
    """The format the settings name, else that of the ending; null where neither says."""
    if source.format:
        return source.format
    name = path.name.lower().removesuffix(".gz")
    return next((format_ for ending, format_ in _ENDINGS.items() if name.endswith(ending)), None)


class FilesReader:
    """The files of one source, of one entity, found and looked at.

    ``base`` is the folder that relative paths start from; ``files`` stand for those that the source's path
    names. ``loaded_as`` stands for whatever else makes other rows of the same file: where it changes, all
    files are read again. Raises :class:`PrismError` where the column map can't work.
    """

    def __init__(
        self, source: FilesSource, base: Path, files: Sequence[Path] | None = None, *, loaded_as: str = ""
    ) -> None:
        self.entities: Sequence[Entity] = (source.entity,)
        self._source = source
        self._read_as = fingerprint(source, loaded_as)
        self._where = f"sources: {source.name}"
        self._check_map()
        self.readings: Mapping[str, Reading] = {
            name: Reading(
                unit=column.unit,
                timezone=column.timezone or "UTC",
                zero_is_unknown=column.zero_is_unknown,
                scale=column.scale,
            )
            for name, column in source.columns.items()
        }
        self._landing = _landing(source, base, files)
        self._refused: dict[Path, str] = {}
        self._unread: dict[Path, str] = {}
        self.description = f"{counted(self._landing.paths)} at {source.path}"

    def check(self, paths: Iterable[Path] | None = None) -> None:
        """Raises :class:`PrismError` where a file (all, or ``paths``) lacks what its rows can't do without.

        With an archive such a file fails alone, once it is read.
        """
        for path in self._landing.paths if paths is None else paths:
            try:
                self._check_header(path)
            except PrismError as error:
                if self._landing.archive is None or self._landing.named:
                    raise
                self._refused[path] = error.what

    # -- the column map

    def _check_map(self) -> None:
        known = CANONICAL[self._source.entity]
        mend = f"A source of {self._source.entity} knows: {', '.join(known)}."
        for name, column in self._source.columns.items():
            if name not in known:
                raise PrismError(
                    f"columns.{name} is not a column that Prism knows", where=self._where, mend=mend
                )
            kind = known[name].kind
            for option, given, kinds in (
                ("unit", column.unit, ("time", "duration")),
                ("timezone", column.timezone, ("time",)),
                ("scale", column.scale, ("rating",)),
            ):
                if given is not None and kind not in kinds:
                    raise PrismError(
                        f"columns.{name}: `{option}:` means nothing here",
                        where=self._where,
                        mend=f"It is for columns that hold a {' or a '.join(kinds)}.",
                    )
        if not self._source.columns:
            return
        for name, canonical in known.items():
            keyed = name == "usage_id" and self._source.usage_id is not None
            if canonical.required and name not in self._source.columns and not keyed:
                raise PrismError(
                    f"columns.{name} is missing: a row of {self._source.entity} can't do without",
                    where=self._where,
                    mend="Name its column, or `usage_id:` beside `columns:` for how rows are told apart."
                    if name == "usage_id"
                    else f"Say where it comes from: `{name}: its_column`.",
                )

    def _map(self, header: Sequence[str]) -> Mapping[str, ColumnMap]:
        """The column map; without one, the file's columns have the canonical names already."""
        if self._source.columns:
            return self._source.columns
        known = CANONICAL[self._source.entity]
        return {name: ColumnMap.model_validate({"from": name}) for name in header if name in known}

    def _key_columns(self) -> Sequence[str]:
        return self._source.usage_id if isinstance(self._source.usage_id, tuple) else ()

    def _check_header(self, path: Path) -> None:
        """Stops before anything is loaded where a file has not what a row needs."""
        header = self._header(path)
        if header is None:
            return
        if unread := [name for name in dict.fromkeys(header) if name not in self._wanted(header)]:
            names = ", ".join(repr(name) for name in unread)
            self._unread[path] = f"columns that are not read: {names}"[:_LONGEST_NOTE]
        columns = self._map(header)
        needed = list(self._key_columns())
        for name, known in CANONICAL[self._source.entity].items():
            keyed = name == "usage_id" and self._source.usage_id is not None
            if not known.required or keyed:
                continue
            column = columns.get(name)
            if column is None:
                needed.append(name)
            elif column.source is not None and column.default is None:
                needed.append(column.source)
        missing = [name for name in needed if name not in header]
        if missing:
            raise PrismError(
                f"the file has no column {', '.join(repr(name) for name in missing)}; "
                f"it has {', '.join(repr(name) for name in header)}",
                where=f"{self._where}: {self._landing.name(path)}",
                mend="Correct the names in `columns:` or `usage_id:`, or the file.",
            )
        twice = [name for name, count in Counter(header).items() if count > 1]
        used = {*self._key_columns(), *(column.source for column in columns.values())}
        if twice := [name for name in twice if name in used]:
            raise PrismError(
                f"the file has two columns named {twice[0]!r}",
                where=f"{self._where}: {self._landing.name(path)}",
                mend="Rename one of them in the file.",
            )

    def _header(self, path: Path) -> Sequence[str] | None:
        """The names of the file's columns; null where it has none or can't be opened as what it should be."""
        format_ = _format(self._source, path)
        if format_ is None:
            raise PrismError(
                "its ending does not say what it is",
                where=f"{self._where}: {self._landing.name(path)}",
                mend="Set `format:` to csv, jsonl or parquet.",
            )
        if format_ == "jsonl":
            return None
        try:
            if format_ == "parquet":
                with octets.seekable(path) as file:
                    return list(_parquet(file).schema_arrow.names)
            return CsvText(octets.chunks(path)).header or None
        except HeaderError as error:
            raise PrismError(
                f"the file {error}" if str(error).startswith(("is ", "has ")) else f"not CSV: {error}",
                where=f"{self._where}: {self._landing.name(path)}",
                mend="Save it as CSV in UTF-8 with a header line, or take it out of the folder.",
            ) from None
        except (DamagedError, pa.ArrowException, OSError, ValueError):
            return None  # reported with its reason when it is read

    # -- rows

    def batches(self, entity: Entity, watermarks: Watermarks) -> Generator[Batch]:
        """All rows of all files; a usage file that was loaded whole, read in the same way, is left out.

        So is, where rows are named by file and line, one that holds just what another held. Raises as
        :meth:`check` does, before any row is read.
        """
        by_line = entity == "usage" and self._source.usage_id == "line"
        new: dict[Path, Mark] = {}
        for path in self._landing.paths:
            # a library is read whole each time
            known = watermarks if entity == "usage" else {}
            mark = self._landing.news(path, self._read_as, known, with_digest=by_line)
            if mark is None:
                self._landing.was_read(path)
            else:
                new[path] = mark
        self.check(new)
        lines = _LineNames(self._landing, watermarks) if by_line else None
        for path, mark in new.items():
            name = self._landing.name(path)
            if path in self._refused:
                reject = Reject(f"{name}:1", None, self._refused[path])
                refused = {"sha256": octets.digest(path)}
                yield Batch(entity, name, {}, pa.array([], pa.int64()), [reject], refused)
                self._landing.was_read(path)
                continue
            if lines and (twin := lines.twin(name, mark)):
                note = f"not loaded: it holds just what {twin} held"
                log.warning("%s: %s", name, note)
                same = {**mark, "same_as": twin}
                yield Batch(entity, name, {}, pa.array([], pa.int64()), watermark=same, note=note)
                self._landing.was_read(path)
                continue
            if note := self._note(path, lines.replaced(path, mark) if lines else None):
                log.info("%s: %s", name, note)
            for batch in self._landing.batches(path, entity, mark, self._pieces(path)):
                partial = batch.partial or self._landing.left_some
                yield replace(batch, note=note or None, partial=partial)

    def _note(self, path: Path, replaced: str | None) -> str:
        notes = [self._unread[path]] if path in self._unread else []
        if replaced:
            notes.append(f"its rows take the place, line by line, of those of {replaced}")
        return "; ".join(notes)[:_LONGEST_NOTE]

    def to_put_away(self) -> list[tuple[Path, str]]:
        """The files that were read to their end and go to the archive, with their names."""
        return [(path, self._landing.name(path)) for path in self._landing.to_put_away()]

    @property
    def archive(self) -> Archive | None:
        return self._landing.archive

    def _pieces(self, path: Path) -> Iterator[Piece]:
        format_ = _format(self._source, path)
        raw = {"csv": self._csv, "jsonl": self._jsonl, "parquet": self._parquet}[format_ or "csv"](path)
        keys = _TextKeys()
        told: set[str] = set()
        for piece in raw:
            yield self._canonical(piece, path, keys, told)

    def _wanted(self, header: Sequence[str]) -> list[str]:
        """The file's columns that are used, in its order."""
        used = {*self._key_columns(), *(column.source for column in self._map(header).values())}
        return [name for name in dict.fromkeys(header) if name in used]

    def _csv(self, path: Path) -> Iterator[Piece]:
        text = CsvText(octets.chunks(path))
        name = self._landing.name(path)
        # the text of key columns counts as it stands, so only the empty string is null here
        for piece in text.pieces(self._wanted(text.header)):
            rejects = [Reject(f"{name}:{line}", None, reason) for line, reason in piece.rejects]
            yield Piece(piece.columns, piece.lines, rejects)

    def _jsonl(self, path: Path) -> Iterator[Piece]:
        name = self._landing.name(path)
        columns = self._source.columns
        fields = {column.source: canonical for canonical, column in columns.items() if column.source}
        wanted = [*dict.fromkeys([*fields, *self._key_columns()])]
        if not columns:
            wanted = list(CANONICAL[self._source.entity])
        gathering = json_lines.Gathering(name, wanted)
        for number, row in json_lines.objects(octets.chunks(path)):
            if isinstance(row, str):
                gathering.reject(number, None, row)
                continue
            for key in json_lines.doubled(row):
                if key in wanted:
                    gathering.reject(number, fields.get(key, key), json_lines.TWICE)
            gathering.add(number, [row.get(column) for column in wanted])
            if gathering.full:
                yield gathering.take()
        yield gathering.take()

    def _parquet(self, path: Path) -> Iterator[Piece]:
        name = self._landing.name(path)
        first = 1
        try:
            with octets.seekable(path) as file:
                parquet = _parquet(file)
                wanted = self._wanted(parquet.schema_arrow.names)
                # one row group at a time: reading ahead would take memory for what is not yet needed
                for group in parquet.iter_batches(batch_size=_rows_at_once(parquet, wanted), columns=wanted):
                    count = group.num_rows
                    rows = pa.array(np.arange(first, first + count))
                    first += count
                    columns = {column: typed.plain(group.column(column)) for column in wanted}
                    if not wanted:
                        columns = {}
                    yield Piece(columns, rows)
        except (DamagedError, pa.ArrowException, OSError, ValueError, MemoryError) as error:
            reason = " ".join(str(error).split())[:300]
            yield Piece(
                {}, pa.array([], pa.int64()), [Reject(f"{name}:{first}", None, f"not Parquet: {reason}")]
            )

    # -- one piece to canonical columns

    def _canonical(self, piece: Piece, path: Path, keys: _TextKeys, told: set[str]) -> Piece:
        count = len(piece.rows)
        rejects = list(piece.rejects)
        columns: dict[str, pa.Array] = {}
        if not count:
            return Piece({}, piece.rows, rejects)
        mapped = self._map(list(piece.columns))
        for name, column in mapped.items():
            if column.source is None:
                columns[name] = pa.repeat(pa.scalar(json_lines.word(column.value)), count)
                continue
            array = piece.columns.get(column.source)
            if array is None:
                if column.default is None and column.source not in told:
                    told.add(column.source)
                    rejects.append(
                        Reject(
                            f"{self._landing.name(path)}:1",
                            name,
                            f"the file has no column {column.source!r}: all its values are unknown",
                        )
                    )
                array = pa.nulls(count, pa.string())
            if self._source.null_values:
                array = _without(array, self._source.null_values)
            if column.default is not None:
                array = _with_default(array, json_lines.word(column.default))
            columns[name] = array
        if "status" in CANONICAL[self._source.entity]:
            status = columns.get("status", pa.nulls(count, pa.string()))
            columns["status"] = _with_default(status, "active")
        if self._source.entity == "usage" and self._source.usage_id == "line":
            prefix = self._landing.short_name(path)
            columns["usage_id"] = pc.binary_join_element_wise(prefix, piece.rows.cast(pa.string()), ":")
        elif self._source.entity == "usage" and self._key_columns():
            columns["usage_id"] = keys.of([piece.columns[name] for name in self._key_columns()])
        return Piece(columns, piece.rows, rejects)


class _LineNames:
    """Files whose rows are named by file and line: which hold just what another held, or have its name."""

    def __init__(self, landing: Landing, watermarks: Watermarks) -> None:
        self._landing = landing
        # what was loaded whole: not what was refused, or held just what another held
        self._loaded = {
            place: str(mark.get("sha256"))
            for place, mark in watermarks.items()
            if "read_as" in mark and "same_as" not in mark
        }
        self._held = {digest: place for place, digest in self._loaded.items()}
        self._named: dict[str, str] = {}
        for path in landing.paths:
            self._named.setdefault(landing.short_name(path), landing.name(path))

    def twin(self, name: str, mark: Mark) -> str | None:
        """The file that held just what this one holds; null where that is itself."""
        if self._loaded.get(name) == mark["sha256"]:
            return None
        twin = self._held.setdefault(mark["sha256"], name)
        return None if twin == name else twin

    def replaced(self, path: Path, mark: Mark) -> str | None:
        """Whose rows have the names of this file's, in words."""
        name = self._landing.name(path)
        if self._landing.archive is not None and self._loaded.get(name) not in (None, mark["sha256"]):
            return "another file of this name that came before"
        namesake = self._named[self._landing.short_name(path)]
        return None if namesake == name else namesake


class _TextKeys:
    """Keys from the text of some columns: SHA-256, and a number for rows equal in all of them.

    Kept for the whole file: eight bytes a row, and each text that stands there more than once.
    """

    def __init__(self) -> None:
        self._seen: list[np.ndarray] = []  # sorted, each as long as all after it together, or longer
        self._repeated: dict[int, int] = {}

    def of(self, columns: Sequence[pa.Array]) -> pa.Array:
        texts = [_as_bytes(array) for array in columns]
        separator = pa.scalar(_SEPARATOR.encode(), pa.binary())
        joined = pc.binary_join_element_wise(*texts, separator, null_handling="replace", null_replacement=b"")
        digests = [hashlib.sha256(text).digest() for text in joined.to_pylist()]
        heads = np.frombuffer(b"".join(digests), ">u8").reshape(len(digests), 4)[:, 0].astype(np.uint64)
        unique, counts = np.unique(heads, return_counts=True)
        known = np.zeros(unique.size, bool)
        for seen in self._seen:
            at = np.minimum(np.searchsorted(seen, unique), seen.size - 1)
            known |= seen[at] == unique
        keys = [value.hex() for value in digests]
        again = unique[known | (counts > 1)]
        if again.size:
            for n in np.flatnonzero(np.isin(heads, again)):
                head = int(heads[n])
                number = self._repeated.get(head)
                if number is None:
                    number = 1 if known[np.searchsorted(unique, heads[n])] else 0
                number += 1
                self._repeated[head] = number
                if number > 1:
                    keys[n] = f"{keys[n]}-{number}"
        self._seen.append(unique[~known])
        while len(self._seen) > 1 and self._seen[-1].size >= self._seen[-2].size // 2:
            last = self._seen.pop()
            self._seen[-1] = np.union1d(self._seen[-1], last)
        self._seen = [seen for seen in self._seen if seen.size]
        return pa.array(keys, pa.string())


def _parquet(file: IO[bytes]) -> pq.ParquetFile:
    return pq.ParquetFile(file, pre_buffer=False, page_checksum_verification=True)


def _rows_at_once(parquet: pq.ParquetFile, wanted: Sequence[str]) -> int:
    """A quarter of a batch, in rows or in bytes: one row may hold a word or ten megabytes."""
    metadata = parquet.metadata
    chunks = (
        metadata.row_group(group).column(column)
        for group in range(metadata.num_row_groups)
        for column in range(metadata.num_columns)
    )
    size = sum(one.total_uncompressed_size for one in chunks if one.path_in_schema.split(".")[0] in wanted)
    rows = int(metadata.num_rows) * (BATCH_BYTES // 4) // max(int(size), 1)
    return max(1, min(BATCH_ROWS // 4, rows))


def _as_bytes(array: pa.Array) -> pa.Array:
    if pa.types.is_binary(array.type):
        return array
    if not pa.types.is_string(array.type):
        array = array.cast(pa.string())
    return array.cast(pa.binary())


def _without(array: pa.Array, null_values: Sequence[str]) -> pa.Array:
    """The array with null where its text is one of the listed."""
    if not (pa.types.is_string(array.type) or pa.types.is_binary(array.type)):
        return array
    listed = pa.array([value.encode() for value in null_values], pa.binary())
    return pc.if_else(pc.is_in(array.cast(pa.binary()), listed), pa.scalar(None, array.type), array)


def _with_default(array: pa.Array, default: str) -> pa.Array:
    """The array with the default where it is empty, as text where its type can't hold the default."""
    if pa.types.is_string(array.type) or pa.types.is_binary(array.type):
        value = pa.scalar(default).cast(array.type)
        empty = pc.or_kleene(pc.is_null(array), pc.equal(array, pa.scalar("").cast(array.type)))
        return pc.if_else(pc.fill_null(empty, True), value, array)
    return pc.fill_null(array.cast(pa.string()), default)
