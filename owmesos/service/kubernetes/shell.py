"""The loop around the factory: the cluster's events and the invoker's go in, and what the factory wants is carried out.

All waiting is here, and no decisions. It uses one event loop; nodes and pods are read in a thread of their own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol, get_args

from owmesos.core.container_factory import CONTAINERS_STOP, InvokerEvent
from owmesos.core.listings import instant
from owmesos.core.node_stats import NodeStatsUpdate
from owmesos.core.pool.events import PoolEvent
from owmesos.core.pool.pool import Pool
from owmesos.documents import LaunchState
from owmesos.errors import InvariantBroken
from owmesos.kubernetes import effects, events
from owmesos.kubernetes.factory import FactoryEffect, KubernetesFactory
from owmesos.kubernetes.wire.api_client import ApiClient
from owmesos.service import long_waits
from owmesos.service.kubernetes.outbox import PodOutbox
from owmesos.service.kubernetes.pod_streams import PodStreams
from owmesos.service.kubernetes.stories import ContainerStories
from owmesos.service.listeners import notify
from owmesos.service.loop_lag import LoopLag
from owmesos.service.stopped import Stopped
from owmesos.system.clock import Clock

_FOR_INVOKER = get_args(InvokerEvent)
_LOOK = 0.05  # seconds
_log = logging.getLogger("owmesos.service")


class ClusterSource(Protocol):
    """Brings NodesListed, NodeSeen, … from `start` on."""

    def start(self) -> None: ...

    def relist(self, reason: str) -> None: ...

    async def close(self) -> None: ...


class ApiConnection(NamedTuple):
    """Whether nodes and pods are known as they are now. `since`: seconds since the epoch when that began or ended."""

    known: bool
    since: float
    reason: str | None  # why not


class KubernetesShell:
    """An `InvokerHost`. It calls those in `changed` with the id of each container that changes, those in `stats` with
    NodeStats, those in `pool_inputs` with what an invoker told the pool, those in `ended` at the end."""

    def __init__(self, factory: KubernetesFactory, api: ApiClient, clock: Clock) -> None:
        settings = factory.state.settings
        self.factory = factory
        self.clock = clock
        self.pool_listeners: list[Callable[[InvokerEvent], None]] = []
        self.pool_inputs: list[Callable[[PoolEvent], None]] = []
        self.changed: list[Callable[[str], None]] = []
        self.stats: list[Callable[[NodeStatsUpdate], None]] = []
        self.ended: list[Callable[[Stopped], None]] = []
        self.loop_lag = LoopLag()
        self.outbox = PodOutbox(api, settings.namespace, self.observe)
        self.stories = ContainerStories(factory.state.records, self._container_changed)
        self.connection = ApiConnection(False, clock.now(), "nodes and pods have not been listed yet")
        self.lost = 0
        """How often the watches were lost."""
        self.steps = 0
        """Events that were handled."""
        self._api = api
        self._namespace = settings.namespace
        self._watch: ClusterSource | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._next_look: asyncio.TimerHandle | None = None
        self._stopped: asyncio.Future[Stopped] | None = None
        self._closed = False
        self._handlers = self._by_effect()

    # -- life

    def start(self, watch: ClusterSource) -> None:
        """`watch` delivers to `observe_all`."""
        self._stopped = asyncio.get_running_loop().create_future()
        self._watch = watch
        self.loop_lag.start()
        watch.start()
        self._set_timer()

    async def finished(self) -> Stopped:
        assert self._stopped is not None
        return await asyncio.shield(self._stopped)

    def stop(self, reason: str, exit_code: int) -> None:
        if self._stopped is not None and not self._stopped.done():
            stopped = Stopped(reason, exit_code)
            self._stopped.set_result(stopped)
            notify(self.ended, stopped)

    async def close(self) -> None:
        self._closed = True
        self.loop_lag.stop()
        for timer in (self._timer, self._next_look):
            if timer is not None:
                timer.cancel()
        await self.outbox.close()
        if self._watch is not None:
            await self._watch.close()

    async def stop_containers(self, timeout: float = CONTAINERS_STOP) -> bool:
        """Their pods are deleted, and their terminal phases waited for."""
        self._carry_out(self.factory.retire(self.now()))
        self._after(None)
        until = asyncio.get_running_loop().time() + timeout
        while self.factory.living():
            if asyncio.get_running_loop().time() > until:
                return False
            await asyncio.sleep(_LOOK)
        return True

    # -- events

    def now(self) -> float:
        return self.clock.now()

    @property
    def pool(self) -> Pool:
        return self.factory.pool

    def observe(self, event: events.KubernetesEvent | PoolEvent) -> None:
        """An error in handling it does not end the process."""
        if self._closed:
            return
        try:
            self._carry_out(self.factory.handle(event, self.now()))
        except Exception as error:  # noqa: BLE001  (whatever it is, it is logged and the process lives on)
            _log.exception("%s could not be handled, listing anew: %s", type(event).__name__, error)
            self._relist("an event could not be handled")
        if isinstance(event, PoolEvent):
            notify(self.pool_inputs, event)
        self._after(event)

    def observe_all(self, found: Sequence[events.KubernetesEvent]) -> None:
        for event in found:
            self.observe(event)

    def _after(self, event: events.KubernetesEvent | PoolEvent | None) -> None:
        """What follows from the factory's new state."""
        now, known = self.now(), self.factory.state.known
        self.steps += 1
        if isinstance(event, events.ApiDisconnected):
            self.lost += 1
        if known != self.connection.known:
            reason = event.reason if isinstance(event, events.ApiDisconnected) else "nodes and pods are listed anew"
            self.connection = ApiConnection(known, now, None if known else reason)
        names = _pods_in(event)
        if names is None:
            self.stories.look_at_all(now)
        else:
            self.stories.look(names, now)
        self._set_timer()

    def _container_changed(self, container_id: str, state: LaunchState, text: str) -> None:
        _log.debug("container %s is %s: %s", container_id, state, text)
        notify(self.changed, container_id)

    # -- for people

    def connection_trouble(self) -> str | None:
        known, since, reason = self.connection
        if known:
            return None
        return f"not connected to the API server since {instant(since)}: {reason}"

    def logs_of(self, container_id: str) -> PodStreams | None:
        record = self.factory.pod_of(container_id)
        return PodStreams(self._api, self._namespace, record.name) if record is not None else None

    # -- timers

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._closed:
            return
        loop, when = asyncio.get_running_loop(), self.factory.next_wake()
        if when is not None:
            self._timer = loop.call_later(max(0.0, when - self.now()), self.observe, events.KubernetesTick())
        if self._next_look is None and self.pool.state.buffer:
            self._next_look = loop.call_later(long_waits.AFTER, self._look_for_long_waits)

    def _look_for_long_waits(self) -> None:
        oldest = long_waits.of_pool(self.pool, self.connection_trouble())
        lines, again = long_waits.look([oldest] if oldest is not None else [], self.now())
        for line in lines:
            _log.warning("%s", line)
        self._next_look = None
        if again is not None and not self._closed:
            self._next_look = asyncio.get_running_loop().call_later(again, self._look_for_long_waits)

    # -- effects

    def _carry_out(self, wanted: Sequence[FactoryEffect]) -> None:
        """Raises InvariantBroken for an effect that nothing here carries out."""
        for effect in wanted:
            carry_out = self._handlers.get(type(effect))
            if carry_out is None:
                raise InvariantBroken(f"the shell cannot carry out {type(effect).__name__}")
            carry_out(effect)

    def _by_effect(self) -> dict[type[Any], Callable[[Any], None]]:
        return {
            effects.PostPod: self._send,
            effects.DeletePod: self._send,
            effects.NodeStatsChanged: lambda effect: notify(self.stats, effect.update),
            effects.Relist: lambda effect: self._relist(effect.reason),
            effects.LogNote: lambda effect: _log.log(logging.getLevelName(effect.level.upper()), "%s", effect.text),
            **dict.fromkeys(_FOR_INVOKER, partial(notify, self.pool_listeners)),
        }

    def _send(self, request: effects.PostPod | effects.DeletePod) -> None:
        self.outbox.send(request)
        self.stories.look((request.name,), self.now())

    def _relist(self, reason: str) -> None:
        if self._watch is not None:
            self._watch.relist(reason)


def _pods_in(event: events.KubernetesEvent | PoolEvent | None) -> tuple[str, ...] | None:
    """The pods that the event is about; None where it may be about all of them."""
    if isinstance(event, events.PodCreated):
        return (event.name, event.pod.metadata.name)
    if isinstance(event, (events.PodSeen, events.PodDeleted)):
        return (event.pod.metadata.name,)
    if isinstance(event, (events.PostRejected, events.DeleteRejected)):
        return (event.name,)
    if isinstance(event, (PoolEvent, events.NodeSeen)):
        return ()
    return None
