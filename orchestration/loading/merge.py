"""Checked rows into ``raw``: COPY into a temporary table, then one merge. All SQL of the loading is here.

Each function runs inside its caller's transaction and commits nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, LiteralString

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg import sql
from psycopg.types.json import Jsonb

from orchestration.errors import PrismError
from orchestration.loading.library import KEYS
from orchestration.loading.validate import ERASED, SEALED
from orchestration.sources.protocol import Entity

# column of raw.prompt_usage -> (canonical column, type); the key (source, usage_id) stands apart
_USAGE: Mapping[str, tuple[str, LiteralString]] = {
    "prompt_key": ("prompt_key", "text"),
    "prompt_version": ("prompt_version", "text"),
    "agent_key": ("agent_key", "text"),
    "user_key": ("user_key", "text"),
    "session_id": ("session_id", "text"),
    "model": ("model", "text"),
    "used_at": ("used_at", "timestamptz"),
    "updated_at": ("updated_at", "timestamptz"),
    "response_time_ms": ("response_time_ms", "double precision"),
    "success": ("success", "boolean"),
    "is_error": ("is_error", "boolean"),
    "error_type": ("error_type", "text"),
    "rating": ("rating", "double precision"),
    "rating_source": ("rating_source", "text"),
    "input_tokens": ("input_tokens", "bigint"),
    "output_tokens": ("output_tokens", "bigint"),
    "total_tokens": ("total_tokens", "bigint"),
    "cost": ("cost", "numeric(20, 10)"),
    "cost_source": ("cost_source", "text"),
    "ip_hash": ("ip_address", "text"),
    "user_agent_hash": ("user_agent", "text"),
}
# a row as it is copied
_WHOLE = ("source", "usage_id", *_USAGE, "batch_id", "loaded_at")
_TEXTS = ("user_prompt", "enhanced_prompt")
_PART_ROWS = 5000
# keys of a batch that are looked up to tell whether its rows are new
_SAMPLED = 500
Encoded = Sequence[bytes]

# A source that shrinks by more than this share, and by more than this many rows, is at fault itself.
_MOST_DELETED = 0.1
_FEW = 5


@dataclass
class Merged:
    """What a merge did: rows by fate, and the days that were touched."""

    inserted: int
    updated: int
    unchanged: int
    superseded: int = 0
    deleted: int = 0
    days: set[date] = field(default_factory=set)


@dataclass(frozen=True)
class EncodedUsage:
    """A batch of uses, one of each key, made ready for COPY while no server is needed yet."""

    rows: pa.Table
    columns: Sequence[str]
    whole: Encoded
    with_texts: bool


def encode_usage(rows: pa.Table, *, source: str, batch_id: int, with_texts: bool) -> EncodedUsage:
    """Uses to be copied in the order of their keys: they go through the key's index once, page by page."""
    count = rows.num_rows
    whole = pa.table(
        {
            "source": pa.repeat(pa.scalar(source), count),
            "usage_id": rows.column("usage_id"),
            **{name: rows.column(canonical) for name, (canonical, _) in _USAGE.items()},
            "cost": _dollars(rows.column("cost")),
            "batch_id": pa.repeat(pa.scalar(batch_id), count),
            "loaded_at": pa.repeat(pa.scalar(datetime.now(UTC)), count),
        }
    )
    # a column without a value need not be sent: the server reads what it is sent field by field
    columns = [name for name in whole.column_names if whole.column(name).null_count < count]
    in_order = whole.select(columns).take(pc.sort_indices(rows.column("usage_id")))
    return EncodedUsage(rows, columns, _encoded(in_order), with_texts)


def merge_usage(
    connection: psycopg.Connection, usage: EncodedUsage, *, source: str, batch_id: int, timezone: str
) -> Merged:
    """Merges a batch. Where all its rows are new they are copied straight into their table.

    Otherwise they are copied beside it and compared. A lower updated_at never overwrites a higher one;
    where one of the two is unknown, these rows win. Days are cut in ``timezone``: a row's old day counts as
    touched, too.
    """
    count = usage.rows.num_rows
    if not count:
        return Merged(0, 0, 0)
    # by the key alone, however large the table has grown: the cost follows what is new
    connection.execute("set local enable_hashjoin = off")
    connection.execute("set local enable_mergejoin = off")
    connection.execute("set local enable_seqscan = off")
    values = {"source": source, "batch_id": batch_id, "timezone": timezone}
    merged = None
    if not _some_known(connection, usage, source):
        merged = _insert(connection, usage, timezone)
    if merged is None:
        merged = _merge(connection, usage, values)
    if usage.with_texts:
        _merge_texts(connection, usage.rows, values)
    return merged


