"""From a run to its container and back: how a start is reserved, cut, released, and when its room is credited."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from owmesos.core.pool.containers import ContainerShape
from owmesos.core.pool.events import (
    ContainerStarted,
    ContainerStopped,
    Reschedule,
    RunDone,
    RunFailed,
    StopCause,
    StopContainer,
)
from owmesos.core.pool.settings import PoolSettings
from owmesos.errors import InvariantBroken
from owmesos.kubernetes import events
from owmesos.kubernetes.effects import DeletePod, LogNote, NodeStatsChanged, PostPod
from owmesos.kubernetes.messages import Pod, ResourceRequirements
from owmesos.kubernetes.pod_records import PodStep
from owmesos.resources import Ask
from tests.kubernetes.factories import Driven, of, pinned_to
from tests.kubernetes.objects import changed, node, pod


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_it_is_said_once_when_nodes_and_pods_are_known_whichever_came_last(order: tuple[int, int]) -> None:
    driven = Driven()
    lists = (events.NodesListed((node(),)), events.PodsListed(()))
    said = [[each.text for each in of(driven.handle(lists[number]), LogNote)] for number in (*order, *order)]
    assert said == [[], ["the cluster is known"], [], []]


def with_overhead(created: Pod, **overhead: str) -> Pod:
    return msgspec.structs.replace(created, spec=msgspec.structs.replace(created.spec, overhead=overhead))


class TestStart:
    def test_a_start_is_reserved_cut_when_its_pod_is_in_the_sum_and_released_at_ready(self) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(256), PostPod)
        reservations = driven.factory.state.ledger.reservations
        assert pinned_to(post) == "n1"
        assert driven.available() == 768
        created = driven.created(post)
        driven.seen(created)
        assert reservations.by_launch[post.name].state.value == "decided"
        bound = changed(created, on="n1")
        driven.seen(bound)
        assert reservations.by_launch[post.name].state.value == "cut"
        assert driven.available() == 768  # never counted twice, never not at all
        driven.seen(changed(bound, phase="Running", ip="10.0.0.7", conditions={"Ready": "True"}))
        assert post.name not in reservations.by_launch
        (started,) = of(driven.effects, ContainerStarted)
        assert (started.container_id, started.slot.agent_id, started.address) == (post.name, "n1", "10.0.0.7:8080")
        assert len(driven.dispatched()) == 1

    def test_a_pod_that_runs_without_an_address_has_not_started(self) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(), PostPod)
        driven.seen(changed(driven.bound(post), phase="Running", conditions={"Ready": "True"}))
        assert not of(driven.effects, ContainerStarted)

    def test_the_answer_to_the_post_may_come_after_the_watch(self) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(), PostPod)
        answer = driven.created(post)
        driven.seen(changed(answer, on="n1"))
        driven.seen(answer)
        assert driven.factory.state.records[post.name].step is PodStep.BOUND
        assert driven.available() == 768

    def test_a_webhook_that_asks_for_more_is_counted(self) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(256), PostPod)
        created = driven.created(post)
        larger = pod(
            post.name, on="n1", uid=created.metadata.uid, namespace="actions", labels=created.metadata.labels,
            version=500, phase="Pending", memory="512Mi",
        )  # fmt: skip
        driven.seen(larger)
        assert driven.available() == 512

    def test_what_admission_adds_is_reserved_for_the_next_starts_too(self) -> None:
        """By a runtime class's overhead, say. Else they were refused again and again, where there is too little for it,
        and nothing was stopped to make room."""
        driven = Driven.connected()
        for free in (640, 256):
            (post,) = of(driven.run(256), PostPod)
            requests = post.body["spec"]["containers"][0]["resources"]["requests"]
            assert requests == {"cpu": "62m", "memory": "256Mi"}
            created = driven.created(post)
            spec = msgspec.structs.replace(created.spec, overhead={"memory": "128Mi", "cpu": "250m"})
            created = msgspec.structs.replace(created, spec=spec)
            driven.handle(events.PodCreated(created, post.name))
            bound = changed(created, on=pinned_to(post))
            driven.seen(bound)
            driven.seen(changed(bound, phase="Running", ip="10.0.0.7", conditions={"Ready": "True"}))
            assert driven.available() == free
        assert not of(driven.run(256), PostPod)
        (note,) = [each.text for each in of(driven.effects, LogNote) if "admission" in each.text]
        assert (
            note
            == "admission adds 128 MB, 0.25 cpus to a pod (kind nodejs:20, 256 MB): each start like it counts with it"
        )

    def test_what_admission_adds_is_the_same_where_the_pod_is_first_seen_as_it_runs(self) -> None:
        """The answer to its POST was lost. Its overhead counts twice by then, and a start's once."""
        driven = Driven.connected()
        (post,) = of(driven.run(256), PostPod)
        created = changed(driven.created(post), on=pinned_to(post), phase="Running")
        sums = {"memory": "384Mi", "cpu": "62m"}
        running = msgspec.structs.replace(
            created,
            spec=msgspec.structs.replace(created.spec, overhead={"memory": "128Mi"}),
            status=msgspec.structs.replace(
                created.status, allocated_resources=sums, resources=ResourceRequirements(requests=sums)
            ),
        )
        driven.seen(running)
        assert driven.available() == 512
        assert driven.factory.state.additions.of(ContainerShape("nodejs:20", 256)) == Ask(0, 128_000)

    def test_what_admission_does_not_add_any_more_is_not_reserved(self) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(256), PostPod)
        created = driven.created(post)
        spec = msgspec.structs.replace(created.spec, overhead={"memory": "128Mi"})
        driven.handle(events.PodCreated(msgspec.structs.replace(created, spec=spec), post.name))
        (post,) = of(driven.run(256), PostPod)
        driven.handle(events.PodCreated(driven.created(post), post.name))
        assert len(of(driven.run(256), PostPod)) == 1
        assert not driven.factory.state.additions

    def test_what_admission_adds_is_asked_anew_where_it_lets_nothing_start(self) -> None:
        """Else a webhook's mistake would hinder all starts for good: no pod would be posted that shows its end."""
        driven = Driven.connected()
        (post,) = of(driven.run(256), PostPod)
        self._is_too_large(driven, post)
        assert not of(driven.after(55), PostPod)
        (post,) = of(driven.after(20), PostPod)
        self._is_too_large(driven, post)
        assert not of(driven.after(55), PostPod)
        (post,) = of(driven.after(20), PostPod)
        driven.handle(events.PodCreated(driven.created(post), post.name))
        assert len(of(driven.run(256), PostPod)) == 1
        notes = [each.text for each in of(driven.effects, LogNote) if each.text.startswith("admission")]
        like = "to a pod (kind nodejs:20, 256 MB): each start like it counts with it"
        assert notes == [f"admission adds 2048 MB {like}", f"admission adds nothing {like}"]
        assert not driven.factory.state.additions

    def _is_too_large(self, driven: Driven, post: PostPod) -> None:
        created = with_overhead(driven.created(post), memory="2Gi")
        unschedulable = changed(created, conditions={"PodScheduled": ("False", "Unschedulable", "Insufficient memory")})
        driven.handle(events.PodCreated(unschedulable, post.name))
        assert of(driven.after(2), DeletePod)
        driven.handle(events.PodDeleted(unschedulable))

    def test_while_the_cluster_is_unknown_nothing_is_concluded_of_what_admission_adds(self) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(256), PostPod)
        self._is_too_large(driven, post)
        driven.after(55)
        driven.handle(events.ApiDisconnected("it is away"))
        driven.after(30)
        driven.handle(events.NodesListed((node(),)))
        driven.handle(events.PodsListed(()))
        assert not of(driven.after(50), PostPod)
        assert len(of(driven.after(25), PostPod)) == 1

    def test_what_admission_adds_may_differ_between_kinds(self) -> None:
        """A webhook that adds by ratio, or to some images alone."""
        driven = Driven.connected(node(memory="4Gi"), pool=PoolSettings(max_starts_on_agent=20))
        for kind, overhead in (
            ("nodejs:20", "128Mi"),
            ("python:3", "64Mi"),
            ("nodejs:20", "128Mi"),
            ("python:3", "64Mi"),
        ):
            (post,) = of(driven.run(256, kind), PostPod)
            driven.handle(events.PodCreated(with_overhead(driven.created(post), memory=overhead), post.name))
        assert len([each for each in of(driven.effects, LogNote) if each.text.startswith("admission")]) == 2
        before = driven.available()
        driven.run(256, "nodejs:20")
        assert driven.available() == before - 384
        driven.run(256, "python:3")
        assert driven.available() == before - 384 - 320
        driven.run(256, "ruby:2.5")
        assert driven.available() == before - 384 - 320 - 320, "one that is new is taken to be like the last"

    def test_runs_wait_while_no_node_has_room_and_start_when_one_has(self) -> None:
        driven = Driven.connected(pods=(pod(memory="900Mi"),))
        assert not of(driven.run(256), PostPod)
        step = driven.handle(events.PodDeleted(pod(memory="900Mi")))
        assert len(of(step, PostPod)) == 1

    def test_an_unknown_cluster_starts_nothing_and_is_not_full(self) -> None:
        driven = Driven()
        driven.handle(events.NodesListed((node(),)))
        driven.run()
        assert not driven.posts()
        assert not driven.factory.pool.state.capacity.known
        assert len(of(driven.handle(events.PodsListed(())), PostPod)) == 1


