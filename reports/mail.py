"""Mails, composed: a view becomes HTML, plain text of equal worth and a chart, then a message a recipient.

Knows nothing of the outbox or of servers. Everything that comes from data is inert: escaped in HTML, free of
control and direction characters everywhere, and headers refuse line breaks.
"""

from __future__ import annotations

import hashlib
import io
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from email import message_from_bytes, policy
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import css_inline
import jinja2
import psycopg
from markupsafe import Markup

from reports import charts
from reports import format as fmt
from reports.errors import ReportError
from reports.marts import reading
from reports.options import ReportOptions
from reports.views.common import QUALITY_DAYS
from reports.views.digest import Digest, digest
from reports.views.failure import FailureNotice
from reports.views.notice import Notice

TEMPLATES = Path(__file__).resolve().parents[1] / "templates" / "mail"
# Gmail cuts a mail's HTML at 102 KB, and with it the end of the page.
MOST_HTML_BYTES = 90_000
MOST_BYTES = 1_000_000
_CHART_ID = "trend@prism"
# What a rendered mail is, for :func:`parse` and for people's mail filters.
_REPORT, _AS_OF = "X-Prism-Report", "X-Prism-As-Of"
# Marks that turn the direction of text around: a name with one could make a line read as something else.
_DIRECTION = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# What chats may read as a mention, a link or a markup: angle quotes, full-width and other look-alikes.
_LOOK_ALIKES = str.maketrans("<>@[]`*_~|", "\u2039\u203a\uff20\uff3b\uff3d\u02cb\u2217\uff3f\u223c\u00a6")
# The name of the notices' rows in the outbox.
ALERT_NOTICE = "alert notice"


@dataclass(frozen=True)
class Content:
    """A mail before it is addressed. ``chart`` is a PNG that the HTML shows."""

    report: str
    as_of_date: date
    subject: str
    text: str
    html: str | None = None
    chart: bytes | None = None


def read_digest(connection: psycopg.Connection[Any], options: ReportOptions) -> Digest:
    """The digest of the marts as they are, read in one snapshot. Raises :class:`ReportError`."""
    with reading(connection, options.marts_schema, options.as_of_date) as marts:
        return digest(
            dashboard=marts.dashboard(),
            summary=marts.summary(),
            top=marts.top(),
            alert_rows=marts.alerts(),
            daily=marts.daily(options.as_of_date),
            quality=marts.data_quality(
                options.as_of_date - timedelta(days=QUALITY_DAYS - 1), options.as_of_date
            ),
            options=options,
        )


def render_digest(view: Digest) -> Content:
    """Both forms of the digest and its chart.

    Raises :class:`ReportError` for a broken template, and for more than :data:`MOST_HTML_BYTES` of HTML.
    """
    return Content(
        report="digest",
        as_of_date=view.as_of_date,
        subject=view.subject,
        text=_render("digest.txt", html=False, digest=view).replace(fmt.THIN, " "),
        html=_inlined("digest.html", digest=view, chart_id=_CHART_ID),
        chart=trend_png(view) if view.trend else None,
    )


def render_failure_notice(view: FailureNotice) -> Content:
    """The notice to the owner; plain text alone."""
    return Content(
        report="failure notice",
        as_of_date=view.as_of_date,
        subject=view.subject,
        text=_render("failure.txt", html=False, notice=view).replace(fmt.THIN, " "),
    )


def render_notice(view: Notice) -> Content:
    """Both forms of an alert notice. Raises :class:`ReportError` as :func:`render_digest` does."""
    return Content(
        report=ALERT_NOTICE,
        as_of_date=view.as_of_date,
        subject=view.subject,
        text=_render("notice.txt", html=False, notice=view).replace(fmt.THIN, " "),
        html=_inlined("notice.html", notice=view),
    )


