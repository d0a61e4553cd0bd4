"""The printed report: what it needs, and that it asks for nothing."""

from __future__ import annotations

import builtins
from typing import Any

import pytest

from reports import paper
from reports.errors import ReportError
from reports.render import environment
from reports.views.alerts import alerts_page
from reports.views.overview import overview
from reports.views.printed import MOST_PROMPTS, Printed, printed
from reports.views.prompts import prompts
from tests.unit import report_frames as frames


def document(size: int = 1) -> Printed:
    options = frames.options()
    library = frames.library(*({"prompt_id": f"p{n}"} for n in range(size)))
    return printed(
        overview(
            dashboard=frames.dashboard(),
            summary=frames.summary(),
            top=frames.top(),
            alert_rows=frames.alerts(),
            daily=frames.daily(),
            quality=frames.quality({}),
            options=options,
        ),
        alerts_page(
            alert_rows=frames.alerts(),
            evidence=frames.evidence(),
            item_rows=frames.action_items(),
            events=(),
            prompts={},
            options=options,
        ),
        prompts(library=library, summary=frames.summary(), options=options),
        options,
    )


def test_an_empty_report_can_be_printed() -> None:
    assert paper.pdf(document(0), environment()).startswith(b"%PDF-")


def test_a_long_library_is_cut_and_says_so() -> None:
    made = document(MOST_PROMPTS + 1)
    assert len(made.prompts) == MOST_PROMPTS
    assert made.left_out == "1 prompt with fewer uses: on the pages alone."


def test_without_pango_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **named: Any) -> Any:
        if name == "weasyprint":
            raise OSError("cannot load library 'libpango-1.0-0'")
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ReportError, match=r"Pango is not installed"):
        paper.pdf(document(), environment())


def test_nothing_is_fetched_for_paper() -> None:
    with pytest.raises(ValueError, match="fetches nothing"):
        paper._nothing("file:///etc/passwd")
