"""Planted persons, texts and passwords are nowhere where none belong: quarantine, logs, errors, metadata."""

from __future__ import annotations

import json
import logging
import traceback
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from orchestration import cli, metadata
from orchestration.console.app import accounts_of
from orchestration.errors import PrismError
from orchestration.loading.load import load_source
from orchestration.loading.retry import retry_rejected
from orchestration.settings import load_settings
from orchestration.warehouse import Warehouse

pytestmark = pytest.mark.integration

PERSON, PLACE, BROWSER = "ann.planted@example.com", "203.0.113.77", "Browser/planted 5.0"
TEXT, PASSWORD = "my planted secret", "pl4nted-password"
SECRETS = (PERSON, PLACE, BROWSER, TEXT, PASSWORD)
GOOD = {
    "usage_id": "1", "prompt_key": "p", "used_at": "2026-03-01T10:00:00Z", "rating": "4",
    "user_key": PERSON, "ip_address": PLACE, "user_agent": BROWSER, "user_prompt": TEXT,
}  # fmt: skip
# each wrong in another way
BAD: list[dict[str, Any]] = [
    {**GOOD, "usage_id": "2", "used_at": "never"},
    {**GOOD, "usage_id": "3", "rating": "11"},
    {**GOOD, "usage_id": "4", "prompt_key": ""},
    {**GOOD, "usage_id": "5", "user_key": PERSON + "\x00"},
    {**GOOD, "usage_id": "6", "user_prompt": TEXT + "\x00"},
    {**GOOD, "usage_id": "", "ip_address": PLACE + "\x00"},
]


def write(folder: Path) -> list[dict[str, Any]]:
    """A file of each kind with good and broken rows, and the sources that read them."""
    uses = [GOOD, *BAD]

    def row(use: dict[str, Any]) -> str:
        return ",".join(use.values())

    broken = [f'7,p,"{PERSON}', f"8,p,{PERSON},{TEXT}", f'9,p,2026-03-01,4,"{PERSON}"{TEXT},a,b,c']
    (folder / "a.csv").write_text("\n".join([",".join(GOOD), *map(row, uses), *broken, ""]))
    lines = [*map(json.dumps, uses), f'{{"usage_id": "7", "user_key": "{PERSON}", {TEXT}', f'["{PERSON}"]']
    (folder / "b.jsonl").write_text("\n".join(lines))
    pq.write_table(pa.Table.from_pylist(uses), folder / "c.parquet")
    helicone = [
        {"request_id": "1", "request_created_at": when, "request_user_id": PERSON, "request_body": TEXT,
         "prompt_id": "p", "feedback_rating": TEXT}
        for when in ("2026-03-01T10:00:00Z", "never")
    ]  # fmt: skip
    (folder / "d.jsonl").write_text(
        "\n".join([*map(json.dumps, helicone), f'{{"request_user_id": "{PERSON}'])
    )
    values = {"user.id": PERSON, "gen_ai.operation.name": "chat", "gen_ai.input.messages": TEXT,
              "gen_ai.usage.input_tokens": TEXT}  # fmt: skip
    span = {
        "traceId": "t", "spanId": "s", "name": "chat", "startTimeUnixNano": "never", "endTimeUnixNano": "1",
        "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in values.items()],
    }  # fmt: skip
    otel = {"resourceSpans": [{"scopeSpans": [{"spans": [span, {**span, "spanId": "r"}, PERSON]}]}]}
    (folder / "e.jsonl").write_text(json.dumps(otel) + f'\n{{"resourceSpans": "{PERSON}"}}\n')
    (folder / "langfuse" / "observations").mkdir(parents=True)
    langfuse = [
        {"id": "1", "type": "GENERATION", "start_time": when, "user_id": PERSON, "input": TEXT,
         "prompt_name": "p", "total_cost": TEXT if when == "never" else 1}
        for when in ("2026-03-01T10:00:00Z", "never")
    ]  # fmt: skip
    (folder / "langfuse" / "observations" / "x.jsonl").write_text("\n".join(map(json.dumps, langfuse)))
    return [
        *({"name": name, "type": "files", "path": path} for name, path in
          (("csv", "a.csv"), ("jsonl", "b.jsonl"), ("parquet", "c.parquet"))),
        {"name": "helicone", "type": "helicone", "path": "d.jsonl"},
        {"name": "otel", "type": "opentelemetry", "path": "e.jsonl", "default_prompt": "p"},
        {"name": "langfuse", "type": "langfuse", "path": "langfuse", "manifests": False},
        {"name": "app", "type": "application", "url": "${SOURCE}"},
        {"name": "proxy", "type": "litellm", "url": "${SOURCE}", "prompt": {"tag": "prompt:"}},
    ]  # fmt: skip


