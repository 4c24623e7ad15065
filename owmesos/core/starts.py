"""Starts that are under way: how many there may be, and which waiting runs they cover.

A start covers as many waiting runs of one action as its container will take at once, so that no second one is started
for them. When a covered run is served by another container, the start covers the oldest bare run of its shape instead.
"""

from __future__ import annotations

from itertools import islice

from owmesos.core.containers import ActionKey, Container, Shape
from owmesos.core.placement import Slot
from owmesos.core.pool_books import PoolBooks
from owmesos.core.pool_events import StartContainer
from owmesos.core.run_buffer import Waiting


class Starts:
    """Decides on the books."""

    def __init__(self, books: PoolBooks, prefix: str) -> None:
        self._books = books
        self._prefix = prefix
        self._count = 0
        self._counting: dict[str, tuple[float, str]] = {}  # container id → until when it counts, its agent
        self._covers: dict[str, list[Waiting]] = {}
        self._for_key: dict[ActionKey, dict[str, None]] = {}
        self._free: dict[Shape, dict[str, Container]] = {}  # starts that cover nothing

    # -- throttle

    def may_start(self, now: float, *, share: float = 1.0) -> bool:
        """Whether `max_starts` (or a share of it) allows one more. A start over its time no longer counts."""
        over = [container_id for container_id, (until, _) in self._counting.items() if until <= now]
        for container_id in over:
            del self._counting[container_id]
        if self._counting:
            self._books.timers.set("starts", min(until for until, _ in self._counting.values()))
        return len(self._counting) < self._books.settings.max_starts * share

    def avoided(self, agent_id: str | None) -> set[str]:
        """Agents that get no start now: `agent_id`, and those that have enough under way."""
        per_agent: dict[str, int] = {}
        for _, agent in self._counting.values():
            per_agent[agent] = per_agent.get(agent, 0) + 1
        most = self._books.settings.max_starts_on_agent
        avoided = {agent for agent, count in per_agent.items() if count >= most}
        if agent_id is not None:
            avoided.add(agent_id)
        return avoided

    # -- starting

    def start(
        self,
        shape: Shape,
        slot: Slot,
        now: float,
        *,
        for_run: Waiting | None = None,
        prewarm: bool = False,
        replaces: bool = False,
    ) -> Container:
        """Reserve the room and start. `replaces`: it starts where others were stopped for it."""
        books = self._books
        self._count += 1
        ask = books.settings.ask(shape)
        container = Container(
            f"{self._prefix}{self._count}", shape, ask, slot, now, last_used=now, prewarm=prewarm, replaces=replaces
        )
        books.capacity.reserve(container.id, slot, ask, now)
        books.containers.put(container)
        agent_id = slot.agent_id
        if not books.capacity.credits_stops:
            self._counting[container.id] = (now + books.settings.counts_as_start(shape), agent_id)
        books.emit(StartContainer(container.id, shape, slot, ask, books.settings.constraints_of(shape), prewarm))
        if for_run is not None:
            self._cover(container, for_run)
        else:
            self._free.setdefault(shape, {})[container.id] = container
        return container

    def ended(self, container: Container) -> None:
        """It no longer starts."""
        self._counting.pop(container.id, None)
        same = self._free.get(container.shape)
        if same is not None and same.pop(container.id, None) is not None and not same:
            del self._free[container.shape]

    def refused(self, container: Container, reason: str) -> list[Waiting]:
        """It will not come; the runs that it covered wait on. They are returned."""
        self.ended(container)
        covered = self.uncover(container.id)
        for waiting in covered:
            waiting.reason = reason
        return covered

    def failed(self, container: Container, reason: str) -> list[Waiting]:
        """The same, and it counts against the runs that it covered."""
        covered = self.refused(container, reason)
        for waiting in covered:
            waiting.attempts += 1
        return covered

    # -- coverage

    def share(self, waiting: Waiting) -> None:
        """A run has begun to wait: a start that is under way may cover it."""
        for container_id in self._for_key.get(waiting.key, ()):
            covered = self._covers[container_id]
            if len(covered) < waiting.run.action.concurrency:
                covered.append(waiting)
                self._books.buffer.cover(waiting, container_id)
                return
        same = self._free.get(waiting.shape)
        if same:
            self._cover(next(iter(same.values())), waiting)

    def served(self, waiting: Waiting) -> None:
        """The run got a container, or is over: what started for it covers another one. It has left the buffer."""
        container_id, waiting.covered_by = waiting.covered_by, None
        if container_id is None:
            return
        covered = self._covers[container_id]
        covered.remove(waiting)
        container = self._books.containers.starting.get(container_id)
        if covered:
            if container is not None:
                self._fill(container, waiting)
            return
        self._forget(container_id, waiting.key)
        if container is None:
            return
        other = self._books.buffer.bare_of_shape(container.shape)
        if other is not None:
            self._cover(container, other)
        else:
            self._free.setdefault(container.shape, {})[container_id] = container

    def uncover(self, container_id: str) -> list[Waiting]:
        """It starts no more: the runs that it still covers are bare, unless a free start takes them."""
        covered = list(self._covers.get(container_id, ()))
        if covered:
            self._forget(container_id, covered[0].key)
        for waiting in covered:
            self._books.buffer.uncover(waiting)
        for waiting in covered:
            if waiting.covered_by is None:
                self.share(waiting)
        return covered

    def _cover(self, container: Container, waiting: Waiting) -> None:
        same = self._free.get(container.shape)
        if same is not None and same.pop(container.id, None) is not None and not same:
            del self._free[container.shape]
        self._for_key.setdefault(waiting.key, {})[container.id] = None
        self._covers[container.id] = [waiting]
        self._books.buffer.cover(waiting, container.id)
        self._fill(container, waiting)

    def _fill(self, container: Container, like: Waiting) -> None:
        """Its container will take several runs of the action at once: it covers as many."""
        covered = self._covers[container.id]
        room = like.run.action.concurrency - len(covered)
        if room > 0:
            for other in list(islice(self._books.buffer.bare_of_key(like.key), room)):
                covered.append(other)
                self._books.buffer.cover(other, container.id)

    def _forget(self, container_id: str, key: ActionKey) -> None:
        self._covers.pop(container_id, None)
        same = self._for_key.get(key)
        if same is not None:
            same.pop(container_id, None)
            if not same:
                del self._for_key[key]
