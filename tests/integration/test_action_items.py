"""What a completed action item did, against formulas written down a second time in Python."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from psycopg.rows import dict_row

from orchestration.warehouse import Warehouse
from tests.dbt import run_dbt
from tests.oracle import raw

pytestmark = pytest.mark.integration

AS_OF = date(2025, 6, 30)
DONE = AS_OF - timedelta(days=20)
Z = 1.959963984540054
# prompt -> uses a day, and what they are like before and after the day it was done
LIVES: Mapping[str, tuple[int, dict[str, Any], dict[str, Any]]] = {
    "mended": (6, {"success": 0.3}, {"success": 0.55}),
    "no better": (6, {"success": 0.4}, {"success": 0.4}),
    "rated": (4, {"rating": (1, 3)}, {"rating": (2, 4)}),
    "slow": (5, {"ms": 9000}, {"ms": 7000}),
    "dear": (5, {"cost": 0.6}, {"cost": 0.6}),
    "hardly rated": (2, {"rating": (1, 3)}, {"rating": (1, 3), "every": 3}),
    "not done": (6, {"success": 0.3}, {"success": 0.3}),
}
RULES = {"mended": "poor_success_rate", "no better": "poor_success_rate", "rated": "poor_rating",
         "slow": "slow_response", "dear": "high_cost_per_use", "hardly rated": "poor_rating",
         "not done": "poor_success_rate", "idle": "low_usage"}  # fmt: skip
COLUMNS = {
    "poor_success_rate": "success",
    "poor_rating": "rating",
    "slow_response": "response_time_ms",
    "high_cost_per_use": "cost",
}


def uses() -> list[dict[str, Any]]:
    dice = random.Random(11)
    rows: list[dict[str, Any]] = []
    for back in range(60):
        day = AS_OF - timedelta(days=back)
        for name, (count, before, after) in LIVES.items():
            life = before if day < DONE else after
            if back % life.get("every", 1):
                continue
            for n in range(dice.randrange(1, 2 * count)):
                rating = life.get("rating")
                rows.append(
                    {
                        "usage_id": f"{name} {day} {n}",
                        "prompt_key": name,
                        "used_at": raw.at(day.isoformat()),
                        "success": dice.random() < life.get("success", 0.95),
                        "rating": dice.randint(*rating) if rating else None,
                        "response_time_ms": dice.expovariate(1 / life.get("ms", 900)),
                        "cost": round(dice.expovariate(1 / life.get("cost", 0.001)), 6),
                    }
                )
    rows += [
        {"usage_id": f"idle {day}", "prompt_key": "idle", "used_at": raw.at(day), "success": True}
        for day in ("2025-05-20", "2025-06-03", "2025-06-15")
    ]
    return rows


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    frame = pd.DataFrame(uses())
    frame["day"] = [at.date() for at in frame["used_at"]]
    return frame


@pytest.fixture(scope="module")
def items(module_warehouse: Warehouse, frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The mart by the prompt's name: each prompt's own alert was resolved by hand on one day but one's."""
    run_dbt(module_warehouse, "seed")
    with module_warehouse.connect() as connection:
        raw.write(
            connection,
            "prompts",
            [
                {"prompt_id": name, "name": name, "status": "active", "created_at": raw.at("2024-01-01")}
                for name in RULES
            ],
        )
        raw.write(connection, "prompt_usage", uses())
    run_dbt(module_warehouse, "run", "--select", "+action_items", vars={"as_of_date": AS_OF.isoformat()})
    with module_warehouse.connect() as connection:
        assert connection.execute("select count(*) from marts.action_items").fetchone() == (0,)
        for name, rule in RULES.items():
            connection.execute(
                "insert into ops.alert_actions (alert_id, acted_at, acted_by, action, severity, assigned_to,"
                " due_on, note)"
                " select alert_id, %(at)s, 'ann@example.com', %(action)s, 'high', %(to)s, %(due)s,"
                " 'Version 4.' from marts.performance_alerts"
                " where prompt_name = %(name)s and rule = %(rule)s",
                {
                    "at": datetime(DONE.year, DONE.month, DONE.day, 12, tzinfo=UTC),
                    "action": "assign" if name == "not done" else "resolve",
                    "to": "bob@example.com" if name == "not done" else None,
                    "due": AS_OF if name == "not done" else None,
                    "name": name,
                    "rule": rule,
                },
            )
    run_dbt(
        module_warehouse,
        "build",
        "--select",
        "int_alert_standing",
        "performance_alerts",
        "action_items",
        "--exclude-resource-type",
        "unit_test",
        "--exclude",
        "open_alerts_are_at_risk",
        vars={"as_of_date": AS_OF.isoformat()},
    )
    with module_warehouse.connect() as connection, connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute("select * from marts.action_items").fetchall()
    assert len(rows) == len(RULES)
    return {row["prompt_name"]: row for row in rows}


def wilson(x: float, n: float) -> tuple[float, float]:
    centre = (x + Z * Z / 2) / (n + Z * Z)
    half = Z / (n + Z * Z) * math.sqrt(x * (n - x) / n + Z * Z / 4)
    return centre - half, centre + half


def t_975(degrees: float) -> float:
    """The quantile of Student's t by its density, added up."""
    grid = np.linspace(0, 12, 400_001)
    log = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - math.log(degrees * math.pi) / 2
    mass = np.cumsum(np.exp(log - (degrees + 1) / 2 * np.log1p(grid**2 / degrees))) * grid[1]
    return float(np.interp(0.475, mass, grid))


