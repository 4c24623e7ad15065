"""A pod's name and uid: what makes a second POST or DELETE harmless."""

from __future__ import annotations

import pytest

from tests.kubernetes.conformance.cluster import ApiError, Cluster
from tests.kubernetes.conformance.pods import deleted, pod, ready, terminating


async def test_a_name_that_exists_is_refused(cluster: Cluster) -> None:
    first = await cluster.post(pod("one"))
    with pytest.raises(ApiError) as refused:
        await cluster.post(pod("one", cpus=0.2))
    assert (refused.value.failure.status, refused.value.failure.reason) == (409, "AlreadyExists")
    assert (await cluster.get("one")).metadata.uid == first.metadata.uid


async def test_a_name_is_free_again_when_its_pod_is_deleted(cluster: Cluster) -> None:
    async with cluster.watch() as watch:
        first = await cluster.post(pod("one"))
        await watch.until(ready("one"))
        await cluster.delete("one")
        await watch.until(terminating("one"))
        with pytest.raises(ApiError) as refused:
            await cluster.post(pod("one"))
        assert refused.value.failure.reason == "AlreadyExists"
        await watch.until(deleted("one"))
        second = await cluster.post(pod("one"))
    assert first.metadata.uid != second.metadata.uid


async def test_a_delete_of_another_uid_is_refused(cluster: Cluster) -> None:
    await cluster.post(pod("one"))
    with pytest.raises(ApiError) as refused:
        await cluster.delete("one", uid="00000000-0000-0000-0000-000000000000")
    assert (refused.value.failure.status, refused.value.failure.reason) == (409, "Conflict")
    assert (await cluster.get("one")).metadata.deletion_timestamp is None


async def test_a_delete_of_its_uid_is_done(cluster: Cluster) -> None:
    async with cluster.watch() as watch:
        posted = await cluster.post(pod("one"))
        await watch.until(ready("one"))
        await cluster.delete("one", uid=posted.metadata.uid)
        await watch.until(deleted("one"))


async def test_a_second_delete_changes_nothing_and_after_the_end_there_is_no_such_pod(cluster: Cluster) -> None:
    async with cluster.watch() as watch:
        await cluster.post(pod("one"))
        await watch.until(ready("one"))
        await cluster.delete("one")
        await watch.until(terminating("one"))
        await cluster.delete("one")
        await watch.until(deleted("one"))
    with pytest.raises(ApiError) as refused:
        await cluster.delete("one")
    assert (refused.value.failure.status, refused.value.failure.reason) == (404, "NotFound")
    with pytest.raises(ApiError) as missing:
        await cluster.get("one")
    assert (missing.value.failure.status, missing.value.failure.reason) == (404, "NotFound")


async def test_a_pod_that_no_node_has_is_deleted_at_once(cluster: Cluster) -> None:
    async with cluster.watch() as watch:
        await cluster.post(pod("large", cpus=1000))
        await cluster.delete("large")
        await watch.until(deleted("large"))
