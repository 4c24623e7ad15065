"""The documents of a pool: its containers, and why an activation waits.

Field names are a contract, as those of `owmesos.mesos.listings` are.
"""

from __future__ import annotations

from owmesos.core.containers import Container
from owmesos.core.pool import Pool
from owmesos.mesos.listings import Document, instant


def containers(pool: Pool) -> list[Document]:
    """One row a container, the oldest first. `memory` in MB; `action` and `address` null where there is none yet."""
    return [_container(container) for container in pool.containers]


def _container(container: Container) -> Document:
    return {
        "container_id": container.id,
        "action": container.key.name if container.key is not None else None,
        "kind": container.shape.kind,
        "state": container.state.value,
        "agent_id": container.slot.agent_id,
        "address": container.address,
        "memory": container.shape.memory,
        "active": container.active,
        "last_used": instant(container.last_used),
    }


def explanation(pool: Pool, activation_id: str) -> Document | None:
    """Why an activation waits, or where it runs; None when the pool does not have it."""
    found = pool.explain(activation_id)
    if found is not None:
        return {"activation_id": activation_id, "state": "waiting", **found.as_json()}
    running = pool.books.running.get(activation_id)
    if running is None:
        return None
    return {
        "activation_id": activation_id,
        "state": "running",
        "agents": None,
        "failed": {},
        "nearest": None,
        "summary": f"the activation does not wait: it is in container {running[0]}",
    }
