"""From the settings to an open library: which application, which session."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from orchestration.database import connect, describe
from orchestration.errors import PrismError
from orchestration.library.application import create_tables, has_tables
from orchestration.library.store import Library
from orchestration.library.templates import Sandbox
from orchestration.settings import ApplicationSource, Settings
from orchestration.warehouse import Warehouse


def application(settings: Settings, name: str | None = None) -> ApplicationSource:
    """The source of type ``application`` of that name, or the only one.

    Raises :class:`PrismError` where there is none, or several and no name.
    """
    known = {one.name: one for one in settings.sources if isinstance(one, ApplicationSource)}
    where = str(settings.config_path)
    if not known:
        raise PrismError(
            "no source is of type application, so there is no library to manage",
            where=where,
            mend="Add the application's database to `sources:`.",
        )
    if name is None and len(known) > 1:
        raise PrismError(
            "there are several applications", where=where, mend=f"Say which: --source {' or '.join(known)}"
        )
    if name is not None and name not in known:
        raise PrismError(f"there is no application {name!r}", where=where, mend=f"Known: {', '.join(known)}.")
    return known[name] if name is not None else next(iter(known.values()))


@contextmanager
def open_library(settings: Settings, house: Warehouse | None, name: str | None = None) -> Iterator[Library]:
    """The library of one application, over a session of its own.

    ``house`` may be none where the application has a URL of its own. Where its tables lie in the warehouse
    itself, those that are missing are made. Raises :class:`PrismError` where there is no such application or
    it can't be reached.
    """
    with _session(settings, house, name) as (connection, source, where), Sandbox() as sandbox:
        if source.url is None and not has_tables(connection, source.db_schema):
            _make_tables(connection, source, where)
        connection.commit()
        yield Library(connection, source.db_schema, sandbox, where)


def setup_application(settings: Settings, house: Warehouse, name: str | None = None) -> str:
    """Makes those of the application's tables that are missing, in one transaction; says where.

    Raises as :func:`open_library`, and where its owner does not let us.
    """
    with _session(settings, house, name) as (connection, source, where):
        _make_tables(connection, source, where)
        connection.commit()
    return where


@contextmanager
def _session(
    settings: Settings, house: Warehouse | None, name: str | None
) -> Iterator[tuple[psycopg.Connection, ApplicationSource, str]]:
    source = application(settings, name)
    url = source.url
    if url is None:
        assert house is not None
        url = house.url
    where = f"sources: {source.name}: {describe(url)}, schema {source.db_schema}"
    with connect(url, setting=f"sources: {source.name}: url") as connection:
        yield connection, source, where


def _make_tables(connection: psycopg.Connection, source: ApplicationSource, where: str) -> None:
    try:
        create_tables(connection, source.db_schema)
    except psycopg.Error as error:
        connection.rollback()
        raise PrismError(
            f"the application's tables can't be made: {error.diag.message_primary or error}",
            where=where,
            mend="Have the owner of its schema run: prism db setup --application. Nothing was changed.",
        ) from None
