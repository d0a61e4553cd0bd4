"""What is past its time, forgotten in bounded steps: texts, uses, quarantine, mails, reports, Dagster's log.

Days whose uses go are sealed first: what was counted of them stays, and nothing builds them anew. A step
that is cut off, or had more to do than one night may, goes on in the next.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import LiteralString

import dagster as dg
import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from orchestration.database import has_table
from orchestration.settings import Settings
from orchestration.warehouse import Warehouse

_ROWS_AT_ONCE = 10_000
_MOST_STEPS = 100
_RUNS_AT_ONCE = 50
_ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)

# Each removes one step's rows; `_COUNTS` says how many there are. %(before)s is an instant.
_STEPS: dict[str, LiteralString] = {
    "texts": """
        delete from raw.prompt_texts where ctid = any(array(
            select texts.ctid from raw.prompt_texts as texts
            left join raw.prompt_usage as uses
                on texts.source = uses.source and texts.usage_id = uses.usage_id
            where coalesce(uses.used_at, texts.loaded_at) < %(before)s
            limit %(most)s
        ))
    """,
    "uses": """
        with gone as (
            delete from raw.prompt_usage where ctid = any(array(
                select ctid from raw.prompt_usage where used_at < %(before)s limit %(most)s
            ))
            returning source, usage_id
        ), texts as (
            delete from raw.prompt_texts as texts using gone
            where texts.source = gone.source and texts.usage_id = gone.usage_id
        )
        select from gone
    """,
    "rejected_rows": """
        delete from raw.rejected_rows where ctid = any(array(
            select ctid from raw.rejected_rows where rejected_at < %(before)s limit %(most)s
        ))
    """,
    # that a mail was sent stays known; one that is still to be sent keeps what it says
    "outbox": """
        update ops.outbox set body = '' where ctid = any(array(
            select ctid from ops.outbox
            where created_at < %(before)s and body <> '' and state in ('sent', 'failed', 'uncertain')
            limit %(most)s
        ))
    """,
}
_COUNTS: dict[str, LiteralString] = {
    "texts": """
        select count(*) from raw.prompt_texts as texts
        left join raw.prompt_usage as uses on texts.source = uses.source and texts.usage_id = uses.usage_id
        where coalesce(uses.used_at, texts.loaded_at) < %(before)s
    """,
    "uses": "select count(*) from raw.prompt_usage where used_at < %(before)s",
    "rejected_rows": "select count(*) from raw.rejected_rows where rejected_at < %(before)s",
    "outbox": """
        select count(*) from ops.outbox
        where created_at < %(before)s and body <> '' and state in ('sent', 'failed', 'uncertain')
    """,
}


@dataclass
class Forgotten:
    """What went, by kind of the settings; ``left`` is what a later night takes; ``notes`` say why not."""

    removed: dict[str, int] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    sealed_through: date | None = None
    notes: list[str] = field(default_factory=list)
    dry_run: bool = False

    @property
    def lines(self) -> list[str]:
        verb = "would be removed" if self.dry_run else "removed"
        told = [f"{kind}: {count:,} {verb}" for kind, count in self.removed.items() if count]
        told += [f"{kind}: {count:,} left for the next night" for kind, count in self.left.items() if count]
        if self.sealed_through is not None:
            told.append(f"days are {'to be ' if self.dry_run else ''}sealed through {self.sealed_through}")
        return [*told, *self.notes] or ["nothing is past its retention"]


def retain(
    warehouse: Warehouse,
    settings: Settings,
    now: datetime,
    dagster: dg.DagsterInstance,
    *,
    dry_run: bool = False,
    most_steps: int = _MOST_STEPS,
) -> Forgotten:
    """Applies ``retention`` of the settings; with ``dry_run`` only counts.

    Uses go only of days that are built as they were loaded: until then they wait, and ``notes`` say so.
    """
    done = Forgotten(dry_run=dry_run)
    keep = settings.config.retention
    today = now.astimezone(settings.zone).date()

    def before(days: int) -> datetime:
        return datetime.combine(today - timedelta(days=days), time(), settings.zone)

    with warehouse.lock("load"), warehouse.connect(autocommit=True) as connection:
        for kind in ("uses", "texts", "rejected_rows", "outbox"):
            days = getattr(keep, kind)
            if days is None:
                continue
            if kind == "uses":
                # not between a rollup's deleting days and writing them
                with warehouse.lock("build"):
                    sealed = _seal(connection, settings, today - timedelta(days=days + 1), done)
                if not sealed:
                    continue
            _rows(connection, kind, before(days), done, most_steps)
        if keep.outbox is not None:
            _files(_dated(settings.home / "mails", today - timedelta(days=keep.outbox)), "mails", done)
        if keep.reports is not None:
            # those of some domains lie beside those of all
            folders = [settings.reports_dir, *sorted(settings.reports_dir.glob("domains/*"))]
            old = today - timedelta(days=keep.reports)
            _files([path for folder in folders for path in _dated(folder, old)], "reports", done)
        if keep.dagster_events is not None:
            _runs(dagster, before(keep.dagster_events).astimezone(UTC), done, most_steps)
        if not dry_run:
            connection.execute("insert into ops.retention_runs (removed) values (%s)", [Jsonb(done.removed)])
    return done


def _seal(connection: psycopg.Connection, settings: Settings, through: date, done: Forgotten) -> bool:
    """Seals the days up to ``through``, where all of them are built; whether their uses may go."""
    row = connection.execute(
        "select max(sealed_through), (select min(used_at) at time zone %s from raw.prompt_usage)"
        " from raw.sealed_days",
        [settings.config.timezone],
    ).fetchone()
    assert row is not None
    sealed, oldest = row
    if oldest is None or oldest.date() > through:
        return False
    if sealed is not None and sealed >= through:
        return True
    if not _is_built(connection, settings.config.timezone, through):
        done.notes.append("uses: some days past retention are not built yet; they stay until a build is done")
        return False
    done.sealed_through = through
    if not done.dry_run:
        with connection.transaction():
            connection.execute(
                "insert into raw.sealed_days (sealed_through, timezone) values (%s, %s)",
                [through, settings.config.timezone],
            )
            # a rollup that is built again by itself builds the days of the last build, from its uses
            for table in ("int_touched_days", "int_touched_usage"):
                if has_table(connection, f"intermediate.{table}"):
                    connection.execute(
                        sql.SQL("delete from {} where usage_date <= %s").format(
                            sql.Identifier("intermediate", table)
                        ),
                        [through],
                    )
    return True


def _is_built(connection: psycopg.Connection, timezone: str, through: date) -> bool:
    """Whether the rollups hold every batch that touched a day up to ``through``, cut in this zone."""
    if not has_table(connection, "intermediate.int_incorporated_batches"):
        return False
    return (
        connection.execute(
            """
            select 1 from raw.load_days as days
            where days.usage_date <= %s and not exists (
                select from intermediate.int_incorporated_batches as built
                where built.batch_id = days.batch_id and built.timezone = %s
            )
            limit 1
            """,
            [through, timezone],
        ).fetchone()
        is None
    )


def _rows(
    connection: psycopg.Connection, kind: str, before: datetime, done: Forgotten, most_steps: int
) -> None:
    values = {"before": before, "most": _ROWS_AT_ONCE}
    removed = 0
    if not done.dry_run:
        for _ in range(most_steps):
            step = connection.execute(_STEPS[kind], values).rowcount
            removed += step
            if step < _ROWS_AT_ONCE:
                break
    row = connection.execute(_COUNTS[kind], values).fetchone()
    assert row is not None
    if done.dry_run:
        done.removed[kind] = row[0]
    else:
        done.removed[kind], done.left[kind] = removed, row[0]


def _dated(folder: Path, before: date) -> list[Path]:
    """What lies there by its date; never what `latest` is."""
    latest = folder / "latest"
    kept = latest.resolve() if latest.exists() else None
    found = []
    for path in sorted(folder.glob("????-??-??*")):
        try:
            day = date.fromisoformat(path.name[:10])
        except ValueError:
            continue
        if day < before and path.resolve() != kept:
            found.append(path)
    return found


def _files(paths: list[Path], kind: str, done: Forgotten) -> None:
    done.removed[kind] = len(paths)
    if done.dry_run:
        return
    for path in paths:
        if path.is_dir():
            # out of sight at once: nobody meets half of a report
            going = path.with_name(f".{path.name}.going")
            path.rename(going)
            shutil.rmtree(going)
        else:
            path.unlink()


def _runs(dagster: dg.DagsterInstance, before: datetime, done: Forgotten, most_steps: int) -> None:
    """Runs that ended, with their events, by Dagster's own means."""
    old = dg.RunsFilter(created_before=before, statuses=list(_ENDED))
    if done.dry_run:
        done.removed["dagster_events"] = dagster.get_runs_count(old)
        return
    removed = 0
    for _ in range(most_steps):
        records = dagster.get_run_records(old, limit=_RUNS_AT_ONCE, ascending=True)
        for record in records:
            dagster.delete_run(record.dagster_run.run_id)
        removed += len(records)
        if len(records) < _RUNS_AT_ONCE:
            break
    done.removed["dagster_events"] = removed
    done.left["dagster_events"] = dagster.get_runs_count(old)