def _some_known(connection: psycopg.Connection, usage: EncodedUsage, source: str) -> bool:
    """Whether the table has one of some keys of the batch, taken from all over it."""
    keys = usage.rows.column("usage_id")
    places = np.unique(np.linspace(0, len(keys) - 1, _SAMPLED).astype(np.int64))
    row = connection.execute(
        "select exists (select from raw.prompt_usage where source = %s and usage_id = any(%s))",
        [source, keys.take(pa.array(places)).to_pylist()],
    ).fetchone()
    return bool(row and row[0])


def _insert(connection: psycopg.Connection, usage: EncodedUsage, timezone: str) -> Merged | None:
    """All rows as new ones; null, and nothing done, where one of them is not."""
    try:
        with connection.transaction():
            _copy(connection, sql.SQL("raw.prompt_usage ({})").format(_list(usage.columns)), usage.whole)
    except psycopg.errors.UniqueViolation:
        return None
    days = _days(connection, usage.rows.column("used_at"), timezone)
    return Merged(usage.rows.num_rows, 0, 0, days=days)


def _merge(connection: psycopg.Connection, usage: EncodedUsage, values: Mapping[str, Any]) -> Merged:
    """The rows beside those of their key; a known one keeps the time of its first load."""
    connection.execute("create temporary table staged_usage (like raw.prompt_usage) on commit drop")
    _copy(connection, sql.SQL("staged_usage ({})").format(_list(usage.columns)), usage.whole)
    same_key = sql.SQL("kept.source = %(source)s and kept.usage_id = staged.usage_id")
    changed = sql.SQL(
        """
        (staged.updated_at < kept.updated_at) is not true
        and (({kept}) is distinct from ({staged}) or kept.deleted_at is not null)
        """
    ).format(kept=_list(_USAGE, "kept"), staged=_list(_USAGE, "staged"))
    # most rows are mostly as they were: just the others are looked at twice
    row = connection.execute(
        sql.SQL(
            """
            with others as materialized (
                select
                    staged.used_at as new_at,
                    kept.used_at as old_at,
                    kept.usage_id is null as is_new,
                    kept.usage_id is not null and (staged.updated_at < kept.updated_at) is not true
                        as is_changed
                from staged_usage as staged
                left join raw.prompt_usage as kept on {same_key}
                where kept.usage_id is null or staged.updated_at < kept.updated_at or ({changed})
            )

            select
                count(*) filter (where is_new),
                count(*) filter (where is_changed),
                count(*) filter (where not is_new and not is_changed),
                array_agg(distinct (old_at at time zone %(timezone)s)::date) filter (where is_changed),
                array_agg(distinct (new_at at time zone %(timezone)s)::date)
                    filter (where is_new or is_changed)
            from others
            """
        ).format(same_key=same_key, changed=changed),
        values,
    ).fetchone()
    assert row is not None
    inserted, updated, superseded, old_days, new_days = row
    if updated:
        connection.execute(
            sql.SQL(
                """
                update raw.prompt_usage as kept
                set ({columns}, batch_id, deleted_at) = ({staged}, %(batch_id)s, null)
                from staged_usage as staged
                where {same_key} and {changed}
                """
            ).format(
                same_key=same_key, changed=changed, columns=_list(_USAGE), staged=_list(_USAGE, "staged")
            ),
            values,
        )
    if inserted:
        connection.execute(
            sql.SQL(
                """
                insert into raw.prompt_usage ({columns})
                select {columns} from staged_usage as staged
                where not exists (select from raw.prompt_usage as kept where {same_key})
                """
            ).format(same_key=same_key, columns=_list(_WHOLE)),
            values,
        )
    return Merged(
        inserted,
        updated,
        usage.rows.num_rows - inserted - updated - superseded,
        superseded=superseded,
        days={*(old_days or ()), *(new_days or ())},
    )