def by_day(days: pd.DataFrame) -> tuple[float, float, float, int]:
    """Ratio of sums, its variance over days, its sample, how many days. Columns: amount, weight."""
    ratio = days["amount"].sum() / days["weight"].sum()
    residuals = days["amount"] - ratio * days["weight"]
    n = len(days)
    return ratio, n / (n - 1) * (residuals**2).sum() / days["weight"].sum() ** 2, days["weight"].sum(), n


def sides(frame: pd.DataFrame, name: str) -> list[pd.DataFrame]:
    """The uses of the 30 days before the day it was done, and of the 20 days since."""
    own = frame[frame["prompt_key"] == name]
    before = (own["day"] >= DONE - timedelta(days=30)) & (own["day"] < DONE)
    return [own[before], own[(own["day"] > DONE) & (own["day"] <= AS_OF)]]


@pytest.mark.parametrize("name", ["mended", "no better"])
def test_a_rate_before_and_after_with_wilson_s_and_newcombe_s_intervals(
    items: dict[str, dict[str, Any]], frame: pd.DataFrame, name: str
) -> None:
    item = items[name]
    shares = []
    for side, part in zip(("before", "after"), sides(frame, name), strict=True):
        x, n = int(part["success"].sum()), len(part)
        low, high = wilson(x, n)
        assert item[f"{side}_count"] == n
        found = [item[f"{side}_{end}"] for end in ("value", "low", "high")]
        assert found == pytest.approx([x / n, low, high])
        shares.append((x / n, low, high))
    (p1, l1, u1), (p2, l2, u2) = shares
    assert [item[f"difference{end}"] for end in ("", "_low", "_high")] == pytest.approx(
        [p2 - p1, p2 - p1 - math.hypot(p2 - l2, u1 - p1), p2 - p1 + math.hypot(u2 - p2, p1 - l1)]
    )
    assert item["verdict"] == {"mended": "better", "no better": "no difference seen"}[name]


@pytest.mark.parametrize("name", ["rated", "slow", "dear"])
def test_a_mean_before_and_after_with_intervals_over_days(
    items: dict[str, dict[str, Any]], frame: pd.DataFrame, name: str
) -> None:
    item, column = items[name], COLUMNS[RULES[name]]
    found = []
    for side, part in zip(("before", "after"), sides(frame, name), strict=True):
        days = part.groupby("day")[column].agg(amount="sum", weight="count")
        value, variance, count, n = by_day(days)
        half = t_975(n - 1) * math.sqrt(variance)
        assert item[f"{side}_count"] == count
        assert [item[f"{side}_{end}"] for end in ("value", "low", "high")] == pytest.approx(
            [value, value - half, value + half], rel=2e-3
        )
        found.append((value, variance, n))
    (m1, v1, n1), (m2, v2, n2) = found
    degrees = (v1 + v2) ** 2 / (v1**2 / (n1 - 1) + v2**2 / (n2 - 1))
    half = t_975(degrees) * math.sqrt(v1 + v2)
    assert item["difference"] == pytest.approx(m2 - m1)
    assert item["difference_high"] - item["difference_low"] == pytest.approx(2 * half, rel=2e-3)
    lower_is_better = name != "rated"
    verdict = "no difference seen"
    if abs(m2 - m1) > half:
        verdict = "better" if (m2 < m1) == lower_is_better else "worse"
    assert item["verdict"] == verdict
    assert {"rated": "better", "slow": "better", "dear": "no difference seen"}[name] == verdict


def test_uses_are_counted_by_day_from_the_first_one_on(items: dict[str, dict[str, Any]]) -> None:
    item = items["idle"]
    assert (item["effect_metric"], item["before_count"], item["after_count"]) == ("usage_count", 21, 20)
    assert item["before_value"] == pytest.approx(2 / 21)
    assert item["after_value"] == pytest.approx(1 / 20)
    assert item["verdict"] == "no difference seen"


def test_where_there_is_little_to_measure_it_says_so(items: dict[str, dict[str, Any]]) -> None:
    assert items["hardly rated"]["after_count"] < 20
    assert items["hardly rated"]["verdict"] == "not enough data"


def test_who_did_what_and_what_is_overdue_stands_with_the_item(items: dict[str, dict[str, Any]]) -> None:
    done, waiting = items["mended"], items["not done"]
    assert (done["state"], done["done_on"], done["done_by"]) == ("done", DONE, "ann@example.com")
    assert (done["taken_up_on"], done["note"], done["is_overdue"]) == (DONE, "Version 4.", False)
    assert (waiting["state"], waiting["assigned_to"]) == ("open", "bob@example.com")
    assert (waiting["due_on"], waiting["is_overdue"]) == (AS_OF, True)  # the morning after, it is
    assert (waiting["done_on"], waiting["verdict"], waiting["before_value"]) == (None, None, None)


def test_the_quantile_of_t_is_as_near_as_it_says(module_warehouse: Warehouse) -> None:
    macro = "{{ t_975('degrees') }}"
    result = run_dbt(
        module_warehouse,
        "show",
        "--limit",
        "100",
        "--inline",
        f"select degrees, {macro} as t from unnest(array[4, 5, 7, 10, 19, 29, 58.5, 1000]) as degrees",
    )
    table = result.result.results[0].agate_table  # type: ignore[union-attr, index]
    for degrees, t in [(float(row[0]), float(row[1])) for row in table.rows]:
        assert t == pytest.approx(t_975(degrees), rel=1e-3)
