"""What a report tells its readers of the settings."""

from __future__ import annotations

from pathlib import Path

from orchestration.reporting import in_force
from orchestration.settings import load_settings


def test_readers_see_the_settings_and_never_a_secret(tmp_path: Path) -> None:
    (tmp_path / "prism.yaml").write_text(
        """
timezone: Europe/Berlin
sources:
  - {name: prism, type: application, url: "${SOURCE}"}
  - {name: logs, type: files, path: landing/*.csv, prices: true, usage_id: line}
reports: {recipients: [team@example.com], schedule: "0 4 * * *"}
"""
    )
    environment = {"PRISM_SMTP_URL": "smtp://me:sesame@mail.example.com", "PRISM_HMAC_KEY": "sesame",
                   "SOURCE": "postgresql://reader:sesame@db.example.com/app"}  # fmt: skip
    shown = in_force(load_settings(environment, tmp_path), 180_003)
    values = {setting.key or setting.label: setting.value for setting in shown}
    assert values["timezone"] == "Europe/Berlin"
    assert values["reports.subscriptions"].endswith("to team@example.com")
    assert values["reports.schedule"] == "0 4 * * * Europe/Berlin"
    assert values["PostgreSQL"] == "18.3"
    labels = {setting.label: setting.value for setting in shown}
    assert labels["prism"] == "application, public"
    assert labels["logs"] == "files, landing/*.csv, list prices where no cost is told"
    assert "sesame" not in str(shown)
