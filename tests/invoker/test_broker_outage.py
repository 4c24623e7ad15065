"""A Kafka that is away when `owmesos run --kafka` starts, and again later, under load: what its operator and a
Controller see. All but Mesos is real; the figures are printed."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from owmesos.openwhisk.kafka.broker import Broker
from owmesos.simulator.cluster import SimulatedCluster
from tests.cli.running import Running, running
from tests.invoker.kafka_scene import load, scene
from tests.openwhisk.store.couch import Couch
from tests.openwhisk.supervision import Outcome, State
from tests.servers.kafka import Kafka
from tests.waiting import eventually_async

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.couchdb,
    pytest.mark.cluster,
    pytest.mark.simulator(resources="cpus:4;mem:2048;disk:1024"),
]
PATIENCE = 90.0  # seconds; the machine may be busy
WORKS = "import time\ndef main(args):\n    time.sleep(0.2)\n    return args"
DOWN, BACK = r"Kafka at \S+ has been down since", r"Kafka at \S+ is back, after (\d+) s"


def options(master: str, kafka: str, couch: Couch, folder: Path, prefix: str = "") -> tuple[str, ...]:
    return (
        *("--master", master, "--state", str(folder / "state"), "--name", "outage"),
        *("--kafka", kafka, "--topic-prefix", prefix, "--id", "0"),
        *("--couchdb", couch.url, "--couchdb-prefix", couch.prefix),
    )


async def health(process: Running) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.get(f"{process.url}/healthz") as response:
        return response.status, await response.json()


async def says(process: Running, server: str, state: str, timeout: float = PATIENCE) -> None:
    async def so() -> bool:
        return (await health(process))[1][server] == state

    await eventually_async(so, timeout, interval=0.1, what=f"/healthz says that {server} is {state}")


async def test_it_serves_and_obeys_while_nothing_answers(
    simulator: SimulatedCluster, couch: Couch, tmp_path: Path, figures: Callable[[str], None]
) -> None:
    """Port 1 is nobody's. The end is awaited from SIGTERM on, also in the middle of an attempt to connect."""
    dead = (*options(simulator.master, "127.0.0.1:1", couch, tmp_path)[:-4], "--couchdb", "http://127.0.0.1:1")
    async with running(*dead) as process:
        await says(process, "couchdb", "down")
        await says(process, "kafka", "down")
        await eventually_async(lambda: _status(process, 200), PATIENCE, what="Kafka does not change the status")
        assert (await process.ask("nodes", "-o", "json")).json
        shown = await process.ask("invoker")
        assert re.match(r"invoker0 accepts no activations: it has not started reading; 0 held;", shown.out), shown
        assert re.search(r"kafka +down +\d+\w +127.0.0.1:1 +.*ECONNREFUSED", shown.out), shown.out
        document = (await process.ask("invoker", "-o", "json")).json
        assert (document["refuses"], document["kafka"]["state"], document["couchdb"]["state"]) == (
            *("starting", "down", "down"),
        )
        process.process.send_signal(signal.SIGTERM)
        asked = time.monotonic()
        await process.said("stopping:")
        heard = time.monotonic() - asked
        assert (await process.ended()).code == 0
        over = time.monotonic() - asked
    assert loud(process) == 2, process.log
    figures(f"SIGTERM was heard after {heard:.2f} s, and the process ended after {over:.2f} s")


def loud(process: Running) -> int:
    """How many warnings and errors the log has, but for one: the test's database has no view of blocked namespaces."""
    lines = [line for line in process.log.splitlines() if " WARNING " in line or " ERROR " in line]
    return sum("lacks the view of blocked namespaces" not in line for line in lines)


async def _status(process: Running, wanted: int) -> bool:
    return (await health(process))[0] == wanted


async def test_a_broker_that_is_away_at_the_start_and_under_load(
    simulator: SimulatedCluster,
    kafka: Kafka,
    broker: Broker,
    couch: Couch,
    tmp_path: Path,
    figures: Callable[[str], None],
) -> None:
    async with scene(broker, couch, simulator.master) as world:
        works = await world.deploy("works", WORKS)
        await asyncio.to_thread(kafka.stop)
        async with running(*options(simulator.master, broker.address, couch, tmp_path, broker.prefix)) as process:
            await says(process, "kafka", "down")
            began = time.monotonic()
            await asyncio.to_thread(kafka.start)
            answered = time.monotonic()
            await world.becomes(State.HEALTHY, PATIENCE)
            healthy = time.monotonic() - answered
            async with load(world, works) as called:
                await eventually_async(lambda: called["sent"] >= 40, PATIENCE)
                await asyncio.to_thread(kafka.stop)
                held = len(world.controller.under_way)
                away = time.monotonic()
                await says(process, "kafka", "down")
                noticed = time.monotonic() - away
                await eventually_async(lambda: called["refused"], PATIENCE, what="the Controller misses the pings")
                await asyncio.to_thread(kafka.start)
                back = time.monotonic()
                await world.becomes(State.HEALTHY, PATIENCE)
                usable = time.monotonic() - back
                await says(process, "kafka", "up")
                await eventually_async(lambda: called["after"] >= 40, PATIENCE)
            outcomes = await world.all_ended(PATIENCE)
            records = await world.recorded(PATIENCE)
            process.process.send_signal(signal.SIGTERM)
            assert (await process.ended(PATIENCE)).code == 0
    completions = Counter(world.controller.completions[each.id] for each in world.asked)
    figures(
        f"healthy {healthy:.1f} s after the broker answered for the first time (start to there "
        f"{answered - began:.1f} s); {len(world.asked)} activations, {held} under way when it went; /healthz said so "
        f"after {noticed:.1f} s; healthy again {usable:.1f} s after it was back; refused calls {called['refused']}; "
        f"acknowledged once {completions[1]}, more often {completions.total() - completions[1] - completions[0]}, "
        f"never {completions[0]}, forced {len(world.controller.forced)}; {len(records)} records"
    )
    assert set(outcomes.values()) == {Outcome.SUCCESS}
    assert world.controller.forced == set()
    assert completions[0] == 0
    assert {json.dumps(record["response"]["statusCode"]) for record in records.values()} == {"0"}
    assert world.controller.all_free
    assert len(re.findall(DOWN, process.log)) == len(re.findall(BACK, process.log)) == 2, process.log
    assert loud(process) == 2, process.log
