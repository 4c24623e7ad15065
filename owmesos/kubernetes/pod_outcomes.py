"""Tells the pool what became of a container: started, start refused, start failed, stopped. Each is told once.

A start is *refused* when its pod certainly never ran, or was taken back before anybody could use it: the pool decides
again, and nobody is at fault. It *failed* when it was placed and did not come to run. What ran has *stopped*, with the
cause by which its activations are answered. A container that the pool wants stopped has stopped, whatever it was.
"""

from __future__ import annotations

from owmesos.core.pool.events import ContainerStarted, ContainerStopped, StartFailed, StartRefused, StopCause
from owmesos.kubernetes.blame import PodBlame
from owmesos.kubernetes.messages import Pod
from owmesos.kubernetes.pod_manifest import address_of
from owmesos.kubernetes.pod_records import PodRecord, PodStep
from owmesos.kubernetes.pod_requests import pod_request
from owmesos.kubernetes.pod_status import end_of, has_ended, is_for_room, was_not_admitted
from owmesos.kubernetes.state import FactoryState, KubernetesTimer, slot_of


class PodOutcomes:
    """Writes into the state what the pool is to hear."""

    def __init__(self, state: FactoryState, blame: PodBlame) -> None:
        self._state = state
        self._blame = blame

    def started(self, record: PodRecord, pod: Pod, now: float) -> None:
        state, node = self._state, pod.spec.node_name
        record.to(PodStep.STARTED)
        record.add_to_story(now, f"it runs on node {node} at {pod.status.pod_ip}")
        state.timers.cancel((KubernetesTimer.DEADLINE, record.name))
        state.ledger.release(record.id)
        self._blame.ran(record, node, now)
        # Its address is a pod's own: nobody else listens there.
        address, taken = f"{address_of(pod)}:{record.port}", pod_request(pod).as_ask()
        state.for_pool.append(ContainerStarted(record.id, slot_of(node), address, mapped=True, returns_at_end=taken))

    def refused(self, record: PodRecord, reason: str, now: float) -> None:
        """Its pod never ran, or is gone before anybody used it."""
        if record.stop is not None:
            self.stopped(record, reason, StopCause.ENDED, now)
        else:
            self._leave(record, f"the start is refused: {reason}", now)
            self._state.for_pool.append(StartRefused(record.id, reason))

    def failed(self, record: PodRecord, reason: str, now: float, node: str | None = None) -> None:
        """It did not come to run. `node`: where it was placed."""
        if record.stop is not None:
            self.stopped(record, reason, StopCause.ENDED, now)
            return
        self._leave(record, f"the start failed: {reason}", now)
        if node is not None:
            self._blame.failed(record, node, reason, now)
        self._state.for_pool.append(StartFailed(record.id, reason, node))

    def stopped(self, record: PodRecord, reason: str, cause: StopCause, now: float) -> None:
        """It is gone, or is about to be, and takes no more runs."""
        self._leave(record, f"it has stopped: {reason}", now)
        self._state.for_pool.append(ContainerStopped(record.id, reason, cause))

    def ended(self, record: PodRecord, pod: Pod, now: float) -> None:
        """Its pod is in a terminal phase, or its container has terminated."""
        node = pod.spec.node_name or None
        cause, reason = end_of(pod)
        if record.step is PodStep.STARTED:
            self.stopped(record, record.stop or reason, StopCause.ENDED if record.stop is not None else cause, now)
        elif record.refused is not None:
            self.refused(record, record.refused, now)
        elif was_not_admitted(pod):
            why = f"node {node} did not admit its pod: {pod.status.reason}: {pod.status.message}"
            if not is_for_room(pod) and node is not None:
                self._blame.outage(record, node, why, now)
            self.refused(record, why, now)
        elif cause is StopCause.LOST:
            if node is not None:
                self._blame.outage(record, node, reason, now)
            self.refused(record, reason, now)
        else:
            self.failed(record, f"{reason} before it could be used", now, node)

    def gone(self, record: PodRecord, now: float) -> None:
        """Its pod does not exist any more."""
        pod = record.pod
        if record.step is PodStep.STARTED:
            if record.stop is not None:
                self.stopped(record, record.stop, StopCause.ENDED, now)
            else:
                cause, reason = _vanished(pod)
                self.stopped(record, reason, cause, now)
        elif record.step is not PodStep.LEAVING:
            self.refused(record, record.refused or record.stop or _vanished(pod)[1], now)

    def _leave(self, record: PodRecord, text: str, now: float) -> None:
        """Nothing is reserved for it any more: what its pod still holds is in its node's sum."""
        record.to(PodStep.LEAVING)
        record.add_to_story(now, text)
        for timer in (KubernetesTimer.DEADLINE, KubernetesTimer.UNSCHEDULABLE):
            self._state.timers.cancel((timer, record.name))
        self._state.ledger.release(record.id)


def _vanished(pod: Pod | None) -> tuple[StopCause, str]:
    """A pod that we did not delete. One that shows no end of its own was deleted by somebody."""
    if pod is not None:
        cause, reason = end_of(pod)
        if cause is not StopCause.ENDED or has_ended(pod):
            return cause, reason
    return StopCause.LOST, "its pod was deleted"
