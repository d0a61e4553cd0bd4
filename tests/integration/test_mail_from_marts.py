"""The digest of marts that dbt has built: its numbers are theirs, and there is one without any use, too."""

from __future__ import annotations

import csv
import html
import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import openpyxl
import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from orchestration import builds, kept_mails, reporting, roles
from orchestration.settings import load_settings
from orchestration.warehouse import Warehouse
from reports import mail
from reports.errors import ReportError
from reports.marts import reading
from reports.options import Build, ReportOptions
from reports.render import render_report
from reports.selection import Selection
from reports.views.digest import Digest, Letter
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


def read(
    connection: psycopg.Connection[Any], options: ReportOptions = OPTIONS, letter: Letter | None = None
) -> Digest:
    """The view of a mail, read from the marts in one snapshot."""
    with reading(connection, options.marts_schema, options.as_of_date) as marts:
        return mail.Desk(marts, options).view(letter or Letter())


def test_the_digest_says_what_the_marts_say(built: psycopg.Connection[Any]) -> None:
    view = read(built)
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
    content = mail.render_digest(read(built))
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
    view = read(built, replace(OPTIONS, marts_schema="marts_empty"))
    assert view.subject == "Prism 2026-03-01: no uses (last 30 days), no open alerts"
    content = mail.render_digest(view)
    assert content.chart is None
    assert "No uses in this period." in content.text


@pytest.mark.parametrize("period", ["day", "week", "quarter", "year", "all"])
def test_every_period_makes_a_mail(built: psycopg.Connection[Any], period: Any) -> None:
    content = mail.render_digest(read(built, replace(OPTIONS, default_period=period)))
    assert content.chart is not None
    assert content.subject.startswith("Prism 2026-03-01: success ")


def test_marts_of_another_date_are_refused(built: psycopg.Connection[Any]) -> None:
    with pytest.raises(ReportError, match="the report was asked for"):
        read(built, replace(OPTIONS, as_of_date=OPTIONS.as_of_date - timedelta(days=1)))


@pytest.mark.parametrize("period", ["week", "month", "quarter"])
def test_a_mail_about_all_prompts_one_by_one_says_what_the_one_about_all_says(
    built: psycopg.Connection[Any], period: Any
) -> None:
    """Cut to every domain there is, the numbers summed anew are those of the marts."""
    options = replace(OPTIONS, default_period=period)
    with reading(built, "marts", OPTIONS.as_of_date) as marts:
        desk = mail.Desk(marts, options)
        domains = tuple(desk.values("domain", Selection()))
        whole, cut = desk.view(Letter()), desk.view(Letter(selection=Selection({"domain": domains})))
    assert cut.headline == whole.headline
    agents = "52 agents"
    cards = [replace(card, detail=card.detail.removesuffix(agents).rstrip(" \u00b7")) for card in whole.cards]
    assert list(cut.cards) == cards
    assert (cut.trend, cut.news, cut.sections) == (whole.trend, whole.news, whole.sections)
    assert [one.alert.alert_id for one in cut.alerts] == [one.alert.alert_id for one in whole.alerts]


def test_the_mails_of_each_domain_are_read_at_once_and_add_up(built: psycopg.Connection[Any]) -> None:
    def uses(view: Digest) -> int:
        return sum(point.usage_count for point in view.trend if point.current)

    with reading(built, "marts", OPTIONS.as_of_date) as marts:
        desk = mail.Desk(marts, OPTIONS)
        views = {
            domain: desk.view(Letter(selection=Selection({"domain": (domain,)}, each="domain")))
            for domain in desk.values("domain", Selection())
        }
        alone = desk.view(Letter(selection=Selection({"domain": ("support",)})))
        whole = desk.view(Letter())
    assert len(views) > 3
    assert sum(uses(view) for view in views.values()) == uses(whole)
    assert sum(view.open_alerts for view in views.values()) == whole.open_alerts
    if "support" in views:
        assert views["support"].cards == alone.cards


