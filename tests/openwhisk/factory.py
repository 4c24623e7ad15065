"""Mesos as the container factory: a pool and a scheduler as one, against the simulator, in virtual time."""

from __future__ import annotations

import itertools
from typing import Any

from owmesos.core.pool.containers import PoolAction
from owmesos.core.pool.events import Dispatch, PoolEffect, Reschedule, Run, RunDone, RunFailed
from owmesos.core.pool.pool import Pool
from owmesos.core.pool.settings import PoolSettings
from owmesos.mesos.container_factory import PooledScheduler, launch_of
from owmesos.mesos.messages import Accept, Event, TaskInfo
from owmesos.mesos.scheduler.effects import Effect
from owmesos.mesos.scheduler.settings import Settings
from owmesos.openwhisk.container_specs import Launching, LaunchSettings
from owmesos.openwhisk.executable import Executable
from owmesos.openwhisk.manifest import Manifest
from owmesos.simulator.protocol import AgentDescription
from tests.core.pool.invariants import check_pooled
from tests.model.checks import Checks
from tests.model.scene import NO_BUFFER
from tests.model.shadow import tasks_of
from tests.model.world import World


class _Joined:
    """For the world it is the scheduler; what it is given goes to both."""

    def __init__(self, pooled: PooledScheduler) -> None:
        self._pooled = pooled

    def handle(self, event: Event, now: float) -> list[Any]:
        return self._pooled.handle(event, now)

    def next_wake(self) -> float | None:
        return self._pooled.next_wake()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pooled.scheduler, name)


class _FactoryChecks(Checks):
    """While the pool waits for room, offers are wanted and held though no launch waits: only the books are checked."""

    def after(self, event: Event, effects: list[Effect], *, all_taken: bool) -> None:
        if isinstance(self._world, FactoryWorld):
            check_pooled(self._world.pooled)


class FactoryWorld(World):
    """`given` says which container a run got, `failed` why it got none."""

    def __init__(self, manifest: Manifest, *agents: AgentDescription, settings: LaunchSettings | None = None) -> None:
        self._launching = Launching(settings or LaunchSettings(), manifest)
        self._pool_settings = PoolSettings(
            constraints=(settings or LaunchSettings()).parsed_constraints(),
            blackbox_constraints=(settings or LaunchSettings()).parsed_blackbox_constraints(),
        )
        self.given: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self._numbers = itertools.count(1)
        super().__init__(agents, settings=Settings(buffer=NO_BUFFER))
        self.wait(self.settings.settle + 1.0)
        self.sent.clear()

    def _start(self) -> None:
        super()._start()
        self.pool = Pool(self.scheduler.state.capacity, self._pool_settings)
        self.pooled = PooledScheduler(self.scheduler, self.pool, lambda start: launch_of(self._launching(start)))
        self.scheduler = _Joined(self.pooled)  # type: ignore[assignment]
        self.checks = _FactoryChecks(self)

    def run(self, of: Executable | PoolAction) -> str:
        run_id = f"r{next(self._numbers)}"
        action = of.for_pool() if isinstance(of, Executable) else of
        self.handle(Run(run_id, action, "guest"))  # type: ignore[arg-type]
        return run_id

    def done(self, run_id: str, *, reuse: bool = True) -> None:
        self.handle(RunDone(self.given[run_id], run_id, reuse))  # type: ignore[arg-type]

    def unusable(self, run_id: str, why: str = "no proof") -> None:
        """The container that the run got runs, and cannot be used."""
        self.handle(Reschedule(self.given[run_id], run_id, why, failed_start=True))  # type: ignore[arg-type]

    def tasks(self) -> list[TaskInfo]:
        """All that were launched, in order."""
        return [info for accept in self.calls(Accept) for info in tasks_of(accept)]  # type: ignore[arg-type]

    def states(self) -> list[str]:
        return [container.state.value for container in self.pool.containers]

    def _carry_out(self, effects: list[Effect]) -> list[Event] | None:
        mine = [effect for effect in effects if isinstance(effect, PoolEffect)]
        for effect in mine:
            if isinstance(effect, Dispatch):
                self.given[effect.run_id] = effect.container_id
            elif isinstance(effect, RunFailed):
                self.failed[effect.run_id] = effect.message
        return super()._carry_out([effect for effect in effects if not isinstance(effect, PoolEffect)])
