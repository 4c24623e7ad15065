"""A container pool on owmesos's scheduler on a virtual cluster: the whole of an invoker but for Kafka and HTTP.

Containers are tasks that run until they are killed; a run lasts as long as it says. After every event the books of
pool and scheduler are checked against themselves, and that the head of the queue can say why it waits; after every
`wait`, that every run can.
"""

from __future__ import annotations

import itertools
from typing import Any

from owmesos.core.ledger import Buffer
from owmesos.core.pool import events as pool_events
from owmesos.core.pool.containers import ContainerShape, PoolAction
from owmesos.core.pool.pool import Pool
from owmesos.core.pool.settings import PoolSettings
from owmesos.mesos.container_factory import PooledScheduler
from owmesos.mesos.messages import TaskInfo
from owmesos.mesos.scheduler.launch import Launch
from owmesos.mesos.scheduler.scheduler import Scheduler
from owmesos.mesos.scheduler.settings import Settings
from owmesos.simulator.agent.plays import Play, from_command
from owmesos.simulator.agent.runs import TaskRun
from owmesos.simulator.master.settings import MasterSettings
from owmesos.simulator.virtual import VirtualCluster
from owmesos.testing.virtual_scheduler import VirtualScheduler
from tests.core.pool.invariants import check_pooled

INIT_TAKES = 0.2
CONNECT_TAKES = 1.0  # to learn that a container does not answer
STARTS_AFTER = 1.0
STOP_TAKES = 1.0
CONTAINER = "container"


class _WatchedPool(Pool):
    """`log`: what it wanted, and when."""

    log: list[tuple[float, pool_events.PoolEffect]]

    def handle(self, event: object, now: float) -> list[pool_events.PoolEffect]:
        wanted = super().handle(event, now)
        self.log += [(now, effect) for effect in wanted]
        return wanted