class TestStop:
    def test_room_comes_back_at_the_terminal_phase_and_not_at_the_deletion_timestamp(self) -> None:
        driven = Driven.connected()
        running = driven.started(256)
        (dispatch,) = driven.dispatched()
        (delete,) = of(driven.handle(RunDone(dispatch.container_id, dispatch.run_id, reuse=False)), DeletePod)
        assert (delete.name, delete.uid, delete.grace) == (running.metadata.name, running.metadata.uid, 2)
        terminating = changed(running, deleting=True)
        driven.seen(terminating)
        assert driven.available() == 768
        assert not of(driven.effects, ContainerStopped)
        failed = changed(terminating, phase="Failed")
        driven.seen(failed)
        assert driven.available() == 1024
        (stopped,) = of(driven.effects, ContainerStopped)
        assert stopped.cause is StopCause.ENDED
        driven.handle(events.PodDeleted(failed))
        assert not driven.factory.state.records
        assert len(driven.deletes()) == 1

    def test_a_stop_before_the_pod_is_seen_waits_for_its_uid(self) -> None:
        driven = Driven.connected()
        (post,) = of(driven.run(), PostPod)
        record = driven.factory.state.records[post.name]
        driven.factory._pods.stop(record, "test", driven.now)
        assert not driven.deletes()
        driven.seen(driven.created(post))
        assert [each.uid for each in driven.deletes()] == [f"uid-{post.name}"]

    def test_what_has_no_record_is_not_stopped(self) -> None:
        driven = Driven.connected()
        driven.factory._stop(StopContainer("unknown", "test"), driven.now)
        assert not driven.factory.state.take_effects()


