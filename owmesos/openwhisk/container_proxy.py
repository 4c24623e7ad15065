"""What one action container does with the runs that the pool gives it, decided without any I/O (ContainerProxy.scala).

Theory of operation. The first run initializes the container; runs that come meanwhile wait here, and share its fate
when `/init` fails. Every run ends in exactly one way: the pool is told RunDone, and what became of it is acknowledged
and recorded; or it was not taken, and the pool is told Reschedule. A container whose action failed in any other way
than by its own word, or whose log could not be read whole, must not serve again. Nothing is ever paused: Mesos cannot.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

import msgspec

from owmesos.core.pool_events import Initialized, PoolEvent, Reschedule, RunDone
from owmesos.openwhisk.activation import (
    APPLICATION_ERROR,
    DEVELOPER_ERROR,
    NOT_PREPARED,
    SUCCESS,
    Activation,
    Annotation,
    Response,
    whisk_error,
)
from owmesos.openwhisk.arguments import CannotUnlock, Decrypt, arguments_of
from owmesos.openwhisk.executable import Executable
from owmesos.openwhisk.ids import transaction_start
from owmesos.openwhisk.log_lines import LOGS_MISSING
from owmesos.openwhisk.messages import ActivationMessage
from owmesos.openwhisk.protocol import (
    ABNORMAL_RUN,
    Outcome,
    Silence,
    failed_init,
    init_body,
    response_of,
    run_body,
    should_reschedule,
)


class Interval(msgspec.Struct, frozen=True):
    """In seconds since the epoch."""

    start: float
    end: float

    @property
    def milliseconds(self) -> int:
        return round((self.end - self.start) * 1000)


class Order(msgspec.Struct, frozen=True):
    """A run: whose it is and what runs."""

    message: ActivationMessage
    executable: Executable

    @property
    def run_id(self) -> str:
        return self.message.activation_id


class AckKind(str, Enum):
    """COMBINED: result and free slot. RESULT: the slot is not free yet. COMPLETION: the slot, without a result."""

    COMBINED = "combined"
    RESULT = "result"
    COMPLETION = "completion"


class Effect(msgspec.Struct, frozen=True):
    """The root of what is to be done."""


class Initialize(Effect, frozen=True):
    """POST `/init`; `timeout` in seconds. The answer is for `initialized`. `logs`: the action's log will be read."""

    run_id: str
    body: tuple[bytes, ...]
    timeout: float
    logs: bool


class Execute(Effect, frozen=True):
    """POST `/run`. The answer is for `executed`."""

    run_id: str
    body: tuple[bytes, ...]
    timeout: float


class CollectLogs(Effect, frozen=True):
    """Read the run's log, at most `limit` bytes. It is for `logged`."""

    run_id: str
    limit: int
    sentinels: bool
    developer_error: bool


class Acknowledge(Effect, frozen=True):
    kind: AckKind
    message: ActivationMessage
    activation: Activation


class Record(Effect, frozen=True):
    """The activation as it is to be kept, with its log."""

    message: ActivationMessage
    activation: Activation


class Tell(Effect, frozen=True):
    event: PoolEvent


class _Stage(str, Enum):
    FRESH = "fresh"
    INITIALIZING = "initializing"
    INITIALIZED = "initialized"
    DEAD = "dead"


class _Run(msgspec.Struct):
    order: Order
    arguments: msgspec.Raw
    reused: bool
    init: Interval | None = None
    activation: Activation | None = None


