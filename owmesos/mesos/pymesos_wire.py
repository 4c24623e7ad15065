"""pymesos's scheduler driver, tamed: one object is one subscription at one master, and then it ends.

pymesos's own ends badly. An exception in its thread, or an answer that it does not expect, sends TEARDOWN and
interrupts the main thread; a 503 is asked again 2,800 times a second; a name that does not resolve, or a version like
`1.12.0-rc1`, ends it for good. So its loop is replaced, and its connection, framing, JSON and messages are used.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Mapping
from http.client import responses
from typing import Any, Protocol

import msgspec

from owmesos.errors import InvalidInput, OwmesosError
from owmesos.mesos.address import Address, redirect_target
from owmesos.mesos.answer import one_line, reason_in
from owmesos.mesos.messages import Subscribe
from owmesos.mesos.pymesos_import import import_pymesos
from owmesos.mesos.recordio import BadRecord
from owmesos.mesos.stream import SCHEDULER_PATH, STREAM_ID, Redirected, SubscribeFailed, Unreachable, no_stream

import_pymesos()

from addict import Dict  # noqa: E402  (see `pymesos_import`)
from http_parser.http import HttpParser  # noqa: E402
from pymesos import MesosSchedulerDriver, Scheduler  # noqa: E402
from pymesos.process import Connection  # noqa: E402

_CONNECT_TIMEOUT = 10.0
_MOST_DIGITS = 20


class StreamLost(OwmesosError):
    """The stream was there, and is over. The text says why."""


class Listener(Protocol):
    """Who hears of a wire. Called in the wire's thread; must neither block nor raise."""

    def opened(self, stream_id: str) -> None: ...

    def heard(self) -> None:
        """Something came, be it a part of an event."""
        ...

    def event(self, record: bytes) -> None: ...

    def skipped(self, reason: str) -> None: ...

    def ended(self, reason: OwmesosError) -> None:
        """A StreamLost after `opened`, else a SubscribeFailed. Nothing follows."""
        ...


