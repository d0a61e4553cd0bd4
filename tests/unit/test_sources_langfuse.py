"""Langfuse's exports: manifests, the four formats, overlapping windows, scores, and that no row is lost."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.errors import PrismError
from orchestration.loading.validate import Checked
from orchestration.sources.archive import ArchivingReader
from orchestration.sources.open import open_source
from tests.gateways import Export, accounted, anything, junk, lines, rejects, rows_of

SOURCE = "{name: traces, type: langfuse, path: in, ratings: {stars: [1, 10], liked: [0, 1]}}"
FIELDS = (
    "id", "trace_id", "type", "start_time", "end_time", "updated_at", "prompt_name", "prompt_version",
    "user_id", "session_id", "provided_model_name", "level", "usage_details", "cost_details", "total_cost",
)  # fmt: skip


def observation(key: str = "o1", /, **changes: Any) -> dict[str, Any]:
    return {
        "id": key, "trace_id": "t1", "project_id": "p1", "environment": "default", "type": "GENERATION",
        "parent_observation_id": None, "start_time": "2026-02-01 10:00:00.250000",
        "end_time": "2026-02-01 10:00:01.750000", "latency": 1.5, "name": "answer", "metadata": {},
        "level": "DEFAULT", "status_message": None, "provided_model_name": "gpt-4o",
        "usage_details": {"input": 8, "input_cached_tokens": 2, "output": 20, "total": 30},
        "cost_details": {"input": 0.000025, "output": 0.0002, "total": 0.000225}, "total_cost": 0.000225,
        "prompt_name": "greet", "prompt_version": 3, "user_id": "anna", "session_id": "s1",
        "updated_at": "2026-02-01 10:00:05.000000", **changes,
    }  # fmt: skip


def score(key: str = "s1", /, **changes: Any) -> dict[str, Any]:
    return {
        "id": key, "timestamp": "2026-02-02 08:00:00.000000", "project_id": "p1", "trace_id": "t1",
        "observation_id": None, "name": "stars", "value": 10, "source": "API", "data_type": "NUMERIC",
        "string_value": None, "updated_at": "2026-02-02 08:00:00.000000", **changes,
    }  # fmt: skip


class Bucket:
    """A copy of the bucket that Langfuse writes to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "in" / "p1"

    def put(self, table: str, name: str, content: bytes) -> Path:
        path = self.folder / table / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def run(self, time: str, **tables: Iterable[Any]) -> None:
        """One export: its files, then the manifest that names them."""
        for table, rows in tables.items():
            self.put(table, f"{time}.jsonl", lines(*rows))
        self.manifest(time, *(f"{table}/{time}.jsonl" for table in tables))

    def manifest(self, time: str, *names: str) -> None:
        files = [{"key": f"exports/p1/{name}", "format": "JSONL", "rowCount": 1} for name in names]
        self.put("manifests", f"{time}.json", json.dumps({"version": 1, "files": files}).encode())


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    (tmp_path / "in").mkdir()
    return Bucket(tmp_path)


@pytest.fixture
def export(tmp_path: Path, bucket: Bucket) -> Export:
    return Export(tmp_path, SOURCE)


def ratings(uses: dict[str, dict[str, Any]]) -> dict[str, float | None]:
    return {key: use["rating"] for key, use in sorted(uses.items())}


