"""Calls by pymesos's own methods, each with a definite outcome; those that it lacks are built as it builds them.

pymesos itself drops a call silently when it is not connected, waits a day for an answer with all its locks held, shares
headers between drivers, and removes the agent's id from KILL and RECONCILE.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from typing import Any

import msgspec

from owmesos.mesos import messages as v1
from owmesos.mesos.messages import ID, Call
from owmesos.mesos.pymesos.loading import import_pymesos
from owmesos.mesos.wire.access import Access
from owmesos.mesos.wire.address import ServerAddress
from owmesos.mesos.wire.calls import LANES, SCHEDULER_PATH, STREAM_ID, CallChannel, ConnectionBroke, NothingSent
from owmesos.mesos.wire.http_errors import READ_LIMIT, reason_in
from owmesos.system.http_answers import one_line
from owmesos.system.idle_connections import has_news

import_pymesos()

from addict import Dict  # noqa: E402  (see `loading`)
from pymesos import MesosSchedulerDriver, Scheduler  # noqa: E402

_CONNECT_TIMEOUT = 10.0  # seconds
_CLOSING = 1.0  # seconds; that the channel waits for its threads to close their connections
_SendCall = Callable[["PymesosCaller", Dict], object]

# The calls that pymesos builds correctly. `said` is the call's body; an absent field of it is an empty Dict.
_BY_PYMESOS: dict[type[Call], _SendCall] = {
    v1.Accept: lambda caller, said: caller.acceptOffers(said.offer_ids, said.operations, said.filters or None),
    v1.AcceptInverseOffers: lambda caller, said: caller.acceptInverseOffers(
        said.inverse_offer_ids, said.filters or None
    ),
    v1.Acknowledge: lambda caller, said: caller.acknowledgeStatusUpdate(said),
    v1.AcknowledgeOperationStatus: lambda caller, said: caller.acknowledgeOperationStatusUpdate(said),
    v1.Decline: lambda caller, said: caller.declineOffer(said.offer_ids, said.filters or None),
    v1.DeclineInverseOffers: lambda caller, said: caller.declineInverseOffer(
        said.inverse_offer_ids, said.filters or None
    ),
    v1.Message: lambda caller, said: caller.sendFrameworkMessage(said.executor_id, said.agent_id, said.data),
    v1.ReconcileOperations: lambda caller, said: caller.reconcileOperations(said.operations or []),
    v1.Request: lambda caller, said: caller.requestResources(said.requests or []),
    v1.Revive: lambda caller, said: caller.reviveOffers(said.roles or ()),
    v1.Suppress: lambda caller, said: caller.suppressOffers(said.roles or ()),
}


class PymesosCaller(MesosSchedulerDriver):  # type: ignore[misc]  # pymesos is not typed
    """pymesos's driver for calls, on a connection of its own. It is never started, so it receives nothing.

    For one thread, except `cut`.
    """

    def __init__(
        self, address: ServerAddress, stream_id: str, framework_id: ID, headers: Mapping[str, str], timeout: float
    ) -> None:
        """`timeout`: seconds until an answer."""
        info = {"id": {"value": framework_id.value}}
        super().__init__(Scheduler(), info, f"{address.host}:{address.port}", failover=True)
        self._stream_id = stream_id
        self._headers = {**headers, STREAM_ID: stream_id}
        self._answer_timeout = timeout
        self._connection = HTTPConnection(address.host, address.port, timeout=_CONNECT_TIMEOUT)
        self._answer: tuple[int, str | None] | None = None
        self._interrupted = False

    def exchange(self, call: Call) -> tuple[int, str | None]:
        """The status and text of the answer. Raises NothingSent or ConnectionBroke."""
        self._answer = None
        said = Dict(msgspec.to_builtins(call))
        by_pymesos = _BY_PYMESOS.get(type(call))
        if by_pymesos is not None:
            by_pymesos(self, said)
        else:
            message = Dict(type=call.wire_type, framework_id=self._framework["id"])
            if call.body is not None:
                message[call.body] = said
            self._send(message)
        if self._answer is None:
            raise NothingSent(f"pymesos does not send this {call.wire_type}")
        return self._answer

    def interrupt(self) -> None:
        """From any thread: ends what is under way. Nothing is sent afterwards."""
        self._interrupted = True
        sock = self._connection.sock
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it was not connected any more

    def close(self) -> None:
        self._connection.close()

    def _send(
        self, body: Any, path: str = SCHEDULER_PATH, method: str = "POST", headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Replaces pymesos's own, which waits for ever and has one dict of headers for all drivers."""
        self._connect()
        connection = self._connection
        try:
            connection.request(
                method, path, body=msgspec.json.encode(body), headers={**self._headers, **(headers or {})}
            )
            response = connection.getresponse()
            text = response.read(READ_LIMIT)
            if not response.isclosed():
                connection.close()  # the rest of the answer must not be taken for the next one
        except (OSError, HTTPException) as error:
            connection.close()
            raise ConnectionBroke(one_line(str(error)) or type(error).__name__) from None
        self._answer = response.status, reason_in(text, response.getheader("Content-Type", ""))
        return {}

    def _connect(self) -> None:
        """A connection that the master has closed meanwhile is replaced before anything is written to it."""
        connection = self._connection
        if connection.sock is not None and has_news(connection.sock):
            connection.close()
        try:
            if connection.sock is None:
                connection.connect()
        except OSError as error:
            raise NothingSent(error.strerror or str(error)) from None
        if self._interrupted:
            raise NothingSent("the subscription is over")
        connection.sock.settimeout(self._answer_timeout)


class PymesosCalls(CallChannel):
    """A PymesosCaller in a thread of its own for each lane."""

    def __init__(
        self, address: ServerAddress, stream_id: str, framework_id: ID, access: Access, timeout: float
    ) -> None:
        super().__init__(timeout)
        headers = access.headers
        self._callers = [PymesosCaller(address, stream_id, framework_id, headers, timeout) for _ in range(LANES)]
        self._threads = [ThreadPoolExecutor(1, thread_name_prefix="owmesos-pymesos-calls") for _ in self._callers]
        self._closing: asyncio.Future[Any] | None = None

    async def _exchange(self, call: Call, lane: int) -> tuple[int, str | None]:
        return await asyncio.get_running_loop().run_in_executor(self._threads[lane], self._callers[lane].exchange, call)

    async def _close_connections(self) -> None:
        if self._closing is None:
            loop = asyncio.get_running_loop()
            for caller in self._callers:
                caller.interrupt()
            pairs = zip(self._threads, self._callers, strict=True)
            self._closing = asyncio.gather(*(loop.run_in_executor(thread, caller.close) for thread, caller in pairs))
            for thread in self._threads:
                thread.shutdown(wait=False)
        await asyncio.wait([self._closing], timeout=_CLOSING)