def test_the_attached_tables_hold_every_prompt_and_alert_of_the_mail(
    built: psycopg.Connection[Any],
) -> None:
    with reading(built, "marts", OPTIONS.as_of_date) as marts:
        desk = mail.Desk(marts, OPTIONS)
        letter = Letter(kind="weekly", attached=True)
        view = desk.view(letter)
        xlsx, prompts, alerts = desk.tables(letter, ["xlsx", "csv"])
    book = openpyxl.load_workbook(io.BytesIO(xlsx.content))
    assert book["Prompts"].max_row == 1 + 62
    assert len(prompts.content.decode("utf-8-sig").splitlines()) == 1 + 62
    rows = csv.DictReader(io.StringIO(alerts.content.decode("utf-8-sig")))
    assert sum(row["state"] != "resolved" for row in rows) == view.open_alerts
    content = mail.render_digest(view, (xlsx, prompts, alerts))
    [message] = mail.compose_all(
        content,
        sender="prism@example.com",
        recipients=["ann@example.com"],
        composed_at=datetime(2026, 3, 2, 1, 35, tzinfo=UTC),
    )
    parsed = mail.parse(message.as_bytes())
    assert content.html is not None
    assert parsed == replace(content, html=content.html + "\n")
    assert len(message.as_bytes()) < 1_000_000


def test_a_night_keeps_the_mails_of_each_subscription_whose_turn_it_is(
    built: psycopg.Connection[Any], tmp_path: Path
) -> None:
    (tmp_path / "prism.yaml").write_text(
        """
reports:
  sender: prism@example.com
  owner: owner@example.com
  on_failure: last good
  recipients: [ann@example.com]
  lists: {support: [sue@example.com]}
  subscriptions:
    - {name: week, report: weekly, recipients: [ann@example.com], attach: [xlsx], format: text}
    - {name: month, report: monthly, recipients: [ann@example.com]}
    - {name: owners, recipients: {column: owner}, filters: {severity: [high]}}
    - {name: domains, report: weekly, recipients: {column: domain}, attach: [csv]}
""",
        encoding="utf-8",
    )
    settings = load_settings({}, tmp_path)
    kept_mails.keep(built, settings, OPTIONS)  # 2026-03-01 is a Sunday
    mails = kept_mails.kept(settings, OPTIONS.as_of_date)
    assert mails is not None
    with reading(built, "marts", OPTIONS.as_of_date) as marts:
        library = marts.prompts()
    owners, domains = (sorted(library[name].dropna().unique()) for name in ("owner", "domain"))
    assert len(owners) > 1 and len(domains) > 3
    assert [(one.subscription, one.part) for one in mails.kept] == [
        ("digest", None),
        ("week", None),
        *(("owners", owner) for owner in owners),
        *(("domains", domain) for domain in domains),
    ]
    assert mails.hours_without_use is not None and 0 <= mails.hours_without_use < 24
    week = mails.content(mails.kept[1].file)
    assert week.html is None and week.chart is None and "WHAT CHANGED" in week.text
    assert [file.name for file in week.attachments] == ["prism-2026-03-01.xlsx"]
    for one in mails.kept:
        content = mails.content(one.file)
        assert (content.report, content.as_of_date) == (one.subscription, OPTIONS.as_of_date)
        assert (one.part or "Prism") in content.subject
        assert one.stale_file is not None
        stale = mails.content(one.stale_file)
        assert "stale" in stale.subject and "THIS REPORT IS STALE" in stale.text.upper()
        assert stale.attachments == content.attachments
    assert len({one.fingerprint for one in mails.kept}) > 3
    before = mails.path.read_bytes()
    with pytest.raises(ReportError):
        kept_mails.keep(built, settings, replace(OPTIONS, base_url="javascript:alert(1)"))
    assert mails.path.read_bytes() == before


PLANTED = "a text that was planted"


def everything_in(folder: Path) -> str:
    """All that the files of a folder say, packed ones unpacked."""
    said = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as packed:
                    content = b"\n".join(packed.read(name) for name in packed.namelist())
            said.append(html.unescape(content.decode("utf-8", "replace")))
    return "\n".join(said)


