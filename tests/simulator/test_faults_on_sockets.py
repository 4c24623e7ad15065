"""The same faults on real sockets, with the whole framework process on them and tasks that are processes."""

from __future__ import annotations

from pathlib import Path

import owmesos
from owmesos.mesos.wire.driver import CallFailed
from owmesos.simulator import Faults, Rates, SimulatedCluster
from tests.waiting import eventually_async

TROUBLE = Rates(
    cut=3.0,
    slow_reader=2.0,
    slow_for=0.3,
    rescind=0.5,
    agent_freezes=4.0,
    agent_away=1.0,
    fail_over=9.0,
    accept_lost=0.1,
    answer_lost=0.1,
    message_delay=0.02,
    update_delay=0.2,
    update_repeated=0.2,
)


async def test_every_launch_ends_well(tmp_path: Path) -> None:
    with SimulatedCluster(tmp_path / "cluster", agents=3, masters=2) as cluster:
        faults = Faults(cluster.world, TROUBLE, seed=3)
        cluster.enter(faults.start)
        async with owmesos.Framework(master=cluster.masters, name="troubled") as framework:
            launch = owmesos.Launch(command="sleep 0.2", cpus=0.5, mem=64, retry="lost")
            handles = await framework.launch_many([launch] * 20)
            ids = [handle.id for handle in handles]
            assert await framework.wait(ids, "ended", 90.0), framework.launches()
            cluster.enter(faults.stop)
            states = {document["state"] for document in framework.launches(ids)}
            await eventually_async(framework.teardown, retry_on=(CallFailed,))  # the lead may just have changed
        assert states == {"FINISHED"}
        assert faults.counts.keys() >= {"cut", "rescind"}
