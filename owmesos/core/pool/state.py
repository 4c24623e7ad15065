"""Everything that the pool knows, for the parts that decide on it: starts, eviction, prewarming."""

from __future__ import annotations

from collections.abc import Container as Having
from enum import Enum

import msgspec

from owmesos.core.backoff import Backoff, BackoffLimits
from owmesos.core.capacity import Capacity
from owmesos.core.explanation import Explanation
from owmesos.core.histogram import Histogram
from owmesos.core.placement import Slot
from owmesos.core.pool.additions import Additions
from owmesos.core.pool.containers import ActionKey, Container, Containers, ContainerShape, Step
from owmesos.core.pool.events import Backpressure, PoolEffect, Run, SetAside, StartKind, StopContainer
from owmesos.core.pool.run_buffer import RunBuffer, Waiting
from owmesos.core.pool.settings import PoolSettings
from owmesos.core.timers import Timers
from owmesos.resources import Ask

_HEALTH_FIRST = -(2**60)


class PoolTimer(str, Enum):
    """What may be due. The first two are about one container or run."""

    IDLE = "idle"
    MAX_WAIT = "max wait"
    PREWARM = "prewarm"
    PREWARM_PAUSE = "prewarm pause"
    STARTS = "starts"
    TRIAL = "trial"
    DRAIN = "drain"
    GRACE = "grace"
    OVERDUE = "overdue"
    ROUND = "round"
    PARALLEL_EVICTIONS = "parallel evictions"
    PRESSURE = "pressure"


class StopRound(msgspec.Struct):
    """The stops that make room on `slot` for a waiting run. Before any can begin it has no `victims`."""

    waiting: Waiting
    slot: Slot
    victims: set[str] = set()  # the ids of containers
    draining: bool = False  # the node's containers take no new runs
    over_at: float | None = None  # seconds; known once the last victim is gone

    @property
    def run_id(self) -> str:
        return self.waiting.run.run_id


class PoolCounts(msgspec.Struct):
    """What has happened since the process began."""

    starts: dict[StartKind, int] = msgspec.field(default_factory=lambda: dict.fromkeys(StartKind, 0))  # of runs
    waited: int = 0  # runs that got no container at once
    wait: Histogram = msgspec.field(default_factory=Histogram)  # seconds that they waited for the one they got
    failed: int = 0  # runs that ended without a container
    refused: int = 0  # container starts that the cluster took back
    evicted: int = 0  # containers that were stopped to make room


