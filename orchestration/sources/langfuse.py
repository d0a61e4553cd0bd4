"""Langfuse's exports to blob storage, copied to a folder: observations, scores, and the manifests that
name what is complete.

A use is a generation or an embedding, or any observation that names a prompt; the spans around them are
none. Exports overlap at their edges: the newest ``updated_at`` of an id wins. What it can't know: users
and sessions in the older ``observations`` (they stand in ``traces``, which is not read; ``observations_v2``
has them), and agents.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.errors import PrismError
from orchestration.settings import LangfuseSource
from orchestration.sources import json_lines, octets
from orchestration.sources.archive import Archive, placed
from orchestration.sources.csv_text import CsvText, DamagedError, HeaderError
from orchestration.sources.exports import Event, ExportReader, Fault, Rated, Use
from orchestration.sources.landing import Landing, counted, fingerprint
from orchestration.sources.protocol import BATCH_ROWS, Reading

log = logging.getLogger(__name__)

_OBSERVATIONS, _ENRICHED, _SCORES, _MANIFESTS = "observations", "observations_v2", "scores", "manifests"
_TABLES = (_OBSERVATIONS, _ENRICHED, _SCORES)
_ENDINGS = (".csv", ".json", ".jsonl", ".parquet")
_CALLS = ("GENERATION", "EMBEDDING")
_NO_TEXT = "\udcff"  # a byte that is no UTF-8, as it comes from JSON: a reject, wherever it lands
# canonical column -> the export's fields, the first that says something
_FIELDS: Mapping[str, Sequence[str]] = {
    "usage_id": ("id",),
    "prompt_key": ("prompt_name",),
    "prompt_version": ("prompt_version",),
    "used_at": ("start_time",),
    "updated_at": ("updated_at",),
    "user_key": ("user_id",),
    "session_id": ("session_id",),
    "model": ("provided_model_name", "model"),
    "user_prompt": ("input",),
}
_OF_USES = (
    "id", "trace_id", "type", "start_time", "end_time", "updated_at", "prompt_name", "prompt_version",
    "user_id", "session_id", "provided_model_name", "model", "level", "usage_details", "cost_details",
    "total_cost", "input",
)  # fmt: skip
_NEEDED_OF_USES = ("id", "start_time")
_NEEDED_OF_SCORES = ("name", "value", "data_type")
_OF_SCORES = (
    "id", "trace_id", "observation_id", "name", "value", "data_type", "source", "timestamp", "updated_at",
)  # fmt: skip


def open_langfuse(
    source: LangfuseSource, base: Path, files: Sequence[Path] | None, *, with_texts: bool, loaded_as: str
) -> ExportReader:
    """The exports below the source's folder. Raises :class:`PrismError` where there is none."""
    where = f"sources: {source.name}"
    landing = Landing(
        f"{source.path}/**/*",
        base,
        where,
        accepted=lambda _: True,
        files=files,
        archive=source.archive,
        settle_seconds=source.settle_seconds,
    )

    def exported(found: Sequence[Path]) -> list[Path]:
        complete = _complete(found, with_manifests=source.manifests)
        doubled = _doubled(complete, landing.archive)
        for path in doubled:
            landing.was_read(path)  # so that it goes to the archive with the one that is read
        return sorted(complete - doubled)

    paths = landing.paths if landing.named else exported(landing.paths)

    def events(path: Path) -> Iterator[Event]:
        if path.parent.name == _MANIFESTS:  # a good one is not read for itself
            yield Fault(1, None, "not a manifest: it names no files")
            return
        rates = _rates(path)
        fields = _OF_SCORES if rates else _OF_USES if with_texts else _OF_USES[:-1]

        def check(header: Sequence[str]) -> None:
            needed = _NEEDED_OF_SCORES if rates else _NEEDED_OF_USES
            missing = [name for name in needed if name not in header]
            if not rates and source.default_prompt is None and "prompt_name" not in header:
                missing.append("prompt_name")
            if missing:
                raise PrismError(
                    f"the file has no column {', '.join(repr(name) for name in missing)}; "
                    f"it has {', '.join(repr(name) for name in header)}",
                    where=f"{where}: {landing.name(path)}",
                    mend="Switch that group of fields on in Langfuse's export, and export anew. "
                    "For the prompt, `default_prompt:` does as well.",
                )

        try:
            for number, row in _rows(path, fields, check):
                if isinstance(row, str):
                    yield Fault(number, None, row)
                    continue
                for key in json_lines.doubled(row):
                    if key in fields:
                        yield Fault(number, key, json_lines.TWICE)
                yield from _score(number, row) if rates else _use(number, row, source.default_prompt)
        except PrismError as error:
            if landing.archive is None or landing.named:
                raise
            yield Fault(1, None, error.what)  # this file alone fails, and is put away as such

    def others() -> list[Path]:
        archived = {path for path in landing.archived() if path.parent.name in _TABLES and _format(path)}
        return [*exported(landing.beside()), *sorted(archived - _doubled(archived, None))]

    def finished(read: Collection[Path]) -> list[Path]:
        """Manifests all of whose files were read, now or before."""
        archive = landing.archive
        if archive is None or landing.named:
            return []
        return [
            path
            for path in (placed(path) for path in landing.paths if _is_manifest(path))
            if (named := _named(path)) is not None
            and all(file in read or archive.has(file) for file in named)
        ]

    return ExportReader(
        landing,
        events,
        description=f"{counted(paths)} of Langfuse's at {source.path}",
        readings={"cost": Reading(zero_is_unknown=source.zero_is_unknown)},
        read_as=fingerprint(source, loaded_as),
        paths=paths,
        others=others,
        scales=source.ratings,
        rates=_rates,
        reread_days=source.reread_days,
        finished=finished,
    )


