"""The report as a folder of pages: marts -> frames -> views -> templates -> files, whole or not at all.

The folder is built beside its place under a name that no reader looks at, flushed to disk and moved in with
one rename; a report of the same date is swapped out in the same step. Knows no setting and no Dagster.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar

import jinja2
import pandas as pd
import psycopg
from markupsafe import Markup

from reports import charts, downloads
from reports.domains import reading_domains
from reports.errors import ReportError
from reports.marts import TARGETED, Marts, reading, records
from reports.options import ReportOptions
from reports.paper import pdf
from reports.views import common
from reports.views.alerts import alerts_page
from reports.views.analytics import Analytics, Comparison, analytics
from reports.views.downloads import downloads_page
from reports.views.overview import Overview, TrendPoint, overview
from reports.views.past import past_reports
from reports.views.peers import Peers
from reports.views.performance import Performance, performance
from reports.views.printed import Printed, printed
from reports.views.prompt import BREAKDOWN_DAYS, PEER_PERIOD, TREND_DAYS, prompt
from reports.views.prompts import Prompts, prompts
from reports.views.settings import settings_page

TEMPLATES = Path(__file__).resolve().parents[1] / "templates"
MANIFEST = "report.json"
LATEST = "latest"
INDEX = "index.html"
# Nothing but the report's own files, no code from text, no request to anywhere. `file:` stands beside 'self'
# because Firefox counts no file on disk as the page's own origin.
POLICY = (
    "default-src 'none'; script-src 'self' file:; style-src 'self' file:; img-src 'self' file:; "
    "base-uri 'none'; form-action 'none'"
)
_SCRIPT = "charts.js"
_STATIC_WIDTH = 600
# Prompts whose weeks are in memory at once: the days are read through once for each so many.
_CHUNK = 2000
_FLUSHERS = 8
# Prompts that the analytics page lists as rising, as falling, and as dear beyond the ordinary.
_MOST_MOVERS, _MOST_ANOMALIES = 6, 5
_BUILDING, _REPLACED = ".building-", ".replaced-"


@dataclass(frozen=True)
class RenderedReport:
    """A report on disk: its folder, how many pages and bytes, and whether ``latest`` shows it."""

    path: Path
    as_of_date: date
    pages: int
    size_bytes: int
    is_latest: bool


@dataclass(frozen=True)
class Drawing:
    """The charts of one page: rows for the script, static SVG by chart, and the script's file name."""

    data: Markup
    svgs: Mapping[str, Markup]
    script: str = _SCRIPT


