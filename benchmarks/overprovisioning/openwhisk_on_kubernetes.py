"""Today's invoker on Kubernetes: `user-memory` decides, and kube-scheduler finds a node, or does not.

As OpenWhisk's KubernetesContainerFactory does it: a pod is posted that may go anywhere, with `restartPolicy: Always`;
each second it is asked whether it is ready; after a minute the start fails, its activation with it, and the pod is
deleted. What kube-scheduler says of it (Unschedulable) is not read. A container is stopped by deleting its pod, whose
room counts as free from then on. Nothing is watched: that a pod is gone is found out when its container is used.

Kinder than the original: nothing is stopped that would not help, no start is throttled, and a container obeys SIGTERM
as quickly as ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from owmesos.core.node_stats import NodeStatsUpdate
from owmesos.core.pool import events as pool_events
from owmesos.core.pool.pool import Pool
from owmesos.simulator.agenda import AgendaEntry, cancel
from owmesos.simulator.kubernetes.objects import Document, node_of
from owmesos.simulator.kubernetes.world import KubernetesWorld
from owmesos.sizing.user_memory import UserMemory

RUN_TIMEOUT = 60.0  # whisk.kubernetes.timeouts.run
POLL = 1.0  # seconds


class OpenWhiskInvoker:
    """A pool with a fixed user-memory, and the pods that it wants. What else it wants goes to `on_effect`."""

    def __init__(
        self,
        world: KubernetesWorld,
        pool: Pool,
        memory: UserMemory,
        pod_of: Callable[[pool_events.StartContainer], Document],
        namespace: str = "default",
    ) -> None:
        self.pool = pool
        self.on_effect: Callable[[Any], None] = lambda effect: None
        self.where: dict[str, str] = {}  # container → its node
        self._world = world
        self._memory = memory
        self._pod_of = pod_of
        self._namespace = namespace
        self._starting: dict[str, AgendaEntry] = {}  # container → when its pod is asked for next
        self._inbox: list[pool_events.PoolEvent | NodeStatsUpdate] = []
        self._busy = False
        self._timer: AgendaEntry | None = None

    def handle(self, event: pool_events.PoolEvent | NodeStatsUpdate) -> None:
        self._inbox.append(event)
        if self._busy:
            return
        self._busy = True
        while self._inbox:
            for effect in self.pool.handle(self._inbox.pop(0), self._world.now):
                self._carry_out(effect)
        self._busy = False
        cancel(self._timer)
        wake = self.pool.next_wake()
        self._timer = None if wake is None else self._world.agenda.at(wake, self.handle, pool_events.PoolTick())

    def _carry_out(self, effect: pool_events.PoolEffect) -> None:
        if isinstance(effect, pool_events.StopContainer):
            self._stop(effect.container_id)
        elif isinstance(effect, pool_events.StartContainer):
            self._memory.take(effect, self._world.now)
            self._post(effect)
        else:
            self.on_effect(effect)

    def _post(self, start: pool_events.StartContainer) -> None:
        answer = self._world.api.post_pod(self._namespace, self._pod_of(start))
        if answer.done:
            self._starting[start.container_id] = self._world.agenda.after(0.0, self._poll, start, self._world.now)
        else:
            self._failed(start.container_id, answer.body["message"])

    def _poll(self, start: pool_events.StartContainer, since: float) -> None:
        container_id = start.container_id
        pod = self._world.api.pod((self._namespace, container_id))
        if pod is not None and _is_ready(pod):
            del self._starting[container_id]
            self.where[container_id] = node_of(pod)
            address = pod["status"]["podIP"]
            self.handle(pool_events.ContainerStarted(container_id, self._memory.slot, address))
        elif self._world.now - since >= RUN_TIMEOUT:
            del self._starting[container_id]
            self._delete(container_id)
            self._failed(container_id, "the pod was not ready within a minute")
        else:
            self._starting[container_id] = self._world.agenda.after(POLL, self._poll, start, since)

    def _failed(self, container_id: str, reason: str) -> None:
        self.handle(pool_events.StartFailed(container_id, reason))
        self.handle(self._memory.give_back(container_id, self._world.now))

    def _stop(self, container_id: str) -> None:
        """For the pool, what is asked to stop is gone."""
        cancel(self._starting.pop(container_id, None))
        self.where.pop(container_id, None)
        self._delete(container_id)
        self.handle(pool_events.ContainerStopped(container_id, "asked to stop"))
        self.handle(self._memory.give_back(container_id, self._world.now))

    def _delete(self, container_id: str) -> None:
        self._world.api.delete_pod(self._namespace, container_id)


def _is_ready(pod: Document) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", ()))