def render_chat(view: Notice) -> tuple[str, str]:
    """Title and text of an alert notice for a chat or a webhook.

    Names come from data, and chats read marks in them: what could be a mention, a link or a markup is
    replaced by its look-alike. The report's own address stands apart from them.
    """
    text = _render("notice_chat.txt", html=False, notice=view).replace(fmt.THIN, " ").strip()
    text = text.translate(_LOOK_ALIKES)
    return view.subject, f"{text}\n\n{view.report_url}" if view.report_url else text


def message_id(report: str, as_of_date: date, recipient: str, sender: str) -> str:
    """The same for the same mail to the same person, so that mail programs show one that came twice once."""
    digest_of = hashlib.sha256(f"{report}\n{as_of_date.isoformat()}\n{recipient}".encode()).hexdigest()[:24]
    name = re.sub(r"[^a-z]+", "-", report)
    return f"<{name}.{as_of_date.isoformat()}.{digest_of}@{_address(sender).domain}>"


def compose(
    content: Content,
    *,
    sender: str,
    recipient: str,
    message_id: str,
    composed_at: datetime,
    reply_to: str | None = None,
) -> EmailMessage:
    """One message to one recipient: the same bytes for the same arguments.

    Raises :class:`ReportError` for an address that is none, or a mail of over :data:`MOST_BYTES`.
    """
    message = EmailMessage(policy=policy.SMTP)
    from_address = _address(sender, name="Prism")
    message["Subject"] = _plain(content.subject)
    message["From"] = from_address
    message["To"] = _address(recipient)
    if reply_to:
        message["Reply-To"] = _address(reply_to)
    message["Date"] = format_datetime(composed_at)
    message["Message-ID"] = message_id
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers, please
    list_name = re.sub(r"[^a-z]+", "-", content.report)
    message["List-Id"] = f"Prism {content.report} <{list_name}.prism.{from_address.domain}>"
    message[_REPORT] = content.report
    message[_AS_OF] = content.as_of_date.isoformat()
    message.set_content(content.text, cte="quoted-printable")
    if content.html is not None:
        message.add_alternative(content.html, subtype="html", cte="quoted-printable")
        if content.chart is not None:
            part = message.get_payload()[-1]  # type: ignore[index]
            part.add_related(  # type: ignore[union-attr]
                content.chart,
                "image",
                "png",
                cid=f"<{_CHART_ID}>",
                disposition="inline",
                filename="trend.png",
            )
    for number, part in enumerate(message.walk()):
        if part.is_multipart():
            # "=_" occurs in neither quoted-printable nor base64, so never in a part.
            part.set_boundary(f"=_prism_{number}")
    size = len(message.as_bytes())
    if size > MOST_BYTES:
        raise ReportError(f"the mail has {size:,} bytes, over the {MOST_BYTES:,} that are allowed")
    return message


def compose_all(
    content: Content,
    *,
    sender: str,
    recipients: Sequence[str],
    composed_at: datetime,
    reply_to: str | None = None,
) -> list[EmailMessage]:
    """One message a recipient, each address once, with the Message-IDs of :func:`message_id`."""
    return [
        compose(
            content,
            sender=sender,
            recipient=address,
            message_id=message_id(content.report, content.as_of_date, address, sender),
            composed_at=composed_at,
            reply_to=reply_to,
        )
        for address in addresses(recipients)
    ]


def addresses(recipients: Sequence[str]) -> list[str]:
    """The addresses as the outbox knows them, each once. Raises :class:`ReportError` for one that is none."""
    return list(dict.fromkeys(_address(recipient).addr_spec for recipient in recipients))


def parse(content: bytes) -> Content:
    """The content of a composed message, to be addressed anew. Others raise :class:`ReportError`."""
    message = message_from_bytes(content, _class=EmailMessage, policy=policy.default)
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    report, day = message[_REPORT], message[_AS_OF]
    if text is None or report is None or day is None:
        raise ReportError("this is not a mail that Prism has rendered", mend="Render it anew: prism report")
    images = [part for part in message.walk() if part.get_content_maintype() == "image"]
    return Content(
        report=str(report),
        as_of_date=date.fromisoformat(day),
        subject=str(message["Subject"]),
        text=text.get_content().replace("\r\n", "\n"),
        html=None if html is None else html.get_content().replace("\r\n", "\n"),
        chart=images[0].get_content() if images else None,
    )


