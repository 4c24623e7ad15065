"""The whole of it: a Controller, Kafka, a database, `owmesos run` as a process, Apache Mesos with three agents.

A thousand activations of every kind, while an agent is lost and comes back and Kafka is started anew. Then the books of
all sides are compared: the Controller's, the database's, the master's.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from owmesos.local.cluster import MesosCluster
from owmesos.openwhisk.broker import Broker
from owmesos.simulator.cluster import SimulatedCluster
from tests.cli.running import Running, running
from tests.fixtures.real_mesos import ClusterFactory
from tests.fixtures.task_ports import TaskPorts
from tests.openwhisk.controller import Invocation, Invokable, NoInvoker
from tests.openwhisk.couch import Couch, databases_of
from tests.openwhisk.supervision import Outcome, State
from tests.openwhisk.topics import reader
from tests.servers.kafka import Kafka
from tests.service.kafka_scene import ECHO, Scene, scene
from tests.waiting import eventually_async

pytestmark = [pytest.mark.kafka, pytest.mark.couchdb, pytest.mark.timeout(600)]
PING = {"agent_ping_timeout": "1secs", "max_agent_ping_timeouts": "2"}
PATIENCE = 240.0  # seconds; the machine may be busy
UNDER_WAY = 120  # that the callers leave open at most
SLOW = "import time\ndef main(args):\n    time.sleep(0.7)\n    return args"
PRINTS = "import sys\ndef main(args):\n    print('out', args['n'])\n    print('err', file=sys.stderr)\n    return args"
NODE = "function main(args) { return args }"


class Kind(NamedTuple):
    """`status` is how its activations end, unless an agent is lost under them."""

    action: Invokable
    count: int
    status: int


@pytest.fixture
async def couch(couchdb_url: str, couchdb_prefix: str) -> AsyncIterator[Couch]:
    async with databases_of(couchdb_url, couchdb_prefix) as couch:
        yield couch


@pytest.fixture
def simulator(task_ports: TaskPorts) -> Iterator[SimulatedCluster]:
    with SimulatedCluster(agents=2, resources=task_ports.resources(2, "cpus:4;mem:2048;disk:1024")) as cluster:
        yield cluster


def options(world: Scene, folder: Path, *more: str) -> tuple[str, ...]:
    """Of `owmesos run`. What is too large for any agent waits 15 s for one that is larger."""
    settings = folder / "launches.toml"
    settings.write_text("[pool]\nmax-wait = 15.0\n")
    return (
        *("--master", world.master, "--state", str(folder / "state"), "--name", "whole"),
        *(
            "--kafka",
            world.broker.address,
            "--topic-prefix",
            world.broker.prefix,
            "--id",
            "0",
            "--unique-name",
            "whole",
        ),
        *("--couchdb", world.couch.url, "--couchdb-prefix", world.couch.prefix, "--launch-settings", str(settings)),
        *more,
    )


@pytest.mark.real_mesos
async def test_a_thousand_activations_while_an_agent_is_lost_and_kafka_restarts(
    mesos_cluster: ClusterFactory, task_ports: TaskPorts, kafka: Kafka, broker: Broker, couch: Couch, tmp_path: Path
) -> None:
    resources = task_ports.resources(3, "cpus:4;mem:1536;disk:1024")
    cluster = mesos_cluster(agents=3, resources=resources, master_flags=PING)
    async with scene(broker, couch, cluster.master) as world:
        kinds = await deployed(world)
        statuses = {f"guest/{kind.action.entity.name}": kind.status for kind in kinds}
        async with running(*options(world, tmp_path)) as process:
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


async def test_a_kill_9_repeats_what_had_not_ended_and_loses_nothing(
    simulator: SimulatedCluster, broker: Broker, couch: Couch, tmp_path: Path
) -> None:
    async with scene(broker, couch, simulator.master) as world:
        slow = await world.deploy("slow", SLOW)
        at_least_once = options(world, tmp_path, "--delivery", "at-least-once")
        async with running(*at_least_once) as process:
            await world.becomes(State.HEALTHY, PATIENCE)
            for number in range(60):
                world.invoke(slow, {"n": number}, blocking=number % 2 == 0)
            await eventually_async(lambda: len(ended(world)) >= 20, PATIENCE)
            await process.end(signal.SIGKILL)
        assert len(ended(world)) < 60
        async with running(*at_least_once) as process:
            outcomes = await world.all_ended(PATIENCE)
            records = await world.recorded(PATIENCE)
            await nothing_is_left_open(process)
            assert await end_of(process) == 0
    assert set(outcomes.values()) == {Outcome.SUCCESS}
    assert {records[each.id]["response"]["statusCode"] for each in world.asked} == {0}
    assert all(world.controller.completions[each.id] >= 1 for each in world.asked)
    assert world.controller.all_free


# -- the callers


async def deployed(world: Scene) -> list[Kind]:
    """A thousand of them, and more of what is quick."""
    return [
        Kind(await world.deploy("echo", ECHO), 480, 0),
        Kind(await world.deploy("node", NODE, kind="nodejs:20"), 100, 0),
        Kind(await world.deploy("shared", ECHO, concurrency=5), 200, 0),
        Kind(await world.deploy("slow", SLOW), 60, 0),
        Kind(await world.deploy("prints", PRINTS, logs=1), 60, 0),
        Kind(await world.deploy("fails", "def main(args):\n    return {'error': 'no'}"), 80, 1),
        Kind(await world.deploy("broken", "def main(:"), 14, 2),
        Kind(await world.deploy("large", ECHO, memory=8192), 6, 3),
    ]


async def call_all(world: Scene, kinds: list[Kind]) -> None:
    """In any order, half of them blocking, never too many open; again later where no invoker is usable."""
    chance = random.Random(7)
    wanted = [kind.action for kind in kinds for _ in range(kind.count)]
    chance.shuffle(wanted)
    for number, action in enumerate(wanted):

        def called(action: Invokable = action, number: int = number) -> bool:
            if len(world.controller.under_way) >= UNDER_WAY:
                return False
            try:
                world.invoke(action, {"n": number}, blocking=chance.random() < 0.5)
            except NoInvoker:
                return False
            return True

        await eventually_async(called, PATIENCE, interval=0.005)


def ended(world: Scene) -> list[Invocation]:
    return [each for each in world.asked if each.slot.done()]


async def reached(world: Scene, callers: asyncio.Task[None], count: int) -> None:
    """So many have ended; callers that have failed say so at once."""

    def done() -> bool:
        if callers.done():
            callers.result()
        return len(ended(world)) >= count

    await eventually_async(done, PATIENCE)


# -- the books


async def nothing_is_left_open(process: Running) -> None:
    """No room is promised, and no container believes that it is busy."""

    async def quiet() -> bool:
        containers = (await process.ask("containers", "-o", "json")).json
        reservations = (await process.ask("reservations", "-o", "json")).json
        return not reservations and not any(row["active"] for row in containers)

    await eventually_async(quiet, PATIENCE, interval=0.2)


async def end_of(process: Running) -> int:
    process.process.send_signal(signal.SIGTERM)
    return (await process.ended(PATIENCE)).code


async def no_task_is_left(cluster: MesosCluster) -> None:
    """Neither at the master, nor at an agent that was away."""

    async def none() -> bool:
        async with session.get(f"http://{cluster.master}/state") as response:
            frameworks = (await response.json(content_type=None))["frameworks"]
        return not any(each["tasks"] or each["unreachable_tasks"] for each in frameworks)

    async with aiohttp.ClientSession() as session:
        await eventually_async(none, PATIENCE, interval=0.2)


async def the_books_agree(
    world: Scene, statuses: dict[str, int], outcomes: dict[str, Outcome], records: dict[str, Any]
) -> None:
    controller = world.controller
    assert len(world.asked) == 1000
    assert controller.forced == set()
    assert controller.all_free
    sent = await asyncio.to_thread(on_the_topic, world)
    for each in world.asked:
        # Kafka's restart may have doubled a message on its way to the topic; nothing else is acknowledged twice.
        assert 1 <= controller.completions[each.id] <= sent[each.id], each.message
        record = records[each.id]
        name = each.action.entity.document_id
        status = record["response"]["statusCode"]
        assert (f"{record['namespace']}/{record['name']}", record["subject"]) == (name, "guest")
        assert status in (statuses[name], 2), record  # 2: its agent was lost
        assert (outcomes[each.id] is Outcome.SYSTEM_ERROR) is (status == 3)
        if each.message.blocking:
            response = answer_of(each)
            assert response["statusCode"] == status
            assert response.get("result") == record["response"].get("result")
    assert set(records) == {each.id for each in world.asked}
    said = Counter(record["response"]["statusCode"] for record in records.values())
    expected = Counter(statuses[each.action.entity.document_id] for each in world.asked)
    assert sum((expected - said).values()) <= UNDER_WAY, said


def answer_of(invocation: Invocation) -> dict[str, Any]:
    response: dict[str, Any] = invocation.answer.result()["response"]
    return response


def on_the_topic(world: Scene) -> Counter[str]:
    """How often each activation stands on the invoker's topic."""
    asked = {each.id for each in world.asked}
    with reader(world.broker, world.broker.invoker_topic(0).name) as topic:
        found: Callable[[list[bytes]], bool] = lambda records: asked <= {_id_of(record) for record in records}  # noqa: E731
        return Counter(map(_id_of, topic.until(found, PATIENCE)))


def _id_of(record: bytes) -> str:
    return str(json.loads(record)["activationId"])
