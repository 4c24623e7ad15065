"""pymesos's scheduler driver for one subscription at one master.

In pymesos's own loop an exception in its thread, or an unexpected answer, sends TEARDOWN and interrupts the main
thread; after a 503 it asks 2,800 times a second; a name that does not resolve, or a version like `1.12.0-rc1`, ends it
for good. So its loop is replaced; its connection, framing, JSON and messages are used.
"""

from __future__ import annotations

import math
import os
import select
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from owmesos.errors import InvalidInput, OwmesosError
from owmesos.mesos.messages import Event, Subscribe
from owmesos.mesos.pymesos.loading import import_pymesos
from owmesos.mesos.wire.address import ServerAddress, redirect_target
from owmesos.mesos.wire.calls import SCHEDULER_PATH, STREAM_ID
from owmesos.mesos.wire.event_reader import EventReader
from owmesos.mesos.wire.http_errors import reason_in
from owmesos.mesos.wire.recordio import Record, RecordDecoder
from owmesos.mesos.wire.subscriber import Redirected, SubscribeFailed, UnexpectedAnswer, Unreachable, no_stream
from owmesos.system.http_answers import one_line

import_pymesos()

from addict import Dict  # noqa: E402  (see `loading`)
from http_parser.http import HttpParser  # noqa: E402
from pymesos import MesosSchedulerDriver, Scheduler  # noqa: E402
from pymesos.process import Connection  # noqa: E402

_CONNECT_TIMEOUT = 10.0  # seconds


class StreamLost(OwmesosError):
    """The stream was open, and has ended."""


News = str | Event | OwmesosError
"""What one stream brings: its id, its events, at last a StreamLost with the reason; without an id a SubscribeFailed."""


class Wire(MesosSchedulerDriver):  # type: ignore[misc]  # pymesos is not typed
    """`start` begins, in pymesos's thread; `stop(failover=True)` ends. It never sends TEARDOWN."""

    def __init__(
        self,
        address: ServerAddress,
        subscribe: Subscribe,
        headers: Mapping[str, str],
        reader: EventReader,
        record_limit: int,
        report: Callable[[News], None],
    ) -> None:
        """`report` is called in the wire's thread; it must neither block nor raise."""
        host = f"{address.host}:{address.port}"
        info = msgspec.to_builtins(subscribe.framework_info)
        super().__init__(Scheduler(), info, host, use_addict=False, implicit_acknowledgements=False, failover=True)
        self.record_limit = record_limit
        self.heard_at = time.monotonic()
        """When something came last, be it a part of an event."""
        self._address = address
        self._said = subscribe
        self._headers = headers
        self._reader = reader
        self._report = report
        self._master = host
        self._started = False
        self._wakeup_fds: tuple[int, int] | None = None

    # What pymesos asks of itself

    @property
    def framework(self) -> Any:
        """As it is given: pymesos's own adds GPU_RESOURCES."""
        return self._framework

    @property
    def stream_id(self) -> Any:
        return self._stream_id

    @stream_id.setter
    def stream_id(self, stream_id: str) -> None:
        """Called by the connection when the answer is a stream."""
        if not stream_id:
            raise ValueError(f"no {STREAM_ID}")  # see `_why`
        self._stream_id = stream_id
        self._report(stream_id)

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
        """Replaces pymesos's callbacks."""
        try:
            record = msgspec.json.encode(event)
        except (msgspec.MsgspecError, OverflowError, UnicodeEncodeError, RecursionError) as error:
            self._reader.report(f"skipping an event: {error}")
            return
        read = self._reader.read(record)
        if read is not None:
            self._report(read)

    def on_close(self) -> None:
        """pymesos would report `disconnected` for what never connected; `_run` tells the end, once."""

    def change_master(self, new_master: str) -> None:
        """A redirection ends this wire, see `_why`; pymesos would ask for the version, without a timeout."""

    # The thread

    def _run(self) -> None:
        connection: _Connection | None = None
        end: OwmesosError
        try:
            connection = self._connect()
            self._exchange(connection)
            end = self._why(connection, None)
        except OwmesosError as error:
            end = error
        except Exception as error:  # noqa: BLE001  (pymesos may raise anything; it ends this subscription only)
            end = self._why(connection, error)
        finally:
            with self._lock:
                self._started = False
                fds, self._wakeup_fds = self._wakeup_fds, None
            for fd in fds or ():
                os.close(fd)
            if connection is not None:
                connection.close()
        self._report(end)

    def _connect(self) -> _Connection:
        try:
            return _Connection(self.master, self)
        except OSError as error:
            raise self._unreachable(error.strerror or str(error)) from None

    def _exchange(self, connection: _Connection) -> None:
        """Returns when nothing more comes, or when stopped."""
        assert self._wakeup_fds is not None
        stopped = self._wakeup_fds[0]
        deadline = time.monotonic() + _CONNECT_TIMEOUT
        while self._started:
            timeout = None if connection.connected else max(0.0, deadline - time.monotonic())
            readable, writable = _ready(connection, stopped, timeout)
            if not self._started:
                return
            if not connection.connected:
                refusal = connection.handle_connect_event() if writable else "no answer in time"
                if refusal and (writable or time.monotonic() >= deadline):
                    raise self._unreachable(refusal)
            if writable and not connection.write():
                return
            if readable and not connection.read():
                return
            self.heard_at = time.monotonic()

    def _why(self, connection: _Connection | None, error: Exception | None) -> OwmesosError:
        """Why it ended, when pymesos returned False or raised."""
        said = one_line(str(error)) if error is not None else None
        if self._stream_id is not None:
            return StreamLost(f"the stream cannot be read: {said}" if said else "the master closed the stream")
        parser = connection.parser if connection is not None else None
        status = parser.get_status_code() if parser is not None else 0
        if parser is not None and not status and parser.begun:
            what = said or "it ended in the middle of an answer"
            return UnexpectedAnswer(f"the answer of {self._address} to SUBSCRIBE cannot be read: {what}")
        if parser is None or not status:
            return SubscribeFailed(f"no answer from {self._address}: {said or 'it closed the connection'}")
        headers = {name.lower(): value for name, value in parser.get_headers().items()}
        if status == 307:
            try:
                return Redirected(redirect_target(headers.get("location", ""), self._address))
            except InvalidInput as bad:
                return UnexpectedAnswer(str(bad))
        kind = headers.get("content-type", "")
        return no_stream(self._address, status, kind, reason_in(parser.refusal, kind))

    def _unreachable(self, reason: str) -> Unreachable:
        return Unreachable(f"cannot connect to {self._address}: {reason}")


