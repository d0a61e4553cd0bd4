"""Sources that fail leave a run green: a later step of it can still say which."""

from collections.abc import Iterator

import dagster as dg

from orchestration import metadata

BATCHES = dg.AssetKey(["raw", "load_batches"])


def test_a_later_step_knows_which_sources_failed_and_with_what() -> None:
    told: list[list[str]] = []

    @dg.asset(
        key=BATCHES,
        check_specs=[dg.AssetCheckSpec(name, asset=BATCHES) for name in ("loaded_app", "loaded_log")],
    )
    def load() -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        yield dg.MaterializeResult(asset_key=BATCHES)
        for name, failure in (("loaded_app", "none"), ("loaded_log", "log: there is no such file")):
            yield dg.AssetCheckResult(
                check_name=name, asset_key=BATCHES, passed=failure == "none", metadata={"failure": failure}
            )

    @dg.asset(deps=[load])
    def mail(context: dg.AssetExecutionContext) -> None:
        told.append(metadata.failed_loads(context.instance, context.run_id))

    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([load, mail], instance=instance).success
    assert told == [["log: there is no such file"]]
