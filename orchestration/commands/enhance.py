"""`prism enhance`: a user's text inside the best prompt of the library."""
# ruff: noqa: PLC0415, T201

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from orchestration.commands.prompts import Source, opened
from orchestration.commands.shared import name_and_value
from orchestration.errors import PrismError

if TYPE_CHECKING:
    from orchestration.library.enhance import Enhancement, Enhancer

# What a line of a batch may say, beside what is recorded of it.
_OF_A_LINE = ("text", "prompt", "agent", "values", "text_as")
_RECORDED = ("user_id", "session_id")


def enhance(
    text: Annotated[
        str | None, typer.Argument(help="The user's text; - reads it from standard input.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="This prompt, by name or id.")] = None,
    agent: Annotated[str | None, typer.Option(help="The best of this agent's prompts.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE of the template, also repeated.")
    ] = None,
    values: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A JSON file of values by name.")
    ] = None,
    text_as: Annotated[str | None, typer.Option(help="The variable that the text becomes.")] = None,
    keep_gaps: Annotated[
        bool, typer.Option("--keep-gaps", help="Leave visible what has no value, instead of refusing.")
    ] = False,
    record: Annotated[
        bool, typer.Option("--record", help="Write the use to prompt_usage, so that it is measured.")
    ] = False,
    user: Annotated[str | None, typer.Option(help="Whose use it is, for --record.")] = None,
    session: Annotated[str | None, typer.Option(help="Of which session, for --record.")] = None,
    batch: Annotated[
        str | None, typer.Option(help="A file of JSON Lines, or -: one result a line, in order.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, with the ranking.")] = False,
    source: Source = None,
) -> None:
    """The enhanced prompt for a text: by prompt, by agent, or the best of all; and why that one."""
    from orchestration.library.enhance import Enhancer

    if (batch is None) == (text is None):
        raise PrismError(
            "give either a text or --batch", where="prism enhance", mend="prism enhance --agent AGENT 'text'"
        )
    given: dict[str, Any] = {**_values(values), **name_and_value(set_)}
    recorded = {"user_id": user, "session_id": session} if record else None
    with opened(source, figures=True) as (library, figures):
        enhancer = Enhancer(library, figures)
        if batch is not None:
            common = {"prompt": prompt, "agent": agent, "values": given, "text_as": text_as}
            failed = 0
            with nullcontext(sys.stdin.buffer) if batch == "-" else _file(batch) as lines:
                for result in run_batch(enhancer, lines, common, keep_gaps=keep_gaps, record=recorded):
                    failed += "error" in result
                    print(json.dumps(result, ensure_ascii=False), flush=True)
            if failed:
                raise PrismError(
                    f"{failed:,} lines of the batch failed; each says why", where=f"--batch {batch}"
                )
            return
        done = enhancer.enhance(
            sys.stdin.read() if text == "-" else text or "",
            prompt=prompt,
            agent=agent,
            values=given,
            text_as=text_as,
            keep_gaps=keep_gaps,
            record=recorded,
        )
    if as_json:
        print(json.dumps(_record(done, whole=True), indent=2, ensure_ascii=False))
        return
    print(f"Prompt: {done.prompt.name}" + (f", version {done.prompt.version}" if done.prompt.version else ""))
    for reason in done.reasons:
        print(f"  {reason}")
    if done.usage_id is not None:
        print(f"Recorded as {done.usage_id}; rate it with: prism rate {done.usage_id} 1…5")
    if done.system_prompt:
        print(f"\n-- system prompt\n{done.system_prompt}")
    print(f"\n-- prompt\n{done.enhanced_prompt}")


def run_batch(
    enhancer: Enhancer,
    lines: Iterable[bytes],
    common: dict[str, Any],
    *,
    keep_gaps: bool,
    record: dict[str, Any] | None,
) -> Iterator[dict[str, Any]]:
    """One result for each line that is not empty, in order: the enhancement, or its ``error``.

    A line is an object with ``text``, and any of ``prompt``, ``agent``, ``values``, ``text_as``, ``user_id``,
    ``session_id``, which go before ``common``; its ``id`` comes back with the result.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        result: dict[str, Any] = {"line": number}
        try:
            request = _request(line)
            if "id" in request:
                result["id"] = request["id"]
            of_line = {name: request[name] for name in _OF_A_LINE if name in request}
            merged = {**common, **of_line, "values": {**common["values"], **of_line.get("values", {})}}
            told = {name: request[name] for name in _RECORDED if name in request}
            done = enhancer.enhance(
                **merged, keep_gaps=keep_gaps, record=None if record is None else {**record, **told}
            )
            result |= _record(done, whole=False)
        except PrismError as error:
            result["error"] = str(error)
        yield result


def _request(line: bytes) -> dict[str, Any]:
    """A line of a batch, checked. Raises :class:`PrismError`."""
    try:
        request = json.loads(line.decode())
        json.dumps(request, ensure_ascii=False).encode()  # half a surrogate pair can't be handed on
    except (ValueError, RecursionError) as error:
        raise PrismError(f"this line is no JSON: {error}") from None
    if not isinstance(request, dict) or not isinstance(request.get("text"), str):
        raise PrismError('a line needs a text: {"text": "…"}')
    known = {"id", *_OF_A_LINE, *_RECORDED}
    if strange := set(request) - known:
        raise PrismError(
            f"a line can't say {', '.join(sorted(strange))}", mend=f"Known: {', '.join(sorted(known))}."
        )
    for name in ("prompt", "agent", "text_as", *_RECORDED):
        if not isinstance(request.get(name), str | None):
            raise PrismError(f"{name} must be text")
    if not isinstance(request.get("values", {}), dict):
        raise PrismError("values must be an object of values by name")
    return request


def _record(done: Enhancement, *, whole: bool) -> dict[str, Any]:
    record: dict[str, Any] = {
        "prompt": done.prompt.name,
        "version": done.prompt.version,
        "system_prompt": done.system_prompt,
        "enhanced_prompt": done.enhanced_prompt,
        "reasons": list(done.reasons),
        "duration_ms": done.duration_ms,
        "usage_id": done.usage_id,
    }
    if whole:
        record["ranking"] = [
            {
                "prompt": one.prompt.name,
                "score": round(one.score, 4),
                "fit": round(one.fit, 4),
                "words": list(one.words),
                "success_rate_low": one.figures.success_rate_low,
                "missing": list(one.missing),
            }
            for one in done.ranking[:10]
        ]
    return record


def _values(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise PrismError(f"these values can't be read: {error}", where=str(path)) from None
    if not isinstance(found, dict):
        raise PrismError('the values must be an object: {"name": "value"}', where=str(path))
    return found


def _file(path: str) -> BinaryIO:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise PrismError(f"this file can't be read: {error.strerror}", where=path) from None