def _rates(path: Path) -> bool:
    return path.parent.name == _SCORES


# -- which files


def _complete(found: Sequence[Path], *, with_manifests: bool) -> set[Path]:
    """The exports that are complete.

    With manifests that is what they name, and manifests that can't be read, for what is wrong with them.
    """
    ready = {path for path in found if path.parent.name in _TABLES and _format(path)}
    manifests = [path for path in found if _is_manifest(path)]
    if not with_manifests:
        return ready
    if ready and not manifests:
        log.warning(
            "none of %d exports of Langfuse is named by a manifest, so none is read; where that Langfuse "
            "writes no manifests, set `manifests: false`", len(ready),
        )  # fmt: skip
    paths: set[Path] = set()
    for manifest in manifests:
        named = _named(manifest)
        paths |= {manifest} if named is None else named & ready
    return paths


def _doubled(paths: Collection[Path], archive: Archive | None) -> set[Path]:
    """Observations of runs that wrote the enriched ones, too: here, or put away already."""
    runs = [(path, path.parent.parent / _ENRICHED) for path in paths if path.parent.name == _OBSERVATIONS]
    enriched = {(path.parent, _run(path)) for path in paths}
    return {
        path
        for path, beside in runs
        if (beside, _run(path)) in enriched
        or (archive is not None and any(archive.place(beside).glob(f"{_run(path)}.*")))
    }


def _is_manifest(path: Path) -> bool:
    return path.parent.name == _MANIFESTS and path.suffix == ".json"


def _run(path: Path) -> str:
    """What the files of one run have in common: the time that is their name."""
    return path.name.split(".")[0]


def _named(manifest: Path) -> set[Path] | None:
    """The files that a manifest names: their last two parts, below its own folder's parent."""
    content = json_lines.decoded(manifest.read_bytes())
    entries = content.get("files") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        return None
    named = set()
    for entry in entries:
        key = entry
        if isinstance(entry, dict):
            key = next((entry[name] for name in ("key", "path", "name") if entry.get(name)), None)
        parts = key.split("/") if isinstance(key, str) else []
        if len(parts) >= 2 and parts[-2] in _TABLES and parts[-1] not in ("", ".", ".."):
            named.add(manifest.parent.parent / parts[-2] / parts[-1])
    return named


def _format(path: Path) -> str | None:
    name = path.name.lower().removesuffix(".gz")
    return next((ending for ending in _ENDINGS if name.endswith(ending)), None)


# -- rows


def _rows(
    path: Path, fields: Sequence[str], check: Callable[[Sequence[str]], None]
) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Each row with its line or number; instead of one that can't be read, the reason.

    ``check`` judges the names of the columns, where a file says them.
    """
    match _format(path):
        case ".csv":
            yield from _of_csv(path, fields, check)
        case ".json":
            yield from json_lines.elements(octets.chunks(path))
        case ".jsonl":
            yield from json_lines.objects(octets.chunks(path))
        case ".parquet":
            yield from _of_parquet(path, fields, check)
        case _:
            yield 1, f"its ending is none of {', '.join(_ENDINGS)}"


def _of_csv(
    path: Path, fields: Sequence[str], check: Callable[[Sequence[str]], None]
) -> Iterator[tuple[int, dict[str, Any] | str]]:
    try:
        text = CsvText(octets.chunks(path))
    except HeaderError as error:
        yield 1, f"not CSV: {error}"
        return
    if text.header:  # an empty file is a window without rows
        check(text.header)
    wanted = [name for name in dict.fromkeys(text.header) if name in fields]
    for piece in text.pieces(wanted):
        columns = [array.cast(pa.binary()).to_pylist() for array in piece.columns.values()]
        for line, *values in zip(piece.lines.to_pylist(), *columns, strict=True):
            decoded = [
                None if value is None else value.decode("utf-8", "surrogateescape") for value in values
            ]
            yield line, dict(zip(wanted, decoded, strict=True))
        yield from piece.rejects


def _of_parquet(
    path: Path, fields: Sequence[str], check: Callable[[Sequence[str]], None]
) -> Iterator[tuple[int, dict[str, Any] | str]]:
    number = 0
    try:
        with octets.seekable(path) as file:
            parquet = pq.ParquetFile(file, pre_buffer=False, page_checksum_verification=True)
            check(parquet.schema_arrow.names)
            wanted = [name for name in parquet.schema_arrow.names if name in fields]
            for group in parquet.iter_batches(batch_size=BATCH_ROWS // 8, columns=wanted):
                for row in zip(*(_values(array) for array in group.columns), strict=True):
                    number += 1
                    yield number, dict(zip(wanted, row, strict=True))
    except (DamagedError, pa.ArrowException, OSError, ValueError, MemoryError) as error:
        yield number + 1, f"not Parquet from here on: {' '.join(str(error).split())[:300]}"


def _values(array: pa.Array) -> list[Any]:
    """A column's values as JSON has them. What Python has no value for costs itself alone, not its file."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    type_ = array.type
    if pa.types.is_timestamp(type_):
        # a calendar of Python's ends with the year 9999; without its zone a time is UTC
        return list(array.cast(pa.timestamp(type_.unit)).cast(pa.string()).to_pylist())
    if pa.types.is_date(type_):
        return list(array.cast(pa.string()).to_pylist())
    if pa.types.is_string_view(type_):
        array = array.cast(pa.string())
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        array = array.cast(pa.large_binary())  # Parquet's readers do not look whether it is UTF-8
    return [_plain(value) for value in array]


