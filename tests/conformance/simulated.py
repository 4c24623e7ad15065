"""The simulator as one more kind of cluster for the cases."""

from __future__ import annotations

import asyncio
import getpass
import tempfile
from contextlib import ExitStack
from pathlib import Path

from owmesos.simulator.cluster import SimulatedCluster
from tests.conformance.clusters import STANDARD, Cluster, Setup


class Simulated:
    """An `Engine`: a master and agents of `owmesos.simulator`, in this process."""

    name = "simulator"
    marks: tuple[str, ...] = ()
    one_at_a_time = False
    usual: Setup | None = STANDARD

    def lacks_control(self) -> str | None:
        return None

    def lacks_freezing(self) -> str | None:
        return None

    def begin(self, setup: Setup | None) -> Cluster:
        assert setup is not None
        return SimulatedHere(setup)

    def finish(self) -> None: ...


class SimulatedHere:
    """A cluster of `Simulated`."""

    def __init__(self, setup: Setup) -> None:
        self.user = getpass.getuser()
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="owmesos-conformance-")))
            self._daemons = stack.enter_context(
                SimulatedCluster(
                    folder / "state",
                    agents=len(setup.agents),
                    resources=[agent.resources for agent in setup.agents],
                    attributes=setup.attributes,
                    master_flags={"allocation_interval": "100ms", **setup.flags_for_master(folder)},
                    agent_flags=setup.agent_flags,
                )
            )
            self._stack = stack.pop_all()
        self.master = self._daemons.master

    async def kill(self, name: str) -> None:
        await asyncio.to_thread(self._daemons.kill, name)

    async def start(self, name: str, *, fresh: bool = False) -> None:
        await asyncio.to_thread(self._daemons.start, name, fresh=fresh)

    async def freeze(self, task_id: str) -> None:
        daemons = self._daemons
        await asyncio.to_thread(daemons.enter, lambda: daemons.world.freeze_executor(task_id))

    async def thaw(self, task_id: str) -> None:
        daemons = self._daemons
        await asyncio.to_thread(daemons.enter, lambda: daemons.world.thaw_executor(task_id))

    def close(self) -> None:
        self._stack.close()
