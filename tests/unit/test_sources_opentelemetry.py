"""OTLP JSON Lines: which spans are uses, under which names, how evaluations find them, that none is lost."""

from __future__ import annotations

import errno
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.errors import PrismError
from orchestration.sources import opentelemetry
from tests.gateways import Export, accounted, anything, junk, lines, rejects, rows_of

SOURCE = "{name: spans, type: opentelemetry, path: in, ratings: {helpful: [0, 1], stars: [1, 5]}}"
START = 1_767_261_600_123_456_789  # 2026-01-01 10:00:00 UTC and a bit


def value(of: Any) -> dict[str, Any]:
    if isinstance(of, bool):
        return {"boolValue": of}
    if isinstance(of, int):
        return {"intValue": str(of)}  # int64 is text in OTLP's JSON
    if isinstance(of, float):
        return {"doubleValue": of}
    if isinstance(of, list):
        return {"arrayValue": {"values": [value(one) for one in of]}}
    return {"stringValue": of}


def attributes(**named: Any) -> list[dict[str, Any]]:
    return [{"key": key, "value": value(of)} for key, of in named.items()]


CALL = {
    "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o",
    "gen_ai.response.model": "gpt-4o-2024-08-06", "gen_ai.prompt.name": "greet", "gen_ai.prompt.version": "2",
    "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 20, "gen_ai.agent.name": "bot",
    "gen_ai.conversation.id": "c1", "user.id": "anna", "gen_ai.response.id": "resp-1",
    "gen_ai.response.finish_reasons": ["stop"],
}  # fmt: skip


