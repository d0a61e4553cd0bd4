"""Files: CSV, JSON Lines, Parquet, plain or gzip, read through the column map of prism.yaml.

Any log fits: the map says which column is which, in what unit and zone. What it can't know: whether a
file that nobody writes to at the moment is complete.
"""

from __future__ import annotations

import glob
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestration.errors import PrismError
from orchestration.settings import ColumnMap, FilesSource
from orchestration.sources import octets
from orchestration.sources.csv_text import CsvText, DamagedError, HeaderError
from orchestration.sources.protocol import (
    BATCH_ROWS,
    CANONICAL,
    LONGEST_RECORD,
    Assembly,
    Batch,
    Entity,
    Reading,
    Reject,
    Watermarks,
)

log = logging.getLogger(__name__)

Format = Literal["csv", "jsonl", "parquet"]
_ENDINGS: Mapping[str, Format] = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}
# What tools call a file that they have not finished.
_UNFINISHED = (".part", ".partial", ".tmp", ".crdownload", ".filepart", "~")
_SEPARATOR = "\x1f"


@dataclass(frozen=True)
class _Piece:
    """Some rows as they stand in the file: text (or typed, from Parquet) by the file's own names."""

    columns: Mapping[str, pa.Array]
    rows: pa.Array
    rejects: Sequence[Reject] = ()


