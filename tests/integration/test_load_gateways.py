"""The gateways into `raw`: LiteLLM's table of several ages, Langfuse, OpenTelemetry and Helicone exports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from genai_prices import Usage, calc_price
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql
from psycopg.types.json import Jsonb

from orchestration.errors import PrismError
from orchestration.loading.load import BatchResult, load_source
from orchestration.warehouse import Warehouse
from tests.gateways import lines, settings_of
from tests.unit import test_sources_helicone as helicone
from tests.unit import test_sources_langfuse as langfuse
from tests.unit import test_sources_opentelemetry as otel

pytestmark = pytest.mark.integration

AT = datetime(2026, 2, 1, 10, 0, 0, 250000, tzinfo=UTC)


class House:
    """A warehouse with one source, loaded night after night."""

    def __init__(self, warehouse: Warehouse, folder: Path, source: str, **top: Any) -> None:
        self.warehouse = warehouse
        self.settings = settings_of(folder, source, **top)

    def load(self) -> list[BatchResult]:
        results = load_source(self.warehouse, self.settings.config.sources[0], self.settings)
        for result in results:
            assert result.rows_read == (
                result.inserted + result.updated + result.unchanged + result.superseded + result.rejected
            )
        return results

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.warehouse.connect() as connection:
            return connection.execute(query).fetchall()  # type: ignore[arg-type]

    def uses(self, columns: str) -> dict[str, tuple[Any, ...]]:
        found = self.rows(f"select usage_id, {columns} from raw.prompt_usage")
        return {key: tuple(rest) for key, *rest in found}

    def state(self) -> list[tuple[Any, ...]]:
        return self.rows("select * from raw.prompt_usage order by source, usage_id")

    def holds_still(self) -> None:
        """Loading the same again changes nothing."""
        before = self.state()
        for result in self.load():
            assert (result.inserted, result.updated, result.rejected) == (0, 0, 0)
        assert self.state() == before


# -- LiteLLM

# as its migrations make the table; what came later is added by NEWER
OLDEST = """
create table "LiteLLM_SpendLogs" (
    request_id text primary key, call_type text not null, api_key text not null default '',
    spend double precision not null default 0, total_tokens integer not null default 0,
    prompt_tokens integer not null default 0, completion_tokens integer not null default 0,
    "startTime" timestamp(3) not null, "endTime" timestamp(3) not null, "completionStartTime" timestamp(3),
    model text not null default '', model_id text default '', model_group text default '',
    api_base text default '', "user" text default '', metadata jsonb default '{}',
    cache_hit text default '', cache_key text default '', request_tags jsonb default '[]',
    team_id text, end_user text, requester_ip_address text
)
"""
NEWER = """
alter table "LiteLLM_SpendLogs"
    add request_duration_ms integer, add session_id text, add status text,
    add messages jsonb default '{}', add response jsonb default '{}', add mcp_namespaced_tool_name text
