"""A large Kubernetes becomes NodeStats: 5,000 nodes and 50,000 pods of 4.9 KB, ten on each node, and then events.

From the bytes that an API server sends (pages of 500 objects, lines of a watch) to the update that a pool gets, without
the network: what is measured is decoding and deciding. Times are of the processor. The memory is the most that the
process ever had (VmHWM), Python and all imports included, and the page that is being decoded.
"""

from __future__ import annotations

import gc
import json
import random
import statistics
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.row import Row
from owmesos.core.capacity import Capacity
from owmesos.core.container_factory import ContainerSpec, PoolRecipe
from owmesos.core.pool.events import StartContainer
from owmesos.core.pool.pool import Pool
from owmesos.kubernetes import events
from owmesos.kubernetes.effects import NodeStatsChanged
from owmesos.kubernetes.factory import KubernetesFactory
from owmesos.kubernetes.messages import Node, Pod
from owmesos.kubernetes.settings import KubernetesSettings
from owmesos.kubernetes.wire.decoding import NODES, PODS, ResourceKind, WatchChange

T = TypeVar("T", Node, Pod)
NODE_COUNT = 5_000
PODS_A_NODE = 10
PAGE = 500
EVENTS = 5_000
LIST_SECONDS = 4.0
PEAK_MB = 400.0
EVENT_US = 100.0
_SIZE = 4_900  # bytes of a pod, as measured in a real cluster
_MEMORY = ("64Mi", "128Mi", "256Mi", "512Mi", "1Gi")


def run(quick: bool = False) -> list[Row]:
    """In a process of its own, so that the peak is this alone; quick: a tenth of it, without verdicts."""
    nodes = NODE_COUNT // 10 if quick else NODE_COUNT
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_measure, args=(theirs, nodes))
    process.start()
    theirs.close()  # so that a process that fails is noticed
    listed, peak, median, p99, unchanged = ours.recv()
    process.join()
    size = f"{nodes:,} nodes, {nodes * PODS_A_NODE:,} pods"
    one = f"an event at {size}"
    return [
        _row(f"lists to NodeStats, {size}", listed, "s", LIST_SECONDS, quick),
        _row("their peak", peak, "MB", PEAK_MB, quick),
        _row(f"{one}, to NodeStats", median, "µs", EVENT_US, quick),
        Row(name="the same, p99", ours=p99, unit="µs"),
        Row(name="an event that changes no sum", ours=unchanged, unit="µs"),
    ]


def _row(name: str, value: float, unit: str, target: float, quick: bool) -> Row:
    met = None if quick else value <= target
    return Row(name=name, ours=value, unit=unit, target=f"{target:g} {unit}", met=met)


def _measure(results: Any, nodes: int) -> None:
    factory = KubernetesFactory.of(PoolRecipe(_build, _spec_of), KubernetesSettings())
    listed = time.process_time()
    making = [0.0]
    found_nodes = tuple(each for page in _pages("nodes", nodes, making) for each in _read(NODES, page))
    factory.handle(events.NodesListed(found_nodes), 0.0)
    found_pods = tuple(each for page in _pages("pods", nodes * PODS_A_NODE, making) for each in _read(PODS, page))
    factory.handle(events.PodsListed(found_pods, "1"), 0.0)
    took = time.process_time() - listed - making[0]
    del found_nodes, found_pods
    peak = _peak_mb()
    gc.collect()
    gc.freeze()
    times = [_timed(factory, line) for line in _lines(nodes, changes=True)]
    unchanged = [_timed(factory, line) for line in _lines(nodes, changes=False)]
    p99 = statistics.quantiles(times, n=100, method="inclusive")[-1]
    results.send((took, peak, statistics.median(times), p99, statistics.median(unchanged)))


def _timed(factory: KubernetesFactory, line: bytes) -> float:
    """Microseconds, from a line of the watch to the NodeStats."""
    begun = time.process_time_ns()
    change = PODS.change(line, _unexpected)
    assert isinstance(change, WatchChange)
    event = PODS.deleted(change.object) if change.type == "DELETED" else PODS.seen(change.object)
    effects = factory.handle(event, 1.0)
    took = (time.process_time_ns() - begun) / 1e3
    assert bool(effects) == (change.type == "DELETED")
    assert all(isinstance(each, NodeStatsChanged) for each in effects)
    return took


def _lines(nodes: int, *, changes: bool) -> Iterator[bytes]:
    """Pods that are deleted, or only modified in what nobody counts."""
    chance = random.Random(1)
    numbers = chance.sample(range(nodes * PODS_A_NODE), min(EVENTS, nodes * PODS_A_NODE) // 2)
    first, second = numbers[::2], numbers[1::2]
    for number in first if changes else second:
        kind = "DELETED" if changes else "MODIFIED"
        yield json.dumps({"type": kind, "object": _pod(number)}).encode()


def _pages(kind: str, objects: int, making: list[float]) -> Iterator[bytes]:
    """The time that making them takes is added to `making`, in seconds."""
    for begin in range(0, objects, PAGE):
        begun = time.process_time()
        numbers = range(begin, min(begin + PAGE, objects))
        items = [_node(each) if kind == "nodes" else _pod(each) for each in numbers]
        page = json.dumps({"metadata": {"resourceVersion": "1"}, "items": items}).encode()
        making[0] += time.process_time() - begun
        yield page


def _read(kind: ResourceKind[T], page: bytes) -> list[T]:
    return kind.page(page, _unexpected).items or []


def _node(number: int) -> dict[str, Any]:
    return {
        "metadata": {"name": f"node-{number}", "labels": {"zone": f"z{number % 3}", "kubernetes.io/os": "linux"}},
        "status": {
            "allocatable": {"cpu": "15890m", "memory": "32Gi", "ephemeral-storage": "95Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ready"}],
        },
    }


def _pod(number: int) -> dict[str, Any]:
    asked = {"cpu": "100m", "memory": _MEMORY[number % len(_MEMORY)]}
    pod: dict[str, Any] = {
        "metadata": {
            "name": f"pod-{number}",
            "namespace": f"namespace-{number % 50}",
            "uid": f"00000000-0000-4000-8000-{number:012d}",
            "resourceVersion": "1",
            "labels": {"app": f"app-{number % 200}", "pod-template-hash": "5f7d8c9b6"},
        },
        "spec": {
            "nodeName": f"node-{number // PODS_A_NODE}",
            "containers": [
                {"name": "main", "image": "registry/app:1", "resources": {"requests": asked, "limits": asked}}
            ],
        },
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "PodScheduled", "status": "True"}],
            "containerStatuses": [
                {
                    "name": "main",
                    "ready": True,
                    "state": {"running": {"startedAt": "2026-11-29T12:00:00Z"}},
                    "allocatedResources": asked,
                    "resources": {"requests": asked, "limits": asked},
                }
            ],
        },
    }
    rest = _SIZE - len(json.dumps(pod))
    pod["metadata"]["managedFields"] = [{"fieldsV1": {f"f:field-{each}": {} for each in range(rest // 18)}}]
    return pod


def _build(capacity: Capacity) -> Pool:
    return Pool(capacity)


def _spec_of(start: StartContainer) -> ContainerSpec:
    raise AssertionError(f"nothing runs here, {start.container_id} was not to start")


def _unexpected(line: str) -> None:
    raise AssertionError(line)


def _peak_mb() -> float:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (line,) = [each for each in status.splitlines() if each.startswith("VmHWM")]
    return int(line.split()[1]) / 1024
