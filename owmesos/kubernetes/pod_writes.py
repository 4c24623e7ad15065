"""Requests to create and delete pods, and what is done when the API server answers them with an error.

A pod's name is its container's id and is used once, so a request to create it may be repeated: at most one comes to
be, and the rest are told AlreadyExists. Whether one without an answer had an effect is thereby learned by asking again.
"""

from __future__ import annotations

from collections import Counter

from owmesos.core.container_factory import ContainerSpec
from owmesos.core.pool.events import StartContainer, StartFailed
from owmesos.errors import InvalidInput
from owmesos.kubernetes.effects import DeletePod, PostPod, Relist, WithdrawPost
from owmesos.kubernetes.events import ApiFailure
from owmesos.kubernetes.pod_manifest import altered_text, grace_of, pod_body, pod_name, port_of
from owmesos.kubernetes.pod_outcomes import PodOutcomes
from owmesos.kubernetes.pod_records import PodRecord, PodStep
from owmesos.kubernetes.state import FactoryState, KubernetesTimer

_AGAIN = (0, 408, 409, 429, 500, 502, 503, 504)
"""Statuses after which the same request may succeed. 409 only as Conflict: another write came in between."""

_EXCEEDED = "exceeded quota"
_GONE = ("NotFound", "Conflict", "Gone")
"""Why a pod is not deleted: it is not there, or another one has its name."""


