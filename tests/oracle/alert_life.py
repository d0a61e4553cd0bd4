"""Sixty days of a small library with known faults, and a month before them without any.

What alert rules are judged by. Knows nothing of rules: it says what happens to which prompt and when. Days
are numbered from 1; those of the month before are 0 and less.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

Rows = list[dict[str, Any]]
FIRST = date(2025, 1, 1)
DAYS = 60
DAYS_BEFORE = 30
# what happens, and on which days
REGRESSION = range(20, 30)
SPIKE = range(35, 37)
DEATH = 40
NEWCOMER = 30
GAP = range(45, 48)

# name: uses a day, share of successes
STEADY = {f"steady {number}": (uses, 0.93) for number, uses in enumerate((60, 30, 30, 15, 8, 4), start=1)}
PROMPTS: dict[str, tuple[float, float]] = {
    **STEADY,
    "regressing": (30, 0.92),
    "spiking": (30, 0.93),
    "dying": (25, 0.93),
    "newcomer": (20, 0.93),
    "at the threshold": (20, 0.70),
    "working days only": (25, 0.93),
    "of the gateway": (25, 0.93),
}


def day(number: int) -> date:
    """The date of a numbered day."""
    return FIRST + timedelta(days=number - 1)


def key(name: str) -> str:
    """The id of a prompt."""
    return f"00000000-0000-0000-0000-{list(PROMPTS).index(name) + 1:012}"


def library() -> Rows:
    """All of the prompts, made two months before the first day but for the newcomer."""
    return [
        {
            "prompt_id": key(name),
            "name": name,
            "domain": "support",
            "status": "active",
            "owner": "ann@example.com",
            "created_at": _noon(day(NEWCOMER) if name == "newcomer" else FIRST - timedelta(days=60)),
        }
        for name in PROMPTS
    ]


def uses(seed: int) -> dict[str, Rows]:
    """The uses of all days by source. Fewer at the weekend; a few calls are very slow."""
    random = np.random.default_rng(seed)
    rows: dict[str, Rows] = {"app": [], "gateway": []}
    for number in range(1 - DAYS_BEFORE, DAYS + 1):
        for name, (volume, success) in PROMPTS.items():
            rate = success - 0.35 if name == "regressing" and number in REGRESSION else success
            price = 0.05 * (8 if name == "spiking" and number in SPIKE else 1)
            for count in range(int(random.poisson(volume * _share(name, number)))):
                rows["gateway" if name == "of the gateway" else "app"].append(
                    _use(random, f"{name} {number} {count}", name, number, rate, price)
                )
    return rows


def _share(name: str, number: int) -> float:
    """Which share of its usual uses a prompt has on a day."""
    weekend = day(number).weekday() >= 5
    if (name == "dying" and number >= DEATH) or (name == "newcomer" and number < NEWCOMER):
        return 0.0
    if (name == "of the gateway" and number in GAP) or (name == "working days only" and weekend):
        return 0.0
    return 0.6 if weekend else 1.16


def _use(
    random: np.random.Generator, usage_id: str, name: str, number: int, rate: float, price: float
) -> dict[str, Any]:
    success = bool(random.random() < rate)
    # the regression is the second version's and the large model's
    regressed = name == "regressing" and number in REGRESSION
    return {
        "usage_id": usage_id,
        "prompt_key": key(name),
        "prompt_version": "2" if regressed else "3" if number >= REGRESSION.stop else "1",
        "model": "large" if regressed and not success else str(random.choice(["small", "large"])),
        "agent_key": f"agent {random.integers(3)}",
        "used_at": _noon(day(number)) + timedelta(seconds=int(random.integers(-30_000, 30_000))),
        "response_time_ms": float(np.exp(random.normal(7.0, 0.8))) * (60 if random.random() < 0.002 else 1),
        "success": success,
        "error_type": None if success else str(random.choice(["timeout", "refusal"], p=[0.7, 0.3])),
        "rating": float(random.choice([3, 4, 5])) if random.random() < 0.2 else None,
        "total_tokens": 1000,
        "cost": Decimal(repr(round(price * float(np.exp(random.normal(0, 0.4))), 6))),
    }


def _noon(day_: date) -> datetime:
    return datetime(day_.year, day_.month, day_.day, 12, tzinfo=UTC)
