"""Fixtures that every kind of test shares: a PostgreSQL server of the session's own, a database for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from orchestration import warehouse as warehouses
from orchestration.postgres import EmbeddedServer
from orchestration.warehouse import Warehouse

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """An embedded PostgreSQL, up while the session lasts."""
    embedded = EmbeddedServer(tmp_path_factory.mktemp("pg") / "postgres")
    embedded.acquire()
    yield embedded
    embedded.stop()


@pytest.fixture(scope="session")
def _template(server: EmbeddedServer) -> str:
    """The name of a database in which the warehouse is set up, for others to be copied from."""
    warehouses.setup(Warehouse(url=server.url("prism"), dagster_url="", embedded=server))
    return "prism"


def _copy(server: EmbeddedServer, template: str) -> Warehouse:
    name = f"test_{next(_numbers)}"
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"create database {name} template {template}")  # type: ignore[call-overload]
    return Warehouse(url=server.url(name), dagster_url=server.url(f"{name}_dagster"))


@pytest.fixture
def warehouse(server: EmbeddedServer, _template: str) -> Warehouse:
    """A warehouse of the test's own, set up and empty."""
    return _copy(server, _template)


@pytest.fixture(scope="module")
def module_warehouse(server: EmbeddedServer, _template: str) -> Warehouse:
    """A warehouse that the tests of one module share."""
    return _copy(server, _template)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data sets beside the checkout; a test that needs it is left out without it, and says so."""
    if not SHARED_DATA.is_dir():
        pytest.skip("left out: the public data sets are not beside this checkout (../shared/data)")
    return SHARED_DATA
