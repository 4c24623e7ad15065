"""Keeps one subscription alive at whichever master leads: the part of a driver that is the same on every wire.

Every SUBSCRIBE but the first waits for the back-off, whatever ended the one before; a redirection to the leader is
followed at once. docs/scheduler-http-api.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

import msgspec

from owmesos.errors import InvalidInput, OwmesosError
from owmesos.mesos.messages import ID, Call, Event, Subscribe, Subscribed
from owmesos.mesos.wire.access import Access
from owmesos.mesos.wire.address import ServerAddress
from owmesos.mesos.wire.calls import CallChannel
from owmesos.mesos.wire.detector import Detector
from owmesos.mesos.wire.driver import (
    CALL_TIMEOUT,
    CallUnknown,
    Disconnected,
    NotSubscribed,
    SubscribeRefused,
    SubscribeUnanswered,
)
from owmesos.mesos.wire.event_reader import EventReader
from owmesos.mesos.wire.recordio import RECORD_LIMIT
from owmesos.system.retry_pause import RetryPause
from owmesos.system.tasks import is_set_within, within

_CREDENTIALS_COME = 5.0  # seconds from the first refusal without any
_log = logging.getLogger("owmesos.mesos.client")
_REFUSALS = (400, 401, 403)
_NO_LEADER = 500  # and above: a master answers 503 before it leads, a proxy 502 to 504 while its master is down
_OF_NO_MASTER = re.compile(r"(400:? *)?bad request\.?", re.IGNORECASE)


class SubscribeFailed(OwmesosError):
    """A SUBSCRIBE did not open a stream."""


class Unreachable(SubscribeFailed):
    """No connection was made, so nothing was sent."""


class Redirected(SubscribeFailed):
    def __init__(self, address: ServerAddress) -> None:
        super().__init__(f"it redirects to {address}")
        self.address = address


class Refused(SubscribeFailed):
    """A master's own 400, 401 or 403."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"SUBSCRIBE is refused ({status}): {reason}")
        self.status = status
        self.reason = reason


class UnexpectedAnswer(SubscribeFailed):
    """An answer that no started master gives: another server's, or the 404 of a master whose HTTP routes are not ready
    yet (measured: for 53 to 426 ms after its start).
    """


def no_stream(address: ServerAddress, status: int, content_type: str, said: str | None) -> SubscribeFailed:
    """The error for an answer to SUBSCRIBE that is neither a stream nor a redirection. `said` is its body's text."""
    if status in _REFUSALS and _from_mesos(status, content_type, said):
        return Refused(status, said or "no reason given")
    text = f"{address} answers SUBSCRIBE with {status}: {said or 'an empty answer'}"
    return SubscribeFailed(text) if status >= _NO_LEADER else UnexpectedAnswer(text)


def _from_mesos(status: int, content_type: str, said: str | None) -> bool:
    """Mesos gives its reason as plain text, or for 401 and 403 none (3rdparty/libprocess, http::Response)."""
    if said is None:
        return status != 400
    return content_type.partition(";")[0].strip().lower() == "text/plain" and not _OF_NO_MASTER.fullmatch(said)


class EventStream(Protocol):
    """An open stream at the master `address`. `id` goes into every call that belongs to it; `lost` is why it ended."""

    address: ServerAddress
    id: str
    lost: str | None

    def events(self) -> AsyncGenerator[Event, None]:
        """The events, until the stream is lost."""

    def abort(self, reason: str) -> None:
        """Ends it now. The first reason counts."""

    async def close(self) -> None:
        """Returns when its connection is closed."""


