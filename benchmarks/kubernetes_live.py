"""A watch of a real Kubernetes with 1,000 nodes: whether what it knows in the end is what there is.

The control plane is real, the nodes are pretended by kwok. Another process posts 2,000 pods, which come to run, labels
half of them, cordons and labels 200 nodes, deletes the other half of the pods and 50 nodes. Meanwhile all connections
of the wire are cut three times, each time while there is much to be told. When it is quiet, each node and pod that the
wire knows is compared with a fresh list, in all fields that are read, and what the factory has free on each node with
the sums of that list. Missed is all that is different, is not there, or is there and should not be; an object that is
newer than the list, as nodes are at each heartbeat, is not. CPU is that of the thread that reads, from its first
request on, TLS and decoding included, and of the factory. Changes come one by one here, each with a TLS record and a
wake-up of its own; `kubernetes_wire` measures them in a stream.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.memory import resident
from benchmarks.row import Row
from chaos.proxy import Proxy
from owmesos.core.container_factory import ContainerSpec, PoolRecipe
from owmesos.core.pool.events import StartContainer
from owmesos.core.pool.pool import Pool
from owmesos.kubernetes import events
from owmesos.kubernetes.factory import KubernetesFactory
from owmesos.kubernetes.messages import Node, Pod
from owmesos.kubernetes.node_room import NodeSums
from owmesos.kubernetes.settings import KubernetesSettings
from owmesos.kubernetes.wire.access import ClusterAccess
from owmesos.kubernetes.wire.api_client import ApiClient
from owmesos.kubernetes.wire.cluster_watch import ClusterWatch
from owmesos.kubernetes.wire.decoding import NODES, PODS
from owmesos.kubernetes.wire.kubeconfig import find_access
from tests.fixtures.kubernetes import running_kubernetes
from tests.servers.kubernetes.api import Api
from tests.servers.kubernetes.build import build
from tests.servers.kubernetes.cluster import KubernetesCluster
from tests.waiting import eventually_async

NODE_COUNT, POD_COUNT = 1000, 2000
QUICK_NODES, QUICK_PODS = 50, 100
_CHANGING = 8  # connections that post, patch and delete
_CATCH_UP = 60.0  # seconds for the watch to tell what a list has shown
_PATIENCE = 600.0  # seconds for each step, on a machine that is busy


class Seen(NamedTuple):
    """What the watch saw, by the end."""

    nodes: int
    pods: int
    events: int
    lists: int
    losses: int  # of the cluster as a whole
    missed: int
    wire_s: float  # of CPU
    factory_s: float  # the same
    peak_mb: float


# -- the process that watches


class _Known:
    """What the events say, and a factory that they are given to."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.pods: dict[str, Pod] = {}
        self.counts: Counter[type] = Counter()
        self.factory_s = 0.0
        recipe = PoolRecipe(Pool, _no_spec)
        self.factory = KubernetesFactory.of(recipe, KubernetesSettings(invoker="benchmark", incarnation="1"))

    def deliver(self, batch: Sequence[events.KubernetesEvent]) -> None:
        for event in batch:
            self.counts[type(event)] += 1
            self._take(event)
            begun = time.thread_time()
            self.factory.handle(event, time.monotonic())
            self.factory_s += time.thread_time() - begun

    def _take(self, event: events.KubernetesEvent) -> None:
        if isinstance(event, events.NodesListed):
            self.nodes = {each.metadata.name: each for each in event.nodes}
        elif isinstance(event, events.NodeSeen):
            self.nodes[event.node.metadata.name] = event.node
        elif isinstance(event, events.NodeDeleted):
            self.nodes.pop(event.name, None)
        elif isinstance(event, events.PodsListed):
            self.pods = {each.metadata.uid: each for each in event.pods}
        elif isinstance(event, events.PodSeen):
            self.pods[event.pod.metadata.uid] = event.pod
        elif isinstance(event, events.PodDeleted):
            self.pods.pop(event.pod.metadata.uid, None)

    def settled(self) -> int:
        """Pods to which nothing happens any more: of a node that was deleted they are collected a while later."""
        return sum(
            pod.status.phase == "Running"
            and pod.metadata.deletion_timestamp is None
            and pod.spec.node_name in self.nodes
            for pod in self.pods.values()
        )

    def missed(self, nodes: Iterable[Node], pods: Iterable[Pod]) -> int:
        """How much is different from these lists, or not yet as new."""
        true_nodes = {each.metadata.name: each for each in nodes}
        true_pods = {each.metadata.uid: each for each in pods}
        sums = NodeSums()
        for node in true_nodes.values():
            sums.node(node)
        sums.replace_pods(true_pods.values())
        room = self.factory.state.room
        wrong = sum(room.free(name) != sums.free(name) for name in {*room, *sums})
        return wrong + _differences(self.nodes, true_nodes) + _differences(self.pods, true_pods)


