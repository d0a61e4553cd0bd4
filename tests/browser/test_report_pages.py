"""The report as a reader meets it: in a real browser, from the file system, without a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from orchestration.warehouse import Warehouse
from reports.options import Build, ReportOptions
from reports.render import render_report
from tests import report_life

pytestmark = [pytest.mark.browser, pytest.mark.integration]


# words of charts beyond the edge of their drawing, drawings behind that of a table that scrolls
CUT_OFF = """() => [
    ...[...document.querySelectorAll("[data-chart] svg text")].filter(text => {
        const own = text.getBoundingClientRect(), frame = text.ownerSVGElement.getBoundingClientRect();
        return text.getAttribute("opacity") !== "0"
            && (own.left < frame.left - 1 || own.right > frame.right + 1 || own.top < frame.top - 1);
    }).map(text => `${text.closest("[data-chart]").dataset.chart}: ${text.textContent}`),
    ...[...document.querySelectorAll("svg.strip")].filter(strip => innerWidth > 1280
        && strip.getBoundingClientRect().right > strip.closest(".scroll").getBoundingClientRect().right,
    ).map(strip => strip.parentElement.parentElement.innerText),
]"""


@pytest.fixture(scope="module")
def report(browser: Browser, module_warehouse: Warehouse, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of hostile sample data; ``browser`` comes first, so that nothing is built without one."""
    report_life.fill(module_warehouse, prompts=130, agents=12, rows=8_000, hostile=True)
    report_life.build(module_warehouse)
    options = ReportOptions(as_of_date=report_life.AS_OF, build=Build("green"))
    with module_warehouse.connect() as connection:
        return render_report(connection, tmp_path_factory.mktemp("reports"), options).path


@contextmanager
def opened(browser: Browser, file: Path, **context: Any) -> Iterator[Page]:
    """The page, watched: any console message, error or request beyond the reports fails the test."""
    faults: list[str] = []
    frame = browser.new_context(**context)
    try:
        page = frame.new_page()
        report = next(parent for parent in file.parents if (parent / "report.json").is_file())
        root = report.parent.as_uri()
        page.on("console", lambda message: faults.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith(root) else faults.append(f"request: {request.url}")
            ),
        )
        page.goto(file.as_uri())
        yield page
        if context.get("java_script_enabled", True):
            assert page.evaluate("window.hacked") is None
        assert faults == []
    finally:
        frame.close()


def _files(report: Path) -> list[Path]:
    """One page of each kind, and the pages of all prompts with hostile names."""
    prompts = sorted((report / "prompts").iterdir())
    hostile = [page for page in prompts if "hacked" in page.read_text(encoding="utf-8")]
    assert hostile
    return [*sorted(report.glob("*.html")), *hostile[:4]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 768, 390])
