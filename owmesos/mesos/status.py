"""Builds the StatusDocument from the scheduler's and the pool's state, in one pass over each."""

from __future__ import annotations

from functools import partial

from owmesos import documents
from owmesos.core.listings import instant
from owmesos.core.pool.pool import Pool
from owmesos.core.status import ProcessFacts, counts, nodes, oldest, runs
from owmesos.mesos.listings import connection_trouble, node_trouble
from owmesos.mesos.scheduler.state import SchedulerState


def status(
    state: SchedulerState,
    now: float,
    process: ProcessFacts,
    pool: Pool | None = None,
    invoker: documents.InvokerStatus | None = None,
) -> documents.StatusDocument:
    """Takes 20 ms for 10,000 launches and 5,000 nodes, and 50 ms more for why the oldest waits, if something does."""
    info = state.info
    return {
        "version": process.version,
        "started_at": instant(process.started_at),
        "cluster": _cluster(state, process),
        "framework_id": info.id.value if info.id is not None else None,
        "name": info.name,
        "roles": list(info.roles),
        "launches": counts(record.state for record in state.launches.values()),
        "unreadable": len(state.unreadable),
        "state_trouble": process.state_trouble,
        "queue": _queue(state, now),
        "containers": counts(container.state for container in pool.containers) if pool is not None else {},
        "runs": runs(pool, connection_trouble(state), now) if pool is not None else None,
        "invoker": invoker,
        "nodes": nodes(state, partial(node_trouble, state, now)),
    }


def _cluster(state: SchedulerState, process: ProcessFacts) -> documents.ClusterStatus:
    connection = state.connection
    return {
        "manager": "mesos",
        "address": process.server if state.connected and process.server is not None else process.servers,
        "connected": state.connected,
        "since": instant(connection.since if connection.since is not None else process.started_at),
        "silent_since": instant(connection.silent_since),
        "reason": None if state.connected else connection.reason,
    }


def _queue(state: SchedulerState, now: float) -> documents.QueueDocument:
    head = min(state.queue, key=lambda record: record.queued_at, default=None)
    if head is None:
        return {"length": 0, "oldest": None}
    reason = connection_trouble(state) or state.explain(head).summary
    return {"length": len(state.queue), "oldest": oldest(head.id, head.launch.name, head.queued_at, reason, now)}
