"""The web console over a real library: each action, each role, what is refused, hostile text."""

from __future__ import annotations

import asyncio
import html
import json
import re
import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
import uvicorn
from starlette.testclient import TestClient
from starlette.types import ASGIApp
from typer.testing import CliRunner, Result

from orchestration import roles
from orchestration.alerting import actions
from orchestration.cli import app
from orchestration.console.accounts import Accounts, Attempts, AuditLog
from orchestration.console.app import accounts_of, build
from orchestration.console.guard import role_needed
from orchestration.console.house import House
from orchestration.console.pages import in_force
from orchestration.errors import PrismError
from orchestration.library.open import open_library
from orchestration.library.prompts import Prompt
from orchestration.library.store import Library
from orchestration.settings import Settings, load_settings
from orchestration.warehouse import Warehouse
from tests.console import ALERT, HOSTILE, PASSWORD, fill, made, settings_at

pytestmark = pytest.mark.integration


class Site:
    """The console and what lies behind it."""

    def __init__(self, app: ASGIApp, settings: Settings, warehouse: Warehouse) -> None:
        self.app, self.settings, self.warehouse = app, settings, warehouse

    def visitor(self) -> TestClient:
        return TestClient(self.app, base_url="http://127.0.0.1:3001", follow_redirects=False)

    def signed_in(self, role: str) -> TestClient:
        client = self.visitor()
        client.get("/login")
        done = post(client, "/login", username=f"{role}@example.com", password=PASSWORD)
        assert done.status_code == 303, done.text
        return client

    def prompt(self, name: str) -> Prompt:
        with open_library(self.settings, self.warehouse) as library:
            return library.get(name)

    def make(self, name: str, **fields: object) -> Prompt:
        with open_library(self.settings, self.warehouse) as library:
            library.create({"name": name, "status": "active", **fields}, by="maker@example.com")
            return library.get(name)


def post(client: TestClient, path: str, **form: str):  # type: ignore[no-untyped-def]
    return client.post(path, data={"csrftoken": client.cookies.get("starlette_admin_csrftoken", ""), **form})


def form_of(page: str) -> dict[str, str]:
    """What a browser would send of a page's form: its inputs, choices and texts as they stand."""
    sent = {}
    for tag in re.findall(r"<input[^>]*>", page):
        name, value = re.search(r'name="([^"]*)"', tag), re.search(r'value="([^"]*)"', tag)
        if name and 'type="checkbox"' not in tag:
            sent[name[1]] = html.unescape(value[1]) if value else ""
    for name, value in re.findall(r'<textarea[^>]*name="([^"]*)"[^>]*>\n?(.*?)</textarea>', page, re.DOTALL):
        sent[name] = html.unescape(value).replace("\n", "\r\n")  # as browsers do
    for name, inner in re.findall(r'<select[^>]*name="([^"]*)"[^>]*>(.*?)</select>', page, re.DOTALL):
        chosen = [tag for tag in re.findall(r"<option[^>]*>", inner) if "selected" in tag]
        if chosen and (value := re.search(r'value="([^"]*)"', chosen[0])):
            sent[name] = html.unescape(value[1])
    return sent


@pytest.fixture(scope="module")
def site(module_warehouse: Warehouse, tmp_path_factory: pytest.TempPathFactory) -> Site:
    fill(module_warehouse)
    settings = settings_at(tmp_path_factory.mktemp("console"))
    return Site(made(settings, module_warehouse), settings, module_warehouse)


PAGES = [
    "/prompts/list", "/alerts/list", "/enhance", "/history", "/reports/index.html", "/reports/2026-11-21/",
]  # fmt: skip


FOR_ADMINS = ["/bulk", "/settings", "/audit"]


@pytest.mark.parametrize(
    "path", ["/", *PAGES, *FOR_ADMINS, "/prompts/create", "/reports/", "/reports/way-out"]
)
def test_nobody_sees_a_page_who_is_not_signed_in(site: Site, path: str) -> None:
    answer = site.visitor().get(path)
    assert answer.status_code == 303
    assert "/login?next=" in answer.headers["location"]
    assert "triage" not in answer.text


