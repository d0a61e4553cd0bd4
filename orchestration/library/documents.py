"""A prompt as a YAML document: the same text for the same prompt, fit for review in a pull request.

Knows YAML and files' names, nothing of databases and of what the fields mean.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Mapping
from typing import Any

import yaml
from yaml.emitter import ScalarAnalysis

from orchestration.errors import PrismError

ENDING = ".yaml"
LONGEST_DOCUMENT = 8 << 20
# What a literal block can hold and gives back unchanged: printable, line feeds alone as line breaks.
_LITERAL = re.compile(
    "[\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010fffe]*"
)
_LONGEST_SLUG = 80
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)$")  # names that Windows keeps for devices


class _Block(str):
    """A text that is to stand as a literal block, also if it has one line only."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """Literal blocks also for texts with tabs, or with spaces at the ends of lines."""

    def analyze_scalar(self, scalar: str) -> ScalarAnalysis:
        analysis: ScalarAnalysis = super().analyze_scalar(scalar)
        analysis.allow_block = bool(scalar) and _LITERAL.fullmatch(scalar) is not None
        return analysis

    def determine_block_hints(self, text: str) -> str:
        hints: str = super().determine_block_hints(text)
        # the reader takes a tab at the beginning for the block's indentation
        return f"{self.best_indent}{hints}" if text.startswith("\t") else hints

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    block = "\n" in text or isinstance(text, _Block)
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="|" if block else None)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(_Block, _text)


class _Loader(yaml.CSafeLoader):
    """Refuses a key that stands twice: the second would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands twice", key.start_mark
                )
            seen.add(key.value)
        made: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return made


def write_document(fields: Mapping[str, Any], blocks: Collection[str] = ()) -> str:
    """Fields in the order given as YAML: texts, lists of texts and none.

    The fields of ``blocks`` always stand as literal blocks, so that a line more is a line more in a diff.
    """
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
    plain |= {name: _Block(plain[name]) for name in blocks if plain.get(name)}
    return str(
        yaml.dump(plain, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=1_000_000, indent=2)
    )


def read_document(text: str, where: str) -> dict[str, Any]:
    """The fields of a document: texts, tuples of texts, none. A field that it leaves out is not there.

    Raises :class:`PrismError` naming the line where it is no YAML, and the key where a value is no text.
    """
    if len(text) > LONGEST_DOCUMENT:
        raise PrismError(f"the document has over {LONGEST_DOCUMENT:,} characters", where=where)
    try:
        loader = _Loader(text)
        content = loader.get_single_data()
    except (yaml.YAMLError, RecursionError) as error:
        raise PrismError(
            f"this is not a document of YAML: {' '.join(str(error).split())}", where=where
        ) from None
    if not isinstance(content, dict):
        raise PrismError("a prompt's document must be keys with values", where=where)
    fields: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, list) and all(isinstance(one, str) for one in value):
            fields[str(key)] = tuple(value)
        elif value is None or isinstance(value, str):
            fields[str(key)] = value
        else:
            raise PrismError(
                f"{key}: this is not text",
                where=where,
                mend="Numbers, dates and words such as yes and no need quotes.",
            )
    return fields


def file_name(name: str) -> str:
    """The name of a prompt's file: made of its name alone, so that it never depends on the other prompts.

    A name that is not fit for every file system gets a slug and a hash of the name.
    """
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_name.lower()).strip("-")[:_LONGEST_SLUG].strip("-")
    if slug == name and not _RESERVED.match(slug):
        return slug + ENDING
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{slug}.{digest}{ENDING}" if slug else f"{digest}{ENDING}"
