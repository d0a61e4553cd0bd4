"""Values as they were read, to values of ``raw``: whole columns at once.

Each function takes a column as a source gave it (text, or typed) and returns the column typed, with null
for what is no such value, and the faults: which rows, and why. Knows nothing of rows, sources or tables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestration.sources.protocol import Reading

INSTANT = pa.timestamp("us", "UTC")
# No computer's clock tells an earlier time: 0001-01-01, 1900-01-01 and the like are how programs write none.
# And data_quality has a row for every day from a source's first use on.
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LONGEST_KEY = 1000  # bytes: it must fit an index, and no key that means something is longer
# Above these a value is a fault of its source, and one would spoil every sum.
MOST_TOKENS = 10**12
LONGEST_MS = 366 * 86_400_000.0
MOST_COST = 10**9
_UNITS_IN_MS = {"s": 1000.0, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_TOO_EARLY = "before 1970"
_TOO_LATE = "more than 24 hours ahead of the clock"
_TRUE = ("1", "1.0", "true", "t", "yes", "y", "ok")
_FALSE = ("0", "0.0", "false", "f", "no", "n", "error")
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
# ISO 8601 and what PostgreSQL, Python and most logs write
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:[.,](\d+))?)?\s*(Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?", re.I
)
_ARROW_ZONED = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:]{5,8}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}(:?[0-9]{2})?)$"


@dataclass
class Column:
    """A typed column, and what was wrong: ``faults`` lost their value, ``notes`` keep it."""

    values: pa.Array
    faults: list[tuple[np.ndarray, str]] = field(default_factory=list)
    notes: list[tuple[np.ndarray, str]] = field(default_factory=list)

    def reject(self, bad: pa.Array, reason: str) -> None:
        """Takes out the values where ``bad`` is true."""
        rows = true_rows(bad)
        if rows.size:
            self.faults.append((rows, reason))
            self.values = pc.if_else(pc.fill_null(bad, False), pa.scalar(None, self.values.type), self.values)


def true_rows(mask: pa.Array) -> np.ndarray:
    """The positions at which a mask is true; null is not."""
    if not pc.any(mask).as_py():
        return np.empty(0, np.int64)
    return np.flatnonzero(pc.fill_null(mask, False).to_numpy(zero_copy_only=False))


def as_text(array: pa.Array) -> Column:
    """Text: UTF-8 without NUL; the empty string is unknown."""
    if pa.types.is_binary(array.type):
        array, bad = _decoded(array)
    else:
        bad = None
        if not pa.types.is_string(array.type):
            array = _cast_to_text(array)
    column = Column(array)
    if bad is not None:
        column.reject(bad, "not UTF-8")
    column.reject(pc.match_substring(column.values, "\x00"), "a NUL character")
    empty = pc.equal(column.values, "")
    if pc.any(empty).as_py():
        column.values = pc.if_else(empty, pa.scalar(None, pa.string()), column.values)
    return column


def as_key(array: pa.Array) -> Column:
    """Text that names something."""
    column = as_text(array)
    column.reject(
        pc.greater(pc.binary_length(column.values), LONGEST_KEY), f"longer than {LONGEST_KEY} bytes"
    )
    return column


def as_choice(array: pa.Array, known: tuple[str, ...]) -> Column:
    """One of the known words, in lower case."""
    column = as_text(array)
    column.values = pc.utf8_lower(pc.utf8_trim_whitespace(column.values))
    strange = pc.and_(pc.is_valid(column.values), pc.invert(pc.is_in(column.values, pa.array(known))))
    column.reject(strange, f"none of {', '.join(known)}")
    return column


def as_list(array: pa.Array) -> Column:
    """Words as a PostgreSQL array literal, from JSON or from text with commas. Only libraries have them."""
    column = as_text(array)
    literals: list[str | None] = []
    cut: list[int] = []
    for row, text in enumerate(column.values.to_pylist()):
        words = [] if text is None else _words(text)
        kept = [word for word in words if "\x00" not in word]
        if len(kept) < len(words):
            cut.append(row)
        literals.append(None if text is None else "{" + ",".join(map(_quoted, kept)) + "}")
    column.values = pa.array(literals, pa.string())
    if cut:
        column.notes.append((np.array(cut), "a NUL character in a word of it, which is left out"))
    return column


def as_number(array: pa.Array) -> Column:
    """A finite double."""
    column = _double(array)
    column.reject(pc.invert(pc.is_finite(column.values)), "not a finite number")
    return column


def as_duration(array: pa.Array, reading: Reading) -> Column:
    """Milliseconds, 0 to a year."""
    column = as_number(array)
    factor = _UNITS_IN_MS[reading.unit or "ms"]
    if factor != 1.0:
        column.values = pc.multiply(column.values, factor)
    _unknown_zero(column, reading)
    _within(column, 0.0, LONGEST_MS, "a duration")
    return column


def as_count(array: pa.Array, reading: Reading) -> Column:
    """A whole number, 0 to a trillion."""
    column = as_number(array)
    _unknown_zero(column, reading)
    _within(column, 0, MOST_TOKENS, "a count")
    column.reject(pc.not_equal(pc.floor(column.values), column.values), "not a whole number")
    column.values = column.values.cast(pa.int64())
    return column


def as_cost(array: pa.Array, reading: Reading) -> Column:
    """US dollars, 0 to a billion."""
    column = as_number(array)
    _unknown_zero(column, reading)
    _within(column, 0.0, MOST_COST, "a cost")
    return column


def as_rating(array: pa.Array, reading: Reading) -> Column:
    """1 to 5, mapped there from the source's scale."""
    column = as_number(array)
    _unknown_zero(column, reading)
    if reading.scale is not None:
        low, high = reading.scale
        column.values = pc.add(pc.multiply(pc.subtract(column.values, low), 4.0 / (high - low)), 1.0)
    lowest, highest = reading.scale or (1, 5)
    bad = pc.or_(pc.less(column.values, 1.0), pc.greater(column.values, 5.0))
    column.reject(bad, f"not a rating from {lowest:g} to {highest:g}")
    return column


