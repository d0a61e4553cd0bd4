"""The PostgreSQL behind it all, embedded or given: connections, set-up, locks.

Everything that needs the warehouse gets a :class:`Warehouse` handed in. Nothing here knows what the
tables mean.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from orchestration import roles
from orchestration.database import check_url, connect, describe
from orchestration.errors import PrismError
from orchestration.postgres import DATABASE, EmbeddedServer
from orchestration.settings import Settings

OLDEST_SERVER = 150000
# The newest migration in `migrations/versions`; a test holds the two together.
SCHEMA_VERSION = "0011"


@dataclass(frozen=True)
class Warehouse:
    """A reachable warehouse. ``url`` is one libpq URI; ``dagster_url`` that of Dagster's own storage.

    ``role`` is taken on by each session, where it is there and the user may (:mod:`orchestration.roles`).
    """

    url: str = field(repr=False)
    dagster_url: str = field(repr=False)
    embedded: EmbeddedServer | None = None
    role: str | None = None

    def acting_as(self, role: str | None) -> Warehouse:
        """The same warehouse with no more rights than ``role`` has; None: as the user that it is."""
        return replace(self, role=role)

    @property
    def where(self) -> str:
        """The place in words, without secrets, for messages."""
        return describe(self.url)

    def connect(self, *, autocommit: bool = False) -> psycopg.Connection:
        """A session of its own. Raises :class:`PrismError` where the server can't be reached."""
        connection = connect(self.url, autocommit=autocommit, setting="PRISM_WAREHOUSE_URL")
        if self.role is not None:
            roles.take_on(connection, self.role)
        return connection

    @property
    def sqlalchemy_url(self) -> str:
        """The same URI with SQLAlchemy's name of the driver (psycopg 3)."""
        return "postgresql+psycopg://" + self.url.split("://", 1)[1]

    def libpq_environment(self) -> dict[str, str]:
        """The warehouse as libpq's own variables: what dbt's profile and ``psql`` read."""
        parts = conninfo_to_dict(self.url)
        same = (
            "host", "hostaddr", "port", "user", "password", "passfile", "sslmode", "sslrootcert", "sslcert",
            "sslkey",
        )  # fmt: skip
        names = {"dbname": "PGDATABASE", **{name: f"PG{name.upper()}" for name in same}}
        return {variable: str(parts[name]) for name, variable in names.items() if parts.get(name)}

    def dbt_environment(self) -> dict[str, str]:
        """What `prism-dbt` reads: libpq's variables, and the role that owns what dbt makes (empty: the user).

        Whatever else built there before is handed over to that role first.
        """
        with self.acting_as(None).connect() as connection:
            roles.hand_over(connection)
            owner = "" if roles.TRANSFORMER in roles.missing(connection) else roles.TRANSFORMER
        return {**self.libpq_environment(), "PRISM_DBT_ROLE": owner}

    @contextmanager
    def lock(self, name: str, *, wait_seconds: float = 600) -> Iterator[None]:
        """Holds the advisory lock ``name`` (``load``, ``build``) while the block runs.

        Two holders never overlap, across processes and machines; a killed one lets go at once. Raises
        :class:`PrismError` naming the holder when it is not to be had within ``wait_seconds``.
        """
        key = f"prism.{name}"
        # as the user that it is: a lesser role would not be shown who holds the lock
        with self.acting_as(None).connect(autocommit=True) as connection:
            deadline = time.monotonic() + wait_seconds
            connection.execute(
                "select set_config('lock_timeout', %s, false)",
                [f"{max(1, int(wait_seconds * 1000))}ms"],
            )
            try:
                connection.execute("select pg_advisory_lock(hashtextextended(%s, 0))", [key])
            except psycopg.errors.LockNotAvailable:
                waited = wait_seconds - max(0.0, deadline - time.monotonic())
                raise PrismError(
                    f"another process has held the {name} lock for over {waited:.0f} s"
                    f"{_holder(connection, key)}",
                    where=self.where,
                    mend="Wait until it is done, or end it, and run again.",
                ) from None
            yield  # the lock goes with the session


def _holder(connection: psycopg.Connection, key: str) -> str:
    row = connection.execute(
        """
        select l.pid, a.application_name, a.backend_start
        from pg_locks as l inner join pg_stat_activity as a on l.pid = a.pid
        where l.locktype = 'advisory' and l.granted
            and (l.classid::bigint << 32) | l.objid::bigint = hashtextextended(%s, 0)
        """,
        [key],
    ).fetchone()
    return f" (backend {row[0]}, {row[1]}, since {row[2]:%Y-%m-%d %H:%M:%S %Z})" if row else ""


