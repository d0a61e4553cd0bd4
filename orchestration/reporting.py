"""Settings and builds on one side, `reports` on the other: render a date's report, send it, tell the owner.

The report package knows no settings and no builds; this module hands them in.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path

import psycopg

from orchestration import builds
from orchestration.errors import PrismError
from orchestration.settings import Settings, Source
from orchestration.warehouse import Warehouse
from reports import mail, outbox
from reports.options import Build, ReportOptions, Setting
from reports.render import RenderedReport, render_report
from reports.views.failure import failure_notice

DIGEST = "digest.eml"


@dataclass(frozen=True)
class Sending:
    """What became of a report's mails: ``lines`` in words, ``unsent`` how many due ones did not go out."""

    lines: tuple[str, ...]
    unsent: int


def in_force(settings: Settings, server_version: int) -> tuple[Setting, ...]:
    """What of the settings readers of a report may know: named one by one, so that no secret slips in."""
    config = settings.config
    reports = config.reports

    def source(one: Source) -> str:
        places = [str(getattr(one, name)) for name in ("path", "db_schema") if hasattr(one, name)]
        return f"{one.type}, {', '.join(places)}" + (
            ", list prices where no cost is told" if one.prices else ""
        )

    recipients = ", ".join(mail.addresses(reports.recipients)) or "nobody"
    sent = (
        "by the SMTP server of PRISM_SMTP_URL" if settings.smtp_url else "kept in the outbox: no SMTP server"
    )
    major = server_version // 10_000
    return (
        Setting("Report", "Shown first", reports.default_period, "reports.default_period"),
        Setting("Report", "Made at (cron)", f"{reports.schedule} {config.timezone}", "reports.schedule"),
        Setting(
            "Report", "Published at", reports.base_url or "nowhere: it lies in files", "reports.base_url"
        ),
        Setting("Report", "Time zone of days", config.timezone, "timezone"),
        Setting("Report", "First day", config.start_date.isoformat(), "start_date"),
        Setting("Mail", "Digest goes to", recipients, "reports.recipients"),
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
) -> RenderedReport:
    """Renders pages and digest of the marts as they are.

    Raises :class:`PrismError` where their newest build is not green, :class:`ReportError` where they are
    of another date.
    """
    build = builds.latest(connection, marts_schema)
    if build is None or build.state != "green" or build.as_of_date != as_of_date:
        state = "none" if build is None else f"that of {build.as_of_date}, and {build.state}"
        raise PrismError(
            f"there is no good build of {as_of_date} to report on; the newest is {state}"
            + (f": {'; '.join(build.failures)}" if build and build.failures else ""),
            where=f"schema {marts_schema}",
            mend=f"Mend what failed, if anything, and run: prism run --date {as_of_date} --no-send",
        )
    options = ReportOptions(
        as_of_date=as_of_date,
        build=Build("green", build.finished_at),
        marts_schema=marts_schema,
        timezone=settings.config.timezone,
        default_period=settings.config.reports.default_period,
        base_url=settings.config.reports.base_url,
        version=version("prism-performance"),
        settings=in_force(settings, connection.info.server_version),
        config_file=settings.config_path.name,
        exports=settings.config.reports.exports,
    )
    content = mail.render_digest(mail.read_digest(connection, options))
    sender = settings.config.reports.sender
    digest = mail.compose(
        content,
        sender=sender,
        recipient=sender,
        message_id=mail.message_id(content.report, as_of_date, sender, sender),
        composed_at=datetime.now(UTC),
    )
    return render_report(connection, settings.reports_dir, options, files={DIGEST: digest.as_bytes()})


def rendered(settings: Settings, name: str) -> Path:
    """The folder of a rendered report, by its as-of date or ``latest``; :class:`PrismError` without one."""
    folder = settings.reports_dir / name
    if Path(name).name != name or not (folder / DIGEST).is_file():
        known = sorted(path.parent.name for path in settings.reports_dir.glob(f"*/{DIGEST}"))
        raise PrismError(
            f"there is no rendered report {name!r}",
            where=str(settings.reports_dir),
            mend=f"There are: {', '.join(known)}." if known else "Run: prism run",
        )
    return folder.resolve()


