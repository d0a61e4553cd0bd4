"""The application's own tables, made where they are missing.

Knows their names and their file of SQL, nothing of what is written into them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

# Parents before children: the order to write them in.
TABLES = ("prompts", "prompt_versions", "agents", "agent_prompts", "prompt_usage")
_SQL = Path(__file__).with_name("application.sql")
_ACCESS = Path(__file__).with_name("application_access.sql")


@contextmanager
def search_path(connection: psycopg.Connection, schema: str) -> Iterator[None]:
    """Has unqualified names mean ``schema`` while the block runs, inside the caller's transaction."""
    with connection.transaction():
        before = connection.execute("select current_setting('search_path')").fetchone()
        assert before is not None
        connection.execute(
            "select set_config('search_path', quote_ident(%s), true)",
            [schema],
        )
        yield
        connection.execute("select set_config('search_path', %s, true)", before)


def has_tables(connection: psycopg.Connection, schema: str) -> bool:
    """Whether the newest of the application's tables is there: then so are the others."""
    table = sql.Identifier(schema, "prompt_changes").as_string(connection)
    return connection.execute("select to_regclass(%s)", [table]).fetchone() != (None,)


def create_tables(connection: psycopg.Connection, schema: str) -> None:
    """Makes ``schema`` and the application's tables in it, in the connection's transaction.

    What is there already stays as it is. The caller commits.
    """
    # `create schema if not exists` asks for the right to create schemas even where nothing is to do
    if connection.execute("select to_regnamespace(quote_ident(%s))", [schema]).fetchone() == (None,):
        connection.execute(sql.SQL("create schema {}").format(sql.Identifier(schema)))
    with search_path(connection, schema):
        connection.execute(_SQL.read_bytes())


def script(schema: str) -> str:
    """The SQL of an application that has none of the tables yet: schema, tables, indexes, row level security.

    For an administrator of its database: it makes the roles of a gateway (`anon`, `authenticated`,
    `service_role`) where they are missing. Running it again changes nothing.
    """
    name = sql.Identifier(schema).as_string(None)
    return "\n".join(
        [
            "begin;",
            f"create schema if not exists {name};",
            f"set local search_path to {name};",
            _SQL.read_text(encoding="utf-8"),
            _ACCESS.read_text(encoding="utf-8"),
            "commit;",
            "",
        ]
    )
