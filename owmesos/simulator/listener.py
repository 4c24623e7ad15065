"""The socket of one simulated daemon. When the daemon is killed, its connections break off as for a real process."""

from __future__ import annotations

import hmac
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from aiohttp import BasicAuth, web

from owmesos.errors import NOT_READABLE
from owmesos.system.bounded_http import HTTP_LOG, BoundedListener, HttpLimits

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
_LIMITS = HttpLimits(waiting=512, admitted=20_000, head=30.0, idle=3600.0)
"""A framework keeps its connection for calls open, and is told nothing when it closes."""
_BACKLOG = 1024
JSON = "application/json"
BODY_LIMIT = 256 * 1024 * 1024
"""Bytes; a larger request is answered 413."""


class Listener:
    """Listens from `open` to `abort`, any number of times. Without a `handler` it answers 503."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.handler: Handler | None = None
        self._web: web.Server | None = None
        self._listening: BoundedListener | None = None
        self._socket: socket.socket | None = None
        """What listens, or after `close` still has the port."""

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    async def open(self) -> None:
        """Raises OSError if the port is in use."""
        if self._listening is not None:
            return
        if self._socket is None:
            family, *_, address = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0]
            self._socket = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
            self.port = self._socket.getsockname()[1]
        else:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # its old connections may be ending
            self._socket.listen(_BACKLOG)
        listening = self._socket.dup()
        self._web = web.Server(
            self._handle,
            handler_cancellation=True,
            access_log=None,
            logger=HTTP_LOG,
            tcp_keepalive=False,
            auto_decompress=False,
        )
        self._listening = BoundedListener(listening, limits=_LIMITS)
        self._listening.start(self._web)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        listening = self._listening
        if listening is None:  # it was killed a moment ago
            if request.transport is not None:
                request.transport.abort()
            return refusal(503)  # nobody reads it
        with listening.handling(request) as connection:
            if connection is not None:
                connection.admit()
            try:
                return await self.handler(request) if self.handler is not None else refusal(503)
            except RequestRefused as refused:
                return refused.response

    def abort(self, *, keep_port: bool = False) -> None:
        """Closes all connections without a goodbye.

        With `keep_port` no other user can listen there meanwhile, whom clients would send their credentials.
        """
        if self._socket is not None and not (keep_port and _stop_listening(self._socket)):
            self._socket.close()
            self._socket = None
        if self._listening is None or self._web is None:
            return
        self._listening.close()
        for connection in list(self._web.connections):
            if connection.transport is not None:
                connection.transport.abort()
        self._listening = None

    async def close(self, *, keep_port: bool = False) -> None:
        """`abort`, then waits for running handlers."""
        web_server = self._web
        self.abort(keep_port=keep_port)
        if web_server is not None:
            await web_server.shutdown(1.0)
            self._web = None


def _stop_listening(listening: socket.socket) -> bool:
    """Refuse connections from now on, and keep the port; False where the system cannot (macOS).

    Linux gives a port with SO_REUSEADDR to another such socket while nobody listens, whoever it belongs to.
    """
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        listening.shutdown(socket.SHUT_RD)
    except OSError:
        return False
    return True


def refusal(status: int, text: str = "", **headers: str) -> web.Response:
    """An answer in plain text, like Mesos's errors."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if not text:
        return web.Response(status=status, headers=fields)
    return web.Response(status=status, body=text.encode(), headers={"Content-Type": "text/plain", **fields})


class RequestRefused(Exception):
    """Ends the handling of a request, with this answer."""

    def __init__(self, status: int, text: str = "", **headers: str) -> None:
        super().__init__(text)
        self.response = refusal(status, text, **headers)


async def posted_json(request: web.BaseRequest) -> bytes:
    """The body of a POST of JSON. Raises RequestRefused."""
    if request.method != "POST":
        raise RequestRefused(405, f"Expecting 'POST', received '{request.method}'", Allow="POST")
    kind = request.headers.get("Content-Type")
    if kind is None:
        raise RequestRefused(400, "Expecting 'Content-Type' to be present")
    if kind != JSON:
        raise RequestRefused(415, "Expecting 'Content-Type' of application/json or application/x-protobuf")
    parts: list[bytes] = []
    size = 0
    fits = (request.content_length or 0) <= BODY_LIMIT
    while fits and (part := await request.content.readany()):
        parts.append(part)
        size += len(part)
        fits = size <= BODY_LIMIT
    if not fits:
        refused = RequestRefused(413, "the body is larger than the simulator takes", Connection="close")
        refused.response.force_close()
        raise refused
    return parts[0] if len(parts) == 1 else b"".join(parts)


def document_in(data: bytes) -> Any:
    """Raises RequestRefused."""
    try:
        return msgspec.json.decode(data)
    except NOT_READABLE:
        raise RequestRefused(400, "Failed to parse body into JSON: syntax error at line 1 near: ") from None


def json_answer(document: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(document), content_type=JSON)


def principal_of(request: web.BaseRequest, secrets: Mapping[str, str]) -> str | None:
    """Whose secret the request knows, by HTTP basic authentication; None for a stranger."""
    try:
        given = BasicAuth.decode(request.headers.get("Authorization", ""), "utf-8")
    except ValueError:
        return None
    known = secrets.get(given.login)
    return given.login if known is not None and hmac.compare_digest(known.encode(), given.password.encode()) else None
