"""An invoker on a simulated Mesos whose machines leave and come, in virtual time. Several may share a cluster."""

from __future__ import annotations

from collections.abc import Sequence

from owmesos.core.ledger import Buffer
from owmesos.core.pool import events as pool_events
from owmesos.core.pool.containers import ContainerShape
from owmesos.core.pool.settings import PoolSettings
from owmesos.mesos.container_factory import PooledScheduler
from owmesos.mesos.messages import TaskInfo
from owmesos.mesos.scheduler.launch import Launch
from owmesos.mesos.scheduler.scheduler import Scheduler
from owmesos.mesos.scheduler.settings import Settings
from owmesos.resources import MILLI
from owmesos.simulator import notation
from owmesos.simulator.agent.plays import Play, from_command
from owmesos.simulator.master.settings import MasterSettings
from owmesos.simulator.protocol import AgentDescription
from owmesos.simulator.virtual import VirtualCluster
from owmesos.sizing.meter import MesosBooks, Meter, Outcome, WatchedPool
from owmesos.sizing.runs import CONTAINER_TAKES, STOP_TAKES, InvokerRuns
from owmesos.sizing.surroundings import FOREIGN, Change, Machine, Surroundings
from owmesos.sizing.user_memory import SETTINGS as FIXED_SETTINGS
from owmesos.sizing.user_memory import FixedFactory, UserMemory
from owmesos.sizing.workload import Function, Invocation
from owmesos.testing.virtual_process import Decisions
from owmesos.testing.virtual_scheduler import VirtualScheduler

SMALLEST = 128  # MB; a machine has a port for each container of that size, and at least 1,000
TASK_LAUNCH = 45.0  # whisk.mesos.timeouts.task-launch


class ChangingMesos:
    """A simulated Mesos, with the machines that are there at the start."""

    def __init__(self, around: Surroundings, seed: int) -> None:
        self.cluster = VirtualCluster(
            [_agent(number, machine) for number, machine in enumerate(around.machines, 1)],
            seed=seed,
            settings=MasterSettings(agent_ping_timeout=15.0, max_agent_ping_timeouts=5),
            play=_play,
        )
        self._dead: set[str] = set()  # agent ids
        for name in around.absent:
            self.change(Change(0.0, name, up=False, removed=True))
        self.cluster.run(1.0)

    def change(self, change: Change) -> None:
        """`InvokerRuns.break_off` is for the caller."""
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

    def is_dead(self, agent_id: str | None) -> bool:
        """Whether the machine of that agent was stopped; one that came back has another agent."""
        return agent_id in self._dead


class MesosInvoker:
    """A pool on a scheduler of its own, its runs, and the meter that looks on."""

    def __init__(
        self,
        mesos: ChangingMesos,
        role: str,
        functions: Sequence[Function],
        invocations: Sequence[Invocation],
        *,
        buffer: float,
        pool_settings: PoolSettings | None = None,
        user_memory: int | None = None,
        judged: bool = True,
        seed: int = 0,
    ) -> None:
        """`buffer`: a share of each agent's memory. With `user_memory`, in MB, that decides on room, and
        `pool_settings` are not used. Unless `judged`, starts are counted without a look at the cluster's books."""
        self.outcome = Outcome()
        self._mesos = mesos
        self._pool_settings = pool_settings or PoolSettings()
        self._user_memory = user_memory
        self._judged = judged
        self._books = MesosBooks(mesos.cluster)
        self._launches: dict[ContainerShape, Launch] = {}
        agenda = mesos.cluster.world.agenda
        self.runs = InvokerRuns(agenda, functions, invocations, self.outcome, self._tell, self._is_there)
        self._driven = VirtualScheduler(
            mesos.cluster,
            settings=Settings(buffer=Buffer(share=buffer), refuse_oversized=False),
            roles=(role,),
            durable=False,
            seed=seed,
            on_top=self._on_top,
            on_effect=self.runs.effect,
        )

    def _on_top(self, scheduler: Scheduler) -> Decisions:
        launches = scheduler.state.launches
        memory = UserMemory(self._user_memory) if self._user_memory is not None else None
        if memory is None:
            self._pool = WatchedPool(scheduler.state.capacity, self._pool_settings)
        else:
            self._pool = WatchedPool(memory.capacity, FIXED_SETTINGS)
        self._pool.meter = Meter(
            self._books,
            lambda launch: launch in launches and launches[launch].state.waiting,
            judging=self._judged,
            outcome=self.outcome,
        )
        if memory is None:
            return PooledScheduler(scheduler, self._pool, self._launch)
        return FixedFactory(scheduler, self._pool, self._launch, memory)

    def sample(self, at: float) -> None:
        info = self._driven.scheduler.state.info
        self._books.framework_id = info.id.value if info.id is not None else None
        self._pool.meter.sample(at, self.runs.busy, len(self._pool.state.buffer))

    def _tell(self, event: pool_events.PoolEvent) -> None:
        self._driven.handle(event)

    def _is_there(self, container_id: str) -> bool:
        return not self._mesos.is_dead(self._driven.scheduler.state.launches[container_id].agent_id)

    def _launch(self, start: pool_events.StartContainer) -> Launch:
        launch = self._launches.get(start.shape)
        if launch is None:
            launch = self._launches[start.shape] = Launch(
                name="action",
                command="serve",
                cpus=start.ask.milli_cpus / MILLI,
                mem=start.ask.milli_mem / MILLI,
                ports=start.ask.ports,
                kill_grace=STOP_TAKES,
                deadline=TASK_LAUNCH,
            )
        return launch


def _agent(number: int, machine: Machine) -> AgentDescription:
    ports = max(1_000, machine.mem // SMALLEST)
    total = f"cpus:{machine.cpus:g};mem:{machine.mem};disk:100000;ports:[31000-{min(30_999 + ports, 65_535)}]"
    ip = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    return AgentDescription(machine.name, f"agent-{number}.example.org", ip, 5051, notation.resources(total))


def _play(info: TaskInfo) -> Play:
    if info.name.startswith(FOREIGN):
        return from_command(info)
    return Play(starts_after=CONTAINER_TAKES, obeys=False)
