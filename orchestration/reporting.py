"""Settings and builds on one side, `reports` on the other: render a date's report and mails, tell the owner.

The report package knows no settings and no builds; this module hands them in. What is sent to whom is
:mod:`orchestration.mailing`'s.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from importlib.metadata import version
from pathlib import Path

import psycopg

from orchestration import builds, kept_mails, mailing, subscriptions
from orchestration.errors import PrismError
from orchestration.partitions import last_ended_day
from orchestration.settings import RecipientsOfColumn, Settings, Source, Subscription
from orchestration.warehouse import Warehouse, open_warehouse, setup
from reports import mail, outbox
from reports.domains import folder_of
from reports.errors import ReportError
from reports.mail import Content
from reports.marts import reading
from reports.options import Build, ReportOptions, Setting
from reports.render import MANIFEST, RenderedReport, render_report
from reports.views.operations import OperationsNotice, heartbeat_notice, source_notice


def in_force(settings: Settings, server_version: int) -> tuple[Setting, ...]:
    """What of the settings readers of a report may know: named one by one, so that no secret slips in."""
    config = settings.config
    reports = config.reports

    def source(one: Source) -> str:
        places = [str(getattr(one, name)) for name in ("path", "db_schema") if hasattr(one, name)]
        return f"{one.type}, {', '.join(places)}" + (
            ", list prices where no cost is told" if one.prices else ""
        )

    def readers(one: Subscription) -> str:
        if isinstance(one.recipients, RecipientsOfColumn):
            return f"each {one.recipients.column} of prompts"
        return ", ".join(one.recipients) or "nobody"

    sent = (
        "by the SMTP server of PRISM_SMTP_URL" if settings.smtp_url else "kept in the outbox: no SMTP server"
    )
    major = server_version // 10_000
    return (
        Setting("Report", "Shown first", reports.default_period, "reports.default_period"),
        Setting("Report", "Tables as files", ", ".join(reports.exports) or "none", "reports.exports"),
        Setting("Report", "Made at (cron)", f"{reports.schedule} {config.timezone}", "reports.schedule"),
        Setting(
            "Report", "Published at", reports.base_url or "nowhere: it lies in files", "reports.base_url"
        ),
        Setting("Report", "Time zone of days", config.timezone, "timezone"),
        Setting("Report", "First day", config.start_date.isoformat(), "start_date"),
        *(
            Setting(
                "Mail",
                f"Subscription {one.name}",
                f"{one.report}, {subscriptions.turn(one)}, to {readers(one)}",
                "reports.subscriptions",
            )
            for one in reports.all_subscriptions
        ),
        Setting("Mail", "Failures go to", reports.owner or "nobody", "reports.owner"),
        Setting("Mail", "Comes from", reports.sender, "reports.sender"),
        Setting("Mail", "Sent", sent),
        *(Setting("Sources", one.name, source(one), "sources") for one in settings.sources),
        Setting("Privacy", "Persons", config.privacy.persons, "privacy.persons"),
        Setting("Privacy", "Texts of calls", config.privacy.prompt_texts, "privacy.prompt_texts"),
        *(
            Setting("Versions", name, version(package))
            for name, package in (("Prism", "prism-performance"), ("dbt", "dbt-core"), ("Dagster", "dagster"))
        ),
        Setting("Versions", "PostgreSQL", f"{major}.{server_version % 10_000}"),
        Setting("Versions", "Python", platform.python_version()),
    )


def render(
    connection: psycopg.Connection, settings: Settings, as_of_date: date, marts_schema: str
) -> tuple[RenderedReport, list[str]]:
    """Renders the pages and the mails of the marts as they are, and the pages of some domains that mails
    lead to.

    Returns the whole report, and why pages of domains could not be made: that keeps back the mails that lead
    to them (:mod:`orchestration.mailing`), and nobody else's. Raises :class:`PrismError` where the newest
    build is not green, :class:`ReportError` where the marts are of another date.
    """
    options = _options(connection, settings, as_of_date, marts_schema)
    kept_mails.keep(connection, settings, options)
    whole = render_report(connection, settings.reports_dir, options)
    failures = []
    for domains in _readers_domains(settings, as_of_date):
        try:
            render_of_domains(connection, settings, as_of_date, marts_schema, domains)
        except ReportError as error:
            failures.append(f"there is no report of {', '.join(domains)} alone: {error}")
    return whole, failures


def _readers_domains(settings: Settings, as_of_date: date) -> list[tuple[str, ...]]:
    """The domains of each report that a kept mail of the date leads to, each set once."""
    by_name = {one.name: one for one in settings.config.reports.all_subscriptions}
    kept = kept_mails.of_date(settings, as_of_date).kept
    wanted = (subscriptions.domains(by_name[one.subscription], one.part) for one in kept)
    return sorted({tuple(sorted(set(domains))) for domains in wanted if domains})


def check_domains(
    connection: psycopg.Connection, as_of_date: date, marts_schema: str, domains: Sequence[str]
) -> None:
    """Raises :class:`PrismError` for a domain that no prompt is of."""
    with reading(connection, marts_schema, as_of_date) as marts:
        known = sorted(marts.prompts()["domain"].dropna().unique())
    for domain in domains:
        if domain not in known:
            raise PrismError(
                f"no prompt is of the domain {domain!r}",
                where="prism report --domain",
                mend=f"There are: {', '.join(known)}." if known else "There is none yet.",
            )


def render_of_domains(
    connection: psycopg.Connection,
    settings: Settings,
    as_of_date: date,
    marts_schema: str,
    domains: Sequence[str],
) -> RenderedReport:
    """Renders the pages of some domains alone, which say nothing of other domains and of nobody's mails.

    Raises :class:`ReportError` where the database does not keep the domains apart, :class:`PrismError` as
    :func:`render` does.
    """
    options = _options(connection, settings, as_of_date, marts_schema)
    shown = ("Report", "Privacy", "Versions")
    of_them = replace(
        options,
        title=f"{options.title}: {', '.join(domains)}",
        settings=tuple(one for one in options.settings if one.group in shown),
        domains=tuple(domains),
    )
    return render_report(connection, settings.reports_dir / folder_of(domains), of_them)


def _options(
    connection: psycopg.Connection, settings: Settings, as_of_date: date, marts_schema: str
) -> ReportOptions:
    build = builds.latest(connection, marts_schema)
    if build is None or build.state != "green" or build.as_of_date != as_of_date:
        state = "none" if build is None else f"that of {build.as_of_date}, and {build.state}"
        raise PrismError(
            f"there is no good build of {as_of_date} to report on; the newest is {state}"
            + (f": {'; '.join(build.failures)}" if build and build.failures else ""),
            where=f"schema {marts_schema}",
            mend=f"Mend what failed, if anything, and run: prism run --date {as_of_date} --no-send",
        )
    base_url = settings.config.reports.base_url
    return ReportOptions(
        as_of_date=as_of_date,
        build=Build("green", build.finished_at),
        marts_schema=marts_schema,
        timezone=settings.config.timezone,
        default_period=settings.config.reports.default_period,
        base_url=base_url.rstrip("/") if base_url else None,
        version=version("prism-performance"),
        settings=in_force(settings, connection.info.server_version),
        config_file=settings.config_path.name,
        exports=settings.config.reports.exports,
    )


def rendered(settings: Settings, name: str) -> date:
    """The date of a rendered report, by that date or ``latest``; :class:`PrismError` without one."""
    manifest = settings.reports_dir / name / MANIFEST
    try:
        if Path(name).name == name:
            return date.fromisoformat(json.loads(manifest.read_text(encoding="utf-8"))["as_of_date"])
    except FileNotFoundError:
        pass
    known = sorted(path.parent.name for path in settings.reports_dir.glob(f"????-??-??/{MANIFEST}"))
    raise PrismError(
        f"there is no rendered report {name!r}",
        where=str(settings.reports_dir),
        mend=f"There are: {', '.join(known)}." if known else "Run: prism run",
    )


def mail_of_marts(warehouse: Warehouse, settings: Settings, as_of_date: date, one: Subscription) -> Content:
    """A subscription's mail of the marts as they are, its turn or not: its first, where it has one a value.

    Raises :class:`PrismError` where the marts are not those of the date, or nobody would get one.
    """
    with warehouse.connect(autocommit=True) as connection:
        options = _options(connection, settings, as_of_date, builds.MARTS)
        return kept_mails.first_made(connection, settings, options, one)


def _look(settings: Settings, run_id: str) -> str:
    return f"{settings.config.reports.ui_url.rstrip('/')}/runs/{run_id} (while prism ui is up)"


def tell_owner(
    warehouse: Warehouse, settings: Settings, as_of_date: date, failures: Sequence[str], run_id: str
) -> None:
    """The owner hears, once a date, that a night is red and gave no report, and its readers get what the
    settings have for such a day."""
    mailing.withhold(warehouse, settings, as_of_date, failures, look=_look(settings, run_id))


def tell_of_sources(
    warehouse: Warehouse, settings: Settings, as_of_date: date, failures: Sequence[str], run_id: str
) -> None:
    """The owner hears, once a date, that sources failed while the report was made of the others."""
    notice = source_notice(as_of_date=as_of_date, failures=failures, look=_look(settings, run_id))
    mailing.tell(warehouse, settings, notice)


def overdue(settings: Settings, now: datetime) -> OperationsNotice | None:
    """What the owner is to hear where ``reports.heartbeat`` has passed and the last day has no report."""
    by = settings.config.reports.heartbeat
    local = now.astimezone(settings.zone)
    if by is None or local.time() < by:
        return None
    day = last_ended_day(settings, now)
    days = sorted(
        date.fromisoformat(path.parent.name) for path in settings.reports_dir.glob(f"????-??-??/{MANIFEST}")
    )
    if day in days:
        return None
    return heartbeat_notice(
        as_of_date=day, by=f"{by:%H:%M} {settings.config.timezone}", last=days[-1] if days else None
    )


def heartbeat(settings: Settings, now: datetime) -> OperationsNotice | None:
    """Mails the owner, once a day, that a report is overdue; returns what there was to tell.

    Where the warehouse itself can't be had the mail goes out past the outbox, and a file in ``PRISM_HOME``
    keeps it to one. Raises :class:`ReportError` where it can't be sent.
    """
    notice = overdue(settings, now)
    if notice is None:
        return None
    try:
        warehouse = open_warehouse(settings)
        setup(warehouse)
        mailing.tell(warehouse, settings, notice)
    except PrismError as error:
        _tell_without_warehouse(settings, notice, str(error), now)
    return notice


def _tell_without_warehouse(settings: Settings, notice: OperationsNotice, fault: str, now: datetime) -> None:
    owner, sender = settings.config.reports.owner, settings.config.reports.sender
    told = settings.home / "heartbeat"
    day = notice.as_of_date.isoformat()
    if owner is None or not settings.smtp_url:
        return
    if told.is_file() and told.read_text(encoding="utf-8") == day:
        return
    content = mail.render_operations(notice)
    message = mail.compose(
        Content(content.report, content.as_of_date, content.subject, f"{fault}\n\n{content.text}"),
        sender=sender,
        recipient=owner,
        message_id=mail.message_id(content.report, content.as_of_date, owner, sender),
        composed_at=now,
    )
    outbox.send_test(settings.smtp_url, message, sign=mailing.signature(settings))
    settings.home.mkdir(parents=True, exist_ok=True)
    told.write_text(day, encoding="utf-8")
