"""What events about pods do: the sums of their nodes, and how far each container of ours has come.

A start is cut in the step in which its node's sum first contains its pod, so that its room is never counted twice or
not at all. Every deletion names the pod's uid. Nothing is concluded from an older state of a pod than is known: the
answer to a POST may come after the watch has shown more.
"""

from __future__ import annotations

from owmesos.core.pool.events import PoolTick, StopCause
from owmesos.kubernetes.blame import PodBlame
from owmesos.kubernetes.effects import DeletePod
from owmesos.kubernetes.events import PodsListed
from owmesos.kubernetes.messages import Pod
from owmesos.kubernetes.pod_manifest import (
    altered,
    incarnation_of,
    is_of_this_incarnation,
    is_ours,
    placed_by_admission,
)
from owmesos.kubernetes.pod_outcomes import PodOutcomes
from owmesos.kubernetes.pod_records import PodRecord, PodStep
from owmesos.kubernetes.pod_requests import added_to
from owmesos.kubernetes.pod_status import (
    disruption,
    has_ended,
    is_ready,
    progress,
    start_error,
    terminated,
    unschedulable,
)
from owmesos.kubernetes.pod_writes import PodWrites
from owmesos.kubernetes.state import FactoryState, KubernetesTimer, slot_of
from owmesos.resources import plainly

_DIGITS = 20  # of a resourceVersion that is a number: it is one of 64 bits


