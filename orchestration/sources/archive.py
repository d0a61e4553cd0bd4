"""Where the files of a landing folder go once they were loaded: the archive; or could not be: `failed` in it.

Knows nothing of what is in them. Every move is one rename: a file is in one place or in the other.
"""

from __future__ import annotations

import filecmp
import itertools
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

from orchestration.errors import PrismError
from orchestration.sources import octets

FAILED = "failed"
_REASON = ".reason.txt"


def placed(path: Path) -> Path:
    """The path itself, in its real folder: a link is moved, not what it leads to."""
    return path.parent.resolve() / path.name


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long for the file system: there is no such file
        return False


class Archive:
    """The archive of one source. ``root`` is the folder that its files arrive in; both are resolved paths."""

    def __init__(self, folder: Path, root: Path) -> None:
        self._folder = folder
        self._root = root

    def holds(self, path: Path) -> bool:
        return placed(path).is_relative_to(self._folder)

    def files(self) -> list[Path]:
        """All that was loaded and put away."""
        failed = self._folder / FAILED
        found = self._folder.rglob("*") if self._folder.is_dir() else ()
        return sorted(path for path in found if path.is_file() and not path.is_relative_to(failed))

    def place(self, path: Path) -> Path:
        """Where a file of the landing folder lies once it was loaded."""
        return self._folder / self._inside(path)

    def has(self, path: Path) -> bool:
        """Whether a file of the landing folder was put away, loaded or failed."""
        return any(_is_file(place) for place in self._places(path))

    def _places(self, path: Path) -> list[Path]:
        return [self.place(path), self._folder / FAILED / self._inside(path)]

    def _versions(self, path: Path) -> Iterator[Path]:
        """All files of that name that were put away, those that made room among them."""
        name = re.compile(rf"{re.escape(path.stem)}(\.[0-9]+)?{re.escape(path.suffix)}")
        for place in self._places(path):
            if place.parent.is_dir():
                every = place.parent.iterdir()
                yield from (one for one in every if name.fullmatch(one.name) and one.is_file())

    def put_away(self, path: Path) -> Path:
        """A loaded file into the archive; returns where it is now."""
        return self._move(path, self.place(path))

    def put_to_failed(self, path: Path, reason: str) -> Path:
        """A file of which nothing could be loaded, with the reason in a text beside it."""
        target = self._folder / FAILED / self._inside(path)
        moved = self._move(path, target)
        note = target.with_name(target.name + _REASON)
        partial = note.with_name(note.name + ".part")
        partial.write_text(reason + "\n", encoding="utf-8")
        partial.replace(note)
        return moved

    def bring_back(self, path: Path, digest: str | None, known: Collection[str]) -> bool:
        """The file that lay at ``path``, to be loaded again; false where it is nowhere, or can't lie there.

        It is told by its ``digest`` (where that was kept); or it was mended, and holds what is not ``known``
        of any file.
        """
        there = [place for place in self._places(path) if place.is_file()]
        if digest is not None:
            every = {place: octets.digest(place) for place in self._versions(path)}
            there = [place for place, its in every.items() if its == digest] or [
                place for place, its in every.items() if its not in known
            ]
        if path.is_file():
            return not there or digest in (None, octets.digest(path))
        if not there:
            return False
        latest = max(there, key=lambda place: place.stat().st_ctime_ns)  # a rename counts as a change
        self._rename(latest, path)
        latest.with_name(latest.name + _REASON).unlink(missing_ok=True)
        return True

    def _inside(self, path: Path) -> Path:
        path = placed(path)
        return path.relative_to(self._root) if path.is_relative_to(self._root) else Path(path.name)

    def _move(self, path: Path, target: Path) -> Path:
        if target.is_file() and not filecmp.cmp(path, target, shallow=False):
            # another file of this name came before: it makes room, and nothing is lost
            numbered = (target.with_name(f"{target.stem}.{n}{target.suffix}") for n in itertools.count(1))
            other = next(other for other in numbered if not other.exists())
            self._rename(target, other)
            if (reason := target.with_name(target.name + _REASON)).is_file():
                self._rename(reason, other.with_name(other.name + _REASON))
        self._rename(path, target)
        return target

    def _rename(self, path: Path, target: Path) -> None:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
        except OSError as error:
            raise PrismError(
                f"the file can't be moved to {target.parent}: {error.strerror}",
                where=str(path),
                mend="`archive:` must be a folder on the same file system that Prism may write to. What was "
                "loaded stands; the file is moved with the next load.",
            ) from None


@runtime_checkable
class ArchivingReader(Protocol):
    """A reader whose files may go to an archive."""

    @property
    def archive(self) -> Archive | None: ...

    def to_put_away(self) -> list[tuple[Path, str]]:
        """The files that were read to their end, with the names that they have in words."""
        ...
