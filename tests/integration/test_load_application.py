"""The application's database into `raw`: snapshots, watermarks, late commits, missing columns, rights."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest
from psycopg import sql

from orchestration.errors import PrismError
from orchestration.library.application import create_tables
from orchestration.loading.load import BatchResult, Progress, load_source
from orchestration.postgres import EmbeddedServer
from orchestration.settings import ApplicationSource, Config, Settings
from orchestration.warehouse import Warehouse

pytestmark = pytest.mark.integration

KEY = "a key of the test"
PROMPT, AGENT = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


class Application:
    """An application's tables in a schema of the warehouse's own database."""

    def __init__(self, warehouse: Warehouse, folder: Path) -> None:
        self.warehouse = warehouse
        self.folder = folder
        self.source = ApplicationSource(name="prism", type="application", schema="app")
        self.privacy: dict[str, str] = {}

    def load(
        self, *, accept_deletions: bool = False, progress: Progress | None = None, **changes: Any
    ) -> list[BatchResult]:
        source = self.source.model_copy(update=changes)
        config = Config.model_validate({"privacy": self.privacy, "timezone": "Europe/Berlin"})
        settings = Settings(
            home=self.folder, config_path=self.folder / "prism.yaml", config=config, hmac_key_text=KEY
        )
        return load_source(
            self.warehouse, source, settings, accept_deletions=accept_deletions, progress=progress
        )

    def usage(self, **changes: Any) -> BatchResult:
        """The load's one batch of usage."""
        (result,) = (result for result in self.load(**changes) if result.entity == "usage")
        return result

    def run(self, query: str, values: Any = None) -> list[tuple[Any, ...]]:
        with self.warehouse.connect() as connection:
            connection.execute("set search_path = app")
            cursor = connection.execute(query, values)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def use(self, count: int = 1, **columns: Any) -> None:
        """Uses of one prompt, with any columns set."""
        given = {"prompt_id": PROMPT, **columns}
        with self.warehouse.connect() as connection:
            connection.execute("set search_path = app")
            connection.execute(
                sql.SQL("insert into prompt_usage ({}) select {} from generate_series(1, {})").format(
                    sql.SQL(", ").join(map(sql.Identifier, given)),
                    sql.SQL(", ").join(map(sql.Literal, given.values())),
                    sql.Literal(count),
                )
            )

    def kept(self, columns: str) -> list[tuple[Any, ...]]:
        return self.run(f"select {columns} from raw.prompt_usage order by used_at, usage_id")


@pytest.fixture
def app(warehouse: Warehouse, tmp_path: Path) -> Application:
    with warehouse.connect() as connection:
        create_tables(connection, "app")
    application = Application(warehouse, tmp_path)
    application.run(
        "insert into prompts (id, name, status, compliance_tags, system_prompt) "
        "values (%s, 'greet', 'active', array['gdpr', 'a \"b\", c'], 'Be kind.')",
        [PROMPT],
    )
    application.run("insert into agents (id, name) values (%s, 'bot')", [AGENT])
    application.run("insert into agent_prompts (agent_id, prompt_id) values (%s, %s)", [AGENT, PROMPT])
    return application


def ago(**spans: float) -> datetime:
    return datetime.now(UTC) - timedelta(**spans)


def test_everything_is_loaded_as_it_stands_there(app: Application) -> None:
    at = datetime(2025, 3, 30, 1, 30, 0, 123456, tzinfo=UTC)
    app.use(
        prompt_version=2, agent_id=AGENT, user_id="anna", session_id="s1", model="m", response_time_ms=1200,
        success=False, error_type="timeout", rating=4, tokens_used=30, input_tokens=10, output_tokens=20,
        cost="0.0001230000", ip_address="10.0.0.1", user_agent='Mozilla/5.0 (X11, "Linux")',
        user_prompt='a "quoted",\nline', created_at=at,
    )  # fmt: skip
    results = app.load()
    assert [(result.entity, result.inserted) for result in results] == [
        ("prompts", 1),
        ("prompt_versions", 0),
        ("agents", 1),
        ("agent_prompts", 1),
        ("usage", 1),
    ]
    (row,) = app.kept(
        "prompt_key, prompt_version, agent_key, user_key, session_id, model, used_at, response_time_ms, "
        "success, is_error, error_type, rating, rating_source, input_tokens, output_tokens, total_tokens, "
        "cost::text, cost_source, ip_hash, user_agent_hash, deleted_at"
    )

    def pseudonym(text: str) -> str:
        return hmac.new(KEY.encode(), text.encode(), "sha256").hexdigest()

    assert row == (
        PROMPT, "2", AGENT, pseudonym("anna"), "s1", "m", at, 1200.0, False, True, "timeout", 4.0, "user",
        10, 20, 30, "0.0001230000", "reported", pseudonym("10.0.0.1"),
        pseudonym('Mozilla/5.0 (X11, "Linux")'), None,
    )  # fmt: skip
    assert app.run("select prompt_id, name, status, compliance_tags, system_prompt from raw.prompts") == [
        (PROMPT, "greet", "active", ["gdpr", 'a "b", c'], "Be kind.")
    ]
    assert app.run("select agent_id, prompt_id from raw.agent_prompts") == [(AGENT, PROMPT)]
    assert app.run("select 1 from raw.prompt_texts") == []


