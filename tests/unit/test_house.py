"""The house rules: what may know what, and that importing a module does nothing."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted([*(ROOT / "orchestration").rglob("*.py"), *(ROOT / "reports").rglob("*.py")])


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def in_room(module: str, room: str) -> bool:
    return module == room or module.startswith(f"{room}.")


# room -> what nothing in it may import
FORBIDDEN = {
    "reports": ["orchestration", "dagster", "dagster_dbt", "dbt"],
    "orchestration.sources": [
        "orchestration.loading",
        "orchestration.warehouse",
        "orchestration.assets",
        "reports",
        "dagster",
    ],
    "orchestration.loading": [
        "orchestration.assets",
        "orchestration.sources.application",
        "orchestration.sources.files",
        "orchestration.sources.helicone",
        "orchestration.sources.langfuse",
        "orchestration.sources.litellm",
        "orchestration.sources.opentelemetry",
        "reports",
        "dagster",
    ],
    "orchestration.analytics": [
        "orchestration.assets",
        "orchestration.loading",
        "orchestration.sources",
        "reports",
        "dagster",
    ],
    **{
        f"orchestration.analytics.{name}": [
            "psycopg",
            "orchestration.warehouse",
            "orchestration.analytics.tables",
        ]
        for name in ("anomalies", "comparisons", "forecasts")
    },
    "orchestration.sample": ["orchestration.loading", "orchestration.sources", "reports", "dagster"],
    "orchestration.library": ["orchestration.loading", "orchestration.sources", "reports", "dagster"],
    "orchestration.settings": ["orchestration.loading", "orchestration.warehouse", "psycopg", "dagster"],
    "orchestration.warehouse": ["orchestration.loading", "orchestration.sources", "reports", "dagster"],
}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_room_imports_only_what_it_may_know(path: Path) -> None:
    rules = [names for room, names in FORBIDDEN.items() if in_room(name_of(path), room)]
    for imported in imports(path):
        for names in rules:
            assert not any(in_room(imported, name) for name in names), f"{name_of(path)} imports {imported}"


def test_nothing_but_its_command_imports_the_console() -> None:
    room = "orchestration.console"
    users = {name_of(path) for path in MODULES if any(in_room(name, room) for name in imports(path))}
    assert {name for name in users if not in_room(name, room)} == {"orchestration.commands.console"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_says_what_it_is_for(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not tree.body or ast.get_docstring(tree), f"{name_of(path)} has no docstring"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_the_edges_read_the_environment(path: Path) -> None:
    edges = {
        "orchestration.cli", "orchestration.commands.db", "orchestration.commands.shared",
        "orchestration.definitions", "orchestration.dbt", "orchestration.dbt_process",
        "orchestration.instance",
        "orchestration.nightly", "orchestration.postgres", "orchestration.resources",
    }  # fmt: skip
    if name_of(path) not in edges:
        source = path.read_text(encoding="utf-8")
        assert "os.environ" not in source
        assert "getenv" not in source


def test_queries_of_the_marts_stand_in_one_module() -> None:
    askers = {
        name_of(path)
        for path in MODULES
        if in_room(name_of(path), "reports") and ".execute(" in path.read_text(encoding="utf-8")
    }
    assert askers <= {"reports.marts", "reports.outbox"}


def test_importing_every_module_reads_and_starts_nothing() -> None:
    names = [name_of(path) for path in MODULES if "migrations" not in path.parts]
    code = f"""
import os, socket, subprocess, sys
seen = []
def audit(event, arguments):
    # the scheduler's cron parser asks `file` whether Python has 64 bits
    if event in ("socket.connect", "subprocess.Popen", "os.mkdir") and arguments[0] != "file":
        seen.append((event, arguments))
sys.addaudithook(audit)
import importlib
for name in {names!r}:
    importlib.import_module(name)
print(seen)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("lock", sorted(ROOT.glob("requirements*.lock")), ids=lambda path: path.name)
def test_every_dependency_is_locked_with_its_hashes_and_names_no_registry(lock: Path) -> None:
    text = re.sub(r" *\\\n *", " ", lock.read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    assert len(lines) > 100
    one = r"[a-z0-9._-]+(\[[a-z0-9,-]+\])?==[^ ;]+( ; [^#@]+?)?( --hash=sha256:[0-9a-f]{64})+"
    assert [line for line in lines if not re.fullmatch(one, line)] == []
    assert "://" not in text


def test_nothing_is_installed_but_what_is_locked() -> None:
    made = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", "")
    installs = [part for part in re.split(r"&&|\n", made) if "pip install" in part]
    assert len(installs) == 4
    assert all("--require-hashes" in part or "--no-deps" in part for part in installs)
