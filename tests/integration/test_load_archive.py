"""A landing folder with an archive: a file is taken once, and lies in one place or the other."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import dagster as dg
import pytest
import yaml

from orchestration.errors import PrismError
from orchestration.loading.load import BatchResult, load_source
from orchestration.loading.retry import retry_rejected
from orchestration.sensors import landing_sensors
from orchestration.settings import Settings, load_settings
from orchestration.sources import octets
from orchestration.warehouse import Warehouse
from tests.gateways import lines
from tests.unit import test_sources_helicone as helicone
from tests.unit import test_sources_langfuse as langfuse
from tests.unit import test_sources_opentelemetry as otel

pytestmark = pytest.mark.integration

GOOD = "prompt,at\np,2025-01-01\nq,2025-01-02\n"


class Landing:
    def __init__(self, warehouse: Warehouse, folder: Path) -> None:
        self.warehouse, self.folder = warehouse, folder
        (folder / "in").mkdir()
        self.configure()

    def configure(self, **source: Any) -> None:
        given = {
            "name": "log", "type": "files", "path": "in/*.csv", "archive": "done", "usage_id": "line",
            "columns": {"prompt_key": "prompt", "used_at": "at"}, **source,
        }  # fmt: skip
        (self.folder / "prism.yaml").write_text(yaml.safe_dump({"sources": [given]}))

    @property
    def settings(self) -> Settings:
        variables = {"PRISM_HOME": str(self.folder / "home"), "PRISM_HMAC_KEY": "of the test"}
        return load_settings(variables, self.folder)

    def put(self, name: str, text: str, *, seconds_ago: float = 60) -> Path:
        path = self.folder / "in" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        then = time.time() - seconds_ago
        os.utime(path, (then, then))
        return path

    def load(self, *files: Path) -> list[BatchResult]:
        source = self.settings.sources[0]
        return load_source(self.warehouse, source, self.settings, files=files or None)

    def files(self) -> list[str]:
        return sorted(
            path.relative_to(self.folder).as_posix()
            for folder in ("in", "done")
            for path in (self.folder / folder).rglob("*")
            if path.is_file()
        )

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.warehouse.connect() as connection:
            return connection.execute(query).fetchall()  # type: ignore[call-overload]

    def count(self) -> int:
        ((count,),) = self.rows("select count(*) from raw.prompt_usage")
        return int(count)


@pytest.fixture
def landing(warehouse: Warehouse, tmp_path: Path) -> Landing:
    return Landing(warehouse, tmp_path)


def test_a_loaded_file_goes_to_the_archive_and_an_empty_folder_is_no_fault(landing: Landing) -> None:
    landing.put("a.csv", GOOD)
    assert [result.inserted for result in landing.load()] == [2]
    assert landing.files() == ["done/a.csv"]
    assert landing.load() == []


def test_the_same_file_again_changes_nothing_and_goes_the_same_way(landing: Landing) -> None:
    landing.put("a.csv", GOOD)
    landing.load()
    landing.put("a.csv", GOOD)
    assert landing.load() == []
    assert (landing.files(), landing.count()) == (["done/a.csv"], 2)


def test_another_file_of_the_same_name_loses_neither(landing: Landing) -> None:
    for number in (1, 2, 3):
        landing.put("a.csv", f"prompt,at\np{number},2025-01-01\n")
        landing.load()
    assert landing.files() == ["done/a.1.csv", "done/a.2.csv", "done/a.csv"]
    assert "p3" in (landing.folder / "done" / "a.csv").read_text()
    # by line they are one row, and it is said; by what they hold they are three
    assert landing.rows("select prompt_key from raw.prompt_usage") == [("p3",)]
    notes = landing.rows("select note from raw.load_batches order by batch_id")
    assert [bool(note) for (note,) in notes] == [False, True, True]
    landing.configure(usage_id=["prompt", "at"], name="other", archive="kept")
    for number in (1, 2, 3):
        landing.put("a.csv", f"prompt,at\np{number},2025-01-01\n")
        landing.load()
    assert landing.rows("select prompt_key from raw.prompt_usage where source = 'other' order by 1") == [
        ("p1",), ("p2",), ("p3",),
    ]  # fmt: skip


def test_the_same_file_under_another_name_counts_once_where_rows_are_named_by_line(landing: Landing) -> None:
    landing.put("a.csv", GOOD)
    landing.put("b.csv", GOOD)
    landing.load()
    landing.put("c.csv", GOOD)
    landing.put("d.csv", GOOD.replace("q", "z"))
    landing.load()
    assert landing.rows("select usage_id from raw.prompt_usage order by 1") == [
        ("a.csv:2",), ("a.csv:3",), ("d.csv:2",), ("d.csv:3",),
    ]  # fmt: skip
    said = "select location, note from raw.load_batches where note is not null order by 1"
    copies = [(f"in/{name}.csv", "not loaded: it holds just what in/a.csv held") for name in "bc"]
    assert landing.rows(said) == copies
    assert landing.files() == ["done/a.csv", "done/b.csv", "done/c.csv", "done/d.csv"]
    # read in another way, the first is read again, and its copies are still copies
    landing.configure(columns={"prompt_key": "prompt", "used_at": "at", "model": {"value": "m"}})
    for name in "ab":
        landing.put(f"{name}.csv", GOOD)
    assert [(result.updated, result.inserted) for result in landing.load()] == [(2, 0), (0, 0)]
    landing.configure(usage_id=["prompt", "at"], name="other")
    for name in "ab":  # by what they hold, rows may well come in two files
        landing.put(f"{name}.csv", GOOD)
    assert [(result.inserted, result.unchanged) for result in landing.load()] == [(2, 0), (0, 2)]


def test_a_file_that_was_just_written_to_stays_until_it_has_come_to_rest(landing: Landing) -> None:
    landing.put("a.csv", GOOD, seconds_ago=2)
    landing.put("b.csv", GOOD)
    landing.load()
    assert landing.files() == ["done/b.csv", "in/a.csv"]
    landing.configure(settle_seconds=0)
    landing.load()
    assert landing.files() == ["done/a.csv", "done/b.csv"]


def test_a_file_that_another_process_has_open_stays(landing: Landing) -> None:
    path = landing.put("a.csv", GOOD)
    with path.open("a"):
        assert landing.load() == []
        assert landing.files() == ["in/a.csv"]
    assert landing.load() != []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("prompt,when\np,2025-01-01\n", "in/a.csv:1: the file has no column 'at'; it has 'prompt', 'when'\n"),
        ("prompt,at\np,nonsense\n", "in/a.csv:2: used_at: not a time\n"),
    ],
)
def test_a_file_of_which_nothing_can_be_loaded_goes_to_failed_with_its_reason(
    landing: Landing, text: str, reason: str
) -> None:
    landing.put("a.csv", text)
    landing.put("b.csv", GOOD)
    results = landing.load()
    assert [(result.location, result.inserted, result.rejected) for result in results] == [
        ("in/a.csv", 0, 1),
        ("in/b.csv", 2, 0),
    ]
    assert landing.files() == ["done/b.csv", "done/failed/a.csv", "done/failed/a.csv.reason.txt"]
    assert (landing.folder / "done/failed/a.csv.reason.txt").read_text() == reason
    landing.put("a.csv", text)
    landing.load()
    assert landing.files() == ["done/b.csv", "done/failed/a.csv", "done/failed/a.csv.reason.txt"]


def test_a_file_with_some_good_rows_is_a_loaded_one(landing: Landing) -> None:
    landing.put("a.csv", GOOD + "p,nonsense\n")
    landing.put("empty.csv", "prompt,at\n")
    landing.load()
    assert landing.files() == ["done/a.csv", "done/empty.csv"]


def test_folders_below_keep_their_place_and_the_archive_is_no_landing_folder(landing: Landing) -> None:
    landing.configure(path="in/**/*.csv", archive="in/done")
    landing.put("x/a.csv", GOOD)
    landing.put("a.csv", GOOD)
    landing.load()
    assert landing.files() == ["in/done/a.csv", "in/done/x/a.csv"]
    assert landing.load() == []


def test_a_named_file_from_elsewhere_stays_where_it_is(landing: Landing) -> None:
    path = landing.folder / "other.csv"
    path.write_text(GOOD)
    assert [result.inserted for result in landing.load(path)] == [2]
    assert path.is_file()


def test_a_file_that_can_not_be_moved_is_loaded_and_said_so(landing: Landing) -> None:
    (landing.folder / "done").write_text("a file where the archive should be")
    landing.put("a.csv", GOOD)
    with pytest.raises(PrismError, match="can't be moved to"):
        landing.load()
    assert landing.count() == 2
    (landing.folder / "done").unlink()
    assert landing.load() == []
    assert landing.files() == ["done/a.csv"]


def test_what_was_rejected_is_read_again_from_the_archive_and_from_failed(landing: Landing) -> None:
    landing.put("a.csv", GOOD + "p,1735689600\n")
    landing.put("b.csv", "prompt,at\np,1735689600\n")
    landing.load()
    assert landing.files() == ["done/a.csv", "done/failed/b.csv", "done/failed/b.csv.reason.txt"]
    landing.configure(columns={"prompt_key": "prompt", "used_at": {"from": "at", "unit": "s"}})
    source = landing.settings.sources[0]
    done = retry_rejected(landing.warehouse, source, landing.settings)
    assert (done.resolved, done.gone, done.failures) == (2, [], [])
    assert landing.files() == ["done/a.csv", "done/b.csv"]
    assert landing.count() == 4


def test_of_files_of_one_name_each_is_read_again_for_what_was_rejected_of_it(landing: Landing) -> None:
    by_content = {"usage_id": ["prompt", "at"]}
    landing.configure(**by_content)
    days = ("p1,2025-01-01\n,2025-01-01\n", "p2,2025-01-02\n", ",2025-01-03\n", ",x\n,2025-01-04\n")
    for day in days:
        landing.put("a.csv", f"prompt,at\n{day}")
        landing.load()
    assert landing.files() == [
        "done/a.1.csv", "done/a.csv",
        "done/failed/a.1.csv", "done/failed/a.1.csv.reason.txt",
        "done/failed/a.csv", "done/failed/a.csv.reason.txt",
    ]  # fmt: skip
    opened = "select count(*) from raw.rejected_rows where resolved_at is null"
    assert landing.rows(opened) == [(4,)]
    landing.put("a.csv", f"prompt,at\n{days[3]}")  # the same again: what is wrong with it stands there once
    landing.load()
    assert landing.rows(opened) == [(4,)]
    # another of that name waits: nothing is written over, and no record is resolved unread
    landing.put("a.csv", "prompt,at\np5,2025-01-05\n")
    done = retry_rejected(landing.warehouse, landing.settings.sources[0], landing.settings)
    assert (done.resolved, len(done.failures)) == (0, 3)
    landing.load()
    named = {"from": "prompt", "default": "unknown"}
    landing.configure(columns={"prompt_key": named, "used_at": "at"}, **by_content)
    # mended by hand where it lies
    (landing.folder / "done/failed/a.csv").write_text("prompt,at\np4,2025-01-04\n,2025-01-04\n")
    done = retry_rejected(landing.warehouse, landing.settings.sources[0], landing.settings)
    assert (done.resolved, done.after, done.gone, done.failures) == (4, 0, [], [])
    assert landing.rows("select prompt_key, count(*) from raw.prompt_usage group by 1 order by 1") == [
        ("p1", 1), ("p2", 1), ("p4", 1), ("p5", 1), ("unknown", 3),
    ]  # fmt: skip
    assert landing.files() == ["done/a.1.csv", "done/a.2.csv", "done/a.3.csv", "done/a.4.csv", "done/a.csv"]


def test_a_library_has_no_archive(landing: Landing) -> None:
    landing.configure(entity="prompts", usage_id=None, columns={"name": "prompt"})
    with pytest.raises(PrismError, match="`archive:` is for uses"):
        _ = landing.settings


# -- the exports of gateways


class Exports(Landing):
    """A landing folder of a gateway: what a night does with what it finds there."""

    def configure(self, **source: Any) -> None:
        given = {"path": "in", "archive": "done", "settle_seconds": 0, **source}
        (self.folder / "prism.yaml").write_text(yaml.safe_dump({"sources": [given]}))

    def ratings(self) -> dict[str, float | None]:
        with self.warehouse.connect() as connection:
            rows = connection.execute("select right(usage_id, 2), rating from raw.prompt_usage").fetchall()
        return dict(rows)


@pytest.fixture
def exports(warehouse: Warehouse, tmp_path: Path) -> Exports:
    return Exports(warehouse, tmp_path)


def test_loaded_requests_of_helicone_go_to_the_archive_and_a_bad_file_to_failed(exports: Exports) -> None:
    exports.configure(name="gateway", type="helicone")
    helicone.write(exports.folder, helicone.request(), name="a.jsonl")
    (exports.folder / "in" / "b.jsonl").write_text("{no json\n")
    exports.load()
    assert exports.files() == ["done/a.jsonl", "done/failed/b.jsonl", "done/failed/b.jsonl.reason.txt"]
    reason = (exports.folder / "done/failed/b.jsonl.reason.txt").read_text()
    assert reason.startswith("in/b.jsonl:1: ")
    helicone.write(exports.folder, helicone.request(), name="a.jsonl")
    assert exports.load() == []
    assert (exports.files()[0], exports.count()) == ("done/a.jsonl", 1)
    (exports.folder / "done/failed/b.jsonl").write_bytes(lines(helicone.request(request_id="r2")))
    done = retry_rejected(exports.warehouse, exports.settings.sources[0], exports.settings)
    assert (done.resolved, done.after, exports.files()) == (1, 0, ["done/a.jsonl", "done/b.jsonl"])


def test_a_late_rating_finds_its_span_in_the_archive(exports: Exports) -> None:
    exports.configure(name="spans", type="opentelemetry", ratings={"stars": [1, 5]})
    otel.write(exports.folder, otel.spans(otel.span("01"), otel.span("02")), name="a.jsonl")
    exports.load()
    assert exports.files() == ["done/a.jsonl"]
    otel.write(exports.folder, otel.logs(otel.evaluation("stars", 2, spanId="02")), name="b.jsonl")
    exports.load()
    assert exports.ratings() == {"01": None, "02": 2.0}
    assert exports.files() == ["done/a.jsonl", "done/b.jsonl"]
    # and one that comes before its span waits there for it
    otel.write(exports.folder, otel.logs(otel.evaluation("stars", 4, spanId="03")), name="c.jsonl")
    exports.load()
    otel.write(exports.folder, otel.spans(otel.span("03")), name="d.jsonl")
    exports.load()
    assert exports.ratings() == {"01": None, "02": 2.0, "03": 4.0}
    assert exports.load() == []


def test_langfuse_s_manifests_stay_until_all_that_they_name_was_loaded(exports: Exports) -> None:
    exports.configure(name="traces", type="langfuse", ratings={"stars": [1, 10]})
    bucket = langfuse.Bucket(exports.folder)
    bucket.run("1", observations=[langfuse.observation("o1")], observations_v2=[langfuse.observation("o1")])
    bucket.manifest("2", "observations_v2/2.jsonl", "scores/2.jsonl")
    bucket.put("scores", "2.jsonl", lines(langfuse.score(observation_id="o1", value=10)))
    bucket.put("observations_v2", "3.jsonl", lines(langfuse.observation("o3")))
    exports.load()
    assert exports.ratings() == {"o1": 5.0}
    first = [
        "done/p1/manifests/1.json", "done/p1/observations/1.jsonl", "done/p1/observations_v2/1.jsonl",
        "done/p1/scores/2.jsonl",
    ]  # fmt: skip
    assert exports.files() == [*first, "in/p1/manifests/2.json", "in/p1/observations_v2/3.jsonl"]
    bucket.put("observations_v2", "2.jsonl", lines(langfuse.observation("o2", trace_id="t2")))
    exports.load()
    assert exports.ratings() == {"o1": 5.0, "o2": None}
    assert [name for name in exports.files() if "/2." in name or name.startswith("in/")] == [
        "done/p1/manifests/2.json", "done/p1/observations_v2/2.jsonl", "done/p1/scores/2.jsonl",
        "in/p1/observations_v2/3.jsonl",
    ]  # fmt: skip
    # the plainer twin of what was put away is none of its own
    bucket.run("1", observations=[langfuse.observation("o1", user_id=None)])
    assert exports.load() == []
    assert not [name for name in exports.files() if name.startswith("in/p1/observations/")]


def test_an_export_of_langfuse_that_lacks_a_column_fails_alone(exports: Exports) -> None:
    exports.configure(name="traces", type="langfuse", manifests=False)
    bucket = langfuse.Bucket(exports.folder)
    bucket.put("observations", "1.csv", b"id,start_time\n1,2026-01-01\n")
    bucket.put("observations", "2.csv", b"id,start_time,prompt_name\n1,2026-01-01,greet\n")
    exports.load()
    assert exports.files() == [
        "done/failed/p1/observations/1.csv", "done/failed/p1/observations/1.csv.reason.txt",
        "done/p1/observations/2.csv",
    ]  # fmt: skip


@pytest.mark.parametrize("rated", [["stars"], []], ids=["a rating", "none of ours"])
def test_a_file_of_ratings_with_a_broken_line_is_a_loaded_one(exports: Exports, rated: list[str]) -> None:
    scales = {name: [1, 10] for name in rated}
    exports.configure(name="traces", type="langfuse", manifests=False, ratings=scales)
    bucket = langfuse.Bucket(exports.folder)
    bucket.put("observations_v2", "1.jsonl", lines(langfuse.observation("o1")))
    bucket.put("scores", "1.jsonl", lines(langfuse.score(observation_id="o1", value=10)) + b"{broken\n")
    bucket.put("scores", "2.jsonl", b"{broken\n")
    assert sum(result.rejected for result in exports.load()) == 2
    assert exports.files() == [
        "done/failed/p1/scores/2.jsonl", "done/failed/p1/scores/2.jsonl.reason.txt",
        "done/p1/observations_v2/1.jsonl", "done/p1/scores/1.jsonl",
    ]  # fmt: skip
    # so that the rating is found when the use comes again
    bucket.put("observations_v2", "3.jsonl", lines(langfuse.observation("o1", level="ERROR")))
    exports.load()
    assert exports.ratings() == {"o1": 5.0 if rated else None}


def test_evaluations_beside_a_broken_line_are_a_loaded_file(exports: Exports) -> None:
    exports.configure(name="spans", type="opentelemetry", ratings={"stars": [1, 5]})
    evaluation = otel.evaluation("stars", 2, spanId="01")
    otel.write(exports.folder, otel.spans(otel.span("01")), name="a.jsonl")
    (exports.folder / "in" / "b.jsonl").write_bytes(lines(otel.logs(evaluation)) + b"{broken\n")
    exports.load()
    assert (exports.files(), exports.ratings()) == (["done/a.jsonl", "done/b.jsonl"], {"01": 2.0})


# -- what was loaded is not read again


def test_a_file_that_lies_as_it_lay_is_not_read_to_tell_that_it_is_the_same(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestration.sources.landing._TICK_S", 0)  # of the clock that these files have
    landing.configure(archive=None)
    path = landing.put("a.csv", GOOD)
    landing.load()
    digested: list[Path] = []

    def digest(path: Path) -> str:
        digested.append(path)
        return octets.digest(path)

    monkeypatch.setattr("orchestration.sources.landing.octets", Mock(wraps=octets, digest=digest))
    assert (landing.load(), digested) == ([], [])
    os.utime(path)  # touched: its content tells
    assert (landing.load(), len(digested)) == ([], 1)
    stat = path.stat()
    path.write_text(GOOD.replace("q", "z"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as long and as old as it was
    assert [result.inserted + result.updated for result in landing.load()] == [1]
    landing.configure(archive=None, null_values=["n/a"])
    assert [result.unchanged for result in landing.load()] == [2]


def test_a_file_of_the_same_instant_is_not_trusted_by_its_times(landing: Landing) -> None:
    landing.configure(archive=None)
    path = landing.put("a.csv", GOOD)
    landing.load()
    stat = path.stat()
    path.write_text(GOOD.replace("q", "z"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert len(landing.load()) == 1


# -- the sensor


def asked(landing: Landing) -> Any:
    (sensor,) = landing_sensors(landing.settings)
    return sensor.evaluate_tick(dg.build_sensor_context())


def test_the_sensor_asks_for_one_load_of_what_is_complete(landing: Landing) -> None:
    assert asked(landing).skip_message == "no complete file has come"
    landing.put("a.csv.part", GOOD)
    landing.put("b.csv", GOOD, seconds_ago=1)
    assert asked(landing).run_requests == []
    landing.put("a.csv", GOOD)
    (first,), (second,) = asked(landing).run_requests, asked(landing).run_requests
    assert first.run_key == second.run_key
    landing.put("c.csv", GOOD)
    (third,) = asked(landing).run_requests
    assert third.run_key != first.run_key


def test_the_sensor_watches_the_exports_of_gateways_too(exports: Exports) -> None:
    exports.configure(name="traces", type="langfuse")
    bucket = langfuse.Bucket(exports.folder)
    bucket.put("observations", "1.jsonl", lines(langfuse.observation()))
    assert asked(exports).skip_message == "no complete file has come"
    bucket.manifest("1", "observations/1.jsonl")
    assert len(asked(exports).run_requests) == 1


def test_the_sensor_says_where_the_landing_folder_is_missing(landing: Landing) -> None:
    (landing.folder / "in").rmdir()
    assert "there is no such file or folder" in asked(landing).skip_message


def test_without_an_archive_there_is_no_sensor(landing: Landing) -> None:
    landing.configure(archive=None)
    assert landing_sensors(landing.settings) == []
