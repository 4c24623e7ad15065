"""A process that may have lost the lead creates and deletes no pod."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from owmesos.kubernetes.wire.api_client import ApiClient
from owmesos.kubernetes.wire.api_errors import ApiRequestFailed
from owmesos.kubernetes.wire.leased import leased_pods
from owmesos.system.lease import Lease, clock
from tests.fakes.api_server import FakeApiServer, pod

BODY = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": []}}


def lapsing(looks: int) -> Lease:
    """It holds for so many looks at it."""
    times = iter([0.0] * looks + [9.0] * 9)
    lease = Lease(4.0, lambda: next(times))
    lease.renew(1.0)
    return lease


def post(api: ApiClient, lease: Lease) -> Awaitable[object]:
    return leased_pods(api, lease).post_pod("default", BODY)


def delete(api: ApiClient, lease: Lease) -> Awaitable[object]:
    return leased_pods(api, lease).delete_pod("default", "a", uid=None, grace=1)


@pytest.mark.parametrize("write", [post, delete])
async def test_what_is_asked_for_without_the_lead_waits_for_it(
    server: FakeApiServer, api: ApiClient, write: Callable[[ApiClient, Lease], Awaitable[object]]
) -> None:
    if write is delete:
        server.put("pods", pod("a"))
    lease = Lease(4.0)
    asked = asyncio.ensure_future(write(api, lease))
    await asyncio.sleep(0)
    assert not asked.done()
    lease.renew(clock() + 3600)
    await asyncio.wait_for(asked, 60)
    assert len(server.requests) == 1


@pytest.mark.parametrize("write", [post, delete])
async def test_one_whose_lease_runs_out_while_it_connects_was_certainly_not_sent(
    server: FakeApiServer, api: ApiClient, write: Callable[[ApiClient, Lease], Awaitable[object]]
) -> None:
    with pytest.raises(ApiRequestFailed, match="does not know whether it still leads") as error:
        await write(api, lapsing(1))
    assert error.value.failure.certain
    assert server.requests == []


@pytest.mark.parametrize("write", [post, delete])
async def test_nor_is_one_whose_lease_runs_out_just_before_its_body(
    server: FakeApiServer, api: ApiClient, write: Callable[[ApiClient, Lease], Awaitable[object]]
) -> None:
    with pytest.raises(ApiRequestFailed):
        await write(api, lapsing(2))
    assert server.requests == []


async def test_without_a_lease_all_may_be_sent(server: FakeApiServer, api: ApiClient) -> None:
    pods = leased_pods(api, None)
    assert pods is api
    await pods.post_pod("default", BODY)
    assert len(server.requests) == 1
