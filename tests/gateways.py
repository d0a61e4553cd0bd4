"""What the tests of the gateways' exports share: reading a source as a load would, without a server."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from orchestration.loading.validate import Checked, Rules, check
from orchestration.settings import Settings, load_settings
from orchestration.sources.open import open_source
from orchestration.sources.protocol import Batch, Watermarks

RULES = Rules(
    now=datetime(2026, 6, 1, tzinfo=UTC),
    start=datetime(2020, 1, 1, tzinfo=UTC),
    hmac_key=b"a key of the test",
    with_texts=True,
)


def settings_of(folder: Path, source: str, **top: Any) -> Settings:
    """The settings of a prism.yaml with one source, given as YAML's inline form."""
    lines = [f"{key}: {json.dumps(value)}\n" for key, value in top.items()]
    (folder / "prism.yaml").write_text("".join(lines) + f"sources: [{source}]\n", encoding="utf-8")
    return load_settings({"PRISM_HMAC_KEY": "a key of the test"}, folder)


class Export:
    """A folder with exports of one source, read again and again as nightly loads would."""

    def __init__(self, folder: Path, source: str, **top: Any) -> None:
        self.settings = settings_of(folder, source, **top)
        self.marks: dict[str, Any] = {}

    def read(self, *files: Path, watermarks: Watermarks | None = None) -> list[Batch]:
        """What is new, as batches; what the source wants kept is kept."""
        source = self.settings.config.sources[0]
        nowhere = "postgresql://nowhere.example.com/"
        with open_source(source, self.settings, nowhere, files=files or None).reader() as reader:
            self.readings = reader.readings
            (entity,) = reader.entities
            batches = list(reader.batches(entity, self.marks if watermarks is None else watermarks))
        for batch in batches:
            if batch.watermark is not None:
                self.marks[batch.place] = batch.watermark
        return batches

    def load(self, *files: Path) -> list[Checked]:
        return [check(batch, self.readings, RULES) for batch in self.read(*files)]

    def uses(self, *files: Path) -> dict[str, dict[str, Any]]:
        """The good rows that are new, by key."""
        return {row["usage_id"]: row for checked in self.load(*files) for row in checked.rows.to_pylist()}


def rejects(checked: Iterable[Checked]) -> list[tuple[str, str | None, str]]:
    return [
        (row["location"], row["field"], row["reason"]) for one in checked for row in one.rejects.to_pylist()
    ]


def accounted(checked: Iterable[Checked]) -> int:
    """How many rows came to an end that can be seen: loaded, superseded, or told as rejected.

    Counted from what came out, to be held against what the test wrote; the loader's own count of what it read
    has to be the same.
    """
    total = 0
    for one in checked:
        told = sum(row["field"] is None for row in one.rejects.to_pylist())
        ended = one.rows.num_rows + one.superseded + told
        assert ended == one.rows_read
        total += ended
    return total


def lines(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20),
    st.sampled_from(["", "0", "-1", "1e400", "NaN", "\x00", "\ud800", "2026-01-01 00:00:00", "9" * 5000]),
)  # fmt: skip
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def rows_of(fields: Iterable[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with any of the fields, holding anything."""
    return st.fixed_dictionaries({}, optional=dict.fromkeys(fields, anything))


# lines that are no objects, or none that a source knows
junk = st.one_of(
    st.binary(max_size=40).map(lambda noise: noise.replace(b"\n", b"").strip() or b"?"),
    anything.map(lambda value: json.dumps(value).encode()),
)
