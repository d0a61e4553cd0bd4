"""The console as a person meets it: in a real browser, over a real library, no request to another host."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from orchestration.library.open import open_library
from orchestration.settings import Settings
from orchestration.warehouse import Warehouse
from tests.console import HOSTILE, PASSWORD, fill, made, settings_at

pytestmark = [pytest.mark.browser, pytest.mark.integration]


class Served:
    """A console that answers at ``url``."""

    def __init__(self, url: str, settings: Settings, warehouse: Warehouse) -> None:
        self.url, self.settings, self.warehouse = url, settings, warehouse


@pytest.fixture(scope="module")
def served(
    browser: Browser, module_warehouse: Warehouse, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """``browser`` comes first, so that nothing is started without one."""
    fill(module_warehouse)
    settings = settings_at(tmp_path_factory.mktemp("console"))
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(made(settings, module_warehouse), log_level="warning", proxy_headers=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}", settings, module_warehouse)
    server.should_exit = True
    thread.join(30)
    listening.close()


@contextmanager
def opened(
    browser: Browser,
    served: Served,
    role: str,
    width: int,
    scheme: Literal["light", "dark"],
    csp: bool = True,
) -> Iterator[Page]:
    """A page, signed in and watched: a message, an error, a dialog or a request elsewhere fails the test."""
    faults: list[str] = []
    viewport = {"width": width, "height": 900}
    frame = browser.new_context(viewport=viewport, color_scheme=scheme, bypass_csp=not csp)
    try:
        page = frame.new_page()
        # a refused action is an answer 400, of which Chromium itself speaks
        page.on(
            "console",
            lambda message: (
                None if "400 (Bad Request)" in message.text else faults.append(f"console: {message.text}")
            ),
        )
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((served.url, "data:"))
                else faults.append(f"request: {request.url}")
            ),
        )
        page.goto(served.url)
        page.get_by_label("Username").fill(f"{role}@example.com")
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Prompts")).to_be_visible()
        yield page
        assert page.evaluate("window.hacked") is None
        assert faults == []
    finally:
        frame.close()


def fits(page: Page) -> None:
    """Nothing scrolls sideways."""
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), page.url


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_an_editor_edits_a_prompt_sees_its_history_and_acknowledges_an_alert(
    browser: Browser, served: Served, width: int, scheme: Literal["light", "dark"], tmp_path: Path
) -> None:
    name = f"walked at {width}"
    with open_library(served.settings, served.warehouse) as library:
        library.create({"name": name, "user_prompt_template": "One\n{{ text }}"}, by="maker@example.com")
        key = library.get(name).id
    with opened(browser, served, "editor", width, scheme) as page:
        fits(page)
        page.screenshot(path=tmp_path / "list.png", full_page=True)
        assert page.locator("html").get_attribute("data-bs-theme") == scheme
        page.goto(f"{served.url}/prompts/edit?pk={key}")
        page.get_by_label("Description").fill("as a person writes it")
        page.get_by_label("Why").fill("in a browser")
        fits(page)
        page.screenshot(path=tmp_path / "edit.png", full_page=True)
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.get_by_text("was changed successfully")).to_be_visible()
        page.goto(f"{served.url}/prompts/detail?pk={key}")
        page.get_by_text("What changed").first.click()
        expect(page.get_by_text("+description: as a person writes it")).to_be_visible()
        fits(page)
        page.screenshot(path=tmp_path / "detail.png", full_page=True)
        page.goto(f"{served.url}/alerts/list?q=triage")
        fits(page)
        page.screenshot(path=tmp_path / "alerts.png", full_page=True)
        page.get_by_title("Acknowledge").first.click()
        page.get_by_label("Note").fill(f"seen at {width}")
        page.screenshot(path=tmp_path / "act.png")
        page.get_by_role("button", name="Acknowledge", exact=True).click()
        expect(page.get_by_text("It is acknowledged.")).to_be_visible()
        page.goto(f"{served.url}/enhance")
        page.get_by_label("Text", exact=True).fill("my lamp")
        page.get_by_role("button", name="Enhance").click()
        expect(page.locator("#enhanced")).to_contain_text("my lamp")
        fits(page)
        page.screenshot(path=tmp_path / "enhance.png", full_page=True)
    with open_library(served.settings, served.warehouse) as library:
        prompt = library.get(name)
    assert prompt.description == "as a person writes it"
    assert prompt.user_prompt_template == "One\n{{ text }}"


def test_an_admin_changes_in_bulk_and_hostile_text_stays_text(browser: Browser, served: Served) -> None:
    with opened(browser, served, "admin", 1440, "light") as page:
        page.goto(f"{served.url}/bulk")
        page.get_by_label("Search").fill("hacked")
        page.get_by_label("Field, to set").select_option("domain")
        page.get_by_label("New value").fill(HOSTILE)
        page.get_by_role("button", name="Show what would change").click()
        expect(page.get_by_role("heading", name="1 prompts would change")).to_be_visible()
        page.get_by_role("button", name="Change 1 prompts").click()
        expect(page.get_by_text("1 prompts are changed")).to_be_visible()
        page.get_by_role("button", name="Take back change").first.click()
        expect(page.locator("#alertContainer").get_by_text("Change")).to_be_visible()
        for path in ("/prompts/list?q=hacked", "/alerts/list?q=hacked", "/history", "/settings", "/reports/"):
            page.goto(f"{served.url}{path}")
        with open_library(served.settings, served.warehouse) as library:
            hostile = library.get(HOSTILE)
        assert hostile.domain == "odd"
        for path in ("detail", "edit"):
            page.goto(f"{served.url}/prompts/{path}?pk={hostile.id}")
        page.goto(f"{served.url}/prompts/list?q=hacked")
        page.get_by_title("Duplicate").click()
        page.get_by_label("Name", exact=True).fill("triage")
        page.get_by_role("button", name="Duplicate", exact=True).click()
        expect(page.get_by_text("is taken by another prompt")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    browser: Browser, served: Served, scheme: Literal["light", "dark"]
) -> None:
    with opened(browser, served, "admin", 1440, scheme, csp=False) as page:
        with open_library(served.settings, served.warehouse) as library:
            key = library.get("triage").id
        paths = ["prompts/list", f"prompts/detail?pk={key}", f"prompts/edit?pk={key}", "alerts/list",
                 "enhance", "history", "bulk", "settings"]  # fmt: skip
        faults: list[tuple[str, str, list[str]]] = []
        for path in paths:
            page.goto(f"{served.url}/{path}")
            found = Axe().run(page).response["violations"]
            faults += [
                (path, one["id"], [node["html"][:120] for node in one["nodes"][:2]])
                for one in found
                if one["impact"] in ("serious", "critical")
            ]
        assert not faults