"""
LITELLM = '{name: proxy, type: litellm, schema: litellm, prompt: {tag: "prompt:"}'


class Proxy(House):
    """A proxy's table in a schema of the warehouse's own database."""

    def __init__(self, warehouse: Warehouse, folder: Path, source: str = LITELLM + "}", **top: Any) -> None:
        super().__init__(warehouse, folder, source, **top)
        self.folder = folder

    def make(self, *statements: str) -> None:
        with self.warehouse.connect() as connection:
            connection.execute("create schema litellm; set search_path = litellm")
            for statement in statements:
                connection.execute(statement)  # type: ignore[arg-type]

    def call(self, key: str, **columns: Any) -> None:
        plain = {
            "request_id": key, "call_type": "acompletion", "spend": 0.000225, "total_tokens": 30,
            "prompt_tokens": 10, "completion_tokens": 20, "startTime": AT.replace(tzinfo=None),
            "endTime": AT.replace(tzinfo=None) + timedelta(seconds=1.5), "model": "gpt-4o",
            "model_group": "default-model", "user": "proxy-admin", "end_user": "anna",
            "requester_ip_address": "10.0.0.1", "request_tags": ["prompt:greet", "team:a"],
            "metadata": {"user_api_key_alias": "shop"},
        }  # fmt: skip
        given = {**plain, **columns}
        values = [
            Jsonb(of) if name in ("request_tags", "metadata", "messages") else of
            for name, of in given.items()
        ]
        with self.warehouse.connect() as connection:
            connection.execute(
                sql.SQL('insert into litellm."LiteLLM_SpendLogs" ({}) values ({})').format(
                    sql.SQL(", ").join(map(sql.Identifier, given)),
                    sql.SQL(", ").join(sql.Placeholder() * len(given)),
                ),
                values,
            )

    def run(self, statement: str, values: Sequence[Any] = ()) -> None:
        with self.warehouse.connect() as connection:
            connection.execute("set search_path = litellm")
            connection.execute(statement, values)  # type: ignore[arg-type]

    def again(self, source: str, **top: Any) -> Proxy:
        """The same table under other settings."""
        return Proxy(self.warehouse, self.folder, source, **top)


@pytest.fixture
def proxy(warehouse: Warehouse, tmp_path: Path) -> Proxy:
    return Proxy(warehouse, tmp_path)


def test_the_newest_table_of_litellm_is_read_whole(proxy: Proxy) -> None:
    proxy.make(OLDEST, NEWER)
    proxy.call("a", status="success", request_duration_ms=1234, session_id="s1")
    proxy.call("b", status="failure", spend=0, model="", request_tags=["x", "prompt:ask", "prompt:no"],
               metadata={"error_information": {"error_class": "RateLimitError"}})  # fmt: skip
    proxy.call("c", status="success", request_tags=["team:a"])
    (result,) = proxy.load()
    assert (result.inserted, result.rejected) == (2, 1)
    found = proxy.uses(
        "prompt_key, used_at, response_time_ms, success, is_error, error_type, session_id, model, "
        "input_tokens, output_tokens, total_tokens, cost::float, cost_source"
    )
    assert found == {
        "a": ("greet", AT, 1234.0, True, None, None, "s1", "gpt-4o", 10, 20, 30, 0.000225, "reported"),
        "b": ("ask", AT, 1500.0, False, True, "RateLimitError", None, "default-model", 10, 20, 30, 0.0,
              "reported"),
    }  # fmt: skip
    assert proxy.rows("select location, field, reason from raw.rejected_rows") == [
        ("litellm.LiteLLM_SpendLogs:c", None, "prompt_key: missing")
    ]
    ((user, address),) = proxy.rows("select distinct user_key, ip_hash from raw.prompt_usage")
    assert len({user, address, "anna", "10.0.0.1"}) == 4
    assert proxy.rows("select usage_date from raw.load_days") == [(date(2026, 2, 1),)]
    proxy.load()
    assert set(proxy.uses("1")) == {"a", "b"}


def test_an_older_table_of_litellm_lacks_columns_and_is_read_all_the_same(proxy: Proxy) -> None:
    proxy.make(OLDEST)
    proxy.call("a")
    proxy.call("b", metadata={"status": "failure", "error_information": {"error_code": "500"}})
    proxy.load()
    assert proxy.uses("response_time_ms, success, error_type, session_id") == {
        "a": (1500.0, None, None, None),
        "b": (1500.0, False, "500", None),
    }
    proxy.holds_still()


def test_the_prompt_its_version_and_the_agent_may_stand_in_the_metadata(proxy: Proxy) -> None:
    proxy.make(OLDEST)
    proxy.call("a", metadata={"requester_metadata": {"prompt": "ask", "v": 3}, "app": 'it\'s "x"'})
    proxy.call("b", metadata=[1])
    proxy.call("c", metadata={"requester_metadata": "text"})
    rules = (
        "prompt: {metadata: requester_metadata.prompt}, prompt_version: {metadata: requester_metadata.v}, "
        "agent: {metadata: app}, default_prompt: none%s-named}"
    )
    proxy.again("{name: proxy, type: litellm, schema: litellm, " + rules).load()
    assert proxy.uses("prompt_key, prompt_version, agent_key") == {
        "a": ("ask", "3", 'it\'s "x"'),
        "b": ("none%s-named", None, None),
        "c": ("none%s-named", None, None),
    }


def test_calls_written_late_are_read_and_the_same_again_changes_nothing(proxy: Proxy) -> None:
    proxy.make(OLDEST)
    proxy.call("a")
    proxy.load()
    proxy.call("b", startTime=(AT - timedelta(hours=20)).replace(tzinfo=None))  # ran long, or was queued
    (result,) = proxy.load()
    assert (result.inserted, result.unchanged) == (1, 1)
    proxy.holds_still()


def test_times_that_no_calendar_has_cost_themselves_alone(proxy: Proxy) -> None:
    proxy.make(OLDEST)
    proxy.call("a", startTime="-infinity")
    proxy.call("b", startTime="0044-03-15 12:00 BC")
    (result,) = proxy.load()
    assert result.rejected == 2
    proxy.call("c", endTime="infinity")
    proxy.call("d", startTime="infinity")
    (result,) = proxy.load()
    assert (result.inserted, result.rejected) == (1, 3)
    assert proxy.uses("used_at, response_time_ms") == {"c": (AT, None)}


def test_a_spend_of_zero_may_be_unknown_and_then_has_a_list_price(proxy: Proxy) -> None:
    proxy.make(OLDEST)
    proxy.call("free", spend=0)
    proxy.call("cached", spend=0, cache_hit="True")
    proxy.call("ours", spend=0, model="in-house-7b")
    proxy.again(LITELLM + ", zero_is_unknown: true}").load()
    listed = calc_price(Usage(input_tokens=10, output_tokens=20), "gpt-4o", genai_request_timestamp=AT)
    assert proxy.uses("cost::float, cost_source") == {
        "free": (pytest.approx(float(listed.total_price)), "priced"),
        "cached": (0.0, "reported"),
        "ours": (None, None),
    }


def test_messages_are_read_only_where_the_settings_say_so(proxy: Proxy) -> None:
    proxy.make(OLDEST, NEWER)
    proxy.call("a", messages=[{"role": "user", "content": "hi"}])
    proxy.call("b")
    proxy.load()
    assert proxy.rows("select 1 from raw.prompt_texts") == []
    proxy.again(LITELLM + "}", privacy={"prompt_texts": "full"}).load()
    ((key, text),) = proxy.rows("select usage_id, user_prompt from raw.prompt_texts")
    assert (key, json.loads(text)) == ("a", [{"role": "user", "content": "hi"}])


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        ((), 'there is no table "LiteLLM_SpendLogs"'),
        ((OLDEST, 'alter table "LiteLLM_SpendLogs" drop "startTime"'), "has no column startTime"),
        ((OLDEST, 'alter table "LiteLLM_SpendLogs" drop request_tags'), "has no column request_tags"),
    ],
)
def test_a_table_that_lacks_what_is_needed_stops_the_source(
    proxy: Proxy, statements: tuple[str, ...], message: str
) -> None:
    proxy.make(*statements)
    with pytest.raises(PrismError, match=message):
        proxy.load()


def test_files_are_nothing_for_a_database(proxy: Proxy, tmp_path: Path) -> None:
    proxy.make(OLDEST)
    with pytest.raises(PrismError, match="reads a database, not files"):
        load_source(proxy.warehouse, proxy.settings.config.sources[0], proxy.settings, files=[tmp_path / "x"])


# -- LiteLLM: the last days compared

DAILY = """
create table "LiteLLM_DailyUserSpend" (
    id text primary key default gen_random_uuid(), user_id text, "date" text not null,
    api_key text not null default '', model text, prompt_tokens bigint not null default 0,
    completion_tokens bigint not null default 0, spend double precision not null default 0,
    api_requests bigint not null default 0, successful_requests bigint not null default 0,
    failed_requests bigint not null default 0
)
"""


def days_ago(days: int) -> datetime:
    """An instant of that day of UTC, as the proxy writes it."""
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=123000, tzinfo=None)
    return noon - timedelta(days=days)


def with_calls(proxy: Proxy, *days: int, a_day: int = 2) -> None:
    for day in days:
        for number in range(a_day):
            proxy.call(f"{day}-{number}", startTime=days_ago(day),
                       endTime=days_ago(day) + timedelta(seconds=1), status="success")  # fmt: skip


def reconciled(proxy: Proxy, columns: str) -> dict[int, tuple[Any, ...]]:
    """What was kept of each day, by how many days ago it was."""
    rows = proxy.rows(f"select usage_date, {columns} from raw.reconciliations")
    return {(datetime.now(UTC).date() - day).days: tuple(rest) for day, *rest in rows}


@pytest.mark.parametrize("moment", ["timestamp(3)", "timestamptz"])
def test_calls_deleted_or_changed_there_are_found_but_not_those_that_its_retention_takes(
    proxy: Proxy, moment: str
) -> None:
    proxy.make(OLDEST, NEWER)
    for column in ("startTime", "endTime"):
        proxy.run(f'alter table "LiteLLM_SpendLogs" alter "{column}" type {moment}')
    with_calls(proxy, 9, 8, 7, 6, 5, 4, 3)
    proxy.call("no prompt", startTime=days_ago(7), endTime=days_ago(7), request_tags=[])
    proxy.load()
    assert set(reconciled(proxy, "source_count, kept_count, agrees, differed_at").values()) == {
        (2, 2, True, None)
    }
    proxy.holds_still()
    proxy.run("""delete from "LiteLLM_SpendLogs" where request_id in ('9-0', '9-1', '8-0', '5-1')""")
    proxy.run("""update "LiteLLM_SpendLogs" set spend = 7, status = 'failure' where request_id = '6-0'""")
    proxy.load()
    assert proxy.rows("select usage_id from raw.prompt_usage where deleted_at is not null") == [("5-1",)]
    assert proxy.uses("cost::float, success")["6-0"] == (7.0, False)
    found = reconciled(proxy, "source_count, kept_count, agrees, updated, deleted")
    assert {day: found[day] for day in (7, 6, 5, 4)} == {
        7: (2, 2, True, 0, 0), 6: (2, 2, True, 1, 0), 5: (1, 1, True, 0, 1), 4: (2, 2, True, 0, 0),
    }  # fmt: skip
    proxy.holds_still()


def test_an_emptied_table_marks_nothing(proxy: Proxy) -> None:
    proxy.make(OLDEST)
    proxy.call("a", startTime=days_ago(2))
    proxy.load()
    proxy.run('truncate "LiteLLM_SpendLogs"')
    assert sum(result.deleted for result in proxy.load()) == 0


def test_the_proxys_own_daily_totals_are_held_against_its_log(
    proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.make(OLDEST, NEWER, DAILY)
    with_calls(proxy, 7, 6, 5, 4, 3, 0)
    proxy.call("no prompt", startTime=days_ago(3), endTime=days_ago(3), request_tags=[])
    for day, users in [(6, "ab"), (5, "a"), (4, "abc"), (3, "abc")]:
        for user in users:
            proxy.run(
                'insert into "LiteLLM_DailyUserSpend" '
                '(user_id, "date", spend, api_requests, prompt_tokens, completion_tokens) '
                "values (%s, %s, 0.000225, 1, 10, 20)",
                [user, f"{days_ago(day):%Y-%m-%d}"],
            )
    proxy.run("""insert into "LiteLLM_DailyUserSpend" (user_id, "date") values ('a', '2026-02-31')""")
    proxy.load()
    assert reconciled(proxy, "source_count, agrees, reported_count, reported_agrees") == {
        6: (2, True, None, None),  # the log may have lost some of its oldest day
        5: (2, True, 1, False),
        4: (2, True, 3, False),
        3: (2, True, 3, True),  # with the one that names no prompt
        0: (2, True, None, None),  # not over yet
    }
    assert "2 of its days since" in caplog.text
    ((reported, logged),) = proxy.rows(
        "select reported_totals::json, logged_totals::json from raw.reconciliations where reported_count = 1"
    )
    assert (reported, logged) == ([1, "0.000225", 10, 20], [2, "0.00045", 20, 40])


def test_totals_that_are_of_an_older_kind_or_not_ours_to_read_stop_nothing(proxy: Proxy) -> None:
    proxy.make(OLDEST, DAILY, 'alter table "LiteLLM_DailyUserSpend" drop api_requests')
    for day in (5, 4, 3):
        proxy.call(str(day), startTime=days_ago(day))
        proxy.run(
            'insert into "LiteLLM_DailyUserSpend" ("date", spend, prompt_tokens, completion_tokens) '
            "values (%s, 0.000225, 10, 20)", [f"{days_ago(day):%Y-%m-%d}"],
        )  # fmt: skip
    proxy.load()
    assert reconciled(proxy, "reported_count, reported_agrees")[3] == (None, True)
    proxy.run('alter table "LiteLLM_DailyUserSpend" rename to elsewhere')
    proxy.load()
    assert reconciled(proxy, "reported_count, reported_agrees")[3] == (None, None)


texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=12)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=5,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    calls=st.lists(
        st.fixed_dictionaries(
            {"request_tags": json_values, "metadata": json_values},
            optional={"spend": st.floats(), "status": texts, "model": texts, "end_user": texts},
        ),
        min_size=1,
        max_size=5,
    )
)
def test_no_call_is_lost_whatever_the_proxy_wrote(proxy: Proxy, calls: list[dict[str, Any]]) -> None:
    with psycopg.connect(proxy.warehouse.url) as connection:
        connection.execute("drop schema if exists litellm cascade; delete from raw.load_days")
        connection.execute("delete from raw.rejected_rows; delete from raw.load_batches")
        connection.execute("delete from raw.prompt_usage")
    proxy.make(OLDEST, NEWER)
    for number, call in enumerate(calls):
        proxy.call(str(number), **call)
    (result,) = proxy.load()
    assert result.rows_read == len(calls)
    tagged = [
        any(
            isinstance(tag, str) and tag.startswith("prompt:") and tag != "prompt:"
            for tag in call["request_tags"]
        )
        for call in calls
        if isinstance(call["request_tags"], list)
    ]
    assert result.inserted == sum(tagged)


# -- exports


def test_langfuse_exports_are_loaded_and_a_late_score_touches_only_its_day(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    bucket = langfuse.Bucket(tmp_path)
    early = langfuse.observation("a", trace_id="ta")
    late = langfuse.observation(
        "b", trace_id="tb", total_cost=None, cost_details={},
        start_time="2026-02-03 10:00:00.000000", end_time="2026-02-03 10:00:01.000000",
    )  # fmt: skip
    bucket.run("1", observations_v2=[early, late, langfuse.observation("c", prompt_name=None)], scores=[])
    house = House(warehouse, tmp_path, langfuse.SOURCE)
    house.load()
    listed = calc_price(
        Usage(input_tokens=10, output_tokens=20),
        "gpt-4o",
        genai_request_timestamp=datetime(2026, 2, 3, tzinfo=UTC),
    )
    assert house.uses("prompt_key, prompt_version, response_time_ms, rating, cost::float, cost_source") == {
        "a": ("greet", "3", 1500.0, None, 0.000225, "reported"),
        "b": ("greet", "3", 1000.0, None, pytest.approx(float(listed.total_price)), "priced"),
    }
    assert house.rows("select location, reason from raw.rejected_rows") == [
        ("in/p1/observations_v2/1.jsonl:3", "prompt_key: missing")
    ]
    house.holds_still()
    bucket.run("2", scores=[langfuse.score(trace_id="tb", value=10)])
    touched = [result.batch_id for result in house.load() if result.updated]
    assert house.rows("select usage_date from raw.load_days where batch_id = " + str(touched[0])) == [
        (date(2026, 2, 3),)
    ]
    assert house.uses("rating, rating_source") == {"a": (None, None), "b": (5.0, "api")}
    house.holds_still()
    # the window's edge comes again with the next export, older and newer
    bucket.run("3", observations_v2=[early, {**late, "level": "ERROR", "updated_at": "2026-02-04 00:00:00"}])
    house.load()
    assert house.uses("success, rating") == {"a": (True, None), "b": (False, 5.0)}
    house.holds_still()


def test_spans_are_loaded_priced_and_rated(warehouse: Warehouse, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    house = House(warehouse, tmp_path, otel.SOURCE)
    unknown = {**otel.CALL, "gen_ai.request.model": "in-house-7b", "gen_ai.response.id": "x"}
    otel.write(tmp_path, otel.spans(otel.span("1"), otel.span("2", of=unknown)), name="a.jsonl")
    house.load()
    at = datetime(2026, 1, 1, 10, 0, 0, 123456, tzinfo=UTC)
    listed = calc_price(Usage(input_tokens=10, output_tokens=20), "gpt-4o", genai_request_timestamp=at)
    trace = "5b8efff798038103d269b633813fc60c"
    assert house.uses("prompt_key, used_at, cost::float, cost_source, rating") == {
        f"{trace}:1": ("greet", at, pytest.approx(float(listed.total_price)), "priced", None),
        f"{trace}:2": ("greet", at, None, None, None),
    }
    house.holds_still()
    otel.write(tmp_path, otel.logs(otel.evaluation("helpful", 1, spanId="2")), name="b.jsonl")
    (brought, evaluations) = house.load()
    assert (brought.updated, brought.rows_read, evaluations.rows_read) == (1, 1, 0)
    assert house.uses("rating") == {f"{trace}:1": (None,), f"{trace}:2": (5.0,)}
    house.holds_still()


def test_requests_of_helicone_are_loaded_and_a_changed_one_replaces_itself(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    house = House(warehouse, tmp_path, helicone.SOURCE)
    first = helicone.request(updated_at="2026-02-01T10:00:03Z")
    helicone.write(tmp_path, first, helicone.request(request_id="r2", response_status=500, costUSD=None))
    with (tmp_path / "in" / "a.jsonl").open("ab") as file:
        file.write(b"{not json\n")
    (result,) = house.load()
    assert (result.rows_read, result.inserted, result.rejected) == (3, 2, 1)
    rated = helicone.request(feedback_rating=True, updated_at="2026-02-09T00:00:00Z")
    (tmp_path / "in" / "b.jsonl").write_bytes(lines(rated, first))
    house.load()
    found = house.uses("rating, success, error_type, cost_source")
    assert found == {"r1": (5.0, True, None, "reported"), "r2": (None, False, "http_500", "priced")}
    house.holds_still()


def test_prices_are_off_for_files_unless_asked_for(warehouse: Warehouse, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "usage_id,prompt_key,used_at,model,input_tokens,output_tokens,cost\n"
        "1,p,2026-02-01,gpt-4o,10,20,\n2,p,2026-02-01,gpt-4o,10,20,0\n"
    )
    house = House(warehouse, tmp_path, "{name: log, type: files, path: a.csv}")
    house.load()
    assert house.uses("cost_source") == {"1": (None,), "2": ("reported",)}
    asked = House(warehouse, tmp_path, "{name: log, type: files, path: a.csv, prices: true}")
    (result,) = asked.load()
    assert (result.updated, result.unchanged) == (1, 1)
    assert asked.uses("cost_source") == {"1": ("priced",), "2": ("reported",)}
    asked.holds_still()
