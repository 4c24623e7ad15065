"""The calls of one subscription: sent in order, on kept-alive connections, each with a definite outcome.

A call may be sent again only if the master certainly did not receive it, that is if no connection was made; if a
connection breaks after the call was written, its outcome is unknown. docs/scheduler-http-api.md, "Calls".
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection

from owmesos.errors import OwmesosError
from owmesos.mesos.messages import (
    ID,
    Accept,
    Acknowledge,
    AcknowledgeOperationStatus,
    Call,
    Kill,
    Operation,
    Shutdown,
    TaskInfo,
)
from owmesos.mesos.wire.driver import CALL_TIMEOUT, CallRefused, CallUnknown, NotSubscribed
from owmesos.system.tasks import within

SCHEDULER_PATH = "/api/v1/scheduler"
STREAM_ID = "Mesos-Stream-Id"
_MARGIN = 1.0  # seconds; by which a call ends before its caller's time limit
_SECOND_TRY = 0.25  # seconds; before the second try to connect
_LAST_ANSWERS = 0.5  # seconds; for answers under way when the channel is closed
_ACKNOWLEDGEMENT_LANES = 16
"""A call takes several turns of the event loop. Where it is busy with 400 activations a second one lane sends 30 to 50
calls a second, and 200 launches need 600 acknowledgements; each status waits for that of the one before."""
_AGENT_LANES = 8
"""200 launches a second on as many agents are 200 ACCEPTs, and 40 of them that are killed are 40 KILLs."""
_FIRST_OF_AGENTS = 1 + _ACKNOWLEDGEMENT_LANES
LANES = _FIRST_OF_AGENTS + _AGENT_LANES


class NothingSent(OwmesosError):
    """No connection was made."""


class ConnectionBroke(OwmesosError):
    """After the call was written, or while it was."""


class CallChannel(ABC):
    """Lanes to one master for one stream, each with one call at a time.

    Acknowledgements have lanes of their own, those of one task always the same; so have the ACCEPTs, KILLs and
    SHUTDOWNs of one agent. All other calls go through lane 0 in order. Each waits until those of the agents that were
    sent before it are answered, for a REVIVE clears the filters of the ACCEPTs before it, and a RECONCILE asks for
    their tasks; but what is sent after it may overtake it.
    """

    def __init__(self, timeout: float = CALL_TIMEOUT) -> None:
        self._timeout = timeout - min(_MARGIN, timeout / 10)
        self._lanes = tuple(asyncio.Lock() for _ in range(LANES))
        self.closed: str | None = None
        """Why nothing can be sent any more."""
        self._under_way: set[asyncio.Future[None]] = set()
        self._to_agents: set[asyncio.Future[None]] = set()  # calls on the agents' lanes, each until it has ended

    @abstractmethod
    async def _exchange(self, call: Call, lane: int) -> tuple[int, str | None]:
        """The status and text of the answer. Raises NothingSent or ConnectionBroke."""

    @abstractmethod
    async def _close_connections(self) -> None:
        """Closes the connections, and with them ends what is under way."""

    async def send(self, call: Call, sending: Callable[[], None] | None = None) -> None:
        """See `Driver.call`. A call without an answer closes the channel, so that no call waits for longer than its own
        time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        lane = _lane_of(call)
        if lane < _FIRST_OF_AGENTS:
            await self._send_over(lane, call, deadline, sending, after=tuple(self._to_agents) if lane == 0 else ())
            return
        ended = loop.create_future()
        self._to_agents.add(ended)
        try:
            await self._send_over(lane, call, deadline, sending)
        finally:
            self._to_agents.discard(ended)
            ended.set_result(None)

    async def _send_over(
        self,
        lane: int,
        call: Call,
        deadline: float,
        sending: Callable[[], None] | None,
        *,
        after: Collection[asyncio.Future[None]] = (),
    ) -> None:
        async with self._lanes[lane]:
            if after:
                await asyncio.wait(after)
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
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0:
            raise NotSubscribed(f"calls before it were not answered in {self._timeout:g} s")
        if sending is not None:
            sending()
        try:
            status, reason = await within(self._connect_and_exchange(call, lane), left)
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
    agent_id = _agent_of(call)
    return _FIRST_OF_AGENTS + hash(agent_id.value) % _AGENT_LANES if isinstance(agent_id, ID) else 0


def _agent_of(call: Call) -> ID | None:
    """The agent of whose tasks the call is. Not of a framework's own dicts, which compat sends: there each call waits
    for the answer to the one before."""
    if isinstance(call, Kill | Shutdown):
        return call.agent_id
    for operation in call.operations if isinstance(call, Accept) else ():
        for info in _launched(operation) if isinstance(operation, Operation) else ():
            return info.agent_id if isinstance(info, TaskInfo) else None
    return None


def _launched(operation: Operation) -> list[TaskInfo]:
    if operation.launch_group is not None:
        return operation.launch_group.task_group.tasks
    return operation.launch.task_infos if operation.launch is not None else []
