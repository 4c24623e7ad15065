"""One run on Mesos: one setting, on one workload and one cluster, in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from owmesos.core.pool.settings import PoolSettings
from owmesos.mesos.scheduler.launch import Launch
from owmesos.simulator.agenda import Agenda
from owmesos.sizing.mesos_invoker import ChangingMesos, MesosInvoker
from owmesos.sizing.meter import Outcome
from owmesos.sizing.runs import Arrivals
from owmesos.sizing.surroundings import AGENT_MB, FOREIGN, Change, Foreign, Surroundings
from owmesos.sizing.workload import Function, Invocation
from owmesos.testing.virtual_scheduler import VirtualScheduler

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


class Trial:
    """One invoker with the setting, and a neighbour, on one cluster."""

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
        self._functions = functions
        self._invocations = invocations
        self._sampled = sampled
        self._around = around
        self._judged = judged
        self._mesos = ChangingMesos(around, seed)
        self._cluster = self._mesos.cluster
        self._invoker = MesosInvoker(
            self._mesos,
            "openwhisk",
            functions,
            invocations,
            buffer=setting.buffer,
            pool_settings=PoolSettings(max_starts=setting.max_starts),
            user_memory=setting.memory_on(around),
            judged=judged,
        )
        self._neighbour = VirtualScheduler(self._cluster, roles=("others",), durable=False)
        self._cluster.run(10.0)
        self._start = self._cluster.now

    def run(self, seconds: float) -> Outcome:
        """All of it: arrivals for `seconds`, and then until nothing waits."""
        agenda, runs = self._cluster.world.agenda, self._invoker.runs
        happen_around(self._around, agenda, self._start, self._change, self._foreign)
        Arrivals(agenda, self._start, self._invocations, runs.arrive)
        if self._judged:
            repeat(agenda, max(1.0, seconds / SAMPLES), self._start + seconds, self._sample)
        self._cluster.run(seconds)
        drain = DRAIN + 2 * max((each.action.timeout for each in self._functions), default=0.0)
        self._cluster.run_until(self._cluster.now + drain, lambda: not runs.waiting)
        return self._invoker.outcome

    def _sample(self) -> None:
        at = self._cluster.now - self._start
        self._invoker.sample(at)
        self._sampled(at)

    def _change(self, change: Change) -> None:
        self._mesos.change(change)
        self._invoker.runs.break_off()

    def _foreign(self, task: Foreign) -> None:
        cpus, command = max(0.01, task.mem / AGENT_MB), f"sleep {task.seconds:.3f}"
        launch = Launch(name=FOREIGN, command=command, cpus=cpus, mem=task.mem, deadline=FOREIGN_WAITS)
        self._neighbour.submit(launch)


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
