"""JSON from a stream of bytes: the same objects however the stream is cut."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.sources import json_lines
from orchestration.sources.csv_text import DamagedError
from tests.gateways import anything, rows_of

rows = st.lists(rows_of(["a", "b", "ü"]), max_size=5)


def cut(content: bytes, size: int) -> Iterator[bytes]:
    return (content[start : start + size] for start in range(0, len(content), size))


@settings(max_examples=80, deadline=None)
@given(rows=rows, size=st.integers(1, 40), indent=st.sampled_from([None, 1]), ascii_only=st.booleans())
def test_an_array_is_read_alike_however_it_is_cut(
    rows: list[dict[str, Any]], size: int, indent: int | None, ascii_only: bool
) -> None:
    content = json.dumps(rows, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    whole = list(json_lines.elements([content]))
    assert [number for number, _ in whole] == list(range(1, len(rows) + 1))
    assert all(
        isinstance(row, dict) and row.keys() == given.keys()
        for (_, row), given in zip(whole, rows, strict=True)
    )
    assert list(json_lines.elements(cut(content, size))) == whole


@settings(max_examples=80, deadline=None)
@given(rows=rows, size=st.integers(1, 40))
def test_lines_are_read_alike_however_they_are_cut(rows: list[dict[str, Any]], size: int) -> None:
    content = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    assert list(json_lines.objects(cut(content, size))) == list(json_lines.objects([content]))


@settings(max_examples=80, deadline=None)
@given(value=anything, end=st.integers(0, 60), tail=st.binary(max_size=5))
def test_no_array_ends_in_a_traceback(value: Any, end: int, tail: bytes) -> None:
    content = json.dumps([value, {"a": 1}]).encode()[:end] + tail
    for number, row in json_lines.elements([content]):
        assert number >= 1
        assert isinstance(row, dict | str)


def test_numbers_stay_the_text_that_they_are() -> None:
    row = json_lines.decoded(b'{"a": 1e400, "b": NaN, "c": 12345678901234567890123, "d": 0.10}')
    assert row == {"a": "1e400", "b": "NaN", "c": "12345678901234567890123", "d": "0.10"}


def test_a_stream_that_breaks_gives_what_came_before_and_says_so() -> None:
    def broken() -> Iterator[bytes]:
        yield b'[{"a": 1}, {"a"'
        raise DamagedError("the gzip stream is cut off")

    assert list(json_lines.elements(broken())) == [
        (1, {"a": "1"}),
        (2, "the file is damaged from here on: the gzip stream is cut off"),
    ]


@pytest.mark.parametrize("tail", [b"x", b'\n[{"a": 2}]', b"]", b" " * 30 + b"\xff", b"\xe2"])
@pytest.mark.parametrize("size", [1, 1000])
def test_what_stands_after_an_array_is_told(tail: bytes, size: int) -> None:
    content = b'[{"a": 1}]' + tail
    assert list(json_lines.elements(cut(content, size))) == [
        (1, {"a": "1"}),
        (2, "what stands after the end of the array is not read"),
    ]
    assert list(json_lines.elements(cut(b'[{"a": 1}]\r\n \t', size))) == [(1, {"a": "1"})]


def test_damage_after_an_array_is_told_as_such() -> None:
    def broken() -> Iterator[bytes]:
        yield b'[{"a": 1}]'
        raise DamagedError("its checksum is wrong")

    assert list(json_lines.elements(broken()))[1:] == [
        (2, "the file is damaged from here on: its checksum is wrong")
    ]


def test_an_array_whose_element_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "LONGEST_RECORD", 100)
    content = b'[{"a": "' + b"x" * 1000 + b'"}, {"b": 1}]'
    ((number, reason),) = json_lines.elements(cut(content, 10))
    assert number == 1
    assert isinstance(reason, str)
    assert reason.startswith("not JSON from here on")


@pytest.mark.parametrize("value", ["x" * 5_000_000, {"a": "x" * 5_000_000}, ["x" * 5_000_000]])
def test_a_piece_is_full_by_the_size_of_its_values_whatever_they_are(value: Any) -> None:
    gathering = json_lines.Gathering("a.jsonl", ["text"])
    gathering.add(1, [value])
    assert not gathering.full
    gathering.add(2, [value])
    assert gathering.full
    assert len(gathering.take().columns["text"]) == 2
    assert not gathering.full
