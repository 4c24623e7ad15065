"""What becomes of a container: each end of its pod is told once, as what it is, and to the one who is to blame."""

from __future__ import annotations

from typing import Any

import pytest

from owmesos.core.pool.events import ContainerStarted, ContainerStopped, RunDone, RunFailed, StopCause
from owmesos.kubernetes import events
from owmesos.kubernetes.effects import DeletePod, LogNote, NodeStatsChanged, PostPod
from owmesos.kubernetes.messages import Pod
from tests.kubernetes.factories import Driven, of, pinned_to
from tests.kubernetes.objects import changed, node
from tests.kubernetes.objects import pod as stranger


def ends(driven: Driven) -> list[tuple[StopCause, str]]:
    return [(each.cause, each.reason) for each in of(driven.effects, ContainerStopped)]


def terminated(code: int = 1, reason: str = "Error", **more: Any) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, **more}}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


class TestStopped:
    @pytest.mark.parametrize(
        ("status", "cause", "reason"),
        [
            ({"state": terminated(137, "OOMKilled")}, StopCause.OUT_OF_MEMORY, "OOMKilled"),
            ({"state": terminated(1)}, StopCause.ENDED, "its container exited with 1"),
            ({"state": terminated(0, "Completed")}, StopCause.ENDED, "its container exited with 0"),
            ({"state": terminated(137, signal=9)}, StopCause.ENDED, "its container was killed by signal 9"),
            ({"state": terminated(137, "ContainerStatusUnknown")}, StopCause.LOST, "does not know"),
            ({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}, StopCause.LOST, "Evicted: low on"),
            (
                {
                    "phase": "Failed",
                    "reason": "Evicted",
                    "message": 'Container user-action exceeded its local ephemeral storage limit "1Gi". ',
                    "state": terminated(137),
                },
                StopCause.ENDED,
                'Evicted: Container user-action exceeded its local ephemeral storage limit "1Gi".',
            ),
            (
                {
                    "phase": "Failed",
                    "reason": "Evicted",
                    "message": "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. ",
                },
                StopCause.ENDED,
                "exceeds the total limit of containers 1Gi.",
            ),
            (
                {
                    "phase": "Failed",
                    "reason": "Evicted",
                    "message": 'Usage of EmptyDir volume "tmp" exceeds the limit "64Mi". ',
                },
                StopCause.ENDED,
                'EmptyDir volume "tmp" exceeds the limit',
            ),
            ({"phase": "Failed", "reason": "Terminated"}, StopCause.LOST, "Terminated"),
            (
                {
                    "phase": "Failed",
                    "state": terminated(137),
                    "conditions": {"DisruptionTarget": ("True", "PreemptionByScheduler", "preempted")},
                },
                StopCause.LOST,
                "PreemptionByScheduler: preempted",
            ),
            ({"phase": "Failed"}, StopCause.ENDED, "its pod is Failed"),
        ],
    )
    def test_an_end_by_itself(self, status: dict[str, Any], cause: StopCause, reason: str) -> None:
        driven = Driven.connected()
        running = driven.started()
        driven.seen(changed(running, **status))
        ((told, why),) = ends(driven)
        assert told is cause
        assert reason in why
        assert [each.name for each in driven.deletes()] == [running.metadata.name]

    def test_it_is_told_once_and_its_room_comes_with_the_terminal_phase(self) -> None:
        driven = Driven.connected()
        exited = changed(driven.started(256), state=terminated(1))
        driven.seen(exited)
        assert len(ends(driven)) == 1
        assert driven.available() == 768
        driven.seen(changed(exited, phase="Failed"))
        assert driven.available() == 1024
        driven.handle(events.PodDeleted(changed(exited, phase="Failed")))
        assert len(ends(driven)) == 1
        assert len(driven.deletes()) == 1

    @pytest.mark.parametrize(
        ("conditions", "reason"),
        [
            ({}, "another client deletes its pod"),
            ({"DisruptionTarget": ("True", "EvictionByEvictionAPI", "evicted")}, "EvictionByEvictionAPI: evicted"),
        ],
    )
    def test_a_pod_that_somebody_deletes_is_lost_at_once(self, conditions: dict[str, Any], reason: str) -> None:
        driven = Driven.connected()
        running = driven.started(256)
        driven.seen(changed(running, deleting=True, conditions=conditions))
        assert ends(driven) == [(StopCause.LOST, reason)]
        assert driven.available() == 768

    def test_a_pod_that_is_gone_without_a_sign_is_lost(self) -> None:
        driven = Driven.connected()
        driven.handle(events.PodDeleted(driven.started(256)))
        assert ends(driven) == [(StopCause.LOST, "its pod was deleted")]
        assert driven.available() == 1024

    def test_an_end_that_no_watch_has_shown_is_found_by_the_list(self) -> None:
        driven = Driven.connected()
        driven.started(256)
        driven.handle(events.ApiDisconnected("cut"))
        driven.handle(events.NodesListed((node(),)))
        driven.handle(events.PodsListed((), "9999"))
        assert ends(driven) == [(StopCause.LOST, "its pod was deleted")]
        assert driven.available() == 1024


