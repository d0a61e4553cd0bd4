"""Files into `raw`: real data, bad rows, reruns, faults of the server."""

from __future__ import annotations

import csv
import hashlib
import hmac
import threading
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
import yaml

from orchestration.errors import PrismError
from orchestration.loading.load import BatchResult, load_source
from orchestration.settings import Settings, load_settings
from orchestration.warehouse import Warehouse

pytestmark = pytest.mark.integration

KEY = "a key of the test"
COLUMNS = {"usage_id": "id", "prompt_key": "prompt", "used_at": "at"}
AIDER = {
    "used_at": {"from": "ts_utc"},
    "prompt_key": {"from": "edit_format", "default": "unknown"},
    "user_key": "user_id",
    "session_id": "session_id",
    "model": "model",
    "response_time_ms": {"from": "latency_s", "unit": "s"},
    "success": {"from": "success"},
    "error_type": {"from": "error"},
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "total_tokens": "total_tokens",
    "cost": "cost_usd",
    "agent_key": {"value": "assistant"},
}


class House:
    """A warehouse with one source of files in a folder of the test's own."""

    def __init__(self, warehouse: Warehouse, folder: Path) -> None:
        self.warehouse = warehouse
        self.folder = folder
        self.configure()

    def configure(self, *, top: dict[str, Any] | None = None, **source: Any) -> None:
        given = {"name": "log", "type": "files", "path": "*.csv", "columns": COLUMNS, **source}
        text = yaml.safe_dump({"sources": [given], **(top or {})})
        (self.folder / "prism.yaml").write_text(text)

    @property
    def settings(self) -> Settings:
        home = str(self.folder / "home")
        return load_settings({"PRISM_HOME": home, "PRISM_HMAC_KEY": KEY}, self.folder)

    def load(self, *files: Path) -> list[BatchResult]:
        settings = self.settings
        return load_source(self.warehouse, settings.config.sources[0], settings, files=files or None)

    def write(self, text: str, name: str = "a.csv") -> None:
        (self.folder / name).write_text(text)

    def run(self, statement: str) -> None:
        with self.warehouse.connect() as connection:
            connection.execute(statement)  # type: ignore[arg-type]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.warehouse.connect() as connection:
            return connection.execute(query).fetchall()  # type: ignore[arg-type]

    def state(self) -> list[tuple[Any, ...]]:
        return self.rows("select * from raw.prompt_usage order by source, usage_id")


@pytest.fixture
def house(warehouse: Warehouse, tmp_path: Path) -> House:
    return House(warehouse, tmp_path)


def total(results: list[BatchResult], name: str) -> int:
    return sum(getattr(result, name) for result in results)


def test_columns_that_nothing_reads_are_noted_and_no_fault(house: House) -> None:
    house.write('id,prompt,at,mood,"the""day"\n1,p,2025-01-01,good,x\n', "a.csv")
    house.write("id,prompt,at\n2,p,2025-01-01\n", "b.csv")
    results = house.load()
    assert total(results, "inserted") == 2
    assert [str(one) for one in results] == [
        "log: 1 rows of usage from a.csv: 1 inserted (columns that are not read: 'mood', 'the\"day')",
        "log: 1 rows of usage from b.csv: 1 inserted",
    ]
    assert house.rows("select location, note, values_rejected from raw.load_batches order by 1") == [
        ("a.csv", "columns that are not read: 'mood', 'the\"day'", 0),
        ("b.csv", None, 0),
    ]


# -- real data


