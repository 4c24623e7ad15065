"""The HTTP driver for programs without asyncio: its loop in a thread, its events in a queue, its calls from any thread.

Events keep their JSON: what a framework reads of an offer must not depend on what owmesos knows.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import queue
import threading
from typing import Any

import msgspec

from owmesos.errors import NOT_READABLE, OwmesosError
from owmesos.mesos.messages import Call, Event, Heartbeat, Subscribe, Subscribed, Teardown
from owmesos.mesos.wire.access import Access
from owmesos.mesos.wire.address import Masters, ServerAddress, ZooKeeperMasters
from owmesos.mesos.wire.detector import detector_for
from owmesos.mesos.wire.driver import CALL_TIMEOUT, CallFailed, Disconnected, NotSubscribed, SubscribeUnanswered
from owmesos.mesos.wire.event_reader import EventReader
from owmesos.mesos.wire.http_driver import HttpDriver
from owmesos.mesos.wire.recordio import Record
from owmesos.system.tasks import within

_TEARDOWN_TIMEOUT = 10.0  # seconds
NOT_RUNNING = "the driver is not running"
_log = logging.getLogger("owmesos.compat.pymesos")


class DriverError(OwmesosError, RuntimeError):
    """The master has not accepted a call, or it is unknown whether it has: `__cause__` is the CallFailed."""


class RawEvent(Event, frozen=True):
    type: str
    fields: dict[str, Any]


class GivenUp(Event, frozen=True):
    """The link has waited for a master for too long."""

    reason: str


class LinkEnded(Event, frozen=True):
    """The last event. `error`: what failed, if anything did."""

    error: Exception | None = None


class _RawReader(EventReader):
    def read(self, record: Record) -> Event | None:
        event = super().read(record)
        if event is None or isinstance(event, (Subscribed, Heartbeat)):
            return event
        try:
            document = msgspec.json.decode(record)
        except NOT_READABLE as error:
            self.report(f"skipping an event: {error}")
            return None
        return RawEvent(document["type"], document[event.body])


class _RawDriver(HttpDriver):
    reader = _RawReader


class Link:
    """From `start` to `end`, once. `lines` ends with a LinkEnded."""

    def __init__(
        self,
        masters: Masters | ZooKeeperMasters,
        subscription: Subscribe,
        access: Access,
        *,
        timeout: float,
        connect_timeout: float,
    ) -> None:
        """Seconds after which it gives up: `timeout` without a subscription, `connect_timeout` at the start if nothing
        but answers of no started master come.
        """
        self.lines: queue.SimpleQueue[tuple[Event, int]] = queue.SimpleQueue()
        """Events, each with the number of subscriptions that had been lost before it."""
        self.losses = 0
        self.torn_down = False
        self._masters = masters
        self._subscription = subscription
        self._access = access
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._not_a_master: asyncio.TimerHandle | None = None
        self._unexpected = ""
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="owmesos-pymesos-wire", daemon=True)

    @property
    def master(self) -> ServerAddress | None:
        """The leader, while subscribed."""
        return self._driver.master

    def start(self) -> None:
        self._thread.start()
        self._ready.wait()

    def end(self, *, teardown: bool) -> None:
        """Begins to end; the first call counts. Without a subscription TEARDOWN cannot be sent."""
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
        except Exception as broken:  # noqa: BLE001  (`join` raises it)
            error = broken
        self._put(LinkEnded(error))

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._wish: asyncio.Future[bool] = self._loop.create_future()
        self._driver = _RawDriver(detector_for(self._masters), self._subscription, self._access)
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
        given_up = GivenUp(f"no master has taken the subscription for {self._timeout:g} s")
        giving_up = self._loop.call_later(self._timeout, self._put, given_up)
        ever = False
        async for event in self._driver.events():
            if isinstance(event, SubscribeUnanswered):
                if not ever:
                    self._unanswered(event)
                continue
            if isinstance(event, Subscribed):
                ever = True
                giving_up.cancel()
                self._forgive()
            elif isinstance(event, Disconnected):
                self.losses += 1
                giving_up = self._loop.call_later(self._timeout, self._put, given_up)
            self._put(event)
        giving_up.cancel()
        self._forgive()

    def _unanswered(self, event: SubscribeUnanswered) -> None:
        self._unexpected = event.reason
        if not event.unexpected:
            self._forgive()
        elif self._not_a_master is None:
            self._not_a_master = self._loop.call_later(self._connect_timeout, self._give_up_at_once)

    def _forgive(self) -> None:
        if self._not_a_master is not None:
            self._not_a_master.cancel()
            self._not_a_master = None

    async def _tear_down(self) -> None:
        try:
            await within(self._driver.call(Teardown()), _TEARDOWN_TIMEOUT)
            self.torn_down = True
        except (CallFailed, asyncio.TimeoutError) as error:
            why = str(error) or "no answer in time"
            _log.warning("TEARDOWN is not done: %s; the tasks live on for failover_timeout", why)

    def _want_end(self, teardown: bool) -> None:
        if not self._wish.done():
            self._wish.set_result(teardown)

    def _give_up_at_once(self) -> None:
        self._put(GivenUp(f"no Mesos master has answered for {self._connect_timeout:g} s: {self._unexpected}"))

    def _put(self, event: Event) -> None:
        self.lines.put((event, self.losses))
