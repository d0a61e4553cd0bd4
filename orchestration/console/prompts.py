"""The library's pages: a list with figures, one prompt with its history, forms to make and to change one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import ImmutableMultiDict, QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette_admin import (
    BaseField,
    EnumField,
    StringField,
    TextAreaField,
    action,
    row_action,
)
from starlette_admin.actions import ActionSelection
from starlette_admin.exceptions import ActionFailed, FormValidationError
from starlette_admin.flash import flash
from starlette_admin.types import RowActionsPosition
from starlette_admin.views import BaseModelView

from orchestration.console.guard import allowed, note_down, user_of
from orchestration.console.house import House, told, unix, why_of
from orchestration.errors import PrismError
from orchestration.library.metrics import PromptFigures
from orchestration.library.prompts import (
    COMPLEXITY_LEVELS,
    FIELDS,
    LISTS,
    STATUSES,
    ChangeSet,
    Event,
    Filter,
    InvalidPromptError,
    Prompt,
)
from orchestration.library.store import ConflictError, Library, PromptNotFoundError

HEALTHS = ("healthy", "watch", "at_risk", "no_data")
_TEXTS_OF_FILTER = ("domain", "suite", "tag", "agent")
_CHOICES_OF_FILTER: Mapping[str, tuple[str, ...]] = {
    "complexity_level": COMPLEXITY_LEVELS,
    "status": STATUSES,
    "health": HEALTHS,
}


@dataclass(frozen=True)
class Row:
    """A prompt, what the marts say of it, and on its own page what happened to it."""

    prompt: Prompt
    figures: PromptFigures
    history: tuple[Event, ...] = ()

    @property
    def id(self) -> str:
        return self.prompt.id

    def __getattr__(self, name: str) -> Any:
        """A field of the prompt or of its figures: starlette-admin asks for them by name."""
        return getattr(self.prompt if hasattr(self.prompt, name) else self.figures, name)


# The names under which a form or an address says a filter.
FILTER_NAMES = ("key", "q", *_TEXTS_OF_FILTER, *_CHOICES_OF_FILTER, "unused_since")
Given = ImmutableMultiDict[str, Any]


def filter_of(given: Given) -> Filter:
    """The filter that a form or an address says. Raises :class:`PrismError` for a day that is none."""
    values: dict[str, Any] = {
        name: str(given[name]).strip() or None
        for name in (*_TEXTS_OF_FILTER, *_CHOICES_OF_FILTER)
        if given.get(name)
    }
    values["keys"] = tuple(str(key) for key in given.getlist("key"))
    if search := str(given.get("q") or "").strip():
        values["search"] = search
    if day := str(given.get("unused_since") or "").strip():
        try:
            values["unused_since"] = date.fromisoformat(day)
        except ValueError:
            raise PrismError(f"{day!r} is no day; expected for example 2026-01-31", where="filter") from None
    return Filter(**values)


def filter_form(given: Given) -> dict[str, Any]:
    """What the template of a filter shows."""
    return {
        "keys": given.getlist("key"),
        "is_set": any(given.get(name) for name in FILTER_NAMES if name != "q"),
        "texts": {name: given.get(name) or "" for name in _TEXTS_OF_FILTER},
        "choices": {name: (known, given.get(name) or "") for name, known in _CHOICES_OF_FILTER.items()},
        "q": given.get("q") or "",
        "unused_since": given.get("unused_since") or "",
    }


_WHY = (
    '<label class="form-label mt-2" for="of-action-why">Why</label>'
    '<input class="form-control" id="of-action-why" name="why">'
)
# A name that leads to what it is the name of.
LINK = "console/_link.html"
# A state as a word, a symbol and a colour.
PILL: Mapping[str, Any] = {"list_template": "console/_pill.html", "detail_template": "console/_pill.html"}


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _success(_: Request, row: Row) -> str:
    if row.figures.success_rate is None:
        return "–"
    low, high = _percent(row.figures.success_rate_low), _percent(row.figures.success_rate_high)
    return f"{_percent(row.figures.success_rate)} ({low} to {high})"


def _number(name: str, digits: int, unit: str = "") -> Any:
    def get(_: Request, row: Row) -> str:
        value = getattr(row.figures, name)
        return "–" if value is None else f"{value:,.{digits}f}{unit}"

    return get


def _figure(name: str, label: str, getter: Any = None, **more: Any) -> BaseField:
    """A field that is shown, and that nobody can write."""
    return StringField(
        name, label=label, getter=getter, read_only=True, searchable=False,
        exclude_from_create=True, exclude_from_edit=True, **more,
    )  # fmt: skip


def _text(name: str, label: str, rows: int, help_text: str | None = None) -> BaseField:
    return TextAreaField(
        name, label=label, rows=rows, searchable=False, exclude_from_list=True, help_text=help_text
    )


class _Known(EnumField):
    """A choice; a library may be older than the known ones, so what is there is one, too."""

    def _get_choices(self, request: Request) -> list[tuple[str, str]]:
        found = getattr(request.state, "odd_choices", {}).get(self.name)
        return [*(self.choices or ()), *([(found, found)] if found else [])]

    def _get_label(self, value: Any, request: Request) -> Any:
        return value


class _Lines(TextAreaField):
    """A list, one a line: the library's own widget for tags has no name for a screen reader."""

    async def serialize_value(self, request: Request, value: Any) -> str:
        return ("\n" if request.state.action.is_form() else ", ").join(value)


