"""The dbt project as assets: two steps build and test every model for an as-of date.

Thin: dbt knows what the models mean; `builds` keeps which build is good.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DbtCliResource, DbtProject, dbt_assets

from orchestration import builds, dbt, metadata
from orchestration.partitions import as_of_date
from orchestration.resources import Prism

_ALERTS = dg.AssetKey(["marts", "performance_alerts"])
_GROUPS = {"marts": "marts", "api": "marts", "intermediate": "rollups", "staging": "staging"}


class Translator(DagsterDbtTranslator):
    """Names dbt's nodes as the warehouse does: ``marts/prompts``, ``raw/prompt_usage``."""

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        folder = "seeds" if dbt_resource_props["resource_type"] == "seed" else _folder(dbt_resource_props)
        return dg.AssetKey([folder, dbt_resource_props["name"]])

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        if dbt_resource_props["resource_type"] == "seed":
            return "rules"
        return _GROUPS.get(_folder(dbt_resource_props))

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> list[str]:
        return ["team:analytics"]


def _folder(props: Mapping[str, Any]) -> str:
    if props["resource_type"] == "source":
        return str(props["schema"])
    return str(props["fqn"][1])


def marts_assets(project: DbtProject, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """All of the dbt project, its tests as asset checks, in two steps by dbt's selectors: what shows the
    statistics comes after them, and they come after the daily mart."""

    def step(name: str, *, selector: str, first: bool) -> dg.AssetsDefinition:
        @dbt_assets(
            manifest=project.manifest_path,
            project=project,
            selector=selector,
            partitions_def=partitions,
            # a night is one as-of date: a backfill makes them one by one
            backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=1),
            dagster_dbt_translator=Translator(),
            name=name,
        )
        def build(context: dg.AssetExecutionContext, prism: Prism, dbt_cli: DbtCliResource) -> Iterator[Any]:
            yield from _build(context, prism, dbt_cli, first=first)

        return build

    return [
        step("dbt_build", selector="first_step", first=True),
        step("dbt_build_statistics", selector="statistics", first=False),
    ]


def _build(
    context: dg.AssetExecutionContext, prism: Prism, dbt_cli: DbtCliResource, *, first: bool
) -> Iterator[Any]:
    """Builds and tests what the step selects. The marts are good once both steps of a run are through whole;
    a part of them that is built by itself makes nothing good."""
    day = as_of_date(context.partition_key)
    warehouse = prism.transformer
    with warehouse.lock("build"), dbt.environment(warehouse.dbt_environment()):
        with warehouse.connect() as connection:
            if first:
                builds.drop_spoilt(connection)
            schema = builds.schema_of(connection, context.run_id, day)
            if first and not context.is_subset:
                builds.start(connection, day, schema, context.run_id)
        dbt.clear_results(prism.settings)
        invocation = dbt_cli.cli(
            dbt.build_arguments(prism.settings, day, schema),
            context=context,
            target_path=dbt.target_path(prism.settings),
            raise_on_error=False,
        )
        with warehouse.connect(autocommit=True) as connection:
            for event in invocation.stream():
                if isinstance(event, dg.Output):
                    key = context.asset_key_for_output(event.output_name)
                    if key.path[0] == "marts":
                        context.add_asset_metadata(metadata.table(connection, schema, key.path[-1]), key)
                    if key == _ALERTS:
                        counts, table = metadata.open_alerts(connection, schema)
                        told = {**counts, "open_alerts": dg.MetadataValue.md(table)}
                        context.add_asset_metadata(told, key)
                yield event
            failures = dbt.failures(invocation)
            if failures:
                builds.spoil(connection, day, schema, failures, context.run_id)
            elif not first and not context.is_subset:
                builds.finish(connection, context.run_id)
    if failures:
        raise dg.Failure(
            description=f"The build of {day} is red, so no report is made of it: " + "; ".join(failures),
            allow_retries=False,
        )