def send(warehouse: Warehouse, settings: Settings, folder: Path) -> Sending:
    """Queues a report's digest for each recipient who has none of it yet, and delivers what is due.

    Without an SMTP server the mails are kept in the outbox, which is no failure.
    """
    content = mail.parse((folder / DIGEST).read_bytes())
    reports = settings.config.reports
    if not reports.recipients:
        kept = folder / DIGEST
        return Sending((f"Mail: no recipients in prism.yaml, so nobody gets it; it lies in {kept}",), 0)
    messages = mail.compose_all(
        content,
        sender=reports.sender,
        recipients=reports.recipients,
        composed_at=datetime.now(UTC),
        reply_to=reports.owner,
    )
    with warehouse.connect() as connection:
        queued = outbox.queue(
            connection, report=content.report, as_of_date=content.as_of_date, messages=messages
        )
        connection.commit()
        if not settings.smtp_url:
            waiting = sum(entry.state == "queued" for entry in queued)
            return Sending((f"Mail: {waiting} in the outbox, kept there: PRISM_SMTP_URL is not set.",), 0)
        delivery = outbox.deliver(connection, settings.smtp_url)
    lines = [f"Mail to {one.recipient}: {one.outcome} ({one.reply})" for one in delivery.attempts]
    if delivery.fault:
        lines.append(f"Mail: {delivery.fault}")
    return Sending(tuple(lines) or ("Mail: nothing was due.",), len(delivery.unsent))


def preview(warehouse: Warehouse, settings: Settings, folder: Path) -> Sending:
    """Who would get the report, and why; changes nothing."""
    content = mail.parse((folder / DIGEST).read_bytes())
    with warehouse.connect() as connection:
        plans = outbox.plan(
            connection,
            report=content.report,
            as_of_date=content.as_of_date,
            recipients=mail.addresses(settings.config.reports.recipients),
        )
    lines = [
        f"{'would get it ' if plan.sends else 'would not    '} {plan.recipient}: {plan.why}" for plan in plans
    ]
    return Sending((content.subject, *(lines or ["No recipients in prism.yaml: nobody would get it."])), 0)


def send_test(settings: Settings, folder: Path, address: str) -> Sending:
    """Sends the digest to one address past the outbox; it counts as nothing.

    Without an SMTP server it is written into ``PRISM_HOME/outbox`` instead.
    """
    content = mail.parse((folder / DIGEST).read_bytes())
    sender = settings.config.reports.sender
    now = datetime.now(UTC)
    message = mail.compose(
        content,
        sender=sender,
        recipient=address,
        message_id=mail.message_id(
            f"test of {content.report} {now.isoformat()}", content.as_of_date, address, sender
        ),
        composed_at=now,
    )
    if settings.smtp_url:
        return Sending((f"Test mail to {address}: {outbox.send_test(settings.smtp_url, message)}",), 0)
    path = settings.home / "outbox" / f"test-{content.as_of_date}.eml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(message.as_bytes())
    return Sending((f"PRISM_SMTP_URL is not set; the test mail is in {path}",), 0)


def tell_owner(
    warehouse: Warehouse, settings: Settings, as_of_date: date, failures: list[str], run_id: str
) -> None:
    """Mails the owner, if there is one, that a night is red and gave no report; once a date."""
    owner = settings.config.reports.owner
    if owner is None:
        return
    notice = failure_notice(
        as_of_date=as_of_date,
        failures=failures,
        look=f"Run {run_id} in Dagster's UI (prism ui) shows the log.",
    )
    content = mail.render_failure_notice(notice)
    messages = mail.compose_all(
        content, sender=settings.config.reports.sender, recipients=[owner], composed_at=datetime.now(UTC)
    )
    with warehouse.connect() as connection:
        outbox.queue(connection, report=content.report, as_of_date=as_of_date, messages=messages)
        connection.commit()
        if settings.smtp_url:
            outbox.deliver(connection, settings.smtp_url)
