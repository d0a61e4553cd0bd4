"""People's rows out of files that were put away: CSV, JSON Lines, JSON arrays, Parquet; plain or gzip.

A row is a person's where any of its values is their key, whatever its column is called. A line that goes
leaves an empty one, so that the lines after it keep their numbers, by which they may have been loaded.
Knows nothing of sources.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.sources import octets
from orchestration.sources.protocol import LONGEST_RECORD

# Whether a value, as text, is a person's key
IsTheirs = Callable[[str], bool]
_PARQUET = b"PAR1"
_ROWS = 20_000


def remove(path: Path, is_theirs: IsTheirs, *, dry_run: bool = False) -> int:
    """Takes the person's rows out of one file, and returns how many there were.

    The file is replaced whole, by a rename, and only where it held any. Raises ``OSError``, ``ValueError``
    (also pyarrow's errors), ``EOFError`` or ``csv.Error`` where it can't be read to its end: it stays then.
    """
    partial = path.with_name(path.name + ".part")
    try:
        with path.open("rb") as file:
            head = file.read(4)
        if head == _PARQUET:
            removed = _parquet(path, partial, is_theirs)
        else:
            packed = octets.is_gzip(path)
            with _opened(path, "rb", packed=packed) as lines, _opened(partial, "wb", packed=packed) as kept:
                removed = _text(lines, kept, is_theirs)
        if removed and not dry_run:
            shutil.copystat(path, partial)
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return removed


def _opened(path: Path, mode: str, *, packed: bool) -> IO[bytes]:
    return gzip.open(path, mode) if packed else path.open(mode)  # type: ignore[return-value]


def _text(lines: IO[bytes], kept: IO[bytes], is_theirs: IsTheirs) -> int:
    first = lines.readline()
    if b"\x00" in first:
        raise ValueError("this is no text")
    start = first.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"["):
        return _array(first + lines.read(), kept, is_theirs)
    records = _objects if start.startswith(b"{") else _csv_records
    removed = 0
    for record, rest in records(_with(first, lines), is_theirs):
        if rest is None:
            kept.write(record)
        else:
            removed += 1
            kept.write(rest)
    return removed


def _with(first: bytes, lines: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield from lines


def _objects(lines: Iterable[bytes], is_theirs: IsTheirs) -> Iterator[tuple[bytes, bytes | None]]:
    """Each line; beside one of the person's what stays of it: its line end, or its other spans."""
    for line in lines:
        end = b"\n" if line.endswith(b"\n") else b""
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            # cut off or garbled: nobody can say whose it is, but what names the person goes
            yield line, end if any(is_theirs(word) for word in _words(line)) else None
            continue
        if not _holds(value, is_theirs):
            yield line, None
        elif isinstance(value, dict) and "resourceSpans" in value:
            _prune(value, is_theirs)
            stays = not _holds(value, is_theirs) and any(_spans(value))
            yield line, json.dumps(value, ensure_ascii=False).encode() + end if stays else end
        else:
            yield line, end


def _words(line: bytes) -> list[str]:
    return line.decode("utf-8", "replace").split('"')


def _spans(value: Any) -> Iterator[Any]:
    for resource in value.get("resourceSpans") or ():
        for scope in resource.get("scopeSpans") or ():
            yield from scope.get("spans") or ()


def _prune(value: Any, is_theirs: IsTheirs) -> None:
    """A line of OpenTelemetry holds many calls, of many people: the person's alone go."""
    for resource in value.get("resourceSpans") or ():
        for scope in resource.get("scopeSpans") or ():
            scope["spans"] = [span for span in scope.get("spans") or () if not _holds(span, is_theirs)]


def _holds(value: Any, is_theirs: IsTheirs) -> bool:
    if isinstance(value, dict):
        return any(_holds(inner, is_theirs) for inner in value.values())
    if isinstance(value, list):
        return any(_holds(inner, is_theirs) for inner in value)
    return value is not None and not isinstance(value, bool) and is_theirs(str(value))


def _array(text: bytes, kept: IO[bytes], is_theirs: IsTheirs) -> int:
    rows = json.loads(text)
    stay = [row for row in rows if not _holds(row, is_theirs)]
    kept.write(json.dumps(stay, ensure_ascii=False).encode())
    return len(rows) - len(stay)


def _csv_records(lines: Iterable[bytes], is_theirs: IsTheirs) -> Iterator[tuple[bytes, bytes | None]]:
    """Each record as it stands, which may be several lines; beside one of the person's its line ends."""
    csv.field_size_limit(LONGEST_RECORD)
    taken: list[bytes] = []

    def feed() -> Iterator[str]:
        for line in lines:
            taken.append(line)
            yield line.decode("utf-8", "surrogateescape")

    for fields in csv.reader(feed()):
        record = b"".join(taken)
        taken.clear()
        theirs = any(is_theirs(field) for field in fields)
        yield record, b"\n" * record.count(b"\n") if theirs else None
    if taken:
        yield b"".join(taken), None


def _parquet(path: Path, partial: Path, is_theirs: IsTheirs) -> int:
    removed = 0
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        codec = file.metadata.row_group(0).column(0).compression if file.metadata.num_row_groups else "SNAPPY"
        with pq.ParquetWriter(partial, schema, compression=codec.lower()) as writer:
            for batch in file.iter_batches(batch_size=_ROWS):
                stays = [not _holds(row, is_theirs) for row in batch.to_pylist()]
                removed += stays.count(False)
                writer.write_batch(batch.filter(pa.array(stays, pa.bool_())))
    return removed
