"""A library's rows after they were read whole: one of each key, names told apart, keys where none came.

Knows nothing of SQL.
"""

from __future__ import annotations

import uuid

import pyarrow as pa

from orchestration.library.names import numbered
from orchestration.sources.protocol import Entity

KEYS: dict[Entity, tuple[str, ...]] = {
    "prompts": ("prompt_id",),
    "prompt_versions": ("prompt_id", "version"),
    "agents": ("agent_id",),
    "agent_prompts": ("agent_id", "prompt_id"),
}
# keys made of a source's name and an entry's are UUIDs of this name space
_NAMESPACE = uuid.UUID("6b0d1c5e-7f0e-5d0c-9f0a-5a1f3c1b7d42")


def finish(rows: pa.Table, entity: Entity, source: str) -> pa.Table:
    """One row of each key, the last one; prompts whose names repeat are numbered.

    A prompt or agent without a key of its own gets one made of the source and its name, the same each time.
    """
    if entity == "prompts":
        rows = _last_of_each(rows, entity)
        names, display_names = numbered(
            rows.column("name").to_pylist(), rows.column("display_name").to_pylist()
        )
        rows = _with(_with(rows, "name", names), "display_name", display_names)
    if entity in ("prompts", "agents"):
        key = KEYS[entity][0]
        keys = [
            given or str(uuid.uuid5(_NAMESPACE, f"{entity}\n{source}\n{name}"))
            for given, name in zip(rows.column(key).to_pylist(), rows.column("name").to_pylist(), strict=True)
        ]
        rows = _with(rows, key, keys)
    return _last_of_each(rows, entity)


def _last_of_each(rows: pa.Table, entity: Entity) -> pa.Table:
    """The last row of each key; rows without one are all kept."""
    columns = [rows.column(name).to_pylist() for name in KEYS[entity]]
    last = {key if None not in key else (n,): n for n, key in enumerate(zip(*columns, strict=True))}
    return rows.take(pa.array(sorted(last.values()), pa.int64()))


def _with(rows: pa.Table, name: str, values: list[str] | list[str | None]) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index(name), name, pa.array(values, pa.string()))
