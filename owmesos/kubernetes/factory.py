"""Kubernetes as the pool's container factory: nodes and pods in, pods posted and deleted, still without any I/O.

Theory of operation. A node is one piece of room that is always at hand: its allocatable less the requests of all pods
there, replaced by each event of the watch. The pool decides where a container starts and reserves the room; its pod is
posted at once, pinned to that node, and kube-scheduler binds it if there is room indeed. Once the node's sum contains
the pod, the start is cut; once the pod is Ready, it is over. Room comes back at a pod's terminal phase.

`handle` takes the events of the cluster and of the pool, and carries out what the two want of each other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from owmesos.core.container_factory import FOR_INVOKER, ContainerSpec, InvokerEvent, PoolInput, PoolRecipe
from owmesos.core.pool import events as pool_events
from owmesos.core.pool.containers import ContainerShape
from owmesos.core.pool.pool import Pool
from owmesos.errors import InvalidInput, InvariantBroken
from owmesos.kubernetes import events
from owmesos.kubernetes.blame import PodBlame
from owmesos.kubernetes.effects import KubernetesEffect, NodeStatsChanged
from owmesos.kubernetes.nodes import Nodes
from owmesos.kubernetes.pod_manifest import pod_body, pod_name
from owmesos.kubernetes.pod_outcomes import PodOutcomes
from owmesos.kubernetes.pod_records import PodRecord, PodStep
from owmesos.kubernetes.pod_status import progress
from owmesos.kubernetes.pod_template import check_template
from owmesos.kubernetes.pod_writes import PodWrites
from owmesos.kubernetes.pods import Pods
from owmesos.kubernetes.settings import KubernetesSettings
from owmesos.kubernetes.state import FactoryState, KubernetesTimer, slot_of

FactoryEffect = KubernetesEffect | InvokerEvent
_TOLD = (pool_events.ContainerStarted, pool_events.ContainerStopped)
_WHILE_RETIRED = "the process ends"
_SHAPE = ContainerShape("sample", 0)


class KubernetesFactory:
    """The pool and its cluster as one. The pool's capacity is the cluster's."""

    def __init__(
        self,
        settings: KubernetesSettings,
        build: Callable[..., Pool],
        spec_of: Callable[[pool_events.StartContainer], ContainerSpec],
    ) -> None:
        """Raises InvalidInput for a template that cannot be used."""
        check_template(settings.template)
        self.state = state = FactoryState(settings)
        self.pool = build(state.capacity)
        # A container is one pod, with an address of its own: no node runs out of ports, but of pods.
        self.pool.state.additions = state.additions
        self.pool.state.settings = msgspec.structs.replace(self.pool.state.settings, ports=0, pods=1)
        self._spec_of = spec_of
        self._blame = PodBlame(state)
        self._outcomes = PodOutcomes(state, self._blame)
        self._writes = PodWrites(state, self._outcomes)
        self._pods = Pods(state, self._outcomes, self._writes, self._blame)
        self._nodes = Nodes(state, self._pods)
        self._retired = False
        state.capacity.progress_of = self._progress_of
        self._handlers: dict[type, Callable[[Any, float], None]] = {
            events.NodesListed: self._nodes.listed,
            events.NodeSeen: lambda event, now: self._nodes.seen(event.node, now),
            events.NodeDeleted: lambda event, now: self._nodes.deleted(event.name, now),
            events.PodsListed: self._pods.listed,
            events.PodSeen: lambda event, now: self._pods.seen(event.pod, now),
            events.PodCreated: lambda event, now: self._pods.created(event.name, event.pod, now),
            events.PodDeleted: lambda event, now: self._pods.deleted(event.pod, now),
            events.ApiDisconnected: self._disconnected,
            events.PostRejected: self._post_rejected,
            events.DeleteRejected: self._delete_rejected,
            events.KubernetesTick: lambda event, now: None,
        }
        self._requests: dict[type, Callable[[Any, float], None]] = {
            pool_events.StartContainer: self._start,
            pool_events.StopContainer: self._stop,
            pool_events.SetAside: lambda effect, now: None,  # the pool itself starts nothing else there
            pool_events.WaitingForRoom: lambda effect, now: None,  # the watch shows all room by itself
        }
        self._timed: dict[KubernetesTimer, Callable[[Any, float], None]] = {
            KubernetesTimer.DEADLINE: self._of_record(self._pods.overdue),
            KubernetesTimer.UNSCHEDULABLE: self._of_record(self._pods.still_unschedulable),
            KubernetesTimer.UNANSWERED: self._of_record(self._writes.unanswered),
            KubernetesTimer.POST_AGAIN: self._of_record(self._writes.post_again),
            KubernetesTimer.DELETE_AGAIN: lambda name, now: self._writes.delete_again(name),
            KubernetesTimer.BACKOFF: lambda node, now: self._blame.pause_over(node),
            KubernetesTimer.ADDITIONS: lambda subject, now: self._look_at_additions(now),
            KubernetesTimer.QUOTA: lambda subject, now: self._writes.quota_over(now),
        }

    @classmethod
    def of(cls, recipe: PoolRecipe, settings: KubernetesSettings) -> KubernetesFactory:
        """Raises InvalidInput for settings with which no container could start."""
        factory = cls(settings, recipe.build, recipe.spec_of)
        for number, spec in enumerate(recipe.samples):
            start = pool_events.StartContainer(f"sample{number}", _SHAPE, slot_of("sample"), spec.ask, (), False)
            pod_body(start, spec, settings)
        return factory

    def handle(self, event: events.KubernetesEvent | PoolInput, now: float) -> list[FactoryEffect]:
        """What is to be done, in order. What the pool wants of the cluster, and is told by it, is carried out already.

        Containers that started or stopped are told among the effects. Raises InvariantBroken for an event, a request
        or a timer without a rule.
        """
        state = self.state
        done: list[FactoryEffect] = []
        to_do: deque[Any] = deque([event])
        if isinstance(event, events.KubernetesTick):
            to_do.append(pool_events.PoolTick())
        while to_do or self._stats_to(to_do, done):
            item = to_do.popleft()
            if isinstance(item, events.KubernetesEvent):
                self._of_cluster(item, now)
            elif not self._retired:
                if isinstance(item, _TOLD):
                    done.append(item)  # the container's client is notified before its runs are dispatched
                self._of_pool(item, now, done)
            elif isinstance(item, _TOLD):
                done.append(item)
            done += state.take_effects()
            to_do.extend(state.for_pool)
            state.for_pool.clear()
        return done

    def next_wake(self) -> float | None:
        own = self.state.timers.next()
        times = [when for when in (own, None if self._retired else self.pool.next_wake()) if when is not None]
        return min(times, default=None)

    def retire(self, now: float) -> list[FactoryEffect]:
        """Before the end: the pool decides nothing more, and all containers are stopped, whatever is in them."""
        self._retired = True
        for record in self.living():
            self._pods.stop(record, _WHILE_RETIRED, now)
        return self.handle(events.KubernetesTick(), now)

    def living(self) -> list[PodRecord]:
        """The containers whose pods have not ended, as far as is known."""
        return [each for each in self.state.records.values() if each.pod is None or each.holds_room or not each.deletes]

    def pod_of(self, container_id: str) -> PodRecord | None:
        """What is known of a container; None once its pod is gone."""
        return self.state.records.get(pod_name(container_id))

    def _progress_of(self, container_id: str) -> str | None:
        record = self.pod_of(container_id)
        if record is None:
            return None
        return progress(record.pod) if record.pod is not None else record.story[-1].text

    def validate(self) -> None:
        """Check the books against each other. Raises InvariantBroken."""
        state = self.state
        state.ledger.validate()
        state.room.validate()
        reservations = state.ledger.reservations.by_launch
        for record in state.records.values():
            reservation = reservations.get(record.id)
            expected = _RESERVED.get(record.step) if record.stop is None else None
            found = reservation.state.value if reservation is not None else None
            if record.stop is None and found != expected:
                raise InvariantBroken(f"container {record.id} is {record.step.value} and its reservation {found}")
        if state.known:
            for node in state.room:
                account = state.ledger.accounts.get(slot_of(node))
                if account is None or account.held != state.free(node):
                    raise InvariantBroken(f"node {node} has {state.free(node)} free, the ledger says {account}")

    # -- the cluster

    def _of_cluster(self, event: events.KubernetesEvent, now: float) -> None:
        handler = self._handlers.get(type(event))
        if handler is None:
            raise InvariantBroken(f"the container factory has no rule for {type(event).__name__}")
        handler(event, now)
        for key in self.state.timers.due(now):
            name, subject = key if isinstance(key, tuple) else (key, "")
            self._timed[name](subject, now)

    def _look_at_additions(self, now: float) -> None:
        """Where admission once added more than any node has, no pod would be posted that shows that it was mended."""
        state, settings = self.state, self.state.settings
        if state.known and state.additions and not self._retired:
            for shape in self.pool.state.buffer.uncovered_shapes():
                if state.additions.waiting(shape, now, settings.additions_last):
                    state.note("debug", f"what admission adds to a pod of {shape.start_key} is asked anew")
                    state.for_pool.append(pool_events.PoolTick())
        else:
            state.additions.none_waits()
        if state.additions:
            state.timers.set(KubernetesTimer.ADDITIONS, now + settings.additions_interval)

    def _of_record(self, act: Callable[[PodRecord, float], None]) -> Callable[[Any, float], None]:
        def look(name: str, now: float) -> None:
            record = self.state.records.get(name)
            if record is not None:
                act(record, now)

        return look

    def _disconnected(self, event: events.ApiDisconnected, now: float) -> None:
        """Unknown is not full. What is known of the pods is kept, to be compared with the next lists."""
        state = self.state
        state.nodes_listed = state.pods_listed = state.capacity.known = False
        state.ledger.disconnect()
        state.note("warning", f"nodes and pods are not known any more: {event.reason}")

    def _post_rejected(self, event: events.PostRejected, now: float) -> None:
        record = self.state.records.get(event.name)
        if record is not None:
            self._writes.rejected(record, event.failure, now)

    def _delete_rejected(self, event: events.DeleteRejected, now: float) -> None:
        record = self.state.records.get(event.name)
        if record is None:
            self._writes.orphan_delete_rejected(event.name, event.failure, now)
        elif self._writes.delete_rejected(record, event.failure, now):
            self._pods.gone_by_name(record, now)

    def _stats_to(self, to_do: deque[Any], done: list[FactoryEffect]) -> bool:
        """When all is quiet, what changed is told to the pool. Whether anything did."""
        update = self.state.take_stats()
        if update is None:
            return False
        done.append(NodeStatsChanged(update))
        to_do.append(update)
        return True

    # -- the pool

    def _of_pool(self, event: PoolInput, now: float, done: list[FactoryEffect]) -> None:
        if isinstance(event, pool_events.Reschedule) and event.failed_start:
            self._unusable(event, now)
        elif isinstance(event, pool_events.Initialized):
            record = self.pod_of(event.container_id)
            if record is not None:
                self._blame.usable(record, now)
        for effect in self.pool.handle(event, now):
            if isinstance(effect, FOR_INVOKER):
                done.append(effect)
                continue
            request = self._requests.get(type(effect))
            if request is None:
                raise InvariantBroken(f"the container factory has no rule for {type(effect).__name__}")
            request(effect, now)

    def _unusable(self, event: pool_events.Reschedule, now: float) -> None:
        record = self.pod_of(event.container_id)
        if record is not None:
            self._blame.unusable(record, event.reason, now)

    def _start(self, start: pool_events.StartContainer, now: float) -> None:
        try:
            spec = self._spec_of(start)
        except InvalidInput as error:
            self.state.for_pool.append(pool_events.StartFailed(start.container_id, str(error)))
        else:
            own = spec.ask.minus(
                self.state.additions.of(start.shape)
            )  # of its container; the rest comes from admission
            self._writes.start(start, msgspec.structs.replace(spec, ask=own), now)

    def _stop(self, stop: pool_events.StopContainer, now: float) -> None:
        record = self.pod_of(stop.container_id)
        if record is not None:
            self._pods.stop(record, stop.reason, now)


_RESERVED = {PodStep.POSTED: "decided", PodStep.PENDING: "decided", PodStep.BOUND: "cut"}
