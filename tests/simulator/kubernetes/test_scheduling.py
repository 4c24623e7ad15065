"""Where pods go, which wait, and when those are bound: what was measured of kube-scheduler and kubelets."""

from __future__ import annotations

import pytest

from owmesos.simulator.kubernetes.world import NodeDescription
from tests.simulator.kubernetes.scene import DEAF, ONE_CPU, Scene


class TestPinnedPods:
    def test_the_node_is_never_overcommitted_and_the_others_wait(self) -> None:
        scene = Scene(2)
        for name in ("a", "b", "c"):
            scene.post(name, on="node1")
        scene.world.run(1)
        assert [scene.status(each)["phase"] for each in ("a", "b", "c")] == ["Running", "Pending", "Pending"]
        refused = scene.condition("b", "PodScheduled")
        assert (refused["status"], refused["reason"]) == ("False", "Unschedulable")
        assert "1 Insufficient cpu" in refused["message"]
        assert scene.when("b") == pytest.approx(0.017, abs=0.01)
        assert scene.when("a", phase="Running") == pytest.approx(0.065, abs=0.01)

    def test_one_that_waits_has_the_room_at_the_terminal_phase(self) -> None:
        scene = Scene()
        scene.post("a", on="node1", command=DEAF)
        scene.world.run(1)
        scene.post("b", on="node1")
        scene.api.delete_pod("default", "a", grace=2)
        scene.world.run(4)
        over = scene.when("a", phase="Failed")
        assert over == pytest.approx(3.04, abs=0.02)
        bound = next(at for at, change in scene.seen if change and change.object["spec"].get("nodeName") and at > over)
        assert bound - over == pytest.approx(0.015, abs=0.005)
        assert 0.6 < scene.when("a", "DELETED") - over < 1.1

    def test_the_oldest_attempt_goes_first_and_priority_before_it(self) -> None:
        scene = Scene()
        scene.post("a", on="node1")
        scene.world.run(1)
        for name, priority in (("old", 0), ("young", 0), ("urgent", 5)):
            scene.post(name, on="node1", priority=priority, preemptionPolicy="Never")
            scene.world.run(1)
        for name in ("a", "urgent", "old"):
            scene.api.delete_pod("default", name, grace=1)
            scene.world.run(3)
        bound = [
            change.object["metadata"]["name"]
            for _, change in scene.seen
            if change
            and change.object["status"].get("phase") == "Running"
            and "deletionTimestamp" not in change.object["metadata"]
        ]
        assert bound == ["a", "urgent", "old", "young"]

    @pytest.mark.parametrize("closed", ["cordon", "taint", "gone"])
    def test_a_node_that_is_closed_gets_none_until_it_is_open(self, closed: str) -> None:
        scene = Scene(2)
        if closed == "cordon":
            scene.world.cordon("node1")
        elif closed == "taint":
            scene.world.taint("node1", "only", "NoSchedule", "gpu")
        else:
            scene.world.remove_node("node1")
        scene.world.run(1)
        scene.post("a", on="node1")
        scene.world.run(1)
        assert scene.condition("a", "PodScheduled")["reason"] == "Unschedulable"
        if closed == "cordon":
            scene.world.cordon("node1", False)
        elif closed == "taint":
            scene.world.untaint("node1", "only")
        else:
            scene.world.add_node(NodeDescription("node1", ONE_CPU))
        scene.world.run(1)
        assert scene.status("a")["phase"] == "Running"

    def test_pods_per_node_are_a_resource(self) -> None:
        scene = Scene(allocatable={"cpu": "8", "pods": "2"})
        for name in ("a", "b", "c"):
            scene.post(name, "1m", on="node1")
        scene.world.run(1)
        assert "1 Too many pods" in scene.condition("c", "PodScheduled")["message"]


class TestOthers:
    def test_without_a_wish_pods_spread(self) -> None:
        scene = Scene(3)
        for name in ("a", "b", "c"):
            scene.post(name, "500m")
        scene.world.run(1)
        assert {scene.where(each) for each in ("a", "b", "c")} == {"node1", "node2", "node3"}

    def test_a_node_selector_and_tolerations_count(self) -> None:
        scene = Scene([NodeDescription("plain", ONE_CPU), NodeDescription("gpu", ONE_CPU, {"kind": "gpu"})])
        scene.world.taint("gpu", "only", "NoSchedule", "gpu")
        scene.post("a", nodeSelector={"kind": "gpu"})
        scene.post("b", nodeSelector={"kind": "gpu"}, tolerations=[{"key": "only", "operator": "Exists"}])
        scene.world.run(1)
        assert (scene.where("a"), scene.where("b")) == ("", "gpu")

    def test_node_name_passes_by_the_scheduler_and_the_kubelet_refuses(self) -> None:
        scene = Scene()
        scene.world.cordon("node1")
        for name in ("a", "b", "c"):
            scene.post(name, node_name="node1")
        scene.world.run(1)
        assert [scene.status(each)["phase"] for each in ("a", "b", "c")] == ["Running", "Failed", "Failed"]
        assert scene.status("b")["reason"] == "OutOfcpu"
        assert scene.when("b", reason="OutOfcpu") == pytest.approx(0.022, abs=0.01)

    def test_while_one_stops_the_kubelet_refuses_another_in_its_place(self) -> None:
        scene = Scene()
        scene.post("a", command=DEAF)
        scene.world.run(1)
        scene.api.delete_pod("default", "a", grace=2)
        scene.post("b", node_name="node1")
        scene.world.run(2.1)
        scene.post("c", node_name="node1")
        scene.world.run(1)
        assert scene.status("b")["reason"] == "OutOfcpu"
        assert scene.status("c")["phase"] == "Running"

    def test_with_a_grace_of_0_the_node_is_overcommitted(self) -> None:
        scene = Scene()
        scene.post("a")
        scene.world.run(1)
        scene.api.delete_pod("default", "a", grace=0)
        assert not scene.api.pods
        scene.post("b")
        scene.world.run(1)
        assert scene.status("b")["phase"] == "Running"
        assert scene.world.overcommitted() == {"node1": ["cpu"]}
        scene.world.run(2)
        assert scene.world.overcommitted() == {}

    def test_a_higher_priority_preempts(self) -> None:
        scene = Scene()
        scene.post("low", command=DEAF, terminationGracePeriodSeconds=2)
        scene.world.run(1)
        scene.post("other", "300m")
        scene.post("high", "700m", priority=10)
        scene.world.run(1)
        assert scene.condition("low", "DisruptionTarget")["reason"] == "PreemptionByScheduler"
        assert scene.status("high")["nominatedNodeName"] == "node1"
        scene.world.run(2)
        assert (scene.where("high"), scene.status("other")["phase"]) == ("node1", "Running")
