"""Requests and their answers, and how watches begin, resume and end."""

from __future__ import annotations

from typing import Any

import pytest

from owmesos.simulator.kubernetes.objects import timestamp
from owmesos.simulator.kubernetes.store import INITIAL_EVENTS_END, ObjectChange
from tests.simulator.kubernetes.scene import DEAF, Scene


def body(name: str = "p", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}], **spec}}


def with_resources(**resources: dict[str, str]) -> dict[str, Any]:
    return body(containers=[{"name": "c", "image": "i", "resources": resources}])


class TestPosts:
    def test_a_name_that_exists_is_taken_until_its_pod_is_gone(self) -> None:
        scene = Scene()
        scene.post("p")
        scene.world.run(1)
        first = scene.pod("p")["metadata"]["uid"]
        answer = scene.api.post_pod("default", body())
        assert (answer.status, answer.body["reason"]) == (409, "AlreadyExists")
        scene.api.delete_pod("default", "p", grace=1)
        assert scene.api.post_pod("default", body()).status == 409
        scene.world.run(2)
        scene.post("p")
        assert scene.pod("p")["metadata"]["uid"] != first

    @pytest.mark.parametrize(
        ("wrong", "status", "said"),
        [
            (body("Upper"), 422, "metadata.name"),
            (body(containers=[]), 422, "spec.containers: Required"),
            (body(restartPolicy="Sometimes"), 422, "restartPolicy"),
            (with_resources(requests={"cpu": "2"}, limits={"cpu": "1"}), 422, "less than or equal to cpu limit"),
            (with_resources(requests={"cpu": "much"}), 400, "'much' is not a quantity"),
            ({"metadata": {"name": "p"}}, 400, "not a Pod"),
        ],
    )
    def test_what_is_wrong_is_said(self, wrong: dict[str, Any], status: int, said: str) -> None:
        answer = Scene().api.post_pod("default", wrong)
        assert answer.status == status
        assert said in answer.body["message"]

    def test_a_namespace_that_does_not_exist_is_not_found(self) -> None:
        assert Scene().api.post_pod("elsewhere", body()).status == 404

    def test_a_quota_counts_what_is_not_over(self) -> None:
        scene = Scene()
        scene.api.set_quota("default", {"pods": "1"})
        scene.post("p", "100m", command=["true"])
        answer = scene.api.post_pod("default", body("q"))
        assert (answer.status, answer.body["reason"]) == (403, "Forbidden")
        assert "exceeded quota: requested: pods=1, used: pods=1, limited: pods=1" in answer.body["message"]
        scene.world.run(3)
        assert scene.status("p")["phase"] == "Succeeded"
        assert scene.api.post_pod("default", body("q")).status == 201


class TestDeletions:
    def test_of_another_uid_conflicts_and_of_none_is_not_found(self) -> None:
        scene = Scene()
        scene.post("p")
        assert scene.api.delete_pod("default", "p", uid="other").status == 409
        assert scene.api.delete_pod("default", "q").status == 404

    def test_of_a_pod_that_is_bound_nowhere_is_at_once(self) -> None:
        scene = Scene()
        scene.post("p", "8")
        scene.world.run(1)
        scene.api.delete_pod("default", "p", grace=30)
        assert not scene.api.pods

    def test_a_shorter_grace_counts_and_a_longer_one_does_not(self) -> None:
        scene = Scene()
        scene.post("p", command=DEAF)
        scene.world.run(1)
        for grace in (30, 60, 2):
            scene.api.delete_pod("default", "p", grace=grace)
        scene.world.run(2.1)
        assert scene.status("p")["phase"] == "Failed"


class TestLists:
    def test_come_in_pages_of_one_version(self) -> None:
        scene = Scene()
        for name in ("a", "b", "c"):
            scene.post(name, "100m")
        first = scene.api.list("Pod", limit=2).body
        scene.post("d", "100m")
        rest = scene.api.page(first["metadata"]["continue"]).body
        assert [each["metadata"]["name"] for each in (*first["items"], *rest["items"])] == ["a", "b", "c"]
        assert rest["metadata"] == {"resourceVersion": first["metadata"]["resourceVersion"]}

    def test_do_not_go_on_after_a_restart(self) -> None:
        scene = Scene()
        for name in ("a", "b"):
            scene.post(name, "100m")
        token = scene.api.list("Pod", limit=1).body["metadata"]["continue"]
        scene.api.restart()
        answer = scene.api.page(token)
        assert (answer.status, answer.body["reason"]) == (410, "Expired")

    def test_may_be_of_a_label(self) -> None:
        scene = Scene()
        scene.api.post_pod("default", {**body("mine"), "metadata": {"name": "mine", "labels": {"owner": "me"}}})
        scene.post("other")
        found = scene.api.list("Pod", "default", {"owner": "me"}).body["items"]
        assert [each["metadata"]["name"] for each in found] == ["mine"]


