"""One batch, judged: rows fit for ``raw``, and what was rejected, with place and reason.

Whole columns at once; rows are looked at one by one only where something is wrong with them. Knows what
a row of each entity needs, nothing of formats or of SQL.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestration.loading import values
from orchestration.loading.redact import redacted
from orchestration.sources.protocol import CANONICAL, Batch, Entity, Kind, Reading
from orchestration.sources.typed import python_values

_AHEAD = timedelta(hours=24)
_VALUE_SHOWN = 200  # characters of a rejected value
_ROW_SHOWN = 1000  # characters of a rejected row
# one word, or digits with what stands between those of a number or a time
_MEASURE = re.compile(r"\S{0,40}|[-+0-9.,:/TZ ]{0,200}")
# why a row is rejected that is good in itself
ERASED = "erased: its person was erased (prism erase)"
SEALED = "used_at: its day is past retention and sealed"
REJECTS = pa.schema(
    [("location", pa.string()), ("field", pa.string()), ("reason", pa.string()), ("payload", pa.string())]
)

# The types that leave here, by kind.
_TYPES: Mapping[Kind, pa.DataType] = {
    "key": pa.string(),
    "person": pa.string(),
    "text": pa.string(),
    "list": pa.string(),
    "complexity": pa.string(),
    "status": pa.string(),
    "time": values.INSTANT,
    "boolean": pa.bool_(),
    "count": pa.int64(),
    "duration": pa.float64(),
    "rating": pa.float64(),
    "cost": pa.float64(),
}


@dataclass(frozen=True)
class Rules:
    """What judging depends on beside the batch. ``hmac_key`` is null where persons stay as they are.

    Texts are ``redacted`` where it is set. ``erased`` are pseudonyms, by one of ``erased_keys``, of people of
    whose uses none is taken. Nor is one from before ``sealed_before``.
    """

    now: datetime
    start: datetime
    hmac_key: bytes | None
    with_texts: bool
    redacted: bool = False
    erased: frozenset[str] = frozenset()
    erased_keys: tuple[bytes, ...] = ()
    sealed_before: datetime | None = None


@dataclass(frozen=True)
class Checked:
    """The good rows, typed, one of each key; how many the newest of a key displaced; the rejects."""

    entity: Entity
    rows: pa.Table
    superseded: int
    rejects: pa.Table
    rows_read: int

    @property
    def rejected(self) -> int:
        return self.rows_read - self.superseded - int(self.rows.num_rows)

    @property
    def values_rejected(self) -> int:
        return int(self.rejects.num_rows) - self.rejected


def check(batch: Batch, readings: Mapping[str, Reading], rules: Rules) -> Checked:
    """Judges a batch; every row read is in the rows, superseded or rejected."""
    count = len(batch.rows)
    columns: dict[str, values.Column] = {}
    for name, known in CANONICAL[batch.entity].items():
        if known.kind == "text" and batch.entity == "usage" and not rules.with_texts:
            continue
        array = batch.columns.get(name)
        if array is None:
            columns[name] = values.Column(pa.nulls(count, _TYPES[known.kind]))
        else:
            columns[name] = _typed(array, known.kind, readings.get(name, Reading()), rules)
    bad = np.zeros(count, bool)
    rejects = [_of_source(batch)]
    if batch.entity == "usage":
        rejects += _forgotten(batch, columns, rules, bad)
    for name, known in CANONICAL[batch.entity].items():
        if known.required:
            column = columns[name]
            missing = values.true_rows(pc.is_null(column.values))
            for rows, reason in [*column.faults, (missing, "missing")]:
                newly = rows[~bad[rows]]
                rejects.append(_whole_rows(batch, newly, f"{name}: {reason}"))
                bad[newly] = True
    for name, column in columns.items():
        known = CANONICAL[batch.entity][name]
        told = column.notes if known.required else [*column.faults, *column.notes]
        for rows, reason in told:
            rejects.append(_values(batch, rows[~bad[rows]], name, reason, private=known.private))
    if batch.entity == "usage":
        early = values.true_rows(pc.less(columns["used_at"].values, pa.scalar(rules.start, values.INSTANT)))
        reason = f"before the start_date of the settings ({rules.start:%Y-%m-%d}); loaded all the same"
        rejects.append(_values(batch, early[~bad[early]], "used_at", reason, private=False))
        _derive(columns, rules)
    table = pa.table({name: column.values for name, column in columns.items()})
    if bad.any():
        table = table.filter(pa.array(~bad))
    newest = _newest(table, batch.entity)
    return Checked(
        entity=batch.entity,
        rows=newest,
        superseded=table.num_rows - newest.num_rows,
        rejects=pa.concat_tables(rejects),
        rows_read=batch.rows_read,
    )


def _typed(array: pa.Array, kind: Kind, reading: Reading, rules: Rules) -> values.Column:
    readers: Mapping[Kind, Callable[[], values.Column]] = {
        "key": lambda: values.as_key(array),
        "person": lambda: values.as_text(array),
        "text": lambda: values.as_text(array),
        "list": lambda: values.as_list(array),
        "complexity": lambda: values.as_choice(array, ("basic", "intermediate", "advanced", "expert")),
        "status": lambda: values.as_choice(array, ("draft", "active", "archived")),
        "time": lambda: values.as_time(array, reading, latest=rules.now + _AHEAD),
        "boolean": lambda: values.as_boolean(array),
        "count": lambda: values.as_count(array, reading),
        "duration": lambda: values.as_duration(array, reading),
        "rating": lambda: values.as_rating(array, reading),
        "cost": lambda: values.as_cost(array, reading),
    }
    return readers[kind]()


def pseudonym(key: bytes, person: str) -> str:
    """A person's keyed hash (HMAC-SHA-256, hexadecimal): the same for the same person and key."""
    return hmac.digest(key, person.encode(), "sha256").hex()