class PromptView(BaseModelView):
    """Prompts: everybody looks, editors change one by one, admins delete and change in bulk."""

    key = "prompts"
    menu_label = "Prompts"
    display_name = "prompt"
    pk_attr = "id"
    page_size = 25
    page_size_options = (25, 100, 500)
    column_visibility = False
    row_actions_position = RowActionsPosition.AFTER_COLUMNS
    row_click_navigate = False  # its rows take the focus and do nothing with it: the name is a link
    exporters = ()
    importers = ()
    list_template = "console/prompts.html"
    detail_template = "console/prompt.html"
    edit_template = "console/prompt_edit.html"
    create_template = "console/prompt_create.html"
    row_actions = ("edit", "duplicate", "archive", "delete")
    actions = ("in_bulk",)
    action_select_all_limit = 1_000_000  # what is done to them is shown first
    sortable_fields = (
        "name", "domain", "complexity_level", "status", "health", "usage_count", "last_used_on",
    )  # fmt: skip
    fields = (
        StringField("id", searchable=False, exclude_from_list=True, exclude_from_create=True,
                    exclude_from_edit=True),
        StringField("name", required=True, searchable=False, list_template=LINK),
        StringField("display_name", searchable=False, exclude_from_list=True),
        TextAreaField("description", rows=3, searchable=False, exclude_from_list=True),
        StringField("domain", searchable=False),
        _Known("complexity_level", label="Complexity", searchable=False,
               choices=[("", "–"), *((one, one) for one in COMPLEXITY_LEVELS)]),
        _Known("status", searchable=False, choices=[(one, one) for one in STATUSES], default="draft",
               **PILL),
        StringField("suite", searchable=False, exclude_from_list=True),
        StringField("owner", searchable=False, exclude_from_list=True, help_text="A mail address."),
        _figure("health", "Health", **PILL),
        _figure("usage_count", "Uses", _number("usage_count", 0)),
        _figure("success_rate", "Success (95 %)", _success),
        _figure("average_rating", "Rating", _number("average_rating", 2)),
        _figure("cost_per_use", "Cost a use", _number("cost_per_use", 4, " USD")),
        _figure("last_used_on", "Last used"),
        _Lines("compliance_tags", label="Tags", rows=2, searchable=False, exclude_from_list=True),
        _Lines("agents", rows=2, searchable=False, exclude_from_list=True,
                  help_text="Names of agents that may use it."),
        _text("prompt_starter", "Starter", 2),
        _text("system_prompt", "System prompt", 6),
        _text("user_prompt_template", "Template", 10,
              "With {{ … }} it is Jinja; else ${name} stands for a value."),
        _figure("version", "Version", exclude_from_list=True),
        StringField("why", label="Why", searchable=False, exclude_from_list=True, exclude_from_detail=True,
                    help_text="Kept with the change.", getter=lambda _request, _row: ""),
        StringField("revision", searchable=False, exclude_from_list=True, exclude_from_detail=True,
                    exclude_from_create=True, form_template="console/hidden.html",
                    label_template="console/nothing.html"),
    )  # fmt: skip

    def __init__(self, house: House) -> None:
        self._house = house
        super().__init__()

    # -- who may what; the gate refuses as well

    def can_create(self, request: Request) -> bool:
        return allowed(request, "editor")

    def can_edit(self, request: Request) -> bool:
        return allowed(request, "editor")

    def can_delete(self, request: Request) -> bool:
        return allowed(request, "admin")

    def can_import(self, request: Request) -> bool:
        return False

    def can_export(self, request: Request) -> bool:
        return False

    async def is_action_allowed(self, request: Request, name: str) -> bool:
        # the library brings others, and answers them though they are not shown
        return name == "in_bulk" and allowed(request, "admin")

    async def is_row_action_allowed(self, request: Request, name: str) -> bool:
        return name in self.row_actions and allowed(request, "admin" if name == "delete" else "editor")

    # -- finding

    def filter_form(self, request: Request) -> dict[str, Any]:
        """For the list's template."""
        return filter_form(_asked(request))

    async def _rows(self, request: Request) -> list[Row]:
        """All that fit; once a request, since the list asks for rows and for their number."""
        if not hasattr(request.state, "prompt_rows"):
            figures = await self._house.figures()
            try:
                wanted = filter_of(_asked(request))
                found = await self._house.library(lambda library: library.find(wanted, figures))
            except PrismError as error:
                flash(request, told(error), "error")
                found = []
            request.state.prompt_rows = [
                Row(one, figures.of(one) if figures else PromptFigures()) for one in found
            ]
        rows: list[Row] = request.state.prompt_rows
        return rows

    async def find_all(
        self, request: Request, skip: int = 0, limit: int = 100, q: str | None = None,
        sorts: Sequence[tuple[str, str]] | None = None, filters: Any = None,
    ) -> list[Row]:  # fmt: skip
        rows = list(await self._rows(request))
        for name, direction in reversed(sorts or ()):
            if name == self.pk_attr:  # it was not asked for; they are in the order of their names
                continue
            known = [row for row in rows if getattr(row, name) is not None]
            known.sort(key=lambda row: getattr(row, name), reverse=direction == "desc")
            rows = known + [row for row in rows if getattr(row, name) is None]
        return rows[skip : skip + limit] if limit > 0 else rows[skip:]

    async def count(self, request: Request, q: str | None = None, filters: Any = None) -> int:
        return len(await self._rows(request))

    async def find_by_pk(self, request: Request, pk: Any) -> Row | None:
        figures = await self._house.figures()

        def read(library: Library) -> Row:
            prompt = library.get(str(pk))
            known = figures.of(prompt) if figures else PromptFigures()
            return Row(prompt, known, tuple(library.history(prompt.id, limit=200)))

        try:
            row = await self._house.library(read)
        except PromptNotFoundError:
            return None
        request.state.odd_choices = {
            name: value
            for name, known in (("complexity_level", COMPLEXITY_LEVELS), ("status", STATUSES))
            if (value := getattr(row.prompt, name)) and value not in known
        }
        return row

    async def find_by_pks(self, request: Request, pks: list[Any]) -> list[Row]:
        wanted = Filter(keys=tuple(map(str, pks)))
        found = await self._house.library(lambda library: library.find(wanted))
        return [Row(one, PromptFigures()) for one in found if one.id in wanted.keys]

    async def repr(self, obj: Row, request: Request) -> str:
        return obj.prompt.name

    # -- changing

    async def create(self, request: Request, data: dict[str, Any]) -> Row:
        by, why = user_of(request).username, why_of(data)
        fields = {name: _plain(name, data[name]) for name in FIELDS if name in data}
        try:
            made = await self._house.library(lambda library: library.create(fields, by=by, why=why))
        except PrismError as error:
            raise _form_error(error) from None
        note_down(request, change=made.change_id, prompt=made.changes[0].prompt.name)
        return Row(made.changes[0].prompt, PromptFigures())

    async def edit(self, request: Request, pk: Any, data: dict[str, Any]) -> Row:
        by, why = user_of(request).username, why_of(data)

        def write(library: Library) -> tuple[Prompt, int | None]:
            now = library.get(str(pk))
            changes = {
                name: _plain(name, data[name])
                for name in FIELDS
                if name in data and _is_touched(now.fields[name], data[name])
            }
            done = library.edit(now.id, changes, by=by, why=why, expected=str(data.get("revision")))
            return library.get(now.id), done.change_id

        try:
            prompt, change_id = await self._house.library(write)
        except PrismError as error:
            raise _form_error(error) from None
        note_down(request, change=change_id, prompt=prompt.name)
        return Row(prompt, PromptFigures())

    async def delete(self, request: Request, pks: list[Any]) -> int | None:
        raise NotImplementedError  # no page asks for it: the row's action deletes one, the bulk page many

    async def _change(self, request: Request, pk: Any, work: Callable[..., ChangeSet], done: str) -> None:
        """Does ``work`` (library, prompt, ``by``, ``why``), and says what came of it."""
        by, why = user_of(request).username, why_of(await request.form())
        try:
            made = await self._house.library(
                lambda library: work(library, library.get(str(pk)), by=by, why=why)
            )
        except PrismError as error:
            raise ActionFailed(told(error)) from None
        note_down(
            request, change=made.change_id, prompt=made.changes[0].prompt.name if made.changes else None
        )
        flash(request, "; ".join(made.notes) or done, "info" if made.notes else "success")

    @row_action(
        name="duplicate", text="Duplicate", confirmation="Make a draft like it, under another name.",
        icon_class="fa fa-copy", submit_btn_text="Duplicate",
        form='<form><label class="form-label" for="new-name">Name</label>'
        '<input class="form-control" id="new-name" name="name" required maxlength="200">'
        f"{_WHY}</form>",
    )  # fmt: skip
    async def duplicate_row(self, request: Request, pk: Any) -> None:
        name = str((await request.form()).get("name") or "").strip()
        await self._change(
            request, pk, lambda library, prompt, **more: library.duplicate(prompt.id, name, **more),
            f"{name} is made, as a draft.",
        )  # fmt: skip

    @row_action(
        name="archive", text="Archive", confirmation="Archive this prompt? Agents are no longer given it.",
        icon_class="fa fa-box-archive", submit_btn_text="Archive", form=f"<form>{_WHY}</form>",
    )  # fmt: skip
    async def archive_row(self, request: Request, pk: Any) -> None:
        await self._change(
            request, pk, lambda library, prompt, **more: library.archive([prompt], **more), "It is archived."
        )

    @row_action(
        name="delete", text="Delete",
        confirmation="Delete this prompt? One that was ever used is archived instead.",
        icon_class="default_actions.delete", submit_btn_text="Delete",
        submit_btn_class="action.modal_confirm_button_delete", action_btn_class="action.row_item_delete",
        form=f"<form>{_WHY}</form>",
    )  # fmt: skip
    async def row_action_3_delete(self, request: Request, pk: Any) -> None:
        await self._change(
            request, pk, lambda library, prompt, **more: library.delete([prompt], **more),
            "It is deleted; the history can bring it back.",
        )  # fmt: skip

    @action(name="in_bulk", text="Change, duplicate, archive or delete …", custom_response=True)
    async def selected_in_bulk(self, request: Request, selection: ActionSelection) -> Response:
        """Leads to the bulk page, with what was selected: there each change is shown first."""
        if selection.is_select_all:
            asked = [(name, value) for name, value in _asked(request).multi_items() if name in FILTER_NAMES]
            chosen = [pair for pair in asked if pair[1]] or [("all", "on")]
        else:
            chosen = [("key", str(pk)) for pk in await selection.pks()]
        return RedirectResponse(request.url_for("console:bulk").replace(query=urlencode(chosen)), 303)


def _asked(request: Request) -> Given:
    """What the list's address says; an action on the list carries it along."""
    carried = request.query_params.get("_list_query")
    return request.query_params if carried is None else QueryParams(carried.lstrip("?"))


def _plain(name: str, sent: str | None) -> Any:
    """What a form's text is as a prompt's field."""
    text = unix(sent)
    return tuple(line.strip() for line in text.split("\n") if line.strip()) if name in LISTS else text


def _is_touched(now: Any, sent: str | None) -> bool:
    """Whether a form's text is another than the one that the form showed."""
    shown = now or "" if isinstance(now, str | None) else "\n".join(now)
    return unix(shown) != unix(sent)


def _form_error(error: PrismError) -> FormValidationError:
    """A refusal beside the field that it is about, else above the form."""
    if isinstance(error, InvalidPromptError):
        faults: dict[str | int, Any] = dict(error.faults.items())
        return FormValidationError(faults)
    if isinstance(error, PromptNotFoundError):
        raise HTTPException(404)
    diff = error.diff if isinstance(error, ConflictError) else ""
    return FormValidationError(
        {"_refused": {"what": error.what, "mend": "" if diff else error.mend, "diff": diff}}
    )
