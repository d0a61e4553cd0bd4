"""Texts are redacted by form; what the forms do not know stays, and is stated."""

from __future__ import annotations

import pyarrow as pa
import pytest

from orchestration.loading.redact import redacted

SAID = [
    ("write to ann@example.com", "write to [EMAIL_1]"),
    ("call +49 30 123456 or (555) 123-4567", "call [PHONE_1] or [PHONE_2]"),
    ("card 4111 1111 1111 1111", "card [CREDIT_CARD_1]"),
    ("IBAN DE89 3704 0044 0532 0130 00", "IBAN [DE_IBAN_1]"),
    ("from 192.168.1.10", "from [IP_ADDRESS_1]"),
    # what has no form of its own: docs/privacy.md says so
    ("Ann Mustermann of Hauptstrasse 1", "Ann Mustermann of Hauptstrasse 1"),
    ("since 2026-01-02, in 10115 Berlin", "since 2026-01-02, in 10115 Berlin"),
    ("", ""),
    (None, None),
]


@pytest.mark.parametrize(("text", "kept"), SAID)
def test_what_has_the_form_of_a_persons_data_is_replaced(text: str | None, kept: str | None) -> None:
    assert redacted(pa.array([text], pa.string())).to_pylist() == [kept]
