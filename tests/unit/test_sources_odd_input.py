"""Files as they come: whatever stands in them ends loaded as it is or in quarantine with its place.

Cases after the JSON test suites and the lists of naughty strings that people keep, made here.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orchestration.errors import PrismError
from orchestration.loading import library, merge
from orchestration.loading.validate import Checked
from orchestration.sources.protocol import CANONICAL, Entity
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


cells = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.sampled_from(['"', "a,b", "line\nbreak", "a\r\nb", "\x00", "2026-01-01", "1e400", "-1", "x" * 2000]),
)


@few
@given(rows=st.lists(st.lists(cells, min_size=2, max_size=12), max_size=8))
def test_every_row_of_a_csv_is_a_row_or_told(tmp_path: Path, rows: list[list[str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([FIELDS, [GOOD.get(name, "") for name in FIELDS], *rows])
    checked = loaded(tmp_path, "csv", text.getvalue().encode())
    assert accounted(checked) == 1 + len(rows)
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


# -- typed columns

NOW = 1_780_000_000  # seconds, within the clock of the tests
COUNTED: list[pa.DataType] = [
    *(pa.timestamp(unit, zone) for unit in ("ms", "us", "ns") for zone in (None, "UTC", "+02:00", "No/Such")),
    *(pa.duration(unit) for unit in ("s", "ms", "us", "ns")),
    pa.date32(), pa.time32("ms"), pa.time64("us"), pa.time64("ns"), pa.uint8(), pa.int32(), pa.int64(),
    pa.uint64(), pa.float16(), pa.float32(), pa.float64(),
]  # fmt: skip
SPELT: list[pa.DataType] = [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary()]
numbers = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.integers(-3, 40_000),
    st.sampled_from([-(2**63), 2**63 - 1, *(NOW * 10**power for power in (0, 3, 6, 9))]),
)  # fmt: skip


def of_bits(given: list[int | None], type_: pa.DataType) -> pa.Array:
    """Numbers as values of a type by their lowest bits, whatever these then mean."""
    width = type_.bit_width
    cut = [None if one is None else (one + 2 ** (width - 1)) % 2**width - 2 ** (width - 1) for one in given]
    return pa.array(cut, {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}[width]).view(type_)


def of_bytes(given: list[bytes | None], type_: pa.DataType) -> pa.Array:
    """Bytes as values of a type, UTF-8 or not."""
    large = pa.large_binary() if type_ in (pa.large_string(), pa.large_binary()) else pa.binary()
    array = pa.array(given, pa.binary_view() if type_ == pa.string_view() else large)
    return array.view(type_)


SIZE = 4
EXTREMES = [-(2**63), 2**63 - 1, 2**31 - 1, NOW * 10**6]
BYTES = [b"\x80", b"a\x00", None, "é".encode()]
UUIDS = [b"\xff" * 16, b"\x00" * 16, None, b"0123456789abcdef"]
DECIMALS = [Decimal("-1e20"), Decimal("1.50"), None, Decimal("0.001")]
ODD = {
    str(array.type): array
    for array in [
        *(of_bits(EXTREMES, type_) for type_ in COUNTED),
        *(of_bytes(BYTES, type_) for type_ in SPELT),
        *(pa.array(UUIDS, type_) for type_ in (pa.uuid(), pa.binary(16))),
        *(pa.array(DECIMALS, type_) for type_ in (pa.decimal128(38, 3), pa.decimal256(60, 3))),
        pa.array([True, False, None, True]),
        pa.nulls(SIZE),
    ]
}


def coded(array: pa.Array) -> pa.Array:
    """In a dictionary, where Arrow and Parquet have such ones."""
    try:
        return array if array.type in (pa.null(), pa.string_view()) else array.dictionary_encode()
    except pa.ArrowNotImplementedError:
        return array


WRAPPED: dict[str, Callable[[pa.Array], pa.Array]] = {
    "as it is": lambda array: array,
    "in a dictionary": coded,
    "in lists": lambda array: pa.ListArray.from_arrays([0, 2, 2, 3, 4], array),
    "in lists of a dictionary's": lambda array: pa.ListArray.from_arrays([0, 2, 2, 3, 4], coded(array)),
    "in records": lambda array: pa.StructArray.from_arrays([array], ["inner"]),
    "in maps": lambda array: pa.MapArray.from_arrays([*range(SIZE + 1)], pa.array(["k"] * SIZE), array),
}
PLAIN = {name: [GOOD.get(name, "1")] * SIZE for name in FIELDS}
ANY_OPTION = ["", "usage_id: [id, tokens]", "null_values: ['1', x]"]


def uses(folder: Path, columns: Mapping[str, Any], option: str = "") -> list[Checked]:
    """A file of typed columns, read as uses, in the form in which the server is sent them."""
    pq.write_table(pa.table(dict(columns)), folder / "a.parquet")
    known = COLUMNS.replace(": model,", ": {from: model, default: '1'},")
    if "usage_id" in option:
        known = known.replace("usage_id: id, ", "")
    checked = Export(folder, f"{{name: log, type: files, path: a.parquet, {known}, {option}}}").load()
    for one in checked:
        merge.encode_usage(one.rows, source="log", batch_id=1, with_texts=True)
        assert all(1970 <= at.year <= 2026 for at in one.rows.column("used_at").to_pylist())
    return checked


@pytest.mark.parametrize("type_", ODD)
def test_no_type_of_parquet_loses_a_row_whatever_column_it_stands_in(tmp_path: Path, type_: str) -> None:
    for n, wrapped in enumerate(WRAPPED.values()):
        odd = dict.fromkeys(FIELDS, wrapped(ODD[type_]))
        values_alone = {**odd, **{name: PLAIN[name] for name in GOOD}}
        for columns in (odd, values_alone):
            checked = uses(tmp_path, columns, ANY_OPTION[n % len(ANY_OPTION)])
            assert accounted(checked) == SIZE
        assert sum(one.rejected for one in checked) == 0  # a value costs no row that can do without


def some(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.none() | values, min_size=SIZE, max_size=SIZE)


odd_columns = st.builds(
    lambda array, wrap: WRAPPED[wrap](array),
    st.one_of(
        st.builds(of_bits, some(numbers), st.sampled_from(COUNTED)),
        st.builds(of_bytes, some(st.binary(max_size=12)), st.sampled_from(SPELT)),
    ),
    st.sampled_from([*WRAPPED]),
)


@few
@given(odd=odd_columns, fields=st.sets(st.sampled_from(FIELDS)), option=st.sampled_from(ANY_OPTION))
def test_every_row_of_typed_columns_is_a_row_or_told(
    tmp_path: Path, odd: pa.Array, fields: set[str], option: str
) -> None:
    assert accounted(uses(tmp_path, {**PLAIN, **dict.fromkeys(fields, odd)}, option)) == SIZE


# -- libraries


LIBRARIES: list[Entity] = ["prompts", "agents", "agent_prompts"]


def finished(checked: list[Checked], entity: Entity) -> int:
    """How many rows a library has in the end, of those that were read."""
    rows = pa.concat_tables([one.rows for one in checked])
    kept = library.finish(rows, entity, "log")
    for name in library.KEYS[entity]:
        assert kept.column(name).null_count == 0
    keys = kept.select(library.KEYS[entity]).to_pylist()
    assert len({tuple(key.values()) for key in keys}) == len(keys)
    return kept.num_rows


@few
@given(data=st.data(), entity=st.sampled_from(LIBRARIES))
def test_every_line_of_a_library_is_a_row_or_told(
    tmp_path: Path, data: st.DataObject, entity: Entity
) -> None:
    row = rows_of(CANONICAL[entity]).map(lambda row: json.dumps(row).encode())
    noise = data.draw(st.lists(st.one_of(junk, row), max_size=6))
    good = json.dumps({"name": "good", "agent_id": "1", "prompt_id": "1"}).encode()
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([good, *noise]))
    source = f"{{name: log, type: files, path: a.jsonl, entity: {entity}}}"
    checked = Export(tmp_path, source).load()
    assert accounted(checked) == 1 + sum(bool(line.strip()) for line in noise)
    assert finished(checked, entity) >= 1


@few
@given(odd=odd_columns, data=st.data(), entity=st.sampled_from(LIBRARIES))
def test_every_row_of_a_library_in_typed_columns_is_a_row_or_told(
    tmp_path: Path, odd: pa.Array, data: st.DataObject, entity: Entity
) -> None:
    names = data.draw(st.sets(st.sampled_from([*CANONICAL[entity]])))
    ids = [str(n) for n in range(SIZE)]
    plain = {name: ids for name in ("name", "agent_id", "prompt_id") if name in CANONICAL[entity]}
    pq.write_table(pa.table({**plain, **dict.fromkeys(names, odd)}), tmp_path / "a.parquet")
    checked = Export(tmp_path, f"{{name: log, type: files, path: a.parquet, entity: {entity}}}").load()
    assert accounted(checked) == SIZE
    finished(checked, entity)
