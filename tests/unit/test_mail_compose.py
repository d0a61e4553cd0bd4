"""The composed mail: structure, headers, sizes, and that nothing from data can break out of it."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from datetime import UTC, date, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from reports import mail
from reports.errors import ReportError
from reports.mail import Content
from reports.views.operations import failure_notice
from tests.unit import mail_samples as samples

NOW = datetime(2026, 11, 22, 1, 35, tzinfo=UTC)


@pytest.fixture(scope="module")
def plain() -> Content:
    return mail.render_digest(samples.plain_digest())


@pytest.fixture(scope="module")
def hostile() -> Content:
    return mail.render_digest(samples.hostile_digest())


def composed(content: Content, recipient: str = "ann@example.com") -> EmailMessage:
    """The message as it arrives: composed, sent as bytes, read again."""
    [message] = mail.compose_all(
        content,
        sender="prism@example.com",
        recipients=[recipient],
        composed_at=NOW,
        reply_to="owner@example.com",
    )
    return message_from_bytes(message.as_bytes(), _class=EmailMessage, policy=policy.default)


class Tags(HTMLParser):
    """Every start tag with its attributes, and all text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def html_of(content: Content) -> Tags:
    assert content.html is not None
    return Tags(content.html)


def test_the_mail_is_text_or_html_with_its_chart_beside_it(plain: Content) -> None:
    message = composed(plain)
    assert [part.get_content_type() for part in message.walk()] == [
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
    ]
    image = list(message.walk())[-1]
    assert image["Content-ID"] == "<trend@prism>"
    assert image.get_content_disposition() == "inline"
    assert [attributes["src"] for attributes in html_of(plain).all("img")] == ["cid:trend@prism"]


def test_headers_say_who_what_when_and_that_no_one_needs_to_answer(plain: Content) -> None:
    message = composed(plain)
    assert message["Subject"] == "Prism 2026-11-21: success 90.7 % (\u22123.1), 2 new high alerts"
    assert message["From"] == "Prism <prism@example.com>"
    assert message["To"] == "ann@example.com"
    assert message["Reply-To"] == "owner@example.com"
    assert message["Date"].datetime == NOW
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["List-Id"] == "Prism digest <digest.prism.example.com>"
    assert re.fullmatch(r"<digest\.2026-11-21\.[0-9a-f]{24}@example\.com>", message["Message-ID"])


def test_the_message_id_is_the_same_for_the_same_mail_and_no_other() -> None:
    def of(report: str = "digest", day: date = samples.DAY, recipient: str = "ann@example.com") -> str:
        return mail.message_id(report, day, recipient, "prism@example.com")

    assert of() == of()
    assert len({of(), of(report="weekly"), of(day=date(2026, 11, 20)), of(recipient="bob@example.com")}) == 4


def test_the_same_arguments_compose_the_same_bytes(plain: Content) -> None:
    assert composed(plain).as_bytes() == composed(plain).as_bytes()


def test_all_bytes_are_ascii_in_lines_that_any_server_takes(plain: Content, hostile: Content) -> None:
    for content in (plain, hostile):
        [message] = mail.compose_all(
            content, sender="prism@example.com", recipients=["ann@example.com"], composed_at=NOW
        )
        sent = message.as_bytes()
        assert sent.isascii()
        assert max(len(line) for line in sent.split(b"\r\n")) <= 998
        assert b"\n" not in sent.replace(b"\r\n", b"") and b"\r" not in sent.replace(b"\r\n", b"")


def test_the_mail_is_small_even_where_every_text_is_as_long_as_can_be(
    plain: Content, hostile: Content
) -> None:
    for content in (plain, hostile):
        assert content.html is not None
        assert len(content.html.encode()) < 90_000
        assert len(composed(content).as_bytes()) < 1_000_000


def test_what_would_be_too_large_is_refused_before_anything_is_sent(plain: Content) -> None:
    with pytest.raises(ReportError, match="over the 1,000,000"):
        composed(replace(plain, text="x" * 1_000_000))
    view = samples.plain_digest()
    with pytest.raises(ReportError, match="over the 90,000"):
        mail.render_digest(replace(view, headline="<" * 30_000))