class SubscribingDriver(ABC):
    """A `Driver` without its wire. Use it within one event loop."""

    reader: type[EventReader] = EventReader

    def __init__(
        self,
        detector: Detector,
        subscription: Subscribe,
        access: Access | None = None,
        *,
        backoff: RetryPause | None = None,
        call_timeout: float = CALL_TIMEOUT,
        record_limit: int = RECORD_LIMIT,
    ) -> None:
        self.subscription = subscription
        self._detector = detector
        self._access = access or Access()
        self._backoff = backoff or RetryPause()
        self._call_timeout = call_timeout
        self._record_limit = record_limit
        self._tried = False
        self._said = ""  # why the last try failed
        self._refused_at: float | None = None  # for the first time
        self._closed = asyncio.Event()
        self._attempt: asyncio.Task[EventStream] | None = None
        self._stream: EventStream | None = None
        self._channel: CallChannel | None = None

    @property
    def master(self) -> ServerAddress | None:
        """Who has taken the subscription; None while there is none."""
        return self._stream.address if self._stream is not None and self._channel is not None else None

    @abstractmethod
    async def _open_stream(self, address: ServerAddress, subscribe: Subscribe, reader: EventReader) -> EventStream:
        """Sends SUBSCRIBE once, without a time limit. Raises SubscribeFailed."""

    @abstractmethod
    def _open_channel(self, stream: EventStream, framework_id: ID) -> CallChannel:
        """For the calls that belong to `stream`."""

    def _credentials_may_come(self, refusal: Refused) -> bool:
        """A local cluster that has just started writes its credentials a moment later."""
        if refusal.status != 401 or self._access.late is None:
            return False
        now = asyncio.get_running_loop().time()
        if self._refused_at is None:
            self._refused_at = now
        return now - self._refused_at < _CREDENTIALS_COME

    async def events(self) -> AsyncGenerator[Event, None]:
        while await self._may_try():
            try:
                stream = await self._open()
            except Refused as refusal:
                if self._credentials_may_come(refusal):
                    continue
                yield SubscribeRefused(refusal.status, refusal.reason)
                continue
            except SubscribeFailed as failure:
                reason, unexpected = str(failure), isinstance(failure, UnexpectedAnswer)
                said, self._said = self._said, reason
                level = logging.DEBUG if unexpected and reason == said else logging.WARNING
                _log.log(level, "not subscribed, trying again: %s", reason)
                yield SubscribeUnanswered(reason, unexpected)
                continue
            self._said = ""
            if stream is None:
                continue
            started = asyncio.get_running_loop().time()
            watch = asyncio.create_task(self._leave_former_leader(stream))
            try:
                async with contextlib.aclosing(stream.events()) as events:
                    async for event in events:
                        if isinstance(event, Subscribed):
                            await self._subscribed(stream, event)
                        yield event
                        del event  # it may be large, and the next one may take long
            finally:
                watch.cancel()
                await self._lost(stream)
            self._backoff.lived(asyncio.get_running_loop().time() - started)
            if not self._closed.is_set():
                _log.info("disconnected from %s: %s", stream.address, stream.lost)
                yield Disconnected(stream.lost or "closed")

    async def call(self, call: Call, *, sending: Callable[[], None] | None = None) -> None:
        if isinstance(call, Subscribe):
            raise InvalidInput("the driver sends SUBSCRIBE itself: change its `subscription`, then call `resubscribe`")
        channel, stream = self._channel, self._stream
        if channel is None or stream is None or stream.lost is not None:
            raise NotSubscribed("not subscribed")
        try:
            await channel.send(call, sending)
        except CallUnknown as error:
            if channel.closed is not None and channel is self._channel:
                stream.abort(f"a call got no answer: {error.reason}")
            raise

    async def resubscribe(self, reason: str) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.cancel()
        if self._stream is not None:
            self._stream.abort(reason)
            await self._close_channel(reason)

    async def close(self) -> None:
        self._closed.set()
        await self.resubscribe("the driver is closed")
        await self._detector.close()

    async def _may_try(self) -> bool:
        """Waits until the next SUBSCRIBE may be sent; False when the driver is closed."""
        if self._tried and not self._closed.is_set():
            await is_set_within(self._closed, self._backoff.next())
        self._tried = True
        return not self._closed.is_set()

    async def _open(self) -> EventStream | None:
        """A new stream; None if `resubscribe` or `close` was called meanwhile. Raises SubscribeFailed."""
        attempt = self._attempt = asyncio.create_task(self._subscribe())
        try:
            await asyncio.wait([attempt])
            if self._attempt is attempt:
                self._stream = attempt.result()
            return self._stream
        finally:
            self._attempt = None
            if self._stream is None:
                await _undo(attempt)

    async def _subscribe(self) -> EventStream:
        """Asks the first master that can be reached, and the one that it redirects to. Raises SubscribeFailed."""
        failure = SubscribeFailed("no master is known")
        for address in await self._detector.candidates():
            try:
                stream = await self._ask(address)
            except SubscribeFailed as error:
                self._detector.failed(address)
                if not isinstance(error, Unreachable):
                    raise
                failure = error
                continue
            self._detector.answered(stream.address)
            return stream
        raise failure

    async def _ask(self, address: ServerAddress) -> EventStream:
        try:
            return await self._ask_once(address)
        except Redirected as redirection:
            leader = redirection.address
        _log.info("%s redirects to %s", address, leader)
        try:
            return await self._ask_once(leader)
        except Unreachable as error:
            raise SubscribeFailed(f"{address} redirects to {leader}: {error}") from None

    async def _ask_once(self, address: ServerAddress) -> EventStream:
        opening = self._open_stream(address, self.subscription, self.reader(address))
        try:
            return await within(opening, self._call_timeout)
        except asyncio.TimeoutError:
            raise SubscribeFailed(f"{address} gave no answer in {self._call_timeout:g} s") from None

    async def _subscribed(self, stream: EventStream, event: Subscribed) -> None:
        info = self.subscription.framework_info
        if info.id != event.framework_id:
            info = msgspec.structs.replace(info, id=event.framework_id)
            self.subscription = msgspec.structs.replace(self.subscription, framework_info=info)
        await self._close_channel("subscribed anew")
        self._channel = self._open_channel(stream, event.framework_id)
        _log.info("subscribed at %s as %s", stream.address, event.framework_id.value)

    async def _leave_former_leader(self, stream: EventStream) -> None:
        await self._detector.changed()
        stream.abort("another master leads")

    async def _lost(self, stream: EventStream) -> None:
        self._stream = None
        try:
            await self._close_channel(stream.lost or "closed")
        finally:
            await stream.close()

    async def _close_channel(self, reason: str) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close(reason)


async def _undo(attempt: asyncio.Task[EventStream]) -> None:
    """Ends an attempt that is not wanted any more, and closes its stream."""
    attempt.cancel()
    await asyncio.wait([attempt])
    if not attempt.cancelled() and attempt.exception() is None:
        await attempt.result().close()
