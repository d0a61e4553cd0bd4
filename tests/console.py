"""A console over a small real library, for tests: prompts, agents, two alerts, a report, three accounts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from starlette.types import ASGIApp

from orchestration.console.app import accounts_of, build
from orchestration.console.house import House
from orchestration.library.application import create_tables
from orchestration.library.open import open_library
from orchestration.settings import Settings, load_settings
from orchestration.warehouse import Warehouse

PASSWORD = "a quiet harbour"
HOSTILE = "<script>window.hacked=1</script>\"'><img src=x onerror=window.hacked=1>{{ 7*7 }}"
# Alerts by the prompt that they are of.
ALERTS = {"triage": "a1" * 16, "refund": "c3" * 16, HOSTILE: "b2" * 16}
ALERT = ALERTS["triage"]


def fill(warehouse: Warehouse) -> None:
    """The library in schema ``app``, and of the marts as much as the console reads, granted as dbt does."""
    with warehouse.connect() as connection:
        create_tables(connection, "app")
        connection.execute("insert into app.agents (name) values ('desk')")
        connection.execute("create schema if not exists marts")
        connection.execute(
            """
            create table marts.performance_alerts (
                alert_id text, severity text, rule text, prompt_id text, prompt_name text, domain text,
                owner text, period text, observed_value float8, threshold float8, sample_size int,
                first_detected_on date, last_detected_on date, resolved_on date, as_of_date date,
                message text, recommendation text, former_ids text[]
            )
            """
        )
        connection.execute(
            """
            create table marts.prompts (prompt_id text, last_used_at timestamptz);
            create table marts.prompt_performance_summary (
                prompt_id text, period text, as_of_date date, usage_count int, outcome_count int,
                success_count int, success_rate float8, success_rate_low float8, success_rate_high float8,
                average_rating float8, average_response_time_ms float8, cost_per_use numeric, health text
            );
            grant usage on schema marts to prism_reporter;
            grant select on all tables in schema marts to prism_reporter;
            """
        )
        day = datetime.now(UTC).date()
        for name, alert_id in ALERTS.items():
            connection.execute(
                "insert into marts.performance_alerts values"
                " (%s, 'high', 'poor_success_rate', null, %s, 'support', null, 'month', 0.5, 0.7, 40,"
                " %s, %s, null, %s, %s, 'Look at it.')",
                [alert_id, name, day, day, day, f"{name}: half of its uses fail"],
            )
        connection.commit()


def settings_at(folder: Path, **variables: str) -> Settings:
    """Settings with a PRISM_HOME below ``folder``, the three accounts, and a report."""
    settings = load_settings({"PRISM_HOME": str(folder / "home"), **variables}, folder)
    for role in ("viewer", "editor", "admin"):
        accounts_of(settings).put(f"{role}@example.com", role, PASSWORD)
    (settings.reports_dir / "2026-11-21").mkdir(parents=True)
    (settings.reports_dir / "2026-11-21" / "index.html").write_text("<h1>The report</h1>", encoding="utf-8")
    (settings.reports_dir / "index.html").write_text(
        '<link rel="icon" href="data:,"><h1>All reports</h1>', encoding="utf-8"
    )
    (settings.home / "hmac.key").write_text("secret of the house", encoding="ascii")
    (settings.reports_dir / "way-out").symlink_to(settings.home / "hmac.key")
    return settings


def made(settings: Settings, warehouse: Warehouse) -> ASGIApp:
    """The application, its library filled."""
    with open_library(settings, warehouse) as library:
        for name, template in (("triage", "Sort:\n{{ text }}"), ("refund", "Refund {{ text }} by Acme Ltd")):
            library.create(
                {"name": name, "status": "active", "domain": "support", "user_prompt_template": template,
                 "agents": ["desk"]},
                by="maker@example.com",
            )  # fmt: skip
        library.create({"name": HOSTILE, "description": HOSTILE, "domain": "odd"}, by=HOSTILE)
        refund = library.get("refund").id
    with warehouse.connect() as connection:
        connection.execute("insert into marts.prompts values (%s, '2026-11-20 10:00Z')", [refund])
        connection.execute(
            "insert into marts.prompt_performance_summary values"
            " (%s, 'month', '2026-11-21', 240, 200, 180, 0.9, 0.851, 0.934, 4.25, 900, 0.0031, 'healthy')",
            [refund],
        )
    return build(House(settings, warehouse))