def key_id(key: bytes) -> str:
    """By what a key for pseudonyms is known without being told."""
    return pseudonym(key, "which key this is")[:12]


def _forgotten(
    batch: Batch, columns: Mapping[str, values.Column], rules: Rules, bad: np.ndarray
) -> Iterator[pa.Table]:
    """Marks as bad the uses of people who were erased, and those of sealed days; yields their rejects."""
    if rules.erased:
        encoded = columns["user_key"].values.dictionary_encode()
        marks = [
            any(pseudonym(key, one) in rules.erased for key in rules.erased_keys)
            for one in encoded.dictionary.to_pylist()
        ]
        erased = values.true_rows(pc.take(pa.array(marks, pa.bool_()), encoded.indices))
        bad[erased] = True
        # neither the key of the use nor a value: nothing that leads back to the person
        places = pa.repeat(pa.scalar(batch.place), len(erased))
        yield _rejects(places, None, ERASED, pa.nulls(len(erased), pa.string()))
    if rules.sealed_before is not None:
        used_at = columns["used_at"].values
        late = values.true_rows(pc.less(used_at, pa.scalar(rules.sealed_before, values.INSTANT)))
        late = late[~bad[late]]
        bad[late] = True
        yield _whole_rows(batch, late, SEALED)


def _derive(columns: dict[str, values.Column], rules: Rules) -> None:
    """What follows from other values of a use; and persons become pseudonyms."""
    # an error type that can't be stored says all the same that there was an error
    faulty = np.zeros(len(columns["error_type"].values), bool)
    for rows, _ in columns["error_type"].faults:
        faulty[rows] = True
    is_error = columns["is_error"]
    named = pc.or_(pc.is_valid(columns["error_type"].values), pa.array(faulty))
    is_error.values = pc.if_else(named, pa.scalar(True), is_error.values)
    for name, origin, said in (("rating_source", "rating", "user"), ("cost_source", "cost", "reported")):
        column = columns[name]
        stated = pc.fill_null(column.values, said)
        column.values = pc.if_else(pc.is_valid(columns[origin].values), stated, pa.scalar(None, pa.string()))
    if rules.redacted:
        for name in ("user_prompt", "enhanced_prompt"):
            columns[name].values = redacted(columns[name].values)
    key = rules.hmac_key
    if key is not None:
        for name in ("user_key", "ip_address", "user_agent"):
            columns[name].values = values.pseudonyms(
                columns[name].values, lambda person: pseudonym(key, person)
            )


