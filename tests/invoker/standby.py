"""A leader and a standby of an invoker under load, of which one is harmed: what a Controller sees, and what ran."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from owmesos.system.private_files import write_private
from tests.cli.running import Running, running
from tests.fixtures.admin import TOKENS
from tests.invoker.kafka_scene import ECHO, Scene
from tests.openwhisk.controller import Invokable
from tests.openwhisk.store.couch import Couch
from tests.openwhisk.supervision import State
from tests.waiting import eventually_async

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


class Pair:
    """Starts the processes of one group, each with a folder of its own, as on two machines."""

    def __init__(self, world: Scene, folder: Path, own_folder: str, *options: str) -> None:
        """`own_folder`: the option that names it. `options`: of the cluster, and of the election."""
        self._options = (
            *("--ha", "--admin-token-file", str(folder / "token"), "--name", "pair", "--id", "0", "--drain", "10"),
            *("--kafka", world.broker.address, "--topic-prefix", world.broker.prefix),
            *("--couchdb", world.couch.url, "--couchdb-prefix", world.couch.prefix),
            *options,
        )
        self._folder = folder
        self._own_folder = own_folder
        write_private(folder / "token", TOKENS.admin)

    @asynccontextmanager
    async def process(self, name: str) -> AsyncIterator[Running]:
        async with running(*self._options, self._own_folder, str(self._folder / name)) as process:
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


async def nothing_is_lost(
    world: Scene,
    pair: Pair,
    couch: Couch,
    folder: Path,
    number: signal.Signals,
    figures: Callable[[str], None],
    woken: Callable[[], object] = lambda: None,
) -> None:
    """Nor runs twice, and the Controller sees no gap, while `number` befalls the leader. `woken` is called once one
    that was frozen has woken up and ended."""
    file = folder / "ran"
    file.touch()
    action = await world.deploy("runs", RUNS.format(file=str(file)))
    echo = await world.deploy("echo", ECHO)
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
            ending = asyncio.create_task(_ended_after(leader))
            await standby.said(LEADS, PATIENCE)
            took = time.monotonic() - harmed
            await asyncio.wait_for(callers, PATIENCE)
            await world.all_ended(PATIENCE)
            if number == signal.SIGSTOP:
                leader.process.send_signal(signal.SIGCONT)
                ended = await leader.ended(PATIENCE)
                assert ended.code == 1
                assert "this process has lost the lead" in ended.err.splitlines()[-1]
                woken()
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
    end = f", the leader had ended after {await ending:.1f} s" if number == signal.SIGTERM else ""
    figures(
        f"{number.name} of the leader under load: the standby led after {took:.1f} s{end};"
        f" {silent:.1f} s without a ping; {statuses[0]} of {len(world.asked)} ended well, {statuses[3]} with an error;"
        f" {[state.value for state in judged]} meanwhile"
    )
    assert judged == []
    assert set(ran.values()) <= {1}
    assert set(statuses) <= {0, 3}
    if number == signal.SIGTERM:
        assert statuses[3] == 0
    world.accounts_are_right()


async def _ended_after(process: Running) -> float:
    """Seconds."""
    began = time.monotonic()
    await process.process.wait()
    return time.monotonic() - began
