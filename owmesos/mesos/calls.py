"""The calls of one subscription: sent in order, each on a kept-alive connection, each with a clear outcome.

A call may only be sent again when it certainly was not taken, that is when no connection came about; a
connection that breaks after it was written to leaves it unknown. docs/scheduler-http-api.md, "Calls".
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

import aiohttp

from owmesos.errors import OwmesosError
from owmesos.mesos.access import Access
from owmesos.mesos.address import Address
from owmesos.mesos.answer import described, reason_of
from owmesos.mesos.driver import CALL_TIMEOUT, CallRefused, CallUnknown, NotSubscribed
from owmesos.mesos.messages import Acknowledge, AcknowledgeOperationStatus, Call, encode_call
from owmesos.mesos.messages.values import ID
from owmesos.mesos.stream import SCHEDULER_PATH, STREAM_ID

_MARGIN = 1.0
_SECOND_TRY = 0.25
_LAST_ANSWERS = 0.5
_ACKNOWLEDGEMENTS = (Acknowledge, AcknowledgeOperationStatus)


class NothingSent(OwmesosError):
    """No connection came about."""


class ConnectionBroke(OwmesosError):
    """After the call was written, or while it was."""


class CallChannel(ABC):
    """Two lanes to one master for one stream: acknowledgements, and all the rest."""

    def __init__(self, timeout: float = CALL_TIMEOUT) -> None:
        self._timeout = timeout - min(_MARGIN, timeout / 10)
        self._ordered = asyncio.Lock()
        self._acknowledging = asyncio.Lock()
        self._closed: str | None = None
        self._under_way: set[asyncio.Future[None]] = set()

    @abstractmethod
    async def _exchange(self, call: Call, *, acknowledgement: bool) -> tuple[int, str | None]:
        """The status of the answer and what it says. Raises NothingSent or ConnectionBroke."""

    @abstractmethod
    async def _cut(self) -> None:
        """Ends the connections, and with them what is under way."""

    async def send(self, call: Call) -> None:
        """See `Driver.call`. After a call without an answer the channel is closed: so no call waits for more
        than its own time behind another.
        """
        deadline = asyncio.get_running_loop().time() + self._timeout
        lane = self._acknowledging if isinstance(call, _ACKNOWLEDGEMENTS) else self._ordered
        async with lane:
            if self._closed is not None:
                raise NotSubscribed(self._closed)
            post = asyncio.ensure_future(self._post(call, deadline))
            self._under_way.add(post)
            post.add_done_callback(self._under_way.discard)
            await post

    @property
    def closed(self) -> str | None:
        """Why nothing can be sent any more."""
        return self._closed

    async def close(self, reason: str) -> None:
        """Calls that wait end as NotSubscribed. Those that are under way get a moment for their answers (that of
        TEARDOWN comes just after the stream's end), then they end as CallUnknown.
        """
        if self._closed is None:
            self._closed = reason
            if self._under_way:
                await asyncio.wait(self._under_way, timeout=_LAST_ANSWERS)
        await self._cut()

    async def _post(self, call: Call, deadline: float) -> None:
        left = deadline - asyncio.get_running_loop().time()
        try:
            status, reason = await asyncio.wait_for(self._connect_and_exchange(call), left)
        except NothingSent as error:
            raise NotSubscribed(f"no connection to the master: {error}") from None
        except asyncio.TimeoutError:
            self._closed = self._closed or "an earlier call was not answered"
            await self._cut()
            raise CallUnknown(f"no answer in {self._timeout:g} s") from None
        except ConnectionBroke as error:
            raise CallUnknown(f"the connection broke: {error}") from None
        if status == 202 or (status == 200 and reason is None):
            return
        reason = reason or "an empty answer"
        if 300 <= status < 500 or status == 503:
            raise CallRefused(status, reason)
        raise CallUnknown(f"the answer is {status}: {reason}")

    async def _connect_and_exchange(self, call: Call) -> tuple[int, str | None]:
        """Tries once more, after a pause, when nothing was sent."""
        acknowledgement = isinstance(call, _ACKNOWLEDGEMENTS)
        try:
            return await self._exchange(call, acknowledgement=acknowledgement)
        except NothingSent:
            await asyncio.sleep(_SECOND_TRY)
            return await self._exchange(call, acknowledgement=acknowledgement)


class HttpCalls(CallChannel):
    """On aiohttp: one session with a connection for each lane."""

    def __init__(
        self,
        address: Address,
        stream_id: str,
        framework_id: ID,
        access: Access,
        timeout: float = CALL_TIMEOUT,
    ) -> None:
        super().__init__(timeout)
        self._url = f"{address}{SCHEDULER_PATH}"
        self._headers = {STREAM_ID: stream_id}
        self._framework_id = framework_id
        self._session = access.session(secure=address.scheme == "https", connections=2)

    async def _exchange(self, call: Call, *, acknowledgement: bool) -> tuple[int, str | None]:
        body = encode_call(call, self._framework_id)
        request = self._session.post(self._url, data=body, headers=self._headers, allow_redirects=False)
        try:
            async with request as response:
                return response.status, await reason_of(response)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NothingSent(described(error)) from None
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionBroke(described(error)) from None

    async def _cut(self) -> None:
        await self._session.close()
