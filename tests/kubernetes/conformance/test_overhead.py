"""What a runtime class's overhead takes of a node: it is added to a pod's requests, and of a running pod twice."""

from __future__ import annotations

import pytest

from owmesos.kubernetes.pod_requests import pod_request
from owmesos.resources import MILLI
from tests.kubernetes.conformance.cluster import ApiError, Cluster
from tests.kubernetes.conformance.pods import deleted, either, in_phase, pod, pod_of, ready, unschedulable

OVERHEAD = {"memory": "3000Mi"}


async def test_a_pod_comes_where_there_is_room_for_its_overhead_too(cluster: Cluster) -> None:
    async with cluster.runtime_class(OVERHEAD) as heavy, cluster.watch() as watch:
        posted = await cluster.post(pod("over", memory="5193Mi", on=cluster.nodes[0], runtime_class=heavy))
        assert pod_request(posted).milli_mem == 8193 * MILLI
        await watch.until(unschedulable("over"))
        await cluster.post(pod("fits", memory="5192Mi", on=cluster.nodes[0], runtime_class=heavy))
        await watch.until(ready("fits"))


async def test_of_a_running_pod_it_counts_twice(cluster: Cluster) -> None:
    """For kube-scheduler and for the kubelet, until the pod has ended."""
    node = cluster.nodes[0]
    async with cluster.runtime_class(OVERHEAD) as heavy, cluster.watch() as watch:
        await cluster.post(pod("heavy", memory="512Mi", on=node, runtime_class=heavy))
        running = pod_of(await watch.until(ready("heavy")))
        assert pod_request(running).milli_mem == 6512 * MILLI
        await cluster.post(pod("over", memory="1681Mi", on=node))
        await watch.until(unschedulable("over"))
        await cluster.post(pod("named", memory="1681Mi", node_name=node))
        refused = pod_of(await watch.until(either(in_phase("named", "Failed"), ready("named"))))
        assert refused.status.reason == "OutOfmemory"
        await cluster.post(pod("fits", memory="1680Mi", on=node))
        await watch.until(ready("fits"))
        await cluster.delete("heavy")
        await watch.until(deleted("heavy"))
        await watch.until(ready("over"))


async def test_it_counts_twice_before_the_container_runs(cluster: Cluster) -> None:
    """From when its kubelet has taken the pod."""
    node = cluster.nodes[0]
    async with cluster.runtime_class(OVERHEAD) as heavy, cluster.watch() as watch:
        await cluster.post(pod("heavy", memory="512Mi", on=node, runtime_class=heavy, image="registry.invalid/none:1"))
        await watch.until(lambda seen: seen.pod is not None and pod_request(seen.pod).milli_mem == 6512 * MILLI)
        await cluster.post(pod("over", memory="1681Mi", on=node))
        await watch.until(unschedulable("over"))
        await cluster.post(pod("fits", memory="1680Mi", on=node))
        await watch.until(ready("fits"))


async def test_a_class_that_is_unknown_or_an_overhead_without_one_is_denied(cluster: Cluster) -> None:
    without = pod("without")
    without["spec"]["overhead"] = OVERHEAD
    for each in (pod("unknown", runtime_class="there-is-none"), without):
        with pytest.raises(ApiError, match="pod rejected") as denied:
            await cluster.post(each)
        assert (denied.value.failure.status, denied.value.failure.reason) == (403, "Forbidden")