def _days(connection: psycopg.Connection, instants: pa.ChunkedArray, timezone: str) -> set[date]:
    """The days of some instants, as the server cuts them; no midnight lies inside a quarter of an hour."""
    seconds = (
        pc.unique(pc.floor_temporal(instants, 15, "minute")).cast(pa.timestamp("s", "UTC")).cast(pa.int64())
    )
    rows = connection.execute(
        "select distinct (to_timestamp(second) at time zone %s)::date from unnest(%s::bigint[]) as second",
        [timezone, seconds.to_pylist()],
    ).fetchall()
    return {day for (day,) in rows}


def _merge_texts(connection: psycopg.Connection, rows: pa.Table, values: Mapping[str, Any]) -> None:
    """What was typed, of the uses that are not superseded; what was emptied there goes for good."""
    connection.execute(
        "create temporary table staged_texts "
        "(usage_id text, updated_at timestamptz, user_prompt text, enhanced_prompt text) on commit drop"
    )
    columns = ["usage_id", "updated_at", *_TEXTS]
    _copy(connection, sql.SQL("staged_texts"), _encoded(rows.select(columns)))
    connection.execute(
        """
        insert into raw.prompt_texts as kept (
            source, usage_id, user_prompt, enhanced_prompt, batch_id, loaded_at
        )
        select
            %(source)s, staged.usage_id, staged.user_prompt, staged.enhanced_prompt, %(batch_id)s, now()
        from staged_texts as staged
        inner join raw.prompt_usage as usage
            on usage.source = %(source)s and usage.usage_id = staged.usage_id
                and (staged.updated_at < usage.updated_at) is not true
        where staged.user_prompt is not null or staged.enhanced_prompt is not null
        on conflict (source, usage_id) do update
        set user_prompt = excluded.user_prompt, enhanced_prompt = excluded.enhanced_prompt,
            batch_id = excluded.batch_id, loaded_at = excluded.loaded_at
        where (kept.user_prompt, kept.enhanced_prompt)
            is distinct from (excluded.user_prompt, excluded.enhanced_prompt)
        """,
        values,
    )
    connection.execute(
        """
        delete from raw.prompt_texts as kept
        using staged_texts as staged, raw.prompt_usage as usage
        where staged.user_prompt is null and staged.enhanced_prompt is null
            and kept.source = %(source)s and kept.usage_id = staged.usage_id
            and usage.source = %(source)s and usage.usage_id = staged.usage_id
            and (staged.updated_at < usage.updated_at) is not true
        """,
        values,
    )


# -- libraries

_LIBRARY: Mapping[Entity, Sequence[str]] = {
    "prompts": (
        "prompt_id", "name", "display_name", "description", "domain", "complexity_level", "status",
        "system_prompt", "user_prompt_template", "prompt_starter", "compliance_tags", "suite", "owner",
        "created_at", "updated_at",
    ),
    "prompt_versions": (
        "prompt_id", "version", "system_prompt", "user_prompt_template", "created_at", "created_by", "note",
    ),
    "agents": ("agent_id", "name", "display_name", "domain", "status", "created_at", "updated_at"),
    "agent_prompts": ("agent_id", "prompt_id", "created_at"),
}  # fmt: skip
_CONTENT_HASH: LiteralString = """
    encode(sha256(convert_to(
        coalesce(system_prompt, '') || chr(31) || coalesce(user_prompt_template, ''), 'UTF8'
    )), 'hex')
"""


