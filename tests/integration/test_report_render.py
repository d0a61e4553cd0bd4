"""The whole report from a real warehouse: complete, inert, offline, whole or not at all."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import openpyxl
import pandas as pd
import psycopg
import pyarrow.parquet as pq
import pypdf
import pytest
from psycopg import sql

from orchestration.warehouse import Warehouse
from reports import downloads, render
from reports import marts as report_marts
from reports.errors import ReportError
from reports.options import FORMATS, Build, ReportOptions
from reports.render import render_report
from tests import report_life
from tests.report_life import AS_OF

pytestmark = pytest.mark.integration

EARLIER = AS_OF - timedelta(days=20)
BUILT = datetime(2026, 3, 2, 1, 34, tzinfo=UTC)


@pytest.fixture(scope="module")
def built(module_warehouse: Warehouse) -> Warehouse:
    """Hostile sample data: marts of an earlier date beside those of the as-of date."""
    report_life.fill(module_warehouse, prompts=20, agents=12, rows=6_000, hostile=True)
    report_life.build(module_warehouse, EARLIER, schema="marts_earlier")
    report_life.build(module_warehouse)
    return module_warehouse


@pytest.fixture
def connection(built: Warehouse) -> Iterator[psycopg.Connection[Any]]:
    with built.connect() as made:
        yield made


@pytest.fixture(scope="module")
def report(built: Warehouse, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One rendered report, for the tests that only read it."""
    with built.connect() as connection:
        shown = options(exports=FORMATS)
        return render_report(connection, tmp_path_factory.mktemp("reports"), shown).path


def options(**changes: Any) -> ReportOptions:
    values: dict[str, Any] = {"as_of_date": AS_OF, "build": Build("green", BUILT), "version": "9.9"}
    return ReportOptions(**(values | changes))


def earlier() -> ReportOptions:
    return options(as_of_date=EARLIER, marts_schema="marts_earlier")


