"""What assets tell Dagster's UI about themselves: row counts, samples, what a load did.

Never a prompt's text, never a person: what is shown here lands in Dagster's event log and stays there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import dagster as dg
import psycopg
from psycopg import sql

from orchestration.loading.load import BatchResult

# one line for people: shown in the UI, and by `prism run` when the night is over
SUMMARY = "summary"
_LONGEST_MESSAGE = 2000
_SAMPLE_ROWS = 5
_SAMPLE_COLUMNS = 12
_MOST_ALERTS = 50
# columns that hold text or persons, or that say nothing to a reader
_HIDDEN = {
    "system_prompt", "user_prompt_template", "prompt_starter", "user_prompt", "enhanced_prompt", "payload",
    "user_key", "session_id", "ip_hash", "user_agent_hash", "owner", "created_by", "note", "watermark",
    "reason", "description", "content_hash", "assigned_to", "done_by",
}  # fmt: skip


def table(connection: psycopg.Connection, schema: str, name: str) -> dict[str, dg.MetadataValue[Any]]:
    """The row count of a table and its first rows and columns."""
    identifier = sql.Identifier(schema, name)
    count = connection.execute(sql.SQL("select count(*) from {}").format(identifier)).fetchone()
    columns = [
        column
        for (column,) in connection.execute(
            "select column_name from information_schema.columns"
            " where table_schema = %s and table_name = %s order by ordinal_position",
            [schema, name],
        )
        if column not in _HIDDEN
    ][:_SAMPLE_COLUMNS]
    rows = connection.execute(
        sql.SQL("select {} from {} limit {}").format(
            sql.SQL(", ").join(map(sql.Identifier, columns)), identifier, sql.Literal(_SAMPLE_ROWS)
        )
    ).fetchall()
    return {
        "dagster/row_count": dg.MetadataValue.int(count[0] if count else 0),
        "dagster/table_name": dg.MetadataValue.text(f"{schema}.{name}"),
        "sample": dg.MetadataValue.md(markdown(columns, rows)),
    }


def open_alerts(connection: psycopg.Connection, schema: str) -> tuple[dict[str, int], str]:
    """How many alerts are not resolved, and how many of each severity are open; and a table of them, the
    worst first, without persons."""
    mart = sql.Identifier(schema, "performance_alerts")
    rows = connection.execute(
        sql.SQL(
            "select left(alert_id, 8), severity, state, rule, prompt_name, domain, first_detected_on, message"
            " from {} where state <> 'resolved' order by"
            " array_position(array['high', 'medium', 'low'], severity), first_detected_on, alert_id"
        ).format(mart)
    ).fetchall()
    counts = {"unresolved": len(rows)}
    for name in ("high", "medium", "low"):
        counts[f"open_{name}"] = sum(row[1:3] == (name, "open") for row in rows)
    columns = ("alert", "severity", "state", "rule", "prompt", "domain", "since", "what was found")
    return counts, markdown(columns, rows[:_MOST_ALERTS])


def loads(results: Sequence[BatchResult]) -> dict[str, dg.MetadataValue[Any]]:
    """What the batches of a load did, summed up, and what there is to say of their places."""
    names = (
        "rows_read",
        "inserted",
        "updated",
        "unchanged",
        "superseded",
        "rejected",
        "values_rejected",
        "deleted",
    )
    counts = {name: dg.MetadataValue.int(sum(getattr(result, name) for result in results)) for name in names}
    notes = "; ".join(sorted({result.note for result in results if result.note}))
    return {**counts, **({"notes": dg.MetadataValue.text(notes[:_LONGEST_MESSAGE])} if notes else {})}


def in_words(results: Sequence[BatchResult]) -> str:
    """What a load did, in one line for people."""
    uses = [result for result in results if result.entity == "usage"]
    new, changed = sum(one.inserted for one in uses), sum(one.updated for one in uses)
    bad = sum(one.rejected + one.values_rejected for one in results)
    line = f"Loaded: {new:,} new and {changed:,} changed uses"
    return f"{line}; {bad:,} rows or values went to raw.rejected_rows" if bad else line


def failure(event: dg.DagsterEvent) -> str:
    """Why a step failed, in the words of whoever raised it."""
    data = event.step_failure_data
    told = data.user_failure_data.description if data.user_failure_data else None
    error = data.error
    while not told and error is not None and error.cause is not None:
        error = error.cause
    return (told or (error.message if error else event.message) or "").strip()[:_LONGEST_MESSAGE]


def failed_loads(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """What the sources of a run failed with, where some have; from their checks, which do not end the run."""
    found = []
    kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    for record in instance.get_records_for_run(run_id, of_type=kind).records:
        event = record.event_log_entry.dagster_event
        check = event.asset_check_evaluation_data if event else None
        if check and not check.passed and check.asset_key == dg.AssetKey(["raw", "load_batches"]):
            found.append(str(check.metadata["failure"].value)[:_LONGEST_MESSAGE])
    return found


def markdown(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A small table for Dagster's UI."""

    def cell(value: object) -> str:
        text = "" if value is None else str(value)
        return text.replace("\n", " ").replace("|", "\\|")[:60]

    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(map(cell, row)) + " |" for row in rows]
    return "\n".join(lines)