class Wire(MesosSchedulerDriver):  # type: ignore[misc]  # pymesos is not typed
    """`start` begins, in pymesos's thread; `stop(failover=True)` ends. Nothing of it ever sends TEARDOWN."""

    def __init__(
        self, address: Address, subscribe: Subscribe, headers: Mapping[str, str], limit: int, listener: Listener
    ) -> None:
        """`limit`: bytes of a record."""
        host = f"{address.host}:{address.port}"
        info = msgspec.to_builtins(subscribe.framework_info)
        super().__init__(Scheduler(), info, host, use_addict=False, implicit_acknowledgements=False, failover=True)
        self.limit = limit
        self._address = address
        self._said = subscribe
        self._headers = headers
        self._listener = listener
        self._master = host
        self._started = False
        self._wakeup_fds: tuple[int, int] | None = None

    # What pymesos asks of itself

    @property
    def framework(self) -> Any:
        """As it is said: pymesos's own adds GPU_RESOURCES."""
        return self._framework

    @property
    def stream_id(self) -> Any:
        return self._stream_id

    @stream_id.setter
    def stream_id(self, stream_id: str) -> None:
        """Set by the connection when the answer is a stream."""
        if not stream_id:
            raise ValueError(f"no {STREAM_ID}")  # see `_why`
        self._stream_id = stream_id
        self._listener.opened(stream_id)

    def gen_request(self) -> bytes:
        message = Dict(type=Subscribe.wire_type)
        message.subscribe = Dict(msgspec.to_builtins(self._said))
        message.subscribe.framework_info = self.framework
        if "id" in self.framework:
            message.framework_id = self.framework["id"]
        body = msgspec.json.encode(message)
        headers = {**self._headers, "Host": self.master, "Connection": "close", "Content-Length": str(len(body))}
        lines = [f"POST {SCHEDULER_PATH} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body

    def on_event(self, event: Any) -> None:
        """Instead of pymesos's callbacks: all of the event goes on, and nothing comes back."""
        try:
            self._listener.event(msgspec.json.encode(event))
        except (msgspec.MsgspecError, OverflowError, UnicodeEncodeError, RecursionError) as error:
            self._listener.skipped(f"an event is skipped: {error}")

    def on_close(self) -> None:
        """pymesos tells `disconnected` of what never connected; `Listener.ended` tells it once."""

    def change_master(self, new_master: str) -> None:
        """A redirection ends this wire, see `_why`; pymesos's own asks for the version, without a time-out."""

    # The thread

    def _run(self) -> None:
        end: OwmesosError
        try:
            end = self._follow()
        except OwmesosError as error:
            end = error
        except Exception as error:  # noqa: BLE001  (pymesos raises what it likes; it ends this subscription only)
            end = self._why(None, error)
        finally:
            with self._lock:
                self._started = False
                fds, self._wakeup_fds = self._wakeup_fds, None
            for fd in fds or ():
                os.close(fd)
        self._listener.ended(end)

    def _follow(self) -> OwmesosError:
        """From SUBSCRIBE to the end."""
        try:
            connection = _Connection(self.master, self)
        except OSError as error:
            return self._unreachable(error.strerror or str(error))
        try:
            self._exchange(connection)
            return self._why(connection, None)
        except OwmesosError as error:
            return error
        except Exception as error:  # noqa: BLE001  (as above)
            return self._why(connection, error)
        finally:
            connection.close()

    def _exchange(self, connection: _Connection) -> None:
        """Returns when nothing more comes, or when stopped."""
        assert self._wakeup_fds is not None
        stopped = self._wakeup_fds[0]
        deadline = time.monotonic() + _CONNECT_TIMEOUT
        while self._started:
            timeout = None if connection.connected else max(0.0, deadline - time.monotonic())
            wanting = [connection.fileno()] if connection.want_write() else []
            readable, writable, _ = select.select([stopped, connection.fileno()], wanting, [], timeout)
            if not self._started:
                return
            if not connection.connected:
                refusal = connection.handle_connect_event() if writable else "no answer in time"
                if refusal and (writable or time.monotonic() >= deadline):
                    raise self._unreachable(refusal)
            if writable and not connection.write():
                return
            if connection.fileno() in readable and not connection.read():
                return
            self._listener.heard()

    def _why(self, connection: _Connection | None, error: Exception | None) -> OwmesosError:
        """Why it is over, when pymesos returned False, or raised."""
        said = one_line(str(error)) if error is not None else None
        if self._stream_id is not None:
            return StreamLost(f"the stream cannot be read: {said}" if said else "the master closed the stream")
        parser = connection.parser if connection is not None else None
        status = parser.get_status_code() if parser is not None else 0
        if parser is None or not status:
            return SubscribeFailed(f"{self._address} gave no answer: {said or 'it closed the connection'}")
        headers = {name.lower(): value for name, value in parser.get_headers().items()}
        if status == 307:
            try:
                return Redirected(redirect_target(headers.get("location", ""), self._address))
            except InvalidInput as bad:
                return SubscribeFailed(str(bad))
        reason = reason_in(parser.refusal(), headers.get("content-type", ""))
        return no_stream(status, reason or responses.get(status))

    def _unreachable(self, reason: str) -> Unreachable:
        return Unreachable(f"no connection to {self._address}: {reason}")


class _Connection(Connection):  # type: ignore[misc]  # pymesos is not typed
    """pymesos's, on a parser that gives it what it can deal with."""

    def __init__(self, addr: str, wire: Wire) -> None:
        """Raises OSError."""
        try:
            super().__init__(addr, wire)
        except BaseException:
            self._sock.close()
            raise
        self.parser = self._parser = _Parser(wire.limit)


class _Parser(HttpParser):
    """Gives pymesos whole records of a stream, and an answer that is no stream when it is whole.

    pymesos appends every 4 KB to what it has of a record, which takes the square of a record's size (83 s for 50,000
    offers), takes anything for a record's length, and looks no further than an answer's headers for its reason.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit
        self._streaming = False
        self._kept = bytearray()
        self._whole = 0
        """So much of what is kept is whole records."""
        self._end: int | None = None
        """Where the record after them will end, if its length is known."""

    def execute(self, data: bytes, length: int) -> int:
        """Raises BadRecord."""
        good: int = super().execute(data, length)
        self._streaming = self._streaming or self._begins_stream()
        if super().is_partial_body():
            self._kept += super().recv_body()
            if self._streaming:
                self._measure()
        return good

    def is_headers_complete(self) -> bool:
        return self._streaming or bool(self.is_message_complete())

    def is_partial_body(self) -> bool:
        return self._whole > 0

    def recv_body(self) -> bytes:
        """Whole records; of what is no stream nothing, see `refusal`."""
        records = bytes(memoryview(self._kept)[: self._whole])
        del self._kept[: self._whole]
        if self._end is not None:
            self._end -= self._whole
        self._whole = 0
        return records

    def refusal(self) -> bytes:
        """The body of what is no stream."""
        return bytes(self._kept)

    def _measure(self) -> None:
        """Finds the end of the last whole record. Raises BadRecord."""
        while True:
            if self._end is None:
                stop = self._kept.find(b"\n", self._whole, self._whole + _MOST_DIGITS + 1)
                digits = self._kept[self._whole : stop if stop >= 0 else self._whole + _MOST_DIGITS + 1]
                if (digits or stop >= 0) and not (digits.isdigit() and len(digits) <= _MOST_DIGITS):
                    raise BadRecord(f"a record's length is no number: {bytes(digits)!r}")
                if stop < 0:
                    return
                if int(digits) > self._limit:
                    raise BadRecord(f"a record of {int(digits)} bytes is over the limit of {self._limit}")
                self._end = stop + 1 + int(digits)
            if len(self._kept) < self._end:
                return
            self._whole, self._end = self._end, None

    def _begins_stream(self) -> bool:
        if not super().is_headers_complete() or self.get_status_code() != 200 or not self.is_chunked():
            return False
        return any(name.lower() == STREAM_ID.lower() for name in self.get_headers())
