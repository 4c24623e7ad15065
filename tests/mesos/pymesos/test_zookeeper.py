"""Several masters in a real ZooKeeper: the driver on pymesos, and pymesos's names on our wire, follow the leader."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from owmesos.compat.pymesos import MesosSchedulerDriver, Scheduler
from owmesos.mesos.messages import Subscribed
from owmesos.mesos.wire.driver import Disconnected
from tests.fakes.master import FakeMaster
from tests.mesos.wire.conftest import Drive
from tests.mesos.wire.test_zookeeper import Election, election, server
from tests.servers.zookeeper import ZooKeeper
from tests.waiting import eventually_async

__all__ = ["election", "server"]  # fixtures

pytestmark = [pytest.mark.zookeeper, pytest.mark.cluster]


@pytest.fixture
async def other() -> AsyncIterator[FakeMaster]:
    fake = await FakeMaster().start()
    yield fake
    await fake.stop()


async def test_the_driver_on_pymesos_follows_the_leader(
    server: ZooKeeper, election: Election, master: FakeMaster, other: FakeMaster, drive: Drive
) -> None:
    node = election.register(master.address)
    election.register(other.address)
    driving = drive(f"zk://{server.address}{election.path}")
    await driving.until(Subscribed)
    assert (len(master.subscribes), len(other.subscribes)) == (1, 0)
    election.resign(node)
    assert await driving.until(Disconnected) == [Disconnected("another master leads")]
    await driving.until(Subscribed, 2)
    assert (len(master.subscribes), len(other.subscribes)) == (1, 1)
    assert master.calls == []


async def test_pymesoss_names_follow_the_leader(
    server: ZooKeeper, election: Election, master: FakeMaster, other: FakeMaster
) -> None:
    node = election.register(master.address)
    election.register(other.address)
    uri = f"zk://{server.address}{election.path}"
    driver = MesosSchedulerDriver(Scheduler(), {"user": "u", "name": "n"}, uri, failover=True)
    driver.start()
    try:
        await eventually_async(lambda: driver.master == master.address)
        election.resign(node)
        await eventually_async(lambda: driver.master == other.address)
    finally:
        driver.stop()
        driver.join()
    assert master.calls == other.calls == []
