"""prism.yaml and the PRISM_* variables: what is understood, what is refused, and in which words."""

from __future__ import annotations

import stat
import traceback
from pathlib import Path

import pytest

from orchestration.errors import PrismError
from orchestration.settings import (
    VARIABLES,
    ApplicationSource,
    FilesSource,
    LangfuseSource,
    LitellmSource,
    OpenTelemetrySource,
    Settings,
    load_settings,
)

ROOT = Path(__file__).resolve().parents[2]


def read(folder: Path, text: str, **variables: str) -> Settings:
    (folder / "prism.yaml").write_text(text, encoding="utf-8")
    return load_settings(variables, folder)


def test_without_a_file_the_defaults_are_in_force(tmp_path: Path) -> None:
    settings = load_settings({}, tmp_path)
    assert settings.home == tmp_path / ".prism"
    assert settings.config.timezone == "UTC"
    assert settings.config.start_date.isoformat() == "2020-01-01"
    assert [source.name for source in settings.sources] == ["sample"]


def test_the_contracts_example_is_understood(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        """
timezone: Europe/Berlin
sources:
  - name: prism
    type: application
    url: ${PRISM_SOURCE_URL}
    schema: public
  - name: assistant
    type: files
    path: landing/assistant/*.csv
    format: csv
    entity: usage
    columns:
      used_at: {from: ts_utc}
      prompt_key: {from: edit_format, default: unknown}
      user_key: user_id
      response_time_ms: {from: latency_s, unit: s}
      cost: {from: cost_usd, zero_is_unknown: true}
      agent_key: {value: assistant}
      rating: {from: score, scale: [1, 10]}
    null_values: []
    usage_id: [user_id, session_id, ts_utc, total_tokens]
""",
        PRISM_SOURCE_URL="postgresql://reader:secret@app.example.com/app",
    )
    application, files = settings.sources
    assert isinstance(application, ApplicationSource)
    assert application.url == "postgresql://reader:secret@app.example.com/app"
    assert isinstance(files, FilesSource)
    assert files.columns["user_key"].source == "user_id"
    assert files.columns["prompt_key"].default == "unknown"
    assert files.columns["rating"].scale == (1, 10)
    assert files.usage_id == ("user_id", "session_id", "ts_utc", "total_tokens")


