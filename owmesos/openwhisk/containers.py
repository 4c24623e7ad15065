"""The shell around the containers' decisions: it asks containers, reads logs, and hands on what comes of it.

A container is known here from its start to its end. Every effect of a `ContainerProxy` is carried out in order; what
waits for a container runs in a task of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import NamedTuple, Protocol

from owmesos.core.pool_events import PoolEvent, Reschedule
from owmesos.openwhisk import container_proxy as proxies
from owmesos.openwhisk.activation import Activation
from owmesos.openwhisk.arguments import Decrypt
from owmesos.openwhisk.container_client import ContainerClient
from owmesos.openwhisk.container_proxy import AckKind, ContainerProxy, Effect, Interval, Order
from owmesos.openwhisk.log_reader import CollectedLogs
from owmesos.openwhisk.messages import ActivationMessage
from owmesos.openwhisk.protocol import Outcome, Silence

_log = logging.getLogger("owmesos.containers")
CAUSE_WAIT = 2.0  # seconds; how long after a broken connection the cluster may say that the memory was exhausted
_MEMORY = ("memory limit exceeded", "reason_container_limitation_memory")


class Outcomes(Protocol):
    """Who hears what becomes of the runs. Neither may raise or wait."""

    def tell(self, event: PoolEvent) -> None:
        """For the pool: Initialized, RunDone, Reschedule."""

    def acknowledge(self, kind: AckKind, message: ActivationMessage, activation: Activation) -> None: ...

    def record(self, message: ActivationMessage, activation: Activation) -> None:
        """To be kept, with its log."""


class Logs(Protocol):
    """Where a container's log comes from."""

    async def skip_beginning(self) -> None: ...

    async def collect(self, limit: int, *, sentinels: bool, developer_error: bool = False) -> CollectedLogs: ...


class _Known(NamedTuple):
    proxy: ContainerProxy
    client: ContainerClient
    logs: Logs | None
    ended: asyncio.Future[str]  # why


class ActionContainers:
    """All containers of an invoker. `now` gives seconds since the epoch. To be used within one event loop."""

    def __init__(
        self, outcomes: Outcomes, now: Callable[[], float], *, ciphers: Mapping[str, Decrypt] | None = None
    ) -> None:
        self._outcomes = outcomes
        self._now = now
        self._ciphers = ciphers or {}
        self._known: dict[str, _Known] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()

    def started(self, container_id: str, address: str, logs: Logs | None = None) -> None:
        """The container runs at `address` (`host:port`). Without `logs` its actions have none."""
        ended = asyncio.get_running_loop().create_future()
        self._known[container_id] = _Known(
            ContainerProxy(container_id, self._ciphers), ContainerClient(address), logs, ended
        )

    def run(self, container_id: str, order: Order, *, initialize: bool) -> None:
        """The pool's Dispatch."""
        known = self._known.get(container_id)
        if known is None:
            self._outcomes.tell(Reschedule(container_id, order.run_id))
            return
        now = self._now()
        try:
            effects = known.proxy.run(order, now, initialize=initialize)
        except Exception:  # noqa: BLE001  (a fault of ours, or of who decrypts: it is logged, and the run ends)
            _log.exception("run %s could not be prepared for container %s", order.run_id, container_id)
            effects = known.proxy.unprepared(order, now, initialize=initialize)
        self._carry_out(known, effects)

    def stopped(self, container_id: str, reason: str) -> None:
        """The container is gone; `reason` is the cluster's. Runs that it was asked for end, or go back."""
        known = self._known.pop(container_id, None)
        if known is not None:
            known.ended.set_result(reason)
            known.proxy.stopped()
            self._spawn(known.client.close(), self._closing)

    async def close(self) -> None:
        """Runs that are on their way are abandoned: nothing is told of them."""
        known, self._known = list(self._known.values()), {}
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._closing, return_exceptions=True)
        for each in known:
            await each.client.close()

    # -- effects

    def _carry_out(self, known: _Known, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, proxies.Tell):
                self._outcomes.tell(effect.event)
            elif isinstance(effect, proxies.Acknowledge):
                self._outcomes.acknowledge(effect.kind, effect.message, effect.activation)
            elif isinstance(effect, proxies.Record):
                self._outcomes.record(effect.message, effect.activation)
            elif isinstance(effect, proxies.Initialize):
                self._start(known, effect.run_id, partial(self._initialize, known, effect))
            elif isinstance(effect, proxies.Execute):
                self._start(known, effect.run_id, partial(self._execute, known, effect))
            elif isinstance(effect, proxies.CollectLogs):
                self._start(known, effect.run_id, partial(self._collect, known, effect))

    async def _initialize(self, known: _Known, effect: proxies.Initialize) -> list[Effect]:
        if known.logs is not None and effect.logs:
            await known.logs.skip_beginning()
        outcome, took = await self._ask(known, "/init", effect.body, effect.timeout, retry=True)
        return known.proxy.initialized(effect.run_id, outcome, took, self._now())

    async def _execute(self, known: _Known, effect: proxies.Execute) -> list[Effect]:
        outcome, took = await self._ask(known, "/run", effect.body, effect.timeout)
        return known.proxy.executed(effect.run_id, outcome, took)

    async def _collect(self, known: _Known, effect: proxies.CollectLogs) -> list[Effect]:
        collected = CollectedLogs([], True)
        if known.logs is not None:
            collected = await known.logs.collect(
                effect.limit, sentinels=effect.sentinels, developer_error=effect.developer_error
            )
        return known.proxy.logged(effect.run_id, collected.lines, complete=collected.complete)

    async def _ask(
        self, known: _Known, path: str, body: tuple[bytes, ...], timeout: float, *, retry: bool = False
    ) -> tuple[Outcome, Interval]:
        """The answer and how long it took. Where it broke off, the cluster may know more in a moment."""
        begun = self._now()
        outcome = await known.client.post(path, body, timeout, retry=retry)
        took = Interval(begun, self._now())
        if outcome is Silence.BROKEN:
            await asyncio.wait([known.ended], timeout=CAUSE_WAIT)
            reason = known.ended.result() if known.ended.done() else "the cluster does not say why"
            _log.info("container %s broke off %s: %s", known.proxy.container_id, path, reason)
            if any(text in reason.lower() for text in _MEMORY):
                outcome = Silence.OUT_OF_MEMORY
        return outcome, took

    # -- tasks

    def _start(self, known: _Known, run_id: str, work: Callable[[], Awaitable[list[Effect]]]) -> None:
        """One step of a run: what it comes to is carried out, and a fault of ours ends the run too."""

        async def step() -> None:
            try:
                effects = await work()
            except Exception:  # noqa: BLE001  (a fault of ours: it is logged, and the run ends)
                _log.exception("run %s broke in container %s", run_id, known.proxy.container_id)
                effects = known.proxy.unexpected(run_id, self._now())
            self._carry_out(known, effects)

        self._spawn(step(), self._tasks)

    @staticmethod
    def _spawn(work: Coroutine[None, None, None], among: set[asyncio.Task[None]]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        among.add(task)
        task.add_done_callback(among.discard)
