"""The documentation keeps up with the program: a command, a variable or a file that it lacks fails here."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import typer.main

from orchestration.cli import app
from orchestration.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]


def commands() -> list[str]:
    """Every command by its whole name, as `prism db url`."""
    group = typer.main.get_command(app)
    names = []
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        names += [f"prism {name} {one}" for one in inner] if inner else [f"prism {name}"]
    return names


@pytest.mark.parametrize("command", commands())
def test_every_command_is_in_the_reference(command: str) -> None:
    assert command in (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "page", sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]), ids=lambda p: p.name
)
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def messages() -> list[str]:
    """The longest fixed part of each message that a person may get to read."""
    found = set()
    for path in [*(ROOT / "orchestration").rglob("*.py"), *(ROOT / "reports").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("PrismError", "ReportError"):
                parts = [part.value for part in ast.walk(node.args[0]) if isinstance(part, ast.Constant)]
                longest = max(
                    (part.strip(' :;,.`{}()"') for part in parts if isinstance(part, str)),
                    key=len,
                    default="",
                )
                if len(longest) > 10:
                    found.add(longest)
    return sorted(found)


def test_every_message_is_in_the_troubleshooting_guide() -> None:
    guide = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    missing = [message for message in messages() if message not in guide]
    assert len(messages()) > 40
    assert not missing


def yaml_blocks() -> list[tuple[str, str]]:
    """Each prism.yaml that the documentation shows, with the page it stands on."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    blocks = [
        (page.name, block)
        for page in pages
        for block in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    ]
    return [
        (page, block)
        for page, block in blocks
        if re.search(r"^(sources|reports|timezone|alerts):", block, re.M)
    ]


@pytest.mark.parametrize(("page", "block"), yaml_blocks())
def test_every_example_of_the_settings_is_understood(page: str, block: str, tmp_path: Path) -> None:
    (tmp_path / "prism.yaml").write_text(block, encoding="utf-8")
    variables = dict.fromkeys(re.findall(r"\$\{(\w+)\}", block), "postgresql://reader@localhost/app")
    variables |= {name: "json://localhost" for name in variables if "SLACK" in name}
    assert load_settings(variables, tmp_path).config.model_fields_set


def test_every_test_that_the_threat_model_names_is_there() -> None:
    page = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\btest_\w+(?!\.py)\b", page))
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    there = {
        name for path in files for name in re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))
    }
    assert len(named) > 50
    assert named - there - {path.stem for path in files} == set()
