"""Nodes' sums: allocatable less what pods hold, by event and by list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owmesos.errors import InvariantBroken
from owmesos.kubernetes.messages import Pod
from owmesos.kubernetes.node_room import NodeSums, allocatable
from owmesos.resources import NOTHING, Resources
from tests.kubernetes.objects import node, pod


def room_with(*pods: Pod) -> NodeSums:
    room = NodeSums()
    room.node(node(cpu="4", memory="1Gi", pods="10"))
    for each in pods:
        room.pod(each)
    room.validate()
    return room


class TestAllocatable:
    def test_each_kind_is_read_and_others_are_skipped(self) -> None:
        given = {"cpu": "3920m", "memory": "1Gi", "ephemeral-storage": "10Gi", "pods": "110", "nvidia.com/gpu": "2"}
        found = allocatable({**given, "hugepages-1Gi": "0"})
        assert found == Resources.of(cpus=3.92, mem=1024, disk=10240, gpus=2, pods=110)

    def test_what_cannot_be_read_is_not_there(self) -> None:
        assert allocatable({"cpu": "many", "memory": "-1Gi", "pods": "110"}) == Resources.of(pods=110)


class TestSums:
    def test_a_pod_takes_its_requests_and_one_pod(self) -> None:
        assert room_with(pod(cpu="1", memory="24Mi")).free("n1") == Resources.of(cpus=3, mem=1000, pods=9)

    @pytest.mark.parametrize("phase", ["Pending", "Running", "Unknown"])
    def test_a_terminating_pod_holds_its_room_until_its_phase_is_terminal(self, phase: str) -> None:
        room = room_with(pod(memory="24Mi", phase=phase, deleting=True))
        assert room.free("n1").mem == 1000
        for ended in ("Succeeded", "Failed"):
            assert room.pod(pod(memory="24Mi", phase=ended, deleting=True)) == (("n1",) if ended == "Succeeded" else ())
            assert room.free("n1").mem == 1024

    def test_a_pod_that_is_not_bound_takes_nothing(self) -> None:
        assert room_with(pod(memory="24Mi", on="")).free("n1").mem == 1024

    def test_a_deleted_pod_takes_nothing_and_an_unknown_one_changes_nothing(self) -> None:
        room = room_with(pod(memory="24Mi"))
        assert room.pod_gone("uid-stranger") == ("n1",)
        assert room.pod_gone("uid-stranger") == ()
        assert room.free("n1").mem == 1024

    def test_only_what_changes_a_sum_is_told(self) -> None:
        room = room_with(pod(memory="24Mi"))
        assert room.pod(pod(memory="24Mi", version=2)) == ()
        assert room.pod(pod(memory="25Mi")) == ("n1",)
        assert room.pod(pod(memory="25Mi", on="n2")) == ("n1", "n2")

    def test_more_than_there_is_is_a_debt(self) -> None:
        assert room_with(pod(memory="2Gi")).free("n1").mem == -1024

    def test_pods_of_a_node_that_is_shown_later_are_counted(self) -> None:
        room = NodeSums()
        room.pod(pod(memory="24Mi", on="late"))
        assert room.free("late").mem == -24
        assert room.node(node("late"))
        assert not room.node(node("late"))
        assert room.free("late").mem == 1000
        assert room.node_gone("late")
        assert not room.node_gone("late")
        assert room.total("late") is NOTHING

    def test_a_list_replaces_all(self) -> None:
        room = room_with(pod("a", memory="24Mi"), pod("b", memory="100Mi"))
        room.replace_pods((pod("c", memory="1Mi"), pod("d", phase="Failed"), pod("e", on="")))
        assert room.free("n1").mem == 1023
        assert room.held_by("uid-a") is None
        assert room.held_by("uid-c") == ("n1", Resources.of(mem=1, pods=1))

    def test_a_wrong_sum_is_found(self) -> None:
        room = room_with(pod(memory="24Mi"))
        room._used["n1"] = NOTHING
        with pytest.raises(InvariantBroken, match="the book says"):
            room.validate()


PODS = st.builds(
    lambda number, where, phase, memory: pod(f"p{number}", on=where, phase=phase, memory=f"{memory}Mi"),
    st.integers(0, 5),
    st.sampled_from(["", "n1", "n2"]),
    st.sampled_from(["Pending", "Running", "Succeeded", "Failed", "Unknown"]),
    st.integers(0, 3),
)


@given(st.lists(st.tuples(PODS, st.booleans()), max_size=40))
def test_sums_by_event_are_those_of_a_list(history: list[tuple[Pod, bool]]) -> None:
    room, last = NodeSums(), {}
    for each, deleted in history:
        if deleted:
            room.pod_gone(each.metadata.uid)
            last.pop(each.metadata.uid, None)
        else:
            room.pod(each)
            last[each.metadata.uid] = each
        room.validate()
    anew = NodeSums()
    anew.replace_pods(last.values())
    assert [room.free(name) for name in ("n1", "n2")] == [anew.free(name) for name in ("n1", "n2")]
