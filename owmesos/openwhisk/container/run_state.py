"""What one action container does with the runs that the pool assigns to it, decided without I/O
(ContainerProxy.scala).

Theory of operation. The first run initializes the container; runs that arrive meanwhile wait here, and share its
failure if `/init` fails. Every run ends in exactly one way: the pool gets RunDone, and its result is acknowledged
and recorded; or it was not taken, and the pool gets Reschedule. A container whose action failed in any other way
than by its own error, or whose log could not be read completely, must not serve again. Containers are never paused,
which Mesos cannot do.

A container that has shown that it marks the end of each log, in streams that remain after its end, takes the next run
while the log of the last one is still to be read; so one reading may bring several logs. That a log could not be read
completely comes out later then: the container takes no more runs from that moment on.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

import msgspec

from owmesos.core.pool.events import ContainerUnfit, Initialized, PoolEvent, Reschedule, RunDone
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
from owmesos.openwhisk.container import protocol
from owmesos.openwhisk.container.log_lines import LOGS_MISSING
from owmesos.openwhisk.container.protocol import NoAnswer, Outcome
from owmesos.openwhisk.executable import Executable, StoredCode
from owmesos.openwhisk.limits import USUAL_LIMITS, PayloadLimits, ResponseLimits
from owmesos.openwhisk.messages import ActivationMessage, transaction_start

UNREAD_LOGS = 50  # of one container, at most; with more, a run occupies it until its log is read


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


class RunEffect(msgspec.Struct, frozen=True):
    """The base of all effects."""


class Initialize(RunEffect, frozen=True):
    """POST `/init`. The answer is for `initialized`."""

    run_id: str  # the run that needs it
    head: bytes  # the body up to the initializer
    initializer: bytes | StoredCode  # the action's code
    timeout: float  # seconds
    logs: bool  # whether the action's log will be read
    limits: ResponseLimits  # of the answer


class Execute(RunEffect, frozen=True):
    """POST `/run`. The answer is for `executed`."""

    run_id: str
    body: bytes
    timeout: float
    limits: ResponseLimits


class CollectLogs(RunEffect, frozen=True):
    """Read the run's log, at most `limit` bytes. It is for `logged`."""

    run_id: str
    limit: int
    sentinels: bool
    developer_error: bool
    at_leisure: bool = False  # its container does not wait for it


class SendAck(RunEffect, frozen=True):
    kind: AckKind
    message: ActivationMessage
    activation: Activation


class Record(RunEffect, frozen=True):
    """The activation with its log, to be stored."""

    message: ActivationMessage
    activation: Activation


class NotifyPool(RunEffect, frozen=True):
    event: PoolEvent


class _Stage(str, Enum):
    FRESH = "fresh"
    INITIALIZED = "initialized"
    DEAD = "dead"


class _Run(msgspec.Struct):
    order: Order
    arguments: msgspec.Raw
    reused: bool
    init: Interval | None = None
    activation: Activation | None = None
    done: bool = False  # the pool knows, though its log is to be read


