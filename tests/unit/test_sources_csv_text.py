"""CSV: every good row with its line, every bad one told with its line, whatever surrounds it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.sources import csv_text
from orchestration.sources.csv_text import CsvText, DamagedError, HeaderError


def read(data: bytes, size: int = 7) -> tuple[list[tuple[object, ...]], list[tuple[int, str]]]:
    """The rows as (line, values…) and the rejects, from chunks of ``size`` bytes."""
    text = CsvText(data[n : n + size] for n in range(0, len(data), size))
    rows: list[tuple[object, ...]] = []
    rejects: list[tuple[int, str]] = []
    for piece in text.pieces(text.header):
        columns = [piece.columns[name].to_pylist() for name in text.header]
        rows += zip(piece.lines.to_pylist(), *columns, strict=True)
        rejects += piece.rejects
    return rows, rejects


def test_line_breaks_in_quotes_count_as_lines_and_blank_lines_are_no_rows() -> None:
    rows, rejects = read(b'a,b\n1,2\n\n"x\ny",3\n4,5\n')
    assert rows == [(2, "1", "2"), (4, "x\ny", "3"), (6, "4", "5")]
    assert rejects == []


def test_a_bom_and_windows_line_ends_and_no_final_line_end_are_read_as_meant() -> None:
    rows, rejects = read(b'\xef\xbb\xbfa,b\r\n1,"2"\r\n3,4')
    assert rows == [(2, "1", "2"), (3, "3", "4")]
    assert rejects == []


def test_a_ragged_row_costs_itself_alone() -> None:
    rows, rejects = read(b"a,b\n1,2\nragged\n3,4\n5,6,7\n8,9\n")
    assert [row[0] for row in rows] == [2, 4, 6]
    assert rejects == [
        (3, "1 fields where the header names 2"),
        (5, "3 fields where the header names 2"),
    ]


@pytest.mark.parametrize("size", [5, 4096])
def test_a_quote_that_is_never_closed_costs_its_line_and_swallows_nothing(size: int) -> None:
    rows, rejects = read(b'a,b\n1,2\n3,"open\n5,6\n7,8\n', size)
    assert [row[0] for row in rows] == [2, 4, 5]
    assert rejects == [(3, "a quote is opened and never closed")]


def test_text_after_a_closing_quote_costs_its_line() -> None:
    rows, rejects = read(b'a,b\n1,"x" y\n3,4\n')
    assert rows == [(3, "3", "4")]
    assert [line for line, _ in rejects] == [2]


def test_a_quote_inside_of_an_unquoted_field_is_text() -> None:
    rows, rejects = read(b'a,b\n1,5" disk\n2,3\n')
    assert rows == [(2, "1", '5" disk'), (3, "2", "3")]
    assert rejects == []


def test_bytes_that_are_not_utf8_are_kept_as_they_are() -> None:
    rows, _ = read(b"a,b\n1,caf\xe9\n2,x\n")
    assert rows == [(2, b"1", b"caf\xe9"), (3, b"2", b"x")]


def test_an_empty_field_is_null_quoted_or_not() -> None:
    rows, _ = read(b'a,b\n1,\n2,""\n')
    assert rows == [(2, "1", None), (3, "2", None)]


def test_a_stream_that_breaks_gives_what_came_before_and_says_where() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"a,b\n1,2\n3,4\n5"
        raise DamagedError("the gzip stream is cut off")

    text = CsvText(chunks())
    pieces = list(text.pieces(["a"]))
    assert [line for piece in pieces for line in piece.lines.to_pylist()] == [2, 3]
    assert [reject for piece in pieces for reject in piece.rejects] == [
        (4, "the file is damaged from here on: the gzip stream is cut off")
    ]


def test_a_line_without_end_is_dropped_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_text, "LONGEST_RECORD", 1000)
    monkeypatch.setattr(csv_text, "_BLOCK", 100)
    rows, rejects = read(b"a,b\n1,2\n" + b"x" * 5000 + b",7\n3,4\n", 64)
    assert rows == [(2, "1", "2"), (4, "3", "4")]
    assert rejects == [(3, "a line too long to be a row")]


def test_a_quote_left_open_before_a_long_text_is_given_up_in_bounded_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(csv_text, "LONGEST_RECORD", 1000)
    monkeypatch.setattr(csv_text, "_BLOCK", 100)
    rows, rejects = read(b'a,b\n1,"2\n' + b"3,4\n" * 1000, 64)
    assert len(rows) == 1000
    assert rejects == [(2, "a quote is opened and never closed")]


def test_utf16_is_refused() -> None:
    with pytest.raises(HeaderError, match="UTF-16"):
        CsvText([b"a,b\n".decode().encode("utf-16")])


fields = st.text(alphabet='ab,"\n é', max_size=4)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(fields, fields), max_size=20), st.integers(1, 9), st.sampled_from(["\n", "\r\n"]))
def test_what_python_writes_is_read_back_with_the_line_that_python_reads_it_at(
    rows: list[tuple[str, str]], size: int, line_end: str
) -> None:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator=line_end)
    writer.writerows([("a", "b"), *rows])
    read_rows, rejects = read(out.getvalue().encode(), size)
    assert rejects == []
    assert [row[1:] for row in read_rows] == [(a or None, b or None) for a, b in rows]
    ends = [line for line, _ in zip(_lines(out.getvalue()), rows, strict=False)]
    assert [row[0] for row in read_rows] == ends


def _lines(text: str) -> Iterator[int]:
    """The first line of each record after the header, by Python's reader over lines of ``\\n``."""
    parts = [part + "\n" for part in text.split("\n")]
    reader = csv.reader(parts)
    next(reader)
    while True:
        yield reader.line_num + 1
        if next(reader, None) is None:
            return


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(["a", ",", "\n", '"', "\r\n", '"a"', '"\r"', '""', "1,2\n", "x,y\n"]), max_size=40
    )
)
def test_the_fast_way_and_the_careful_way_agree(tokens: list[str]) -> None:
    data = ("a,b\n" + "".join(tokens)).encode()
    usual = read(data, 11)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CsvText, "_fast", lambda *_: None)
        careful = read(data, 10_000)
    text = [tuple(v.decode() if isinstance(v, bytes) else v for v in row) for row in usual[0]]
    assert (text, usual[1]) == careful
