"""A pool with the proxies of its containers, in virtual time; the test answers for the containers.

Room is that of one node, containers start at once. What containers are asked is in `asked`, until it is answered.
"""

from __future__ import annotations

from collections import deque

from owmesos.core.node_stats import NodeStatsUpdate
from owmesos.core.pool.containers import ContainerShape
from owmesos.core.pool.events import (
    ContainerStarted,
    ContainerStopped,
    Dispatch,
    PoolEffect,
    PoolEvent,
    PoolTick,
    Run,
    RunFailed,
    StartContainer,
    StartFailed,
    StopContainer,
)
from owmesos.core.pool.pool import Pool
from owmesos.core.pool.prewarm import PrewarmSetting
from owmesos.core.pool.settings import PoolSettings
from owmesos.openwhisk.activation import Activation
from owmesos.openwhisk.container.protocol import ContainerAnswer, Outcome
from owmesos.openwhisk.container.run_state import (
    AckKind,
    CollectLogs,
    ContainerProxy,
    Execute,
    Initialize,
    Interval,
    NotifyPool,
    Order,
    Record,
    RunEffect,
    SendAck,
)
from owmesos.openwhisk.executable import Executable
from tests.core.pool.invariants import check_pool
from tests.fakes.one_node import OneNode
from tests.openwhisk.runs import order

SHAPE = ContainerShape("python:3", 256)  # of the actions that say nothing else
INIT_TAKES = 0.1
RUN_TAKES = 0.2


def ok(body: bytes = b'{"done":true}') -> ContainerAnswer:
    return ContainerAnswer(200, body, len(body))


def status(code: int, body: bytes = b"") -> ContainerAnswer:
    return ContainerAnswer(code, body, len(body))


class FakeInvoker:
    """`memory` MB. `asked`, `acks` and `records` are by activation id."""

    def __init__(
        self,
        memory: int = 1024,
        *,
        prewarm: tuple[PrewarmSetting, ...] = (),
        starts: bool = True,
        logs_remain: bool = False,
    ) -> None:
        self.now = 1000.0
        self.node = OneNode(memory)
        self.pool = Pool(self.node.capacity, PoolSettings(), prewarm)
        self.starts = starts
        self._logs_remain = logs_remain
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
        self.send(self.node.ended(container_id))

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def try_again(self, times: int) -> None:
        """The pauses after failed starts pass."""
        for _ in range(times):
            self.wait(60.0)
            self.send(PoolTick())

    def proxy(self, run_id: str) -> ContainerProxy:
        return self.proxies[self.given[run_id]]

    def kinds(self, run_id: str) -> list[AckKind]:
        return [kind for kind, _ in self.acks.get(run_id, [])]

    def states(self) -> list[str]:
        return [container.state.value for container in self.pool.containers]

    # -- within

    def send(self, event: PoolEvent | NodeStatsUpdate) -> None:
        events = deque([event])
        while events:
            for effect in self.pool.handle(events.popleft(), self.now):
                self._carry_out_pools(effect, events)
            check_pool(self.pool)

    def _carry_out_pools(self, effect: PoolEffect, events: deque[PoolEvent | NodeStatsUpdate]) -> None:
        if isinstance(effect, StartContainer):
            self.started.append(effect)
            self.proxies[effect.container_id] = ContainerProxy(effect.container_id, logs_remain=self._logs_remain)
            address = f"host:{len(self.started)}"
            if self.starts:
                events += (ContainerStarted(effect.container_id, effect.slot, address), self.node.started(effect))
            else:
                events += (StartFailed(effect.container_id, "no such image"), self.node.ended(effect.container_id))
        elif isinstance(effect, StopContainer):
            self.stopped.append(effect.container_id)
            events += (ContainerStopped(effect.container_id, "stopped"), self.node.ended(effect.container_id))
        elif isinstance(effect, RunFailed):
            self.failed[effect.run_id] = effect.message
        elif isinstance(effect, Dispatch):
            self.given[effect.run_id] = effect.container_id
            proxy = self.proxies[effect.container_id]
            self.carry_out(
                proxy, proxy.run(self._orders[effect.run_id], self.now, initialize=effect.initialize), events
            )

    def carry_out(
        self, proxy: ContainerProxy, effects: list[RunEffect], events: deque[PoolEvent | NodeStatsUpdate] | None = None
    ) -> None:
        for effect in effects:
            if isinstance(effect, NotifyPool):
                self.told.append(effect.event)
                if events is None:
                    self.send(effect.event)
                else:
                    events.append(effect.event)
            elif isinstance(effect, SendAck):
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
    invoker.send(invoker.node.seen())
    return invoker