class ContainerProxy:
    """One container. `now` and intervals in seconds since the epoch; run ids are activation ids."""

    def __init__(
        self,
        container_id: str,
        ciphers: Mapping[str, Decrypt] | None = None,
        payload: PayloadLimits = USUAL_LIMITS,
        *,
        logs_remain: bool = False,
    ) -> None:
        """`logs_remain`: its streams can be read after its end too."""
        self.container_id = container_id
        self._ciphers = ciphers or {}
        self._payload = payload
        self._stage = _Stage.FRESH
        self._gone = False
        self._waiting: list[_Run] = []
        self._runs: dict[str, _Run] = {}
        self._logs_remain = logs_remain
        self._marks_ends = False  # a log of it was complete, with its sentinels
        self._unread = 0  # logs of runs that are done

    def run(self, order: Order, now: float, *, initialize: bool) -> list[RunEffect]:
        """The pool assigns a run; `initialize` is set only for the first one."""
        if self._gone or self._stage is _Stage.DEAD:
            return [NotifyPool(Reschedule(self.container_id, order.run_id))]
        try:
            env, arguments = arguments_of(order.message, self._ciphers)
        except CannotUnlock as error:
            return self._end_unrun(order, whisk_error(str(error)), now, reuse=not initialize)
        run = _Run(order, arguments, reused=self._stage is _Stage.INITIALIZED)
        if initialize:
            self._runs[order.run_id] = run
            code, limits = order.executable.initializer, order.executable.limits
            head = protocol.init_head(order.message, order.executable, env, now)
            return [Initialize(order.run_id, head, code, limits.seconds, limits.logs > 0, self._payload.system)]
        if self._stage is not _Stage.INITIALIZED:
            self._waiting.append(run)
            return []
        return [self._execute(run, now)]

    def initialized(self, run_id: str, outcome: Outcome, took: Interval, now: float) -> list[RunEffect]:
        """The outcome of `/init`."""
        run = self._runs[run_id]
        waiting, self._waiting = self._waiting, []
        if protocol.should_reschedule(outcome, initializing=True, reused=False):
            self._stage = _Stage.DEAD
            return [self._back(each, outcome) for each in (run, *waiting)]
        failure = protocol.failed_init(outcome, run.order.executable)
        run.init = took
        if failure is not None:
            self._stage = _Stage.DEAD
            effects = self._finish(run, failure, took, timed_out=outcome is NoAnswer.TIMED_OUT)
            for each in waiting:
                if self._gone:  # they were never asked of it
                    effects.append(self._back(each))
                else:
                    effects += self._finish(each, failure, Interval(took.end, took.end))
            return effects
        self._stage = _Stage.INITIALIZED
        return [NotifyPool(Initialized(self.container_id)), *(self._execute(each, now) for each in (run, *waiting))]

    def without_code(self, run_id: str, response: Response, now: float) -> list[RunEffect]:
        """The action's code could not be fetched, so the container was not asked: its runs end."""
        waiting, self._waiting = self._waiting, []
        runs = [self._runs.pop(run_id, None), *waiting]
        orders = [run.order for run in runs if run is not None]
        return [effect for order in orders for effect in self._end_unrun(order, response, now, reuse=False)]

    def executed(self, run_id: str, outcome: Outcome, took: Interval) -> list[RunEffect]:
        """The outcome of `/run`."""
        run = self._runs[run_id]
        if protocol.should_reschedule(outcome, initializing=False, reused=run.reused):
            self._stage = _Stage.DEAD
            return [self._back(run, outcome)]
        response = protocol.response_of(outcome, run.order.executable)
        return self._finish(run, response, took, timed_out=outcome is NoAnswer.TIMED_OUT)

    def not_asked(self, run_id: str, why: str, now: float) -> list[RunEffect]:
        """`/run` must not be sent for it: it ends, and the container stays usable."""
        run = self._runs.pop(run_id)
        took = Interval(now, now) if run.init is None else run.init
        return self._end(run.order, activation_of(run.order, whisk_error(why), run.init, took), reuse=True)

    def logged(self, run_id: str, lines: list[str], *, complete: bool) -> list[RunEffect]:
        """The run's log has been read: now its container is free."""
        run = self._runs.pop(run_id)
        assert run.activation is not None
        activation = msgspec.structs.replace(run.activation, logs=lines)
        self._marks_ends = complete and run.order.executable.sentinelled_logs
        if run.done:
            return self._logged_later(run, activation, complete=complete)
        reuse = _keeps_container(activation.response) and complete
        return self._end_by(AckKind.COMPLETION, run.order, activation, reuse=reuse)

    def unprepared(self, order: Order, now: float, *, initialize: bool) -> list[RunEffect]:
        """`run` failed with an internal error: the run ends without a request to the container."""
        self._runs.pop(order.run_id, None)
        return self._end_unrun(order, whisk_error(NOT_PREPARED), now, reuse=not initialize)

    def unexpected(self, run_id: str, now: float) -> list[RunEffect]:
        """An internal error of owmesos interrupted the run: it ends, and so do those that wait behind it."""
        run = self._runs.get(run_id)
        if run is not None and run.activation is not None:
            return self.logged(run_id, [LOGS_MISSING], complete=False)
        return self.without_code(run_id, whisk_error(protocol.ABNORMAL_RUN), now)

    def stopped(self) -> None:
        """The container is gone: it takes no more. What it was asked for will be answered by silence."""
        self._gone = True

    # -- how runs end

    def _execute(self, run: _Run, now: float) -> Execute:
        message, executable = run.order.message, run.order.executable
        self._runs[run.order.run_id] = run
        body = protocol.run_body(message, executable, run.arguments, now)
        return Execute(run.order.run_id, body, executable.limits.seconds, self._payload.of(message.user.limits))

    def _back(self, run: _Run, outcome: Outcome | None = None) -> RunEffect:
        """It was not taken. What is wrong with a container that worked before is not counted against the run."""
        self._runs.pop(run.order.run_id, None)
        reason = _NOT_STARTED.get(outcome, "") if isinstance(outcome, NoAnswer) and not run.reused else ""
        return NotifyPool(Reschedule(self.container_id, run.order.run_id, reason, failed_start=reason != ""))

    def _finish(self, run: _Run, response: Response, took: Interval, *, timed_out: bool = False) -> list[RunEffect]:
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
        sentinels = order.executable.sentinelled_logs and not failed
        run.done = sentinels and _keeps_container(response) and self._may_read_later
        effects: list[RunEffect] = [CollectLogs(order.run_id, limit, sentinels, failed, at_leisure=run.done)]
        if order.message.blocking:
            effects.insert(0, SendAck(AckKind.RESULT, order.message, activation))
        if run.done:
            self._unread += 1
            effects.append(NotifyPool(RunDone(self.container_id, order.run_id)))
        return effects

    @property
    def _may_read_later(self) -> bool:
        return self._logs_remain and self._marks_ends and self._unread < UNREAD_LOGS and self._stage is not _Stage.DEAD

    def _logged_later(self, run: _Run, activation: Activation, *, complete: bool) -> list[RunEffect]:
        """The container may have another run by now."""
        self._unread -= 1
        message = run.order.message
        effects: list[RunEffect] = [SendAck(AckKind.COMPLETION, message, activation), Record(message, activation)]
        if not complete:
            self._stage = _Stage.DEAD
            effects.append(NotifyPool(ContainerUnfit(self.container_id)))
        return effects

    def _end_unrun(self, order: Order, response: Response, now: float, *, reuse: bool) -> list[RunEffect]:
        """It cannot run, and the container was not asked."""
        return self._end(order, activation_of(order, response, None, Interval(now, now)), reuse=reuse)

    def _end(self, order: Order, activation: Activation, *, reuse: bool) -> list[RunEffect]:
        kind = AckKind.COMBINED if order.message.blocking else AckKind.COMPLETION
        return self._end_by(kind, order, activation, reuse=reuse)

    def _end_by(self, kind: AckKind, order: Order, activation: Activation, *, reuse: bool) -> list[RunEffect]:
        if not reuse:
            self._stage = _Stage.DEAD
        done = RunDone(self.container_id, order.run_id, reuse)
        return [SendAck(kind, order.message, activation), Record(order.message, activation), NotifyPool(done)]


_NOT_STARTED = {
    NoAnswer.UNREACHABLE: "connecting to it failed",
    NoAnswer.UNPROVEN: "the process at its port did not prove that it is the container",
    NoAnswer.LOST: "it ended before its action was initialized",
}


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