def trend_png(view: Digest) -> bytes:
    """The digest's chart, success above uses, as a PNG of 64 colours, twice as fine as it is shown.

    Drawn narrow and with large letters: a phone shows it at three quarters of its width.
    """
    import vl_convert  # noqa: PLC0415 - starts a JavaScript engine
    from PIL import Image  # noqa: PLC0415 - half a second

    drawn = []
    kinds: tuple[tuple[charts.Kind, str, int], ...] = (("success", "Success rate", 150), ("uses", "Uses", 80))
    for kind, title, height in kinds:
        rows = charts.rows(kind, view.trend)
        if not rows:
            continue
        spec = charts.with_data(charts.spec(kind, charts.PAPER), rows, 400)
        config = spec["config"]
        spec |= {
            "height": height,
            "title": {"text": title, "anchor": "start", "frame": "group", "fontSize": 14, "offset": 8},
            "config": config
            | {"font": "Liberation Sans, Arial, sans-serif", "padding": 8}
            | {"title": {"color": charts.PAPER.ink}, "view": {"stroke": "transparent"}}
            # Room of its own for the axis, so that both charts have their days in line.
            | {"axis": config["axis"] | {"labelFontSize": 13}, "axisY": {"minExtent": 44, "maxExtent": 44}},
        }
        png = vl_convert.vegalite_to_png(spec, scale=2)
        drawn.append(Image.open(io.BytesIO(png)).convert("RGB"))
    width = max(image.width for image in drawn)
    whole = Image.new("RGB", (width, sum(image.height for image in drawn)), charts.PAPER.surface)
    top = 0
    for image in drawn:
        whole.paste(image, (0, top))
        top += image.height
    small = io.BytesIO()
    whole.quantize(64, dither=Image.Dither.NONE).save(small, "png", optimize=True)
    return small.getvalue()


def _address(text: str, *, name: str = "") -> Address:
    """One address as headers and SMTP take it: in ASCII, its domain in lower case."""
    user, at, domain = text.rpartition("@")
    try:
        ascii_domain = domain.encode("idna").decode("ascii").lower()
        if not (user and at and ascii_domain and user.isascii()) or re.search(r"[\s,;<>\"\x00-\x1f]", text):
            raise ValueError
        return Address(name, addr_spec=f"{user}@{ascii_domain}")
    except (ValueError, UnicodeError, HeaderParseError, IndexError):
        raise ReportError(
            f"{_plain(text)!r} is not an address that mail can be sent to",
            mend="Expected: name@example.com, the name in ASCII.",
        ) from None


def _plain(value: Any) -> Any:
    """Text on one line, without control and direction characters; what is not text stays as it is."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    value = _DIRECTION.sub("", value)
    if value.isprintable():
        return value
    kept = {"Cc": " ", "Zl": " ", "Zp": " ", "Cs": "\ufffd"}
    return "".join(kept.get(unicodedata.category(character), character) for character in value)


def _inlined(name: str, **view: Any) -> str:
    """A mail's HTML with its styles where mail programs look for them."""
    html = css_inline.CSSInliner(keep_at_rules=True, load_remote_stylesheets=False).inline(
        _render(name, html=True, **view)
    )
    size = len(html.encode())
    if size > MOST_HTML_BYTES:
        raise ReportError(
            f"the mail's HTML has {size:,} bytes, over the {MOST_HTML_BYTES:,} that are allowed",
            where=str(TEMPLATES / name),
        )
    return html


def _render(name: str, *, html: bool, **view: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=html,  # noqa: S701 - plain text is the other form; HTML always escapes
        undefined=jinja2.StrictUndefined,
        finalize=_plain,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    try:
        return environment.get_template(name).render(**view)
    except jinja2.TemplateError as error:
        raise ReportError(
            f"the mail's template does not work: {type(error).__name__}: {error}",
            where=str(TEMPLATES / name),
            mend="Restore the template; nothing was sent.",
        ) from error
