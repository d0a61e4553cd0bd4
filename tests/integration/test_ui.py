"""`prism ui`: Dagster's UI on loopback with the schedules running, and nothing left when it ends."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import psutil
import pytest

from tests.ports import free_port
from tests.prism import Prism

pytestmark = [pytest.mark.integration]


@pytest.fixture
def prism(tmp_path: Path) -> Iterator[Prism]:
    installed = Prism(tmp_path)
    yield installed
    installed.stop()


def ask(port: int, query: str) -> dict[str, object]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        json.dumps({"query": query}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)["data"]  # type: ignore[no-any-return]


def test_the_ui_serves_the_code_location_on_loopback_and_ends_whole(prism: Prism) -> None:
    port = free_port()
    process = subprocess.Popen(
        # SIGINT ignored, as for a shell's job in the background
        [
            "sh",
            "-c",
            'trap "" INT; exec "$0" ui --port "$1"',
            str(Path(sys.executable).parent / "prism"),
            str(port),
        ],
        cwd=prism.folder,
        env=prism.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            assert process.poll() is None
            try:
                schedules = ask(
                    port,
                    """{repositoriesOrError {... on RepositoryConnection {nodes {
                        location {name} schedules {name scheduleState {status}} jobs {name}
                    }}}}""",
                )
                break
            except (URLError, ConnectionError):
                time.sleep(0.5)  # it is not up yet
        (node,) = schedules["repositoriesOrError"]["nodes"]  # type: ignore[index]
        assert node["location"]["name"] == "prism"
        assert {one["name"]: one["scheduleState"]["status"] for one in node["schedules"]} == {
            "nightly": "RUNNING",
            "hourly_refresh": "STOPPED",
        }
        assert {job["name"] for job in node["jobs"]} >= {"nightly", "refresh"}
        pids = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
        addresses = {
            connection.laddr.ip
            for connection in psutil.net_connections("tcp")
            if connection.pid in pids and connection.status == psutil.CONN_LISTEN
        }
        assert addresses <= {"127.0.0.1", "::1"}
    finally:
        family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        process.wait(timeout=60)
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive
    assert not prism.server.is_running()
