"""Calls by pymesos's own methods, each with a clear outcome; those that it lacks in its way of building them.

By itself pymesos drops a call in silence when it is not connected, waits a day for an answer with all its locks held,
gives the headers of one driver to another, and strips the agent's id from KILL and RECONCILE.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from typing import Any

import msgspec

from owmesos.mesos.access import Access
from owmesos.mesos.address import Address
from owmesos.mesos.answer import READ_LIMIT, one_line, reason_in
from owmesos.mesos.calls import CallChannel, ConnectionBroke, NothingSent
from owmesos.mesos.messages import (
    ID,
    Accept,
    AcceptInverseOffers,
    Acknowledge,
    AcknowledgeOperationStatus,
    Call,
    Decline,
    DeclineInverseOffers,
    Message,
    ReconcileOperations,
    Request,
    Revive,
    Suppress,
)
from owmesos.mesos.pymesos_import import import_pymesos
from owmesos.mesos.stream import SCHEDULER_PATH, STREAM_ID

import_pymesos()

from addict import Dict  # noqa: E402  (see `pymesos_import`)
from pymesos import MesosSchedulerDriver, Scheduler  # noqa: E402

_CONNECT_TIMEOUT = 10.0
_CUTTING = 1.0
_Say = Callable[["Caller", Dict], object]

# What pymesos says as it should. `said` is the call's body; an absent field of it is an empty Dict.
_BY_PYMESOS: dict[type[Call], _Say] = {
    Accept: lambda caller, said: caller.acceptOffers(said.offer_ids, said.operations, said.filters or None),
    AcceptInverseOffers: lambda caller, said: caller.acceptInverseOffers(said.inverse_offer_ids, said.filters or None),
    Acknowledge: lambda caller, said: caller.acknowledgeStatusUpdate(said),
    AcknowledgeOperationStatus: lambda caller, said: caller.acknowledgeOperationStatusUpdate(said),
    Decline: lambda caller, said: caller.declineOffer(said.offer_ids, said.filters or None),
    DeclineInverseOffers: lambda caller, said: caller.declineInverseOffer(said.inverse_offer_ids, said.filters or None),
    Message: lambda caller, said: caller.sendFrameworkMessage(said.executor_id, said.agent_id, said.data),
    ReconcileOperations: lambda caller, said: caller.reconcileOperations(said.operations or []),
    Request: lambda caller, said: caller.requestResources(said.requests or []),
    Revive: lambda caller, said: caller.reviveOffers(said.roles or ()),
    Suppress: lambda caller, said: caller.suppressOffers(said.roles or ()),
}


class Caller(MesosSchedulerDriver):  # type: ignore[misc]  # pymesos is not typed
    """pymesos's driver as far as it makes calls, on a connection of its own. It is never started, so it hears nothing.

    For one thread, but for `cut`.
    """

    def __init__(
        self, address: Address, stream_id: str, framework_id: ID, headers: Mapping[str, str], timeout: float
    ) -> None:
        """`timeout`: seconds until an answer."""
        info = {"id": {"value": framework_id.value}}
        super().__init__(Scheduler(), info, f"{address.host}:{address.port}", failover=True)
        self._stream_id = stream_id
        self._headers = {**headers, STREAM_ID: stream_id}
        self._answer_timeout = timeout
        self._connection = HTTPConnection(address.host, address.port, timeout=_CONNECT_TIMEOUT)
        self._answer: tuple[int, str | None] | None = None
        self._was_cut = False

    def say(self, call: Call) -> tuple[int, str | None]:
        """The status of the answer and what it says. Raises NothingSent or ConnectionBroke."""
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

    def cut(self) -> None:
        """From any thread: ends what is under way; nothing is sent any more."""
        self._was_cut = True
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
        """Under every method of pymesos: its own waits for ever, and shares one dict of headers among all drivers."""
        self._connect()
        connection = self._connection
        try:
            connection.request(
                method, path, body=msgspec.json.encode(body), headers={**self._headers, **(headers or {})}
            )
            response = connection.getresponse()
            text = response.read(READ_LIMIT)
            if not response.isclosed():
                connection.close()  # what is left of the answer must not be taken for the next one
        except (OSError, HTTPException) as error:
            connection.close()
            raise ConnectionBroke(one_line(str(error)) or type(error).__name__) from None
        self._answer = response.status, reason_in(text, response.getheader("Content-Type", ""))
        return {}

    def _connect(self) -> None:
        """One that the master has closed meanwhile, as it may, is replaced before anything is written to it."""
        connection = self._connection
        if connection.sock is not None and select.select([connection.sock], [], [], 0)[0]:
            connection.close()
        try:
            if connection.sock is None:
                connection.connect()
        except OSError as error:
            raise NothingSent(error.strerror or str(error)) from None
        if self._was_cut:
            raise NothingSent("the subscription is over")
        connection.sock.settimeout(self._answer_timeout)


class PymesosCalls(CallChannel):
    """A Caller in a thread of its own for each lane."""

    def __init__(self, address: Address, stream_id: str, framework_id: ID, access: Access, timeout: float) -> None:
        super().__init__(timeout)
        self._callers = [Caller(address, stream_id, framework_id, access.headers, timeout) for _ in range(2)]
        self._threads = [ThreadPoolExecutor(1, thread_name_prefix="owmesos-pymesos-calls") for _ in self._callers]
        self._cutting: asyncio.Future[Any] | None = None

    async def _exchange(self, call: Call, *, acknowledgement: bool) -> tuple[int, str | None]:
        caller, thread = self._callers[acknowledgement], self._threads[acknowledgement]
        return await asyncio.get_running_loop().run_in_executor(thread, caller.say, call)

    async def _cut(self) -> None:
        if self._cutting is None:
            loop = asyncio.get_running_loop()
            for caller in self._callers:
                caller.cut()
            pairs = zip(self._threads, self._callers, strict=True)
            self._cutting = asyncio.gather(*(loop.run_in_executor(thread, caller.close) for thread, caller in pairs))
            for thread in self._threads:
                thread.shutdown(wait=False)
        await asyncio.wait([self._cutting], timeout=_CUTTING)
