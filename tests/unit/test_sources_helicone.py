"""Helicone's exports: what maps to what, and that no line of any file is lost."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.errors import PrismError
from tests.gateways import Export, accounted, junk, lines, rejects, rows_of

SOURCE = "{name: gateway, type: helicone, path: in}"
FIELDS = (
    "request_id", "request_created_at", "updated_at", "delay_ms", "costUSD", "prompt_tokens",
    "completion_tokens", "total_tokens", "prompt_id", "prompt_version", "response_status",
    "feedback_rating", "request_properties", "properties", "request_user_id", "request_model",
)  # fmt: skip


def request(**changes: Any) -> dict[str, Any]:
    """A line as Helicone's export tool writes it, with fields that Prism has no use for."""
    return {
        "response_id": "0b9f", "response_created_at": "2026-02-01T10:00:02.250Z", "response_status": 200,
        "response_model": "gpt-4o-2024-08-06", "request_id": "r1",
        "request_created_at": "2026-02-01T10:00:00.500Z", "request_path": "https://api.example.com/v1/chat",
        "request_user_id": "anna", "request_properties": {"Helicone-Session-Id": "s1", "Plan": "pro"},
        "request_model": "gpt-4o", "provider": "OPENAI", "delay_ms": 1750, "time_to_first_token": 300,
        "total_tokens": 30, "prompt_tokens": 10, "completion_tokens": 20, "prompt_id": "greet",
        "prompt_version": "3", "feedback_rating": None, "costUSD": 0.000225, "scores": {},
        "country_code": "DE", **changes,
    }  # fmt: skip


@pytest.fixture
def export(tmp_path: Path) -> Export:
    (tmp_path / "in").mkdir()
    return Export(tmp_path, SOURCE)


def write(folder: Path, *rows: Any, name: str = "a.jsonl") -> Path:
    path = folder / "in" / name
    path.write_bytes(lines(*rows))
    return path


def test_a_request_becomes_a_use(export: Export, tmp_path: Path) -> None:
    write(tmp_path, request())
    use = export.uses()["r1"]
    assert use["used_at"] == datetime(2026, 2, 1, 10, 0, 0, 500000, tzinfo=UTC)
    expected = {
        "prompt_key": "greet", "prompt_version": "3", "model": "gpt-4o", "session_id": "s1",
        "response_time_ms": 1750.0, "success": True, "is_error": None, "error_type": None,
        "input_tokens": 10, "output_tokens": 20, "total_tokens": 30, "cost": 0.000225,
        "cost_source": "reported", "rating": None,
    }  # fmt: skip
    assert {name: use[name] for name in expected} == expected
    assert use["user_key"] not in (None, "anna")  # a pseudonym


@pytest.mark.parametrize(
    ("status", "success", "error_type"),
    [(200, True, None), (201, True, None), (429, False, "http_429"), ("500", False, "http_500"),
     (-3, False, "http_-3"), (None, None, None)],
)  # fmt: skip
def test_the_response_status_tells_success(
    export: Export, tmp_path: Path, status: Any, success: bool | None, error_type: str | None
) -> None:
    write(tmp_path, request(response_status=status))
    use = export.uses()["r1"]
    assert (use["success"], use["error_type"], use["is_error"]) == (success, error_type, error_type and True)


def test_feedback_is_the_lowest_or_the_highest_rating_and_nothing_between(
    export: Export, tmp_path: Path
) -> None:
    given = {"a": True, "b": False, "c": None, "d": "true", "e": 3}
    write(tmp_path, *(request(request_id=key, feedback_rating=value) for key, value in given.items()))
    loaded = export.load()
    ratings = {row["usage_id"]: row["rating"] for one in loaded for row in one.rows.to_pylist()}
    assert ratings == {"a": 5.0, "b": 1.0, "c": None, "d": 5.0, "e": None}
    assert rejects(loaded) == [
        ("in/a.jsonl:5", "rating", "feedback_rating is neither true nor false"),
    ]


