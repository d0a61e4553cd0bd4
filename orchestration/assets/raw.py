"""The loads as assets: one step brings what is new from every source into ``raw``.

Thin: it calls `loading` and reports what came of it. It is one step, since a source is read in one snapshot.
"""

from collections.abc import Iterator, Mapping

import dagster as dg

from orchestration import metadata
from orchestration.errors import PrismError, last_guard
from orchestration.loading.load import BatchResult, load_source
from orchestration.resources import Prism
from orchestration.settings import Settings, Source

# table of raw -> its group, the entity that is loaded into it, and what it holds
_TABLES: Mapping[str, tuple[str, str | None, str]] = {
    "prompts": ("library", "prompts", "The prompt library as in its sources, one row a prompt and source."),
    "prompt_versions": ("library", "prompt_versions", "Each text that a prompt has had, one row a version."),
    "agents": ("library", "agents", "Whoever calls prompts, one row an agent and source."),
    "agent_prompts": ("library", "agent_prompts", "Which prompts an agent may use, one row a mapping."),
    "prompt_usage": ("usage", "usage", "Every call of a prompt, one row a use."),
    "load_batches": ("usage", None, "What each load read, inserted, changed and rejected, one row a batch."),
    "load_days": ("usage", None, "The days that a batch touched; the daily models rebuild just these."),
    "reconciliations": ("usage", None, "The days compared with their source, and what was mended in them."),
    "rejected_rows": ("usage", None, "Rows and values that could not be loaded, with place and reason."),
}
_BATCHES = dg.AssetKey(["raw", "load_batches"])


def load_assets(settings: Settings) -> dg.AssetsDefinition:
    """One step for all sources: an asset a table of ``raw``, a check a source."""
    sources = settings.sources

    @dg.multi_asset(
        name="load",
        specs=[
            dg.AssetSpec(
                ["raw", table],
                group_name=group,
                description=description,
                kinds={"postgres", "table"},
                owners=["team:data"],
            )
            for table, (group, _, description) in _TABLES.items()
        ],
        check_specs=[
            dg.AssetCheckSpec(
                _check_name(source),
                asset=_BATCHES,
                description=f"The source {source.name} ({source.type}) was read to its end.",
            )
            for source in sources
        ],
        description="Loads what is new from every source, each batch in one transaction.",
    )
    def load(
        context: dg.AssetExecutionContext, prism: Prism
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        results: list[BatchResult] = []
        failures: dict[str, str] = {}
        for source in sources:
            try:
                with last_guard(f"source {source.name}"):
                    results += load_source(prism.loader, source, prism.settings)
            except PrismError as error:
                # the other sources go on; the night ends red all the same, by this source's check
                context.log.error(str(error))
                failures[source.name] = str(error)
        if len(failures) == len(sources):
            raise dg.Failure(description="\n".join(failures.values()), allow_retries=False)
        with prism.loader.connect(autocommit=True) as connection:
            for table, (_, entity, _) in _TABLES.items():
                loaded = [result for result in results if result.entity == entity]
                yield dg.MaterializeResult(
                    asset_key=["raw", table],
                    metadata={
                        **metadata.table(connection, "raw", table),
                        **(metadata.loads(loaded) if entity else {}),
                        **({metadata.SUMMARY: metadata.in_words(results)} if table == "load_batches" else {}),
                    },
                )
        for source in sources:
            yield dg.AssetCheckResult(
                check_name=_check_name(source),
                asset_key=_BATCHES,
                passed=source.name not in failures,
                metadata={
                    **metadata.loads([result for result in results if result.source == source.name]),
                    "failure": failures.get(source.name, "none"),
                },
            )

    return load


def _check_name(source: Source) -> str:
    return f"loaded_{source.name}"
