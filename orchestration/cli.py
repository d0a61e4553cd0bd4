"""The `prism` command: thin over the functions that do the work.

Heavy imports stand in the commands that need them, so that `prism --help` and `prism db url` answer at once.
"""
# ruff: noqa: PLC0415, T201

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from orchestration.commands.alerts import alerts
from orchestration.commands.console import console
from orchestration.commands.db import db
from orchestration.commands.enhance import enhance
from orchestration.commands.erase import erase
from orchestration.commands.export import export
from orchestration.commands.prompts import prompts
from orchestration.commands.rate import rate
from orchestration.commands.retain import retain
from orchestration.commands.send import send
from orchestration.commands.shared import DateOption, Progress, settings_here
from orchestration.commands.ui import ui
from orchestration.errors import PrismError, last_guard

app = typer.Typer(
    name="prism",
    help="Prompt performance tracking: which prompts work, which got worse, what they cost, what to do.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)


# what a terminal obeys, but for line ends and tabs; and what turns the order of a line's letters
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Shown:
    """A stream to a terminal, on which control characters of names and texts are seen, not obeyed."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(_shown(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _shown(text: str) -> str:
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def main() -> None:
    """Runs the command line; a failure is one clear message on standard error and exit code 1."""
    if sys.stdout.isatty():
        sys.stdout = Shown(sys.stdout)
    debug = "--debug" in sys.argv[1:]
    if debug:
        sys.argv.remove("--debug")
    try:
        app()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        if debug:
            raise
        if _is_told(error):
            sys.exit(_shown(f"prism: {error}"))
        told = _shown(" ".join(str(error).split())[:1000])
        again = "Run it again with --debug for the traceback."
        sys.exit(f"prism: unexpected {type(error).__name__}: {told}\n  {again}")


def _is_told(error: Exception) -> bool:
    from reports.errors import ReportError

    return isinstance(error, PrismError | ReportError)


@app.callback()
def _options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks; may stand anywhere on the line.")
    ] = False,
) -> None:
    """Prism reads prism.yaml in the working directory and the PRISM_* variables (.env.example)."""


@app.command()
def run(
    date: DateOption = None,
    no_send: Annotated[
        bool, typer.Option("--no-send", help="Make the report, queue and send no mail.")
    ] = False,
) -> None:
    """The nightly job: load, build, check, report, send."""
    from orchestration import nightly

    outcome = nightly.run(
        settings_here(),
        day=date.date() if date else None,
        now=datetime.now(UTC),
        send=not no_send,
        say=Progress(),
    )
    for line in outcome.lines:
        print(line)
    if outcome.failures:
        raise PrismError("\n  ".join(outcome.failures), where=f"night of {outcome.day}")


@app.command()
def sample(
    prompts: Annotated[int, typer.Option(min=1, help="Prompts in the library.")] = 62,
    agents: Annotated[int, typer.Option(min=1, help="Agents.")] = 52,
    days: Annotated[int, typer.Option(min=1, help="Days of usage, up to the day that has just ended.")] = 90,
    rows: Annotated[int, typer.Option(min=0, help="Uses.")] = 60_000,
    seed: Annotated[int, typer.Option(help="Same seed, same data.")] = 1,
    if_unconfigured: Annotated[
        bool,
        typer.Option(
            "--if-unconfigured",
            help="Do nothing where prism.yaml names a source, or other data or a sample up to now is there.",
        ),
    ] = False,
) -> None:
    """Fills the application's schema (app) in the warehouse with sample data."""
    from orchestration import warehouse
    from orchestration.loading.forget import forget_source
    from orchestration.sample.write import other_data, sample_reaches, write_sample
    from orchestration.settings import SAMPLE

    settings = settings_here()
    if if_unconfigured and settings.config.sources:
        return
    house = warehouse.open_warehouse(settings)
    warehouse.setup(house)
    until = datetime.now(settings.zone).replace(hour=0, minute=0, second=0, microsecond=0)
    progress = Progress()
    with house.connect() as connection:
        if if_unconfigured and (
            other_data(connection, SAMPLE.db_schema) or sample_reaches(connection, SAMPLE.db_schema, until)
        ):
            return
        summary = write_sample(
            connection,
            SAMPLE.db_schema,
            prompts=prompts,
            agents=agents,
            days=days,
            rows=rows,
            seed=seed,
            until=until,
            progress=progress.count("sample data"),
        )
    # other data under the same keys: what was loaded of the old is no longer anywhere
    forget_source(house, SAMPLE.name, settings.config.timezone)
    progress.close()
    print(
        f"Sample data in schema {summary.schema}: {summary.prompts} prompts, {summary.agents} agents, "
        f"{summary.mappings} mappings, {summary.usage:,} uses from {summary.since:%Y-%m-%d} "
        f"until {summary.until:%Y-%m-%d}."
    )


@app.command()
def load(
    source: Annotated[str | None, typer.Argument(help="One source of prism.yaml; default: all.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", exists=True, dir_okay=False, help="One file for that source.")
    ] = None,
    accept_deletions: Annotated[
        bool,
        typer.Option(
            "--accept-deletions", help="Mark deleted what is gone at the source, however much it is."
        ),
    ] = False,
    retry_rejected: Annotated[
        bool,
        typer.Option(
            "--retry-rejected", help="Load again what was rejected, after its source or file was mended."
        ),
    ] = False,
) -> None:
    """Loads what is new from one or all configured sources."""
    from orchestration import roles, warehouse
    from orchestration.loading.load import load_source
    from orchestration.loading.retry import retry_rejected as retry

    if retry_rejected and (file or accept_deletions):
        raise typer.BadParameter(
            "--retry-rejected finds what to read by itself: it goes with no other option"
        )
    settings = settings_here()
    known = {one.name: one for one in settings.sources}
    if source is not None and source not in known:
        raise PrismError(
            f"there is no source {source!r}",
            where=str(settings.config_path),
            mend=f"Known: {', '.join(known)}.",
        )
    if file is not None and source is None:
        raise PrismError("--file needs the source whose column map fits it", where="prism load")
    house = warehouse.open_warehouse(settings)
    warehouse.setup(house)
    house = house.acting_as(roles.LOADER)
    failures = []
    for one in [known[source]] if source else known.values():
        progress = Progress()
        try:
            lines: list[object] = []
            with last_guard(f"source {one.name}"):
                if retry_rejected:
                    retried = retry(house, one, settings, progress=progress.count(one.name))
                    failures += retried.failures
                    lines += [*retried.results, retried]
                else:
                    lines += load_source(
                        house,
                        one,
                        settings,
                        files=[file.resolve()] if file else None,
                        progress=progress.count(one.name),
                        accept_deletions=accept_deletions,
                    )
        except PrismError as error:
            failures.append(str(error))
            continue
        finally:
            progress.close()
        for line in lines:
            print(line)
    if failures:
        raise PrismError("\n  ".join(failures))


@app.command()
def report(
    date: DateOption = None,
    domain: Annotated[
        list[str] | None,
        typer.Option("--domain", help="A report of this domain alone, and of others named so, too."),
    ] = None,
) -> None:
    """Renders the report from the marts as they are; refuses another as-of date than theirs."""
    from orchestration import builds, reporting, roles, warehouse

    settings = settings_here()
    house = warehouse.open_warehouse(settings)
    warehouse.setup(house)
    reader = house.acting_as(roles.REPORTER)
    with house.lock("build"), reader.connect(autocommit=True) as connection:
        day = date.date() if date else builds.marts_as_of_date(connection)
        if day is None:
            raise PrismError("the marts are not built yet", where=house.where, mend="Run: prism run")
        if domain:
            reporting.check_domains(connection, day, builds.MARTS, domain)
            made = reporting.render_of_domains(connection, settings, day, builds.MARTS, domain)
            failures: list[str] = []
        else:
            made, failures = reporting.render(connection, settings, day, builds.MARTS)
        print(made.path / "index.html")
    if failures:
        raise PrismError("\n  ".join(failures))


app.command()(ui)
app.command()(send)
app.command()(export)
app.command()(enhance)
app.command()(rate)
app.command()(erase)
app.command()(retain)
app.command()(console)


@app.command()
def doctor(
    heartbeat: Annotated[
        bool,
        typer.Option("--heartbeat", help="Only: is the last report overdue? If so, mail the owner, once."),
    ] = False,
) -> None:
    """Checks settings, connections, versions and permissions, and says how to mend each fault."""
    from orchestration.doctor import examine

    if heartbeat:
        from orchestration import reporting

        notice = reporting.heartbeat(settings_here(), datetime.now(UTC))
        if notice is not None:
            raise PrismError(notice.lead, where="prism doctor --heartbeat", mend=notice.mend)
        print("ok    report: none is overdue")
        return

    found = list(examine(settings_here))
    for finding in found:
        print(finding)
    bad = sum(not finding.good for finding in found)
    if bad:
        raise PrismError(f"{bad} of {len(found)} checks failed", where="prism doctor")


@app.command(
    "dbt",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def dbt_command(context: typer.Context) -> None:
    """dbt on Prism's project and warehouse: `prism dbt build --select marts`; takes dbt's own options.

    What it builds is for analysts: the next report is made of what `prism run` has built.
    """
    from orchestration import builds, dbt, warehouse
    from orchestration.partitions import last_ended_day

    settings = settings_here()
    house = warehouse.open_warehouse(settings)
    warehouse.setup(house)
    target = dbt.target_path(settings)
    target.mkdir(parents=True, exist_ok=True)
    arguments = list(context.args)
    day = last_ended_day(settings, datetime.now(UTC))
    takes_variables = {
        "build", "run", "seed", "test", "compile", "show", "snapshot", "run-operation", "docs", "source",
    }  # fmt: skip
    if takes_variables & set(arguments) and "--vars" not in arguments:
        arguments += ["--vars", dbt.variables(settings, day, builds.MARTS)]
    environment = {
        "DBT_PROJECT_DIR": str(dbt.PROJECT_DIR),
        "DBT_PROFILES_DIR": str(dbt.PROJECT_DIR),
        "DBT_TARGET_PATH": str(target),
        "DBT_LOG_PATH": str(target),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        **house.dbt_environment(),
    }
    command = [dbt.executable(), *arguments]
    if not {"build", "run", "seed", "snapshot", "run-operation"} & set(arguments):
        done = subprocess.run(command, env={**os.environ, **environment}, check=False)
        if done.returncode == 0 and "--static" in arguments and "--target-path" not in arguments:
            print(f"The documentation is in {target / 'static_index.html'}")
        raise SystemExit(done.returncode)
    with house.lock("build"):
        with house.connect() as connection:
            changed = f"changed by hand: prism dbt {arguments[0]}"
            builds.spoil(connection, day, builds.MARTS, [changed], changed)
        done = subprocess.run(command, env={**os.environ, **environment}, check=False)
    raise SystemExit(done.returncode)


app.add_typer(alerts, name="alerts")
app.add_typer(db, name="db")
app.add_typer(prompts, name="prompts")


if __name__ == "__main__":
    main()
