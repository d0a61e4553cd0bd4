"""All that Dagster sees, composed on one page; no logic."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import dagster as dg

from orchestration import dbt
from orchestration.assets.forecasts import analytics_assets
from orchestration.assets.marts import marts_assets
from orchestration.assets.raw import load_assets
from orchestration.assets.reports import report_assets
from orchestration.assets.retention import retention_assets
from orchestration.checks import alert_checks
from orchestration.jobs import jobs
from orchestration.partitions import as_of_dates
from orchestration.resources import Prism
from orchestration.schedules import schedules
from orchestration.sensors import landing_sensors, mail_sensors, notice_sensors, owner_hears
from orchestration.settings import Settings, load_settings


def compose(settings: Settings) -> dg.Definitions:
    """The code location for these settings."""
    partitions = as_of_dates(settings)
    project = dbt.project(settings)
    nightly, refresh = jobs()
    with warnings.catch_warnings():
        # the version is pinned: what may change in a later one is no news for an operator
        warnings.simplefilter("ignore", dg.BetaWarning)
        assets = [
            load_assets(settings),
            *marts_assets(project, partitions),
            analytics_assets(partitions),
            *report_assets(project, partitions),
            *retention_assets(settings, partitions),
        ]
    return dg.Definitions(
        assets=assets,
        asset_checks=alert_checks(),
        jobs=[nightly, refresh],
        schedules=schedules(settings, nightly, refresh),
        sensors=[
            owner_hears(),
            *mail_sensors(),
            *notice_sensors(settings),
            *landing_sensors(settings),
        ],
        resources={"prism": Prism(), "dbt_cli": dbt.resource()},
        executor=dg.in_process_executor,
    )


@dg.definitions
def prism() -> dg.Definitions:
    """Dagster's entry, called when it loads the code location, never at import."""
    return compose(load_settings(os.environ, Path.cwd()))