def test_a_rendered_mail_is_parsed_back_to_the_same_mail(plain: Content, hostile: Content) -> None:
    notice = mail.render_operations(
        failure_notice(as_of_date=samples.DAY, failures=["a\n\nb"], look="prism ui")
    )
    for content in (plain, hostile, notice):
        again = mail.parse(composed(content).as_bytes())
        assert composed(again).as_bytes() == composed(content).as_bytes()
        assert (again.report, again.as_of_date, again.chart) == (
            content.report,
            content.as_of_date,
            content.chart,
        )


def test_a_mail_that_prism_did_not_render_is_refused() -> None:
    with pytest.raises(ReportError, match="not a mail that Prism has rendered"):
        mail.parse(b"Subject: hello\r\n\r\nhello\r\n")


def test_the_chart_is_a_small_png_of_64_colours_whose_alt_text_states_the_finding(plain: Content) -> None:
    assert plain.chart is not None and len(plain.chart) < 100_000
    with Image.open(io.BytesIO(plain.chart)) as image:
        assert image.format == "PNG" and image.width >= 800
        colours = image.convert("RGB").getcolors(64)
        assert colours is not None  # None: more than 64
        assert (0x1F, 0x5F, 0xBF) in {colour for _, colour in colours}  # something was drawn
    [attributes] = html_of(plain).all("img")
    assert attributes["alt"] == samples.plain_digest().finding


def test_the_html_names_its_language_its_layout_tables_and_its_column_heads(plain: Content) -> None:
    page = html_of(plain)
    assert page.all("html")[0]["lang"] == "en"
    data_tables = [attributes for attributes in page.all("table") if attributes.get("role") != "presentation"]
    assert len(data_tables) == 2
    assert all(attributes.get("aria-labelledby") for attributes in data_tables)
    assert {attributes.get("scope") for attributes in page.all("th")} == {"col", "row"}
    assert len(page.all("h1")) == 1


def test_styles_are_inlined_and_only_the_media_queries_stay_in_the_head(plain: Content) -> None:
    assert plain.html is not None
    assert "prefers-color-scheme: dark" in plain.html
    [style] = re.findall(r"<style>(.*?)</style>", plain.html, re.DOTALL)
    assert re.sub(r"@media[^{]*\{([^{}]*\{[^{}]*\})*\s*\}", "", style).strip() == ""
    assert html_of(plain).all("h1")[0]["style"]


def test_nothing_is_remote_and_nothing_runs(plain: Content, hostile: Content) -> None:
    for content in (plain, hostile):
        page = html_of(content)
        assert not {tag for tag, _ in page.tags} & {
            "script",
            "link",
            "iframe",
            "object",
            "form",
            "svg",
            "base",
        }
        for tag, attributes in page.tags:
            assert not [name for name in attributes if name.startswith("on")], tag
            assert "url(" not in (attributes.get("style") or "")
            assert set(attributes) & {"src", "srcset", "background"} <= ({"src"} if tag == "img" else set())
        *links, contact = [a["href"] or "" for a in page.all("a")]
        assert all(link.startswith("https://reports.example.com/") for link in links)
        assert contact == "mailto:owner@example.com?subject=unsubscribe"


def test_hostile_text_is_shown_not_obeyed(hostile: Content) -> None:
    assert hostile.html is not None
    page = html_of(hostile)
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7*7 }}" in page.text
    assert len(page.all("img")) == 1
    for form in (hostile.html, hostile.text):
        for character in ("\x00", "\x1b", "\u202e", "\ud800"):
            assert character not in form
    assert "\r" not in hostile.text
    # A line break in a name would let it begin a line of its own.
    assert not [line for line in hostile.text.splitlines() if line.strip().startswith("Bcc:")]


