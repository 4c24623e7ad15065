"""The random histories see a fault of the factory: each mutation breaks one rule of it."""

from __future__ import annotations

from typing import Any

import pytest

from owmesos.kubernetes.events import ApiFailure
from owmesos.kubernetes.messages import Pod
from owmesos.kubernetes.node_room import NodeSums
from owmesos.kubernetes.pod_records import PodRecord, PodStep
from owmesos.kubernetes.pod_writes import PodWrites
from owmesos.kubernetes.pods import Pods
from tests.kubernetes.test_factory_machine import FactoryMachine
from tests.mutations import Mutations, nothing, wrap

pytestmark = [pytest.mark.mutations]
MUTATIONS = Mutations()


@MUTATIONS
def room_is_credited_at_the_deletion_timestamp(patch: pytest.MonkeyPatch) -> None:
    def seen(original: Any, self: NodeSums, pod: Pod) -> Any:
        leaves = pod.metadata.deletion_timestamp is not None
        return self.pod_gone(pod.metadata.uid) if leaves else original(self, pod)

    wrap(patch, NodeSums, "pod", seen)


@MUTATIONS
def a_start_is_released_when_it_is_posted(patch: pytest.MonkeyPatch) -> None:
    def start(original: Any, self: PodWrites, start: Any, *rest: Any) -> None:
        original(self, start, *rest)
        self._state.ledger.release(start.container_id)

    wrap(patch, PodWrites, "start", start)


@MUTATIONS
def a_pod_whose_request_got_no_answer_is_given_up(patch: pytest.MonkeyPatch) -> None:
    def rejected(original: Any, self: PodWrites, record: PodRecord, failure: ApiFailure, now: float) -> None:
        if failure.certain or record.step is not PodStep.POSTED:
            original(self, record, failure, now)
        else:
            self._end(record, "no answer", now, refused=True)

    wrap(patch, PodWrites, "rejected", rejected)


@MUTATIONS
def pods_of_a_process_that_was_killed_stay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Pods, "_delete_orphan", nothing)


@MUTATIONS
def pods_that_have_ended_stay(patch: pytest.MonkeyPatch) -> None:
    def has_ended(original: Any, self: Pods, record: PodRecord, pod: Pod, now: float) -> None:
        record.deletes += 1  # as if it were asked for already
        original(self, record, pod, now)

    wrap(patch, Pods, "_has_ended", has_ended)


@pytest.mark.parametrize("name", MUTATIONS)
def test_it_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTATIONS.is_caught(name, {FactoryMachine: 200}, monkeypatch)
