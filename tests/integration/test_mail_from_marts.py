"""The digest of marts that dbt has built: its numbers are theirs, and there is one without any use, too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from orchestration.warehouse import Warehouse
from reports import mail
from reports.errors import ReportError
from reports.options import Build, ReportOptions
from tests import report_life

pytestmark = pytest.mark.integration

OPTIONS = ReportOptions(
    as_of_date=report_life.AS_OF,
    build=Build("green", datetime(2026, 3, 2, 1, 30, tzinfo=UTC)),
    base_url="https://reports.example.com",
)


@pytest.fixture(scope="module")
def built(module_warehouse: Warehouse) -> Iterator[psycopg.Connection[Any]]:
    report_life.fill(module_warehouse, days=70, rows=6000)
    report_life.build(module_warehouse)
    with module_warehouse.connect() as connection:
        yield connection


def test_the_digest_says_what_the_marts_say(built: psycopg.Connection[Any]) -> None:
    view = mail.read_digest(built, OPTIONS)
    with built.transaction(), built.cursor(row_factory=dict_row) as cursor:
        month = cursor.execute("select * from marts.dashboard_metrics where period = 'month'").fetchone()
        open_alerts = cursor.execute(
            "select prompt_id, rule from marts.performance_alerts where state <> 'resolved'"
        ).fetchall()
    assert month is not None
    shown = {card.key: card.value.replace("\u202f", " ") for card in view.cards}
    assert shown["usage_count"] == f"{month['usage_count']:,}"
    assert shown["success_rate"] == f"{month['success_rate'] * 100:.1f} %"
    assert shown["average_rating"] == f"{month['average_rating']:.2f}"
    assert shown["total_cost"] == f"${month['total_cost']:,.2f}"
    assert shown["total_prompts"] == "62"
    assert view.subject.startswith(f"Prism 2026-03-01: success {month['success_rate'] * 100:.1f} %")
    assert open_alerts
    left_out = int(view.more_alerts.split()[0]) if view.more_alerts else 0
    assert len(view.alerts) + left_out == len(open_alerts)
    current = [point for point in view.trend if point.current]
    assert len(current) == 30
    assert sum(point.usage_count for point in current) == month["usage_count"]


def test_the_mail_of_real_marts_is_within_its_limits(built: psycopg.Connection[Any]) -> None:
    content = mail.render_digest(mail.read_digest(built, OPTIONS))
    assert content.html is not None and content.chart is not None
    assert len(content.html.encode()) < 90_000
    [message] = mail.compose_all(
        content,
        sender="prism@example.com",
        recipients=["ann@example.com"],
        composed_at=datetime(2026, 3, 2, 1, 35, tzinfo=UTC),
    )
    assert len(message.as_bytes()) < 1_000_000


def test_marts_without_a_prompt_or_a_use_make_a_mail_that_says_so(built: psycopg.Connection[Any]) -> None:
    with built.transaction():
        built.execute("create schema marts_empty")
        for (table,) in built.execute(
            "select tablename from pg_tables where schemaname = 'marts'"
        ).fetchall():
            built.execute(
                sql.SQL("create table {} (like {})").format(
                    sql.Identifier("marts_empty", table), sql.Identifier("marts", table)
                )
            )
        built.execute(
            """
            insert into marts_empty.dashboard_metrics
            select (jsonb_populate_record(null::marts_empty.dashboard_metrics, to_jsonb(real) || counts)).*
            from marts.dashboard_metrics as real
            cross join (
                select jsonb_object_agg(
                    attname, case when atttypid = 'bigint'::regtype then '0'::jsonb else 'null' end
                ) as counts
                from pg_attribute
                where attrelid = 'marts.dashboard_metrics'::regclass and attnum > 0
                    and attname not like 'period%' and attname not like 'target%' and attname <> 'as_of_date'
            ) as nothing
            """
        )
    view = mail.read_digest(built, replace(OPTIONS, marts_schema="marts_empty"))
    assert view.subject == "Prism 2026-03-01: no uses (last 30 days), no open alerts"
    content = mail.render_digest(view)
    assert content.chart is None
    assert "No uses in this period." in content.text


@pytest.mark.parametrize("period", ["day", "week", "quarter", "year", "all"])
def test_every_period_makes_a_mail(built: psycopg.Connection[Any], period: Any) -> None:
    content = mail.render_digest(mail.read_digest(built, replace(OPTIONS, default_period=period)))
    assert content.chart is not None
    assert content.subject.startswith("Prism 2026-03-01: success ")


def test_marts_of_another_date_are_refused(built: psycopg.Connection[Any]) -> None:
    with pytest.raises(ReportError, match="the report was asked for"):
        mail.read_digest(built, replace(OPTIONS, as_of_date=OPTIONS.as_of_date - timedelta(days=1)))