def test_both_forms_say_the_same(plain: Content) -> None:
    view = samples.plain_digest()
    text, page = plain.text, " ".join(html_of(plain).text.replace("\u202f", " ").split())
    facts = [view.headline, view.finding, view.trust.verdict, view.alerts_title]
    facts += [part for card in view.cards for part in (card.label, card.value, card.detail)]
    facts += [card.change.text for card in view.cards if card.change]
    facts += [card.target.text for card in view.cards if card.target]
    facts += [part for one in view.alerts for part in (one.alert.prompt, one.alert.evidence, one.alert.since)]
    facts += [one.alert.recommendation for one in view.alerts]
    facts += [part for section in view.sections for row in section.rows for part in (row.prompt, *row.cells)]
    facts += [one.text for one in view.news] + [check.value for check in view.trust.remarks]
    for fact in (fact.replace("\u202f", " ") for fact in facts):
        assert fact in page, fact
        assert fact.lower() in text.lower(), fact
    links = {a["href"] or "" for a in html_of(plain).all("a")}
    assert {link for link in links if link.removesuffix("?subject=unsubscribe")[7:] not in text} == set()


def test_without_a_use_the_mail_says_so_and_has_no_chart() -> None:
    content = mail.render_digest(samples.empty_digest())
    assert content.chart is None and html_of(content).all("img") == []
    assert "No uses in this period." in content.text
    assert [part.get_content_type() for part in composed(content).walk()] == [
        "multipart/alternative",
        "text/plain",
        "text/html",
    ]


@pytest.mark.parametrize(
    "address",
    [
        "ann@example.com\r\nBcc: all@example.com",
        "ann@example.com\nBcc: all@example.com",
        "ann@example.com, bob@example.com",
        "Ann <ann@example.com>",
        "ann",
        "@example.com",
        "ann@",
        "ann@exa mple.com",
        "j\u00fcrgen@example.com",
        "",
    ],
)
def test_an_address_that_is_not_one_plain_address_is_refused(plain: Content, address: str) -> None:
    with pytest.raises(ReportError, match="not an address"):
        composed(plain, address)


def test_an_international_domain_is_written_in_its_ascii_form(plain: Content) -> None:
    assert composed(plain, "ann@B\u00fccher.example")["To"] == "ann@xn--bcher-kva.example"


def test_a_recipient_who_stands_twice_gets_one_mail(plain: Content) -> None:
    messages = mail.compose_all(
        plain,
        sender="prism@example.com",
        recipients=["ann@example.com", "bob@example.com", "ann@EXAMPLE.com"],
        composed_at=NOW,
    )
    assert [str(message["To"]) for message in messages] == ["ann@example.com", "bob@example.com"]


def test_a_line_break_in_a_subject_adds_no_header(plain: Content) -> None:
    message = composed(replace(plain, subject="news\r\nBcc: all@example.com\r\n\r\nbody"))
    assert message["Bcc"] is None
    assert message["Subject"] == "news  Bcc: all@example.com    body"


def test_a_broken_template_or_a_missing_variable_fails_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "TEMPLATES", tmp_path)
    view = samples.plain_digest()
    with pytest.raises(ReportError, match="TemplateNotFound"):
        mail.render_digest(view)
    (tmp_path / "digest.txt").write_text("{{ digest.no_such_thing }}")
    with pytest.raises(ReportError, match="UndefinedError"):
        mail.render_digest(view)


def test_the_failure_notice_names_what_failed_and_where_to_look() -> None:
    failures = [
        "unique_prompts_prompt_id: 3 rows",
        "<b>odd</b>\r\nBcc: all@example.com",
        *map(str, range(30)),
    ]
    content = mail.render_operations(
        failure_notice(as_of_date=samples.DAY, failures=failures, look="run 4f1c in prism ui")
    )
    message = composed(content)
    assert message["Subject"] == "Prism 2026-11-21: no fresh report, 32 failures"
    assert message.get_content_type() == "text/plain"
    lines = message.get_content().splitlines()
    assert "There is no fresh report for 21 Nov 2026. Its readers got nothing." in lines
    assert "- unique_prompts_prompt_id: 3 rows" in lines
    assert "- <b>odd</b>  Bcc: all@example.com" in lines
    assert "- and 12 more failures" in lines
    assert "run 4f1c in prism ui" in lines
    assert "Once it is mended, build the day again: prism run --date 2026-11-21" in lines
