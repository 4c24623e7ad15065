"""Requests that the API server answers with an error, or not at all, and pods of ours that nobody knows."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from owmesos.core.pool.events import ContainerStarted, ContainerStopped, RunDone, RunFailed, StopCause
from owmesos.core.pool.settings import PoolSettings
from owmesos.kubernetes import events
from owmesos.kubernetes.effects import DeletePod, LogNote, PostPod, Relist, WithdrawPost
from owmesos.kubernetes.events import ApiFailure, DeleteRejected, PostRejected
from owmesos.kubernetes.messages import Pod, SchedulingGate
from owmesos.kubernetes.pod_manifest import altered, placed_by_admission
from owmesos.kubernetes.pod_records import PodStep
from tests.kubernetes.factories import Driven, of, pinned_to
from tests.kubernetes.objects import LABELS, NAMESPACE, changed, node, pod

EXISTS = ApiFailure(409, "AlreadyExists", 'pods "a-1" already exists', True)
CUT = ApiFailure(0, "", "the connection broke off", False)
WITHDRAWN = ApiFailure(0, "Withdrawn", "it was not sent", True)
REFUSED = ApiFailure(0, "", "connection refused", True)
BUSY = ApiFailure(429, "TooManyRequests", "too many requests", True, 7.0)
MUTATING_POLICY = ApiFailure(429, "Invalid", "policy 'p' with binding 'b' denied request: cannot remove", True)
QUOTA = ApiFailure(403, "Forbidden", 'pods "a-1" is forbidden: exceeded quota: few, requested: pods=1', True)
RBAC = ApiFailure(403, "Forbidden", 'pods is forbidden: User "x" cannot create resource "pods"', True)
DENIED = tuple(
    ApiFailure(status, reason, 'admission webhook "policy" denied the request: no', True, 7.0)
    for status, reason in (
        (403, "Forbidden"),
        (404, "NotFound"),
        (409, "AlreadyExists"),
        (409, "Conflict"),
        (429, "TooManyRequests"),
        (503, "ServiceUnavailable"),
    )
)
POLICY = ApiFailure(
    401,
    "Unauthorized",
    "pods \"a-1\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
    True,
)
INVALID = ApiFailure(422, "Invalid", "spec.priorityClassName: no such class", True)
MISSING = ApiFailure(404, "NotFound", 'namespaces "actions" not found', True)
GONE = ApiFailure(404, "NotFound", 'pods "a-1" not found', True)


def ours(name: str, incarnation: str = "1", **fields: object) -> Pod:
    labels = {**LABELS, "owmesos/incarnation": incarnation}
    return pod(name, namespace=NAMESPACE, labels=labels, **fields)  # type: ignore[arg-type]


class TestCertain:
    @pytest.mark.parametrize(
        ("failure", "said"),
        [
            (RBAC, "pods cannot be created in namespace actions: add create to the role"),
            *((each, 'admission webhook "policy" denied the request: no: change that, or') for each in DENIED),
            (POLICY, "denied request: no: change that, or what it objects to"),
            (MUTATING_POLICY, "denied request: cannot remove: change that, or what it objects to"),
            (INVALID, "the API server rejected its pod: spec.priorityClassName"),
            (MISSING, "namespace actions does not exist: create it"),
        ],
    )
    def test_a_rejected_pod_is_a_failed_start_with_advice(self, failure: ApiFailure, said: str) -> None:
        driven = Driven.connected(node("n1"), node("n2"))
        driven.run()
        answered = 0
        for _ in range(10):
            for post in driven.posts()[answered:]:
                answered += 1
                driven.handle(PostRejected(post.name, failure))
            driven.after(15.0)
        (failed,) = of(driven.effects, RunFailed)
        assert said in str(failed.start_failed)
        assert not driven.factory.state.records
        assert driven.available("n1") == 1024

    def test_a_start_that_waits_says_for_what(self) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(), PostPod)

        def why() -> str:
            explanation = driven.factory.pool.explain("r1")
            return (
                explanation.summary.removeprefix(f"container {post.name} is starting for it: ") if explanation else ""
            )

        assert why() == "it is to start on node n1"
        made = driven.created(post)
        driven.seen(made)
        assert why() == "its pod is Pending: kube-scheduler has not bound it"
        gates = (SchedulingGate(name="a.example/quota"), SchedulingGate(name="b"))
        gated = msgspec.structs.replace(changed(made), spec=msgspec.structs.replace(made.spec, scheduling_gates=gates))
        driven.seen(gated)
        expected = "its pod is Pending: it waits until somebody removes its scheduling gates (a.example/quota, b)"
        assert why() == expected
        driven.seen(changed(made, version=200, on="n1"))
        assert why() == "its container is not ready"

    @pytest.mark.parametrize(("failure", "pause"), [(REFUSED, 0.5), (BUSY, 7.0)])
    def test_the_same_is_asked_again_after_a_pause(self, failure: ApiFailure, pause: float) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(), PostPod)
        driven.handle(PostRejected(post.name, failure))
        assert not of(driven.after(pause - 0.1), PostPod)
        assert of(driven.after(0.2), PostPod) == [post]
        assert driven.available() == 768

    def test_no_pod_is_made_of_a_start_that_is_stopped_while_its_request_waits(self) -> None:
        driven = Driven.connected(pool=PoolSettings(idle_grace=0.0))
        (post,) = of(driven.run(), PostPod)
        driven.handle(PostRejected(post.name, BUSY))
        driven.factory.retire(driven.now)
        assert post.name not in driven.factory.state.records
        assert not of(driven.after(30.0), PostPod)
        assert driven.available() == 1024

    def test_a_request_that_may_not_have_been_sent_is_withdrawn_with_its_start(self) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(), PostPod)
        assert of(driven.factory.retire(driven.now), WithdrawPost) == [WithdrawPost(post.name)]
        assert post.name in driven.factory.state.records  # until it is known what became of it
        driven.handle(PostRejected(post.name, WITHDRAWN))
        assert post.name not in driven.factory.state.records

    def test_a_request_is_not_sent_after_its_start_s_deadline(self) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(), PostPod)
        assert of(driven.after(61.0), WithdrawPost) == [WithdrawPost(post.name)]
        assert driven.factory.pool.state.counts.refused == 1
        second = driven.posts()[-1].name
        assert second != post.name
        driven.handle(PostRejected(post.name, WITHDRAWN))
        assert list(driven.factory.state.records) == [second]

    def test_what_is_never_accepted_is_refused_at_the_deadline(self) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(), PostPod)
        for _ in range(20):
            driven.handle(PostRejected(post.name, REFUSED))
            driven.after(10.0)
            if driven.factory.pool.state.counts.refused:
                break
        assert driven.factory.pool.state.counts.refused == 1
        assert post.name not in driven.factory.state.records

    def test_a_stop_ends_the_asking(self) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(), PostPod)
        driven.factory._pods.stop(driven.factory.state.records[post.name], "not needed", driven.now)
        driven.handle(PostRejected(post.name, REFUSED))
        assert [each.reason for each in of(driven.effects, ContainerStopped)] == ["not needed"]
        assert post not in of(driven.after(20.0), PostPod)


class TestUncertain:
    def test_one_that_had_its_effect_is_taken_up_when_it_is_seen(self) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(), PostPod)
        driven.handle(PostRejected(post.name, CUT))
        pod = driven.bound(post)
        driven.seen(pod)
        driven.seen(changed(pod, phase="Running", ip="10.0.0.7", conditions={"Ready": "True"}))
        assert len(of(driven.effects, ContainerStarted)) == 1
        assert not of(driven.after(20.0), PostPod)

    def test_one_without_is_asked_for_again_by_the_same_name(self) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(), PostPod)
        driven.handle(PostRejected(post.name, CUT))
        assert of(driven.after(1.0), PostPod) == [post]
        assert len({each.name for each in driven.posts()}) == 1

    def test_the_answer_that_it_exists_is_waited_for(self) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(), PostPod)
        driven.handle(PostRejected(post.name, CUT))
        driven.after(1.0)
        driven.handle(PostRejected(post.name, EXISTS))
        assert not of(driven.after(4.0), Relist)
        assert len(of(driven.after(2.0), Relist)) == 1
        driven.handle(events.PodsListed((driven.bound(post),)))
        assert driven.factory.state.records[post.name].step is PodStep.BOUND

    @pytest.mark.parametrize("answer", [QUOTA, RBAC, DENIED[0], MISSING], ids=["quota", "rbac", "denied", "missing"])
    def test_a_rejection_after_a_request_without_an_answer_does_not_say_that_it_does_not_exist(
        self, answer: ApiFailure
    ) -> None:
        """A quota is counted before names are compared: it may be this pod that has exhausted it."""
        driven = Driven.connected()
        (post,) = of(driven.run(), PostPod)
        driven.handle(PostRejected(post.name, CUT))
        driven.after(1.0)
        driven.handle(PostRejected(post.name, answer))
        assert post.name in driven.factory.state.records
        assert len(of(driven.after(6.0), Relist)) == 1
        driven.handle(events.PodsListed((driven.bound(post),)))
        assert driven.factory.state.records[post.name].step is PodStep.BOUND

    def test_a_rejection_holds_once_no_list_has_its_pod(self) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(), PostPod)
        driven.handle(PostRejected(post.name, CUT))
        driven.after(1.0)
        driven.handle(PostRejected(post.name, QUOTA))
        driven.handle(events.PodsListed(()))
        assert driven.factory.pool.state.counts.refused == 1
        assert "exhausted" in str(driven.factory.state.capacity.ration)

    def test_one_that_existed_and_is_not_listed_is_refused(self) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(), PostPod)
        driven.handle(PostRejected(post.name, EXISTS))
        driven.handle(events.PodsListed(()))
        assert driven.factory.pool.state.counts.refused == 1
        assert post.name not in driven.factory.state.records

    def test_a_strangers_pod_of_the_name_is_a_failed_start(self) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(), PostPod)
        driven.handle(PostRejected(post.name, EXISTS))
        driven.handle(events.PodsListed((pod(post.name, namespace=NAMESPACE),)))
        assert post.name not in driven.factory.state.records
        assert not driven.deletes()
        counted = driven.factory.pool.state.backoff.failures
        assert sum(counted.values()) == 1

    def test_a_pod_of_a_start_that_was_given_up_is_deleted_when_it_comes(self) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(), PostPod)
        late = driven.bound(post)
        driven.after(61.0)
        assert post.name not in driven.factory.state.records
        step = driven.seen(late)
        assert [(each.name, each.uid) for each in of(step, DeletePod)] == [(post.name, late.metadata.uid)]
        assert driven.factory.state.free("n1").mem == 768

    def test_a_rejection_after_it_was_seen_means_nothing(self) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(), PostPod)
        driven.seen(driven.bound(post))
        driven.handle(PostRejected(post.name, CUT))
        driven.handle(PostRejected("unknown", CUT))
        assert not of(driven.after(20.0), PostPod)
        assert driven.factory.state.records[post.name].step is PodStep.BOUND


class TestAltered:
    """An admission webhook may change all of a pod before it is stored."""

    @pytest.mark.parametrize("watch_first", [False, True])
    @pytest.mark.parametrize(
        ("metadata", "said"),
        [
            ({"labels": {}}, "no label owmesos/invoker"),
            ({"labels": {**LABELS, "owmesos/incarnation": "2"}}, "the label owmesos/incarnation: 2"),
            ({"labels": {"owmesos/invoker": "mine"}}, "the label owmesos/invoker: mine"),
            ({"name": "x-1"}, "the name x-1"),
        ],
    )
    def test_a_pod_that_cannot_be_told_to_be_ours_is_deleted_and_its_start_fails(
        self, metadata: dict[str, Any], said: str, watch_first: bool
    ) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(), PostPod)
        made = driven.created(post)
        made = msgspec.structs.replace(made, metadata=msgspec.structs.replace(made.metadata, **metadata))
        if watch_first:
            driven.seen(made)
        driven.handle(events.PodCreated(made, post.name))
        if not watch_first:
            driven.seen(made)
        assert [(each.name, each.uid) for each in driven.deletes()] == [(made.metadata.name, made.metadata.uid)]
        assert post.name not in driven.factory.state.records
        assert not driven.factory.state.ledger.reservations.by_launch.get(post.name)
        assert sum(driven.factory.pool.state.backoff.failures.values()) == 1
        assert altered(post.name, made, driven.settings) == said

    def test_one_that_was_given_a_node_is_not_that_nodes_fault(self) -> None:
        driven = Driven.connected(node("n1"), node("n2"))
        (post,) = of(driven.run(), PostPod)
        elsewhere = "n2" if pinned_to(post) == "n1" else "n1"
        made = changed(driven.created(post), on=elsewhere)
        driven.handle(events.PodCreated(made, post.name))
        driven.seen(changed(made, phase="Failed", reason="NodeAffinity"))
        assert driven.deletes()[0].uid == made.metadata.uid
        assert altered(post.name, made, driven.settings) is None
        assert placed_by_admission(made) == f"the nodeName {elsewhere}"
        assert not driven.factory.state.backoff.failures["agent"]

    def test_it_may_be_given_other_labels_besides(self) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(), PostPod)
        made = driven.created(post)
        made.metadata.labels["team"] = "a"
        driven.handle(events.PodCreated(made, post.name))
        assert driven.factory.state.records[post.name].step is PodStep.PENDING

    def test_its_deletion_is_asked_for_again(self) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(), PostPod)
        made = driven.created(post)
        made.metadata.labels.clear()
        driven.handle(events.PodCreated(made, post.name))
        (delete,) = driven.deletes()
        driven.handle(DeleteRejected(post.name, REFUSED))
        assert of(driven.after(5.0), DeletePod)[:1] == [delete]


class TestQuota:
    def test_no_more_pods_are_posted_than_end_while_it_is_exhausted(self) -> None:
        driven = Driven.connected(node("n1"), node("n2"))
        first = driven.started(256)
        (post,) = of(driven.run(256), PostPod)
        driven.handle(PostRejected(post.name, QUOTA))
        assert driven.posts()[-1] == post
        assert not of(driven.after(1.0), PostPod)
        ended = driven.seen(changed(first, phase="Failed"))
        assert len(of(ended, PostPod)) == 1
        assert [each.level for each in of(driven.effects, LogNote) if "quota" in each.text] == ["warning"]

    def test_it_is_told_once_until_pods_are_made_again(self) -> None:
        driven = Driven.connected()
        driven.run(256)
        for _ in range(3):
            driven.handle(PostRejected(driven.posts()[-1].name, QUOTA))
            driven.after(6.0)
        assert sum("quota" in each.text for each in of(driven.effects, LogNote)) == 1
        driven.handle(events.PodCreated(driven.created(driven.posts()[-1]), driven.posts()[-1].name))
        driven.run(256)
        driven.handle(PostRejected(driven.posts()[-1].name, QUOTA))
        assert sum("quota" in each.text for each in of(driven.effects, LogNote)) == 2

    def test_it_is_tried_again_after_a_while(self) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(256), PostPod)
        driven.handle(PostRejected(post.name, QUOTA))
        assert not of(driven.after(4.9), PostPod)
        assert len(of(driven.after(0.2), PostPod)) == 1

    def test_a_run_that_waits_for_it_says_so(self) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(256), PostPod)
        driven.handle(PostRejected(post.name, QUOTA))
        driven.run(256)
        for run_id in ("r1", "r2"):
            explanation = driven.factory.pool.explain(run_id)
            assert explanation is not None
            assert explanation.failed == {"quota": 1}
            assert explanation.summary.startswith("of 1 node, 1 gets no more pods by the quota; ")
            assert explanation.summary.count("the quota of namespace actions is exhausted: few, requested: pods=1") == 1

    def test_a_container_is_stopped_for_a_run_that_waits_for_it(self) -> None:
        driven = Driven.connected(node(memory="64Gi"))
        first = driven.started(256)
        run = driven.dispatched()[0]
        driven.handle(RunDone(run.container_id, run.run_id))
        driven.after(60.0)
        (post,) = of(driven.run(256), PostPod)
        step = driven.handle(PostRejected(post.name, QUOTA))
        assert [each.name for each in of(step, DeletePod)] == [first.metadata.name]


class TestDeletions:
    def test_one_that_is_not_there_any_more_has_stopped(self) -> None:
        driven = Driven.connected()
        running = driven.started()
        driven.factory._pods.stop(driven.factory.state.records[running.metadata.name], "test", driven.now)
        driven.handle(DeleteRejected(running.metadata.name, GONE))
        assert [each.cause for each in of(driven.effects, ContainerStopped)] == [StopCause.ENDED]
        assert not driven.factory.state.records

    @pytest.mark.parametrize(("failure", "pause"), [(REFUSED, 0.5), (BUSY, 7.0), (RBAC, 10.0), (DENIED[1], 10.0)])
    def test_another_error_is_asked_again_after_a_pause(self, failure: ApiFailure, pause: float) -> None:
        driven = Driven.connected()
        running = driven.started()
        driven.factory._pods.stop(driven.factory.state.records[running.metadata.name], "test", driven.now)
        driven.handle(DeleteRejected(running.metadata.name, failure))
        assert not of(driven.after(pause - 0.1), DeletePod)
        (again,) = of(driven.after(0.2), DeletePod)
        assert (again.uid, again.grace) == (running.metadata.uid, 2)
        assert not of(driven.effects, ContainerStopped)


class TestOrphans:
    def test_pods_of_an_earlier_incarnation_are_deleted_at_the_first_list(self) -> None:
        driven = Driven.connected(pods=(ours("old-1", "0", memory="100Mi"), ours("old-2", "0", deleting=True)))
        assert [(each.name, each.uid, each.grace) for each in driven.deletes()] == [("old-1", "uid-old-1", 2)]
        assert driven.available() == 924

    def test_a_process_that_runs_beside_under_the_same_name_is_warned_of_once(self) -> None:
        driven = Driven.connected(pods=(ours("old", "0", memory="100Mi"),))
        driven.after(4.0)
        driven.seen(ours("late", "0"))
        driven.after(2.0)
        for name in ("new-1", "new-2"):
            driven.seen(ours(name, "2"))
        driven.handle(events.ApiDisconnected("gone"))
        driven.handle(events.PodsListed((ours("new-1", "2"), ours("new-2", "2"), ours("new-3", "2"))))
        warnings = [each.text for each in of(driven.effects, LogNote) if "another process" in each.text]
        assert len(warnings) == 1
        assert "as invoker invoker0, such as new-1" in warnings[0]
        assert [each.name for each in driven.deletes()] == ["old", "late", "new-1", "new-2", "new-3"]

    def test_each_is_asked_for_once_and_its_room_comes_at_its_end(self) -> None:
        old = ours("old", "0", memory="100Mi")
        driven = Driven.connected(pods=(old,))
        driven.seen(changed(old, deleting=True))
        driven.handle(events.PodsListed((old,)))
        assert len(driven.deletes()) == 1
        driven.seen(changed(old, phase="Failed"))
        assert driven.available() == 1024
        driven.handle(events.PodDeleted(old))
        assert not driven.factory.state.orphans

    def test_a_deletion_that_fails_is_repeated_until_it_is_gone(self) -> None:
        driven = Driven.connected(pods=(ours("old", "0"),))
        driven.handle(DeleteRejected("old", REFUSED))
        assert [each.name for each in of(driven.after(1.0), DeletePod)] == ["old"]
        driven.handle(DeleteRejected("old", GONE))
        assert not driven.factory.state.orphans
        assert not of(driven.after(60.0), DeletePod)

    def test_pods_of_other_invokers_and_of_strangers_are_left_alone(self) -> None:
        other = pod("theirs", namespace=NAMESPACE, labels={**LABELS, "owmesos/invoker": "invoker1"})
        away = pod("away", namespace="elsewhere", labels=LABELS)
        driven = Driven.connected(pods=(other, away, pod("stranger", namespace=NAMESPACE)))
        assert not driven.deletes()

    def test_two_invokers_share_a_cluster(self) -> None:
        one, two = Driven.connected(), Driven.connected(invoker="invoker1")
        (post,) = of(one.run(256), PostPod)
        theirs = one.bound(post)
        two.seen(theirs)
        assert two.available() == 768
        assert not two.deletes()


class TestConnection:
    def test_nothing_starts_while_the_api_server_is_not_heard(self) -> None:
        driven = Driven.connected()
        driven.handle(events.ApiDisconnected("cut"))
        assert not of(driven.run(), PostPod)
        assert not driven.factory.pool.state.capacity.known
        driven.handle(events.NodesListed((node(),)))
        assert not driven.posts()
        driven.handle(events.PodsListed(()))
        assert len(driven.posts()) == 1

    def test_a_pod_that_is_newer_than_the_list_is_not_gone(self) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(), PostPod)
        driven.seen(driven.created(post))
        driven.handle(events.PodsListed((), "105"))
        assert driven.factory.state.records[post.name].step is PodStep.PENDING
        driven.handle(events.PodsListed((), "999"))
        assert post.name not in driven.factory.state.records

    def test_a_pod_of_the_same_name_with_another_uid_is_another(self) -> None:
        driven = Driven.connected()
        running = driven.started()
        other = ours(running.metadata.name, uid="uid-2", version=5000)
        driven.seen(other)
        assert [each.cause for each in of(driven.effects, ContainerStopped)] == [StopCause.LOST]
        assert [each.uid for each in driven.deletes()] == ["uid-2"]
