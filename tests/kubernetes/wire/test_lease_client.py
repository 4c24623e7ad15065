"""One Lease at the API server: read, made, replaced, and what each failure is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable

import pytest

from owmesos.kubernetes import leases
from owmesos.kubernetes.events import ApiFailure
from owmesos.kubernetes.wire import lease_client
from owmesos.kubernetes.wire.api_client import ApiClient
from owmesos.kubernetes.wire.api_errors import ApiRequestFailed
from owmesos.kubernetes.wire.lease_client import LeaseClient, lease_rights
from tests.fakes.api_server import FakeApiServer, answer
from tests.kubernetes.wire.conftest import Access

NOW = "2026-01-02T03:04:05.678901Z"
NAME = leases.lease_name("i")
NEW = leases.new_lease("default", "i")


@pytest.fixture
async def client(access: Access) -> AsyncIterator[LeaseClient]:
    async with LeaseClient(access(), "default", NAME) as client:
        yield client


async def failed(asked: Awaitable[object]) -> ApiFailure:
    with pytest.raises(ApiRequestFailed) as error:
        await asked
    return error.value.failure


async def test_it_is_made_read_and_replaced(client: LeaseClient) -> None:
    assert await client.read() is None
    made = await client.create(leases.taken(NEW, "a", "http://a:1", 4, NOW))
    assert await client.read() == made
    kept = await client.replace(leases.kept(made.document, "2026-01-02T03:04:06.000000Z"))
    assert kept.lease.spec.renew_time == "2026-01-02T03:04:06.000000Z"
    assert kept.lease.spec.holder_identity == "a"
    assert kept.lease.metadata.resource_version != made.lease.metadata.resource_version
    late = await failed(client.replace(leases.kept(made.document, NOW)))
    assert (late.status, late.reason) == (409, "Conflict")
    again = await failed(client.create(NEW))
    assert (again.status, again.reason) == (409, "AlreadyExists")


async def test_one_that_says_nothing_can_be_read(server: FakeApiServer, client: LeaseClient) -> None:
    server.answers.append(("GET", answer(200, {"metadata": {"annotations": None}, "spec": {"holderIdentity": None}})))
    found = await client.read()
    assert found is not None
    assert found.lease.spec.holder_identity is None


@pytest.mark.parametrize("body", ["", "[]", '{"metadata": 3}', '{"spec": {"leaseDurationSeconds": "x"}}'])
async def test_one_that_cannot_be_read_is_a_failure(server: FakeApiServer, client: LeaseClient, body: str) -> None:
    server.answers.append(("GET", answer(200, body)))
    assert (await failed(client.read())).reason == "NotReadable"


async def test_a_missing_right_is_named(server: FakeApiServer, client: LeaseClient) -> None:
    server.denied.add(("get", "leases"))
    said = await failed(client.read())
    assert 'apiGroups: ["coordination.k8s.io"], resources: ["leases"], verbs: ["get"]' in said.message


async def test_a_server_that_does_not_answer_is_not_waited_for(
    server: FakeApiServer, client: LeaseClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_client, "ANSWER", 0.1)
    server.hold = asyncio.Event()
    said = await failed(client.read())
    server.hold.set()
    assert (said.status, said.reason) == (0, "Timeout")


async def test_the_rights_are_asked_for_with_their_group_and_name(server: FakeApiServer, api: ApiClient) -> None:
    server.denied.add(("update", "leases"))
    (missing,) = await api.missing_rights("default", lease_rights(NAME))
    assert str(missing) == "update leases owmesos-i"
    asked = [body["spec"]["resourceAttributes"] for body in server.bodies]
    assert asked[1:] == [
        {"verb": "update", "resource": "leases", "group": "coordination.k8s.io", "name": NAME, "namespace": "default"},
        {"verb": "create", "resource": "leases", "group": "coordination.k8s.io", "namespace": "default"},
    ]


async def test_no_name_leaves_its_namespace(server: FakeApiServer, access: Access) -> None:
    async with LeaseClient(access(), "../x", "../../pods") as client:
        with pytest.raises(ApiRequestFailed):
            await client.replace(NEW)
    assert server.requests == ["PUT /apis/coordination.k8s.io/v1/namespaces/..%2Fx/leases/..%2F..%2Fpods"]