class FilesReader:
    """The files of one source, of one entity, found and looked at.

    ``base`` is the folder that relative paths start from; ``files`` stand for those that the source's path
    names. ``loaded_as`` stands for whatever else makes other rows of the same file: where it changes, all
    files are read again. Raises :class:`PrismError` where the column map can't work or a required column
    is missing, before any row is read.
    """

    def __init__(
        self, source: FilesSource, base: Path, files: Sequence[Path] | None = None, *, loaded_as: str = ""
    ) -> None:
        self.entities: Sequence[Entity] = (source.entity,)
        self._source = source
        self._base = base
        self._loaded_as = loaded_as
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
        self._named = files is not None
        self._root, self._paths = self._find() if files is None else self._given(files)
        for path in self._paths:
            self._check_header(path)
        self.description = f"{len(self._paths)} file{'' if len(self._paths) == 1 else 's'} at {source.path}"

    # -- which files

    def _find(self) -> tuple[Path, list[Path]]:
        pattern = self._base / Path(self._source.path).expanduser()
        if pattern.is_dir():
            root, found = pattern, [path for path in pattern.iterdir() if self._format(path)]
        elif pattern.exists():
            root, found = pattern.parent, [pattern]
        elif glob.has_magic(str(pattern)):
            root = pattern
            while glob.has_magic(str(root)):
                root = root.parent
            found = [Path(name) for name in glob.glob(str(pattern), recursive=True)]  # noqa: PTH207 - the pattern may be absolute
        else:
            root, found = pattern.parent, []
        if not root.exists() or (not found and not glob.has_magic(str(pattern)) and not pattern.is_dir()):
            raise PrismError(
                "there is no such file or folder",
                where=f"{self._where}: {pattern}",
                mend="Correct `path:` in prism.yaml (it is relative to that file), or put the files there.",
            )
        ready = []
        for path in sorted(found):
            if not path.is_file() or path.name.startswith(".") or path.name.endswith(_UNFINISHED):
                continue
            if octets.is_being_written(path):
                log.warning("%s is still being written; it is left for the next load", self._name(path))
            else:
                ready.append(path)
        if not ready:
            log.warning("%s: no file to load at %s", self._where, pattern)
        return root, ready

    def _given(self, files: Sequence[Path]) -> tuple[Path, list[Path]]:
        root = self._base / Path(self._source.path).expanduser()
        while glob.has_magic(str(root)) or root.is_file():
            root = root.parent
        for path in files:
            if not path.is_file():
                raise PrismError("there is no such file", where=str(path))
            if octets.is_being_written(path):
                raise PrismError(
                    "this file is still being written",
                    where=str(path),
                    mend="Wait until it is complete, and load it again.",
                )
        return root, [path.resolve() for path in files]

    def _format(self, path: Path) -> Format | None:
        """The format the settings name, else that of the ending; null where neither says."""
        if self._source.format:
            return self._source.format
        name = path.name.lower().removesuffix(".gz")
        return next((format_ for ending, format_ in _ENDINGS.items() if name.endswith(ending)), None)

    def _name(self, path: Path) -> str:
        """The file in words: relative to prism.yaml where it lies below."""
        path = path.resolve()
        base = self._base.resolve()
        return path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_posix()

    def _short_name(self, path: Path) -> str:
        """The file's part of a row's key: it stays when the folder moves or the file is packed."""
        root, path = self._root.resolve(), path.resolve()
        short = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
        return short.removesuffix(".gz")

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
                where=f"{self._where}: {self._name(path)}",
                mend="Correct the names in `columns:` or `usage_id:`, or the file.",
            )
        twice = [name for name, count in Counter(header).items() if count > 1]
        used = {*self._key_columns(), *(column.source for column in columns.values())}
        if twice := [name for name in twice if name in used]:
            raise PrismError(
                f"the file has two columns named {twice[0]!r}",
                where=f"{self._where}: {self._name(path)}",
                mend="Rename one of them in the file.",
            )

    def _header(self, path: Path) -> Sequence[str] | None:
        """The names of the file's columns; null where it has none or can't be opened as what it should be."""
        format_ = self._format(path)
        if format_ is None:
            raise PrismError(
                "its ending does not say what it is",
                where=f"{self._where}: {self._name(path)}",
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
                where=f"{self._where}: {self._name(path)}",
                mend="Save it as CSV in UTF-8 with a header line, or take it out of the folder.",
            ) from None
        except (DamagedError, pa.ArrowException, OSError, ValueError):
            return None  # reported with its reason when it is read

    # -- rows

    def batches(self, entity: Entity, watermarks: Watermarks) -> Generator[Batch]:
        """All rows of all files; a usage file that was loaded whole, read in the same way, is left out."""
        for path in self._paths:
            name = self._name(path)
            before = path.stat()
            mark = {"sha256": octets.digest(path), "read_as": self._fingerprint()}
            if entity == "usage" and not self._named and watermarks.get(name) == mark:
                continue
            assembly = Assembly(entity, name)
            for piece in self._pieces(path):
                if assembly.full:
                    yield assembly.take(None)
                assembly.add(piece.columns, piece.rows, piece.rejects)
            after = path.stat()
            whole = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
            if not whole:
                log.warning("%s changed while it was read; it is read again with the next load", name)
            yield assembly.take(mark if whole else None)

    def _fingerprint(self) -> str:
        """Changes whenever the same file would be read as other rows."""
        return hashlib.sha256((self._source.model_dump_json() + self._loaded_as).encode()).hexdigest()[:16]

    def _pieces(self, path: Path) -> Iterator[_Piece]:
        format_ = self._format(path)
        raw = {"csv": self._csv, "jsonl": self._jsonl, "parquet": self._parquet}[format_ or "csv"](path)
        keys = _TextKeys()
        told: set[str] = set()
        for piece in raw:
            yield self._canonical(piece, path, keys, told)

    def _wanted(self, header: Sequence[str]) -> list[str]:
        """The file's columns that are used, in its order."""
        used = {*self._key_columns(), *(column.source for column in self._map(header).values())}
        return [name for name in dict.fromkeys(header) if name in used]

    def _csv(self, path: Path) -> Iterator[_Piece]:
        text = CsvText(octets.chunks(path))
        name = self._name(path)
        # the text of key columns counts as it stands, so only the empty string is null here
        for piece in text.pieces(self._wanted(text.header)):
            rejects = [Reject(f"{name}:{line}", None, reason) for line, reason in piece.rejects]
            yield _Piece(piece.columns, piece.lines, rejects)

    def _jsonl(self, path: Path) -> Iterator[_Piece]:
        name = self._name(path)
        columns = self._source.columns
        fields = {column.source: canonical for canonical, column in columns.items() if column.source}
        wanted = [*dict.fromkeys([*fields, *self._key_columns()])]
        if not columns:
            wanted = list(CANONICAL[self._source.entity])
        values: list[list[Any]] = []
        lines: list[int] = []
        rejects: list[Reject] = []
        size = 0

        def take() -> _Piece:
            arrays = {column: _text_array([row[n] for row in values]) for n, column in enumerate(wanted)}
            piece = _Piece(arrays, pa.array(lines, pa.int64()), tuple(rejects))
            values.clear()
            lines.clear()
            rejects.clear()
            return piece

        number = 0
        for number, line in _lines(octets.chunks(path)):
            if isinstance(line, str):
                rejects.append(Reject(f"{name}:{number}", None, line))
                continue
            if not line.strip():
                continue
            size += len(line)
            try:
                row = _DECODER.decode(line.decode("utf-8", "surrogateescape"))
            except (ValueError, RecursionError) as error:
                reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
                rejects.append(Reject(f"{name}:{number}", None, f"not JSON: {reason}"))
                continue
            if not isinstance(row, dict):
                rejects.append(Reject(f"{name}:{number}", None, "not a JSON object"))
                continue
            if isinstance(row, _Doubled):
                rejects.extend(
                    Reject(
                        f"{name}:{number}",
                        fields.get(key, key),
                        "stands twice in the object; the last counts",
                    )
                    for key in row.doubled
                    if key in wanted
                )
            values.append([row.get(column) for column in wanted])
            lines.append(number)
            if len(values) >= BATCH_ROWS // 4 or size >= 8 << 20:
                yield take()
                size = 0
        yield take()

    def _parquet(self, path: Path) -> Iterator[_Piece]:
        name = self._name(path)
        first = 1
        try:
            with octets.seekable(path) as file:
                parquet = _parquet(file)
                wanted = self._wanted(parquet.schema_arrow.names)
                # one row group at a time: reading ahead would take memory for what is not yet needed
                for group in parquet.iter_batches(batch_size=BATCH_ROWS // 4, columns=wanted):
                    count = group.num_rows
                    rows = pa.array(np.arange(first, first + count))
                    first += count
                    columns = {column: _plain(group.column(column)) for column in wanted}
                    if not wanted:
                        columns = {}
                    yield _Piece(columns, rows)
        except (DamagedError, pa.ArrowException, OSError, ValueError, MemoryError) as error:
            reason = " ".join(str(error).split())[:300]
            yield _Piece(
                {}, pa.array([], pa.int64()), [Reject(f"{name}:{first}", None, f"not Parquet: {reason}")]
            )

    # -- one piece to canonical columns

    def _canonical(self, piece: _Piece, path: Path, keys: _TextKeys, told: set[str]) -> _Piece:
        count = len(piece.rows)
        rejects = list(piece.rejects)
        columns: dict[str, pa.Array] = {}
        if not count:
            return _Piece({}, piece.rows, rejects)
        mapped = self._map(list(piece.columns))
        for name, column in mapped.items():
            if column.source is None:
                columns[name] = pa.repeat(pa.scalar(_word(column.value)), count)
                continue
            array = piece.columns.get(column.source)
            if array is None:
                if column.default is None and column.source not in told:
                    told.add(column.source)
                    rejects.append(
                        Reject(
                            f"{self._name(path)}:1",
                            name,
                            f"the file has no column {column.source!r}: all its values are unknown",
                        )
                    )
                array = pa.nulls(count, pa.string())
            if self._source.null_values:
                array = _without(array, self._source.null_values)
            if column.default is not None:
                array = _with_default(array, _word(column.default))
            columns[name] = array
        if "status" in CANONICAL[self._source.entity]:
            status = columns.get("status", pa.nulls(count, pa.string()))
            columns["status"] = _with_default(status, "active")
        if self._source.entity == "usage" and self._source.usage_id == "line":
            prefix = self._short_name(path)
            columns["usage_id"] = pc.binary_join_element_wise(prefix, piece.rows.cast(pa.string()), ":")
        elif self._source.entity == "usage" and self._key_columns():
            columns["usage_id"] = keys.of([piece.columns[name] for name in self._key_columns()])
        return _Piece(columns, piece.rows, rejects)


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


class _Doubled(dict[str, Any]):
    """A JSON object in which a key stands twice."""

    doubled: tuple[str, ...] = ()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    double = _Doubled(plain)
    double.doubled = tuple(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
    return double


# Numbers stay the text that they are: the loader judges 1e400, NaN and integers of a thousand digits.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=str, parse_int=str, parse_constant=str, strict=False
)


def _lines(parts: Iterator[bytes]) -> Iterator[tuple[int, bytes | str]]:
    """Each line with its number; instead of a line that can't be had, the reason."""
    rest: list[bytes] = []
    size = 0
    number = 1
    skipping = False
    try:
        first = True
        for part in parts:
            content = part
            if first:
                first = False
                content = content.removeprefix(b"\xef\xbb\xbf")
                if content.startswith((b"\xff\xfe", b"\xfe\xff")):
                    yield 1, "the file is UTF-16, not UTF-8"
                    return
            lines = content.split(b"\n")
            for line in lines[:-1]:
                if skipping:
                    skipping = False
                else:
                    yield number, b"".join([*rest, line])
                rest, size = [], 0
                number += 1
            size += len(lines[-1])
            if skipping:
                continue
            rest.append(lines[-1])
            if size > LONGEST_RECORD:
                yield number, "a line too long to be a row"
                rest, size, skipping = [], 0, True
    except DamagedError as damage:
        yield number, f"the file is damaged from here on: {damage}"
        return
    if rest and not skipping:
        yield number, b"".join(rest)


def _text_array(values: list[Any]) -> pa.Array:
    """JSON values as text; binary where some of it has no UTF-8."""
    texts = [value if isinstance(value, str) or value is None else _word(value) for value in values]
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:
        return pa.array([None if text is None else _encode(text) for text in texts], pa.binary())


def _encode(text: str) -> bytes:
    """Bytes that were no UTF-8 as they were; lone surrogates in a form that the loader finds."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _word(value: Any) -> str:
    """A constant, a default or a JSON value as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return json.dumps(value)
    return str(value)


def _parquet(file: IO[bytes]) -> pq.ParquetFile:
    return pq.ParquetFile(file, pre_buffer=False, page_checksum_verification=True)


def _plain(array: pa.Array) -> pa.Array:
    """A Parquet column in a type that the loader reads: no dictionaries, views or nested types."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    type_ = array.type
    if pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return array.cast(pa.string())
    if (
        pa.types.is_large_binary(type_)
        or pa.types.is_binary_view(type_)
        or pa.types.is_fixed_size_binary(type_)
    ):
        return array.cast(pa.binary())
    if pa.types.is_nested(type_):
        return _text_array(array.to_pylist())
    return array


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
