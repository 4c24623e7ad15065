"""The socket of one simulated daemon, which dies with it: connections break off as they do when a process is killed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
BODY_LIMIT = 256 * 1024 * 1024
"""Bytes; a larger request is answered 413."""


class Listener:
    """Listens from `open` to `abort`, as often as wanted."""

    def __init__(self, host: str, port: int, handler: Handler) -> None:
        self.host = host
        self.port = port
        self._handler = handler
        self._web: web.Server | None = None
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Raises OSError where the port is taken."""
        if self._server is not None:
            return
        self._web = web.Server(self._handler, handler_cancellation=True, access_log=None, tcp_keepalive=False)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._web, self.host, self.port, backlog=1024)
        if self.port == 0:
            self.port = self._server.sockets[0].getsockname()[1]

    def abort(self) -> None:
        """No goodbye to anyone."""
        if self._server is None or self._web is None:
            return
        self._server.close()
        for connection in list(self._web.connections):
            if connection.transport is not None:
                connection.transport.abort()
        self._server = None

    async def close(self) -> None:
        """`abort`, and waits for what was under way."""
        web_server = self._web
        self.abort()
        if web_server is not None:
            await web_server.shutdown(1.0)
            self._web = None


class TooLarge(Exception):
    """A body over the limit."""


async def body_of(request: web.BaseRequest, limit: int = BODY_LIMIT) -> bytes:
    """The whole of it. Raises TooLarge."""
    if request.content_length is not None and request.content_length > limit:
        raise TooLarge
    parts: list[bytes] = []
    size = 0
    while part := await request.content.readany():
        size += len(part)
        if size > limit:
            raise TooLarge
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def refusal(status: int, text: str = "", **headers: str) -> web.Response:
    """An answer in plain text, as Mesos's errors are."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if not text:
        return web.Response(status=status, headers=fields)
    return web.Response(status=status, body=text.encode(), headers={"Content-Type": "text/plain", **fields})