def span(key: str = "1", /, *, of: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    return {
        "traceId": "5b8efff798038103d269b633813fc60c", "spanId": key, "parentSpanId": "", "flags": 256,
        "name": "chat gpt-4o", "kind": 3, "startTimeUnixNano": str(START),
        "endTimeUnixNano": str(START + 1_500_000_000), "droppedAttributesCount": 0, "status": {},
        "attributes": attributes(**(CALL if of is None else of)), **changes,
    }  # fmt: skip


def spans(*of: Any) -> dict[str, Any]:
    resource = {"attributes": attributes(**{"service.name": "shop"})}
    scope = {"name": "opentelemetry.instrumentation.openai", "version": "0.40"}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": [*of]}]}]}


def evaluation(name: str, score: Any, at: int = START, **record: Any) -> dict[str, Any]:
    given = {"gen_ai.evaluation.name": name, "gen_ai.evaluation.score.value": score}
    return {
        "timeUnixNano": str(at), "eventName": "gen_ai.evaluation.result", "attributes": attributes(**given),
        "traceId": "5b8efff798038103d269b633813fc60c", **record,
    }  # fmt: skip


def logs(*of: Any) -> dict[str, Any]:
    return {"resourceLogs": [{"resource": {}, "scopeLogs": [{"scope": {}, "logRecords": [*of]}]}]}


@pytest.fixture
def export(tmp_path: Path) -> Export:
    (tmp_path / "in").mkdir()
    return Export(tmp_path, SOURCE)


def write(folder: Path, *rows: Any, name: str = "a.jsonl") -> Path:
    path = folder / "in" / name
    path.write_bytes(lines(*rows))
    return path


def one(export: Export) -> dict[str, Any]:
    (use,) = export.uses().values()
    return use


def test_a_span_of_a_model_call_becomes_a_use(export: Export, tmp_path: Path) -> None:
    write(tmp_path, spans(span()))
    use = one(export)
    expected = {
        "usage_id": "5b8efff798038103d269b633813fc60c:1", "prompt_key": "greet", "prompt_version": "2",
        "agent_key": "bot", "session_id": "c1", "model": "gpt-4o", "response_time_ms": 1500.0,
        "used_at": datetime(2026, 1, 1, 10, 0, 0, 123456, tzinfo=UTC), "success": True, "is_error": None,
        "input_tokens": 10, "output_tokens": 20, "total_tokens": None, "cost": None, "rating": None,
    }  # fmt: skip
    assert {name: use[name] for name in expected} == expected


def test_status_code_2_is_an_error_of_the_type_that_the_span_names(export: Export, tmp_path: Path) -> None:
    write(
        tmp_path,
        spans(
            span("a", status={"code": 2, "message": "boom"}, of={**CALL, "error.type": "timeout"}),
            span("b", status={"code": "STATUS_CODE_ERROR"}),
            span("c", status={"code": 1}),
        ),
    )
    found = [(use["success"], use["is_error"], use["error_type"]) for use in export.uses().values()]
    assert found == [(False, True, "timeout"), (False, True, None), (True, None, None)]


@pytest.mark.parametrize(
    "names",
    [
        {"gen_ai.usage.prompt_tokens": 10, "gen_ai.usage.completion_tokens": 20, "gen_ai.request.model": "m"},
        {"openinference.span.kind": "LLM", "llm.model_name": "m", "llm.token_count.prompt": 10,
         "llm.token_count.completion": 20, "llm.token_count.total": 30, "session.id": "c1"},
        {"gen_ai.system": "openai", "gen_ai.response.model": "m", "llm.usage.total_tokens": 30,
         "gen_ai.usage.prompt_tokens": 10, "gen_ai.usage.completion_tokens": 20},
    ],
    ids=["older names", "OpenInference", "mixed"],
)  # fmt: skip
def test_older_names_and_those_of_openinference_are_understood(
    export: Export, tmp_path: Path, names: dict[str, Any]
) -> None:
    write(tmp_path, spans(span(of={**names, "gen_ai.prompt.name": "greet"})))
    use = one(export)
    assert (use["model"], use["input_tokens"], use["output_tokens"]) == ("m", 10, 20)
    assert use["total_tokens"] == (30 if any("total" in name for name in names) else None)


def test_spans_around_the_calls_are_no_uses_of_their_own(export: Export, tmp_path: Path) -> None:
    tokens = {"gen_ai.usage.input_tokens": 10}
    write(
        tmp_path,
        spans(
            span("http", of={"http.request.method": "POST"}),
            span(
                "agent", of={"gen_ai.operation.name": "invoke_agent", "gen_ai.request.model": "m", **tokens}
            ),
            span("tool", of={"gen_ai.operation.name": "execute_tool"}),
            span("chain", of={"openinference.span.kind": "CHAIN", "llm.model_name": "m"}),
            span("call"),
            span("named", of={"gen_ai.operation.name": "invoke_agent", "gen_ai.prompt.name": "greet"}),
        ),
        {"resourceMetrics": [{"scopeMetrics": []}]},
    )
    loaded = export.load()
    assert [key.split(":")[1] for key in loaded[0].rows.column("usage_id").to_pylist()] == ["call"]
    assert accounted(loaded) == 1


@pytest.mark.parametrize(
    ("says", "is_use"),
    [({"gen_ai.operation.name": name}, name in opentelemetry._CALLS)
     for name in ("chat", "text_completion", "generate_content", "embeddings", "completion", "invoke_agent",
                  "create_agent", "execute_tool", "invoke_workflow", "retrieval")]
    + [({"openinference.span.kind": kind}, kind in ("LLM", "EMBEDDING"))
       for kind in ("LLM", "EMBEDDING", "PROMPT", "CHAIN", "AGENT")]
    + [({"mcp.method.name": "prompts/get"}, False), ({"gen_ai.request.model": "m"}, True), ({}, True)],
    ids=str,
)  # fmt: skip
def test_a_span_that_names_a_prompt_is_a_use_unless_it_says_that_it_is_no_call(
    export: Export, tmp_path: Path, says: dict[str, str], is_use: bool
) -> None:
    tokens = {"gen_ai.usage.input_tokens": 10}
    write(tmp_path, spans(span(of={"gen_ai.prompt.name": "greet", **tokens, **says})))
    assert len(export.uses()) == is_use


def test_another_attribute_may_name_the_prompt(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    unnamed = {"gen_ai.request.model": "m"}
    write(tmp_path, spans(span("a"), span("b", of={**unnamed, "app.prompt": "ask"}), span("c", of=unnamed)))
    source = (
        "{name: spans, type: opentelemetry, path: in, default_prompt: unnamed, "
        "prompt_attributes: [app.prompt, gen_ai.prompt.name]}"
    )
    assert [use["prompt_key"] for use in Export(tmp_path, source).uses().values()] == [
        "greet",
        "ask",
        "unnamed",
    ]


def test_the_older_layout_and_unknown_fields_are_read(export: Export, tmp_path: Path) -> None:
    line = spans(span())
    line["resourceSpans"][0]["instrumentationLibrarySpans"] = line["resourceSpans"][0].pop("scopeSpans")
    write(tmp_path, {**line, "future": 1})
    assert one(export)["prompt_key"] == "greet"


# -- ratings


def test_evaluations_rate_the_span_that_they_name(export: Export, tmp_path: Path) -> None:
    event = {"name": "gen_ai.evaluation.result", "timeUnixNano": str(START), "attributes": attributes(
        **{"gen_ai.evaluation.name": "stars", "gen_ai.evaluation.score.value": 4}
    )}  # fmt: skip
    write(
        tmp_path,
        logs(evaluation("helpful", 0.75, spanId="1"), evaluation("other", 99, spanId="1")),
        spans(span("1"), span("2", events=[event]), span("3", of={**CALL, "gen_ai.response.id": "x"})),
        logs(evaluation("helpful", True, spanId="9"), {"eventName": "something.else"}),
    )
    loaded = export.load()
    rows = {row["usage_id"][-1]: row for part in loaded for row in part.rows.to_pylist()}
    assert {key: row["rating"] for key, row in rows.items()} == {"1": 4.0, "2": 4.0, "3": None}
    assert rows["1"]["rating_source"] == "evaluation"
    assert rejects(loaded) == [
        ("in/a.jsonl:3", "rating", "rates a use that is not in the files of the last 30 days")
    ]


def test_an_evaluation_may_name_the_response_instead(export: Export, tmp_path: Path) -> None:
    record = evaluation("stars", 2)
    record["attributes"] += attributes(**{"gen_ai.response.id": "resp-1"})
    write(tmp_path, spans(span()), logs(record))
    assert one(export)["rating"] == 2.0


def test_the_newest_evaluation_counts_and_a_bad_one_is_told(export: Export, tmp_path: Path) -> None:
    write(
        tmp_path,
        spans(span()),
        logs(evaluation("stars", 5, START + 9, spanId="1"), evaluation("stars", 1, START, spanId="1")),
        logs(evaluation("stars", 6, START + 99, spanId="1"), evaluation("stars", "x", START, spanId="1")),
    )
    loaded = export.load()
    assert loaded[0].rows.column("rating").to_pylist() == [5.0]
    assert rejects(loaded) == [
        ("in/a.jsonl:3", "rating", "not a rating from 1 to 5"),
        ("in/a.jsonl:3", "rating", "not a number"),
    ]


def test_a_late_evaluation_brings_just_its_use_again(export: Export, tmp_path: Path) -> None:
    write(tmp_path, spans(span("1"), span("2"), span("3")), name="a.jsonl")
    assert len(export.uses()) == 3
    write(tmp_path, logs(evaluation("stars", 2, spanId="2")), spans(span("4")), name="b.jsonl")
    ratings = {key[-1]: use["rating"] for key, use in export.uses().items()}
    assert ratings == {"2": 2.0, "4": None}
    assert export.read() == []


def test_an_evaluation_that_comes_too_late_is_told(export: Export, tmp_path: Path) -> None:
    old = write(tmp_path, spans(span("1")), name="a.jsonl")
    os.utime(old, (0, 0))
    export.read()
    write(tmp_path, logs(evaluation("stars", 2, spanId="1")), name="b.jsonl")
    loaded = export.load()
    assert sum(part.rows.num_rows for part in loaded) == 0
    assert [reason for _, _, reason in rejects(loaded)] == [
        "rates a use that is not in the files of the last 30 days"
    ]


def test_a_span_that_comes_again_late_keeps_its_rating(export: Export, tmp_path: Path) -> None:
    for path in (
        write(tmp_path, spans(span("1")), name="a.jsonl"),
        write(tmp_path, logs(evaluation("stars", 2, spanId="1")), name="b.jsonl"),
        write(tmp_path, logs(evaluation("stars", 5, spanId="1")), name="before.jsonl"),
    ):
        since = START / 1e9 + (-40 if path.name == "before.jsonl" else 2) * 86_400
        os.utime(path, (since, since))
    assert one(export)["rating"] == 5.0
    again = write(tmp_path, spans(span("1", status={"code": 2})), name="c.jsonl")
    os.utime(again, (START / 1e9 + 90 * 86_400,) * 2)
    assert one(export)["rating"] == 2.0  # of what was written since its day less reread_days


def test_ratings_of_nothing_are_told_and_beyond_some_their_number(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestration.sources.exports._UNMATCHED_TOLD", 2)
    write(tmp_path, *(logs(evaluation("stars", 3, spanId=f"{n}")) for n in range(5)))
    reason = "rates a use that is not in the files of the last 30 days"
    assert rejects(export.load()) == [
        ("in/a.jsonl:1", "rating", reason),
        ("in/a.jsonl:2", "rating", reason),
        ("in/a.jsonl:2", "rating", f"3 ratings after this one: each {reason}"),
    ]


# -- what is damaged


def test_a_file_whose_reading_fails_is_one_clear_error(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, spans(span("1")), logs(evaluation("stars", 2, spanId="1")))
    failing = Mock(side_effect=PermissionError(errno.EACCES, "Permission denied"))
    monkeypatch.setattr("orchestration.sources.opentelemetry.octets.chunks", failing)
    with pytest.raises(PrismError, match="this file can't be read: Permission denied"):
        export.read()


def test_what_is_no_span_costs_itself_alone(export: Export, tmp_path: Path) -> None:
    (tmp_path / "in" / "a.jsonl").write_bytes(
        b'{"resourceSpans": 5}\n{"resourceSpans": [7]}\n{"a": 1}\n[]\n{"resourceSpans": [{"scopeSp\n'
        + lines(
            spans("text", span("1")),
            spans(span("2", startTimeUnixNano="0"), span("3", endTimeUnixNano="soon"), span(spanId="")),
            spans(span("4", attributes=[1, {"key": "x"}, *attributes(**CALL)])),
        )
    )
    loaded = export.load()
    assert [row["usage_id"][-1] for row in loaded[0].rows.to_pylist()] == ["1", "3", "4"]
    told = {
        (location.split(":")[1], field, reason.split(":")[0]) for location, field, reason in rejects(loaded)
    }
    assert told == {
        ("1", None, "resourceSpans is not a list"),
        ("2", None, "resourceSpans holds what is not an object"),
        ("3", None, "has neither resourceSpans nor resourceLogs"),
        ("4", None, "not a JSON object"),
        ("5", None, "not JSON"),
        ("6", None, "spans holds what is not an object"),
        ("7", None, "used_at"),
        ("7", None, "usage_id"),
        ("7", "response_time_ms", "startTimeUnixNano or endTimeUnixNano is not a number"),
    }


@pytest.mark.parametrize("key", ["resourceSpans", "scopeSpans", "spans", "resourceLogs", "logRecords"])
def test_a_list_that_stands_twice_is_told(export: Export, tmp_path: Path, key: str) -> None:
    line = json.dumps({**spans(span("1")), **logs(evaluation("stars", 3, spanId="1"))})
    (tmp_path / "in" / "a.jsonl").write_text(
        line.replace(f'"{key}": [', f'"{key}": [{{}}], "{key}": [') + "\n"
    )
    loaded = export.load()
    assert rejects(loaded) == [("in/a.jsonl:1", None, f"{key} stands twice in the object; the last counts")]
    assert [row["rating"] for row in loaded[0].rows.to_pylist()] == [3.0]
    assert accounted(loaded) == 2


def test_a_value_that_stands_twice_in_a_span_is_told(export: Export, tmp_path: Path) -> None:
    line = json.dumps(spans(span("1"))).replace(
        '"spanId": "1"', '"spanId": "0", "spanId": "1", "x": 1, "x": 2'
    )
    (tmp_path / "in" / "a.jsonl").write_text(line + "\n")
    loaded = export.load()
    assert rejects(loaded) == [("in/a.jsonl:1", "spanId", "stands twice in the object; the last counts")]
    assert loaded[0].rows.column("usage_id").to_pylist() == ["5b8efff798038103d269b633813fc60c:1"]


def test_so_is_one_in_an_evaluation(export: Export, tmp_path: Path) -> None:
    line = json.dumps(logs(evaluation("stars", 3, spanId="1"))).replace('"spanId"', '"spanId": "0", "spanId"')
    (tmp_path / "in" / "a.jsonl").write_bytes(lines(spans(span("1"))) + line.encode())
    loaded = export.load()
    assert rejects(loaded) == [("in/a.jsonl:2", "spanId", "stands twice in the object; the last counts")]
    assert loaded[0].rows.column("rating").to_pylist() == [3.0]


odd_spans = rows_of(["traceId", "spanId", "startTimeUnixNano", "endTimeUnixNano", "status", "events"]).map(
    lambda odd: {**span(), **odd}
)
odd_attributes = rows_of(set(CALL) - {"gen_ai.operation.name", "gen_ai.prompt.name"}).map(
    lambda odd: span(
        attributes=[{"key": key, "value": {"anyValue": of}} for key, of in {**CALL, **odd}.items()]
    )
)


@settings(max_examples=60, deadline=None)
@given(
    calls=st.lists(st.one_of(odd_spans, odd_attributes), max_size=4),
    others=st.lists(anything, max_size=4),
    noise=st.lists(junk, max_size=4),
    record=rows_of(["traceId", "spanId", "timeUnixNano", "attributes"]),
)
def test_no_span_is_lost_and_none_ends_in_a_traceback(
    tmp_path_factory: pytest.TempPathFactory,
    calls: list[dict[str, Any]],
    others: list[Any],
    noise: list[bytes],
    record: dict[str, Any],
) -> None:
    folder = tmp_path_factory.mktemp("export")
    (folder / "in").mkdir()
    (folder / "in" / "a.jsonl").write_bytes(
        b"\n"
        + b"\n".join(noise)
        + b"\n"
        + lines(spans(*calls), spans(*others), logs({**evaluation("stars", 3), **record}))
    )
    no_spans = sum(not isinstance(other, dict) for other in others)
    no_lines = sum(bool(line.strip()) for line in noise)
    assert accounted(Export(folder, SOURCE).load()) == len(calls) + no_spans + no_lines
