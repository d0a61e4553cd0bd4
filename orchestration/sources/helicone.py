"""Helicone's request exports: JSON Lines, one request each, as its API and its export tool write them.

What it can't know: uses of the prompt's versions where the export has no ``prompt_version``, and costs
of models that Helicone has no price for (it writes 0; see ``zero_is_unknown``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestration.settings import HeliconeSource
from orchestration.sources import json_lines, octets
from orchestration.sources.exports import Event, ExportReader, Fault, Use
from orchestration.sources.landing import Landing, counted, fingerprint
from orchestration.sources.protocol import Reading

_ENDINGS = (".jsonl", ".ndjson", ".json")
# canonical column -> the export's fields, the first that says something
_FIELDS: Mapping[str, Sequence[str]] = {
    "usage_id": ("request_id",),
    "used_at": ("request_created_at",),
    "updated_at": ("updated_at",),
    "prompt_version": ("prompt_version",),
    "user_key": ("request_user_id", "user_id"),
    "model": ("request_model", "model", "response_model", "model_override"),
    "response_time_ms": ("delay_ms",),
    "input_tokens": ("prompt_tokens",),
    "output_tokens": ("completion_tokens",),
    "total_tokens": ("total_tokens",),
    "cost": ("costUSD", "cost_usd"),
}
_PROMPT, _SESSION = "Helicone-Prompt-Id", "Helicone-Session-Id"
_READ = {
    *(field for fields in _FIELDS.values() for field in fields),
    "prompt_id", "response_status", "feedback_rating", "request_properties", "properties", "request_body",
}  # fmt: skip


def open_helicone(
    source: HeliconeSource, base: Path, files: Sequence[Path] | None, *, with_texts: bool, loaded_as: str
) -> ExportReader:
    """The exports at the source's path. Raises :class:`PrismError` where there are none to be had."""
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
        for number, row in json_lines.objects(octets.chunks(path)):
            if isinstance(row, str):
                yield Fault(number, None, row)
                continue
            for key in json_lines.doubled(row):
                if key in _READ:
                    yield Fault(number, key, json_lines.TWICE)
            yield from _use(number, row, source.default_prompt, with_texts=with_texts)

    return ExportReader(
        landing,
        events,
        description=f"{counted(landing.paths)} of Helicone's at {source.path}",
        readings={"cost": Reading(zero_is_unknown=source.zero_is_unknown)},
        read_as=fingerprint(source, loaded_as),
    )


def _use(
    number: int, row: Mapping[str, Any], default_prompt: str | None, *, with_texts: bool
) -> Iterator[Event]:
    values = {
        name: next((row[field] for field in fields if row.get(field) not in (None, "")), None)
        for name, fields in _FIELDS.items()
    }
    properties = row.get("request_properties") or row.get("properties")
    if not isinstance(properties, dict):
        properties = {}
    for key in json_lines.doubled(properties):
        if key in (_PROMPT, _SESSION):
            yield Fault(number, key, json_lines.TWICE)
    values["prompt_key"] = row.get("prompt_id") or properties.get(_PROMPT) or default_prompt
    values["session_id"] = properties.get(_SESSION)
    status = row.get("response_status")
    if status not in (None, ""):
        try:
            values["success"] = 200 <= int(str(status)) < 300
        except ValueError:
            yield Fault(number, "success", "response_status is no number")
        else:
            values["error_type"] = None if values["success"] else f"http_{status}"
    feedback = row.get("feedback_rating")
    if feedback not in (None, ""):
        good = {True: True, False: False, "true": True, "false": False}.get(_hashable(feedback))
        if good is None:
            yield Fault(number, "rating", "feedback_rating is neither true nor false")
        else:
            values["rating"] = "5" if good else "1"
    if with_texts:
        values["user_prompt"] = row.get("request_body")
    yield Use(number, values)


def _hashable(value: Any) -> bool | str:
    return value if isinstance(value, bool | str) else ""
