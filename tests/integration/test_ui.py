"""`prism ui`: on loopback with the schedules running; what it tells, what it takes, and how it ends."""

from __future__ import annotations

import http.client
import json
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from orchestration.cli import app
from orchestration.errors import PrismError
from tests.ports import free_port
from tests.prism import Prism

pytestmark = [pytest.mark.integration]


# in each place that a secret can stand in
SECRET = "pl4nted-s3cret"
CHANNEL = "TIiajkdnlazkcOXrIdevi7FQ"
SECRETS = {
    "PRISM_HMAC_KEY": SECRET,
    "PRISM_SMTP_URL": f"smtp://prism:{SECRET}@127.0.0.1:1",
    "PRISM_SOURCE_URL": f"postgresql://reader:{SECRET}@127.0.0.1:1/app",
    "PRISM_CHAT_URL": f"slack://T1JJ3T3L2/A1BRTD4JD/{CHANNEL}",
}
CONFIG = """
sources:
  - {name: app, type: application, url: "${PRISM_SOURCE_URL}"}
  - {name: proxy, type: litellm, url: "${PRISM_SOURCE_URL}", prompt: {tag: "prompt:"}}
alerts:
  channels: {chat: "${PRISM_CHAT_URL}"}
  routes: [{to: [chat]}]
"""
# what the UI shows of the deployment, of resources, and of what a run may be told
SHOWN = """{
    instance {info}
    permissions {permission value}
    utilizedEnvVarsOrError(repositorySelector: %(location)s) {__typename}
    workspaceOrError {... on Workspace {locationEntries {displayMetadata {key value}}}}
    allTopLevelResourceDetailsOrError(repositorySelector: %(location)s) {
        ... on ResourceDetailsList {results {
            name configFields {name configTypeKey defaultValueAsJson} configuredValues {key value}
        }}
    }
    runConfigSchemaOrError(selector: %(job)s) {
        ... on RunConfigSchema {rootDefaultYaml allConfigTypes {key description}}
    }
}"""
LOCATION = '{repositoryLocationName: "prism", repositoryName: "__repository__"}'
JOB = '{repositoryLocationName: "prism", repositoryName: "__repository__", pipelineName: "nightly"}'
SCHEDULE = '{repositoryLocationName: "prism", repositoryName: "__repository__", scheduleName: "nightly"}'
CHANGES = [
    f"launchRun(executionParams: {{selector: {JOB}, runConfigData: {{}}}})",
    (
        f"launchPartitionBackfill(backfillParams: {{selector: {{repositorySelector: {LOCATION},"
        ' partitionSetName: "nightly_partition_set"}, partitionNames: ["2026-01-01"]})'
    ),
    f"startSchedule(scheduleSelector: {SCHEDULE})",
    (
        'startSensor(sensorSelector: {repositoryLocationName: "prism", repositoryName: "__repository__",'
        ' sensorName: "heartbeat"})'
    ),
    'wipeAssets(assetPartitionRanges: [{assetKey: {path: ["raw", "prompts"]}}])',
    (
        "reportRunlessAssetEvents(eventParams: {eventType: ASSET_MATERIALIZATION,"
        ' assetKey: {path: ["raw", "prompts"]}})'
    ),
    "reloadWorkspace",
]


@pytest.fixture
def prism(tmp_path: Path) -> Iterator[Prism]:
    installed = Prism(tmp_path, SECRETS)
    installed.configure(CONFIG)
    yield installed
    installed.stop()


def ask(port: int, query: str) -> Any:
    status, told = send(port, "POST", body=json.dumps({"query": query}))
    return json.loads(told)["data"] if status == 200 else told


def send(
    port: int, method: str, path: str = "/graphql", body: str | None = None, **headers: str
) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body, {"Content-Type": "application/json", **headers})
    answer = connection.getresponse()
    told = answer.status, answer.read().decode()
    connection.close()
    return told


def test_to_listen_beyond_loopback_is_said_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRISM_WAREHOUSE_URL", "none")  # it comes no further than that
    for host, loud in (("0.0.0.0", True), ("::", True), ("127.0.0.1", False), ("::1", False)):
        done = CliRunner().invoke(app, ["ui", "--host", host])
        assert isinstance(done.exception, PrismError)
        assert ("WARNING: Dagster's UI listens on" in done.stderr) == loud


def test_the_ui_shows_everything_takes_no_change_tells_no_secret_and_ends_whole(prism: Prism) -> None:
    port = free_port()
    with (prism.folder / "said").open("wb") as said:
        process = subprocess.Popen(
            # SIGINT ignored, as for a shell's job in the background
            ["sh", "-c", 'trap "" INT; exec "$0" ui --read-only --port "$1"',
             str(Path(sys.executable).parent / "prism"), str(port)],
            cwd=prism.folder, env=prism.environment(), stdout=said, stderr=said,
        )  # fmt: skip
    try:
        while True:
            assert process.poll() is None
            try:
                found = ask(
                    port,
                    """{repositoriesOrError {... on RepositoryConnection {nodes {
                        location {name} schedules {name scheduleState {status}} jobs {name}
                    }}}}""",
                )
                break
            except ConnectionError:
                time.sleep(0.5)  # it is not up yet
        (node,) = found["repositoriesOrError"]["nodes"]
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
        shown = ask(port, SHOWN % {"location": LOCATION, "job": JOB})
        assert not [one for one in shown["permissions"] if one["value"]]
        assert "telemetry" in shown["instance"]["info"]
        answers = {one: ask(port, f"mutation {{change: {one} {{__typename}}}}") for one in CHANGES}
        refused = {"change": {"__typename": "UnauthorizedError"}}
        assert {one: answer for one, answer in answers.items() if answer != refused} == {}
        assert send(port, "POST", "/report_asset_materialization/raw/prompts", "{}")[0] == 401
        # what a page of another site could have a browser send
        query = "/graphql?query=mutation%20%7BreloadWorkspace%20%7B__typename%7D%7D"
        assert send(port, "GET", query)[0] == 405
        assert send(port, "POST", query, **{"Content-Type": "text/plain; x=application/json"})[0] == 415
        assert send(port, "POST", body='{"query": "{version}"}', Host="elsewhere.example.com")[0] == 421
        pages = [send(port, "GET", path, Accept="text/html") for path in ("/", "/graphql", "/config")]
        assert {status for status, _ in pages} == {200}
    finally:
        family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        process.wait(timeout=60)
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive
    assert not prism.server.is_running()
    told = f"{shown}{pages}".encode() + (prism.folder / "said").read_bytes()
    written = [path for path in (prism.folder / ".prism" / "dagster").rglob("*") if path.is_file()]
    for secret in (SECRET, CHANNEL):
        assert secret.encode() not in told
        assert not [path for path in written if secret.encode() in path.read_bytes()]
    assert stat.S_IMODE((prism.folder / ".prism" / "dagster").stat().st_mode) == 0o700
