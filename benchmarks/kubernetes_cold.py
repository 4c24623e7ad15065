"""Cold invocations on a real Kubernetes 1.37 of three kubelets: from submission to result, one at a time.

Each is of an action of its own. All of owmesos takes part, as in `invoker`: the pool, the factory, the wire, the
container's protocol, the action store and the records. The kubelets are real, their containers processes of this
machine, which share its cores; no image is pulled and no sandbox made. "owmesos itself" is what remains of the whole
without Kubernetes (from the moment at which the pod's creation is handed to the HTTP client, until the bytes that say
that it is Ready have come), `/init` (which also waits for the container's port) and `/run`. Of that, "waiting for the
disk" are the two commits that a standalone invoker makes in its way: that the activation begins, before `/run`, and
its record, before the result is told. Each is synced, on a disk to which Kubernetes and the new container write too.
With Kafka nothing waits for the disk there.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.invoker import ECHO, TimedClient
from benchmarks.row import Row
from owmesos.core.container_factory import InvokerEvent
from owmesos.core.pool.events import ContainerStarted
from owmesos.invoker import standalone as standalone_module
from owmesos.invoker.action_rules import WantedAction, WantedCode, WantedLimits
from owmesos.invoker.standalone import Standalone
from owmesos.kubernetes.messages import Pod
from owmesos.kubernetes.settings import KubernetesSettings
from owmesos.kubernetes.wire import cluster_watch
from owmesos.kubernetes.wire.api_client import ApiClient
from owmesos.kubernetes.wire.kubeconfig import find_access
from owmesos.kubernetes.wire.watcher import Watcher
from owmesos.openwhisk.container import runner
from owmesos.openwhisk.embedded_manifest import PYTHON_KIND
from owmesos.openwhisk.store.activation_journal import ActivationJournal
from owmesos.openwhisk.store.sqlite import EmbeddedStore
from owmesos.service.kubernetes import process as process_module
from owmesos.service.kubernetes.process import KubernetesProcess
from tests.fixtures.kubernetes import running_kubernetes
from tests.servers.kubernetes.build import build
from tests.waiting import eventually_async

COLD, OWN_MS = 50, 10.0
_QUIET = 0.3  # seconds between two invocations


class TimedApi(ApiClient):
    """Notes when a pod's creation began."""

    posted_at = 0.0

    async def post_pod(self, namespace: str, body: Mapping[str, Any], *, dry_run: bool = False, **more: Any) -> Pod:
        if not dry_run:
            TimedApi.posted_at = time.perf_counter()
        return await super().post_pod(namespace, body, dry_run=dry_run, **more)


class TimedWaits:
    """How long the commits of an activation took, in ms."""

    took = 0.0

    @classmethod
    def of(cls, wait: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        @wraps(wait)
        async def timed(*arguments: Any, **options: Any) -> None:
            begun = time.perf_counter()
            try:
                await wait(*arguments, **options)
            finally:
                cls.took += (time.perf_counter() - begun) * 1000

        return timed


class TimedJournal(ActivationJournal):
    begin = TimedWaits.of(ActivationJournal.begin)  # type: ignore[assignment]
    end = TimedWaits.of(ActivationJournal.end)  # type: ignore[assignment]


class TimedStore(EmbeddedStore):
    written = TimedWaits.of(EmbeddedStore.written)  # type: ignore[assignment]


class TimedWatcher(Watcher[Any]):
    """Notes when something was read."""

    read_at = 0.0

    def _read(self, lines: Sequence[bytes]) -> None:
        TimedWatcher.read_at = time.perf_counter()
        super()._read(lines)


class ColdTimes(NamedTuple):
    """Of one invocation, in ms."""

    whole: float
    kubernetes: float
    init: float
    run: float
    disk: float

    @property
    def own(self) -> float:
        return self.whole - self.kubernetes - self.init - self.run


async def _measure(kubeconfig: Path, folder: Path, count: int) -> list[ColdTimes]:
    standalone = Standalone(folder)
    settings = KubernetesSettings(invoker="benchmark", incarnation="1")
    times: list[ColdTimes] = []
    seen_at = 0.0

    def heard(event: InvokerEvent) -> None:
        nonlocal seen_at
        if isinstance(event, ContainerStarted):
            seen_at = TimedWatcher.read_at

    async with KubernetesProcess(find_access(kubeconfig), standalone.pool, settings) as process:
        await standalone.start(process)
        process.host.pool_listeners.insert(0, heard)
        await eventually_async(lambda: process.health()["subscribed"])
        for number in range(count + 1):
            wanted = WantedAction(WantedCode(PYTHON_KIND, ECHO), WantedLimits(memory=128, logs=0))
            await standalone.put_action(f"cold{number}", wanted)
            await asyncio.sleep(_QUIET)
            TimedWaits.took, begun = 0.0, time.perf_counter()
            invoked = await standalone.invoke(f"cold{number}", {"name": "owmesos"}, wait=None)
            whole = (time.perf_counter() - begun) * 1000
            assert invoked.result == {"name": "owmesos"}
            if number > 0:  # the first finds files that nobody has read yet
                kubernetes = (seen_at - TimedApi.posted_at) * 1000
                init, ran = TimedClient.took["/init"], TimedClient.took["/run"]
                times.append(ColdTimes(whole, kubernetes, init, ran, TimedWaits.took))
        await standalone.close()
    return times


def run(quick: bool = False) -> list[Row]:
    count = 5 if quick else COLD
    runner.ContainerClient = TimedClient  # type: ignore[attr-defined]
    process_module.ApiClient = TimedApi  # type: ignore[attr-defined]
    cluster_watch.Watcher = TimedWatcher  # type: ignore[attr-defined]
    standalone_module.ActivationJournal = TimedJournal  # type: ignore[attr-defined]
    standalone_module.EmbeddedStore = TimedStore  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with running_kubernetes(folder / "kubernetes", build(lambda _: None)) as cluster:
            (folder / "state").mkdir()
            times = asyncio.run(_measure(cluster.kubeconfig, folder / "state", count))
    own = statistics.median(each.own for each in times)
    without_disk = statistics.median(each.own - each.disk for each in times)
    whole, kubernetes, init, run, disk = (statistics.median(each) for each in zip(*times, strict=True))
    return [
        Row(name=f"cold on a real Kubernetes, python:3, median of {count}", ours=whole, unit="ms"),
        Row(
            name="of it: owmesos itself",
            ours=own,
            unit="ms",
            target=f"{OWN_MS:g} ms",
            met=None if quick else own <= OWN_MS,
        ),
        Row(name="of that: waiting for the disk, twice", ours=disk, unit="ms"),
        Row(name="of that: all else", ours=without_disk, unit="ms"),
        Row(name="of it: Kubernetes, from the POST to Ready", ours=kubernetes, unit="ms"),
        Row(name="of it: /init, until the container listens and has it", ours=init, unit="ms"),
        Row(name="of it: /run", ours=run, unit="ms"),
    ]
