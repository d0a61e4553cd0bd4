"""What an operator reads when something is wrong: one message that says what, where and how to mend it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestration.library.application import create_tables
from tests.ports import free_port
from tests.prism import Prism

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prism]:
    """A set-up warehouse without any data."""
    prism = Prism(tmp_path_factory.mktemp("faults"))
    prism("db", "start")
    yield prism
    prism.stop()


@pytest.mark.parametrize("command", [("run",), ("load",), ("doctor",), ("db", "setup")])
def test_a_warehouse_that_nobody_serves_is_named(tmp_path: Path, command: tuple[str, ...]) -> None:
    url = f"postgresql://prism:s3cret@127.0.0.1:{free_port()}/prism"
    done = Prism(tmp_path, {"PRISM_WAREHOUSE_URL": url}).here(*command, fails=True)
    said = done.stdout + done.stderr
    assert "PRISM_WAREHOUSE_URL: no connection to the database prism at 127.0.0.1" in said
    assert "s3cret" not in said


def test_a_warehouse_url_that_is_none_is_refused(tmp_path: Path) -> None:
    done = Prism(tmp_path, {"PRISM_WAREHOUSE_URL": "localhost"})("run", fails=True)
    assert "PRISM_WAREHOUSE_URL: this is not a PostgreSQL URL" in done.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("timezon: UTC", "prism.yaml: timezon: is not a setting that Prism knows"),
        ("start_date: [1]", "prism.yaml: start_date: "),
        (
            "sources: [{name: a, type: application, url: '${NOWHERE}'}]",
            "uses ${NOWHERE}, but the environment variable NOWHERE is not set",
        ),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_done(tmp_path: Path, text: str, message: str) -> None:
    prism = Prism(tmp_path)
    prism.configure(text)
    assert message in prism.here("run", fails=True).stderr
    assert not (tmp_path / ".prism").exists()


def test_a_night_without_any_source_or_sample_says_what_to_do(shared: Prism) -> None:
    said = shared.here("run", fails=True).stderr
    assert "no source is configured, and there is no sample data" in said
    assert "prism sample" in said


def test_an_unknown_source_is_answered_with_the_known_ones(shared: Prism) -> None:
    assert "Known: sample." in shared.here("load", "elsewhere", fails=True).stderr


def test_a_report_that_was_never_made_is_answered_with_what_to_do(shared: Prism) -> None:
    assert "the marts are not built yet" in shared.here("report", fails=True).stderr
    assert "there is no rendered report '../latest'" in shared.here("send", "../latest", fails=True).stderr


def test_an_empty_application_makes_a_report_that_says_so(shared: Prism) -> None:
    with shared.connect() as connection:
        create_tables(connection, "app")
    output = shared("run").stdout
    assert "Loaded: 0 new and 0 changed uses" in output
    index = (shared.folder / ".prism" / "reports" / "latest" / "index.html").read_text(encoding="utf-8")
    assert "Nothing has been loaded yet" in index
    assert not re.search(r"\bnan\b|None", index)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nosuch",), "No such command 'nosuch'"),
        (("run", "--date", "2025-13-01"), "'2025-13-01' does not match"),
        (("load", "sample", "--file", "nowhere.csv"), "'nowhere.csv' does not exist"),
    ],
)
def test_a_command_line_that_is_wrong_says_why(
    shared: Prism, arguments: tuple[str, ...], message: str
) -> None:
    said = shared.here(*arguments, fails=True).stderr
    assert message in said
    assert "unexpected" not in said
