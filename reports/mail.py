"""Mails, composed: a view becomes HTML, plain text of equal worth and a chart, then a message a recipient.

Knows nothing of the outbox or of servers. Everything that comes from data is inert: escaped in HTML, free of
control and direction characters everywhere, and headers refuse line breaks.
"""

from __future__ import annotations

import functools
import hashlib
import io
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from email import message_from_bytes, policy
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import css_inline
import jinja2
import pandas as pd
from markupsafe import Markup

from reports import charts, exports
from reports import format as fmt
from reports.errors import ReportError
from reports.marts import Marts
from reports.options import ReportOptions
from reports.selection import Frames, Selection, cut
from reports.views.common import QUALITY_DAYS
from reports.views.digest import Digest, Letter, digest, period_of
from reports.views.notice import Notice
from reports.views.operations import OperationsNotice
from reports.views.overview import TrendPoint

Sign = Callable[[bytes], bytes]

TEMPLATES = Path(__file__).resolve().parents[1] / "templates" / "mail"
# Gmail cuts a mail's HTML at 102 KB, and with it the end of the page.
MOST_HTML_BYTES = 90_000
MOST_BYTES = 1_000_000
_CHART_ID = "trend@prism"
# Base64 makes four thirds of it; the rest of a mail needs up to a quarter of what is allowed.
_MOST_ATTACHED_BYTES = 500_000
_XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
# What a signature covers. Each stands once more than the mail has it, so that no other can be added.
_SIGNED = [
    name
    for name in (b"from", b"to", b"subject", b"date", b"message-id", b"reply-to", b"list-unsubscribe")
    for _ in range(2)
] + [b"mime-version", b"content-type", b"content-transfer-encoding", b"auto-submitted", b"list-id"]
# What a rendered mail is, for :func:`parse` and for people's mail filters.
_REPORT, _AS_OF = "X-Prism-Report", "X-Prism-As-Of"
# Marks that turn the direction of text around: a name with one could make a line read as something else.
_DIRECTION = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# What chats may read as a mention, a link or a markup: angle quotes, full-width and other look-alikes.
_LOOK_ALIKES = str.maketrans("<>@[]`*_~|", "\u2039\u203a\uff20\uff3b\uff3d\u02cb\u2217\uff3f\u223c\u00a6")
# The name of the notices' rows in the outbox.
ALERT_NOTICE = "alert notice"


@dataclass(frozen=True)
class Attachment:
    """A file that comes with a mail; ``kind`` is its media type."""

    name: str
    kind: str
    content: bytes


@dataclass(frozen=True)
class Content:
    """A mail before it is addressed. ``chart`` is a PNG that the HTML shows."""

    report: str
    as_of_date: date
    subject: str
    text: str
    html: str | None = None
    chart: bytes | None = None
    attachments: tuple[Attachment, ...] = ()


