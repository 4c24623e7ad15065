"""The four ways in which a pod comes to a node, and what each does where there is no room."""

from __future__ import annotations

import asyncio

import pytest

from owmesos.kubernetes.messages import Pod
from tests.kubernetes.conformance.cluster import CPUS, ApiError, Cluster
from tests.kubernetes.conformance.pods import condition, either, in_phase, pod, pod_of, ready, unschedulable

MOST = 0.6 * CPUS  # of a node: two of these are too much


class TestKubeSchedulerChooses:
    async def test_a_pod_without_wishes_runs_on_some_node(self, cluster: Cluster) -> None:
        async with cluster.watch() as watch:
            posted = await cluster.post(pod("any"))
            assert (posted.spec.node_name, posted.status.phase) == ("", "Pending")
            running = pod_of(await watch.until(ready("any")))
        assert running.spec.node_name in cluster.nodes
        assert running.status.pod_ip

    async def test_a_pod_that_fits_nowhere_waits_and_says_so(self, cluster: Cluster) -> None:
        async with cluster.watch() as watch:
            await cluster.post(pod("large", CPUS + 1))
            waits = pod_of(await watch.until(unschedulable("large")))
        assert waits.spec.node_name == ""
        assert condition(waits, "PodScheduled").status == "False"
        assert "Insufficient cpu" in condition(waits, "PodScheduled").message

    async def test_one_with_a_gate_is_not_looked_at_and_says_so(self, cluster: Cluster) -> None:
        gated, other = pod("gated"), pod("other")
        gated["spec"]["schedulingGates"] = [{"name": "example.org/wait"}]
        other["spec"]["schedulerName"] = "nobody"
        async with cluster.watch() as watch:
            posted = await cluster.post(gated)
            assert [gate.name for gate in posted.spec.scheduling_gates] == ["example.org/wait"]
            assert condition(posted, "PodScheduled").status == "False"
            assert condition(posted, "PodScheduled").reason == "SchedulingGated"
            posted = await cluster.post(other)
            assert (posted.spec.scheduler_name, posted.status.conditions) == ("nobody", ())
            await cluster.post(pod("any"))
            await watch.until(ready("any"))
            assert not any(has_node(each) for each in await all_pods(cluster) if each.metadata.name != "any")


class TestPinned:
    """By required node affinity to the node's name; kube-scheduler binds."""

    async def test_it_runs_on_that_node(self, cluster: Cluster) -> None:
        async with cluster.watch() as watch:
            for node in cluster.nodes:
                await cluster.post(pod(f"at-{cluster.nodes.index(node)}", on=node))
            for number, node in enumerate(cluster.nodes):
                assert pod_of(await watch.until(ready(f"at-{number}"))).spec.node_name == node

    async def test_it_never_over_commits_the_node(self, cluster: Cluster) -> None:
        names = ["one", "two", "three"]
        async with cluster.watch() as watch:
            await asyncio.gather(*(cluster.post(pod(name, MOST, on=cluster.nodes[0])) for name in names))
            for name in names:
                await watch.until(either(ready(name), unschedulable(name)))
            assert sorted(map(has_node, await all_pods(cluster))) == [False, False, True]

    async def test_a_cordoned_node_takes_none(self, cluster: Cluster) -> None:
        await cluster.cordon(cluster.nodes[0])
        async with cluster.watch() as watch:
            await cluster.post(pod("late", on=cluster.nodes[0]))
            await watch.until(unschedulable("late"))
            await cluster.cordon(cluster.nodes[0], False)
            await watch.until(ready("late"))

    async def test_one_that_waits_is_bound_when_room_is_free(self, cluster: Cluster) -> None:
        async with cluster.watch() as watch:
            await cluster.post(pod("first", MOST, on=cluster.nodes[0]))
            await watch.until(ready("first"))
            await cluster.post(pod("second", MOST, on=cluster.nodes[0]))
            await watch.until(unschedulable("second"))
            await cluster.delete("first")
            await watch.until(ready("second"))


class TestNodeName:
    """The kubelet alone checks."""

    async def test_it_runs_there(self, cluster: Cluster) -> None:
        async with cluster.watch() as watch:
            posted = await cluster.post(pod("named", node_name=cluster.nodes[1]))
            assert posted.spec.node_name == cluster.nodes[1]
            await watch.until(ready("named"))

    async def test_where_there_is_no_room_the_pod_fails(self, cluster: Cluster) -> None:
        names = ["one", "two", "three"]
        async with cluster.watch() as watch:
            await asyncio.gather(*(cluster.post(pod(name, MOST, node_name=cluster.nodes[0])) for name in names))
            for name in names:
                await watch.until(either(ready(name), in_phase(name, "Failed")))
            failed = [each for each in await all_pods(cluster) if each.status.phase == "Failed"]
        assert [each.status.reason for each in failed] == ["OutOfcpu", "OutOfcpu"]
        assert not any(each.status.container_statuses for each in failed)  # nothing of it ran

    async def test_for_want_of_memory_the_reason_is_another(self, cluster: Cluster) -> None:
        async with cluster.watch() as watch:
            for name in ("one", "two"):
                await cluster.post(pod(name, memory="6Gi", node_name=cluster.nodes[0]))
                await watch.until(either(ready(name), in_phase(name, "Failed")))
            failed = pod_of(await watch.until(in_phase("two", "Failed")))
        assert failed.status.reason == "OutOfmemory"

    async def test_a_cordon_is_ignored(self, cluster: Cluster) -> None:
        await cluster.cordon(cluster.nodes[0])
        async with cluster.watch() as watch:
            await cluster.post(pod("named", node_name=cluster.nodes[0]))
            await watch.until(ready("named"))

    async def test_a_node_that_does_not_exist_is_accepted(self, cluster: Cluster) -> None:
        posted = await cluster.post(pod("lost", node_name="nowhere"))
        assert (posted.spec.node_name, posted.status.phase) == ("nowhere", "Pending")


class TestBinding:
    async def test_a_pod_that_waits_runs_where_it_is_bound_to(self, cluster: Cluster) -> None:
        async with cluster.watch() as watch:
            await cluster.cordon(cluster.nodes[0])
            await cluster.post(pod("waits", on=cluster.nodes[0]))
            await watch.until(unschedulable("waits"))
            await cluster.bind("waits", cluster.nodes[0])
            assert pod_of(await watch.until(ready("waits"))).spec.node_name == cluster.nodes[0]

    async def test_where_there_is_no_room_the_pod_fails(self, cluster: Cluster) -> None:
        async with cluster.watch() as watch:
            await cluster.post(pod("first", MOST, on=cluster.nodes[0]))
            await watch.until(ready("first"))
            await cluster.post(pod("second", MOST, on=cluster.nodes[0]))
            await watch.until(unschedulable("second"))
            await cluster.bind("second", cluster.nodes[0])
            assert pod_of(await watch.until(in_phase("second", "Failed"))).status.reason == "OutOfcpu"

    async def test_a_bound_pod_cannot_be_bound_again(self, cluster: Cluster) -> None:
        async with cluster.watch() as watch:
            await cluster.post(pod("bound", on=cluster.nodes[0]))
            await watch.until(ready("bound"))
            with pytest.raises(ApiError) as refused:
                await cluster.bind("bound", cluster.nodes[1])
        assert (refused.value.failure.status, refused.value.failure.reason) == (409, "Conflict")


async def all_pods(cluster: Cluster) -> tuple[Pod, ...]:
    return (await cluster.list()).pods


def has_node(pod: Pod) -> bool:
    return pod.spec.node_name != ""
