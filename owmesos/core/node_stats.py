"""NodeStats: what one agent has free for us, as last observed.

The proposal's central noun. An action needs contiguous resources on one node, so the numbers are kept by node and
never summed. They come from the cluster manager's own events and are cached; nobody asks the cluster for them.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from owmesos.resources import Resources


class NodeState(str, Enum):
    """How much the numbers of an agent are worth."""

    FRESH = "fresh"  # offers are in hand
    STALE = "stale"  # remembered from offers that were let go
    UNKNOWN = "unknown"  # nothing was seen since we connected
    DRAINING = "draining"  # under maintenance: gets no new containers
    BACKOFF = "backoff"  # its starts failed: gets none for a while
    GONE = "gone"


class NodeStats(msgspec.Struct, frozen=True, gc=False):
    """One agent in one allocation role.

    `free` is what offers showed; `available` is that minus uncut starts and the buffer (a debt shows negative).
    `observed_at` is in seconds, or None when nothing was ever seen.
    """

    agent_id: str
    role: str
    hostname: str
    free: Resources
    available: Resources
    observed_at: float | None
    state: NodeState


class NodeStatsUpdate(msgspec.Struct, frozen=True):
    """The agents whose numbers changed in one step, and those that are gone."""

    changed: tuple[NodeStats, ...] = ()
    gone: tuple[str, ...] = ()
