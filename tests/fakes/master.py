"""A master of the tests' own: speaks the scheduler API as chunked RecordIO, remembers what it was asked, and
misbehaves on demand. It decides nothing; a test says what it answers.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

Answer = Callable[["FakeMaster", web.Request], Awaitable[web.StreamResponse]]
FRAMEWORK_ID = "fake-0000"


def record(event: Mapping[str, Any]) -> bytes:
    data = json.dumps(event).encode()
    return b"%d\n%s" % (len(data), data)


def plain(status: int, text: str = "", content_type: str = "text/plain", **headers: str) -> Answer:
    """The same answer to every request."""

    async def answer(master: FakeMaster, request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=text, content_type=content_type, headers=headers)

    return answer


def raw(data: bytes) -> Answer:
    """A stream that consists of `data` and ends."""

    async def answer(master: FakeMaster, request: web.Request) -> web.StreamResponse:
        response = await master.begin_stream(request)
        await response.write(data)
        return response

    return answer


async def subscribed(master: FakeMaster, request: web.Request) -> web.StreamResponse:
    """A stream as a master opens it; it stays open and brings what the test sends."""
    response = await master.begin_stream(request)
    await response.write(master.subscribed_record())
    return await master.keep_open(response, request)


async def silent(master: FakeMaster, request: web.Request) -> web.StreamResponse:
    """A stream that is opened and brings nothing."""
    return await master.keep_open(await master.begin_stream(request), request)


async def hang(master: FakeMaster, request: web.Request) -> web.StreamResponse:
    """No answer at all."""
    await master.stopping.wait()
    return web.Response(status=500)


async def cut(master: FakeMaster, request: web.Request) -> web.StreamResponse:
    """The connection is reset after the request was read."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response(status=500)


class FakeMaster:
    """`on_subscribe` answers SUBSCRIBE, `on_call` all other calls, `operator` the operator API by call type."""

    def __init__(self, *, heartbeat: float = 15.0, tls: ssl.SSLContext | None = None) -> None:
        self.heartbeat = heartbeat
        self.on_subscribe: Answer = subscribed
        self.on_call: Answer = plain(202)
        self.operator: dict[str, Answer] = {}
        self.subscribes: list[dict[str, Any]] = []
        self.calls: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.connections: set[asyncio.Transport] = set()
        self.stopping = asyncio.Event()
        self.streams: list[web.StreamResponse] = []
        self.open_streams = 0
        self._transports: list[asyncio.Transport | None] = []
        self._end = asyncio.Event()
        self._tls = tls
        self._runner: web.AppRunner | None = None
        self._address = ""

    @property
    def address(self) -> str:
        """`host:port`"""
        return self._address

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self._address}"

    async def start(self, port: int = 0) -> FakeMaster:
        application = web.Application(client_max_size=64 * 1024 * 1024)
        application.router.add_post("/api/v1/scheduler", self._scheduler)
        application.router.add_post("/api/v1", self._operator)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port, ssl_context=self._tls)
        await site.start()
        self._address = f"127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def stop(self) -> None:
        self.stopping.set()
        self.end_stream()
        if self._runner is not None:
            await self._runner.cleanup()

    def subscribed_record(self) -> bytes:
        body = {"framework_id": {"value": FRAMEWORK_ID}, "heartbeat_interval_seconds": self.heartbeat}
        return record({"type": "SUBSCRIBED", "subscribed": body})

    async def begin_stream(self, request: web.Request) -> web.StreamResponse:
        headers = {"Mesos-Stream-Id": f"stream-{len(self.subscribes)}", "Content-Type": "application/json"}
        response = web.StreamResponse(headers=headers)
        response.enable_chunked_encoding()
        await response.prepare(request)
        self.streams.append(response)
        self._transports.append(request.transport)
        return response

    async def keep_open(self, response: web.StreamResponse, request: web.Request) -> web.StreamResponse:
        """Until `end_stream`, or until the client goes (the handler is cancelled then)."""
        self.open_streams += 1
        try:
            await self._end.wait()
        finally:
            self.open_streams -= 1
        return response

    def end_stream(self) -> None:
        """Ends the open streams as a master does that ends a subscription."""
        self._end.set()
        self._end = asyncio.Event()

    def cut_stream(self) -> None:
        """Resets the newest stream's connection, as a master does that is killed."""
        assert self._transports[-1] is not None
        self._transports[-1].abort()

    async def send(self, *events: Mapping[str, Any]) -> None:
        """On the newest stream."""
        await self.send_raw(b"".join(record(event) for event in events))

    async def send_raw(self, data: bytes) -> None:
        await self.streams[-1].write(data)

    async def _scheduler(self, request: web.Request) -> web.StreamResponse:
        self.headers.append(dict(request.headers))
        call = json.loads(await request.read())
        if call["type"] == "SUBSCRIBE":
            self.subscribes.append(call)
            return await self.on_subscribe(self, request)
        if request.transport is not None:
            self.connections.add(request.transport)
        self.calls.append(call)
        return await self.on_call(self, request)

    async def _operator(self, request: web.Request) -> web.StreamResponse:
        self.headers.append(dict(request.headers))
        call = json.loads(await request.read())
        self.calls.append(call)
        answer = self.operator.get(call["type"]) or self.operator.get("*") or plain(200)
        return await answer(self, request)
