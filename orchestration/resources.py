"""What assets are given: the settings, the warehouse, and dbt. Opened on first use, once a run."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
from pydantic import PrivateAttr

from orchestration import roles
from orchestration import warehouse as warehouses
from orchestration.settings import Settings, load_settings
from orchestration.warehouse import Warehouse


class Prism(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The settings in force and the warehouse behind them, read and opened when an asset first asks."""

    _settings: Settings | None = PrivateAttr(default=None)
    _warehouse: Warehouse | None = PrivateAttr(default=None)

    @property
    def settings(self) -> Settings:
        if self._settings is None:
            self._settings = load_settings(os.environ, Path.cwd())
        return self._settings

    @property
    def warehouse(self) -> Warehouse:
        if self._warehouse is None:
            warehouse = warehouses.open_warehouse(self.settings)
            warehouses.setup(warehouse)
            self._warehouse = warehouse
        return self._warehouse

    # the warehouse with no more rights than a step needs

    @property
    def loader(self) -> Warehouse:
        return self.warehouse.acting_as(roles.LOADER)

    @property
    def transformer(self) -> Warehouse:
        return self.warehouse.acting_as(roles.TRANSFORMER)

    @property
    def reporter(self) -> Warehouse:
        return self.warehouse.acting_as(roles.REPORTER)
