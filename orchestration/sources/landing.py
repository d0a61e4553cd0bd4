"""The files that a source's path names: which are ready, what they are called, which were loaded already.

Knows nothing of what is in them.
"""

from __future__ import annotations

import glob
import hashlib
import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
from pydantic import BaseModel

from orchestration.errors import PrismError
from orchestration.sources import octets
from orchestration.sources.archive import Archive, placed
from orchestration.sources.protocol import Assembly, Batch, Entity, Reject, Watermarks

log = logging.getLogger(__name__)

# What tools call a file that they have not finished.
_UNFINISHED = (".part", ".partial", ".tmp", ".crdownload", ".filepart", "~")

# What is kept of a file that was loaded whole: the digest of its content, how it was read, and its stamp.
Mark = Mapping[str, str]
# A file may change once more in the tick of the clock in which it was looked at.
_TICK_S = 2


@dataclass(frozen=True)
class Piece:
    """Some rows of a file by column, each one's line or number, and what of it is no row."""

    columns: Mapping[str, pa.Array]
    rows: pa.Array
    rejects: Sequence[Reject] = ()


class Landing:
    """The files of one source that are ready to be read, in the order of their names.

    ``path`` (a folder, a file or a glob) is relative to ``base``; ``files`` stand for those that it names.
    In a folder just the files that are ``accepted`` count. With an ``archive`` (a folder) files are there
    to be put away, and count once nobody wrote to them for ``settle_seconds``; so do those of which the
    system can't tell whether somebody writes. Raises :class:`PrismError` where there is no such file or
    folder.
    """

    def __init__(
        self,
        path: str,
        base: Path,
        where: str,
        *,
        accepted: Callable[[Path], bool],
        files: Sequence[Path] | None = None,
        archive: str | None = None,
        settle_seconds: int = 0,
    ) -> None:
        self._base = base
        self._where = where
        self._accepted = accepted
        self._settle_seconds = settle_seconds
        self._pattern = base / Path(path).expanduser()
        self.named = files is not None
        # whether some file was not complete, or could not be read
        self.left_some = False
        # files that were read to their end, and how large and old they were then
        self.read: dict[Path, tuple[int, int]] = {}
        self.archive: Archive | None = None
        if archive is not None:
            folder = (base / Path(archive).expanduser()).resolve()
            self.archive = Archive(folder, self._folder().resolve())
        self._root, self.paths = self._find() if files is None else self._given(files)

    def _folder(self) -> Path:
        """The folder that the files arrive in."""
        folder = self._pattern
        while glob.has_magic(str(folder)) or not (folder.is_dir() or folder == self._pattern.parent):
            folder = folder.parent
        return folder

    def _find(self) -> tuple[Path, list[Path]]:
        root, found = self._candidates()
        ready = [path for path in sorted(found) if self._is_ready(path)]
        if not ready and self.archive is None:
            log.warning("%s: no file to load at %s", self._where, self._pattern)
        return root, ready

    def _candidates(self) -> tuple[Path, list[Path]]:
        pattern = self._pattern
        if pattern.is_dir():
            root, found = pattern, [path for path in pattern.iterdir() if self._accepted(path)]
        elif pattern.exists():
            root, found = pattern.parent, [pattern]
        elif glob.has_magic(str(pattern)):
            root = pattern
            while glob.has_magic(str(root)):
                root = root.parent
            found = [Path(name) for name in glob.glob(str(pattern), recursive=True)]  # noqa: PTH207 - the pattern may be absolute
        else:
            root, found = pattern.parent, []
        if self.archive is not None:
            found = [path for path in found if not self.archive.holds(path)]
        may_be_empty = self.archive is not None or glob.has_magic(str(pattern)) or pattern.is_dir()
        if not root.exists() or (not found and not may_be_empty):
            raise PrismError(
                "there is no such file or folder",
                where=f"{self._where}: {pattern}",
                mend="Correct `path:` in prism.yaml (it is relative to that file), or put the files there.",
            )
        return root, found

    def _is_ready(self, path: Path) -> bool:
        """Whether a file is one to load, and complete as far as can be told."""
        if path.name.startswith(".") or path.name.endswith(_UNFINISHED):
            return False
        try:
            if not path.is_file():
                return False
            reason = self._why_left(path)
        except OSError as error:
            reason = f"can't be read ({error.strerror}): the account that prism runs as needs the right to"
        if reason:
            self.left_some = True
            log.warning("%s %s; it is left for the next load", self.name(path), reason)
        return not reason

    def _why_left(self, path: Path) -> str:
        """Why a file is not taken yet; empty where nothing is against it."""
        is_written = octets.is_being_written(path)
        if is_written:
            return "is still being written"
        # of a writer elsewhere, or of another account, nothing else can be seen
        waits = self.archive is not None or is_written is None
        if waits and time.time() - path.stat().st_mtime < self._settle_seconds:
            return "was just written to"
        return ""

    def _given(self, files: Sequence[Path]) -> tuple[Path, list[Path]]:
        root = self._pattern
        while glob.has_magic(str(root)) or root.is_file():
            root = root.parent
        for path in files:
            if not path.is_file():
                raise PrismError("there is no such file", where=str(path))
            with readable(path):
                is_written = octets.is_being_written(path)
            if is_written:
                raise PrismError(
                    "this file is still being written",
                    where=str(path),
                    mend="Wait until it is complete, and load it again.",
                )
        return root, [path.resolve() for path in files]

    def news(
        self, path: Path, read_as: str, watermarks: Watermarks, *, with_digest: bool = False
    ) -> Mark | None:
        """The mark of a file that is to be read; null where it was loaded whole, ``read_as`` it is now.

        Its content decides. While size, times and place are as they were, it is not read for that. The mark
        of a file that is new has no digest yet, unless asked for: it is taken while the file is read.
        """
        last = watermarks.get(self.name(path), {})
        with readable(path):
            stamp = _stamp_to_trust(path)
            if not self.named and last.get("read_as") == read_as and stamp and last.get("stamp") == stamp:
                return None
            mark = {"read_as": read_as, "stamp": stamp}
            if stamp and not last and not with_digest:
                return mark
            mark["sha256"] = octets.digest(path)
        same = all(last.get(name) == mark[name] for name in ("sha256", "read_as"))
        return None if same and not self.named else mark

    def beside(self) -> list[Path]:
        """What lies at the source's path, where other files were named."""
        if not self.named:
            return []
        try:
            _, found = self._find()
        except PrismError:
            return []
        return [path.resolve() for path in found if path.resolve() not in self.paths]

    def archived(self) -> list[Path]:
        """What was loaded and lies in the archive."""
        return [] if self.archive is None else [path for path in self.archive.files() if self._accepted(path)]

    def to_put_away(self) -> list[Path]:
        """The source's own files that were read to their end, and are as they were then."""
        if self.archive is None:
            return []
        own = {placed(path) for path in self._candidates()[1]}
        return [
            placed(path) for path, read in self.read.items() if placed(path) in own and _stamp(path) == read
        ]

    def name(self, path: Path) -> str:
        """The file in words: relative to prism.yaml where it lies below."""
        path = path.resolve()
        base = self._base.resolve()
        return path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_posix()

    def short_name(self, path: Path) -> str:
        """The file's part of a row's key: it stays when the folder moves or the file is packed."""
        root, path = self._root.resolve(), path.resolve()
        short = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
        return short.removesuffix(".gz")

    def batches(self, path: Path, entity: Entity, mark: Mark, pieces: Iterable[Piece]) -> Generator[Batch]:
        """A file's rows; the last batch keeps the file's mark, unless it changed meanwhile."""
        name = self.name(path)
        with readable(path), ThreadPoolExecutor(max_workers=1) as aside:
            before = _stamp(path)
            digest = aside.submit(octets.digest, path) if mark and "sha256" not in mark else None
            assembly = Assembly(entity, name)
            for piece in pieces:
                if assembly.full:
                    yield assembly.take(None)
                assembly.add(piece.columns, piece.rows, piece.rejects)
            if digest is not None:
                mark = {**mark, "sha256": digest.result()}
                # no change can hide from a stamp that is to be trusted
                whole = mark["stamp"] == _stamp_to_trust(path)
            else:
                whole = before == _stamp(path)
        if not whole:
            log.warning("%s changed while it was read; it is read again with the next load", name)
        yield replace(assembly.take(mark if whole else None), partial=not whole)
        if whole:
            self.read[path] = before

    def was_read(self, path: Path) -> None:
        """Says that there is nothing to read in a file: it was loaded before, or can't be."""
        self.read[path] = _stamp(path)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """What the system says against reading a file, as a message of ours."""
    try:
        yield
    except OSError as error:
        raise PrismError(
            f"this file can't be read: {error.strerror or error}",
            where=str(path),
            mend="Give the account that prism runs as the right to read it, and leave it in place until "
            "it is loaded.",
        ) from error


def counted(files: Sequence[Path]) -> str:
    """How many files, in words."""
    return f"{len(files)} file{'' if len(files) == 1 else 's'}"


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _stamp_to_trust(path: Path) -> str:
    """Changes whenever the content may have; empty for a file that was written to just now."""
    stat = path.stat()
    if time.time() - max(stat.st_mtime, stat.st_ctime) < _TICK_S:
        return ""
    return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"


def fingerprint(source: BaseModel, loaded_as: str) -> str:
    """Changes whenever the same file would be read as other rows."""
    read_as = source.model_dump_json(exclude={"archive", "settle_seconds"})
    return hashlib.sha256((read_as + loaded_as).encode()).hexdigest()[:16]
