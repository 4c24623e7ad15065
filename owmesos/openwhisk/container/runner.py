"""The shell around the containers' decisions: it sends requests to containers, reads logs, and passes on the
results.

A container is known here from its start to its end. Every effect of a `ContainerProxy` is carried out in order;
waiting for a container happens in a separate task.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple, Protocol

from owmesos.core.histogram import Histogram
from owmesos.core.pool.events import PoolEvent, Reschedule, StopCause
from owmesos.errors import InvariantBroken, OwmesosError
from owmesos.openwhisk.activation import Activation
from owmesos.openwhisk.arguments import Decrypt
from owmesos.openwhisk.container import run_state
from owmesos.openwhisk.container.access import OPEN, ContainerAccess
from owmesos.openwhisk.container.client import ContainerClient
from owmesos.openwhisk.container.log_reader import CollectedLogs, ContainerLogs
from owmesos.openwhisk.container.protocol import OK, RETRY_INTERVAL, ContainerAnswer, NoAnswer, Outcome
from owmesos.openwhisk.container.run_state import AckKind, ContainerProxy, Interval, Order, RunEffect
from owmesos.openwhisk.entities import ActionUnavailable, ActionUnreadable, CodeStore
from owmesos.openwhisk.executable import StoredCode
from owmesos.openwhisk.limits import USUAL_LIMITS, PayloadLimits
from owmesos.openwhisk.messages import ActivationMessage
from owmesos.system.sliced_body import Body, Lent
from owmesos.system.tasks import cancel_all, keep

_log = logging.getLogger("owmesos.containers")
CAUSE_WAIT = 2.0  # seconds; how long after a broken connection the cluster may say that the memory was exhausted
SILENCE_WAIT = 8.0  # seconds more that it has to say why a container ended to which nobody can connect
SETTLE = 2.0  # seconds from the container's start until a process that cannot listen has ended, and that is known
SETTLE_AFTER_REFUSAL = 0.3  # the same for one that was seen not to listen at first


class Outcomes(Protocol):
    """Receives the results of runs. Only `begin` may raise or wait."""

    async def begin(self, run_id: str) -> None:
        """Called before every `/run`; may wait. Raises OwmesosError if the container must not be asked."""

    def notify_pool(self, event: PoolEvent) -> None:
        """For the pool: Initialized, RunDone, Reschedule."""

    def acknowledge(self, kind: AckKind, message: ActivationMessage, activation: Activation) -> None: ...

    def record(self, message: ActivationMessage, activation: Activation) -> None:
        """The activation with its log, to be stored."""


class RequestTimes(NamedTuple):
    """Seconds from sending a request until its answer was complete or it was given up."""

    answered: Histogram  # with status 200, in time
    failed: Histogram


class _End(NamedTuple):
    reason: str
    cause: StopCause


class _KnownContainer(NamedTuple):
    proxy: ContainerProxy
    client: ContainerClient
    access: ContainerAccess
    address: str
    logs: ContainerLogs | None
    started_at: float  # on the loop's clock
    ended: asyncio.Future[_End]


_Step = Callable[[_KnownContainer, Any], Awaitable[list[RunEffect]]]


class ActionContainers:
    """All containers of an invoker. `now` gives seconds since the epoch. To be used within one event loop."""

    def __init__(
        self,
        outcomes: Outcomes,
        now: Callable[[], float],
        *,
        ciphers: Mapping[str, Decrypt] | None = None,
        payload: PayloadLimits = USUAL_LIMITS,
        codes: CodeStore | None = None,
    ) -> None:
        """`codes` is for actions whose code is not in their documents."""
        self._outcomes = outcomes
        self._now = now
        self._ciphers = ciphers or {}
        self._payload = payload
        self._codes = codes
        self._known: dict[str, _KnownContainer] = {}
        self.times = {path: RequestTimes(Histogram(), Histogram()) for path in ("/init", "/run")}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._handlers: dict[type[RunEffect], Callable[[_KnownContainer, Any], None]] = {
            run_state.NotifyPool: lambda _, effect: outcomes.notify_pool(effect.event),
            run_state.SendAck: lambda _, effect: outcomes.acknowledge(effect.kind, effect.message, effect.activation),
            run_state.Record: lambda _, effect: outcomes.record(effect.message, effect.activation),
            run_state.Initialize: partial(self._start, self._initialize),
            run_state.Execute: partial(self._start, self._execute),
            run_state.CollectLogs: partial(self._start, self._collect),
        }

    def started(
        self, container_id: str, address: str, logs: ContainerLogs | None = None, *, access: ContainerAccess = OPEN
    ) -> None:
        """The container runs at `address` (`host:port`). Without `logs` its actions have no logs."""
        loop = asyncio.get_running_loop()
        remain = logs is not None and logs.remain
        proxy = ContainerProxy(container_id, self._ciphers, self._payload, logs_remain=remain)
        client = ContainerClient(address, secret=access.secret)
        self._known[container_id] = _KnownContainer(
            proxy, client, access, address, logs, started_at=loop.time(), ended=loop.create_future()
        )

    def run(self, container_id: str, order: Order, *, initialize: bool) -> None:
        """The pool's Dispatch."""
        known = self._known.get(container_id)
        if known is None:
            self._outcomes.notify_pool(Reschedule(container_id, order.run_id))
            return
        now = self._now()
        try:
            effects = known.proxy.run(order, now, initialize=initialize)
        except Exception:  # noqa: BLE001  (an internal error, or one of the decryption: it is logged, and the run ends)
            _log.exception("run %s could not be prepared for container %s", order.run_id, container_id)
            effects = known.proxy.unprepared(order, now, initialize=initialize)
        self._carry_out(known, effects)

    def stopped(self, container_id: str, reason: str, cause: StopCause = StopCause.ENDED) -> None:
        """The container is gone; `reason` is the cluster's. Runs that it was asked for end, or go back.

        If the cluster lost it, a run that was not sent yet goes elsewhere.
        """
        known = self._known.pop(container_id, None)
        if known is not None:
            known.ended.set_result(_End(reason, cause))
            known.proxy.stopped()
            keep(asyncio.get_running_loop().create_task(known.client.close()), self._closing)

    async def close(self) -> None:
        """Runs in progress are abandoned without a result."""
        known, self._known = list(self._known.values()), {}
        await cancel_all(self._tasks)
        await asyncio.gather(*self._closing, return_exceptions=True)
        for each in known:
            await each.client.close()

    # -- effects

    def _carry_out(self, known: _KnownContainer, effects: list[RunEffect]) -> None:
        """Raises InvariantBroken for an effect that nothing here carries out."""
        for effect in effects:
            carry_out = self._handlers.get(type(effect))
            if carry_out is None:
                raise InvariantBroken(f"the containers' shell cannot carry out {type(effect).__name__}")
            carry_out(known, effect)

    async def _initialize(self, known: _KnownContainer, effect: run_state.Initialize) -> list[RunEffect]:
        if known.logs is not None and effect.logs:
            await known.logs.skip_beginning()
        await self._settle(known, effect.timeout)
        try:
            async with Lent(effect.head, partial(self._initializer, effect.initializer)) as body:
                outcome, took = await self._ask(known, "/init", body, effect, retry=True)
        except ActionUnavailable as error:
            _log.info("activation %s does not run: %s", effect.run_id, error)
            return known.proxy.without_code(effect.run_id, error.response, self._now())
        return known.proxy.initialized(effect.run_id, outcome, took, self._now())

    def _initializer(self, code: bytes | StoredCode) -> AbstractAsyncContextManager[bytes | memoryview]:
        if isinstance(code, bytes):
            return nullcontext(code)
        if self._codes is None:
            raise ActionUnreadable(code.document_id, "its code is in an attachment, which this store does not support")
        return self._codes.use(code)

    async def _settle(self, known: _KnownContainer, timeout: float) -> None:
        """Until the container's process would have ended if another one had its port, or it has ended.

        Where nobody listened although the container ran already, who listens later is most likely the container.
        """
        if known.access.sure:
            return
        loop = asyncio.get_running_loop()
        deadline, refused = loop.time() + timeout, False
        while not await known.client.listens():
            if known.ended.done() or loop.time() >= deadline:
                return
            refused = True
            await asyncio.wait([known.ended], timeout=RETRY_INTERVAL)
        rest = SETTLE_AFTER_REFUSAL if refused else SETTLE - (loop.time() - known.started_at)
        if rest > 0:
            await asyncio.wait([known.ended], timeout=rest)

    async def _execute(self, known: _KnownContainer, effect: run_state.Execute) -> list[RunEffect]:
        try:
            await self._outcomes.begin(effect.run_id)
        except OwmesosError as error:
            return known.proxy.not_asked(effect.run_id, str(error), self._now())
        outcome, took = await self._ask(known, "/run", (effect.body,), effect)
        return known.proxy.executed(effect.run_id, outcome, took)

    async def _collect(self, known: _KnownContainer, effect: run_state.CollectLogs) -> list[RunEffect]:
        lines, complete = CollectedLogs([], True)
        if known.logs is not None:
            lines, complete = await known.logs.collect(
                effect.limit,
                sentinels=effect.sentinels,
                developer_error=effect.developer_error,
                at_leisure=effect.at_leisure,
            )
        return known.proxy.logged(effect.run_id, lines, complete=complete)

    async def _ask(
        self,
        known: _KnownContainer,
        path: str,
        body: Body | Lent,
        effect: run_state.Initialize | run_state.Execute,
        *,
        retry: bool = False,
    ) -> tuple[Outcome, Interval]:
        """The answer and how long it took. Where it broke off, the cluster may know more in a moment."""
        begun = self._now()
        outcome = await known.client.post(path, body, effect.timeout, limits=effect.limits, retry=retry)
        took = Interval(begun, self._now())
        times = self.times[path]
        ok = isinstance(outcome, ContainerAnswer) and outcome.status == OK
        (times.answered if ok else times.failed).observe(took.end - took.start)
        if outcome is NoAnswer.UNPROVEN:
            _log.warning(
                "the process at %s did not prove that it is container %s", known.address, known.proxy.container_id
            )
        elif outcome is NoAnswer.BROKEN:
            outcome = await self._explained(known, path)
        elif isinstance(outcome, ContainerAnswer) and not await self._is_its_own(known, outcome):
            _log.warning("the answer to %s from %s is ignored: the container ended", path, known.address)
            outcome = NoAnswer.LOST
        return outcome, took

    @staticmethod
    async def _explained(known: _KnownContainer, path: str) -> NoAnswer:
        """Why it broke off. A run that was sent may have ended its container itself, and is charged with that, unless
        the cluster lost the container or what ran it was killed: no action does that by a fault of its own. Where
        nobody says why, a run is charged only while its container can still be reached. If the node does not answer
        either, it is the node that is lost: a cluster sees that much later. And if only the container is gone, it is
        the cluster that cannot be heard: a connection to it that is half open tells nothing for a minute.
        """
        await asyncio.wait([known.ended], timeout=CAUSE_WAIT)
        guess = _End("its connection broke, and it still accepts connections", StopCause.ENDED)
        if not known.ended.done():
            if known.logs is not None and await known.logs.is_away(CAUSE_WAIT):
                guess = _End("its node does not answer", StopCause.LOST)
            elif not await known.client.listens():
                guess = _End("nothing listens at its address, and the cluster gives no reason", StopCause.LOST)
                await asyncio.wait([known.ended], timeout=SILENCE_WAIT)
        ended = known.ended.done()
        reason, cause = known.ended.result() if ended else guess
        _log.info("container %s did not complete %s: %s", known.proxy.container_id, path, reason)
        if cause is StopCause.OUT_OF_MEMORY:
            return NoAnswer.OUT_OF_MEMORY
        lost = cause is StopCause.LOST or (path == "/run" and cause is StopCause.SUPERVISOR_GONE)
        return NoAnswer.LOST if lost or (ended and not known.access.sure) else NoAnswer.BROKEN

    @staticmethod
    async def _is_its_own(known: _KnownContainer, answer: ContainerAnswer) -> bool:
        """Whether the answer is the container's: where that is not sure, only while it runs."""
        if known.access.sure:
            return True
        if answer.status != OK:  # as a stranger would give it: the container's end may be under way
            await asyncio.wait([known.ended], timeout=SETTLE_AFTER_REFUSAL)
        return not known.ended.done()

    # -- tasks

    def _start(self, work: _Step, known: _KnownContainer, effect: Any) -> None:
        """One step of a run: what it comes to is carried out, and an internal error ends the run too."""
        run_id = effect.run_id

        async def step() -> None:
            try:
                effects = await work(known, effect)
            except Exception:  # noqa: BLE001  (an internal error: it is logged, and the run ends)
                _log.exception("internal error in run %s in container %s", run_id, known.proxy.container_id)
                effects = known.proxy.unexpected(run_id, self._now())
            self._carry_out(known, effects)

        keep(asyncio.get_running_loop().create_task(step()), self._tasks)
