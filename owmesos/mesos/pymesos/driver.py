"""The driver on pymesos, for those who trust pymesos's connection.

What pymesos lacks (watchdog, back-off, several masters, UPDATE_FRAMEWORK, SHUTDOWN, …) is added, so that nothing above
a driver knows which one it has. TLS and IPv6 are not supported, and a record that is not valid JSON ends the stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable

from owmesos.errors import InvalidInput, OwmesosError
from owmesos.mesos.messages import ID, Event, Subscribe
from owmesos.mesos.pymesos.calls import PymesosCalls
from owmesos.mesos.pymesos.wire import News, Wire
from owmesos.mesos.wire.access import Access
from owmesos.mesos.wire.address import Masters, ServerAddress, parse_master
from owmesos.mesos.wire.calls import CallChannel
from owmesos.mesos.wire.detector import access_for, detector_for
from owmesos.mesos.wire.event_reader import EventReader
from owmesos.mesos.wire.subscriber import EventStream, SubscribeFailed, SubscribingDriver
from owmesos.system.tasks import is_set_within

_log = logging.getLogger("owmesos.mesos.pymesos")
_ENDING = 5.0  # seconds; that a stream waits for the end of its thread
NO_TLS = "pymesos does not support TLS: use the driver http"


class PymesosDriver(SubscribingDriver):
    """A `Driver` on pymesos. Use it within one event loop."""

    async def _open_stream(self, address: ServerAddress, subscribe: Subscribe, reader: EventReader) -> EventStream:
        lacking = _lacking(address)
        if lacking is not None:
            raise SubscribeFailed(lacking)
        stream = PymesosStream(address, self._access, subscribe, reader, self._record_limit)
        await stream.open()
        return stream

    def _open_channel(self, stream: EventStream, framework_id: ID) -> CallChannel:
        return PymesosCalls(stream.address, stream.id, framework_id, self._access, self._call_timeout)


def pymesos_driver(master: str, access: Access) -> Callable[[Subscribe], PymesosDriver]:
    """For the parameter `driver` of `owmesos.Framework`. `master`: `host:port[,…]` or `zk://…`.

    Raises InvalidInput, also for masters that pymesos cannot talk to.
    """
    masters = parse_master(master, credentials_allowed=True)
    if isinstance(masters, Masters):
        for lacking in filter(None, map(_lacking, masters.addresses)):
            raise InvalidInput(f"{lacking}: use the driver http")
    access = access_for(masters, access)
    return lambda subscription: PymesosDriver(detector_for(masters), subscription, access)


def _lacking(address: ServerAddress) -> str | None:
    """Why pymesos cannot talk to a master."""
    if address.scheme != "http":
        return f"{address}: pymesos does not support TLS"
    return f"{address}: pymesos does not support IPv6" if ":" in address.host else None


class PymesosStream:
    """See `subscriber.EventStream`."""

    def __init__(
        self, address: ServerAddress, access: Access, subscribe: Subscribe, reader: EventReader, record_limit: int
    ) -> None:
        self.address = address
        self.lost: str | None = None
        self.id = ""
        self._loop = asyncio.get_running_loop()
        self._reader = reader
        self._queue: asyncio.Queue[News | None] = asyncio.Queue()
        self._ended = asyncio.Event()
        self._watchdog: asyncio.TimerHandle | None = None
        self._wire = Wire(address, subscribe, access.headers, reader, record_limit, self._report)

    async def open(self) -> None:
        """Sends SUBSCRIBE once. Raises SubscribeFailed."""
        self._wire.start()
        try:
            first = await self._queue.get()
            if isinstance(first, OwmesosError):
                raise first if isinstance(first, SubscribeFailed) else SubscribeFailed(str(first))
        except BaseException:
            await self.close()
            raise
        self.id = str(first)
        self._watch()

    async def events(self) -> AsyncGenerator[Event, None]:
        while self.lost is None:
            item = await self._queue.get()
            if isinstance(item, OwmesosError):
                self.abort(str(item))
            elif isinstance(item, Event) and self.lost is None:
                yield item
            del item  # it may be large, and the next one may take long

    def abort(self, reason: str) -> None:
        if self.lost is None:
            self.lost = reason
            self._wire.stop(failover=True)
            self._queue.put_nowait(None)  # wakes `events`
            if self._watchdog is not None:
                self._watchdog.cancel()

    async def close(self) -> None:
        """Returns when the thread has ended."""
        self.abort("closed")
        if not await is_set_within(self._ended, _ENDING):
            _log.warning("pymesos's thread for %s has not ended yet; its events are ignored", self.address)

    def _watch(self) -> None:
        """The watchdog that pymesos lacks: on a half-open connection nothing ever arrives."""
        left = self._wire.heard_at + self._reader.silence - time.monotonic()
        if left <= 0:
            self.abort(f"the master was silent for {self._reader.silence:g} s")
        else:
            self._watchdog = self._loop.call_later(min(left, 1.0), self._watch)

    def _report(self, news: News) -> None:
        """Called in the wire's thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody listens any more
            self._loop.call_soon_threadsafe(self._receive, news)

    def _receive(self, news: News) -> None:
        self._queue.put_nowait(news)
        if isinstance(news, OwmesosError):
            self._ended.set()
