"""One browser for the tests of a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests import chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not chromium.CHROMIUM.is_file():
        pytest.skip("left out: Debian's Chromium is not installed (apt-get install chromium)")
    with chromium.launched() as made:
        yield made
