"""A process's part in the election by a Lease, on a fake API server: what it is told, and what it writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from owmesos.kubernetes import leases
from owmesos.storage.lease_candidate import LeaseCandidate
from owmesos.storage.lease_election import DURATION
from tests.fakes.api_server import FakeApiServer
from tests.service.kubernetes.scene import access_to
from tests.storage.test_candidate import Told
from tests.waiting import eventually_async

NAME = leases.lease_name("i")


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    server = await FakeApiServer(None).start()
    server.leases.post_lease("default", leases.new_lease("default", "i"))  # nobody has it
    yield server
    await server.stop()


def stored(server: FakeApiServer) -> dict[str, Any]:
    return server.leases.get_lease("default", NAME).body


@asynccontextmanager
async def candidate(server: FakeApiServer, name: str, told: Told | None = None) -> AsyncIterator[Any]:
    told = told or Told()
    taking_part = LeaseCandidate(access_to(server), "default", "i", f"http://{name}:1", told.lease, told)
    taking_part.start()
    try:
        yield taking_part, told
    finally:
        await asyncio.to_thread(taking_part.close)


async def test_the_first_leads_and_the_next_one_follows(server: FakeApiServer) -> None:
    async with candidate(server, "a") as (first, a):
        await eventually_async(a.leads.is_set)
        async with candidate(server, "b") as (_, b):
            leader = await eventually_async(lambda: b.leader)
            assert leader.admin == "http://a:1"
            assert leader.holder.startswith("process ")
            await eventually_async(lambda: a.lease.others == 1)
            assert not b.lease.holds
            await asyncio.to_thread(first.close)
            assert not a.lease.holds
            await eventually_async(b.leads.is_set)
            assert (b.lease.taken_over, a.lease.taken_over) == (True, False)
            assert stored(server)["metadata"]["annotations"] == {"owmesos/admin": "http://b:1"}
            assert a.ended == b.ended == []
    assert stored(server)["spec"]["holderIdentity"] == ""


async def test_one_that_waits_and_ends_is_not_waited_for(server: FakeApiServer) -> None:
    async with candidate(server, "a") as (_, a):
        await eventually_async(a.leads.is_set)
        async with candidate(server, "b"):
            await eventually_async(lambda: a.lease.others == 1)
        await eventually_async(lambda: a.lease.others == 0)
        assert a.ended == []


async def test_a_lease_that_another_process_has_ends_the_lead(server: FakeApiServer) -> None:
    async with candidate(server, "a") as (_, a):
        await eventually_async(a.leads.is_set)
        lease = stored(server)
        other = leases.holder_name("00000000", 1, "b")
        server.leases.put_lease("default", NAME, leases.taken(lease, other, "http://b:1", DURATION, "t"))
        await eventually_async(lambda: a.ended)
        assert a.ended == ["the Lease default/owmesos-i: another process leads"]
        assert not a.lease.holds
    assert stored(server)["spec"]["holderIdentity"] == other


async def test_a_deleted_lease_is_made_anew_though_the_first_attempt_fails(server: FakeApiServer) -> None:
    async with candidate(server, "a") as (_, a):
        await eventually_async(a.leads.is_set)
        refused: list[Any] = []

        def first_post(request: Any) -> bool:
            if request.method == "POST" and not refused:
                refused.append(request)
                return True
            return False

        server.unavailable = first_post
        server.leases.delete_lease("default", NAME)
        await eventually_async(lambda: refused and server.leases.get_lease("default", NAME).done)
        assert a.ended == []


async def test_an_internal_error_ends_it(server: FakeApiServer, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Told):
        def lead(self) -> None:
            raise ZeroDivisionError("oops")

    async with candidate(server, "a", Broken()) as (_, told):
        await eventually_async(lambda: told.ended)
    assert told.ended == ["internal error in the election: oops"]
    assert not told.lease.holds
    assert "the election broke" in caplog.text


async def test_a_failure_is_said_once_and_so_is_its_end(
    server: FakeApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "owmesos.election")
    async with candidate(server, "a") as (_, a):
        await eventually_async(a.leads.is_set)
        server.unavailable = lambda _: True
        asked = len(server.requests)
        await eventually_async(lambda: len(server.requests) >= asked + 3)
        server.unavailable = lambda _: False
        await eventually_async(lambda: "the API server answers again" in caplog.text)
        assert caplog.text.count("who leads is not known: not now") == 1
        assert a.ended == []
