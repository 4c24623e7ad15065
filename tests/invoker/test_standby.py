"""A standby invoker takes over from one that ended or froze: what a Controller sees, and what ran.

A Controller that judges as OpenWhisk's own does, Kafka, a database, ZooKeeper, two processes of `owmesos run --ha` with
folders of their own, as on two machines, simulated Mesos. The figures of each run are printed.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from owmesos.openwhisk.kafka.broker import Broker
from owmesos.simulator.cluster import SimulatedCluster
from owmesos.system.private_files import write_private
from tests.cli.running import Running, running
from tests.fixtures.admin import TOKENS
from tests.fixtures.task_ports import TaskPorts
from tests.invoker.kafka_scene import ECHO, Scene, scene
from tests.openwhisk.controller import Invokable
from tests.openwhisk.store.couch import Couch
from tests.openwhisk.supervision import State
from tests.servers.zookeeper import ZooKeeper
from tests.waiting import eventually_async

pytestmark = [
    *(pytest.mark.kafka, pytest.mark.couchdb, pytest.mark.zookeeper, pytest.mark.cluster, pytest.mark.timeout(300)),
]
PATIENCE = 120.0  # seconds; the machine may be busy
LEADS = "this process leads now"
COUNT = 240

RUNS = """\
import os, time
def main(args):
    with open({file!r}, "a") as file:
        file.write(os.environ["__OW_ACTIVATION_ID"] + "\\n")
    time.sleep(args["s"])
    return {{"n": args["n"]}}
"""


@pytest.fixture
def simulator(task_ports: TaskPorts) -> Iterator[SimulatedCluster]:
    with SimulatedCluster(agents=3, resources=task_ports.resources(3, "cpus:4;mem:416;disk:1024")) as cluster:
        yield cluster


class Pair:
    """Starts the processes of one group."""

    def __init__(self, world: Scene, zookeeper: ZooKeeper, folder: Path) -> None:
        self._options = (
            *("--ha", "--state", f"zk://{zookeeper.address}/{folder.name}", "--master", world.master),
            *("--admin-token-file", str(folder / "token"), "--name", "pair", "--id", "0", "--drain", "10"),
            *("--kafka", world.broker.address, "--topic-prefix", world.broker.prefix),
            *("--couchdb", world.couch.url, "--couchdb-prefix", world.couch.prefix),
        )
        self._folder = folder
        write_private(folder / "token", TOKENS.admin)

    @asynccontextmanager
    async def process(self, name: str) -> AsyncIterator[Running]:
        async with running(*self._options, "--local-folder", str(self._folder / name)) as process:
            yield process


class Silence:
    """The longest time without a ping, from the first one on."""

    def __init__(self, world: Scene) -> None:
        self.longest = 0.0
        self._world = world
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            heard, since = self._world.controller.pings[0], time.monotonic()
            while self._world.controller.pings[0] == heard:
                await asyncio.sleep(0.02)
                self.longest = max(self.longest, time.monotonic() - since)

    def end(self) -> float:
        self._watching.cancel()
        return self.longest


async def load(world: Scene, action: Invokable) -> None:
    """A few dozen open at a time, whatever happens to the invoker."""
    for number in range(COUNT):
        content, blocking = {"n": number, "s": 0.2}, number % 2 == 0
        await world.invoke_once_it_can(action, content, blocking=blocking, most=40, timeout=PATIENCE, interval=0.02)


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
    file = tmp_path / "ran"
    file.touch()
    async with scene(broker, couch, simulator.master) as world:
        action = await world.deploy("runs", RUNS.format(file=str(file)))
        echo = await world.deploy("echo", ECHO)
        pair = Pair(world, zookeeper, tmp_path)
        async with pair.process("a") as leader:
            await leader.said(LEADS)
            async with pair.process("b") as standby:
                await standby.said("standby: ")
                await world.becomes(State.HEALTHY, PATIENCE)
                before = len(world.controller.supervision.invokers[0].history)
                silence = Silence(world)
                callers = asyncio.create_task(load(world, action))
                await eventually_async(lambda: len(world.ended()) >= 60, PATIENCE)
                leader.process.send_signal(number)
                harmed = time.monotonic()
                await standby.said(LEADS, PATIENCE)
                took = time.monotonic() - harmed
                await asyncio.wait_for(callers, PATIENCE)
                await world.all_ended(PATIENCE)
                if number == signal.SIGSTOP:
                    leader.process.send_signal(signal.SIGCONT)
                    ended = await leader.ended(PATIENCE)
                    assert ended.code == 1
                    assert "this process has lost the lead" in ended.err.splitlines()[-1]
                assert (await world.response(echo))["statusCode"] == 0
                judged = world.controller.supervision.invokers[0].history[before:]
                silent = silence.end()
                standby.process.send_signal(signal.SIGTERM)
                assert (await standby.ended(PATIENCE)).code == 0
                await world.becomes(State.OFFLINE, PATIENCE)  # nobody is left, and the last one said so
        # What had no record yet when its process was killed or frozen has none, as after any kill -9.
        records = await (world.recorded(PATIENCE) if number == signal.SIGTERM else couch.records())
    ran = Counter(file.read_text().split())
    statuses = Counter(records[each.id]["response"]["statusCode"] for each in world.asked if each.id in records)
    figures(
        f"{number.name} of the leader under load: the standby led after {took:.1f} s; {silent:.1f} s without a ping;"
        f" {statuses[0]} of {len(world.asked)} ended well, {statuses[3]} with an error;"
        f" {[state.value for state in judged]} meanwhile"
    )
    assert judged == []
    assert set(ran.values()) <= {1}
    assert set(statuses) <= {0, 3}
    if number == signal.SIGTERM:
        assert statuses[3] == 0
    world.accounts_are_right()
