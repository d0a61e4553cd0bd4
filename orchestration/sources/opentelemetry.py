"""OpenTelemetry: OTLP JSON Lines of GenAI spans, as the collector's ``file`` exporter writes them.

A use is a span that calls a model (or names a prompt, where it does not say what it does): of
OpenTelemetry's GenAI conventions, new and old, or of OpenInference. Spans of agents and tools around it are
none, whether they name the prompt or not, so that no token counts twice. Ratings
are ``gen_ai.evaluation.result`` records, from logs or from a span's events. What it can't know: costs,
unless an instrumentation says them, and which failures a caller retried.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestration.settings import OpenTelemetrySource
from orchestration.sources import json_lines, octets
from orchestration.sources.exports import Event, ExportReader, Fault, Rated, Use
from orchestration.sources.landing import Landing, counted, fingerprint
from orchestration.sources.protocol import Reading

_ENDINGS = (".jsonl", ".ndjson", ".json")
_CALLS = ("chat", "text_completion", "generate_content", "embeddings", "completion")
_EVALUATION = "gen_ai.evaluation.result"
_OF_SPANS = (
    "traceId", "spanId", "startTimeUnixNano", "endTimeUnixNano", "status", "attributes", "events",
)  # fmt: skip
_OF_RECORDS = ("traceId", "spanId", "timeUnixNano", "eventName", "attributes")
# canonical column -> attributes, the first that is there
_ATTRIBUTES: Mapping[str, Sequence[str]] = {
    "prompt_version": ("gen_ai.prompt.version", "llm.prompt_template.version"),
    "agent_key": ("gen_ai.agent.name", "agent.name"),
    "user_key": ("user.id", "enduser.id"),
    "session_id": ("gen_ai.conversation.id", "session.id"),
    "model": ("gen_ai.request.model", "gen_ai.response.model", "llm.model_name", "embedding.model_name"),
    "input_tokens": (
        "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens",
        "llm.token_count.prompt", "llm.usage.prompt_tokens",
    ),
    "output_tokens": (
        "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens",
        "llm.token_count.completion", "llm.usage.completion_tokens",
    ),
    "total_tokens": ("gen_ai.usage.total_tokens", "llm.token_count.total", "llm.usage.total_tokens"),
    "cost": ("gen_ai.usage.cost", "llm.cost.total"),
    "error_type": ("error.type",),
    "user_prompt": ("gen_ai.input.messages", "input.value"),
}  # fmt: skip


def open_opentelemetry(
    source: OpenTelemetrySource,
    base: Path,
    files: Sequence[Path] | None,
    *,
    with_texts: bool,
    loaded_as: str,
) -> ExportReader:
    """The spans at the source's path. Raises :class:`PrismError` where there are none to be had."""
    landing = Landing(
        source.path,
        base,
        f"sources: {source.name}",
        accepted=lambda path: path.name.lower().removesuffix(".gz").endswith(_ENDINGS),
        files=files,
        archive=source.archive,
        settle_seconds=source.settle_seconds,
    )

    def events(path: Path) -> Iterator[Event]:
        for number, line in json_lines.objects(octets.chunks(path)):
            if isinstance(line, str):
                yield Fault(number, None, line)
            else:
                yield from _of_line(number, line, source, with_texts=with_texts)

    return ExportReader(
        landing,
        events,
        description=f"{counted(landing.paths)} of spans at {source.path}",
        readings={"used_at": Reading(unit="ns"), "cost": Reading(zero_is_unknown=source.zero_is_unknown)},
        read_as=fingerprint(source, loaded_as),
        scales=source.ratings,
        reread_days=source.reread_days,
    )


def _of_line(
    number: int, line: Mapping[str, Any], source: OpenTelemetrySource, *, with_texts: bool
) -> Iterator[Event]:
    if not any(key in line for key in ("resourceSpans", "resourceLogs", "resourceMetrics")):
        yield Fault(number, None, "has neither resourceSpans nor resourceLogs")
        return
    for resource in _list(number, line, "resourceSpans"):
        if isinstance(resource, Fault):
            yield resource
            continue
        key = "scopeSpans" if "scopeSpans" in resource else "instrumentationLibrarySpans"
        for scope in _list(number, resource, key):
            for span in [scope] if isinstance(scope, Fault) else _list(number, scope, "spans"):
                if isinstance(span, Fault):
                    yield span
                else:
                    yield from _of_span(number, span, source, with_texts=with_texts)
    for resource in _list(number, line, "resourceLogs"):
        for scope in [resource] if isinstance(resource, Fault) else _list(number, resource, "scopeLogs"):
            for record in [scope] if isinstance(scope, Fault) else _list(number, scope, "logRecords"):
                if isinstance(record, Fault):
                    yield record
                else:
                    yield from _of_record(number, record)