def as_boolean(array: pa.Array) -> Column:
    """1/0, true/false, yes/no, ok/error."""
    if pa.types.is_boolean(array.type):
        return Column(array)
    column = as_text(array)
    words = pc.utf8_lower(pc.utf8_trim_whitespace(column.values))
    true, false = pc.is_in(words, pa.array(_TRUE)), pc.is_in(words, pa.array(_FALSE))
    known = pc.or_(true, false)
    unknown = pc.and_(pc.is_valid(words), pc.invert(known))
    column.values = pc.if_else(known, true, pa.scalar(None, pa.bool_()))
    column.reject(unknown, "neither yes nor no (1/0, true/false, yes/no, ok/error)")
    return column


def as_time(array: pa.Array, reading: Reading, *, latest: datetime) -> Column:
    """An instant from 1970 on, no later than ``latest``. Times without a zone are in the reading's."""
    if pa.types.is_timestamp(array.type) or pa.types.is_date(array.type):
        column = _typed_time(array, reading, latest)
    elif reading.unit is not None:
        column = _time_of_number(array, reading)
    elif pa.types.is_string(array.type) or pa.types.is_binary(array.type):
        column = _time_of_text(array, reading)
    else:
        column = Column(pa.nulls(len(array), INSTANT))
        column.reject(pc.is_valid(array), "a number without a `unit:`, not a time")
    column.reject(pc.less(column.values, pa.scalar(EARLIEST, INSTANT)), _TOO_EARLY)
    column.reject(pc.greater(column.values, pa.scalar(latest, INSTANT)), _TOO_LATE)
    return column


# -- inside


def _words(text: str) -> list[str]:
    try:
        content = json.loads(text)
        if not isinstance(content, list):
            content = [content]
        words = [word if isinstance(word, str) else json.dumps(word) for word in content if word is not None]
    except (ValueError, RecursionError):  # no JSON, or none that anybody means
        words = text.split(",")
    return [word.strip() for word in words if word.strip()]


def _quoted(word: str) -> str:
    word = word.encode("utf-8", "backslashreplace").decode()  # a lone surrogate, from JSON
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _cast_to_text(array: pa.Array) -> pa.Array:
    if pa.types.is_floating(array.type):
        # 17.0 in a column of doubles is a key "17" with a hole beside it more often than a fraction
        whole = pc.and_kleene(pc.is_finite(array), pc.equal(pc.floor(array), array))
        whole = pc.and_kleene(whole, pc.less(pc.abs(array), 2.0**53))
        integers = pc.if_else(whole, array, pa.scalar(None, array.type)).cast(pa.int64(), safe=False)
        return pc.coalesce(integers.cast(pa.string()), array.cast(pa.string()))
    try:
        return array.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.array([None if value is None else str(value) for value in array.to_pylist()], pa.string())


