"""The console put together: pages, who may see them, and what stands before them."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any, cast

from jinja2 import FileSystemLoader
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.routing import Mount
from starlette.types import ASGIApp
from starlette_admin import BaseAdmin, DefaultTheme, TablerSettings
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from orchestration.console.accounts import Accounts, AuditLog
from orchestration.console.alerts import AlertView
from orchestration.console.guard import Headers, Peer, Provider, WithNonce
from orchestration.console.house import House
from orchestration.console.pages import (
    Audit,
    Bulk,
    Enhance,
    History,
    ReportFiles,
    Reports,
    SettingsPage,
    Start,
)
from orchestration.console.prompts import PromptView
from orchestration.settings import Settings

_HERE = Path(__file__).parent
_HOURS = 12


def accounts_of(settings: Settings) -> Accounts:
    """The accounts of this PRISM_HOME."""
    return Accounts(settings.home / "console.users")


def build(house: House) -> ASGIApp:
    """The application; nothing is read of the database before the first request."""
    settings = house.settings
    key = _key(settings.home / "console.key")
    settings.reports_dir.mkdir(parents=True, exist_ok=True)
    log = AuditLog(settings.home / "console.log")
    admin = BaseAdmin(
        title="Prism",
        base_url="/",
        route_name="console",
        templates_dir=str(_HERE / "templates"),
        additional_loaders=[FileSystemLoader(_HERE / "templates"), WithNonce("starlette_admin", "templates")],
        static_dir=str(_HERE / "static"),
        index_view=Start(house),
        theme=DefaultTheme(TablerSettings(base="slate")),
        auth_provider=Provider(accounts_of(settings), settings.config.console, log),
        secret_key=key,
        timezone_config=None,
    )
    # inside the gate like every page
    admin.routes.insert(
        0, Mount("/reports", ReportFiles(directory=settings.reports_dir, html=True), name="reports")
    )
    for view in (
        PromptView(house), AlertView(house), Enhance(house), History(house), Bulk(house), Reports(house),
        Audit(house, log), SettingsPage(house),
    ):  # fmt: skip
        admin.add_view(view)
    https = settings.config.console.https
    app = Starlette(
        middleware=[
            Middleware(Headers, https=https),
            Middleware(
                SessionMiddleware,
                secret_key=key,
                session_cookie="prism_console",
                max_age=_HOURS * 3600,
                same_site="strict",
                https_only=https,
            ),
        ]
    )
    admin.mount_to(app)
    trusted = list(settings.config.console.proxies)
    # uvicorn has its own, narrower types of the same protocol
    proxied: Any = ProxyHeadersMiddleware(cast("Any", app), trusted_hosts=trusted)
    return Peer(proxied)


def _key(path: Path) -> str:
    """What cookies are signed with: made once, mode 0600; another one ends all sessions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="ascii").strip()
    key = secrets.token_hex(32)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(key)
    return key
