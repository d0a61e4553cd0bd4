"""The gate before Dagster's UI: what a browser's other pages could send stays outside."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from orchestration.dagster_ui import Gate


async def answer(_: Request) -> PlainTextResponse:
    return PlainTextResponse("run")


async def talk(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()


def gate(*, loopback: bool = True) -> TestClient:
    routes = [Route("/{path:path}", answer, methods=["GET", "POST"]), WebSocketRoute("/graphql", talk)]
    app = Starlette(routes=routes, middleware=[Middleware(Gate, loopback=loopback)])
    return TestClient(app, base_url="http://127.0.0.1:3000")


@pytest.mark.parametrize("host", ["127.0.0.1:3000", "localhost:8080", "[::1]:3000", "localhost"])
def test_a_name_of_loopback_is_answered(host: str) -> None:
    assert gate().get("/runs", headers={"Host": host}).text == "run"


@pytest.mark.parametrize(
    "host",
    ["rebound.example.com:3000", "127.0.0.1.example.com", "localhost.example.com", "10.0.0.1", "", "["],
)
def test_a_name_that_somebody_made_point_here_is_not(host: str) -> None:
    assert gate().get("/runs", headers={"Host": host}).status_code == 421
    with (
        pytest.raises(WebSocketDisconnect),
        gate().websocket_connect("/graphql", headers={"Host": host}),
    ):
        pass


def test_where_it_listens_for_others_every_name_is_answered() -> None:
    assert gate(loopback=False).get("/runs", headers={"Host": "dagster.example.com"}).text == "run"


@pytest.mark.parametrize(
    "kind", ["text/plain", "text/plain; x=application/json", "application/x-www-form-urlencoded", ""]
)
def test_a_change_in_a_form_that_any_page_may_send_is_refused(kind: str) -> None:
    sent = gate().post("/graphql", content="{}", headers={"Content-Type": kind})
    assert sent.status_code == 415
    assert gate().post("/graphql", json={}).text == "run"


def test_a_query_in_an_address_is_not_run_and_the_playground_is_shown() -> None:
    assert gate().get("/graphql?query=x").status_code == 405
    assert gate().get("/graphql?query=x", headers={"Accept": "text/html,*/*"}).text == "run"


def test_the_web_sockets_of_its_own_pages_pass() -> None:
    for headers in ({}, {"Origin": "http://127.0.0.1:3000"}):
        with gate().websocket_connect("ws://127.0.0.1:3000/graphql", headers=headers):
            pass


@pytest.mark.parametrize("origin", ["https://elsewhere.example.com", "http://127.0.0.1:8080", "null"])
def test_a_web_socket_of_another_sites_page_is_refused(origin: str) -> None:
    asked = {"Origin": origin}
    with (
        pytest.raises(WebSocketDisconnect),
        gate().websocket_connect("ws://127.0.0.1:3000/graphql", headers=asked),
    ):
        pass
