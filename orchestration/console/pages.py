"""The pages that are no list: enhancement, changes in bulk, taking changes back, settings, the way in."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import yaml
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette_admin import CustomView
from starlette_admin.flash import flash
from starlette_admin.routing import route

from orchestration.console.accounts import AuditLog
from orchestration.console.guard import allowed, note_down, user_of
from orchestration.console.house import House, told, unix, why_of
from orchestration.console.prompts import Given, filter_form, filter_of
from orchestration.errors import PrismError
from orchestration.library.enhance import Enhancement, Enhancer
from orchestration.library.metrics import Figures
from orchestration.library.prompts import FIELDS, LISTS, TEXTS, ChangeSet, Prompt
from orchestration.library.store import Library
from orchestration.settings import Settings

_SHOWN_LINES = 500  # of the audit log
_SHOWN_DIFF = 200_000  # characters: beyond it a browser helps nobody
_HIDDEN = "(set, not shown)"  # in the place of a secret


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
                unix(given["text"]),
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
            note_down(request, why_not=refused.what)
        if result is not None:
            note_down(request, prompt=result.prompt.name, usage_id=result.usage_id)
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
            note_down(request, why_not=error.what)
            flash(request, told(error), "error")
        else:
            note_down(request, usage_id=usage_id, rating=number)
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
    """One change of all prompts that fit a filter or were selected: first its diff, then the change."""

    menu_label = "Bulk change"
    path = "/bulk"
    route_name = "bulk"
    template = "console/bulk.html"
    needs = "admin"

    @route("", methods=["GET", "POST"])
    async def index(self, request: Request) -> Response:
        form: Given = await request.form() if request.method == "POST" else request.query_params
        planned: ChangeSet | None = None
        error = ""
        if request.method == "POST":
            figures = await self._house.figures()
            try:
                by = user_of(request).username
                planned = await self._house.library(lambda library: _carried_out(library, form, figures, by))
            except PrismError as refused:
                error = str(refused)
                note_down(request, why_not=refused.what)
            if planned is not None:
                number = len(planned.changes)
                note_down(
                    request, kind=str(form.get("kind")), prompts=number, change=planned.change_id,
                    only=None if planned.change_id else "dry run",
                )  # fmt: skip
                if planned.change_id is not None:
                    flash(request, f"Change {planned.change_id}: {number:,} prompts are changed.", "success")
                    return RedirectResponse(request.url_for("console:history"), 303)
        diff = planned.diff() if planned else ""
        return self.render(
            request, 422 if error else 200, given=form, filter=filter_form(form), error=error,
            fields=[name for name in FIELDS if name not in ("name", *LISTS)], planned=planned,
            diff=diff[:_SHOWN_DIFF], cut=len(diff) > _SHOWN_DIFF, digest=_digest(diff),
        )  # fmt: skip


def _carried_out(library: Library, given: Given, figures: Figures | None, by: str) -> ChangeSet:
    """The plan; written where it is the very one whose diff was seen."""
    wanted = filter_of(given)
    if wanted.is_empty and not given.get("all"):
        raise PrismError("a bulk change needs a filter", where="bulk", mend="Or say that all are meant.")
    action, planned = _plan(library, library.find(wanted, figures), given)
    if not given.get("apply") or not planned.changes:
        return planned
    if given.get("digest") != _digest(planned.diff()):
        raise PrismError(
            "the library has changed since this was planned", where="bulk", mend="Look at the diff anew."
        )
    return library.apply(planned, action, by=by, why=why_of(given))


def _plan(library: Library, chosen: Sequence[Prompt], given: Given) -> tuple[str, ChangeSet]:
    """What a form says is to be done to the prompts, behind what its record calls that.

    Raises :class:`PrismError` where the form lacks something.
    """
    field = str(given.get("field"))
    value, old, suffix = (unix(given.get(name)) for name in ("value", "old", "suffix"))
    action, change = "edit", _change(str(given.get("kind")), field, value, old)
    match given.get("kind"):
        case "add_agent" if value:
            action, planned = "map", library.map(chosen, [value], by="", dry_run=True)
        case "remove_agent" if value:
            action, planned = "unmap", library.unmap(chosen, [value], by="", dry_run=True)
        case "duplicate" if suffix:
            action, planned = "duplicate", library.duplicate_all(chosen, suffix, by="", dry_run=True)
        case "archive":
            action, planned = "archive", library.archive(chosen, by="", dry_run=True)
        case "delete":
            action, planned = "delete", library.delete(chosen, by="", dry_run=True)
        case _ if change is not None:
            planned = library.bulk(chosen, change, by="", dry_run=True)
        case _:
            raise PrismError(
                "this change lacks what it needs", where="bulk", mend="Fill in the fields of its kind."
            )
    return action, planned


def _change(kind: str, field: str, value: str, old: str) -> Callable[[Prompt], Mapping[str, Any]] | None:
    """The change of each prompt's fields; none where it is another kind, or lacks something."""
    if kind == "set" and field in FIELDS:
        return lambda _: {field: value}
    if kind == "replace" and old:
        names = (*TEXTS, "prompt_starter")
        return lambda prompt: {
            name: text.replace(old, value) for name in names if (text := getattr(prompt, name)) is not None
        }
    if kind == "add_tag" and value:
        return lambda prompt: {"compliance_tags": list(dict.fromkeys([*prompt.compliance_tags, value]))}
    if kind == "remove_tag" and value:
        return lambda prompt: {"compliance_tags": [one for one in prompt.compliance_tags if one != value]}
    return None


