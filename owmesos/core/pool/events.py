"""What the pool is told, and what it wants done. Frozen, so that a run can be written down and played again.

The pool knows only a container factory: it takes StartContainer and StopContainer (and SetAside), and gives
NodeStatsUpdate, ContainerStarted, ContainerStopped, StartRefused. Mesos is the first one.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal

import msgspec

from owmesos.core.constraints import Constraint
from owmesos.core.placement import Slot
from owmesos.core.pool.containers import ContainerShape, PoolAction
from owmesos.resources import Ask


class PoolEvent(msgspec.Struct, frozen=True):
    """The root of the events."""


class Run(PoolEvent, frozen=True):
    """An activation wants to run. `health` marks the Controller's test of this invoker: it goes first.

    `start_within`: seconds that are left for it to get a container; None where nobody outside waits for it.
    """

    run_id: str
    action: PoolAction
    namespace: str
    health: bool = False
    start_within: float | None = None


class CancelRun(PoolEvent, frozen=True):
    """Forget a run that has no container; its owner ends it. A run that has one is not affected."""

    run_id: str


class Initialized(PoolEvent, frozen=True):
    """The container's /init succeeded: with concurrency it may take more runs."""

    container_id: str


class RunDone(PoolEvent, frozen=True):
    """A run ended. `reuse` False when its container must not serve again (in OpenWhisk: any error but the action's)."""

    container_id: str
    run_id: str
    reuse: bool = True


class ContainerUnfit(PoolEvent, frozen=True):
    """The container must not serve again, which came out after its run was done. Runs that it has may end."""

    container_id: str


class Reschedule(PoolEvent, frozen=True):
    """A run could not be given to its container, which is taken as dead: it waits again at its old place.

    `failed_start`: the container never did any work. After `start_attempts` of these the run ends, with the `reason`.
    """

    container_id: str
    run_id: str
    reason: str = ""
    failed_start: bool = False


class ContainerStarted(PoolEvent, frozen=True):
    """From the factory: the container runs, at `slot` (matching may have moved it) and `address`.

    `mapped`: the port was the container's before it began to run, so that nobody else can listen there.
    `returns_at_end`: the room that its end gives back, where that is not what its start asked for.
    """

    container_id: str
    slot: Slot
    address: str
    mapped: bool = True
    returns_at_end: Ask | None = None


class StopCause(str, Enum):
    """Why a container is gone, where that decides what its runs are told.

    `ENDED`: by itself, because it was told to, or nobody knows. `SUPERVISOR_GONE`: what ran it for the cluster was
    killed, which no action does by a fault of its own. `LOST`: the cluster lost it.
    """

    ENDED = "ended"
    OUT_OF_MEMORY = "out of memory"
    SUPERVISOR_GONE = "supervisor gone"
    LOST = "lost"


class ContainerStopped(PoolEvent, frozen=True):
    """From the factory: the container is gone, whether we stopped it or not. `reason` is for people."""

    container_id: str
    reason: str
    cause: StopCause = StopCause.ENDED


class StartRefused(PoolEvent, frozen=True):
    """From the factory: the cluster did not place the start after all; nothing of it is left."""

    container_id: str
    reason: str


class StartFailed(PoolEvent, frozen=True):
    """From the factory: the container was placed, on `agent_id` if that is known, and did not come to run."""

    container_id: str
    reason: str
    agent_id: str | None = None


class PoolTick(PoolEvent, frozen=True):
    """Time has passed."""


class PoolEffect(msgspec.Struct, frozen=True):
    """The root of the effects."""


class StartContainer(PoolEffect, frozen=True):
    """Its room on `slot` is reserved already, under the container's id.

    `after`: containers that stop there to make this room, which is not free before they have ended. Only of a cluster
    that queues starts (`Capacity.queues_starts`).
    """

    container_id: str
    shape: ContainerShape
    slot: Slot
    ask: Ask
    constraints: tuple[Constraint, ...]
    prewarm: bool
    after: tuple[str, ...] = ()


class StopContainer(PoolEffect, frozen=True):
    container_id: str
    reason: str


class StartKind(str, Enum):
    """How a run got its container: OpenWhisk's tags, in its logs and metrics."""

    WARMED = "warmed"
    WARMING = "warming"
    PREWARMED = "prewarmed"
    COLD = "cold"
    RECREATED = "recreated"

    __hash__ = str.__hash__  # each warm run counts by it, and Enum's own is written in Python


StartWord = Literal["warm", "prewarmed", "cold"]
START_WORDS: dict[StartKind, StartWord] = {
    StartKind.WARMED: "warm",
    StartKind.WARMING: "warm",
    StartKind.PREWARMED: "prewarmed",
    StartKind.COLD: "cold",
    StartKind.RECREATED: "cold",
}
"""The names of start kinds in documents and metrics."""


class Dispatch(PoolEffect, frozen=True):
    """Give the run to the container; with `initialize`, after /init."""

    run_id: str
    container_id: str
    kind: StartKind
    initialize: bool


class RunFailed(PoolEffect, frozen=True):
    """The run ends without a container. `start_failed` is what was said of its last start, if that is why; `at_fault`:
    the fault is what was started, not the cluster. `no_room`: nothing is wrong, but all the room is taken."""

    run_id: str
    message: str
    start_failed: str | None = None
    at_fault: bool = False
    no_room: bool = False


class FeedMore(PoolEffect, frozen=True):
    """A run has ended, so one less is held here: the feed may bring another. Once per run."""


class SetAside(PoolEffect, frozen=True):
    """Keep the room of this node for the head of the run buffer; None ends it. Sent when it changes."""

    agent_id: str | None


class WaitingForRoom(PoolEffect, frozen=True):
    """Whether anything waits for room, so that the factory looks for some. Sent when it changes."""

    waiting: bool


class Backpressure(PoolEffect, frozen=True):
    """Whether the invoker should turn the Controller away. Sent when it changes."""

    on: bool
