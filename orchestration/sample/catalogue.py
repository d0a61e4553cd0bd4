"""Who is in the sample: prompts and agents of ``catalogue.yaml``, numbered on where more are asked for.

Knows nothing of uses and of tables.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import yaml

_FILE = Path(__file__).with_name("catalogue.yaml")
# Of the 52 built-in agents 47 share 89 prompts; other sizes keep these shares.
_MAPPINGS_PER_AGENT = 89 / 52
_UNMAPPED_SHARE = 0.1
# Every id of the sample starts with these four bytes, "PRSM": so sample rows can be told from others.
ID_PREFIX = b"PRSM"


@dataclass(frozen=True)
class Prompt:
    """One prompt of the library and the expectations that its uses are drawn from."""

    id: uuid.UUID
    name: str
    display_name: str
    description: str
    domain: str
    complexity_level: str
    status: str
    system_prompt: str
    user_prompt_template: str
    prompt_starter: str | None
    compliance_tags: tuple[str, ...]
    owner: str | None
    volume: float
    story: str
    tier: str
    rhythm: str
    response_ms: float
    input_tokens: int
    output_tokens: int

    @property
    def suite(self) -> str | None:
        return "PRISM" if self.prompt_starter else None


@dataclass(frozen=True)
class Agent:
    """One agent, and the places (in the list of prompts) of those that it may use."""

    id: uuid.UUID
    name: str
    display_name: str
    domain: str
    prompts: tuple[int, ...]


def sample_id(kind: str, name: str) -> uuid.UUID:
    """The id of a named thing, the same in every sample: a UUID of version 8 after ``ID_PREFIX``."""
    digest = hashlib.blake2b(f"{kind}:{name}".encode(), digest_size=12).digest()
    value = bytearray(ID_PREFIX + digest)
    value[6] = value[6] & 0x0F | 0x80
    value[8] = value[8] & 0x3F | 0x80
    return uuid.UUID(bytes=bytes(value))


def catalogue(prompts: int, agents: int) -> tuple[list[Prompt], list[Agent]]:
    """The first ``prompts`` prompts and ``agents`` agents; past the built-in ones smaller copies."""
    content = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    domains = content["domains"]
    entries = content["prompts"]
    listed = [_prompt(entries[n % len(entries)], n // len(entries) + 1, domains) for n in range(prompts)]
    # by turns from each domain, so that a few agents cover many domains
    turns = zip_longest(
        *([(domain, name) for name in content["agents"]] for domain, content in domains.items())
    )
    names = [pair for turn in turns for pair in turn if pair]
    return listed, _agents(names, agents, listed)


def _prompt(entry: dict[str, Any], number: int, domains: dict[str, Any]) -> Prompt:
    copy = number > 1
    suffix = f"-{number}" if copy else ""
    story = "steady" if copy else entry.get("story", "steady")
    status = "archived" if story == "archived" else entry.get("status", "active")
    return Prompt(
        id=sample_id("prompt", entry["name"] + suffix),
        name=entry["name"] + suffix,
        display_name=entry["display_name"] + (f" {number}" if copy else ""),
        description=entry["description"],
        domain=entry["domain"],
        complexity_level=entry["complexity_level"],
        status="active" if copy else status,
        system_prompt=entry["system"],
        user_prompt_template=entry["template"],
        prompt_starter=None if copy else entry.get("starter"),
        compliance_tags=tuple(entry["tags"]),
        owner=None if status == "draft" else domains[entry["domain"]]["owner"],
        volume=entry["volume"] / number**2,
        story=story,
        tier=entry.get("tier", "standard"),
        rhythm=entry.get("rhythm", "office"),
        response_ms=entry["ms"],
        input_tokens=entry["tokens"][0],
        output_tokens=entry["tokens"][1],
    )


def _agents(names: list[tuple[str, str]], count: int, prompts: list[Prompt]) -> list[Agent]:
    used: dict[str, list[int]] = {}
    for place, prompt in enumerate(prompts):
        if prompt.status == "active":
            used.setdefault(prompt.domain, []).append(place)
    chosen: list[list[int]] = [[] for _ in range(count)]
    wanted = round(count * _MAPPINGS_PER_AGENT)
    mapped = count - int(count * _UNMAPPED_SHARE)
    for turn in range(max((len(places) for places in used.values()), default=0)):
        for agent in range(mapped):
            domain, _ = names[agent % len(names)]
            places = used.get(domain, [])
            if wanted and turn < len(places):
                # neighbours start at neighbouring prompts; a step of 3 spreads each agent's own
                step = 3 if len(places) % 3 else 1
                chosen[agent].append(places[(agent // len(used) + turn * step) % len(places)])
                wanted -= 1
    agents = []
    for n in range(count):
        domain, display_name = names[n % len(names)]
        number = n // len(names) + 1
        suffix = f" {number}" if number > 1 else ""
        name = (display_name + suffix).lower().replace(" ", "-")
        agents.append(
            Agent(
                id=sample_id("agent", name),
                name=name,
                display_name=display_name + suffix,
                domain=domain,
                prompts=tuple(sorted(chosen[n])),
            )
        )
    return agents
