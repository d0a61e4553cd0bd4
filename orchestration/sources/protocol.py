"""What every source gives: batches of canonical columns, each row with its place.

A source knows its format and the names here. It knows nothing of the database that the rows are loaded
into, and judges no value: it hands over what it read, and says how to read it (:class:`Reading`).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import pyarrow as pa

Entity = Literal["usage", "prompts", "prompt_versions", "agents", "agent_prompts"]
Kind = Literal[
    "key", "person", "text", "time", "boolean", "count", "duration", "rating", "cost", "list",
    "complexity", "status",
]  # fmt: skip

# A batch is full at whichever comes first.
BATCH_ROWS = 60_000
BATCH_BYTES = 32 << 20
# The longest record that is read as one: above it, somebody forgot a quote or a line end.
LONGEST_RECORD = 32 << 20


@dataclass(frozen=True)
class Column:
    """A canonical column: how its values are read, whether a row needs it, whether it may be shown.

    ``private`` marks what tells of a person or of what was typed: it never goes into a quarantined
    row's payload.
    """

    kind: Kind
    required: bool = False
    private: bool = False


_KEY = Column("key")
_TEXT = Column("text")
_TYPED = Column("text", private=True)
_TIME = Column("time")
_REQUIRED = Column("key", required=True)

# What a source may give for each entity; `required` is what a row can't do without.
CANONICAL: Mapping[Entity, Mapping[str, Column]] = {
    "usage": {
        "usage_id": _REQUIRED,
        "prompt_key": _REQUIRED,
        "used_at": Column("time", required=True),
        "updated_at": _TIME,
        "prompt_version": _KEY,
        "agent_key": _KEY,
        "user_key": Column("person", private=True),
        "session_id": Column("key", private=True),
        "model": _KEY,
        "response_time_ms": Column("duration"),
        "success": Column("boolean"),
        "is_error": Column("boolean"),
        "error_type": _KEY,
        "rating": Column("rating"),
        "rating_source": _KEY,
        "input_tokens": Column("count"),
        "output_tokens": Column("count"),
        "total_tokens": Column("count"),
        "cost": Column("cost"),
        "cost_source": _KEY,
        "ip_address": Column("person", private=True),
        "user_agent": Column("person", private=True),
        "user_prompt": _TYPED,
        "enhanced_prompt": _TYPED,
    },
    "prompts": {
        "prompt_id": _KEY,
        "name": _REQUIRED,
        "display_name": _TEXT,
        "description": _TYPED,
        "domain": _KEY,
        "complexity_level": Column("complexity"),
        "status": Column("status"),
        "system_prompt": _TYPED,
        "user_prompt_template": _TYPED,
        "prompt_starter": _TYPED,
        "compliance_tags": Column("list"),
        "suite": _KEY,
        "owner": Column("key", private=True),
        "created_at": _TIME,
        "updated_at": _TIME,
    },
    "prompt_versions": {
        "prompt_id": _REQUIRED,
        "version": _REQUIRED,
        "system_prompt": _TYPED,
        "user_prompt_template": _TYPED,
        "created_at": _TIME,
        "created_by": Column("key", private=True),
        "note": _TYPED,
    },
    "agents": {
        "agent_id": _KEY,
        "name": _REQUIRED,
        "display_name": _TEXT,
        "domain": _KEY,
        "status": _KEY,
        "created_at": _TIME,
        "updated_at": _TIME,
    },
    "agent_prompts": {
        "agent_id": _REQUIRED,
        "prompt_id": _REQUIRED,
        "created_at": _TIME,
    },
}


@dataclass(frozen=True)
class Reading:
    """How a source's values of one column are meant.

    ``unit`` of a number: of a duration, or since 1970 for a time. ``timezone`` is that of times without
    a zone. ``scale`` is mapped linearly to 1 to 5.
    """

    unit: Literal["s", "ms", "us", "ns"] | None = None
    timezone: str = "UTC"
    zero_is_unknown: bool = False
    scale: tuple[float, float] | None = None


@dataclass(frozen=True)
class Reject:
    """A row that could not be read at all (``field`` is null), or one value of a row that could not."""

    location: str
    field: str | None
    reason: str
    payload: str | None = None


@dataclass(frozen=True)
class Batch:
    """Rows of one place (a file, a table).

    ``columns`` are text (``binary`` where it may not be UTF-8) or whatever type the source has; all are
    as long as ``rows``, which holds each row's line or key. ``rejects`` are what could not be read.
    ``watermark`` is what the source wants to be told next time, once this batch is loaded. ``note`` is
    what there is to say of the place that is no fault. ``partial`` says that the entity has more, here or
    elsewhere, than could be read this time; ``rates``, that the place holds ratings, which are no rows.
    """

    entity: Entity
    place: str
    columns: Mapping[str, pa.Array]
    rows: pa.Array
    rejects: Sequence[Reject] = ()
    watermark: Mapping[str, Any] | None = None
    note: str | None = None
    partial: bool = False
    rates: bool = False

    @property
    def rows_read(self) -> int:
        return len(self.rows) + sum(reject.field is None for reject in self.rejects)


# What earlier loads left for the source: the last watermark of each place.
Watermarks = Mapping[str, Mapping[str, Any]]


class Reader(Protocol):
    """A source that is open for reading."""

    description: str
    entities: Sequence[Entity]
    readings: Mapping[str, Reading]

    def batches(self, entity: Entity, watermarks: Watermarks) -> Generator[Batch]:
        """All that is new of one entity; of anything but usage, all there is."""
        ...


class SourceLostError(Exception):
    """The source went away while it was read; what was loaded stands, and it may be opened anew."""


@dataclass
class Assembly:
    """Pieces of one place, put together to batches of the size that loads well."""

    entity: Entity
    place: str
    pieces: list[Mapping[str, pa.Array]] = field(default_factory=list)
    rows: list[pa.Array] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    row_count: int = 0
    byte_count: int = 0

    def add(self, columns: Mapping[str, pa.Array], rows: pa.Array, rejects: Sequence[Reject]) -> None:
        if len(rows):
            self.pieces.append(columns)
            self.rows.append(rows)
        self.rejects.extend(rejects)
        self.row_count += len(rows)
        self.byte_count += sum(array.nbytes for array in columns.values())

    @property
    def full(self) -> bool:
        return (
            self.row_count >= BATCH_ROWS or self.byte_count >= BATCH_BYTES or len(self.rejects) >= BATCH_ROWS
        )

    def take(self, watermark: Mapping[str, Any] | None) -> Batch:
        """What has been gathered, as a batch; the assembly is empty again."""
        columns: dict[str, pa.Array] = {}
        if self.pieces:
            for name in self.pieces[0]:
                columns[name] = _joined([piece[name] for piece in self.pieces])
        batch = Batch(
            entity=self.entity,
            place=self.place,
            columns=columns,
            rows=_joined(self.rows) if self.rows else pa.array([], pa.int64()),
            rejects=tuple(self.rejects),
            watermark=watermark,
        )
        self.pieces, self.rows, self.rejects = [], [], []
        self.row_count = self.byte_count = 0
        return batch


def _joined(parts: Sequence[pa.Array]) -> pa.Array:
    if len({part.type for part in parts}) > 1:  # one piece was not UTF-8
        parts = [part.cast(pa.binary()) for part in parts]
    return pa.concat_arrays(parts)
