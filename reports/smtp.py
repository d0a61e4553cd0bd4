"""One mail to one recipient over SMTP, and exactly what became of it.

smtplib spreads refusals over many exceptions, does not raise when only some recipients are refused, and
does not tell a mail that was never taken from one whose answer was lost. Here each transaction has one
recipient and ends in one :class:`Reply`. Knows nothing of the database or of what the mail says.
"""

from __future__ import annotations

import base64
import ipaddress
import re
import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from reports.errors import ReportError

Verdict = Literal["sent", "retry", "failed", "uncertain"]

SETTING = "PRISM_SMTP_URL"
_EXPECTED = "Expected: smtp://user:password@host:587 or smtps://user:password@host:465"
_TLS = ("required", "optional")
_LONGEST_REPLY = 300


@dataclass(frozen=True)
class Reply:
    """What became of one transaction, with the server's words or the fault's."""

    verdict: Verdict
    text: str


class UnavailableError(Exception):
    """No transaction was possible: the fault lies with the server or the settings, not with a recipient.

    ``permanent`` where another attempt without a change would end the same way (a wrong password).
    """

    def __init__(self, text: str, *, permanent: bool = False) -> None:
        self.text = text
        self.permanent = permanent
        super().__init__(text)


@dataclass(frozen=True)
class Server:
    """Where mail goes out. ``requires_tls``: nothing is said in the clear, nor to a false certificate."""

    host: str
    port: int
    implicit_tls: bool
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    requires_tls: bool = True

    @property
    def where(self) -> str:
        """The place in words, without secrets."""
        return f"mail server {self.host}:{self.port}"


