"""Accepts connections for an aiohttp server, such that no client can take all of them or keep one without using it.

aiohttp does not limit connections, and waits without limit for the rest of a request. Here a connection *waits*
until a request on it is admitted, and again when that is answered. The number of waiting connections is limited:
when it is exceeded, the oldest connection of the peer with the most is closed, so clients with incomplete requests
replace only each other, and a client that sends its request at once is served. Admitted requests have their own
limit, above which new connections are answered with 503.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import socket
import ssl
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from owmesos.errors import OwmesosError, os_reason
from owmesos.system.hosts import is_loopback

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE = 0.1  # seconds, when the system has no descriptor left and no connection can make room
_THIS_MACHINE = "this machine"  # one peer, whatever its address: 127.0.0.0/8 has 16 million
_SAID = b'{"error": "too many requests are under way: try again in some seconds"}'
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 5\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_SAID), _SAID)
)

HTTP_LOG = logging.getLogger("owmesos.http")
"""For aiohttp's server. What is not HTTP is its sender's fault: aiohttp would log each with a traceback."""


def _only_our_faults(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, (HttpProcessingError, web.RequestPayloadError)):
        HTTP_LOG.debug("a request cannot be read: %s", " ".join(str(error).split()))
        return False
    return True


HTTP_LOG.addFilter(_only_our_faults)


class CannotListen(OwmesosError):
    """The address is in use, or is not one of this machine."""


class HttpLimits(NamedTuple):
    waiting: int = 256  # connections without an admitted request
    admitted: int = 4096  # connections with one; 0 where none is ever admitted
    head: float = 10.0  # seconds from a connection, or another request's first byte, until the request is admitted
    idle: float = 75.0  # seconds between two requests

    def within_descriptors(self) -> HttpLimits:
        """These limits, reduced to half of the file descriptors that this process may open."""
        most = max(16, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        return self._replace(waiting=min(self.waiting, most // 4), admitted=min(self.admitted, most * 3 // 4))


USUAL = HttpLimits()


def listening_socket(host: str, port: int, what: str, option: str) -> socket.socket:
    """A listening socket; port 0 selects any free port. Errors name `what` and `option`. Raises CannotListen."""
    try:
        family, *_, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=128)
    except OSError as error:
        # The text of create_server's errors repeats the address; that of getaddrinfo's has no number of the system.
        why = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else os_reason(error)
        raise CannotListen(
            f"{what} cannot listen on {host}:{port}: {why.lower()}: give another {option} HOST:PORT"
        ) from None


class BoundedListener:
    """On `listening`, a socket that listens already; from `start` to `close`, within one event loop."""

    def __init__(
        self, listening: socket.socket, *, tls: ssl.SSLContext | None = None, limits: HttpLimits = USUAL
    ) -> None:
        self.limits = limits.within_descriptors()
        self._listening = listening
        self._tls = tls
        self._waiting: dict[Connection, None] = {}  # the oldest first
        self._admitted: set[Connection] = set()
        self._by_handler: dict[asyncio.BaseProtocol, Connection] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: web.Server | None = None

    async def serve(self, application: web.Application, **settings: Any) -> web.AppRunner:
        """From now on new connections are its; `settings` are aiohttp's. No body is decompressed: those of strangers
        would be too."""
        runner = web.AppRunner(
            application,
            access_log=None,
            logger=HTTP_LOG,
            keepalive_timeout=self.limits.idle,
            auto_decompress=False,
            **settings,
        )
        await runner.setup()
        assert runner.server is not None
        self.start(runner.server)
        return runner

    def start(self, server: web.Server) -> None:
        """A second call gives new connections to another server."""
        # Not sock_accept in a task: one that is cancelled with a connection in its hands leaves that open.
        self._server = server
        self._listening.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._listening, self._accept)

    def renew_certificate(self, tls: ssl.SSLContext | None) -> None:
        """For new connections."""
        self._tls = tls

    def close(self) -> None:
        """Stop accepting connections. The server closes the open ones."""
        loop, self._loop = self._loop, None
        if loop is not None and not loop.is_closed():
            loop.remove_reader(self._listening)
        self._listening.close()

    @contextmanager
    def handling(self, request: web.BaseRequest) -> Iterator[Connection | None]:
        """Covers the time in which a request is answered. None if its connection is closed."""
        connection = self._by_handler.get(request.protocol)
        try:
            yield connection
        finally:
            if connection is not None:
                connection.answered()

    def _accept(self) -> None:
        """One connection; as long as others wait, the event loop calls again in its next turn."""
        try:
            taken, address = self._listening.accept()
        except OSError as error:  # also where the client has gone meanwhile
            if error.errno in _EXHAUSTED and not self._make_room():  # else one is closed in this turn of the loop
                self._pause()
            return
        taken.setblocking(False)
        self._took(taken, _peer(address))

    def _pause(self) -> None:
        def go_on() -> None:
            if self._loop is not None:
                self._loop.add_reader(self._listening, self._accept)

        assert self._loop is not None
        self._loop.remove_reader(self._listening)
        self._loop.call_later(_PAUSE, go_on)

    def _took(self, taken: socket.socket, peer: str) -> None:
        assert self._server is not None
        if self.limits.admitted and len(self._admitted) >= self.limits.admitted:
            with taken, suppress(OSError):
                taken.send(_BUSY if self._tls is None else b"")
            return
        if len(self._waiting) >= self.limits.waiting:
            self._make_room()
        connection = Connection(self, self._server(), taken, peer)
        self._waiting[connection] = None
        self._by_handler[connection.handler] = connection
        connection.open(self._tls)

    def _make_room(self) -> bool:
        """False where no connection waits."""
        waiting = Counter(each.peer for each in self._waiting)
        if not waiting:
            return False
        peer = max(waiting, key=waiting.__getitem__)
        next(each for each in self._waiting if each.peer == peer).abort()
        return True

    # -- for a connection

    def waits(self, connection: Connection, *, admitted: bool) -> None:
        if admitted:
            self._waiting.pop(connection, None)
            self._admitted.add(connection)
        elif connection in self._admitted:
            self._admitted.discard(connection)
            self._waiting[connection] = None

    def forget(self, connection: Connection) -> None:
        self._waiting.pop(connection, None)
        self._admitted.discard(connection)
        self._by_handler.pop(connection.handler, None)


class Connection(asyncio.Protocol):
    """Between a socket and aiohttp's handler of it."""

    def __init__(self, listener: BoundedListener, handler: asyncio.Protocol, taken: socket.socket, peer: str) -> None:
        self.handler = handler
        self.peer = peer
        self._listener = listener
        self._socket = taken
        self._transport: asyncio.Transport | None = None
        self._opening: asyncio.Task[None] | None = None
        self._begun = False  # to open
        self._timer: asyncio.TimerHandle | None = None
        self._idle = False

    def open(self, tls: ssl.SSLContext | None) -> None:
        self._within(self._listener.limits.head)
        self._opening = asyncio.get_running_loop().create_task(self._open(tls))

    async def _open(self, tls: ssl.SSLContext | None) -> None:
        self._begun = True
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: self, self._socket, ssl=tls)
        except (OSError, asyncio.CancelledError):  # it went away, speaks no TLS, or took too long
            self._socket.close()
            self._gone()

    def admit(self) -> None:
        """The request may take its time; it sets its own limits for reading a body or sending an answer."""
        self._stop_timer()
        self._listener.waits(self, admitted=True)

    def answered(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._listener.waits(self, admitted=False)
            self._idle = True
            self._within(self._listener.limits.idle)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        elif self._opening is not None:
            self._opening.cancel()
            if not self._begun:  # nor will it
                self._socket.close()
        self._gone()

    def _within(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _gone(self) -> None:
        self._stop_timer()
        self._listener.forget(self)

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.handler.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._idle:
            self._idle = False
            self._within(self._listener.limits.head)
        self.handler.data_received(data)

    def eof_received(self) -> bool | None:
        return self.handler.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone()
        self.handler.connection_lost(exc)

    def pause_writing(self) -> None:
        self.handler.pause_writing()

    def resume_writing(self) -> None:
        self.handler.resume_writing()


def _peer(address: object) -> str:
    host = str(address[0]) if isinstance(address, tuple) and address else ""
    return _THIS_MACHINE if is_loopback(host.partition("%")[0]) else host