class PodWrites:
    """Decides what is asked of the API server, and when again."""

    def __init__(self, state: FactoryState, outcomes: PodOutcomes) -> None:
        self._state = state
        self._outcomes = outcomes

    # -- starts

    def start(self, start: StartContainer, spec: ContainerSpec, now: float) -> None:
        """Its room is reserved: its pod is posted at once, also while a victim on its node still stops."""
        state = self._state
        try:
            body = pod_body(start, spec, state.settings)
        except InvalidInput as error:
            state.for_pool.append(StartFailed(start.container_id, str(error)))
            return
        grace, deadline = grace_of(spec, state.settings), now + spec.deadline
        name = pod_name(start.container_id)
        record = PodRecord(start.container_id, name, start, body, grace, now, deadline, port_of(spec))
        record.add_to_story(now, f"it is to start on node {start.slot.agent_id}")
        state.put(record)
        state.timers.set((KubernetesTimer.DEADLINE, name), deadline)
        state.emit(PostPod(name, body))

    def post_again(self, record: PodRecord, now: float) -> None:
        """Unless it certainly does not exist, and its room is not there any more: a neighbour's pod came meanwhile."""
        state = self._state
        if record.step is not PodStep.POSTED or record.asked:
            return
        if not record.may_exist and not state.known:
            state.timers.set((KubernetesTimer.POST_AGAIN, record.name), now + state.settings.repeat_first)
            return
        if not record.may_exist and not self._has_room(record):
            self._end(record, "its room was taken before its pod could be created", now, refused=True)
            return
        record.asked = True
        record.posts += 1
        state.emit(PostPod(record.name, record.body))

    def _has_room(self, record: PodRecord) -> bool:
        """Or will have: one that was decided to come after containers that stop has none while they do."""
        state, start = self._state, record.start
        stopping = [state.records[name] for name in map(pod_name, start.after) if name in state.records]
        return any(each.holds_room for each in stopping) or start.ask.fits(state.ledger.held(start.slot, record.id))

    def rejected(self, record: PodRecord, failure: ApiFailure, now: float) -> None:
        """Its pod was not created, as far as is known."""
        record.asked = False
        record.may_exist = record.may_exist or not failure.certain
        if record.step is not PodStep.POSTED:
            return  # it was seen meanwhile
        record.add_to_story(now, f"its pod was not created: {failure.message or failure.reason}")
        if failure.reason == "AlreadyExists" and not failure.denied:
            self._look_for(record, now)
        elif not failure.certain or (failure.status in _AGAIN and not failure.denied):
            self._later(record, failure, now)
        elif record.may_exist:
            # Quotas and webhooks judge before names are compared: an earlier request may have had its effect.
            record.rejection = failure
            self._look_for(record, now)
        else:
            self._is_rejected(record, failure, now)

    def _is_rejected(self, record: PodRecord, failure: ApiFailure, now: float) -> None:
        """It certainly does not exist, and will not."""
        if _is_quota(failure) and not failure.denied:
            self._quota_is_exhausted(failure, now)
            self._end(record, str(self._state.capacity.ration), now, refused=True)
        else:
            self._end(record, self._advice(failure), now, refused=False)

    def _later(self, record: PodRecord, failure: ApiFailure, now: float) -> None:
        """Ask again, unless the pool does not want it any more and it certainly does not exist."""
        if record.stop is not None and not record.may_exist:
            self._end(record, record.stop, now, refused=True)
            return
        pause = self._pause(record.posts, failure)
        self._state.timers.set((KubernetesTimer.POST_AGAIN, record.name), now + pause)

    def stopped_unseen(self, record: PodRecord, now: float) -> None:
        """The pool stops it before its pod was seen: none is made only to be deleted."""
        if record.asked:
            self._state.emit(WithdrawPost(record.name))
        elif not record.may_exist:
            self._end(record, str(record.stop), now, refused=True)

    def given_up(self, record: PodRecord) -> None:
        """Its deadline is over. A request that waits for an API server that wants a pause is not sent after it."""
        if record.asked:
            self._state.emit(WithdrawPost(record.name))
        self._state.drop(record)

    def _look_for(self, record: PodRecord, now: float) -> None:
        """One with its name exists or may exist: ours, if an earlier request had its effect. The watch will show it."""
        record.looked_for = True
        self._state.timers.set((KubernetesTimer.UNANSWERED, record.name), now + self._state.settings.unanswered_wait)

    def unanswered(self, record: PodRecord, now: float) -> None:
        if record.step is PodStep.POSTED:
            self._state.emit(Relist(f"pod {record.name} may exist, and was not seen"))
            self._state.timers.set((KubernetesTimer.UNANSWERED, record.name), now + self._state.settings.repeat_most)

    def is_not_listed(self, record: PodRecord, now: float) -> None:
        """No pod of its name exists any more, if one did."""
        if record.step is not PodStep.POSTED or not record.looked_for:
            return
        if record.rejection is not None:
            self._is_rejected(record, record.rejection, now)
        else:
            self._end(record, "its pod was deleted before it was seen", now, refused=True)

    def is_a_strangers(self, record: PodRecord, now: float) -> None:
        """The pod of its name is not one of ours, unless the request under way made it: its answer will tell."""
        if record.step is PodStep.POSTED and not record.asked:
            namespace = self._state.settings.namespace
            self._end(record, f"another pod in namespace {namespace} has the name {record.name}", now, refused=False)

    def was_altered(self, record: PodRecord, what: str, now: float) -> None:
        """It was admitted as something that owmesos cannot use."""
        self._end(record, altered_text(what), now, refused=False)

    def _end(self, record: PodRecord, reason: str, now: float, *, refused: bool) -> None:
        """No pod of it exists."""
        if refused:
            self._outcomes.refused(record, reason, now)
        else:
            self._outcomes.failed(record, reason, now)
        self._state.drop(record)

    def _quota_is_exhausted(self, failure: ApiFailure, now: float) -> None:
        """The namespace takes one more pod only where one of ours ends, for a while."""
        state = self._state
        state.timers.set(KubernetesTimer.QUOTA, now + state.settings.quota_wait)
        said = failure.message.partition(_EXCEEDED)[2].lstrip(": ")
        state.capacity.ration = f"the quota of namespace {state.settings.namespace} is exhausted: {said}"
        if not state.quota_noted:
            state.quota_noted = True
            state.note("warning", f"{state.capacity.ration}: no more pods until one ends, or the quota is raised")
        if state.quota is None:
            state.quota = Counter()
            state.refresh_all(now)

    def quota_over(self, now: float) -> None:
        """The next start shows whether there is room in it again."""
        self._state.quota = self._state.capacity.ration = None
        self._state.refresh_all(now)

    def _advice(self, failure: ApiFailure) -> str:
        """The error, and what to do where that is known."""
        namespace = self._state.settings.namespace
        said = failure.message or failure.reason
        if failure.denied:  # with a status of the webhook's or policy's choice
            return f"{said}: change that, or what it objects to (--pod-template)"
        if failure.status == 404:
            return f"namespace {namespace} does not exist: create it ({said})"
        if failure.status == 403 and "cannot create" in said:
            return f"pods cannot be created in namespace {namespace}: add create to the role ({said})"
        return f"the API server rejected its pod: {said}"

    # -- deletions

    def delete_rejected(self, record: PodRecord, failure: ApiFailure, now: float) -> bool:
        """Whether its pod is gone."""
        if _is_gone(failure):
            return True
        self._delete_later(record.name, record.deletes, failure, now)
        return False

    def orphan_delete_rejected(self, name: str, failure: ApiFailure, now: float) -> None:
        if _is_gone(failure):
            self._state.orphans.pop(name, None)
        else:
            self._delete_later(name, 1, failure, now)

    def _delete_later(self, name: str, times: int, failure: ApiFailure, now: float) -> None:
        state = self._state
        lasting = failure.denied or failure.status == 403
        if lasting:
            advice = "change that, its room is taken until then" if failure.denied else "add delete to the role"
            state.note("warning", f"pod {name} cannot be deleted: {failure.message}: {advice}")
        pause = state.settings.repeat_most if lasting else self._pause(times, failure)
        state.timers.set((KubernetesTimer.DELETE_AGAIN, name), now + pause)

    def delete_again(self, name: str) -> None:
        state = self._state
        record = state.records.get(name)
        if record is not None:
            state.delete(record)
        elif name in state.orphans:
            state.emit(DeletePod(name, state.orphans[name], state.settings.grace))

    def _pause(self, times: int, failure: ApiFailure) -> float:
        settings = self._state.settings
        pause = min(settings.repeat_most, settings.repeat_first * 2.0 ** min(times - 1, 30))
        return max(pause, failure.retry_after or 0.0)


def _is_gone(failure: ApiFailure) -> bool:
    """It does not exist. A webhook that denies a deletion may answer with any status."""
    return not failure.denied and (failure.reason in _GONE or failure.status in (404, 410))


def _is_quota(failure: ApiFailure) -> bool:
    return failure.status == 403 and _EXCEEDED in failure.message
