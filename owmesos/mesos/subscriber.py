"""Keeps one subscription alive at whichever master leads: the part of a driver that no wire does differently.

Every SUBSCRIBE but the first waits for the back-off, whatever ended the one before, and there is one in each
step (a redirection to the leader is followed at once). docs/scheduler-http-api.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from typing import Protocol

import msgspec

from owmesos.errors import InvalidInput
from owmesos.mesos.access import Access
from owmesos.mesos.address import Address
from owmesos.mesos.backoff import Backoff
from owmesos.mesos.calls import CallChannel
from owmesos.mesos.detector import Detector
from owmesos.mesos.driver import (
    CALL_TIMEOUT,
    CallUnknown,
    Disconnected,
    NotSubscribed,
    SubscribeRefused,
    Subscription,
)
from owmesos.mesos.messages import ID, Call, Event, Subscribe, Subscribed
from owmesos.mesos.stream import Redirected, Refused, SubscribeFailed, Unreachable

_log = logging.getLogger("owmesos.mesos.client")


class EventStream(Protocol):
    """An open stream at the master `address`; `lost` says why it is over."""

    address: Address
    lost: str | None

    def events(self) -> AsyncGenerator[Event, None]: ...

    def abort(self, reason: str) -> None:
        """Ends it now. The first reason counts."""
        ...

    async def close(self) -> None:
        """Returns when nothing of it is left."""
        ...


class SubscribingDriver(ABC):
    """A `Driver`, but for how bytes come and go. To be used within one event loop."""

    def __init__(
        self,
        detector: Detector,
        subscription: Subscription,
        access: Access | None = None,
        *,
        backoff: Backoff | None = None,
        call_timeout: float = CALL_TIMEOUT,
    ) -> None:
        self.subscription = subscription
        self._detector = detector
        self._access = access or Access()
        self._backoff = backoff or Backoff()
        self._call_timeout = call_timeout
        self._tried = False
        self._wanted = 0
        self._closed = asyncio.Event()
        self._attempt: asyncio.Task[EventStream] | None = None
        self._stream: EventStream | None = None
        self._channel: CallChannel | None = None

    @property
    def master(self) -> Address | None:
        """Who has taken the subscription; None while there is none."""
        return self._stream.address if self._stream is not None and self._channel is not None else None

    @abstractmethod
    async def _open_stream(self, address: Address, subscribe: Subscribe) -> EventStream:
        """Sends SUBSCRIBE once. Raises SubscribeFailed."""

    @abstractmethod
    def _open_channel(self, stream: EventStream, framework_id: ID) -> CallChannel:
        """For the calls that belong to `stream`, which the last `_open_stream` gave."""

    async def events(self) -> AsyncGenerator[Event, None]:
        while await self._may_try():
            try:
                stream = await self._open()
            except Refused as refusal:
                yield SubscribeRefused(refusal.status, refusal.reason)
                continue
            except SubscribeFailed as failure:
                _log.warning("not subscribed, trying again: %s", failure)
                continue
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
                        del event  # it may be large, and the next one long in coming
            finally:
                watch.cancel()
                await self._lost(stream)
            self._backoff.lived(asyncio.get_running_loop().time() - started)
            if not self._closed.is_set():
                _log.info("disconnected from %s: %s", stream.address, stream.lost)
                yield Disconnected(stream.lost or "closed")

    async def call(self, call: Call) -> None:
        if isinstance(call, Subscribe):
            raise InvalidInput("SUBSCRIBE is the driver's own call: change its `subscription`, then `resubscribe`")
        channel, stream = self._channel, self._stream
        if channel is None or stream is None or stream.lost is not None:
            raise NotSubscribed("there is no subscription")
        try:
            await channel.send(call)
        except CallUnknown as error:
            if channel.closed is not None and channel is self._channel:
                stream.abort(f"a call got no answer: {error.reason}")
            raise

    async def resubscribe(self, reason: str) -> None:
        self._wanted += 1
        if self._attempt is not None:
            self._attempt.cancel()
        if self._stream is not None:
            self._stream.abort(reason)
            await self._close_channel(reason)

    async def close(self) -> None:
        self._closed.set()
        await self.resubscribe("the driver is closed")
        await self._detector.close()

    async def _may_try(self) -> bool:
        """Waits until the next SUBSCRIBE may go out; False when the driver is closed."""
        if self._tried and not self._closed.is_set():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._closed.wait(), self._backoff.next())
        self._tried = True
        return not self._closed.is_set()

    async def _open(self) -> EventStream | None:
        """A new stream; None when `resubscribe` or `close` came in between. Raises SubscribeFailed."""
        wanted = self._wanted
        attempt = self._attempt = asyncio.create_task(self._subscribe())
        try:
            await asyncio.wait([attempt])
            if wanted == self._wanted:
                self._stream = attempt.result()
                return self._stream
            return None
        finally:
            self._attempt = None
            if self._stream is None:
                await _undo(attempt)

    async def _subscribe(self) -> EventStream:
        """Asks one master that can be reached, and the one that it redirects to. Raises SubscribeFailed."""
        failure = SubscribeFailed("no master is known")
        for address in await self._detector.candidates():
            try:
                stream = await self._ask(address)
            except Unreachable as error:
                self._detector.failed(address)
                failure = error
                continue
            except SubscribeFailed:
                self._detector.failed(address)
                raise
            self._detector.answered(stream.address)
            return stream
        raise failure

    async def _ask(self, address: Address) -> EventStream:
        said = self.subscription
        subscribe = Subscribe(said.framework_info, list(said.suppressed_roles), said.offer_constraints)
        try:
            return await self._open_stream(address, subscribe)
        except Redirected as redirection:
            leader = redirection.address
        _log.info("%s redirects to %s", address, leader)
        try:
            return await self._open_stream(leader, subscribe)
        except Unreachable as error:
            raise SubscribeFailed(f"{address} redirects to {leader}: {error}") from None

    async def _subscribed(self, stream: EventStream, event: Subscribed) -> None:
        info = self.subscription.framework_info
        if info.id != event.framework_id:
            info = msgspec.structs.replace(info, id=event.framework_id)
            self.subscription = dataclasses.replace(self.subscription, framework_info=info)
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
    """Ends an attempt that is not wanted any more, and what came of it."""
    attempt.cancel()
    await asyncio.wait([attempt])
    if not attempt.cancelled() and attempt.exception() is None:
        await attempt.result().close()
