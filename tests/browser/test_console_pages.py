"""The console as people meet it: each role, each action, in a real browser, over a real library.

What is allowed is seen in the database and in the audit log; what is not has no button, and is refused when
it is sent all the same. Every page is watched: no message, no error, no dialog, no request to another host.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from orchestration.library.open import open_library
from orchestration.library.prompts import Filter, Prompt
from orchestration.settings import Settings
from orchestration.warehouse import Warehouse
from tests.console import ALERTS, HOSTILE, PASSWORD, fill, made, settings_at

pytestmark = [pytest.mark.browser, pytest.mark.integration]

MAKER = "maker@example.com"
PLACES = {
    "viewer": ["Prompts", "Alerts", "Enhance", "History", "Reports"],
    "editor": ["Prompts", "Alerts", "Enhance", "History", "Reports"],
    "admin": ["Prompts", "Alerts", "Enhance", "History", "Bulk change", "Reports", "Audit log", "Settings"],
}
ON_A_PROMPT = {
    "viewer": [],
    "editor": ["Edit", "Duplicate", "Archive"],
    "admin": ["Edit", "Duplicate", "Archive", "Delete"],
}
ON_AN_ALERT = ["Acknowledge", "Snooze", "Assign", "Resolve"]
# What may be sent, and whether an editor may; a viewer may none of it.
SENT = {
    "/prompts/create": True,
    "/prompts/edit?pk=KEY": True,
    "/_api/prompts/row-action?name=duplicate&pk=KEY": True,
    "/_api/prompts/row-action?name=archive&pk=KEY": True,
    "/_api/prompts/row-action?name=delete&pk=KEY": False,
    "/_api/prompts/action?name=in_bulk&pks=KEY": False,
    "/history/revert": True,
    "/history/undo": False,
    "/bulk": False,
    "/enhance/rate": True,
    **{f"/_api/alerts/row-action?name={name.lower()}&pk={ALERTS['triage']}": True for name in ON_AN_ALERT},
}
_SEND = """async ([path, method]) => (await fetch(path, {
    method, redirect: "manual", headers: {"X-CSRFToken": Cookies.get("starlette_admin_csrftoken")},
})).status"""


class Served:
    """A console that answers at ``url``, and what lies behind it."""

    def __init__(self, url: str, settings: Settings, warehouse: Warehouse) -> None:
        self.url, self.settings, self.warehouse = url, settings, warehouse

    def make(self, name: str, **fields: Any) -> Prompt:
        with open_library(self.settings, self.warehouse) as library:
            library.create({"name": name, **fields}, by=MAKER)
            return library.get(name)

    def prompts(self, **wanted: Any) -> list[Prompt]:
        with open_library(self.settings, self.warehouse) as library:
            return library.find(Filter(**wanted))

    def prompt(self, name: str) -> Prompt:
        [found] = self.prompts(keys=(name,))
        return found

    def use(self, prompt: Prompt) -> None:
        self.rows("insert into app.prompt_usage (prompt_id) values (%s) returning 1", prompt.id)

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with self.warehouse.connect() as connection:
            return connection.execute(query, parameters).fetchall()  # type: ignore[call-overload, no-any-return]

    def actions_by(self, who: str) -> list[str]:
        """What is on record of a person's changes, in order."""
        rows = self.rows(
            "select distinct change_id, action from app.prompt_changes where changed_by = %s order by 1", who
        )
        return [row[1] for row in rows]

    def audited(self, who: str, event: str) -> list[dict[str, str]]:
        lines = (self.settings.home / "console.log").read_text(encoding="utf-8").splitlines()
        found = [json.loads(line) for line in lines]
        return [line for line in found if (line["user"], line["event"]) == (who, event)]


