"""What the tests of the wire share: a fake master, and a driver whose events are collected."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from owmesos.mesos.messages import Capability, Event, FrameworkInfo, Subscribe
from owmesos.mesos.wire.access import Access
from owmesos.mesos.wire.address import parse_master
from owmesos.mesos.wire.detector import detector_for
from owmesos.mesos.wire.driver import Driver
from owmesos.mesos.wire.http_driver import HttpDriver
from owmesos.system.retry_pause import RetryPause
from tests.fakes.master import FakeMaster
from tests.waiting import eventually_async, in_time

INFO = FrameworkInfo("user", "test", roles=["r"], capabilities=[Capability("MULTI_ROLE")])


class CountedBackoff(RetryPause):
    """Remembers the waits that it gave."""

    def __init__(self, shortest: float, longest: float) -> None:
        super().__init__(shortest, longest)
        self.waits: list[float] = []

    def next(self) -> float:
        self.waits.append(super().next())
        return self.waits[-1]


class Collected:
    """A driver and the events that it has yielded."""

    def __init__(self, driver: Driver) -> None:
        self.give_up_at: type[Event] | None = None
        self.driver = driver
        self.events: list[Event] = []
        self.task = asyncio.create_task(self._collect())

    async def _collect(self) -> None:
        async for event in self.driver.events():
            self.events.append(event)
            if self.give_up_at is not None and isinstance(event, self.give_up_at):
                await self.driver.resubscribe(f"given up at {type(event).__name__}")

    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.events]

    async def until(self, kind: type[Event], count: int = 1) -> list[Event]:
        def found() -> list[Event]:
            if self.task.done():
                self.task.result()
            return [event for event in self.events if isinstance(event, kind)]

        await eventually_async(lambda: len(found()) >= count, what=f"{count} {kind.__name__}")
        return found()

    async def close(self) -> None:
        await self.driver.close()
        await in_time(self.task)


Drive = Callable[..., Collected]


@pytest.fixture
async def master() -> AsyncIterator[FakeMaster]:
    fake = await FakeMaster().start()
    yield fake
    await fake.stop()


@asynccontextmanager
async def driving(make: Callable[..., Driver]) -> AsyncIterator[Drive]:
    """`drive("host:port", …)` starts a driver of `make` with short waits; all are closed in the end."""
    started: list[Collected] = []

    def start(
        masters: str,
        *,
        subscription: Subscribe | None = None,
        access: Access | None = None,
        backoff: RetryPause | None = None,
        call_timeout: float = 5.0,
        record_limit: int = 1_000_000,
    ) -> Collected:
        driver = make(
            detector_for(parse_master(masters, credentials_allowed=False)),
            subscription or Subscribe(INFO),
            access,
            backoff=backoff or RetryPause(shortest=0.02, longest=0.1),
            call_timeout=call_timeout,
            record_limit=record_limit,
        )
        started.append(Collected(driver))
        return started[-1]

    yield start
    await asyncio.gather(*(collected.close() for collected in started))


@pytest.fixture
async def drive() -> AsyncIterator[Drive]:
    async with driving(HttpDriver) as start:
        yield start
