"""The process in which templates are parsed and filled: alone, poor and short of time.

Started by :mod:`orchestration.library.templates` as a script, with an empty environment; it imports
nothing but Jinja and the standard library. One JSON line in, one out. A template that takes too much time
has the kernel end the process, one that takes too much memory gets no more; neither harms who asked.
"""

import json
import resource
import signal
import sys
from typing import Any

from jinja2 import StrictUndefined, TemplateSyntaxError, meta, nodes
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

_INCLUDES = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)


class Refused(Exception):  # noqa: N818 - it is an answer
    """A template that is not filled, and why."""


class Whole(str):
    """A text that stays whole where a template loops over it or joins it: one item, not its letters."""

    __slots__ = ()

    def __iter__(self) -> Any:
        yield str(self)


def environment() -> ImmutableSandboxedEnvironment:
    # prompts are plain text: escaping them for HTML would change them
    made = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
    )
    made.globals = {name: made.globals[name] for name in ("range", "dict", "namespace")}
    return made


def parsed(env: ImmutableSandboxedEnvironment, template: str) -> nodes.Template:
    tree = env.parse(template)
    if next(tree.find_all(_INCLUDES), None) is not None:
        raise Refused("a template can't bring in others (include, import, extends)")
    for kind, known in ((nodes.Filter, env.filters), (nodes.Test, env.tests)):
        for node in tree.find_all(kind):
            if node.name not in known:
                raise Refused(f"line {node.lineno}: there is no {kind.__name__.lower()} {node.name!r}")
    return tree


def inspect(env: ImmutableSandboxedEnvironment, request: dict[str, Any]) -> dict[str, Any]:
    """The variables that a template takes, and those of them that it can do without."""
    tree = parsed(env, request["template"])
    variables = meta.find_undeclared_variables(tree)
    optional = set()
    for node in tree.find_all((nodes.Filter, nodes.Test)):
        if node.name in ("default", "d", "defined", "undefined") and isinstance(node.node, nodes.Name):
            optional.add(node.node.name)
    return {"variables": sorted(variables), "optional": sorted(variables & optional)}


def fill(env: ImmutableSandboxedEnvironment, request: dict[str, Any]) -> dict[str, Any]:
    parsed(env, request["template"])
    template = env.from_string(request["template"])
    values = {**request["values"], **{name: f"{{{{ {name} }}}}" for name in request["gaps"]}}
    values = {name: Whole(value) if isinstance(value, str) else value for name, value in values.items()}
    pieces, size = [], 0
    for piece in template.generate(values):
        size += len(piece)
        if size > request["longest"]:
            raise Refused(f"what it makes is longer than {request['longest']:,} characters")
        pieces.append(piece)
    return {"text": "".join(pieces)}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        return (fill if request["do"] == "fill" else inspect)(environment(), request)
    except Exception as error:  # whatever a template does is an answer
        return {"refused": told(error)}


def told(error: Exception) -> str:
    """What a template did, in words for whoever wrote it."""
    text = " ".join(str(error).split())[:300]
    match error:
        case Refused():
            return text
        case TemplateSyntaxError():
            text = f"line {error.lineno}: {error.message}"
        case SecurityError():
            text = f"it reaches for what a template may not have: {text}"
        case UndefinedError():
            text = f"it uses what is not there: {text}"
        case MemoryError():
            text = "it needs more memory than a template gets"
        # Python's own parser gives up on what Jinja makes of a monstrous template
        case RecursionError() | SyntaxError():
            text = "it is nested too deeply"
        case _:
            text = f"it fails: {type(error).__name__}: {text}"
    return text


def main() -> None:
    seconds, memory = float(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin.buffer:
        # left to its default the signal ends the process, whatever C code it is in
        signal.setitimer(signal.ITIMER_PROF, seconds)
        reply = json.dumps(answer(json.loads(line))).encode() + b"\n"
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.buffer.write(reply)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
