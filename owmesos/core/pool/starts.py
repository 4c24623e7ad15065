"""Which waiting runs get a container of their own started, and which runs each start under way covers.

In order, and each where it is launchable: the node that is set aside for the head gets no other start, but health
tests when nothing else fits. Runs of one shape fail alike, so one of them is asked for.

A start covers as many waiting runs of one action as its container will take at once, so that no second one is started
for them. When a covered run is served by another container, the start covers the oldest uncovered run of its shape
instead.
"""

from __future__ import annotations

from collections.abc import Set
from itertools import islice
from typing import NamedTuple

from owmesos.core.capacity import Either
from owmesos.core.placement import Slot
from owmesos.core.pool.containers import Container, ContainerShape
from owmesos.core.pool.events import StartContainer
from owmesos.core.pool.run_buffer import Waiting
from owmesos.core.pool.state import PoolState, PoolTimer


class Blocked(NamedTuple):
    """`head` is the run to make room for; `shapes` are those for which there is no room; `started`: whether any start
    began."""

    head: Waiting | None
    shapes: set[ContainerShape]
    started: bool = False


class Starts:
    """Decides on the state."""

    def __init__(self, state: PoolState, prefix: str) -> None:
        self._state = state
        self._prefix = prefix
        self._count = 0
        self._counting: dict[str, tuple[float, str]] = {}  # container id → until when it counts, its node
        self._covers: dict[str, list[Waiting]] = {}  # container id → runs of one action, for each start under way
        self._without_room: dict[ContainerShape, Waiting] = {}  # the oldest run of each shape that found none
        self._throttled_head: tuple[Waiting, bool] | None = None  # the last head, and whether it is
        self._kept: tuple[str | None, tuple[Slot, str] | None] = (None, None)  # when that was asked

    # -- which waiting runs

    def room_may_have_come(self) -> None:
        """Forget which runs found no room: what has happened may have freed some."""
        self._without_room.clear()
        self._throttled_head = None

    def run(self, now: float) -> Blocked:
        """Start what is launchable, in order."""
        candidates = self._state.buffer.uncovered_shapes()
        if not candidates:
            return Blocked(None, set())
        self._forget_if_kept_otherwise()
        blocked: dict[ContainerShape, Waiting] = {}  # the oldest of each shape without room
        count, may_start = self._count, self.may_start(now)
        known, oldest_of = self._without_room, self._state.buffer.uncovered_of_shape
        if may_start and all(
            shape in known and known[shape] is oldest_of(shape) and not self.rests(shape, now) for shape in candidates
        ):
            return Blocked(self._head({shape: known[shape] for shape in candidates}), candidates)
        for waiting in self._state.buffer.uncovered(candidates):
            if not may_start:
                break
            shape = waiting.shape
            if self.rests(shape, now):
                pass
            elif known.get(shape) is waiting:
                blocked[shape] = waiting
            else:
                slot = self.launchable(waiting, now)
                if slot is not None:
                    self.start(shape, slot, now, for_run=waiting, replaces=waiting.rounds > 0)
                    may_start = self.may_start(now)
                    continue
                if not self._in_trouble(waiting, now):
                    blocked[shape] = waiting
                    if not self._time_may_help(waiting, now):
                        known[shape] = waiting
            candidates.discard(shape)
        return Blocked(self._head(blocked), set(blocked), self._count > count)

    def _forget_if_kept_otherwise(self) -> None:
        """Room may come where a node is no longer kept for another run, or launch."""
        aside = self._state.aside
        kept = (self._state.capacity.kept, (aside.slot, aside.run_id) if aside is not None else None)
        if kept != self._kept:
            self._kept = kept
            self.room_may_have_come()

    def launchable(self, waiting: Waiting, now: float) -> Slot | None:
        """The slot where the run's container can start now. A health test gets room set aside only as a last choice."""
        state = self._state
        avoid, last_choice = self.avoided(state.aside_of_others(waiting)), waiting.last_choice
        slot = self.find(waiting.shape, avoid, now, last_choice)
        if slot is None and waiting.run.health and state.aside is not None:
            slot = self.find(waiting.shape, self.avoided(), now, last_choice)
        return slot

    def _in_trouble(self, waiting: Waiting, now: float) -> bool:
        """No room is made for what cannot start, nor for what may start a moment later where there is room."""
        state, shape = self._state, waiting.shape
        if self._is_hopeless(shape, now):
            return True
        if not state.backoff.avoided(shape.start_key, now).last_choice:
            return False
        wakes_at = state.backoff.wakes_at(shape.start_key, now)
        if wakes_at is not None:
            state.timers.set_earliest(PoolTimer.TRIAL, wakes_at)
        return state.find(shape, self.avoided(state.aside_of_others(waiting))) is not None

    def _time_may_help(self, waiting: Waiting, now: float) -> bool:
        """Whether a run that found no room may find some where its shape failed, once that is over."""
        # For other runs `_in_trouble` has looked on those nodes too.
        if not waiting.run.health or self._state.aside is None:
            return False
        return bool(self._state.backoff.avoided(waiting.shape.start_key, now).last_choice)

    def free_aside(self, now: float) -> None:
        """No node is kept for a run whose container cannot start."""
        owner = self._state.owner()
        if owner is not None and self._is_hopeless(owner.shape, now):
            self._state.set_aside(None)

    def _is_hopeless(self, shape: ContainerShape, now: float) -> bool:
        """A kind at fault pauses, or it is a user's image. A kind is tried once in a while, also where all is full:
        else one that was mended would wait for a container that ends by itself.
        """
        fault = self._state.backoff.at_fault(shape.start_key)
        return fault is not None and (shape.image is not None or fault.until > now)

    def _head(self, blocked: dict[ContainerShape, Waiting]) -> Waiting | None:
        """The one that the target is set aside for; else the oldest, health tests last: they may use the target."""
        owner = self._state.owner()
        if owner is not None:
            head = owner if owner.covered_by is None and owner.shape in blocked else None
        else:
            head = min(blocked.values(), key=lambda each: (each.run.health, each.place), default=None)
        return head if head is not None and not self._throttled(head) else None

    def _throttled(self, waiting: Waiting) -> bool:
        """Whether there is room, but enough starts are under way on the nodes that have it."""
        if self._throttled_head is None or self._throttled_head[0] is not waiting:
            self._throttled_head = waiting, bool(self.avoided()) and self._state.find_for(waiting) is not None
        return self._throttled_head[1]

    # -- throttle

    def may_start(self, now: float, *, share: float = 1.0) -> bool:
        """Whether `max_starts` (or a share of it) allows one more. A start over its time no longer counts."""
        over = [container_id for container_id, (until, _) in self._counting.items() if until <= now]
        for container_id in over:
            del self._counting[container_id]
        if self._counting:
            self._state.timers.set(PoolTimer.STARTS, min(until for until, _ in self._counting.values()))
        return len(self._counting) < self._state.settings.max_starts * share

    def avoided(self, agent_id: str | None = None) -> set[str]:
        """Nodes that get no start now: `agent_id`, and those that have enough under way."""
        per_agent: dict[str, int] = {}
        for _, agent in self._counting.values():
            per_agent[agent] = per_agent.get(agent, 0) + 1
        most = self._state.settings.max_starts_on_agent
        avoided = {agent for agent, count in per_agent.items() if count >= most}
        if agent_id is not None:
            avoided.add(agent_id)
        return avoided

    # -- where something failed before

    def rests(self, shape: ContainerShape, now: float) -> bool:
        """Whether none like it starts now: they failed, and are tried one at a time, or not at all for a while."""
        backoff, key = self._state.backoff, shape.start_key
        if not backoff.suspected(key):
            return False
        pause = backoff.launch_pause(key, now)
        wakes_at = [pause.until] if pause is not None else []
        trial = self._state.settings.trial
        tried = (each for each in self._state.containers.starting.values() if each.shape.start_key == key)
        wakes_at += [each.created_at + trial for each in tried if each.created_at + trial > now]
        if wakes_at:
            self._state.timers.set_earliest(PoolTimer.TRIAL, min(wakes_at))
        return bool(wakes_at)

    def find(
        self, shape: ContainerShape, avoid: set[str], now: float, last_choice: Set[str] = frozenset()
    ) -> Slot | None:
        """Where one can start. If it failed, nodes that are known to work come first; nodes where it failed, and
        `last_choice`, are used only if there is no other; some of them get none for a while."""
        state, avoided = self._state, self._state.backoff.avoided(shape.start_key, now)
        for choice in avoided.choices:
            slot = state.find(shape, Either(avoid | last_choice, choice))
            if slot is not None:
                return slot
        return state.find(shape, avoid | avoided.never) if last_choice - avoided.never else None

    # -- starting

    def start(
        self,
        shape: ContainerShape,
        slot: Slot,
        now: float,
        *,
        for_run: Waiting | None = None,
        prewarm: bool = False,
        replaces: bool = False,
        after: tuple[str, ...] = (),
    ) -> Container:
        """Reserve the room and start. `replaces`: it starts where others were stopped for it, or `after` they have."""
        state = self._state
        self._count += 1
        self._throttled_head = None
        ask = state.ask(shape)
        container = Container(
            f"{self._prefix}{self._count}", shape, ask, slot, now, last_used=now, prewarm=prewarm, replaces=replaces
        )
        state.capacity.reserve(container.id, slot, ask, now)
        state.containers.put(container)
        self._counting[container.id] = (now + state.settings.counts_as_start(shape), slot.agent_id)
        constraints = state.settings.constraints_of(shape)
        state.emit(StartContainer(container.id, shape, slot, ask, constraints, prewarm, after))
        self._covers[container.id] = []
        if for_run is not None:
            self._cover(container.id, for_run)
        return container

    def uncover(self, container_id: str) -> list[Waiting]:
        """End a start: the runs that it still covers are uncovered, unless a free start takes them."""
        if self._counting.pop(container_id, None) is not None:
            self.room_may_have_come()  # its node takes one more start
        covered = self._covers.pop(container_id, [])
        for waiting in covered:
            self._state.buffer.uncover(waiting)
        for waiting in covered:
            if waiting.covered_by is None:
                self.share(waiting)
        return covered

    def refused(self, container: Container, reason: str) -> list[Waiting]:
        """Give up a start that will not come. Returns the runs that it covered, which wait on."""
        covered = self.uncover(container.id)
        for waiting in covered:
            waiting.reason = reason
        return covered

    # -- coverage

    def covered(self, container_id: str) -> list[Waiting]:
        """The runs that the start covers now, to be read."""
        return self._covers.get(container_id, [])

    def share(self, waiting: Waiting) -> None:
        """Let a start that is under way cover a run that has begun to wait, if it can."""
        free = None
        for container_id, covered in self._covers.items():
            if not covered:
                container = self._state.containers.starting.get(container_id)
                if free is None and container is not None and container.shape == waiting.shape:
                    free = container_id
            elif covered[0].key == waiting.key and len(covered) < waiting.run.action.concurrency:
                covered.append(waiting)
                self._state.buffer.cover(waiting, container_id)
                return
        if free is not None:
            self._cover(free, waiting)

    def served(self, waiting: Waiting) -> None:
        """The run got a container, or is over: what started for it covers another one. It has left the buffer."""
        container_id, waiting.covered_by = waiting.covered_by, None
        if container_id is None:
            return
        covered = self._covers[container_id]
        covered.remove(waiting)
        if container_id not in self._state.containers.starting:
            return
        if covered:
            self._fill(container_id, waiting)
        elif (other := self._state.buffer.uncovered_of_shape(waiting.shape)) is not None:
            self._cover(container_id, other)

    def _cover(self, container_id: str, waiting: Waiting) -> None:
        self._covers[container_id].append(waiting)
        self._state.buffer.cover(waiting, container_id)
        self._fill(container_id, waiting)

    def _fill(self, container_id: str, like: Waiting) -> None:
        """Cover as many runs of the action as the container will take at once."""
        covered = self._covers[container_id]
        room = like.run.action.concurrency - len(covered)
        if room > 0:
            for other in list(islice(self._state.buffer.uncovered_of_key(like.key), room)):
                covered.append(other)
                self._state.buffer.cover(other, container_id)
