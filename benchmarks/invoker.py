"""Invocations from submission to result: warm ones on the simulated cluster, cold ones on real Apache Mesos 1.11.0.

All of owmesos takes part: the pool, the scheduler, the container's protocol, the action store and the records (SQLite),
acknowledgements handed over within the process. Only the bus is left out: for that see kafka_invoker. The containers
are owmesos's own for python:3, processes of this machine, and share its cores. The action returns its arguments.

Warm: blocking invocations of one action, so many at once. Beside them the same containers, asked `/run` by a bare HTTP
client with nothing in between, which is the most that the machine can do. With logs: the action prints one line, which
is read from its sandbox through the agent's files API before the container is free again.

Cold: each of an action of its own, one at a time and 1.2 s apart (for a REVIVE is sent once a second, after a burst of
five), on a framework that is idle and suppressed. "owmesos itself" is what remains of the whole without Mesos (from the
launch's match to TASK_RUNNING seen), `/init` (which also waits for the container's port) and `/run`.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import aiohttp

from benchmarks.row import Row
from owmesos.core.pool.settings import PoolSettings
from owmesos.documents import ContainerDocument
from owmesos.invoker.action_rules import WantedAction, WantedCode, WantedLimits
from owmesos.invoker.standalone import Standalone
from owmesos.local.cluster import MesosCluster
from owmesos.openwhisk.container.access import secret_of
from owmesos.openwhisk.container.client import ContainerClient
from owmesos.openwhisk.container.protocol import Outcome
from owmesos.openwhisk.embedded_manifest import PYTHON_KIND
from owmesos.service.framework import Framework
from owmesos.simulator.cluster import SimulatedCluster

WARM, WITH_LOGS, COLD = 20_000, 5_000, 50
WARM_A_SECOND, MEDIAN_OF_32_MS, MEDIAN_OF_16_MS = 1000.0, 35.0, 20.0
COLD_MEDIAN_MS, COLD_OWN_MS = 600.0, 30.0
RESOURCES = "cpus:32;mem:65536;disk:1024;ports:[{ports}]"
ECHO = "def main(args):\n    return args\n"
TALKING = "def main(args):\n    print('a line')\n    return args\n"
APART = 1.2  # seconds between cold invocations


class ListsContainers(Protocol):
    def containers(self) -> list[ContainerDocument]: ...


ProcessT = TypeVar("ProcessT", bound=ListsContainers)


class Bench(Generic[ProcessT]):
    """One invoker on a cluster."""

    def __init__(self, framework: ProcessT, standalone: Standalone) -> None:
        self._standalone = standalone
        self.framework = framework

    async def deploy(self, name: str, code: str = ECHO, *, logs: int = 0) -> None:
        wanted = WantedAction(WantedCode(PYTHON_KIND, code), WantedLimits(memory=128, logs=logs))
        await self._standalone.put_action(name, wanted)

    async def invoke(self, name: str) -> None:
        invoked = await self._standalone.invoke(name, {"name": "owmesos"}, wait=None)
        assert invoked.result == {"name": "owmesos"}

    async def at_once(self, count: int, total: int, one: Callable[[], Awaitable[None]]) -> tuple[float, float]:
        """How many a second, and the median in ms."""
        left = iter(range(total))
        times: list[float] = []

        async def several() -> None:
            for _ in left:
                begun = time.perf_counter()
                await one()
                times.append((time.perf_counter() - begun) * 1000)

        begun = time.perf_counter()
        await asyncio.gather(*(several() for _ in range(count)))
        return total / (time.perf_counter() - begun), statistics.median(times)

    async def heat(self, name: str, count: int) -> None:
        """Until there are so many containers."""
        while sum(row["state"] == "warm" for row in self.framework.containers()) < count:
            await asyncio.gather(*(self.invoke(name) for _ in range(count)))
            await asyncio.sleep(0.1)


@asynccontextmanager
async def bench(master: str, folder: Path) -> AsyncIterator[Bench[Framework]]:
    standalone = Standalone(folder, settings=PoolSettings(max_starts=50, max_starts_on_agent=50))
    async with Framework(
        master=master, name="invoker", state=folder / "state", new_framework=True, pool=standalone.pool
    ) as framework:
        await standalone.start(framework)
        try:
            yield Bench(framework, standalone)
        finally:
            await standalone.close()


# -- warm


async def _warm(folder: Path, total: int, with_logs: int) -> list[Row]:
    with SimulatedCluster(agents=3, resources=RESOURCES) as cluster:
        async with bench(cluster.master, folder) as invoker:
            await invoker.deploy("echo")
            await invoker.heat("echo", 32)
            containers = invoker.framework.containers()
            rows = []
            for count, median_target in ((32, MEDIAN_OF_32_MS), (16, MEDIAN_OF_16_MS)):
                rate, median = await invoker.at_once(count, total, lambda: invoker.invoke("echo"))
                alone, alone_median = await _containers_alone(invoker, containers[:count], total)
                met = None if total < WARM else rate >= WARM_A_SECOND
                target = f"{WARM_A_SECOND:,.0f}/s" if count == 32 else ""
                rows += [
                    Row(
                        name=f"warm, {count} at once",
                        ours=rate,
                        unit="/s",
                        against="the containers alone",
                        other=alone,
                        target=target,
                        met=met if target else None,
                    ),
                    Row(
                        name=f"warm, {count} at once, median",
                        ours=median,
                        unit="ms",
                        against="the containers alone",
                        other=alone_median,
                        target=f"{median_target:g} ms",
                        met=None if total < WARM else median <= median_target,
                    ),
                ]
        async with bench(cluster.master, folder) as invoker:
            await invoker.deploy("talking", TALKING, logs=10)
            await invoker.heat("talking", 32)
            for count in (32, 16):
                rate, median = await invoker.at_once(count, with_logs, lambda: invoker.invoke("talking"))
                rows.append(Row(name=f"warm, {count} at once, with logs", ours=rate, unit="/s"))
                rows.append(Row(name=f"warm, {count} at once, with logs, median", ours=median, unit="ms"))
    return rows


async def _containers_alone(
    invoker: Bench[Framework], containers: list[ContainerDocument], total: int
) -> tuple[float, float]:
    free = list(containers)
    body = b'{"value":{"name":"owmesos"},"namespace":"guest","action_name":"/guest/echo"}'
    headers = {
        each["container_id"]: {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {secret_of(each['container_id'])}",
        }
        for each in containers
    }
    async with aiohttp.ClientSession() as session:

        async def one() -> None:
            container = free.pop()
            url, known = f"http://{container['address']}/run", headers[container["container_id"]]
            async with session.post(url, data=body, headers=known) as response:
                assert response.status == 200
                await response.read()
            free.append(container)

        return await invoker.at_once(len(containers), total, one)


# -- cold


class TimedClient(ContainerClient):
    """Notes how long its container took to answer."""

    took: ClassVar[dict[str, float]] = {}

    async def post(self, path: str, *arguments: Any, **options: Any) -> Outcome:
        begun = time.perf_counter()
        try:
            return await super().post(path, *arguments, **options)
        finally:
            TimedClient.took[path] = (time.perf_counter() - begun) * 1000


async def _cold(folder: Path, count: int) -> list[Row]:
    from owmesos.openwhisk.container import runner

    runner.ContainerClient = TimedClient  # type: ignore[attr-defined]
    wholes, mesos, inits, runs = [], [], [], []
    with MesosCluster(folder / "mesos", master_port=17060, resources=RESOURCES) as cluster:
        async with bench(cluster.master, folder) as invoker:
            for number in range(count + 1):
                await invoker.deploy(f"cold{number}")
                await asyncio.sleep(APART)
                begun = time.perf_counter()
                await invoker.invoke(f"cold{number}")
                if number == 0:
                    continue  # the first finds files that nobody has read yet
                wholes.append((time.perf_counter() - begun) * 1000)
                newest = invoker.framework.containers()[-1]["container_id"]
                story = invoker.framework.record(str(newest)).story
                at = {line.state.value: line.at for line in reversed(story)}
                mesos.append((at["RUNNING"] - at["SUBMITTED"]) * 1000)
                inits.append(TimedClient.took["/init"])
                runs.append(TimedClient.took["/run"])
    own = [whole - others for whole, others in zip(wholes, map(sum, zip(mesos, inits, runs, strict=True)), strict=True)]
    whole, own_median = statistics.median(wholes), statistics.median(own)
    quick = count < COLD
    return [
        Row(
            name=f"cold on real Mesos, python:3, median of {count}",
            ours=whole,
            unit="ms",
            target=f"{COLD_MEDIAN_MS:g} ms",
            met=None if quick else whole <= COLD_MEDIAN_MS,
        ),
        Row(
            name="of it: owmesos itself",
            ours=own_median,
            unit="ms",
            target=f"{COLD_OWN_MS:g} ms",
            met=None if quick else own_median <= COLD_OWN_MS,
        ),
        Row(name="of it: Mesos, from the match to TASK_RUNNING seen", ours=statistics.median(mesos), unit="ms"),
        Row(name="of it: /init, until the container listens and has it", ours=statistics.median(inits), unit="ms"),
        Row(name="of it: /run", ours=statistics.median(runs), unit="ms"),
    ]


def run(quick: bool = False) -> list[Row]:
    total, with_logs, cold = (1000, 300, 5) if quick else (WARM, WITH_LOGS, COLD)
    with tempfile.TemporaryDirectory() as folder:
        rows = asyncio.run(_warm(Path(folder), total, with_logs))
    with tempfile.TemporaryDirectory() as folder:
        return rows + asyncio.run(_cold(Path(folder), cold))
