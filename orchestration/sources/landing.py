"""The files that a source's path names: which are ready, what they are called, which were loaded already.

Knows nothing of what is in them.
"""

from __future__ import annotations

import glob
import hashlib
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pydantic import BaseModel

from orchestration.errors import PrismError
from orchestration.sources import octets
from orchestration.sources.protocol import Assembly, Batch, Entity, Reject

log = logging.getLogger(__name__)

# What tools call a file that they have not finished.
_UNFINISHED = (".part", ".partial", ".tmp", ".crdownload", ".filepart", "~")

# What is kept of a file that was loaded whole.
Mark = Mapping[str, str]


@dataclass(frozen=True)
class Piece:
    """Some rows of a file by column, each one's line or number, and what of it is no row."""

    columns: Mapping[str, pa.Array]
    rows: pa.Array
    rejects: Sequence[Reject] = ()


class Landing:
    """The files of one source that are ready to be read, in the order of their names.

    ``path`` (a folder, a file or a glob) is relative to ``base``; ``files`` stand for those that it names.
    In a folder just the files that are ``accepted`` count. Raises :class:`PrismError` where there is no
    such file or folder.
    """

    def __init__(
        self,
        path: str,
        base: Path,
        where: str,
        *,
        accepted: Callable[[Path], bool],
        files: Sequence[Path] | None = None,
    ) -> None:
        self._base = base
        self._where = where
        self._accepted = accepted
        self._pattern = base / Path(path).expanduser()
        self.named = files is not None
        self._root, self.paths = self._find() if files is None else self._given(files)

    def _find(self) -> tuple[Path, list[Path]]:
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
        if not root.exists() or (not found and not glob.has_magic(str(pattern)) and not pattern.is_dir()):
            raise PrismError(
                "there is no such file or folder",
                where=f"{self._where}: {pattern}",
                mend="Correct `path:` in prism.yaml (it is relative to that file), or put the files there.",
            )
        ready = [path for path in sorted(found) if self.is_ready(path)]
        if not ready:
            log.warning("%s: no file to load at %s", self._where, pattern)
        return root, ready

    def is_ready(self, path: Path) -> bool:
        """Whether a file is one to load, and complete as far as can be told."""
        if not path.is_file() or path.name.startswith(".") or path.name.endswith(_UNFINISHED):
            return False
        with _readable(path):
            if octets.is_being_written(path):
                log.warning("%s is still being written; it is left for the next load", self.name(path))
                return False
        return True

    def _given(self, files: Sequence[Path]) -> tuple[Path, list[Path]]:
        root = self._pattern
        while glob.has_magic(str(root)) or root.is_file():
            root = root.parent
        for path in files:
            if not path.is_file():
                raise PrismError("there is no such file", where=str(path))
            if octets.is_being_written(path):
                raise PrismError(
                    "this file is still being written",
                    where=str(path),
                    mend="Wait until it is complete, and load it again.",
                )
        return root, [path.resolve() for path in files]

    def beside(self) -> list[Path]:
        """What lies at the source's path, where other files were named."""
        if not self.named:
            return []
        try:
            _, found = self._find()
        except PrismError:
            return []
        return [path.resolve() for path in found if path.resolve() not in self.paths]

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
        with _readable(path):
            before = path.stat()
            assembly = Assembly(entity, name)
            for piece in pieces:
                if assembly.full:
                    yield assembly.take(None)
                assembly.add(piece.columns, piece.rows, piece.rejects)
            after = path.stat()
        whole = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
        if not whole:
            log.warning("%s changed while it was read; it is read again with the next load", name)
        yield assembly.take(mark if whole else None)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
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


def fingerprint(source: BaseModel, loaded_as: str) -> str:
    """Changes whenever the same file would be read as other rows."""
    return hashlib.sha256((source.model_dump_json() + loaded_as).encode()).hexdigest()[:16]


def mark_of(path: Path, read_as: str) -> Mark:
    """What tells that just this file was loaded, ``read_as`` standing for the settings."""
    with _readable(path):
        return {"sha256": octets.digest(path), "read_as": read_as}