@pytest.mark.parametrize("role", ["viewer", "editor", "admin"])
def test_every_role_reads_and_only_an_admin_sees_what_is_for_admins(site: Site, role: str) -> None:
    client = site.signed_in(role)
    for path in PAGES:
        assert client.get(path).status_code == 200, path
    for path in FOR_ADMINS:
        assert client.get(path).status_code == (200 if role == "admin" else 403), path


def test_a_list_filters_by_every_field_at_once(site: Site) -> None:
    client = site.signed_in("viewer")
    page = client.get("/prompts/list?q=ACME&domain=support&agent=desk&status=active").text
    assert "refund" in page
    assert "triage" not in page
    assert "2026-13-01" in client.get("/prompts/list?unused_since=2026-13-01").text


def test_a_wrong_password_an_unknown_name_and_a_forged_session_stay_outside(site: Site) -> None:
    client = site.visitor()
    client.get("/login")
    for name in ("admin@example.com", "nobody@example.com"):
        answer = post(client, "/login", username=name, password="not the one at all")
        assert answer.status_code == 400
        assert "Name or password is wrong." in answer.text
    client.cookies.set("prism_console", "eyJ1c2VyIjogImFkbWluQGV4YW1wbGUuY29tIn0=.forged.forged")
    assert client.get("/prompts/list").status_code == 303
    lines = [json.loads(line) for line in (site.settings.home / "console.log").read_text().splitlines()]
    assert {"event": "sign-in failed", "user": "nobody@example.com"}.items() <= lines[-1].items()


def test_a_session_ends_with_signing_out_a_new_password_and_a_removal(site: Site) -> None:
    accounts = accounts_of(site.settings)
    accounts.put("guest@example.com", "viewer", PASSWORD)
    client = site.signed_in("guest")
    accounts.put("guest@example.com", "viewer", PASSWORD + "!")
    assert client.get("/prompts/list").status_code == 303
    accounts.put("guest@example.com", "viewer", PASSWORD)
    client = site.signed_in("guest")
    accounts.remove("guest@example.com")
    assert client.get("/prompts/list").status_code == 303
    client = site.signed_in("viewer")
    assert post(client, "/logout").status_code == 303
    assert client.get("/prompts/list").status_code == 303


def test_after_eight_failures_even_the_right_password_waits(tmp_path: Path, site: Site) -> None:
    settings = settings_at(tmp_path)
    client = Site(made_again(settings, site.warehouse), settings, site.warehouse).visitor()
    client.get("/login")
    for _ in range(8):
        assert post(client, "/login", username="admin@example.com", password="wrong").status_code == 400
    answer = post(client, "/login", username="admin@example.com", password=PASSWORD)
    assert answer.status_code == 400
    assert "Too many failures" in answer.text


def made_again(settings: Settings, warehouse: Warehouse) -> ASGIApp:
    return build(House(settings, warehouse))


def test_failures_are_forgotten_in_time() -> None:
    now = [0.0]
    attempts = Attempts(most=2, seconds=60, clock=lambda: now[0])
    attempts.failed("a")
    now[0] = 30
    attempts.failed("a")
    assert attempts.wait("a", "b") == 30
    now[0] = 61
    assert attempts.wait("a") == 0


def test_cookies_and_headers_are_as_strict_as_the_pages_allow(site: Site) -> None:
    client = site.visitor()
    client.get("/login")
    answer = post(client, "/login", username="viewer@example.com", password=PASSWORD)
    [cookie] = [one for one in answer.headers.get_list("set-cookie") if one.startswith("prism_console=")]
    assert "httponly" in cookie.lower()
    assert "samesite=strict" in cookie.lower()
    page = client.get("/prompts/list")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "eval" not in policy
    script = next(part for part in policy.split("; ") if part.startswith("script-src "))
    assert "unsafe" not in script
    nonce = re.search(r"'nonce-([^']+)'", script)
    assert nonce
    assert nonce[1] not in client.get("/prompts/list").text
    for tag in re.findall(r"<(?:script|style)\b[^>]*>", page.text):
        assert f'nonce="{nonce[1]}"' in tag
    assert "frame-ancestors 'none'" in client.get("/reports/index.html").headers["content-security-policy"]
    assert not re.search(r"""(?:src|href|url)\s*[=(]\s*["']?https?://(?!127\.0\.0\.1)""", page.text)