class TestNodes:
    def test_a_silent_node_loses_its_containers_but_not_their_room(self) -> None:
        driven = Driven.connected()
        running = driven.started(256)
        driven.handle(events.NodeSeen(node(ready="Unknown")))
        assert ends(driven) == [(StopCause.LOST, "node n1 is silent")]
        assert [each.uid for each in driven.deletes()] == [running.metadata.uid]
        assert driven.factory.state.free("n1").mem == 768
        driven.handle(events.NodeSeen(node(ready="Unknown")))
        assert len(ends(driven)) == 1

    def test_a_node_that_is_not_ready_by_its_own_account_keeps_its_containers(self) -> None:
        driven = Driven.connected()
        driven.started()
        driven.handle(events.NodeSeen(node(ready="False")))
        assert not ends(driven)

    def test_a_start_on_a_node_that_falls_silent_is_made_elsewhere(self) -> None:
        driven = Driven.connected(node("n1"), node("n2", memory="2Gi"))
        (post,) = of(driven.run(256), PostPod)
        driven.seen(driven.bound(post))
        step = driven.handle(events.NodeSeen(node("n1", ready="Unknown")))
        assert pinned_to(post) == "n1"
        assert [pinned_to(each) for each in of(step, PostPod)] == ["n2"]
        assert [each.name for each in of(step, DeletePod)] == [post.name]

    def test_a_deleted_node_loses_its_containers_and_is_forgotten_with_the_last_of_them(self) -> None:
        driven = Driven.connected(node("n1"), node("n2"))
        running = driven.started()
        step = driven.handle(events.NodeDeleted("n1"))
        assert ends(driven) == [(StopCause.LOST, "node n1 is gone")]
        assert [gone for each in of(step, NodeStatsChanged) for gone in each.update.gone] == ["n1"]
        assert "n1" in driven.factory.state.ledger.agents
        driven.handle(events.PodDeleted(running))
        assert "n1" not in driven.factory.state.ledger.agents

    def test_a_node_that_comes_back_is_used(self) -> None:
        driven = Driven.connected()
        driven.handle(events.NodeDeleted("n1"))
        assert not of(driven.run(), PostPod)
        assert len(of(driven.handle(events.NodeSeen(node())), PostPod)) == 1

    def test_nodes_that_a_list_lacks_are_gone(self) -> None:
        driven = Driven.connected(node("n1"), node("n2"))
        driven.started()
        driven.handle(events.NodesListed((node("n2"),)))
        assert ends(driven) == [(StopCause.LOST, "node n1 is gone")]
        assert list(driven.factory.state.room) == ["n2"]

    def test_an_unknown_node_is_not_deleted_twice(self) -> None:
        driven = Driven.connected()
        driven.handle(events.NodeDeleted("n1"))
        assert not driven.handle(events.NodeDeleted("n1"))