def _digest(diff: str) -> str:
    return hashlib.sha256(diff.encode()).hexdigest()


class History(Page):
    """The whole library's history; changes are taken back from here and from a prompt's page."""

    menu_label = "History"
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
        return await self._taken_back(request, lambda library, **more: library.undo(number, **more))

    @route("/revert", methods=["POST"])
    async def revert(self, request: Request) -> Response:
        """Brings back the texts of a version."""
        form = await request.form()
        key, version = str(form.get("prompt") or ""), str(form.get("version") or "")
        number = int(version) if version.isdecimal() and len(version) < 10 else 0
        return await self._taken_back(request, lambda library, **more: library.revert(key, number, **more))

    async def _taken_back(self, request: Request, work: Callable[..., ChangeSet]) -> Response:
        by, why = user_of(request).username, why_of(await request.form())
        try:
            done = await self._house.library(lambda library: work(library, by=by, why=why))
        except PrismError as error:
            note_down(request, why_not=error.what)
            flash(request, told(error), "error")
        else:
            note_down(request, change=done.change_id)
            outcome = f"Change {done.change_id}" if done.change_id else "Nothing differs, so nothing was done"
            flash(request, " ".join([f"{outcome}.", *done.notes])[:1000], "success")
        return RedirectResponse(request.url_for("console:history"), 303)


class Reports(Page):
    """The rendered reports; before there is one, how it is made."""

    menu_label = "Reports"
    path = "/reports/"
    template = "console/reports.html"

    @route("/", name="all-reports")
    async def index(self, request: Request) -> Response:
        if (self._house.settings.reports_dir / "index.html").is_file():
            return RedirectResponse(request.url_for("console:reports", path="index.html"), 303)
        return self.render(request, place=self._house.settings.reports_dir)


class ReportFiles(StaticFiles):
    """The files of the reports: a link that leads out of the folder is not followed."""

    # a report brings its own policy, stricter in what it loads
    _POLICY = "frame-ancestors 'none'; form-action 'none'; base-uri 'none'"

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Content-Security-Policy"] = self._POLICY
        return response


class Audit(Page):
    """Who signed in, what was done and what was refused."""

    menu_label = "Audit log"
    path = "/audit"
    route_name = "audit"
    template = "console/audit.html"
    needs = "admin"

    def __init__(self, house: House, log: AuditLog) -> None:
        super().__init__(house)
        self._log = log

    @route("")
    async def index(self, request: Request) -> Response:
        lines = await run_in_threadpool(self._log.latest, _SHOWN_LINES)
        return self.render(request, lines=lines, file=self._log.path)


class SettingsPage(Page):
    """The settings in force, without secrets."""

    menu_label = "Settings"
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
    for name in ("warehouse_url", "dagster_url", "smtp_url", "hmac_key_text", "hmac_old_keys_text"):
        shown[name] = "(unset)" if getattr(settings, name) is None else _HIDDEN
    return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True)


def without_secrets(value: Any) -> Any:
    """The same, each URL cut to scheme and host, each URL of a channel hidden."""
    if isinstance(value, Mapping):
        return {
            name: dict.fromkeys(inner, _HIDDEN) if name == "channels" else without_secrets(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [without_secrets(inner) for inner in value]
    if isinstance(value, str) and "://" in value:
        parts = urlsplit(value)
        try:
            return f"{parts.scheme}://{parts.hostname or ''}/…"
        except ValueError:
            return _HIDDEN
    if isinstance(value, str) and re.search(r"\b(password|sslpassword|passfile)\s*=", value):
        return _HIDDEN  # a libpq URI in its other form
    return value
