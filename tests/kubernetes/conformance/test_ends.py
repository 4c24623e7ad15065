"""How pods end, and what their status says then."""

from __future__ import annotations

import pytest

from owmesos.kubernetes.messages import Pod, StateTerminated
from tests.kubernetes.conformance.cluster import ApiError, Cluster, Program
from tests.kubernetes.conformance.pods import (
    about,
    condition,
    deleted,
    in_phase,
    is_ready,
    pod,
    pod_of,
    ready,
    terminated,
    terminating,
    waiting,
)
from tests.waiting import eventually_async

DEAF = Program(stdout=("deaf",), ignores_sigterm=True)


def end_of(pod: Pod) -> StateTerminated:
    state = pod.status.container_statuses[0].state.terminated
    assert state is not None
    return state


@pytest.mark.parametrize(("code", "phase", "reason"), [(0, "Succeeded", "Completed"), (3, "Failed", "Error")])
async def test_a_container_that_exits_is_terminated_before_the_pod_has_ended(
    cluster: Cluster, code: int, phase: str, reason: str
) -> None:
    async with cluster.watch() as watch:
        await cluster.post(pod("short"), Program(ends_after=0.3, exit_code=code))
        first = pod_of(await watch.until(terminated("short")))
        # Pending where a kubelet that is late has never seen it run.
        assert first.status.phase in ("Running", "Pending")
        assert not is_ready(first)
        last = pod_of(await watch.until(in_phase("short", phase)))
    assert (end_of(last).exit_code, end_of(last).reason) == (code, reason)
    assert last.metadata.deletion_timestamp is None


async def test_a_pod_that_is_deleted_is_asked_to_end(cluster: Cluster) -> None:
    async with cluster.watch() as watch:
        await cluster.post(pod("obeys", grace=60))
        await watch.until(ready("obeys"))
        asked = await watch_deletion(cluster, "obeys", None)
        last = await watch.until(deleted("obeys"))
        assert pod_of(await watch.until(in_phase("obeys", "Failed"))).metadata.deletion_grace_period_seconds == 60
    assert last.at - asked < 60
    assert end_of(pod_of(last)).exit_code == 143


async def test_what_does_not_obey_is_killed_after_the_grace(cluster: Cluster) -> None:
    async with cluster.watch() as watch:
        await cluster.post(pod("deaf", grace=30), DEAF)
        await watch.until(ready("deaf"))
        await eventually_async(lambda: cluster.log("deaf"))  # from then on it does not obey
        asked = await watch_deletion(cluster, "deaf", 2)
        ended = await watch.until(in_phase("deaf", "Failed"))
        await watch.until(deleted("deaf"))
    assert 2 <= ended.at - asked < 30
    assert end_of(pod_of(ended)).exit_code == 137


async def watch_deletion(cluster: Cluster, name: str, grace: int | None) -> float:
    """When it was asked for."""
    asked = cluster.now()
    await cluster.delete(name, grace=grace)
    return asked


async def test_a_container_that_exceeds_its_memory_is_killed(cluster: Cluster) -> None:
    async with cluster.watch() as watch:
        await cluster.post(pod("greedy", limits={"memory": "64Mi"}), Program(exceeds_memory=True))
        last = pod_of(await watch.until(in_phase("greedy", "Failed")))
    assert (end_of(last).reason, end_of(last).exit_code) == ("OOMKilled", 137)


async def test_an_image_that_does_not_exist_is_tried_again_and_again(cluster: Cluster) -> None:
    async with cluster.watch() as watch:
        await cluster.post(pod("lacks", image="registry.invalid/no:1"))
        first = pod_of(await watch.until(waiting("lacks", "ErrImagePull")))
        await watch.until(waiting("lacks", "ImagePullBackOff"))
        assert first.status.phase == "Pending"
        state = first.status.container_statuses[0].state.waiting
        assert state is not None
        assert "no such host" in state.message
        await cluster.delete("lacks")
        await watch.until(deleted("lacks"))


async def test_an_eviction_says_so_and_is_then_an_ordinary_deletion(cluster: Cluster) -> None:
    async with cluster.watch() as watch:
        await cluster.post(pod("evicted"))
        await watch.until(ready("evicted"))
        await cluster.evict("evicted")
        going = pod_of(await watch.until(terminating("evicted")))
        await watch.until(deleted("evicted"))
    disruption = condition(going, "DisruptionTarget")
    assert (disruption.status, disruption.reason) == ("True", "EvictionByEvictionAPI")


async def test_an_eviction_of_no_pod_is_refused(cluster: Cluster) -> None:
    with pytest.raises(ApiError) as refused:
        await cluster.evict("nobody")
    assert refused.value.failure.status == 404


class TestNodeLost:
    async def test_its_pods_are_not_ready_any_more_and_deleted_after_their_tolerance(self, cluster: Cluster) -> None:
        node = cluster.nodes[2]
        async with cluster.watch() as watch:
            await cluster.post(pod("lost", on=node, tolerates_loss=2))
            await watch.until(ready("lost"))
            await cluster.kill_node(node)
            await watch.until(about("lost", lambda pod: not is_ready(pod) and pod.status.phase == "Running"), 120)
            going = pod_of(await watch.until(terminating("lost"), 30))
            assert not any(deleted("lost")(each) for each in watch.seen)
        lost = await cluster.node(node)
        assert next(each.status for each in lost.status.conditions if each.type == "Ready") == "Unknown"
        assert "node.kubernetes.io/unreachable" in {each.key for each in lost.spec.taints}
        assert condition(going, "DisruptionTarget").reason == "DeletionByTaintManager"
        assert (await cluster.get("lost")).status.phase == "Running"  # nobody knows whether it still runs

    async def test_when_it_comes_back_its_deleted_pods_end(self, cluster: Cluster) -> None:
        node = cluster.nodes[2]
        async with cluster.watch() as watch:
            await cluster.post(pod("lost", on=node, tolerates_loss=1))
            await watch.until(ready("lost"))
            await cluster.kill_node(node)
            await watch.until(terminating("lost"), 120)
            await cluster.start_node(node)
            await watch.until(deleted("lost"), 60)

    async def test_a_pod_of_a_node_that_comes_back_in_time_has_failed(self, cluster: Cluster) -> None:
        node = cluster.nodes[2]
        async with cluster.watch() as watch:
            await cluster.post(pod("restarted", on=node))
            await watch.until(ready("restarted"))
            await cluster.kill_node(node)
            await cluster.start_node(node)
            await watch.until(in_phase("restarted", "Failed"), 60)
