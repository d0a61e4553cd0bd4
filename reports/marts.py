"""The only queries that reports make: one function a mart, each returning a typed pandas frame.

Reads the schema it is told and nothing else; knows no page, no mail and no formatting. All reads of one
report happen in one snapshot, so that a rebuild in the middle can't show two nights in one report.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Any, LiteralString

import pandas as pd
import psycopg
from psycopg import sql

from reports.errors import ReportError
from reports.format import day

# Kinds of column: what is cast to in SQL, and the pandas type of the frame. Nulls are pandas.NA or None.
_CASTS: Mapping[str, LiteralString] = {
    "text": "text",
    "count": "bigint",
    "number": "double precision",
    "date": "date",
    "time": "timestamptz",
    "flag": "boolean",
}
_DTYPES: Mapping[str, str] = {
    "text": "object",
    "count": "Int64",
    "number": "Float64",
    "date": "object",
    "time": "object",
    "flag": "boolean",
}

_MEASURES: Mapping[str, str] = {
    "usage_count": "count",
    "success_rate": "number",
    "average_rating": "number",
    "average_response_time_ms": "number",
    "total_cost": "number",
}
# The metrics that have a target, which analysts set.
TARGETED = ("success_rate", "average_rating", "average_response_time_ms")
_PREVIOUS: Mapping[str, str] = {f"previous_{name}": kind for name, kind in _MEASURES.items()}

_DASHBOARD: Mapping[str, str] = {
    "period": "text",
    "period_start": "date",
    "period_end": "date",
    "total_prompts": "count",
    "active_prompts": "count",
    "used_prompts": "count",
    "suite_prompts": "count",
    "total_agents": "count",
    "mapped_agents": "count",
    "total_mappings": "count",
    "average_mappings_per_agent": "number",
    **_MEASURES,
    "total_tokens": "count",
    **_PREVIOUS,
    "previous_used_prompts": "count",
    "previous_total_tokens": "count",
    **{f"target_{name}": "number" for name in TARGETED},
    "open_alerts": "count",
    "high_alerts": "count",
    "medium_alerts": "count",
    "low_alerts": "count",
}
_SUMMARY: Mapping[str, str] = {
    "period": "text",
    "period_start": "date",
    "period_end": "date",
    "prompt_id": "text",
    "prompt_name": "text",
    "display_name": "text",
    "domain": "text",
    "complexity_level": "text",
    "status": "text",
    "suite": "text",
    "usage_count": "count",
    "outcome_count": "count",
    "success_count": "count",
    "success_rate": "number",
    "success_rate_low": "number",
    "success_rate_high": "number",
    "error_count": "count",
    "error_rate": "number",
    "rated_count": "count",
    "average_rating": "number",
    "response_time_count": "count",
    "average_response_time_ms": "number",
    "p50_response_time_ms": "number",
    "p95_response_time_ms": "number",
    "p99_response_time_ms": "number",
    "total_tokens": "count",
    "priced_count": "count",
    "total_cost": "number",
    "cost_per_use": "number",
    "cost_per_success": "number",
    "user_count": "count",
    "session_count": "count",
    "last_used_at": "time",
    **_PREVIOUS,
    "health": "text",
}
_TOP: Mapping[str, str] = {
    "period": "text",
    "rank": "count",
    "prompt_id": "text",
    "prompt_name": "text",
    "domain": "text",
    "score": "number",
    "usage_count": "count",
    "success_rate": "number",
    "average_rating": "number",
    "average_response_time_ms": "number",
    "cost_per_use": "number",
}
_ALERTS: Mapping[str, str] = {
    "alert_id": "text",
    "prompt_id": "text",
    "prompt_name": "text",
    "domain": "text",
    "rule": "text",
    "severity": "text",
    "period": "text",
    "metric": "text",
    "comparator": "text",
    "observed_value": "number",
    "threshold": "number",
    "sample_size": "count",
    "first_detected_on": "date",
    "last_detected_on": "date",
    "days_open": "count",
    "resolved_on": "date",
    "state": "text",
    "owner": "text",
    "assigned_to": "text",
    "due_on": "date",
    "observed_low": "number",
    "observed_high": "number",
    "baseline_value": "number",
    "baseline_sample_size": "count",
    "override_reason": "text",
    "message": "text",
    "recommendation": "text",
}
_ALERT_EVENTS: Mapping[str, str] = {
    "alert_id": "text",
    "event_on": "date",
    "event": "text",
    "prompt_id": "text",
    "prompt_name": "text",
    "rule": "text",
    "previous_severity": "text",
    "severity": "text",
    "cause": "text",
}
_ALERT_EVIDENCE: Mapping[str, str] = {"alert_id": "text", "kind": "text", "description": "text"}
_ACTION_ITEMS: Mapping[str, str] = {
    "alert_id": "text",
    "prompt_id": "text",
    "prompt_name": "text",
    "domain": "text",
    "rule": "text",
    "severity": "text",
    "state": "text",
    "assigned_to": "text",
    "due_on": "date",
    "is_overdue": "flag",
    "done_on": "date",
    "done_by": "text",
    "note": "text",
    "effect_metric": "text",
    "before_count": "count",
    "before_value": "number",
    "before_low": "number",
    "before_high": "number",
    "after_count": "count",
    "after_value": "number",
    "after_low": "number",
    "after_high": "number",
    "verdict": "text",
}
_PROMPTS: Mapping[str, str] = {
    "prompt_id": "text",
    "prompt_name": "text",
    "display_name": "text",
    "description": "text",
    "domain": "text",
    "complexity_level": "text",
    "status": "text",
    "suite": "text",
    "owner": "text",
    "compliance_tags": "text",
    "is_listed": "flag",
    "current_version": "text",
    "mapped_agents": "count",
    "first_used_at": "time",
    "last_used_at": "time",
}
_QUALITY: Mapping[str, str] = {
    "source": "text",
    "usage_date": "date",
    "rows_read": "count",
    "rejected_rows": "count",
    "rejected_values": "count",
    "late_rows": "count",
    "usage_count": "count",
    "unpriced_uses": "count",
    "unlisted_uses": "count",
    "is_reconciled": "flag",
    "last_used_at": "time",
    "last_loaded_at": "time",
    "verdict": "text",
    "reasons": "text",
    "notes": "text",
}
_SEGMENT: Mapping[str, str] = {
    "scope": "text",
    "segment": "text",
    "usage_count": "count",
    "outcome_count": "count",
    "success_rate": "number",
    "success_rate_low": "number",
    "success_rate_high": "number",
    "rated_count": "count",
    "average_rating": "number",
    "response_time_count": "count",
    "average_response_time_ms": "number",
    "p50_response_time_ms": "number",
    "p95_response_time_ms": "number",
    "priced_count": "count",
    "total_cost": "number",
    "cost_per_use": "number",
}
_SEGMENTS: Mapping[str, str] = {"period": "text", **_SEGMENT}
_OVER_TIME: Mapping[str, str] = {"grain": "text", "starts_on": "date", "ends_on": "date", **_SEGMENT}
_HOURS: Mapping[str, str] = {
    "period": "text",
    "weekday": "count",
    "usage_hour": "count",
    "usage_count": "count",
    "outcome_count": "count",
    "success_rate": "number",
    "average_response_time_ms": "number",
}
_VERSIONS: Mapping[str, str] = {
    "prompt_id": "text",
    "prompt_version": "text",
    "version_created_at": "time",
    "is_current": "flag",
    "usage_count": "count",
    "outcome_count": "count",
    "success_rate": "number",
    "success_rate_low": "number",
    "success_rate_high": "number",
    "rated_count": "count",
    "average_rating": "number",
    "average_response_time_ms": "number",
    "cost_per_use": "number",
    "first_used_at": "time",
    "last_used_at": "time",
}
# The texts of a library entry; more of one than this is not read for a page.
TEXTS = ("prompt_starter", "system_prompt", "user_prompt_template")
MOST_TEXT = 20_000
_RECOMMENDATIONS: Mapping[str, str] = {
    "prompt_id": "text",
    "prompt_name": "text",
    "rank": "count",
    "priority": "text",
    "action": "text",
    "title": "text",
    "reason": "text",
    "sample_size": "count",
    "expected_saving": "number",
    "expected_successes": "number",
    "basis": "text",
}
_RESPONSE_TIMES: Mapping[str, str] = {
    "prompt_id": "text",
    "bucket_low_ms": "number",
    "bucket_high_ms": "number",
    "usage_count": "count",
}
# Rows of an extract that are in memory at once, and how many of a mart's first columns put them in order.
_BATCH = 20_000
_SORTED_BY = 6
_MODELS: Mapping[str, str] = {
    "period": "text",
    "model": "text",
    "usage_count": "count",
    "priced_count": "count",
    "priced_success_count": "count",
    "unpriced_count": "count",
    "total_cost": "number",
    "failure_cost": "number",
}
_ANOMALIES: Mapping[str, str] = {
    "period": "text",
    "prompt_id": "text",
    "prompt_name": "text",
    "model": "text",
    "anomaly_count": "count",
    "excess_cost": "number",
}
_DISTRIBUTION: Mapping[str, str] = {
    "period": "text",
    "metric": "text",
    "bucket": "count",
    "bucket_low": "number",
    "bucket_high": "number",
    "prompt_count": "count",
    "sampled_prompt_count": "count",
    "prompt_share": "number",
}
_MOVERS: Mapping[str, str] = {
    "scope": "text",
    "prompt_id": "text",
    "prompt_name": "text",
    "week_usage_count": "number",
    "usage_slope": "number",
    "direction": "text",
}
_TREND_DAYS: Mapping[str, str] = {
    "prompt_id": "text",
    "usage_date": "date",
    "usage_count": "count",
    "success_rate": "number",
    "total_cost": "number",
    "week_usage_count": "number",
}
_FORECASTS: Mapping[str, str] = {
    "metric": "text",
    "forecast_date": "date",
    "value": "number",
    "low": "number",
    "high": "number",
    "method": "text",
    "backtest_error": "number",
    "naive_error": "number",
    "interval_coverage": "number",
    "history_days": "count",
}
_COMPARISONS: Mapping[str, str] = {
    "kind": "text",
    "experiment": "text",
    "prompt_id": "text",
    "prompt_name": "text",
    "compares": "text",
    "control": "text",
    "variant": "text",
    "starts_on": "date",
    "ends_on": "date",
    "metric": "text",
    "control_count": "count",
    "variant_count": "count",
    "control_value": "number",
    "variant_value": "number",
    "difference": "number",
    "difference_low": "number",
    "difference_high": "number",
    "is_relative": "flag",
    "confidence": "number",
    "verdict": "text",
}
_RULES: Mapping[str, str] = {
    "kind": "text",
    "name": "text",
    "metric": "text",
    "scope": "text",
    "scope_value": "text",
    "comparator": "text",
    "threshold": "number",
    "medium_cutoff": "number",
    "high_cutoff": "number",
    "minimum_sample": "count",
    "period": "text",
    "meaning": "text",
}
# What one day (or one share of it) adds up to. Means are made of these, never of means.
SUMS: Mapping[str, str] = {
    "usage_count": "count",
    "outcome_count": "count",
    "success_count": "count",
    "error_count": "count",
    "rated_count": "count",
    "rating_sum": "number",
    "response_time_count": "count",
    "response_time_sum_ms": "number",
    "priced_count": "count",
    "total_cost": "number",
}
# The shares that a prompt's uses are broken down by: name shown to readers -> column.
BREAKDOWNS: Mapping[str, str] = {"model": "model", "agent": "agent_name"}


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as dictionaries of Python's own types, with None for every missing value.

    Costs by the column, so convert one large frame, not many small ones.
    """
    names = list(frame.columns)
    # the stubs know no None as na_value
    columns = [frame[name].to_numpy(dtype=object, na_value=None).tolist() for name in names]  # type: ignore[call-overload]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


