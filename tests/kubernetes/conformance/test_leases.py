"""A Lease: what makes of several processes one that leads."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest

from tests.kubernetes.conformance.cluster import ApiError, Cluster

NOW = "2026-01-02T03:04:05.678901Z"


def lease(holder: str = "a", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "one", "annotations": {"example/admin": "http://a:1"}},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 4, "renewTime": NOW, "leaseTransitions": 0, **spec},
    }


def held_by(stored: dict[str, Any], holder: str) -> dict[str, Any]:
    return {**stored, "spec": {**stored["spec"], "holderIdentity": holder}}


async def refused(asked: Awaitable[object]) -> tuple[int, str]:
    with pytest.raises(ApiError) as error:
        await asked
    return error.value.failure.status, error.value.failure.reason


async def test_it_is_stored_as_it_was_made_and_made_once(cluster: Cluster) -> None:
    made = await cluster.post_lease(lease())
    assert made["spec"] == lease()["spec"]
    assert made["metadata"]["annotations"] == {"example/admin": "http://a:1"}
    assert await cluster.get_lease("one") == made
    assert await refused(cluster.post_lease(lease("b"))) == (409, "AlreadyExists")


async def test_only_the_version_that_was_read_is_replaced(cluster: Cluster) -> None:
    made = await cluster.post_lease(lease())
    mine = await cluster.put_lease(held_by(made, "b"))
    assert mine["metadata"]["uid"] == made["metadata"]["uid"]
    assert mine["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]
    assert await refused(cluster.put_lease(held_by(made, "c"))) == (409, "Conflict")
    assert (await cluster.get_lease("one"))["spec"]["holderIdentity"] == "b"
    assert await refused(cluster.put_lease(lease())) == (422, "Invalid")


async def test_nobody_may_have_it(cluster: Cluster) -> None:
    made = await cluster.post_lease(lease())
    assert (await cluster.put_lease(held_by(made, "")))["spec"]["holderIdentity"] == ""


async def test_one_that_was_deleted_is_not_made_anew_by_whoever_had_read_it(cluster: Cluster) -> None:
    made = await cluster.post_lease(lease())
    await cluster.delete_lease("one")
    assert await refused(cluster.get_lease("one")) == (404, "NotFound")
    assert await refused(cluster.put_lease(held_by(made, "b"))) == (409, "Conflict")
    assert (await cluster.put_lease(lease("c")))["spec"]["holderIdentity"] == "c"  # without its uid
    assert await refused(cluster.put_lease(held_by(made, "b"))) == (409, "Conflict")


async def test_its_duration_is_at_least_a_second(cluster: Cluster) -> None:
    assert await refused(cluster.post_lease(lease(leaseDurationSeconds=0))) == (422, "Invalid")
    assert await refused(cluster.post_lease(lease(leaseTransitions=-1))) == (422, "Invalid")
