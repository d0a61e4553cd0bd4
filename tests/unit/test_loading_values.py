"""Values as sources write them, to what `raw` holds: typed, or null with a reason."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from orchestration.loading import values
from orchestration.sources.protocol import Reading

LATEST = datetime(2026, 1, 1, tzinfo=UTC)


def told(problems: list[tuple[np.ndarray, str]]) -> dict[int, str]:
    return {int(row): reason for rows, reason in problems for row in rows}


def instants(
    words: list[Any], reading: Reading | None = None
) -> tuple[list[Any], dict[int, str], dict[int, str]]:
    column = values.as_time(pa.array(words), reading or Reading(), latest=LATEST)
    assert column.values.type == values.INSTANT
    return column.values.to_pylist(), told(column.faults), told(column.notes)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("2024-08-13T14:40:43Z", datetime(2024, 8, 13, 14, 40, 43, tzinfo=UTC)),
        ("2024-08-13 14:40:43.123+00", datetime(2024, 8, 13, 14, 40, 43, 123000, tzinfo=UTC)),
        ("2024-08-13T14:40:43.1234567+02:00", datetime(2024, 8, 13, 12, 40, 43, 123456, tzinfo=UTC)),
        ("2023-11-16 18:15:46.6805900", datetime(2023, 11, 16, 18, 15, 46, 680590, tzinfo=UTC)),
        ("2024-08-13", datetime(2024, 8, 13, tzinfo=UTC)),
        ("2024-08-13t14:40:43z", datetime(2024, 8, 13, 14, 40, 43, tzinfo=UTC)),
        ("2024-08-13 14:40:43 UTC", datetime(2024, 8, 13, 14, 40, 43, tzinfo=UTC)),
        ("2024-08-13 14:40:43,5 +0100", datetime(2024, 8, 13, 13, 40, 43, 500000, tzinfo=UTC)),
        ("2024-08-13T14:40:43.123456789123Z", datetime(2024, 8, 13, 14, 40, 43, 123456, tzinfo=UTC)),
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
@pytest.mark.parametrize("company", [[], ["no time", "2024-01-01T00:00:00Z", "2024-01-01 00:00:00"]])
def test_a_time_is_read_alike_alone_and_in_mixed_company(
    word: str, expected: datetime, company: list[str]
) -> None:
    assert instants([*company, word])[0][-1] == expected


def test_what_is_no_time_is_null_with_its_reason() -> None:
    words = ["2024-02-30", "yesterday", "1723560043", "2999-01-01T00:00:00Z", None, "2025-12-31"]
    found, faults, _ = instants(words)
    assert found == [None] * 5 + [datetime(2025, 12, 31, tzinfo=UTC)]
    assert faults == {
        0: "not a time",
        1: "not a time",
        2: "not a time",
        3: "more than 24 hours ahead of the clock",
    }


@pytest.mark.parametrize(
    ("unit", "word"),
    [
        ("s", "1723560043"),
        ("s", "1723560043.0"),
        ("ms", "1723560043000"),
        ("us", "1723560043000000"),
        ("ns", "1723560043000000000"),
    ],
)
@pytest.mark.parametrize("typed", [False, True])
def test_numbers_since_1970_are_read_in_their_unit(unit: Any, word: str, typed: bool) -> None:
    value: Any = word if not typed else float(word) if "." in word else int(word)
    found, faults, _ = instants([value], Reading(unit=unit))
    assert found == [datetime(2024, 8, 13, 14, 40, 43, tzinfo=UTC)]
    assert faults == {}


def test_a_number_of_nanoseconds_keeps_its_microseconds() -> None:
    found, _, _ = instants(["1723560043123456789"], Reading(unit="ns"))
    assert found == [datetime(2024, 8, 13, 14, 40, 43, 123456, tzinfo=UTC)]


def test_a_number_that_is_no_time_of_its_unit_costs_itself_alone() -> None:
    found, faults, _ = instants(["1723560043", "x", "9" * 30, "NaN"], Reading(unit="s"))
    assert found[0] is not None
    assert found[1:] == [None] * 3
    assert set(faults) == {1, 2, 3}


def test_a_typed_number_without_a_unit_is_no_time() -> None:
    assert instants([1723560043])[1] == {0: "a number without a `unit:`, not a time"}


@pytest.mark.parametrize("company", [[], ["2024-01-01T00:00:00Z"]])
def test_times_that_a_change_of_clocks_makes_unclear_are_loaded_and_told(company: list[str]) -> None:
    """In Berlin 02:30 stood twice on 2024-10-27 and never on 2024-03-31."""
    words = ["2024-10-27 02:30:00", "2024-03-31 02:30:00", "2024-07-01 12:00:00", *company]
    found, faults, notes = instants(words, Reading(timezone="Europe/Berlin"))
    assert found[:3] == [
        datetime(2024, 10, 27, 0, 30, tzinfo=UTC),
        datetime(2024, 3, 31, 1, 30, tzinfo=UTC),
        datetime(2024, 7, 1, 10, 0, tzinfo=UTC),
    ]
    assert faults == {}
    assert set(notes) == {0, 1}


def test_typed_times_with_and_without_a_zone() -> None:
    naive = datetime(2024, 7, 1, 12, 0)  # noqa: DTZ001 - as Parquet files hold them
    column = values.as_time(
        pa.array([naive], pa.timestamp("ns")), Reading(timezone="Europe/Berlin"), latest=LATEST
    )
    assert column.values.to_pylist() == [datetime(2024, 7, 1, 10, 0, tzinfo=UTC)]
    column = values.as_time(
        pa.array([naive], pa.timestamp("ms", "UTC")), Reading(timezone="Europe/Berlin"), latest=LATEST
    )
    assert column.values.to_pylist() == [datetime(2024, 7, 1, 12, 0, tzinfo=UTC)]


@pytest.mark.parametrize("word", ["0001-01-01T00:00:00Z", "0001-01-01", "1900-01-01 00:00:00", "1969-12-31"])
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Europe/Berlin"])
def test_a_time_that_stands_for_none_is_null_and_told(word: str, zone: str) -> None:
    """Go and .NET write 0001-01-01, SQL Server 1900-01-01; psycopg reads no day before the year 1."""
    found, faults, _ = instants([word, "2025-01-01T00:00:00Z"], Reading(timezone=zone))
    assert found == [None, datetime(2025, 1, 1, tzinfo=UTC)]
    assert faults in ({0: "before 1970"}, {0: "not a time"})
    assert instants([-1.5], Reading(unit="s"))[1] == {0: "before 1970"}


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
@pytest.mark.parametrize("value", [-(2**31), -1_000_000, 213_523_982, 2**31 - 1])
def test_a_typed_day_that_no_clock_tells_is_none_and_never_another_day(value: int, zone: str) -> None:
    """As microseconds 213523982 days are October 2024."""
    days = pa.array([value, 20_000], pa.int32()).view(pa.date32())
    reason = "before 1970" if value < 0 else "more than 24 hours ahead of the clock"
    for array in (days, days.cast(pa.date64())):
        column = values.as_time(array, Reading(timezone=zone), latest=LATEST)
        assert column.values.is_valid().to_pylist() == [False, True]
        assert told(column.faults) == {0: reason}


@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("value", [-(2**63) + 1, -(2**62), 2**62, 2**63 - 1])
def test_a_typed_time_that_no_clock_tells_is_none_and_never_another(
    value: int, unit: Any, zone: str | None
) -> None:
    array = pa.array([value, None], pa.timestamp(unit, zone))
    column = values.as_time(array, Reading(timezone="Europe/Berlin"), latest=LATEST)
    assert column.values.to_pylist() == [None, None]
    reason = "before 1970" if value < 0 else "more than 24 hours ahead of the clock"
    assert told(column.faults) == {0: reason}


def test_numbers_that_would_win_every_ranking_are_null_and_told() -> None:
    words = ["1.5", "NaN", "inf", "-Infinity", "1e400", "-3", "x", " 7 ", "1_0", None, ""]
    column = values.as_duration(pa.array(words), Reading())
    assert column.values.to_pylist() == [1.5, None, None, None, None, None, None, 7.0, None, None, None]
    faults = told(column.faults)
    assert set(faults) == {1, 2, 3, 4, 5, 6, 8}
    assert {faults[n] for n in (1, 2, 3, 4)} == {"not a finite number"}
    assert faults[5] == "a duration below 0"
    assert faults[6] == "not a number"


def test_seconds_become_milliseconds() -> None:
    column = values.as_duration(pa.array(["0.25", "0", None]), Reading(unit="s"))
    assert column.values.to_pylist() == [250.0, 0.0, None]


def test_counts_are_whole_and_not_negative() -> None:
    words = ["12", "12.0", "12.5", "-1", "99999999999999999999"]
    column = values.as_count(pa.array(words), Reading())
    assert column.values.to_pylist() == [12, 12, None, None, None]
    assert set(told(column.faults)) == {2, 3, 4}


def test_a_cost_of_zero_stays_zero_unless_zero_is_unknown() -> None:
    words = pa.array(["0", "0.5"])
    assert values.as_cost(words, Reading()).values.to_pylist() == [0.0, 0.5]
    unknown = values.as_cost(words, Reading(zero_is_unknown=True))
    assert unknown.values.to_pylist() == [None, 0.5]
    assert unknown.faults == []


def test_a_cost_in_a_decimal_column_is_read() -> None:
    column = values.as_cost(pa.array([Decimal("0.0001107"), None]), Reading())
    assert column.values.to_pylist() == [0.0001107, None]


def test_ratings_are_one_to_five_and_other_scales_are_mapped() -> None:
    column = values.as_rating(pa.array(["0", "6", "x", None, "1", "5", "4.5"]), Reading())
    assert column.values.to_pylist() == [None, None, None, None, 1.0, 5.0, 4.5]
    assert set(told(column.faults)) == {0, 1, 2}
    scaled = values.as_rating(pa.array(["1", "10", "5.5", "11"]), Reading(scale=(1, 10)))
    assert scaled.values.to_pylist() == [1.0, 5.0, 3.0, None]


def test_success_is_understood_in_its_usual_words() -> None:
    words = ["1", "0", "TRUE", "false", "yes", "No", "ok", "error", "t", "1.0", "maybe", None, ""]
    column = values.as_boolean(pa.array(words))
    assert column.values.to_pylist() == [
        True, False, True, False, True, False, True, False, True, True, None, None, None,
    ]  # fmt: skip
    assert set(told(column.faults)) == {10}
    assert values.as_boolean(pa.array([1, 0, 2])).values.to_pylist() == [True, False, None]


def test_text_that_postgresql_refuses_is_null_and_told() -> None:
    column = values.as_text(pa.array([b"caf\xc3\xa9", b"caf\xe9", b"a\x00b", b"\xed\xa0\x80", b"", None]))
    assert column.values.to_pylist() == ["café", None, None, None, None, None]
    assert told(column.faults) == {1: "not UTF-8", 2: "a NUL character", 3: "not UTF-8"}


def test_a_key_too_long_for_an_index_is_null_and_told() -> None:
    column = values.as_key(pa.array(["k" * 1000, "é" * 501]))
    assert column.values.to_pylist() == ["k" * 1000, None]
    assert set(told(column.faults)) == {1}


def test_a_number_as_a_key_has_no_fraction_that_it_had_not() -> None:
    assert values.as_key(pa.array([17.0, None, 1.5])).values.to_pylist() == ["17", None, "1.5"]
    assert values.as_key(pa.array([17, None])).values.to_pylist() == ["17", None]


def test_lists_come_as_json_or_with_commas() -> None:
    words = ['["a", "b,c"]', "x, y", None, '["q\\"z\\\\"]', "[]"]
    assert values.as_list(pa.array(words)).values.to_pylist() == [
        '{"a","b,c"}',
        '{"x","y"}',
        None,
        '{"q\\"z\\\\"}',
        "{}",
    ]


def test_a_word_with_a_nul_is_left_out_of_its_list_and_told() -> None:
    column = values.as_list(pa.array(['["a", "b\\u0000"]', '["c"]']))
    assert column.values.to_pylist() == ['{"a"}', '{"c"}']
    assert told(column.notes) == {0: "a NUL character in a word of it, which is left out"}


def test_a_list_nested_beyond_reading_is_a_word() -> None:
    deep = "[" * 100_000
    assert values.as_list(pa.array([deep, "x"])).values.to_pylist() == ['{"' + deep + '"}', '{"x"}']