def _list(number: int, holder: Mapping[str, Any], key: str) -> Iterator[dict[str, Any] | Fault]:
    """The objects of a list; what is none is a row that could not be read."""
    if key in json_lines.doubled(holder):
        yield Fault(number, None, f"{key} {json_lines.TWICE}")
    inner = holder.get(key)
    if inner is None:
        return
    if not isinstance(inner, list):
        yield Fault(number, None, f"{key} is not a list")
        return
    for item in inner:
        yield item if isinstance(item, dict) else Fault(number, None, f"{key} holds what is not an object")


def _doubled(number: int, row: Mapping[str, Any], known: Sequence[str]) -> Iterator[Fault]:
    for key in json_lines.doubled(row):
        if key in known:
            yield Fault(number, key, json_lines.TWICE)


def _of_span(
    number: int, span: Mapping[str, Any], source: OpenTelemetrySource, *, with_texts: bool
) -> Iterator[Event]:
    attributes = _attributes(span.get("attributes"))
    trace, own = span.get("traceId"), span.get("spanId")
    key = f"{trace}:{own}" if trace and own else None
    for event in _list(number, span, "events"):
        if isinstance(event, dict) and event.get("name") == _EVALUATION:
            yield _rated(number, _attributes(event.get("attributes")), key, event.get("timeUnixNano"))
    prompt = next((attributes[name] for name in source.prompt_attributes if attributes.get(name)), None)
    is_call = _is_call(attributes)
    if is_call is False or not (is_call or prompt):
        return
    yield from _doubled(number, span, _OF_SPANS)
    values = {
        name: next((attributes[known] for known in names if attributes.get(known) is not None), None)
        for name, names in _ATTRIBUTES.items()
        if with_texts or name != "user_prompt"
    }
    values |= {"usage_id": key, "prompt_key": prompt or source.default_prompt}
    started, ended = span.get("startTimeUnixNano"), span.get("endTimeUnixNano")
    values["used_at"] = None if started in ("", "0") else started
    try:
        if values["used_at"] and ended not in (None, "", "0"):
            values["response_time_ms"] = (int(str(ended)) - int(str(started))) / 1e6
    except ValueError:
        yield Fault(number, "response_time_ms", "startTimeUnixNano or endTimeUnixNano is not a number")
    except OverflowError:
        yield Fault(number, "response_time_ms", "endTimeUnixNano is out of range")
    status = span.get("status")
    code = status.get("code") if isinstance(status, dict) else None
    failed = code in ("2", "STATUS_CODE_ERROR")
    values["success"] = not failed
    values["is_error"] = True if failed else None
    names = [name for name in (key, _response(attributes)) if name]
    yield Use(number, values, names, began=_seconds(values["used_at"]))


def _seconds(nanoseconds: Any) -> float:
    try:
        return int(str(nanoseconds)) / 1e9
    except (ValueError, OverflowError):
        return math.inf


def _is_call(attributes: Mapping[str, Any]) -> bool | None:
    """Whether a span calls a model, and does not only stand around one that does; null if it says neither."""
    if attributes.get("mcp.method.name") is not None:  # fetches a prompt or a tool's answer
        return False
    operation = attributes.get("gen_ai.operation.name")
    if operation is not None:
        return operation in _CALLS
    kind = attributes.get("openinference.span.kind")
    if kind is not None:
        return kind in ("LLM", "EMBEDDING")
    return True if any(attributes.get(name) is not None for name in _ATTRIBUTES["model"]) else None


def _of_record(number: int, record: Mapping[str, Any]) -> Iterator[Event]:
    attributes = _attributes(record.get("attributes"))
    if _EVALUATION in (record.get("eventName"), attributes.get("event.name")):
        yield from _doubled(number, record, _OF_RECORDS)
        trace, span = record.get("traceId"), record.get("spanId")
        at = record.get("timeUnixNano") or record.get("observedTimeUnixNano")
        yield _rated(number, attributes, f"{trace}:{span}" if trace and span else None, at)


def _rated(number: int, attributes: Mapping[str, Any], use: str | None, at: Any) -> Rated:
    return Rated(
        number,
        name=str(attributes.get("gen_ai.evaluation.name")),
        value=attributes.get("gen_ai.evaluation.score.value"),
        at=str(at or "").rjust(20, "0"),
        use=use or _response(attributes),
        source="evaluation",
    )


def _response(attributes: Mapping[str, Any]) -> str | None:
    """What names a call where its span is not known."""
    response = attributes.get("gen_ai.response.id")
    return f"response {response}" if response else None


def _attributes(pairs: Any) -> dict[str, Any]:
    """OTLP's list of keys with typed values, flat; what is none of them is no attribute."""
    found: dict[str, Any] = {}
    for pair in pairs if isinstance(pairs, list) else ():
        value = pair.get("value") if isinstance(pair, dict) else None
        if isinstance(value, dict) and value and isinstance(pair.get("key"), str):
            found[pair["key"]] = next(iter(value.values()))
    return found
