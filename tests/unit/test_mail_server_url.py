"""What PRISM_SMTP_URL may say, and what its errors must not."""

from __future__ import annotations

import pytest

from reports.errors import ReportError
from reports.smtp import Server, parse_url


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.example.com", Server("mail.example.com", 25, False)),
        ("smtp://mail.example.com:2525/", Server("mail.example.com", 2525, False)),
        ("smtp://[::1]:2525", Server("::1", 2525, False, requires_tls=False)),
        ("smtp://127.0.0.2:2525", Server("127.0.0.2", 2525, False, requires_tls=False)),
        ("smtp://localhost?tls=required", Server("localhost", 25, False)),
        ("smtp://relay.example.com?tls=optional", Server("relay.example.com", 25, False, requires_tls=False)),
        ("smtp://ann:pass@localhost?tls=optional", Server("localhost", 587, False, "ann", "pass")),
        ("smtps://mail.example.com", Server("mail.example.com", 465, True)),
        ("smtp://ann:pass@mail.example.com", Server("mail.example.com", 587, False, "ann", "pass")),
        ("smtp://ann%40example.com:p%40s%2Fs%23@h:587", Server("h", 587, False, "ann@example.com", "p@s/s#")),
    ],
)
def test_host_port_tls_and_credentials_are_read(url: str, server: Server) -> None:
    assert parse_url(url) == server


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("https://mail.example.com", "must start with smtp:// or smtps://"),
        ("mail.example.com:25", "must start with smtp:// or smtps://"),
        ("smtp://", "names no host"),
        ("smtp://ann:hunter2@mail.example.com:port", "not a URL of a mail server"),
        ("smtp://ann:hunter2@[::1", "not a URL of a mail server"),
        ("smtp://ann:hunter2/x@mail.example.com", "not a URL of a mail server"),
        ("smtp://mail.example.com/hunter2", "goes on after host and port"),
        ("smtp://mail.example.com?verify=no", "goes on after host and port"),
        ("smtp://mail.example.com?tls=never", "neither required nor optional"),
        ("smtp://ann@mail.example.com", "both a user and a password"),
        ("smtp://ann:hunter2%C3%A9@mail.example.com", "ASCII"),
    ],
)
def test_a_wrong_url_is_refused_with_the_setting_s_name_and_without_its_value(
    url: str, complaint: str
) -> None:
    with pytest.raises(ReportError) as caught:
        parse_url(url)
    assert caught.value.where == "PRISM_SMTP_URL"
    assert complaint in caught.value.what
    assert caught.value.mend
    assert "hunter2" not in str(caught.value)


def test_a_server_never_shows_its_credentials() -> None:
    assert "hunter2" not in repr(parse_url("smtp://ann:hunter2@mail.example.com"))