class ContainerProxy:
    """One container. `now` and intervals in seconds since the epoch; run ids are activation ids."""

    def __init__(self, container_id: str, ciphers: Mapping[str, Decrypt] | None = None) -> None:
        self.container_id = container_id
        self._ciphers = ciphers or {}
        self._stage = _Stage.FRESH
        self._gone = False
        self._waiting: list[_Run] = []
        self._runs: dict[str, _Run] = {}

    def run(self, order: Order, now: float, *, initialize: bool) -> list[Effect]:
        """The pool gives it a run; `initialize` is for the first one only."""
        if self._gone or self._stage is _Stage.DEAD:
            return [Tell(Reschedule(self.container_id, order.run_id))]
        try:
            env, arguments = arguments_of(order.message, self._ciphers)
        except CannotUnlock as error:
            return self._refuse(order, whisk_error(str(error)), now, reuse=not initialize)
        run = _Run(order, arguments, reused=self._stage is _Stage.INITIALIZED)
        if initialize:
            self._stage = _Stage.INITIALIZING
            self._runs[order.run_id] = run
            body = init_body(order.message, order.executable, env, now)
            limits = order.executable.limits
            return [Initialize(order.run_id, body, limits.seconds, limits.logs > 0)]
        if self._stage is not _Stage.INITIALIZED:
            self._waiting.append(run)
            return []
        return [self._execute(run, now)]

    def initialized(self, run_id: str, outcome: Outcome, took: Interval, now: float) -> list[Effect]:
        """`/init` was answered, or not."""
        run = self._runs[run_id]
        waiting, self._waiting = self._waiting, []
        if should_reschedule(outcome, initializing=True, reused=False):
            self._stage = _Stage.DEAD
            return [self._back(each) for each in (run, *waiting)]
        failure = failed_init(outcome, run.order.executable)
        run.init = took
        if failure is not None:
            self._stage = _Stage.DEAD
            effects = self._finish(run, failure, took, timed_out=outcome is Silence.TIMED_OUT)
            for each in waiting:
                if self._gone:  # they were never asked of it
                    effects.append(self._back(each))
                else:
                    effects += self._finish(each, failure, Interval(took.end, took.end))
            return effects
        self._stage = _Stage.INITIALIZED
        return [Tell(Initialized(self.container_id)), *(self._execute(each, now) for each in (run, *waiting))]

    def executed(self, run_id: str, outcome: Outcome, took: Interval) -> list[Effect]:
        """`/run` was answered, or not."""
        run = self._runs[run_id]
        if should_reschedule(outcome, initializing=False, reused=run.reused):
            self._stage = _Stage.DEAD
            return [self._back(run)]
        response = response_of(outcome, run.order.executable)
        return self._finish(run, response, took, timed_out=outcome is Silence.TIMED_OUT)

    def logged(self, run_id: str, lines: list[str], *, complete: bool) -> list[Effect]:
        """The run's log is there: now its container is free."""
        run = self._runs.pop(run_id)
        assert run.activation is not None
        activation = msgspec.structs.replace(run.activation, logs=lines)
        reuse = _keeps_container(activation.response) and complete
        return [
            Acknowledge(AckKind.COMPLETION, run.order.message, activation),
            Record(run.order.message, activation),
            self._done(run.order, reuse=reuse),
        ]

    def unprepared(self, order: Order, now: float, *, initialize: bool) -> list[Effect]:
        """`run` broke over it: it ends without the container having been asked."""
        self._runs.pop(order.run_id, None)
        return self._refuse(order, whisk_error(NOT_PREPARED), now, reuse=not initialize)

    def unexpected(self, run_id: str, now: float) -> list[Effect]:
        """A fault of owmesos itself kept the run from ending: it ends all the same, and so do those behind it."""
        run = self._runs.get(run_id)
        if run is not None and run.activation is not None:
            return self.logged(run_id, [LOGS_MISSING], complete=False)
        self._runs.pop(run_id, None)
        waiting, self._waiting = self._waiting, []
        fault = whisk_error(ABNORMAL_RUN)
        orders = [each.order for each in ([run] if run is not None else []) + waiting]
        return [effect for order in orders for effect in self._refuse(order, fault, now, reuse=False)]

    def stopped(self) -> None:
        """The container is gone: it takes no more. What it was asked for will be answered by silence."""
        self._gone = True

    # -- how runs end

    def _execute(self, run: _Run, now: float) -> Execute:
        order = run.order
        self._runs[order.run_id] = run
        body = run_body(order.message, order.executable, run.arguments, now)
        return Execute(order.run_id, (body,), order.executable.limits.seconds)

    def _back(self, run: _Run) -> Effect:
        self._runs.pop(run.order.run_id, None)
        return Tell(Reschedule(self.container_id, run.order.run_id))

    def _finish(self, run: _Run, response: Response, took: Interval, *, timed_out: bool = False) -> list[Effect]:
        """The result is there; the log may not be."""
        order = run.order
        activation = activation_of(order, response, run.init, took, timed_out=timed_out)
        limit = order.executable.limits.log_bytes
        if not limit:
            self._runs.pop(order.run_id, None)
            return self._end(order, activation, reuse=_keeps_container(response))
        run.activation = activation
        self._runs[order.run_id] = run
        failed = response.status_code == DEVELOPER_ERROR
        collect = CollectLogs(order.run_id, limit, order.executable.sentinelled_logs and not failed, failed)
        if not order.message.blocking:
            return [collect]
        return [Acknowledge(AckKind.RESULT, order.message, activation), collect]

    def _refuse(self, order: Order, response: Response, now: float, *, reuse: bool) -> list[Effect]:
        """It cannot run, and the container was not asked."""
        return self._end(order, activation_of(order, response, None, Interval(now, now)), reuse=reuse)

    def _end(self, order: Order, activation: Activation, *, reuse: bool) -> list[Effect]:
        kind = AckKind.COMBINED if order.message.blocking else AckKind.COMPLETION
        return [
            Acknowledge(kind, order.message, activation),
            Record(order.message, activation),
            self._done(order, reuse=reuse),
        ]

    def _done(self, order: Order, *, reuse: bool) -> Effect:
        if not reuse:
            self._stage = _Stage.DEAD
        return Tell(RunDone(self.container_id, order.run_id, reuse))


def _keeps_container(response: Response) -> bool:
    return response.status_code in (SUCCESS, APPLICATION_ERROR)


def activation_of(
    order: Order, response: Response, init: Interval | None, took: Interval, *, timed_out: bool = False
) -> Activation:
    """What is told and kept of the run; a run that initialized its container took that long more.

    `took` is the run's time, or `init` itself where it did not come to run.
    """
    message, executable = order.message, order.executable
    begun = took if init is None else init
    milliseconds = took.milliseconds + (init.milliseconds if init is not None and init is not took else 0)
    end = round(took.end * 1000)
    limits = executable.limits
    annotations = [
        Annotation("limits", msgspec.structs.asdict(limits)),
        Annotation("path", executable.path),
        Annotation("kind", executable.kind),
        Annotation("timeout", timed_out),
    ]
    started = transaction_start(message.transid)
    if message.cause is not None:
        annotations.append(Annotation("causedBy", "sequence"))
    elif started is not None:
        annotations.append(Annotation("waitTime", max(0, round(begun.start * 1000) - started)))
    if init is not None:
        annotations.append(Annotation("initTime", init.milliseconds))
    if message.action.binding is not None:
        annotations.append(Annotation("binding", message.action.binding))
    return Activation(
        namespace=message.user.namespace.name,
        name=executable.entity.name,
        subject=message.user.subject,
        activation_id=message.activation_id,
        start=end - milliseconds,
        end=end,
        cause=message.cause,
        response=response,
        logs=[],
        version=executable.version,
        publish=False,
        annotations=annotations,
        duration=milliseconds,
    )
