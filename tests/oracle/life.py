"""A seeded library and its uses, rich in what breaks sums: unknowns, edges of days, ties, strangers."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

Rows = list[dict[str, Any]]


def prompts() -> Rows:
    """Twelve prompts of one library: two of one name, a draft, an archived one, one never used."""
    made = datetime.fromisoformat("2023-01-01T00:00:00+00:00")
    rows = [
        {
            "prompt_id": f"00000000-0000-0000-0000-0000000000{number:02d}",
            "name": f"prompt {number}",
            "domain": ("legal", "sales", None)[number % 3],
            "complexity_level": "basic",
            "status": "active",
            "suite": "PRISM" if number < 3 else None,
            "created_at": made + timedelta(days=number),
        }
        for number in range(12)
    ]
    rows[5]["status"] = "draft"
    rows[6]["status"] = "archived"
    rows[8]["name"] = rows[7]["name"]  # two prompts of one name: uses by name go to the elder
    return rows


def agents() -> Rows:
    return [{"agent_id": f"a{number}", "name": f"agent {number}"} for number in range(4)]


def mappings() -> Rows:
    return [
        {"agent_id": f"a{a}", "prompt_id": prompts()[p]["prompt_id"]} for a, p in ((0, 0), (0, 1), (2, 1))
    ]


def versions() -> Rows:
    """Versions of three prompts: over the years, two on one day, one whose time is not known."""
    ids = [row["prompt_id"] for row in prompts()]
    made = [
        (0, "1", "2023-06-01T12:00"), (0, "2", "2024-10-20T12:00"), (0, "3", "2025-03-05T12:00"),
        (1, "1", "2025-01-10T09:00"), (1, "2", "2025-01-10T15:00"), (1, "3", "2025-03-29T23:30"),
        (3, "1", "2023-06-01T12:00"), (3, "4", None),
    ]  # fmt: skip
    return [
        {
            "prompt_id": ids[prompt],
            "version": version,
            "content_hash": version,
            "system_prompt": f"Be kind.\nThis is version {version}." if version != "1" else None,
            "user_prompt_template": "Be brief.\n" * int(version),
            "created_at": datetime.fromisoformat(f"{moment}:00+00:00") if moment else None,
        }
        for prompt, version, moment in made
    ]


def uses(seed: int, last_day: date, timezone: str, count: int = 2500) -> Rows:
    """About ``count`` uses over 800 days up to ``last_day``, more the nearer, and on some days beyond it."""
    random = np.random.default_rng(seed)
    library = prompts()
    zone = ZoneInfo(timezone)
    end = datetime.combine(last_day + timedelta(days=1), datetime.min.time(), zone)
    keys = [row["prompt_id"] for row in library[:8]] + ["prompt 1", "prompt 7", "a stranger", "Prompt 1"]
    rows: Rows = []
    for number in range(count):
        key = keys[int(random.integers(len(keys)))]
        rows.append(
            _use(random, f"use {number}", key, end - timedelta(days=float(800 * random.random() ** 3 - 3)))
        )
    # the edges of days, also of those that the clock makes 23 and 25 hours long
    for number, day in enumerate([last_day, last_day + timedelta(days=1), *_edges(last_day)]):
        midnight = datetime.combine(day, datetime.min.time(), zone)
        for place, shift in enumerate((-1e-6, 0.0)):
            moment = midnight.astimezone(ZoneInfo("UTC")) + timedelta(seconds=shift)
            rows.append(_use(random, f"edge {number} {place}", keys[0], moment))
    # a prompt with a single use, one of which nothing is known, one with only equal values
    noon = datetime.combine(last_day, datetime.min.time(), zone) + timedelta(hours=12)
    rows.append(_use(random, "single", library[9]["prompt_id"], noon))
    rows += [
        {"usage_id": f"unknown {n}", "prompt_key": library[10]["prompt_id"], "used_at": noon}
        for n in range(25)
    ]
    rows += [
        {
            **_use(random, f"equal {n}", "all equal", noon),
            "response_time_ms": 0.0,
            "rating": 5.0,
            "cost": Decimal(0),
        }
        for n in range(30)
    ]
    return rows


def _edges(last_day: date) -> list[date]:
    return [
        last_day - timedelta(days=days)
        for days in (6, 7, 13, 29, 30, 59, 60, 89, 90, 179, 364, 365, 729, 730)
    ]


def _use(random: np.random.Generator, usage_id: str, key: str, moment: datetime) -> dict[str, Any]:
    success = (True, True, True, False, None)[int(random.integers(5))]
    time = float(np.exp(random.normal(7.0, 1.5))) if random.random() < 0.9 else None
    if random.random() < 0.05:
        time = float(random.choice([0.0, 1.0, 1e-3, 0.5, 2.0]))
    return {
        "usage_id": usage_id,
        "prompt_key": key,
        "prompt_version": str(random.integers(1, 4)) if random.random() < 0.9 else None,
        "agent_key": f"a{random.integers(5)}" if random.random() < 0.8 else None,
        "user_key": f"u{random.integers(40)}" if random.random() < 0.9 else None,
        "session_id": f"s{random.integers(300)}" if random.random() < 0.9 else None,
        "model": ("small", "large", None)[int(random.integers(3))],
        "used_at": moment,
        "response_time_ms": time,
        "success": success,
        "is_error": (None, None, True, False)[int(random.integers(4))],
        "rating": float(random.choice([1, 2, 3, 4, 4.5, 5])) if random.random() < 0.3 else None,
        "total_tokens": int(random.integers(0, 5000)) if random.random() < 0.8 else None,
        "cost": Decimal(int(random.integers(0, 10**9))).scaleb(-10) if random.random() < 0.7 else None,
    }
