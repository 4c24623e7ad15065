"""Finding the leading master in a real ZooKeeper."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.security import make_digest_acl

from owmesos.mesos.messages import Subscribe, Subscribed
from owmesos.mesos.wire.access import Access
from owmesos.mesos.wire.address import ZooKeeperMasters, parse_master
from owmesos.mesos.wire.driver import Disconnected
from owmesos.mesos.wire.http_driver import HttpDriver
from owmesos.mesos.wire.operator_client import OperatorClient, OperatorFailed
from owmesos.mesos.wire.zookeeper import ZooKeeperDetector
from owmesos.system.retry_pause import RetryPause
from tests.fakes.master import FakeMaster
from tests.mesos.wire.conftest import INFO, Collected
from tests.servers.zookeeper import ZooKeeper
from tests.waiting import eventually_async, in_time

pytestmark = [pytest.mark.zookeeper, pytest.mark.cluster]


@pytest.fixture
def server(zookeeper: ZooKeeper) -> ZooKeeper:
    return zookeeper


class Election:
    """The masters' side of ZooKeeper."""

    def __init__(self, address: str, path: str) -> None:
        self.path = path
        self.address = address
        self.kazoo: Any = KazooClient(address)
        self.kazoo.start()
        self._sequence = 0

    def register(self, address: str, acl: Any = None) -> str:
        """A master that stands behind those before it; returns its node."""
        host, port = address.split(":")
        info = {"id": "M", "address": {"hostname": host, "ip": host, "port": int(port)}}
        return self.put(json.dumps(info).encode(), acl)

    def put(self, data: bytes, acl: Any = None) -> str:
        self._sequence += 1
        node = f"{self.path}/json.info_{self._sequence:010}"
        self.kazoo.ensure_path(self.path)
        self.kazoo.create(node, data, acl=acl)
        return node

    def resign(self, node: str) -> None:
        self.kazoo.delete(node)

    def close(self) -> None:
        self.kazoo.stop()
        self.kazoo.close()


@pytest.fixture
def election(server: ZooKeeper, request: pytest.FixtureRequest) -> Iterator[Election]:
    election = Election(server.address, f"/{request.node.name}")
    yield election
    election.close()


@pytest.fixture
async def detector(server: ZooKeeper, election: Election) -> AsyncIterator[ZooKeeperDetector]:
    detector = detector_at(f"zk://{server.address}{election.path}")
    yield detector
    await detector.close()


def detector_at(url: str) -> ZooKeeperDetector:
    masters = parse_master(url, credentials_allowed=True)
    assert isinstance(masters, ZooKeeperMasters)
    return ZooKeeperDetector(masters, RetryPause(shortest=0.02, longest=0.1))


async def leader(detector: ZooKeeperDetector) -> str:
    (address,) = await in_time(detector.candidates())
    return str(address)


async def test_the_lowest_sequence_leads(detector: ZooKeeperDetector, election: Election) -> None:
    election.register("10.0.0.1:5050")
    election.register("10.0.0.2:5050")
    election.kazoo.create(f"{election.path}/log_replicas")
    election.kazoo.create(f"{election.path}/info_0000000000")
    assert await leader(detector) == "http://10.0.0.1:5050"


async def test_masters_that_are_not_there_yet_are_waited_for(
    detector: ZooKeeperDetector, election: Election, caplog: pytest.LogCaptureFixture
) -> None:
    waiting = asyncio.create_task(leader(detector))
    await eventually_async(lambda: "no master has registered there yet" in caplog.text)
    election.register("10.0.0.1:5050")
    assert await waiting == "http://10.0.0.1:5050"


async def test_a_new_leader_is_told(detector: ZooKeeperDetector, election: Election) -> None:
    first = election.register("10.0.0.1:5050")
    election.register("10.0.0.2:5050")
    await leader(detector)
    change = asyncio.create_task(detector.changed())
    election.resign(first)
    await in_time(change)
    assert await leader(detector) == "http://10.0.0.2:5050"


async def test_a_malformed_node_is_logged_and_waited_out(
    detector: ZooKeeperDetector, election: Election, caplog: pytest.LogCaptureFixture
) -> None:
    bad = election.put(b"\xff{")
    waiting = asyncio.create_task(leader(detector))
    await eventually_async(lambda: "a master's node is malformed" in caplog.text)
    election.register("10.0.0.1:5050")
    election.resign(bad)
    assert await waiting == "http://10.0.0.1:5050"


async def test_digest_authentication(server: ZooKeeper, election: Election) -> None:
    election.register("10.0.0.1:5050")
    acl = [make_digest_acl("me", "xyzzy", read=True)]
    election.kazoo.set_acls(election.path, acl)
    detector = detector_at(f"zk://me:xyzzy@{server.address}{election.path}")
    assert await leader(detector) == "http://10.0.0.1:5050"
    await detector.close()


async def test_without_the_right_password_it_is_logged_and_waited(
    server: ZooKeeper, election: Election, caplog: pytest.LogCaptureFixture
) -> None:
    election.register("10.0.0.1:5050")
    election.kazoo.set_acls(election.path, [make_digest_acl("me", "xyzzy", read=True)])
    detector = detector_at(f"zk://me:wrong@{server.address}{election.path}")
    waiting = asyncio.create_task(detector.candidates())
    await eventually_async(lambda: "the credentials are not allowed to read it" in caplog.text)
    assert "wrong" not in caplog.text
    assert not waiting.done()
    waiting.cancel()
    await detector.close()


async def test_zookeeper_that_is_away_at_the_start_is_waited_for(server: ZooKeeper, election: Election) -> None:
    election.register("10.0.0.1:5050")
    server.stop()
    detector = detector_at(f"zk://{server.address}{election.path}")
    waiting = asyncio.create_task(leader(detector))
    await asyncio.wait([waiting], timeout=0.3)
    assert not waiting.done()
    await asyncio.to_thread(server.start)
    assert await waiting == "http://10.0.0.1:5050"
    await detector.close()


async def test_a_subscription_outlives_zookeeper_and_follows_the_leader(
    server: ZooKeeper, election: Election, detector: ZooKeeperDetector
) -> None:
    first, second = await FakeMaster().start(), await FakeMaster().start()
    node = election.register(first.address)
    election.register(second.address)
    driver = HttpDriver(detector, Subscribe(INFO), Access(), backoff=RetryPause(shortest=0.02, longest=0.1))
    driving = Collected(driver)
    await driving.until(Subscribed)
    server.stop()
    await first.send({"type": "RESCIND", "rescind": {"offer_id": {"value": "O"}}})
    await eventually_async(lambda: driving.kinds() == ["Subscribed", "Rescind"])
    await asyncio.to_thread(server.start)
    await eventually_async(lambda: election.kazoo.connected)
    election.resign(node)
    assert await driving.until(Disconnected) == [Disconnected("another master leads")]
    await driving.until(Subscribed, 2)
    assert len(second.subscribes) == 1
    await driving.close()
    await first.stop()
    await second.stop()


async def test_an_operator_request_does_not_wait_for_ever(detector: ZooKeeperDetector) -> None:
    async with OperatorClient(detector, timeout=0.3) as client:
        with pytest.raises(OperatorFailed, match="no answer"):
            await client.agents()
