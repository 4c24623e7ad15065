"""Who goes first, and that nobody is overlooked: judged anew after every event, by looking at everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from owmesos.core.containers import Container, ContainerState
from owmesos.core.pool_events import ContainerStarted, Dispatch, Run
from owmesos.core.run_buffer import Waiting

if TYPE_CHECKING:
    from tests.core.pool.cluster import FakeCluster


class Order:
    """`_draining` is the agent whose containers took no new runs before the event, and for whom."""

    def __init__(self, world: FakeCluster) -> None:
        self._world = world
        self._arrivals: dict[str, tuple[bool, int]] = {}
        self._before: dict[str, Waiting] = {}
        self._draining: tuple[str, Waiting] | None = None
        self._fresh: str | None = None  # the container that has just started

    def before(self, event: object) -> None:
        books = self._world.pool.books
        if isinstance(event, Run):
            self._arrivals[event.run_id] = (not event.health, len(self._arrivals))
        self._fresh = event.container_id if isinstance(event, ContainerStarted) else None
        self._before = dict(books.buffer.by_id)
        self._draining = None
        if books.aside is not None and books.aside.draining:
            self._draining = (books.aside.slot.agent_id, self._before[books.aside.run_id])

    def older(self, one: str, other: str) -> bool:
        return self._arrivals[one] < self._arrivals[other]

    def dispatch(self, effect: Dispatch) -> None:
        """The oldest that fit goes first, and not onto an agent that is being emptied for another."""
        self._before.pop(effect.run_id, None)
        container = self._world.pool.containers.by_id[effect.container_id]
        if self._draining is not None and self._draining[0] == self._world.aside == container.slot.agent_id:
            self._on_draining(effect, container, self._draining[1])
        elif self._draining is None and self._world.pool.books.aside is None:
            mine = self._arrivals[effect.run_id]
            for waiting in self._before.values():
                like = container.shape == waiting.shape if effect.initialize else container.key == waiting.key
                assert not like or mine < self._arrivals[waiting.run.run_id], "a younger run goes first"

    def _on_draining(self, effect: Dispatch, container: Container, owner: Waiting) -> None:
        like_the_head = container.shape == owner.shape and (effect.initialize or container.key == owner.key)
        older = self._arrivals[effect.run_id] < self._arrivals[owner.run.run_id]
        assert like_the_head or (container.id == self._fresh and older), "a run for a container that takes none"

    def after(self) -> None:
        world, books = self._world, self._world.pool.books
        order = [self._arrivals[waiting.run.run_id] for waiting in books.buffer]
        assert order == sorted(order), "a run lost its place"
        draining = books.aside.slot.agent_id if books.aside is not None and books.aside.draining else None
        for waiting in books.buffer:
            latest = waiting.received_at + books.settings.waits_at_most(waiting.run.action)
            assert world.now <= latest + 1e-6, "a run waits longer than it may"
            for container in books.containers:
                if container.slot.agent_id != draining:
                    assert not _ready(container, waiting), f"{waiting.run.run_id} waits, and {container.id} is ready"
            if waiting.covered_by is None:
                assert not self._launchable(waiting), f"{waiting.run.run_id} waits, and could start"

    def _launchable(self, waiting: Waiting) -> bool:
        world, settings = self._world, self._world.pool.books.settings
        ask = settings.ask(waiting.shape)
        if world.fixed is not None:
            return world.fixed.find(ask, ()) is not None
        counted = [
            each.slot.agent_id
            for each in world.pool.containers.starting.values()
            if each.created_at + settings.counts_as_start(each.shape) > world.now
        ]
        if len(counted) >= settings.max_starts:
            return False
        aside = world.pool.books.aside
        others = aside.slot.agent_id if aside is not None and aside.run_id != waiting.run.run_id else None
        for agent_id, each in world.agents.items():
            if agent_id in world.cluster.closed or (agent_id == others and not waiting.run.health):
                continue
            if counted.count(agent_id) < settings.max_starts_on_agent and ask.fits(world.ledger.available(each.slot)):
                return True
        return False


def _ready(container: Container, waiting: Waiting) -> bool:
    """The container would take the run."""
    if container.state is ContainerState.PREWARMED:
        return container.shape == waiting.shape
    return container.spare and container.key == waiting.key
