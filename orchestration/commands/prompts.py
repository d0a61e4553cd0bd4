"""`prism prompts`: the prompt library, managed one by one and in bulk, and kept as files."""
# ruff: noqa: PLC0415, T201

from __future__ import annotations

import dataclasses
import functools
import getpass
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from orchestration.commands.shared import edited, name_and_value, settings_here
from orchestration.errors import PrismError

if TYPE_CHECKING:
    from orchestration.library.metrics import Figures, PromptFigures
    from orchestration.library.prompts import ChangeSet, Filter, Prompt
    from orchestration.library.store import Library

prompts = typer.Typer(
    help="The prompt library. A prompt is named by its name or id; filters choose several.",
    no_args_is_help=True,
)

Source = Annotated[
    str | None, typer.Option("--source", help="The application, where prism.yaml has several.")
]
By = Annotated[str | None, typer.Option("--by", help="Who does it; default: this machine's user.")]
Why = Annotated[str | None, typer.Option("--why", help="The reason, kept with the change.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show each change as a diff, write nothing.")]
Yes = Annotated[bool, typer.Option("--yes", help="Change several prompts without asking.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]
Key = Annotated[str, typer.Argument(help="A prompt's name or id.", metavar="PROMPT")]

_Level = Literal["basic", "intermediate", "advanced", "expert"]
_Status = Literal["draft", "active", "archived"]
_Health = Literal["healthy", "watch", "at_risk", "no_data"]
# The filters that every command on several prompts takes: parameter -> its option.
_FILTERS: dict[str, tuple[Any, Any]] = {
    "keys": (
        Annotated[list[str] | None, typer.Argument(help="Names or ids.", metavar="[PROMPT]...")],
        None,
    ),
    "domain": (Annotated[str | None, typer.Option(help="Of one domain.")], None),
    "complexity": (Annotated[_Level | None, typer.Option(help="Of one complexity level.")], None),
    "status": (Annotated[_Status | None, typer.Option(help="Of one status.")], None),
    "suite": (Annotated[str | None, typer.Option(help="Of one suite.")], None),
    "tag": (Annotated[str | None, typer.Option(help="With this compliance tag.")], None),
    "agent": (Annotated[str | None, typer.Option(help="Mapped to this agent.")], None),
    "search": (Annotated[str | None, typer.Option(help="With these words in names or texts.")], None),
    "health": (
        Annotated[_Health | None, typer.Option(help="In this health, of the default period.")],
        None,
    ),
    "unused_since": (
        Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Not used on or after a day.")],
        None,
    ),
    "all_of_them": (Annotated[bool, typer.Option("--all", help="All prompts.")], False),
}


def choosing(*, without: Sequence[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the filters' options; its parameter ``chosen`` gets a :class:`Chosen`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        own = [one for name, one in signature.parameters.items() if name != "chosen"]
        filters = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            for name, (kind, default) in _FILTERS.items()
            if name not in without
        ]

        @functools.wraps(command)
        def called(**given: Any) -> None:
            taken = {one.name: given.pop(one.name) for one in filters}
            command(**given, chosen=_chosen(**taken))

        own = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
        called.__signature__ = signature.replace(parameters=[*filters, *own])  # type: ignore[attr-defined]
        called.__annotations__ = {one.name: one.annotation for one in [*filters, *own]}
        return called

    return decorate


def _chosen(
    *,
    complexity: str | None = None,
    keys: list[str] | None = None,
    unused_since: datetime | None = None,
    all_of_them: bool = False,
    **rest: Any,
) -> Chosen:
    from orchestration.library.prompts import Filter

    wanted = Filter(
        keys=tuple(keys or ()),
        complexity_level=complexity,
        unused_since=unused_since.date() if unused_since else None,
        **rest,
    )
    return Chosen(wanted, all_of_them)


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The prompts that a command is for: by name, by filter, or expressly all."""

    wanted: Filter
    all_of_them: bool

    @property
    def is_one(self) -> bool:
        return len(self.wanted.keys) == 1

    def prompts(self, library: Library, figures: Figures | None, *, else_all: bool = False) -> list[Prompt]:
        """Those prompts. Nothing said is refused, unless ``else_all``; a name that is not there always."""
        if self.wanted.is_empty and not self.all_of_them and not else_all:
            raise PrismError(
                "which prompts? No name and no filter was given",
                where="prism prompts",
                mend="Name them, choose them (--domain, --status, …), or say --all.",
            )
        for key in self.wanted.keys:
            library.get(key)
        return library.find(self.wanted, figures)


@contextmanager
def opened(source: str | None, *, figures: bool = False) -> Iterator[tuple[Library, Figures | None]]:
    """The library, and the marts' figures where they are asked for and built.

    The library is opened as the user that its own URL names. The warehouse is opened only where it is needed:
    for figures, which the reporter reads, and where the library lies in it.
    """
    from orchestration import roles, warehouse
    from orchestration.library.metrics import read_figures
    from orchestration.library.open import application, open_library

    settings = settings_here()
    house, found = None, None
    if figures or application(settings, source).url is None:
        house = warehouse.open_warehouse(settings)
        warehouse.setup(house)
        if figures:
            with house.acting_as(roles.REPORTER).connect() as connection:
                period = settings.config.reports.default_period
                found = read_figures(connection, period, settings.config.timezone)
    with open_library(settings, house, source) as library:
        yield library, found


# -- looking


@prompts.command("list")
@choosing(without=["all_of_them"])
def list_command(chosen: Chosen, as_json: AsJson = False, source: Source = None) -> None:
    """The prompts that fit, with their figures."""
    with opened(source, figures=True) as (library, figures):
        found = chosen.prompts(library, figures, else_all=True)
    if as_json:
        print(_json([_record(prompt, figures) for prompt in found]))
        return
    rows = [
        [
            prompt.name, prompt.domain or "–", prompt.complexity_level or "–", prompt.status or "–",
            prompt.suite or "–", *_figures(figures.of(prompt) if figures else None),
        ]
        for prompt in found
    ]  # fmt: skip
    head = ["name", "domain", "complexity", "status", "suite", *_HEADS]
    for line in table([head, *rows], right=range(len(head) - len(_HEADS) + 1, len(head))):
        print(line)
    print(f"{len(found):,} prompts" + _as_of(figures))


@prompts.command("show")
def show_command(prompt: Key, as_json: AsJson = False, source: Source = None) -> None:
    """One prompt: its document, its figures, what its template needs."""
    from orchestration.library.templates import TemplateError

    with opened(source, figures=True) as (library, figures):
        found = library.get(prompt)
        try:
            needs = library.sandbox.inspect(found.user_prompt_template or "")
            variables = [f"{name} (optional)" if name in needs.optional else name for name in needs.variables]
        except TemplateError as error:
            variables = [f"the template can't be filled: {error.reason}"]
    if as_json:
        print(_json({**_record(found, figures), "variables": variables}))
        return
    print(found.document(), end="")
    print()
    if found.starter_is_generated:
        print("# the starter was made by Prism (prism prompts starters)")
    print(f"# version: {found.version or 'none holds these texts'}; changed: {_moment(found.updated_at)}")
    print(f"# variables: {', '.join(variables) or 'none'}")
    values = _figures(figures.of(found) if figures else None)
    told = ", ".join(f"{head} {value}" for head, value in zip(_HEADS, values, strict=True))
    print(f"# {told}{_as_of(figures)}")


@prompts.command("history")
def history_command(
    prompt: Annotated[str | None, typer.Argument(help="A name or id; default: the whole library.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="So many entries at most.")] = 50,
    as_diff: Annotated[bool, typer.Option("--diff", help="With what each change was.")] = False,
    as_json: AsJson = False,
    source: Source = None,
) -> None:
    """Who changed what, when and why; the latest first."""
    with opened(source) as (library, _):
        events = library.history(prompt, limit=limit)
    if as_json:
        print(_json([dataclasses.asdict(event) for event in events]))
        return
    head = ["change", "when", "who", "what", "prompt", "version", "fields", "why"]
    rows = [
        [
            str(event.change_id or "–"), _moment(event.changed_at), event.changed_by or "–", event.action,
            event.prompt_name, str(event.version or "–"),
            "all" if event.makes or event.deletes else ", ".join(event.changed) or "–",
            event.reason or "–",
        ]
        for event in events
    ]  # fmt: skip
    if not as_diff:
        for line in table([head, *rows], right=[0, 5]):
            print(line)
        return
    for event, row in zip(events, rows, strict=True):
        print("  ".join(row))
        print(event.diff(), end="")


# -- changing


@prompts.command("create")
def create_command(
    name: Annotated[str, typer.Argument(help="The new prompt's name.", metavar="NAME")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="FIELD=VALUE, also repeated.")] = None,
    file: Annotated[
        list[str] | None, typer.Option("--file", help="FIELD=PATH: its text from a file.")
    ] = None,
    agent: Annotated[list[str] | None, typer.Option("--agent", help="An agent that may use it.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="A compliance tag.")] = None,
    by: By = None,
    why: Why = None,
    dry_run: DryRun = False,
    source: Source = None,
) -> None:
    """Makes a prompt: a draft unless --set status=active."""
    fields: dict[str, Any] = {**name_and_value(set_), **_from_files(file), "name": name}
    if agent:
        fields["agents"] = agent
    if tag:
        fields["compliance_tags"] = tag
    with opened(source) as (library, _):
        _tell(library.create(fields, by=_who(by), why=why, dry_run=dry_run))


@prompts.command("edit")
@choosing()
def edit_command(
    chosen: Chosen,
    set_: Annotated[list[str] | None, typer.Option("--set", help="FIELD=VALUE, also repeated.")] = None,
    unset: Annotated[list[str] | None, typer.Option("--unset", help="FIELD: make it empty.")] = None,
    file: Annotated[
        list[str] | None, typer.Option("--file", help="FIELD=PATH: its text from a file.")
    ] = None,
    add_tag: Annotated[list[str] | None, typer.Option("--add-tag", help="A compliance tag more.")] = None,
    remove_tag: Annotated[list[str] | None, typer.Option("--remove-tag", help="A tag less.")] = None,
    replace: Annotated[
        tuple[str, str] | None,
        typer.Option("--replace", help="OLD NEW: in system prompt, template and starter."),
    ] = None,
    by: By = None,
    why: Why = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    source: Source = None,
) -> None:
    """Changes fields of one prompt or of all that fit; of one without fields, in $EDITOR."""
    fields = {**name_and_value(set_), **_from_files(file), **dict.fromkeys(unset or [], None)}
    with opened(source, figures=chosen.wanted.needs_figures) as (library, figures):
        if not (fields or add_tag or remove_tag or replace):
            if not chosen.is_one:
                raise PrismError(
                    "nothing was said to change",
                    where="prism prompts edit",
                    mend="Say it (--set FIELD=VALUE, --replace OLD NEW, …), or name one prompt alone.",
                )
            _edit_whole(library, chosen.wanted.keys[0], by=_who(by), why=why, dry_run=dry_run)
            return

        def change(prompt: Prompt) -> dict[str, Any]:
            made = dict(fields)
            if add_tag or remove_tag:
                tags = [one for one in prompt.compliance_tags if one not in (remove_tag or ())]
                made["compliance_tags"] = [*tags, *(one for one in add_tag or () if one not in tags)]
            if replace is not None:
                for name in ("system_prompt", "user_prompt_template", "prompt_starter"):
                    if text := made.get(name, getattr(prompt, name)):
                        made[name] = text.replace(*replace)
            return made

        found = chosen.prompts(library, figures)
        planned = library.bulk(found, change, by="", dry_run=True)
        _carry_out(library, planned, "edit", chosen, by=_who(by), why=why, dry_run=dry_run, yes=yes)


@prompts.command("duplicate")
@choosing(without=["keys"])
def duplicate_command(
    chosen: Chosen,
    prompt: Annotated[str | None, typer.Argument(help="A prompt's name or id, with NAME.")] = None,
    name: Annotated[str | None, typer.Argument(help="The copy's name.")] = None,
    suffix: Annotated[
        str | None, typer.Option(help="Of all that fit: what their copies' names have behind.")
    ] = None,
    by: By = None,
    why: Why = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    source: Source = None,
) -> None:
    """Makes drafts like a prompt, or like all that fit, without their agents."""
    one, many = prompt is not None and name is not None, prompt is None and bool(suffix)
    if one == many or (one and suffix is not None):
        raise PrismError(
            "say a prompt and the copy's name, or a filter and --suffix",
            where="prism prompts duplicate",
            mend="prism prompts duplicate refund refund-2; prism prompts duplicate --domain x --suffix ' v2'",
        )
    with opened(source, figures=chosen.wanted.needs_figures) as (library, figures):
        if prompt is not None and name is not None:
            _tell(library.duplicate(prompt, name, by=_who(by), why=why, dry_run=dry_run))
            return
        found = chosen.prompts(library, figures)
        planned = library.duplicate_all(found, suffix or "", by="", dry_run=True)
        _carry_out(library, planned, "duplicate", chosen, by=_who(by), why=why, dry_run=dry_run, yes=yes)


@prompts.command("archive")
@choosing()
def archive_command(
    chosen: Chosen,
    by: By = None,
    why: Why = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    source: Source = None,
) -> None:
    """Takes prompts out of use; they stay in the library."""
    with opened(source, figures=chosen.wanted.needs_figures) as (library, figures):
        planned = library.archive(chosen.prompts(library, figures), by="", dry_run=True)
        _carry_out(library, planned, "archive", chosen, by=_who(by), why=why, dry_run=dry_run, yes=yes)


@prompts.command("delete")
@choosing()
def delete_command(
    chosen: Chosen,
    by: By = None,
    why: Why = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    source: Source = None,
) -> None:
    """Deletes prompts; those that were ever used are archived instead."""
    with opened(source, figures=chosen.wanted.needs_figures) as (library, figures):
        planned = library.delete(chosen.prompts(library, figures), by="", dry_run=True)
        _carry_out(library, planned, "delete", chosen, by=_who(by), why=why, dry_run=dry_run, yes=yes)


@prompts.command("map")
@choosing(without=["agent"])
def map_command(
    chosen: Chosen,
    agent: Annotated[list[str], typer.Option("--agent", help="An agent by name, also repeated.")],
    by: By = None,
    why: Why = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    source: Source = None,
) -> None:
    """Lets agents use prompts."""
    with opened(source, figures=chosen.wanted.needs_figures) as (library, figures):
        planned = library.map(chosen.prompts(library, figures), agent, by="", dry_run=True)
        _carry_out(library, planned, "map", chosen, by=_who(by), why=why, dry_run=dry_run, yes=yes)


@prompts.command("unmap")
@choosing(without=["agent"])
def unmap_command(
    chosen: Chosen,
    agent: Annotated[list[str], typer.Option("--agent", help="An agent by name, also repeated.")],
    by: By = None,
    why: Why = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    source: Source = None,
) -> None:
    """Takes prompts from agents."""
    with opened(source, figures=chosen.wanted.needs_figures) as (library, figures):
        planned = library.unmap(chosen.prompts(library, figures), agent, by="", dry_run=True)
        _carry_out(library, planned, "unmap", chosen, by=_who(by), why=why, dry_run=dry_run, yes=yes)


@prompts.command("revert")
def revert_command(
    prompt: Annotated[str | None, typer.Argument(help="A name or id, with --version.")] = None,
    version: Annotated[int | None, typer.Option(help="Bring back the texts of this version.")] = None,
    change: Annotated[int | None, typer.Option(help="Take back this change, of all its prompts.")] = None,
    by: By = None,
    why: Why = None,
    dry_run: DryRun = False,
    source: Source = None,
) -> None:
    """Brings back the texts of a version, or takes back a whole change; both as a new change."""
    with opened(source) as (library, _):
        if change is not None and prompt is None and version is None:
            _tell(library.undo(change, by=_who(by), why=why, dry_run=dry_run))
        elif prompt is not None and version is not None and change is None:
            _tell(library.revert(prompt, version, by=_who(by), why=why, dry_run=dry_run))
        else:
            raise PrismError(
                "say what to revert: a prompt with --version, or --change alone",
                where="prism prompts revert",
                mend="prism prompts history lists both.",
            )


@prompts.command("starters")
@choosing()
def starters_command(
    chosen: Chosen,
    by: By = None,
    why: Why = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    source: Source = None,
) -> None:
    """Makes starters for prompts that lack one, from their own description and template."""
    from orchestration.library.starters import starter

    with opened(source, figures=chosen.wanted.needs_figures) as (library, figures):
        lacking = [one for one in chosen.prompts(library, figures) if one.prompt_starter is None]
        planned = library.bulk(
            lacking, lambda one: {"prompt_starter": starter(one, library.sandbox)}, by="", dry_run=True
        )
        _carry_out(library, planned, "starters", chosen, by=_who(by), why=why, dry_run=dry_run, yes=yes)


# -- as files


@prompts.command("export")
@choosing(without=["keys", "all_of_them"])
def export_command(
    chosen: Chosen,
    folder: Annotated[Path, typer.Argument(help="The folder, made where it is missing.", file_okay=False)],
    source: Source = None,
) -> None:
    """Writes the library into a folder, a YAML file a prompt; the whole of it unless filters are given."""
    from orchestration.library import code

    with opened(source, figures=chosen.wanted.needs_figures) as (library, figures):
        found = chosen.prompts(library, figures, else_all=True)
    done = code.export(found, folder, whole=chosen.wanted.is_empty)
    print(
        f"{folder}: {len(done.written):,} files written, {done.unchanged:,} as they were, "
        f"{len(done.removed):,} removed"
    )


@prompts.command("import")
def import_command(
    path: Annotated[
        Path, typer.Argument(help="A folder of YAML files, one such file, or a CSV.", exists=True)
    ],
    apply: Annotated[
        bool, typer.Option("--apply", help="Write it; without, only the plan is shown.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Delete prompts that are not there; used ones are archived.")
    ] = False,
    column: Annotated[
        list[str] | None, typer.Option("--column", help="FIELD=COLUMN of a CSV, also repeated.")
    ] = None,
    by: By = None,
    why: Why = None,
    source: Source = None,
) -> None:
    """Reads the library back: what would change, and with --apply changes it, all or nothing."""
    from orchestration.library import code

    with opened(source) as (library, _):
        notes: list[str] = []
        if path.suffix.lower() == ".csv":
            documents, notes = code.read_csv(path, name_and_value(column), library.sandbox)
        else:
            documents = code.read_folder(path)
        planned = code.plan(library, documents, prune=prune)
        if apply:
            _tell(library.apply(planned, "import", by=_who(by), why=why), notes)
        else:
            checked = library.apply(planned, "import", by="", dry_run=True)
            _tell(checked, notes)
            if checked.changes:
                print("Nothing is written yet: add --apply.")


# -- inside


def _who(by: str | None) -> str:
    return by or getpass.getuser()


def _from_files(pairs: list[str] | None) -> dict[str, str]:
    texts = {}
    for name, path in name_and_value(pairs).items():
        try:
            texts[name] = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise PrismError(f"this file can't be read: {error}", where=path) from None
    return texts


def _edit_whole(library: Library, key: str, *, by: str, why: str | None, dry_run: bool) -> None:
    """One prompt's document in the person's editor; what they wrote is never lost."""
    from orchestration.library.documents import read_document

    prompt = library.get(key)
    path = edited(prompt.document(), ".yaml")
    try:
        fields = read_document(path.read_text(encoding="utf-8"), str(path))
        if fields.pop("id", None) != prompt.id:
            raise PrismError("the id is not to be edited", where=str(path))
        _tell(library.edit(prompt.id, fields, by=by, why=why, expected=prompt, dry_run=dry_run))
    except PrismError as error:
        raise PrismError(
            error.what,
            where=error.where,
            mend=f"{error.mend or ''}\n  What you wrote is kept: {path}".strip(),
        ) from None
    path.unlink()


def _carry_out(
    library: Library,
    planned: ChangeSet,
    action: str,
    chosen: Chosen,
    *,
    by: str,
    why: str | None,
    dry_run: bool,
    yes: bool,
) -> None:
    """Shows a plan, asks where it is of several prompts, and writes it."""
    if dry_run or not planned.changes:
        _tell(planned)
        return
    if not chosen.is_one and not yes:
        if not sys.stdin.isatty():
            raise PrismError(
                f"{len(planned.changes):,} prompts would change, and nobody is here to be asked",
                where=f"prism prompts {action}",
                mend="Look at it with --dry-run, then say --yes.",
            )
        print(planned.diff())
        typer.confirm(f"Change these {len(planned.changes):,} prompts?", abort=True)
    _tell(library.apply(planned, action, by=by, why=why))


def _tell(done: ChangeSet, notes: Sequence[str] = ()) -> None:
    for note in [*done.notes, *notes]:
        print(note)
    if not done.changes:
        print("Nothing to change.")
        return
    if done.change_id is None:
        print(done.diff(), end="")
    counts = {
        "made": sum(one.before is None for one in done.changes),
        "deleted": sum(one.after is None for one in done.changes),
    }
    counts["changed"] = len(done.changes) - sum(counts.values())
    told = ", ".join(f"{count:,} {word}" for word, count in counts.items() if count)
    if done.change_id is None:
        print(f"Would be: {told}.")
    else:
        print(
            f"Change {done.change_id}: {told}. Taken back by: prism prompts revert --change {done.change_id}"
        )


_HEADS = ("health", "uses", "success", "rating", "cost a use", "last used")


def _figures(one: PromptFigures | None) -> list[str]:
    """The figures that stand beside a prompt, in the order of :data:`_HEADS`."""
    if one is None:
        return ["–"] * len(_HEADS)
    success = "–"
    if one.success_rate is not None and one.success_rate_low is not None:
        success = f"{one.success_rate:.0%} ({one.success_rate_low:.0%} to {one.success_rate_high:.0%})"
    return [
        one.health or "no_data",
        f"{one.usage_count:,}",
        success,
        "–" if one.average_rating is None else f"{one.average_rating:.1f}",
        "–" if one.cost_per_use is None else f"{one.cost_per_use:.4f}",
        "never" if one.last_used_on is None else str(one.last_used_on),
    ]


def _as_of(figures: Figures | None) -> str:
    if figures is None:
        return "; no figures yet: prism run"
    return f"; figures of the {figures.period} to {figures.as_of_date}"


def _record(prompt: Prompt, figures: Figures | None) -> dict[str, Any]:
    record = prompt.as_dict()
    record["figures"] = dataclasses.asdict(figures.of(prompt)) if figures else None
    return record


def _json(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, default=str)


def _moment(moment: datetime | None) -> str:
    return "–" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def table(rows: Sequence[Sequence[str]], right: Sequence[int] | range = ()) -> Iterator[str]:
    """Lines with columns under each other; those numbered in ``right`` end at the same place."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.rjust(width) if n in right else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