def address(settings: Settings) -> str:
    """One libpq URI of the warehouse; starts nothing.

    Raises :class:`PrismError` where a variable holds what is none.
    """
    for url, name in (
        (settings.warehouse_url, "PRISM_WAREHOUSE_URL"), (settings.dagster_url, "PRISM_DAGSTER_URL")
    ):  # fmt: skip
        if url is not None:
            check_url(url, name)
    return settings.warehouse_url or EmbeddedServer(settings.home / "postgres").url(DATABASE)


def open_warehouse(settings: Settings) -> Warehouse:
    """The warehouse of the settings, started where it is the embedded one; ``setup`` makes its tables."""
    url = address(settings)
    if settings.warehouse_url:
        dagster_url = settings.dagster_url
        if dagster_url is None:
            dagster_url = _with_database(url, f"{conninfo_to_dict(url).get('dbname') or 'prism'}_dagster")
        return Warehouse(url=url, dagster_url=dagster_url)
    server = EmbeddedServer(settings.home / "postgres")
    server.acquire()
    return Warehouse(
        url=url,
        dagster_url=settings.dagster_url or server.url(f"{DATABASE}_dagster"),
        embedded=server,
    )


def _with_database(url: str, database: str) -> str:
    """``url`` with another database, as a URI again."""
    from sqlalchemy.engine import make_url  # noqa: PLC0415 - slow to import, seldom needed

    return make_url(url).set(database=database).render_as_string(hide_password=False)


def setup(warehouse: Warehouse) -> None:
    """Databases, schemas and tables, made or brought up to date; does nothing where all is there.

    One transaction: killed half-way, it leaves what was. Raises :class:`PrismError` for a server that is
    too old and for a warehouse that a newer Prism has set up.
    """
    if warehouse.embedded is not None:
        _ensure_database(warehouse.embedded.url("postgres"), warehouse.url)
    with warehouse.connect() as connection:
        if connection.info.server_version < OLDEST_SERVER:
            raise PrismError(
                f"PostgreSQL {connection.info.server_version // 10000} is too old",
                where=warehouse.where,
                mend="Prism needs PostgreSQL 15 or newer.",
            )
        if _version(connection) == SCHEMA_VERSION:
            return
    _migrate(warehouse)
    with warehouse.connect(autocommit=True) as connection:
        roles.apply(connection)


def ensure_dagster_database(warehouse: Warehouse) -> None:
    """Makes the database of Dagster's own storage beside the warehouse where it is missing."""
    _ensure_database(warehouse.url, warehouse.dagster_url)


def _ensure_database(server_url: str, url: str) -> None:
    name = str(conninfo_to_dict(url)["dbname"])
    with connect(server_url, autocommit=True, setting="PRISM_WAREHOUSE_URL") as connection:
        if connection.execute("select 1 from pg_database where datname = %s", [name]).fetchone():
            return
        try:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        except psycopg.errors.DuplicateDatabase:
            return  # another process was quicker
        except psycopg.errors.UniqueViolation:
            return
        except psycopg.errors.InsufficientPrivilege:
            raise PrismError(
                f"the role may not create the database {name}",
                where=describe(server_url),
                mend=f"Have an administrator run: create database {name}; "
                "or name another database for Dagster's storage in PRISM_DAGSTER_URL.",
            ) from None


def _version(connection: psycopg.Connection) -> str | None:
    if connection.execute("select to_regclass('ops.alembic_version')").fetchone() == (None,):
        return None
    row = connection.execute("select version_num from ops.alembic_version").fetchone()
    return str(row[0]) if row else None


def _migrate(warehouse: Warehouse) -> None:
    # Alembic and SQLAlchemy take half a second to import; a warehouse that is up to date never does.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415
    from sqlalchemy import create_engine, text  # noqa: PLC0415
    from sqlalchemy.pool import NullPool  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    engine = create_engine(warehouse.sqlalchemy_url, poolclass=NullPool)
    with warehouse.lock("setup", wait_seconds=60), engine.begin() as connection:
        connection.execute(text("create schema if not exists ops"))
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise PrismError(
                f"the warehouse was set up by another version of Prism: {error}",
                where=warehouse.where,
                mend="Install that version or a newer one.",
            ) from None
