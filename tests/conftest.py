"""Fixtures that every kind of test shares: servers of the session's own, a database for each test."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import psycopg
import pytest

from orchestration import roles
from orchestration import warehouse as warehouses
from orchestration.postgres import EmbeddedServer
from orchestration.warehouse import Warehouse
from tests.ports import free_port

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
        # the one grant that a template does not hand on
        connection.execute(
            f"grant create, temporary on database {name} to {roles.TRANSFORMER}, {roles.LOADER}"  # type: ignore[call-overload]
        )
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
    """The folder of public data sets beside the checkout; a test that needs it says so without it."""
    if not SHARED_DATA.is_dir():
        pytest.skip("left out: the public data sets are not beside this checkout (../shared/data)")
    return SHARED_DATA


@pytest.fixture(scope="session")
def debian_server() -> Iterator[str]:
    """The URL of a database on Debian's PostgreSQL, over TCP on loopback, with a password."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        pytest.skip("left out: Debian's postgresql is not installed (apt-get install postgresql)")
    account = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="prism-debian-"))
    if account:
        shutil.chown(folder, "postgres", "postgres")
    port = free_port()
    (folder / "password").write_text("t0p-secret")
    (folder / "password").chmod(0o644)

    def call(name: str, *arguments: str) -> None:
        subprocess.run(
            [programs[-1] / name, "-D", folder / "data", *arguments],
            check=True, stdout=subprocess.DEVNULL, cwd="/", **account,  # type: ignore[call-overload]
        )  # fmt: skip

    call("initdb", "-U", "owner", "--auth=scram-sha-256", "--pwfile", str(folder / "password"), "-E", "UTF8")
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off"
    call("pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield f"postgresql://owner:t0p-secret@127.0.0.1:{port}/postgres"
    finally:
        call("pg_ctl", "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where nothing may be left out (CI sets PRISM_TEST_ALL), a test that would be skipped fails."""
    report = yield
    if os.environ.get("PRISM_TEST_ALL") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"left out, but PRISM_TEST_ALL is set: {report.longrepr}"
    return report
