"""An OpenWhisk invoker, on any cluster: it receives activations, runs them in containers, and sends their results.

It decides nothing. The pool says which container a run gets; `ActionContainers` sends the requests to containers;
this module fetches the action, keeps track of runs, and answers the Controller. The sources of activations (Kafka,
the command line) and the destinations of answers and records are parameters.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec

from owmesos.core.container_factory import InvokerEvent, InvokerHost
from owmesos.core.pool import events as pool_events
from owmesos.errors import InvariantBroken
from owmesos.invoker.in_flight import InFlight, InFlightRuns, InFlightState
from owmesos.openwhisk.activation import (
    NAMESPACE_BLACKLISTED,
    NOT_PREPARED,
    UNKNOWN_KIND,
    Activation,
    Reporter,
    Response,
    application_error,
    not_run,
    whisk_error,
)
from owmesos.openwhisk.arguments import Decrypt
from owmesos.openwhisk.container.access import access_to
from owmesos.openwhisk.container.log_reader import ContainerLogs
from owmesos.openwhisk.container.protocol import start_error, was_lost
from owmesos.openwhisk.container.run_state import AckKind, Interval, activation_of
from owmesos.openwhisk.container.runner import ActionContainers, RequestTimes
from owmesos.openwhisk.entities import ActionStore, ActionUnavailable, ActivationStore, Blacklist, CodeStore
from owmesos.openwhisk.limits import USUAL_LIMITS, ForcedCompletion, PayloadLimits
from owmesos.openwhisk.manifest import Manifest
from owmesos.openwhisk.messages import Acknowledgement, ActivationMessage, ControllerId, InvokerId, UserEvent
from owmesos.system.tasks import cancel_all, keep

CANCELLED = "The activation was cancelled before it began."
_log = logging.getLogger("owmesos.invoker")


class Acks(Protocol):
    """Sends answers to those who wait for activations."""

    def send(
        self, controller: ControllerId, message: Acknowledgement, sent: Callable[[], None] | None = None
    ) -> None: ...

    def send_event(self, event: UserEvent) -> None: ...


Begin = Callable[[str, float], Awaitable[None]]
"""Records that an activation begins now, in seconds since the epoch, and returns when that is durable. Raises
OwmesosError; then the container is not asked."""


class Invoker:
    """One invoker. `host` is started already. `user_events`: whether to send an event for each activation."""

    def __init__(
        self,
        host: InvokerHost,
        identity: InvokerId,
        *,
        manifest: Manifest,
        actions: ActionStore,
        acks: Acks,
        activations: ActivationStore,
        blacklist: Blacklist | None = None,
        user_events: bool = False,
        pressed: Callable[[bool], None] = lambda on: None,
        ciphers: Mapping[str, Decrypt] | None = None,
        begin: Begin | None = None,
        forced: ForcedCompletion | None = None,
        payload: PayloadLimits = USUAL_LIMITS,
        codes: CodeStore | None = None,
        ended: Callable[[Activation], None] = lambda activation: None,
    ) -> None:
        """`manifest`: the one that its containers are started by. `begin` is awaited before a run's container is
        asked. `forced`: when the Controller gives up; no run starts that might end later. `payload` bounds the size
        of responses. `codes` has the code that is not in actions' documents. `pressed` is called with
        True when nothing is launchable for long, and with False when that is over. `ended` gets each activation at its
        end, but for tests of the invoker."""
        self._host = host
        self._manifest = manifest
        self._actions = actions
        self._acks = acks
        self._activations = activations
        self._blacklist = blacklist
        self._user_events = user_events
        self._pressed = pressed
        self._begin = begin
        self._forced = forced
        self._ended = ended
        self._now = host.now
        self._reporter = Reporter(identity, self._now)
        self._containers = ActionContainers(self, self._now, ciphers=ciphers, payload=payload, codes=codes)
        self.in_flight = InFlightRuns()
        self._refusing: set[str] = set()  # nodes that refuse to give logs, which was logged
        self._for_pool: deque[pool_events.PoolEvent] = deque()
        self._notifying = False
        self._winds_down = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._handlers = self._by_effect()
        host.pool_listeners.append(self._on_pool_event)

    @property
    def request_times(self) -> Mapping[str, RequestTimes]:
        """Times of requests to containers, by path."""
        return self._containers.times

    def wind_down(self) -> None:
        """From now on no container is given a run that none was asked to run before: the next process runs it."""
        self._winds_down = True

    async def close(self) -> None:
        """Runs in progress are abandoned."""
        if self._on_pool_event in self._host.pool_listeners:
            self._host.pool_listeners.remove(self._on_pool_event)
        await cancel_all(self._tasks)
        await self._containers.close()

    def end_rest(self, why: str, *, only_begun: bool = False) -> None:
        """After `close`: tell the Controllers that what had not ended by then never will, but for its log. The invoker
        is not blamed for that: they will judge its next process. What was not taken up is left to the next process;
        with `only_begun` so is what no container was asked to run."""
        for run in self.in_flight.all():
            if run.state is InFlightState.ANSWERED:
                result = run.result.result()
                assert result is not None
                self._end(run, result)
            elif run.state is InFlightState.RECEIVED or (only_begun and not run.begun):
                self.in_flight.end(run, state=InFlightState.LEFT)
            else:
                self._end(run, self._cut_off(run, why), blamed=False)

    def _cut_off(self, run: InFlight, why: str) -> Activation:
        """It ends before its result is there."""
        now = self._now()
        if run.order is None:
            return not_run(run.message, whisk_error(why), now)
        began = run.dispatched_at if run.dispatched_at is not None else now
        return activation_of(run.order, whisk_error(why), None, Interval(began, now))

    # -- activations

    def activate(self, run: InFlight) -> None:
        """Run it, unless it came before."""
        if self.in_flight.receive(run):
            self.take_up(run)

    def conclude(self, run: InFlight, activation: Activation, *, answered: bool) -> None:
        """It is not run, since an earlier process may have run it: `activation` is what became of it, and `answered`
        whether its caller knows that. The invoker is not blamed for it."""
        if answered:
            run.answer(activation)
        self._end(run, activation, blamed=False)

    def cancel(self, run: InFlight) -> bool:
        """End a run that has no container; False if it has one or has ended."""
        if run.state is InFlightState.QUEUED:
            self.notify_pool(pool_events.CancelRun(run.run_id))
        elif run.state is not InFlightState.FETCHING:
            return False
        self._end_unrun(run, application_error(CANCELLED), blamed=False, since=run.received_at)
        return True

    def take_up(self, run: InFlight) -> None:
        """Run what was received here."""
        run.enter(InFlightState.FETCHING)
        keep(asyncio.get_running_loop().create_task(self._admit(run)), self._tasks)

    async def _admit(self, run: InFlight) -> None:
        message, run_id = run.message, run.run_id
        namespace = message.user.namespace.name
        executable = failed = None
        try:
            if self._blacklist is not None and self._blacklist.blocks(namespace):
                self._end_unrun(run, application_error(NAMESPACE_BLACKLISTED), recorded=False)
                return
            executable = await self._actions.action(message.action, message.revision)
        except ActionUnavailable as error:
            _log.info("activation %s does not run: %s", run_id, error)
            failed = error.response
        except Exception:  # noqa: BLE001  (an internal error: it is logged, and the activation ends)
            _log.exception("activation %s could not be prepared", run_id)
            failed = whisk_error(NOT_PREPARED)
        if run.state is not InFlightState.FETCHING:  # it was cancelled meanwhile
            return
        if executable is None:
            self._end_unrun(run, failed or whisk_error(NOT_PREPARED))
            return
        self.in_flight.queue(run, executable)
        start_within = None
        if self._forced is not None and not message.health:  # nobody forces the completion of a test
            start_within = self._forced.start_within(executable.limits.seconds) - (self._now() - run.sent_at)
        self.notify_pool(pool_events.Run(run_id, executable.for_pool(), namespace, message.health, start_within))

    def _end_unrun(
        self,
        run: InFlight,
        response: Response,
        *,
        blamed: bool = True,
        recorded: bool = True,
        since: float | None = None,
    ) -> None:
        """`since`: the start that its record gives, in seconds since the epoch; that of its end by default."""
        kind = run.order.executable.kind if run.order is not None else UNKNOWN_KIND
        activation = not_run(run.message, response, self._now(), kind)
        if since is not None:
            activation = msgspec.structs.replace(activation, start=min(activation.end, int(since * 1000)))
        self._end(run, activation, blamed=blamed, recorded=recorded)

    def _end(self, run: InFlight, activation: Activation, *, blamed: bool = True, recorded: bool = True) -> None:
        """The last message to its Controller about it. `blamed`: see `Reporter.combined`."""
        message = run.message
        combined = message.blocking and run.state is not InFlightState.ANSWERED
        self.in_flight.end(run, activation.without_logs() if combined else None)
        report = self._reporter.combined if combined else self._reporter.completion
        self._acks.send(message.root_controller_index, report(message, activation, blamed=blamed), run.done)
        if not message.health:
            self._ended(activation)
        if self._user_events:
            self._acks.send_event(self._reporter.event(message, activation))
        if recorded:
            self.record(message, activation)

    # -- what the containers report (`owmesos.openwhisk.container.runner.Outcomes`)

    async def begin(self, run_id: str) -> None:
        """Called just before its container is asked."""
        run = self.in_flight[run_id]
        run.enter(InFlightState.RUNNING)
        run.begun = True
        if self._begin is not None:
            await self._begin(run_id, self._now())

    def notify_pool(self, event: pool_events.PoolEvent) -> None:
        """Events that come meanwhile wait for their turn."""
        run = self.in_flight.find(event.run_id) if isinstance(event, pool_events.Reschedule) else None
        if run is not None:
            run.enter(InFlightState.QUEUED)
            run.dispatched_at = run.container_id = None
        self._for_pool.append(event)
        if self._notifying:
            return
        self._notifying = True
        try:
            while self._for_pool:
                self._host.observe(self._for_pool.popleft())
        finally:
            self._notifying = False

    def acknowledge(self, kind: AckKind, message: ActivationMessage, activation: Activation) -> None:
        run = self.in_flight[message.activation_id]
        if kind is not AckKind.COMPLETION:
            run.add_bytes(activation.response.weight)
        if kind is AckKind.RESULT:
            run.answer(activation.without_logs())
            self._acks.send(message.root_controller_index, self._reporter.result(message, activation))
            return
        # Else one node that is lost, with all that runs on it, would make the whole invoker Unhealthy.
        self._end(run, activation, blamed=message.health or not was_lost(activation.response), recorded=False)

    def record(self, message: ActivationMessage, activation: Activation) -> None:
        if message.user.stores_activations and not message.health:
            self._activations.store(activation)

    # -- what the pool wants

    def _on_pool_event(self, effect: InvokerEvent) -> None:
        """Raises InvariantBroken for an effect that nothing here carries out."""
        carry_out = self._handlers.get(type(effect))
        if carry_out is None:
            raise InvariantBroken(f"the invoker cannot carry out {type(effect).__name__}")
        carry_out(effect)

    def _by_effect(self) -> dict[type[InvokerEvent], Callable[[Any], None]]:
        return {
            pool_events.Dispatch: self._dispatch,
            pool_events.ContainerStarted: self._container_started,
            pool_events.ContainerStopped: self._container_stopped,
            pool_events.RunFailed: self._run_failed,
            pool_events.Backpressure: lambda effect: self._pressed(effect.on),
            pool_events.FeedMore: lambda effect: None,  # the feed counts by `done`, which is called for other ends too
        }

    def _dispatch(self, effect: pool_events.Dispatch) -> None:
        run = self.in_flight[effect.run_id]
        if self._winds_down and not run.begun:
            return
        run.enter(InFlightState.DISPATCHED)
        run.dispatched_at, run.container_id = self._now(), effect.container_id
        assert run.order is not None
        self._containers.run(effect.container_id, run.order, initialize=effect.initialize)

    def _run_failed(self, effect: pool_events.RunFailed) -> None:
        run = self.in_flight[effect.run_id]
        assert run.order is not None
        image = run.order.executable.image
        response = start_error(image, effect.message, effect.start_failed, at_fault=effect.at_fault)
        _log.info("activation %s does not run: %s", effect.run_id, effect.message)
        # A full cluster is no fault of the invoker; but a test that it cannot run has shown that it is of no use.
        blamed = run.message.health or not effect.no_room
        self._end_unrun(run, response, blamed=blamed)

    def _container_started(self, effect: pool_events.ContainerStarted) -> None:
        container_id = effect.container_id
        container = self._host.pool.containers.by_id.get(container_id)
        if container is None:  # the pool has given it up since
            return
        access = access_to(container_id, proves=self._manifest.proves(container.shape), mapped=effect.mapped)
        streams = self._host.logs_of(container_id)
        logs = ContainerLogs(streams, refusing=self._refusing) if streams is not None else None
        self._containers.started(container_id, effect.address, logs, access=access)

    def _container_stopped(self, effect: pool_events.ContainerStopped) -> None:
        self._containers.stopped(effect.container_id, effect.reason, effect.cause)
