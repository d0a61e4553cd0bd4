"""Each mail against the file that a person has looked at.

After a wanted change of a mail, write the files anew and look at the difference before you commit it:

    UPDATE_GOLDENS=1 .venv/bin/python -m pytest tests/unit/test_mail_golden.py
    git diff tests/golden/mail
"""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import pytest

from reports import mail
from reports.views import operations
from tests.unit import mail_samples as samples

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "mail"


NOTICES = {
    "failure": operations.failure_notice(
        as_of_date=samples.DAY,
        failures=["unique_prompts_prompt_id: 3 rows", "prism: column used_at is missing"],
        look="http://127.0.0.1:3000/runs/4f1c (while prism ui is up)",
    ),
    "source": operations.source_notice(
        as_of_date=samples.DAY,
        failures=["assistant: there is no such file or folder"],
        look="http://127.0.0.1:3000/runs/4f1c (while prism ui is up)",
    ),
    "delivery": operations.delivery_notice(
        as_of_date=samples.DAY, failures=["digest of 2026-11-21 to gone@example.com: 550 no such user"]
    ),
    "heartbeat": operations.heartbeat_notice(
        as_of_date=samples.DAY, by="08:00 Europe/Berlin", last=date(2026, 11, 19)
    ),
}


def forms() -> dict[str, str]:
    """Every form of every mail, by the name of its file."""
    made = {}
    views = {
        "digest": samples.plain_digest(),
        "digest_empty": samples.empty_digest(),
        "digest_stale": samples.stale_digest(),
        "weekly": samples.weekly(),
        "weekly_of_an_owner": samples.owners(),
        "monthly": samples.monthly(),
    }
    for name, view in views.items():
        content = mail.render_digest(view)
        assert content.html is not None
        made |= {f"{name}.html": content.html, f"{name}.txt": content.text}
    content = mail.render_notice(samples.plain_notice())
    assert content.html is not None
    made |= {"notice.html": content.html, "notice.txt": content.text}
    made["notice_chat.txt"] = "\n".join(mail.render_chat(samples.plain_notice()))
    return made | {f"{name}.txt": mail.render_operations(notice).text for name, notice in NOTICES.items()}


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
