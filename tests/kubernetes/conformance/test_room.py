"""When the room of a pod that ends is free again."""

from __future__ import annotations

from tests.kubernetes.conformance.cluster import CPUS, Cluster, Program
from tests.kubernetes.conformance.pods import deleted, either, in_phase, pod, pod_of, ready, terminating, unschedulable

MOST = 0.6 * CPUS  # of a node: two of these are too much
DEAF = Program(ignores_sigterm=True)


async def test_a_terminating_pod_keeps_its_room(cluster: Cluster) -> None:
    async with cluster.watch() as watch:
        await cluster.post(pod("old", MOST, on=cluster.nodes[0], grace=4), DEAF)
        await watch.until(ready("old"))
        await cluster.delete("old")
        await watch.until(terminating("old"))
        await cluster.post(pod("new", MOST, node_name=cluster.nodes[0]))
        refused = pod_of(await watch.until(either(in_phase("new", "Failed"), ready("new"))))
    assert refused.status.reason == "OutOfcpu"


async def test_at_the_terminal_phase_the_kubelet_admits_again(cluster: Cluster) -> None:
    async with cluster.watch() as watch:
        await cluster.post(pod("old", MOST, on=cluster.nodes[0]), DEAF)
        await watch.until(ready("old"))
        await cluster.delete("old")
        await watch.until(in_phase("old", "Failed"))
        await cluster.post(pod("new", MOST, node_name=cluster.nodes[0]))
        await watch.until(ready("new"))


async def test_a_pod_that_waits_for_the_room_is_bound_before_the_old_one_is_deleted(cluster: Cluster) -> None:
    async with cluster.watch() as watch:
        await cluster.post(pod("old", MOST, on=cluster.nodes[0]), DEAF)
        await watch.until(ready("old"))
        await cluster.delete("old")
        await cluster.post(pod("new", MOST, on=cluster.nodes[0]))
        await watch.until(unschedulable("new"))
        await watch.until(ready("new"))
        await watch.until(deleted("old"))
        order = [*map(id, watch.seen)]
        ended = await watch.until(in_phase("old", "Failed"))
        bound = await watch.until(lambda seen: bool(in_phase("new", "Pending")(seen) and pod_of(seen).spec.node_name))
        gone = await watch.until(deleted("old"))
    assert order.index(id(ended)) < order.index(id(bound)) < order.index(id(gone))


async def test_a_pod_that_has_ended_takes_no_room_while_it_is_listed(cluster: Cluster) -> None:
    async with cluster.watch() as watch:
        await cluster.post(pod("short", MOST, on=cluster.nodes[0]), Program(ends_after=0.1))
        await watch.until(in_phase("short", "Succeeded"))
        await cluster.post(pod("next", MOST, on=cluster.nodes[0]))
        await watch.until(ready("next"))
    assert (await cluster.get("short")).status.phase == "Succeeded"


async def test_without_grace_a_pod_is_gone_before_its_containers_are(cluster: Cluster) -> None:
    """So the room that it still uses is given to others: a grace of 0 over-commits the node."""
    async with cluster.watch() as watch:
        await cluster.post(pod("old", MOST, on=cluster.nodes[0]), DEAF)
        await watch.until(ready("old"))
        await cluster.delete("old", grace=0)
        last = pod_of(await watch.until(deleted("old")))
        assert last.status.phase == "Running"
        assert last.status.container_statuses[0].state.terminated is None
        await cluster.post(pod("new", MOST, node_name=cluster.nodes[0]))
        await watch.until(ready("new"))
