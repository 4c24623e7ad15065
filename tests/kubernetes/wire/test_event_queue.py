"""Whatever the consumer's pace, it ends with what the reader read, and what waits is bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from owmesos.kubernetes.events import (
    ApiDisconnected,
    KubernetesEvent,
    NodeDeleted,
    NodeSeen,
    NodesListed,
    PodDeleted,
    PodSeen,
    PodsListed,
)
from owmesos.kubernetes.messages import Node, ObjectMeta, Pod, PodStatus
from owmesos.kubernetes.wire.event_queue import EventQueue


def pod(name: str, phase: str = "Pending") -> Pod:
    return Pod(metadata=ObjectMeta(name=name, uid=f"uid-{name}"), status=PodStatus(phase=phase))


def node(name: str, version: str = "") -> Node:
    return Node(metadata=ObjectMeta(name=name, resource_version=version))


def filled(*events: KubernetesEvent, coalesce_after: int = 0) -> EventQueue:
    queue = EventQueue(coalesce_after)
    queue.put(events)
    return queue


def test_events_are_taken_in_their_order_and_in_batches() -> None:
    events = [NodesListed(()), PodsListed(()), PodSeen(pod("a")), PodSeen(pod("a", "Running")), NodeSeen(node("n"))]
    queue = filled(*events, coalesce_after=100)
    assert queue.take(2) == (events[:2], True)
    assert queue.take(10) == (events[2:], False)
    assert queue.take(10) == ([], False)


def test_the_consumer_is_woken_once() -> None:
    queue = EventQueue()
    assert queue.put([]) is False
    assert queue.put([PodSeen(pod("a"))]) is True
    assert queue.put([PodSeen(pod("b"))]) is False
    queue.take(1)
    assert queue.put([PodSeen(pod("c"))]) is False
    queue.take(5)
    assert queue.put([PodSeen(pod("d"))]) is True


def test_a_newer_event_of_an_object_replaces_the_one_that_waits() -> None:
    queue = filled(PodSeen(pod("a")), PodSeen(pod("b")), NodeSeen(node("n", "1")), PodSeen(pod("a", "Running")))
    queue.put([NodeSeen(node("n", "2")), PodDeleted(pod("b", "Failed"))])
    expected = [PodSeen(pod("a", "Running")), NodeSeen(node("n", "2")), PodDeleted(pod("b", "Failed"))]
    assert queue.take(10) == (expected, False)


def test_nothing_is_replaced_while_little_waits() -> None:
    queue = filled(PodSeen(pod("a")), PodSeen(pod("a", "Running")), coalesce_after=2)
    queue.put([PodSeen(pod("a", "Failed"))])
    assert queue.take(10)[0] == [PodSeen(pod("a")), PodSeen(pod("a", "Failed"))]


def test_a_pod_posted_again_under_its_name_is_another() -> None:
    first = Pod(metadata=ObjectMeta(name="a", uid="u1"))
    second = Pod(metadata=ObjectMeta(name="a", uid="u2"))
    events = [PodSeen(first), PodDeleted(first), PodSeen(second)]
    assert filled(*events).take(10)[0] == events[1:]


def test_a_list_makes_old_what_waits_of_its_kind() -> None:
    queue = filled(NodesListed(()), PodsListed(()), PodSeen(pod("a")), NodeDeleted("n"), coalesce_after=100)
    queue.put([PodsListed((pod("b"),))])
    assert queue.take(10)[0] == [NodesListed(()), NodeDeleted("n"), PodsListed((pod("b"),))]


def test_of_several_disconnections_the_last_is_told() -> None:
    assert filled(ApiDisconnected("a"), PodsListed(()), ApiDisconnected("b")).take(5)[0] == [
        PodsListed(()),
        ApiDisconnected("b"),
    ]


# -- any history


State = tuple[dict[str, object], dict[str, object]]


def apply(state: State, event: KubernetesEvent) -> State:
    """What a consumer that only remembers objects knows after it."""
    nodes, pods = dict(state[0]), dict(state[1])
    if isinstance(event, NodesListed):
        nodes = {each.metadata.name: each for each in event.nodes}
    elif isinstance(event, PodsListed):
        pods = {each.metadata.uid: each for each in event.pods}
    elif isinstance(event, NodeSeen):
        nodes[event.node.metadata.name] = event.node
    elif isinstance(event, NodeDeleted):
        nodes.pop(event.name, None)
    elif isinstance(event, PodSeen):
        pods[event.pod.metadata.uid] = event.pod
    elif isinstance(event, PodDeleted):
        pods.pop(event.pod.metadata.uid, None)
    return nodes, pods


NAMES = st.sampled_from("abcd")
PHASES = st.sampled_from(("Pending", "Running", "Failed"))
PODS = st.builds(pod, NAMES, PHASES)
NODES = st.builds(node, NAMES, PHASES)
EVENTS = st.one_of(
    st.builds(PodSeen, PODS),
    st.builds(PodDeleted, PODS),
    st.builds(NodeSeen, NODES),
    st.builds(NodeDeleted, NAMES),
    st.builds(PodsListed, st.lists(PODS, max_size=3, unique_by=lambda each: each.metadata.uid).map(tuple)),
    st.builds(NodesListed, st.lists(NODES, max_size=3, unique_by=lambda each: each.metadata.name).map(tuple)),
    st.builds(ApiDisconnected, NAMES),
)


@given(st.lists(st.one_of(EVENTS, st.integers(1, 4)), max_size=60), st.integers(0, 6))
def test_the_consumer_ends_with_what_was_read(steps: list[KubernetesEvent | int], coalesce_after: int) -> None:
    queue = EventQueue(coalesce_after)
    read: State = ({}, {})
    known: State = ({}, {})
    for step in [*steps, 10_000]:
        if isinstance(step, int):
            for event in queue.take(step)[0]:
                known = apply(known, event)
        else:
            queue.put([step])
            read = apply(read, step)
            # Of each of four pods and four nodes one, the two lists, a disconnection.
            assert len(queue) <= max(coalesce_after, 1) + 4 + 4 + 2 + 1
    assert known == read
