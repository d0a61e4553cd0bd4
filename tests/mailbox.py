"""A real SMTP server on the loopback that keeps what it takes and answers as it is told to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date
from email import policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.ports import free_port

DAY = date(2026, 11, 21)


class Mailbox:
    """An SMTP handler that keeps what it took, and answers as it was told to.

    ``answers``: recipient -> replies to RCPT; ``after_data``: replies to the data; both used up one by one.
    """

    def __init__(self) -> None:
        self.taken: list[tuple[str, bytes]] = []
        self.transactions: list[list[str]] = []
        self.secured: list[bool] = []
        self.answers: dict[str, list[str]] = {}
        self.after_data: list[str | Callable[[SMTP], str]] = []

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        replies = self.answers.get(address, [])
        if replies:
            return replies.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        reply = self.after_data.pop(0) if self.after_data else "250 taken"
        if callable(reply):
            reply = reply(server)
        if reply.startswith("250"):
            content = envelope.original_content
            assert content is not None
            self.taken += [(recipient, content) for recipient in envelope.rcpt_tos]
        self.transactions.append(list(envelope.rcpt_tos))
        self.secured.append(session.ssl is not None)
        return reply

    def recipients(self) -> list[str]:
        return [recipient for recipient, _ in self.taken]


def hang_up(server: SMTP) -> str:
    assert server.transport is not None
    server.transport.abort()
    return "250 taken, but nobody hears it"


@contextmanager
def running(handler: Mailbox, **options: Any) -> Iterator[str]:
    """The handler behind a server on an ephemeral port of the loopback; yields its host and port."""
    # aiosmtpd's own check of port 0 would connect to port 0: bind first, and tell it the port.
    port = free_port()
    controller = Controller(handler, hostname="127.0.0.1", port=port, **options)
    controller.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        controller.stop()


@contextmanager
def scripted(script: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that says over the socket whatever ``script`` says, to one connection after another."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            with suppress(OSError):
                script(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        thread.join(timeout=10)
        assert not thread.is_alive()


def mail(recipient: str, text: str = "Good morning.") -> EmailMessage:
    message = EmailMessage(policy=policy.SMTP)
    message["Subject"] = "Prism 2026-11-21: success 91.2 %"
    message["From"] = "Prism <prism@example.com>"
    message["To"] = recipient
    message["Message-ID"] = f"<digest.{DAY}.{recipient.replace('@', '.')}@example.com>"
    message.set_content(text)
    return message