class Desk:
    """Writes mails from the marts of one date, as many as there are, each mart read once.

    ``marts`` is valid inside a block of :func:`reports.marts.reading`.
    """

    def __init__(self, marts: Marts, options: ReportOptions) -> None:
        self._marts = marts
        self._options = options
        day = options.as_of_date
        self._whole = Frames(
            dashboard=marts.dashboard(),
            summary=marts.summary(),
            top=marts.top(),
            alert_rows=marts.alerts(),
            daily=marts.daily(day),
            quality=marts.data_quality(day - timedelta(days=QUALITY_DAYS - 1), day),
        )
        self._library: pd.DataFrame | None = None
        self._daily_by: dict[tuple[str, frozenset[str]], dict[str, pd.DataFrame]] = {}

    @property
    def library(self) -> pd.DataFrame:
        if self._library is None:
            self._library = self._marts.prompts()
        return self._library

    def values(self, column: str, selection: Selection) -> list[str]:
        """The values of a column of `prompts` among the prompts chosen, in order."""
        return sorted(selection.prompts(self.library)[column].dropna().unique())

    def hours_without_use(self) -> float | None:
        """How long before the end of the as-of date the newest use of any source lies; None without one."""
        last = self._whole.quality["last_used_at"].dropna()
        if last.empty:
            return None
        zone = ZoneInfo(self._options.timezone)
        end = datetime.combine(self._options.as_of_date + timedelta(days=1), time(), zone)
        newest: datetime = max(last)
        return max(0.0, (end - newest).total_seconds() / 3600)

    def view(self, letter: Letter) -> Digest:
        """The mail's view, not yet rendered."""
        return digest(self._frames(letter.selection), self._options, letter)

    def tables(self, letter: Letter, kinds: Sequence[str]) -> tuple[Attachment, ...]:
        """The prompts and the alerts that a mail is about, all of them, as files of these kinds."""
        period = period_of(letter.kind, self._options)
        frames = self._frames(letter.selection)
        rows = frames.summary[frames.summary["period"] == period]
        return attached(rows, frames.alert_rows, kinds, f"prism-{self._options.as_of_date.isoformat()}")

    def _frames(self, selection: Selection) -> Frames:
        whole, day = self._whole, self._options.as_of_date
        if selection.is_all_prompts:
            return cut(whole, selection, self.library, whole.daily, day) if selection.severities else whole
        return cut(whole, selection, self.library, self._daily(selection), day)

    def _daily(self, selection: Selection) -> pd.DataFrame:
        """The days of the prompts chosen. Where a mail goes out for each value of a column, the days of all
        of them are read at once."""
        if selection.each is None:
            chosen = list(selection.prompts(self.library)["prompt_id"])
            return self._marts.daily(self._options.as_of_date, chosen)
        among = replace(
            selection, values={name: v for name, v in selection.values.items() if name != selection.each}
        )
        ids = frozenset(among.prompts(self.library)["prompt_id"])
        key = (selection.each, ids)
        if key not in self._daily_by:
            frame = self._marts.daily_by(selection.each, sorted(ids), self._options.as_of_date)
            self._daily_by[key] = {
                str(part): rows.drop(columns="part") for part, rows in frame.groupby("part")
            }
        [value] = selection.values[selection.each]
        return self._daily_by[key].get(value, self._whole.daily.iloc[:0])


def attached(
    prompts: pd.DataFrame, alerts: pd.DataFrame, kinds: Sequence[str], name: str
) -> tuple[Attachment, ...]:
    """Both tables as files, cut to the first rows where they would be more than a mail may hold."""
    rows = max(len(prompts), len(alerts))
    while True:
        files = []
        some = {"prompts": prompts.head(rows), "alerts": alerts.head(rows)}
        if "xlsx" in kinds:
            sheets = {title.capitalize(): frame for title, frame in some.items()}
            files.append(Attachment(f"{name}.xlsx", _XLSX, exports.to_xlsx(sheets)))
        if "csv" in kinds:
            files += [
                Attachment(f"{name}-{title}.csv", "text/csv", exports.to_csv(frame, bom=True))
                for title, frame in some.items()
            ]
        if rows == 0 or sum(len(file.content) for file in files) <= _MOST_ATTACHED_BYTES:
            return tuple(files)
        rows //= 2


def render_digest(view: Digest, attachments: tuple[Attachment, ...] = ()) -> Content:
    """Both forms of a mail about a period, and its chart.

    Raises :class:`ReportError` for a broken template, and for more than :data:`MOST_HTML_BYTES` of HTML.
    """
    return Content(
        report=view.kind,
        as_of_date=view.as_of_date,
        subject=view.subject,
        text=_render("digest.txt", html=False, digest=view).replace(fmt.THIN, " "),
        html=_inlined("digest.html", digest=view, chart_id=_CHART_ID),
        chart=trend_png(view.trend) if view.trend else None,
        attachments=attachments,
    )


