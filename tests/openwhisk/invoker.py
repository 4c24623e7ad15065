"""A pool with the proxies of its containers, in virtual time; the test answers for the containers.

Room is a fixed user-memory, containers start at once. What containers are asked is in `asked`, until it is answered.
"""

from __future__ import annotations

from collections import deque

from owmesos.core.capacity import HERE, FixedCapacity
from owmesos.core.containers import Shape
from owmesos.core.pool import Pool
from owmesos.core.pool_events import (
    ContainerStarted,
    ContainerStopped,
    Dispatch,
    PoolEffect,
    PoolEvent,
    Run,
    RunFailed,
    StartContainer,
    StartFailed,
    StopContainer,
    Tick,
)
from owmesos.core.pool_settings import PoolSettings
from owmesos.core.prewarm import PrewarmSetting
from owmesos.openwhisk.activation import Activation
from owmesos.openwhisk.container_proxy import (
    AckKind,
    Acknowledge,
    CollectLogs,
    ContainerProxy,
    Effect,
    Execute,
    Initialize,
    Interval,
    Order,
    Record,
    Tell,
)
from owmesos.openwhisk.executable import Executable
from owmesos.openwhisk.protocol import Answer, Outcome
from tests.openwhisk.runs import order

SHAPE = Shape("python:3", 256)  # of the actions that say nothing else
INIT_TAKES = 0.1
RUN_TAKES = 0.2


def ok(body: bytes = b'{"done":true}') -> Answer:
    return Answer(200, body, len(body))


def status(code: int, body: bytes = b"") -> Answer:
    return Answer(code, body, len(body))


class FakeInvoker:
    """`memory` MB. `asked`, `acks` and `records` are by activation id."""

    def __init__(self, memory: int = 1024, *, prewarm: tuple[PrewarmSetting, ...] = (), starts: bool = True) -> None:
        self.now = 1000.0
        self.pool = Pool(FixedCapacity(memory), PoolSettings(), prewarm)
        self.starts = starts
        self.proxies: dict[str, ContainerProxy] = {}
        self.given: dict[str, str] = {}  # run → container
        self.asked: dict[str, Initialize | Execute | CollectLogs] = {}
        self.acks: dict[str, list[tuple[AckKind, Activation]]] = {}
        self.records: dict[str, Activation] = {}
        self.failed: dict[str, str] = {}
        self.started: list[StartContainer] = []
        self.stopped: list[str] = []
        self.told: list[PoolEvent] = []
        self._orders: dict[str, Order] = {}

    # -- what a test does

    def run(self, of: Executable | None = None, content: object = None, **named: object) -> str:
        """An activation comes; its id."""
        new = order(content, of=of, **named)
        self._orders[new.run_id] = new
        self.send(Run(new.run_id, new.executable.for_pool(), new.message.user.namespace.name))
        return new.run_id

    def warm(self, of: Executable | None = None) -> str:
        """A run comes and ends well; its container."""
        run_id = self.run(of)
        self.init(run_id)
        self.answer(run_id)
        return self.given[run_id]

    def init(self, run_id: str, outcome: Outcome | None = None) -> None:
        """`/init` is answered."""
        assert isinstance(self.asked.pop(run_id), Initialize)
        took = Interval(self.now, self.now + INIT_TAKES)
        self.now = took.end
        proxy = self.proxy(run_id)
        self.carry_out(proxy, proxy.initialized(run_id, ok() if outcome is None else outcome, took, self.now))

    def answer(self, run_id: str, outcome: Outcome | None = None) -> None:
        """`/run` is answered."""
        assert isinstance(self.asked.pop(run_id), Execute)
        took = Interval(self.now, self.now + RUN_TAKES)
        self.now = took.end
        proxy = self.proxy(run_id)
        self.carry_out(proxy, proxy.executed(run_id, ok() if outcome is None else outcome, took))

    def logs(self, run_id: str, *lines: str, complete: bool = True) -> None:
        """The run's log is there."""
        assert isinstance(self.asked.pop(run_id), CollectLogs)
        proxy = self.proxy(run_id)
        self.carry_out(proxy, proxy.logged(run_id, list(lines), complete=complete))

    def crash(self, container_id: str, reason: str = "it ended") -> None:
        self.proxies[container_id].stopped()
        self.send(ContainerStopped(container_id, reason))

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def proxy(self, run_id: str) -> ContainerProxy:
        return self.proxies[self.given[run_id]]

    def kinds(self, run_id: str) -> list[AckKind]:
        return [kind for kind, _ in self.acks.get(run_id, [])]

    def states(self) -> list[str]:
        return [container.state.value for container in self.pool.containers]

    # -- within

    def send(self, event: PoolEvent) -> None:
        events = deque([event])
        while events:
            for effect in self.pool.handle(events.popleft(), self.now):
                self._carry_out_pools(effect, events)
            self.pool.validate()

    def _carry_out_pools(self, effect: PoolEffect, events: deque[PoolEvent]) -> None:
        if isinstance(effect, StartContainer):
            self.started.append(effect)
            self.proxies[effect.container_id] = ContainerProxy(effect.container_id)
            address = f"host:{len(self.started)}"
            events.append(
                ContainerStarted(effect.container_id, HERE, address)
                if self.starts
                else StartFailed(effect.container_id, "no such image")
            )
        elif isinstance(effect, StopContainer):
            self.stopped.append(effect.container_id)
            events.append(ContainerStopped(effect.container_id, "stopped"))
        elif isinstance(effect, RunFailed):
            self.failed[effect.run_id] = effect.message
        elif isinstance(effect, Dispatch):
            self.given[effect.run_id] = effect.container_id
            proxy = self.proxies[effect.container_id]
            self.carry_out(
                proxy, proxy.run(self._orders[effect.run_id], self.now, initialize=effect.initialize), events
            )

    def carry_out(self, proxy: ContainerProxy, effects: list[Effect], events: deque[PoolEvent] | None = None) -> None:
        for effect in effects:
            if isinstance(effect, Tell):
                self.told.append(effect.event)
                if events is None:
                    self.send(effect.event)
                else:
                    events.append(effect.event)
            elif isinstance(effect, Acknowledge):
                run_id = effect.message.activation_id
                self.acks.setdefault(run_id, []).append((effect.kind, effect.activation))
            elif isinstance(effect, Record):
                assert effect.message.activation_id not in self.records, "recorded twice"
                self.records[effect.message.activation_id] = effect.activation
            elif isinstance(effect, (Initialize, Execute, CollectLogs)):
                self.asked[effect.run_id] = effect


def prewarmed() -> FakeInvoker:
    """With one prewarmed container."""
    invoker = FakeInvoker(prewarm=(PrewarmSetting(SHAPE, 1),))
    invoker.send(Tick())
    return invoker
