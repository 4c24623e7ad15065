"""A standby invoker takes over from one that ended or froze: what a Controller sees, and what ran.

A Controller that judges as OpenWhisk's own does, Kafka, a database, ZooKeeper, two processes of `owmesos run --ha` with
folders of their own, as on two machines, simulated Mesos. The figures of each run are printed.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from owmesos.openwhisk.kafka.broker import Broker
from owmesos.simulator.cluster import SimulatedCluster
from tests.invoker.kafka_scene import scene
from tests.invoker.standby import Pair, nothing_is_lost
from tests.openwhisk.store.couch import Couch
from tests.servers.zookeeper import ZooKeeper

pytestmark = [
    *(pytest.mark.kafka, pytest.mark.couchdb, pytest.mark.zookeeper, pytest.mark.cluster, pytest.mark.timeout(300)),
    pytest.mark.simulator(agents=3, resources="cpus:4;mem:416;disk:1024"),
]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
async def test_nothing_is_lost_or_runs_twice_and_the_controller_sees_no_gap(
    simulator: SimulatedCluster,
    broker: Broker,
    couch: Couch,
    zookeeper: ZooKeeper,
    tmp_path: Path,
    figures: Callable[[str], None],
    number: signal.Signals,
) -> None:
    async with scene(broker, couch, simulator.master) as world:
        options = ("--state", f"zk://{zookeeper.address}/{tmp_path.name}", "--master", world.master)
        pair = Pair(world, tmp_path, "--local-folder", *options)
        await nothing_is_lost(world, pair, couch, tmp_path, number, figures)
