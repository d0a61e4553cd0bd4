"""The warehouse: set-up, versions, locks, and the embedded server's life."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import pytest

from orchestration import database
from orchestration import warehouse as warehouses
from orchestration.errors import PrismError
from orchestration.postgres import EmbeddedServer
from orchestration.settings import load_settings
from orchestration.warehouse import SCHEMA_VERSION, Warehouse

pytestmark = pytest.mark.integration


def test_set_up_makes_the_tables_and_a_second_one_changes_nothing(warehouse: Warehouse) -> None:
    warehouses.setup(warehouse)
    with warehouse.connect() as connection:
        assert connection.execute("select version_num from ops.alembic_version").fetchall() == [
            (SCHEMA_VERSION,)
        ]
        assert connection.execute("select count(*) from raw.prompt_usage").fetchone() == (0,)


def test_a_warehouse_of_a_newer_prism_is_refused(warehouse: Warehouse) -> None:
    with warehouse.connect() as connection:
        connection.execute("update ops.alembic_version set version_num = '9999'")
    with pytest.raises(PrismError, match="another version of Prism"):
        warehouses.setup(warehouse)


def test_a_lock_that_is_held_names_its_holder(warehouse: Warehouse) -> None:
    with (
        warehouse.lock("load"),
        pytest.raises(PrismError, match=r"load lock.*backend \d+, prism"),
        warehouse.lock("load", wait_seconds=0.2),
    ):
        pass
    with warehouse.lock("load", wait_seconds=1):
        pass


def test_an_unreachable_server_is_named_without_its_password() -> None:
    with pytest.raises(PrismError) as caught:
        database.connect("postgresql://someone:s3cret@127.0.0.1:9/prism", setting="PRISM_WAREHOUSE_URL")
    assert "127.0.0.1:9" in str(caught.value)
    assert "PRISM_WAREHOUSE_URL" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "not a url",
        "htp://prism:hush@127.0.0.1/d",
        # a password with a character that would have to be encoded
        "postgresql://prism:pa@hush@127.0.0.1/d",
        "postgresql://prism:pa/hush@127.0.0.1/d",
        "postgresql://prism:pa:hush@127.0.0.1:hush/d",
    ],
)
@pytest.mark.parametrize("variable", ["PRISM_WAREHOUSE_URL", "PRISM_DAGSTER_URL"])
def test_a_wrong_url_is_one_clear_message_without_it(url: str, variable: str, tmp_path: Path) -> None:
    settings = load_settings({variable: url}, tmp_path)
    for call in (warehouses.open_warehouse, warehouses.address):
        with pytest.raises(PrismError, match=f"{variable}: this is not a PostgreSQL URL") as caught:
            call(settings)
        assert "hush" not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(PrismError, match="this is not a PostgreSQL URL"):
        database.connect(url, setting=variable)


@pytest.mark.parametrize("hosts", ["one,two", "one:5432,two", "one:5432,two:5433", "one"])
def test_a_url_of_several_hosts_is_one(hosts: str) -> None:
    database.check_url(f"postgresql://prism:hush@{hosts}/prism", "PRISM_WAREHOUSE_URL")


def _use_server(folder: Path, *, keep: bool = False) -> subprocess.Popen[str]:
    """Another process that uses the server until its standard input closes."""
    code = (
        "import sys; from pathlib import Path; from orchestration.postgres import EmbeddedServer;"
        f"server = EmbeddedServer(Path(sys.argv[1])); server.{'keep' if keep else 'acquire'}();"
        "print('up', flush=True); sys.stdin.read()"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ.copy(),
    )


def _wait_until_up(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"


def test_the_last_user_to_leave_stops_the_server(tmp_path: Path) -> None:
    ours = EmbeddedServer(tmp_path / "postgres")
    other = _use_server(tmp_path / "postgres")
    _wait_until_up(other)
    ours.acquire()
    other.communicate("")
    assert ours.is_running()
    ours.release()
    assert not ours.is_running()


def test_a_killed_user_does_not_hold_the_server_up(tmp_path: Path) -> None:
    ours = EmbeddedServer(tmp_path / "postgres")
    other = _use_server(tmp_path / "postgres")
    _wait_until_up(other)
    ours.acquire()
    other.kill()
    other.wait()
    ours.release()
    assert not ours.is_running()


def test_a_kept_server_stays_until_it_is_stopped(tmp_path: Path) -> None:
    ours = EmbeddedServer(tmp_path / "postgres")
    other = _use_server(tmp_path / "postgres", keep=True)
    _wait_until_up(other)
    other.communicate("")
    assert ours.is_running()
    assert ours.stop()
    assert not ours.stop()


def test_a_folder_too_deep_for_a_socket_gets_a_short_one(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60) / "postgres"
    deep.parent.mkdir(parents=True)
    deep.parents[1].chmod(0o700)
    ours = EmbeddedServer(deep)
    ours.acquire()
    # as root the server's account passes through, and nobody sees more than before
    assert stat.S_IMODE(deep.parents[1].stat().st_mode) == (0o701 if os.geteuid() == 0 else 0o700)
    assert stat.S_IMODE(ours.socket_dir.stat().st_mode) == 0o700
    try:
        with database.connect(ours.url("postgres"), setting="test") as connection:
            assert connection.execute("select 1").fetchone() == (1,)
    finally:
        ours.stop()


@pytest.mark.parametrize("kind", ["a link", "of somebody else"])
def test_a_socket_folder_that_somebody_else_made_is_refused(tmp_path: Path, kind: str) -> None:
    ours = EmbeddedServer(tmp_path / ("d" * 60) / ("e" * 60) / "postgres")
    assert ours.socket_dir.parent == Path(tempfile.gettempdir())
    target = tmp_path / "elsewhere"
    target.mkdir(mode=0o755)
    try:
        if kind == "a link":
            ours.socket_dir.symlink_to(target)
        elif os.geteuid() == 0:
            ours.socket_dir.mkdir()
            os.chown(ours.socket_dir, 65534, 65534)
        else:
            return  # only root can make one
        with pytest.raises(PrismError, match="somebody else made the folder"):
            ours.acquire()
        assert (stat.S_IMODE(target.stat().st_mode), target.stat().st_uid) == (0o755, os.geteuid())
    finally:
        ours.socket_dir.unlink() if kind == "a link" else shutil.rmtree(ours.socket_dir, ignore_errors=True)


@pytest.mark.debian_postgres
def test_a_given_server_is_set_up_with_dagsters_database_beside_it(
    debian_server: str, tmp_path: Path
) -> None:
    settings = load_settings({"PRISM_WAREHOUSE_URL": debian_server}, tmp_path)
    house = warehouses.open_warehouse(settings)
    warehouses.setup(house)
    warehouses.ensure_dagster_database(house)
    warehouses.ensure_dagster_database(house)
    assert house.embedded is None
    with database.connect(house.dagster_url, setting="test") as connection:
        assert connection.info.dbname == "postgres_dagster"
    with house.connect() as connection:
        assert connection.execute("select count(*) from raw.prompt_usage").fetchone() == (0,)
    assert house.libpq_environment()["PGPASSWORD"] == "t0p-secret"
    assert "t0p-secret" not in repr(house)
