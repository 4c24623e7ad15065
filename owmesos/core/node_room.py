"""A node's resources in all its allocation roles together, which the status document and the metrics add up."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from owmesos.core.ledger import LedgerNode
from owmesos.core.listings import NodeBook
from owmesos.core.node_stats import NodeState
from owmesos.resources import Ask

_PRECEDENCE = (
    NodeState.GONE,
    NodeState.DRAINING,
    NodeState.CLOSED,
    NodeState.BACKOFF,
    NodeState.FRESH,
    NodeState.STALE,
    NodeState.UNKNOWN,
)
"""A node with several roles has the first of these states that it has in one of them."""
_SHUT = (NodeState.DRAINING, NodeState.CLOSED, NodeState.BACKOFF)
"""Nothing starts there."""

_NONE = Ask()


class NodeRoom(msgspec.Struct, frozen=True, gc=False):
    """Amounts, with the numbers of ports and pods. All are zero for a node that is gone; `total` is zero if unknown."""

    state: NodeState
    total: Ask = _NONE
    used: Ask = _NONE  # by our containers
    free: Ask = _NONE  # as the cluster showed it
    reserved: Ask = _NONE  # for starts that are not cut yet
    buffer: Ask = _NONE  # kept free
    available: Ask = _NONE  # free - reserved - buffer, at least 0; none where nothing starts


GONE = NodeRoom(NodeState.GONE)


def node_room(book: NodeBook, agent: LedgerNode) -> NodeRoom:
    if agent.gone_at is not None:
        return GONE
    found = NodeState.UNKNOWN
    free = reserved = available = _NONE
    for account in agent.accounts:
        stats = book.stats(account)
        if stats.state is not found:
            found = min(found, stats.state, key=_PRECEDENCE.index)
        free = free.plus(stats.free.as_ask())
        available = available.plus(stats.available.at_least_zero().as_ask())
        starts = book.ledger.reservations.reserved_on(account.slot)
        if starts is not None:
            reserved = reserved.plus(starts)
    used = book.used.get(agent.agent_id)
    return NodeRoom(
        found,
        agent.total.as_ask() if agent.total is not None else _NONE,
        used.as_ask() if used is not None else _NONE,
        free,
        reserved,
        Ask(*book.ledger.buffer_on(agent)),
        available if found not in _SHUT else _NONE,
    )


def summed(amounts: Iterable[Ask]) -> Ask:
    """The sum. Without intermediate objects, which would take ten times as long and cause garbage collections."""
    cpus = mem = disk = gpus = ports = pods = 0
    for each in amounts:
        cpus += each.milli_cpus
        mem += each.milli_mem
        disk += each.milli_disk
        gpus += each.milli_gpus
        ports += each.ports
        pods += each.pods
    return Ask(cpus, mem, disk, gpus, ports, pods)