def _no_spec(start: StartContainer) -> ContainerSpec:
    raise AssertionError(f"nothing is to start, but {start}")


def _differences(known: dict[str, Any], true: dict[str, Any]) -> int:
    return sum(not _is_right(known.get(name), true.get(name)) for name in known.keys() | true.keys())


def _is_right(known: Any, true: Any) -> bool:
    if known is None or true is None:
        return False
    newer = int(known.metadata.resource_version) - int(true.metadata.resource_version)
    return newer > 0 or known == true


def _cpu_of_wire() -> float:
    """Seconds of the thread that reads and decodes."""
    (ident,) = [each.ident for each in threading.enumerate() if each.name == "kubernetes-watch"]
    assert ident is not None
    return time.clock_gettime(time.pthread_getcpuclockid(ident))


def _watch(kubeconfig: Path, orders: Connection, answers: Connection) -> None:
    """Does as it is told: `cut`, `count`, `compare`, `end`."""
    asyncio.run(_watching(kubeconfig, orders, answers))


async def _watching(kubeconfig: Path, orders: Connection, answers: Connection) -> None:
    access, known = find_access(kubeconfig, None, {}), _Known()
    host = access.server.removeprefix("https://")
    proxy = Proxy(host, lambda data: "wire")
    through = ClusterAccess(
        f"https://{await proxy.listen('127.0.0.1')}",
        access.credentials,
        access.source,
        authority=access.authority,
        server_name=host.rpartition(":")[0],
    )
    watch = ClusterWatch(through, known.deliver)
    watch.start()
    loop = asyncio.get_running_loop()
    while (order := await loop.run_in_executor(None, orders.recv)) != "end":
        if order == "cut":
            proxy.reset("wire")
            answers.send(None)
        elif order == "count":
            answers.send((len(known.nodes), len(known.pods), known.settled()))
        else:
            answers.send(await _compared(access, known))
    await watch.close()
    await proxy.close()


async def _compared(access: ClusterAccess, known: _Known) -> Seen:
    wire, peak = _cpu_of_wire(), resident("VmHWM")
    counts = known.counts.copy()
    factory = known.factory_s
    async with ApiClient(access) as api:
        nodes, pods = await api.list_all(NODES), await api.list_all(PODS)
    with suppress(AssertionError):  # then they are missed
        await eventually_async(lambda: not known.missed(nodes.items, pods.items), _CATCH_UP, interval=0.5)
    lists = counts[events.NodesListed] + counts[events.PodsListed]
    return Seen(
        len(known.nodes),
        len(known.pods),
        sum(counts.values()) - lists,
        lists,
        counts[events.ApiDisconnected],
        known.missed(nodes.items, pods.items),
        wire,
        factory,
        peak,
    )


# -- the process that changes the cluster


Change = Callable[[Api], object]


def _do_all(cluster: KubernetesCluster, changes: Iterable[Change]) -> None:
    """Several at once, each thread with a connection of its own; returns when all are done."""
    own = threading.local()
    with ExitStack() as stack:

        def begin() -> None:
            own.api = stack.enter_context(cluster.api())

        with ThreadPoolExecutor(_CHANGING, initializer=begin) as pool:
            for _ in pool.map(lambda change: change(own.api), changes):
                pass


