"""The pages that are no list: enhancement, changes in bulk, taking changes back, settings, the way in."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import yaml
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette_admin import CustomView
from starlette_admin.flash import flash
from starlette_admin.routing import route

from orchestration.console.guard import allowed, user_of
from orchestration.console.house import House, told
from orchestration.console.prompts import filter_form, filter_of
from orchestration.errors import PrismError
from orchestration.library.enhance import Enhancement, Enhancer
from orchestration.library.metrics import Figures
from orchestration.library.prompts import FIELDS, LISTS, TEXTS, ChangeSet, Prompt
from orchestration.library.store import Library
from orchestration.settings import Settings

_SHOWN_DIFF = 200_000  # characters: beyond it a browser helps nobody
_SECRET = "(set, not shown)"  # nosec B105 # noqa: S105 - the words in its place


class Page(CustomView):
    """A page of one template."""

    template: str
    needs = "viewer"

    def __init__(self, house: House) -> None:
        super().__init__()
        self._house = house

    def is_accessible(self, request: Request) -> bool:
        return allowed(request, self.needs)

    def render(self, request: Request, status_code: int = 200, **shown: Any) -> Response:
        """The template with ``shown``."""
        assert self._admin is not None
        context = {"title": self.menu_label, **shown}
        return self._admin._template_response(request, self.template, context, status_code)


class Start(Page):
    """The way in leads to the prompts."""

    menu_label = "Prism"
    path = "/"
    route_name = "index"
    add_to_menu = False

    @route("")
    async def index(self, request: Request) -> Response:
        return RedirectResponse(request.url_for("console:list", key="prompts"), 303)


class Enhance(Page):
    """A user's text inside the best prompt; an editor may record the use."""

    menu_label = "Enhance"
    icon = "fa fa-wand-magic-sparkles"
    path = "/enhance"
    route_name = "enhance"
    template = "console/enhance.html"

    @route("", methods=["GET", "POST"])
    async def index(self, request: Request) -> Response:
        form = await request.form() if request.method == "POST" else request.query_params
        given = {
            name: str(form.get(name) or "") for name in ("text", "prompt", "agent", "values", "keep_gaps")
        }
        record = bool(form.get("record")) and allowed(request, "editor")
        figures = await self._house.figures()
        user = user_of(request).username
        result: Enhancement | None = None
        error = ""

        def work(library: Library) -> tuple[list[str], Enhancement | None]:
            agents = library.agents()
            if request.method != "POST":
                return agents, None
            return agents, Enhancer(library, figures).enhance(
                re.sub("\r\n?", "\n", given["text"]),
                prompt=given["prompt"].strip() or None,
                agent=given["agent"] or None,
                values=_values(given["values"]),
                keep_gaps=bool(given["keep_gaps"]),
                record={"user_id": user} if record else None,
            )

        try:
            agents, result = await self._house.library(work)
        except PrismError as refused:
            agents = await self._house.library(lambda library: library.agents())
            error = str(refused)
        return self.render(
            request, 422 if error else 200, given=given, agents=agents, result=result, error=error,
            may_record=allowed(request, "editor"),
        )  # fmt: skip

    @route("/rate", methods=["POST"])
    async def rate(self, request: Request) -> Response:
        form = await request.form()
        usage_id, rating = str(form.get("usage_id") or ""), str(form.get("rating") or "")
        try:
            number = int(rating) if rating.isdecimal() else 0
            await self._house.library(lambda library: library.rate(usage_id, number))
        except PrismError as error:
            flash(request, told(error), "error")
        else:
            flash(request, f"Rated {number}.", "success")
        return RedirectResponse(request.url_for("console:enhance"), 303)


def _values(text: str) -> dict[str, str]:
    """``NAME=VALUE`` lines. Raises :class:`PrismError`."""
    pairs = [line for line in text.splitlines() if line.strip()]
    for pair in pairs:
        if "=" not in pair:
            raise PrismError(f"{pair!r} is not NAME=VALUE", where="the values")
    return {name.strip(): value for name, value in (pair.split("=", 1) for pair in pairs)}


class Bulk(Page):
    """One change of all prompts that fit a filter: first its diff, then the change itself."""

    menu_label = "Bulk change"
    icon = "fa fa-layer-group"
    path = "/bulk"
    route_name = "bulk"
    template = "console/bulk.html"
    needs = "admin"

    @route("", methods=["GET", "POST"])
    async def index(self, request: Request) -> Response:
        form = await request.form() if request.method == "POST" else request.query_params
        given = {name: str(value) for name, value in form.items() if name != "csrftoken"}
        planned: ChangeSet | None = None
        error = ""
        if request.method == "POST":
            figures = await self._house.figures()
            try:
                by = user_of(request).username
                planned = await self._house.library(lambda library: _plan(library, given, figures, by))
            except PrismError as refused:
                error = str(refused)
            if planned is not None and planned.change_id is not None:
                number = len(planned.changes)
                flash(request, f"Change {planned.change_id}: {number:,} prompts are changed.", "success")
                return RedirectResponse(request.url_for("console:history"), 303)
        diff = planned.diff() if planned else ""
        return self.render(
            request, 422 if error else 200, given=given, filter=filter_form(given), error=error,
            fields=[name for name in FIELDS if name not in ("name", *LISTS)], planned=planned,
            diff=diff[:_SHOWN_DIFF], cut=len(diff) > _SHOWN_DIFF, digest=_digest(diff),
        )  # fmt: skip