class PoolState:
    """The parts change it; times are in seconds."""

    def __init__(self, capacity: Capacity, settings: PoolSettings) -> None:
        self.capacity = capacity
        self.settings = settings
        self.additions = Additions()
        self.containers = Containers()
        self.buffer = RunBuffer()
        self.timers: Timers[PoolTimer] = Timers()
        self.backoff = Backoff(BackoffLimits(launch_attempts=settings.start_attempts))
        self.running: dict[str, tuple[str, Waiting]] = {}  # by run id: its container, and its place if it comes back
        self.aside: StopRound | None = None  # the round for the blocked head: its node is set aside
        self.queued: dict[str, StopRound] = {}  # by container id: starts that the cluster queues until room is made
        self.freed = False  # containers that took no new runs do so again
        self.evicted: dict[ContainerShape, float] = {}  # when a container was last stopped for the shape
        self.counts = PoolCounts()
        self._effects: list[PoolEffect] = []
        self._last_emitted: dict[type[PoolEffect], PoolEffect] = {}
        self._next_place = 0

    # -- effects

    def emit(self, effect: PoolEffect) -> None:
        self._effects.append(effect)

    def emit_changed(self, effect: PoolEffect) -> None:
        """Emit `effect` if it differs from the last of its kind; the first one only if it says yes."""
        last = self._last_emitted.get(type(effect))
        if effect == last or (last is None and not any(msgspec.structs.astuple(effect))):
            return
        self._last_emitted[type(effect)] = effect
        self._effects.append(effect)

    def take_effects(self) -> list[PoolEffect]:
        effects, self._effects = self._effects, []
        return effects

    # -- runs and containers

    def arrived(self, run: Run, now: float) -> Waiting:
        """A run keeps its place until it ends; a health test stands before all others."""
        place = self._next_place
        self._next_place += 1
        action = run.action
        key = ActionKey(run.namespace, action.name, action.version, action.digest)
        start_before = now + self.settings.waits_at_most(run)
        return Waiting(run, place + _HEALTH_FIRST if run.health else place, key, now, start_before)

    def stop(self, container: Container, reason: str, now: float) -> None:
        self.containers.unindex(container)
        container.step(Step.STOPPED)
        container.stopping_since = now
        self.containers.put(container)
        self.timers.cancel((PoolTimer.IDLE, container.id))
        self.emit(StopContainer(container.id, reason))

    def gone(self, container: Container) -> None:
        self.containers.drop(container)
        container.step(Step.GONE)
        self.timers.cancel((PoolTimer.IDLE, container.id))
        self.capacity.release(container.id)

    # -- room

    def ask(self, shape: ContainerShape) -> Ask:
        """What one container of the shape needs, with what the cluster adds to it."""
        return self.settings.ask(shape).plus(self.additions.of(shape))

    def find(self, shape: ContainerShape, avoid: Having[str] = ()) -> Slot | None:
        """Where a container of the shape fits now, on none of the nodes `avoid`."""
        return self.capacity.find(self.ask(shape), self.settings.constraints_of(shape), avoid)

    def find_for(self, waiting: Waiting) -> Slot | None:
        """Where the run's container fits now, whatever else hinders its start."""
        others = self.aside_of_others(waiting)
        return self.find(waiting.shape, () if others is None else (others,))

    # -- the node that is set aside

    def draining_agent(self) -> str | None:
        """The node whose containers take no new runs."""
        return self.aside.slot.agent_id if self.aside is not None and self.aside.draining else None

    def owner(self) -> Waiting | None:
        """The waiting run that a node is set aside for."""
        return self.buffer.by_id.get(self.aside.run_id) if self.aside is not None else None

    def aside_of_others(self, waiting: Waiting) -> str | None:
        """The node that `waiting` may not start on."""
        aside = self.aside
        return aside.slot.agent_id if aside is not None and aside.run_id != waiting.run.run_id else None

    def may_serve(self, container: Container, waiting: Waiting, *, fresh: bool) -> bool:
        """Where containers take no new runs, they still take the one that all this is for, or an older one like it.

        One that has just started (`fresh`) takes what is older than that: the target was chosen without counting on
        its room.
        """
        owner = self.owner()
        if owner is None or container.slot.agent_id != self.draining_agent():
            return True
        if container.shape == owner.shape and container.key in (None, owner.key):
            return True
        return fresh and waiting.place < owner.place

    def set_aside(self, aside: StopRound | None) -> None:
        if self.aside is not None and self.aside.draining:
            self.freed = True
        self.aside = aside
        self.emit_changed(SetAside(aside.slot.agent_id if aside is not None else None))

    def press(self, blocked: bool, after: float, now: float) -> None:
        """Press the feed back while the oldest run is older than `after` seconds and there is no room."""
        oldest = self.buffer.oldest() if blocked else None
        late = oldest is not None and now >= oldest.received_at + after
        self.emit_changed(Backpressure(late))
        if oldest is not None and not late:
            self.timers.set_earliest(PoolTimer.PRESSURE, oldest.received_at + after)

    def explain(self, waiting: Waiting) -> Explanation:
        """Why the run waits: the funnel, and what is being done for it."""
        settings, noun = self.settings, self.capacity.noun
        ask, constraints = self.ask(waiting.shape), settings.constraints_of(waiting.shape)
        found = self.capacity.explain(ask, constraints, self.aside_of_others(waiting) or self.capacity.kept)
        summary = found.summary
        aside = self.aside
        if waiting.covered_by is not None:
            queued = self.queued.get(waiting.covered_by)
            summary = f"container {waiting.covered_by} is starting for it"
            progress = self.capacity.progress_of(waiting.covered_by)
            if queued is not None:
                summary = f"{summary} on {noun} {queued.slot.agent_id}, once containers there have stopped"
            elif progress is not None:
                summary = f"{summary}: {progress}"
        elif not self.capacity.known:
            summary = f"the cluster is not known yet; {summary}"
        elif aside is not None and aside.run_id == waiting.run.run_id:
            doing = "its containers are stopping" if aside.victims else "waiting for its containers to be idle"
            summary = f"{summary}; {noun} {aside.slot.agent_id} is set aside for it, {doing}"
        elif (failed := self.backoff.explain(waiting.shape.start_key)) is not None:
            summary = f"{failed}; {summary}"
        elif self.find_for(waiting) is not None:
            most = f"{settings.max_starts}, {settings.max_starts_on_agent} on one {noun}"
            summary = f"there is room, but the limit of starts under way is reached ({most})"
        elif waiting.room_on is not None:
            summary = f"{summary}; containers on {noun} {waiting.room_on} are stopping for it"
        elif waiting.no_room is not None:
            summary = f"{summary}; {waiting.no_room}"
        if waiting.reason is not None and waiting.reason not in summary:
            summary = f"{summary}; last: {waiting.reason}"
        return msgspec.structs.replace(found, summary=summary)
