"""One run: one setting, on one workload and one cluster, in virtual time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.overprovisioning.fixed import FixedFactory
from benchmarks.overprovisioning.meter import Meter, Outcome
from benchmarks.overprovisioning.surroundings import AGENT_CPUS, AGENT_MB, Change, Foreign, Surroundings
from benchmarks.overprovisioning.workload import Activation, Function
from owmesos.core import pool_events as pool_of
from owmesos.core.buffer import Buffer
from owmesos.core.capacity import Capacity, FixedCapacity
from owmesos.core.containers import Shape
from owmesos.core.launch import Launch
from owmesos.core.pool import Pool
from owmesos.core.pool_settings import PoolSettings
from owmesos.mesos.container_factory import PooledScheduler
from owmesos.mesos.messages import TaskInfo
from owmesos.mesos.scheduler import Scheduler
from owmesos.mesos.settings import Settings
from owmesos.simulator.agenda import Entry
from owmesos.simulator.agent.plays import Play, from_command
from owmesos.simulator.driving import Decisions, VirtualScheduler
from owmesos.simulator.master.settings import MasterSettings
from owmesos.simulator.virtual import VirtualCluster

CONTAINER_TAKES = 1.0  # seconds from a task's start to a container that answers (OpenWhisk #3621: 0.7 to 1.3)
STOP_TAKES = 1.0
INIT_TAKES = 0.3
CONNECT_TAKES = 1.0  # to learn that a container's machine is not there
TASK_LAUNCH = 45.0  # whisk.mesos.timeouts.task-launch
FOREIGN = "foreign"
DRAIN = 240.0  # seconds after the last arrival: longer than any run may wait


@dataclass(frozen=True)
class Setting:
    """What decides on room: the cluster less a `buffer`, or a fixed user-memory: what it has at the start, or least."""

    name: str
    user_memory: str | None = None  # "start" or "least"
    buffer: float = 0.0
    max_starts: int = 20


SETTINGS = (
    Setting("fixed, start", "start"),
    Setting("fixed, least", "least"),
    Setting("owmesos, buffer 0 %"),
    Setting("owmesos, buffer 2.5 %", buffer=0.025),
    Setting("owmesos, buffer 5 %", buffer=0.05),
    Setting("owmesos, buffer 10 %", buffer=0.1),
)


class _WatchedPool(Pool):
    """Shows a meter what goes in and out."""

    meter: Meter

    def handle(self, event: object, now: float) -> list[pool_of.PoolEffect]:
        self.meter.told(event)
        wanted = super().handle(event, now)
        self.meter.wanted(wanted)
        return wanted


class Trial:
    """Carries out what a pool wants: containers take their time, runs last as long as they were drawn to."""

    def __init__(
        self,
        setting: Setting,
        functions: list[Function],
        activations: list[Activation],
        around: Surroundings,
        seed: int,
        *,
        judged: bool = True,
    ) -> None:
        """Unless `judged`, starts are counted without a look at the cluster's books, and nothing is sampled."""
        self._setting = setting
        self._functions = functions
        self._activations = activations
        self._around = around
        self._judged = judged
        self._launches: dict[Shape, Launch] = {}
        self._running: dict[str, tuple[str, Entry]] = {}  # run → its container, and its end
        self._dead: set[str] = set()  # agent ids
        self._arrived: dict[str, float] = {}
        self._busy = 0
        self._next = 0
        self.cluster = VirtualCluster(
            len(around.machines),
            resources=f"cpus:{AGENT_CPUS};mem:{AGENT_MB};disk:100000;ports:[31000-31999]",
            attributes="",
            seed=seed,
            settings=MasterSettings(agent_ping_timeout=15.0, max_agent_ping_timeouts=5),
            play=_play,
        )
        for name in around.absent:
            self._change(Change(0.0, name, up=False, removed=True))
        self.cluster.run(1.0)
        settings = Settings(buffer=Buffer(share=setting.buffer), refuse_oversized=False)
        self.driven = VirtualScheduler(
            self.cluster,
            settings=settings,
            roles=("openwhisk",),
            durable=False,
            on_top=self._on_top,
            on_effect=self._effect,
        )
        self.neighbour = VirtualScheduler(self.cluster, roles=("others",), durable=False)
        self.cluster.run(10.0)
        self.start = self.cluster.now

    def _on_top(self, scheduler: Scheduler) -> Decisions:
        launches = scheduler.books.launches
        fixed = self._setting.user_memory is not None
        self.meter = Meter(
            self.cluster,
            lambda launch: launch in launches and launches[launch].state.waiting,
            judging=self._judged,
        )
        capacity: Capacity = scheduler.books.capacity
        if fixed:
            around = self._around
            capacity = FixedCapacity(around.start_mb if self._setting.user_memory == "start" else around.least_mb)
        self.pool = _WatchedPool(
            capacity, PoolSettings(start_attempts=1 if fixed else 3, max_starts=self._setting.max_starts)
        )
        self.pool.meter = self.meter
        factory = FixedFactory if fixed else PooledScheduler
        return factory(scheduler, self.pool, self._launch)

    def _launch(self, start: pool_of.StartContainer) -> Launch:
        launch = self._launches.get(start.shape)
        if launch is None:
            ask = start.ask
            launch = self._launches[start.shape] = Launch(
                name="action",
                command="serve",
                cpus=ask.milli_cpus / 1000,
                mem=ask.milli_mem / 1000,
                ports=ask.ports,
                kill_grace=STOP_TAKES,
                deadline=TASK_LAUNCH,
            )
        return launch

    # -- the run

    def run(self, seconds: float) -> Outcome:
        """All of it: arrivals for `seconds`, and then until nothing waits."""
        agenda = self.cluster.world.agenda
        for change in self._around.changes:
            agenda.at(self.start + change.at, self._change, change)
        for task in self._around.foreign:
            agenda.at(self.start + task.at, self._foreign, task)
        self._plan_next()
        if self._judged:
            agenda.after(1.0, self._sample, self.start + seconds)
        self.cluster.run(seconds)
        self.cluster.run_until(self.cluster.now + DRAIN, lambda: not self._arrived)
        return self.meter.outcome

    def _plan_next(self) -> None:
        if self._next < len(self._activations):
            at = self.start + self._activations[self._next].at
            self.cluster.world.agenda.at(at, self._arrive)

    def _arrive(self) -> None:
        activation = self._activations[self._next]
        self._next += 1
        self._plan_next()
        function = self._functions[activation.function]
        run_id = str(activation.number)
        self._arrived[run_id] = self.cluster.now
        self.meter.outcome.activations += 1
        self.driven.handle(pool_of.Run(run_id, function.action, function.namespace))

    def _sample(self, until: float) -> None:
        info = self.driven.scheduler.books.info
        framework_id = info.id.value if info.id is not None else None
        self.meter.sample(self.cluster.now - self.start, framework_id, self._busy, len(self.pool.books.buffer))
        if self.cluster.now + 1.0 <= until:
            self.cluster.world.agenda.after(1.0, self._sample, until)

    # -- what the pool wants

    def _effect(self, effect: Any) -> None:
        if isinstance(effect, pool_of.Dispatch):
            self._dispatch(effect)
        elif isinstance(effect, pool_of.RunFailed):
            outcome = self.meter.outcome
            outcome.failed += 1
            waited = self.cluster.now - self._arrived.pop(effect.run_id)
            outcome.waits.append(waited)
            outcome.latencies.append(waited)

    def _dispatch(self, effect: pool_of.Dispatch) -> None:
        now, agenda, outcome = self.cluster.now, self.cluster.world.agenda, self.meter.outcome
        record = self.driven.scheduler.books.launches[effect.container_id]
        if record.agent_id in self._dead:
            agenda.after(CONNECT_TAKES, self._reschedule, effect)
            return
        activation = self._activations[int(effect.run_id)]
        arrived = self._arrived.pop(effect.run_id)
        init = INIT_TAKES if effect.initialize else 0.0
        outcome.waits.append(now - arrived)
        outcome.latencies.append(now + init - arrived)
        outcome.cold += effect.initialize
        self._busy += self._functions[activation.function].action.shape.memory
        if effect.initialize:
            agenda.after(init, self._initialized, effect.container_id)
        end = agenda.after(init + activation.duration, self._done, effect.run_id)
        self._running[effect.run_id] = (effect.container_id, end)

    def _initialized(self, container_id: str) -> None:
        self.driven.handle(pool_of.Initialized(container_id))

    def _reschedule(self, effect: pool_of.Dispatch) -> None:
        self.driven.handle(pool_of.Reschedule(effect.container_id, effect.run_id))

    def _done(self, run_id: str, *, reuse: bool = True) -> None:
        container_id, end = self._running.pop(run_id)
        end.cancel()
        self._busy -= self._functions[self._activations[int(run_id)].function].action.shape.memory
        self.driven.handle(pool_of.RunDone(container_id, run_id, reuse))

    # -- what happens around

    def _change(self, change: Change) -> None:
        world = self.cluster.world
        if change.up:
            world.start(change.name, fresh=True)
            return
        agent_id = world.places[change.name].agent.id
        assert agent_id is not None
        self._dead.add(agent_id)
        world.kill(change.name)
        if change.removed:
            body = {"type": "MARK_AGENT_GONE", "mark_agent_gone": {"agent_id": {"value": agent_id}}}
            answer = world.operate("MARK_AGENT_GONE", body)
            assert answer.status == 200, answer.text
        self._break_off(agent_id)

    def _break_off(self, agent_id: str) -> None:
        """Runs on a machine that is gone end with it."""
        for run_id, (container_id, _) in list(self._running.items()):
            if self.driven.scheduler.books.launches[container_id].agent_id == agent_id:
                self.meter.outcome.lost += 1
                self._done(run_id, reuse=False)

    def _foreign(self, task: Foreign) -> None:
        launch = Launch(
            name=FOREIGN, command=f"sleep {task.seconds:.3f}", cpus=task.mem / AGENT_MB, mem=task.mem, deadline=60.0
        )
        self.neighbour.submit(launch)


def _play(info: TaskInfo) -> Play:
    if info.name.startswith(FOREIGN):
        return from_command(info)
    return Play(starts_after=CONTAINER_TAKES, obeys=False)
