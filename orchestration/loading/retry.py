"""What was rejected, loaded again after somebody mended its source, its file or the settings.

Reads the places of rejected rows again, through the same load as ever: a row that is good now is merged by
its key, one that is not is rejected anew. Either way its old record is resolved, so that the records that
are not stand for what is still wrong, once each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestration.errors import PrismError
from orchestration.loading.load import BatchResult, Progress, load_source
from orchestration.settings import ApplicationSource, FileSource, LitellmSource, Settings, Source
from orchestration.sources.archive import Archive, ArchivingReader
from orchestration.sources.comparison import ComparableReader
from orchestration.sources.open import open_source
from orchestration.warehouse import Warehouse


@dataclass(frozen=True)
class _Rejected:
    """A record of quarantine that is not resolved; ``place`` is its batch's file or table.

    ``digest`` is that of the file's content, where it was kept.
    """

    record: int
    entity: str
    place: str
    location: str
    digest: str | None

    @property
    def file(self) -> str:
        """Of a line of a file."""
        return self.location.rpartition(":")[0]

    @property
    def key(self) -> str:
        """Of a row of a table; ``?`` where it had none."""
        return self.location.removeprefix(f"{self.place}:")


@dataclass
class Retried:
    """What came of it: records that were there, those resolved, those open afterwards (new ones too)."""

    source: str
    before: int = 0
    resolved: int = 0
    after: int = 0
    results: list[BatchResult] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        if not self.before:
            return f"{self.source}: nothing was rejected"
        told = f"{self.source}: {self.resolved:,} of {self.before:,} rejected rows or values were read again"
        if self.gone:
            more = f" and {len(self.gone) - 3:,} more" if len(self.gone) > 3 else ""
            told += f"; not there any more: {', '.join(self.gone[:3])}{more}"
        return f"{told}; {self.after:,} {'is' if self.after == 1 else 'are'} in quarantine now"


def retry_rejected(
    warehouse: Warehouse, source: Source, settings: Settings, *, progress: Progress | None = None
) -> Retried:
    """Loads again what was rejected of one source: its files, or its rows by their keys.

    A killed one is simply run again. ``failures`` are files that could not be read at all, whose records
    stay open; raises :class:`PrismError` as :func:`load_source` does where a database can't be read.
    """
    rejected = _rejected(warehouse, source.name)
    done = Retried(source.name, before=len(rejected))
    if rejected:
        if isinstance(source, ApplicationSource | LitellmSource):
            read = _rows(warehouse, source, settings, rejected, done, progress)
        else:
            read = _files(warehouse, source, settings, rejected, done, progress)
        done.resolved = _resolve(warehouse, read)
        done.after = len(_rejected(warehouse, source.name))
    return done


def _rows(
    warehouse: Warehouse,
    source: ApplicationSource | LitellmSource,
    settings: Settings,
    rejected: Sequence[_Rejected],
    done: Retried,
    progress: Progress | None,
) -> list[_Rejected]:
    """Rows of a database; its library is read whole with every load."""
    uses = [one for one in rejected if one.entity == "usage" and one.key != "?"]
    keys = {one.key for one in uses}
    with open_source(source, settings, warehouse.url).reader() as reader:
        comparison = reader.comparison() if isinstance(reader, ComparableReader) else None
        there = comparison.still_there(sorted(keys)) if comparison else keys
    done.results += load_source(warehouse, source, settings, progress=progress, again=sorted(there))
    done.gone += sorted({one.location for one in uses if one.key not in there})
    return [one for one in rejected if one.entity != "usage" or one.key in there]


def _files(
    warehouse: Warehouse,
    source: Source,
    settings: Settings,
    rejected: Sequence[_Rejected],
    done: Retried,
    progress: Progress | None,
) -> list[_Rejected]:
    """Files, each read whole, from where they came or from the archive; a library's with every load."""
    by_file: dict[tuple[str, str | None], list[_Rejected]] = defaultdict(list)
    read: list[_Rejected] = []
    for one in rejected:
        if one.entity == "usage":
            by_file[one.file, one.digest].append(one)
        else:
            read.append(one)
    archive = _archive(warehouse, source, settings)
    known = _digests(warehouse, source.name) if archive else ()
    done_with: list[_Rejected] = []

    def load(files: list[Path] | None, records: Sequence[_Rejected]) -> None:
        try:
            done.results += load_source(warehouse, source, settings, files=files, progress=progress)
        except PrismError as error:
            done.failures.append(str(error))
        else:
            done_with.extend(records)

    if read:
        load(None, read)
    # of one name the older first, as they came
    for (place, digest), records in sorted(by_file.items(), key=lambda item: (item[0][0], item[1][0].record)):
        path = settings.base / place
        is_there = path.is_file() if archive is None else archive.bring_back(path.resolve(), digest, known)
        if is_there:
            load([path], records)
        elif path.is_file():
            done.failures.append(f"{place}: another file of this name lies there; load that first")
        else:
            done.gone.append(place)
    return done_with


def _archive(warehouse: Warehouse, source: Source, settings: Settings) -> Archive | None:
    if not isinstance(source, FileSource) or source.archive is None:
        return None
    with open_source(source, settings, warehouse.url).reader() as reader:
        return reader.archive if isinstance(reader, ArchivingReader) else None


def _rejected(warehouse: Warehouse, source: str) -> list[_Rejected]:
    with warehouse.connect() as connection:
        rows = connection.execute(
            """
            with digests as materialized (
                select entity, location, batch_id, watermark ->> 'sha256' as digest
                from raw.load_batches
                where source = %(source)s and watermark ? 'sha256'
            ),

            batches as materialized (
                select
                    batch_id, location,
                    -- a file's last batch keeps its digest
                    (
                        select digest from digests
                        where entity = batch.entity and location = batch.location
                            and batch_id >= batch.batch_id
                        order by batch_id limit 1
                    ) as digest
                from raw.load_batches as batch
                where batch_id in (
                    select batch_id from raw.rejected_rows where source = %(source)s and resolved_at is null
                )
            )

            select
                rejected.rejected_row_id, rejected.entity, batches.location, rejected.location, batches.digest
            from raw.rejected_rows as rejected
            inner join batches on rejected.batch_id = batches.batch_id
            where rejected.source = %(source)s and rejected.resolved_at is null
            order by rejected.rejected_row_id
            """,
            {"source": source},
        ).fetchall()
    return [_Rejected(*row) for row in rows]


def _digests(warehouse: Warehouse, source: str) -> set[str]:
    """What the source's files held when they came."""
    with warehouse.connect() as connection:
        rows = connection.execute(
            "select distinct watermark ->> 'sha256' from raw.load_batches "
            "where source = %s and watermark ? 'sha256'",
            [source],
        ).fetchall()
    return {digest for (digest,) in rows}


def _resolve(warehouse: Warehouse, read: Sequence[_Rejected]) -> int:
    """Those that were read again; the load itself has resolved the ones that were rejected anew."""
    with warehouse.connect() as connection:
        connection.execute(
            "update raw.rejected_rows set resolved_at = now() "
            "where rejected_row_id = any(%s) and resolved_at is null",
            [[one.record for one in read]],
        )
    return len(read)