def environment() -> jinja2.Environment:
    """The templates: everything is escaped, an undefined name is an error."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["policy"] = POLICY
    made.filters["sparkline"] = charts.sparkline
    return made


class _Writer:
    """Writes the files of one folder and remembers what they come to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pages = 0
        self.size_bytes = 0
        self.templates = environment()

    def page(self, name: str, template: str, **values: object) -> None:
        self.file(name, self.templates.get_template(f"site/{template}").render(values).encode())
        self.pages += 1

    def file(self, name: str, content: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        with path.open("xb") as file:
            file.write(content)
        self.size_bytes += len(content)


def _trend_charts(
    points: Sequence[TrendPoint], suffix: str = ""
) -> dict[str, tuple[charts.Kind, list[charts.Row]]]:
    kinds: tuple[charts.Kind, ...] = ("uses", "success")
    return {f"{kind}{suffix}": (kind, charts.rows(kind, points)) for kind in kinds if points}


def _overview_drawing(view: Overview) -> Drawing:
    drawn = {}
    for period in view.periods:
        drawn.update(_trend_charts(period.trend, f"-{period.key}"))
    shown = f"-{view.page.default_period}"
    return Drawing(
        charts.page_json(drawn),
        {
            name: charts.svg(kind, rows, width=_STATIC_WIDTH)
            for name, (kind, rows) in drawn.items()
            if name.endswith(shown) and rows
        },
    )


def _prompt_drawing(points: Sequence[TrendPoint]) -> Drawing:
    lines = {
        "uses": charts.sparkline([point.usage_count for point in points], width=_STATIC_WIDTH, height=120),
        "success": charts.sparkline(
            [point.success_rate for point in points], width=_STATIC_WIDTH, height=120
        ),
    }
    return Drawing(
        charts.page_json(_trend_charts(points)), {name: line for name, line in lines.items() if line}
    )


def _drawing(some: Iterable[common.Chart], still: Callable[[common.Chart], bool]) -> Drawing:
    """The charts of a page; those that ``still`` picks as static SVG, too."""
    drawn = [chart for chart in some if chart.rows]
    return Drawing(
        charts.page_json({chart.key: (chart.kind, chart.rows) for chart in drawn}),
        {
            chart.key: charts.svg(chart.kind, chart.rows, width=_STATIC_WIDTH)
            for chart in drawn
            if still(chart)
        },
    )


def _performance_drawing(view: Performance) -> Drawing:
    default = next(one for one in view.periods if one.key == view.page.default_period)
    first = [split.charts[0][2] for split in view.splits]
    shown = {chart.key for chart in (*default.charts, *first)}
    of_periods = [chart for period in view.periods for chart in period.charts]
    of_splits = [chart for split in view.splits for _, _, chart in split.charts]
    return _drawing([*of_periods, *of_splits], lambda chart: chart.key in shown)


def _analytics_drawing(view: Analytics) -> Drawing:
    charts_of = {
        period.key: [*([period.costs] if period.costs else []), *period.spreads] for period in view.periods
    }
    ahead = [one.chart for one in view.forecasts]
    shown = {chart.key for chart in (*charts_of[view.page.default_period], *ahead)}
    of_periods = [chart for some in charts_of.values() for chart in some]
    return _drawing([*of_periods, *ahead], lambda chart: chart.key in shown)


def _write_prompts(writer: _Writer, view: Prompts) -> None:
    """The page of all prompts, and what its script reads: who they are, and a file of numbers a period."""
    writer.page("prompts.html", "prompts.html", view=view)
    writer.file("data/prompts.js", f'prismData("prompts", {view.listing});\n'.encode())
    for period, numbers in view.numbers():
        writer.file(f"data/prompts-{period}.js", f'prismData("prompts-{period}", {numbers});\n'.encode())


def _assets(writer: _Writer) -> None:
    for name in ("prism.css", "prism.js", "icon.svg"):
        writer.file(f"assets/{name}", (TEMPLATES / "site" / name).read_bytes())
    writer.file(f"assets/{_SCRIPT}", charts.script().encode())


def _prompt_pages(
    writer: _Writer,
    marts: Marts,
    *,
    library: pd.DataFrame,
    summary: pd.DataFrame,
    alerts: Sequence[common.Alert],
    events: Sequence[common.Event],
    compared: Sequence[Comparison],
    advice: Sequence[common.Advice],
    targets: Mapping[str, float | None],
    options: ReportOptions,
) -> None:
    """One page a prompt; what :data:`_CHUNK` prompts at a time need is in memory."""
    last = options.as_of_date
    trend_start, share_start = (last - timedelta(days=days - 1) for days in (TREND_DAYS, BREAKDOWN_DAYS))
    of_alerts, of_events = _of_prompt(alerts), _of_prompt(events)
    of_compared, of_advice = _of_prompt(compared), _of_prompt(advice)
    peers = Peers(records(summary[summary["period"] == PEER_PERIOD]))
    places = summary.groupby("prompt_id", sort=False).indices
    rows = records(library)
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        ids = [row["prompt_id"] for row in chunk]
        summaries = _by_prompt(summary.iloc[[place for one in ids for place in places.get(one, ())]])
        weeks = _by_prompt(marts.weekly_by_prompt(ids, trend_start, last))
        shares = _by_prompt(marts.shares(ids, share_start, last))
        entries = _by_prompt(marts.library(ids))
        versions = _by_prompt(marts.versions(ids))
        times = _by_prompt(marts.response_times(ids))
        for row in chunk:
            key = row["prompt_id"]
            view = prompt(
                row=row,
                summary=summaries.get(key, ()),
                weeks=weeks.get(key, ()),
                shares=shares.get(key, ()),
                alerts=of_alerts.get(key, ()),
                events=of_events.get(key, ()),
                entry=next(iter(entries.get(key, ())), None),
                versions=versions.get(key, ()),
                compared=of_compared.get(key, ()),
                advice=of_advice.get(key, ()),
                times=times.get(key, ()),
                peers=peers,
                targets=targets,
                options=options,
            )
            writer.page(
                common.prompt_href(row), "prompt.html", view=view, drawing=_prompt_drawing(view.trend)
            )


class _HasPrompt(Protocol):
    @property
    def prompt_id(self) -> str: ...


_Of = TypeVar("_Of", bound=_HasPrompt)


def _of_prompt(some: Iterable[_Of]) -> dict[str, list[_Of]]:
    grouped: dict[str, list[_Of]] = {}
    for one in some:
        grouped.setdefault(one.prompt_id, []).append(one)
    return grouped


def _by_prompt(frame: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in records(frame):
        grouped.setdefault(row["prompt_id"], []).append(row)
    return grouped


def _write(writer: _Writer, marts: Marts, options: ReportOptions) -> str:
    """All pages; returns what the overview says first, for the page of all reports."""
    dashboard, summary = marts.dashboard(), marts.summary()
    library, alert_rows = marts.prompts(), marts.alerts()
    first_day = options.as_of_date - timedelta(days=common.QUALITY_DAYS - 1)
    by_id = {row["prompt_id"]: row for row in records(library)}
    targets = {name: records(dashboard)[0][f"target_{name}"] for name in TARGETED}
    events = common.events(marts.alert_events(), by_id)
    advice = marts.recommendations()
    main = overview(
        dashboard=dashboard,
        summary=summary,
        top=marts.top(),
        alert_rows=alert_rows,
        daily=marts.daily(options.as_of_date),
        quality=marts.data_quality(first_day, options.as_of_date),
        options=options,
        events=events,
        versions=records(marts.new_versions(options.previous_report or options.as_of_date, options.timezone)),
        advice=common.advices(advice, by_id, calm=False),
    )
    listed = prompts(library=library, summary=summary, options=options)
    evidence = marts.alert_evidence()
    of_alerts = alerts_page(
        alert_rows=alert_rows,
        evidence=evidence,
        item_rows=marts.action_items(),
        events=events,
        prompts=by_id,
        options=options,
    )
    _assets(writer)
    writer.page("index.html", "index.html", view=main, drawing=_overview_drawing(main))
    _write_prompts(writer, listed)
    writer.page("alerts.html", "alerts.html", view=of_alerts)
    movers = marts.movers(options.as_of_date, _MOST_MOVERS)
    insight = analytics(
        dashboard=dashboard,
        summary=summary,
        models=marts.cost_by_model(),
        anomalies=marts.cost_anomalies(_MOST_ANOMALIES),
        distribution=marts.distribution(),
        movers=movers,
        mover_days=marts.trend_days([one for one in movers["prompt_id"] if one]),
        days=marts.trend_days_of_all(),
        forecasts=marts.forecasts(),
        comparisons=marts.comparisons(),
        prompts=by_id,
        options=options,
    )
    writer.page("analytics.html", "analytics.html", view=insight, drawing=_analytics_drawing(insight))
    writer.page(
        "settings.html",
        "settings.html",
        view=settings_page(rules=marts.rules(), dashboard=dashboard, options=options),
    )
    of_time = performance(
        dashboard=dashboard,
        segments=marts.segments(),
        over_time=marts.over_time(),
        hours=marts.hours(),
        options=options,
    )
    writer.page("performance.html", "performance.html", view=of_time, drawing=_performance_drawing(of_time))
    _prompt_pages(
        writer,
        marts,
        library=library,
        summary=summary,
        alerts=common.alerts(alert_rows, options.as_of_date, by_id, evidence),
        events=events,
        compared=insight.all_comparisons,
        advice=common.advices(advice, by_id),
        targets=targets,
        options=options,
    )
    if options.exports:
        _downloads(writer, marts, printed(main, of_alerts, listed, options), options)
    return main.period(options.default_period).headline


def _downloads(writer: _Writer, marts: Marts, document: Printed, options: ReportOptions) -> None:
    """The report's tables as files, the report as a PDF where that is asked for, and the page of them."""
    found = downloads.write(marts, writer.folder, options)
    writer.size_bytes += downloads.total_bytes(found)
    paper = None
    if "pdf" in options.exports:
        name = f"{downloads.FOLDER}/prism-{options.as_of_date}.pdf"
        content = pdf(document, writer.templates)
        writer.file(name, content)
        paper = downloads.File("pdf", name, len(content))
    writer.page("downloads.html", "downloads.html", view=downloads_page(found, paper, options))


def render_report(
    connection: psycopg.Connection[Any],
    reports_dir: Path,
    options: ReportOptions,
    *,
    files: Mapping[str, bytes] | None = None,
) -> RenderedReport:
    """Renders the report of ``options.as_of_date`` into ``reports_dir/<date>/`` and moves ``latest`` to it.

    ``connection`` must be idle. ``files`` are put into the folder beside the pages (the digest mail). Raises
    :class:`ReportError` where the marts are of another date or the folder can't be written; what was there
    before is then as it was. ``latest`` never moves back to an older date.
    """
    name = options.as_of_date.isoformat()
    final = reports_dir / name
    try:
        reports_dir.mkdir(parents=True, exist_ok=True)
        with _alone(reports_dir):
            _sweep(reports_dir)
            building = Path(tempfile.mkdtemp(prefix=f"{_BUILDING}{name}-", dir=reports_dir))
            try:
                building.chmod(0o755)
                writer = _Writer(building)
                told = replace(options, previous_report=_report_before(reports_dir, name))
                with _reading(connection, options) as marts:
                    headline = _write(writer, marts, told)
                for file, content in (files or {}).items():
                    writer.file(file, content)
                writer.file(MANIFEST, _manifest(options, writer.pages, headline))
                _flush(building)
                _move_in(building, final)
            finally:
                shutil.rmtree(building, ignore_errors=True)
            is_latest = _point_latest(reports_dir, name)
            _write_index(reports_dir, writer.templates, options)
            _fsync(reports_dir)
    except OSError as error:
        raise ReportError(
            f"the report can't be written: {error.strerror or error}",
            where=str(reports_dir),
            mend="Make room or mend the permissions, and run it again; the earlier reports are untouched.",
        ) from error
    return RenderedReport(final, options.as_of_date, writer.pages, writer.size_bytes, is_latest)


def _reading(connection: psycopg.Connection[Any], options: ReportOptions) -> AbstractContextManager[Marts]:
    schema, day = options.marts_schema, options.as_of_date
    if options.domains:
        return reading_domains(connection, schema, day, options.domains)
    return reading(connection, schema, day)


def _manifest(options: ReportOptions, pages: int, headline: str) -> bytes:
    finished = options.build.finished_at
    content = {
        "as_of_date": options.as_of_date.isoformat(),
        "title": options.title,
        "domains": list(options.domains),
        "headline": headline,
        "build": options.build.state,
        "built_at": finished.isoformat() if finished else None,
        "pages": pages,
        "version": options.version,
    }
    return json.dumps(content, indent=2).encode() + b"\n"


def _manifests(reports_dir: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The reports that lie there, by date, the newest first; what can't be read is none."""
    for path in sorted(reports_dir.glob(f"[0-9]*/{MANIFEST}"), reverse=True):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if content.get("as_of_date") == path.parent.name:
            yield path.parent.name, content


def _report_before(reports_dir: Path, name: str) -> date | None:
    """The date of the newest report that is older than ``name``."""
    return next((date.fromisoformat(one) for one, _ in _manifests(reports_dir) if one < name), None)


def _write_index(reports_dir: Path, templates: jinja2.Environment, options: ReportOptions) -> None:
    """The page of all reports, beside them; whole or not at all."""
    view = past_reports(list(_manifests(reports_dir)), options)
    fresh = reports_dir / f"{_BUILDING}index.html"
    fresh.write_text(templates.get_template("site/reports.html").render(view=view), encoding="utf-8")
    _fsync(fresh)
    fresh.replace(reports_dir / INDEX)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Holds the folder against other renders; a killed one lets go at once."""
    with (folder / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sweep(folder: Path) -> None:
    """Clears up after a render that was killed: half-built folders go, a report moved aside comes back."""
    for aside in folder.glob(f"{_REPLACED}*"):
        place = folder / aside.name.removeprefix(_REPLACED)
        if place.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.rename(place)
    for half in folder.glob(f"{_BUILDING}*"):
        if half.is_dir():
            shutil.rmtree(half, ignore_errors=True)
        else:
            half.unlink(missing_ok=True)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush(folder: Path) -> None:
    """All of the folder on disk. Several at once, since the disk then writes them in one go."""
    with ThreadPoolExecutor(_FLUSHERS) as pool:
        for _ in pool.map(_fsync, [*folder.rglob("*"), folder]):
            pass


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two paths in one step (Linux's renameat2); False where the system can't."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    at_working_folder, exchange = -100, 2
    if renameat2(at_working_folder, os.fsencode(one), at_working_folder, os.fsencode(other), exchange) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.EPERM):
        return False
    raise OSError(code, os.strerror(code), str(other))


def _move_in(building: Path, final: Path) -> None:
    """Puts the finished folder in its place; what stood there leaves in the same step if the system can."""
    if not final.exists():
        building.rename(final)
        return
    if _exchange(building, final):
        return
    aside = final.with_name(_REPLACED + final.name)
    final.rename(aside)
    building.rename(final)
    shutil.rmtree(aside, ignore_errors=True)


def _shown_by(latest: Path) -> str:
    """The date that ``latest`` shows; empty where it shows none."""
    try:
        if latest.is_symlink():
            return latest.readlink().name if latest.exists() else ""
        return str(json.loads((latest / MANIFEST).read_text(encoding="utf-8"))["as_of_date"])
    except (OSError, ValueError, KeyError):
        return ""


def _point_latest(reports_dir: Path, name: str) -> bool:
    """Lets ``latest`` show the report ``name`` unless it shows a later one; True where it now does."""
    latest = reports_dir / LATEST
    if _shown_by(latest) > name:
        return False
    fresh = Path(tempfile.mkdtemp(prefix=_BUILDING, dir=reports_dir))
    try:
        link = fresh / LATEST
        try:
            link.symlink_to(name, target_is_directory=True)
        except OSError:  # a file system without symbolic links
            shutil.copytree(reports_dir / name, link)
        if latest.is_dir() and not latest.is_symlink():
            latest.rename(fresh / "old")
        link.replace(latest)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return True