def test_an_observation_becomes_a_use(export: Export, bucket: Bucket) -> None:
    bucket.run("2026-02-01", observations_v2=[observation()])
    use = export.uses()["o1"]
    expected = {
        "prompt_key": "greet", "prompt_version": "3", "model": "gpt-4o", "session_id": "s1",
        "used_at": datetime(2026, 2, 1, 10, 0, 0, 250000, tzinfo=UTC), "response_time_ms": 1500.0,
        "updated_at": datetime(2026, 2, 1, 10, 0, 5, tzinfo=UTC), "success": True, "is_error": None,
        "input_tokens": 10, "output_tokens": 20, "total_tokens": 30, "cost": 0.000225,
        "cost_source": "reported", "rating": None,
    }  # fmt: skip
    assert {name: use[name] for name in expected} == expected


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as Langfuse types them in Parquet: maps, decimals, timestamps."""
    amounts = {
        "usage_details": pa.map_(pa.string(), pa.int64()),
        "cost_details": pa.map_(pa.string(), pa.float64()),
    }
    columns: dict[str, pa.Array] = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if name in amounts:
            columns[name] = pa.array([list(of.items()) for of in values], amounts[name])
        elif name in ("start_time", "end_time", "updated_at"):
            columns[name] = pa.array([datetime.fromisoformat(of) for of in values], pa.timestamp("us"))
        elif name != "metadata":
            columns[name] = pa.array(values)
    return pa.table(columns)


def in_format(format_: str, rows: list[dict[str, Any]]) -> bytes:
    if format_ == "jsonl":
        return lines(*rows)
    if format_ == "json":
        return json.dumps(rows, indent=1).encode()
    if format_ == "csv":
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(rows[0])
        for row in rows:
            writer.writerow(json.dumps(of) if isinstance(of, dict) else of for of in row.values())
        return text.getvalue().encode()
    sink = io.BytesIO()
    pq.write_table(table_of(rows), sink)
    return sink.getvalue()


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("format_", ["csv", "json", "jsonl", "parquet"])
def test_every_format_gives_the_same_uses(tmp_path: Path, bucket: Bucket, format_: str, packed: bool) -> None:
    rows = [
        observation("o1"), observation("o2", level="ERROR", prompt_version=4, total_cost=0.5),
        observation("o3", usage_details={}, cost_details={}),
    ]  # fmt: skip
    bucket.run("a", observations_v2=rows)
    expected = Export(tmp_path, SOURCE).uses()
    (bucket.folder / "observations_v2" / "a.jsonl").unlink()
    content = in_format(format_, rows)
    name = f"a.{format_}{'.gz' if packed else ''}"
    bucket.put("observations_v2", name, gzip.compress(content) if packed else content)
    bucket.manifest("a", f"observations_v2/{name}")
    loaded = Export(tmp_path, SOURCE).load()
    assert {row["usage_id"]: row for one in loaded for row in one.rows.to_pylist()} == expected
    assert (set(expected), rejects(loaded)) == ({"o1", "o2", "o3"}, [])


def test_an_error_level_is_a_failure_and_an_unknown_one_is_unknown(export: Export, bucket: Bucket) -> None:
    levels = {"a": "ERROR", "b": "WARNING", "c": None}
    bucket.run("x", observations=[observation(key, level=level) for key, level in levels.items()])
    found = {key: (use["success"], use["is_error"]) for key, use in export.uses().items()}
    assert found == {"a": (False, True), "b": (True, None), "c": (None, None)}


def test_spans_and_events_are_no_uses_unless_they_name_a_prompt(export: Export, bucket: Bucket) -> None:
    kinds = {"a": "SPAN", "b": "EVENT", "c": "GENERATION", "d": "EMBEDDING", "e": "AGENT"}
    rows = [observation(key, type=kind, prompt_name=None) for key, kind in kinds.items()]
    bucket.run("x", observations=[*rows, observation("f", type="CHAIN")])
    loaded = export.load()
    assert [row["usage_id"] for one in loaded for row in one.rows.to_pylist()] == ["f"]
    assert rejects(loaded) == [
        ("in/p1/observations/x.jsonl:3", None, "prompt_key: missing"),
        ("in/p1/observations/x.jsonl:4", None, "prompt_key: missing"),
    ]


def test_the_response_time_comes_from_the_times_whatever_latency_says(export: Export, bucket: Bucket) -> None:
    bucket.run("x", observations=[observation("a", latency=1500), observation("b", latency=1.5),
                                  observation("c", end_time=None)])  # fmt: skip
    assert [use["response_time_ms"] for use in export.uses().values()] == [1500.0, 1500.0, None]


@pytest.mark.parametrize(
    ("changes", "cost"),
    [({"total_cost": None}, 0.000225), ({"total_cost": 0}, 0.0),
     ({"total_cost": None, "cost_details": {}}, None),
     ({"total_cost": None, "cost_details": {"input": 1, "output": 2}}, 3.0)],
)  # fmt: skip
def test_a_cost_is_the_total_else_the_sum_of_its_parts(
    export: Export, bucket: Bucket, changes: dict[str, Any], cost: float | None
) -> None:
    bucket.run("x", observations=[observation(**changes)])
    assert export.uses()["o1"]["cost"] == cost


# -- which files


def test_only_what_a_manifest_names_is_read(
    export: Export, bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    bucket.put("observations", "a.jsonl", lines(observation("a")))
    assert export.read() == []
    assert "none of 1 exports of Langfuse is named by a manifest" in caplog.text
    bucket.put("observations", "b.jsonl", lines(observation("b")))
    bucket.manifest("a", "observations/a.jsonl", "traces/a.jsonl", "scores/not-there-yet.jsonl")
    assert set(export.uses()) == {"a"}
    bucket.manifest("b", "observations/b.jsonl")
    assert set(export.uses()) == {"b"}
    assert export.read() == []


def test_without_manifests_every_export_is_read(tmp_path: Path, bucket: Bucket) -> None:
    bucket.put("observations", "a.jsonl", lines(observation("a")))
    bucket.put("traces", "a.jsonl", lines({"id": "t1"}))
    assert set(Export(tmp_path, SOURCE[:-1] + ", manifests: false}").uses()) == {"a"}


def test_a_run_with_both_kinds_of_observations_counts_once(export: Export, bucket: Bucket) -> None:
    plain = {key: of for key, of in observation().items() if key not in ("user_id", "session_id")}
    bucket.run("x", observations=[plain], observations_v2=[observation()])
    loaded = export.load()
    assert accounted(loaded) == 1
    assert loaded[0].rows.column("session_id").to_pylist() == ["s1"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"files": 1}', b"\xff"])
def test_a_manifest_that_is_none_is_told_once(export: Export, bucket: Bucket, content: bytes) -> None:
    bucket.put("manifests", "a.json", content)
    assert rejects(export.load()) == [("in/p1/manifests/a.json:1", None, "not a manifest: it names no files")]
    assert export.read() == []


def test_a_manifest_that_climbs_leads_nowhere(export: Export, bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "x.jsonl").write_bytes(lines(score()))
    files = ["../../scores/x.jsonl", "/etc/passwd", "observations/..", 7, {"key": None}, {}]
    bucket.put("manifests", "a.json", json.dumps({"files": files}).encode())
    assert export.read() == []


def test_a_manifest_that_names_what_no_file_can_be_called_waits(tmp_path: Path, bucket: Bucket) -> None:
    export = Export(tmp_path, SOURCE[:-1] + ", archive: done, settle_seconds: 0}")
    (tmp_path / "done" / "p1" / "observations").mkdir(parents=True)
    bucket.manifest("a", f"observations/{'x' * 300}.jsonl")
    source = export.settings.config.sources[0]
    with open_source(source, export.settings, "postgresql://nowhere.example.com/").reader() as reader:
        assert isinstance(reader, ArchivingReader)
        assert list(reader.batches("usage", {})) == []
        assert reader.to_put_away() == []


def test_a_folder_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(PrismError, match="no such file or folder"):
        Export(tmp_path, SOURCE).read()


def test_of_a_window_s_edge_the_newest_state_counts(export: Export, bucket: Bucket) -> None:
    newer = observation(level="ERROR", updated_at="2026-02-01 11:00:00.000000")
    bucket.run("x", observations=[newer, observation()])
    loaded = export.load()
    assert loaded[0].rows.column("success").to_pylist() == [False]
    assert loaded[0].superseded == 1


# -- scores


def test_a_score_rates_its_observation_else_its_trace_once(export: Export, bucket: Bucket) -> None:
    later = "2026-02-01 10:30:00.000000"
    bucket.run(
        "x",
        observations=[
            observation("a", start_time=later), observation("b"), observation("c", trace_id="t2"),
            observation("rejected", start_time="2026-02-01 09:00:00.000000", prompt_name=None),
            observation("d", trace_id="t3"), observation("span", type="SPAN", prompt_name=None),
        ],
        scores=[score("1", value=10), score("2", trace_id="t2", observation_id="c", value=5.5),
                score("3", trace_id="t3", name="liked", data_type="BOOLEAN", value=0)],
    )  # fmt: skip
    uses = export.uses()
    assert ratings(uses) == {"a": None, "b": 5.0, "c": 3.0, "d": 1.0}
    assert uses["c"]["rating_source"] == "api"


def test_other_names_and_types_of_scores_are_no_ratings(export: Export, bucket: Bucket) -> None:
    scores = [
        score("1", name="toxicity"), score("2", data_type="CATEGORICAL", string_value="good"),
        score("3", data_type="CORRECTION"), score("4", value=11), score("5", value=None),
        score("6", trace_id=None),
    ]  # fmt: skip
    bucket.run("x", observations=[observation()], scores=scores)
    loaded = export.load()
    assert loaded[0].rows.column("rating").to_pylist() == [None]
    assert [(place[-1], reason) for place, _, reason in rejects(loaded)] == [
        ("4", "not a rating from 1 to 10"),
        ("5", "not a number"),
        ("6", "rates neither a use nor a trace"),
    ]


def test_of_several_scores_the_newest_counts(export: Export, bucket: Bucket) -> None:
    new = score("1", value=1, updated_at="2026-02-03 00:00:00.000000")
    bucket.run("x", observations=[observation()], scores=[new, score("1", value=10), score("2", value=9)])
    assert ratings(export.uses()) == {"o1": 1.0}


def test_a_late_score_brings_just_its_use_again(export: Export, bucket: Bucket) -> None:
    rows = [observation(key, trace_id=f"t{key}") for key in "abc"]
    bucket.run("1", observations_v2=rows)
    assert ratings(export.uses()) == {"a": None, "b": None, "c": None}
    bucket.run("2", observations_v2=[observation("d", trace_id="td")], scores=[score(trace_id="tb")])
    assert ratings(export.uses()) == {"b": 5.0, "d": None}
    assert export.read() == []
    bucket.run("3", observations_v2=[observation("b", trace_id="tb", level="ERROR")])
    assert ratings(export.uses()) == {"b": 5.0}  # changed later, it keeps its rating


def test_an_earlier_use_of_a_rated_trace_takes_its_rating_over(export: Export, bucket: Bucket) -> None:
    bucket.run("1", observations_v2=[observation("b")], scores=[score()])
    assert ratings(export.uses()) == {"b": 5.0}
    bucket.run("2", observations_v2=[observation("a", start_time="2026-02-01 09:00:00.000000")])
    assert ratings(export.uses()) == {"a": 5.0, "b": None}


def test_a_named_file_gets_the_ratings_of_the_others(export: Export, bucket: Bucket) -> None:
    bucket.run("1", observations_v2=[observation("a")], scores=[score()])
    named = bucket.folder / "observations_v2" / "1.jsonl"
    assert ratings(export.uses(named)) == {"a": 5.0}
    assert ratings(export.uses(named)) == {"a": 5.0}


def test_a_score_of_a_use_that_is_too_old_is_told(export: Export, bucket: Bucket) -> None:
    bucket.run("1", observations_v2=[observation("a")])
    os.utime(bucket.folder / "observations_v2" / "1.jsonl", (0, 0))
    export.read()
    bucket.run("2", scores=[score()])
    assert rejects(export.load()) == [
        ("in/p1/scores/2.jsonl:1", "rating", "rates a use that is not in the files of the last 30 days")
    ]


def test_a_use_that_comes_again_late_takes_no_rating_of_its_trace(export: Export, bucket: Bucket) -> None:
    later = {"start_time": "2026-02-01 10:05:00.000000"}
    bucket.run("1", observations_v2=[observation("a"), observation("b", **later)], scores=[score()])
    assert ratings(export.uses()) == {"a": 5.0, "b": None}
    for table in ("observations_v2", "scores"):  # as old as it would be
        os.utime(bucket.folder / table / "1.jsonl", (datetime(2026, 2, 3, tzinfo=UTC).timestamp(),) * 2)
    bucket.run("2", observations_v2=[observation("b", level="ERROR", **later)])
    assert ratings({key: use for key, use in export.uses().items() if key == "b"}) == {"b": None}
    # nor loses its own
    bucket.run("3", observations_v2=[observation("a", level="ERROR")])
    assert ratings(export.uses())["a"] == 5.0


minutes = st.integers(0, 59).map(lambda minute: f"2026-02-01 10:{minute:02}:00.000000")
observations = st.builds(
    lambda key, start, updated, level: observation(
        # a use keeps its trace and its start, whenever it is exported again
        f"o{key}", trace_id=f"t{key % 2}", start_time=f"2026-02-01 09:{(key * 7) % 60:02}:00.000000",
        end_time=start, updated_at=updated, level=level,
    ),
    st.integers(0, 3), minutes, minutes, st.sampled_from(["DEFAULT", "ERROR"]),
)  # fmt: skip
scores_given = st.builds(
    lambda key, trace, whole, value, updated: score(
        f"s{key}", trace_id=f"t{trace}", observation_id=None if whole else f"o{key}", value=value,
        updated_at=updated,
    ),
    st.integers(0, 3), st.integers(0, 1), st.booleans(), st.integers(1, 10), minutes,
)  # fmt: skip
nights = st.lists(
    st.tuples(
        st.lists(observations, max_size=4, unique_by=lambda row: (row["id"], row["updated_at"])),
        st.lists(scores_given, max_size=3),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(nights=nights, days_apart=st.sampled_from([1, 40]))
def test_night_by_night_comes_to_the_same_as_all_at_once(
    tmp_path_factory: pytest.TempPathFactory, nights: list[tuple[list[Any], list[Any]]], days_apart: int
) -> None:
    folder = tmp_path_factory.mktemp("export")
    bucket = Bucket(folder)
    nightly = Export(folder, SOURCE)
    kept: dict[str, dict[str, Any]] = {}
    for number, (uses, given_scores) in enumerate(nights):
        bucket.run(f"night-{number}", observations_v2=uses, scores=given_scores)
        at = datetime(2026, 2, 2, tzinfo=UTC).timestamp() + number * days_apart * 86_400
        for path in bucket.folder.rglob(f"night-{number}.*"):
            os.utime(path, (at, at))
        merge(kept, nightly.load())
    once: dict[str, dict[str, Any]] = {}
    merge(once, Export(folder, SOURCE).load())
    # a score that comes alone finds no use that is older than reread_days
    if days_apart == 1 or all(uses or not given_scores for uses, given_scores in nights):
        assert kept == once
    rated = [row for row in kept.values() if row["rating"] is not None]
    assert len(rated) <= len({one["observation_id"] or one["trace_id"] for _, some in nights for one in some})


def merge(kept: dict[str, dict[str, Any]], loaded: Iterable[Checked]) -> None:
    """As the warehouse merges: a lower updated_at never overwrites a higher."""
    for part in loaded:
        for row in part.rows.to_pylist():
            before = kept.get(row["usage_id"])
            if before is None or row["updated_at"] >= before["updated_at"]:
                kept[row["usage_id"]] = row


# -- what is damaged


def with_bad_values(rows: list[dict[str, Any]]) -> pa.Table:
    """A user that is not UTF-8 in the row 2, a time after the year 9999 in 4, amounts by no name in 6."""
    table = table_of(rows)
    users = pa.array([b"caf\xe9" if n == 1 else b"u" for n in range(len(rows))]).view(pa.string())
    starts = table["start_time"].cast(pa.int64()).to_pylist()
    starts[3] = 1767261600000 * 10**6
    names = pa.array([b"\xff" if n == 5 else b"input" for n in range(len(rows))]).view(pa.string())
    amounts = pa.MapArray.from_arrays(range(len(rows) + 1), names, pa.array([3] * len(rows)))
    for name, array in (
        ("user_id", users),
        ("start_time", pa.array(starts).cast(pa.timestamp("us", "Europe/Berlin"))),
        ("usage_details", amounts),
    ):
        table = table.set_column(table.schema.get_field_index(name), name, array)
    return table


def test_a_bad_value_in_parquet_costs_itself_alone(export: Export, bucket: Bucket) -> None:
    sink = io.BytesIO()
    pq.write_table(with_bad_values([observation(f"o{n}") for n in range(1, 9)]), sink)
    bucket.put("observations_v2", "1.parquet", sink.getvalue())
    bucket.manifest("1", "observations_v2/1.parquet")
    loaded = export.load()
    uses = {row["usage_id"]: row for one in loaded for row in one.rows.to_pylist()}
    assert set(uses) == {f"o{n}" for n in (1, 2, 3, 5, 6, 7, 8)}
    assert {(key, use["used_at"]) for key, use in uses.items()} == {
        (key, datetime(2026, 2, 1, 10, 0, 0, 250000, tzinfo=UTC)) for key in uses
    }
    assert [uses[f"o{n}"]["input_tokens"] for n in (5, 6, 7)] == [3, None, 3]
    place = "in/p1/observations_v2/1.parquet"
    assert sorted((where, field) for where, field, _ in rejects(loaded)) == [
        (f"{place}:2", "user_key"), (f"{place}:4", None), (f"{place}:6", "total_tokens"),
    ]  # fmt: skip
    assert accounted(loaded) == 8


def test_an_amount_that_stands_twice_is_told(export: Export, bucket: Bucket) -> None:
    row = json.dumps(observation()).replace('"output": 20', '"output": 19, "output": 20')
    bucket.put("observations", "1.jsonl", row.encode())
    bucket.manifest("1", "observations/1.jsonl")
    loaded = export.load()
    assert rejects(loaded) == [
        ("in/p1/observations/1.jsonl:1", "total_tokens",
         "usage_details: a name stands twice in the object; the last counts")
    ]  # fmt: skip
    assert loaded[0].rows.column("output_tokens").to_pylist() == [20]


@pytest.mark.parametrize(
    ("content", "good", "reason"),
    [(b"[{}]", 0, "missing"), (b"", 0, None), (b"[]", 0, None), (b"{}", 0, "not a JSON array"),
     (json.dumps([observation()]).encode()[:-1], 1, "the array is not closed"),
     (json.dumps([observation(), observation("o2")]).encode()[:-90], 1, "not JSON from here on"),
     (b"[" + json.dumps(observation()).encode() + b", 7, ]", 1, "not a JSON object"),
     (json.dumps([observation()]).encode() * 2, 1, "what stands after the end of the array is not read")],
)  # fmt: skip
def test_an_array_gives_what_can_be_read_of_it(
    export: Export, bucket: Bucket, content: bytes, good: int, reason: str | None
) -> None:
    bucket.put("observations", "a.json", content)
    bucket.manifest("a", "observations/a.json")
    loaded = export.load()
    assert sum(one.rows.num_rows for one in loaded) == good
    told = [text for _, _, text in rejects(loaded)]
    assert len(told) == (reason is not None)
    assert reason is None or reason in told[0]


@pytest.mark.parametrize("name", ["a.parquet", "a.csv.gz", "a.jsonl.gz", "a.jsonl"])
def test_a_file_that_is_not_what_it_says_is_told(export: Export, bucket: Bucket, name: str) -> None:
    bucket.put(
        "observations", name, b"\x1f\x8b nothing of the kind" if name.endswith("gz") else b"a\x00b\xff"
    )
    bucket.manifest("a", f"observations/{name}")
    (reject,) = rejects(export.load())
    assert reject[1] is None


@pytest.mark.parametrize("format_", ["csv", "parquet"])
def test_a_file_without_a_column_that_is_needed_stops_the_source(
    tmp_path: Path, bucket: Bucket, format_: str
) -> None:
    row = {name: of for name, of in observation().items() if name not in ("metadata", "prompt_name")}
    bucket.put("observations", f"a.{format_}", in_format(format_, [row]))
    bucket.manifest("a", f"observations/a.{format_}")
    with pytest.raises(
        PrismError, match=rf"a\.{format_}: the file has no column 'prompt_name'; it has 'id', "
    ):
        Export(tmp_path, SOURCE).load()
    named = Export(tmp_path, SOURCE[:-1] + ", default_prompt: unnamed}")
    assert named.uses()["o1"]["prompt_key"] == "unnamed"


@settings(max_examples=60, deadline=None)
@given(
    content=st.lists(
        st.one_of(
            rows_of(set(FIELDS) - {"type"}).map(lambda row: json.dumps({**observation(), **row}).encode()),
            junk,
        ),
        max_size=6,
    ),
    scores=st.lists(rows_of(score()).map(lambda row: {**score(), **row}), max_size=4),
)
def test_no_row_is_lost_and_none_ends_in_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, content: list[bytes], scores: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("export")
    bucket = Bucket(folder)
    bucket.run("x", scores=scores)
    bucket.put("observations", "x.jsonl", b"\n" + b"\n".join(content) + b"\n")
    bucket.manifest("x", "observations/x.jsonl", "scores/x.jsonl")
    assert accounted(Export(folder, SOURCE).load()) == sum(bool(line.strip()) for line in content)


of_csv = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(
        ["", "0", "1e400", "NaN", "{}", '{"input": 3}', "[1]", "2026-02-01 10:00:00", '"', "\r\n"]
    ),
)
typed = st.fixed_dictionaries(
    {},
    optional={
        "user_id": st.binary(max_size=6),
        "prompt_name": st.binary(max_size=6),
        "start_time": st.integers(-(2**63) + 1, 2**63 - 1),
        "end_time": st.integers(-(2**63) + 1, 2**63 - 1),
        "usage_details": st.dictionaries(st.binary(max_size=4), st.integers(-9, 9), max_size=2),
        "total_cost": st.floats(),
    },
)


def in_parquet(rows: list[dict[str, Any]]) -> bytes:
    """Rows whose text may be no UTF-8 and whose times may be in no calendar, as other writers leave them."""
    usual = {
        "id": b"", "prompt_name": b"greet", "user_id": b"anna", "start_time": 1_769_940_000_000_000,
        "end_time": None, "usage_details": {}, "total_cost": 0.5,
    }  # fmt: skip
    full = [{**usual, **row, "id": b"o%d" % number} for number, row in enumerate(rows)]
    columns: dict[str, pa.Array] = {}
    for name in ("id", "prompt_name", "user_id"):
        columns[name] = pa.array([row[name] for row in full], pa.binary()).view(pa.string())
    for name in ("start_time", "end_time"):
        columns[name] = pa.array([row[name] for row in full], pa.int64()).cast(pa.timestamp("us"))
    details = [list(row["usage_details"].items()) for row in full]
    ends = [0]
    for pairs in details:
        ends.append(ends[-1] + len(pairs))
    names = pa.array([key for pairs in details for key, _ in pairs], pa.binary()).view(pa.string())
    amounts = pa.array([amount for pairs in details for _, amount in pairs], pa.int64())
    columns["usage_details"] = pa.MapArray.from_arrays(ends, names, amounts)
    columns["total_cost"] = pa.array([row["total_cost"] for row in full], pa.float64())
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


# a row that says that it is no call, and names no prompt, is no use
OF_CALLS = sorted({*FIELDS} - {"id", "type"})


def loaded_as(ending: str, content: bytes, folder: Path) -> list[Checked]:
    bucket = Bucket(folder)
    bucket.put("observations_v2", f"x.{ending}", content)
    bucket.manifest("x", f"observations_v2/x.{ending}")
    return Export(folder, SOURCE).load()


@settings(max_examples=20, deadline=None)
@given(
    as_text=st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(OF_CALLS, of_csv)), max_size=5),
    as_json=st.lists(st.one_of(rows_of(OF_CALLS), anything), max_size=5),
    as_typed=st.lists(typed, max_size=5),
)
def test_no_row_of_csv_json_or_parquet_is_lost(
    tmp_path_factory: pytest.TempPathFactory,
    as_text: list[dict[str, str]],
    as_json: list[Any],
    as_typed: list[dict[str, Any]],
) -> None:
    text_rows = [{**observation(f"o{n}"), **row} for n, row in enumerate(as_text)]
    json_rows = [
        {**observation(f"o{n}"), **row} if isinstance(row, dict) else row for n, row in enumerate(as_json)
    ]
    for ending, content, count in (
        ("csv", in_format("csv", text_rows) if text_rows else b"", len(as_text)),
        ("json", json.dumps(json_rows).encode(), len(as_json)),
        ("parquet", in_parquet(as_typed), len(as_typed)),
    ):
        loaded = loaded_as(ending, content, tmp_path_factory.mktemp(ending))
        assert (ending, accounted(loaded)) == (ending, count)
        assert sum(one.superseded for one in loaded) == 0


@settings(max_examples=60, deadline=None)
@given(noise=st.binary(max_size=200), ending=st.sampled_from([".json", ".csv", ".parquet", ".jsonl"]))
def test_noise_ends_in_rejects_or_one_clear_error(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, ending: str
) -> None:
    folder = tmp_path_factory.mktemp("export")
    bucket = Bucket(folder)
    bucket.put("observations", f"x{ending}", noise)
    bucket.manifest("x", f"observations/x{ending}")
    try:
        accounted(Export(folder, SOURCE).load())
    except PrismError as error:
        assert "the file has no column" in str(error)
