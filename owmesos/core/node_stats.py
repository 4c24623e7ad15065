"""NodeStats: what one node has free for us, as last observed.

The central noun of OpenWhisk's proposal *Clustered Resources*. An action needs contiguous resources on one node, so
the numbers are kept by node and never summed. They come from the cluster manager's own events and are cached; nobody
asks the cluster for them.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from owmesos.resources import Resources


class NodeState(str, Enum):
    """How much the numbers of a node are worth."""

    FRESH = "fresh"  # room is at hand
    STALE = "stale"  # remembered from room that was let go
    UNKNOWN = "unknown"  # nothing was seen since we connected
    DRAINING = "draining"  # under maintenance: gets no new containers
    CLOSED = "closed"  # on Kubernetes: a condition or a taint of its own keeps containers away
    BACKOFF = "backoff"  # its starts failed: gets none for a while
    GONE = "gone"


class NodeStats(msgspec.Struct, frozen=True, gc=False):
    """One node in one allocation role."""

    agent_id: str
    role: str
    hostname: str
    free: Resources  # as it was shown; zero while nothing was
    available: Resources  # that minus reserved starts and the buffer: a debt is negative
    observed_at: float | None  # in seconds; None when nothing was ever seen
    state: NodeState


class NodeStatsUpdate(msgspec.Struct, frozen=True):
    """The nodes whose numbers changed in one step, and those that are gone."""

    changed: tuple[NodeStats, ...] = ()
    gone: tuple[str, ...] = ()
