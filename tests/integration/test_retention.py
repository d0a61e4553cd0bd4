"""What is past its retention goes; what was counted of it stays, whatever comes afterwards."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
import yaml

from orchestration.forgetting.erase import erase
from orchestration.forgetting.retention import Forgotten, retain
from orchestration.loading.load import load_source
from orchestration.settings import Settings, load_settings
from orchestration.warehouse import Warehouse
from tests.dbt import run_dbt
from tests.integration.test_marts_rebuilds import ROLLUPS, VISITORS, build_days, rows
from tests.oracle import life, raw

pytestmark = pytest.mark.integration

AS_OF = date(2025, 3, 31)
NOW = datetime(2025, 4, 1, 2, tzinfo=UTC)
SEALED = date(2025, 2, 28)  # with 31 days
TOUCHED = f"select count(*) from intermediate.int_touched_usage where usage_date <= '{SEALED}'"


def settings_of(folder: Path, retention: dict[str, int], **more: Any) -> Settings:
    (folder / "prism.yaml").write_text(yaml.safe_dump({"retention": retention, **more}))
    return load_settings({"PRISM_HOME": str(folder / "home"), "PRISM_HMAC_KEY": "of the test"}, folder)


def apply(
    warehouse: Warehouse, settings: Settings, *, dry_run: bool = False, most_steps: int = 9
) -> Forgotten:
    with dg.DagsterInstance.ephemeral() as dagster:
        return retain(warehouse, settings, NOW, dagster, dry_run=dry_run, most_steps=most_steps)


def found(warehouse: Warehouse, query: str) -> list[tuple[Any, ...]]:
    with warehouse.connect() as connection:
        return connection.execute(query).fetchall()  # type: ignore[call-overload, no-any-return]


def sealed_rows(connection: psycopg.Connection, table: str) -> list[str]:
    days = {str(SEALED - timedelta(days=n)) for n in range(1000)}
    return [row for row in rows(connection, table) if row.partition("'usage_date': '")[2][:10] in days]


def built_by_itself(warehouse: Warehouse, table: str) -> list[str]:
    """A rollup, built for the days of the last build; its sealed days."""
    run_dbt(warehouse, "run", "--select", table, vars={"as_of_date": AS_OF.isoformat()})
    with warehouse.connect() as connection:
        return sealed_rows(connection, table)


def visitors_after(warehouse: Warehouse, *arguments: str) -> list[list[str]]:
    build_days(warehouse, *arguments)
    with warehouse.connect() as connection:
        return [rows(connection, table) for table in VISITORS]


def test_sealed_days_keep_their_counts_through_late_ratings_erasures_and_full_refreshes(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    log = {
        "name": "log", "type": "files", "path": "*.csv",
        "columns": {"usage_id": "id", "prompt_key": "prompt", "used_at": "at"},
    }  # fmt: skip
    settings = settings_of(tmp_path, {"uses": 31}, sources=[log])
    with warehouse.connect() as connection:
        raw.write(connection, "prompt_usage", life.uses(3, AS_OF, "UTC", count=600))
    old = f"select count(*) from raw.prompt_usage where used_at < '{SEALED}'::date + 1"
    ((uses,),) = found(warehouse, old)
    assert uses > 100

    assert "not built yet" in apply(warehouse, settings).notes[0]
    assert found(warehouse, old) == [(uses,)]

    build_days(warehouse)
    sums = (
        "select sum(usage_count), count(distinct user_key) from intermediate.int_prompt_users_daily "
        f"where usage_date <= '{SEALED}'"
    )
    before, users = {}, found(warehouse, sums)
    with warehouse.connect() as connection:
        for table in ROLLUPS:
            before[table] = sealed_rows(connection, table)
    assert all(before.values())
    trial = apply(warehouse, settings, dry_run=True)
    done = apply(warehouse, settings)
    assert trial.removed == done.removed == {"uses": uses}
    assert trial.sealed_through == done.sealed_through == SEALED
    assert found(warehouse, old) == found(warehouse, TOUCHED) == [(0,)]
    assert apply(warehouse, settings).removed == {}
    assert built_by_itself(warehouse, ROLLUPS[0]) == before[ROLLUPS[0]]

    # a late rating of a sealed day, as the loader takes it
    (tmp_path / "late.csv").write_text("id,prompt,at\n1,p,2025-02-28T23:59:59Z\n2,p,2025-03-01T00:00:00Z\n")
    late = load_source(warehouse, settings.sources[0], settings)[0]
    assert (late.rows_read, late.inserted, late.rejected) == (2, 1, 1)
    assert found(warehouse, "select location, reason from raw.rejected_rows") == [
        ("late.csv:2", "used_at: its day is past retention and sealed")
    ]
    with warehouse.connect() as connection:
        connection.execute("delete from raw.prompt_usage where source = 'log'")
        # and as nothing should write it: a batch that touches sealed days
        raw.write(connection, "prompt_usage", life.uses(3, AS_OF, "UTC", count=600)[:50])
    build_days(warehouse, "--full-refresh")
    with warehouse.connect() as connection:
        for table in ROLLUPS:
            assert sealed_rows(connection, table) == before[table], table

    # an erasure takes the keys alone: the person's, and of a session that was theirs
    sessions = (
        "select sum(usage_count), count(distinct session_id), count(distinct session_id)"
        " filter (where session_id ~ '^erased ') from intermediate.int_prompt_sessions_daily"
        f" where usage_date <= '{SEALED}'"
    )
    before_it = found(warehouse, sessions)
    ((person,),) = found(
        warehouse,
        "select uses.user_key from raw.prompt_usage as uses"
        " inner join intermediate.int_prompt_users_daily as days on uses.user_key = days.user_key"
        " inner join intermediate.int_prompt_sessions_daily as visits"
        " on uses.source = visits.source and uses.session_id = visits.session_id"
        f" where days.usage_date <= '{SEALED}' and visits.usage_date <= '{SEALED}' and not exists ("
        " select from raw.prompt_usage as others where others.session_id = uses.session_id"
        " and others.user_key is distinct from uses.user_key) limit 1",
    )
    with warehouse.connect() as connection:  # as a build leaves it that was killed
        connection.execute(
            "insert into intermediate.int_touched_visitors (visitor_key) values (%s)", [person]
        )
    receipt = erase(warehouse, settings, person)
    assert receipt.found == {}
    assert receipt.removed["int_touched_usage"] > 0
    assert receipt.removed["int_prompt_users_daily (keys of sealed days)"] > 0
    assert found(warehouse, sums) == users
    # as many sessions as before, and of theirs none by its name
    ((counted, known, nameless),) = found(warehouse, sessions)
    assert before_it == [(counted, known, 0)] and nameless > 0
    assert receipt.removed["int_prompt_sessions_daily (sessions of sealed days)"] >= nameless
    # the next night takes the visits of other days back; in sealed ones as many came as before
    erased = "select max(last_date) from intermediate.int_prompt_visitors where visitor_key ~ '^erased '"
    assert found(warehouse, erased) > [(SEALED,)]
    assert visitors_after(warehouse) == visitors_after(warehouse, "--full-refresh")
    assert found(warehouse, erased) <= [(SEALED,)]


def test_each_kind_goes_in_its_time_and_in_bounded_steps(warehouse: Warehouse, tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path, {"texts": 10, "rejected_rows": 10, "outbox": 10, "reports": 10, "dagster_events": 10}
    )
    with warehouse.connect() as connection:
        connection.execute(
            """
            with batch as (
                insert into raw.load_batches (source, entity, started_at, finished_at, rows_read, inserted,
                    updated, unchanged, superseded, rejected)
                values ('a', 'usage', now(), now(), 0, 0, 0, 0, 0, 0) returning batch_id
            ), uses as (
                insert into raw.prompt_usage (source, usage_id, prompt_key, used_at, batch_id, loaded_at)
                select 'a', n::text, 'p', timestamptz '2025-04-01' - n * interval '1 minute', 1, now()
                from generate_series(1, 30000) as n
            ), texts as (
                insert into raw.prompt_texts (source, usage_id, user_prompt, batch_id, loaded_at)
                select 'a', n::text, 'secret', 1, now() from generate_series(1, 30000) as n
            ), mails as (
                insert into ops.outbox (report, as_of_date, recipient, message_id, subject, body, body_sha256,
                    state, created_at)
                select 'digest', date '2025-03-01', state, state, 's', 'secret'::bytea, 'x', state, created_at
                from unnest(array['sent', 'queued', 'failed']) as state, (values
                    (timestamptz '2025-03-01')) as made (created_at)
                union all
                select 'digest', '2025-03-31', 'sent', 'new', 's', 'secret'::bytea, 'x', 'sent', '2025-03-31'
            )
            insert into raw.rejected_rows (batch_id, source, entity, location, reason, rejected_at)
            select batch_id, 'a', 'usage', 'x', 'y', rejected_at
            from batch, (values (timestamptz '2025-03-20'), ('2025-03-31')) as rows (rejected_at)
            """
        )
    whole, own = ("2025-03-20", "2025-03-21", "2025-03-31"), ("2025-03-20", "2025-03-31")
    for name in (*(f"reports/{day}" for day in whole), *(f"reports/domains/legal-1/{day}" for day in own)):
        (settings.home / name).mkdir(parents=True)
        (settings.home / name / "index.html").write_text("")
    (settings.reports_dir / "latest").symlink_to("2025-03-20")
    (settings.home / "mails").mkdir()
    (settings.home / "mails" / "2025-03-20.zip").write_text("")

    first = apply(warehouse, settings, most_steps=1)
    assert first.removed == {
        "texts": 10_000, "rejected_rows": 1, "outbox": 2, "mails": 1, "reports": 2, "dagster_events": 0,
    }  # fmt: skip
    assert first.left["texts"] == 30_000 - 10_000 - 10 * 1440 - 120 + 120
    second = apply(warehouse, settings)
    assert second.removed["texts"] == first.left["texts"]
    assert found(warehouse, "select count(*) from raw.prompt_usage") == [(30_000,)]
    assert found(warehouse, "select message_id from ops.outbox where body <> '' order by 1") == [
        ("new",),
        ("queued",),
    ]
    # the one that `latest` is stays
    assert sorted(path.name for path in settings.reports_dir.iterdir()) == [
        "2025-03-20",
        "2025-03-31",
        "domains",
        "latest",
    ]
    assert [path.name for path in settings.reports_dir.glob("domains/legal-1/*")] == ["2025-03-31"]


def test_old_runs_leave_dagsters_storage_and_running_ones_stay(warehouse: Warehouse, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, {"dagster_events": 1})
    with dg.DagsterInstance.ephemeral() as dagster:

        @dg.job
        def quick() -> None:
            @dg.op
            def nothing() -> None: ...

            nothing()

        quick.execute_in_process(instance=dagster)
        dagster.create_run_for_job(quick, status=dg.DagsterRunStatus.STARTED)
        later = datetime.now(UTC).replace(year=datetime.now(UTC).year + 1, month=3, day=1)
        assert retain(warehouse, settings, later, dagster, dry_run=True).removed == {"dagster_events": 1}
        assert retain(warehouse, settings, later, dagster).removed == {"dagster_events": 1}
        assert [run.status for run in dagster.get_runs()] == [dg.DagsterRunStatus.STARTED]