@dataclass(frozen=True)
class ExtractColumn:
    """A column of a mart: its name, PostgreSQL's name of its type, and its description in the database."""

    name: str
    kind: str
    description: str


@dataclass(frozen=True)
class Extract:
    """A whole mart, or its rows that match; valid inside the transaction that it was made in.

    ``source`` is what stands behind `from`.
    """

    name: str
    description: str
    columns: tuple[ExtractColumn, ...]
    connection: psycopg.Connection[Any]
    source: sql.Composed

    @property
    def names(self) -> list[str]:
        """The columns' names, in order."""
        return [one.name for one in self.columns]

    def count(self) -> int:
        """How many rows there are."""
        row = self.connection.execute(sql.SQL("select count(*) from {}").format(self.source)).fetchone()
        return int(row[0]) if row else 0

    def batches(self) -> Iterator[list[tuple[Any, ...]]]:
        """The rows, :data:`_BATCH` at a time, from a cursor at the server; may be asked for again."""
        query = sql.SQL("select {} from {} order by {}").format(
            sql.SQL(", ").join(sql.Identifier(one.name) for one in self.columns),
            self.source,
            # the grain of each mart lies in its first columns: the same rows come in the same order
            sql.SQL(", ").join(
                sql.Literal(number + 1) for number in range(min(_SORTED_BY, len(self.columns)))
            ),
        )
        with self.connection.cursor(name="extract") as cursor:
            cursor.execute(query)
            while batch := cursor.fetchmany(_BATCH):
                yield batch