def test_planted_secrets_are_in_no_payload_log_error_or_metadata(
    warehouse: Warehouse, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / "prism.yaml").write_text(yaml.safe_dump({"sources": write(tmp_path)}))
    variables = {"PRISM_HOME": "home", "PRISM_SMTP_URL": f"smtp://u:{PASSWORD}@localhost",
                 "SOURCE": f"postgresql://ann:{PASSWORD}@127.0.0.1:1/app"}  # fmt: skip
    settings = load_settings(variables, tmp_path)
    said = [repr(settings)]
    for source in settings.sources:
        try:
            results = load_source(warehouse, source, settings)
            said += map(str, results)
            said += [str(metadata.loads(results)), metadata.in_words(results)]
            said.append(str(retry_rejected(warehouse, source, settings)))
        except PrismError as error:
            said.append(str(error))
            assert source.name in ("app", "proxy"), error
    with warehouse.connect() as connection:
        rejects = connection.execute("select source, rejected::text from raw.rejected_rows as rejected")
        rows = rejects.fetchall()
        for table in ("load_batches", "prompt_usage", "prompt_texts"):
            said += [str(row) for row in connection.execute(f"select t::text from raw.{table} as t")]  # type: ignore[call-overload]
    # the test means something: each kind has loaded a use, and rejected one
    assert {source for source, _ in rows} == {"csv", "jsonl", "parquet", "helicone", "otel", "langfuse"}
    said += [text for _, text in rows]
    said.append(caplog.text)
    for secret in SECRETS:
        held = [text for text in said if secret in text]
        assert not held, f"{secret} stands in {held[0][:500]}"


COMMANDS = [
    ["doctor"], ["load"], ["load", "--retry-rejected"], ["prompts", "list"], ["enhance", "x"],
    ["rate", "x", "5"], ["alerts", "list"], ["alerts", "notify"], ["send", "--status"], ["send", "--dry-run"],
    ["send", "--to", "ann@example.com"], ["report"], ["db", "setup"], ["db", "setup", "--sql"],
    ["console", "--source", "nowhere"], ["export", "prompts", "--format", "csv"],
]  # fmt: skip


def test_no_command_tells_a_secret_not_even_with_its_traceback(
    warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    (tmp_path / "dkim.pem").write_text(f"-----BEGIN RSA PRIVATE KEY-----\n{PASSWORD}\n")
    away = f"postgresql://ann:{PASSWORD}@127.0.0.1:1/app"
    variables = {
        # this server asks for no password, and takes one
        "PRISM_WAREHOUSE_URL": f"{warehouse.url}&password={PASSWORD}",
        "PRISM_DAGSTER_URL": f"{warehouse.dagster_url}&password={PASSWORD}",
        "PRISM_SMTP_URL": f"smtp://ann:{PASSWORD}@127.0.0.1:1",
        "PRISM_HMAC_KEY": PASSWORD,
        "PRISM_DKIM_KEY": str(tmp_path / "dkim.pem"),
        "PRISM_HOME": str(tmp_path / "home"),
        "SOURCE": away,
        "CHAT": f"json://ann:{PASSWORD}@127.0.0.1:1/{PASSWORD}",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    settings = {
        "sources": [{"name": "app", "type": "application", "url": "${SOURCE}"}],
        "alerts": {"channels": {"chat": "${CHAT}"}, "routes": [{"to": ["chat"]}]},
        "reports": {"dkim": {"selector": "prism"}, "recipients": ["ann@example.com"]},
    }
    (tmp_path / "prism.yaml").write_text(yaml.safe_dump(settings))
    accounts_of(load_settings(variables, tmp_path)).put("ann", "admin", PASSWORD)
    said = []
    for command in COMMANDS:
        monkeypatch.setattr("sys.argv", ["prism", "--debug", *command])
        try:
            cli.main()
        except BaseException as error:  # SystemExit, too
            said.append("".join(traceback.format_exception(error)))
    assert sum("PrismError" in one for one in said) > 5
    captured = capfd.readouterr()
    said += [captured.out, captured.err, caplog.text]
    said += [path.read_bytes().decode("latin-1") for path in (tmp_path / "home").rglob("*") if path.is_file()]
    held = [text for text in said if PASSWORD in text]
    assert not held, held[0][:2000]