def _ready(connection: _Connection, stopped: int, timeout: float | None) -> tuple[bool, bool]:
    """Waits until the connection is readable, or writable if it wants that, or `stopped` is readable.

    By poll, because `select` raises for descriptors from 1024 on. An error counts as both.
    """
    wants = connection.want_write()
    poll = select.poll()
    poll.register(stopped, select.POLLIN)
    poll.register(connection.fileno(), select.POLLIN | (select.POLLOUT if wants else 0))
    found = dict(poll.poll(None if timeout is None else math.ceil(1000 * timeout))).get(connection.fileno(), 0)
    broken = bool(found & (select.POLLERR | select.POLLHUP))
    return broken or bool(found & select.POLLIN), wants and (broken or bool(found & select.POLLOUT))


class _Connection(Connection):  # type: ignore[misc]  # pymesos is not typed
    """pymesos's connection on `_Parser`."""

    def __init__(self, addr: str, wire: Wire) -> None:
        """Raises OSError."""
        try:
            super().__init__(addr, wire)
        except BaseException:
            self._sock.close()
            raise
        self.parser = self._parser = _Parser(wire.record_limit)


class _Parser(HttpParser):
    """Gives pymesos whole records of a stream, and an answer that is not a stream when it is complete.

    pymesos appends every 4 KB to what it has of a record, which takes quadratic time (83 s for 50,000 offers), accepts
    anything as a record's length, and takes an answer's reason from its headers only.
    """

    def __init__(self, record_limit: int) -> None:
        super().__init__()
        self.begun = False
        """Whether any byte has come."""
        self.refusal = bytearray()
        """The body of what is not a stream."""
        self._decoder = RecordDecoder(record_limit)
        self._streaming = False
        self._records: list[Record] = []

    def execute(self, data: bytes, length: int) -> int:
        """Raises BadRecord."""
        self.begun = self.begun or length > 0
        good: int = super().execute(data, length)
        self._streaming = self._streaming or self._begins_stream()
        if super().is_partial_body():
            body = super().recv_body()
            if self._streaming:
                for record in self._decoder.feed(body):
                    self._records += [b"%d\n" % len(record), record]
            else:
                self.refusal += body
        return good

    def is_headers_complete(self) -> bool:
        return self._streaming or bool(self.is_message_complete())

    def is_partial_body(self) -> bool:
        return bool(self._records)

    def recv_body(self) -> bytes:
        """Whole records; nothing of what is not a stream."""
        records, self._records = b"".join(self._records), []
        return records

    def _begins_stream(self) -> bool:
        if not super().is_headers_complete() or self.get_status_code() != 200 or not self.is_chunked():
            return False
        return any(name.lower() == STREAM_ID.lower() for name in self.get_headers())
