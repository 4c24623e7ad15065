"""The calls of one subscription: sent in order, on kept-alive connections, each with a definite outcome.

A call may be sent again only if the master certainly did not receive it, that is if no connection was made; if a
connection breaks after the call was written, its outcome is unknown. docs/scheduler-http-api.md, "Calls".
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable

from owmesos.errors import OwmesosError
from owmesos.mesos.messages import Acknowledge, AcknowledgeOperationStatus, Call
from owmesos.mesos.wire.driver import CALL_TIMEOUT, CallRefused, CallUnknown, NotSubscribed

SCHEDULER_PATH = "/api/v1/scheduler"
STREAM_ID = "Mesos-Stream-Id"
_MARGIN = 1.0  # seconds; by which a call ends before its caller's time limit
_SECOND_TRY = 0.25  # seconds; before the second try to connect
_LAST_ANSWERS = 0.5  # seconds; for answers under way when the channel is closed
_ACKNOWLEDGEMENT_LANES = 8
"""A call takes several turns of the event loop. Where it is busy with 400 activations a second one lane sends 30 to 50
calls a second, and 200 launches need 600 acknowledgements; each status waits for that of the one before."""
LANES = 1 + _ACKNOWLEDGEMENT_LANES


class NothingSent(OwmesosError):
    """No connection was made."""


class ConnectionBroke(OwmesosError):
    """After the call was written, or while it was."""


class CallChannel(ABC):
    """Lanes to one master for one stream, each with one call at a time: 0 keeps the order of all calls but
    acknowledgements, which have the others, those of one task always the same."""

    def __init__(self, timeout: float = CALL_TIMEOUT) -> None:
        self._timeout = timeout - min(_MARGIN, timeout / 10)
        self._lanes = tuple(asyncio.Lock() for _ in range(LANES))
        self.closed: str | None = None
        """Why nothing can be sent any more."""
        self._under_way: set[asyncio.Future[None]] = set()

    @abstractmethod
    async def _exchange(self, call: Call, lane: int) -> tuple[int, str | None]:
        """The status and text of the answer. Raises NothingSent or ConnectionBroke."""

    @abstractmethod
    async def _close_connections(self) -> None:
        """Closes the connections, and with them ends what is under way."""

    async def send(self, call: Call, sending: Callable[[], None] | None = None) -> None:
        """See `Driver.call`. A call without an answer closes the channel, so that no call waits for longer than its own
        time."""
        deadline = asyncio.get_running_loop().time() + self._timeout
        lane = _lane_of(call)
        async with self._lanes[lane]:
            if self.closed is not None:
                raise NotSubscribed(self.closed)
            post = asyncio.ensure_future(self._post(call, lane, deadline, sending))
            self._under_way.add(post)
            post.add_done_callback(self._under_way.discard)
            await post

    async def close(self, reason: str) -> None:
        """Waiting calls end as NotSubscribed. Those under way get a moment for their answers (that of TEARDOWN comes
        just after the stream's end), then they end as CallUnknown.
        """
        if self.closed is None:
            self.closed = reason
            if self._under_way:
                await asyncio.wait(self._under_way, timeout=_LAST_ANSWERS)
        await self._close_connections()

    async def _post(self, call: Call, lane: int, deadline: float, sending: Callable[[], None] | None) -> None:
        if sending is not None:
            sending()
        left = deadline - asyncio.get_running_loop().time()
        try:
            status, reason = await asyncio.wait_for(self._connect_and_exchange(call, lane), left)
        except NothingSent as error:
            raise NotSubscribed(f"cannot connect to the master: {error}") from None
        except asyncio.TimeoutError:
            self.closed = self.closed or "an earlier call was not answered"
            await self._close_connections()
            raise CallUnknown(f"no answer in {self._timeout:g} s") from None
        except ConnectionBroke as error:
            raise CallUnknown(f"the connection was lost: {error}") from None
        if status == 202 or (status == 200 and reason is None):
            return
        reason = reason or "an empty answer"
        if 300 <= status < 500 or status == 503:
            raise CallRefused(status, reason)
        raise CallUnknown(f"the answer is {status}: {reason}")

    async def _connect_and_exchange(self, call: Call, lane: int) -> tuple[int, str | None]:
        """Tries once more, after a pause, if nothing was sent."""
        try:
            return await self._exchange(call, lane)
        except NothingSent:
            await asyncio.sleep(_SECOND_TRY)
            return await self._exchange(call, lane)


def _lane_of(call: Call) -> int:
    if isinstance(call, Acknowledge):
        return 1 + hash(call.task_id.value) % _ACKNOWLEDGEMENT_LANES
    if isinstance(call, AcknowledgeOperationStatus):
        return 1 + hash(call.operation_id.value) % _ACKNOWLEDGEMENT_LANES
    return 0