def _plain(scalar: pa.Scalar) -> Any:
    """A typed value as JSON has it; a map comes as pairs."""
    try:
        value = scalar.as_py()
    except (ValueError, OverflowError):
        return _NO_TEXT
    if isinstance(value, list) and all(isinstance(pair, tuple) for pair in value):
        return {str(key): str(inner) for key, inner in value}
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return value


def _use(number: int, row: Mapping[str, Any], default_prompt: str | None) -> Iterator[Event]:
    values = {
        name: next((row[field] for field in fields if row.get(field) not in (None, "")), None)
        for name, fields in _FIELDS.items()
    }
    kind = row.get("type")
    if values["prompt_key"] is None and kind not in (None, "", *_CALLS):
        return
    values["prompt_key"] = values["prompt_key"] or default_prompt
    # `latency` is in seconds or milliseconds, by the export's age: the times tell without a doubt
    started, ended = _time(row.get("start_time")), _time(row.get("end_time"))
    if started and ended:
        values["response_time_ms"] = (ended - started).total_seconds() * 1000
    elif row.get("end_time") not in (None, "") and ended is None:
        yield Fault(number, "response_time_ms", "end_time is not a time")
    level = row.get("level")
    if level not in (None, ""):
        values["success"] = level != "ERROR"
        values["is_error"] = level == "ERROR" or None
    for field in ("usage_details", "cost_details"):
        details = _details(row.get(field))
        column = "cost" if field == "cost_details" else "total_tokens"
        if details is None:
            yield Fault(number, column, f"{field} is no object")
            continue
        if json_lines.doubled(details):
            yield Fault(number, column, f"{field}: a name {json_lines.TWICE}")
        if field == "usage_details":
            values |= _tokens(details)
        else:
            values["cost"] = _first(row.get("total_cost"), details.get("total"), _sum(details))
    trace = row.get("trace_id")
    own = values["usage_id"]
    names = [json_lines.word(own)] if own is not None else []
    began = started.timestamp() if started else math.inf
    yield Use(number, values, names, json_lines.word(trace) if trace and names else None, began)


def _score(number: int, row: Mapping[str, Any]) -> Iterator[Event]:
    if row.get("data_type") not in ("NUMERIC", "BOOLEAN"):
        return
    source, use, trace = row.get("source"), row.get("observation_id"), row.get("trace_id")
    yield Rated(
        number,
        name=str(row.get("name")),
        value=row.get("value"),
        at=str(row.get("updated_at") or row.get("timestamp") or "").replace("T", " "),
        use=json_lines.word(use) if use else None,
        trace=json_lines.word(trace) if trace else None,
        source=str(source).lower() if source else None,
    )


def _time(value: Any) -> datetime | None:
    """A time of the export; UTC where it says no zone."""
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _details(value: Any) -> Mapping[str, Any] | None:
    """Amounts by name; in CSV they are JSON. Null where they are neither."""
    if value in (None, ""):
        return {}
    if isinstance(value, str):
        value = json_lines.decoded(value.encode("utf-8", "surrogatepass"))
    return value if isinstance(value, dict) else None


def _tokens(details: Mapping[str, Any]) -> dict[str, Any]:
    """Input and output with their parts (cached, audio, reasoning), which Langfuse keeps apart."""
    values: dict[str, Any] = {}
    for column, part in (("input_tokens", "input"), ("output_tokens", "output")):
        values[column] = _sum({name: amount for name, amount in details.items() if part in name})
    values["total_tokens"] = _first(details.get("total"), _sum(details))
    return values


def _first(*values: Any) -> Any:
    return next((value for value in values if value not in (None, "")), None)


def _sum(details: Mapping[str, Any]) -> Any:
    """The sum of some amounts; null where there are none, and one that is no number as it stands."""
    amounts = [amount for name, amount in details.items() if name != "total" and amount not in (None, "")]
    if not amounts:
        return None
    try:
        total = math.fsum(float(amount) for amount in amounts)
    except (TypeError, ValueError, OverflowError):
        return json_lines.word(amounts)
    return total