def render_operations(view: OperationsNotice) -> Content:
    """A notice to the owner; plain text alone."""
    return Content(
        report=view.report,
        as_of_date=view.as_of_date,
        subject=view.subject,
        text=_render("operations.txt", html=False, notice=view).replace(fmt.THIN, " "),
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
    name = re.sub(r"[^a-z]+", "-", report)[:40].strip("-")
    return f"<{name}.{as_of_date.isoformat()}.{digest_of}@{_address(sender).domain}>"


def compose(
    content: Content,
    *,
    sender: str,
    recipient: str,
    message_id: str,
    composed_at: datetime,
    reply_to: str | None = None,
    unsubscribe: str | None = None,
) -> EmailMessage:
    """One message to one recipient: the same bytes for the same arguments.

    ``unsubscribe``: the address that a mail program writes to for a reader who wants no more. Raises
    :class:`ReportError` for an address that is none, or a mail of over :data:`MOST_BYTES`.
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
    if unsubscribe:
        subject = quote(f"unsubscribe {_address(recipient).addr_spec} from {content.report}")
        message["List-Unsubscribe"] = f"<mailto:{_address(unsubscribe).addr_spec}?subject={subject}>"
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
    for file in content.attachments:
        main, _, sub = file.kind.partition("/")
        message.add_attachment(file.content, main, sub, filename=file.name)
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
    unsubscribe: str | None = None,
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
            unsubscribe=unsubscribe,
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
    images = [part for part in message.walk() if part["Content-ID"] == f"<{_CHART_ID}>"]
    return Content(
        report=str(report),
        as_of_date=date.fromisoformat(day),
        subject=str(message["Subject"]),
        text=text.get_content().replace("\r\n", "\n"),
        html=None if html is None else html.get_content().replace("\r\n", "\n"),
        chart=images[0].get_content() if images else None,
        attachments=tuple(
            Attachment(
                str(part.get_filename()), part.get_content_type(), bytes(part.get_payload(decode=True))
            )
            for part in message.iter_attachments()
            if part.get_content_disposition() == "attachment"
        ),
    )


def signer(key: bytes, selector: str, domain: str) -> Sign:
    """What puts a DKIM signature (RFC 6376) before a mail's bytes, with an RSA key in PEM.

    Raises :class:`ReportError` for a key that is none. Signed is what a mail is kept as, so that it leaves
    the same however often it is tried.
    """
    import dkim  # noqa: PLC0415 - needed by those who sign

    def sign(content: bytes) -> bytes:
        try:
            header: bytes = dkim.sign(
                content, selector.encode(), domain.encode(), key, include_headers=_SIGNED,
                canonicalize=(b"relaxed", b"relaxed"),
            )  # fmt: skip
        except (dkim.DKIMException, ValueError) as error:
            raise ReportError(
                f"mails can't be signed: {error}",
                where="PRISM_DKIM_KEY",
                mend="Name a file with an RSA key in PEM: openssl genrsa -out dkim.pem 2048",
            ) from error
        return header + content

    sign(b"From: a@b\r\n\r\n")  # a key that is none is told before anything is queued
    return sign


@functools.lru_cache(maxsize=8)
def trend_png(trend: tuple[TrendPoint, ...]) -> bytes:
    """The chart of a mail, success above uses, as a PNG of 64 colours, twice as fine as it is shown.

    Drawn narrow and with large letters: a phone shows it at three quarters of its width.
    """
    import vl_convert  # noqa: PLC0415 - starts a JavaScript engine
    from PIL import Image  # noqa: PLC0415 - half a second

    drawn = []
    kinds: tuple[tuple[charts.Kind, str, int], ...] = (("success", "Success rate", 150), ("uses", "Uses", 80))
    for kind, title, height in kinds:
        rows = charts.rows(kind, trend)
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
        autoescape=html,  # nosec B701 # noqa: S701 - plain text is the other form; HTML always escapes
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
