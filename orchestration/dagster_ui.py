"""`dagster dev` with a gate before its UI: what `prism ui` runs.

Dagster's webserver takes a change from whoever can reach it: by GET, in a form's encoding, and under any name
of the host. So any page that a browser on this machine opens could start runs, or read them under a name that
it makes point here. The gate lets other pages do neither. Knows nothing of Prism's assets.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from reports.smtp import is_loopback

WORKSPACE = Path(__file__).resolve().parents[1] / "workspace.yaml"
_MODULE, _SERVE = "orchestration.dagster_ui", "serve"


class Gate:
    """Refuses what no page of the UI itself asks for.

    A change comes as JSON by POST, which a page of another site may not send unless it asks first, and
    Dagster never says yes. Where the UI listens on loopback it is asked for by a name of loopback, which no
    other site can have.
    """

    def __init__(self, app: ASGIApp, loopback: bool) -> None:
        self._app, self._loopback = app, loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await PlainTextResponse(f"{refusal[1]}\n", refusal[0])(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        if scope["type"] == "lifespan":
            return None
        headers = Headers(scope=scope)
        if self._loopback and not is_loopback(_name(headers.get("host", ""))):
            return 421, "This UI listens on loopback, and is asked for by that name only (docs/access.md)."
        if scope["type"] == "websocket":
            # a browser lets any page open one, and says whose page it is
            origin = headers.get("origin")
            own = origin is None or urlsplit(origin).netloc == headers.get("host", "")
            return None if own else (403, "A page of another site asked for this.")
        if scope["method"] == "POST":
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            return None if kind == "application/json" else (415, "A change is told as JSON.")
        # a query by GET would be run, a page with the playground is only shown
        if scope["path"].endswith("/graphql") and "text/html" not in headers.get("accept", ""):
            return 405, "A query is asked by POST."
        return None


def _name(host: str) -> str:
    """A Host header without its port."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def main() -> None:
    """``python -m orchestration.dagster_ui``: the three processes, until interrupted."""
    if sys.argv[1:2] == [_SERVE]:
        del sys.argv[1]
        _serve()
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True)
    parser.add_argument("--read-only", action="store_true")
    given = parser.parse_args()
    _develop(given.host, given.port, read_only=given.read_only)


def _develop(host: str, port: str, *, read_only: bool) -> None:
    """`dagster dev`, but for its webserver: that is this module's."""
    from dagster._cli import dev  # noqa: PLC0415 - the webserver's process has no use for it
    from dagster_shared.ipc import open_ipc_subprocess  # noqa: PLC0415

    def start(parts: Sequence[str], **more: Any) -> Any:
        if "dagster_webserver" not in parts:
            return open_ipc_subprocess(parts, **more)
        at = parts.index("dagster_webserver")
        own = [_MODULE, _SERVE, *(["--read-only"] if read_only else [])]
        return open_ipc_subprocess([*parts[:at], *own, *parts[at + 1 :]], **more)

    dev.open_ipc_subprocess = start  # type: ignore[attr-defined]
    dev.dev_command(["--workspace", str(WORKSPACE), "--host", host, "--port", port, "--log-level", "warning"])


def _serve() -> None:
    """Dagster's webserver by its own command line, the gate before everything that it answers."""
    from dagster_webserver.cli import main as webserver  # noqa: PLC0415 - takes seconds
    from dagster_webserver.webserver import DagsterWebserver  # noqa: PLC0415

    host = sys.argv[sys.argv.index("--host") + 1]
    own = DagsterWebserver.build_middleware

    def with_gate(self: Any) -> list[Middleware]:
        return [Middleware(Gate, loopback=is_loopback(host)), *own(self)]

    DagsterWebserver.build_middleware = with_gate  # type: ignore[method-assign]
    webserver()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
