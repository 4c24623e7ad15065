"""The HTTP wire, which owmesos runs on by default. docs/scheduler-http-api.md.

A stream ends by itself, at a record that cannot be read, by silence, or because it is aborted. In each case it says
why, and yields nothing afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import aiohttp

from owmesos.errors import InvalidInput
from owmesos.mesos.messages import ID, Call, Event, Subscribe, encode_call
from owmesos.mesos.wire.access import AUTHORITY, Access
from owmesos.mesos.wire.address import ServerAddress, redirect_target
from owmesos.mesos.wire.calls import LANES, SCHEDULER_PATH, STREAM_ID, CallChannel, ConnectionBroke, NothingSent
from owmesos.mesos.wire.driver import CALL_TIMEOUT
from owmesos.mesos.wire.event_reader import EventReader
from owmesos.mesos.wire.http_errors import is_json, reason_of
from owmesos.mesos.wire.recordio import BadRecord, RecordDecoder
from owmesos.mesos.wire.subscriber import (
    EventStream,
    Redirected,
    SubscribeFailed,
    SubscribingDriver,
    UnexpectedAnswer,
    Unreachable,
    no_stream,
)
from owmesos.system.http_answers import described


class HttpDriver(SubscribingDriver):
    """A `Driver` on HTTP. Use it within one event loop."""

    async def _open_stream(self, address: ServerAddress, subscribe: Subscribe, reader: EventReader) -> EventStream:
        session = self._access.session(secure=address.scheme == "https")
        try:
            response = await _subscribe(session, address, encode_call(subscribe, None))
        except BaseException:
            await session.close()
            raise
        return HttpStream(address, session, response, reader, self._record_limit)

    def _open_channel(self, stream: EventStream, framework_id: ID) -> CallChannel:
        return HttpCalls(stream.address, stream.id, framework_id, self._access, self._call_timeout)


async def _subscribe(session: aiohttp.ClientSession, address: ServerAddress, body: bytes) -> aiohttp.ClientResponse:
    """The answer that is a stream. Raises SubscribeFailed."""
    try:
        response = await session.post(f"{address}{SCHEDULER_PATH}", data=body, allow_redirects=False)
        if response.status == 200 and is_json(response) and response.headers.get(STREAM_ID):
            return response
        try:
            if response.status == 307:
                raise Redirected(redirect_target(response.headers.get("Location", ""), address))
            reason = await reason_of(response)
        finally:
            response.close()
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL) as error:
        raise Unreachable(f"cannot connect to {address}: {described(error, AUTHORITY)}") from None
    except (aiohttp.ClientResponseError, aiohttp.ClientPayloadError, InvalidInput) as error:
        raise UnexpectedAnswer(f"the answer of {address} to SUBSCRIBE cannot be read: {described(error)}") from None
    except (aiohttp.ClientError, OSError) as error:
        raise SubscribeFailed(f"no answer from {address}: {described(error)}") from None
    raise no_stream(address, response.status, response.headers.get("Content-Type", ""), reason)


class HttpStream:
    """See `subscriber.EventStream`."""

    def __init__(
        self,
        address: ServerAddress,
        session: aiohttp.ClientSession,
        response: aiohttp.ClientResponse,
        reader: EventReader,
        record_limit: int,
    ) -> None:
        self.address = address
        self.id: str = response.headers[STREAM_ID]
        self.lost: str | None = None
        self._session = session
        self._response = response
        self._decoder = RecordDecoder(record_limit)
        self._reader = reader

    async def events(self) -> AsyncGenerator[Event, None]:
        while self.lost is None:
            data = await self._read()
            try:
                for record in self._decoder.feed(data):
                    event = self._reader.read(record)
                    del record  # it may have 56 MB, and the next read may wait
                    if event is not None:
                        yield event
                    del event
                    if self.lost is not None:
                        return
            except BadRecord as error:
                self.abort(str(error))

    def abort(self, reason: str) -> None:
        if self.lost is None:
            self.lost = reason
            self._response.close()

    async def close(self) -> None:
        self.abort("closed")
        await self._session.close()

    async def _read(self) -> bytes:
        """At least one byte; none when the stream is lost."""
        silent = f"the master was silent for {self._reader.silence:g} s"
        watchdog = asyncio.get_running_loop().call_later(self._reader.silence, self.abort, silent)
        try:
            data: bytes = await self._response.content.readany()
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            self.abort(f"the connection was lost: {described(error)}")
            return b""
        finally:
            watchdog.cancel()
        if not data:
            self.abort("the master closed the stream")
        return data if self.lost is None else b""


class HttpCalls(CallChannel):
    """On aiohttp: one session with a connection for each lane."""

    def __init__(
        self, address: ServerAddress, stream_id: str, framework_id: ID, access: Access, timeout: float = CALL_TIMEOUT
    ) -> None:
        super().__init__(timeout)
        self._url = f"{address}{SCHEDULER_PATH}"
        self._headers = {STREAM_ID: stream_id}
        self._framework_id = framework_id
        self._session = access.session(secure=address.scheme == "https", connections=LANES)

    async def _exchange(self, call: Call, lane: int) -> tuple[int, str | None]:
        body = encode_call(call, self._framework_id)
        request = self._session.post(self._url, data=body, headers=self._headers, allow_redirects=False)
        try:
            async with request as response:
                return response.status, await reason_of(response)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NothingSent(described(error, AUTHORITY)) from None
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionBroke(described(error)) from None
        except (RuntimeError, asyncio.CancelledError):
            # aiohttp raises RuntimeError for a session that is closed already, CancelledError for one that is closed
            # while a name is looked up. Neither may end a call unnoticed.
            if not self._session.closed:
                raise
            raise NothingSent("the subscription is over") from None

    async def _close_connections(self) -> None:
        await self._session.close()