def test_an_edit_changes_what_was_touched_and_nothing_else(site: Site) -> None:
    before = site.make(
        "letter", description="two\nlines", user_prompt_template="\nDear {{ name }},\n\n", agents=["desk"],
        compliance_tags=["gdpr"], complexity_level="basic",
    )  # fmt: skip
    client = site.signed_in("editor")
    address = f"/prompts/edit?pk={before.id}"
    form = form_of(client.get(address).text) | {"domain": "letters", "why": "sorted"}
    answer = client.post(address, data=form)
    assert answer.status_code == 303, answer.text
    after = site.prompt("letter")
    changed = {name for name in before.fields if before.fields[name] != after.fields[name]}
    assert changed == {"domain"}
    page = client.get(f"/prompts/detail?pk={before.id}").text
    assert "editor@example.com" in page
    assert "sorted" in page
    assert "+domain: letters" in html.unescape(page)


def test_the_second_of_two_edits_is_refused_with_what_changed(site: Site) -> None:
    prompt = site.make("contested", domain="one")
    client = site.signed_in("editor")
    address = f"/prompts/edit?pk={prompt.id}"
    form = form_of(client.get(address).text)
    assert client.post(address, data={**form, "domain": "two"}).status_code == 303
    answer = client.post(address, data={**form, "description": "mine"})
    assert answer.status_code == 422
    assert "it has been changed since you looked at it" in answer.text
    assert "+domain: two" in html.unescape(answer.text)
    assert "mine" in answer.text
    assert site.prompt("contested").description is None


def test_faults_stand_beside_their_fields(site: Site) -> None:
    client = site.signed_in("editor")
    form = {**form_of(client.get("/prompts/create").text), "name": "triage"}
    answer = client.post("/prompts/create", data=form)
    assert (answer.status_code, "is taken by another prompt" in answer.text) == (422, True)
    answer = client.post("/prompts/create", data={**form, "name": "new", "user_prompt_template": "{{ oops"})
    assert answer.status_code == 422
    assert client.post("/prompts/create", data={**form, "name": "brand new"}).status_code == 303
    assert site.prompt("brand new").status == "draft"


def act(client: TestClient, view: str, action: str, pk: str, **form: str) -> int:
    status: int = post(client, f"/_api/{view}/row-action?name={action}&pk={pk}", **form).status_code
    return status


def test_an_editor_duplicates_and_archives_and_an_admin_deletes_and_takes_it_back(site: Site) -> None:
    prompt = site.make("to be handled", domain="odd")
    editor, admin = site.signed_in("editor"), site.signed_in("admin")
    assert act(editor, "prompts", "duplicate", prompt.id, name="its copy") == 200
    assert site.prompt("its copy").status == "draft"
    assert act(editor, "prompts", "duplicate", prompt.id, name="its copy") == 400
    assert act(editor, "prompts", "archive", prompt.id) == 200
    assert site.prompt("to be handled").status == "archived"
    assert act(editor, "prompts", "delete", prompt.id) == 403
    assert act(admin, "prompts", "delete", prompt.id) == 200
    with pytest.raises(PrismError):
        site.prompt("to be handled")
    with open_library(site.settings, site.warehouse) as library:
        event = library.history(limit=1)[0]
    assert (event.action, event.changed_by) == ("delete", "admin@example.com")
    assert post(editor, "/history/undo", change=str(event.change_id)).status_code == 403
    assert post(admin, "/history/undo", change=str(event.change_id)).status_code == 303
    assert site.prompt("to be handled").id == prompt.id


