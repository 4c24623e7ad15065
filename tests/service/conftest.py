"""A framework on a fake cluster of two agents."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from owmesos.service.framework import Framework
from tests.fakes.cluster import FakeAgent, FakeCluster
from tests.fakes.master import FakeMaster
from tests.waiting import eventually_async


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    master = await FakeMaster().start()
    agents = [
        FakeAgent("agent-S1", "node1", cpus=2, mem=1024, attributes={"rack": "r1"}),
        FakeAgent("agent-S2", "node2", cpus=4, mem=2048, attributes={"rack": "r2"}),
    ]
    yield FakeCluster(master, agents)
    await master.stop()


@pytest.fixture
async def framework(cluster: FakeCluster) -> AsyncIterator[Framework]:
    framework = Framework(master=cluster.master.address)
    await framework.start()
    await eventually_async(lambda: framework.nodes() and framework.subscribed)
    yield framework
    await framework.stop(teardown=False)
