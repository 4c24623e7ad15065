"""Warm invocations on a real Kubernetes 1.37 of three kubelets, beside the same on real Apache Mesos 1.11.0.

As in `invoker`: blocking invocations of one action, so many at once; the containers are owmesos's own for python:3,
processes of this machine, and share its cores. The clusters take turns, five times; each figure is the median of them.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.invoker import RESOURCES, Bench, bench
from benchmarks.row import Row
from owmesos.core.pool.settings import PoolSettings
from owmesos.invoker.standalone import Standalone
from owmesos.kubernetes.settings import KubernetesSettings
from owmesos.kubernetes.wire.kubeconfig import find_access
from owmesos.local.cluster import MesosCluster
from owmesos.service.kubernetes.process import KubernetesProcess
from tests.fixtures.kubernetes import running_kubernetes
from tests.servers.kubernetes.build import build
from tests.waiting import eventually_async

WARM, ROUNDS = 3000, 5
AT_ONCE = (16, 1)
NO_SLOWER = 1.1  # times Mesos's


@asynccontextmanager
async def _on_kubernetes(kubeconfig: Path, folder: Path) -> AsyncIterator[Bench[KubernetesProcess]]:
    standalone = Standalone(folder, settings=PoolSettings(max_starts=50, max_starts_on_agent=50))
    settings = KubernetesSettings(invoker="benchmark", incarnation="1")
    async with KubernetesProcess(find_access(kubeconfig), standalone.pool, settings) as process:
        await standalone.start(process)
        await eventually_async(lambda: process.health()["subscribed"])
        try:
            yield Bench(process, standalone)
        finally:
            await standalone.close()


async def _measure(
    kubeconfig: Path, master: str, folder: Path, total: int
) -> dict[tuple[str, int], tuple[float, float]]:
    """Of each cluster and number at once: how many a second, and the median in ms."""
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    async with AsyncExitStack() as stack:
        clusters: dict[str, Bench[Any]] = {
            "kubernetes": await stack.enter_async_context(_on_kubernetes(kubeconfig, folder / "kubernetes-state")),
            "mesos": await stack.enter_async_context(bench(master, folder / "mesos-state")),
        }
        for each in clusters.values():
            await each.deploy("echo")
            await each.heat("echo", max(AT_ONCE))
        for _ in range(ROUNDS):
            for count in AT_ONCE:
                for name, each in clusters.items():
                    some = total if count > 1 else total // 5
                    rate = await each.at_once(count, some, partial(each.invoke, "echo"))
                    found.setdefault((name, count), []).append(rate)
    return {key: (_median(rates, 0), _median(rates, 1)) for key, rates in found.items()}


def _median(pairs: list[tuple[float, float]], of: int) -> float:
    return statistics.median(pair[of] for pair in pairs)


def run(quick: bool = False) -> list[Row]:
    total = 200 if quick else WARM
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for each in ("kubernetes-state", "mesos-state"):
            (folder / each).mkdir()
        with (
            running_kubernetes(folder / "kubernetes", build(lambda _: None)) as cluster,
            MesosCluster(folder / "mesos", master_port=17080, resources=RESOURCES) as mesos,
        ):
            found = asyncio.run(_measure(cluster.kubeconfig, mesos.master, folder, total))
    rows = []
    for count in AT_ONCE:
        (rate, median), (rate_mesos, median_mesos) = found["kubernetes", count], found["mesos", count]
        rows += [
            Row(name=f"warm, {count} at once", ours=rate, unit="/s", against="on Mesos", other=rate_mesos),
            Row(
                name=f"warm, {count} at once, median",
                ours=median,
                unit="ms",
                against="on Mesos",
                other=median_mesos,
                target="as on Mesos" if count > 1 else "",
                met=None if quick or count == 1 else median <= NO_SLOWER * median_mesos,
            ),
        ]
    return rows