def test_an_editor_brings_back_the_texts_of_a_version(site: Site) -> None:
    prompt = site.make("versioned", system_prompt="first")
    with open_library(site.settings, site.warehouse) as library:
        library.edit("versioned", {"system_prompt": "second"}, by="maker@example.com")
    assert post(site.signed_in("editor"), "/history/revert", prompt=prompt.id, version="1").status_code == 303
    assert site.prompt("versioned").system_prompt == "first"


def test_a_bulk_change_is_seen_first_and_is_just_what_was_seen(site: Site) -> None:
    for number in range(3):
        site.make(f"bulk {number}", domain="bulk", system_prompt="Acme Ltd")
    admin = site.signed_in("admin")
    form = {"domain": "bulk", "kind": "replace", "old": "Acme Ltd", "value": "Acme plc", "why": "new name"}
    seen = post(admin, "/bulk", **form)
    assert "3 prompts would change" in seen.text
    assert "Acme plc" in seen.text
    assert site.prompt("bulk 1").system_prompt == "Acme Ltd"
    found = re.search(r'name="digest" value="(\w+)"', seen.text)
    assert found
    late = site.make("bulk 4", domain="bulk", system_prompt="Acme Ltd")
    refused = post(admin, "/bulk", **form, digest=found[1], apply="1")
    assert "the library has changed since this was planned" in refused.text
    with open_library(site.settings, site.warehouse) as library:
        library.delete([late], by="maker@example.com")
    assert post(admin, "/bulk", **form, digest=found[1], apply="1").status_code == 303
    assert {site.prompt(f"bulk {n}").system_prompt for n in range(3)} == {"Acme plc"}
    assert "a bulk change needs a filter" in post(admin, "/bulk", kind="set", field="domain", value="x").text


def test_a_selection_leads_to_the_bulk_page_and_all_that_fit_means_the_filter(site: Site) -> None:
    admin = site.signed_in("admin")

    def leads(query: str) -> str:
        answer = post(admin, f"/_api/prompts/action?name=in_bulk&{query}")
        assert answer.status_code == 303
        return str(answer.headers["location"])

    assert leads("pks=a&pks=b").endswith("/bulk?key=a&key=b")
    assert leads("all=1&_list_query=%3Fdomain%3Dsupport%26page%3D2").endswith("/bulk?domain=support")
    assert leads("all=1&_list_query=").endswith("/bulk?all=on")
    pk = site.prompt("triage").id
    planned = post(admin, "/bulk", key=pk, kind="duplicate", suffix=" 2").text
    assert "1 prompts would change" in planned
    assert f'<input type="hidden" name="key" value="{pk}">' in planned
    assert "+name: triage 2" in html.unescape(planned)
    for kind in ("duplicate", "add_tag", "replace", "?"):
        assert "lacks what it needs" in post(admin, "/bulk", key=pk, kind=kind).text


def test_an_editor_acts_on_alerts_and_each_act_is_on_record(site: Site) -> None:
    editor = site.signed_in("editor")
    assert act(editor, "alerts", "acknowledge", ALERT, note="seen") == 200
    assert act(editor, "alerts", "snooze", ALERT, until_on="2999-01-01") == 200
    assert act(editor, "alerts", "snooze", ALERT, until_on="2000-01-01") == 400
    assert act(editor, "alerts", "snooze", ALERT, until_on="soon") == 400
    assert act(editor, "alerts", "assign", ALERT, assigned_to="ann@example.com", due_on="2999-01-02") == 200
    assert act(editor, "alerts", "resolve", ALERT, note="done") == 200
    with site.warehouse.connect() as connection:
        alert = actions.show(connection, ALERT, **House(site.settings, site.warehouse).now)
    assert [(one.action, one.acted_by) for one in alert.history] == [
        (name, "editor@example.com") for name in ("acknowledge", "snooze", "assign", "resolve")
    ]
    assert (alert.state, alert.assigned_to) == ("resolved", "ann@example.com")
    assert ALERT not in editor.get("/alerts/list").text
    assert ALERT in editor.get("/alerts/list?state=resolved").text


