"""The alerts' pages: what is open, and what people do about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

import psycopg
from starlette.requests import Request
from starlette_admin import StringField, TextAreaField, row_action
from starlette_admin.exceptions import ActionFailed
from starlette_admin.fields import BaseField
from starlette_admin.flash import flash
from starlette_admin.types import RowActionsPosition
from starlette_admin.views import BaseModelView

from orchestration.alerting import actions as alerting
from orchestration.alerting.actions import Alert
from orchestration.console.guard import allowed, user_of
from orchestration.console.house import House, told
from orchestration.console.prompts import LINK, PILL
from orchestration.errors import PrismError

_NOTE = (
    '<label class="form-label mt-2" for="note">Note</label>'
    '<input class="form-control" id="note" name="note" maxlength="1000">'
)


def _field(name: str, label: str | None = None, **more: Any) -> BaseField:
    return StringField(name, label=label, searchable=False, **more)


class AlertView(BaseModelView):
    """Alerts: everybody looks, editors act."""

    key = "alerts"
    menu_label = "Alerts"
    display_name = "alert"
    pk_attr = "alert_id"
    page_size = 25
    page_size_options = (25, 100, 500)
    column_visibility = False
    row_actions_position = RowActionsPosition.AFTER_COLUMNS
    row_click_navigate = False
    exporters = ()
    importers = ()
    list_template = "console/alerts.html"
    detail_template = "console/alert.html"
    row_actions = ("acknowledge", "snooze", "assign", "resolve")
    actions = ()
    sortable_fields = ("prompt_name", "domain", "first_detected_on")
    fields = (
        _field("alert_id", "Id", exclude_from_list=True),
        _field("severity", **PILL),
        _field("state", **PILL),
        _field("prompt_name", "Prompt", list_template=LINK),
        _field("rule", getter=lambda _request, alert: alert.rule.replace("_", " ")),
        TextAreaField("message", searchable=False),
        _field("domain"),
        _field("owner", exclude_from_list=True),
        _field("first_detected_on", "Since"),
        _field("last_detected_on", "Last seen", exclude_from_list=True),
        _field("assigned_to"),
        _field("due_on", "Due"),
        _field("until_on", "Snoozed until", exclude_from_list=True),
        _field("sample_size", "Sample", exclude_from_list=True),
        TextAreaField("recommendation", searchable=False, exclude_from_list=True),
    )

    def __init__(self, house: House) -> None:
        self._house = house
        super().__init__()

    def can_create(self, request: Request) -> bool:
        return False

    def can_edit(self, request: Request) -> bool:
        return False

    def can_delete(self, request: Request) -> bool:
        return False

    def can_import(self, request: Request) -> bool:
        return False

    def can_export(self, request: Request) -> bool:
        return False

    async def is_action_allowed(self, request: Request, name: str) -> bool:
        return False

    async def is_row_action_allowed(self, request: Request, name: str) -> bool:
        return name in self.row_actions and allowed(request, "editor")

    def states(self) -> Sequence[str]:
        """For the list's template."""
        return (*alerting.STATES, "all")

    async def _rows(self, request: Request) -> list[Alert]:
        if not hasattr(request.state, "alert_rows"):
            given = request.query_params
            states: Sequence[str] = alerting.Filter.states
            if state := given.get("state"):
                states = alerting.STATES if state == "all" else (state,)
            wanted = alerting.Filter(
                states=states,
                severity=given.get("severity") or None,
                domain=given.get("domain") or None,
                assigned_to=given.get("assigned_to") or None,
            )
            try:
                found = await self._house.warehouse_session(
                    lambda connection: alerting.list_alerts(connection, wanted=wanted, **self._house.now)
                )
            except PrismError as error:
                flash(request, told(error), "error")
                found = []
            q = (given.get("q") or "").casefold()
            request.state.alert_rows = [
                one for one in found if q in f"{one.prompt_name} {one.message} {one.rule}".casefold()
            ]
        rows: list[Alert] = request.state.alert_rows
        return rows

    async def find_all(
        self, request: Request, skip: int = 0, limit: int = 100, q: str | None = None,
        sorts: Sequence[tuple[str, str]] | None = None, filters: Any = None,
    ) -> list[Alert]:  # fmt: skip
        rows = list(await self._rows(request))
        for name, direction in reversed(sorts or ()):
            if name == self.pk_attr:  # it was not asked for; the worst come first
                continue
            rows.sort(key=lambda row: str(getattr(row, name) or ""), reverse=direction == "desc")
        return rows[skip : skip + limit] if limit > 0 else rows[skip:]

    async def count(self, request: Request, q: str | None = None, filters: Any = None) -> int:
        return len(await self._rows(request))

    async def find_by_pk(self, request: Request, pk: Any) -> Alert | None:
        try:
            return await self._house.warehouse_session(
                lambda connection: alerting.show(connection, str(pk), **self._house.now)
            )
        except PrismError:
            return None

    async def find_by_pks(self, request: Request, pks: list[Any]) -> list[Alert]:
        return [one for one in await self._rows(request) if one.alert_id in pks]

    async def create(self, request: Request, data: dict[str, Any]) -> Alert:
        raise NotImplementedError  # can_create is False

    async def edit(self, request: Request, pk: Any, data: dict[str, Any]) -> Alert:
        raise NotImplementedError  # can_edit is False

    async def delete(self, request: Request, pks: list[Any]) -> int | None:
        raise NotImplementedError  # can_delete is False

    async def _act(
        self, request: Request, pk: Any, work: Callable[..., list[Alert]], done: str, **more: Any
    ) -> None:
        note = str((await request.form()).get("note") or "").strip() or None
        by = user_of(request).username

        def call(connection: psycopg.Connection[Any]) -> None:
            work(connection, [str(pk)], by=by, note=note, **self._house.now, **more)

        try:
            await self._house.warehouse_session(call)
        except PrismError as error:
            raise ActionFailed(told(error)) from None
        flash(request, done, "success")

    @row_action(
        name="acknowledge", text="Acknowledge", confirmation="Quiet unless it escalates.",
        icon_class="fa fa-check", submit_btn_text="Acknowledge", form=f"<form>{_NOTE}</form>",
    )  # fmt: skip
    async def acknowledge_row(self, request: Request, pk: Any) -> None:
        await self._act(request, pk, alerting.acknowledge, "It is acknowledged.")

    @row_action(
        name="snooze", text="Snooze", confirmation="Quiet until that day, unless it escalates.",
        icon_class="fa fa-clock", submit_btn_text="Snooze",
        form='<form><label class="form-label" for="until">Until</label>'
        f'<input class="form-control" type="date" id="until" name="until_on" required>{_NOTE}</form>',
    )  # fmt: skip
    async def snooze_row(self, request: Request, pk: Any) -> None:
        until = _day((await request.form()).get("until_on"))
        if until is None:
            raise ActionFailed("A snooze needs the day on which it ends.")
        await self._act(request, pk, alerting.snooze, f"It is quiet until {until}.", until_on=until)

    @row_action(
        name="assign", text="Assign", confirmation="Who is to see to it, and by when?",
        icon_class="fa fa-user", submit_btn_text="Assign",
        form='<form><label class="form-label" for="to">To</label>'
        '<input class="form-control" id="to" name="assigned_to" required maxlength="320">'
        '<label class="form-label mt-2" for="due">Due</label>'
        f'<input class="form-control" type="date" id="due" name="due_on">{_NOTE}</form>',
    )  # fmt: skip
    async def assign_row(self, request: Request, pk: Any) -> None:
        form = await request.form()
        to, due = str(form.get("assigned_to") or ""), _day(form.get("due_on"))
        await self._act(request, pk, alerting.assign, f"It is assigned to {to}.", assigned_to=to, due_on=due)

    @row_action(
        name="resolve", text="Resolve", confirmation="It is seen to?",
        icon_class="fa fa-circle-check", submit_btn_text="Resolve", form=f"<form>{_NOTE}</form>",
    )  # fmt: skip
    async def resolve_row(self, request: Request, pk: Any) -> None:
        await self._act(request, pk, alerting.resolve, "It is resolved.")


def _day(text: Any) -> date | None:
    try:
        return date.fromisoformat(str(text)) if text else None
    except ValueError:
        raise ActionFailed(f"{text!r} is no day.") from None
