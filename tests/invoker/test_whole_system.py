"""The whole of it: a Controller, Kafka, a database, `owmesos run` as a process, Apache Mesos with three agents.

A thousand activations of every kind, while an agent is lost and comes back and Kafka is started anew. Then the books of
all sides are compared: the Controller's, the database's, the master's.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from owmesos.local.cluster import MesosCluster
from owmesos.openwhisk.kafka.broker import Broker
from tests.cli.running import running
from tests.fixtures.real_mesos import ClusterFactory
from tests.fixtures.task_ports import TaskPorts
from tests.invoker.kafka_scene import scene
from tests.invoker.whole_system import (
    PATIENCE,
    call_all,
    deployed,
    end_of,
    nothing_is_left_open,
    options,
    reached,
    the_books_agree,
)
from tests.openwhisk.store.couch import Couch
from tests.openwhisk.supervision import State
from tests.servers.kafka import Kafka
from tests.waiting import eventually_async

pytestmark = [pytest.mark.kafka, pytest.mark.couchdb, pytest.mark.timeout(600)]
PING = {"agent_ping_timeout": "1secs", "max_agent_ping_timeouts": "2"}


@pytest.mark.real_mesos
async def test_a_thousand_activations_while_an_agent_is_lost_and_kafka_restarts(
    mesos_cluster: ClusterFactory, task_ports: TaskPorts, kafka: Kafka, broker: Broker, couch: Couch, tmp_path: Path
) -> None:
    resources = task_ports.resources(3, "cpus:4;mem:1536;disk:1024")
    cluster = mesos_cluster(agents=3, resources=resources, master_flags=PING)
    async with scene(broker, couch, cluster.master) as world:
        kinds = await deployed(world)
        statuses = {f"guest/{kind.action.entity.name}": kind.status for kind in kinds}
        async with running("--master", world.master, *options(world, tmp_path)) as process:
            await world.becomes(State.HEALTHY, PATIENCE)
            callers = asyncio.create_task(call_all(world, kinds))
            await reached(world, callers, 300)
            await asyncio.to_thread(cluster.kill, "agent2")
            await reached(world, callers, 600)
            await asyncio.to_thread(kafka.stop)
            await asyncio.to_thread(kafka.start)
            await reached(world, callers, 800)
            await asyncio.to_thread(cluster.start, "agent2")
            await asyncio.to_thread(cluster.wait_registered)
            await asyncio.wait_for(callers, PATIENCE)
            outcomes = await world.all_ended(PATIENCE)
            records = await world.recorded(PATIENCE)
            await nothing_is_left_open(process)
            stopped = await end_of(process)
        assert stopped == 0, process.log
        await no_task_is_left(cluster)
    await the_books_agree(world, statuses, outcomes, records)


async def no_task_is_left(cluster: MesosCluster) -> None:
    """Neither at the master, nor at an agent that was away."""

    async def none() -> bool:
        async with session.get(f"http://{cluster.master}/state") as response:
            frameworks = (await response.json(content_type=None))["frameworks"]
        return not any(each["tasks"] or each["unreachable_tasks"] for each in frameworks)

    async with aiohttp.ClientSession() as session:
        await eventually_async(none, PATIENCE, interval=0.2)