def test_enhancing_shows_why_and_an_editor_may_record_and_rate(site: Site) -> None:
    viewer, editor = site.signed_in("viewer"), site.signed_in("editor")
    page = post(viewer, "/enhance", text="my lamp", prompt="triage", record="on")
    assert "Sort:\nmy lamp" in page.text
    assert "it was asked for by name" in page.text
    assert "usage_id" not in page.text
    page = post(editor, "/enhance", text="my lamp", agent="desk", record="on")
    found = re.search(r'name="usage_id" value="([^"]+)"', page.text)
    assert found, page.text
    assert post(editor, "/enhance/rate", usage_id=found[1], rating="4").status_code == 303
    with site.warehouse.connect() as connection:
        row = connection.execute("select user_id, rating from app.prompt_usage").fetchall()
    assert row == [("editor@example.com", 4)]
    assert post(viewer, "/enhance", text="x", prompt="no such").status_code == 422


UNSAFE = [
    "/prompts/create", "/prompts/edit?pk=x", "/_api/prompts/row-action?name=archive&pk=x",
    "/_api/prompts/row-action?name=delete&pk=x", "/_api/prompts/action?name=delete&pks=x",
    "/_api/prompts/action?name=in_bulk&pks=x", "/_api/prompts/inline-edit?pk=x", "/_api/prompts/import",
    "/_api/alerts/row-action?name=acknowledge&pk=x", "/history/undo", "/history/revert", "/bulk",
    "/enhance/rate",
]  # fmt: skip


@pytest.mark.parametrize("path", UNSAFE)
def test_a_viewer_changes_nothing(site: Site, path: str) -> None:
    answer = post(site.signed_in("viewer"), path)
    assert answer.status_code == 403
    assert "yours is viewer" in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/_api/prompts/action?name=delete&pks=KEY", "/_api/prompts/action?name=export&pks=KEY",
        "/_api/prompts/action?name=delete&all=1", "/_api/alerts/action?name=delete&all=1",
        "/_api/alerts/row-action?name=delete&pk=" + ALERT, "/_api/alerts/row-action?name=edit&pk=" + ALERT,
        "/_api/prompts/import", "/_api/alerts/import", "/_api/prompts/inline-edit?pk=KEY&field=name",
        "/alerts/create", "/alerts/edit?pk=" + ALERT,
    ],
)  # fmt: skip
def test_what_the_admin_library_could_do_and_no_page_offers_is_refused_even_to_an_admin(
    site: Site, path: str
) -> None:
    with open_library(site.settings, site.warehouse) as library:
        before = library.find()
    answer = post(site.signed_in("admin"), path.replace("KEY", before[0].id))
    assert answer.status_code in (400, 403)
    with open_library(site.settings, site.warehouse) as library:
        assert library.find() == before


@pytest.mark.parametrize("path", [*UNSAFE, "/logout", "/login", "/enhance"])
def test_nothing_is_taken_without_the_token_or_from_another_site(site: Site, path: str) -> None:
    client = site.signed_in("admin")
    assert client.post(path).status_code == 403
    token = client.cookies["starlette_admin_csrftoken"]
    for header in ({"Origin": "https://example.org"}, {"Sec-Fetch-Site": "cross-site"}):
        assert client.post(path, data={"csrftoken": token}, headers=header).status_code == 403


def test_a_token_of_another_session_does_not_fit(site: Site) -> None:
    client, other = site.signed_in("admin"), site.signed_in("viewer")
    stolen = other.cookies["starlette_admin_csrftoken"]
    assert client.post("/bulk", data={"csrftoken": stolen}).status_code == 403
    client.cookies.delete("starlette_admin_csrftoken")
    client.cookies.set("starlette_admin_csrftoken", stolen)  # planted by somebody
    answer = client.post("/bulk", data={"csrftoken": stolen})
    assert (answer.status_code, "/login" in answer.headers["location"]) == (303, True)


