"""Starters: how a person begins to write to a prompt, made by plain rules from what it says of itself.

The same prompt gets the same starter. Pure.
"""

from __future__ import annotations

import re

from orchestration.library.prompts import Prompt
from orchestration.library.templates import Sandbox, TemplateError

_LONGEST = 120
# "Drafts an answer …" -> "Draft an answer …": third person to imperative
_IRREGULAR = {"does": "do", "goes": "go", "has": "have", "is": "be"}
_ES = ("sses", "shes", "ches", "xes", "zzes", "oes")


def starter(prompt: Prompt, sandbox: Sandbox) -> str | None:
    """A starter for ``prompt``, none where it says nothing to make one of.

    Made of the first clause of its description as an order; without one, of its display name or name. Ends
    with what the template asks for first, if it says.
    """
    said = _first_clause(prompt.description or "")
    if said:
        order = _as_order(said)
    elif prompt.user_prompt_template:
        order = (prompt.display_name or prompt.name).strip().replace("-", " ").replace("_", " ")
    else:
        return None
    wanted = _asked_for(prompt, sandbox)
    text = order[:1].upper() + order[1:]
    return f"{text}, given the {wanted}: " if wanted and wanted not in text.lower() else f"{text}: "


def _first_clause(description: str) -> str:
    line = " ".join(description.split())
    clause = re.split(r"(?<=\w)[.;:!?](?:\s|$)", line, maxsplit=1)[0].rstrip(" .;:!?,")
    if len(clause) <= _LONGEST:
        return clause
    return clause[:_LONGEST].rsplit(" ", 1)[0].rstrip(" ,")


def _as_order(clause: str) -> str:
    verb, _, rest = clause.partition(" ")
    low = verb.lower()
    if low in _IRREGULAR:
        verb = _IRREGULAR[low]
    elif re.fullmatch(r"[a-z]{2,}ies", low):
        verb = verb[:-3] + "y"
    elif low.endswith(_ES):
        verb = verb[:-2]
    elif re.fullmatch(r"[a-z]{2,}[^su]s", low):
        verb = verb[:-1]
    return f"{verb} {rest}".strip()


def _asked_for(prompt: Prompt, sandbox: Sandbox) -> str | None:
    """What the only value that the template can't do without is, in words."""
    if not prompt.user_prompt_template:
        return None
    try:
        required = sandbox.inspect(prompt.user_prompt_template).required
    except TemplateError:
        return None
    if len(required) != 1:
        return None
    return required[0].removesuffix("_text").replace("_", " ").replace("-", " ").lower()