def test_every_real_use_is_loaded_as_an_independent_reading_finds_it(house: House, shared_data: Path) -> None:
    path = shared_data / "aider_usage.csv"
    house.configure(
        path=str(path), columns=AIDER, usage_id=["user_id", "session_id", "ts_utc", "total_tokens"]
    )
    results = house.load()
    assert total(results, "inserted") == total(results, "rows_read") == 2711
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    seen: Counter[str] = Counter()
    expected = {}
    for row in rows:
        text = "\x1f".join(row[name] for name in ("user_id", "session_id", "ts_utc", "total_tokens"))
        seen[text] += 1
        key = hashlib.sha256(text.encode()).hexdigest() + (f"-{seen[text]}" if seen[text] > 1 else "")
        expected[key] = (
            row["edit_format"] or "unknown",
            hmac.new(KEY.encode(), row["user_id"].encode(), "sha256").hexdigest(),
            row["session_id"],
            row["model"] or None,
            datetime.fromisoformat(row["ts_utc"]),
            float(row["latency_s"]) * 1000 if row["latency_s"] else None,
            row["success"] == "1" if row["success"] else None,
            row["error"] or None,
            True if row["error"] else None,
            int(row["prompt_tokens"]) if row["prompt_tokens"] else None,
            round(float(row["cost_usd"]), 10) if row["cost_usd"] else None,
        )
    found = {
        row[0]: row[1:]
        for row in house.rows(
            "select usage_id, prompt_key, user_key, session_id, model, used_at, response_time_ms, "
            "success, error_type, is_error, input_tokens, cost::double precision from raw.prompt_usage"
        )
    }
    assert found == expected
    assert house.rows("select count(*) from raw.rejected_rows") == [(0,)]
    days = {row["ts_utc"][:10] for row in rows}
    assert {str(day) for (day,) in house.rows("select usage_date from raw.load_days")} == days


def test_a_real_trace_without_ids_zone_or_final_line_end_is_loaded(house: House, shared_data: Path) -> None:
    path = shared_data / "azure_llm_trace_conv.csv"
    columns = {"used_at": "TIMESTAMP", "input_tokens": "ContextTokens", "output_tokens": "GeneratedTokens",
               "prompt_key": {"value": "conversation"}}  # fmt: skip
    house.configure(path=str(path), columns=columns, usage_id="line")
    assert total(house.load(), "inserted") == 19_366
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    expected = {
        (f"azure_llm_trace_conv.csv:{n}", datetime.fromisoformat(row["TIMESTAMP"][:26] + "+00:00"),
         int(row["ContextTokens"]), int(row["GeneratedTokens"]))
        for n, row in enumerate(rows, 2)
    }  # fmt: skip
    found = house.rows("select usage_id, used_at, input_tokens, output_tokens from raw.prompt_usage")
    assert set(found) == expected


def test_a_real_library_numbers_its_repeated_names(house: House, shared_data: Path) -> None:
    path = shared_data / "prompts_chat.csv"
    house.configure(
        path=str(path), entity="prompts", columns={"name": "act", "user_prompt_template": "prompt"}
    )
    (result,) = house.load()
    assert (result.rows_read, result.inserted) == (1528, 1528)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = Counter(row["act"] for row in rows)
    found = house.rows("select name, display_name, user_prompt_template, status from raw.prompts")
    assert Counter(display or name for name, display, _, _ in found) == names
    assert sum(display is not None for _, display, _, _ in found) == sum(n - 1 for n in names.values()) > 0
    assert Counter(text for _, _, text, _ in found) == Counter(row["prompt"] for row in rows)
    assert {status for _, _, _, status in found} == {"active"}
    before = house.rows("select * from raw.prompts order by prompt_id")
    (again,) = house.load()
    assert (again.unchanged, again.inserted, again.updated, again.deleted) == (1528, 0, 0, 0)
    assert house.rows("select * from raw.prompts order by prompt_id") == before
    assert house.rows("select version, count(*) from raw.prompt_versions group by 1") == [("1", 1528)]


# -- again, changed, moved


def test_the_same_again_changes_nothing(house: House) -> None:
    house.write("id,prompt,at\n1,p,2025-01-01\n2,p,2025-01-02\n")
    house.load()
    before = house.state()
    assert house.load() == []
    (forced,) = house.load(house.folder / "a.csv")
    assert (forced.unchanged, forced.rows_read) == (2, 2)
    assert house.rows(f"select 1 from raw.load_days where batch_id = {forced.batch_id}") == []
    assert house.state() == before