def parse_url(url: str) -> Server:
    """Reads ``smtp://…`` or ``smtps://…`` with percent-encoded credentials; errors never show the URL.

    TLS is a must but to a server on this machine; ``?tls=optional`` at the end takes it where it is offered.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ReportError("this is not a URL of a mail server", where=SETTING, mend=_EXPECTED) from None
    if parts.scheme not in ("smtp", "smtps"):
        raise ReportError("the URL must start with smtp:// or smtps://", where=SETTING, mend=_EXPECTED)
    if not parts.hostname:
        raise ReportError("the URL names no host", where=SETTING, mend=_EXPECTED)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    tls = options.pop("tls", "optional" if is_loopback(parts.hostname) else "required")
    if tls not in _TLS:
        raise ReportError(
            "the URL's `tls` is neither required nor optional",
            where=SETTING,
            mend="Leave it out: TLS is then required. ?tls=optional is for relays of your own network.",
        )
    if parts.path.strip("/") or options or parts.fragment:
        raise ReportError(
            "the URL goes on after host and port",
            where=SETTING,
            mend=f"{_EXPECTED}; in user and password write / as %2F, ? as %3F, # as %23, @ as %40.",
        )
    if (parts.username is None) != (parts.password is None):
        raise ReportError(
            "the URL needs both a user and a password, or neither", where=SETTING, mend=_EXPECTED
        )
    user = None if parts.username is None else unquote(parts.username)
    password = None if parts.password is None else unquote(parts.password)
    if not f"{user}{password}".isascii():
        raise ReportError(
            "user and password can have ASCII characters only: SMTP's log-in has no rule for others",
            where=SETTING,
            mend="Have the mail server's administrator set another password.",
        )
    implicit_tls = parts.scheme == "smtps"
    return Server(
        host=parts.hostname,
        port=port or (465 if implicit_tls else 25 if user is None else 587),
        implicit_tls=implicit_tls,
        requires_tls=implicit_tls or tls == "required" or user is not None,
        user=user,
        password=password,
    )


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine for itself alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Session:
    """A connection that is opened when first needed and again after a fault; a context manager.

    ``timeout`` bounds each wait for the server, ``deadline`` (both in seconds) all of one :meth:`send`: a
    server that answers a byte at a time would outlast any timeout.
    """

    def __init__(self, server: Server, *, timeout: float, deadline: float) -> None:
        self._server = server
        self._timeout = timeout
        self._deadline = deadline
        self._client: smtplib.SMTP | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            with suppress(OSError), self._within_deadline():
                self._client.quit()
            self._drop()

    def send(self, sender: str, recipient: str, content: bytes) -> Reply:
        """One transaction for one recipient. ``content``: the mail with CRLF line ends.

        Raises :class:`UnavailableError` where it does not come to a transaction.
        """
        with self._within_deadline():
            client = self._connected()
            return self._transact(client, sender, recipient, content)

    def _transact(self, client: smtplib.SMTP, sender: str, recipient: str, content: bytes) -> Reply:
        given = False
        try:
            code, text = client.mail(sender)
            if 500 <= code < 600 and code != 552:  # 552: this mail is too large
                self._reset(client)
                raise UnavailableError(
                    f"it does not take mail from {sender}: {self._said(code, text)}", permanent=True
                )
            if code == 250:
                code, text = client.rcpt(recipient)
                if code in (250, 251):
                    code, text = client.docmd("DATA")
                    if code == 354:
                        given = True
                        client.send(_stuffed(content))
                        code, text = client.getreply()
                        if 200 <= code < 300:
                            return Reply("sent", self._said(code, text))
                        if not 400 <= code < 600:
                            self._drop()
                            return Reply("uncertain", self._said(code, text))
            reply = Reply("failed" if 500 <= code < 600 else "retry", self._said(code, text))
            self._reset(client)
        except OSError as error:  # all of smtplib's, ssl's and socket's are OSErrors
            self._drop()
            if given:
                return Reply("uncertain", f"the answer to the mail was lost: {self._described(error)}")
            return Reply("retry", f"the connection broke: {self._described(error)}")
        return reply

    def _connected(self) -> smtplib.SMTP:
        if self._client is not None:
            return self._client
        server = self._server
        name = socket.gethostname()
        # Left to itself, smtplib asks the DNS for this machine's full name, without a timeout.
        name = name if "." in name else "[127.0.0.1]"
        context = ssl.create_default_context()
        client: smtplib.SMTP
        if server.implicit_tls:
            client = smtplib.SMTP_SSL(timeout=self._timeout, local_hostname=name, context=context)
        else:
            client = smtplib.SMTP(timeout=self._timeout, local_hostname=name)
        # Connecting in the constructor would leave the deadline without a socket to cut; connect() alone does
        # not note the host, against whose name the certificate is checked.
        client._host = server.host  # type: ignore[attr-defined]
        self._client = client
        try:
            code, text = client.connect(server.host, server.port)
            if code != 220:
                raise UnavailableError(self._said(code, text), permanent=500 <= code < 600)
            client.ehlo_or_helo_if_needed()
            self._secure(client, context)
            if server.user is not None and server.password is not None:
                client.login(server.user, server.password)
        except UnavailableError:
            self._drop()
            raise
        except OSError as error:
            self._drop()
            refused = isinstance(error, smtplib.SMTPResponseException) and 500 <= error.smtp_code < 600
            raise UnavailableError(
                self._described(error),
                permanent=refused or isinstance(error, ssl.SSLError | smtplib.SMTPNotSupportedError),
            ) from None
        return client

    def _secure(self, client: smtplib.SMTP, context: ssl.SSLContext) -> None:
        """STARTTLS: a must unless the settings say otherwise, and then still taken where it is offered."""
        if self._server.implicit_tls:
            return
        if not client.has_extn("starttls"):
            if self._server.requires_tls:
                raise UnavailableError(
                    "it offers no STARTTLS, and neither mails nor a password are sent in the clear",
                    permanent=True,
                )
            return
        if not self._server.requires_tls:
            # Whoever could present a false certificate here could as well leave out the offer. Relays on
            # the same host or network mostly have a certificate of their own making.
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        client.starttls(context=context)
        client.ehlo_or_helo_if_needed()

    def _reset(self, client: smtplib.SMTP) -> None:
        try:
            code, _ = client.rset()
        except OSError:
            code = -1
        if code != 250:
            self._drop()

    def _drop(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    @contextmanager
    def _within_deadline(self) -> Iterator[None]:
        def cut() -> None:
            connection = getattr(self._client, "sock", None)
            if connection is not None:
                with suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)

        timer = threading.Timer(self._deadline, cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _said(self, code: int, text: bytes | str) -> str:
        words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        return self._clean(f"{code} {words}")

    def _described(self, error: OSError) -> str:
        if isinstance(error, smtplib.SMTPResponseException):
            return self._said(error.smtp_code, error.smtp_error)
        if isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):
            return f"no answer within {self._timeout:g} s"
        return self._clean(str(error) or type(error).__name__)

    def _clean(self, text: str) -> str:
        """One printable line without the credentials: some servers repeat what they were told."""
        if self._server.user and self._server.password:
            user, password = self._server.user, self._server.password
            text = text.replace(password, "***")
            for told in (f"\0{user}\0{password}", password, user):  # as AUTH encodes them
                text = text.replace(base64.b64encode(told.encode()).decode(), "***")
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text if len(text) <= _LONGEST_REPLY else text[: _LONGEST_REPLY - 1] + "…"


def _stuffed(content: bytes) -> bytes:
    """The mail as DATA wants it (RFC 5321, 4.5.2): leading dots doubled, a lone dot last."""
    content = re.sub(rb"(?m)^\.", b"..", content)
    return content + (b"" if content.endswith(b"\r\n") else b"\r\n") + b".\r\n"
