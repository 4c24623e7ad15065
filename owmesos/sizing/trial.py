"""One run on Mesos: one setting, on one workload and one cluster, in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

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
from owmesos.simulator import notation
from owmesos.simulator.agenda import Agenda
from owmesos.simulator.agent.plays import Play, from_command
from owmesos.simulator.master.settings import MasterSettings
from owmesos.simulator.protocol import AgentDescription
from owmesos.simulator.virtual import VirtualCluster
from owmesos.sizing.meter import MesosBooks, Meter, Outcome
from owmesos.sizing.runs import Arrivals, InvokerRuns
from owmesos.sizing.surroundings import AGENT_MB, Change, Foreign, Machine, Surroundings
from owmesos.sizing.user_memory import SETTINGS as FIXED_SETTINGS
from owmesos.sizing.user_memory import FixedFactory, UserMemory
from owmesos.sizing.workload import Function, Invocation
from owmesos.testing.virtual_process import Decisions
from owmesos.testing.virtual_scheduler import VirtualScheduler

CONTAINER_TAKES = 1.0  # seconds from a task's start to a container that answers (OpenWhisk #3621: 0.7 to 1.3)
STOP_TAKES = 1.0
SMALLEST = 128  # MB; a machine has a port for each container of that size, and at least 1,000
TASK_LAUNCH = 45.0  # whisk.mesos.timeouts.task-launch
FOREIGN = "foreign"
FOREIGN_WAITS = 60.0  # seconds; what finds no room for so long is not taken
DRAIN = 120.0  # seconds after the last arrival, and twice an action's time-out: longer than any run may wait
SAMPLES = 7_200  # at most, or one each second


@dataclass(frozen=True)
class Setting:
    """What decides on room: the cluster less a `buffer`, or a fixed user-memory."""

    name: str
    user_memory: int | Literal["start", "least"] | None = None  # MB; or what the cluster has at the start, or least
    buffer: float = 0.0
    max_starts: int = 20

    def memory_on(self, around: Surroundings) -> int | None:
        """Its user-memory in MB, if it has one."""
        known = {"start": around.start_mb, "least": around.least_mb}
        return known[self.user_memory] if isinstance(self.user_memory, str) else self.user_memory


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
        functions: Sequence[Function],
        invocations: Sequence[Invocation],
        around: Surroundings,
        seed: int,
        *,
        judged: bool = True,
        sampled: Callable[[float], None] = lambda at: None,
    ) -> None:
        """Unless `judged`, starts are counted without a look at the cluster's books, and nothing is sampled. `sampled`
        is told how many seconds of the run are over, now and then."""
        self._setting = setting
        self._functions = functions
        self._invocations = invocations
        self._sampled = sampled
        self._around = around
        self._judged = judged
        self._launches: dict[ContainerShape, Launch] = {}
        self._dead: set[str] = set()  # agent ids
        self.cluster = VirtualCluster(
            [_agent(number, machine) for number, machine in enumerate(around.machines, 1)],
            seed=seed,
            settings=MasterSettings(agent_ping_timeout=15.0, max_agent_ping_timeouts=5),
            play=_play,
        )
        agenda, self._outcome = self.cluster.world.agenda, Outcome()
        self._runs = InvokerRuns(agenda, functions, invocations, self._outcome, self._tell, self._is_there)
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
        user_memory = self._setting.memory_on(self._around)
        if user_memory is None:
            self.pool = WatchedPool(scheduler.state.capacity, PoolSettings(max_starts=self._setting.max_starts))
            self.pool.meter = self.meter
            return PooledScheduler(scheduler, self.pool, self._launch)
        memory = UserMemory(user_memory)
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
        Arrivals(agenda, self.start, self._invocations, self._runs.arrive)
        if self._judged:
            repeat(agenda, max(1.0, seconds / SAMPLES), self.start + seconds, self._sample)
        self.cluster.run(seconds)
        drain = DRAIN + 2 * max((each.action.timeout for each in self._functions), default=0.0)
        self.cluster.run_until(self.cluster.now + drain, lambda: not self._runs.waiting)
        return self._outcome

    def _sample(self) -> None:
        info = self.driven.scheduler.state.info
        self._books.framework_id = info.id.value if info.id is not None else None
        at = self.cluster.now - self.start
        self.meter.sample(at, self._runs.busy, len(self.pool.state.buffer))
        self._sampled(at)

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
        cpus, command = max(0.01, task.mem / AGENT_MB), f"sleep {task.seconds:.3f}"
        launch = Launch(name=FOREIGN, command=command, cpus=cpus, mem=task.mem, deadline=FOREIGN_WAITS)
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


def repeat(agenda: Agenda, pause: float, until: float, sample: Callable[[], None]) -> None:
    def look() -> None:
        sample()
        if agenda.now + pause <= until:
            agenda.after(pause, look)

    agenda.after(pause, look)


def _agent(number: int, machine: Machine) -> AgentDescription:
    ports = max(1_000, machine.mem // SMALLEST)
    total = f"cpus:{machine.cpus:g};mem:{machine.mem};disk:100000;ports:[31000-{min(30_999 + ports, 65_535)}]"
    ip = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    return AgentDescription(machine.name, f"agent-{number}.example.org", ip, 5051, notation.resources(total))


def _play(info: TaskInfo) -> Play:
    if info.name.startswith(FOREIGN):
        return from_command(info)
    return Play(starts_after=CONTAINER_TAKES, obeys=False)
