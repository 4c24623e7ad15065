"""Everything that the pool knows, for the parts that decide on it: starts, eviction, prewarming."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from owmesos.core.capacity import Capacity
from owmesos.core.containers import ActionKey, Container, Containers, ContainerState, Shape, Step
from owmesos.core.explanation import Explanation
from owmesos.core.pool_events import PoolEffect, Run, SetAside, StopContainer
from owmesos.core.pool_settings import PoolSettings
from owmesos.core.room_maker import Aside
from owmesos.core.run_buffer import RunBuffer, Waiting
from owmesos.core.timers import Timers
from owmesos.errors import InvariantBroken

_HEALTH_FIRST = -(2**60)


class PoolBooks:
    """`running` maps a run to its container and to what it was in the buffer, for the case that it comes back.

    `freed` says that containers which took no new runs do again. `evicted` is the last eviction for each shape,
    `evictions` counts them all.
    """

    def __init__(self, capacity: Capacity, settings: PoolSettings) -> None:
        self.capacity = capacity
        self.settings = settings
        self.containers = Containers()
        self.buffer = RunBuffer()
        self.timers = Timers()
        self.running: dict[str, tuple[str, Waiting]] = {}
        self.aside: Aside | None = None
        self.freed = False
        self.evicted: dict[Shape, float] = {}
        self.evictions = 0
        self._effects: list[PoolEffect] = []
        self._told: dict[type[PoolEffect], PoolEffect] = {}
        self._next_place = 0

    # -- effects

    def emit(self, effect: PoolEffect) -> None:
        self._effects.append(effect)

    def tell(self, effect: PoolEffect) -> None:
        """Emit it if it says something else than the last of its kind. The first is told when it says yes."""
        last = self._told.get(type(effect))
        if effect == last or (last is None and not any(msgspec.structs.astuple(effect))):
            return
        self._told[type(effect)] = effect
        self._effects.append(effect)

    def take_effects(self) -> list[PoolEffect]:
        effects, self._effects = self._effects, []
        return effects

    # -- runs and containers

    def arrived(self, run: Run, now: float) -> Waiting:
        """The run's place is its for life; a health test stands before all others."""
        place = self._next_place
        self._next_place += 1
        action = run.action
        key = ActionKey(run.namespace, action.name, action.version, action.digest)
        return Waiting(run, place + _HEALTH_FIRST if run.health else place, key, now)

    def stop(self, container: Container, reason: str, now: float) -> None:
        self.containers.lift(container)
        container.step(Step.STOPPED)
        container.stopping_since = now
        self.containers.put(container)
        self.timers.cancel(("idle", container.id))
        self.emit(StopContainer(container.id, reason))
        if self.capacity.credits_stops:
            self.capacity.release(container.id)

    def evict(self, container: Container, run_id: str, now: float) -> None:
        """Stop it to make room for that run."""
        self.evictions += 1
        self.stop(container, f"its room is for run {run_id}", now)

    def gone(self, container: Container) -> None:
        self.containers.drop(container)
        container.step(Step.GONE)
        self.timers.cancel(("idle", container.id))
        self.capacity.release(container.id)

    def overdue_at(self, victims: Collection[str]) -> float | None:
        """When the first of these stops takes too long; None when all of them are over."""
        stopping = self.containers.stopping
        since = min((stopping[each].stopping_since for each in victims if each in stopping), default=None)
        return None if since is None else since + self.settings.stop_wait

    # -- the agent that is set aside

    def draining_agent(self) -> str | None:
        """The agent whose containers take no new runs."""
        return self.aside.slot.agent_id if self.aside is not None and self.aside.draining else None

    def owner(self) -> Waiting | None:
        """The waiting run that an agent is set aside for."""
        return self.buffer.by_id.get(self.aside.run_id) if self.aside is not None else None

    def aside_of_others(self, waiting: Waiting) -> str | None:
        """The agent that `waiting` may not start on."""
        aside = self.aside
        return aside.slot.agent_id if aside is not None and aside.run_id != waiting.run.run_id else None

    def set_aside(self, aside: Aside | None) -> None:
        if self.aside is not None and self.aside.draining:
            self.freed = True
        self.aside = aside
        self.tell(SetAside(aside.slot.agent_id if aside is not None else None))

    def explain(self, waiting: Waiting) -> Explanation:
        """Why the run waits: the funnel, and what is being done for it."""
        settings = self.settings
        ask, constraints = settings.ask(waiting.shape), settings.constraints_of(waiting.shape)
        others = self.aside_of_others(waiting)
        found = self.capacity.explain(ask, constraints, others)
        summary = found.summary
        aside = self.aside
        if waiting.covered_by is not None:
            summary = f"container {waiting.covered_by} is starting for it"
        elif not self.capacity.known:
            summary = f"the cluster is not known yet; {summary}"
        elif aside is not None and aside.run_id == waiting.run.run_id:
            doing = "its containers are stopping" if aside.victims else "waiting for its containers to be idle"
            summary = f"{summary}; agent {aside.slot.agent_id} is set aside for it, {doing}"
        elif self.capacity.find(ask, constraints, () if others is None else (others,)) is not None:
            most = f"{settings.max_starts}, {settings.max_starts_on_agent} on one agent"
            summary = f"there is room, and as many starts are under way as may be ({most})"
        elif waiting.room_on is not None:
            summary = f"{summary}; containers on agent {waiting.room_on} are stopping for it"
        elif waiting.no_room is not None:
            summary = f"{summary}; {waiting.no_room}"
        if waiting.reason is not None:
            summary = f"{summary}; last: {waiting.reason}"
        return msgspec.structs.replace(found, summary=summary)

    # -- invariants

    def validate(self) -> None:
        """All that holds between two events. Raises InvariantBroken."""
        self.containers.validate()
        self.buffer.validate()
        active: dict[str, int] = {}
        for run_id, (container_id, _) in self.running.items():
            if run_id in self.buffer.by_id:
                raise InvariantBroken(f"run {run_id} waits and runs")
            active[container_id] = active.get(container_id, 0) + 1
        for container in self.containers:
            runs = active.get(container.id, 0)
            if container.active != runs:
                raise InvariantBroken(f"container {container.id} has {container.active} runs and {runs} are known")
        for waiting in self.buffer:
            if waiting.covered_by is not None and waiting.covered_by not in self.containers.starting:
                raise InvariantBroken(f"run {waiting.run.run_id} is covered by what does not start")
        aside = self.aside
        if aside is not None:
            if aside.run_id not in self.buffer.by_id:
                raise InvariantBroken("an agent is set aside for a run that does not wait")
            for victim in aside.victims:
                known = self.containers.by_id.get(victim)
                if known is not None and known.state is not ContainerState.STOPPING:
                    raise InvariantBroken(f"victim {victim} of the round is {known.state.value}")
