"""One run on Mesos: one setting, on one workload and one cluster, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from owmesos.core.ledger import Buffer
from owmesos.core.pool import events as pool_events
from owmesos.core.pool.containers import ContainerShape
from owmesos.core.pool.pool import Pool
from owmesos.core.pool.settings import PoolSettings
from owmesos.mesos.container_factory import PooledScheduler
from owmesos.mesos.messages import TaskInfo
from owmesos.mesos.scheduler.launch import Launch
from owmesos.mesos.scheduler.scheduler import Scheduler
from owmesos.mesos.scheduler.settings import Settings
from owmesos.simulator.agenda import Agenda
from owmesos.simulator.agent.plays import Play, from_command
from owmesos.simulator.master.settings import MasterSettings
from owmesos.simulator.virtual import VirtualCluster
from owmesos.sizing.meter import MesosBooks, Meter, Outcome
from owmesos.sizing.runs import Arrivals, InvokerRuns
from owmesos.sizing.surroundings import AGENT_CPUS, AGENT_MB, Change, Foreign, Surroundings
from owmesos.sizing.user_memory import SETTINGS as FIXED_SETTINGS
from owmesos.sizing.user_memory import FixedFactory, UserMemory
from owmesos.sizing.workload import Function, Invocation
from owmesos.testing.virtual_process import Decisions
from owmesos.testing.virtual_scheduler import VirtualScheduler

CONTAINER_TAKES = 1.0  # seconds from a task's start to a container that answers (OpenWhisk #3621: 0.7 to 1.3)
STOP_TAKES = 1.0
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


class WatchedPool(Pool):
    """Shows a meter what goes in and out."""

    meter: Meter

    def handle(self, event: object, now: float) -> list[pool_events.PoolEffect]:
        self.meter.told(event)
        wanted = super().handle(event, now)
        self.meter.wanted(wanted)
        return wanted


class Trial:
    """Carries out what a pool wants: containers take their time."""

    def __init__(
        self,
        setting: Setting,
        functions: list[Function],
        activations: list[Invocation],
        around: Surroundings,
        seed: int,
        *,
        judged: bool = True,
    ) -> None:
        """Unless `judged`, starts are counted without a look at the cluster's books, and nothing is sampled."""
        self._setting = setting
        self._activations = activations
        self._around = around
        self._judged = judged
        self._launches: dict[ContainerShape, Launch] = {}
        self._dead: set[str] = set()  # agent ids
        self.cluster = VirtualCluster(
            len(around.machines),
            resources=f"cpus:{AGENT_CPUS};mem:{AGENT_MB};disk:100000;ports:[31000-31999]",
            attributes="",
            seed=seed,
            settings=MasterSettings(agent_ping_timeout=15.0, max_agent_ping_timeouts=5),
            play=_play,
        )
        agenda, self._outcome = self.cluster.world.agenda, Outcome()
        self._runs = InvokerRuns(agenda, functions, activations, self._outcome, self._tell, self._is_there)
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
        launches = scheduler.state.launches
        self._books = MesosBooks(self.cluster)
        self.meter = Meter(
            self._books,
            lambda launch: launch in launches and launches[launch].state.waiting,
            judging=self._judged,
            outcome=self._outcome,
        )
        if self._setting.user_memory is None:
            self.pool = WatchedPool(scheduler.state.capacity, PoolSettings(max_starts=self._setting.max_starts))
            self.pool.meter = self.meter
            return PooledScheduler(scheduler, self.pool, self._launch)
        around = self._around
        memory = UserMemory(around.start_mb if self._setting.user_memory == "start" else around.least_mb)
        self.pool = WatchedPool(memory.capacity, FIXED_SETTINGS)
        self.pool.meter = self.meter
        return FixedFactory(scheduler, self.pool, self._launch, memory)

    def _tell(self, event: pool_events.PoolEvent) -> None:
        self.driven.handle(event)

    def _effect(self, effect: Any) -> None:
        self._runs.effect(effect)

    def _launch(self, start: pool_events.StartContainer) -> Launch:
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
        happen_around(self._around, agenda, self.start, self._change, self._foreign)
        Arrivals(agenda, self.start, self._activations, self._runs.arrive)
        if self._judged:
            each_second(agenda, self.start + seconds, self._sample)
        self.cluster.run(seconds)
        self.cluster.run_until(self.cluster.now + DRAIN, lambda: not self._runs.waiting)
        return self._outcome

    def _sample(self) -> None:
        info = self.driven.scheduler.state.info
        self._books.framework_id = info.id.value if info.id is not None else None
        self.meter.sample(self.cluster.now - self.start, self._runs.busy, len(self.pool.state.buffer))

    def _is_there(self, container_id: str) -> bool:
        return self.driven.scheduler.state.launches[container_id].agent_id not in self._dead

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
        self._runs.break_off()

    def _foreign(self, task: Foreign) -> None:
        launch = Launch(
            name=FOREIGN, command=f"sleep {task.seconds:.3f}", cpus=task.mem / AGENT_MB, mem=task.mem, deadline=60.0
        )
        self.neighbour.submit(launch)


def happen_around(
    around: Surroundings,
    agenda: Agenda,
    start: float,
    change: Callable[[Change], None],
    foreign: Callable[[Foreign], None],
) -> None:
    for each in around.changes:
        agenda.at(start + each.at, change, each)
    for task in around.foreign:
        agenda.at(start + task.at, foreign, task)


def each_second(agenda: Agenda, until: float, sample: Callable[[], None]) -> None:
    def look() -> None:
        sample()
        if agenda.now + 1.0 <= until:
            agenda.after(1.0, look)

    agenda.after(1.0, look)


def _play(info: TaskInfo) -> Play:
    if info.name.startswith(FOREIGN):
        return from_command(info)
    return Play(starts_after=CONTAINER_TAKES, obeys=False)