def extract_of(
    connection: psycopg.Connection[Any],
    schema: str,
    name: str,
    where: Mapping[str, str] = MappingProxyType({}),
) -> Extract:
    """The mart ``name``, to be read within the transaction that ``connection`` is in.

    ``where``: column and the text that it must equal. Raises :class:`ReportError` for a mart or a column
    that is not there, naming those that are.
    """
    rows = connection.execute(
        """
        select c.relname, coalesce(obj_description(c.oid, 'pg_class'), ''),
            a.attname, format_type(a.atttypid, null), coalesce(col_description(c.oid, a.attnum), '')
        from pg_class c
        join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where c.relnamespace = (select oid from pg_namespace where nspname = %s)
            and c.relkind in ('r', 'v', 'm')
        order by 1, a.attnum
        """,
        (schema,),
    ).fetchall()
    known = sorted({row[0] for row in rows})
    if name not in known:
        raise ReportError(
            f"there is no mart {name!r}",
            where=f"schema {schema}",
            mend=f"There are: {', '.join(known)}." if known else "Build them first: prism run",
        )
    columns = tuple(ExtractColumn(*row[2:]) for row in rows if row[0] == name)
    description = next(row[1] for row in rows if row[0] == name)
    for column in where:
        if column not in {one.name for one in columns}:
            raise ReportError(
                f"the mart has no column {column!r}",
                where=f"{schema}.{name}",
                mend=f"It has: {', '.join(one.name for one in columns)}.",
            )
    source = sql.SQL("{}{}").format(
        sql.Identifier(schema, name),
        sql.SQL("").join(
            sql.SQL(" {} {}::text = {}").format(
                sql.SQL("and" if number else "where"), sql.Identifier(column), sql.Literal(value)
            )
            for number, (column, value) in enumerate(where.items())
        ),
    )
    return Extract(name, description, columns, connection, source)