def test_the_pages_that_a_mail_of_a_domain_leads_to_hold_nothing_of_another(
    built: psycopg.Connection[Any],
    module_warehouse: Warehouse,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine, other = [
        row[0]
        for row in built.execute(
            "select domain from marts.prompt_performance_summary"
            " where period = 'month' and domain is not null group by 1 order by sum(usage_count) desc limit 2"
        )
    ]
    prompts = built.execute("select prompt_id, domain from marts.prompts").fetchall()
    (uses,) = built.execute(
        "select sum(usage_count) from marts.prompt_performance_summary"
        " where period = 'month' and domain = %s",
        [mine],
    ).fetchone() or (0,)
    persons = [
        key
        for (key,) in built.execute(
            "select distinct user_key from raw.prompt_usage union select session_id from raw.prompt_usage"
        )
        if key
    ]
    built.execute(
        "insert into raw.prompt_texts (source, usage_id, user_prompt, batch_id, loaded_at)"
        " select source, usage_id, %s, 1, now() from raw.prompt_usage limit 1",
        [PLANTED],
    )
    builds.start(built, OPTIONS.as_of_date, "marts", "of the test")
    builds.finish(built, "of the test")
    built.commit()
    (tmp_path / "prism.yaml").write_text(
        f"""
reports:
  base_url: https://reports.example.com
  recipients: [ann@example.com]
  exports: [csv, xlsx]
  lists: {{"{mine}": [sue@example.com], "{other}": [tom@example.com]}}
  subscriptions:
    - {{name: own, recipients: [sue@example.com], filters: {{domain: ["{mine}"]}}, pages: own, attach: [csv]}}
""",
        encoding="utf-8",
    )
    settings = load_settings({}, tmp_path)
    with module_warehouse.acting_as(roles.REPORTER).connect(autocommit=True) as connection:
        _, failures = reporting.render(connection, settings, OPTIONS.as_of_date, "marts")
    assert failures == []

    [folder] = (settings.reports_dir / "domains").iterdir()
    assert (folder / "latest").resolve() == folder / "2026-03-01"
    site = everything_in(folder)
    foreign = [prompt for prompt, domain in prompts if domain != mine]
    assert len(foreign) > 20
    # a planted name would be found: the whole report holds them all
    whole = everything_in(settings.reports_dir / "2026-03-01")
    assert [prompt for prompt, _ in prompts if prompt not in whole] == []
    assert [prompt for prompt in foreign if prompt in site] == []
    assert [prompt for prompt, domain in prompts if domain == mine and prompt not in site] == []
    assert f">{other}<" not in site and f'"{other}"' not in site and "sue@example.com" not in site
    overview = (folder / "latest" / "index.html").read_text(encoding="utf-8")
    assert f"{uses:,} uses".replace(",", "\u202f") in overview or f"{uses:,} uses" in overview

    # of one domain alone there is nothing to tell apart
    assert "By domain" not in (folder / "latest" / "performance.html").read_text(encoding="utf-8")

    mails = kept_mails.of_date(settings, OPTIONS.as_of_date)
    digest, own = (mails.content(one.file) for one in mails.kept)
    links = set(re.findall(r'href="(https://reports.example.com[^"]*)"', own.html or ""))
    assert (
        links
        and {link.rsplit("/", 3)[0] for link in links}
        and all(
            link.startswith(f"https://reports.example.com/domains/{folder.name}/2026-03-01/")
            for link in links
        )
    )
    assert "https://reports.example.com/2026-03-01/index.html" in (digest.html or "")
    said = site + whole + "".join(one.text + (one.html or "") for one in (digest, own))
    assert [person for person in persons if person in said] == [] and PLANTED not in said

    # where the database keeps no domains apart the report of all is made nevertheless
    def unless_whole(connection: Any, folder: Path, options: ReportOptions) -> Any:
        return render_report(connection, folder, options) if options.domains else "the report of all"

    monkeypatch.setattr(reporting, "render_report", unless_whole)
    built.execute("alter table marts.prompts disable row level security")
    built.commit()
    try:
        with module_warehouse.acting_as(roles.REPORTER).connect(autocommit=True) as connection:
            made, failures = reporting.render(connection, settings, OPTIONS.as_of_date, "marts")
    finally:
        built.execute("alter table marts.prompts enable row level security")
        built.commit()
    assert made == "the report of all"
    [failure] = failures
    assert failure.startswith(f"there is no report of {mine} alone: schema marts: nothing guards the rows")


def test_a_subscription_is_shown_even_where_it_is_not_its_turn(
    built: psycopg.Connection[Any], tmp_path: Path
) -> None:
    (tmp_path / "prism.yaml").write_text(
        "reports: {subscriptions: [{name: m, report: monthly, recipients: {column: owner}}]}",
        encoding="utf-8",
    )
    settings = load_settings({}, tmp_path)
    [monthly] = settings.config.reports.all_subscriptions
    content = kept_mails.first_made(built, settings, OPTIONS, monthly)
    assert content.subject.startswith("Prism month to 2026-03-01, prompts of ")
