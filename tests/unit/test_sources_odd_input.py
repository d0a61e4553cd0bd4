"""Files as they come: whatever stands in them ends loaded as it is or in quarantine with its place.

Cases after the JSON test suites and the lists of naughty strings that people keep, made here.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orchestration.errors import PrismError
from orchestration.loading.validate import Checked
from tests.gateways import Export, accounted, junk, rows_of

COLUMNS = (
    "columns: {usage_id: id, prompt_key: prompt, used_at: at, model: model, cost: cost, rating: rating, "
    "success: success, input_tokens: tokens, response_time_ms: ms, user_prompt: text}"
)
FIELDS = ("id", "prompt", "at", "model", "cost", "rating", "success", "tokens", "ms", "text")
GOOD = {"id": "good", "prompt": "p", "at": "2026-01-01"}


def export_of(folder: Path, ending: str) -> Export:
    return Export(folder, f"{{name: log, type: files, path: 'a.{ending}', {COLUMNS}}}")


def loaded(folder: Path, ending: str, content: bytes) -> list[Checked]:
    (folder / f"a.{ending}").write_bytes(content)
    return export_of(folder, ending).load()


def keys(checked: list[Checked]) -> list[str]:
    return [key for one in checked for key in one.rows.column("usage_id").to_pylist()]


def told(checked: list[Checked]) -> dict[str, list[tuple[str | None, str]]]:
    found: dict[str, list[tuple[str | None, str]]] = {}
    for one in checked:
        for row in one.rejects.to_pylist():
            found.setdefault(row["location"], []).append((row["field"], row["reason"]))
    return found


# -- JSON

# texts that no parser may take for JSON, and some that it may
WRONG_JSON = [
    b"", b" ", b"[1,]", b'["x",,]', b"[,1]", b"[1", b"{", b"}", b'{"a":', b'{"a":1,}', b'{"a" 1}', b"{a:1}",
    b"{'a':1}", b'{"a":1}}', b'{"a":1} x', b"nul", b"truE", b"[-]", b"[+1]", b"[01]", b"[.5]", b"[1.]",
    b"[1e]", b"[0x1]", b'["\\x"]', b'["\\u12"]', b'["\t"]', b'["\x00"]', b'"', b'["', b"\xff\xfe{\x00}\x00",
    b'{"id": "\\uD83D\\u0', b"\xef\xbb\xbf\xef\xbb\xbf{}", b"[" * 50_000, b'{"a":' * 50_000, b"*", b"\x1f",
    b"1" * 100_000, b'{"id": 1, "id": ', b"/* no */ {}", b"// no",
]  # fmt: skip
ODD_VALUES = [
    b"1e400", b"-1e400", b"NaN", b"Infinity", b"-Infinity", b"-0", b"1E+2", b"123456789012345678901234567890",
    b"0.1e-400", b'"\\ud800"', b'"\\ud800\\ud800"', b'"\\udc00\\ud800"', b'"\\u0000"', b'"\xed\xa0\x80"',
    b'"\xff"', b'"\xc0\xaf"', b"[[]]", b'{"a": {"b": []}}', b"null", b"true", b'""', b'"\\u2028"', b'"NaN"',
    b'"9e999"', b'"-5"', b'"1,5"', b'"\xf0\x9f\x92\xa9"', b'"' + b"x" * 2000 + b'"',
]  # fmt: skip


def test_json_that_is_none_costs_its_line_alone(tmp_path: Path) -> None:
    lines = [line for wrong in WRONG_JSON for line in (wrong, json.dumps(GOOD).encode())]
    checked = loaded(tmp_path, "jsonl", b"\n".join(lines))
    blank = sum(not wrong.strip(b" \x00") or wrong == b"\x1f" for wrong in WRONG_JSON)
    assert set(keys(checked)) == {"good"}
    assert len(told(checked)) >= len(WRONG_JSON) - blank
    assert accounted(checked) >= 2 * len(WRONG_JSON) - blank
    assert not {place for place in told(checked) if int(place.split(":")[1]) % 2 == 0}  # the good ones


@pytest.mark.parametrize("field", FIELDS)
def test_an_odd_value_costs_at_most_its_row_and_is_told_with_its_line(tmp_path: Path, field: str) -> None:
    rows = []
    for number, odd in enumerate(ODD_VALUES):
        row = {**GOOD, "id": f"row {number}", field: "THIS"}
        rows.append(json.dumps(row).encode().replace(b'"THIS"', odd))
    checked = loaded(tmp_path, "jsonl", b"\n".join([*rows, json.dumps(GOOD).encode()]))
    assert "good" in keys(checked)
    assert accounted(checked) == len(ODD_VALUES) + 1
    for one in checked:
        for column in ("cost", "rating", "response_time_ms", "input_tokens"):
            for number in one.rows.column(column).to_pylist():
                assert number is None or 0 <= number < 1e13
    places = told(checked)
    if field in ("cost", "rating", "ms", "tokens"):  # what no number is leaves its row
        assert len(keys(checked)) == len(ODD_VALUES) + 1
        assert {f"a.jsonl:{number}" for number in range(1, 6)} - {"a.jsonl:2"} <= set(places)


# -- text of every kind

NAUGHTY = [
    "undefined", "null", "NULL", "(null)", "nil", "true", "None", "\\N", "\\.", "-", "1/0", "$1.00", "0x0",
    "1e100", "NaN", "Infinity", "-1", "१२३", "ÅÍÎÏ˝ÓÔ", "社會科學院語學研究所", "הָיְתָה", "﷽", "Z̮̞̠͙͔ͅa̡l",
    "👩‍👩‍👧‍👦", "🇺🇸🇷🇺", "\u202etest\u202e", "\u200b\u200c\u200d\ufeff", "\u2028\u2029", "\x7f\x80\x9f",
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "javascript:alert(1)", "' OR 1=1 -- 1",
    "'; drop table raw.prompt_usage; --", '"', '""', "'", "`", "a,b", "a;b", "a\tb", "line\nbreak", "a\r\nb",
    "=HYPERLINK(\"http://example.com\")", "+1", "@SUM(1+1)", "%d %s %n", "{0} {{x}}", "${HOME}", "$(touch x)",
    "../../etc/passwd", "C:\\x", "CON", "\\x00", "%00", "&amp;", "\u0001\u0002", "ﬁ", "ß", "İ", " lead",
    "trail ", "Rosso" * 190,
]  # fmt: skip


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_json_lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in FIELDS[:4]}), file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("ending", "written"), [("csv", as_csv), ("jsonl", as_json_lines), ("parquet", as_parquet)]
)
def test_naughty_strings_are_kept_to_the_letter_in_every_text(
    tmp_path: Path, ending: str, written: Any
) -> None:
    rows = [{**GOOD, "id": f"{n}", "prompt": text, "model": text} for n, text in enumerate(NAUGHTY)]
    checked = loaded(tmp_path, ending, written(rows))
    found = {row["usage_id"]: row for one in checked for row in one.rows.to_pylist()}
    assert [found[f"{n}"]["prompt_key"] for n in range(len(NAUGHTY))] == NAUGHTY
    assert [found[f"{n}"]["model"] for n in range(len(NAUGHTY))] == NAUGHTY
    assert accounted(checked) == len(NAUGHTY)


# -- any bytes at all

few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@few
@given(noise=st.lists(st.one_of(junk, rows_of(FIELDS).map(lambda row: json.dumps(row).encode())), max_size=6))
def test_no_line_of_json_is_lost_and_none_ends_in_a_traceback(tmp_path: Path, noise: list[bytes]) -> None:
    checked = loaded(tmp_path, "jsonl", b"\n".join([json.dumps(GOOD).encode(), *noise]))
    assert accounted(checked) == 1 + sum(bool(line.strip()) for line in noise)
    assert "good" in keys(checked)


@few
@given(noise=st.binary(max_size=200), packed=st.booleans())
def test_no_csv_ends_in_a_traceback(tmp_path: Path, noise: bytes, packed: bool) -> None:
    content = b"id,prompt,at,model,cost,rating,success,tokens,ms,text\ngood,p,2026-01-01,,,,,,,\n" + noise
    checked = loaded(tmp_path, "csv", gzip.compress(content) if packed else content)
    assert keys(checked)[0] == "good"
    accounted(checked)


@few
@given(at=st.integers(0, 10**6), noise=st.binary(min_size=1, max_size=20), cut=st.booleans())
@example(at=9791, noise=b"\x80", cut=False)  # a text that is not UTF-8 any more
def test_no_parquet_ends_in_a_traceback(tmp_path: Path, at: int, noise: bytes, cut: bool) -> None:
    content = bytearray(as_parquet([{**GOOD, "id": str(n), "model": "m"} for n in range(50)]))
    place = at % len(content)
    content[place : place + len(noise)] = noise
    try:
        checked = loaded(tmp_path, "parquet", bytes(content[:place] if cut else content))
    except PrismError as error:  # the noise has renamed a column
        assert "the file has no column" in str(error)
    else:
        assert not cut or (keys(checked), accounted(checked)) == ([], 1)
