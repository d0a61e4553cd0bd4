"""Who may use the console: names, roles and password hashes in a file, attempts counted, sign-ins on record.

Knows nothing of the web: it is handed names, passwords and addresses.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import secrets
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from orchestration.errors import PrismError

# Each may do what those before it may.
ROLES = ("viewer", "editor", "admin")
SHORTEST_PASSWORD = 10
_LONGEST_PASSWORD = 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}")
# OWASP's password storage cheat sheet names these as equal to n=2**17, p=1, in 16 MiB instead of 128.
_COST, _BLOCK, _PARALLEL = 2**14, 8, 5


@dataclass(frozen=True)
class Account:
    """Somebody who may sign in. ``hash`` is ``scrypt$n$r$p$salt$key``, the last two base64."""

    name: str
    role: str
    hash: str

    @property
    def mark(self) -> str:
        """Changes with the password: a session of an older one ends."""
        return hashlib.sha256(self.hash.encode()).hexdigest()[:16]


def has_role(role: str, needed: str) -> bool:
    """Whether a role may do what ``needed`` may."""
    return ROLES.index(role) >= ROLES.index(needed)


class Accounts:
    """The file of accounts, a line each: ``name:role:hash``; read anew each time, so a removal counts."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def all(self) -> Mapping[str, Account]:
        """Every account by its name. Raises :class:`PrismError` for a line that is none."""
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return {}
        found = {}
        for number, line in enumerate(lines, start=1):
            parts = line.split(":")
            if len(parts) != 3 or parts[1] not in ROLES:
                raise PrismError(
                    f"line {number} is not name:role:hash",
                    where=str(self.path),
                    mend="Remove it, and add the account anew: prism console --add-user NAME --role ROLE",
                )
            found[parts[0]] = Account(*parts)
        return found

    def put(self, name: str, role: str, password: str) -> None:
        """Adds an account, or gives one a new role and password. Raises :class:`PrismError`."""
        if not _NAME.fullmatch(name):
            raise PrismError(
                f"{name!r} can't be the name of an account",
                where="--add-user",
                mend="Letters, digits and . _ @ + - are taken, at most 100.",
            )
        if not SHORTEST_PASSWORD <= len(password) <= _LONGEST_PASSWORD:
            raise PrismError(
                f"a password has {SHORTEST_PASSWORD} to {_LONGEST_PASSWORD:,} characters", where="--add-user"
            )
        accounts = {**self.all(), name: Account(name, role, _hash(password))}
        self._write(accounts)

    def remove(self, name: str) -> None:
        """Takes an account away; its sessions end. Raises :class:`PrismError` where there is none."""
        accounts = dict(self.all())
        if accounts.pop(name, None) is None:
            raise PrismError(f"there is no account {name!r}", where=str(self.path))
        self._write(accounts)

    def verify(self, name: str, password: str) -> Account | None:
        """The account, if that is its password. Takes as long for a name that nobody has."""
        account = self.all().get(name)
        right = _matches(password, account.hash if account else _NOBODY)
        return account if account and right else None

    def _write(self, accounts: Mapping[str, Account]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix(f".{secrets.token_hex(4)}")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(f"{one.name}:{one.role}:{one.hash}\n" for one in accounts.values())
        new.replace(self.path)


def _key(password: str, salt: bytes, cost: int, block: int, parallel: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=cost, r=block, p=parallel, maxmem=2**26)


def _hash(password: str) -> str:
    salt = secrets.token_bytes(16)
    key = _key(password, salt, _COST, _BLOCK, _PARALLEL)
    told = (base64.b64encode(part).decode() for part in (salt, key))
    return "$".join(["scrypt", str(_COST), str(_BLOCK), str(_PARALLEL), *told])


def _matches(password: str, kept: str) -> bool:
    if len(password) > _LONGEST_PASSWORD:
        return False
    _, cost, block, parallel, salt, key = kept.split("$")
    made = _key(password, base64.b64decode(salt), int(cost), int(block), int(parallel))
    return hmac.compare_digest(made, base64.b64decode(key))


# The hash of no password: what is compared for a name that nobody has.
_NOBODY = f"scrypt${_COST}${_BLOCK}${_PARALLEL}${'A' * 22}==${'A' * 86}=="


class Attempts:
    """Counts failures by where they come from: ``most`` within ``seconds``, then a wait."""

    _MOST_KEPT = 10_000

    def __init__(self, most: int = 8, seconds: float = 900, clock: Callable[[], float] = monotonic) -> None:
        self._most, self._seconds, self._clock = most, seconds, clock
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, *keys: str) -> float:
        """Seconds until another attempt is taken; 0: now."""
        now = self._clock()
        with self._lock:
            waits = [0.0]
            for key in keys:
                failures = self._failures.get(key, deque())
                while failures and failures[0] <= now - self._seconds:
                    failures.popleft()
                if len(failures) >= self._most:
                    waits.append(failures[-self._most] + self._seconds - now)
        return max(waits)

    def failed(self, *keys: str) -> None:
        """Counts a failure against each key."""
        with self._lock:
            for key in keys:
                self._failures.setdefault(key, deque(maxlen=self._most)).append(self._clock())
                self._failures.move_to_end(key)
            while len(self._failures) > self._MOST_KEPT:
                self._failures.popitem(last=False)

    def succeeded(self, key: str) -> None:
        """Forgets the failures of a key."""
        with self._lock:
            self._failures.pop(key, None)


class AuditLog:
    """Sign-ins, what was done and what was refused, a JSON line each, in a file of mode 0600.

    What a change was is on record elsewhere: ``prompt_changes`` and ``ops.alert_actions``.
    """

    _READ = 1 << 18  # bytes of its end

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, event: str, user: str, address: str, **more: str) -> None:
        """One line; JSON keeps a hostile name on it."""
        line = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "event": event,
                "user": user[:200], "address": address, **more}  # fmt: skip
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def latest(self, limit: int) -> list[dict[str, str]]:
        """The newest lines, the latest first; what is no line of it is left out."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - self._READ))
                lines = file.read().splitlines()
        except FileNotFoundError:
            return []
        found = []
        for line in reversed(lines):
            try:
                told = json.loads(line)
            except ValueError:  # where the file was cut, or its beginning left out
                continue
            if isinstance(told, dict):
                found.append({str(name): str(value) for name, value in told.items()})
            if len(found) == limit:
                break
        return found