class Invoker:
    """`given`: the container that a run has or had last; `ended`: why a run failed, or None when it did not."""

    def __init__(
        self,
        cluster: VirtualCluster,
        *,
        pool: PoolSettings | None = None,
        settings: Settings | None = None,
        stop_takes: dict[int, float] | None = None,
    ) -> None:
        """`stop_takes` in seconds, by the container's memory, where it is not the usual."""
        self.cluster = cluster
        self.given: dict[str, str] = {}
        self.ended: dict[str, str | None] = {}
        self.log: list[tuple[float, pool_events.PoolEffect]] = []
        self._settings = pool or PoolSettings()
        self._stop_takes = stop_takes or {}
        self._lasts: dict[str, float] = {}
        self._running: dict[str, str] = {}
        self.driven = VirtualScheduler(
            cluster,
            settings=settings or Settings(buffer=Buffer(share=0.0), refuse_oversized=False),
            roles=("openwhisk",),
            on_top=self._on_top,
            on_effect=self._effect,
        )
        self.driven.observers.append(self._check)

    def _on_top(self, scheduler: Scheduler) -> PooledScheduler:
        self.pool = _WatchedPool(scheduler.state.capacity, self._settings)
        self.pool.log = self.log
        self.pooled = PooledScheduler(scheduler, self.pool, self._launch)
        return self.pooled

    def _launch(self, start: pool_events.StartContainer) -> Launch:
        return Launch(
            name=CONTAINER,
            command="serve",
            cpus=start.ask.milli_cpus / 1000,
            mem=start.ask.milli_mem / 1000,
            ports=start.ask.ports,
            kill_grace=self._stop_takes.get(start.shape.memory, STOP_TAKES),
            deadline=60.0,
        )

    # -- what a test asks

    def run(self, name: str = "a", memory: int = 256, *, lasts: float = 0.1) -> str:
        """An activation comes; it lasts so many seconds once it has a container."""
        run_id = f"r{len(self._lasts) + 1}"
        self._lasts[run_id] = lasts
        self.driven.handle(
            pool_events.Run(run_id, PoolAction(name, "0.0.1", ContainerShape("python:3", memory)), "guest")
        )
        return run_id

    def wait(self, seconds: float) -> None:
        self.cluster.run(seconds)
        for waiting in self.pool.state.buffer:
            self._is_explained(waiting.run.run_id)

    def wanted(self, kind: type[pool_events.PoolEffect]) -> list[Any]:
        """What the pool wanted of one kind so far."""
        return [effect for _, effect in self.log if isinstance(effect, kind)]

    def times(self, kind: type[pool_events.PoolEffect]) -> list[float]:
        """When it wanted it."""
        return [when for when, effect in self.log if isinstance(effect, kind)]

    def states(self) -> list[str]:
        return [container.state.value for container in self.pool.containers]

    def agent_of(self, container_id: str) -> str:
        """The name of the machine that it is on."""
        agent_id = self.driven.scheduler.state.launches[container_id].agent_id
        return next(name for name, place in self.cluster.world.places.items() if place.agent.id == agent_id)

    def tasks(self) -> list[TaskRun]:
        """What the agents have, whether anyone can reach them or not."""
        return [run for place in self.cluster.world.places.values() for run in place.agent.runs.values()]

    def why(self, run_id: str) -> str:
        explanation = self.pool.explain(run_id)
        assert explanation is not None, f"{run_id} does not wait"
        return explanation.summary

    def nothing_is_left(self) -> None:
        """No run, container, reservation, offer or task."""
        state, master = self.driven.scheduler.state, self.cluster.world.master
        assert master is not None
        assert self.ended.keys() == self._lasts.keys(), "a run has no end"
        assert self.states() == []
        assert not self.pool.state.running
        assert not state.queue
        assert not state.ledger.reservations.by_launch, "all is quiet, and there are reservations"
        assert not state.offers.outstanding
        assert not master.books.offers, "offers are out and nobody wants them"
        assert self.tasks() == []

    # -- what the pool wants

    def _effect(self, effect: Any) -> None:
        if isinstance(effect, pool_events.Dispatch):
            self._dispatch(effect)
        elif isinstance(effect, pool_events.RunFailed):
            assert effect.message
            self.ended[effect.run_id] = effect.message
        elif isinstance(effect, pool_events.ContainerStopped):
            agenda = self.cluster.world.agenda
            for run_id in [run_id for run_id, where in self._running.items() if where == effect.container_id]:
                agenda.after(0.0, self._over, run_id, effect.container_id, "its container is gone")

    def _dispatch(self, effect: pool_events.Dispatch) -> None:
        run_id, container_id, agenda = effect.run_id, effect.container_id, self.cluster.world.agenda
        assert run_id not in self._running, f"{run_id} runs twice"
        assert run_id not in self.ended, f"{run_id} runs again after its end"
        self.given[run_id] = container_id
        self._running[run_id] = container_id
        if not self._answers(container_id):
            agenda.after(CONNECT_TAKES, self._not_there, run_id, container_id)
            return
        takes = INIT_TAKES if effect.initialize else 0.0
        if effect.initialize:
            agenda.after(takes, self._told, pool_events.Initialized(container_id))
        agenda.after(takes + self._lasts[run_id], self._over, run_id, container_id, None)

    def _answers(self, container_id: str) -> bool:
        task_id = self.driven.scheduler.state.launches[container_id].task_id
        return any(
            place.agent.up and not place.frozen and run.task_id == task_id and run.state == "TASK_RUNNING"
            for place in self.cluster.world.places.values()
            for run in place.agent.runs.values()
        )

    def _told(self, event: object) -> None:
        self.driven.handle(event)

    def _not_there(self, run_id: str, container_id: str) -> None:
        if self._running.get(run_id) == container_id:
            del self._running[run_id]
            self._told(pool_events.Reschedule(container_id, run_id))

    def _over(self, run_id: str, container_id: str, lost: str | None) -> None:
        if self._running.get(run_id) == container_id:
            del self._running[run_id]
            self.ended[run_id] = lost
            self._told(pool_events.RunDone(container_id, run_id, reuse=lost is None))

    def _check(self, event: object) -> None:
        check_pooled(self.pooled)
        # The head alone: of all that wait, explanations would be three quarters of a test's time.
        for waiting in itertools.islice(self.pool.state.buffer, 1):
            self._is_explained(waiting.run.run_id)

    def _is_explained(self, run_id: str) -> None:
        assert self.why(run_id), f"nobody knows why {run_id} waits"


def cluster(agents: int = 2, memory: int = 1024, *, seed: int = 0, masters: int = 1) -> VirtualCluster:
    """Machines with so many MB each, where containers take a second to start and one to stop."""
    return VirtualCluster(
        agents,
        resources=f"cpus:8;mem:{memory};disk:1000;ports:[31000-31099]",
        seed=seed,
        masters=masters,
        settings=MasterSettings(agent_reregister_timeout=60.0),
        play=_play,
    )


def _play(info: TaskInfo) -> Play:
    if info.name.startswith(CONTAINER):
        return Play(starts_after=STARTS_AFTER, obeys=False)
    return from_command(info)
