"""A file's bytes in order, plain or gzip (seen by its content), in bounded memory.

Knows nothing of what the bytes mean.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from orchestration.sources.csv_text import DamagedError

_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
# Logs shrink ten- to fiftyfold; gzip's own limit, which only emptiness reaches, is about a thousand.
_MOST_INFLATION = 250
_INFLATION_COUNTS_FROM = 256 << 20


def is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == _GZIP


def chunks(path: Path) -> Iterator[bytes]:
    """The content, unpacked where it is gzip.

    Raises :class:`DamagedError` at the place from which it can't be read on, or grows beyond reason.
    """
    if not is_gzip(path):
        with path.open("rb") as plain:
            while chunk := plain.read(_CHUNK):
                yield chunk
        return
    most = max(_INFLATION_COUNTS_FROM, path.stat().st_size * _MOST_INFLATION)
    unpacked = 0
    for chunk in _unpacked(path):
        unpacked += len(chunk)
        if unpacked > most:
            raise DamagedError(
                f"it unpacks to more than {_MOST_INFLATION} times its size, as no log does; "
                "unpack it yourself if it is one"
            )
        yield chunk


def _unpacked(path: Path) -> Iterator[bytes]:
    """All that can be unpacked: what stands before a fault is given out before it is raised."""
    unpacker = zlib.decompressobj(wbits=31)
    with path.open("rb") as file:
        while packed := file.read(_CHUNK):
            while packed:
                try:
                    chunk = unpacker.decompress(packed, _CHUNK)
                except zlib.error as error:
                    raise DamagedError(f"the gzip stream is broken ({error})") from None
                if chunk:
                    yield chunk
                packed = unpacker.unconsumed_tail
                if unpacker.eof and (packed := unpacker.unused_data.lstrip(b"\0")):
                    unpacker = zlib.decompressobj(wbits=31)  # another member of the same file
    if rest := unpacker.flush():
        yield rest
    if not unpacker.eof:
        raise DamagedError("the gzip stream is cut off")


def seekable(path: Path) -> IO[bytes]:
    """The content as a file that can be read at any place; unpacked to a temporary one where it is gzip."""
    if not is_gzip(path):
        return path.open("rb")
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    try:
        for chunk in chunks(path):
            file.write(chunk)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


def digest(path: Path) -> str:
    """SHA-256 of the file as it lies there."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_being_written(path: Path) -> bool | None:
    """Whether another process has the file open for writing; null where the system can't tell.

    Linux grants a read lease only on a file that nobody writes, and only to its owner. Elsewhere, and on
    file systems without leases, there is nothing to ask. Raises :class:`OSError` for a file that may not be
    read.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if not hasattr(fcntl, "F_SETLEASE"):
            return None
        # a writer that comes just then is told by a signal: by one that does no harm
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return False
