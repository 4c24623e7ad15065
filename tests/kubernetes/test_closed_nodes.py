"""Each reason why a node gets nothing has its own word, up to `explain` and `nodes`."""

from __future__ import annotations

from typing import Any

import pytest

from owmesos.core.explanation import Exclusion
from owmesos.core.node_stats import NodeState
from owmesos.kubernetes import events
from owmesos.kubernetes.closed_nodes import is_lost, tolerates, why_closed
from owmesos.kubernetes.effects import LogNote, PostPod
from owmesos.kubernetes.messages import Node, Taint
from tests.kubernetes.factories import Driven, of
from tests.kubernetes.objects import node


def tainted(key: str, effect: str = "NoSchedule", value: str = "") -> Node:
    return node(taints=(Taint(key=key, effect=effect, value=value),))


CLOSED: list[tuple[Node, Exclusion]] = [
    (node(unschedulable=True), "cordoned"),
    (tainted("node.kubernetes.io/unschedulable"), "cordoned"),
    (tainted("dedicated", value="gpu"), "tainted"),
    (tainted("dedicated", "NoExecute"), "tainted"),
    (node(ready="False"), "not_ready"),
    (node(ready="Unknown"), "not_ready"),
    (tainted("node.kubernetes.io/not-ready", "NoExecute"), "not_ready"),
    (tainted("node.kubernetes.io/unreachable", "NoExecute"), "not_ready"),
    (node(conditions={"MemoryPressure": "True"}), "memory_pressure"),
    (node(conditions={"DiskPressure": "True"}), "disk_pressure"),
    (node(conditions={"PIDPressure": "True"}), "pid_pressure"),
    (node(conditions={"NetworkUnavailable": "True"}), "no_network"),
    (tainted("node.kubernetes.io/disk-pressure"), "disk_pressure"),
]


class TestWords:
    @pytest.mark.parametrize(("shown", "word"), CLOSED)
    def test_each_reason(self, shown: Node, word: Exclusion) -> None:
        assert why_closed(shown, {}) == word

    @pytest.mark.parametrize(
        "shown",
        [
            node(),
            tainted("dedicated", "PreferNoSchedule"),
            node(conditions={"MemoryPressure": "False", "DiskPressure": "Unknown"}),
        ],
    )
    def test_a_node_without_one_is_open(self, shown: Node) -> None:
        assert why_closed(shown, {}) is None

    def test_a_node_that_says_nothing_of_itself_is_not_ready(self) -> None:
        assert why_closed(Node(metadata=node().metadata), {}) == "not_ready"

    def test_the_selector_must_match_wholly(self) -> None:
        shown = node(labels={"role": "invoker", "zone": "a"})
        assert why_closed(shown, {"role": "invoker"}) is None
        assert why_closed(shown, {"role": "invoker", "zone": "b"}) == "unselected"

    def test_only_silence_is_loss(self) -> None:
        assert is_lost(node(ready="Unknown"))
        assert not is_lost(node(ready="False"))
        assert not is_lost(node())


class TestTolerations:
    TAINT = Taint(key="dedicated", value="gpu", effect="NoSchedule")

    @pytest.mark.parametrize(
        ("toleration", "does"),
        [
            ({"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}, True),
            ({"key": "dedicated", "operator": "Equal", "value": "gpu"}, True),
            ({"key": "dedicated", "operator": "Exists"}, True),
            ({"operator": "Exists"}, True),
            ({"key": "dedicated", "operator": "Exists", "effect": "NoExecute"}, False),
            ({"key": "dedicated", "value": "cpu"}, False),
            ({"key": "dedicated"}, False),
            ({"key": "other", "operator": "Exists"}, False),
            ({"key": "dedicated", "operator": "Gt", "value": "1"}, False),
            ({}, False),
        ],
    )
    def test_as_kubernetes_matches_them(self, toleration: dict[str, Any], does: bool) -> None:
        assert tolerates(toleration, self.TAINT) is does

    def test_the_templates_tolerations_open_a_node(self) -> None:
        template = {"spec": {"tolerations": [{"key": "dedicated", "operator": "Exists"}]}}
        driven = Driven.connected(tainted("dedicated"), template=template)
        assert len(of(driven.run(), PostPod)) == 1


class TestFactory:
    @pytest.mark.parametrize(("shown", "word"), CLOSED)
    def test_a_closed_node_gets_no_start_and_says_why(self, shown: Node, word: Exclusion) -> None:
        driven = Driven.connected(shown)
        assert not of(driven.run(), PostPod)
        explanation = driven.factory.pool.explain("r1")
        assert explanation is not None
        assert explanation.failed == {word: 1}

    def test_its_state_is_shown(self) -> None:
        shown = [node("a", unschedulable=True), node("b", ready="False"), node("c")]
        driven = Driven.connected(*shown)
        states = {name: each.state for name, each in driven.nodes().items()}
        assert states == {"a": NodeState.DRAINING, "b": NodeState.CLOSED, "c": NodeState.FRESH}

    def test_it_is_used_again_once_it_is_open(self) -> None:
        driven = Driven.connected(node(unschedulable=True))
        driven.run()
        step = driven.handle(events.NodeSeen(node()))
        assert len(of(step, PostPod)) == 1
        assert [each.text for each in of(step, LogNote)] == ["node n1 gets starts again"]

    def test_a_node_outside_the_selector_is_left_alone(self) -> None:
        inside = node("in", labels={"role": "invoker"})
        driven = Driven.connected(node("out", memory="64Gi"), inside, node_selector={"role": "invoker"})
        (post,) = of(driven.run(), PostPod)
        assert post.body["spec"]["nodeSelector"] == {"role": "invoker"}
        assert driven.factory.state.capacity.closed == {"out": "unselected"}
