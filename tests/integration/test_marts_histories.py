"""Whatever the order and the split in which a history is loaded, it ends in the same marts as one full build.

Random histories: uses in batches of any size and order, uses that change, move to another day and are deleted
later, prompts that are renamed, that take another's key, or that the library learns of late, agents that are
renamed; after any of these a night, of the newest date or the same again. Compared is every column of every
mart and of what marts are made of by day, but for what says when something was built.
"""

from __future__ import annotations

import os
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import sql

from orchestration.warehouse import Warehouse
from tests.dbt import run_dbt
from tests.oracle import raw

pytestmark = [pytest.mark.long, pytest.mark.integration]

FIRST = date(2024, 12, 20)
# across a year's end and whole months, so that some months are one span
DAYS = 75
AS_OF = FIRST + timedelta(days=DAYS - 1)
PROMPTS, NAMES, AGENTS = ("p1", "p2", "p3"), ("one", "two", "three"), ("a1", "a2")
KEYS = (*PROMPTS, *NAMES, "stranger")
# What is kept from night to night, and what is put together from it. Left out are alerts and verdicts on
# loads, which tell of nights and batches, and so depend on which there were.
MODELS = (
    "int_incorporated_batches", "prompts", "prompt_usage_daily", "usage_daily_totals", "usage_trends",
    "prompt_version_performance", "performance_by_segment", "performance_over_time", "usage_by_hour",
    "cost_analysis", "agent_costs", "int_prompt_periods", "response_time_distribution", "int_prompt_reach",
)  # fmt: skip
BOOKKEEPING = {
    "int_incorporated_batches", "int_pending_batches", "int_touched_days", "int_touched_visitors",
    "int_visitor_days", "int_day_builds", "int_daily_basis", "int_daily_inputs", "int_daily_changes",
}  # fmt: skip
# CI looks at the same few histories each time; a trial at as many other ones as one likes
EXAMPLES = os.environ.get("PRISM_HISTORIES")

moments = st.builds(
    lambda day, hour: datetime.fromisoformat(f"{FIRST + timedelta(days=day)}T{hour:02d}:30:00+00:00"),
    st.integers(0, DAYS),
    st.integers(0, 23),
)
uses = st.fixed_dictionaries(
    {
        "usage_id": st.integers(0, 25).map("use {}".format),
        "prompt_key": st.sampled_from(KEYS),
        "prompt_version": st.sampled_from([None, "1", "2"]),
        "agent_key": st.sampled_from([None, *AGENTS, "clerk"]),
        "user_key": st.sampled_from([None, "ann", "bob", "eve"]),
        "session_id": st.sampled_from([None, "s1", "s2", "s3"]),
        "model": st.sampled_from([None, "small", "large"]),
        "used_at": moments,
        "response_time_ms": st.sampled_from([None, 0.0, 1.0, 250.0, 4000.0]),
        "success": st.sampled_from([None, True, False]),
        "rating": st.sampled_from([None, 1.0, 4.0, 5.0]),
        "total_tokens": st.sampled_from([None, 0, 100]),
        "cost": st.sampled_from([None, Decimal(0), Decimal("0.25")]),
        "deleted_at": st.sampled_from([None, None, None, raw.at("2025-03-01")]),
    }
)
batches = st.tuples(
    st.just("prompt_usage"),
    st.sampled_from(["app", "gateway"]),
    st.lists(uses, min_size=1, max_size=12, unique_by=lambda use: use["usage_id"]),
)
prompts = st.tuples(
    st.just("prompts"),
    st.just("app"),
    st.lists(
        st.builds(
            lambda key, name, gone: {
                "prompt_id": key,
                "name": name,
                "domain": name[:1],
                "created_at": raw.at("2024-01-01") + timedelta(days=PROMPTS.index(key)),
                "deleted_at": raw.at("2025-03-01") if gone else None,
            },
            st.sampled_from(PROMPTS),
            st.sampled_from(NAMES),
            st.sampled_from([False, False, True]),
        ),
        min_size=1,
        max_size=3,
        unique_by=lambda row: row["prompt_id"],
    ),
)
agents = st.tuples(
    st.just("agents"),
    st.just("app"),
    st.builds(
        lambda key, name: [{"agent_id": key, "name": name}],
        st.sampled_from(AGENTS),
        st.sampled_from(["clerk", "broker"]),
    ),
)
# the loads of each night, and by how many days its as-of date lies before the last one
histories = st.lists(
    st.tuples(
        st.lists(st.one_of(batches, batches, prompts, agents), min_size=1, max_size=3),
        st.sampled_from([0, 0, 1, 40]),
    ),
    min_size=2,
    max_size=3,
)


def night(warehouse: Warehouse, as_of: date) -> None:
    run_dbt(
        warehouse,
        "run",
        "--select",
        *(f"+{model}" for model in MODELS),
        vars={"as_of_date": as_of.isoformat()},
    )


def forget(connection: psycopg.Connection[Any]) -> None:
    """All that dbt has made, as on a first build."""
    connection.execute("drop schema if exists staging, intermediate, marts cascade")
    connection.commit()


def contents(connection: psycopg.Connection[Any]) -> dict[str, list[str]]:
    """Every table's rows, sorted; doubles rounded, as the order they are summed in may differ."""
    tables = connection.execute(
        "select table_schema, table_name from information_schema.tables"
        " where table_schema in ('intermediate', 'marts') and table_type = 'BASE TABLE'"
    ).fetchall()
    found = {}
    for schema, table in tables:
        if table not in BOOKKEEPING:
            rows = connection.execute(
                sql.SQL("select to_jsonb(t) from {} as t").format(sql.Identifier(schema, table))
            )
            found[table] = sorted(
                str(
                    {
                        name: round(value, 6) if isinstance(value, float) else value
                        for name, value in row.items()
                    }
                )
                for (row,) in rows
            )
    return found


@settings(
    max_examples=int(EXAMPLES or 2),
    derandomize=EXAMPLES is None,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(histories)
def test_any_history_of_nights_ends_in_the_marts_of_one_full_build(
    module_warehouse: Warehouse, history: list[tuple[list[tuple[str, str, list[raw.Row]]], int]]
) -> None:
    with module_warehouse.connect() as connection:
        connection.execute(
            "truncate raw.load_batches, raw.load_days, raw.prompts, raw.agents, raw.prompt_usage cascade"
        )
        forget(connection)
    for loads, days_before in history:
        with module_warehouse.connect() as connection:
            for table, source, rows in loads:
                raw.write(connection, table, rows, source=source)
        night(module_warehouse, AS_OF - timedelta(days=days_before))
    night(module_warehouse, AS_OF)
    with module_warehouse.connect() as connection:
        in_nights = contents(connection)
        forget(connection)
    night(module_warehouse, AS_OF)
    with module_warehouse.connect() as connection:
        at_once = contents(connection)
    assert len(at_once) > 20
    assert {table for table in at_once if at_once[table] != in_nights.get(table)} == set()