def _pod(number: int) -> dict[str, Any]:
    container = {"name": "main", "image": "any", "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}}}
    spec = {"nodeSelector": {"type": "kwok"}, "tolerations": [{"operator": "Exists"}], "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"p{number}"}, "spec": spec}


def _changes(nodes: int, pods: int) -> list[Change]:
    found: list[Change] = []
    base = "/api/v1/namespaces/default/pods/p"
    for number in range(0, pods, 2):
        found.append(partial(Api.patch, path=f"{base}{number}", body={"metadata": {"labels": {"changed": "yes"}}}))
        found.append(partial(Api.delete, path=f"{base}{number + 1}", body={"gracePeriodSeconds": 1}))
    for number in range(1, nodes // 5 + 1):
        body = {"metadata": {"labels": {"changed": "yes"}}, "spec": {"unschedulable": True}}
        found.append(partial(Api.patch, path=f"/api/v1/nodes/kwok-{number}", body=body))
    deleted = range(nodes - nodes // 20 + 1, nodes + 1)
    return [*found, *(partial(Api.delete, path=f"/api/v1/nodes/kwok-{number}") for number in deleted)]


class _Watching:
    """The other process, from here."""

    def __init__(self, kubeconfig: Path) -> None:
        context = get_context("spawn")
        orders, self._orders = context.Pipe(duplex=False)
        self._answers, answers = context.Pipe(duplex=False)
        self._process = context.Process(target=_watch, args=(kubeconfig, orders, answers))
        self._process.start()
        answers.close()  # so that the end of the process ends the wait for it

    def ask(self, order: str) -> Any:
        self._orders.send(order)
        return self._answers.recv()

    def end(self) -> None:
        self._orders.send("end")
        self._process.join()


async def _measure(cluster: KubernetesCluster, nodes: int, pods: int) -> Seen:
    watching = _Watching(cluster.kubeconfig)

    async def counted(found: Callable[[int, int, int], bool], what: str) -> None:
        await eventually_async(lambda: found(*watching.ask("count")), _PATIENCE, interval=0.1, what=what)

    await counted(lambda known, *_: known == nodes, f"{nodes} nodes are known")
    posts = [partial(Api.post, path="/api/v1/namespaces/default/pods", body=_pod(number)) for number in range(pods)]
    posting = asyncio.create_task(asyncio.to_thread(_do_all, cluster, posts))
    for part in (pods // 4, pods // 2):
        await counted(lambda _, known, settled, part=part: known >= part, f"{part} pods are known")  # type: ignore[misc]
        watching.ask("cut")
    await posting
    await counted(lambda _, known, settled: settled == pods, f"{pods} pods run")
    changing = asyncio.create_task(asyncio.to_thread(_do_all, cluster, _changes(nodes, pods)))
    await counted(lambda _, known, settled: known <= pods * 3 // 4, "a quarter of the pods is gone")
    watching.ask("cut")
    await changing
    await counted(lambda known, left, settled: known == nodes - nodes // 20 and left == settled, "all is settled")
    seen: Seen = watching.ask("compare")
    watching.end()
    return seen


def run(quick: bool = False) -> list[Row]:
    nodes, pods = (QUICK_NODES, QUICK_PODS) if quick else (NODE_COUNT, POD_COUNT)
    with (
        tempfile.TemporaryDirectory() as name,
        running_kubernetes(Path(name), build(lambda _: None), nodes=0, kwok=nodes) as cluster,
    ):
        seen = asyncio.run(_measure(cluster, nodes, pods))
    what = f"{nodes:,} nodes and {pods:,} pods, three cuts"
    return [
        Row(name=f"{what}: missed", ours=seen.missed, unit="", target="0", met=None if quick else seen.missed == 0),
        Row(name="changes of nodes and pods that were told", ours=seen.events, unit=""),
        Row(name="lists, the first two included", ours=seen.lists, unit=""),
        Row(name="times that the cluster counted as lost", ours=seen.losses, unit=""),
        Row(name="a change, CPU to read and decode it", ours=seen.wire_s / seen.events * 1e6, unit="µs"),
        Row(name="a change, CPU of the factory to NodeStats", ours=seen.factory_s / seen.events * 1e6, unit="µs"),
        Row(name="memory, peak", ours=seen.peak_mb, unit="MB"),
    ]
