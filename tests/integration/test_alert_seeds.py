"""A bad row in what analysts decide about alerts fails the build, with a message that names the row."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
import pytest

from orchestration.warehouse import Warehouse
from tests.dbt import failures, run_dbt
from tests.oracle import raw

pytestmark = pytest.mark.integration

AS_OF = "2025-03-01"
TESTS = ("alert_rules_are_sound", "alert_overrides_are_sound", "targets_are_sound")


@pytest.fixture(scope="module")
def warehouse(module_warehouse: Warehouse) -> Warehouse:
    """The seeds as they are, and a library of one prompt."""
    with module_warehouse.connect() as connection:
        prompt = {"prompt_id": "p1", "name": "a prompt", "domain": "sales", "status": "active"}
        raw.write(connection, "prompts", [prompt])
    run_dbt(module_warehouse, "seed")
    run_dbt(module_warehouse, "run", "--select", "+int_alert_limits", vars={"as_of_date": AS_OF})
    return module_warehouse


@pytest.fixture(scope="module")
def queries(warehouse: Warehouse) -> Mapping[str, str]:
    """What the tests ask the warehouse."""
    compiled = run_dbt(warehouse, "compile", "--select", *TESTS, vars={"as_of_date": AS_OF})
    return {result.node.name: result.node.compiled_code for result in compiled.result.results}  # type: ignore[union-attr]


RULE = "update intermediate.alert_rules set {} where rule = 'slow_response'"
OVERRIDE = "insert into intermediate.alert_overrides values {}"
TARGET = "insert into intermediate.targets values {}"
SOUND = "('slow_response', 'prompt', 'a prompt', 9000, null, null, 'it is long', '2025-03-01')"


@pytest.mark.parametrize(
    ("test", "statement", "row", "fault"),
    [
        ("alert_rules", RULE.format("rule = ''"), "rule without a name", "it has no name"),
        (
            "alert_rules",
            (
                "insert into intermediate.alert_rules select * from intermediate.alert_rules"
                " where rule = 'low_usage'"
            ),
            "rule low_usage",
            "it stands twice",
        ),
        (
            "alert_rules",
            "update intermediate.alert_rules set metric = 'speed' where rule = 'slow_tail'",
            "rule slow_tail",
            "its metric is unknown",
        ),
        (
            "alert_rules",
            RULE.format("comparator = 'over'"),
            "rule slow_response",
            "its comparator is neither above nor below",
        ),
        ("alert_rules", RULE.format("period = 'decade'"), "rule slow_response", "its period is unknown"),
        (
            "alert_rules",
            RULE.format("medium_cutoff = 4999"),
            "rule slow_response",
            "its threshold and cut-offs are not in the order low, medium, high",
        ),
        (
            "alert_rules",
            RULE.format("high_cutoff = null"),
            "rule slow_response",
            "its threshold and cut-offs are not in the order low, medium, high",
        ),
        (
            "alert_rules",
            "update intermediate.alert_rules set threshold = 0.1 where rule = 'success_drop'",
            "rule success_drop",
            "of a change only a drop can be looked for: below, and a threshold under 0",
        ),
        (
            "alert_rules",
            RULE.format("minimum_sample = null"),
            "rule slow_response",
            "its minimum sample is missing or negative",
        ),
        (
            "alert_rules",
            RULE.format("minimum_amount = -1"),
            "rule slow_response",
            "its minimum amount is negative",
        ),
        (
            "alert_rules",
            RULE.format("margin = 1"),
            "rule slow_response",
            "its margin is not a share from 0 to under 1",
        ),
        (
            "alert_rules",
            RULE.format("close_after = 0"),
            "rule slow_response",
            "open_after and close_after must be 1 to 14 nights",
        ),
        (
            "alert_rules",
            RULE.format("enabled = null"),
            "rule slow_response",
            "enabled, affects_health and needs_established_prompt must be true or false",
        ),
        (
            "alert_rules",
            "update intermediate.alert_rules set affects_health = true where rule = 'slow_tail'",
            "rule slow_tail",
            "a metric like this can not affect the health, which is told for every period",
        ),
        ("alert_rules", RULE.format("owner = 'ann'"), "rule slow_response", "its owner is no address"),
        (
            "alert_rules",
            RULE.format("recommendation = null"),
            "rule slow_response",
            "it does not say what to do",
        ),
        (
            "alert_overrides",
            OVERRIDE.format("('slow', 'prompt', 'a prompt', 9000, null, null, 'x', '2025-03-01')"),
            "rule slow for prompt 'a prompt'",
            "there is no such rule",
        ),
        (
            "alert_overrides",
            OVERRIDE.format("('slow_response', 'agent', 'x', 9000, null, null, 'x', '2025-03-01')"),
            "rule slow_response for agent 'x'",
            "its scope is neither domain nor prompt",
        ),
        (
            "alert_overrides",
            OVERRIDE.format(f"{SOUND}, {SOUND}"),
            "rule slow_response for prompt 'a prompt'",
            "it stands twice",
        ),
        (
            "alert_overrides",
            OVERRIDE.format("('slow_response', 'domain', 'sale', 9000, null, null, 'x', '2025-03-01')"),
            "rule slow_response for domain 'sale'",
            "there is no such domain",
        ),
        (
            "alert_overrides",
            OVERRIDE.format("('slow_response', 'prompt', 'sales', 9000, null, null, 'x', '2025-03-01')"),
            "rule slow_response for prompt 'sales'",
            "there is no such prompt",
        ),
        (
            "alert_overrides",
            OVERRIDE.format("('slow_response', 'domain', 'sales', null, null, null, 'x', '2025-03-01')"),
            "rule slow_response for domain 'sales'",
            "it has no threshold",
        ),
        (
            "alert_overrides",
            OVERRIDE.format("('slow_response', 'domain', 'sales', 9000, 8000, 9500, 'x', '2025-03-01')"),
            "rule slow_response for domain 'sales'",
            "its threshold and cut-offs are not in the order low, medium, high",
        ),
        (
            "alert_overrides",
            OVERRIDE.format("('slow_response', 'domain', 'sales', 9000, 9500, null, 'x', '2025-03-01')"),
            "rule slow_response for domain 'sales'",
            "give both cut-offs or none",
        ),
        (
            "alert_overrides",
            OVERRIDE.format("('slow_response', 'domain', 'sales', 9000, null, null, null, '2025-03-01')"),
            "rule slow_response for domain 'sales'",
            "it gives no reason",
        ),
        (
            "alert_overrides",
            OVERRIDE.format("('slow_response', 'domain', 'sales', 9000, null, null, 'x', null)"),
            "rule slow_response for domain 'sales'",
            "it has no end date",
        ),
        (
            "targets",
            TARGET.format("('speed', 'all', null, 'above', 1, 1)"),
            "speed for all",
            "its metric is unknown",
        ),
        (
            "targets",
            TARGET.format("('success_rate', 'all', null, 'above', 0.9, 1)"),
            "success_rate for all",
            "it stands twice",
        ),
        (
            "targets",
            TARGET.format("('error_rate', 'all', 'x', 'over', null, null)"),
            "error_rate for all 'x'",
            (
                "its comparator is neither above nor below; "
                "its scope is not all, a domain or a prompt by name; "
                "its target is missing or not above 0; "
                "its minimum sample is missing or negative"
            ),
        ),
        (
            "targets",
            TARGET.format("('total_cost', 'domain', 'sales', 'below', 100, 0)"),
            "total_cost for domain 'sales'",
            "a budget (total_cost) is a target to stay below, for all or for a prompt",
        ),
    ],
)
def test_a_bad_row_is_named_with_what_is_wrong_with_it(
    warehouse: Warehouse, queries: Mapping[str, str], test: str, statement: str, row: str, fault: str
) -> None:
    query = queries[f"{test}_are_sound"]
    with warehouse.connect() as connection:
        assert connection.execute(query).fetchall() == []  # type: ignore[call-overload]
        connection.execute(statement)  # type: ignore[call-overload]
        found = set(connection.execute(query).fetchall())  # type: ignore[call-overload]
        connection.rollback()
    assert found == {(row, fault)}


def test_a_sound_override_counts_until_its_end_and_is_then_a_warning(warehouse: Warehouse) -> None:
    def limits(as_of: str) -> list[tuple[object, ...]]:
        run_dbt(warehouse, "run", "--select", "int_alert_limits", vars={"as_of_date": as_of})
        with warehouse.connect() as connection:
            return connection.execute(
                "select threshold, medium_cutoff, high_cutoff, override_reason"
                " from intermediate.int_alert_limits where rule = 'slow_response'"
            ).fetchall()

    with warehouse.connect() as connection:
        connection.execute(OVERRIDE.format(SOUND))  # type: ignore[call-overload]
    assert limits("2025-03-01") == [(9000, 13500, 18000, "it is long")]
    assert limits("2025-03-02") == [(5000, 7500, 10000, None)]
    result = run_dbt(warehouse, "test", "--select", "alert_overrides", vars={"as_of_date": "2025-03-02"})
    states = {node.node.name: str(node.status) for node in result.result.results}  # type: ignore[union-attr]
    assert states["alert_overrides_are_not_over"] == "warn"
    assert states["alert_overrides_are_sound"] == "pass"
    with warehouse.connect() as connection:
        connection.execute("delete from intermediate.alert_overrides")


def test_the_build_says_which_row_and_builds_nothing_on_it(warehouse: Warehouse) -> None:
    with warehouse.connect() as connection:
        connection.execute(RULE.format("owner = 'ann', period = 'decade'"))  # type: ignore[call-overload]
        before = _made_at(connection)
    result = run_dbt(
        warehouse,
        "build",
        "--select",
        "alert_rules_are_sound",
        "int_alert_limits",
        vars={"as_of_date": AS_OF},
        check=False,
    )
    [(name, message)] = failures(result).items()
    assert name == "alert_rules_are_sound"
    assert (
        "seeds/alert_rules.csv: rule slow_response: its period is unknown; its owner is no address" in message
    )
    with warehouse.connect() as connection:
        assert _made_at(connection) == before
    run_dbt(warehouse, "seed")


def _made_at(connection: psycopg.Connection) -> tuple[object, ...] | None:
    return connection.execute("select 'intermediate.int_alert_limits'::regclass::oid").fetchone()