def test_a_rating_that_comes_late_touches_only_its_day(house: House) -> None:
    house.configure(columns={**COLUMNS, "rating": "rating"})
    house.write("id,prompt,at,rating\n1,p,2025-01-01,\n2,p,2025-01-09,3\n")
    house.load()
    house.write("id,prompt,at,rating\n1,p,2025-01-01,5\n2,p,2025-01-09,3\n")
    (result,) = house.load()
    assert (result.updated, result.unchanged) == (1, 1)
    days = house.rows(f"select usage_date from raw.load_days where batch_id = {result.batch_id}")
    assert days == [(date(2025, 1, 1),)]
    assert house.rows("select usage_id, rating, rating_source from raw.prompt_usage order by 1") == [
        ("1", 5.0, "user"),
        ("2", 3.0, "user"),
    ]


def test_a_use_that_moves_touches_its_old_and_its_new_day_in_the_reporting_zone(house: House) -> None:
    house.configure(top={"timezone": "Asia/Tokyo"})
    house.write("id,prompt,at\n1,p,2025-01-01T16:00:00Z\n")
    (first,) = house.load()
    house.write("id,prompt,at\n1,p,2025-01-05T01:00:00Z\n")
    (second,) = house.load()
    days = house.rows("select batch_id, usage_date from raw.load_days order by 1, 2")
    assert days == [
        (first.batch_id, date(2025, 1, 2)),
        (second.batch_id, date(2025, 1, 2)),
        (second.batch_id, date(2025, 1, 5)),
    ]
    assert datetime(2025, 1, 1, 16, tzinfo=UTC).astimezone(ZoneInfo("Asia/Tokyo")).date() == days[0][1]


def test_an_older_change_never_overwrites_a_newer_one(house: House) -> None:
    house.configure(columns={**COLUMNS, "updated_at": "changed", "model": "model"})
    house.write("id,prompt,at,changed,model\n1,p,2025-01-01,2025-01-05,new\n")
    house.load()
    house.write("id,prompt,at,changed,model\n1,p,2025-01-01,2025-01-03,old\n", "b.csv")
    (result,) = house.load()
    assert (result.superseded, result.updated) == (1, 0)
    house.write("id,prompt,at,changed,model\n1,p,2025-01-01,,unknown\n", "c.csv")
    (result,) = house.load()
    assert result.updated == 1
    assert house.rows("select model from raw.prompt_usage") == [("unknown",)]


def test_of_one_key_in_a_batch_the_newest_wins_and_the_others_are_counted(house: House) -> None:
    house.configure(columns={**COLUMNS, "updated_at": "changed", "model": "model"})
    house.write(
        "id,prompt,at,changed,model\n"
        "1,p,2025-01-01,2025-01-05,a\n"
        "1,p,2025-01-01,2025-01-03,b\n"
        "2,p,2025-01-01,2025-01-03,c\n"
        "2,p,2025-01-01,2025-01-03,d\n"
        "3,p,2025-01-01,2025-01-03,e\n"
        "3,p,2025-01-01,,f\n"
    )
    (result,) = house.load()
    assert (result.rows_read, result.inserted, result.superseded) == (6, 3, 3)
    assert house.rows("select usage_id, model from raw.prompt_usage order by 1") == [
        ("1", "a"),
        ("2", "d"),
        ("3", "f"),
    ]


@pytest.mark.parametrize("looked_up", [1, 500])
def test_a_few_known_rows_among_many_new_ones_are_found_whichever_keys_are_looked_up(
    house: House, monkeypatch: pytest.MonkeyPatch, looked_up: int
) -> None:
    monkeypatch.setattr("orchestration.loading.merge._SAMPLED", looked_up)
    house.configure(columns={**COLUMNS, "rating": "rating"})
    house.write("id,prompt,at,rating\n1,p,2025-01-01,\n2,p,2025-01-02,\n")
    house.load()
    house.write("id,prompt,at,rating\n3,p,2025-01-03,\n2,p,2025-01-02,\n1,p,2025-01-01,4\n", "b.csv")
    (result,) = house.load()
    assert (result.inserted, result.updated, result.unchanged) == (1, 1, 1)
    assert house.rows(
        f"select usage_date::text from raw.load_days where batch_id = {result.batch_id} order by 1"
    ) == [("2025-01-01",), ("2025-01-03",)]
    assert house.rows("select usage_id, rating from raw.prompt_usage order by 1") == [
        ("1", 4.0), ("2", None), ("3", None),
    ]  # fmt: skip