def test_no_page_scrolls_sideways_complains_or_asks_any_host(
    browser: Browser, report: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    for file in _files(report):
        viewport = {"width": width, "height": 900}
        with opened(browser, file, viewport=viewport, color_scheme=scheme) as page:
            for holder in page.locator("[data-chart]:visible").all():
                expect(holder.locator("svg")).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") <= width, file.name
            assert page.evaluate(CUT_OFF) == [], file.name
            if width == 1440:
                wide = "all => all.filter(one => one.scrollWidth > one.clientWidth).map(one => one.innerText)"
                assert page.locator(".scroll:visible").evaluate_all(wide) == [], file.name


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_axe_finds_nothing_serious(
    browser: Browser, report: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    # bypass_csp: axe is put into the page, which the page itself forbids
    viewport = {"width": width, "height": 900}
    files = [report.parent / "index.html", *_files(report)]
    with opened(browser, files[1], viewport=viewport, color_scheme=scheme, bypass_csp=True) as page:
        for file in files:
            page.goto(file.as_uri())
            for holder in page.locator("[data-chart]:visible").all():
                expect(holder.locator("svg")).to_be_visible()
            found = Axe().run(page, options={"preload": False}).response["violations"]
            serious = [one for one in found if one["impact"] in ("serious", "critical")]
            assert not serious, f"{file.name}: {[(one['id'], one['nodes'][0]['html']) for one in serious]}"


@pytest.mark.parametrize("name", ["performance", "analytics"])
def test_every_period_of_a_page_draws_its_charts(browser: Browser, report: Path, name: str) -> None:
    with opened(browser, report / f"{name}.html") as page:
        for period in ("day", "week", "quarter", "year", "all"):
            page.locator(f"[data-choose={period}]").click()
            expect(page.locator("[data-period]:visible")).to_have_attribute("data-period", period)
            for holder in page.locator("[data-chart]:visible").all():
                expect(holder.locator("svg")).to_be_visible()


def test_the_lines_of_segments_show_the_metric_that_is_chosen(browser: Browser, report: Path) -> None:
    with opened(browser, report / "performance.html") as page:
        expect(page.locator("[data-chart=domain-success] svg")).to_be_visible()
        page.get_by_role("button", name="95th percentile", exact=True).click()
        expect(page.locator("[data-chart=domain-success]")).to_be_hidden()
        expect(page.locator("[data-chart=domain-p95] svg")).to_be_visible()


def test_the_tabs_lead_to_each_other_and_to_all_reports(browser: Browser, report: Path) -> None:
    with opened(browser, report / "index.html") as page:
        for name in ("Prompts", "Performance", "Analytics", "Alerts", "Settings", "Overview"):
            page.get_by_role("navigation", name="Report").get_by_role("link", name=name).press("Enter")
            current = page.locator("nav [aria-current=page]")
            expect(current).to_have_text(name)
            expect(page.get_by_role("heading", level=1).filter(visible=True)).to_have_count(1)


def test_the_events_of_alerts_are_those_of_the_period(browser: Browser, report: Path) -> None:
    with opened(browser, report / "alerts.html") as page:
        page.locator("[data-choose=all]").click()
        everything = page.locator("[data-events] > li:visible").count()
        page.locator("[data-choose=day]").click()
        shown = page.locator("[data-events] > li:visible")
        assert 0 < shown.count() <= everything
        for event in shown.all():
            assert event.get_attribute("data-on") == report_life.AS_OF.isoformat()


def test_prompts_stand_side_by_side_in_the_chosen_period(browser: Browser, report: Path) -> None:
    with opened(browser, report / "analytics.html") as page:
        place = page.locator("[data-compare]")
        place.scroll_into_view_if_needed()
        page.locator("[data-compared][data-ready=month]").wait_for()
        expect(place.locator("thead th")).to_have_count(3)
        verdict = place.get_by_role("listitem").filter(has_text="95 % intervals")
        assert verdict.bounding_box()["height"] < 60  # type: ignore[index] # a line or two, not a letter each
        place.get_by_label("Third prompt").fill("Ticket triage 2")
        place.get_by_label("Third prompt").press("Enter")
        place.get_by_label("Third prompt").blur()
        expect(place.locator("thead th")).to_have_count(4)
        expect(place.locator("thead th").last).to_contain_text("Ticket triage 2")
        place.get_by_label("Third prompt").fill("no such prompt")
        place.get_by_label("Third prompt").blur()
        expect(place.get_by_label("Third prompt")).to_have_attribute("aria-invalid", "true")
        page.locator("[data-choose=week]").click()
        page.locator("[data-compared][data-ready=week]").wait_for()


def test_the_default_period_is_shown_first_and_the_switch_shows_the_others(
    browser: Browser, report: Path
) -> None:
    with opened(browser, report / "index.html") as page:
        expect(page.locator("[data-period]:visible")).to_have_attribute("data-period", "month")
        expect(page.locator("[data-choose=month]")).to_have_attribute("aria-pressed", "true")
        for period in ("day", "week", "quarter", "year", "all"):
            page.locator(f"[data-choose={period}]").click()
            expect(page.locator("[data-period]:visible")).to_have_attribute("data-period", period)
            expect(page.locator(f"#title-{period}")).to_be_visible()
            for holder in page.locator("[data-chart]:visible").all():
                expect(holder.locator("svg")).to_be_visible()


def test_the_chosen_period_goes_with_the_reader_to_the_table(browser: Browser, report: Path) -> None:
    with opened(browser, report / "index.html") as page:
        page.get_by_role("button", name="Week", exact=True).click()
        uses = page.locator("[data-period=week] .card .value").nth(1).inner_text().replace(",", "")
        page.get_by_role("link", name="Prompts", exact=True).click()
        expect(page.locator("[data-period-title]")).to_have_text("Last 7 days")
        page.locator("#prompts[data-ready=week]").wait_for()
        total = 0
        while True:
            for cell in page.locator("#prompts td[data-label=Uses]").all_inner_texts():
                total += int(cell.split("\n")[0].replace(",", ""))
            following = page.locator("[data-page='1']")
            if following.is_disabled():
                break
            following.click()
        assert total == int(uses)


def test_a_chart_shows_its_numbers_when_pointed_at(browser: Browser, report: Path) -> None:
    with opened(browser, report / "index.html", viewport={"width": 1440, "height": 900}) as page:
        bars = page.locator("[data-chart=uses-month] .mark-rect path")
        expect(bars).to_have_count(60)
        bars.nth(52).hover()
        expect(page.locator("#vg-tooltip-element")).to_contain_text("Uses")


def _names(page: Page) -> list[str]:
    page.locator("#prompts[data-ready]").wait_for()
    return page.locator("#prompts tbody th a").all_inner_texts()


def test_the_table_is_searched_filtered_and_sorted_in_place(browser: Browser, report: Path) -> None:
    with opened(browser, report / "prompts.html") as page:
        assert len(_names(page)) == 100
        page.get_by_label("Search").fill("triage")
        assert _names(page) == ["Ticket triage", "Ticket triage 2", "Ticket triage 3"]
        expect(page.locator("[data-result]")).to_contain_text("3 of ")
        page.get_by_label("Search").fill("no such prompt")
        expect(page.locator("#prompts tbody")).to_contain_text("No prompt fits")
        page.get_by_label("Search").fill("")
        page.get_by_label("Suite").select_option("PRISM")
        assert 0 < len(_names(page)) <= 17
        page.get_by_label("Suite").select_option("")

        page.get_by_role("button", name="Prompt", exact=True).click()
        first = page.locator("#prompts thead th").first
        expect(first).to_have_attribute("aria-sort", "ascending")
        names = _names(page)
        assert names == page.evaluate(
            "names => names.toSorted(new Intl.Collator(undefined, {numeric: true}).compare)", names
        )
        page.get_by_role("button", name="Uses", exact=False).last.click()
        uses = [
            int(cell.split("\n")[0].replace(",", ""))
            for cell in page.locator("#prompts td[data-label=Uses]").all_inner_texts()
        ]
        assert uses == sorted(uses, reverse=True)


def test_a_reader_chooses_the_columns_and_keeps_them(browser: Browser, report: Path) -> None:
    with opened(browser, report / "prompts.html") as page:
        page.locator("#prompts[data-ready]").wait_for()
        page.get_by_text("Columns", exact=True).click()
        page.get_by_label("Median time").check()
        page.get_by_label("Rating").uncheck()
        heads = page.locator("#prompts thead th")
        expect(heads).to_have_text(
            ["Prompt", "Health", "Uses ▾", "Success", "Response", "Cost", "Median time"]
        )
        page.reload()
        expect(heads).to_contain_text(["Prompt", "Health", "Uses", "Success", "Response", "Cost", "Median"])


def test_filters_narrow_each_other_and_are_cleared_together(browser: Browser, report: Path) -> None:
    with opened(browser, report / "prompts.html") as page:
        everything = page.locator("[data-result]")
        expect(everything).to_contain_text("All ")
        page.locator("[data-facet=complexity]").select_option("basic")
        basic = len(_names(page))
        page.locator("[data-facet=tags]").select_option("pii")
        tagged = len(_names(page))
        page.locator("[data-facet=health]").select_option("healthy")
        assert basic > tagged > len(_names(page))
        page.get_by_role("button", name="Clear").click()
        expect(everything).to_contain_text("All ")


def test_prompts_without_a_value_come_last_whichever_way_it_is_sorted(browser: Browser, report: Path) -> None:
    with opened(browser, report / "prompts.html") as page:
        for _ in range(2):
            page.locator("#prompts[data-ready]").wait_for()
            page.locator("thead [data-sort=rating] button").click()
            cells = page.locator("#prompts td[data-label=Rating]").all_inner_texts()
            dashes = [cell.startswith("–") for cell in cells]
            assert not dashes[0]
            assert dashes == sorted(dashes)


def test_a_prompt_is_reached_by_keyboard_alone(browser: Browser, report: Path) -> None:
    with opened(browser, report / "prompts.html") as page:
        page.keyboard.press("Tab")
        expect(page.locator(".skip")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#content")).to_be_focused()
        page.get_by_label("Search").focus()
        page.locator("#prompts[data-ready]").wait_for()
        page.keyboard.type("ticket triage")
        page.locator("#prompts tbody th a").first.focus()
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_contain_text("Ticket triage")


# what takes part in Tab's round, in the order of the page
_CONTROLS = """() => [
    ...document.querySelectorAll("a[href], button, select, input, summary, [tabindex]")
].filter(one => one.checkVisibility({visibilityProperty: true}) && !one.disabled && one.tabIndex >= 0)"""
_WALKED = f"""() => {{
    const one = document.activeElement, style = getComputedStyle(one);
    const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
    return [({_CONTROLS})().indexOf(one), seen];
}}"""


def test_every_control_is_reached_by_tab_in_order_and_shows_it(browser: Browser, report: Path) -> None:
    prompt = next((report / "prompts").iterdir())
    with opened(browser, report / "index.html") as page:
        for file in [report.parent / "index.html", *sorted(report.glob("*.html")), prompt]:
            page.goto(file.as_uri())
            if file.name == "prompts.html":
                page.locator("#prompts[data-ready]").wait_for()
            if file.name == "analytics.html":  # what comes as soon as the walk comes near
                page.locator("[data-compare]").scroll_into_view_if_needed()
                page.locator("[data-compared][data-ready]").wait_for()
            controls = page.evaluate(f"({_CONTROLS})().length")
            walked, unseen = [], []
            for _ in range(controls):
                page.keyboard.press("Tab")
                at, seen = page.evaluate(_WALKED)
                walked.append(at)
                if not seen:
                    unseen.append(page.evaluate("document.activeElement.outerHTML.slice(0, 200)"))
            assert walked == list(range(controls)), file.name
            assert not unseen, f"{file.name}: {unseen[:3]}"


def test_what_a_page_offers_is_done_by_keyboard(browser: Browser, report: Path) -> None:
    with opened(browser, report / "index.html") as page:
        page.locator("[data-choose=year]").press("Enter")
        expect(page.locator("[data-period]:visible")).to_have_attribute("data-period", "year")
        page.goto((report / "performance.html").as_uri())
        page.get_by_role("button", name="95th percentile", exact=True).press("Space")
        expect(page.locator("[data-chart=domain-p95] svg")).to_be_visible()
        table = page.locator("summary:visible").first
        table.press("Enter")
        expect(page.locator("details[open] table").first).to_be_visible()
        page.goto((report / "prompts.html").as_uri())
        page.locator("#prompts[data-ready]").wait_for()
        everything = page.locator("[data-result]")
        expect(everything).to_contain_text("All ")
        complexity = page.locator("[data-facet=complexity]")
        complexity.focus()
        page.keyboard.press("ArrowDown")
        assert complexity.input_value()
        expect(everything).not_to_contain_text("All ")
        page.locator("thead [data-sort=rating] button").press("Enter")
        expect(page.locator("thead [data-sort=rating]")).to_have_attribute("aria-sort", "descending")


def test_without_javascript_everything_of_the_default_period_is_there(browser: Browser, report: Path) -> None:
    with opened(browser, report / "index.html", java_script_enabled=False) as page:
        expect(page.locator("[data-period]:visible")).to_have_attribute("data-period", "month")
        expect(page.locator(".switch")).to_be_hidden()
        expect(page.locator("[data-period=month] .chart-static svg")).to_have_count(2)
        expect(page.locator("[data-period=month] .chart-static svg").first).to_be_visible()
    with opened(browser, report / "prompts.html", java_script_enabled=False) as page:
        expect(page.locator(".filters")).to_be_hidden()
        shown = page.locator("tbody th a:visible").count()
        assert shown == len(list((report / "prompts").iterdir()))


def test_paper_gets_every_row_and_no_controls(browser: Browser, report: Path) -> None:
    with opened(browser, report / "prompts.html", color_scheme="dark") as page:
        page.locator("#prompts[data-ready]").wait_for()
        page.emulate_media(media="print")
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        assert len(_names(page)) == len(list((report / "prompts").iterdir()))
        expect(page.locator(".filters")).to_be_hidden()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        page.evaluate("window.dispatchEvent(new Event('afterprint'))")
        assert len(_names(page)) == 100
