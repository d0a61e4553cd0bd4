"""What stands before every page: who is asking, what their role may do, and what a browser may do with it.

Knows nothing of what the pages show.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette_admin.auth import AdminUser, AuthProvider
from starlette_admin.auth.base import AuthMiddleware
from starlette_admin.exceptions import LoginFailed

from orchestration.console.accounts import Accounts, Attempts, AuditLog, has_role
from orchestration.settings import Console

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
# What needs more than an editor: actions by name, pages by the beginning of their path.
ADMIN_ACTIONS = frozenset({"delete", "in_bulk"})
_ADMIN_PATHS = ("/bulk", "/history/undo", "/audit", "/settings")
# What of an address the audit log keeps: which action, of what.
_LOGGED = ("name", "pk")
# What a viewer may send: it changes nothing but their own session.
_OPEN_PATHS = ("/logout", "/enhance")
# The one inline handler of starlette-admin's templates that our pages have: the page size in a list's footer.
_HANDLER = "window.location = this.value"


@dataclass
class User(AdminUser):
    """Who is signed in."""

    role: str = "viewer"

    def may(self, role: str) -> bool:
        """Whether they may do what ``role`` may."""
        return has_role(self.role, role)


def user_of(request: Request) -> User:
    """Who is asking; a page behind the gate always has somebody."""
    user: User = request.state.admin_user
    return user


def allowed(request: Request, role: str) -> bool:
    """Whether the one who asks has that role or a higher one."""
    user = getattr(request.state, "admin_user", None)
    return isinstance(user, User) and user.may(role)


def note_down(request: Request, **facts: str | int | None) -> None:
    """Has the audit log say this, too, of what is being done; ``why_not``: that it was not."""
    known = {name: str(fact)[:500] for name, fact in facts.items() if fact is not None}
    request.state.facts = {**getattr(request.state, "facts", {}), **known}


def role_needed(method: str, path: str, query: Mapping[str, str]) -> str:
    """What a request needs: reading a viewer, changing an editor, what is hard to take back an admin."""
    if path.startswith(_ADMIN_PATHS):
        return "admin"
    if method in SAFE or path in _OPEN_PATHS:
        return "viewer"
    return "admin" if query.get("name") in ADMIN_ACTIONS else "editor"


class Provider(AuthProvider):
    """Signs in by password, or takes the name that a reverse proxy hands on."""

    def __init__(self, accounts: Accounts, settings: Console, log: AuditLog) -> None:
        super().__init__()
        self._accounts, self._settings, self.log = accounts, settings, log
        self._attempts = Attempts()

    def get_middleware(self) -> Middleware:
        return Middleware(Gate, provider=self)

    async def login(self, username: str, password: str, remember_me: bool, request: Request) -> None:
        address = address_of(request)
        keys = (f"address {address}", f"name {username[:200]}")
        if wait := self._attempts.wait(*keys):
            self.log.write("sign-in refused: too many failures", username, address)
            raise LoginFailed(f"Too many failures. Try again in {wait / 60:.0f} minutes.")
        account = await run_in_threadpool(self._accounts.verify, username, password)
        if account is None:
            self._attempts.failed(*keys)
            self.log.write("sign-in failed", username, address)
            raise LoginFailed("Name or password is wrong.")
        self._attempts.succeeded(keys[1])
        self.log.write("signed in", username, address)
        request.session.clear()
        # bound to this password, and to the token that every form of this session carries
        request.session.update(user=account.name, mark=account.mark, csrf=request.state.csrf_token)

    async def logout(self, request: Request) -> None:
        self.log.write("signed out", str(request.session.get("user", "")), address_of(request))
        request.session.clear()

    async def authenticate(self, request: Request) -> AdminUser | None:
        if self._settings.proxy_header is not None:
            return self._of_proxy(request)
        name = request.session.get("user")
        account = self._accounts.all().get(name) if isinstance(name, str) else None
        if account is None or account.mark != request.session.get("mark"):
            return None
        if request.session.get("csrf") != request.state.csrf_token:
            return None
        return User(username=account.name, role=account.role)

    def _of_proxy(self, request: Request) -> User | None:
        # the address of the connection itself, which nobody can claim by a header
        peer = request.scope.get("prism_peer")
        name = request.headers.get(self._settings.proxy_header or "")
        role = self._settings.proxy_roles.get(name or "")
        if peer not in self._settings.proxies or not name or role is None:
            return None
        return User(username=name, role=role)


class Gate(AuthMiddleware):
    """Nobody passes who is not signed in or may not do this; what is done is on record."""

    def __init__(self, app: ASGIApp, provider: Provider) -> None:
        super().__init__(app, provider)
        self._log = provider.log

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        async def checked(request: Request) -> Response:
            if request.state.is_anonymous:
                return await call_next(request)
            path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
            needed = role_needed(request.method, path, request.query_params)
            user, address = user_of(request), address_of(request)
            asked = {
                name: request.query_params[name][:200] for name in _LOGGED if name in request.query_params
            }
            if not user.may(needed):
                self._log.write("refused", user.username, address, path=path, **asked, needs=needed)
                return PlainTextResponse(f"This needs the role {needed}; yours is {user.role}.", 403)
            response = await call_next(request)
            if request.method not in SAFE and path != "/logout":  # which the provider puts on record
                facts = getattr(request.state, "facts", {})
                event = "done" if response.status_code < 400 and "why_not" not in facts else "not done"
                self._log.write(event, user.username, address, path=path, **asked | facts)
            return response

        return await super().dispatch(request, checked)


class Headers(BaseHTTPMiddleware):
    """What a browser may do with a page, and no form from another site."""

    def __init__(self, app: ASGIApp, https: bool) -> None:
        super().__init__(app)
        self._https = https

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        request.state.nonce = nonce = secrets.token_urlsafe(16)
        if request.method not in SAFE and not _same_site(request):
            return PlainTextResponse("This form comes from another site.", 403)
        response = await call_next(request)
        headers = response.headers
        headers.setdefault("Content-Security-Policy", policy(nonce))
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "same-origin"
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
        if not request.url.path.startswith("/static/"):
            headers["Cache-Control"] = "no-store"
        if self._https:
            headers["Strict-Transport-Security"] = "max-age=31536000"
        return response


def policy(nonce: str) -> str:
    """The Content-Security-Policy: scripts by nonce, no eval; styles by nonce, but for style attributes."""
    handler = base64.b64encode(hashlib.sha256(_HANDLER.encode()).digest()).decode()
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src 'self' 'nonce-{nonce}'",
            f"script-src-attr 'unsafe-hashes' 'sha256-{handler}'",
            f"style-src 'self' 'nonce-{nonce}'",
            "style-src-attr 'unsafe-inline'",
            "img-src 'self' data:",
            "font-src 'self'",
            "connect-src 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ]
    )


class WithNonce(PackageLoader):
    """starlette-admin's templates, each script and style of them with the page's nonce.

    It is put into the templates, not into pages: what a page shows of others' text gets none.
    """

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Any]:
        source, name, fresh = super().get_source(environment, template)
        for tag in ("<script", "<style"):
            source = source.replace(tag, f'{tag} nonce="{{{{ request.state.nonce }}}}"')
        return source, name, fresh


class Peer:
    """Keeps the address of the connection, before proxies' headers replace it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["prism_peer"] = (scope.get("client") or ("",))[0]
        await self._app(scope, receive, send)


def address_of(request: Request) -> str:
    """The address of who asks."""
    return request.client.host if request.client else ""


def _same_site(request: Request) -> bool:
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")
