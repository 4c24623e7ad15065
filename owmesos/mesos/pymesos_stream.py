"""A subscription on pymesos as the rest of owmesos knows streams: its thread's events, handed to the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable
from typing import TypeVar

from owmesos.errors import OwmesosError
from owmesos.mesos.access import Access
from owmesos.mesos.address import Address
from owmesos.mesos.event_reader import EventReader
from owmesos.mesos.messages import Event, Subscribe
from owmesos.mesos.pymesos_wire import Wire
from owmesos.mesos.stream import SubscribeFailed

_log = logging.getLogger("owmesos.mesos.pymesos")
_ENDING = 5.0
T = TypeVar("T")


class PymesosStream:
    """An open stream at the master `address`; `id` goes into every call that belongs to it. See `stream.Stream`."""

    def __init__(self, address: Address, access: Access, subscribe: Subscribe, limit: int) -> None:
        self.address = address
        self.lost: str | None = None
        self.id = ""
        self._loop = asyncio.get_running_loop()
        self._reader = EventReader(address)
        self._heard_at = time.monotonic()
        self._queue: asyncio.Queue[Event | OwmesosError | None] = asyncio.Queue()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._watchdog: asyncio.TimerHandle | None = None
        self._wire = Wire(address, subscribe, access.headers, limit, self)

    @classmethod
    async def open(
        cls, address: Address, access: Access, subscribe: Subscribe, timeout: float, limit: int
    ) -> PymesosStream:
        """Sends SUBSCRIBE once. `timeout`: seconds until the answer begins. Raises SubscribeFailed."""
        stream = cls(address, access, subscribe, limit)
        stream._wire.start()
        try:
            await asyncio.wait_for(asyncio.shield(stream._opened), timeout)
        except asyncio.TimeoutError:
            await stream.close()
            raise SubscribeFailed(f"{address} gave no answer in {timeout:g} s") from None
        except BaseException:
            await stream.close()
            raise
        stream._watch()
        return stream

    async def events(self) -> AsyncGenerator[Event, None]:
        """The events, until the stream is lost; `lost` then says why."""
        while self.lost is None:
            item = await self._queue.get()
            if isinstance(item, OwmesosError):
                self.abort(str(item))
            elif item is not None and self.lost is None:
                yield item
            del item  # it may be large, and the next one long in coming

    def abort(self, reason: str) -> None:
        """Ends it now. The first reason counts."""
        if self.lost is None:
            self.lost = reason
            self._wire.stop(failover=True)
            self._queue.put_nowait(None)
            if self._watchdog is not None:
                self._watchdog.cancel()

    async def close(self) -> None:
        """Returns when its thread has ended."""
        self.abort("closed")
        ended, _ = await asyncio.wait([self._over], timeout=_ENDING)
        if not ended:
            _log.warning("pymesos's thread for %s does not end yet; what it says is ignored", self.address)
        if not self._opened.cancel():
            self._opened.exception()  # so that asyncio does not take it for one that nobody saw

    def _watch(self) -> None:
        """The watchdog that pymesos lacks: a connection that is half open brings nothing, for ever."""
        left = self._heard_at + self._reader.silence - time.monotonic()
        if left <= 0:
            self.abort(f"the master was silent for {self._reader.silence:g} s")
        else:
            self._watchdog = self._loop.call_later(min(left, 1.0), self._watch)

    # In the wire's thread, see `pymesos_wire.Listener`

    def opened(self, stream_id: str) -> None:
        self._tell(self._on_opened, stream_id)

    def heard(self) -> None:
        self._heard_at = time.monotonic()

    def event(self, record: bytes) -> None:
        event = self._reader.read(record)
        if event is not None:
            self._tell(self._queue.put_nowait, event)

    def skipped(self, reason: str) -> None:
        self._reader.report(reason)

    def ended(self, reason: OwmesosError) -> None:
        self._tell(self._on_ended, reason)

    def _tell(self, told: Callable[[T], None], what: T) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody listens any more
            self._loop.call_soon_threadsafe(told, what)

    # Back on the loop

    def _on_opened(self, stream_id: str) -> None:
        self.id = stream_id
        if not self._opened.done():
            self._opened.set_result(None)

    def _on_ended(self, reason: OwmesosError) -> None:
        self._over.set_result(None)
        self._queue.put_nowait(reason)
        if not self._opened.done():
            self._opened.set_exception(reason if isinstance(reason, SubscribeFailed) else SubscribeFailed(str(reason)))
