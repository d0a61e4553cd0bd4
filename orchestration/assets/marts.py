"""The dbt project as assets: one step builds and tests every model for an as-of date.

Thin: dbt knows what the models mean; `builds` keeps which build is good.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DbtCliResource, DbtProject, dbt_assets

from orchestration import builds, dbt, metadata, reporting
from orchestration.partitions import as_of_date
from orchestration.resources import Prism

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


def marts_assets(project: DbtProject, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """All of the dbt project, its tests as asset checks."""

    @dbt_assets(
        manifest=project.manifest_path,
        project=project,
        partitions_def=partitions,
        # a night is one as-of date: a backfill makes them one by one
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=1),
        dagster_dbt_translator=Translator(),
        name="dbt_build",
    )
    def dbt_build(context: dg.AssetExecutionContext, prism: Prism, dbt_cli: DbtCliResource) -> Iterator[Any]:
        day = as_of_date(context.partition_key)
        warehouse = prism.warehouse
        with warehouse.lock("build"), dbt.environment(warehouse.libpq_environment()):
            with warehouse.connect() as connection:
                schema = builds.marts_schema_for(connection, day)
                build_id = builds.start(connection, day, schema, context.run_id)
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
                    yield event
                failures = dbt.failures(invocation)
                builds.finish(connection, build_id, failures)
        if failures:
            reporting.tell_owner(warehouse, prism.settings, day, failures, context.run_id)
            raise dg.Failure(
                description=f"The build of {day} is red, so no report is made of it: " + "; ".join(failures),
                allow_retries=False,
            )

    return dbt_build
