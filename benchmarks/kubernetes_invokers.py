"""Two invokers beside each other on a real Kubernetes 1.37 of three kubelets, and more actions than there is room for.

Each has ten actions of 128, 256 and 512 MB and ten callers that invoke one after the other at random; each node has 1
GiB, so what one of them needs the other may have. A watch of its own adds up, after each event, the requests of all
pods that are bound and not over: over-provisioned is a moment at which they exceed what their node has allocatable.
"rejected by a kubelet" are pods that failed for lack of room (`OutOfmemory`, …), and "left" what neither of them has
stopped when both have ended. A pause is the time in which an invoker gets no result. Containers are idle for 20 s at
most, and not for ten minutes: the room of an invoker that has nothing to do is the other's only then.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.row import Row
from owmesos.core.pool.settings import PoolSettings
from owmesos.invoker.action_rules import WantedAction, WantedCode, WantedLimits
from owmesos.invoker.standalone import Standalone
from owmesos.kubernetes.messages import Pod
from owmesos.kubernetes.quantities import milli_mb_down, milli_mb_up
from owmesos.kubernetes.settings import KubernetesSettings
from owmesos.kubernetes.wire.kubeconfig import find_access
from owmesos.openwhisk.embedded_manifest import PYTHON_KIND
from owmesos.service.kubernetes.process import KubernetesProcess
from tests.fixtures.kubernetes import namespace_in, running_kubernetes
from tests.kubernetes.conformance.cluster import Seen
from tests.kubernetes.conformance.real import RealKubernetes, real_kubernetes
from tests.servers.kubernetes.build import build
from tests.servers.kubernetes.cluster import KubernetesCluster
from tests.waiting import eventually_async

INVOKERS = ("left", "right")
ACTIVATIONS, CALLERS, ACTIONS = 300, 10, 10
MEMORIES = (128, 256, 256, 512)
NODE_MEMORY = "1Gi"
IDLE = 20.0  # seconds; an invoker with nothing to do gives its room up
CODE = "import time\n\ndef main(args):\n    time.sleep(args['seconds'])\n    return {'number': args['number']}\n"
_OVER = ("Succeeded", "Failed")


@dataclass
class OneInvoker:
    """What became of its activations. Times by time.monotonic()."""

    times: list[float] = field(default_factory=list)  # of results
    wrong: int = 0
    counts: Counter[str] = field(default_factory=Counter)  # the pool's

    @property
    def longest_pause(self) -> float:
        """Seconds."""
        return max(later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False))


@dataclass
class Together:
    invokers: dict[str, OneInvoker]
    over: list[str]  # moments at which a node's pods requested more than it has
    rejected: list[str]  # pods for which a node had no room when it got them
    left: list[str]  # pods that were there in the end
    seconds: float
    nodes_used: set[str]


class RoomWatch:
    """The sums of the nodes, by what a watch shows; not as owmesos adds them up."""

    def __init__(self, allocatable: dict[str, int]) -> None:
        self._allocatable = allocatable  # in thousandths of MB
        self._bound: dict[str, tuple[str, int]] = {}  # pods by uid: their node, what they request
        self.over: list[str] = []
        self.used: set[str] = set()

    def see(self, event: Seen) -> None:
        pod = event.pod
        if pod is None:
            return
        uid, node = pod.metadata.uid, pod.spec.node_name
        if event.type == "DELETED" or pod.status.phase in _OVER or not node:
            self._bound.pop(uid, None)
            return
        self._bound[uid] = (node, _requested(pod))
        self.used.add(node)
        total = sum(amount for place, amount in self._bound.values() if place == node)
        if total > self._allocatable[node]:
            self.over.append(f"{node} has {self._allocatable[node]} and gives {total} with {pod.metadata.name}")


def _requested(pod: Pod) -> int:
    return sum(milli_mb_up(each.resources.requests["memory"]) for each in pod.spec.containers)


@asynccontextmanager
async def _invoker(cluster: KubernetesCluster, namespace: str, name: str, folder: Path) -> AsyncIterator[Standalone]:
    standalone = Standalone(folder, settings=PoolSettings(idle_timeout=IDLE))
    settings = KubernetesSettings(namespace=namespace, invoker=name, incarnation="1")
    async with KubernetesProcess(find_access(cluster.kubeconfig), standalone.pool, settings) as process:
        await standalone.start(process)
        await eventually_async(lambda: process.health()["subscribed"])
        for number in range(ACTIONS):
            limits = WantedLimits(memory=MEMORIES[number % len(MEMORIES)], logs=0)
            await standalone.put_action(f"a{number}", WantedAction(WantedCode(PYTHON_KIND, CODE), limits))
        try:
            yield standalone
        finally:
            await standalone.close()


async def _call(standalone: Standalone, found: OneInvoker, count: int, seed: int) -> None:
    chance, left = random.Random(seed), iter(range(count))

    async def caller() -> None:
        for number in left:
            wanted = {"seconds": chance.choice([0.0, 0.02, 0.1]), "number": number}
            invoked = await standalone.invoke(f"a{chance.randrange(ACTIONS)}", wanted, wait=None)
            found.times.append(time.monotonic())
            found.wrong += invoked.result != {"number": number}

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    found.counts = Counter(standalone.counts()._asdict())


async def together(cluster: KubernetesCluster, namespace: str, folder: Path, count: int) -> Together:
    """`count` activations at each of both, on a cluster with nothing else. `folder`: for their states."""
    found = {name: OneInvoker() for name in INVOKERS}
    async with real_kubernetes(cluster, namespace) as kubernetes, kubernetes.watch() as watch:
        room = RoomWatch({name: await _allocatable(kubernetes, name) for name in kubernetes.nodes})
        begun = time.monotonic()
        states = []
        for name in INVOKERS:
            states.append(folder / name)
            states[-1].mkdir()
        async with (
            _invoker(cluster, namespace, INVOKERS[0], states[0]) as first,
            _invoker(cluster, namespace, INVOKERS[1], states[1]) as second,
        ):
            await asyncio.gather(
                *(
                    _call(standalone, found[name], count, seed)
                    for seed, (name, standalone) in enumerate(zip(INVOKERS, (first, second), strict=True))
                )
            )
            seconds = time.monotonic() - begun

        left = await _left(kubernetes)
        for event in watch.seen:
            room.see(event)
        pods = [event.pod for event in watch.seen if event.pod is not None]
    rejected = sorted({pod.metadata.name for pod in pods if pod.status.reason.startswith("OutOf")})
    return Together(found, room.over, rejected, left, seconds, room.used)


async def _left(kubernetes: RealKubernetes) -> list[str]:
    """What is not over after half a minute."""
    living = [""]

    async def none() -> bool:
        living[:] = [pod.metadata.name for pod in (await kubernetes.list()).pods if pod.status.phase not in _OVER]
        return not living

    with suppress(AssertionError):
        _: bool = await eventually_async(none, 30.0, interval=0.2)
    return living


async def _allocatable(kubernetes: RealKubernetes, name: str) -> int:
    return milli_mb_down((await kubernetes.node(name)).status.allocatable["memory"])


def run(quick: bool = False) -> list[Row]:
    count = 40 if quick else ACTIVATIONS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            running_kubernetes(folder / "kubernetes", build(lambda _: None), memory=NODE_MEMORY) as cluster,
            namespace_in(cluster, "two") as namespace,
        ):
            found = asyncio.run(together(cluster, namespace, folder, count))
    return rows(found, count, quick=quick)


def rows(found: Together, count: int, *, quick: bool) -> list[Row]:
    both: Sequence[OneInvoker] = list(found.invokers.values())
    counts = sum((each.counts for each in both), Counter[str]())
    failed = sum(each.wrong for each in both) + counts["failed"]

    def none(name: str, number: int) -> Row:
        return Row(name=name, ours=number, unit="", target="0", met=None if quick else number == 0)

    return [
        none("over-provisioned", len(found.over)),
        none("pods rejected by a kubelet", len(found.rejected)),
        none("pods left", len(found.left)),
        none("activations that failed", failed),
        Row(name=f"{len(both)} times {count} activations", ours=len(both) * count / found.seconds, unit="/s"),
        Row(name="of them cold", ours=counts["cold"], unit=""),
        Row(name="containers stopped to make room", ours=counts["evicted"], unit=""),
        Row(name="the longest pause of either", ours=max(each.longest_pause for each in both), unit="s"),
    ]
