"""The simulator as one more kind of cluster for the cases."""

from __future__ import annotations

import asyncio

from owmesos.simulator.cluster import SimulatedCluster
from tests.conformance.clusters import Cluster, OwnCluster, OwnEngine, Setup


class Simulated(OwnEngine):
    """A master and agents of `owmesos.simulator`, in this process."""

    name = "simulator"

    def begin(self, setup: Setup | None) -> Cluster:
        assert setup is not None
        return SimulatedHere(setup, SimulatedCluster)


class SimulatedHere(OwnCluster[SimulatedCluster]):
    """A cluster of `Simulated`."""

    async def freeze(self, task_id: str) -> None:
        daemons = self._daemons
        await asyncio.to_thread(daemons.enter, lambda: daemons.world.freeze_executor(task_id))

    async def thaw(self, task_id: str) -> None:
        daemons = self._daemons
        await asyncio.to_thread(daemons.enter, lambda: daemons.world.thaw_executor(task_id))
