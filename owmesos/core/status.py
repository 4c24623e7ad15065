"""The parts of a StatusDocument that every cluster manager has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, NamedTuple

from owmesos import documents
from owmesos.core.ledger import LedgerNode
from owmesos.core.listings import NodeBook, instant, word
from owmesos.core.node_room import NodeRoom, node_room, summed
from owmesos.core.node_stats import NodeState
from owmesos.core.pool.pool import Pool
from owmesos.resources import MILLI, Ask

MAX_TROUBLE = 100
"""Most nodes in trouble to list; if a whole rack is gone, their number is enough."""


class ProcessFacts(NamedTuple):
    """What the decisions do not know. `servers`: the configured addresses, without a password."""

    version: str
    started_at: float  # seconds since the epoch
    servers: str
    server: str | None  # which of them has us
    state_trouble: documents.StateTrouble | None = None


def counts(states: Iterable[Enum]) -> dict[Any, int]:
    """How many are in each state, in the order in which the states are declared."""
    found = Counter(states)
    kinds = type(next(iter(found))) if found else ()
    return {state.value: found[state] for state in kinds if state in found}


def runs(pool: Pool, trouble: str | None, now: float) -> documents.RunsDocument:
    """The oldest is not the buffer's head: health tests are always first there. `trouble`: see
    `activation_explanation`."""
    state, waits_longest = pool.state, pool.state.buffer.oldest()
    return {
        "length": len(state.buffer),
        "oldest": None
        if waits_longest is None
        else oldest(
            waits_longest.run.run_id,
            waits_longest.key.name,
            waits_longest.received_at,
            trouble or state.explain(waits_longest).summary,
            now,
        ),
        "running": len(state.running),
    }


def oldest(name: str, what: str, since: float, reason: str, now: float) -> documents.OldestDocument:
    return {
        "id": name,
        "name": what,
        "since": instant(since),
        "wait_s": round(max(0.0, now - since), 3),
        "reason": reason,
    }


def nodes(book: NodeBook, trouble: Callable[[LedgerNode], str | None]) -> documents.NodesStatus:
    """`trouble`: why a node gets few or no starts; None for one that gets them."""
    states: Counter[NodeState] = Counter()
    troubled: list[documents.NodeTrouble] = []
    rooms: list[NodeRoom] = []
    for agent in book.ledger.agents.values():
        room = node_room(book, agent)
        states[room.state] += 1
        rooms.append(room)
        reason = trouble(agent)
        if reason is not None:
            troubled.append(
                {"agent_id": agent.agent_id, "hostname": agent.hostname, "state": word(room.state), "reason": reason}
            )
    troubled.sort(key=lambda each: (each["hostname"], each["agent_id"]))
    counted: Any = {each.value: states[each] for each in NodeState if states[each]}
    return {
        "states": counted,
        "in_trouble": len(troubled),
        "trouble": troubled[:MAX_TROUBLE],
        "sums": {
            "total": _amounts(room.total for room in rooms),
            "used": _amounts(room.used for room in rooms),
            "free": _amounts(room.free for room in rooms),
            "reserved": _amounts(room.reserved for room in rooms),
            "buffer": _amounts(room.buffer for room in rooms),
            "available": _amounts(room.available for room in rooms),
        },
    }


def _amounts(parts: Iterable[Ask]) -> documents.Sum:
    whole = summed(parts)
    return {
        "cpus": whole.milli_cpus / MILLI,
        "mem": whole.milli_mem / MILLI,
        "disk": whole.milli_disk / MILLI,
        "gpus": whole.milli_gpus / MILLI,
        "pods": whole.pods,
    }
