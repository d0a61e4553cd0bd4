"""Sessions with any PostgreSQL, ours or a source's: one clear message where there is none to be had."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from orchestration.errors import PrismError

_APPLICATION = "prism"
_CONNECT_ATTEMPTS = 4


def describe(url: str) -> str:
    """A database URI in words, without its password."""
    parts = _parts(url)
    if parts is None:
        return "the database URL"
    host = parts.get("host") or "the default host"
    port = f":{parts['port']}" if parts.get("port") else ""
    return f"database {parts.get('dbname') or '(default)'} at {host}{port}"


def connect(url: str, *, setting: str, autocommit: bool = False) -> psycopg.Connection:
    """A session at ``url``; while the server starts or is full, it is tried again for some seconds.

    ``setting`` names, for the message, where the URL comes from. Raises :class:`PrismError`.
    """
    check_url(url, setting)
    for attempt in range(_CONNECT_ATTEMPTS):
        try:
            return psycopg.connect(
                make_conninfo(url, connect_timeout=10, application_name=_APPLICATION),
                autocommit=autocommit,
            )
        except psycopg.OperationalError as error:
            reason = " ".join(str(error).split())
            transient = (
                "starting up" in reason
                or "too many clients" in reason
                or "remaining connection slots" in reason
            )
            if not transient or attempt == _CONNECT_ATTEMPTS - 1:
                raise PrismError(
                    f"no connection to the {describe(url)}: {reason}",
                    where=setting,
                    mend="Check that the server runs there, and host, user, password and database.",
                ) from None
            time.sleep(2**attempt / 2)
    raise AssertionError("unreachable")


def has_table(connection: psycopg.Connection, name: str) -> bool:
    """Whether there is a table ``schema.name``; a view is none."""
    row = connection.execute(
        "select relkind = any('{r,p}') from pg_class where oid = to_regclass(%s)", [name]
    ).fetchone()
    return row is not None and bool(row[0])


def check_url(url: str, setting: str) -> None:
    """Raises :class:`PrismError` for a URL that is none; ``setting`` names where it comes from."""
    if _parts(url) is None:
        raise PrismError(
            "this is not a PostgreSQL URL",
            where=setting,
            mend="Expected: postgresql://user:password@host:5432/database; "
            "in user and password write / as %2F, ? as %3F, # as %23, @ as %40.",
        )


def _parts(url: str) -> Mapping[str, Any] | None:
    """libpq's reading of a URL; None where it can't be read.

    Nor where part of a password would be taken for the place, and told: an @ or / in it that is not encoded.
    """
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return None  # its message would show the URL
    host, port = str(parts.get("host") or ""), str(parts.get("port") or "0")
    place = f"{'' if host.startswith('/') else host}{parts.get('dbname') or ''}"
    return parts if "@" not in place and all(not one or one.isdecimal() for one in port.split(",")) else None
