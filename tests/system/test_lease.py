"""Until when a process may act."""

from __future__ import annotations

import asyncio

from owmesos.system.lease import Lease, clock


def test_it_holds_until_its_end_and_never_becomes_shorter() -> None:
    now = 0.0
    lease = Lease(4.0, lambda: now)
    assert not lease.holds
    lease.renew(3.0)
    lease.renew(2.0)
    now = 2.9
    assert lease.holds
    now = 3.0
    assert not lease.holds
    lease.renew(5.0)
    assert lease.holds
    lease.end()
    lease.renew(9.0)
    assert not lease.holds
    assert not lease.wait(0.0)


async def test_who_waits_goes_on_when_it_is_renewed() -> None:
    lease = Lease(4.0)
    waiting = asyncio.create_task(lease.held())
    blocked = asyncio.create_task(asyncio.to_thread(lease.wait, 60.0))
    await asyncio.sleep(0)
    assert not waiting.done()
    lease.renew(clock() + 60.0)
    await asyncio.wait_for(waiting, 60)
    assert await asyncio.wait_for(blocked, 60)