def test_what_was_typed_is_read_only_where_the_settings_say_so(app: Application) -> None:
    app.use(user_prompt='a "quoted",\nline')
    app.privacy = {"prompt_texts": "full"}
    app.load()
    assert app.run("select user_prompt from raw.prompt_texts") == [('a "quoted",\nline',)]


def test_what_was_typed_and_is_emptied_there_goes_here(app: Application) -> None:
    app.use(model="both", user_prompt="typed", enhanced_prompt="better")
    app.use(model="one", user_prompt="typed", enhanced_prompt="better")
    app.use(model="kept", user_prompt="typed")
    app.privacy = {"prompt_texts": "full"}
    app.load()
    app.run("update prompt_usage set user_prompt = null where model <> 'kept'")
    app.run("update prompt_usage set enhanced_prompt = null where model = 'both'")
    # what is older than what was loaded empties nothing
    app.run("update raw.prompt_usage set updated_at = now() + interval '1 hour' where model = 'kept'")
    app.run("update prompt_usage set user_prompt = null where model = 'kept'")
    app.load(compare_days=0)
    assert app.run(
        "select model, user_prompt, enhanced_prompt from raw.prompt_texts "
        "inner join raw.prompt_usage using (source, usage_id) order by 1"
    ) == [("kept", "typed", None), ("one", None, "better")]


def test_the_same_again_changes_nothing(app: Application) -> None:
    app.use(50, created_at=ago(hours=2))
    app.load()
    before = app.kept("*")
    for result in app.load():
        assert (result.inserted, result.updated, result.deleted) == (0, 0, 0)
        assert app.run("select 1 from raw.load_days where batch_id = %s", [result.batch_id]) == []
    assert app.kept("*") == before


def test_a_rating_ten_days_late_comes_with_its_change_and_touches_its_day(app: Application) -> None:
    at = ago(days=10)
    app.use(created_at=at, updated_at=at)
    app.use(created_at=ago(hours=3), updated_at=ago(hours=3))
    app.load()
    app.run("update prompt_usage set rating = 5 where created_at = %s", [at])
    result = app.usage()
    assert (result.updated, result.inserted) == (1, 0)
    day = app.run("select (%s::timestamptz at time zone 'Europe/Berlin')::date", [at])
    assert app.run("select usage_date from raw.load_days where batch_id = %s", [result.batch_id]) == day
    assert app.kept("rating, rating_source") == [(5.0, "user"), (None, None)]
    # it was no late use: the rating came late
    assert app.run("select count(distinct loaded_at), count(distinct batch_id) from raw.prompt_usage") == [
        (1, 2)
    ]


def test_only_what_changed_since_the_watermark_less_the_overlap_is_read_again(app: Application) -> None:
    app.use(30, created_at=ago(days=3), updated_at=ago(days=3))
    app.use(7, created_at=ago(minutes=90), updated_at=ago(minutes=90))
    app.use(5, created_at=ago(minutes=50), updated_at=ago(minutes=50))
    assert app.usage().rows_read == 42
    result = app.usage()
    assert (result.rows_read, result.unchanged) == (12, 12)
    assert app.usage(overlap_minutes=30).rows_read == 5


def test_a_transaction_that_commits_late_and_out_of_order_is_not_lost(app: Application) -> None:
    with app.warehouse.connect() as late:
        late.execute("insert into app.prompt_usage (prompt_id, updated_at) values (%s, now())", [PROMPT])
        app.use(updated_at=datetime.now(UTC))
        assert app.usage().inserted == 1
        late.commit()
    assert app.usage().inserted == 1
    assert len(app.kept("usage_id")) == 2