class TestRefused:
    def test_unschedulable_is_refused_once_the_deletion_shows_that_it_never_ran(self) -> None:
        driven = Driven.connected(node("n1"), node("n2", memory="2Gi"))
        (post,) = of(driven.run(256), PostPod)
        stuck = changed(driven.created(post), conditions={"PodScheduled": ("False", "Unschedulable", "0/2 nodes")})
        driven.seen(stuck)
        assert not driven.deletes()
        driven.after(1.1)
        assert [each.uid for each in driven.deletes()] == [stuck.metadata.uid]
        assert driven.factory.pool.state.counts.refused == 0
        assert driven.factory.state.ledger.reservations.by_launch[post.name].state.value == "decided"
        step = driven.handle(events.PodDeleted(changed(stuck, deleting=True)))
        assert driven.factory.pool.state.counts.refused == 1
        assert len(of(step, PostPod)) == 1

    def test_a_pod_that_is_bound_in_time_is_kept(self) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(256), PostPod)
        stuck = changed(driven.created(post), conditions={"PodScheduled": ("False", "Unschedulable", "")})
        driven.seen(stuck)
        driven.seen(changed(stuck, on="n1", conditions={"PodScheduled": "True"}))
        driven.after(5.0)
        assert not driven.deletes()

    def test_a_pod_that_is_bound_while_it_is_deleted_is_refused_all_the_same(self) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(256), PostPod)
        stuck = changed(driven.created(post), conditions={"PodScheduled": ("False", "Unschedulable", "")})
        driven.seen(stuck)
        driven.after(1.1)
        late = changed(stuck, on="n1", phase="Running", ip="10.0.0.7", deleting=True, conditions={"Ready": "True"})
        driven.seen(late)
        assert not of(driven.effects, ContainerStarted)
        assert driven.available() == 768
        driven.seen(changed(late, phase="Failed"))
        assert driven.factory.pool.state.counts.refused == 1

    def test_a_start_that_waits_for_a_container_to_stop_is_posted_at_once_and_waited_for(self) -> None:
        driven = Driven.connected()
        victim = driven.started(1024)
        (dispatch,) = driven.dispatched()
        driven.handle(RunDone(dispatch.container_id, dispatch.run_id))
        driven.after(11.0)
        step = driven.run(512)
        (delete,), (post,) = of(step, DeletePod), of(step, PostPod)
        assert delete.name == victim.metadata.name
        stuck = changed(driven.created(post), conditions={"PodScheduled": ("False", "Unschedulable", "")})
        driven.seen(stuck)
        driven.after(3.0)
        assert driven.deletes() == [delete]
        assert driven.available() == -512  # nothing else gets the room that comes
        driven.seen(changed(victim, phase="Failed", deleting=True))
        bound = changed(stuck, on="n1", phase="Running", ip="10.0.0.8", conditions={"Ready": "True"})
        driven.seen(bound)
        assert driven.available() == 512
        assert [each.container_id for each in driven.dispatched()[1:]] == [post.name]

    def test_one_whose_room_went_elsewhere_is_withdrawn_by_the_pool_and_has_stopped(self) -> None:
        driven = Driven.connected()
        victim = driven.started(1024)
        (dispatch,) = driven.dispatched()
        driven.handle(RunDone(dispatch.container_id, dispatch.run_id))
        driven.after(11.0)
        (post,) = of(driven.run(512), PostPod)
        stuck = changed(driven.created(post), conditions={"PodScheduled": ("False", "Unschedulable", "")})
        driven.seen(stuck)
        driven.seen(stranger(memory="1Gi"))
        driven.seen(changed(victim, phase="Failed", deleting=True))
        driven.after(5.0)
        assert post.name in [each.name for each in driven.deletes()]
        driven.handle(events.PodDeleted(stuck))
        assert ends(driven)[-1][0] is StopCause.ENDED
        assert post.name not in driven.factory.state.ledger.reservations.by_launch

    @pytest.mark.parametrize("reason", ["OutOfcpu", "OutOfmemory", "OutOfpods", "UnexpectedAdmissionError"])
    def test_what_the_kubelet_does_not_admit_never_ran(self, reason: str) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(256), PostPod)
        driven.seen(changed(driven.bound(post), phase="Failed", reason=reason, message="no"))
        assert driven.factory.pool.state.counts.refused == 1
        assert [each.name for each in driven.deletes()] == [post.name]
        outages = driven.factory.state.backoff.failures["agent"]
        assert outages == (1 if reason == "UnexpectedAdmissionError" else 0)

    def test_a_start_that_somebody_deletes_is_refused_when_it_is_gone(self) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(256), PostPod)
        pod = changed(driven.bound(post), deleting=True)
        driven.seen(pod)
        assert driven.factory.pool.state.counts.refused == 0
        driven.handle(events.PodDeleted(pod))
        assert driven.factory.pool.state.counts.refused == 1


