"""An invoker's runs: they come when they were drawn to, and last as long, in the containers that a pool gives them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from owmesos.core.pool import events as pool_events
from owmesos.simulator.agenda import Agenda, AgendaEntry
from owmesos.sizing.meter import Outcome
from owmesos.sizing.workload import Function, Invocation

CONTAINER_TAKES = 1.0  # seconds from a task's start to a container that answers (OpenWhisk #3621: 0.7 to 1.3)
STOP_TAKES = 1.0
INIT_TAKES = 0.3
CONNECT_TAKES = 1.0  # to learn that a container's machine is not there


class InvokerRuns:
    """The runs of one invoker. `tell` gives its pool an event; `is_there` says whether a container's machine runs."""

    def __init__(
        self,
        agenda: Agenda,
        functions: Sequence[Function],
        invocations: Sequence[Invocation],
        outcome: Outcome,
        tell: Callable[[pool_events.PoolEvent], None],
        is_there: Callable[[str], bool],
    ) -> None:
        self.busy = 0  # MB, of containers with a run in them
        self.load = 0  # MB, of all runs that have not ended
        self.waiting: dict[str, float] = {}  # run → when it came
        self._agenda = agenda
        self._functions = functions
        self._invocations = invocations
        self._outcome = outcome
        self._tell = tell
        self._is_there = is_there
        self._running: dict[str, tuple[str, AgendaEntry]] = {}  # run → its container, and its end

    def arrive(self, invocation: Invocation) -> None:
        function = self._functions[invocation.function]
        run_id = str(invocation.number)
        self.waiting[run_id] = self._agenda.now
        self._outcome.activations += 1
        self.load += function.action.shape.memory
        self._tell(pool_events.Run(run_id, function.action, function.namespace))

    def effect(self, effect: Any) -> None:
        """What the pool wants of its invoker."""
        if isinstance(effect, pool_events.Dispatch):
            self._dispatch(effect)
        elif isinstance(effect, pool_events.RunFailed):
            self._outcome.failed += 1
            self.load -= self._memory(effect.run_id)
            waited = self._agenda.now - self.waiting.pop(effect.run_id)
            self._outcome.waits.append(waited)
            self._outcome.latencies.append(waited)

    def _dispatch(self, effect: pool_events.Dispatch) -> None:
        now, agenda, outcome = self._agenda.now, self._agenda, self._outcome
        if not self._is_there(effect.container_id):
            agenda.after(CONNECT_TAKES, self._reschedule, effect)
            return
        invocation = self._invocations[int(effect.run_id)]
        arrived = self.waiting.pop(effect.run_id)
        init = INIT_TAKES if effect.initialize else 0.0
        outcome.waits.append(now - arrived)
        outcome.latencies.append(now + init - arrived)
        outcome.cold += effect.initialize
        self.busy += self._memory(effect.run_id)
        if effect.initialize:
            agenda.after(init, self._initialized, effect.container_id)
        end = agenda.after(init + invocation.duration, self._done, effect.run_id)
        self._running[effect.run_id] = (effect.container_id, end)

    def _memory(self, run_id: str) -> int:
        return self._functions[self._invocations[int(run_id)].function].action.shape.memory

    def _initialized(self, container_id: str) -> None:
        self._tell(pool_events.Initialized(container_id))

    def _reschedule(self, effect: pool_events.Dispatch) -> None:
        self._tell(pool_events.Reschedule(effect.container_id, effect.run_id))

    def _done(self, run_id: str, *, reuse: bool = True) -> None:
        container_id, end = self._running.pop(run_id)
        end.cancel()
        self.busy -= self._memory(run_id)
        self.load -= self._memory(run_id)
        self._tell(pool_events.RunDone(container_id, run_id, reuse))

    def break_off(self) -> None:
        """Runs on a machine that is gone end with it."""
        for run_id, (container_id, _) in list(self._running.items()):
            if not self._is_there(container_id):
                self._outcome.lost += 1
                self._done(run_id, reuse=False)


class Arrivals:
    """All activations, in order, each at its time after `start`."""

    def __init__(
        self, agenda: Agenda, start: float, invocations: Sequence[Invocation], arrive: Callable[[Invocation], None]
    ) -> None:
        self._agenda = agenda
        self._start = start
        self._invocations = invocations
        self._arrive = arrive
        self._next = 0
        self._plan()

    def _plan(self) -> None:
        if self._next < len(self._invocations):
            self._agenda.at(self._start + self._invocations[self._next].at, self._come)

    def _come(self) -> None:
        invocation = self._invocations[self._next]
        self._next += 1
        self._plan()
        self._arrive(invocation)
