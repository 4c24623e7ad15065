"""An embedded cluster is its owner's alone: another user of the machine reaches its ports, and gets nothing there."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from owmesos.simulator.cluster import SimulatedCluster
from owmesos.system.discovery import MASTER, find
from tests.cli.running import owmesos, running
from tests.cli.test_local import serving
from tests.fixtures.real_mesos import reserved_port
from tests.waiting import eventually_async

INFO = {"user": "root", "name": "stranger", "roles": ["*"]}
ASKED = [
    ("master", "POST", "/api/v1/scheduler", {"type": "SUBSCRIBE", "subscribe": {"framework_info": INFO}}),
    ("master", "POST", "/api/v1", {"type": "GET_STATE"}),
    ("master", "POST", "/api/v1", {"type": "TEARDOWN", "teardown": {"framework_id": {"value": "x"}}}),
    ("agent", "POST", "/api/v1", {"type": "GET_FLAGS"}),
    ("agent", "POST", "/api/v1", {"type": "GET_STATE"}),
    ("agent", "GET", "/state", None),
]


@pytest.fixture(params=["simulator", pytest.param("mesos", marks=pytest.mark.real_mesos)])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """Where a cluster of `owmesos local` has its master."""
    with reserved_port() as port, serving("--engine", request.param, "--agents", "1", "--port", str(port)) as (_, line):
        assert "master at" in line
        yield port


def ask(port: int, whom: str, method: str, path: str, body: object, headers: dict[str, str] | None = None) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port + (whom == "agent"), timeout=10)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
        return connection.getresponse().status
    finally:
        connection.close()


def address_of(cluster: SimulatedCluster, name: str) -> tuple[str, int]:
    host, _, port = next(each.address for each in cluster.status() if each.name == name).rpartition(":")
    return host, int(port)


def test_a_stranger_is_refused_and_its_owner_notices_nothing(port: int) -> None:
    for whom, method, path, body in ASKED:
        assert ask(port, whom, method, path, body) == 401, (whom, path)
        assert ask(port, whom, method, path, body, {"Authorization": "Basic b3dtZXNvczp3cm9uZw=="}) == 401, (whom, path)
    assert len(owmesos("nodes", "--master", f"127.0.0.1:{port}", "-o", "json").json) == 1


async def test_frameworks_of_its_owner_find_the_credentials_and_nobody_else_sees_its_sandboxes(
    port: int, tmp_path: Path
) -> None:
    async with running("--master", f"127.0.0.1:{port}", "--state", str(tmp_path / "state")) as process:
        command = ("--command", "pwd > $MESOS_SANDBOX/where; cp $MESOS_SANDBOX/where " + str(tmp_path) + "; sleep 60")
        ran = await process.ask("launch", *command, "--mem", "32", "--wait", "running", "-o", "json")
        assert ran.json[0]["state"] == "RUNNING"
        file = tmp_path / "where"
        await eventually_async(lambda: file.exists() and file.read_text().strip())
        sandbox = file.read_text().strip()
        for way in ("browse", "read", "download"):
            for path in (sandbox, f"{sandbox}/where"):
                assert ask(port, "agent", "GET", f"/files/{way}?path={path}&offset=0", None) in (401, 403), way
        await process.ask("teardown")


def test_what_a_stranger_compresses_is_not_decompressed(caplog: pytest.LogCaptureFixture) -> None:
    """And one that cannot be would be logged with a traceback."""
    with SimulatedCluster(agents=1, processes=False, master_flags={"authenticate_http_readwrite": "true"}) as cluster:
        _, port = address_of(cluster, "master")
        for whom in ("master", "agent"):
            for encoding in ("gzip", "deflate"):
                assert ask(port, whom, "POST", "/api/v1/x", {}, {"Content-Encoding": encoding}) in (401, 404)
    assert not caplog.records


@pytest.mark.skipif(sys.platform != "linux", reason="shutdown of a socket that listens")
def test_they_go_to_nobody_who_takes_the_port_of_a_daemon_that_was_killed() -> None:
    """Logs are read from agents, for instance, with the credentials of the whole cluster."""
    with SimulatedCluster(agents=2, processes=False) as cluster:
        for name in ("master", "agent1"):
            host, port = address_of(cluster, name)
            for _ in range(3):
                cluster.kill(name)
                with socket.socket() as stranger:
                    stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    with pytest.raises(OSError, match="in use"):
                        stranger.bind((host, port))
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection((host, port), timeout=10)
                cluster.start(name)
                socket.create_connection((host, port), timeout=10).close()
        host, port = address_of(cluster, "master")
        cluster.kill("master")
    socket.create_server((host, port)).close()


def test_they_go_with_the_cluster() -> None:
    with reserved_port() as port:
        with serving("--port", str(port)) as (process, _):
            assert find(MASTER, "127.0.0.1", port) is not None
            process.terminate()
            assert process.wait(20) == 0
        assert find(MASTER, "127.0.0.1", port) is None


def test_a_cluster_for_everybody_says_so() -> None:
    with reserved_port() as port, serving("--port", str(port), "--without-credentials"):
        assert ask(port, "master", "POST", "/api/v1", {"type": "GET_STATE"}) == 200
        assert ask(port, "agent", "GET", "/state", None) == 200
        assert find(MASTER, "127.0.0.1", port) is None


async def test_the_cluster_of_run_is_its_own(task_ports: object) -> None:
    async with running("--master", "local") as process:
        address = (await process.said(r"the embedded cluster is at (\S+) and"))[1]
        port = int(address.rpartition(":")[2])
        for whom, method, path, body in ASKED:
            assert ask(port, whom, method, path, body) == 401, (whom, path)
        ran = await process.ask("launch", "--command", "true", "--mem", "32", "--wait", "ended", "-o", "json")
        assert ran.json[0]["state"] == "FINISHED"


def test_a_cluster_of_the_library_is_open() -> None:
    """It is made in a program, for its tests; and flags protect it as they protect Mesos."""
    with SimulatedCluster(agents=1) as cluster:
        port = int(cluster.master.rpartition(":")[2])
        assert ask(port, "master", "POST", "/api/v1", {"type": "GET_STATE"}) == 200


def test_no_process_shows_the_secret() -> None:
    with reserved_port() as port, serving("--port", str(port)):
        secret = (find(MASTER, "127.0.0.1", port) or ":").partition(":")[2]
        assert len(secret) == 64
        shown = subprocess.run(["ps", "axeww"], check=False, capture_output=True, text=True).stdout
        assert secret not in shown
