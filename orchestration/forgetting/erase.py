"""A person out of everything that is kept: tables, quarantine, outbox, reports, archives; and the proof.

Knows where people's data lie. The marts are not touched: they hold counts, and the days that the person was
in are built anew by the next build. Days that are sealed keep their counts and lose the key alone.
"""

from __future__ import annotations

import csv
import html
import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from email import message_from_bytes, policy
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from orchestration.database import has_table
from orchestration.errors import PrismError
from orchestration.forgetting import archives
from orchestration.loading.validate import key_id, pseudonym
from orchestration.settings import FileSource, Settings
from orchestration.warehouse import Warehouse

_PSEUDONYM = re.compile(r"[0-9a-f]{64}")
# Shorter ones without an @ stand in any text: there, only whole values are looked for.
_TELLING = 8
_DATED = re.compile(r"\d{4}-\d\d-\d\d")
_LONGEST_KEY = 1000
_SCHEMAS = ("raw", "ops", "analytics", "intermediate", "by_period", "marts")
_TOMBSTONES = ("raw", "erased_people")
_REMOVED = "erased"
_PACKED = (".xlsx", ".parquet", ".pdf", ".png")


@dataclass
class Receipt:
    """What an erasure removed, by table and kind of file, and what the search after it still found.

    ``removed`` and ``found`` count rows (files, for reports and mails); ``days`` are built anew by the next
    build.
    ``unread`` are files that could not be searched. It names nobody.
    """

    removed: dict[str, int] = field(default_factory=dict)
    days: int = 0
    found: dict[str, int] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    dry_run: bool = False

    def add(self, place: str, count: int) -> None:
        if count:
            self.removed[place] = self.removed.get(place, 0) + count

    @property
    def lines(self) -> Iterator[str]:
        verb = "would be removed" if self.dry_run else "removed"
        for place, count in self.removed.items():
            yield f"{place}: {count:,} {verb}"
        if not self.removed:
            yield "Nothing of this person is kept."
        if self.days:
            yield f"{self.days:,} days are built anew by the next build: prism run"
        yield from self.notes
        if not self.dry_run:
            where = ", ".join(f"{place} ({count:,})" for place, count in self.found.items())
            yield f"The search after it found {f'the person in {where}' if where else 'nothing'}."
        for path in self.unread:
            yield f"not searched, since it can't be read: {path}"

    def as_json(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class Person:
    """One person by all the names that tables may hold. ``typed`` is the key as it was given.

    ``pseudonyms`` -> the `key_id` of the key that each was made with.
    """

    typed: str
    keys: tuple[str, ...]
    pseudonyms: Mapping[str, str]
    hmac_keys: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def of(cls, key: str, settings: Settings) -> Person:
        """``key`` as in the source, or a pseudonym as in ``raw.prompt_usage.user_key``."""
        hmac_keys = settings.hmac_keys()
        hashed = {pseudonym(one, key): key_id(one) for one in hmac_keys}
        if _PSEUDONYM.fullmatch(key):
            # by which key can't be told: its own hashes are marked with each, so that loads need all of them
            hashed = {key: key_id(hmac_keys[0]), **hashed}
        return cls(key, tuple(dict.fromkeys((key, *hashed))), hashed, hmac_keys)

    @property
    def telling(self) -> tuple[str, ...]:
        """Those of the keys that can be looked for inside of texts."""
        return tuple(key for key in self.keys if len(key) >= _TELLING or "@" in key)

    def is_theirs(self) -> archives.IsTheirs:
        """Whether a value of a file is their key: there it may be plain while only the pseudonym is known."""

        @lru_cache(maxsize=100_000)
        def theirs(value: str) -> bool:
            if value in self.keys:
                return True
            try:
                return any(pseudonym(key, value) in self.pseudonyms for key in self.hmac_keys)
            except UnicodeEncodeError:  # bytes that are no text
                return False

        return lambda value: len(value) <= _LONGEST_KEY and theirs(value)


def erase(warehouse: Warehouse, settings: Settings, key: str, *, dry_run: bool = False) -> Receipt:
    """Removes a person; with ``dry_run`` counts what would be removed, and changes nothing.

    ``key`` is theirs as in the source, or their pseudonym. The tables change in one transaction, files one by
    one after it; run again, it goes on. Raises :class:`PrismError` for an empty key.
    """
    if not key.strip():
        raise PrismError("a person needs a key to be erased by", where="prism erase --user")
    person = Person.of(key, settings)
    receipt = Receipt(dry_run=dry_run)
    if len(person.hmac_keys) > 1 and _PSEUDONYM.fullmatch(key):
        receipt.notes.append(
            "A pseudonym is of one key: what is kept under another's is found by the person's own key alone."
        )
    with warehouse.lock("load"), warehouse.lock("build"), warehouse.connect() as connection:
        _tables(connection, person, settings.config.timezone, receipt)
        if dry_run:
            connection.rollback()
        else:
            connection.commit()
        _files(settings, person, receipt)
        if not dry_run:
            left = Receipt(dry_run=True)
            _files(settings, person, left)
            receipt.found = {**search(connection, person), **left.removed}
            connection.execute("insert into ops.erasures (receipt) values (%s)", [Jsonb(receipt.as_json())])
    return receipt


def _tables(connection: psycopg.Connection, person: Person, timezone: str, receipt: Receipt) -> None:
    names = {
        "keys": list(person.keys),
        "timezone": timezone,
        "typed": person.typed,
        "telling": list(person.telling),
    }

    def run(place: str, statement: str) -> None:
        done = connection.execute(statement, names)
        receipt.add(place, done.rowcount)

    connection.execute(
        """
        create temporary table erased_uses on commit drop as
        select source, usage_id, session_id, (used_at at time zone %(timezone)s)::date as usage_date
        from raw.prompt_usage where user_key = any(%(keys)s)
        """,
        names,
    )
    row = connection.execute("select count(distinct usage_date) from erased_uses").fetchone()
    receipt.days = int(row[0]) if row else 0
    connection.execute(
        """
        with batches as (
            insert into raw.load_batches (
                source, entity, location, started_at, finished_at,
                rows_read, inserted, updated, unchanged, superseded, rejected, deleted
            )
            select source, 'usage', 'erased', now(), now(), 0, 0, 0, 0, 0, 0, count(*)
            from erased_uses group by source
            returning batch_id, source
        )
        insert into raw.load_days (batch_id, usage_date)
        select distinct batches.batch_id, uses.usage_date
        from batches inner join erased_uses as uses on batches.source = uses.source
        """
    )
    run(
        "raw.prompt_texts",
        "delete from raw.prompt_texts as texts using erased_uses as uses "
        "where texts.source = uses.source and texts.usage_id = uses.usage_id",
    )
    run(
        "raw.prompt_texts (of others, that name them)",
        "delete from raw.prompt_texts where exists (select from unnest(%(telling)s::text[]) as key "
        "where strpos(lower(concat_ws(' ', user_prompt, enhanced_prompt)), lower(key)) > 0)",
    )
    run(
        "raw.rejected_rows",
        "delete from raw.rejected_rows as rejected using erased_uses as uses, raw.load_batches as batches "
        "where rejected.source = uses.source and rejected.batch_id = batches.batch_id "
        "and rejected.entity = 'usage' and rejected.location = batches.location || ':' || uses.usage_id",
    )
    _quarantine(connection, person, receipt)
    run("raw.prompt_usage", "delete from raw.prompt_usage where user_key = any(%(keys)s)")
    run(
        "raw.prompts (owner)",
        "update raw.prompts set owner = null where lower(owner) = lower(%(typed)s)",
    )
    run(
        "raw.prompt_versions (created_by)",
        "update raw.prompt_versions set created_by = null where lower(created_by) = lower(%(typed)s)",
    )
    if "raw.prompts (owner)" in receipt.removed or "raw.prompt_versions (created_by)" in receipt.removed:
        receipt.notes.append(
            "A source names them with its prompts: take them out there, or the next load does."
        )
    # what the last build read, and the next one writes anew; an older version has a view of that name
    if has_table(connection, "intermediate.int_touched_usage"):
        run("int_touched_usage", "delete from intermediate.int_touched_usage where user_key = any(%(keys)s)")
    _daily_users(connection, person, receipt)
    _daily_sessions(connection, receipt)
    _ops(connection, person, receipt)
    connection.cursor().executemany(
        "insert into raw.erased_people (user_key, key_id) values (%s, %s) "
        "on conflict (user_key) do update set key_id = coalesce(erased_people.key_id, excluded.key_id)",
        list(person.pseudonyms.items()),
    )


def _quarantine(connection: psycopg.Connection, person: Person, receipt: Receipt) -> None:
    """Rejected rows that show the key: as a whole value, or inside of one where it is long enough."""
    done = connection.execute(
        """
        delete from raw.rejected_rows where payload = any(%(keys)s)
            or exists (select from unnest(%(quoted)s::text[]) as quoted where strpos(payload, quoted) > 0)
            or exists (
                select from unnest(%(telling)s::text[]) as key
                where strpos(lower(payload), lower(key)) > 0 or strpos(lower(location), lower(key)) > 0
            )
        """,
        {
            "keys": list(person.keys),
            "quoted": [json.dumps(key, ensure_ascii=False) for key in person.keys],
            "telling": list(person.telling),
        },
    )
    receipt.add("raw.rejected_rows", done.rowcount)


def _daily_users(connection: psycopg.Connection, person: Person, receipt: Receipt) -> None:
    """The rollups that hold keys. In sealed days a name of no meaning takes the key's place, and so it does
    among the last visits: they stay as many as they are counted, until days are built anew without them."""
    if not has_table(connection, "intermediate.int_prompt_users_daily"):
        return
    names = {"keys": list(person.keys), "nobodies": [f"{_REMOVED} {uuid.uuid4()}" for _ in person.keys]}
    done = connection.execute(
        """
        update intermediate.int_prompt_users_daily as days set user_key = names.nobody
        from unnest(%(keys)s::text[], %(nobodies)s::text[]) as names (user_key, nobody)
        where days.user_key = names.user_key
            and days.usage_date <= (select max(sealed_through) from raw.sealed_days)
        """,
        names,
    )
    receipt.add("int_prompt_users_daily (keys of sealed days)", done.rowcount)
    done = connection.execute(
        "delete from intermediate.int_prompt_users_daily where user_key = any(%(keys)s)", names
    )
    receipt.add("int_prompt_users_daily", done.rowcount)
    if not has_table(connection, "intermediate.int_prompt_visitors"):
        return
    done = connection.execute(
        """
        update intermediate.int_prompt_visitors as visitors set visitor_key = names.nobody
        from unnest(%(keys)s::text[], %(nobodies)s::text[]) as names (user_key, nobody)
        where visitors.kind = 'user' and visitors.visitor_key = names.user_key
        """,
        names,
    )
    receipt.add("int_prompt_visitors (keys)", done.rowcount)
    # a build that was killed left it; the next one makes it anew
    connection.execute("delete from intermediate.int_touched_visitors")


def _daily_sessions(connection: psycopg.Connection, receipt: Receipt) -> None:
    """The sessions of the uses that are gone, where no other use has them: in sealed days, and among the last
    visits, a name of no meaning takes the session's place; other days are built anew without it."""
    if not has_table(connection, "intermediate.int_prompt_visitors"):
        return
    connection.execute(
        """
        create temporary table erased_sessions on commit drop as
        select source, session_id, %s::text || ' ' || gen_random_uuid() as nobody
        from (select distinct source, session_id from erased_uses where session_id is not null) as sessions
        where not exists (
            select from raw.prompt_usage as uses
            where uses.source = sessions.source and uses.session_id = sessions.session_id
        )
        """,
        [_REMOVED],
    )
    done = connection.execute(
        """
        update intermediate.int_prompt_sessions_daily as days set session_id = sessions.nobody
        from erased_sessions as sessions
        where days.source = sessions.source and days.session_id = sessions.session_id
            and days.usage_date <= (select max(sealed_through) from raw.sealed_days)
        """
    )
    receipt.add("int_prompt_sessions_daily (sessions of sealed days)", done.rowcount)
    connection.execute(
        """
        update intermediate.int_prompt_visitors as visitors set visitor_key = sessions.nobody
        from erased_sessions as sessions
        where visitors.kind = 'session' and visitors.source = sessions.source
            and visitors.visitor_key = sessions.session_id
        """
    )


def _ops(connection: psycopg.Connection, person: Person, receipt: Receipt) -> None:
    """Mails and notices to the person, mails that show them, and their name on what they did about alerts."""
    mails: list[int] = []
    shown: list[int] = []
    for outbox_id, recipient, subject, reply, body, state in connection.execute(
        "select outbox_id, recipient, subject, coalesce(last_reply, ''), body, state from ops.outbox"
    ).fetchall():
        if recipient.lower() == person.typed.lower():
            mails.append(outbox_id)
        elif person.telling and _shows(f"{subject}\n{reply}\n{_text_of(bytes(body))}", person):
            (shown if state == "sent" else mails).append(outbox_id)
    connection.execute("delete from ops.deliveries where outbox_id = any(%s)", [mails])
    done = connection.execute("delete from ops.outbox where outbox_id = any(%s)", [mails])
    receipt.add("ops.outbox", done.rowcount)
    # that it was sent stays known, or it would be sent again
    done = connection.execute(
        "update ops.outbox set body = '', subject = %s, last_reply = null where outbox_id = any(%s)",
        [_REMOVED, shown],
    )
    receipt.add("ops.outbox (content)", done.rowcount)
    done = connection.execute(
        "delete from ops.deliveries where outbox_id = any(%s) or reply is not null and exists ("
        "select from unnest(%s::text[]) as key where strpos(lower(reply), lower(key)) > 0)",
        [shown, list(person.telling)],
    )
    receipt.add("ops.deliveries", done.rowcount)
    for table in ("notice_events", "notices", "mail_suppressions"):
        done = connection.execute(
            sql.SQL("delete from {} where lower(recipient) = lower(%s)").format(sql.Identifier("ops", table)),
            [person.typed],
        )
        receipt.add(f"ops.{table}", done.rowcount)
    known = connection.execute(
        "select 1 from ops.alert_actions where lower(%(typed)s) in (lower(acted_by), lower(assigned_to))",
        {"typed": person.typed},
    ).fetchone()
    if known:
        # a history that nothing else changes
        connection.execute("alter table ops.alert_actions disable trigger alert_actions_only_grow")
        done = connection.execute(
            """
            update ops.alert_actions set
                acted_by = case when lower(acted_by) = lower(%(typed)s) then %(removed)s else acted_by end,
                assigned_to
                = case when lower(assigned_to) = lower(%(typed)s) then %(removed)s else assigned_to end
            where lower(%(typed)s) in (lower(acted_by), lower(assigned_to))
            """,
            {"typed": person.typed, "removed": _REMOVED},
        )
        connection.execute("alter table ops.alert_actions enable trigger alert_actions_only_grow")
        receipt.add("ops.alert_actions (names)", done.rowcount)


def _shows(text: str, person: Person) -> bool:
    folded = text.casefold()
    return any(key.casefold() in folded for key in person.telling)


def _text_of(mail: bytes) -> str:
    """All that can be read in a mail: its headers, texts, and what its workbooks hold."""
    message = message_from_bytes(mail, policy=policy.default)
    parts = [str(value) for value in message.values()]
    for part in message.walk():
        if part.is_multipart():
            continue
        content = part.get_payload(decode=True)
        if isinstance(content, bytes):
            parts.append(_readable(content))
    return "\n".join(parts)


def _readable(content: bytes) -> str:
    if content.startswith(b"PK"):
        try:
            with ZipFile(BytesIO(content)) as archive:
                content = b"\n".join(archive.read(name) for name in archive.namelist())
        except BadZipFile:
            return ""
    return html.unescape(content.decode("utf-8", "replace"))


def _files(settings: Settings, person: Person, receipt: Receipt) -> None:
    _archives(settings, person, receipt)
    _reports(settings.reports_dir, person, receipt)
    _mails(settings.home / "mails", person, receipt)


def _archives(settings: Settings, person: Person, receipt: Receipt) -> None:
    """Files that were put away. Those that still lie where they came from are the source's own."""
    is_theirs = person.is_theirs()
    for source in settings.sources:
        if not isinstance(source, FileSource):
            continue
        if source.archive is None:
            receipt.notes.append(
                f"source {source.name}: its files lie where they came from, and stay as they are; what they "
                "hold of this person is not loaded any more"
            )
            continue
        for path in sorted((settings.base / source.archive).rglob("*")):
            if not path.is_file() or path.is_symlink() or path.name.endswith((".reason.txt", ".part")):
                continue
            try:
                removed = archives.remove(path, is_theirs, dry_run=receipt.dry_run)
            except (OSError, ValueError, EOFError, RecursionError, csv.Error):
                receipt.unread.append(str(path))
            else:
                receipt.add(f"archive of {source.name}", removed)


def _reports(folder: Path, person: Person, receipt: Receipt) -> None:
    """Reports hold no keys of users; an owner of prompts may stand in them. A page loses the name, and what
    is packed (workbooks, Parquet, PDF) goes where a page of its report held it."""
    if not folder.is_dir() or not person.telling:
        return
    names = {form for key in person.telling for form in (key, html.escape(key), json.dumps(key)[1:-1])}
    pattern = re.compile(b"|".join(re.escape(name.encode()) for name in sorted(names, key=len, reverse=True)),
                         re.IGNORECASE)  # fmt: skip
    held: set[Path] = set()
    packed: list[Path] = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        if path.suffix in _PACKED:
            packed.append(path)
            continue
        content = path.read_bytes()
        changed = pattern.sub(_REMOVED.encode(), content)
        if changed != content:
            held.add(_report_of(path, folder))
            receipt.add("reports (pages)", 1)
            if not receipt.dry_run:
                partial = path.with_name(path.name + ".part")
                partial.write_bytes(changed)
                partial.replace(path)
    for path in packed:
        if _report_of(path, folder) in held or (
            path.suffix == ".xlsx" and _shows(_readable(path.read_bytes()), person)
        ):
            receipt.add("reports (files)", 1)
            if not receipt.dry_run:
                path.unlink()


def _report_of(path: Path, folder: Path) -> Path:
    """The report that a file is of: one of all domains lies in ``folder`` itself, others deeper."""
    inside = [parent for parent in path.parents if parent.is_relative_to(folder)]
    return next((parent for parent in inside if _DATED.fullmatch(parent.name)), folder)


def _mails(folder: Path, person: Person, receipt: Receipt) -> None:
    """Mails of a date as they were rendered, one file a date: it goes where one of them shows the person."""
    if not person.telling:
        return
    for path in sorted(folder.glob("*.zip")):
        try:
            with ZipFile(path) as kept:
                theirs = any(_shows(_text_of(kept.read(name)), person) for name in kept.namelist())
        except (OSError, BadZipFile):
            receipt.unread.append(str(path))
            continue
        if theirs:
            receipt.add("mails (files)", 1)
            if not receipt.dry_run:
                path.unlink()


def search(connection: psycopg.Connection, person: Person) -> Mapping[str, int]:
    """Where the person still is: rows by table, over all columns of text; tombstones aside."""
    columns = connection.execute(
        """
        select columns.table_schema, columns.table_name, array_agg(columns.column_name::text)
        from information_schema.columns as columns
        inner join information_schema.tables as tables
            on columns.table_schema = tables.table_schema and columns.table_name = tables.table_name
        where columns.table_schema = any(%s) and tables.table_type = 'BASE TABLE'
            and columns.data_type in ('text', 'character varying', 'jsonb', 'ARRAY')
        group by 1, 2 order by 1, 2
        """,
        [list(_SCHEMAS)],
    ).fetchall()
    found: dict[str, int] = {}
    for schema, table, names in columns:
        if (schema, table) == _TOMBSTONES:
            continue
        anywhere = sql.SQL(" or ").join(
            sql.SQL(
                "{0}::text = any(%(keys)s) or exists (select from unnest(%(telling)s::text[]) as key "
                "where strpos(lower({0}::text), lower(key)) > 0)"
            ).format(sql.Identifier(name))
            for name in names
        )
        query = sql.SQL("select count(*) from {} where {}").format(sql.Identifier(schema, table), anywhere)
        row = connection.execute(
            query, {"keys": list(person.keys), "telling": list(person.telling)}
        ).fetchone()
        if row and row[0]:
            found[f"{schema}.{table}"] = int(row[0])
    if person.telling:
        mails = connection.execute("select body from ops.outbox where body <> ''").fetchall()
        if count := sum(_shows(_text_of(bytes(body)), person) for (body,) in mails):
            found["ops.outbox (content)"] = count
    return found
