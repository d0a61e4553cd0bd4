"""Starters are made by plain rules: the same prompt, the same starter."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestration.library.prompts import Prompt
from orchestration.library.starters import starter
from orchestration.library.templates import Sandbox


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as made:
        yield made


@pytest.mark.parametrize(
    ("description", "template", "expected"),
    [
        ("Sorts an incoming ticket by product.", "{{ a }} {{ b }}", "Sort an incoming ticket by product: "),
        (
            "Drafts an answer to a customer. Politely.",
            "{{ mail_text }}",
            "Draft an answer to a customer, given the mail: ",
        ),
        ("Condenses logs; names the cause.", "{{ logs }}", "Condense logs: "),
        ("Matches invoices", None, "Match invoices: "),
        ("Classifies mails", None, "Classify mails: "),
        ("Status of a shipment", None, "Status of a shipment: "),
        (None, "Write about ${topic}", "Refund letter, given the topic: "),
        ("  ", "Hello", "Refund letter: "),
        ("Lists " + "clauses " * 40, None, "List " + ("clauses " * 14).strip() + ": "),
        (None, None, None),
    ],
)
def test_a_starter_is_an_order_made_of_what_the_prompt_says_of_itself(
    sandbox: Sandbox, description: str | None, template: str | None, expected: str | None
) -> None:
    prompt = Prompt(name="refund-letter", description=description, user_prompt_template=template)
    assert starter(prompt, sandbox) == expected
