"""What the pool is told, and what it wants done. Frozen, so that a run can be written down and played again.

The pool knows only a container factory: it takes StartContainer and StopContainer (and SetAside), and gives
NodeStatsUpdate, ContainerStarted, ContainerStopped, StartRefused. Mesos is the first one.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from owmesos.core.constraints import Constraint
from owmesos.core.containers import Action, Shape
from owmesos.core.placement import Slot
from owmesos.resources import Ask


class PoolEvent(msgspec.Struct, frozen=True):
    """The root of the events."""


class Run(PoolEvent, frozen=True):
    """An activation wants to run. `health` marks the Controller's test of this invoker: it goes first."""

    run_id: str
    action: Action
    namespace: str
    health: bool = False


class Initialized(PoolEvent, frozen=True):
    """The container's /init succeeded: with concurrency it may take more runs."""

    container_id: str


class RunDone(PoolEvent, frozen=True):
    """A run ended. `reuse` False when its container must not serve again (in OpenWhisk: any error but the action's)."""

    container_id: str
    run_id: str
    reuse: bool = True


class Reschedule(PoolEvent, frozen=True):
    """A run could not be given to its container, which is taken as dead: it waits again at its old place."""

    container_id: str
    run_id: str


class ContainerStarted(PoolEvent, frozen=True):
    """From the factory: the container runs, at `slot` (matching may have moved it) and `address`."""

    container_id: str
    slot: Slot
    address: str


class ContainerStopped(PoolEvent, frozen=True):
    """From the factory: the container is gone, whether we stopped it or not."""

    container_id: str
    reason: str


class StartRefused(PoolEvent, frozen=True):
    """From the factory: the cluster did not place the start after all; nothing of it is left."""

    container_id: str
    reason: str


class StartFailed(PoolEvent, frozen=True):
    """From the factory: the container was placed and did not come to run."""

    container_id: str
    reason: str


class Tick(PoolEvent, frozen=True):
    """Time has passed."""


class PoolEffect(msgspec.Struct, frozen=True):
    """The root of the effects."""


class StartContainer(PoolEffect, frozen=True):
    """Its room on `slot` is reserved already, under the container's id."""

    container_id: str
    shape: Shape
    slot: Slot
    ask: Ask
    constraints: tuple[Constraint, ...]
    prewarm: bool


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


class Dispatch(PoolEffect, frozen=True):
    """Give the run to the container; with `initialize`, after /init."""

    run_id: str
    container_id: str
    kind: StartKind
    initialize: bool


class RunFailed(PoolEffect, frozen=True):
    """The run ends without a container: an OpenWhisk whiskError with this text."""

    run_id: str
    message: str


class FeedMore(PoolEffect, frozen=True):
    """A run has ended, so one less is held here: the feed may bring another. Once per run."""


class SetAside(PoolEffect, frozen=True):
    """Hold the offers of this agent for the head of the run buffer; None ends it. Sent when it changes."""

    agent_id: str | None


class WaitingForRoom(PoolEffect, frozen=True):
    """Whether anything waits for room, so that the factory looks for some. Sent when it changes."""

    waiting: bool


class Backpressure(PoolEffect, frozen=True):
    """Whether the invoker should turn the Controller away. Sent when it changes."""

    on: bool
