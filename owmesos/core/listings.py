"""Documents (`owmesos.documents`) of what every cluster manager has: nodes, reservations, containers, activations."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from enum import Enum
from typing import Any, Protocol

from owmesos import documents
from owmesos.core.ledger import Account, Ledger, LedgerNode
from owmesos.core.node_stats import NodeStats
from owmesos.core.pool.pool import Pool
from owmesos.core.texts import the_one_that_begins
from owmesos.resources import NOTHING, Ask, Resources

MIN_INSTANT = 0.0
MAX_INSTANT = 253_402_300_799.0
"""9999-12-31T23:59:59Z: Python's datetime and ISO 8601 end with the year 9999."""


class NodeBook(Protocol):
    """Whoever keeps the ledger of a cluster's nodes."""

    @property
    def ledger(self) -> Ledger: ...

    @property
    def used(self) -> Mapping[str, Resources]:
        """By our containers, by node id."""

    def stats(self, account: Account) -> NodeStats: ...


def instant(seconds: float | None) -> str | None:
    """Seconds of the epoch as ISO 8601 UTC with milliseconds; what is outside of MIN_INSTANT to MAX_INSTANT as that."""
    if seconds is None:
        return None
    within = min(max(seconds, MIN_INSTANT), MAX_INSTANT)
    text = datetime.fromtimestamp(within, timezone.utc).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def vector(resources: Resources) -> documents.Vector:
    return {
        "cpus": resources.cpus,
        "mem": resources.mem,
        "disk": resources.disk,
        "gpus": resources.gpus,
        "ports": [list(pair) for pair in resources.ports.ranges],
        "pods": resources.pods,
    }


def word(state: Enum) -> Any:
    """The documents name the same words."""
    return state.value


def node(book: NodeBook, agent: LedgerNode, account: Account, now: float, reason: str | None) -> documents.NodeDocument:
    """`reason`: why it gets few or no starts."""
    stats = book.stats(account)
    reserved = book.ledger.reservations.reserved_on(account.slot)
    observed = stats.observed_at
    unavailability: documents.UnavailabilityDocument | None = None
    if agent.unavailability is not None:
        unavailability = {"start": instant(agent.unavailability[0]), "duration_s": agent.unavailability[1]}
    return {
        "agent_id": agent.agent_id,
        "hostname": agent.hostname,
        "role": stats.role,
        "attributes": {name: list(texts) for name, texts in agent.attributes.items()},
        "state": word(stats.state),
        "total": vector(agent.total) if agent.total is not None else None,
        "used": vector(book.used.get(agent.agent_id, NOTHING)),
        "free": vector(stats.free),
        "reserved": vector(without_ports(reserved or Ask())),
        "buffer": vector(Resources(*book.ledger.buffer_on(agent))),
        "available": vector(stats.available.at_least_zero()),
        "unavailability": unavailability,
        "observed_at": instant(observed),
        "age_s": None if observed is None else round(max(0.0, now - observed), 3),
        "reason": reason,
    }


def reservations(ledger: Ledger, now: float, limit: int | None = None) -> list[documents.ReservationDocument]:
    """Starts that are not confirmed, and stops whose room was not seen yet; oldest first, at most `limit`."""
    return [
        {
            "launch_id": reservation.launch_id,
            "task_id": reservation.task_id,
            "agent_id": reservation.slot.agent_id,
            "hostname": ledger.agent(reservation.slot.agent_id).hostname,
            "kind": reservation.kind,
            "state": word(reservation.state),
            "resources": vector(reservation.resources or without_ports(reservation.ask)),
            "since": instant(reservation.since),
            "age_s": round(max(0.0, now - reservation.since), 3),
        }
        for reservation in sorted(ledger.reservations.by_launch.values(), key=lambda r: r.since)[:limit]
    ]


def containers(pool: Pool, ledger: Ledger) -> list[documents.ContainerDocument]:
    """One row a container, the oldest first."""
    nodes = ledger.agents
    return [
        {
            "container_id": container.id,
            "action": container.key.name if container.key is not None else None,
            "kind": container.shape.kind,
            "state": word(container.state),
            "agent_id": container.slot.agent_id,
            "hostname": nodes[container.slot.agent_id].hostname if container.slot.agent_id in nodes else "",
            "address": container.address,
            "memory": container.shape.memory,
            "active": container.active,
            "last_used": instant(container.last_used),
        }
        for container in pool.containers
    ]


def activation_explanation(
    pool: Pool, activation_id: str, trouble: str | None
) -> documents.ActivationExplanation | None:
    """Why an activation waits, or where it runs; None when the pool does not have it.

    Of its id the beginning is enough. `trouble` is the one of the connection to the cluster manager, which is said in
    place of the reason. Raises Ambiguous.
    """
    known = pool.state.buffer.by_id.keys() | pool.state.running.keys()
    activation_id = activation_id if activation_id in known else the_one_that_begins(activation_id, known) or ""
    found = pool.explain(activation_id)
    running = pool.state.running.get(activation_id)
    if found is None and running is None:
        return None
    if running is not None:
        summary = f"the activation is not waiting: it is in container {running[0]}"
    else:
        assert found is not None
        summary = trouble or found.summary
    return {
        "activation_id": activation_id,
        "state": "waiting" if found is not None else "running",
        "agents": found.agents if found is not None else None,
        "failed": dict[str, int](found.failed.items()) if found is not None else {},
        "nearest": found.nearest if found is not None else None,
        "summary": summary,
    }


def without_ports(ask: Ask) -> Resources:
    return Resources(ask.milli_cpus, ask.milli_mem, ask.milli_disk, ask.milli_gpus, pods=ask.pods)
