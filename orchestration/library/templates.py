"""Templates: what they need, and how they are filled.

A template with ``{{``, ``{%`` or ``{#`` is Jinja. Any other is plain text, in which ``${name}`` and
``${name:default}`` stand for values. Jinja runs in a process of its own
(:mod:`orchestration.library.sandbox`), since neither its time nor its memory can be bounded from within.
"""

from __future__ import annotations

import contextlib
import json
import re
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LONGEST_RESULT = 1_000_000  # characters
_SECONDS = 2.0  # of processor time for one template
_WAIT_SECONDS = 30.0  # on the clock, where the machine is busy
_MEMORY = 512 << 20  # bytes, all of the process
_WORKER = Path(__file__).with_name("sandbox.py")
_JINJA = re.compile(r"\{\{|\{%|\{#")
# Not the shell's ${name//…}, ${name:?…}, ${#name}, and not a script's ${a.b} or ${f(x)}.
_PLACEHOLDER = re.compile(r"\$\{[ ]*([^\W\d][\w \-]{0,79}?)[ ]*(?::(?![?=+])-?([^{}]*))?\}")


class TemplateError(Exception):
    """A template that can't be filled, and why, in words for whoever wrote it."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True)
class Needs:
    """The variables of a template by name, in order; ``optional`` are those with a default."""

    variables: tuple[str, ...]
    optional: frozenset[str]

    @property
    def required(self) -> tuple[str, ...]:
        return tuple(name for name in self.variables if name not in self.optional)


def is_jinja(template: str) -> bool:
    return _JINJA.search(template) is not None


def as_plain_text(template: str) -> str:
    """A template that gives ``template`` back as it is, whatever of it looks like Jinja."""
    if not is_jinja(template):
        return template
    if "{%" in template and re.search(r"\{%[-+]?\s*endraw", template):
        raise TemplateError("it holds {% endraw %}, so it can't be kept as plain text")
    # a line feed right after {% raw %} would be kept by Jinja: nothing may be lost or added
    return f"{{% raw %}}{template}{{% endraw %}}"


class Sandbox:
    """The process for templates, started when it is first needed; may be used from several threads.

    One that was ended by its limits is replaced by a new one.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process."""
        with self._lock:
            self._end()

    def inspect(self, template: str) -> Needs:
        """What ``template`` needs. Raises :class:`TemplateError` where it does not parse."""
        if not is_jinja(template):
            found = dict.fromkeys(match[1] for match in _PLACEHOLDER.finditer(template))
            optional = {match[1] for match in _PLACEHOLDER.finditer(template) if match[2] is not None}
            return Needs(tuple(found), frozenset(optional))
        reply = self._ask({"do": "inspect", "template": template})
        return Needs(tuple(reply["variables"]), frozenset(reply["optional"]))

    def fill(self, template: str, values: Mapping[str, Any], *, gaps: Sequence[str] = ()) -> str:
        """``template`` with its variables replaced; ``values`` are what JSON can hold.

        A text stands for a list of one where the template loops over it. A variable named in ``gaps`` stays
        visible. Raises :class:`TemplateError` where one is missing, where
        the template fails, reaches for what it may not have, or takes too much time, memory or room.
        """
        if is_jinja(template):
            request = {"template": template, "values": dict(values), "gaps": list(gaps)}
            return str(self._ask({"do": "fill", **request, "longest": LONGEST_RESULT})["text"])

        def value(match: re.Match[str]) -> str:
            name, default = match[1], match[2]
            if name in values:
                given = values[name]
                return given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
            if default is None and name not in gaps:
                raise TemplateError(f"it uses what is not there: {name!r} has no value")
            return match[0] if default is None else default

        text = _PLACEHOLDER.sub(value, template)
        if len(text) > LONGEST_RESULT:
            raise TemplateError(f"what it makes is longer than {LONGEST_RESULT:,} characters")
        return text

    # -- inside

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        line = json.dumps(request).encode() + b"\n"
        with self._lock:
            reply = self._reply(line)
        if "refused" in reply:
            raise TemplateError(reply["refused"])
        return reply

    def _reply(self, line: bytes) -> dict[str, Any]:
        process = self._running()
        assert process.stdin is not None
        try:
            process.stdin.write(line)
            process.stdin.flush()
            answer = self._read_line(process)
        except BrokenPipeError:
            answer = b""
        except BaseException:
            self._end()  # its answer would be taken for that of the next question
            raise
        if not answer.endswith(b"\n"):
            self._end()
            raise TemplateError(f"it takes longer than {_SECONDS:g} s, or more memory than a template gets")
        reply: dict[str, Any] = json.loads(answer)
        return reply

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._end()
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(_WORKER), str(_SECONDS), str(_MEMORY)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={},  # nothing of ours for a template to find
            )
        return self._process

    @staticmethod
    def _read_line(process: subprocess.Popen[bytes]) -> bytes:
        """One line of its output, cut off where it ends or the time is up."""
        assert process.stdout is not None
        deadline = time.monotonic() + _WAIT_SECONDS
        parts: list[bytes] = []
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while selector.select(max(0.0, deadline - time.monotonic())):
                part = process.stdout.read1(1 << 20)  # type: ignore[attr-defined]
                parts.append(part)
                if not part or part.endswith(b"\n"):
                    break
        return b"".join(parts)

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        process.wait()
