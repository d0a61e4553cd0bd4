"""The night as an operator sees it: `prism run` in a fresh folder, on sample data, with a mail server."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from datetime import date, timedelta
from email import message_from_bytes
from pathlib import Path

import dagster as dg
import psutil
import psycopg
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as MessageHandler

from tests.ports import free_port
from tests.prism import Prism

pytestmark = [pytest.mark.integration]


class Inbox(MessageHandler):
    """Keeps what arrives: (recipient, subject)."""

    def __init__(self) -> None:
        super().__init__()
        self.mails: list[tuple[str, str]] = []
        self.port = free_port()

    def handle_message(self, message: object) -> None:
        self.mails.append((message["X-RcptTo"], message["Subject"]))  # type: ignore[index]


@pytest.fixture(scope="module")
def inbox() -> Iterator[Inbox]:
    handler = Inbox()
    controller = Controller(handler, hostname="127.0.0.1", port=handler.port)
    controller.start()
    yield handler
    controller.stop()


FIRST = """
reports:
  recipients: [team@example.com, lead@example.com]
  owner: owner@example.com
  heartbeat: "00:00"
sources:
  - {name: sample, type: application, schema: app}
"""
# workbooks take a night's time, and one night has them
CONFIG = FIRST.replace("reports:\n", "reports:\n  exports: []\n")


@pytest.fixture(scope="module")
def prism(tmp_path_factory: pytest.TempPathFactory, inbox: Inbox) -> Iterator[Prism]:
    """A fresh installation after its first night on a small sample."""
    installed = Prism(
        tmp_path_factory.mktemp("installed"),
        {"PRISM_SMTP_URL": f"smtp://127.0.0.1:{inbox.port}"},
    )
    installed.configure(FIRST)
    installed.here("db", "start")
    installed.here("sample", "--rows", "6000")
    installed.first = installed("run")  # type: ignore[attr-defined]
    installed.configure(CONFIG)
    yield installed
    installed.stop()


@pytest.fixture
def as_of(prism: Prism) -> str:
    with prism.connect() as connection:
        (day,) = connection.execute("select max(as_of_date) from marts.dashboard_metrics").fetchone() or (
            None,
        )
    return str(day)


def instance_of(prism: Prism, monkeypatch: pytest.MonkeyPatch) -> dg.DagsterInstance:
    monkeypatch.setenv("PRISM_DAGSTER_URL", prism.server.url("prism_dagster"))
    return dg.DagsterInstance.from_config(str(prism.folder / ".prism" / "dagster"))


def test_a_first_night_loads_builds_reports_and_mails(prism: Prism, inbox: Inbox, as_of: str) -> None:
    output = prism.first.stdout  # type: ignore[attr-defined]
    assert "Loaded: 6,000 new and 0 changed uses" in output
    report = prism.folder / ".prism" / "reports" / as_of
    assert f"Report: {report / 'index.html'}" in output
    assert (report / "index.html").is_file()
    assert (prism.folder / ".prism" / "reports" / "latest").resolve() == report
    assert sorted(recipient for recipient, _ in inbox.mails[:2]) == ["lead@example.com", "team@example.com"]
    assert all(subject.startswith(f"Prism {as_of}: success ") for _, subject in inbox.mails[:2])


def test_the_dashboard_counts_every_loaded_use(prism: Prism) -> None:
    with prism.connect() as connection:
        assert connection.execute(
            "select usage_count from marts.dashboard_metrics where period = 'all'"
        ).fetchone() == (6000,)


def test_dagster_shows_the_run_its_partition_and_its_checks(
    prism: Prism, as_of: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with instance_of(prism, monkeypatch) as instance:
        succeeded = dg.RunsFilter(job_name="nightly", statuses=[dg.DagsterRunStatus.SUCCESS])
        (run,) = instance.get_runs(succeeded, limit=1)
        assert run.tags["dagster/partition"] == as_of
        event = instance.get_latest_materialization_event(dg.AssetKey(["reports", "nightly_report"]))
        assert event is not None
        assert event.asset_materialization is not None
        assert event.asset_materialization.partition == as_of
        link = event.asset_materialization.metadata["report"].value
        assert str(link).endswith(f"/{as_of}/index.html")
        summary = instance.get_latest_materialization_event(
            dg.AssetKey(["marts", "prompt_performance_summary"])
        )
        assert summary is not None
        assert summary.asset_materialization is not None
        rows = summary.asset_materialization.metadata["dagster/row_count"].value
        with prism.connect() as connection:
            assert connection.execute("select count(*) from marts.prompt_performance_summary").fetchone() == (
                rows,
            )


def test_no_person_and_nothing_that_was_typed_is_in_any_file_mail_or_notice(prism: Prism) -> None:
    """The texts of the library are the report's to show; those of calls, and who called, are nobody's."""
    with prism.connect() as connection:
        planted = {
            value
            for row in connection.execute(
                "(select user_id::text, session_id::text, host(ip_address), user_agent, user_prompt,"
                " enhanced_prompt from app.prompt_usage order by created_at desc limit 60)"
                " union all (select user_key, ip_hash, user_agent_hash, null, null, null"
                " from raw.prompt_usage limit 60)"
            )
            for value in row
            if value and len(value) > 6
        }
        said = [
            str(row)
            for table in ("builds", "notices", "deliveries", "notice_events", "alert_actions")
            for row in connection.execute(f"select t::text from ops.{table} as t")  # type: ignore[call-overload]
        ]
        mails = [bytes(body) for (body,) in connection.execute("select body from ops.outbox").fetchall()]
    assert len(planted) > 200 and mails
    files: dict[str, bytes] = {}
    home = prism.folder / ".prism"
    for path in home.rglob("*"):
        if not path.is_file() or (home / "postgres") in path.parents:
            continue
        files[str(path)] = path.read_bytes()
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as packed:
                mails += [packed.read(name) for name in packed.namelist() if name.endswith(".eml")]
                files |= {f"{path} {name}": packed.read(name) for name in packed.namelist()}
    for number, mail in enumerate(mails):
        for part in message_from_bytes(mail).walk():
            payload = part.get_payload(decode=True)
            files[f"mail {number} {part.get_content_type()}"] = payload if isinstance(payload, bytes) else b""
    texts = {name: html.unescape(content.decode("utf-8", "replace")) for name, content in files.items()}
    texts["tables of ops"] = "\n".join(said)
    texts["console"] = prism.first.stdout + prism.first.stderr  # type: ignore[attr-defined]
    found = re.compile("|".join(re.escape(value) for value in planted))
    assert {name: match[0] for name, text in texts.items() if (match := found.search(text))} == {}


def test_no_text_and_no_person_reaches_dagsters_event_log(prism: Prism) -> None:
    with prism.connect() as connection:
        texts = [
            text
            for (text,) in connection.execute(
                "select system_prompt from raw.prompts"
                " union all (select user_key from raw.prompt_usage limit 50)"
            )
            if text
        ]
    with psycopg.connect(prism.server.url("prism_dagster")) as connection:
        log = "\n".join(row[0] for row in connection.execute("select event from event_logs"))
    assert len(texts) > 60
    assert not [text for text in texts if text in log or json.dumps(text)[1:-1] in log]


def test_a_past_night_is_built_beside_the_marts(prism: Prism, inbox: Inbox, as_of: str) -> None:
    past = (date.fromisoformat(as_of) - timedelta(days=20)).isoformat()
    output = prism("run", "--no-send", "--date", past).stdout
    reports = prism.folder / ".prism" / "reports"
    assert str(reports / past / "index.html") in output
    assert (reports / "latest").resolve().name == as_of
    with prism.connect() as connection:
        assert connection.execute(
            "select distinct as_of_date::text from marts.prompt_performance_summary"
        ).fetchall() == [(as_of,)]
        assert (
            connection.execute("select nspname from pg_namespace where nspname like 'marts\\_%'").fetchall()
            == []
        )


def test_a_day_that_has_not_ended_is_refused(prism: Prism) -> None:
    assert "has not ended yet" in prism.here("run", "--date", "2999-01-01", fails=True).stderr


def test_a_source_that_fails_stops_neither_the_others_nor_the_report_and_the_owner_hears_once(
    prism: Prism, inbox: Inbox, as_of: str
) -> None:
    before = len(inbox.mails)
    prism.configure(CONFIG + "  - {name: broken, type: files, path: nowhere.csv}\n")
    try:
        done = prism("run", fails=True)
    finally:
        prism.configure(CONFIG)
    assert re.search(r"broken.*nowhere\.csv", done.stderr, re.DOTALL)
    assert "Report: " in done.stdout
    assert inbox.mails[before:] == [("owner@example.com", f"Prism {as_of}: report made, but 1 source failed")]


def test_the_outbox_from_the_command_line(prism: Prism, inbox: Inbox, as_of: str) -> None:
    mails = json.loads(prism.here("send", "--status", "--json").stdout)
    assert {(one["report"], one["recipient"], one["state"]) for one in mails} >= {
        ("digest", "lead@example.com", "sent"),
        ("digest", "team@example.com", "sent"),
    }
    before = len(inbox.mails)
    prism.here("send", "--resend", as_of, "--to", "team@example.com")
    ((recipient, subject),) = inbox.mails[before:]
    assert recipient == "team@example.com" and subject.startswith(f"Prism {as_of}: success ")
    assert "gets no reports" in prism.here("send", "--unsubscribe", "lead@example.com").stdout
    status = prism.here("send", "--status").stdout
    assert f"{as_of}  digest: 3 sent" in status
    assert "No mails any more: lead@example.com" in status
    prism.here("send", "--resubscribe", "lead@example.com")
    assert "choose one of" in prism.here("send", "--status", "--retry", fails=True).stderr
    assert "none is overdue" in prism.here("doctor", "--heartbeat").stdout


def test_a_failed_test_stops_the_report_and_tells_the_owner_and_a_second_night_mails_nobody_again(
    prism: Prism, inbox: Inbox, as_of: str
) -> None:
    index = prism.folder / ".prism" / "reports" / as_of / "index.html"
    before, mails = index.stat().st_mtime_ns, len(inbox.mails)
    with prism.connect() as connection:
        # a day with more ratings than uses
        broken = connection.execute(
            """
            update intermediate.int_prompt_totals_daily set rated_count = rated_count + 1000000
            where usage_date = (select max(usage_date) from intermediate.int_prompt_totals_daily)
            returning usage_date
            """
        ).fetchone()
    assert broken is not None
    try:
        done = prism("run", fails=True)
    finally:
        with prism.connect() as connection:
            connection.execute(
                "update intermediate.int_prompt_totals_daily set rated_count = rated_count - 1000000"
                " where rated_count >= 1000000"
            )
    assert "is red, so no report is made" in done.stderr
    assert index.stat().st_mtime_ns == before
    assert "rates_and_counts_are_possible" in done.stderr
    ((recipient, subject),) = inbox.mails[mails:]
    assert recipient == "owner@example.com"
    assert "no fresh report" in subject
    before_second = len(inbox.mails)
    output = prism("run").stdout
    assert "Loaded: 0 new and 0 changed uses" in output
    assert "Report: " in output
    assert index.stat().st_mtime_ns > before
    assert len(inbox.mails) == before_second
    assert "would not" in prism.here("send", "--dry-run").stdout


def test_a_report_of_one_domain_is_asked_for_by_name(prism: Prism, as_of: str) -> None:
    with prism.connect() as connection:
        (domain,) = connection.execute("select min(domain) from marts.prompts").fetchone() or ("",)
    index = Path(prism("report", "--domain", domain).stdout.strip())
    assert index.parts[-4] == "domains" and index.parts[-2:] == (as_of, "index.html")
    assert f"Prompt performance: {domain}" in index.read_text(encoding="utf-8")
    # the report of all is still the latest of those of all
    assert (index.parents[3] / "latest").resolve() == index.parents[3] / as_of
    told = prism("report", "--domain", "nobodys", fails=True).stderr
    assert "no prompt is of the domain 'nobodys'" in told and domain in told


def test_what_set_up_makes_is_printed_for_an_administrator_and_may_be_run_again(prism: Prism) -> None:
    script = prism("db", "setup", "--sql").stdout
    with prism.connect() as connection:
        for _ in range(2):
            connection.execute(script)  # type: ignore[call-overload]
    assert "create policy own_uses" in prism("db", "setup", "--application", "--sql").stdout
    assert "each step takes on the least of them" in prism("doctor").stdout


def test_what_was_built_by_hand_is_not_reported_on(prism: Prism, as_of: str) -> None:
    shown = prism("dbt", "show", "--inline", "select '{{ var(\"as_of_date\") }}' as day").stdout
    assert as_of in shown
    prism("dbt", "seed", "--select", "targets")
    assert "changed by hand: prism dbt seed" in prism.here("report", fails=True).stderr


def dbt_processes(prism: Prism) -> list[psutil.Process]:
    """The dbt processes that work for this installation."""
    target = str(prism.folder / ".prism" / "dbt")
    return [
        process
        for process in psutil.process_iter(["cmdline", "environ"])
        if "prism-dbt" in " ".join(process.info["cmdline"] or [])
        and (process.info["environ"] or {}).get("DBT_TARGET_PATH") == target
    ]


def test_a_run_that_was_killed_is_marked_as_failed_and_the_next_one_is_whole(
    prism: Prism, as_of: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "prism"), "run"],
        cwd=prism.folder,
        env=prism.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with instance_of(prism, monkeypatch) as instance:
        running = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
        # killed while dbt builds, and alone: dbt must not go on by itself
        while not (instance.get_runs(running) and dbt_processes(prism)):
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.05)
        (run,) = instance.get_runs(running)
        builders = dbt_processes(prism)
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(builders, timeout=10)
        assert not alive
        assert "no good build" in prism.here("report", fails=True).stderr
        assert "Report: " in prism("run").stdout
        killed = instance.get_run_by_id(run.run_id)
        assert killed is not None
        assert killed.status is dg.DagsterRunStatus.FAILURE
