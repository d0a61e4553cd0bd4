"""The mail as a mail program with a browser engine shows it: on a phone and a desktop, light and dark."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page

from reports import mail
from reports.views.digest import Digest
from reports.views.notice import Notice
from tests.unit import mail_samples as samples

pytestmark = pytest.mark.browser

VIEWS: dict[str, Callable[[], Digest | Notice]] = {
    "ordinary": samples.plain_digest,
    "hostile": samples.hostile_digest,
    "empty": samples.empty_digest,
    "monthly": samples.monthly,
    "weekly of an owner": samples.owners,
    "stale": samples.stale_digest,
    "notice": samples.plain_notice,
    "hostile notice": samples.hostile_notice,
    "unpublished notice": samples.unpublished_notice,
}
# Every text with the contrast to what is behind it (WCAG 2: luminance of sRGB), the worst first.
CONTRASTS = """
() => {
  const channels = (css) => css.match(/[\\d.]+/g).map(Number);
  const luminance = (css) => {
    const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = channels(css).map((c) => linear(c / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const css = getComputedStyle(at).backgroundColor;
      if (channels(css)[3] !== 0) return css;
    }
    return "rgb(255, 255, 255)";
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    const [one, two] = [luminance(getComputedStyle(element).color), luminance(behind(element))];
    const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    found.push([ratio, walker.currentNode.data.trim().slice(0, 60)]);
  }
  return found.sort((a, b) => a[0] - b[0]);
}
"""


def shown(
    browser: Browser, view: Digest | Notice, *, width: int, scheme: Literal["light", "dark"]
) -> tuple[Page, list[Any]]:
    """The mail in a page, as a mail program shows it, and everything it asked for or tried to do."""
    content = mail.render_notice(view) if isinstance(view, Notice) else mail.render_digest(view)
    assert content.html is not None
    html = content.html
    if content.chart is not None:
        html = html.replace(
            "cid:trend@prism", f"data:image/png;base64,{base64.b64encode(content.chart).decode()}"
        )
    page = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme).new_page()
    events: list[Any] = []
    page.on(
        "request", lambda request: events.append(request.url) if not request.url.startswith("data:") else None
    )
    page.on("dialog", lambda dialog: (events.append(dialog.message), dialog.dismiss()))
    page.on("console", lambda message: events.append(message.text))
    page.set_content(html, wait_until="load")
    return page, events


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800])
@pytest.mark.parametrize("name", VIEWS)
def test_a_mail_fits_its_window_asks_for_nothing_and_can_be_read(
    browser: Browser, name: str, width: int, scheme: Literal["light", "dark"]
) -> None:
    page, events = shown(browser, VIEWS[name](), width=width, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert events == []
    ratio, text = page.evaluate(CONTRASTS)[0]
    assert ratio >= 4.5, f"{text!r} has a contrast of {ratio:.2f}"
    page.context.close()


def test_the_dark_mail_is_dark_and_the_light_one_light(browser: Browser) -> None:
    backgrounds = []
    for scheme in ("light", "dark"):
        page, _ = shown(browser, samples.plain_digest(), width=800, scheme=scheme)
        backgrounds.append(
            page.evaluate("getComputedStyle(document.querySelector('table.body')).backgroundColor")
        )
        page.context.close()
    assert backgrounds == ["rgb(255, 255, 255)", "rgb(24, 30, 41)"]


def test_the_chart_is_drawn_and_no_wider_than_the_window(browser: Browser) -> None:
    page, _ = shown(browser, samples.plain_digest(), width=360, scheme="light")
    width, natural = page.evaluate(
        "(() => { const i = document.querySelector('img'); return [i.clientWidth, i.naturalWidth] })()"
    )
    assert 300 <= width <= 360
    assert natural >= 800
    page.context.close()


def test_nothing_but_the_preheader_is_hidden(browser: Browser) -> None:
    page, _ = shown(browser, samples.plain_digest(), width=360, scheme="light")
    hidden = page.evaluate(
        "[...document.body.querySelectorAll('*')].filter((e) => !e.checkVisibility()).map((e) => e.className)"
    )
    assert hidden == ["preheader"]
    page.context.close()
