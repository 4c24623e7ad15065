"""How pods end, and what a kubelet says of it."""

from __future__ import annotations

import pytest

from owmesos.simulator.kubernetes.admission import ApiAnswer
from owmesos.simulator.kubernetes.behaviours import PodBehaviour, from_command
from tests.simulator.kubernetes.scene import DEAF, Scene


class TestEnds:
    def test_an_exit_is_shown_first_and_then_the_phase(self) -> None:
        scene = Scene()
        scene.post("a", command=["sh", "-c", "exit 3"], restartPolicy="Never")
        scene.world.run(5)
        assert scene.state("a") == {"terminated": {"exitCode": 3, "reason": "Error"}}
        running = scene.when("a", phase="Running")
        failed = scene.when("a", phase="Failed")
        assert failed - running == pytest.approx(1.5, abs=0.05)
        shown = next(at for at, change in scene.seen if change and "terminated" in str(change.object["status"]))
        assert shown - running == pytest.approx(0.5, abs=0.05)

    def test_out_of_memory_is_named(self) -> None:
        scene = Scene()
        scene.post("a")
        scene.world.run(1)
        assert scene.world.end_containers(("default", "a"), oom=True)
        scene.world.run(2)
        assert scene.state("a") == {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
        assert scene.status("a")["phase"] == "Failed"

    def test_with_always_it_is_started_again_at_once_and_then_backs_off(self) -> None:
        scene = Scene()
        scene.post("a", command=["false"], restartPolicy="Always")
        scene.world.run(2)
        assert scene.state("a")["waiting"]["reason"] == "CrashLoopBackOff"
        assert scene.status("a")["containerStatuses"][0]["restartCount"] == 2
        assert scene.status("a")["phase"] == "Running"

    def test_an_image_that_is_not_there_waits_without_end(self) -> None:
        scene = Scene(behaviour=PodBehaviour(image_error="no such image"))
        scene.post("a")
        scene.world.run(1)
        assert scene.state("a") == {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}
        scene.world.run(600)
        assert scene.state("a")["waiting"]["reason"] == "ImagePullBackOff"
        assert scene.status("a")["phase"] == "Pending"
        scene.api.delete_pod("default", "a", grace=1)
        scene.world.run(2)
        assert not scene.api.pods

    def test_readiness_may_come_later_than_running(self) -> None:
        scene = Scene(behaviour=PodBehaviour(ready_after=2.0))
        scene.post("a")
        scene.world.run(1)
        assert scene.condition("a", "Ready")["status"] == "False"
        scene.world.run(2)
        assert scene.condition("a", "Ready")["status"] == "True"

    def test_one_that_obeys_is_gone_within_a_second(self) -> None:
        scene = Scene()
        scene.post("a")
        scene.world.run(1)
        scene.api.delete_pod("default", "a", grace=30)
        scene.world.run(2)
        assert scene.when("a", "DELETED") - 1 == pytest.approx(0.85, abs=0.25)

    def test_one_that_is_deleted_before_its_kubelet_took_it_ends_too(self) -> None:
        scene = Scene()
        scene.post("a", node_name="node1")
        scene.world.run(0.003)
        scene.api.delete_pod("default", "a", grace=30)
        scene.world.run(2)
        assert not scene.api.pods
        assert scene.when("a", phase="Failed") < 1

    def test_an_eviction_by_the_api_is_an_ordinary_deletion_with_a_reason(self) -> None:
        scene = Scene()
        scene.post("a", command=DEAF, terminationGracePeriodSeconds=2)
        scene.world.run(1)
        scene.world.drain("node1")
        scene.world.run(1)
        assert scene.condition("a", "DisruptionTarget")["reason"] == "EvictionByEvictionAPI"
        scene.world.run(3)
        assert not scene.api.pods

    def test_a_kubelet_short_of_memory_evicts(self) -> None:
        scene = Scene()
        scene.post("a")
        scene.world.run(1)
        scene.world.evict_under_pressure(("default", "a"))
        assert (scene.status("a")["phase"], scene.status("a")["reason"]) == ("Failed", "Evicted")


class TestLogs:
    def test_are_what_the_containers_wrote(self) -> None:
        scene = Scene(behaviour=PodBehaviour(lines=("one", "two")))
        scene.post("a")
        assert scene.world.log(("default", "a")) == "", "it is bound nowhere"
        scene.world.run(0.03)
        answer = scene.world.log(("default", "a"))
        assert isinstance(answer, ApiAnswer)
        assert answer.status == 400
        scene.world.run(1)
        log = scene.world.log(("default", "a"), timestamps=True)
        assert isinstance(log, str)
        stamp = log.split()[0]
        assert log == f"{stamp} one\n{stamp} two\n"
        assert scene.world.log(("default", "a"), since=stamp, limit_bytes=5) == "one\nt"
        assert scene.world.log(("default", "a"), since="2099-01-01T00:00:00Z") == ""


class TestLostNodes:
    def test_their_pods_are_not_ready_after_the_grace_and_deleted_after_their_toleration(self) -> None:
        scene = Scene()
        short = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}
        scene.post("short", "100m", tolerations=[{**short, "tolerationSeconds": 5}])
        scene.post("usual", "100m")
        scene.world.run(1)
        scene.world.cut_off("node1")
        scene.world.run(49)
        assert scene.condition("short", "Ready")["status"] == "True"
        scene.world.run(2)
        assert scene.condition("short", "Ready")["status"] == "False"
        scene.world.run(5)
        assert scene.condition("short", "DisruptionTarget")["reason"] == "DeletionByTaintManager"
        assert "deletionTimestamp" not in scene.pod("usual")["metadata"]
        scene.world.run(600)
        assert "deletionTimestamp" in scene.pod("usual")["metadata"]
        assert len(scene.api.pods) == 2, "nobody there says that they are over"

    def test_that_are_back_tell_what_became_of_their_pods(self) -> None:
        scene = Scene()
        scene.post("ends", "100m", command=["sleep", "20"])
        scene.post("stays", "100m")
        scene.world.run(1)
        scene.world.cut_off("node1")
        scene.world.run(100)
        assert scene.status("ends")["phase"] == "Running"
        scene.world.bring_back("node1")
        scene.world.run(5)
        assert scene.status("ends")["phase"] == "Succeeded"
        assert scene.condition("stays", "Ready")["status"] == "True"
        node = scene.api.nodes["node1"]
        assert "taints" not in node["spec"]

    def test_that_were_switched_off_have_lost_what_ran(self) -> None:
        scene = Scene()
        scene.post("never", "100m")
        scene.post("always", "100m", restartPolicy="Always")
        scene.world.run(1)
        scene.world.power_off("node1")
        assert scene.world.kubelets["node1"].living() == {}
        scene.world.run(10)
        scene.world.bring_back("node1")
        scene.world.run(5)
        assert scene.status("never")["phase"] == "Failed"
        assert scene.status("always")["phase"] == "Running"
        assert scene.world.kubelets["node1"].living()["cpu"] == 100

    def test_pods_of_nodes_that_are_gone_are_failed_and_removed(self) -> None:
        scene = Scene()
        scene.post("a")
        scene.world.run(1)
        scene.world.remove_node("node1")
        scene.world.run(70)
        assert not scene.api.pods
        assert 40 < scene.when("a", phase="Failed") < 62, "a quarantine of 40 s, looked at each 20 s"

    def test_whose_object_was_deleted_register_again_when_they_are_back(self) -> None:
        scene = Scene()
        scene.world.power_off("node1")
        scene.world.delete_node("node1")
        scene.world.run(1)
        scene.world.bring_back("node1")
        scene.post("a")
        scene.world.run(1)
        assert scene.status("a")["phase"] == "Running"

    def test_a_taint_of_an_operator_deletes_at_once(self) -> None:
        scene = Scene()
        scene.post("a")
        scene.world.run(1)
        scene.world.taint("node1", "repair", "NoExecute")
        scene.world.run(2)
        assert not scene.api.pods


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ([], PodBehaviour()),
        (["sleep", "2.5"], PodBehaviour(duration=2.5)),
        (["sh", "-c", "exit 3"], PodBehaviour(duration=0.0, code=3)),
        (["false"], PodBehaviour(duration=0.0, code=1)),
        (["sh", "-c", "trap '' TERM; sleep 5"], PodBehaviour(duration=5.0, obeys_after=None)),
        (["python3", "-m", "http.server"], PodBehaviour()),
    ],
)
def test_a_command_says_what_a_container_does(command: list[str], expected: PodBehaviour) -> None:
    assert from_command({"spec": {"containers": [{"command": command}]}}) == expected