def merge_library(
    connection: psycopg.Connection,
    *,
    entity: Entity,
    rows: pa.Table,
    source: str,
    batch_id: int,
    complete: bool,
    own_versions: bool,
    accept_deletions: bool,
) -> Merged:
    """Makes ``raw`` hold just these rows of a source's library, one of each key.

    Rows that are gone are marked deleted, unless the reading was not ``complete``. Prompts get their
    versions by content where the source keeps none (``own_versions`` false). Raises :class:`PrismError`
    where more than a tenth would be marked deleted, unless ``accept_deletions``.
    """
    table = sql.Identifier("raw", entity)
    columns = _LIBRARY[entity]
    key = KEYS[entity]
    rest = [name for name in columns if name not in key]
    hashed = entity == "prompt_versions"
    names: dict[str, sql.Composable] = {
        "table": table,
        "columns": _list(columns),
        "key": _list(key),
        "same_key": sql.SQL(" and ").join(
            sql.SQL("kept.{0} = staged.{0}").format(sql.Identifier(name)) for name in key
        ),
        "kept": _list(rest, "kept"),
        "new": _list(rest, "excluded"),
        "rest": _list(rest),
        "hash_column": sql.SQL(", content_hash") if hashed else sql.SQL(""),
        "hash": sql.SQL(", ") + sql.SQL(_CONTENT_HASH) if hashed else sql.SQL(""),
        "new_hash": sql.SQL(", excluded.content_hash") if hashed else sql.SQL(""),
    }
    values = {"source": source, "batch_id": batch_id}
    connection.execute(
        sql.SQL(
            "create temporary table staged_library on commit drop as select {columns} from {table} limit 0"
        ).format(**names)
    )
    _copy_text(connection, sql.SQL("staged_library"), rows.select(list(columns)))
    row = connection.execute(
        sql.SQL(
            """
            select
                (
                    select count(*) from {table} as kept
                    inner join staged_library as staged on kept.source = %(source)s and {same_key}
                ),
                count(*),
                count(*) filter (
                    where not exists (select from staged_library as staged where {same_key})
                )
            from {table} as kept
            where source = %(source)s and deleted_at is null
            """
        ).format(**names),
        values,
    ).fetchone()
    assert row is not None
    known, living, gone = row
    if complete and not accept_deletions and too_many(gone, living):
        raise PrismError(
            f"{gone} of the {living} {entity.replace('_', ' ')} known so far are not there any more; "
            "nothing of them was loaded",
            where=f"source {source}",
            mend="Look for what filters the source. If they were deleted on purpose, "
            f"run: prism load {source} --accept-deletions",
        )
    changed = connection.execute(
        sql.SQL(
            """
            insert into {table} as kept (source, {columns}{hash_column}, batch_id, loaded_at)
            select %(source)s, {columns}{hash}, %(batch_id)s, now() from staged_library
            on conflict (source, {key}) do update
            set ({rest}{hash_column}, batch_id, loaded_at, deleted_at)
                = ({new}{new_hash}, excluded.batch_id, excluded.loaded_at, null)
            where row({kept}) is distinct from row({new}) or kept.deleted_at is not null
            """
        ).format(**names),
        values,
    ).rowcount
    inserted = rows.num_rows - known
    deleted = 0
    if complete and gone:
        deleted = connection.execute(
            sql.SQL(
                """
                update {table} as kept set deleted_at = now(), batch_id = %(batch_id)s, loaded_at = now()
                where source = %(source)s and deleted_at is null
                    and not exists (select from staged_library as staged where {same_key})
                """
            ).format(**names),
            values,
        ).rowcount
    if entity == "prompts" and not own_versions:
        _append_versions(connection, values)
    updated = changed - inserted
    return Merged(inserted, updated, rows.num_rows - inserted - updated, deleted=deleted)


def too_many(gone: int, living: int) -> bool:
    """Whether what is gone at a source is more than people delete: a fault there, or a filter."""
    return gone > _FEW and gone > living * _MOST_DELETED


def _append_versions(connection: psycopg.Connection, values: Mapping[str, Any]) -> None:
    """A version more for each prompt whose text is not that of its latest one."""
    connection.execute(
        sql.SQL(
            """
            with latest as (
                select distinct on (prompt_id) prompt_id, number, content_hash
                from (
                    select
                        prompt_id, content_hash,
                        case when version ~ '^[0-9]{{1,9}}$' then version::integer else 0 end as number
                    from raw.prompt_versions
                    where source = %(source)s
                ) as numbered
                order by prompt_id, number desc
            ),

            current as (
                select *, {hash} as content_hash from raw.prompts
                where source = %(source)s and deleted_at is null
            )

            insert into raw.prompt_versions (
                source, prompt_id, version, content_hash, system_prompt, user_prompt_template,
                created_at, batch_id, loaded_at
            )
            select
                current.source, current.prompt_id, (coalesce(latest.number, 0) + 1)::text,
                current.content_hash, current.system_prompt, current.user_prompt_template,
                case
                    when latest.prompt_id is null then coalesce(current.created_at, current.updated_at, now())
                    else coalesce(current.updated_at, now())
                end,
                %(batch_id)s, now()
            from current
            left join latest on current.prompt_id = latest.prompt_id
            where latest.content_hash is distinct from current.content_hash
            """
        ).format(hash=sql.SQL(_CONTENT_HASH)),
        values,
    )