def test_text_with_commas_quotes_and_line_breaks_is_kept_beside_plain_text(house: House) -> None:
    house.configure(columns={**COLUMNS, "model": "model"})
    odd = ["a,b", 'say "hi"', "two\nlines", "\\.", " spaced ", "\\N", "a\rb", "ünï", "plain"]
    with (house.folder / "a.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "prompt", "at", "model"])
        writer.writerows([n, "p", "2025-01-01", model] for n, model in enumerate(odd))
    house.load()
    found = [model for (model,) in house.rows("select model from raw.prompt_usage order by usage_id")]
    assert found == odd


def test_times_numbers_and_costs_reach_the_table_to_their_last_digit(house: House) -> None:
    house.configure(
        columns={**COLUMNS, "cost": "cost", "response_time_ms": "ms", "total_tokens": "n", "success": "ok"}
    )
    random = Random(7)
    costs = [0.0, 5e-11, 4.999e-11, 5e-324, 1e-7, 5.625e-8, 0.12345678905, 1_234_567.7890000001, 1e9]
    costs += [10 ** random.uniform(-13, 9) for _ in range(200)]
    costs += [float(f"{random.uniform(0, 1e-5):.10f}5") for _ in range(200)]  # half of the last digit
    kept = [Decimal(repr(cost)).quantize(Decimal("1e-10"), ROUND_HALF_UP) for cost in costs]
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    edges = [datetime(year, 12, 31, 23, 59, 59, 999_999, UTC) for year in (1970, 1999, 2024)]
    instants = [*edges, *(epoch + timedelta(microseconds=random.randrange(10**15)) for _ in costs)]
    uses = [
        (f"{n:04}", instants[n], kept[n], random.choice([None, random.random() * 1e6]),
         random.choice([None, 0, 10**12]), random.choice([None, False, True]))
        for n in range(len(costs))
    ]  # fmt: skip
    given = list(zip(uses, costs, strict=True))
    random.shuffle(given)
    with (house.folder / "a.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "prompt", "at", "cost", "ms", "n", "ok"])
        writer.writerows([key, "p", at.isoformat(), cost, *rest] for (key, at, _, *rest), cost in given)
    house.load()
    # a batch lies in the order of its keys: it goes through their index once
    assert uses == house.rows(
        "select usage_id, used_at, cost, response_time_ms, total_tokens, success "
        "from raw.prompt_usage order by ctid"
    )


def test_two_files_that_disagree_converge_and_then_rest(house: House) -> None:
    house.configure(columns={**COLUMNS, "model": "model"})
    house.write("id,prompt,at,model\n1,p,2025-01-01,first\n", "a.csv")
    house.write("id,prompt,at,model\n1,p,2025-01-01,second\n", "b.csv")
    house.load()
    assert house.load() == []
    assert house.rows("select model from raw.prompt_usage") == [("second",)]


# -- bad input


def test_bad_values_are_null_and_told_and_their_rows_count(house: House) -> None:
    columns = {**COLUMNS, "rating": "rating", "cost": "cost", "success": "ok", "input_tokens": "n"}
    house.configure(columns=columns)
    house.write(
        "id,prompt,at,rating,cost,ok,n\n"
        "1,p,2025-01-01,0,NaN,1,-5\n"
        "2,p,2025-01-01,6,1e400,maybe,1.5\n"
        "3,p,2025-01-01,x,-1,,99999999999999999999\n"
        "4,p,2025-01-01,5,0.25,yes,7\n"
    )
    (result,) = house.load()
    assert (result.rows_read, result.inserted, result.rejected, result.values_rejected) == (4, 4, 0, 10)
    assert house.rows(
        "select usage_id, rating, cost, success, input_tokens, cost_source from raw.prompt_usage order by 1"
    ) == [
        ("1", None, None, True, None, None),
        ("2", None, None, None, None, None),
        ("3", None, None, None, None, None),
        ("4", 5.0, pytest.approx(0.25), True, 7, "reported"),
    ]
    told = house.rows("select location, field, payload from raw.rejected_rows order by location, field")
    assert told[:3] == [
        ("a.csv:2", "cost", "NaN"),
        ("a.csv:2", "input_tokens", "-5"),
        ("a.csv:2", "rating", "0"),
    ]


def test_a_row_without_key_time_or_prompt_is_rejected_whole(house: House) -> None:
    ahead = datetime.now(UTC) + timedelta(hours=25)
    soon = datetime.now(UTC) + timedelta(hours=23)
    house.write(
        "id,prompt,at\n"
        ",p,2025-01-01\n"
        "2,,2025-01-01\n"
        "3,p,\n"
        "4,p,yesterday\n"
        f"5,p,{ahead.isoformat()}\n"
        "6,p,2999-01-01\n"
        f"{'7' * 1001},p,2025-01-01\n"
        f"8,p,{soon.isoformat()}\n"
        "9\n"
    )
    (result,) = house.load()
    assert (result.rows_read, result.inserted, result.rejected, result.values_rejected) == (9, 1, 8, 0)
    told = house.rows("select location, field, reason from raw.rejected_rows order by rejected_row_id")
    assert {(location, field) for location, field, _ in told} == {
        (f"a.csv:{n}", None) for n in (2, 3, 4, 5, 6, 7, 8, 10)
    }
    reasons = {location: reason for location, _, reason in told}
    assert reasons["a.csv:2"] == "usage_id: missing"
    assert reasons["a.csv:5"] == "used_at: not a time"
    assert reasons["a.csv:6"] == reasons["a.csv:7"] == "used_at: more than 24 hours ahead of the clock"


def test_nul_bytes_and_bytes_that_are_not_utf8_do_not_sink_their_batch(house: House) -> None:
    house.configure(columns={**COLUMNS, "model": "model"})
    (house.folder / "a.csv").write_bytes(
        b"id,prompt,at,model\n1,p,2025-01-01,a\x00b\n2,p,2025-01-01,caf\xe9\n3,p\x00,2025-01-01,m\n4,p,2025-01-01,m\n"
    )
    (result,) = house.load()
    assert (result.inserted, result.rejected, result.values_rejected) == (3, 1, 2)
    assert house.rows("select location, field, payload from raw.rejected_rows order by location") == [
        ("a.csv:2", "model", "a\\x00b"),
        ("a.csv:3", "model", "caf\\xe9"),
        (
            "a.csv:4",
            None,
            '{"usage_id": "3", "prompt_key": "p\\\\x00", "used_at": "2025-01-01", "model": "m"}',
        ),
    ]


def test_what_tells_of_persons_or_was_typed_never_lies_in_quarantine(house: House) -> None:
    house.configure(
        columns={**COLUMNS, "user_key": "user", "user_prompt": "text", "ip_address": "ip", "session_id": "s"},
        top={"privacy": {"prompt_texts": "full"}},
    )
    secret = "anna-secret"
    (house.folder / "a.csv").write_bytes(
        f"id,prompt,at,user,text,ip,s\n"
        f"1,p,never,{secret},{secret},{secret},{secret}\n"
        f"2,p,2025-01-01,{secret}\x00,{secret}\x00,{secret}\x00,{secret}\x00\n"
        f"3,{secret},{secret}\n".encode()
    )
    (result,) = house.load()
    assert (result.inserted, result.rejected, result.values_rejected) == (1, 2, 4)
    for table in ("rejected_rows", "prompt_usage"):
        assert house.rows(f"select 1 from raw.{table} as t where t::text like '%{secret}%'") == []


def test_persons_are_pseudonyms_unless_the_settings_say_otherwise(house: House) -> None:
    house.configure(columns={**COLUMNS, "user_key": "user", "ip_address": "ip", "user_agent": "agent"})
    house.write("id,prompt,at,user,ip,agent\n1,p,2025-01-01,anna,10.0.0.1,Firefox\n2,p,2025-01-01,anna,,\n")
    house.load()
    query = "select user_key, ip_hash, user_agent_hash from raw.prompt_usage order by usage_id"
    first, second = house.rows(query)
    assert first == tuple(
        hmac.new(KEY.encode(), word.encode(), "sha256").hexdigest()
        for word in ("anna", "10.0.0.1", "Firefox")
    )
    assert second == (first[0], None, None)
    house.configure(
        columns={**COLUMNS, "user_key": "user", "ip_address": "ip", "user_agent": "agent"},
        top={"privacy": {"persons": "plain"}},
    )
    house.load()
    assert house.rows(query) == [("anna", "10.0.0.1", "Firefox"), ("anna", None, None)]


def test_what_was_typed_is_kept_only_where_the_settings_say_so(house: House) -> None:
    columns = {**COLUMNS, "user_prompt": "text"}
    house.configure(columns=columns)
    long = "x" * 10_000_000
    house.write(
        f'id,prompt,at,text\n1,p,2025-01-01,"a ""long""\ntext"\n2,p,2025-01-01,{long}\n3,p,2025-01-01,\n'
    )
    house.load()
    assert house.rows("select 1 from raw.prompt_texts") == []
    house.configure(columns=columns, top={"privacy": {"prompt_texts": "full"}})
    (result,) = house.load()
    assert result.unchanged == 3
    assert house.rows("select usage_id, user_prompt, enhanced_prompt from raw.prompt_texts order by 1") == [
        ("1", 'a "long"\ntext', None),
        ("2", long, None),
    ]


def test_what_was_typed_is_redacted_before_it_is_kept_and_where_it_was_kept_whole(house: House) -> None:
    columns = {**COLUMNS, "user_prompt": "text"}
    house.write("id,prompt,at,text\n1,p,2025-01-01,write to ann@example.com\n")
    for mode, kept in (("full", "write to ann@example.com"), ("redacted", "write to [EMAIL_1]")):
        house.configure(columns=columns, top={"privacy": {"prompt_texts": mode}})
        house.load()
        assert house.rows("select user_prompt from raw.prompt_texts") == [(kept,)], mode


def test_an_old_time_is_loaded_and_told(house: House) -> None:
    house.write("id,prompt,at\n1,p,1970-01-01\n")
    (result,) = house.load()
    assert (result.inserted, result.values_rejected) == (1, 1)
    ((field, reason),) = house.rows("select field, reason from raw.rejected_rows")
    assert field == "used_at"
    assert reason.startswith("before the start_date")


def test_a_missing_column_stops_the_source_before_it_writes(house: House) -> None:
    house.write("id,prompt,at\n1,p,2025-01-01\n", "a.csv")
    house.write("id,prompt\n1,p\n", "b.csv")
    with pytest.raises(PrismError, match="no column 'at'"):
        house.load()
    assert house.rows("select 1 from raw.load_batches") == []


def test_many_batches_leave_what_one_leaves(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "id,prompt,at\n" + "".join(f"{n % 700},p{n},2025-01-{n % 28 + 1:02}\n" for n in range(1000))
    house.write(text)
    monkeypatch.setattr("orchestration.sources.protocol.BATCH_ROWS", 50)
    monkeypatch.setattr("orchestration.sources.csv_text._BLOCK", 1000)
    monkeypatch.setattr("orchestration.sources.octets._CHUNK", 500)
    results = house.load()
    assert len(results) > 10
    assert total(results, "rows_read") == 1000
    assert total(results, "inserted") == 700
    last = {n % 700: f"p{n}" for n in range(1000)}
    found = dict(house.rows("select usage_id::int, prompt_key from raw.prompt_usage"))
    assert found == last
    assert house.load() == []


# -- libraries


def prompts(*rows: str) -> str:
    return "act,text,state\n" + "".join(f"{row}\n" for row in rows)


@pytest.fixture
def library(house: House) -> House:
    columns = {"name": "act", "user_prompt_template": "text", "status": "state"}
    house.configure(entity="prompts", columns=columns)
    return house


def test_an_edited_prompt_gets_a_version_and_one_that_is_gone_is_marked(library: House) -> None:
    library.write(prompts("A,one,active", "B,two,draft"))
    library.load()
    library.write(prompts("A,one edited,active"))
    (result,) = library.load()
    assert (result.updated, result.deleted) == (1, 1)
    query = "select name, deleted_at is null from raw.prompts order by name"
    assert library.rows(query) == [("A", True), ("B", False)]
    library.write(prompts("A,one edited,active", "B,two,draft"))
    (result,) = library.load()
    assert (result.updated, result.unchanged) == (1, 1)
    assert library.rows(query) == [("A", True), ("B", True)]
    assert library.rows(
        "select p.name, v.version, v.user_prompt_template from raw.prompt_versions as v "
        "inner join raw.prompts as p using (source, prompt_id) order by 1, 2"
    ) == [("A", "1", "one"), ("A", "2", "one edited"), ("B", "1", "two")]


def test_a_library_that_shrinks_by_more_than_a_tenth_is_not_believed(library: House) -> None:
    library.write(prompts(*(f"P{n},text,active" for n in range(62))))
    library.load()
    before = library.rows("select * from raw.prompts order by prompt_id")
    library.write(prompts(*(f"P{n},changed,active" for n in range(50))))
    with pytest.raises(PrismError, match="12 of the 62 prompts known so far are not there any more"):
        library.load()
    assert library.rows("select * from raw.prompts order by prompt_id") == before


def test_a_library_row_that_cannot_be_read_is_not_taken_for_a_deleted_one(library: House) -> None:
    library.write(prompts("A,one,active", "B,two,active"))
    library.load()
    library.write(prompts("A,one,active", "B,two"))
    (result,) = library.load()
    assert (result.rejected, result.deleted, result.unchanged) == (1, 0, 1)


def test_a_file_of_a_library_that_is_still_being_written_deletes_nothing(library: House) -> None:
    library.write(prompts("A,one,active"))
    library.write(prompts("B,two,active"), name="b.csv")
    library.load()
    with (library.folder / "b.csv").open("a"):
        (result,) = library.load()
        assert (result.deleted, result.unchanged) == (0, 1)
    (library.folder / "b.csv").unlink()
    assert [result.deleted for result in library.load()] == [1]


def test_a_number_that_a_name_has_already_is_passed_over(library: House) -> None:
    library.write(prompts("A,1,active", "A,2,active", "A (2),3,active", "A,4,active"))
    library.load()
    assert library.rows("select user_prompt_template, name, display_name from raw.prompts order by 1") == [
        ("1", "A", None),
        ("2", "A (3)", "A"),
        ("3", "A (2)", None),
        ("4", "A (4)", "A"),
    ]


def test_agents_and_mappings_load_from_files(house: House) -> None:
    house.configure(entity="agents", columns={"name": "who"})
    house.write("who\nbot\nbot\nhelper\n")
    (result,) = house.load()
    assert (result.rows_read, result.inserted, result.superseded) == (3, 2, 1)
    house.configure(entity="agent_prompts", columns={"agent_id": "who", "prompt_id": "what"})
    house.write("who,what\nbot,p\nbot,q\n")
    (result,) = house.load()
    assert result.inserted == 2


# -- faults of the server

KILL_ONCE = """
create sequence kill_once;
create function kill_once() returns trigger language plpgsql as $$
begin
    if nextval('kill_once') = 1 then
        perform pg_terminate_backend(pg_backend_pid());
    end if;
    return null;
end $$;
"""


@pytest.mark.parametrize(
    "trigger",
    [
        "create trigger t before insert on raw.prompt_usage for each statement execute function kill_once()",
        "create trigger t after insert on raw.load_batches for each statement execute function kill_once()",
        (
            "create constraint trigger t after insert on raw.load_batches "
            "deferrable initially deferred for each row execute function kill_once()"
        ),
    ],
    ids=["while rows are copied", "at the manifest", "at the commit"],
)
def test_a_backend_that_is_killed_costs_a_retry_and_nothing_twice(house: House, trigger: str) -> None:
    house.write("id,prompt,at\n" + "".join(f"{n},p,2025-01-01\n" for n in range(100)))
    with house.warehouse.connect() as connection:
        connection.execute(KILL_ONCE)
        connection.execute(trigger)  # type: ignore[arg-type]
    (result,) = house.load()
    assert result.inserted == 100
    assert house.rows("select count(*), count(distinct usage_id) from raw.prompt_usage") == [(100, 100)]
    assert house.rows("select count(*) from raw.load_batches") == [(1,)]
    assert house.rows("select last_value > 1 from kill_once") == [(True,)]


def test_a_server_that_stays_away_is_one_clear_error_and_nothing_half_done(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.write("id,prompt,at\n1,p,2025-01-01\n")
    with house.warehouse.connect() as connection:
        connection.execute(
            "create function kill() returns trigger language plpgsql as "
            "$$ begin perform pg_terminate_backend(pg_backend_pid()); return null; end $$"
        )
        connection.execute(
            "create trigger t after insert on raw.load_batches for each statement execute function kill()"
        )
    pauses: list[float] = []
    monkeypatch.setattr("orchestration.loading.load.time.sleep", pauses.append)
    with pytest.raises(PrismError, match="the warehouse went away while a batch was loaded"):
        house.load()
    assert sum(pauses) > 10
    assert house.rows("select 1 from raw.prompt_usage") == []
    house.run("drop function kill cascade")
    assert total(house.load(), "inserted") == 1


def test_a_warehouse_that_is_not_set_up_says_so(house: House) -> None:
    house.write("id,prompt,at\n1,p,2025-01-01\n")
    house.run("drop schema raw cascade")
    with pytest.raises(PrismError, match="prism db setup"):
        house.load()


@pytest.mark.parametrize("really", [True, False], ids=["landed", "did not land"])
def test_a_commit_without_an_answer_is_settled_by_the_batchs_own_record(
    house: House, monkeypatch: pytest.MonkeyPatch, really: bool
) -> None:
    house.write("id,prompt,at\n1,p,2025-01-01\n")
    commit = psycopg.Connection.commit
    lost: list[int] = []

    def unanswered(connection: psycopg.Connection) -> None:
        if not lost:
            with connection.cursor() as cursor:
                written = cursor.execute("select count(*) from raw.load_batches").fetchone()
            if written == (1,):
                lost.append(1)
                if really:
                    commit(connection)
                connection.close()
                raise psycopg.OperationalError("server closed the connection unexpectedly")
        commit(connection)

    monkeypatch.setattr(psycopg.Connection, "commit", unanswered)
    (result,) = house.load()
    assert lost == [1]
    assert result.inserted == 1
    assert house.rows("select batch_id from raw.load_batches") == [(result.batch_id,)]
    assert house.rows("select batch_id from raw.prompt_usage") == [(result.batch_id,)]


def test_two_loads_at_once_leave_what_one_leaves(house: House) -> None:
    house.write("id,prompt,at\n" + "".join(f"{n},p,2025-01-01\n" for n in range(5000)))
    results: list[list[BatchResult]] = []
    start = threading.Barrier(2)

    def run() -> None:
        start.wait()
        results.append(house.load())

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(total(result, "inserted") for result in results) == [0, 5000]
    assert house.rows("select count(*) from raw.load_batches") == [(1,)]


def test_progress_counts_the_rows_read(house: House) -> None:
    house.write("id,prompt,at\n1,p,2025-01-01\n", "a.csv")
    house.write("id,prompt,at\n2,p,2025-01-01\n", "b.csv")
    settings = house.settings
    seen: list[int] = []
    load_source(
        house.warehouse, settings.config.sources[0], settings, progress=lambda done, _: seen.append(done)
    )
    assert seen == [1, 2]
