"""LiteLLM's table: what is asked for of the columns that one has, and what is refused."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, cast

import pytest

from orchestration.errors import PrismError
from orchestration.settings import LitellmSource
from orchestration.sources.litellm import LitellmReader
from orchestration.sources.protocol import Batch
from orchestration.sources.snapshot import Snapshot, TableColumn

OLDEST = {
    "request_id": "text", "spend": "float8", "total_tokens": "int4", "prompt_tokens": "int4",
    "completion_tokens": "int4", "startTime": "timestamp", "endTime": "timestamp", "model": "text",
    "user": "text", "metadata": "jsonb", "request_tags": "jsonb",
}  # fmt: skip
NEWEST = {
    **OLDEST, "status": "text", "session_id": "text", "request_duration_ms": "int4", "messages": "jsonb",
    "end_user": "text", "requester_ip_address": "text", "cache_hit": "text", "model_group": "text",
}  # fmt: skip


class Table:
    """A snapshot with one table, that keeps what it is asked for."""

    def __init__(self, columns: dict[str, str]) -> None:
        self._columns = columns
        self.asked: dict[str, str] = {}

    def columns(self, schema: str, table: str) -> dict[str, TableColumn]:
        assert (schema, table) == ("public", "LiteLLM_SpendLogs")
        return {name: TableColumn(type_, False, False) for name, type_ in self._columns.items()}

    def since(self, *_: Any) -> None:
        return None

    def batches(
        self, entity: str, place: str, columns: dict[str, Any], *_: Any, **__: Any
    ) -> Generator[Batch]:
        self.asked = {name: " ".join(column.as_string().split()) for name, column in columns.items()}
        yield from ()


def asked(columns: dict[str, str], *, with_texts: bool = False, **options: Any) -> dict[str, str]:
    given = {"name": "proxy", "type": "litellm", "prompt": {"tag": "prompt:"}, **options}
    table = Table(columns)
    source = LitellmSource.model_validate(given)
    reader = LitellmReader(source, "postgresql://h/d", cast(Snapshot, table), "here", with_texts=with_texts)
    assert list(reader.batches("usage", {})) == []
    return table.asked


def test_of_an_older_table_what_it_lacks_is_not_asked_for() -> None:
    old, new = asked(OLDEST), asked(NEWEST)
    assert set(new) - set(old) == {"session_id", "ip_address"}
    assert "request_duration_ms" not in old["response_time_ms"]
    assert new["response_time_ms"].startswith('coalesce("request_duration_ms", case when')
    assert "nullif(status" not in old["success"]
    assert "nullif(status" in new["success"]
    assert '"end_user"' not in old["user_key"]


def test_messages_are_asked_for_only_where_texts_are_kept() -> None:
    assert "user_prompt" not in asked(NEWEST)
    assert "messages" in asked(NEWEST, with_texts=True)["user_prompt"]
    assert "user_prompt" not in asked(OLDEST, with_texts=True)


def test_what_a_rule_says_stands_in_the_query_as_a_value() -> None:
    nasty = """x'; drop table "y"; --%s{}"""
    rules = {"prompt": {"tag": nasty}, "agent": {"metadata": f"a.{nasty}"}, "default_prompt": nasty}
    found = asked(OLDEST, **rules)
    quoted = nasty.replace("'", "''")
    assert f"starts_with(tag, '{quoted}')" in found["prompt_key"]
    assert found["agent_key"].startswith("(to_jsonb(metadata) #>> E'{a,\"x''; drop table ")
    assert found["prompt_key"].endswith(f"'{quoted}')")


@pytest.mark.parametrize(
    ("missing", "options"),
    [("request_id", {}), ("startTime", {}), ("request_tags", {}),
     ("metadata", {"prompt_version": {"metadata": "v"}})],
)  # fmt: skip
def test_a_column_that_nothing_works_without_is_named(missing: str, options: dict[str, Any]) -> None:
    columns = {name: type_ for name, type_ in OLDEST.items() if name != missing}
    with pytest.raises(PrismError, match=f"has no column {missing}"):
        asked(columns, **options)


def test_where_there_is_no_such_table_it_says_so() -> None:
    with pytest.raises(PrismError, match='there is no table "LiteLLM_SpendLogs"'):
        asked({})
