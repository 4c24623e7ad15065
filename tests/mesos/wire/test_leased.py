"""A wire of a process that may have lost the lead sends nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from owmesos.mesos.messages import Call, Event, Revive, Subscribe
from owmesos.mesos.scheduler.settings import framework_info
from owmesos.mesos.wire.address import ServerAddress
from owmesos.mesos.wire.detector import HostList
from owmesos.mesos.wire.driver import NotSubscribed
from owmesos.mesos.wire.leased import leased_detector, leased_driver
from owmesos.system.lease import Lease, clock

MASTER = ServerAddress("http", "master", 5050)


class Wire:
    """A driver that notes what it sends. `before` is called in between."""

    def __init__(self) -> None:
        self.subscription = Subscribe(framework_info(name="f", user="u", roles=("*",)))
        self.master = MASTER
        self.sent: list[Call] = []
        self.before: Callable[[], None] = lambda: None

    async def events(self) -> AsyncIterator[Event]:
        for _ in ():
            yield _

    async def call(self, call: Call, *, sending: Callable[[], None] | None = None) -> None:
        self.before()
        if sending is not None:
            sending()
        self.sent.append(call)

    async def resubscribe(self, reason: str) -> None: ...

    async def close(self) -> None: ...


def holding() -> Lease:
    lease = Lease(4.0)
    lease.renew(clock() + 3600)
    return lease


async def test_calls_wait_for_the_lease() -> None:
    wire, lease, noted = Wire(), Lease(4.0), list[str]()
    driver = leased_driver(wire, lease)
    calling = asyncio.create_task(driver.call(Revive(), sending=lambda: noted.append("sending")))
    await asyncio.sleep(0)
    assert (wire.sent, noted) == ([], [])
    lease.renew(clock() + 3600)
    await asyncio.wait_for(calling, 60)
    assert (wire.sent, noted) == ([Revive()], ["sending"])
    assert driver.master == MASTER
    driver.subscription = Subscribe(framework_info(name="g", user="u", roles=("*",)))
    assert wire.subscription.framework_info.name == "g"


async def test_a_call_whose_lease_runs_out_on_the_way_was_not_sent() -> None:
    wire, lease = Wire(), holding()
    wire.before = lease.end
    with pytest.raises(NotSubscribed, match="does not know whether it still leads"):
        await leased_driver(wire, lease).call(Revive())
    assert wire.sent == []


async def test_masters_are_named_while_the_lease_holds() -> None:
    lease = Lease(4.0)
    detector = leased_detector(HostList([MASTER]), lease)
    asking = asyncio.ensure_future(detector.candidates())
    await asyncio.sleep(0)
    assert not asking.done()
    lease.renew(clock() + 3600)
    assert tuple(await asyncio.wait_for(asking, 60)) == (MASTER,)


def test_without_a_lease_they_are_what_they_were() -> None:
    wire, hosts = Wire(), HostList([MASTER])
    assert leased_driver(wire, None) is wire
    assert leased_detector(hosts, None) is hosts