# -- the manifest


def next_batch_id(connection: psycopg.Connection) -> int:
    row = connection.execute(
        "select nextval(pg_get_serial_sequence('raw.load_batches', 'batch_id'))"
    ).fetchone()
    assert row is not None
    return int(row[0])


def forgotten(connection: psycopg.Connection, key_ids: Sequence[str]) -> tuple[frozenset[str], date | None]:
    """Pseudonyms of people who were erased, and the last day that is sealed.

    Raises :class:`PrismError` for people who were erased by another key for pseudonyms than ``key_ids`` tell
    of: they would not be known again.
    """
    people = connection.execute(
        "select user_key, key_id from raw.erased_people order by erased_at"
    ).fetchall()
    unknown = [key_id for _, key_id in people if key_id is not None and key_id not in key_ids]
    if unknown:
        raise PrismError(
            f"{len(unknown)} people were erased under another key for pseudonyms, and would come back",
            where=f"raw.erased_people, key_id {', '.join(sorted(set(unknown)))}",
            mend="Name the key that it was in PRISM_HMAC_OLD_KEYS (docs/privacy.md).",
        )
    row = connection.execute("select max(sealed_through) from raw.sealed_days").fetchone()
    assert row is not None
    return frozenset(person for person, _ in people), row[0]


def landed(connection: psycopg.Connection, batch_id: int) -> bool:
    """Whether the batch was committed."""
    return (
        connection.execute("select 1 from raw.load_batches where batch_id = %s", [batch_id]).fetchone()
        is not None
    )


def record(
    connection: psycopg.Connection,
    *,
    batch_id: int,
    source: str,
    entity: Entity,
    location: str,
    started_at: datetime,
    rows_read: int,
    merged: Merged,
    superseded: int,
    rejects: pa.Table,
    rejected: int,
    watermark: Mapping[str, Any] | None,
    note: str | None,
    resolves: bool,
) -> None:
    """The batch's own row, its touched days and its rejects. ``superseded``: within the batch.

    What is rejected again for the same reason, since its place was read again, stands in quarantine once,
    where the batch ``resolves`` earlier records; for files that follow each other under one name see
    :func:`resolve_again`.
    """
    connection.execute(
        """
        insert into raw.load_batches (
            batch_id, source, entity, location, started_at, finished_at, rows_read, inserted, updated,
            unchanged, superseded, rejected, values_rejected, deleted, watermark, note
        )
        overriding system value
        values (%s, %s, %s, %s, %s, clock_timestamp(), %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
        """,
        [
            batch_id, source, entity, location, started_at, rows_read, merged.inserted, merged.updated,
            merged.unchanged, merged.superseded + superseded, rejected, rejects.num_rows - rejected,
            merged.deleted, None if watermark is None else Jsonb(dict(watermark)), note,
        ],
    )  # fmt: skip
    connection.execute(
        "insert into raw.load_days (batch_id, usage_date) select %s, unnest(%s::date[])",
        [batch_id, sorted(merged.days)],
    )
    if rejects.num_rows:
        count = rejects.num_rows
        if resolves:
            again = [rejects.column(name).to_pylist() for name in ("location", "field", "reason")]
            connection.execute(
                """
                update raw.rejected_rows as before set resolved_at = now()
                from unnest(%s::text[], %s::text[], %s::text[]) as rejected (location, field, reason)
                where before.location = rejected.location and before.source = %s and before.entity = %s
                    and before.field is not distinct from rejected.field and before.reason = rejected.reason
                    and before.resolved_at is null
                """,
                [*again, source, entity],
            )
        constants = {
            "batch_id": pa.scalar(batch_id),
            "source": pa.scalar(source),
            "entity": pa.scalar(entity),
        }
        whole = pa.table(
            {
                **{name: pa.repeat(value, count) for name, value in constants.items()},
                **{name: rejects.column(name) for name in rejects.column_names},
            }
        )
        target = sql.SQL("raw.rejected_rows ({})").format(_list(whole.column_names))
        _copy(connection, target, _encoded(whole))
        # nobody is to mend those: they are on record, and closed
        connection.execute(
            "update raw.rejected_rows set resolved_at = rejected_at "
            "where batch_id = %s and field is null and reason = any(%s)",
            [batch_id, [ERASED, SEALED]],
        )


