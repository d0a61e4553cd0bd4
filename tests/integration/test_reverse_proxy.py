"""The reverse proxy of docs/deployment: nginx with the very file that is shown there, and what it guards."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from orchestration.console.app import build
from orchestration.console.house import House
from orchestration.dagster_ui import Gate
from orchestration.settings import load_settings
from orchestration.warehouse import Warehouse
from tests.console import fill
from tests.ports import free_port

pytestmark = pytest.mark.integration

SITE = Path(__file__).resolve().parents[2] / "docs" / "deployment" / "nginx.conf"
CONSOLE, DAGSTER = "prism.example.com", "dagster.example.com"
PASSWORDS = {"ann@example.com": "a quiet harbour", "bob@example.com": "another harbour"}


@contextmanager
def served(app: ASGIApp) -> Iterator[int]:
    """The application as `prism` serves it, on a port of loopback."""
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(app, port=port, log_level="warning", access_log=False, proxy_headers=False)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join()


async def echo(request: Request) -> JSONResponse:
    return JSONResponse(dict(request.headers))


async def talk(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("hello " + await websocket.receive_text())
    await websocket.close()


# in Dagster's place: what it is sent, behind the gate that stands before it
STAND_IN = Starlette(
    routes=[Route("/{path:path}", echo, methods=["GET", "POST"]), WebSocketRoute("/graphql", talk)],
    middleware=[Middleware(Gate, loopback=True)],
)


@dataclass
class Proxy:
    """nginx on loopback, asked by the names of the page."""

    port: int

    @property
    def tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    def get(self, name: str, path: str, **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.tls)
        # the name decides which certificate and which server answers
        connection.sock = self.tls.wrap_socket(
            socket.create_connection(("127.0.0.1", self.port)), server_hostname=name
        )
        connection.request("GET", path, headers={"Host": name, **headers})
        answer = connection.getresponse()
        told = answer.status, answer.read().decode()
        connection.close()
        return told


def signed_in(user: str, password: str | None = None) -> dict[str, str]:
    told = f"{user}:{PASSWORDS[user] if password is None else password}"
    return {"Authorization": "Basic " + base64.b64encode(told.encode()).decode()}


@pytest.fixture(scope="module")
def proxy(module_warehouse: Warehouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("left out: Debian's nginx is not installed (apt-get install nginx-light)")
    folder = tmp_path_factory.mktemp("proxy")
    fill(module_warehouse)
    (folder / "prism.yaml").write_text(
        "console:\n  https: true\n  proxy_header: X-Remote-User\n  proxies: [127.0.0.1]\n"
        "  proxy_roles: {ann@example.com: admin, bob@example.com: viewer}\n"
    )
    settings = load_settings({"PRISM_HOME": "home"}, folder)
    for users in ("console.users", "dagster.users"):
        lines = [f"{name}:{hashed(password)}\n" for name, password in PASSWORDS.items()]
        (folder / users).write_text("".join(lines))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", f"/CN={CONSOLE}", "-keyout", folder / "key.pem", "-out",
         folder / "certificate.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    port = free_port()
    with served(build(House(settings, module_warehouse))) as console, served(STAND_IN) as dagster:
        site = SITE.read_text(encoding="utf-8")
        for shown, here in (
            ("listen 443 ", f"listen 127.0.0.1:{port} "), ("127.0.0.1:3001", f"127.0.0.1:{console}"),
            ("127.0.0.1:3000", f"127.0.0.1:{dagster}"), ("/etc/nginx/prism/", f"{folder}/"),
        ):  # fmt: skip
            assert shown in site
            site = site.replace(shown, here)
        (folder / "site.conf").write_text(site)
        temporary = "".join(
            f"{kind}_temp_path {folder}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "nginx.conf").write_text(
            f"{'user root;' if os.geteuid() == 0 else ''} worker_processes 1; pid {folder}/pid;\n"
            f"events {{}}\nhttp {{ access_log off; {temporary} include site.conf; }}\n"
        )
        log = folder / "log"
        process = subprocess.Popen(
            [program, "-p", folder, "-c", folder / "nginx.conf", "-e", log, "-g", "daemon off;"]
        )
        try:
            while not (folder / "pid").exists() or not (folder / "pid").read_text():
                assert process.poll() is None, log.read_text()
                time.sleep(0.02)
            yield Proxy(port)
        finally:
            process.terminate()
            process.wait(timeout=30)


def hashed(password: str) -> str:
    """As the page says: `openssl passwd -6`."""
    done = subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"], check=True, input=password, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize("name", [CONSOLE, DAGSTER])
def test_who_has_not_signed_in_stays_outside(proxy: Proxy, name: str) -> None:
    assert proxy.get(name, "/")[0] == 401
    assert proxy.get(name, "/", **signed_in("ann@example.com", "wrong"))[0] == 401
    assert proxy.get(name, "/", **{"X-Remote-User": "ann@example.com"})[0] == 401


def test_the_console_knows_who_has_signed_in_and_no_other_claim_counts(proxy: Proxy) -> None:
    status, page = proxy.get(CONSOLE, "/prompts/list", **signed_in("bob@example.com"))
    assert status == 200
    assert "bob@example.com" in page
    # a viewer who says that they are the administrator, under every spelling that might pass
    for header in ("X-Remote-User", "x-remote-user", "X_Remote_User"):
        claimed = {header: "ann@example.com", **signed_in("bob@example.com")}
        assert proxy.get(CONSOLE, "/settings", **claimed)[0] == 403
    assert proxy.get(CONSOLE, "/settings", **signed_in("ann@example.com"))[0] == 200


def test_a_page_of_chosen_prompts_is_led_to_their_change(proxy: Proxy) -> None:
    keys = "&".join(f"key={uuid.uuid4()}" for _ in range(500))
    assert proxy.get(CONSOLE, f"/bulk?{keys}", **signed_in("ann@example.com"))[0] == 200


def test_dagsters_ui_passes_with_its_web_sockets_and_without_the_password(proxy: Proxy) -> None:
    status, told = proxy.get(DAGSTER, "/runs", **signed_in("ann@example.com"))
    assert status == 200
    assert "authorization" not in json.loads(told)
    address = f"wss://{DAGSTER}:{proxy.port}/graphql"
    here = {
        "ssl": proxy.tls,
        "address": ("127.0.0.1", proxy.port),
        "server_hostname": DAGSTER,
        "proxy": None,
    }
    own = {"additional_headers": signed_in("ann@example.com"), **here}
    with connect(address, origin=f"https://{DAGSTER}:{proxy.port}", **own) as talking:
        talking.send("ann")
        assert talking.recv() == "hello ann"
    with (
        pytest.raises(InvalidStatus, match="403"),
        connect(address, origin="https://elsewhere.example.com", **own),
    ):
        pass
    with pytest.raises(InvalidStatus, match="401"), connect(address, **here):
        pass


def test_a_name_that_is_none_of_ours_gets_nothing(proxy: Proxy) -> None:
    with pytest.raises(ssl.SSLError):
        proxy.get("elsewhere.example.com", "/", **signed_in("ann@example.com"))