def _decoded(array: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    """Bytes as text, and where they are none."""
    try:
        return array.cast(pa.string()), None
    except pa.ArrowInvalid:
        pass
    texts: list[str | None] = []
    bad: list[bool] = []
    for value in array.to_pylist():
        try:
            texts.append(None if value is None else value.decode())
            bad.append(False)
        except UnicodeDecodeError:
            texts.append(None)
            bad.append(True)
    return pa.array(texts, pa.string()), pa.array(bad)


def _double(array: pa.Array) -> Column:
    if pa.types.is_floating(array.type) or pa.types.is_integer(array.type) or pa.types.is_decimal(array.type):
        return Column(array.cast(pa.float64(), safe=False))
    if pa.types.is_boolean(array.type) or pa.types.is_temporal(array.type):
        column = Column(pa.nulls(len(array), pa.float64()))
        column.reject(pc.is_valid(array), "not a number")
        return column
    text = as_text(array)
    try:
        return Column(text.values.cast(pa.float64()), text.faults)
    except pa.ArrowInvalid:
        pass
    trimmed = pc.utf8_trim_whitespace(text.values)
    bad = pc.invert(pc.match_substring_regex(trimmed, _NUMBER))
    column = Column(trimmed, text.faults)
    finite_words = pc.is_in(
        pc.utf8_lower(trimmed), pa.array(["nan", "inf", "+inf", "-inf", "infinity", "-infinity"])
    )
    column.reject(pc.and_(bad, finite_words), "not a finite number")
    column.reject(pc.and_(bad, pc.invert(finite_words)), "not a number")
    column.values = column.values.cast(pa.float64())
    return column


def _unknown_zero(column: Column, reading: Reading) -> None:
    if reading.zero_is_unknown:
        values = column.values
        column.values = pc.if_else(pc.equal(values, 0.0), pa.scalar(None, values.type), values)


def _within(column: Column, least: float, most: float, what: str) -> None:
    column.reject(pc.less(column.values, least), f"{what} below {least:g}")
    column.reject(pc.greater(column.values, most), f"{what} above {most:g}")


def _localized(array: pa.Array, reading: Reading) -> Column:
    """Times without a zone, put into the reading's; those that a change of clocks makes unclear are told."""
    if reading.timezone in ("UTC", "Etc/UTC"):
        return Column(array.cast(pa.timestamp("us"), safe=False).cast(INSTANT))
    naive = array.cast(pa.timestamp("us"), safe=False)
    try:
        return Column(pc.assume_timezone(naive, reading.timezone).cast(INSTANT))
    except pa.ArrowInvalid:
        pass
    earliest, latest = (
        pc.assume_timezone(naive, reading.timezone, ambiguous=way, nonexistent=way).cast(INSTANT)
        for way in ("earliest", "latest")
    )
    unclear = true_rows(pc.not_equal(earliest, latest))
    zone = ZoneInfo(reading.timezone)
    instants = [_in_zone(value, zone)[0] for value in naive.take(pa.array(unclear)).to_pylist()]
    mask = np.zeros(len(naive), bool)
    mask[unclear] = True
    column = Column(pc.replace_with_mask(earliest, pa.array(mask), pa.array(instants, INSTANT)))
    column.notes.append((unclear, _unclear_time(reading)))
    return column


def _unclear_time(reading: Reading) -> str:
    return f"the clocks of {reading.timezone} changed then; read with their offset before the change"


def _in_zone(local: datetime, zone: ZoneInfo) -> tuple[datetime, bool]:
    """A local time as an instant, and whether it stands twice or never on the clocks of the zone."""
    before, after = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return before, before != after


def _typed_time(array: pa.Array, reading: Reading, latest: datetime) -> Column:
    type_ = array.type
    if pa.types.is_date32(type_):
        since_1970, per_day = array.cast(pa.int32()).cast(pa.int64()), 1
    else:
        unit = "ms" if pa.types.is_date64(type_) else type_.unit
        since_1970, per_day = array.cast(pa.int64()), 86_400 * _PER_SECOND[unit]
    # far outside, it would be another time once in microseconds; a zone moves it by a day at most
    far = Column(array)
    far.reject(pc.less(since_1970, -per_day), _TOO_EARLY)
    far.reject(pc.greater(since_1970, ((latest - EARLIEST).days + 2) * per_day), _TOO_LATE)
    if pa.types.is_timestamp(type_) and type_.tz is not None:
        column = Column(far.values.cast(INSTANT, safe=False))
    else:
        column = _localized(far.values, reading)
    column.faults += far.faults
    return column


def _time_of_number(array: pa.Array, reading: Reading) -> Column:
    per_second = _PER_SECOND[reading.unit or "s"]
    if pa.types.is_string(array.type) or pa.types.is_binary(array.type):
        text = as_text(array)
        try:
            array = text.values.cast(pa.int64())  # exact; a double has too few digits for nanoseconds
        except pa.ArrowInvalid:
            array = text.values
    else:
        text = Column(array)
    if pa.types.is_integer(array.type):
        seconds = pc.divide(array.cast(pa.float64(), safe=False), float(per_second))
    else:
        number = as_number(array)
        text.faults += number.faults
        seconds = pc.divide(number.values, float(per_second))
    column = Column(seconds, text.faults)
    _within(column, -9e9, 9e9, "seconds since 1970:")
    inside = column.values
    if pa.types.is_integer(array.type):
        whole = pc.if_else(pc.is_valid(inside), array, pa.scalar(None, array.type)).cast(pa.int64())
        micros = pc.divide(whole, 1000) if per_second == 10**9 else pc.multiply(whole, 10**6 // per_second)
    else:
        micros = pc.round(pc.multiply(inside, 1e6)).cast(pa.int64())
    column.values = micros.cast(pa.timestamp("us")).cast(INSTANT)
    return column


def _time_of_text(array: pa.Array, reading: Reading) -> Column:
    text = as_text(array)
    values = text.values
    fast: list[Callable[[], Column]] = [
        lambda: Column(values.cast(pa.timestamp("ns", "UTC")).cast(INSTANT, safe=False)),
        lambda: _localized(values.cast(pa.timestamp("ns")), reading),
    ]
    for attempt in fast:
        try:
            column = attempt()
        except pa.ArrowInvalid:
            continue
        column.faults += text.faults
        return column
    # some are neither: what is plain goes fast all the same, and one that is not costs itself alone
    plain = pc.match_substring_regex(values, _ARROW_ZONED)
    try:
        column = Column(
            pc.if_else(plain, values, None).cast(pa.timestamp("ns", "UTC")).cast(INSTANT, safe=False)
        )
    except pa.ArrowInvalid:
        plain = pa.repeat(pa.scalar(False), len(values))
        column = Column(pa.nulls(len(values), INSTANT))
    column.faults += text.faults
    rest = true_rows(pc.and_(pc.is_valid(values), pc.invert(plain)))
    zone = ZoneInfo(reading.timezone)
    instants: list[datetime | None] = []
    unclear: list[int] = []
    bad: list[int] = []
    for row, word in zip(rest, values.take(pa.array(rest)).to_pylist(), strict=True):
        instant, is_unclear = _instant(word, zone)
        instants.append(instant)
        if instant is None:
            bad.append(row)
        if is_unclear:
            unclear.append(row)
    mask = np.zeros(len(values), bool)
    mask[rest] = True
    column.values = pc.replace_with_mask(column.values, pa.array(mask), pa.array(instants, INSTANT))
    if bad:
        column.faults.append((np.array(bad), "not a time"))
    if unclear:
        column.notes.append((np.array(unclear), _unclear_time(reading)))
    return column


def _instant(word: str, zone: ZoneInfo) -> tuple[datetime | None, bool]:
    """One time in words, and whether a change of clocks makes it unclear."""
    match = _TIME.fullmatch(word.strip())
    if match is None:
        return None, False
    day, clock, fraction, offset = match.groups()
    offset = "" if offset is None else "+00:00" if offset.upper() in ("Z", "UTC", "GMT") else offset
    try:
        seconds = f".{fraction[:6]:0<6}" if fraction else ""
        instant = datetime.fromisoformat(f"{day}T{clock or '00:00'}{seconds}{offset}")
        if instant.tzinfo is not None:
            return instant.astimezone(UTC), False
        return _in_zone(instant, zone)
    except (ValueError, OverflowError):
        return None, False


def pseudonyms(array: pa.Array, hashed: Callable[[str], str]) -> pa.Array:
    """Each distinct text through ``hashed`` once."""
    encoded = array.dictionary_encode()
    words = pa.array([hashed(word) for word in encoded.dictionary.to_pylist()], pa.string())
    return pc.take(words, encoded.indices)