def test_the_gateways_are_understood_and_priced_unless_told_otherwise(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        """
sources:
  - {name: proxy, type: litellm, url: "postgresql://h/l", prompt: {tag: "prompt:"}, agent: {metadata: a.b}}
  - {name: traces, type: langfuse, path: exports, ratings: {stars: [1, 5]}, prices: false}
  - {name: spans, type: opentelemetry, path: "spans/*.jsonl", default_prompt: unnamed}
  - {name: requests, type: helicone, path: helicone, zero_is_unknown: true}
  - {name: log, type: files, path: "*.csv"}
""",
    )
    assert [source.prices for source in settings.sources] == [True, False, True, True, False]
    proxy, traces, spans, _, _ = settings.sources
    assert isinstance(proxy, LitellmSource)
    assert (proxy.db_schema, proxy.prompt.tag, proxy.reread_days) == ("public", "prompt:", 2)
    assert isinstance(traces, LangfuseSource)
    assert (traces.ratings, traces.manifests, traces.reread_days) == ({"stars": (1, 5)}, True, 30)
    assert isinstance(spans, OpenTelemetrySource)
    assert spans.prompt_attributes == ("gen_ai.prompt.name",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("timezon: UTC", "timezon: is not a setting that Prism knows"),
        ("timezone: Mars/Olympus", "timezone: 'Mars/Olympus' is not a time zone"),
        ("start_date: soon", "start_date: "),
        (
            "reports: {recipients: [not-an-address]}",
            r"reports.recipients\[0\]: 'not-an-address' is not a mail address",
        ),
        ("reports: {recipients: 5}", "reports.recipients: "),
        ("sources: [{name: a, type: files}]", r"sources\[0\].path: is missing"),
        ("sources: [{name: a, type: ftp}]", r"sources\[0\]: "),
        ("sources: [{name: a, type: files, path: x, colour: red}]", r"sources\[0\].colour: is not a setting"),
        (
            "sources: [{name: a, type: files, path: x, columns: {cost: {unit: weeks, from: c}}}]",
            r"sources\[0\].columns.cost.unit: ",
        ),
        ("sources: [{name: a, type: files, path: x, columns: {cost: {}}}]", "needs either `from:`"),
        (
            "sources: [{name: a, type: files, path: x}, {name: a, type: files, path: y}]",
            "two sources are named 'a'",
        ),
        ("sources: [{name: a, type: litellm, url: x}]", r"sources\[0\].prompt: is missing"),
        (
            "sources: [{name: a, type: litellm, prompt: {tag: p, metadata: q}}]",
            r"sources\[0\].prompt: needs either `tag:`",
        ),
        ("sources: [{name: a, type: langfuse}]", r"sources\[0\].path: is missing"),
        (
            "sources: [{name: a, type: langfuse, path: x, ratings: {stars: [5, 1]}}]",
            r"sources\[0\].ratings: the scale of 'stars' needs its lower end first",
        ),
        (
            "sources: [{name: a, type: opentelemetry, path: x, prompt: y}]",
            r"sources\[0\].prompt: is not a setting",
        ),
        ("sources: [{name: a, type: helicone, path: x, prices: maybe}]", r"sources\[0\].prices: "),
        ("- just\n- a list", "the settings must be keys with values"),
        ("timezone: [", "this is not valid YAML"),
        (
            "sources: [{name: a, type: application, url: 'postgresql://a:hush@h/d'}]",
            r"sources\[0\].url holds a password",
        ),
        (
            "sources: [{name: a, type: application, url: 'postgresql://h/d?user=a&password=hush'}]",
            r"sources\[0\].url holds a password",
        ),
        (
            "sources: [{name: a, type: application, url: 'host=h password=hush'}]",
            r"sources\[0\].url holds a password",
        ),
        (
            "sources: [{name: a, type: application, url: 'postgresql://h/d?sslpassword=hush'}]",
            r"sources\[0\].url holds a password",
        ),
        ("alerts: {channels: {ops: 'json://a:hush@h'}}", "alerts.channels.ops holds a password"),
        ("sources:\n- url: 'postgresql://a:hush@h\n  name: [", "line 3, column"),
    ],
)
def test_what_is_wrong_is_refused_with_the_keys_path(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PrismError, match=message) as caught:
        read(tmp_path, text)
    assert "prism.yaml" in str(caught.value)
    # nor in a traceback (--debug)
    assert "hush" not in "".join(traceback.format_exception(caught.value))


def test_a_password_alone_may_come_from_the_environment(tmp_path: Path) -> None:
    url = "postgresql://reader:${PASS}@h/d"
    settings = read(tmp_path, f"sources: [{{name: a, type: application, url: '{url}'}}]", PASS="hush")
    (source,) = settings.sources
    assert isinstance(source, ApplicationSource)
    assert source.url == "postgresql://reader:hush@h/d"


def test_a_missing_variable_is_named(tmp_path: Path) -> None:
    with pytest.raises(PrismError, match=r"sources\[0\].url uses \$\{PRISM_SOURCE_URL\}.*is not set"):
        read(tmp_path, "sources: [{name: a, type: application, url: '${PRISM_SOURCE_URL}'}]")


def test_a_named_settings_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PrismError, match="does not exist"):
        load_settings({"PRISM_CONFIG": "elsewhere.yaml"}, tmp_path)


def test_secrets_do_not_show(tmp_path: Path) -> None:
    settings = load_settings(
        {
            "PRISM_SMTP_URL": "smtp://a:hush@h",
            "PRISM_HMAC_KEY": "hush",
            "PRISM_WAREHOUSE_URL": "postgresql://a:hush@h",
        },
        tmp_path,
    )
    assert "hush" not in repr(settings)


def test_the_key_for_pseudonyms_is_made_once_for_the_owner_alone(tmp_path: Path) -> None:
    settings = load_settings({}, tmp_path)
    key = settings.hmac_key()
    assert len(key) == 64
    assert load_settings({}, tmp_path).hmac_key() == key
    assert stat.S_IMODE((settings.home / "hmac.key").stat().st_mode) == 0o600
    assert load_settings({"PRISM_HMAC_KEY": "given"}, tmp_path).hmac_key() == b"given"


def test_every_variable_is_in_the_example_and_the_reference() -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    reference = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    for name in VARIABLES:
        assert name in example
        assert name in reference