def _newest(table: pa.Table, entity: Entity) -> pa.Table:
    """One row of each key: the highest updated_at, and of equal or unknown ones the later."""
    if entity != "usage":
        return table  # a library's keys are known only once all of it is read
    keys = table.column("usage_id")
    if not table.num_rows or pc.count_distinct(keys).as_py() == table.num_rows:
        return table
    frame = table.select(["usage_id", "updated_at"]).append_column("row", pa.array(np.arange(table.num_rows)))
    ordered = frame.sort_by([("usage_id", "ascending"), ("row", "ascending")]).to_pandas()
    # a row without updated_at can't be compared: then the later row wins
    unknown = ordered["updated_at"].isna().groupby(ordered["usage_id"]).transform("any")
    ordered["updated_at"] = ordered["updated_at"].mask(unknown)
    kept = (
        ordered.sort_values(["usage_id", "updated_at", "row"], kind="stable", na_position="first")
        .drop_duplicates("usage_id", keep="last")["row"]
        .sort_values()
    )
    return table.take(pa.array(kept.to_numpy()))


# -- rejects


def _rejects(locations: pa.Array, field: str | None, reason: str, payloads: pa.Array) -> pa.Table:
    count = len(locations)
    return pa.table(
        [
            locations,
            pa.repeat(pa.scalar(field, pa.string()), count),
            pa.repeat(pa.scalar(reason, pa.string()), count),
            payloads,
        ],
        schema=REJECTS,
    )


def _of_source(batch: Batch) -> pa.Table:
    shown = [None if reject.payload is None else _shown(reject.payload, "count") for reject in batch.rejects]
    return pa.table(
        [
            [printable(reject.location, _ROW_SHOWN) for reject in batch.rejects],
            [reject.field for reject in batch.rejects],
            [printable(reject.reason, _ROW_SHOWN) for reject in batch.rejects],
            shown,
        ],
        schema=REJECTS,
    )


def _locations(batch: Batch, rows: np.ndarray) -> pa.Array:
    taken = batch.rows.take(pa.array(rows, pa.int64()))
    if pa.types.is_binary(taken.type):
        taken = pa.array([None if key is None else printable(key, _VALUE_SHOWN) for key in taken.to_pylist()])
    keys = pc.fill_null(taken.cast(pa.string()), "?")
    return pc.binary_join_element_wise(batch.place, keys, ":")


def _values(batch: Batch, rows: np.ndarray, field: str, reason: str, *, private: bool) -> pa.Table:
    """Rejected values, shown as they stood, shortened; never what tells of a person or was typed."""
    taken = batch.columns[field].take(pa.array(rows, pa.int64())) if rows.size else pa.array([])
    if private or not rows.size:
        payloads = pa.nulls(len(rows), pa.string())
    else:
        kind = CANONICAL[batch.entity][field].kind
        shown = [None if value is None else _shown(value, kind) for value in python_values(taken)]
        payloads = pa.array(shown, pa.string())
    return _rejects(_locations(batch, rows), field, reason, payloads)


def _whole_rows(batch: Batch, rows: np.ndarray, reason: str) -> pa.Table:
    """Rejected rows: what they hold, shortened, without what tells of a person or was typed."""
    shown = [
        name for name, known in CANONICAL[batch.entity].items() if name in batch.columns and not known.private
    ]
    taken = {name: python_values(batch.columns[name].take(pa.array(rows, pa.int64()))) for name in shown}
    payloads = [
        json.dumps(
            {
                name: _shown(taken[name][n], CANONICAL[batch.entity][name].kind)
                for name in shown
                if taken[name][n] is not None
            },
            ensure_ascii=False,
        )[:_ROW_SHOWN]
        for n in range(len(rows))
    ]
    return _rejects(_locations(batch, rows), None, reason, pa.array(payloads, pa.string()))


def _shown(value: object, kind: Kind) -> str:
    """A rejected value as it stood, shortened; but for what has come into a wrong column.

    An address is in none of those that are shown, and a sentence is no number, time or choice.
    """
    text = printable(value, _VALUE_SHOWN)
    if "@" in text or (kind not in ("key", "text", "list") and not _MEASURE.fullmatch(text)):
        return f"({len(text)} characters)"
    return text


def printable(value: object, longest: int) -> str:
    """A value as PostgreSQL can hold it: bytes and surrogates escaped, NUL as ``\\x00``, shortened."""
    if isinstance(value, bytes):
        value = value[: 4 * longest]
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    text = text.encode("utf-8", "backslashreplace").decode()
    return text.replace("\x00", "\\x00")