def _plan(library: Library, given: Mapping[str, str], figures: Figures | None, by: str) -> ChangeSet:
    """The plan; written where it is the very one whose diff was seen."""
    wanted = filter_of(given)
    if wanted.is_empty and not given.get("all"):
        raise PrismError("a bulk change needs a filter", where="bulk", mend="Or say that all are meant.")
    why = given.get("why") or None
    planned = library.bulk(library.find(wanted, figures), _change(given), by=by, dry_run=True)
    seen = given.get("digest")
    if not given.get("apply") or not planned.changes:
        return planned
    if seen != _digest(planned.diff()):
        raise PrismError(
            "the library has changed since this was planned", where="bulk", mend="Look at the diff anew."
        )
    return library.apply(planned, "edit", by=by, why=why)


def _change(given: Mapping[str, str]) -> Callable[[Prompt], Mapping[str, Any]]:
    """What a form says is to be done to each prompt. Raises :class:`PrismError`."""
    kind, value = given.get("kind"), re.sub("\r\n?", "\n", given.get("value", ""))
    if kind == "set" and given.get("field") in FIELDS:
        return lambda _: {given["field"]: value}
    if kind == "replace" and given.get("old"):
        old = re.sub("\r\n?", "\n", given["old"])
        names = (*TEXTS, "prompt_starter")
        return lambda prompt: {
            name: text.replace(old, value) for name in names if (text := getattr(prompt, name)) is not None
        }
    if kind in ("add_tag", "add_agent") and value:
        name = "compliance_tags" if kind == "add_tag" else "agents"
        return lambda prompt: {name: tuple(dict.fromkeys([*getattr(prompt, name), value]))}
    if kind in ("remove_tag", "remove_agent") and value:
        name = "compliance_tags" if kind == "remove_tag" else "agents"
        return lambda prompt: {name: tuple(one for one in getattr(prompt, name) if one != value)}
    raise PrismError("this change lacks what it needs", where="bulk", mend="Fill in the fields of its kind.")


def _digest(diff: str) -> str:
    return hashlib.sha256(diff.encode()).hexdigest()


class History(Page):
    """The whole library's history; changes are taken back from here and from a prompt's page."""

    menu_label = "History"
    icon = "fa fa-clock-rotate-left"
    path = "/history"
    route_name = "history"
    template = "console/history.html"

    @route("")
    async def index(self, request: Request) -> Response:
        error, events = "", []
        try:
            events = await self._house.library(lambda library: library.history(limit=200))
        except PrismError as refused:
            error = str(refused)
        return self.render(request, events=events, error=error)

    @route("/undo", methods=["POST"])
    async def undo(self, request: Request) -> Response:
        """Takes back a whole change."""
        change = str((await request.form()).get("change") or "")
        number = int(change) if change.isdecimal() and len(change) < 10 else 0
        return await self._taken_back(request, lambda library, by: library.undo(number, by=by))

    @route("/revert", methods=["POST"])
    async def revert(self, request: Request) -> Response:
        """Brings back the texts of a version."""
        form = await request.form()
        key, version = str(form.get("prompt") or ""), str(form.get("version") or "")
        number = int(version) if version.isdecimal() and len(version) < 10 else 0
        return await self._taken_back(request, lambda library, by: library.revert(key, number, by=by))

    async def _taken_back(self, request: Request, work: Callable[[Library, str], ChangeSet]) -> Response:
        by = user_of(request).username
        try:
            done = await self._house.library(lambda library: work(library, by))
        except PrismError as error:
            flash(request, told(error), "error")
        else:
            outcome = f"Change {done.change_id}" if done.change_id else "Nothing differs, so nothing was done"
            flash(request, " ".join([f"{outcome}.", *done.notes])[:1000], "success")
        return RedirectResponse(request.url_for("console:history"), 303)


class SettingsPage(Page):
    """The settings in force, without secrets."""

    menu_label = "Settings"
    icon = "fa fa-sliders"
    path = "/settings"
    route_name = "settings"
    template = "console/settings.html"
    needs = "admin"

    @route("")
    async def index(self, request: Request) -> Response:
        settings = self._house.settings
        return self.render(
            request,
            text=in_force(settings),
            places={"PRISM_HOME": settings.home, "settings": settings.config_path},
        )


def in_force(settings: Settings) -> str:
    """Every setting as YAML: of URLs no more than scheme and host, of keys and channels nothing."""
    shown = without_secrets(settings.config.model_dump(mode="json", by_alias=True))
    for name in ("warehouse_url", "dagster_url", "smtp_url", "hmac_key_text"):
        shown[name] = "(unset)" if getattr(settings, name) is None else _SECRET
    return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True)


def without_secrets(value: Any) -> Any:
    """The same, each URL cut to scheme and host, each URL of a channel hidden."""
    if isinstance(value, Mapping):
        return {
            name: dict.fromkeys(inner, _SECRET) if name == "channels" else without_secrets(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [without_secrets(inner) for inner in value]
    if isinstance(value, str) and "://" in value:
        parts = urlsplit(value)
        try:
            return f"{parts.scheme}://{parts.hostname or ''}/…"
        except ValueError:
            return _SECRET
    if isinstance(value, str) and re.search(r"\b(password|sslpassword|passfile)\s*=", value):
        return _SECRET  # a libpq URI in its other form
    return value
