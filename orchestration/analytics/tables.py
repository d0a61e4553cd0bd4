"""Schema ``analytics``: what is read from the marts for the statistics, and where their results are kept.

The only module here that knows the warehouse. Reads daily sums, never single uses, so that a night costs what
its prompts and days cost, however often they are used.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Mapping
from datetime import date

import pandas as pd
import psycopg
from psycopg import sql

from orchestration.analytics import anomalies, comparisons, forecasts

_DAYS = {"usage_date", "first_used_on"}
# Rows that are turned into text at once.
_CHUNK = 50_000
TABLES = ("usage_forecasts", "prompt_comparisons", "cost_anomalies")

_SERIES = """
select
    totals.prompt_id,
    totals.usage_date,
    prompts.first_used_on,
    totals.usage_count,
    totals.outcome_count,
    totals.success_count,
    totals.priced_count,
    totals.total_cost
from {totals} as totals
inner join {prompts} as prompts on totals.prompt_id = prompts.prompt_id
where
    totals.scope = 'prompt'
    and totals.usage_date > %(as_of_date)s::date - %(days)s
    and totals.usage_date <= %(as_of_date)s
"""

_VERSIONS = """
select
    prompt_id,
    prompt_version,
    first_used_on,
    last_used_on,
    {sums}
from {versions}
where prompt_version is not null and usage_count > 0
"""

_EXPERIMENTS = """
select experiment, compares, prompt, control, variant, metric, starts_on, ends_on
from {experiments}
where starts_on <= %(as_of_date)s
"""

_EXPERIMENT_USES = """
select
    usage_date, prompt_id, prompt_name, prompt_version, agent_name, model, {sums}
from {daily}
where
    usage_date between %(first)s and %(as_of_date)s
    and array[prompt_name, prompt_version, agent_name, model] && %(arms)s::text []
group by usage_date, prompt_id, prompt_name, prompt_version, agent_name, model
"""

_COSTS = """
select
    usage_date,
    prompt_id,
    model,
    priced_count,
    total_cost
from {totals}
where
    scope = 'model'
    and usage_date > %(as_of_date)s::date - %(days)s
    and usage_date <= %(as_of_date)s
"""


def refresh(
    connection: psycopg.Connection, as_of_date: date, marts_schema: str
) -> Mapping[str, Mapping[str, int]]:
    """Computes everything for an as-of date from the marts and keeps it; returns each table's key figures.

    One transaction, which is committed by whoever opened ``connection``. Of other dates only the newest is
    kept: it is what the marts hold while an older date is built beside them.
    """
    totals = sql.Identifier(marts_schema, "usage_daily_totals")
    prompts = sql.Identifier(marts_schema, "prompts")
    with connection.transaction():
        results = {
            "usage_forecasts": forecasts.usage_forecasts(
                _copied(
                    connection,
                    sql.SQL(_SERIES).format(totals=totals, prompts=prompts),
                    as_of_date=as_of_date,
                    days=forecasts.WINDOW_DAYS,
                ),
                as_of_date,
            ),
            "prompt_comparisons": _comparisons(connection, as_of_date, marts_schema),
            "cost_anomalies": anomalies.cost_anomalies(
                _copied(
                    connection,
                    sql.SQL(_COSTS).format(totals=totals),
                    as_of_date=as_of_date,
                    days=anomalies.WINDOW_DAYS,
                ),
                as_of_date,
            ),
        }
        for table in TABLES:
            _replace(connection, table, results[table], as_of_date)
    return {
        "usage_forecasts": _figures(
            results["usage_forecasts"].iloc[:: forecasts.HORIZON], "series", "method"
        ),
        "prompt_comparisons": _figures(results["prompt_comparisons"], "comparisons", "verdict"),
        "cost_anomalies": {"anomalies": len(results["cost_anomalies"])},
    }


def _figures(rows: pd.DataFrame, name: str, kinds: str) -> Mapping[str, int]:
    """How many rows there are, and how many of each kind."""
    return {name: len(rows), **{str(kind): int(count) for kind, count in rows[kinds].value_counts().items()}}


def _comparisons(connection: psycopg.Connection, as_of_date: date, marts_schema: str) -> pd.DataFrame:
    daily = sql.Identifier(marts_schema, "prompt_usage_daily")
    versions = sql.Identifier(marts_schema, "prompt_version_performance")
    sums = sql.SQL(", ").join(
        sql.SQL("coalesce(sum({0}), 0)::double precision as {0}").format(sql.Identifier(column))
        for column in comparisons.SUFFICIENT
    )
    values = sql.SQL(", ").join(
        sql.SQL("coalesce({0}, 0)::double precision as {0}").format(sql.Identifier(column))
        for column in comparisons.SUFFICIENT
    )
    experiments = _frame(
        connection,
        sql.SQL(_EXPERIMENTS).format(experiments=sql.Identifier(marts_schema, "experiments")),
        as_of_date=as_of_date,
    )
    return comparisons.prompt_comparisons(
        _frame(connection, sql.SQL(_VERSIONS).format(versions=versions, sums=values)),
        _frame(
            connection,
            sql.SQL(_EXPERIMENT_USES).format(daily=daily, sums=sums),
            as_of_date=as_of_date,
            first=min(experiments["starts_on"], default=as_of_date),
            arms=[*experiments["control"], *experiments["variant"]],
        ),
        experiments,
    )


def _frame(connection: psycopg.Connection, query: sql.Composed, **parameters: object) -> pd.DataFrame:
    cursor = connection.execute(query, parameters)
    assert cursor.description is not None
    return pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description])


def _copied(connection: psycopg.Connection, query: sql.Composed, **parameters: object) -> pd.DataFrame:
    """The same for millions of rows, in less memory: text and days by code, numbers as doubles."""
    content = io.BytesIO()
    copy = sql.SQL("copy ({}) to stdout (format csv, header)").format(query)
    with connection.cursor() as cursor, cursor.copy(copy, parameters) as stream:
        for chunk in stream:
            content.write(chunk)
    content.seek(0)
    coded = dict.fromkeys(["prompt_id", "model", *_DAYS], "category")
    # only what is empty is null: a model may be called NA
    frame = pd.read_csv(
        content, dtype=defaultdict(lambda: "float64", coded), keep_default_na=False, na_values=[""]
    )
    for name in _DAYS & set(frame.columns):
        frame[name] = pd.to_datetime(frame[name].cat.categories)[frame[name].cat.codes.to_numpy()]
    return frame


def _replace(connection: psycopg.Connection, table: str, rows: pd.DataFrame, as_of_date: date) -> None:
    """Puts ``rows`` in the place of those of their date and of older ones; keeps the newest date."""
    name = sql.Identifier("analytics", table)
    connection.execute(
        sql.SQL(
            "delete from {name} where as_of_date <= %s or as_of_date < (select max(as_of_date) from {name})"
        ).format(name=name),
        [as_of_date],
    )
    columns = sql.SQL(", ").join(map(sql.Identifier, ["as_of_date", *rows.columns]))
    copy = sql.SQL("copy {} ({}) from stdin").format(name, columns)
    with connection.cursor() as cursor, cursor.copy(copy) as stream:
        for start in range(0, len(rows), _CHUNK):
            chunk = rows.iloc[start : start + _CHUNK]
            for row in chunk.astype(object).where(chunk.notna(), None).itertuples(index=False, name=None):
                stream.write_row((as_of_date, *row))