def resolve_again(connection: psycopg.Connection, batch_ids: Sequence[int]) -> None:
    """Earlier records of what was rejected again in some batches, those of one file.

    Only those of a file that held the same, or whose reading was broken off: a file's last batch keeps its
    digest.
    """
    connection.execute(
        """
        with digests as materialized (
            select others.batch_id, others.watermark ->> 'sha256' as digest
            from raw.load_batches as others
            inner join raw.load_batches as own
                on others.source = own.source and others.entity = own.entity
                    and others.location = own.location
            where own.batch_id = %(last)s and others.watermark ? 'sha256'
        )

        update raw.rejected_rows as before set resolved_at = now()
        from raw.rejected_rows as again
        where again.batch_id = any(%(ids)s) and before.batch_id < %(first)s and before.resolved_at is null
            and before.source = again.source and before.entity = again.entity
            and before.location = again.location and before.reason = again.reason
            and before.field is not distinct from again.field
            and (select digest from digests where batch_id >= before.batch_id order by batch_id limit 1)
                = (select digest from digests where batch_id = %(last)s)
        """,
        {"ids": list(batch_ids), "first": min(batch_ids), "last": max(batch_ids)},
    )


def watermarks(connection: psycopg.Connection, source: str, entity: Entity) -> dict[str, dict[str, Any]]:
    """The last watermark of each place of a source."""
    rows = connection.execute(
        """
        select distinct on (location) location, watermark
        from raw.load_batches
        where source = %s and entity = %s and watermark is not null
        order by location, batch_id desc
        """,
        [source, entity],
    ).fetchall()
    return {str(location): watermark for location, watermark in rows}


def refuse_file(connection: psycopg.Connection, batch_ids: Sequence[int]) -> list[str]:
    """Forgets that a file was loaded, none of whose rows were, and says why: the first of its rejects.

    Its digest stays, for it to be known again.
    """
    connection.execute(
        "update raw.load_batches set watermark = watermark - 'read_as' where batch_id = any(%s)",
        [list(batch_ids)],
    )
    rows = connection.execute(
        "select location, reason from raw.rejected_rows where batch_id = any(%s) and field is null "
        "order by rejected_row_id limit 20",
        [list(batch_ids)],
    ).fetchall()
    return [f"{location}: {reason}" for location, reason in rows]


# -- inside


def _list(names: Sequence[str] | Mapping[str, Any], table: str | None = None) -> sql.Composed:
    qualified = [sql.Identifier(name) if table is None else sql.Identifier(table, name) for name in names]
    return sql.SQL(", ").join(qualified)


def _dollars(costs: pa.ChunkedArray) -> pa.ChunkedArray:
    """As numeric(20, 10), rounded as the server rounds the text of a double: half of the last digit up."""
    exact = pc.if_else(pc.less(costs, 1e-11), 0.0, costs).cast(pa.string()).cast(pa.decimal128(38, 28))
    return pc.round(exact, 10, "half_towards_infinity").cast(pa.decimal128(20, 10))


def _encoded(rows: pa.Table) -> Encoded:
    """As COPY reads it in binary: each column must be of the type that its table has."""
    encoder = ArrowToPostgresBinaryEncoder(rows.schema)
    header = encoder.write_header()
    parts = [encoder.write_batch(part) for part in rows.to_batches(max_chunksize=_PART_ROWS)]
    return [header, *parts, encoder.finish()]


def _copy(connection: psycopg.Connection, target: sql.Composable, encoded: Encoded) -> None:
    with (
        connection.cursor() as cursor,
        cursor.copy(sql.SQL("copy {} from stdin (format binary)").format(target)) as copy,
    ):
        for part in encoded:
            copy.write(part)


def _copy_text(connection: psycopg.Connection, target: sql.Composable, rows: pa.Table) -> None:
    """As text, which the server turns to the types of its table: slower, and for any of them."""
    text = pa.BufferOutputStream()
    options = arrow_csv.WriteOptions(include_header=False, quoting_style="needed")
    # Arrow 26 writes rubbish where a table's first chunk is empty
    arrow_csv.write_csv(rows.combine_chunks(), text, options)
    with (
        connection.cursor() as cursor,
        cursor.copy(sql.SQL("copy {} from stdin (format csv)").format(target)) as copy,
    ):
        copy.write(memoryview(text.getvalue()))
