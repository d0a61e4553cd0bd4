"""CSV as published (RFC 4180) and as met with, from a stream of bytes to columns and line numbers.

A block whose quotes are well formed and whose rows all fit goes through Arrow's reader at full speed;
any other goes record by record through Python's, so that one bad row costs itself alone. Both read a
good row alike. Knows nothing of files or of what the columns mean.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv

from orchestration.sources.protocol import LONGEST_RECORD

_BLOCK = 4 << 20
_QUOTE, _NEWLINE, _RETURN, _COMMA = (ord(character) for character in '"\n\r,')
_BOM = b"\xef\xbb\xbf"

# Python's reader refuses longer fields; ours are held to LONGEST_RECORD.
_FIELD_LIMIT = 1 << 30


class DamagedError(Exception):
    """A stream that can't be read to its end; what came before it is good."""


@dataclass
class Piece:
    """Some rows: the wanted columns by name, each row's line, and (line, reason) of what is no row."""

    columns: dict[str, pa.Array]
    lines: pa.Array
    rejects: list[tuple[int, str]] = field(default_factory=list)


class HeaderError(Exception):
    """The first record can't be a header."""


class CsvText:
    """A CSV text: ``header`` at once, then ``pieces`` of the columns that are wanted.

    Raises :class:`HeaderError` where the first record is no header.
    """

    def __init__(self, chunks: Iterable[bytes], header: Sequence[str] | None = None) -> None:
        self._chunks = iter(chunks)
        self._rest = b""
        self._ended = False
        self._damage: str | None = None
        self._line = 1  # of the first byte in _rest
        self._skipping = False  # the rest of a line that is too long
        self._more()
        if self._rest.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise HeaderError("is UTF-16, not UTF-8")
        self._rest = self._rest.removeprefix(_BOM)
        self.header = list(header) if header is not None else self._read_header()

    def _more(self) -> None:
        """Takes in another block, or notes the end."""
        size = len(self._rest) + _BLOCK
        parts = [self._rest]
        have = len(self._rest)
        while have < size and not self._ended:
            try:
                chunk = next(self._chunks, None)
            except DamagedError as damage:
                self._damage = str(damage)
                chunk = None
            if chunk is None:
                self._ended = True
            else:
                parts.append(chunk)
                have += len(chunk)
        self._rest = b"".join(parts)

    def _read_header(self) -> list[str]:
        if self._damage is not None and b"\n" not in self._rest:
            self._rest = b""  # no header, so no rows: what is left is to tell why
        if not self._rest:
            return []
        records, end, lines = _careful(self._rest, self._line, ended=self._ended, stop_after=1)
        if not records or records[0].fields is None:
            raise HeaderError(records[0].fault if records else "has no header line")
        self._rest, self._line = self._rest[end:], self._line + lines
        header = [name.encode("latin-1").decode("utf-8", "replace").strip() for name in records[0].fields]
        if "\x00" in "".join(header):
            raise HeaderError("has NUL bytes in its header: this is no text")
        return header

    def pieces(self, wanted: Sequence[str], null_values: Sequence[str] = ("",)) -> Iterator[Piece]:
        """The rows, block by block. ``wanted`` names columns of the header; ``null_values`` read as null."""
        while self._rest or not self._ended:
            if not self._ended:
                self._more()
            if self._skipping:
                self._skip_line()
                continue
            piece = self._fast(wanted, null_values) or self._slow(wanted, null_values)
            if piece is not None:
                yield piece
            elif len(self._rest) > LONGEST_RECORD:
                self._skipping = True
                yield self._reject(wanted, "a line too long to be a row")
        if self._damage is not None:
            yield self._reject(wanted, f"the file is damaged from here on: {self._damage}")

    def _reject(self, wanted: Sequence[str], reason: str) -> Piece:
        return Piece(
            columns={name: pa.array([], pa.string()) for name in wanted},
            lines=pa.array([], pa.int64()),
            rejects=[(self._line, reason)],
        )

    def _skip_line(self) -> None:
        end = self._rest.find(b"\n") + 1
        self._rest = self._rest[end:] if end else b""
        if end:
            self._line += 1
            self._skipping = False

    def _fast(self, wanted: Sequence[str], null_values: Sequence[str]) -> Piece | None:
        """The block up to its last whole record through Arrow; null where that is not safe."""
        block = self._rest
        octets = np.frombuffer(block, np.uint8)
        newlines = np.flatnonzero(octets == _NEWLINE)
        quotes = np.flatnonzero(octets == _QUOTE)
        outside = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
        whole = self._ended and self._damage is None
        end = len(block) if whole else int(outside[-1]) + 1 if outside.size else 0
        octets, quotes = octets[:end], quotes[quotes < end]
        if not (end and _well_quoted(octets, quotes) and _returns_before_newlines(octets, quotes)):
            return None
        ends = outside if octets[-1] == _NEWLINE else np.append(outside, end)
        starts = np.concatenate(([0], ends[:-1] + 1))
        lengths = ends - starts
        blank = (lengths == 0) | ((lengths == 1) & (octets[np.minimum(starts, end - 1)] == _RETURN))
        lines_before = np.searchsorted(newlines, starts[~blank])
        columns = self._parse(block[:end], lines_before.size, wanted, null_values, quoted=bool(quotes.size))
        if columns is None:
            return None
        lines = pa.array(self._line + lines_before, pa.int64())
        self._line += int(np.searchsorted(newlines, end))
        self._rest = block[end:]
        return Piece(columns, lines)

    def _parse(
        self, text: bytes, count: int, wanted: Sequence[str], null_values: Sequence[str], *, quoted: bool
    ) -> dict[str, pa.Array] | None:
        """``count`` rows by Arrow's reader; null where it finds others."""
        kind = pa.string() if _is_utf8(text) else pa.binary()
        if not count:
            return {name: pa.array([], kind) for name in wanted}
        positions = [str(self.header.index(name)) for name in wanted]
        try:
            table = arrow_csv.read_csv(
                pa.BufferReader(text),
                read_options=arrow_csv.ReadOptions(
                    column_names=[str(n) for n in range(len(self.header))],
                    block_size=len(text) + 1,
                ),
                parse_options=arrow_csv.ParseOptions(newlines_in_values=quoted),
                convert_options=arrow_csv.ConvertOptions(
                    include_columns=positions,
                    column_types=dict.fromkeys(positions, kind),
                    check_utf8=False,
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=True,
                    null_values=list(null_values),
                ),
            )
        except pa.ArrowInvalid:  # a row of another width
            return None
        if table.num_rows != count:
            return None
        return {name: _one_array(table.column(n)) for n, name in enumerate(wanted)}

    def _slow(self, wanted: Sequence[str], null_values: Sequence[str]) -> Piece | None:
        """The block record by record; null where it holds no whole record and more is to come."""
        records, end, line_count = _careful(
            self._rest, self._line, ended=self._ended and self._damage is None, stop_after=None
        )
        if end == 0:
            if self._ended:
                self._rest = b""
            return None
        self._rest, self._line = self._rest[end:], self._line + line_count
        width = len(self.header)
        rejects: list[tuple[int, str]] = []
        good: list[list[str]] = []
        lines: list[int] = []
        for record in records:
            if record.fields is None:
                rejects.append((record.line, record.fault))
            elif len(record.fields) != width:
                span = (
                    f" (lines {record.line} to {record.last_line})" if record.last_line > record.line else ""
                )
                rejects.append(
                    (record.line, f"{len(record.fields)} fields where the header names {width}{span}")
                )
            else:
                good.append(record.fields)
                lines.append(record.line)
        nulls = {value.encode().decode("latin-1") for value in null_values}
        columns = {}
        for name in wanted:
            n = self.header.index(name)
            values = [None if row[n] in nulls else row[n].encode("latin-1") for row in good]
            array = pa.array(values, pa.binary())
            with suppress(pa.ArrowInvalid):  # the loader finds the values that are not UTF-8
                array = array.cast(pa.string())
            columns[name] = array
        return Piece(columns, pa.array(lines, pa.int64()), rejects)


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _is_utf8(text: bytes) -> bool:
    if text.isascii():
        return True
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _well_quoted(octets: np.ndarray, quotes: np.ndarray) -> bool:
    """Whether each opening quote begins a field and each closing one ends it (or both are an escaped one)."""
    openers, closers = quotes[::2], quotes[1::2]
    if openers.size != closers.size:
        return False
    before = np.where(openers == 0, _NEWLINE, octets[np.maximum(openers, 1) - 1])
    if not np.isin(before, (_COMMA, _NEWLINE, _QUOTE)).all():
        return False
    last = octets.size - 1
    after = np.where(closers == last, _NEWLINE, octets[np.minimum(closers + 1, last)])
    return bool(np.isin(after, (_COMMA, _NEWLINE, _RETURN, _QUOTE)).all())


