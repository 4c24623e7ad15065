"""The fixtures of `tests/mesos/wire`, with the driver on pymesos in the place of our own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from owmesos.mesos.messages import Subscribe
from owmesos.mesos.wire.access import Access
from owmesos.mesos.wire.address import parse_master
from owmesos.mesos.wire.detector import detector_for
from owmesos.system.retry_pause import RetryPause
from tests.fakes.master import FakeMaster
from tests.mesos.wire.conftest import INFO, Collected, Drive

PYMESOS_MISSING = "pymesos is not installed: pip install ./compat/http-parser pymesos"


@pytest.fixture
async def master() -> AsyncIterator[FakeMaster]:
    fake = await FakeMaster().start()
    yield fake
    await fake.stop()


@pytest.fixture
async def drive() -> AsyncIterator[Drive]:
    """As in `tests/mesos/wire`."""
    pytest.importorskip("pymesos", reason=PYMESOS_MISSING)
    from owmesos.mesos.pymesos.driver import PymesosDriver

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
        driver = PymesosDriver(
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
