"""Each mail against the file that a person has looked at.

After a wanted change of a mail, write the files anew and look at the difference before you commit it:

    UPDATE_GOLDENS=1 .venv/bin/python -m pytest tests/unit/test_mail_golden.py
    git diff tests/golden/mail
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reports import mail
from reports.views.failure import failure_notice
from tests.unit import mail_samples as samples

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "mail"


def forms() -> dict[str, str]:
    """Every form of every mail, by the name of its file."""
    made = {}
    for name, view in (("digest", samples.plain_digest()), ("digest_empty", samples.empty_digest())):
        content = mail.render_digest(view)
        assert content.html is not None
        made |= {f"{name}.html": content.html, f"{name}.txt": content.text}
    content = mail.render_notice(samples.plain_notice())
    assert content.html is not None
    made |= {"notice.html": content.html, "notice.txt": content.text}
    made["notice_chat.txt"] = "\n".join(mail.render_chat(samples.plain_notice()))
    notice = failure_notice(
        as_of_date=samples.DAY,
        failures=["unique_prompts_prompt_id: 3 rows", "prism: column used_at is missing"],
        look="The run 4f1c in Dagster's UI: prism ui",
    )
    return made | {"failure.txt": mail.render_failure_notice(notice).text}


def test_every_mail_is_as_it_was_looked_at() -> None:
    made = forms()
    if os.environ.get("UPDATE_GOLDENS"):
        for name, text in made.items():
            (GOLDEN / name).write_text(text, encoding="utf-8", newline="\n")
        pytest.skip(f"left out: {len(made)} files were written anew; look at: git diff {GOLDEN.name}")
    for name, text in made.items():
        assert text == (GOLDEN / name).read_text(encoding="utf-8"), (
            f"{name} differs; see this module's docstring"
        )


def test_no_golden_file_is_left_over() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == set(forms())