@pytest.fixture(scope="module")
def served(
    browser: Browser, module_warehouse: Warehouse, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """``browser`` comes first, so that nothing is started without one."""
    expect.set_options(timeout=20_000)  # ms: on a busy machine pages take their time
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
    scheme: Literal["light", "dark"] = "light",
    csp: bool = True,
) -> Iterator[Page]:
    """A page, signed in by keyboard and watched: a message, an error, a dialog, a request elsewhere fails."""
    faults: list[str] = []
    frame = browser.new_context(
        viewport={"width": 1440, "height": 900},
        color_scheme=scheme,
        reduced_motion="reduce",
        bypass_csp=not csp,
    )
    try:
        page = frame.new_page()
        # a refusal is an answer 4xx, of which Chromium itself speaks
        page.on(
            "console",
            lambda message: (
                None
                if "server responded with a status of 4" in message.text
                else faults.append(f"console: {message.text}")
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
        # typed too soon, the first letters would go nowhere
        expect(page.get_by_label("Username")).to_be_focused()
        page.keyboard.type(f"{role}@example.com")
        page.keyboard.press("Tab")
        expect(page.get_by_label("Password")).to_be_focused()
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Prompts")).to_be_visible()
        yield page
        assert page.evaluate("window.hacked") is None
        assert faults == []
    finally:
        frame.close()


def tab_to(page: Page, target: Locator) -> None:
    """Presses Tab until the focus is there."""
    expect(target).to_be_visible()
    for _ in range(80):
        if target.evaluate("node => node === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError("Tab does not lead there")


def titles(row: Locator) -> list[str | None]:
    """What a row of a list offers."""
    return [one.get_attribute("title") for one in row.locator("a[title]").all()]


def test_the_keyboard_alone_finds_edits_and_saves_a_prompt_and_acknowledges_an_alert(
    browser: Browser, served: Served
) -> None:
    served.make("by keyboard", user_prompt_template="One\n{{ text }}")
    with opened(browser, served, "editor") as page:
        page.keyboard.type("by keyboard")  # a list begins in its search
        page.keyboard.press("Enter")
        tab_to(page, page.get_by_role("link", name="by keyboard"))
        page.keyboard.press("Enter")
        tab_to(page, page.get_by_role("button", name="Edit"))
        page.keyboard.press("Enter")
        tab_to(page, page.get_by_label("Description"))
        page.keyboard.type("as a person writes it")
        tab_to(page, page.get_by_label("Why"))
        page.keyboard.type("no mouse")
        page.keyboard.press("Enter")
        expect(page.get_by_text("was changed successfully")).to_be_visible()
        tab_to(page, page.get_by_role("link", name="Alerts"))
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Alerts")).to_be_visible()
        page.keyboard.type("triage")
        page.keyboard.press("Enter")
        tab_to(page, page.get_by_title("Acknowledge"))
        page.keyboard.press("Enter")
        tab_to(page, page.get_by_label("Note"))
        page.keyboard.type("seen")
        tab_to(page, page.get_by_role("button", name="Acknowledge", exact=True))
        page.keyboard.press("Enter")
        expect(page.get_by_text("It is acknowledged.")).to_be_visible()
    prompt = served.prompt("by keyboard")
    assert (prompt.description, prompt.user_prompt_template) == ("as a person writes it", "One\n{{ text }}")
    assert served.rows("select action, acted_by, note from ops.alert_actions") == [
        ("acknowledge", "editor@example.com", "seen")
    ]


@pytest.mark.parametrize("role", ["viewer", "editor", "admin"])
def test_what_a_role_may_not_do_has_no_button_and_is_refused_when_it_is_sent(
    browser: Browser, served: Served, role: str
) -> None:
    counts = "select (select count(*) from app.prompt_changes), (select count(*) from ops.alert_actions)"
    key, before = served.prompt("triage").id, served.rows(counts)
    with opened(browser, served, role) as page:
        assert page.get_by_role("navigation").get_by_role("link").all_inner_texts() == PLACES[role]
        page.goto(f"{served.url}/prompts/list?q=refund")
        row = page.get_by_role("row", name="refund")
        expect(row).to_contain_text("90.0% (85.1% to 93.4%)")
        expect(row).to_contain_text("healthy")
        assert titles(row) == ON_A_PROMPT[role]
        assert page.get_by_role("checkbox").count() == (2 if role == "admin" else 0)
        assert page.get_by_role("link", name="New prompt").count() == (role != "viewer")
        page.goto(f"{served.url}/alerts/list?q=refund")
        assert titles(page.get_by_role("row", name="refund")) == ([] if role == "viewer" else ON_AN_ALERT)
        page.goto(f"{served.url}/prompts/detail?pk={key}")
        for name, there in (("Bring back texts", role != "viewer"), ("Take back change", role == "admin")):
            assert page.get_by_role("button", name=name, include_hidden=True).count() == there
        page.goto(f"{served.url}/enhance")
        assert page.get_by_label("Record the use").count() == (role != "viewer")
        refused = 0
        for path, editors in SENT.items():
            if role == "admin" or (role == "editor" and editors):
                continue
            assert page.evaluate(_SEND, [path.replace("KEY", key), "POST"]) == 403, path
            refused += 1
        for path in ("/bulk", "/settings", "/audit"):
            assert page.evaluate(_SEND, [path, "GET"]) == (200 if role == "admin" else 403), path
            refused += role != "admin"
        page.get_by_role("link", name="Reports").click()
        expect(page.get_by_role("heading", name="All reports")).to_be_visible()
    assert served.rows(counts) == before
    assert len(served.audited(f"{role}@example.com", "refused")) == refused


def told(page: Page, text: str) -> None:
    """What the page says of the last action."""
    expect(page.locator("#alertContainer")).to_contain_text(text)


def act(page: Page, title: str, **fields: str) -> None:
    """A row's action, by its dialogue."""
    page.get_by_title(title).click()
    for label, value in fields.items():
        page.get_by_label(label, exact=True).fill(value)
    page.get_by_role("button", name=title, exact=True).click()


def back(page: Page, button: str) -> None:
    """Takes the latest change back that has such a button."""
    entry = (
        page.locator("section").filter(has=page.get_by_role("button", name=button, include_hidden=True)).first
    )
    entry.get_by_text("Take back", exact=True).click()
    one = entry.locator("form").filter(has=page.get_by_role("button", name=button))
    one.get_by_label("Why").fill("a mistake")
    one.get_by_role("button").click()
    told(page, "Change ")


@pytest.mark.parametrize("role", ["editor", "admin"])
def test_an_editor_writes_prompts_and_each_change_is_on_record(
    browser: Browser, served: Served, role: str
) -> None:
    who, name, copy = f"{role}@example.com", f"walked by {role}", f"copy of {role}"
    changes, lines = len(served.actions_by(who)), len(served.audited(who, "done"))
    with opened(browser, served, role) as page:
        page.get_by_role("link", name="New prompt").click()
        page.get_by_label("Name", exact=True).fill(name)
        page.get_by_label("Agents").fill("desk")
        page.get_by_label("System prompt").fill("first")
        page.get_by_label("Template").fill("{{ oops")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("line 1: ")).to_be_visible()
        page.get_by_label("Template").fill("Say: {{ text }}")
        page.get_by_label("Why").fill("needed")
        page.get_by_role("button", name="Save").click()
        told(page, "added successfully")
        found = served.prompt(name)
        assert (found.status, found.agents, found.version) == ("draft", ("desk",), 1)

        page.goto(f"{served.url}/prompts/list?q={name}")
        page.get_by_title("Edit").click()
        with open_library(served.settings, served.warehouse) as library:
            library.edit(name, {"domain": "letters"}, by=MAKER)
        page.get_by_label("System prompt").fill("second")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("alert")).to_contain_text("+domain: letters")  # somebody was faster
        page.get_by_role("link", name="Open the form anew").click()
        page.get_by_label("System prompt").fill("second")
        page.get_by_label("Agents").fill("")
        page.get_by_role("button", name="Save").click()
        told(page, "changed successfully")
        found = served.prompt(name)
        assert (found.system_prompt, found.agents, found.domain) == ("second", (), "letters")

        page.get_by_role("link", name=name).click()
        page.get_by_text("What changed").first.click()
        expect(page.get_by_text("+  second")).to_be_visible()
        back(page, "Bring back texts of version 1")
        assert served.prompt(name).system_prompt == "first"

        page.goto(f"{served.url}/prompts/list?q={name}")
        act(page, "Duplicate", Name="triage")
        told(page, "is taken by another prompt")
        act(page, "Duplicate", Name=copy)
        told(page, "is made, as a draft")
        page.goto(f"{served.url}/prompts/list?q={copy}")
        act(page, "Archive", Why="out of date")
        told(page, "It is archived.")
        assert served.prompt(copy).status == "archived"
    assert served.actions_by(who)[changes:] == ["create", "edit", "revert", "duplicate", "archive"]
    why = served.rows("select reason from app.prompt_changes where changed_by = %s order by change_id", who)
    assert [one[0] for one in why][-5:] == ["needed", None, "a mistake", None, "out of date"]
    done = [line.get("name", line["path"]) for line in served.audited(who, "done")]
    assert done[lines:] == ["/prompts/create", "/prompts/edit", "/history/revert", "duplicate", "archive"]
    assert {"/prompts/create", "/prompts/edit"} <= {line["path"] for line in served.audited(who, "not done")}


@pytest.mark.parametrize(("role", "prompt"), [("editor", "refund"), ("admin", "triage")])
def test_an_editor_acts_on_alerts_records_a_use_rates_it_and_signs_out(
    browser: Browser, served: Served, role: str, prompt: str
) -> None:
    who, alert = f"{role}@example.com", ALERTS[prompt]
    lines = len(served.audited(who, "done"))
    with opened(browser, served, role) as page:
        page.goto(f"{served.url}/alerts/list?state=all&q={prompt}")
        act(page, "Acknowledge", Note="seen")
        told(page, "It is acknowledged.")
        act(page, "Snooze", Until="2000-01-01")
        told(page, "2000-01-01")
        act(page, "Snooze", Until="2999-01-01")
        told(page, "It is quiet until 2999-01-01.")
        act(page, "Assign", To="ann@example.com", Due="2999-01-02")
        told(page, "It is assigned to ann@example.com.")
        act(page, "Resolve", Note="done")
        told(page, "It is resolved.")
        page.get_by_role("link", name=prompt, exact=True).click()
        expect(page.locator("section").filter(has_text="to ann@example.com")).to_be_visible()

        page.get_by_role("link", name="Enhance").click()
        page.get_by_label("Text", exact=True).fill("my lamp")
        page.get_by_label("Prompt", exact=True).fill("triage")
        page.get_by_label("Record the use").check()
        page.get_by_role("button", name="Enhance").click()
        expect(page.locator("#enhanced")).to_have_text("Sort:\nmy lamp")
        page.get_by_role("button", name="4").click()
        told(page, "Rated 4.")

        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        page.goto(f"{served.url}/prompts/list")
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    acts = served.rows(
        "select action, note from ops.alert_actions where acted_by = %s and alert_id = %s order by acted_at",
        who, alert,
    )  # fmt: skip
    assert acts[-4:] == [("acknowledge", "seen"), ("snooze", None), ("assign", None), ("resolve", "done")]
    uses = served.rows("select user_prompt, rating from app.prompt_usage where user_id = %s", who)
    assert uses == [("my lamp", 4)]
    done = served.audited(who, "done")[lines:]
    assert [line.get("name", line["path"]) for line in done] == [
        "acknowledge", "snooze", "assign", "resolve", "/enhance", "/enhance/rate",
    ]  # fmt: skip
    assert {line["pk"] for line in done if "pk" in line} == {alert}
    assert (done[-1]["usage_id"], done[-1]["rating"]) == (done[-2]["usage_id"], "4")
    assert served.audited(who, "signed out")


def test_a_viewer_enhances_and_nothing_is_recorded(browser: Browser, served: Served) -> None:
    uses = served.rows("select count(*) from app.prompt_usage")
    with opened(browser, served, "viewer") as page:
        page.get_by_role("link", name="Enhance").click()
        page.get_by_label("Text", exact=True).fill("my lamp")
        page.get_by_label("Agent").select_option("desk")
        page.get_by_role("button", name="Enhance").click()
        expect(page.locator("#enhanced")).to_contain_text("my lamp")
        expect(page.get_by_text("of the 2 active prompts of desk")).to_be_visible()
        assert page.get_by_text("How good was it?").count() == 0
    assert served.rows("select count(*) from app.prompt_usage") == uses


def planned(page: Page, kind: str, number: int, **fields: str) -> None:
    """Has the bulk page show a change."""
    page.get_by_label("Kind").select_option(kind)
    for label, value in fields.items():
        page.get_by_label(label.replace("_", " ")).fill(value)
    page.get_by_role("button", name="Show what would change").click()
    expect(page.get_by_role("heading", name=f"{number} prompts would change")).to_be_visible()


def changed(page: Page, number: int) -> None:
    """Makes the change that is shown."""
    page.get_by_role("button", name=f"Change {number} prompts").click()
    told(page, f"{number} prompts are changed")


def test_an_admin_changes_many_at_once_and_nothing_before_it_was_shown(
    browser: Browser, served: Served
) -> None:
    who = "admin@example.com"
    earlier = len(served.actions_by(who))
    for letter in "abc":
        served.make(f"many {letter}", domain="many", status="active", system_prompt="Acme Ltd")

    def values(field: str) -> list[Any]:
        return [getattr(one, field) for one in served.prompts(domain="many")]

    with opened(browser, served, "admin") as page:
        page.goto(f"{served.url}/prompts/list?domain=many")
        page.get_by_label("Select all rows").check()
        page.get_by_role("button", name="With selected").click()
        page.get_by_role("link", name="Change, duplicate, archive or delete").click()
        expect(page.get_by_text("The 3 that were selected")).to_be_visible()
        expect(page.get_by_label("Behind the copies' names")).to_be_hidden()
        planned(page, "replace", 3, Old_text="Acme Ltd", New_value="Acme plc", Why="new name")
        assert values("system_prompt") == ["Acme Ltd"] * 3
        changed(page, 3)
        assert values("system_prompt") == ["Acme plc"] * 3
        for kind, value, field, expected in (
            ("set", "ann@example.com", "owner", "ann@example.com"),
            ("add_tag", "gdpr", "compliance_tags", ("gdpr",)),
            ("remove_tag", "gdpr", "compliance_tags", ()),
            ("add_agent", "desk", "agents", ("desk",)),
            ("remove_agent", "desk", "agents", ()),
        ):
            page.goto(f"{served.url}/bulk?domain=many")
            if kind == "set":
                page.locator("select[name=field]").select_option("owner")
            planned(page, kind, 3, New_value=value)
            assert expected not in values(field)
            changed(page, 3)
            assert values(field) == [expected] * 3
    assert served.actions_by(who)[earlier:] == ["edit", "edit", "edit", "edit", "map", "unmap"]
    assert [line.get("change") is None for line in served.audited(who, "done")[-4:]] == [True, False] * 2


def test_an_admin_duplicates_archives_deletes_and_takes_back(browser: Browser, served: Served) -> None:
    who = "admin@example.com"
    earlier = len(served.actions_by(who))
    for letter in "ab":
        served.make(f"old {letter}", domain="old", status="active")
    served.use(served.prompt("old b"))

    def states() -> list[tuple[str, str | None]]:
        return [(one.name, one.status) for one in served.prompts(domain="old")]

    with opened(browser, served, "admin") as page:

        def bulk(kind: str, number: int, query: str = "domain=old", **fields: str) -> None:
            before = states()
            page.goto(f"{served.url}/bulk?{query}")
            planned(page, kind, number, **fields)
            assert states() == before

        bulk("duplicate", 2, Behind_the_copies=" anew")
        changed(page, 2)
        bulk("archive", 2, "q= anew&domain=old")
        changed(page, 2)
        before = [
            ("old a", "active"), ("old a anew", "archived"), ("old b", "active"), ("old b anew", "archived"),
        ]  # fmt: skip
        assert states() == before
        bulk("delete", 4)
        expect(page.get_by_text("old b has uses, so it is archived, not deleted")).to_be_visible()
        changed(page, 4)
        assert states() == [("old b", "archived")]
        back(page, "Take back change")
        assert states() == before
        for letter, outcome in (("a", "It is deleted"), ("b", "old b has uses, so it is archived")):
            page.goto(f"{served.url}/prompts/list?q=old {letter}&status=active")
            act(page, "Delete")
            told(page, outcome)
        assert states() == [("old a anew", "archived"), ("old b", "archived"), ("old b anew", "archived")]
        page.get_by_role("link", name="Settings").click()
        expect(page.get_by_text("start_date")).to_be_visible()
        page.get_by_role("link", name="Audit log").click()
        line = page.get_by_role("row").filter(has_text="kind delete, prompts 4, change").first
        expect(line).to_contain_text(who)
    assert served.actions_by(who)[earlier:] == [
        "duplicate", "archive", "delete", "revert", "delete", "delete",
    ]  # fmt: skip


def test_hostile_text_is_text_wherever_it_shows(browser: Browser, served: Served) -> None:
    hostile = served.prompt(HOSTILE)
    with opened(browser, served, "admin") as page:
        page.goto(f"{served.url}/bulk?q=hacked")
        page.locator("select[name=field]").select_option("domain")
        page.get_by_label("New value").fill(HOSTILE)
        page.get_by_role("button", name="Show what would change").click()
        expect(page.get_by_label("What would change")).to_contain_text("onerror=window.hacked")
        page.goto(f"{served.url}/enhance")
        page.get_by_label("Text", exact=True).fill(HOSTILE)
        page.get_by_label("Prompt", exact=True).fill("triage")
        page.get_by_role("button", name="Enhance").click()
        expect(page.locator("#enhanced")).to_contain_text("{{ 7*7 }}")
        page.get_by_label("Prompt", exact=True).fill(HOSTILE)
        page.get_by_role("button", name="Enhance").click()
        for path in (
            "prompts/list?q=hacked", f"prompts/detail?pk={hostile.id}", f"prompts/edit?pk={hostile.id}",
            "alerts/list?q=hacked", f"alerts/detail?pk={ALERTS[HOSTILE]}", "history", "audit",
        ):  # fmt: skip
            page.goto(f"{served.url}/{path}")
            expect(page.locator("body")).to_contain_text("window.hacked=1")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_every_width_and_axe_finds_nothing_serious(
    browser: Browser, served: Served, scheme: Literal["light", "dark"], tmp_path: Path
) -> None:
    key = served.prompt("refund").id
    paths = {
        "prompts": "prompts/list", "filters": "prompts/list?domain=support", "settings": "settings",
        "prompt": f"prompts/detail?pk={key}", "edit": f"prompts/edit?pk={key}", "create": "prompts/create",
        "alerts": "alerts/list?state=all", "alert": f"alerts/detail?pk={ALERTS['refund']}",
        "enhance": "enhance?prompt=refund", "history": "history", "bulk": "bulk?domain=support",
        "audit": "audit", "missing": "prompts/detail?pk=x", "login": "login",
    }  # fmt: skip
    # in the dark nothing but the colours differs
    rules = {"runOnly": ["color-contrast", "link-in-text-block"]} if scheme == "dark" else None
    faults: list[tuple[str, str, Any]] = []
    with opened(browser, served, "admin", scheme, csp=False) as page:
        for name, path in paths.items():
            if name == "login":
                page.context.clear_cookies()
            page.goto(f"{served.url}/{path}")
            assert page.locator("html").get_attribute("data-bs-theme") == scheme
            for width in (390, 768, 1440):
                page.set_viewport_size({"width": width, "height": 900})
                if not page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"):
                    faults.append((name, "scrolls sideways", width))
                if (width, scheme) in ((390, "dark"), (1440, "light")):  # for people to look at
                    page.screenshot(path=tmp_path / f"{name}.png", full_page=True)
            faults += [
                (name, one["id"], [node["html"][:120] for node in one["nodes"][:2]])
                for one in Axe().run(page, options=rules).response["violations"]
                if one["impact"] in ("serious", "critical")
            ]
    assert faults == []
