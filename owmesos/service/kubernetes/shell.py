"""The loop around the factory: the cluster's events and the invoker's go in, and what the factory wants is carried out.

All waiting is here, and no decisions. It uses one event loop; nodes and pods are read in a thread of their own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from owmesos.core.container_factory import CONTAINERS_STOP
from owmesos.core.listings import instant
from owmesos.core.pool.events import PoolEvent
from owmesos.core.pool.pool import Pool
from owmesos.documents import LaunchState
from owmesos.kubernetes import effects, events
from owmesos.kubernetes.factory import KubernetesFactory
from owmesos.kubernetes.wire.api_client import ApiClient
from owmesos.kubernetes.wire.leased import leased_pods
from owmesos.service import long_waits
from owmesos.service.base_shell import BaseShell
from owmesos.service.kubernetes.outbox import PodOutbox
from owmesos.service.kubernetes.pod_streams import PodStreams
from owmesos.service.kubernetes.stories import ContainerStories
from owmesos.service.listeners import notify
from owmesos.system.clock import Clock
from owmesos.system.lease import Lease

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


class KubernetesShell(BaseShell[events.KubernetesEvent | PoolEvent]):
    """An `InvokerHost`."""

    def __init__(self, factory: KubernetesFactory, api: ApiClient, clock: Clock, lease: Lease | None = None) -> None:
        """With `lease` no pod is created or deleted while that does not hold."""
        super().__init__(clock)
        settings = factory.state.settings
        self.factory = factory
        self.outbox = PodOutbox(leased_pods(api, lease), settings.namespace, self.observe)
        self.stories = ContainerStories(factory.state.records, self._container_changed)
        self.connection = ApiConnection(False, clock.now(), "nodes and pods have not been listed yet")
        self.lost = 0
        """How often the watches were lost."""
        self.steps = 0
        """Events that were handled."""
        self._api = api
        self._namespace = settings.namespace
        self._watch: ClusterSource | None = None

    # -- life

    def start(self, watch: ClusterSource) -> None:
        """`watch` delivers to `observe_all`."""
        self._begin()
        self._watch = watch
        watch.start()
        self._set_timer()

    async def close(self) -> None:
        self._end_timers()
        await self.outbox.close()
        if self._watch is not None:
            await self._watch.close()

    async def stop_containers(self, timeout: float = CONTAINERS_STOP) -> bool:
        """Their pods are deleted, and their terminal phases waited for."""
        self._carry_out(self.factory.retire(self.now()))
        self._after(None)
        return await self._wait_until_stopped(self.factory.living, timeout)

    # -- events

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
        waits = bool(self.pool.state.buffer)
        self._set_timers(self.factory.next_wake(), events.KubernetesTick(), waits=waits)

    def _longest_waits(self) -> list[long_waits.LongWait]:
        oldest = long_waits.of_pool(self.pool, self.connection_trouble())
        return [oldest] if oldest is not None else []

    # -- effects

    def _by_effect(self) -> dict[type[Any], Callable[[Any], None]]:
        return {
            effects.PostPod: self._send,
            effects.DeletePod: self._send,
            effects.WithdrawPost: lambda effect: self.outbox.withdraw(effect.name),
            effects.NodeStatsChanged: lambda effect: notify(self.stats, effect.update),
            effects.Relist: lambda effect: self._relist(effect.reason),
            effects.LogNote: lambda effect: _log.log(logging.getLevelName(effect.level.upper()), "%s", effect.text),
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