class Elements(HTMLParser):
    """Every element of a page with its attributes, and the text of its scripts."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._in_script = tag == "script"

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts.append(data)


def pages(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.html"))


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_table_lies_in_the_report_in_every_format(
    report: Path, connection: psycopg.Connection[Any]
) -> None:
    for name in downloads.TABLES:
        query = sql.SQL("select count(*) from {}").format(sql.Identifier("marts", name))
        expected = connection.execute(query).fetchone()
        assert expected is not None
        stem = report / "exports" / f"{name}-{AS_OF}"
        assert len(pd.read_csv(f"{stem}.csv")) == expected[0], name
        assert pq.read_metadata(f"{stem}.parquet").num_rows == expected[0], name
        assert len(json.loads(Path(f"{stem}.json").read_text(encoding="utf-8"))) == expected[0], name
    book = openpyxl.load_workbook(report / "exports" / f"prism-{AS_OF}.xlsx", read_only=True)
    assert book.sheetnames == [name[:31] for name in downloads.TABLES]


def test_no_hostile_text_is_a_formula_in_a_spreadsheet(report: Path) -> None:
    book = openpyxl.load_workbook(report / "exports" / f"prism-{AS_OF}.xlsx")
    names = {cell.value for cell in book["prompts"]["D"]}
    assert any(str(name).startswith("=") for name in names)  # the sample is hostile
    assert not [cell for sheet in book for row in sheet.iter_rows() for cell in row if cell.data_type == "f"]
    for path in (report / "exports").glob("*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.reader(file):
                assert not [field for field in row if re.match(r"\s*[=+@\t\r]", field)], path.name


def test_a_table_too_large_for_people_is_in_the_workbook_by_its_default_period_or_not_at_all(
    built: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with built.connect() as connection, report_marts.reading(connection, "marts", AS_OF) as marts:
        month = marts.extract("prompt_performance_summary", {"period": "month"})
        monkeypatch.setattr(downloads, "MOST_CELLS", month.count() * len(month.columns))
        found = downloads.write(marts, tmp_path, options(exports=("xlsx",)))
        monkeypatch.setattr(downloads, "MOST_CELLS", 0)
        monkeypatch.setattr(downloads, "MOST_ROWS", 0)
        nothing = downloads.write(marts, tmp_path / "nothing", options(exports=("csv", "xlsx")))
    held = {table.name: table.in_workbook for table in found.tables}
    assert held["prompt_performance_summary"] == "default period" and held["prompts"] == "all"
    assert {table.in_files for table in found.tables} == {"all"}
    book = openpyxl.load_workbook(tmp_path / "exports" / f"prism-{AS_OF}.xlsx", read_only=True)
    rows = list(book["prompt_performance_summary"].values)
    assert {row[rows[0].index("period")] for row in rows[1:]} == {"month"}
    assert {(table.in_files, table.in_workbook) for table in nothing.tables if table.rows} == {("no", "no")}
    assert not [table.name for table in nothing.tables if table.rows and table.files]


def test_the_printed_report_is_tagged_has_contents_and_holds_what_the_pages_hold(
    report: Path, connection: psycopg.Connection[Any]
) -> None:
    document = pypdf.PdfReader(report / "exports" / f"prism-{AS_OF}.pdf")
    root = document.trailer["/Root"]
    assert root["/MarkInfo"]["/Marked"] and root["/StructTreeRoot"] and root["/Lang"] == "en"
    chapters = document.outline[1]
    assert isinstance(chapters, list)
    titles = [one["/Title"] for one in chapters if isinstance(one, dict)]
    assert titles[0] == "What changed" and "Prompts" in titles
    text = "".join(page.extract_text() for page in document.pages).replace("\x00", "")
    assert f"1 / {len(document.pages)}" in text
    row = connection.execute(
        "select usage_count from marts.dashboard_metrics where period = 'month'"
    ).fetchone()
    assert row is not None
    assert f"{row[0]:,}" in text
    # nothing that runs, nothing that leads out of the document
    for page in document.pages:
        for note in page.get("/Annots", ()):
            assert "/URI" not in note.get_object().get("/A", {})
    assert "/JavaScript" not in root.get("/Names", {}) and "/OpenAction" not in root


def test_a_report_without_exports_has_no_page_of_them(built: Warehouse, tmp_path: Path) -> None:
    with built.connect() as connection:
        folder = render_report(connection, tmp_path, options()).path
    assert not (folder / "exports").exists() and not (folder / "downloads.html").exists()
    assert "downloads.html" not in (folder / "index.html").read_text(encoding="utf-8")


def test_every_prompt_has_a_page_and_every_link_leads_somewhere(
    report: Path, connection: psycopg.Connection[Any]
) -> None:
    row = connection.execute("select count(*) from marts.prompts").fetchone()
    assert row is not None
    assert len(list((report / "prompts").iterdir())) == row[0]
    for page in pages(report):
        elements = Elements(page)
        anchors = {attributes.get("id") for _, attributes in elements.found}
        for _, attributes in elements.found:
            for address in (attributes.get("href"), attributes.get("src")):
                if address is None:
                    continue
                parts = urlsplit(address)
                assert (parts.scheme, parts.netloc) == ("", ""), f"{page.name}: {address}"
                if parts.path:
                    assert (page.parent / unquote(parts.path)).is_file(), f"{page.name}: {address}"
                elif parts.fragment:
                    assert parts.fragment in anchors, f"{page.name}: {address}"


def test_hostile_text_stays_text_in_every_page(report: Path) -> None:
    seen = set()
    for page in pages(report):
        elements = Elements(page)
        for tag, attributes in elements.found:
            assert not [name for name in attributes if name.startswith("on")], page.name
            assert tag not in {"img", "iframe", "object", "embed", "form", "base", "style"}, page.name
            if tag == "script":
                data = attributes.get("type") == "application/json" and "src" not in attributes
                assert data or re.fullmatch(r"(\.\./)?assets/[a-z]+\.js", attributes.get("src") or "")
        for script in elements.scripts:
            json.loads(script)
        text = page.read_text(encoding="utf-8")
        assert "49" not in re.findall(r"<h1[^>]*>\s*(\d+)", text)
        seen |= {hostile for hostile in report_life.HOSTILE if "<" in hostile and hostile in text}
    assert not seen


def test_each_page_forbids_every_other_origin_and_all_evaluated_code(report: Path) -> None:
    for page in pages(report):
        policies = [
            attributes["content"]
            for tag, attributes in Elements(page).found
            if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
        ]
        assert len(policies) == 1
        assert policies[0] is not None
        assert "default-src 'none'" in policies[0]
        assert "unsafe" not in policies[0]
        assert "http" not in policies[0]


def test_the_overview_shows_the_numbers_of_the_marts(
    report: Path, connection: psycopg.Connection[Any]
) -> None:
    text = (report / "index.html").read_text(encoding="utf-8")
    rows = connection.execute(
        "select period, usage_count, round(100 * success_rate::numeric, 1) from marts.dashboard_metrics"
    ).fetchall()
    assert len(rows) == 6
    for period, uses, success in rows:
        section = text.split(f'data-period="{period}"')[1].split("</section>")[0]
        assert f'<p class="value">{uses:,}</p>' in section
        assert f'<p class="value">{success}\u202f%</p>' in section
    for name in ("Success rate", "open alerts", "Can the numbers be trusted?"):
        assert name in text


def test_another_date_than_the_marts_is_refused_naming_both(
    connection: psycopg.Connection[Any], tmp_path: Path
) -> None:
    with pytest.raises(ReportError, match=r"1 Mar 2026.*10 Feb 2026") as caught:
        render_report(connection, tmp_path, options(as_of_date=date(2026, 2, 10)))
    assert "prism run --date 2026-02-10" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_marts_that_are_not_there_are_a_clear_error(
    connection: psycopg.Connection[Any], tmp_path: Path
) -> None:
    with pytest.raises(ReportError, match="nowhere"):
        render_report(connection, tmp_path, options(marts_schema="nowhere"))


def test_a_failure_half_way_leaves_the_old_report_as_it_was(
    connection: psycopg.Connection[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = render_report(connection, tmp_path, options())
    kept = content(before.path)
    written = 0
    write = render._Writer.file

    def fail_late(self: render._Writer, name: str, text: bytes) -> None:
        nonlocal written
        written += 1
        if written > 20:
            raise OSError(28, "No space left on device")
        write(self, name, text)

    monkeypatch.setattr(render._Writer, "file", fail_late)
    with pytest.raises(ReportError, match="No space left on device"):
        render_report(connection, tmp_path, options(title="Another title"))
    assert content(before.path) == kept
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".lock",
        AS_OF.isoformat(),
        "index.html",
        "latest",
    ]


@pytest.mark.parametrize("exchange", [True, False])
def test_a_report_of_the_same_date_is_replaced_whole(
    connection: psycopg.Connection[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    exchange: bool,
) -> None:
    if not exchange:
        monkeypatch.setattr(render, "_exchange", lambda one, other: False)
    first = render_report(connection, tmp_path, options(), files={"digest.eml": b"old"})
    assert (first.path / "digest.eml").read_bytes() == b"old"
    second = render_report(connection, tmp_path, options(title="A new title"))
    assert second.path == first.path
    assert not (second.path / "digest.eml").exists()
    assert "A new title" in (second.path / "index.html").read_text(encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".lock",
        AS_OF.isoformat(),
        "index.html",
        "latest",
    ]


def test_the_same_marts_make_the_same_files(connection: psycopg.Connection[Any], tmp_path: Path) -> None:
    first = render_report(connection, tmp_path / "a", options())
    second = render_report(connection, tmp_path / "b", options())
    assert content(first.path) == content(second.path)
    assert first.pages == len(pages(first.path))
    assert first.size_bytes == sum(len(one) for one in content(first.path).values())


def test_what_a_killed_render_left_is_cleared_and_the_old_report_comes_back(
    connection: psycopg.Connection[Any], tmp_path: Path
) -> None:
    old = render_report(connection, tmp_path, earlier()).path
    kept = content(old)
    old.rename(tmp_path / f".replaced-{old.name}")
    (tmp_path / ".building-2026-03-01-x").mkdir()
    (tmp_path / ".building-2026-03-01-x" / "index.html").write_text("half")
    render_report(connection, tmp_path, options())
    assert content(old) == kept
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".lock",
        EARLIER.isoformat(),
        AS_OF.isoformat(),
        "index.html",
        "latest",
    ]


def test_latest_moves_on_but_never_back(connection: psycopg.Connection[Any], tmp_path: Path) -> None:
    assert render_report(connection, tmp_path, earlier()).is_latest
    assert (tmp_path / "latest").resolve().name == EARLIER.isoformat()
    assert render_report(connection, tmp_path, options()).is_latest
    assert not render_report(connection, tmp_path, earlier()).is_latest
    latest = tmp_path / "latest"
    assert latest.readlink() == Path(AS_OF.isoformat())
    assert content(latest) == content(tmp_path / AS_OF.isoformat())


def test_latest_is_a_copy_where_links_are_not_to_be_had(
    connection: psycopg.Connection[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Any, target_is_directory: bool = False) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    assert render_report(connection, tmp_path, earlier()).is_latest
    assert render_report(connection, tmp_path, options()).is_latest
    latest = tmp_path / "latest"
    assert not latest.is_symlink()
    assert content(latest) == content(tmp_path / AS_OF.isoformat())
    assert not render_report(connection, tmp_path, earlier()).is_latest
    assert content(latest) == content(tmp_path / AS_OF.isoformat())


def test_the_page_of_all_reports_leads_to_each_with_what_it_said_first(
    connection: psycopg.Connection[Any], tmp_path: Path
) -> None:
    render_report(connection, tmp_path, options())
    kept = content(tmp_path / AS_OF.isoformat())
    render_report(connection, tmp_path, earlier())
    assert content(tmp_path / AS_OF.isoformat()) == kept
    index = tmp_path / "index.html"
    hrefs = [attributes.get("href") for tag, attributes in Elements(index).found if tag == "a"]
    assert hrefs == ["latest/index.html", f"{AS_OF}/index.html", f"{EARLIER}/index.html"]
    headline = json.loads((tmp_path / f"{EARLIER}/report.json").read_text())["headline"]
    assert headline in index.read_text(encoding="utf-8")
    newest = render_report(connection, tmp_path, options()).path / "index.html"
    assert "Since the report of 9 Feb 2026" in newest.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("state", "words"), [("red", "failed their checks"), ("stale", "This report is stale")]
)
def test_a_build_that_is_not_green_is_said_on_every_page(
    connection: psycopg.Connection[Any], tmp_path: Path, state: Any, words: str
) -> None:
    made = render_report(connection, tmp_path, options(build=Build(state, BUILT, ("unique_<prompt_id>",))))
    for page in pages(made.path):
        text = page.read_text(encoding="utf-8")
        assert words in text, page.name
        assert "unique_&lt;prompt_id&gt;" in text


def test_a_day_without_uses_says_so(
    connection: psycopg.Connection[Any], built: Warehouse, tmp_path: Path
) -> None:
    quiet = AS_OF + timedelta(days=10)
    report_life.build(built, quiet, schema="marts_quiet")
    made = render_report(
        connection,
        tmp_path,
        options(as_of_date=quiet, marts_schema="marts_quiet", default_period="day"),
    )
    text = (made.path / "index.html").read_text(encoding="utf-8")
    day = text.split('data-period="day"')[1].split("</section>")[0]
    assert "No uses in this period" in day
    assert "have not been loaded" in day
    assert "Not without a second look" in text


def test_an_empty_warehouse_makes_a_report_that_says_what_to_do(warehouse: Warehouse, tmp_path: Path) -> None:
    report_life.build(warehouse)
    with warehouse.connect() as connection:
        made = render_report(connection, tmp_path, options())
    assert "Nothing has been loaded yet" in (made.path / "index.html").read_text(encoding="utf-8")
    assert "The library is empty" in (made.path / "prompts.html").read_text(encoding="utf-8")
    assert "No alert is open" in (made.path / "alerts.html").read_text(encoding="utf-8")
    assert made.pages == 6


def test_all_queries_of_a_report_see_one_night(connection: psycopg.Connection[Any], built: Warehouse) -> None:
    with built.connect(autocommit=True) as other:
        try:
            with report_marts.reading(connection, "marts", AS_OF) as marts:
                before = marts.prompts()
                other.execute("update marts.prompts set owner = 'someone.else@example.com'")
                assert marts.prompts()["owner"].equals(before["owner"])
            with report_marts.reading(connection, "marts", AS_OF) as marts:
                assert set(marts.prompts()["owner"]) == {"someone.else@example.com"}
        finally:
            report_life.build(built)
