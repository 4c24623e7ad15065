"""One subscription's stream: from SUBSCRIBE to the end of what it brings.

It ends by itself, by a record that cannot be read, by silence, or because someone aborts it; in each case it
says why, and nothing of it is seen afterwards. docs/scheduler-http-api.md, "Events" and "Network partitions".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import aiohttp

from owmesos.errors import InvalidInput, OwmesosError
from owmesos.mesos.access import Access
from owmesos.mesos.address import Address, redirect_target
from owmesos.mesos.answer import described, is_json, reason_of
from owmesos.mesos.event_reader import EventReader
from owmesos.mesos.messages import Event
from owmesos.mesos.recordio import RECORD_LIMIT, BadRecord, RecordDecoder

SCHEDULER_PATH = "/api/v1/scheduler"
STREAM_ID = "Mesos-Stream-Id"
_REFUSALS = (400, 401, 403)
_NO_MASTER = (200, 404, 405)  # without a stream: a web server, say. A master that is not ready answers 503


class SubscribeFailed(OwmesosError):
    """No stream came of a SUBSCRIBE."""


class Unreachable(SubscribeFailed):
    """There was no connection, so nothing was asked."""


class Redirected(SubscribeFailed):
    def __init__(self, address: Address) -> None:
        super().__init__(f"it redirects to {address}")
        self.address = address


class Refused(SubscribeFailed):
    """400, 401, 403, or the answer of what is no master: asking the same again will not help by itself."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"SUBSCRIBE is refused ({status}): {reason}")
        self.status = status
        self.reason = reason


class Stream:
    """An open stream at the master `address`; `id` goes into every call that belongs to it."""

    def __init__(
        self,
        reader: EventReader,
        address: Address,
        session: aiohttp.ClientSession,
        response: aiohttp.ClientResponse,
        limit: int,
    ) -> None:
        self.address = address
        self.id: str = response.headers[STREAM_ID]
        self.lost: str | None = None
        self._session = session
        self._response = response
        self._decoder = RecordDecoder(limit)
        self._reader = reader

    @classmethod
    async def open(
        cls,
        address: Address,
        access: Access,
        body: bytes,
        timeout: float,
        *,
        limit: int = RECORD_LIMIT,
        reader: EventReader | None = None,
    ) -> Stream:
        """Sends the SUBSCRIBE `body` once. `timeout`: seconds until the answer begins. Raises
        SubscribeFailed.
        """
        session = access.session(secure=address.scheme == "https")
        try:
            response = await asyncio.wait_for(_subscribe(session, address, body), timeout)
            return cls(reader or EventReader(address), address, session, response, limit)
        except asyncio.TimeoutError:
            await session.close()
            raise SubscribeFailed(f"{address} gave no answer in {timeout:g} s") from None
        except BaseException:
            await session.close()
            raise

    async def events(self) -> AsyncGenerator[Event, None]:
        """The events, until the stream is lost; `lost` then says why."""
        while self.lost is None:
            data = await self._read()
            try:
                for record in self._decoder.feed(data):
                    event = self._reader.read(record)
                    del record  # 56 MB, perhaps, while the next read waits
                    if event is not None:
                        yield event
                    del event
                    if self.lost is not None:
                        return
            except BadRecord as error:
                self.abort(str(error))

    def abort(self, reason: str) -> None:
        """Closes the connection now. The first reason counts."""
        if self.lost is None:
            self.lost = reason
            self._response.close()

    async def close(self) -> None:
        self.abort("closed")
        await self._session.close()

    async def _read(self) -> bytes:
        """What has come, at least one byte; nothing when the stream is lost."""
        silent = f"the master was silent for {self._reader.silence:g} s"
        watchdog = asyncio.get_running_loop().call_later(self._reader.silence, self.abort, silent)
        try:
            data: bytes = await self._response.content.readany()
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            self.abort(f"the connection broke: {described(error)}")
            return b""
        finally:
            watchdog.cancel()
        if not data:
            self.abort("the master closed the stream")
        return data if self.lost is None else b""


async def _subscribe(session: aiohttp.ClientSession, address: Address, body: bytes) -> aiohttp.ClientResponse:
    """The answer that is a stream. Raises SubscribeFailed."""
    try:
        response = await session.post(f"{address}{SCHEDULER_PATH}", data=body, allow_redirects=False)
        if response.status == 200 and is_json(response) and response.headers.get(STREAM_ID):
            return response
        if response.status == 307:
            raise Redirected(redirect_target(response.headers.get("Location", ""), address))
        reason = await reason_of(response)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise Unreachable(f"no connection to {address}: {described(error)}") from None
    except (aiohttp.ClientError, OSError, InvalidInput) as error:
        raise SubscribeFailed(described(error)) from None
    raise no_stream(response.status, reason or response.reason)


def no_stream(status: int, reason: str | None) -> SubscribeFailed:
    """What an answer to SUBSCRIBE means that is no stream and no redirection."""
    if status in _REFUSALS or status in _NO_MASTER:
        return Refused(status, reason or "no reason is given")
    return SubscribeFailed(f"SUBSCRIBE is answered {status}: {reason or 'an empty answer'}")
