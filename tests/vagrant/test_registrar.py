"""A master's node in a real ZooKeeper: there while the master answers, and never there twice."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError

from owmesos.errors import InvalidInput
from owmesos.mesos.wire.address import ZooKeeperMasters, parse_master
from owmesos.mesos.wire.zookeeper import ZooKeeperDetector
from owmesos.system.retry_pause import RetryPause
from tests.servers.zookeeper import ZooKeeper
from tests.waiting import eventually, in_time
from vagrant.provision.registrar import Registrar

pytestmark = pytest.mark.zookeeper


class Master:
    """Answers GET_MASTER as a master does; `stop` and `start` as the next one at the same address."""

    def __init__(self) -> None:
        self.port = 0
        self.life = 0
        self._server: ThreadingHTTPServer | None = None
        self.start()

    @property
    def info(self) -> dict[str, Any]:
        return {
            "id": f"life-{self.life}",
            "ip": 16777343,
            "port": self.port,
            "pid": f"master@127.0.0.1:{self.port}",
            "hostname": "127.0.0.1",
            "version": "1.11.0",
            "address": {"hostname": "127.0.0.1", "ip": "127.0.0.1", "port": self.port},
            "capabilities": [{"type": "AGENT_UPDATE"}, {}],
        }

    def start(self) -> None:
        self.life += 1
        answer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert json.loads(self.rfile.read(int(self.headers["Content-Length"]))) == {"type": "GET_MASTER"}
                document = {"type": "GET_MASTER", "get_master": {"master_info": answer.info, "start_time": 1.5}}
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(document).encode())

            def log_message(self, format: str, *arguments: object) -> None: ...  # noqa: A002 the name it has there

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@pytest.fixture
def server(zookeeper: ZooKeeper) -> ZooKeeper:
    return zookeeper


@pytest.fixture
def path(request: pytest.FixtureRequest) -> str:
    return f"/{request.node.name}"


class Nodes:
    """What is registered."""

    def __init__(self, address: str, path: str) -> None:
        self.path = path
        self.client: Any = KazooClient(address)
        self.client.start()

    def __call__(self) -> dict[str, Any]:
        """By name, in the order of the election, what the nodes say."""
        try:
            names = sorted(self.client.get_children(self.path))
            return {name: json.loads(self.client.get(f"{self.path}/{name}")[0]) for name in names}
        except NoNodeError:
            return {}

    def ids(self) -> list[str]:
        return [info["id"] for info in self().values()]

    def close(self) -> None:
        self.client.stop()
        self.client.close()


@pytest.fixture
def nodes(server: ZooKeeper, path: str) -> Iterator[Nodes]:
    nodes = Nodes(server.address, path)
    yield nodes
    nodes.close()


@pytest.fixture
def master() -> Iterator[Master]:
    master = Master()
    yield master
    master.stop()


@pytest.fixture
def register(server: ZooKeeper, path: str) -> Iterator[Callable[[Master], Registrar]]:
    """Starts registrars, and ends them after the test."""
    with ExitStack() as stack:

        def start(master: Master) -> Registrar:
            registrar = Registrar("127.0.0.1", master.port, f"zk://{server.address}{path}")
            thread = threading.Thread(target=registrar.run, daemon=True)
            thread.start()
            stack.callback(thread.join, 10)
            stack.callback(registrar.stop)
            return registrar

        yield start


Register = Callable[[Master], Registrar]


def test_the_node_is_as_mesos_writes_it(register: Register, master: Master, nodes: Nodes) -> None:
    register(master)
    eventually(nodes)
    ((name, info),) = nodes().items()
    assert name == "json.info_0000000000"
    assert info == master.info
    _, stat = nodes.client.get(f"{nodes.path}/{name}")
    assert stat.ephemeralOwner != 0


async def test_our_detector_finds_the_master(register: Register, master: Master, server: ZooKeeper, path: str) -> None:
    masters = parse_master(f"zk://{server.address}{path}", credentials_allowed=False)
    assert isinstance(masters, ZooKeeperMasters)
    detector = ZooKeeperDetector(masters, RetryPause(shortest=0.02, longest=0.1))
    looking = asyncio.create_task(detector.candidates())
    register(master)
    (leader,) = await in_time(looking)
    assert str(leader) == f"http://127.0.0.1:{master.port}"
    await detector.close()


def test_a_master_that_ends_is_taken_away_and_comes_back_with_its_new_id(
    register: Register, master: Master, nodes: Nodes
) -> None:
    register(master)
    eventually(nodes)
    master.stop()
    eventually(lambda: not nodes(), 5)
    master.start()
    eventually(lambda: nodes.ids() == ["life-2"], 5)


def test_a_master_that_was_replaced_unseen_has_one_node(register: Register, master: Master, nodes: Nodes) -> None:
    register(master)
    eventually(nodes)
    master.life = 2
    eventually(lambda: nodes.ids() == ["life-2"], 5)


def test_a_node_that_somebody_removed_is_put_back(register: Register, master: Master, nodes: Nodes) -> None:
    register(master)
    (first,) = eventually(nodes)
    nodes.client.delete(f"{nodes.path}/{first}")
    (second,) = eventually(nodes)
    assert second != first


def test_nodes_of_others_are_left_alone(register: Register, master: Master, nodes: Nodes) -> None:
    for name in ("json.info_0000000007", "log_replicas"):
        nodes.client.create(f"{nodes.path}/{name}", b'{"id":"another"}', makepath=True)
    registrar = register(master)
    eventually(lambda: len(nodes()) == 3)
    registrar.stop()
    eventually(lambda: nodes.ids() == ["another", "another"])


def test_the_end_of_the_registrar_takes_the_node_away_at_once(register: Register, master: Master, nodes: Nodes) -> None:
    registrar = register(master)
    eventually(nodes)
    registrar.stop()
    eventually(lambda: not nodes(), 5)


def test_the_second_master_leads_when_the_first_has_ended(register: Register, master: Master, nodes: Nodes) -> None:
    second = Master()
    register(master)
    eventually(nodes)
    register(second)
    ports = [info["port"] for info in eventually(lambda: len(nodes()) == 2 and nodes()).values()]
    assert ports == [master.port, second.port]
    master.stop()
    eventually(lambda: [info["port"] for info in nodes().values()] == [second.port], 5)
    second.stop()


def test_zookeeper_that_is_away_at_the_start_is_waited_for(
    register: Register, master: Master, nodes: Nodes, server: ZooKeeper
) -> None:
    server.stop()
    register(master)
    server.start()
    eventually(lambda: nodes.client.connected and nodes.ids() == ["life-1"], 30)


def test_a_restart_of_zookeeper_leaves_one_node(
    register: Register, master: Master, nodes: Nodes, server: ZooKeeper
) -> None:
    register(master)
    eventually(nodes)
    server.stop()
    master.life = 2
    server.start()
    eventually(lambda: nodes.client.connected and nodes.ids() == ["life-2"], 30)


@contextmanager
def program(master: Master, server: ZooKeeper, path: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "vagrant/provision/host.py", "register"]
    command += [f"127.0.0.1:{master.port}", f"zk://{server.address}{path}"]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


def test_a_host_that_stood_still_is_taken_away_and_comes_back(
    master: Master, nodes: Nodes, server: ZooKeeper, path: str
) -> None:
    with program(master, server, path) as running:
        (first,) = eventually(nodes, 60)
        running.send_signal(signal.SIGSTOP)
        eventually(lambda: not nodes(), 20, what="ZooKeeper has ended the session")
        running.send_signal(signal.SIGCONT)
        (second,) = eventually(nodes, 60)
    assert second > first


def test_as_a_program_it_ends_in_order(master: Master, nodes: Nodes, server: ZooKeeper, path: str) -> None:
    with program(master, server, path) as running:
        eventually(nodes, 60)
        running.terminate()
        _, said = running.communicate(timeout=10)
    assert running.returncode == 0
    assert nodes() == {}
    assert f"127.0.0.1:{master.port} is registered" in said


def test_it_registers_in_zookeeper_only() -> None:
    with pytest.raises(InvalidInput, match=r"a master is registered at zk://host:port/path, not at '127.0.0.1:2181'"):
        Registrar("127.0.0.1", 5050, "127.0.0.1:2181")
