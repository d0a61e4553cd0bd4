"""Names of a library in which one stands twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def numbered(names: Sequence[str], display_names: Sequence[str | None]) -> tuple[list[str], list[str | None]]:
    """Names and display names in which the second of a name gets `` (2)`` and keeps the name for display."""
    taken = set(names)
    seen: Counter[str] = Counter()
    told_apart: list[str] = []
    shown = list(display_names)
    for n, name in enumerate(names):
        seen[name] += 1
        if seen[name] == 1:
            told_apart.append(name)
            continue
        while (new := f"{name} ({seen[name]})") in taken:
            seen[name] += 1
        taken.add(new)
        told_apart.append(new)
        shown[n] = shown[n] or name
    return told_apart, shown
