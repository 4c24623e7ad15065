"""The HTTP driver for programs without asyncio: its loop in a thread, its events in a queue, its calls from any thread.

Events keep the JSON that they came with: what a framework reads of an offer must not depend on what owmesos knows.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import logging
import queue
import threading
from typing import Any

import msgspec

from owmesos.errors import OwmesosError
from owmesos.mesos.access import Access
from owmesos.mesos.address import Address, Masters, ZooKeeperMasters
from owmesos.mesos.backoff import Backoff
from owmesos.mesos.client import HttpDriver
from owmesos.mesos.detector import detector_for
from owmesos.mesos.driver import CALL_TIMEOUT, CallFailed, Disconnected, NotSubscribed, Subscription
from owmesos.mesos.event_reader import EventReader
from owmesos.mesos.messages import Call, Event, Heartbeat, Subscribed, Teardown
from owmesos.mesos.recordio import Record

_TEARDOWN_TIMEOUT = 10.0
NOT_RUNNING = "the driver is not running"
_log = logging.getLogger("owmesos.compat.pymesos")


class DriverError(OwmesosError, RuntimeError):
    """A call that the master has not taken, or may not have. `__cause__` is the CallFailed that tells which."""


class RawEvent(Event, frozen=True):
    """An event as it came."""

    type: str
    fields: dict[str, Any]


class GivenUp(Event, frozen=True):
    """Nothing more is to be hoped for."""

    reason: str


class Ended(Event, frozen=True):
    """The last event. `error`: what broke, if anything did."""

    error: Exception | None = None


class _RawReader(EventReader):
    def read(self, record: Record) -> Event | None:
        event = super().read(record)
        if event is None or isinstance(event, (Subscribed, Heartbeat)):
            return event
        document = msgspec.json.decode(record)
        return RawEvent(document["type"], document[event.body])


@dataclasses.dataclass(frozen=True)
class Line:
    """One event in the queue, and how many subscriptions had been lost before it."""

    event: Event
    losses: int


class Link:
    """From `start` to `end`; then it is of no more use. `lines` ends with an `Ended`."""

    def __init__(
        self,
        masters: Masters | ZooKeeperMasters,
        subscription: Subscription,
        access: Access,
        timeout: float,
        backoff: Backoff | None = None,
    ) -> None:
        """`timeout`: seconds without a subscription after which it gives up."""
        self.lines: queue.SimpleQueue[Line] = queue.SimpleQueue()
        self.losses = 0
        self.torn_down = False
        self._masters = masters
        self._subscription = subscription
        self._access = access
        self._backoff = backoff
        self._timeout = timeout
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="owmesos-pymesos-wire", daemon=True)

    @property
    def master(self) -> Address | None:
        """Who leads, while subscribed."""
        return self._driver.master

    def start(self) -> None:
        self._thread.start()
        self._ready.wait()

    def end(self, *, teardown: bool) -> None:
        """Begins the end; the first wish counts. Without a subscription TEARDOWN cannot be sent."""
        with contextlib.suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(self._want_end, teardown)

    def join(self, timeout: float | None = None) -> None:
        self._thread.join(timeout)

    def call(self, call: Call) -> None:
        """Waits for the answer. Raises DriverError."""
        making = self._driver.call(call)
        try:
            answer = asyncio.run_coroutine_threadsafe(making, self._loop)
        except RuntimeError:
            making.close()
            raise DriverError(NOT_RUNNING) from NotSubscribed(NOT_RUNNING)
        try:
            answer.result(CALL_TIMEOUT + 1)
        except CallFailed as error:
            raise DriverError(str(error)) from error
        except (concurrent.futures.CancelledError, concurrent.futures.TimeoutError):
            raise DriverError(NOT_RUNNING) from NotSubscribed(NOT_RUNNING)

    # On the loop, in its thread

    def _run(self) -> None:
        error: Exception | None = None
        try:
            asyncio.run(self._live())
        except Exception as broken:  # noqa: BLE001  (whoever waits for the driver is told)
            error = broken
        self._put(Ended(error))

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._wish: asyncio.Future[bool] = self._loop.create_future()
        self._driver = HttpDriver(
            detector_for(self._masters), self._subscription, self._access, backoff=self._backoff, reader=_RawReader
        )
        self._ready.set()
        pump = asyncio.create_task(self._pump())
        either: list[asyncio.Future[Any]] = [pump, self._wish]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        try:
            if self._wish.done() and self._wish.result():
                await self._tear_down()
        finally:
            await self._driver.close()
            await pump

    async def _pump(self) -> None:
        giving_up = self._loop.call_later(self._timeout, self._give_up)
        async for event in self._driver.events():
            if isinstance(event, Subscribed):
                giving_up.cancel()
            elif isinstance(event, Disconnected):
                self.losses += 1
                giving_up = self._loop.call_later(self._timeout, self._give_up)
            self._put(event)
        giving_up.cancel()

    async def _tear_down(self) -> None:
        try:
            await asyncio.wait_for(self._driver.call(Teardown()), _TEARDOWN_TIMEOUT)
            self.torn_down = True
        except (CallFailed, asyncio.TimeoutError) as error:
            why = str(error) or "no answer in time"
            _log.warning("TEARDOWN is not done: %s; the tasks live on for failover_timeout", why)

    def _want_end(self, teardown: bool) -> None:
        if not self._wish.done():
            self._wish.set_result(teardown)

    def _give_up(self) -> None:
        self._put(GivenUp(f"no master has taken the subscription for {self._timeout:g} s"))

    def _put(self, event: Event) -> None:
        self.lines.put(Line(event, self.losses))