def _returns_before_newlines(octets: np.ndarray, quotes: np.ndarray) -> bool:
    """Whether every carriage return outside of quotes is half of a line end."""
    returns = np.flatnonzero(octets == _RETURN)
    returns = returns[np.searchsorted(quotes, returns) % 2 == 0]
    last = octets.size - 1
    after = np.where(returns == last, 0, octets[np.minimum(returns + 1, last)])
    return bool((after == _NEWLINE).all())


@dataclass(frozen=True)
class _Record:
    line: int
    last_line: int
    fields: list[str] | None  # latin-1: a character a byte
    fault: str = ""


class _Lines:
    """Lines for Python's reader, with a position that can be set back."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.position = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if self.position == len(self.lines):
            raise StopIteration
        self.position += 1
        return self.lines[self.position - 1]


def _careful(
    block: bytes, first_line: int, *, ended: bool, stop_after: int | None
) -> tuple[list[_Record], int, int]:
    """The records of a block, how many bytes they take and how many line ends are in them.

    Where a quote is left open or followed by text, the record's first line is bad, and reading goes on
    with the second: nothing after it is swallowed. ``ended`` says that no more bytes come.
    """
    csv.field_size_limit(_FIELD_LIMIT)
    whole = len(block) if ended else block.rfind(b"\n") + 1
    lines = block[:whole].decode("latin-1").split("\n")
    lines = [line + "\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
    feed = _Lines(lines)
    reader = csv.reader(feed, strict=True)
    records: list[_Record] = []
    start = 0
    while stop_after is None or len(records) < stop_after:
        start = feed.position
        try:
            fields = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            unfinished = feed.position == len(lines) and "unexpected end" in str(error)
            if unfinished and not ended and sum(map(len, lines[start:])) <= LONGEST_RECORD:
                feed.position = start
                break
            fault = "a quote is opened and never closed" if unfinished else f"not CSV: {error}"
            records.append(_Record(first_line + start, first_line + start, None, fault))
            feed.position = start + 1
            reader = csv.reader(feed, strict=True)
            continue
        if fields:
            records.append(_Record(first_line + start, first_line + feed.position - 1, fields))
    taken = sum(map(len, lines[: feed.position]))
    return records, taken, sum(line.endswith("\n") for line in lines[: feed.position])
