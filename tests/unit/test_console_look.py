"""The console looks as the reports do: the colours of its sheet are those of theirs."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def palettes(sheet: Path) -> list[dict[str, str]]:
    """The properties of the first two ``:root`` rules: light, dark."""
    rules = re.findall(r":root \{(.*?)\}", sheet.read_text(encoding="utf-8"), re.DOTALL)
    return [dict(re.findall(r"--([\w-]+): ([^;]+);", rule)) for rule in rules[:2]]


def test_the_colours_of_the_console_are_those_of_the_reports() -> None:
    reports = palettes(ROOT / "templates" / "site" / "prism.css")
    console = palettes(ROOT / "orchestration" / "console" / "static" / "console.css")
    for theirs, ours in zip(reports, console, strict=True):
        assert len(ours) >= 15
        assert {name: theirs.get(name) for name in ours} == ours