class TestRetire:
    def test_all_pods_are_deleted_and_nothing_starts_any_more(self) -> None:
        driven = Driven.connected()
        running = driven.started(256)
        driven.run(10_000)
        step = driven.factory.retire(driven.now)
        assert [each.name for each in of(step, DeletePod)] == [running.metadata.name]
        assert [each.name for each in driven.factory.living()] == [running.metadata.name]
        ended = driven.seen(changed(running, phase="Succeeded", deleting=True))
        assert len(of(ended, ContainerStopped)) == 1
        assert not driven.factory.living()
        driven.handle(events.NodeSeen(node(memory="64Gi")))
        assert len(driven.posts()) == 1


class TestNodes:
    @pytest.mark.parametrize(
        ("closed", "text"),
        [
            ({"unschedulable": True}, "node n1 is cordoned: it gets no starts"),
            ({"conditions": {"MemoryPressure": "True"}}, "node n1 is short of memory: it gets no starts"),
            ({"conditions": {"NetworkUnavailable": "True"}}, "node n1 has no network: it gets no starts"),
        ],
    )
    def test_the_log_says_in_the_words_of_explain_why_a_node_is_closed(self, closed: dict[str, Any], text: str) -> None:
        driven = Driven.connected()
        (note,) = of(driven.handle(events.NodeSeen(node(**closed))), LogNote)
        assert (note.level, note.text) == ("warning", text)


class TestRules:
    def test_an_unknown_event_is_a_fault(self) -> None:
        class Unheard(events.KubernetesEvent, frozen=True):
            pass

        with pytest.raises(InvariantBroken, match="no rule for Unheard"):
            Driven().handle(Unheard())

    def test_stats_are_told_once_a_change(self) -> None:
        driven = Driven.connected()
        stranger = pod(memory="100Mi")
        assert len(of(driven.seen(stranger), NodeStatsChanged)) == 1
        assert not of(driven.seen(changed(stranger, phase="Running")), NodeStatsChanged)

    def test_a_container_that_cannot_be_used_counts_against_its_node(self) -> None:
        driven = Driven.connected()
        driven.started()
        (dispatch,) = driven.dispatched()
        driven.handle(Reschedule(dispatch.container_id, dispatch.run_id, "it does not answer", failed_start=True))
        assert driven.factory.state.backoff._agents["n1"].unusable == 1
        assert not of(driven.effects, RunFailed)