class TestBindings:
    def test_only_the_kubelet_checks_them(self) -> None:
        scene = Scene()
        scene.world.cordon("node1")
        scene.post("a", "2", schedulerName="mine")
        scene.world.run(1)
        assert scene.api.bind_pod("default", "a", "node1").status == 201
        assert scene.api.bind_pod("default", "a", "node1").status == 409
        scene.world.run(1)
        assert scene.status("a")["reason"] == "OutOfcpu"

    def test_to_a_node_that_is_not_there_are_taken(self) -> None:
        scene = Scene()
        scene.post("a", schedulerName="mine")
        assert scene.api.bind_pod("default", "a", "nowhere").status == 201
        scene.world.run(70)
        assert not scene.api.pods


class TestWatches:
    def test_begin_with_all_that_there_is_and_say_where_that_ends(self) -> None:
        scene = Scene()
        scene.post("p")
        found: list[ObjectChange | None] = []
        scene.api.watch("Pod", found.append)
        scene.world.run(0.002)
        assert [each.type for each in found if each is not None] == ["ADDED", "BOOKMARK"]
        assert found[1] is not None
        assert found[1].object["metadata"]["annotations"] == {INITIAL_EVENTS_END: "true"}

    def test_resumed_from_a_version_they_lose_nothing(self) -> None:
        scene = Scene()
        version = scene.api.list("Pod").body["metadata"]["resourceVersion"]
        scene.post("p")
        scene.world.run(1)
        seen = [change for _, change in scene.seen]
        found: list[ObjectChange | None] = []
        scene.api.watch("Pod", found.append, version)
        scene.world.run(0.01)
        assert found == seen

    def test_from_a_version_that_is_too_old_are_told_410(self) -> None:
        scene = Scene()
        version = scene.api.list("Pod").body["metadata"]["resourceVersion"]
        scene.post("p")
        scene.api.store.compact()
        found: list[ObjectChange | None] = []
        scene.api.watch("Pod", found.append, version)
        scene.world.run(0.01)
        assert found[0] is not None
        assert (found[0].type, found[0].object["code"], found[0].object["reason"]) == ("ERROR", 410, "Expired")
        assert found[1:] == [None]

    def test_from_before_a_restart_cannot_be_resumed(self) -> None:
        scene = Scene()
        version = scene.api.list("Pod").body["metadata"]["resourceVersion"]
        scene.api.restart()
        scene.world.run(0.01)
        assert [change for _, change in scene.seen] == [None]
        found: list[ObjectChange | None] = []
        scene.api.watch("Pod", found.append, version)
        scene.world.run(0.01)
        assert found[0] is not None
        assert found[0].type == "ERROR"

    def test_that_are_cut_end_without_a_word(self) -> None:
        scene = Scene()
        scene.post("p")
        scene.watch.cut()
        scene.world.run(100)
        assert [change for _, change in scene.seen] == [None]

    def test_of_a_reader_that_stalls_come_late_and_in_order(self) -> None:
        scene = Scene()
        scene.watch.stall(5)
        scene.post("p")
        scene.world.run(4.9)
        assert not scene.seen
        scene.world.run(0.2)
        versions = [change.version for _, change in scene.seen if change is not None]
        assert len(versions) > 2
        assert versions == sorted(versions)

    def test_of_a_reader_that_is_too_slow_are_cut(self) -> None:
        scene = Scene()
        scene.watch.stall(5)
        for number in range(scene.world.settings.watch_buffer + 1):
            scene.post(f"p{number}", "1m")
        scene.world.run(6)
        assert scene.seen[-1][1] is None
        assert not scene.watch.open

    def test_show_a_bookmark_when_nothing_happens(self) -> None:
        scene = Scene()
        scene.world.run(scene.world.settings.bookmark_every + 1)
        assert [change.type for _, change in scene.seen if change is not None] == ["BOOKMARK"]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_399, "2000-02-28T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (4_102_444_799.9, "2099-12-31T23:59:59Z"),
    ],
)
def test_times_are_written_in_utc(seconds: float, expected: str) -> None:
    assert timestamp(seconds) == expected
