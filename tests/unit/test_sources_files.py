"""Files: which are read, through which column map, and what of them is no row."""

from __future__ import annotations

import errno
import fcntl
import gzip
import hashlib
import json
import os
import threading
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration.errors import PrismError
from orchestration.settings import FilesSource
from orchestration.sources import octets
from orchestration.sources.files import FilesReader
from orchestration.sources.protocol import Batch, Reject

COLUMNS = {"usage_id": "id", "prompt_key": "prompt", "used_at": "at"}


def source(path: str, **options: Any) -> FilesSource:
    return FilesSource.model_validate(
        {"name": "log", "type": "files", "path": path, "columns": COLUMNS, **options}
    )


def read(settings: FilesSource, base: Path, **options: Any) -> list[Batch]:
    return list(FilesReader(settings, base, **options).batches(settings.entity, {}))


def values(batches: list[Batch], name: str) -> list[Any]:
    return [value for batch in batches if batch.columns for value in batch.columns[name].to_pylist()]


def rejects(batches: list[Batch]) -> list[Reject]:
    return [reject for batch in batches for reject in batch.rejects]


def test_a_folder_a_file_and_a_glob_are_read_in_the_order_of_names(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("b.csv", "a.csv", ".hidden.csv", "c.csv.part", "notes.txt"):
        (tmp_path / "in" / name).write_text(f"id,prompt,at\n{name},p,2025-01-01\n")
    for path in ("in", "in/*.csv", "in/**/*.csv"):
        assert values(read(source(path), tmp_path), "usage_id") == ["a.csv", "b.csv"]
    assert values(read(source("in/b.csv"), tmp_path), "usage_id") == ["b.csv"]


def test_a_path_that_is_not_there_is_one_clear_error_and_an_empty_folder_is_none(tmp_path: Path) -> None:
    with pytest.raises(PrismError, match="no such file or folder"):
        read(source("missing.csv"), tmp_path)
    with pytest.raises(PrismError, match="no such file or folder"):
        read(source("missing/*.csv"), tmp_path)
    (tmp_path / "in").mkdir()
    assert read(source("in/*.csv"), tmp_path) == []
    assert read(source("in"), tmp_path) == []


def test_a_file_that_is_still_being_written_is_left(tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("w") as file:
        file.write("id,prompt,at\n1,p,2025-01-01\n2,p")
        file.flush()
        assert read(source("*.csv"), tmp_path) == []
        with pytest.raises(PrismError, match="still being written"):
            read(source("*.csv"), tmp_path, files=[tmp_path / "a.csv"])
        file.write(",2025-01-02\n")
    assert values(read(source("*.csv"), tmp_path), "usage_id") == ["1", "2"]


def test_where_the_system_can_not_tell_a_file_rests_for_a_while_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.fcntl

    def of_another_account(descriptor: int, command: int, argument: int = 0) -> int:
        """Leases as they are granted to an account that does not own the file: not at all."""
        if command == fcntl.F_SETLEASE:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(descriptor, command, argument)

    monkeypatch.setattr("orchestration.sources.octets.fcntl.fcntl", of_another_account)
    path = tmp_path / "a.csv"
    path.write_text("id,prompt,at\n1,p,2025-01-01\n2,p")
    assert octets.is_being_written(path) is None
    assert read(source("*.csv"), tmp_path) == []
    path.write_text("id,prompt,at\n1,p,2025-01-01\n2,p,2025-01-02\n")
    os.utime(path, (time.time() - 11,) * 2)
    assert values(read(source("*.csv"), tmp_path), "usage_id") == ["1", "2"]


def unreadable(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """The file as one that another account keeps for itself; whoever runs the tests may read anything."""
    real = os.open

    def refused(name: Path, *arguments: int) -> int:
        if name == path:
            raise PermissionError(errno.EACCES, "Permission denied", str(name))
        return real(name, *arguments)

    monkeypatch.setattr("orchestration.sources.octets.os.open", refused)


@pytest.mark.parametrize("archive", [None, "done"])
def test_a_file_that_may_not_be_read_is_left_and_said_so_and_the_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, archive: str | None
) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.csv").write_text(f"id,prompt,at\n{name},p,2025-01-01\n")
    unreadable(monkeypatch, tmp_path / "b.csv")
    settings = source("*.csv", archive=archive, settle_seconds=0)
    batches = read(settings, tmp_path)
    assert values(batches, "usage_id") == ["a", "c"]
    assert all(batch.partial for batch in batches)
    assert "b.csv can't be read (Permission denied)" in caplog.text
    with pytest.raises(PrismError, match=r"this file can't be read: Permission denied"):
        read(settings, tmp_path, files=[tmp_path / "b.csv"])


def test_a_missing_required_column_stops_before_any_row_of_any_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,prompt,at\n1,p,2025-01-01\n")
    (tmp_path / "b.csv").write_text("id,prompt,time\n1,p,2025-01-01\n")
    with pytest.raises(PrismError, match=r"b\.csv: the file has no column 'at'; it has 'id', 'prompt'"):
        next(FilesReader(source("*.csv"), tmp_path).batches("usage", {}))
    with pytest.raises(PrismError, match=r"b\.csv: the file has no column 'at'"):
        FilesReader(source("*.csv"), tmp_path).check()


def test_a_missing_optional_column_is_null_and_told_once_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,prompt,at\n1,p,2025-01-01\n2,p,2025-01-01\n")
    batches = read(source("a.csv", columns={**COLUMNS, "cost": "usd"}), tmp_path)
    assert values(batches, "cost") == [None, None]
    assert rejects(batches) == [
        Reject("a.csv:1", "cost", "the file has no column 'usd': all its values are unknown")
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": {**COLUMNS, "colour": "c"}}, "columns.colour is not a column that Prism knows"),
        ({"columns": {"usage_id": "id", "prompt_key": "prompt"}}, "columns.used_at is missing"),
        ({"columns": {"used_at": "at", "prompt_key": "prompt"}}, "columns.usage_id is missing"),
        ({"columns": {**COLUMNS, "model": {"from": "m", "unit": "s"}}}, "`unit:` means nothing here"),
    ],
)
def test_a_column_map_that_cannot_work_is_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    (tmp_path / "a.csv").write_text("id,prompt,at\n1,p,2025-01-01\n")
    with pytest.raises(PrismError, match=message):
        FilesReader(source("a.csv", **options), tmp_path)


def test_constants_defaults_and_null_values_take_effect(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,prompt,at,model\n1,,2025-01-01,n/a\n2,p,2025-01-01,m\n")
    columns = {
        **COLUMNS,
        "prompt_key": {"from": "prompt", "default": "unknown"},
        "agent_key": {"value": "bot"},
        "model": "model",
    }
    batches = read(source("a.csv", columns=columns, null_values=["n/a"]), tmp_path)
    assert values(batches, "prompt_key") == ["unknown", "p"]
    assert values(batches, "agent_key") == ["bot", "bot"]
    assert values(batches, "model") == [None, "m"]


def test_without_a_map_the_columns_have_the_canonical_names(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("usage_id,prompt_key,used_at,extra\n1,p,2025-01-01,x\n")
    batches = read(source("a.csv", columns={}), tmp_path)
    assert set(batches[0].columns) == {"usage_id", "prompt_key", "used_at"}


def test_rows_equal_in_all_key_columns_are_numbered_within_their_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the file is cut into pieces, and the same for CSV, JSON Lines and Parquet."""
    rows = [{"u": "a,b", "n": str(n % 3), "at": "2025-01-01", "prompt": "p"} for n in range(10)]
    (tmp_path / "a.csv").write_text(
        "u,n,at,prompt\n" + "".join(f'"{row["u"]}",{row["n"]},{row["at"]},p\n' for row in rows)
    )
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    columns = {"prompt_key": "prompt", "used_at": "at"}
    found = []
    for block in (1 << 20, 40):
        monkeypatch.setattr("orchestration.sources.csv_text._BLOCK", block)
        monkeypatch.setattr("orchestration.sources.octets._CHUNK", block)
        for name in ("a.csv", "a.jsonl", "a.parquet"):
            batches = read(source(name, columns=columns, usage_id=["u", "n"]), tmp_path)
            found.append(values(batches, "usage_id"))
    assert all(keys == found[0] for keys in found)
    first = found[0]
    assert len(set(first)) == 10
    assert [key[64:] for key in first] == ["", "", "", "-2", "-2", "-2", "-3", "-3", "-3", "-4"]


def test_a_row_named_by_its_line_keeps_its_name_when_the_file_is_packed(tmp_path: Path) -> None:
    text = "prompt,at\np,2025-01-01\np,2025-01-02\n"
    (tmp_path / "a.csv").write_text(text)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "a.csv.gz").write_bytes(gzip.compress(text.encode()))
    columns = {"prompt_key": "prompt", "used_at": "at"}
    plain = values(read(source("a.csv", columns=columns, usage_id="line"), tmp_path), "usage_id")
    packed = values(read(source("b", columns=columns, usage_id="line"), tmp_path), "usage_id")
    assert plain == packed == ["a.csv:2", "a.csv:3"]
    (tmp_path / "b" / "a.csv").write_text(text.replace("p,", "q,"))
    batches = read(source("b", columns=columns, usage_id="line"), tmp_path)
    said = "its rows take the place, line by line, of those of b/a.csv"
    assert [batch.note for batch in batches] == [None, said]


@pytest.mark.parametrize("tick", [0, 2])  # seconds: whether the times of what was just written are trusted
def test_a_file_that_changes_while_it_is_read_is_never_taken_for_the_one_that_was_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tick: int
) -> None:
    monkeypatch.setattr("orchestration.sources.landing._TICK_S", tick)
    monkeypatch.setattr("orchestration.sources.protocol.BATCH_ROWS", 1)
    monkeypatch.setattr("orchestration.sources.csv_text._BLOCK", 40)
    monkeypatch.setattr("orchestration.sources.octets._CHUNK", 40)
    path = tmp_path / "a.csv"
    path.write_text("id,prompt,at\n" + "".join(f"{n},p,2025-01-01\n" for n in range(10)))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    *_, last = read(source("a.csv"), tmp_path)
    assert last.watermark is not None and last.watermark["sha256"] == digest

    changed = threading.Event()

    def digested_late(path: Path) -> str:
        assert threading.current_thread() is threading.main_thread() or changed.wait(10)
        return octets.digest(path)

    monkeypatch.setattr("orchestration.sources.landing.octets", Mock(wraps=octets, digest=digested_late))
    batches = FilesReader(source("a.csv"), tmp_path).batches("usage", {})
    next(batches)
    stat = path.stat()
    path.write_text(path.read_text().replace("9,p", "9,q"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as long and as old as it was
    changed.set()
    *_, last = batches
    assert last.watermark is None or last.watermark["sha256"] == digest
    assert last.partial is (last.watermark is None)


def test_gzip_is_seen_by_its_content(tmp_path: Path) -> None:
    table = pa.table({"id": ["1"], "prompt": ["p"], "at": ["2025-01-01"]})
    pq.write_table(table, tmp_path / "x.parquet")
    (tmp_path / "a.csv").write_bytes(gzip.compress(b"id,prompt,at\n1,p,2025-01-01\n"))
    (tmp_path / "b.jsonl").write_bytes(gzip.compress(b'{"id": 1, "prompt": "p", "at": "2025-01-01"}\n'))
    (tmp_path / "c.parquet").write_bytes(gzip.compress((tmp_path / "x.parquet").read_bytes()))
    for name in ("a.csv", "b.jsonl", "c.parquet"):
        assert values(read(source(name), tmp_path), "usage_id") == ["1"]


def test_a_gzip_that_is_cut_off_gives_its_good_rows_and_says_where_it_ends(tmp_path: Path) -> None:
    lines = "".join(f"{n * 7919 % 100003},p,2025-01-01\n" for n in range(20_000))
    packed = gzip.compress(b"id,prompt,at\n" + lines.encode())
    (tmp_path / "a.csv.gz").write_bytes(packed[: len(packed) // 2])
    batches = read(source("a.csv.gz"), tmp_path)
    good = values(batches, "usage_id")
    assert 0 < len(good) < 20_000
    assert good == [line.split(",")[0] for line in lines.splitlines()[: len(good)]]
    (reject,) = rejects(batches)
    assert reject.location == f"a.csv.gz:{len(good) + 2}"
    assert "cut off" in reject.reason


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestration.sources.octets._INFLATION_COUNTS_FROM", 1 << 20)
    bomb = gzip.compress(b"id,prompt,at\n" + b"1,p,2025-01-01\n" * 5_000_000)
    (tmp_path / "a.csv.gz").write_bytes(bomb)
    batches = read(source("a.csv.gz"), tmp_path)
    assert "unpacks to more than 250 times" in rejects(batches)[-1].reason
    assert len(values(batches, "usage_id")) < 5_000_000


def test_a_file_that_is_no_gzip_behind_its_first_bytes_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\x1f\x8bnothing of the kind")
    (reject,) = rejects(read(source("a.csv"), tmp_path))
    assert reject.location == "a.csv:1"
    assert "the gzip stream is broken" in reject.reason


def test_json_lines_that_are_none_cost_themselves_alone(tmp_path: Path) -> None:
    lines = [
        b'{"id": "1", "prompt": "p", "at": "2025-01-01"}',
        b'{"id": "2", "prompt": "p"',
        b"[1, 2]",
        b'"text"',
        b"",
        b'{"id": "7", "prompt": "a", "prompt": "b", "at": "2025-01-01"}',
        b"[" * 100_000,
        b'{"id": "9", "prompt": "caf\xe9", "at": "2025-01-01"}',
        b'{"id": "10", "prompt": "\\ud800", "at": "2025-01-01"}',
        b'{"id": 1e400, "prompt": NaN, "at": null}',
        b'{"id": ' + b"9" * 5000 + b', "prompt": true, "at": {"a": [1]}}',
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\n".join(lines))
    batches = read(source("a.jsonl"), tmp_path)
    assert values(batches, "prompt_key") == [
        b"p", b"b", b"caf\xe9", b"\xed\xa0\x80", b"NaN", b"true",
    ]  # fmt: skip
    assert values(batches, "usage_id") == ["1", "7", "9", "10", "1e400", "9" * 5000]
    assert batches[0].rows.to_pylist() == [1, 6, 8, 9, 10, 11]
    bad = {reject.location: (reject.field, reject.reason) for reject in rejects(batches)}
    assert set(bad) == {f"a.jsonl:{n}" for n in (2, 3, 4, 6, 7)}
    assert bad["a.jsonl:6"] == ("prompt_key", "stands twice in the object; the last counts")
    assert bad["a.jsonl:3"] == (None, "not a JSON object")
    assert bad["a.jsonl:7"][1].startswith("not JSON: ")


def test_a_parquet_file_that_is_corrupt_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    table = pa.table(
        {"id": [str(n) for n in range(1000)], "prompt": ["p"] * 1000, "at": ["2025-01-01"] * 1000}
    )
    pq.write_table(table, tmp_path / "c.parquet", write_page_checksum=True, compression="none")
    content = bytearray((tmp_path / "c.parquet").read_bytes())
    (tmp_path / "a.parquet").write_bytes(content[: len(content) // 2])
    content[100:140] = b"\xff" * 40
    (tmp_path / "b.parquet").write_bytes(content)
    (tmp_path / "d.parquet").write_bytes(b"no parquet")
    batches = read(source("*.parquet"), tmp_path)
    assert len(values(batches, "usage_id")) == 1000
    assert [reject.location for reject in rejects(batches)] == ["a.parquet:1", "b.parquet:1", "d.parquet:1"]
    assert all(reject.reason.startswith("not Parquet: ") for reject in rejects(batches))


def test_parquet_types_are_handed_on_plain(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": pa.array([1, 2]),
            "prompt": pa.array(["a", "b"]).dictionary_encode(),
            "at": pa.array([0, 1], pa.timestamp("ns")),
            "tags": pa.array([["x"], None]),
            "large": pa.array(["x", None], pa.large_string()),
            "run": pa.array([b"0123456789abcdef", None], pa.uuid()),
            "half": pa.array([2.5, None], pa.float16()),
            "far": pa.array([[2**60, 0], [0]], pa.list_(pa.timestamp("us"))),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    columns = {
        **COLUMNS,
        "model": "large",
        "error_type": "tags",
        "session_id": {"from": "run", "default": "none"},
        "agent_key": "half",
        "enhanced_prompt": "far",
    }
    batches = read(source("a.parquet", columns=columns), tmp_path)
    assert values(batches, "prompt_key") == ["a", "b"]
    assert values(batches, "error_type") == ['["x"]', None]
    assert values(batches, "model") == ["x", None]
    assert values(batches, "session_id") == ["30313233-3435-3637-3839-616263646566", "none"]
    assert values(batches, "agent_key") == [2.5, None]
    # a time that Python has none for is the number that it is stored as, and costs no other its form
    assert values(batches, "enhanced_prompt") == ["[1152921504606846976, 0]", '["1970-01-01 00:00:00"]']


def test_a_bad_text_in_a_list_of_parquet_costs_no_other_value(tmp_path: Path) -> None:
    words = pa.array([b"caf\xe9", b"plain"]).view(pa.string())
    tags = pa.ListArray.from_arrays([0, 1, 2], words)
    pq.write_table(
        pa.table({"id": ["1", "2"], "at": ["2025-01-01"] * 2, "prompt": tags}), tmp_path / "a.parquet"
    )
    batches = read(source("a.parquet"), tmp_path)
    assert rejects(batches) == []
    assert values(batches, "prompt_key") == ["[\"b'caf\\\\xe9'\"]", '["plain"]']


def test_long_texts_of_parquet_are_read_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("files", "protocol"):
        monkeypatch.setattr(f"orchestration.sources.{module}.BATCH_BYTES", 100_000)
    texts = [f"{n:05}" * 1000 for n in range(200)]
    table = pa.table({"id": texts, "prompt": ["p"] * 200, "at": ["2025-01-01"] * 200, "unread": texts})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=150)
    batches = read(source("a.parquet"), tmp_path)
    assert values(batches, "usage_id") == texts
    assert max(sum(array.nbytes for array in batch.columns.values()) for batch in batches) < 150_000


def test_a_large_file_is_cut_into_batches_and_only_the_last_marks_it_as_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestration.sources.protocol.BATCH_ROWS", 10)
    monkeypatch.setattr("orchestration.sources.csv_text._BLOCK", 100)
    monkeypatch.setattr("orchestration.sources.octets._CHUNK", 50)
    (tmp_path / "a.csv").write_text("id,prompt,at\n" + "".join(f"{n},p,2025-01-01\n" for n in range(60)))
    batches = read(source("a.csv"), tmp_path)
    assert values(batches, "usage_id") == [str(n) for n in range(60)]
    assert len(batches) > 3
    assert [batch.watermark is not None for batch in batches] == [False] * (len(batches) - 1) + [True]
    reader = FilesReader(source("a.csv"), tmp_path)
    mark = batches[-1].watermark
    assert mark is not None
    assert list(reader.batches("usage", {"a.csv": mark})) == []
    other = FilesReader(source("a.csv", columns={**COLUMNS, "model": {"value": "m"}}), tmp_path)
    assert len(list(other.batches("usage", {"a.csv": mark}))) > 3
    (tmp_path / "a.csv").write_text("id,prompt,at\n")
    assert len(list(reader.batches("usage", {"a.csv": mark}))) == 1


def test_a_library_without_status_is_active(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("act,state\nA,\nB,draft\n")
    batches = read(source("p.csv", entity="prompts", columns={"name": "act"}), tmp_path)
    assert values(batches, "status") == ["active", "active"]
    batches = read(source("p.csv", entity="prompts", columns={"name": "act", "status": "state"}), tmp_path)
    assert values(batches, "status") == ["active", "draft"]