def test_hostile_text_is_text_wherever_it_shows(site: Site) -> None:
    client = site.signed_in("admin")
    pk = site.prompt(HOSTILE).id
    for path in ("/prompts/list", f"/prompts/detail?pk={pk}", f"/prompts/edit?pk={pk}", "/history",
                 "/alerts/list", f"/alerts/detail?pk={'b2' * 16}", "/bulk?q=" + HOSTILE):  # fmt: skip
        page = client.get(path).text
        assert "hacked" in page, path
        assert "<script>window.hacked" not in page, path
        assert "<img src=x" not in page, path
        assert ">49<" not in page, path


@pytest.mark.parametrize(
    "path", ["/reports/../hmac.key", "/reports/%2e%2e/hmac.key", "/reports/..%2fhmac.key", "/reports/way-out"]
)
def test_no_way_leads_out_of_the_reports(site: Site, path: str) -> None:
    answer = site.signed_in("admin").get(path)
    assert answer.status_code in (303, 404)
    assert "secret of the house" not in answer.text
    assert site.signed_in("admin").delete("/reports/index.html").status_code == 403


def test_before_the_first_report_the_page_says_how_one_is_made(site: Site, tmp_path: Path) -> None:
    settings = settings_at(tmp_path)
    (settings.reports_dir / "index.html").unlink()
    client = Site(made_again(settings, site.warehouse), settings, site.warehouse).signed_in("viewer")
    answer = client.get("/reports/")
    assert answer.status_code == 200
    assert "There is no report yet" in answer.text
    assert "prism run" in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert site.signed_in("viewer").get("/reports/").headers["location"].endswith("/reports/index.html")


def test_the_warehouse_sees_the_reporter_and_the_application_its_own_user(site: Site) -> None:
    house = House(site.settings, site.warehouse)

    def asked(connection: psycopg.Connection[Any]) -> tuple[Any, ...]:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select from raw.prompt_texts")
        connection.rollback()
        found = connection.execute("select current_user, session_user").fetchone()
        assert found
        return found

    def own_user(library: Library) -> list[Any]:
        return library.tables.connection.execute("select current_user").fetchall()

    # a loop of its own, also where a browser's tests have left theirs in this thread
    with ThreadPoolExecutor(1) as pool:
        role, user = pool.submit(asyncio.run, house.warehouse_session(asked)).result()
        [own] = pool.submit(asyncio.run, house.library(own_user)).result()
    assert (role, user != role) == (roles.REPORTER, True)
    assert own == (user,)


def test_the_audit_log_shows_its_newest_lines_whatever_else_stands_there(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "console.log")
    assert log.latest(5) == []
    for number in range(4000):
        log.write("done", f"user {number}", "127.0.0.1", path="/prompts/edit")
    with log.path.open("a", encoding="utf-8") as file:
        file.write('no JSON\n7\n{"cut')
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600
    assert log.path.stat().st_size > 300_000
    assert [line["user"] for line in log.latest(2)] == ["user 3999", "user 3998"]
    assert 0 < len(log.latest(4000)) < 4000


def test_a_reverse_proxy_names_who_asks_and_nobody_else_can(site: Site, tmp_path: Path) -> None:
    (tmp_path / "prism.yaml").write_text(
        "console:\n  proxy_header: X-Remote-User\n  proxies: [127.0.0.1]\n"
        "  proxy_roles: {ann@example.com: editor}\n"
    )
    settings = settings_at(tmp_path)
    app = made_again(settings, site.warehouse)

    def asks(peer: str, **headers: str) -> int:
        client = TestClient(app, base_url="http://127.0.0.1", follow_redirects=False, client=(peer, 1))
        return client.get("/prompts/list", headers=headers).status_code

    assert asks("127.0.0.1", **{"X-Remote-User": "ann@example.com"}) == 200
    assert asks("127.0.0.1", **{"X-Remote-User": "bob@example.com"}) == 303
    assert asks("127.0.0.1") == 303
    assert asks("10.0.0.9", **{"X-Remote-User": "ann@example.com"}) == 303
    assert asks("10.0.0.9", **{"X-Remote-User": "ann@example.com", "X-Forwarded-For": "127.0.0.1"}) == 303


