"""`POST /api/v1/launches` of 10,000 launches at a framework that waits for work: how long its event loop stops.

The framework has the process, the admin API and the log of `owmesos run`, with its state in a folder; the simulated
master has a process of its own, with 1,000 agents that hold all the launches; so has the client. Watched from the
request until every launch is in an ACCEPT. "Loop stopped" is the most that the event loop's thread used of the
processor between two runs of a timer; by the clock it is more where the machine is busy with other things. Once with a
key (`Idempotency-Key`, as `owmesos launch` sends it) and once without one.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import multiprocessing
import tempfile
import time
import urllib.request
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from benchmarks.loop_stops import longest_stop
from benchmarks.row import Row

LAUNCHES, AGENTS, EACH = 10_000, 1_000, 10
STOPPED_MS = 100.0
_TOKEN = "benchmark"


def _cluster(agents: int, ready: Connection) -> None:
    from owmesos.simulator.agent.settings import AgentSettings
    from owmesos.simulator.cluster import SimulatedCluster

    settings = AgentSettings(launch_delay=0.0)
    resources = f"cpus:{EACH};mem:{128 * EACH}"
    with SimulatedCluster(agents=agents, resources=resources, processes=False, agent_settings=settings) as cluster:
        gc.freeze()
        ready.send(cluster.master)
        ready.recv()


class Stops(NamedTuple):
    """In ms."""

    processor: float
    clock: float


def _framework(master: str, folder: Path, launches: int, told: Connection) -> None:
    with (folder / "log").open("w") as log:
        handler = logging.StreamHandler(log)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
        logging.getLogger("owmesos").addHandler(handler)
        logging.getLogger("owmesos").setLevel(logging.INFO)
        asyncio.run(_run(master, folder, launches, told))


async def _run(master: str, folder: Path, launches: int, told: Connection) -> None:
    from owmesos.service.admin import AdminServer
    from owmesos.service.admin_tokens import Tokens
    from owmesos.service.framework import Framework

    server = AdminServer("127.0.0.1", 0)
    async with Framework(master=master, name="bench", state=folder / "state", new_framework=True) as framework:
        await server.start(framework, Tokens(_TOKEN, f"read {_TOKEN}"))
        state = framework.shell.scheduler.state
        async for update in framework.node_stats():
            if update.changed:
                break
        await asyncio.sleep(2.0)  # the answer to GET_AGENTS
        gc.freeze()  # as `owmesos run` does
        accepted = asyncio.Event()
        stops = asyncio.create_task(longest_stop(accepted))
        told.send(server.url)
        changed = set[str]()

        def note(launch_id: str) -> None:
            if state.launches[launch_id].attempts:
                changed.add(launch_id)
                if len(changed) == launches:
                    accepted.set()

        framework.shell.changed.append(note)
        stopped = Stops(*await stops)
        told.send(stopped)
        await server.stop()


def measure(launches: int, agents: int, key: str | None) -> tuple[float, float, Stops]:
    """Seconds to the answer, seconds to the last ACCEPT, the longest stops."""
    context = multiprocessing.get_context("spawn")
    cluster_side, end = context.Pipe()
    framework_side, told = context.Pipe()
    cluster = context.Process(target=_cluster, args=(agents, end))
    cluster.start()
    end.close()
    master = cluster_side.recv()
    with tempfile.TemporaryDirectory() as folder:
        framework = context.Process(target=_framework, args=(master, Path(folder), launches, told))
        framework.start()
        told.close()
        url = framework_side.recv()
        wanted = {"launch": {"command": "sleep 1000", "cpus": 1, "mem": 64}, "count": launches}
        headers = {"Authorization": f"Bearer {_TOKEN}", "Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        request = urllib.request.Request(f"{url}/api/v1/launches", json.dumps(wanted).encode(), headers)
        begun = time.perf_counter()
        with urllib.request.urlopen(request) as response:
            assert len(json.load(response)) == launches
        answered = time.perf_counter() - begun
        stops = framework_side.recv()
        decided = time.perf_counter() - begun
        framework.join()
    cluster_side.send(None)
    cluster.join()
    return answered, decided, stops


def run(quick: bool = False) -> list[Row]:
    launches, agents = (500, 100) if quick else (LAUNCHES, AGENTS)
    rows = []
    for how, key in (("with a key", "bench"), ("without one", None)):
        answered, decided, stops = measure(launches, agents, key)
        name = f"POST of {launches:,} launches {how}"
        rows += [
            Row(
                name=f"{name}: loop stopped",
                ours=stops.processor,
                unit="ms",
                target=f"{STOPPED_MS:g} ms",
                met=None if quick else stops.processor <= STOPPED_MS,
            ),
            Row(name=f"{name}: loop stopped, by the clock", ours=stops.clock, unit="ms"),
            Row(name=f"{name}: to the answer", ours=answered, unit="s"),
            Row(name=f"{name}: to the last ACCEPT decided", ours=decided, unit="s"),
        ]
    return rows
