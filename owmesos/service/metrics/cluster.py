"""Metrics of the nodes: their states, and their resources, each node's and the sum."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import NamedTuple

import msgspec
from prometheus_client import Metric

from owmesos.core.ledger import Ledger
from owmesos.core.listings import NodeBook
from owmesos.core.node_room import GONE, NodeRoom, node_room, summed
from owmesos.core.node_stats import NodeState
from owmesos.core.reservations import ReservationState
from owmesos.resources import MILLI
from owmesos.service.metrics.families import MB, gauge

NODES_SHOWN = 100
"""With more nodes than this, no node has series of its own."""
SLICE = 200
"""Nodes that are read before the event loop has its turn: about 2 ms."""
RESOURCES = (
    ("milli_cpus", "cpus", "", 1, MILLI, "CPUs"),
    ("milli_mem", "memory", "_bytes", MB, MILLI, "Memory"),
    ("milli_disk", "disk", "_bytes", MB, MILLI, "Disk"),
    ("milli_gpus", "gpus", "", 1, MILLI, "GPUs"),
    ("ports", "ports", "", 1, 1, "Ports"),
    ("pods", "pods", "", 1, 1, "Pods"),
)
"""Field of `Ask`; name and unit in metrics' names; factor and divisor to that unit; word for help texts.

The one that is `ClusterView.not_counted` is left out."""
AMOUNTS = {
    "used": "used by our own tasks or pods",
    "free": "free as the cluster showed it, before reservations and buffer",
    "reserved": "reserved for starts that the cluster has not taken yet",
    "buffer": "kept free",
    "available": "available for starts: free less reserved and buffer, at least 0;"
    " none on a node that is draining, closed or in backoff",
}


class FoundNode(msgspec.Struct, frozen=True, gc=False):
    agent_id: str
    hostname: str
    room: NodeRoom


async def read_nodes(book: NodeBook) -> list[FoundNode]:
    """All nodes, read in slices; what changes meanwhile is counted before or after its change."""
    found: list[FoundNode] = []
    agents = list(book.ledger.agents.values())
    for begin in range(0, len(agents), SLICE):
        if begin:
            await asyncio.sleep(0)
        found += [
            FoundNode(agent.agent_id, agent.hostname, node_room(book, agent))
            for agent in agents[begin : begin + SLICE]
            if book.ledger.agents.get(agent.agent_id) is agent
        ]
    return found


class _Named(NamedTuple):
    """One amount of one resource: the metric's name and help, and where its value is in a NodeRoom."""

    name: str  # of the metric
    text: str  # its help
    amount: str  # field of NodeRoom
    field: str  # field of that Ask
    factor: int  # to the metric's unit
    divisor: int


def _named(whose: str, of: str, but: str) -> Iterator[_Named]:
    """Without the field `but`."""
    for amount, meaning in AMOUNTS.items():
        for field, name, unit, factor, divisor, noun in RESOURCES:
            if field != but and (amount != "buffer" or name in ("cpus", "memory")):
                full_name = f"owmesos_{whose}_{name}_{amount}{unit}"
                yield _Named(full_name, f"{noun} of {of}, {meaning}.", amount, field, factor, divisor)


def cluster_metrics(nodes: Sequence[FoundNode], not_counted: str) -> Iterator[Metric]:
    """The states, and the sums. `not_counted`: see `ClusterView`."""
    states = Counter(node.room.state for node in nodes)
    yield gauge("owmesos_nodes", "Nodes by state.", {(each.value,): states[each] for each in NodeState}, ["state"])
    sums = {amount: summed(getattr(node.room, amount) for node in nodes) for amount in AMOUNTS}
    for each in _named("cluster", "all nodes", not_counted):
        value: int = getattr(sums[each.amount], each.field)
        yield gauge(each.name, each.text, value * each.factor / each.divisor)


def reservation_metrics(ledger: Ledger) -> Iterator[Metric]:
    reserved = Counter(each.state for each in ledger.reservations.by_launch.values())
    yield gauge(
        "owmesos_reservations",
        "Starts that are not confirmed, and stops whose room was not offered yet, by state.",
        {(each.value,): reserved[each] for each in ReservationState},
        ["state"],
    )


def node_text(nodes: Sequence[FoundNode], not_counted: str) -> bytes:
    """Each node's own series, in Prometheus's text format.

    Of 5,000 nodes these are 110,000 lines. prometheus_client makes an object of each, which takes ten times as long,
    and the garbage collector's passes over them hold up the event loop.
    """
    there = [node for node in nodes if node.room is not GONE]
    labels = [f'{{agent_id="{_escaped(node.agent_id)}",hostname="{_escaped(node.hostname)}"}}' for node in there]
    lines = []
    for each in _named("node", "a node", not_counted):
        lines.append(f"# HELP {each.name} {each.text}\n# TYPE {each.name} gauge\n")
        values = map(attrgetter(f"room.{each.amount}.{each.field}"), there)
        name, factor, divisor = each.name, each.factor, each.divisor
        lines += [f"{name}{of} {value * factor / divisor}\n" for of, value in zip(labels, values, strict=True)]
    return "".join(lines).encode()


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
