"""Who goes first, and that nobody is overlooked: judged anew after every event, by looking at everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from owmesos.core.pool.containers import Container, ContainerShape, ContainerState
from owmesos.core.pool.events import ContainerStarted, Dispatch, Run
from owmesos.core.pool.run_buffer import Waiting

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
        state = self._world.pool.state
        if isinstance(event, Run):
            self._arrivals[event.run_id] = (not event.health, len(self._arrivals))
        self._fresh = event.container_id if isinstance(event, ContainerStarted) else None
        self._before = dict(state.buffer.by_id)
        self._draining = None
        if state.aside is not None and state.aside.draining:
            self._draining = (state.aside.slot.agent_id, self._before[state.aside.run_id])

    def older(self, one: str, other: str) -> bool:
        return self._arrivals[one] < self._arrivals[other]

    def dispatch(self, effect: Dispatch) -> None:
        """The oldest that fit goes first, and not onto an agent that is being emptied for another."""
        self._before.pop(effect.run_id, None)
        container = self._world.pool.containers.by_id[effect.container_id]
        if self._draining is not None and self._draining[0] == self._world.aside == container.slot.agent_id:
            self._on_draining(effect, container, self._draining[1])
        elif self._draining is None and self._world.pool.state.aside is None:
            mine = self._arrivals[effect.run_id]
            for waiting in self._before.values():
                like = container.shape == waiting.shape if effect.initialize else container.key == waiting.key
                assert not like or mine < self._arrivals[waiting.run.run_id], "a younger run goes first"

    def _on_draining(self, effect: Dispatch, container: Container, owner: Waiting) -> None:
        like_the_head = container.shape == owner.shape and (effect.initialize or container.key == owner.key)
        older = self._arrivals[effect.run_id] < self._arrivals[owner.run.run_id]
        assert like_the_head or (container.id == self._fresh and older), "a run for a container that takes none"

    def after(self) -> None:
        world, state = self._world, self._world.pool.state
        order = [self._arrivals[waiting.run.run_id] for waiting in state.buffer]
        assert order == sorted(order), "a run lost its place"
        draining = state.aside.slot.agent_id if state.aside is not None and state.aside.draining else None
        ready = self._ready(draining)
        owner = state.aside.run_id if state.aside is not None else None
        launchable: dict[tuple[ContainerShape, bool, bool], bool] = {}  # the same for all that are alike
        for waiting in state.buffer:
            run_id, run = waiting.run.run_id, waiting.run
            latest = waiting.received_at + state.settings.waits_at_most(run)
            assert world.now <= latest + 1e-6, "a run waits longer than it may"
            container_id = ready.get(waiting.shape) or ready.get(waiting.key)
            assert container_id is None, f"{run_id} waits, and {container_id} is ready"
            if waiting.covered_by is None:
                alike = waiting.shape, run.health, run_id == owner
                if alike not in launchable:
                    launchable[alike] = self._launchable(waiting)
                assert not launchable[alike], f"{run_id} waits, and could start"

    def _ready(self, draining: str | None) -> dict[object, str]:
        """Containers that would take a run: prewarmed ones by their shape, the others by the key of their action."""
        return {
            container.shape if container.state is ContainerState.PREWARMED else container.key: container.id
            for container in self._world.pool.containers
            if container.slot.agent_id != draining and (container.state is ContainerState.PREWARMED or container.spare)
        }

    def _rests(self, waiting: Waiting) -> bool:
        """What failed is tried one at a time, and waits in between."""
        world, key = self._world, waiting.shape.start_key
        backoff, trial = world.pool.state.backoff, world.pool.state.settings.trial
        if not backoff.suspected(key):
            return False
        starting = [each for each in world.pool.containers.starting.values() if each.shape.start_key == key]
        tried = any(each.created_at + trial > world.now for each in starting)
        return tried or backoff.launch_pause(key, world.now) is not None

    def _launchable(self, waiting: Waiting) -> bool:
        world, settings = self._world, self._world.pool.state.settings
        ask = settings.ask(waiting.shape)
        if self._rests(waiting):
            return False
        avoided = world.pool.state.backoff.avoided(waiting.shape.start_key, world.now)
        counted = [
            each.slot.agent_id
            for each in world.pool.containers.starting.values()
            if each.created_at + settings.counts_as_start(each.shape) > world.now
        ]
        if len(counted) >= settings.max_starts:
            return False
        aside = world.pool.state.aside
        others = aside.slot.agent_id if aside is not None and aside.run_id != waiting.run.run_id else None
        for agent_id, each in world.agents.items():
            barred = agent_id in avoided.never or agent_id in world.cluster.closed
            if barred or (agent_id == others and not waiting.run.health):
                continue
            if counted.count(agent_id) < settings.max_starts_on_agent and ask.fits(world.ledger.available(each.slot)):
                return True
        return False