def test_the_prompt_may_stand_in_the_properties_or_have_a_default(export: Export, tmp_path: Path) -> None:
    write(
        tmp_path,
        request(request_id="a", prompt_id=None, request_properties={"Helicone-Prompt-Id": "ask"}),
        request(request_id="b", prompt_id="", request_properties=None, properties={}),
    )
    loaded = export.load()
    assert [row["prompt_key"] for one in loaded for row in one.rows.to_pylist()] == ["ask"]
    assert rejects(loaded) == [("in/a.jsonl:2", None, "prompt_key: missing")]
    other = Export(tmp_path, "{name: gateway, type: helicone, path: in, default_prompt: unlabelled}")
    assert {key: use["prompt_key"] for key, use in other.uses().items()} == {"a": "ask", "b": "unlabelled"}


def test_a_cost_of_zero_is_known_unless_the_settings_say_otherwise(export: Export, tmp_path: Path) -> None:
    write(tmp_path, request(costUSD=0))
    assert export.uses()["r1"]["cost"] == 0.0
    other = Export(tmp_path, "{name: gateway, type: helicone, path: in, zero_is_unknown: true}")
    assert other.uses()["r1"]["cost"] is None


def test_what_a_user_typed_is_read_only_where_the_settings_say_so(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write(tmp_path, request(request_body={"messages": [{"role": "user", "content": "hi"}]}))
    assert Export(tmp_path, SOURCE).uses()["r1"]["user_prompt"] is None
    full = Export(tmp_path, SOURCE, privacy={"prompt_texts": "full"})
    assert json.loads(full.uses()["r1"]["user_prompt"])["messages"][0]["content"] == "hi"


def test_a_file_is_read_once_and_again_when_it_changes(export: Export, tmp_path: Path) -> None:
    path = write(tmp_path, request())
    assert export.uses().keys() == {"r1"}
    assert export.read() == []
    path.write_bytes(lines(request(), request(request_id="r2")))
    assert export.uses().keys() == {"r1", "r2"}
    assert export.uses(path).keys() == {"r1", "r2"}  # named, it is read all the same
    path.unlink()
    (tmp_path / "in" / "a.jsonl.gz").write_bytes(gzip.compress(lines(request(request_id="r3"))))
    assert export.uses().keys() == {"r3"}


def test_a_folder_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(PrismError, match="no such file or folder"):
        Export(tmp_path, "{name: gateway, type: helicone, path: missing}").read()


def test_a_file_that_goes_away_meanwhile_is_one_clear_error(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, request())
    monkeypatch.setattr("orchestration.sources.landing.octets.digest", lambda _: path.unlink() or "0")
    with pytest.raises(PrismError, match=r"a\.jsonl: this file can't be read: No such file"):
        export.read()


def test_a_key_that_stands_twice_is_told(export: Export, tmp_path: Path) -> None:
    row = json.dumps(request())[:-1] + ', "prompt_id": "other"}\n'
    (tmp_path / "in" / "a.jsonl").write_text(row)
    loaded = export.load()
    assert loaded[0].rows.column("prompt_key").to_pylist() == ["other"]
    assert rejects(loaded) == [("in/a.jsonl:1", "prompt_id", "stands twice in the object; the last counts")]


def test_so_is_a_property_but_no_key_that_is_not_read(export: Export, tmp_path: Path) -> None:
    properties = '{"Helicone-Session-Id": "a", "Helicone-Session-Id": "b", "\\u0000": 1, "\\u0000": 2}'
    row = json.dumps(request(request_properties="THIS")).replace('"THIS"', properties)[:-1]
    (tmp_path / "in" / "a.jsonl").write_text(row + ', "\\ud800": 1, "\\ud800": 2}\n')
    loaded = export.load()
    assert loaded[0].rows.column("session_id").to_pylist() == ["b"]
    reason = "stands twice in the object; the last counts"
    assert rejects(loaded) == [("in/a.jsonl:1", "Helicone-Session-Id", reason)]


@settings(max_examples=60, deadline=None)
@given(
    content=st.lists(
        st.one_of(
            rows_of(FIELDS).map(lambda row: json.dumps({**request(), **row}).encode()),
            rows_of(FIELDS).map(lambda row: json.dumps(row).encode()),
            junk,
        ),
        max_size=8,
    )
)
def test_no_line_is_lost_and_none_ends_in_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, content: list[bytes]
) -> None:
    folder = tmp_path_factory.mktemp("export")
    (folder / "in").mkdir()
    (folder / "in" / "a.jsonl").write_bytes(b"\n" + b"\n".join(content) + b"\n")
    assert accounted(Export(folder, SOURCE).load()) == sum(bool(line.strip()) for line in content)
