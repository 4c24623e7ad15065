"""`owmesos run --kafka` on three brokers, of which the one that matters most is killed, and comes back, under load.

All but Mesos is real; the figures are printed.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from owmesos.openwhisk.kafka.broker import Broker
from owmesos.simulator.cluster import SimulatedCluster
from tests.cli.running import running
from tests.invoker.kafka_scene import Scene, load, scene
from tests.openwhisk.store.couch import Couch
from tests.openwhisk.supervision import Outcome, State
from tests.servers.kafka import KafkaCluster
from tests.waiting import eventually_async

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.couchdb,
    pytest.mark.cluster,
    pytest.mark.simulator(resources="cpus:4;mem:2048;disk:1024"),
]
PATIENCE = 120.0  # seconds; the machine may be busy
WORKS = "import time\ndef main(args):\n    time.sleep(0.2)\n    return args"


async def test_each_activation_has_one_answer_while_brokers_are_killed(
    simulator: SimulatedCluster,
    kafka_cluster: KafkaCluster,
    couch: Couch,
    tmp_path: Path,
    figures: Callable[[str], None],
) -> None:
    """First the one that has the invoker's topic, then the one that keeps how far the invoker has read."""
    broker = Broker(hosts=kafka_cluster.addresses, replication_factor=3)
    options = (
        *("--master", simulator.master, "--state", str(tmp_path / "state"), "--name", "outage"),
        *("--kafka", broker.address, "--id", "0", "--couchdb", couch.url, "--couchdb-prefix", couch.prefix),
    )
    variables = {"CONFIG_whisk_kafka_replicationFactor": "3"}
    said = []
    async with scene(broker, couch, simulator.master, acks="all") as world:
        works = await world.deploy("works", WORKS)
        async with running(*options, variables=variables) as process:
            await world.becomes(State.HEALTHY, PATIENCE)
            async with load(world, works) as called:
                await eventually_async(lambda: called["sent"] >= 20, PATIENCE)
                for topic in ("invoker0", "__consumer_offsets"):
                    victim = await asyncio.to_thread(kafka_cluster.leader_of, topic)
                    await asyncio.to_thread(victim.stop, force=True)
                    pause = await ended_without(world, 40)
                    said.append(f"the broker with {topic} killed: no activation ended for {pause:.1f} s")
                    await asyncio.to_thread(victim.start)
                    await eventually_async(lambda: asyncio.to_thread(kafka_cluster.is_whole), PATIENCE, interval=0.5)
                    await ended_without(world, 40)
            outcomes = await world.all_ended(PATIENCE)
            records = await world.recorded(PATIENCE)
            process.process.send_signal(signal.SIGTERM)
            assert (await process.ended(PATIENCE)).code == 0
    completions = Counter(world.controller.completions[each.id] for each in world.asked)
    figures(
        f"{len(world.asked)} activations, {completions[1]} acknowledged once; {'; '.join(said)};"
        f" refused calls {called['refused']}; {len(records)} records"
    )
    assert completions.keys() == {1}
    assert {world.controller.results[each.id] for each in world.asked if each.message.blocking} == {1}
    assert set(outcomes.values()) == {Outcome.SUCCESS}
    world.accounts_are_right()
    assert {record["response"]["statusCode"] for record in records.values()} == {0}


async def ended_without(world: Scene, count: int) -> float:
    """Waits until `count` more have ended, and returns the longest time in which none did, in seconds."""
    longest, last, before = 0.0, time.monotonic(), len(world.ended())
    seen = before

    def ended() -> bool:
        nonlocal longest, last, seen
        now, there = time.monotonic(), len(world.ended())
        if there > seen:
            longest, last, seen = max(longest, now - last), now, there
        return there >= before + count

    await eventually_async(ended, PATIENCE, interval=0.05, what="activations end")
    return longest
