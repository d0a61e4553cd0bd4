"""JSON as logs hold it: lines of objects, or one array of them, from a stream of bytes.

Numbers stay the text that they are: the loader judges 1e400, NaN and integers of a thousand digits.
Knows nothing of files or of what the fields mean.
"""

from __future__ import annotations

import codecs
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from orchestration.sources.csv_text import DamagedError
from orchestration.sources.landing import Piece
from orchestration.sources.protocol import BATCH_ROWS, LONGEST_RECORD, Reject

_BOM = b"\xef\xbb\xbf"
TWICE = "stands twice in the object; the last counts"  # said of a key
_PIECE_CHARACTERS = 8 << 20
_BETWEEN = re.compile(r"[\s,]*")


class _Doubled(dict[str, Any]):
    """A JSON object in which a key stands twice."""

    keys_twice: tuple[str, ...] = ()


def doubled(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys that stand twice in an object as it was written."""
    return row.keys_twice if isinstance(row, _Doubled) else ()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    double = _Doubled(plain)
    double.keys_twice = tuple(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
    return double


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=str, parse_int=str, parse_constant=str, strict=False
)


def objects(chunks: Iterable[bytes]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Each line's object with the line's number; where a line is none, the reason instead."""
    for number, line in _lines(chunks):
        if isinstance(line, str):
            yield number, line
        elif line.strip():
            yield number, decoded(line)


def decoded(text: bytes) -> dict[str, Any] | str:
    """One JSON object, or why it is none."""
    try:
        value = _DECODER.decode(text.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        return f"not JSON: {_reason(error)}"
    return value if isinstance(value, dict) else "not a JSON object"


def elements(chunks: Iterable[bytes]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Each object of an array with its number, from 1 on, in bounded memory.

    What can't be read ends it, with the reason: there is no telling where the next element begins.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    parts = iter(chunks)
    text = ""
    number = 0
    ended = False
    opened = False
    while True:
        fault = None
        if not ended:
            try:
                part = next(parts, None)
            except DamagedError as damage:
                part, fault = None, f"the file is damaged from here on: {damage}"
            ended = part is None
            text += decoder.decode(part or b"", final=ended)
        if not opened and (text := text.removeprefix("\ufeff").lstrip()):
            if not text.startswith("["):
                yield 1, "not a JSON array"
                return
            opened, text = True, text[1:]
        at = 0
        while opened and (at := _between(text, at)) < len(text):
            if text[at] == "]":
                if fault := _fault_after(text[at + 1 :] + decoder.decode(b"", final=True), parts):
                    yield number + 1, fault
                return
            try:
                value, at = _DECODER.raw_decode(text, at)
            except (ValueError, RecursionError) as error:
                if not ended and len(text) - at <= LONGEST_RECORD and isinstance(error, ValueError):
                    break  # the rest of it is still to come
                yield number + 1, fault or f"not JSON from here on: {_reason(error)}"
                return
            number += 1
            yield number, value if isinstance(value, dict) else "not a JSON object"
        text = text[at:]
        if ended:
            if opened or fault:
                yield number + 1, fault or "the array is not closed: the file is cut off"
            return


def _fault_after(text: str, parts: Iterator[bytes]) -> str | None:
    """What is wrong with the rest of a stream in which an array has ended: anything but blanks."""
    try:
        if text.strip() or any(part.strip() for part in parts):
            return "what stands after the end of the array is not read"
    except DamagedError as damage:
        return f"the file is damaged from here on: {damage}"
    return None


def _between(text: str, at: int) -> int:
    match = _BETWEEN.match(text, at)
    return match.end() if match else at


def _reason(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _lines(parts: Iterable[bytes]) -> Iterator[tuple[int, bytes | str]]:
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
                content = content.removeprefix(_BOM)
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


class Gathering:
    """Rows of one place by column, until they are enough for a piece; and what was no row or no value."""

    def __init__(self, place: str, columns: Sequence[str]) -> None:
        self._place = place
        self._columns = columns
        self._values: list[Sequence[str | None]] = []
        self._numbers: list[int] = []
        self._rejects: list[Reject] = []
        self._size = 0

    def reject(self, number: int, field: str | None, reason: str, payload: str | None = None) -> None:
        self._rejects.append(Reject(f"{self._place}:{number}", field, reason, payload))

    def add(self, number: int, values: Sequence[Any]) -> None:
        """One row, its values in the order of the columns."""
        texts = _texts(values)
        self._values.append(texts)
        self._numbers.append(number)
        self._size += sum(len(text) for text in texts if text is not None)

    @property
    def full(self) -> bool:
        return len(self._values) + len(self._rejects) >= BATCH_ROWS // 4 or self._size >= _PIECE_CHARACTERS

    def take(self) -> Piece:
        """What was gathered; the gathering is empty again."""
        arrays = {name: text_array([row[n] for row in self._values]) for n, name in enumerate(self._columns)}
        piece = Piece(arrays, pa.array(self._numbers, pa.int64()), tuple(self._rejects))
        self._rejects, self._values, self._numbers, self._size = [], [], [], 0
        return piece


def text_array(values: list[Any]) -> pa.Array:
    """JSON values as text; binary where some of it has no UTF-8."""
    texts = _texts(values)
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:
        return pa.array([None if text is None else _encode(text) for text in texts], pa.binary())


def _texts(values: Iterable[Any]) -> list[str | None]:
    return [value if isinstance(value, str) or value is None else word(value) for value in values]


def _encode(text: str) -> bytes:
    """Bytes that were no UTF-8 as they were; lone surrogates in a form that the loader finds."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def word(value: Any) -> str:
    """A constant, a default or a JSON value as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        try:
            return json.dumps(value, default=str)
        except RecursionError:
            return "(nested too deeply)"
    return str(value)
