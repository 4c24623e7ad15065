"""What a pod's log can be asked for."""

from __future__ import annotations

import re

import pytest

from tests.kubernetes.conformance.cluster import ApiError, Cluster, Program
from tests.kubernetes.conformance.pods import in_phase, pod, unschedulable, waiting

PRINTS = Program(ends_after=0.1, stdout=("first", "second"), stderr=("third",))


async def printed(cluster: Cluster) -> None:
    async with cluster.watch() as watch:
        await cluster.post(pod("prints"), PRINTS)
        await watch.until(in_phase("prints", "Succeeded"))


async def test_both_streams_are_one_text(cluster: Cluster) -> None:
    await printed(cluster)
    assert sorted((await cluster.log("prints")).splitlines()) == ["first", "second", "third"]


async def test_lines_have_times_and_can_be_asked_for_since_one(cluster: Cluster) -> None:
    await printed(cluster)
    lines = (await cluster.log("prints", timestamps=True)).splitlines()
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z (first|second|third)", line) for line in lines)
    assert await cluster.log("prints", since="2001-01-01T00:00:00Z") == await cluster.log("prints")
    assert await cluster.log("prints", since="2099-01-01T00:00:00Z") == ""


async def test_a_log_is_cut_at_its_limit(cluster: Cluster) -> None:
    await printed(cluster)
    assert await cluster.log("prints", limit_bytes=8) == (await cluster.log("prints"))[:8]


async def test_the_log_of_a_pod_that_no_node_has_is_empty(cluster: Cluster) -> None:
    async with cluster.watch() as watch:
        await cluster.post(pod("large", cpus=1000))
        await watch.until(unschedulable("large"))
        assert await cluster.log("large") == ""


async def test_a_container_that_has_not_begun_has_no_log(cluster: Cluster) -> None:
    async with cluster.watch() as watch:
        await cluster.post(pod("lacks", image="registry.invalid/no:1"))
        await watch.until(waiting("lacks", "ErrImagePull"))
        with pytest.raises(ApiError, match="is waiting to start") as refused:
            await cluster.log("lacks")
    assert (refused.value.failure.status, refused.value.failure.reason) == (400, "BadRequest")


async def test_there_is_no_log_of_a_pod_that_does_not_exist(cluster: Cluster) -> None:
    with pytest.raises(ApiError) as refused:
        await cluster.log("nobody")
    assert (refused.value.failure.status, refused.value.failure.reason) == (404, "NotFound")
