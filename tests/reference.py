"""The reference pages of marts and seeds, written from the descriptions in dbt's manifest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Node = Mapping[str, Any]
_WRITTEN = (
    "This page is written from the dbt project's descriptions by a test: "
    "`UPDATE_DOCS=1 pytest tests/unit/test_manifest.py`."
)


def pages(manifest: Mapping[str, Any]) -> Mapping[str, str]:
    """File name in ``docs/reference`` -> its text."""
    nodes = list(manifest["nodes"].values())
    marts = [node for node in nodes if node["resource_type"] == "model" and node["fqn"][1] == "marts"]
    seeds = [node for node in nodes if node["resource_type"] == "seed"]
    return {
        "marts.md": _page(
            "The marts, column by column",
            "Tables in the schema `marts`; [what the numbers mean](../marts.md) is a page of its own. What is"
            " said here is also each table's and column's comment in the database.",
            marts,
        ),
        "seeds.md": _page(
            "What analysts decide",
            "Files in `dbt_project/seeds`, one a table. A build applies them, and refuses rows that can't be"
            " meant.",
            seeds,
        ),
    }


def _page(title: str, opening: str, nodes: Iterable[Node]) -> str:
    ordered = sorted(nodes, key=lambda node: str(node["name"]))
    contents = [f"- [`{node['name']}`](#{node['name']})" for node in ordered]
    sections = [section for node in ordered for section in _section(node)]
    return "\n".join([f"# {title}", "", opening, "", _WRITTEN, "", *contents, "", *sections]).rstrip() + "\n"


def _section(node: Node) -> list[str]:
    return [
        f"## {node['name']}",
        "",
        _text(node["description"]),
        "",
        "| column | type | |",
        "| --- | --- | --- |",
        *(
            f"| `{column['name']}` | {_type(node, column)} | {_text(column['description'])} |"
            for column in node["columns"].values()
        ),
        "",
    ]


def _type(node: Node, column: Node) -> str:
    named = column["data_type"] or node["config"].get("column_types", {}).get(column["name"], "")
    required = any(constraint["type"] == "not_null" for constraint in column.get("constraints", ()))
    return f"{named}, never null" if required else str(named)


def _text(description: str) -> str:
    return " ".join(description.split()).replace("|", "\\|")
