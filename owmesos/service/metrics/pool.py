"""Metrics of a container pool, under our names and under those of OpenWhisk's own invoker.

OpenWhisk's are as Kamon's Prometheus reporter writes them with `kamon-tags-enabled`: kind, component, action and state
of the marker in LoggingMarkers (Logging.scala), then the unit; labels that grow without bound, such as `action`, are
left out. Those of `clusterResources` are the proposal's *Clustered Resources*, which OpenWhisk never released.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import get_args

from prometheus_client import Metric

from owmesos.core.backoff import AtFault
from owmesos.core.ledger import Ledger
from owmesos.core.pool.containers import Container, ContainerState
from owmesos.core.pool.events import START_WORDS
from owmesos.core.pool.pool import Pool
from owmesos.core.reservations import ReservationState
from owmesos.resources import MILLI
from owmesos.service.metrics.families import MB, counter, gauge, histogram, waits


def pool_metrics(pool: Pool, now: float) -> Iterator[Metric]:
    """`now` in seconds since the epoch."""
    state, counts = pool.state, pool.state.counts
    states = Counter(container.state for container in pool.containers)
    yield gauge(
        "owmesos_containers",
        "Containers of the pool by state.",
        {(each.value,): states[each] for each in ContainerState if each is not ContainerState.GONE},
        ["state"],
    )
    waiting = [each.received_at for each in state.buffer]
    yield from waits("activation", "activations", "Activations that wait for a container.", waiting, now)
    yield gauge("owmesos_activations_running", "Activations that have a container.", len(state.running))
    starts: Counter[tuple[str, ...]] = Counter()
    for kind, count in counts.starts.items():
        starts[(START_WORDS[kind],)] += count
    yield counter(
        "owmesos_activations_started", "Activations that got a container, by the kind of start.", starts, ["kind"]
    )
    yield counter("owmesos_activations_queued", "Activations that had to wait for a container.", counts.waited)
    yield counter("owmesos_activations_unplaced", "Activations that ended without a container.", counts.failed)
    yield histogram(
        "owmesos_activation_wait_seconds",
        "Time that activations waited which did not get a container at once.",
        {(): counts.wait},
    )
    yield counter("owmesos_evictions", "Containers that were stopped to make room.", counts.evicted)
    yield counter("owmesos_container_refusals", "Container starts that the cluster took back.", counts.refused)
    yield counter(
        "owmesos_container_start_failures",
        "Containers that did not start, by whose fault it was as far as known at the time.",
        {(blame,): state.backoff.failures[blame] for blame in get_args(AtFault)},
        ["blame"],
    )


def openwhisk_pool_metrics(pool: Pool, ledger: Ledger) -> Iterator[Metric]:
    """What OpenWhisk's own names say. Sizes are in bytes, as Kamon converts them."""
    state, counts, containers = pool.state, pool.state.counts, list(pool.containers)
    idles = [each.shape.memory for each in containers if each.state is ContainerState.WARM and not each.active]
    sets = {
        "runBuffer": ("activations that wait for a container", [each.shape.memory for each in state.buffer]),
        "active": ("containers with activations", [each.shape.memory for each in containers if each.active]),
        "prewarm": ("prewarmed containers", [each.shape.memory for each in containers if _prewarmed(each)]),
        "idles": ("warm containers without activations", idles),
    }
    for name, (text, memories) in sets.items():
        yield _gauge(f"containerPool_{name}Count", text, len(memories))
        yield _size(f"containerPool_{name}Size", f"memory of {text}", sum(memories))
    yield _counter("containerPool_rescheduledActivation", "activations that got no container at once", counts.waited)
    yield _counter("containerPool_resourceError", "container starts that the cluster took back", counts.refused)
    yield counter(
        "counter_invoker_containerStart_counter",
        "OpenWhisk's name: activations that got a container, by the container's state.",
        {(kind.value,): count for kind, count in counts.starts.items()},
        ["containerState"],
    )
    reserved = [each.ask.milli_mem for each in ledger.reservations.by_launch.values() if _reserved(each.state)]
    free = [sum(account.free().milli_mem for account in agent.accounts) for agent in ledger.agents.values()]
    yield _gauge("clusterResources_idlesCount", "as containerPool_idlesCount", len(idles))
    yield _size("clusterResources_idlesSize", "as containerPool_idlesSize", sum(idles))
    yield _gauge("clusterResources_reservedCount", "starts that are not yet in an ACCEPT", len(reserved))
    yield _size("clusterResources_reservedSize", "memory of the same", sum(reserved) / MILLI)
    yield _size("clusterResources_totalMemory", "free memory of all nodes", sum(free) / MILLI)
    yield _size("clusterResources_maxMemory", "the most free memory on one node", max(free, default=0) / MILLI)
    yield _gauge("clusterResources_nodes", "nodes that are known", len(free))


def _prewarmed(container: Container) -> bool:
    return container.state is ContainerState.PREWARMED or (
        container.state is ContainerState.STARTING and container.prewarm
    )


def _reserved(state: ReservationState) -> bool:
    return state is ReservationState.RESERVED


def _gauge(marker: str, text: str, value: float) -> Metric:
    return gauge(f"gauge_{marker}_counter", f"OpenWhisk's name: {text}.", value)


def _size(marker: str, text: str, megabytes: float) -> Metric:
    return gauge(f"gauge_{marker}_counter_bytes", f"OpenWhisk's name: {text}.", megabytes * MB)


def _counter(marker: str, text: str, value: float) -> Metric:
    return counter(f"counter_{marker}_counter", f"OpenWhisk's name: {text}.", value)
