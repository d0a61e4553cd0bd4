"""Writes the sample into the application's tables: all of it or nothing, in one transaction.

What it wrote before it replaces; what it did not write it never touches.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.csv
from psycopg import sql

from orchestration.errors import PrismError
from orchestration.library.application import TABLES, create_tables, search_path
from orchestration.sample.catalogue import ID_PREFIX, Agent, Prompt, catalogue
from orchestration.sample.usage import UsageGenerator

Progress = Callable[[int, int], None]
_LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True)
class SampleSummary:
    """What was written, in rows, and the time that its uses lie in (``until`` exclusive)."""

    schema: str
    prompts: int
    prompt_versions: int
    agents: int
    mappings: int
    usage: int
    since: datetime
    until: datetime


def write_sample(
    connection: psycopg.Connection,
    schema: str = "app",
    *,
    until: date | datetime,
    prompts: int = 62,
    agents: int = 52,
    days: int = 90,
    rows: int = 60_000,
    seed: int = 1,
    progress: Progress | None = None,
) -> SampleSummary:
    """Fills ``schema`` with a sample library and exactly ``rows`` uses over the ``days`` before ``until``.

    ``until`` is the first moment without uses: midnight UTC of a date, or a moment (a naive one is
    UTC). The same arguments write the same rows. Prompts and agents keep their ids whatever the
    arguments; the n-th use keeps its id for a seed. Earlier sample data in the schema is replaced,
    in one transaction. ``progress`` is called with the uses written and those to write.

    Raises :class:`PrismError` for sizes that make no sense, and where the schema holds rows that are
    not sample data, or tables of another shape.
    """
    moment = _moment(until)
    _check(prompts=prompts, agents=agents, days=days, rows=rows, seed=seed)
    listed, named = catalogue(prompts, agents)
    uses = UsageGenerator(listed, named, days=days, rows=rows, seed=seed, until=moment)
    library = _library_rows(listed, named, uses, seed)
    try:
        with connection.transaction():
            connection.execute(
                "select pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"prism.sample.{schema}"]
            )
            if table := other_data(connection, schema):
                raise PrismError(
                    f"the table {table} holds rows that are not sample data",
                    where=f"schema {schema}",
                    mend="Sample data never replaces other data: name another schema, or an empty one.",
                )
            create_tables(connection, schema)
            with search_path(connection, schema):
                connection.execute(
                    sql.SQL("truncate {}, prompt_changes").format(
                        sql.SQL(", ").join(map(sql.Identifier, TABLES))
                    )
                )
                for table, columns, table_rows in library:
                    _copy_rows(connection, table, columns, table_rows)
                with _without_indexes(connection):
                    _copy_usage(connection, uses, rows, progress)
                for table in TABLES:
                    connection.execute(sql.SQL("analyze {}").format(sql.Identifier(table)))
    except psycopg.Error as error:
        raise PrismError(
            f"the sample data could not be written: {error.diag.message_primary or error}",
            where=f"schema {schema}",
            mend="Name another schema, or mend what the server says. Nothing was changed.",
        ) from error
    versions, mappings = len(library[1][2]), len(library[3][2])
    return SampleSummary(
        schema=schema,
        prompts=prompts,
        prompt_versions=versions,
        agents=agents,
        mappings=mappings,
        usage=rows,
        since=uses.start,
        until=moment,
    )


def sample_reaches(connection: psycopg.Connection, schema: str, until: datetime) -> bool:
    """Whether ``schema`` holds uses of the last day before ``until``."""
    table = sql.Identifier(schema, "prompt_usage")
    if connection.execute("select to_regclass(%s)", [table.as_string(connection)]).fetchone() == (None,):
        return False
    newest = sql.SQL("select max(created_at) >= %s from {}").format(table)
    return connection.execute(newest, [until - timedelta(days=1)]).fetchone() == (True,)


def other_data(connection: psycopg.Connection, schema: str) -> str | None:
    """The first of the application's tables that holds a row whose id is none of the sample's."""
    bounds = [uuid.UUID(bytes=ID_PREFIX + bytes([filler]) * 12) for filler in (0x00, 0xFF)]
    for table in TABLES:
        found = connection.execute(
            """
            select format_type(a.atttypid, null)
            from pg_class as c left join pg_attribute as a
                on c.oid = a.attrelid and a.attnum > 0 and not a.attisdropped and a.attname = %s
            where c.relname = %s and c.relnamespace = to_regnamespace(quote_ident(%s))
            """,
            [_KEYS[table], table, schema],
        ).fetchone()
        if found is None:
            continue
        query = sql.SQL("select exists (select from {}").format(sql.Identifier(schema, table))
        if found == ("uuid",):  # an index answers this, whatever the size
            query += sql.SQL(" where {key} < {low} or {key} > {high}").format(
                key=sql.Identifier(_KEYS[table]), low=bounds[0], high=bounds[1]
            )
        if connection.execute(query + sql.SQL(")")).fetchone() == (True,):
            return table
    return None


def _moment(until: date | datetime) -> datetime:
    if not isinstance(until, datetime):
        return datetime(until.year, until.month, until.day, tzinfo=UTC)
    return until.replace(tzinfo=UTC) if until.tzinfo is None else until.astimezone(UTC)


def _check(*, prompts: int, agents: int, days: int, rows: int, seed: int) -> None:
    for name, value, least in (
        ("prompts", prompts, 1),
        ("agents", agents, 0),
        ("days", days, 1),
        ("rows", rows, 0),
    ):
        if value < least:
            raise PrismError(f"{name} is {value}", where="sample", mend=f"At least {least} is needed.")
    if not 0 <= seed <= _LARGEST_SEED:
        raise PrismError(
            f"the seed is {seed}", where="sample", mend=f"Give a number from 0 to {_LARGEST_SEED}."
        )


_KEYS = {
    "prompts": "id",
    "prompt_versions": "prompt_id",
    "agents": "id",
    "agent_prompts": "prompt_id",
    "prompt_usage": "id",
}

_Rows = Sequence[Sequence[Any]]


def _library_rows(
    prompts: Sequence[Prompt], agents: Sequence[Agent], uses: UsageGenerator, seed: int
) -> list[tuple[str, tuple[str, ...], _Rows]]:
    """Table, columns and rows of all that is not usage, in the order of ``TABLES``."""
    random = np.random.default_rng(np.random.SeedSequence([seed, 3]))
    ages = random.integers(40, 500, len(prompts))
    prompt_rows: list[tuple[Any, ...]] = []
    version_rows: list[tuple[Any, ...]] = []
    created = {}
    for place, (prompt, life) in enumerate(zip(prompts, uses.lives, strict=True)):
        born = uses.start - timedelta(days=int(ages[place]), hours=15)
        if prompt.story == "new":
            born = uses.start + timedelta(days=int(np.argmax(life.volume > 0)))
        created[place] = changed = born
        text = prompt.system_prompt
        version_rows.append((prompt.id, 1, text, prompt.user_prompt_template, born, prompt.owner, None))
        for version, edit in enumerate(life.edits, start=2):
            changed = uses.start + timedelta(days=edit.day)
            text = f"{prompt.system_prompt} {edit.added}" if edit.added else prompt.system_prompt
            version_rows.append(
                (prompt.id, version, text, prompt.user_prompt_template, changed, prompt.owner, edit.note)
            )
        if prompt.story == "archived":
            changed = uses.start + timedelta(days=int((life.volume > 0).sum()))
        prompt_rows.append(
            (
                prompt.id, prompt.name, prompt.display_name, prompt.description, prompt.domain,
                prompt.complexity_level, prompt.status, text, prompt.user_prompt_template,
                prompt.prompt_starter, list(prompt.compliance_tags), prompt.suite, prompt.owner,
                born, changed,
            )
        )  # fmt: skip
    since = min(created.values()) - timedelta(days=7)
    return [
        (
            "prompts",
            (
                "id", "name", "display_name", "description", "domain", "complexity_level", "status",
                "system_prompt", "user_prompt_template", "prompt_starter", "compliance_tags", "suite",
                "owner", "created_at", "updated_at",
            ),
            prompt_rows,
        ),
        (
            "prompt_versions",
            (
                "prompt_id", "version", "system_prompt", "user_prompt_template", "created_at", "created_by",
                "note",
            ),
            version_rows,
        ),
        (
            "agents",
            ("id", "name", "display_name", "domain", "status", "created_at", "updated_at"),
            [(a.id, a.name, a.display_name, a.domain, "active", since, since) for a in agents],
        ),
        (
            "agent_prompts",
            ("agent_id", "prompt_id", "created_at"),
            [(a.id, prompts[place].id, created[place]) for a in agents for place in a.prompts],
        ),
    ]  # fmt: skip


def _copy_rows(connection: psycopg.Connection, table: str, columns: Iterable[str], rows: _Rows) -> None:
    with (
        connection.cursor() as cursor,
        cursor.copy(
            sql.SQL("copy {} ({}) from stdin").format(
                sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
            )
        ) as copy,
    ):
        for row in rows:
            copy.write_row(row)


@contextmanager
def _without_indexes(connection: psycopg.Connection) -> Iterator[None]:
    """Takes off the usage table's indexes and foreign keys, and puts them back once the block is done.

    Made at the end they cost a fifth of what they cost row by row. The primary key stays: others may
    refer to it, and the sample's ids come in order.
    """
    foreign_keys = connection.execute(
        """
        select conname, pg_get_constraintdef(oid) from pg_constraint
        where conrelid = 'prompt_usage'::regclass and contype = 'f' order by conname
        """
    ).fetchall()
    indexes = connection.execute(
        """
        select c.relname, pg_get_indexdef(i.indexrelid)
        from pg_index as i inner join pg_class as c on i.indexrelid = c.oid
        where i.indrelid = 'prompt_usage'::regclass
            and not exists (select from pg_constraint as k where k.conindid = i.indexrelid)
        order by c.relname
        """
    ).fetchall()
    for name, _ in foreign_keys:
        connection.execute(
            sql.SQL("alter table prompt_usage drop constraint {}").format(sql.Identifier(name))
        )
    for name, _ in indexes:
        connection.execute(sql.SQL("drop index {}").format(sql.Identifier(name)))
    yield
    for _, definition in indexes:
        connection.execute(definition.encode())
    for name, definition in foreign_keys:
        add = sql.SQL("alter table prompt_usage add constraint {} ").format(sql.Identifier(name))
        connection.execute(add.as_bytes(connection) + definition.encode())


def _copy_usage(
    connection: psycopg.Connection, uses: UsageGenerator, total: int, progress: Progress | None
) -> None:
    written = 0
    options = pyarrow.csv.WriteOptions(include_header=False)
    for block in uses.blocks():
        buffer = pa.BufferOutputStream()
        pyarrow.csv.write_csv(block, buffer, options)
        with (
            connection.cursor() as cursor,
            cursor.copy(
                sql.SQL("copy prompt_usage ({}) from stdin (format csv)").format(
                    sql.SQL(", ").join(map(sql.Identifier, block.column_names))
                )
            ) as copy,
        ):
            copy.write(buffer.getvalue().to_pybytes())
        written += block.num_rows
        if progress is not None:
            progress(written, total)
