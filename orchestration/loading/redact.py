"""What tells of a person by its form, out of texts: addresses, phones, cards, IBANs, IP addresses.

By datafog's patterns, which need no model. They know no names, and no places but by form: what they miss
stays (docs/privacy.md says what). Knows nothing of where the texts come from.
"""

from __future__ import annotations

from functools import lru_cache

import pyarrow as pa

# of what datafog knows, what names somebody; dates and postal codes stay, or no text could be read
_FORMS = ["EMAIL", "PHONE", "CREDIT_CARD", "IP_ADDRESS", "SSN", "DE_IBAN"]
# IBANs are German in datafog's books
_LOCALES = ["de"]


def redacted(texts: pa.Array) -> pa.Array:
    """The texts, each find replaced by its form and number, as ``[EMAIL_1]``."""
    return pa.array([None if text is None else _redacted(text) for text in texts.to_pylist()], pa.string())


@lru_cache(maxsize=1024)
def _redacted(text: str) -> str:
    # slow to import, and needed only where texts are redacted
    import datafog  # noqa: PLC0415

    return str(datafog.redact(text, entity_types=_FORMS, locales=_LOCALES).redacted_text)
