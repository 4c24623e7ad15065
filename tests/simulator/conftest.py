"""A small simulated cluster, shared by the tests that do not hurt it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from owmesos.simulator import SimulatedCluster
from tests.local.plain_scheduler import PlainScheduler


@pytest.fixture(scope="module")
def cluster() -> Iterator[SimulatedCluster]:
    with SimulatedCluster(agents=2) as cluster:
        yield cluster


@pytest.fixture
def scheduler(cluster: SimulatedCluster) -> Iterator[PlainScheduler]:
    with PlainScheduler(cluster.master) as scheduler:
        yield scheduler
        scheduler.call({"type": "TEARDOWN"})
