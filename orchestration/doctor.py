"""`prism doctor`: is all in place for a night, and if not, how is it mended?"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from orchestration import mailing, roles, subscriptions
from orchestration import warehouse as warehouses
from orchestration.errors import PrismError
from orchestration.loading import merge
from orchestration.loading.validate import key_id
from orchestration.settings import Settings, Source
from orchestration.sources.open import open_source
from orchestration.warehouse import OLDEST_SERVER, Warehouse
from reports.errors import ReportError

_LEAST_FREE_BYTES = 1 << 30


@dataclass(frozen=True)
class Finding:
    """One check: what was looked at, whether it is well, and what was seen or how to mend it."""

    name: str
    good: bool
    detail: str

    def __str__(self) -> str:
        return f"{'ok  ' if self.good else 'FAIL'}  {self.name}: {self.detail}"


def examine(read_settings: Callable[[], Settings]) -> Iterator[Finding]:
    """Every check in the order in which they build on each other; stops at what makes the rest moot."""
    version = sys.version.split()[0]
    yield Finding("Python", sys.version_info >= (3, 11), f"{version} (3.11 or newer is needed)")
    try:
        settings = read_settings()
    except PrismError as error:
        yield Finding("settings", False, str(error))
        return
    where = settings.config_path if settings.config_path.is_file() else "none, defaults are in force"
    yield Finding("settings", True, str(where))
    yield _home(settings)
    yield _keys(settings)
    try:
        house = warehouses.open_warehouse(settings)
        warehouses.setup(house)
        warehouses.ensure_dagster_database(house)
    except PrismError as error:
        yield Finding("warehouse", False, str(error))
        return
    yield from _warehouse(house, settings)
    for source in settings.sources:
        yield _source(source, settings, house)
    mail = settings.smtp_url is not None
    yield Finding(
        "mail", True, "PRISM_SMTP_URL is set" if mail else "no PRISM_SMTP_URL: mails stay in the outbox"
    )
    yield _subscriptions(settings)


def _subscriptions(settings: Settings) -> Finding:
    try:
        mailing.signature(settings)
    except (PrismError, ReportError) as error:
        return Finding("subscriptions", False, str(error))
    told = ", ".join(
        f"{one.name} ({subscriptions.turn(one)})"
        for one in settings.config.reports.all_subscriptions
        if one.recipients
    )
    owner = settings.config.reports.owner
    warning = "" if owner else "; no reports.owner: nobody hears of a failed night"
    return Finding("subscriptions", True, (told or "none in prism.yaml: no report is mailed") + warning)


def _home(settings: Settings) -> Finding:
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return Finding(
            "PRISM_HOME", False, f"{settings.home}: {error.strerror}; name a folder that can be made"
        )
    if not os.access(settings.home, os.W_OK):
        return Finding("PRISM_HOME", False, f"{settings.home} can't be written; change its owner or mode")
    free = shutil.disk_usage(settings.home).free
    detail = f"{settings.home}, {free / (1 << 30):.1f} GiB free"
    return Finding("PRISM_HOME", free >= _LEAST_FREE_BYTES, detail)


def _keys(settings: Settings) -> Finding:
    """Files that hold secrets: Prism makes its own for their owner alone; a copy or a backup may differ."""
    named = [settings.home / name for name in ("hmac.key", "console.key", "console.users")]
    if settings.dkim_key_path is not None:
        named.append(settings.dkim_key_path)
    bare = [str(path) for path in named if path.is_file() and path.stat().st_mode & 0o007]
    told = (
        f"every user of this machine may read {', '.join(bare)}; chmod 600"
        if bare
        else "for their owner alone"
    )
    return Finding("keys", not bare, told)


def _warehouse(house: Warehouse, settings: Settings) -> Iterator[Finding]:
    with house.connect() as connection:
        version = connection.info.server_version
        yield Finding(
            "warehouse",
            version >= OLDEST_SERVER,
            f"PostgreSQL {version // 10000}.{version % 10000}, {house.where}",
        )
        row = connection.execute(
            "select has_database_privilege(current_database(), 'CREATE'), current_user"
        ).fetchone()
        assert row is not None
        yield Finding(
            "permissions",
            bool(row[0]),
            f"{row[1]} may make schemas" if row[0] else f"grant create on the database to {row[1]}",
        )
        lacking = roles.missing(connection)
        own = any(one.pages == "own" for one in settings.config.reports.all_subscriptions)
        yield roles_in_words(lacking, user=row[1], own_pages=own)
        try:
            people, _ = merge.forgotten(connection, [key_id(key) for key in settings.hmac_keys()])
            yield Finding("erased people", True, f"{len(people)}; what is read of them is not taken")
        except PrismError as error:
            yield Finding("erased people", False, str(error))


def roles_in_words(lacking: Sequence[str], *, user: str, own_pages: bool) -> Finding:
    """What comes of the roles that are not there; ``own_pages``: mails lead to reports of some domains."""
    if not lacking:
        return Finding("roles", True, "each step takes on the least of them")
    told = [f"not there: {', '.join(lacking)}"]
    steps = [role for role in (roles.LOADER, roles.TRANSFORMER, roles.REPORTER) if role in lacking]
    if steps:
        told.append(f"the steps of {', '.join(steps)} work as {user}")
    if roles.RECIPIENT in lacking:
        told.append("no report of some domains can be made")
    mend = "To have them: prism db setup, or prism db setup --sql for an administrator"
    # without the recipient mails are withheld; all else works without roles
    return Finding("roles", not (own_pages and roles.RECIPIENT in lacking), f"{'; '.join(told)}. {mend}")


def _source(source: Source, settings: Settings, house: Warehouse) -> Finding:
    try:
        detail = open_source(source, settings, house.url).describe()
    except PrismError as error:
        return Finding(f"source {source.name}", False, str(error))
    return Finding(f"source {source.name}", True, detail)