@contextmanager
def extracting(
    connection: psycopg.Connection[Any],
    schema: str,
    name: str,
    where: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Extract]:
    """:func:`extract_of` in one read-only snapshot that ends with the block; ``connection`` must be idle."""
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read, read only")
        yield extract_of(connection, schema, name, where)


@contextmanager
def reading(connection: psycopg.Connection[Any], schema: str, as_of_date: date) -> Iterator[Marts]:
    """The marts in ``schema``, in one read-only snapshot that ends with the block.

    ``connection`` must be idle. Raises :class:`ReportError` where the marts are not there, lack a column,
    or are those of another date than ``as_of_date``.
    """
    try:
        with connection.transaction():
            connection.execute("set transaction isolation level repeatable read, read only")
            marts = Marts(connection, schema)
            marts.check_date(as_of_date)
            yield marts
    except (
        psycopg.errors.UndefinedTable,
        psycopg.errors.InvalidSchemaName,
        psycopg.errors.UndefinedColumn,
    ) as error:
        raise ReportError(
            f"the marts are not as the report needs them: {error.diag.message_primary}",
            where=f"schema {schema}",
            mend="Build them: prism run, or dbt build in dbt_project/.",
        ) from error


@dataclass(frozen=True)
class Marts:
    """The queries, one method a mart. Made by :func:`reading`, valid inside its block."""

    connection: psycopg.Connection[Any]
    schema: str

    def _frame(
        self, query: sql.Composed, columns: Mapping[str, str], parameters: Mapping[str, Any] | None = None
    ) -> pd.DataFrame:
        rows = self.connection.execute(query, parameters).fetchall()
        frame = pd.DataFrame(rows, columns=list(columns), dtype=object)
        return frame.astype({name: _DTYPES[kind] for name, kind in columns.items()})

    def _table(self, name: str) -> sql.Composable:
        return sql.Identifier(self.schema, name)

    def _mart(
        self,
        name: str,
        columns: Mapping[str, str],
        order: LiteralString | None = None,
        where: LiteralString = "true",
        parameters: Mapping[str, Any] | None = None,
    ) -> pd.DataFrame:
        wanted = [
            sql.SQL("{}::{}").format(sql.Identifier(column), sql.SQL(_CASTS[kind]))
            for column, kind in columns.items()
        ]
        query = sql.SQL("select {} from {} where {}").format(
            sql.SQL(", ").join(wanted), self._table(name), sql.SQL(where)
        )
        if order is not None:
            query += sql.SQL(" order by " + order)
        return self._frame(query, columns, parameters)

    def check_date(self, as_of_date: date) -> None:
        """Raises :class:`ReportError` naming both dates where a mart by period is not of ``as_of_date``."""
        for name in (
            "dashboard_metrics",
            "prompt_performance_summary",
            "top_performing_prompts",
            "performance_alerts",
        ):
            query = sql.SQL("select distinct as_of_date from {} order by 1").format(self._table(name))
            found = [row[0] for row in self.connection.execute(query)]
            if found and found != [as_of_date]:
                raise ReportError(
                    f"the marts are those of {' and '.join(day(one) for one in found)}, "
                    f"but the report was asked for {day(as_of_date)}",
                    where=f"{self.schema}.{name}",
                    mend=f"Build that date first: prism run --date {as_of_date.isoformat()}",
                )
            if not found and name == "dashboard_metrics":
                raise ReportError(
                    f"the marts are empty, so there is nothing to report on for {day(as_of_date)}",
                    where=f"{self.schema}.{name}",
                    mend=f"Build them first: prism run --date {as_of_date.isoformat()}",
                )

    def narrow(self, role: str, domains: Sequence[str]) -> list[str]:
        """Reads on, to the end of the transaction, as ``role`` of these domains; returns marts that have no
        row level security for it, which must not be read then."""
        self.connection.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
        self.connection.execute("select set_config('prism.domains', %s::text[]::text, true)", [list(domains)])
        rows = self.connection.execute(
            """
            select relname from pg_class
            where relnamespace = (select oid from pg_namespace where nspname = %s)
                and relkind in ('r', 'v', 'm') and not row_security_active(oid)
                and not coalesce('security_invoker=true' = any(reloptions), false)
            order by 1
            """,
            [self.schema],
        )
        return [name for (name,) in rows]

    def extract(self, name: str, where: Mapping[str, str] = MappingProxyType({})) -> Extract:
        """A whole mart as it is, to be written to a file: see :func:`extract_of`."""
        return extract_of(self.connection, self.schema, name, where)

    def dashboard(self) -> pd.DataFrame:
        """`dashboard_metrics`: one row a period; rates are 0 to 1, times ms, costs USD."""
        return self._mart("dashboard_metrics", _DASHBOARD, "period")

    def summary(self) -> pd.DataFrame:
        """`prompt_performance_summary`: one row a period and prompt; rates 0 to 1, times ms, costs USD."""
        # so many wide rows the server sorts five times as slowly as it reads them
        summary = self._mart("prompt_performance_summary", _SUMMARY)
        return summary.sort_values(
            ["period", "usage_count", "prompt_id"], ascending=[True, False, True], ignore_index=True
        )

    def top(self) -> pd.DataFrame:
        """`top_performing_prompts`: one row a period and rank."""
        return self._mart("top_performing_prompts", _TOP, "period, rank")

    def alerts(self) -> pd.DataFrame:
        """`performance_alerts`: one row an episode, resolved ones too; worst and longest open first."""
        return self._mart(
            "performance_alerts",
            _ALERTS,
            "array_position(array['high', 'medium', 'low'], severity::text), first_detected_on, alert_id",
        )

    def alert_events(self, first_day: date = date.min) -> pd.DataFrame:
        """`alert_events` from a day on, in the order they came."""
        return self._mart(
            "alert_events",
            _ALERT_EVENTS,
            "event_on, alert_id, event",
            "event_on >= %(first)s",
            {"first": first_day},
        )

    def alert_evidence(self) -> pd.DataFrame:
        """`alert_evidence`: one row an open alert and what speaks for it, the most telling first."""
        return self._mart(
            "alert_evidence",
            _ALERT_EVIDENCE,
            "alert_id, array_position(array['change', 'segment', 'errors'], kind::text), rank",
        )

    def action_items(self) -> pd.DataFrame:
        """`action_items`: one row an alert that somebody took up; values in the unit of their metric."""
        return self._mart("action_items", _ACTION_ITEMS, "alert_id")

    def prompts(self) -> pd.DataFrame:
        """`prompts`: one row a prompt, unlisted ones too."""
        return self._mart("prompts", _PROMPTS, "prompt_name, prompt_id")

    def segments(self) -> pd.DataFrame:
        """`performance_by_segment`: one row a period and segment; the most used first."""
        return self._mart(
            "performance_by_segment", _SEGMENTS, "period, scope, usage_count desc, segment nulls last"
        )

    def over_time(self) -> pd.DataFrame:
        """`performance_over_time`: one row a block of days and segment, the oldest first."""
        return self._mart("performance_over_time", _OVER_TIME, "grain, ends_on, scope, segment nulls last")

    def hours(self) -> pd.DataFrame:
        """`usage_by_hour`: one row a period, weekday and hour with a use."""
        return self._mart("usage_by_hour", _HOURS, "period, weekday, usage_hour")

    def data_quality(self, first_day: date, last_day: date) -> pd.DataFrame:
        """`data_quality`: one row a source and day, of the days asked for."""
        return self._mart(
            "data_quality",
            _QUALITY,
            "source, usage_date",
            "usage_date between %(first)s and %(last)s",
            {"first": first_day, "last": last_day},
        )

    def cost_by_model(self) -> pd.DataFrame:
        """`cost_analysis` summed up by period and model, the dearest first."""
        sums = [
            sql.SQL("sum({})::{}").format(sql.Identifier(name), sql.SQL(_CASTS[kind]))
            for name, kind in _MODELS.items()
            if kind != "text"
        ]
        query = sql.SQL(
            "select period, model, {} from {} group by period, model"
            " order by period, sum(total_cost) desc nulls last, sum(usage_count) desc, model"
        ).format(sql.SQL(", ").join(sums), self._table("cost_analysis"))
        return self._frame(query, _MODELS)

    def cost_anomalies(self, most: int) -> pd.DataFrame:
        """The rows of `cost_analysis` with days out of the ordinary: ``most`` a period, the dearest first."""
        columns = [
            sql.SQL("{}::{}").format(sql.Identifier(column), sql.SQL(_CASTS[kind]))
            for column, kind in _ANOMALIES.items()
        ]
        query = sql.SQL(
            "select {} from (select *, row_number() over (partition by period order by excess_cost desc,"
            " prompt_id, model) as place from {} where anomaly_count > 0) as ranked"
            " where place <= %(most)s order by period, place"
        ).format(sql.SQL(", ").join(columns), self._table("cost_analysis"))
        return self._frame(query, _ANOMALIES, {"most": most})

    def distribution(self, scope: str = "all") -> pd.DataFrame:
        """`performance_distribution` of all prompts together: one row a period, metric and bucket.

        Of the scope ``domain``: one for each domain.
        """
        return self._mart(
            "performance_distribution",
            _DISTRIBUTION,
            "period, metric, bucket",
            "scope = %(scope)s",
            {"scope": scope},
        )

    def movers(self, as_of_date: date, most: int) -> pd.DataFrame:
        """`usage_trends` of the as-of date: all together, and the ``most`` that rise and fall most."""
        return self._mart(
            "usage_trends",
            _MOVERS,
            "abs(usage_slope) desc nulls last, prompt_id",
            "usage_date = %(last)s and (scope = 'all' or (direction in ('rising', 'falling')"
            " and usage_slope_error is not null))",
            {"last": as_of_date},
        ).pipe(
            lambda frame: frame[
                (frame["scope"] == "all") | (frame.groupby(["scope", "direction"]).cumcount() < most)
            ]
        )

    def trend_days(self, prompt_ids: Sequence[str]) -> pd.DataFrame:
        """`usage_trends` of some prompts, day by day."""
        return self._mart(
            "usage_trends",
            _TREND_DAYS,
            "prompt_id, usage_date",
            "scope = 'prompt' and prompt_id = any(%(prompts)s)",
            {"prompts": list(prompt_ids)},
        )

    def trend_days_of_all(self) -> pd.DataFrame:
        """`usage_trends` of all prompts together, day by day."""
        return self._mart("usage_trends", _TREND_DAYS, "usage_date", "scope = 'all'")

    def forecasts(self) -> pd.DataFrame:
        """`usage_forecasts` of all prompts together: one row a metric and coming day."""
        return self._mart("usage_forecasts", _FORECASTS, "metric, forecast_date", "scope = 'all'")

    def comparisons(self) -> pd.DataFrame:
        """`prompt_comparisons`: one row a comparison and metric."""
        return self._mart("prompt_comparisons", _COMPARISONS, "kind, prompt_id, starts_on desc, metric")

    def new_versions(self, first_day: date, timezone: str) -> pd.DataFrame:
        """`prompt_version_performance`: the versions made on ``first_day`` or later, the newest first.

        The first version of a prompt changes nothing, and is left out.
        """
        return self._mart(
            "prompt_version_performance",
            _VERSIONS,
            "version_created_at desc, prompt_id",
            "(version_created_at at time zone %(zone)s)::date between %(first)s and as_of_date"
            " and prompt_version <> '1'",
            {"first": first_day, "zone": timezone},
        )

    def versions(self, prompt_ids: Sequence[str]) -> pd.DataFrame:
        """`prompt_version_performance` of some prompts, the newest version first."""
        return self._mart(
            "prompt_version_performance",
            _VERSIONS,
            "prompt_id, prompt_version is null, version_created_at desc nulls last,"
            " length(prompt_version) desc, prompt_version desc",
            "prompt_id = any(%(prompts)s)",
            {"prompts": list(prompt_ids)},
        )

    def library(self, prompt_ids: Sequence[str]) -> pd.DataFrame:
        """`prompt_library` of some prompts: each of :data:`TEXTS` cut to :data:`MOST_TEXT` characters.

        Beside each text `…_characters`, how long it is; and `mapped_agent_names`, a line each.
        """
        texts: dict[str, str] = dict.fromkeys(TEXTS, "text")
        counts = {f"{name}_characters": "count" for name in TEXTS}
        query = sql.SQL(
            "select prompt_id::text, {}, {}, mapped_agent_names::text from {}"
            " where prompt_id = any(%(prompts)s)"
        ).format(
            sql.SQL(", ").join(sql.SQL("left({}, %(most)s)").format(sql.Identifier(name)) for name in texts),
            sql.SQL(", ").join(sql.SQL("length({})").format(sql.Identifier(name)) for name in texts),
            self._table("prompt_library"),
        )
        columns = {"prompt_id": "text", **texts, **counts, "mapped_agent_names": "text"}
        return self._frame(query, columns, {"prompts": list(prompt_ids), "most": MOST_TEXT})

    def response_times(self, prompt_ids: Sequence[str]) -> pd.DataFrame:
        """`response_time_distribution` of some prompts, the quickest bucket first."""
        return self._mart(
            "response_time_distribution",
            _RESPONSE_TIMES,
            "prompt_id, bucket",
            "prompt_id = any(%(prompts)s)",
            {"prompts": list(prompt_ids)},
        )

    def recommendations(self) -> pd.DataFrame:
        """`prompt_recommendations`: one row a prompt and rule, what to do first first."""
        return self._mart("prompt_recommendations", _RECOMMENDATIONS, "rank")

    def rules(self) -> pd.DataFrame:
        """`rules_in_force`: one row an alert rule, override, target or limit."""
        return self._mart("rules_in_force", _RULES, "kind, name, scope, scope_value")

    def _sums(self) -> sql.Composable:
        return sql.SQL(", ").join(
            sql.SQL("sum({})::{}").format(sql.Identifier(name), sql.SQL(_CASTS[kind]))
            for name, kind in SUMS.items()
        )

    def daily(self, last_day: date, prompt_ids: Sequence[str] | None = None) -> pd.DataFrame:
        """Sums by day of all prompts, or of some: `usage_date` and :data:`SUMS`; a day without uses has no
        row."""
        some = sql.SQL(
            "scope = 'all'"
            if prompt_ids is None
            else "scope = 'prompt' and prompt_id::text = any(%(prompts)s)"
        )
        query = sql.SQL(
            "select usage_date, {} from {} where {} and usage_date <= %(last)s group by 1 order by 1"
        ).format(self._sums(), self._table("usage_daily_totals"), some)
        parameters = {"last": last_day, "prompts": None if prompt_ids is None else list(prompt_ids)}
        return self._frame(query, {"usage_date": "date", **SUMS}, parameters)

    def daily_by(self, column: str, prompt_ids: Sequence[str], last_day: date) -> pd.DataFrame:
        """Some prompts' sums by day and by a column of `prompts`, in one pass over the days.

        Columns `part` (the column's value, null where there is none), `usage_date` and :data:`SUMS`.
        """
        query = sql.SQL(
            "select prompts.{}::text, days.usage_date, {} from {} as days"
            " inner join {} as prompts on prompts.prompt_id = days.prompt_id"
            " where days.scope = 'prompt' and days.usage_date <= %(last)s"
            " and days.prompt_id::text = any(%(prompts)s)"
            " group by 1, 2 order by 1, 2"
        ).format(
            sql.Identifier(column), self._sums(), self._table("usage_daily_totals"), self._table("prompts")
        )
        return self._frame(
            query,
            {"part": "text", "usage_date": "date", **SUMS},
            {"last": last_day, "prompts": list(prompt_ids)},
        )

    def weekly_by_prompt(self, prompt_ids: Sequence[str], first_day: date, last_day: date) -> pd.DataFrame:
        """Some prompts' sums by week, counted back from ``last_day``.

        Columns `prompt_id`, `usage_date` (the week's last day) and :data:`SUMS`.
        """
        query = sql.SQL(
            "select prompt_id::text, %(last)s::date - 7 * ((%(last)s::date - usage_date) / 7), {} from {}"
            " where scope = 'prompt' and prompt_id::text = any(%(prompts)s)"
            " and usage_date between %(first)s and %(last)s group by 1, 2 order by 1, 2"
        ).format(self._sums(), self._table("usage_daily_totals"))
        return self._frame(
            query,
            {"prompt_id": "text", "usage_date": "date", **SUMS},
            {"prompts": list(prompt_ids), "first": first_day, "last": last_day},
        )

    def shares(self, prompt_ids: Sequence[str], first_day: date, last_day: date) -> pd.DataFrame:
        """Some prompts' sums by each of :data:`BREAKDOWNS`, in one pass over the days.

        Columns `prompt_id`, `by` (model or agent), `share` (its name, null where unknown) and
        :data:`SUMS`; the most used first.
        """
        columns = [sql.Identifier(column) for column in BREAKDOWNS.values()]
        pick = [
            sql.SQL(" when grouping({}) = 0 then {}::text").format(column, value)
            for values in ([sql.Literal(by) for by in BREAKDOWNS], columns)
            for column, value in zip(columns, values, strict=True)
        ]
        query = sql.SQL(
            "select prompt_id::text, case {} end, case {} end, {} from {}"
            " where prompt_id::text = any(%(prompts)s) and usage_date between %(first)s and %(last)s"
            " group by grouping sets ({}) order by 1, 2, 4 desc, 3"
        ).format(
            sql.SQL("").join(pick[: len(columns)]),
            sql.SQL("").join(pick[len(columns) :]),
            self._sums(),
            self._table("prompt_usage_daily"),
            sql.SQL(", ").join(sql.SQL("(prompt_id, {})").format(column) for column in columns),
        )
        return self._frame(
            query,
            {"prompt_id": "text", "by": "text", "share": "text", **SUMS},
            {"prompts": list(prompt_ids), "first": first_day, "last": last_day},
        )
