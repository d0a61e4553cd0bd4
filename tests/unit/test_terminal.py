"""What a hostile name can do to a terminal: nothing."""

from __future__ import annotations

import io

import pytest

from orchestration import cli
from orchestration.cli import Shown
from orchestration.errors import PrismError


def test_control_characters_are_seen_on_a_terminal_and_not_obeyed() -> None:
    terminal = io.StringIO()
    shown = Shown(terminal)
    print("a\tb\x1b]0;owned\x07\r\x9b2J\u202egnp", "é", file=shown)
    assert terminal.getvalue() == "a\tb\\u001b]0;owned\\u0007\\u000d\\u009b2J\\u202egnp é\n"
    assert not shown.closed


def test_nor_in_a_message_of_what_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise PrismError("there is no \x1b[2J", where="a\nb")

    monkeypatch.setattr("sys.argv", ["prism"])
    monkeypatch.setattr(cli, "app", fails)
    with pytest.raises(SystemExit, match=r"a\nb: there is no \\u001b\[2J"):
        cli.main()