class TestStartFailed:
    @pytest.mark.parametrize(
        ("state", "said"),
        [
            (waiting("ErrImagePull", "not found"), "ErrImagePull: not found"),
            (waiting("ImagePullBackOff"), "ImagePullBackOff"),
            (waiting("InvalidImageName"), "InvalidImageName"),
            (waiting("CreateContainerConfigError", "no secret"), "CreateContainerConfigError: no secret"),
            (waiting("RunContainerError"), "RunContainerError"),
            (terminated(127), "its container exited with 127 before it could be used"),
            (terminated(137, "OOMKilled"), "OOMKilled before it could be used"),
        ],
    )
    def test_it_fails_at_once_and_its_pod_is_deleted(self, state: dict[str, Any], said: str) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(image="user/image"), PostPod)
        driven.seen(changed(driven.bound(post), state=state))
        record = driven.factory.state.records[post.name]
        assert record.story[-1].text == f"the start failed: {said}"
        assert [each.name for each in driven.deletes()] == [post.name]

    @pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing", ""])
    def test_a_container_that_is_still_being_made_is_waited_for(self, reason: str) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(), PostPod)
        driven.seen(changed(driven.bound(post), state=waiting(reason)))
        assert not driven.deletes()

    def test_an_image_that_fails_on_two_nodes_is_at_fault_and_its_run_ends(self) -> None:
        driven = Driven.connected(node("n1"), node("n2"), node("n3"))
        driven.run(image="user/broken")
        where = []
        for _ in range(10):
            if of(driven.effects, RunFailed):
                break
            open_posts = [each for each in driven.posts() if each.name not in where]
            for post in open_posts:
                where.append(post.name)
                driven.seen(changed(driven.bound(post), state=waiting("ErrImagePull", "not found")))
            driven.after(15.0)
        (failed,) = of(driven.effects, RunFailed)
        assert failed.at_fault
        assert failed.start_failed is not None
        assert "ErrImagePull" in failed.start_failed
        assert not [each for each in driven.factory.state.capacity.closed.values() if each == "backoff"]

    def test_a_node_where_all_fails_that_runs_elsewhere_is_closed_for_a_while(self) -> None:
        driven = Driven.connected(node("bad"), node("good", memory="64Gi"))
        backoff = driven.factory.state.backoff
        for number in range(3):
            backoff.ran("good", f"kind k{number}", driven.now)
        for number in range(3):
            driven.now += 1
            (post,) = of(driven.run(64, kind=f"k{number}"), PostPod)
            assert pinned_to(post) == "bad"
            driven.seen(changed(driven.bound(post), state=waiting("CreateContainerError", "no space left")))
            driven.factory.pool.state.backoff.began_anew("bad", driven.now)
        assert driven.factory.state.capacity.closed == {"bad": "backoff"}
        assert any("node bad" in each.text for each in of(driven.effects, LogNote))
        driven.after(31.0)
        assert driven.factory.state.capacity.closed == {}

    def test_the_deadline_ends_a_start_that_hangs(self) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(), PostPod)
        driven.seen(changed(driven.bound(post), state=waiting("ContainerCreating")))
        driven.after(61.0)
        record = driven.factory.state.records[post.name]
        assert record.story[-1].text == (
            "the start failed: it did not start within 60 s: its container waits: ContainerCreating"
        )
        assert post.name in [each.name for each in driven.deletes()]

    def test_a_pod_that_nobody_binds_is_refused_after_its_deletion(self) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(), PostPod)
        pod = driven.created(post)
        driven.seen(pod)
        driven.after(61.0)
        assert [each.name for each in driven.deletes()] == [post.name]
        assert driven.factory.pool.state.counts.refused == 0
        driven.handle(events.PodDeleted(pod))
        assert driven.factory.pool.state.counts.refused == 1

    def test_one_that_starts_in_time_is_not_ended_by_its_deadline(self) -> None:
        driven = Driven.connected()
        driven.started()
        driven.after(61.0)
        assert not driven.deletes()


class TestStopRequested:
    def test_whatever_becomes_of_it_it_has_stopped(self) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(), PostPod)
        record = driven.factory.state.records[post.name]
        pod: Pod = driven.bound(post)
        driven.seen(pod)
        driven.factory._pods.stop(record, "not needed", driven.now)
        driven.factory.state.take_effects()
        driven.seen(changed(pod, phase="Failed", state=terminated(1)))
        assert ends(driven) == [(StopCause.ENDED, "its container exited with 1 before it could be used")]