def test_the_settings_page_tells_no_secret(site: Site, tmp_path: Path) -> None:
    (tmp_path / "prism.yaml").write_text(
        "sources:\n- {name: a, type: application, url: '${A}'}\n- {name: b, type: application, url: '${B}'}\n"
        "alerts:\n  channels: {ops: 'slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ'}\n"
    )
    secrets = {"PRISM_WAREHOUSE_URL": "postgresql://u:s3cret@h/d", "PRISM_SMTP_URL": "smtp://u:s3cret@h",
               "PRISM_HMAC_KEY": "s3cret", "B": "host=db password=s3cret",
               "A": "postgresql://u:s3cret@db.example.com/x?password=s3cret"}  # fmt: skip
    text = in_force(load_settings(secrets, tmp_path))
    assert "s3cret" not in text
    assert "TIiajkdnlazkcOXrIdevi7FQ" not in text
    assert "postgresql://db.example.com/" in text
    assert "start_date" in site.signed_in("admin").get("/settings").text


def test_accounts_lie_in_a_file_for_its_owner_alone(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path / "home" / "console.users")
    accounts.put("ann@example.com", "editor", PASSWORD)
    assert stat.S_IMODE(accounts.path.stat().st_mode) == 0o600
    assert PASSWORD not in accounts.path.read_text()
    found = accounts.verify("ann@example.com", PASSWORD)
    assert found is not None
    assert found.role == "editor"
    assert accounts.verify("ann@example.com", PASSWORD + "x") is None
    assert accounts.verify("nobody", PASSWORD) is None
    for name, password in (("a:b", PASSWORD), ("a\nb", PASSWORD), ("ann", "short")):
        with pytest.raises(PrismError):
            accounts.put(name, "viewer", password)
    accounts.path.write_text("ann:owner:x\n")
    with pytest.raises(PrismError, match="line 1"):
        accounts.all()


def test_what_a_request_needs() -> None:
    assert role_needed("GET", "/prompts/list", {}) == "viewer"
    assert role_needed("POST", "/prompts/edit", {}) == "editor"
    assert role_needed("PUT", "/anything", {}) == "editor"
    assert role_needed("POST", "/_api/prompts/row-action", {"name": "delete"}) == "admin"
    assert role_needed("GET", "/bulk", {}) == "admin"


def test_the_command_keeps_accounts_and_says_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module_warehouse: Warehouse
) -> None:
    monkeypatch.setenv("PRISM_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, text: str = "") -> Result:
        return CliRunner().invoke(app, ["console", *arguments], input=text)

    assert "nobody may sign in" in str(call().exception)
    assert "a password has" in str(call("--add-user", "ann", text="short\n").exception)
    assert call("--add-user", "ann", "--role", "editor", text=PASSWORD + "\n").exit_code == 0
    assert Accounts(tmp_path / "console.users").verify("ann", PASSWORD)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert "can't listen there" in str(call("--port", port).exception)
    monkeypatch.setenv("PRISM_WAREHOUSE_URL", module_warehouse.url)
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    assert "WARNING" not in call("--port", port).stderr
    real = socket.create_server  # never really beyond loopback
    monkeypatch.setattr(socket, "create_server", lambda address, **_: real(("127.0.0.1", address[1])))
    warned = call("--host", "0.0.0.0", "--port", port)
    assert warned.exit_code == 0
    assert "WARNING: the console listens on 0.0.0.0, so others can reach it" in warned.stderr
    assert call("--remove-user", "ann").exit_code == 0
    assert "there is no account" in str(call("--remove-user", "ann").exception)