def test_equal_times_across_the_edge_of_a_batch_are_neither_lost_nor_twice(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestration.sources.protocol.BATCH_ROWS", 100)
    monkeypatch.setattr("orchestration.sources.csv_text._BLOCK", 2000)
    monkeypatch.setattr("orchestration.sources.snapshot._CHUNK", 1000)
    at = ago(hours=1)
    app.use(1000, created_at=at, updated_at=at)
    count = "select count(*) from raw.prompt_usage"

    def break_off(*_: Any) -> None:
        if app.run(count) != [(0,)]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        app.load(progress=break_off, overlap_minutes=0, compare_days=0)
    ((before,),) = app.run(count)
    assert 0 < before < 500
    # nothing but the watermark tells where to go on, and all that is left has its time
    results = [one for one in app.load(overlap_minutes=0, compare_days=0) if one.entity == "usage"]
    assert len(results) > 3
    assert sum(result.inserted for result in results) == 1000 - before
    assert app.run(count) == [(1000,)]


@pytest.mark.parametrize("batches", ["one", "many"])
def test_without_updated_at_the_last_days_are_read_again(
    app: Application, batches: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if batches == "many":
        monkeypatch.setattr("orchestration.sources.protocol.BATCH_ROWS", 1)
        monkeypatch.setattr("orchestration.sources.csv_text._BLOCK", 100)
        monkeypatch.setattr("orchestration.sources.snapshot._CHUNK", 10)
    app.run("drop trigger prompt_usage_updated_at on prompt_usage")
    app.run("alter table prompt_usage drop column updated_at")
    for days in (40, 10, 1):
        app.use(created_at=ago(days=days))
    app.load()
    app.run("update prompt_usage set rating = 4")
    results = [result for result in app.load(reread_days=14) if result.entity == "usage"]
    assert sum(result.updated for result in results) == 2
    assert app.kept("rating") == [(None,), (4.0,), (4.0,)]


def test_a_time_far_ahead_is_quarantined_and_moves_no_watermark(app: Application) -> None:
    app.use(created_at=datetime(2999, 1, 1, tzinfo=UTC), updated_at=datetime(2999, 1, 1, tzinfo=UTC))
    app.use(created_at=ago(hours=1), updated_at=ago(hours=1))
    result = app.usage()
    assert (result.inserted, result.rejected) == (1, 1)
    ((location, reason),) = app.run("select location, reason from raw.rejected_rows where field is null")
    assert location.startswith("app.prompt_usage:")
    assert reason == "used_at: more than 24 hours ahead of the clock"
    app.use(created_at=ago(minutes=5), updated_at=ago(minutes=5))
    assert app.usage().inserted == 1


def test_a_watermark_in_the_future_is_refused(app: Application) -> None:
    app.use()
    app.load()
    app.run("""update raw.load_batches set watermark = '{"read_to": "2999-01-01 00:00:00+00"}'
               where entity = 'usage'""")
    with pytest.raises(PrismError, match="lies in the future"):
        app.load()


def test_a_clock_that_went_back_an_hour_loses_nothing_and_no_watermark_goes_back(app: Application) -> None:
    app.use(created_at=ago(hours=2), updated_at=ago(hours=2))
    app.load()
    ahead = datetime.now(UTC) + timedelta(hours=1)
    app.run(
        "update raw.load_batches set watermark = jsonb_build_object('read_to', %s::text) "
        "where entity = 'usage'",
        [ahead.isoformat(sep=" ")],
    )
    app.use(created_at=datetime.now(UTC), updated_at=datetime.now(UTC))
    assert app.usage().inserted == 1
    (mark,) = app.run(
        "select watermark ->> 'read_to' from raw.load_batches where entity = 'usage' "
        "order by batch_id desc limit 1"
    )
    assert mark == (ahead.isoformat(sep=" "),)


@pytest.mark.parametrize("column", ["prompt_id", "created_at", "id"])
def test_a_missing_required_column_stops_the_source_before_it_writes(app: Application, column: str) -> None:
    app.run(f"alter table prompt_usage drop column {column} cascade")
    with pytest.raises(PrismError, match=f"prompt_usage has no column {column}"):
        app.load()
    assert app.run("select 1 from raw.load_batches") == []


@pytest.mark.parametrize("table", ["prompts", "prompt_usage"])
def test_a_missing_required_table_stops_the_source_before_it_writes(app: Application, table: str) -> None:
    app.run(f"drop table {table} cascade")
    with pytest.raises(PrismError, match=f"there is no table {table}"):
        app.load()
    assert app.run("select 1 from raw.load_batches") == []


def test_an_application_with_the_bare_minimum_is_loaded(app: Application) -> None:
    app.run("create schema bare")
    app.run("create table bare.prompts (id serial, name text)")
    app.run("create table bare.prompt_usage (id bigserial, prompt_id int, created_at timestamp)")
    app.run("insert into bare.prompts (name) values ('a')")
    app.run(
        "insert into bare.prompt_usage (prompt_id, created_at) values (1, '2025-01-01 12:00'), (null, now())"
    )
    results = app.load(db_schema="bare")
    assert [(result.entity, result.inserted, result.rejected) for result in results] == [
        ("prompts", 1, 0),
        ("usage", 1, 1),
    ]
    assert app.kept("usage_id, prompt_key, used_at, updated_at, success, cost") == [
        ("1", "1", datetime(2025, 1, 1, 12, tzinfo=UTC), None, None, None)
    ]
    assert app.run("select version from raw.prompt_versions") == [("1",)]


def test_the_applications_own_versions_are_kept_as_they_are(app: Application) -> None:
    app.run(
        "insert into prompt_versions (prompt_id, version, system_prompt) values (%s, 1, 'a'), (%s, 2, 'b')",
        [PROMPT, PROMPT],
    )
    app.load()
    query = "select version, system_prompt, length(content_hash) from raw.prompt_versions order by 1"
    assert app.run(query) == [("1", "a", 64), ("2", "b", 64)]
    app.load()
    assert app.run(query) == [("1", "a", 64), ("2", "b", 64)]


def test_a_prompt_that_is_deleted_there_is_marked_and_comes_back(app: Application) -> None:
    app.run("insert into prompts (name) values ('gone')")
    app.load()
    app.run("delete from prompts where name = 'gone'")
    deleted = sum(result.deleted for result in app.load())
    assert deleted == 1
    assert app.run("select name from raw.prompts where deleted_at is not null") == [("gone",)]


def test_a_library_that_shrank_on_purpose_is_accepted_where_somebody_says_so(app: Application) -> None:
    app.run("insert into prompts (name) select 'p' || n from generate_series(1, 20) as n")
    app.load()
    app.run("delete from prompts where name like 'p%%'", [])
    with pytest.raises(PrismError, match="20 of the 21 prompts known so far"):
        app.load()
    app.load(accept_deletions=True)
    assert app.run("select name from raw.prompts where deleted_at is null") == [("greet",)]


def test_a_use_of_an_unknown_prompt_is_kept(app: Application) -> None:
    app.run("alter table prompt_usage drop constraint prompt_usage_prompt_id_fkey")
    app.use(prompt_id=AGENT)
    assert app.usage().inserted == 1


def test_a_row_that_is_rejected_night_after_night_stands_in_quarantine_once(app: Application) -> None:
    app.run("alter table prompt_usage alter prompt_id drop not null")
    app.use(prompt_id=None)
    app.use(rating=None, model="x" * 1001)
    for _ in range(3):
        app.load()
    query = "select field, count(*) from raw.rejected_rows where resolved_at is null group by 1 order by 1"
    assert app.run(query) == [("model", 1), (None, 1)]


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_in_another_encoding_is_loaded_and_agrees(
    app: Application, server: EmbeddedServer, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestration.sources.csv_text._BLOCK", 60)  # some pieces are UTF-8, some are not
    name = f"in_{encoding.lower()}"
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(
            sql.SQL("create database {} encoding {} locale 'C' template template0").format(
                sql.Identifier(name), sql.Literal(encoding)
            )
        )
    with psycopg.connect(server.url(name)) as connection:
        connection.execute("set client_encoding = 'UTF8'")
        connection.execute("create schema app create table prompts (id text, name text)")
        connection.execute("create table app.prompt_usage (id text, prompt_id text, created_at timestamptz)")
        connection.execute("insert into app.prompts values ('café', 'crème')")
        connection.execute(
            "insert into app.prompt_usage select 'é' || n, 'café', now() - n * interval '1 minute' "
            "from generate_series(0, 9) as n"
        )
        if encoding == "SQL_ASCII":  # which may hold bytes that are no text
            connection.execute(
                "insert into app.prompt_usage values "
                "(convert_from('\\xe9', 'SQL_ASCII'), convert_from('\\x636166e9', 'SQL_ASCII'), now())"
            )
    url = server.url(name)
    results = [result for result in app.load(url=url) if result.entity == "usage"]
    assert sum(result.inserted for result in results) == 10
    refused = app.run("select distinct reason from raw.rejected_rows where field is null")
    assert refused == ([("usage_id: not UTF-8",)] if encoding == "SQL_ASCII" else [])
    assert app.kept("usage_id, prompt_key") == [(f"é{n}", "café") for n in range(9, -1, -1)]
    assert app.run("select prompt_id, name from raw.prompts") == [("café", "crème")]
    if encoding == "LATIN1":
        assert app.run("select bool_and(agrees), count(differed_at) from raw.reconciliations") == [(True, 0)]
    assert sum(result.inserted + result.updated for result in app.load(url=url)) == 0


# -- what writes while it is read


@pytest.mark.parametrize(("overlap_minutes", "loses"), [(60, False), (0, True)])
def test_of_eight_writers_that_commit_late_and_out_of_order_an_overlap_loses_nothing(
    app: Application, overlap_minutes: int, loses: bool
) -> None:
    random = Random(7)
    app.run("drop trigger if exists prompt_usage_updated_at on prompt_usage")
    with ExitStack() as stack:
        writers = [stack.enter_context(app.warehouse.connect()) for _ in range(8)]
        for _ in range(12):
            for _ in range(20):
                writer = random.choice(writers)
                writer.execute(
                    "insert into app.prompt_usage (prompt_id, updated_at) values (%s, clock_timestamp())",
                    [PROMPT],
                )
                if random.random() < 0.2:
                    writer.commit()
            app.load(overlap_minutes=overlap_minutes, compare_days=0)
        for writer in writers:
            writer.commit()
    app.load(overlap_minutes=overlap_minutes, compare_days=0)
    ((there,), (here,)) = app.run(
        "select count(*) from prompt_usage union all select count(*) from raw.prompt_usage"
    )
    assert there == 240
    assert (here < there) is loses
    app.load()
    assert app.run("select count(*) from raw.prompt_usage") == [(240,)]  # the comparison finds them all


def test_rows_that_change_while_they_are_read_are_whole_and_come_with_the_next_load(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestration.sources.protocol.BATCH_ROWS", 50)
    monkeypatch.setattr("orchestration.sources.csv_text._BLOCK", 1000)
    monkeypatch.setattr("orchestration.sources.snapshot._CHUNK", 500)
    at = ago(hours=3)
    app.use(400, model="old", tokens_used=1, created_at=at, updated_at=at)
    changed = []

    def change(*_: Any) -> None:
        if not changed:
            changed.append(app.run("update prompt_usage set model = 'new', tokens_used = 2"))
            app.run("delete from prompt_usage where id in (select id from prompt_usage limit 5)")

    app.load(progress=change)
    assert app.kept("distinct model, total_tokens, 1 as used_at, 1 as usage_id") == [("old", 1, 1, 1)]
    app.load()
    assert app.run("select model, total_tokens, count(*) from raw.prompt_usage where deleted_at is null "
                   "group by 1, 2") == [("new", 2, 395)]  # fmt: skip


@pytest.mark.parametrize("type_", ["timestamp", "date", "text"])
def test_a_table_whose_times_have_no_zone_or_no_type_is_loaded_night_after_night(
    app: Application, type_: str
) -> None:
    app.run("create schema bare")
    app.run("create table bare.prompts (id serial, name text)")
    app.run(f"create table bare.prompt_usage (id bigserial, prompt_id int, created_at {type_})")
    app.run("insert into bare.prompt_usage (prompt_id, created_at) values "
            "(1, now()::date - 1), (1, now()::date - 1), (1, now()::date - 1)")  # fmt: skip
    assert app.usage(db_schema="bare").inserted == 3
    app.run("insert into bare.prompt_usage (prompt_id, created_at) values (1, now()::date)")
    if type_ == "text":
        app.run("insert into bare.prompt_usage (prompt_id, created_at) values (1, 'yesterday'), (1, null)")
    result = app.usage(db_schema="bare")
    assert (result.inserted, result.unchanged, result.rejected) == (1, 3, 2 if type_ == "text" else 0)


# -- what changes at the source


def test_a_new_column_is_reported_and_a_changed_type_goes_to_quarantine(app: Application) -> None:
    app.use(2, rating=4, created_at=ago(hours=1))
    app.load()
    app.run("alter table prompt_usage drop constraint if exists prompt_usage_rating_check")
    app.run("alter table prompt_usage add mood text, alter rating type text using rating::text")
    app.run("alter table prompts add shelf int")
    app.use(rating="good", model="drifted")
    result = app.usage()
    assert (result.inserted, result.values_rejected) == (1, 1)
    assert app.run("select rating from raw.prompt_usage order by model") == [(None,), (4.0,), (4.0,)]
    assert app.run("select field, reason, payload from raw.rejected_rows") == [
        ("rating", "not a number", "good")
    ]
    assert app.run(
        "select entity, note from raw.load_batches where note is not null order by batch_id desc limit 2"
    ) == [("usage", "columns that are not read: 'mood'"), ("prompts", "columns that are not read: 'shelf'")]


def test_a_renamed_and_an_archived_prompt_stay_the_same_prompt(app: Application) -> None:
    app.use()
    app.load()
    app.run("update prompts set name = 'welcome'")
    app.load()
    assert app.run("select prompt_id, name, status, deleted_at from raw.prompts") == [
        (PROMPT, "welcome", "active", None)
    ]
    app.run("update prompts set status = 'archived'")
    app.load()
    assert app.run("select prompt_id, name, status, deleted_at from raw.prompts") == [
        (PROMPT, "welcome", "archived", None)
    ]
    app.run("alter table prompt_usage drop constraint prompt_usage_prompt_id_fkey")
    app.run("delete from prompts")
    app.load()
    assert app.run("select name, deleted_at is not null from raw.prompts") == [("welcome", True)]
    assert app.kept("prompt_key, deleted_at") == [(PROMPT, None)]  # its uses are history


# -- the comparison of the last days


def uses_of(results: list[BatchResult]) -> dict[str, int]:
    """What a load did with uses, in all batches."""
    fates = ("inserted", "updated", "superseded", "rejected", "deleted")
    batches = [result for result in results if result.entity == "usage"]
    return {fate: done for fate in fates if (done := sum(getattr(batch, fate) for batch in batches))}


def local_day(app: Application, at: datetime) -> Any:
    return app.run("select (%s::timestamptz at time zone 'Europe/Berlin')::date", [at])[0][0]


def many_uses(app: Application, days: int = 9, a_day: int = 4) -> None:
    """Uses with all that is compared, some hours old and older, loaded."""
    for n in range(days):
        at = ago(days=n, hours=2)
        app.use(
            a_day, agent_id=AGENT, session_id="s", model=f"m{n}", prompt_version=3, response_time_ms=1234,
            success=n % 2 == 0, rating=n % 5 + 1, tokens_used=30, input_tokens=10, output_tokens=20,
            cost="0.1234567891", created_at=at, updated_at=at,
        )  # fmt: skip
    app.load()


def test_a_source_that_agrees_is_read_no_more_than_before(app: Application) -> None:
    many_uses(app)
    assert len([one for one in app.load() if one.entity == "usage"]) == 1
    assert app.run(
        "select sum(source_count), sum(kept_count), bool_and(agrees), count(differed_at) "
        "from raw.reconciliations"
    ) == [(36, 36, True, 0)]


@pytest.mark.parametrize("type_", ["real", "double precision", "numeric", "smallint", "integer"])
def test_a_source_agrees_whatever_the_types_of_its_numbers(app: Application, type_: str) -> None:
    app.run("alter table prompt_usage drop constraint if exists prompt_usage_rating_check")
    for column in ("rating", "response_time_ms", "tokens_used"):
        app.run(f"alter table prompt_usage alter {column} type {type_} using {column}::{type_}")
    at = ago(hours=5)
    values = {"rating": 4, "response_time_ms": 12, "tokens_used": 7}
    if type_ in ("real", "double precision", "numeric"):
        values = {"rating": 4.1, "response_time_ms": 0.3, "tokens_used": 7}
    app.use(50, created_at=at, updated_at=at, **values)
    app.load()
    assert app.run("select agrees, differed_at from raw.reconciliations") == [(True, None)]


def test_a_price_of_ours_is_no_difference(app: Application) -> None:
    app.use(3, model="gpt-4o", input_tokens=1000, output_tokens=10, created_at=ago(hours=2))
    app.load(prices=True)
    assert app.kept("cost_source") == [("priced",)] * 3
    assert app.run("select agrees, differed_at from raw.reconciliations") == [(True, None)]


def test_uses_that_are_deleted_there_are_marked_and_their_days_touched(app: Application) -> None:
    app.privacy = {"prompt_texts": "full"}
    many_uses(app)
    app.run("update prompt_usage set user_prompt = 'typed'")
    app.load()
    app.run(
        "delete from prompt_usage where model = 'm4' "
        "and id in (select id from prompt_usage where model = 'm4' limit 2)"
    )
    results = app.load()
    assert uses_of(results) == {"deleted": 2}
    (batch,) = (result for result in results if result.deleted)
    touched = "select usage_date from raw.load_days where batch_id = %s"
    assert app.run(touched, [batch.batch_id]) == [(local_day(app, ago(days=4, hours=2)),)]
    assert app.run("select count(*) from raw.prompt_usage where deleted_at is not null") == [(2,)]
    assert app.run("select count(*) from raw.prompt_texts") == [(34,)]
    assert app.run(
        "select usage_date, source_count, kept_count, agrees, deleted from raw.reconciliations "
        "where differed_at is not null"
    ) == [(local_day(app, ago(days=4, hours=2)), 2, 2, True, 2)]
    assert uses_of(app.load()) == {}


def test_a_use_that_comes_back_loses_its_mark(app: Application) -> None:
    many_uses(app)
    app.run("create table put_away as select * from prompt_usage where model = 'm3' limit 1")
    app.run("delete from prompt_usage where id in (select id from put_away)")
    assert uses_of(app.load()) == {"deleted": 1}
    app.run("insert into prompt_usage select * from put_away")
    assert uses_of(app.load()) == {"updated": 1}
    assert app.run("select count(*) from raw.prompt_usage where deleted_at is not null") == [(0,)]


def test_a_day_that_is_gone_to_its_last_use_is_marked(app: Application) -> None:
    many_uses(app, days=12, a_day=1)
    app.run("delete from prompt_usage where model = 'm7'")
    assert uses_of(app.load()) == {"deleted": 1}
    assert app.run(
        "select source_count, kept_count, agrees from raw.reconciliations where differed_at is not null"
    ) == [(0, 0, True)]


def test_a_comparison_that_would_mark_over_a_tenth_stops_and_says_so(app: Application) -> None:
    many_uses(app)
    app.run("delete from prompt_usage where model in ('m2', 'm3')")
    before = app.kept("*")
    with pytest.raises(PrismError, match="8 of the last 36 uses loaded are not there any more") as failure:
        app.load()
    assert "prism load prism --accept-deletions" in str(failure.value)
    assert app.kept("*") == before
    assert uses_of(app.load(accept_deletions=True)) == {"deleted": 8}


def test_what_the_watermark_passed_over_is_found_by_the_comparison(app: Application) -> None:
    many_uses(app)
    app.use(created_at=ago(days=3), updated_at=ago(days=3))
    assert uses_of(app.load()) == {"inserted": 1}
    assert app.run(
        "select inserted, updated, deleted from raw.reconciliations where differed_at is not null"
    ) == [(1, 0, 0)]


@pytest.mark.parametrize("change", ["rating = 2", "cost = 7", "model = 'x'", "prompt_version = 9"])
def test_a_change_that_left_updated_at_as_it_was_is_found(app: Application, change: str) -> None:
    many_uses(app)
    app.run("drop trigger prompt_usage_updated_at on prompt_usage")
    app.run(f"update prompt_usage set {change} where model = 'm5'")
    assert uses_of(app.load()) == {"updated": 4}


@pytest.mark.parametrize("days", [6, 60])
def test_a_use_whose_time_was_changed_is_moved_and_not_deleted(app: Application, days: int) -> None:
    many_uses(app)
    app.run("drop trigger prompt_usage_updated_at on prompt_usage")
    at = ago(days=days, hours=2)
    app.run("update prompt_usage set created_at = %s where model = 'm3'", [at])
    assert uses_of(app.load()) == {"updated": 4}
    assert app.run("select distinct used_at from raw.prompt_usage where model = 'm3'") == [(at,)]
    assert app.run("select bool_and(agrees) from raw.reconciliations") == [(True,)]


@pytest.mark.parametrize("back", [False, True])
def test_keys_that_were_renumbered_are_other_uses(app: Application, back: bool) -> None:
    if back:
        app.run("alter table prompt_usage drop column id cascade, add column id bigserial primary key")
    many_uses(app)
    new = "uuid default gen_random_uuid()" if back else "bigserial"
    app.run(f"alter table prompt_usage drop column id cascade, add column id {new} primary key")
    with pytest.raises(PrismError, match=r"36 of the last \d+ uses loaded are not there any more"):
        app.load()
    app.load(accept_deletions=True)
    assert app.run("select count(*), count(deleted_at) from raw.prompt_usage") == [(72, 36)]
    assert app.run("select bool_and(agrees) from raw.reconciliations") == [(True,)]


def test_older_days_are_left_alone(app: Application) -> None:
    many_uses(app)
    app.run("delete from prompt_usage where model = 'm6'")
    assert uses_of(app.load(compare_days=5)) == {}
    assert uses_of(app.load(compare_days=0)) == {}
    assert uses_of(app.load()) == {"deleted": 4}


def test_a_day_with_what_can_not_be_loaded_is_read_again_only_once_it_changes(app: Application) -> None:
    many_uses(app)
    app.use(model="x" * 1001, created_at=ago(hours=3), updated_at=ago(hours=3))
    app.use(rating=None, prompt_id=PROMPT, created_at=ago(hours=3), updated_at=ago(hours=3))

    def batches() -> int:
        return len([result for result in app.load() if result.entity == "usage"])

    assert [batches(), batches(), batches()] == [2, 1, 1]
    today = local_day(app, ago(hours=3))
    assert app.run("select usage_date from raw.reconciliations where not agrees") == [(today,)]
    app.run("delete from prompt_usage where model = 'm0' and id = "
            "(select id from prompt_usage where model = 'm0' limit 1)")  # fmt: skip
    assert uses_of(app.load())["deleted"] == 1


def test_a_column_that_goes_away_there_is_no_difference(app: Application) -> None:
    many_uses(app)
    app.run("alter table prompt_usage drop column rating")
    app.load()
    assert app.run("select count(rating) from raw.prompt_usage where model <> 'm0'") == [(32,)]
    assert app.run("select bool_and(agrees), count(differed_at) from raw.reconciliations") == [(True, 0)]


# -- rights


@pytest.fixture
def reader(app: Application, server: Any) -> Iterator[str]:
    """The URL of a role that may read the tables, but is held to row level security."""
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute("create role reader login")
    url = app.warehouse.url.replace("prism@", "reader@")
    app.run("grant usage on schema app to reader")
    app.run("grant select on all tables in schema app to reader")
    yield url
    app.run("drop owned by reader")
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute("drop role reader")


def test_a_role_that_sees_only_some_rows_is_an_error_and_not_a_small_source(
    app: Application, reader: str
) -> None:
    app.use()
    for table in ("prompts", "prompt_versions", "agents", "agent_prompts", "prompt_usage"):
        app.run(f"alter table {table} disable row level security")
    assert app.usage(url=reader).inserted == 1
    app.run("alter table prompt_usage enable row level security")
    with pytest.raises(PrismError, match=r"sees only some rows of app\.prompt_usage"):
        app.load(url=reader)


def test_a_role_without_rights_is_told_so(app: Application, reader: str) -> None:
    app.run("revoke select on agents from reader")
    app.run("alter table prompts disable row level security")
    app.run("alter table prompt_versions disable row level security")
    with pytest.raises(PrismError, match=r"may not read app\.agents"):
        app.load(url=reader)


def test_a_database_that_is_not_there_is_one_clear_error_without_the_password(app: Application) -> None:
    url = "postgresql://someone:hunter2@127.0.0.1:1/nowhere"
    with pytest.raises(PrismError) as failure:
        app.load(url=url)
    assert "sources: prism: url" in str(failure.value)
    assert "hunter2" not in str(failure.value)


def test_a_source_that_goes_away_while_it_is_read_is_read_again(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestration.sources.protocol.BATCH_ROWS", 100)
    monkeypatch.setattr("orchestration.sources.csv_text._BLOCK", 2000)
    monkeypatch.setattr("orchestration.sources.snapshot._CHUNK", 1000)
    app.use(1000, created_at=ago(hours=1), updated_at=ago(hours=1))
    app.use(model="last")
    # the first session that comes to the last row dies; statistics, unlike rows, tell another so at once
    app.run(
        """
        create function breaks(model text) returns text language plpgsql as $$
        begin
            if model = 'last' and not exists (
                select from pg_stat_database where datname = current_database() and sessions_killed > 0
            ) then
                perform pg_terminate_backend(pg_backend_pid());
            end if;
            return model;
        end $$
        """
    )
    app.run("create schema seen")
    for table in ("prompts", "agents"):
        app.run(f"create view seen.{table} as select * from app.{table}")
    app.run(
        "create view seen.prompt_usage as select id, prompt_id, created_at, updated_at, "
        "app.breaks(model) as model from app.prompt_usage"
    )
    results = app.load(db_schema="seen")
    assert app.run("select count(*) from raw.prompt_usage") == [(1001,)]
    assert sum(result.inserted for result in results if result.entity == "usage") == 1001
    killed = "select sessions_killed from pg_stat_database where datname = current_database()"
    assert app.run(killed) == [(1,)]