class Pods:
    """Writes events about pods into the state."""

    def __init__(self, state: FactoryState, outcomes: PodOutcomes, writes: PodWrites, blame: PodBlame) -> None:
        self._state = state
        self._outcomes = outcomes
        self._writes = writes
        self._blame = blame
        self._listed_at: float | None = None  # for the first time
        self._others: set[str] = set()  # incarnations of processes that run beside this one, and were warned of

    # -- events

    def listed(self, event: PodsListed, now: float) -> None:
        """Whatever else there was is gone: ends that no watch has shown are found here."""
        state = self._state
        state.pods_listed = True
        if self._listed_at is None:
            self._listed_at = now
        state.room.replace_pods(event.pods)
        seen = {pod.metadata.uid for pod in event.pods}
        version = _number(event.resource_version)
        for pod in event.pods:
            if pod.metadata.namespace == state.settings.namespace:
                self._of_our_namespace(pod, now)
        for record in list(state.records.values()):
            # Without a version the list is taken as newer than what was seen.
            if record.uid is not None and record.uid not in seen and (not version or record.version <= version):
                self._gone(record, now)
            elif record.uid is None:
                self._writes.is_not_listed(record, now)
        state.orphans = {name: uid for name, uid in state.orphans.items() if uid in seen}
        state.update_known()
        state.refresh_all(now)

    def seen(self, pod: Pod, now: float) -> None:
        state, name = self._state, pod.metadata.name
        record = state.records.get(name) if pod.metadata.namespace == state.settings.namespace else None
        if (
            record is not None
            and record.uid == pod.metadata.uid
            and _number(pod.metadata.resource_version) < record.version
        ):
            return
        for node in state.room.pod(pod):
            state.refresh(node, now)
        if pod.metadata.namespace == state.settings.namespace:
            self._of_our_namespace(pod, now)

    def created(self, name: str, pod: Pod, now: float) -> None:
        """It is ours, whatever admission made of it."""
        what = altered(name, pod, self._state.settings) or placed_by_admission(pod)
        if what is None:
            self.seen(pod, now)
        else:
            self._altered(name, pod, what, now)

    def deleted(self, pod: Pod, now: float) -> None:
        state, metadata = self._state, pod.metadata
        for node in state.room.pod_gone(metadata.uid):
            state.refresh(node, now)
        if metadata.namespace != state.settings.namespace:
            return
        if state.orphans.get(metadata.name) == metadata.uid:
            del state.orphans[metadata.name]
        record = state.records.get(metadata.name)
        if record is not None and record.uid == metadata.uid:
            record.pod = pod
            self._gone(record, now)

    # -- ours

    def _altered(self, name: str, pod: Pod, what: str, now: float) -> None:
        """One that could not be told to be ours would keep its room for good, and one with a node or a scheduler of
        admission's choice may take what is not free: it is deleted."""
        self._delete_orphan(pod)
        record = self._state.records.get(name)
        if record is not None and record.step is PodStep.POSTED:
            self._writes.was_altered(record, what, now)

    def _of_our_namespace(self, pod: Pod, now: float) -> None:
        state = self._state
        record = state.records.get(pod.metadata.name)
        if not is_ours(pod, state.settings):
            if record is not None and record.uid is None:
                self._writes.is_a_strangers(record, now)
            return
        if record is not None and record.uid not in (None, pod.metadata.uid):
            self._gone(record, now)
            record = None
        if record is None or not is_of_this_incarnation(pod, state.settings):
            self._orphan(pod, now)
        elif record.uid is None and (what := altered(record.name, pod, state.settings)) is not None:
            self._altered(record.name, pod, what, now)
        else:
            self._judge(record, pod, now)

    def _orphan(self, pod: Pod, now: float) -> None:
        """A pod of ours that nobody knows, of an earlier incarnation or of a start that was given up."""
        if not self._delete_orphan(pod):
            return
        state, name = self._state, pod.metadata.name
        other = incarnation_of(pod)
        if is_of_this_incarnation(pod, state.settings) or not self._is_late(now):
            state.note("info", f"pod {name} belongs to no start of this process: it is deleted")
        elif other not in self._others:
            self._others.add(other)
            invoker = state.settings.invoker
            state.note(
                "warning",
                f"another process makes pods as invoker {invoker}, such as {name}, and each deletes the other's: stop "
                "one of them, or give it another name (--invoker-name, with --kafka --id)",
            )

    def _is_late(self, now: float) -> bool:
        """For a pod that an earlier process asked for before it ended."""
        return self._listed_at is not None and now > self._listed_at + self._state.settings.unanswered_wait

    def _delete_orphan(self, pod: Pod) -> bool:
        """Whether it is asked for now."""
        state, metadata = self._state, pod.metadata
        if state.orphans.get(metadata.name) == metadata.uid:
            return False
        state.orphans[metadata.name] = metadata.uid
        if metadata.deletion_timestamp is not None:
            return False
        state.emit(DeletePod(metadata.name, metadata.uid, state.settings.grace))
        return True

    def _judge(self, record: PodRecord, pod: Pod, now: float) -> None:
        if _number(pod.metadata.resource_version) < record.version:
            return
        self._place(record, pod, now)
        if has_ended(pod) or terminated(pod) is not None:
            self._has_ended(record, pod, now)
        elif record.step is PodStep.LEAVING or record.deletes:
            return
        elif record.stop is not None:
            self._state.delete(record)  # its deletion waited until it could be named by its uid
        elif pod.metadata.deletion_timestamp is not None or pod.status.phase == "Unknown":
            self._taken_away(record, pod, now)
        elif record.step is not PodStep.STARTED:
            self._look_at_start(record, pod, now)

    def _place(self, record: PodRecord, pod: Pod, now: float) -> None:
        """It exists, and may be in its node's sum."""
        state = self._state
        was_held = record.pod is not None and record.holds_room
        record.pod, record.version = pod, _number(pod.metadata.resource_version)
        if record.uid is None:
            record.uid = pod.metadata.uid
            self._look_at_request(record, pod, now)
            state.timers.cancel((KubernetesTimer.UNANSWERED, record.name))
            state.timers.cancel((KubernetesTimer.POST_AGAIN, record.name))
            if state.quota is not None:
                state.quota[record.start.slot.agent_id] -= 1
                state.refresh(record.start.slot.agent_id, now)
            else:
                state.quota_noted = False
            if record.step is PodStep.POSTED:
                record.to(PodStep.PENDING)
        held = state.room.held_by(pod.metadata.uid)
        if held is not None and record.step is PodStep.PENDING:
            record.node = held[0]
            record.to(PodStep.BOUND)
            record.add_to_story(now, f"it is bound to node {held[0]}")
            state.timers.cancel((KubernetesTimer.UNSCHEDULABLE, record.name))
            state.ledger.cut(record.id, held[1], pod.metadata.uid)
        if was_held and held is None and state.quota is not None:
            self._quota_has_room(record, now)

    def _look_at_request(self, record: PodRecord, pod: Pod, now: float) -> None:
        """A runtime class, a LimitRange or a webhook may have it and those like it take more than was posted."""
        state, shape, added = self._state, record.start.shape, added_to(record.body, pod)
        differs = state.additions.learn(shape, added)
        if state.additions:
            state.timers.set_earliest(KubernetesTimer.ADDITIONS, now + state.settings.additions_interval)
        if not differs:
            return
        state.for_pool.append(PoolTick())
        each = ", ".join(
            f"{plainly(amount)} {what}"
            for amount, what in (
                (added.milli_mem, "MB"),
                (added.milli_cpus, "cpus"),
                (added.milli_disk, "MB of disk"),
                (added.milli_gpus, "gpus"),
            )
            if amount
        )
        like = f"{shape.start_key}, {shape.memory} MB"
        state.note("info", f"admission adds {each or 'nothing'} to a pod ({like}): each start like it counts with it")

    def _quota_has_room(self, record: PodRecord, now: float) -> None:
        """One more may start where one of ours has ended."""
        state = self._state
        if state.quota is not None and record.node is not None:
            state.quota[record.node] += 1
            state.refresh(record.node, now)

    def _look_at_start(self, record: PodRecord, pod: Pod, now: float) -> None:
        state = self._state
        error = start_error(pod)
        if error is not None:
            self._outcomes.failed(record, error, now, pod.spec.node_name or None)
            state.delete(record)
        elif record.step is PodStep.BOUND and is_ready(pod):
            self._outcomes.started(record, pod, now)
        elif record.step is PodStep.PENDING and unschedulable(pod) is not None:
            timer = (KubernetesTimer.UNSCHEDULABLE, record.name)
            if state.timers.get(timer) is None:
                state.timers.set(timer, now + state.settings.unschedulable_wait)

    def _has_ended(self, record: PodRecord, pod: Pod, now: float) -> None:
        """Its object is deleted, too: nobody else would. A stop is told with its room, an end by itself at once."""
        if record.step is not PodStep.LEAVING and (record.stop is None or has_ended(pod)):
            self._outcomes.ended(record, pod, now)
        if not record.deletes:
            self._state.delete(record)

    def _taken_away(self, record: PodRecord, pod: Pod, now: float) -> None:
        """Somebody else deletes it: an eviction, a preemption, a person. It has its TERM by now."""
        why = disruption(pod) or (
            "its node is lost" if pod.status.phase == "Unknown" else "another client deletes its pod"
        )
        if record.step is PodStep.STARTED:
            self._outcomes.stopped(record, why, StopCause.LOST, now)
        else:
            record.refused = why  # told once it is gone
        self._state.delete(record)

    def _gone(self, record: PodRecord, now: float) -> None:
        state = self._state
        if record.uid is not None:
            for node in state.room.pod_gone(record.uid):
                state.refresh(node, now)
            if record.holds_room:
                self._quota_has_room(record, now)
        self._outcomes.gone(record, now)
        state.drop(record)

    # -- what the pool wants

    def stop(self, record: PodRecord, reason: str, now: float) -> None:
        """Deleted as soon as it is known by its uid: a deletion that overtakes the POST would have no effect."""
        if record.step is PodStep.LEAVING or record.stop is not None:
            return
        record.stop = reason
        record.add_to_story(now, f"the pool stops it: {reason}")
        state = self._state
        if record.uid is None:
            self._writes.stopped_unseen(record, now)
            return
        if record.node is not None:
            taken = state.room.held_by(record.uid)
            if taken is not None:
                slot, ask = slot_of(record.node), record.start.ask
                state.ledger.reservations.stopping(record.id, slot, ask, taken[1], record.uid, now)
                state.ledger.mark(slot)
        if not record.deletes:
            state.delete(record)

    # -- what is due

    def gone_by_name(self, record: PodRecord, now: float) -> None:
        """A deletion was told that it is not there."""
        if record.uid is not None:
            self._gone(record, now)

    def still_unschedulable(self, record: PodRecord, now: float) -> None:
        """kube-scheduler found no room: the start is taken back. One that waits for containers to stop is the pool's to
        withdraw: kube-scheduler tries it again at their ends, and after a pause of its own of up to seconds."""
        state, settings = self._state, self._state.settings
        if record.step is not PodStep.PENDING or record.deletes or record.pod is None:
            return
        said = unschedulable(record.pod)
        if said is None:
            return
        waits_until = record.posted_at + settings.unschedulable_most
        if record.start.after and now < waits_until:
            state.timers.set((KubernetesTimer.UNSCHEDULABLE, record.name), waits_until)
            return
        record.refused = f"kube-scheduler found no room: {said}"
        record.add_to_story(now, record.refused)
        state.delete(record)

    def overdue(self, record: PodRecord, now: float) -> None:
        """It took too long to start."""
        if record.step in (PodStep.STARTED, PodStep.LEAVING) or record.deletes:
            return
        why = f"it did not start within {now - record.posted_at:.0f} s: {progress(record.pod)}"
        if record.step is PodStep.POSTED:
            self._outcomes.refused(record, why, now)
            self._writes.given_up(record)
        elif record.step is PodStep.PENDING:
            record.refused = why
            self._state.delete(record)
        else:
            self._outcomes.failed(record, why, now, record.node)
            self._state.delete(record)

    # -- nodes

    def node_lost(self, node: str, why: str, now: float) -> None:
        """What runs there cannot be reached. It keeps its room until its pod is seen to end."""
        state = self._state
        for record in list(state.records.values()):
            if record.node != node or record.step not in (PodStep.BOUND, PodStep.STARTED):
                continue
            if record.step is PodStep.STARTED:
                self._outcomes.stopped(record, why, StopCause.LOST, now)
            else:
                self._blame.outage(record, node, why, now)
                self._outcomes.refused(record, why, now)
            if not record.deletes:
                state.delete(record)


def _number(version: str) -> int:
    """Versions of one resource are compared as numbers (Kubernetes 1.35 and later promise it, etcd always did so)."""
    return int(version) if version.isdecimal() and len(version) <= _DIGITS else 0
