"""A master's HTTP: the scheduler API, the operator API, and the few plain paths that tools look at.

Statuses, headers and texts are as measured on 1.11. docs/scheduler-http-api.md, docs/operator-http-api.md.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from owmesos.mesos import messages
from owmesos.simulator.listener import (
    JSON,
    RequestRefused,
    document_in,
    json_answer,
    posted_json,
    principal_of,
    refusal,
)
from owmesos.simulator.live import LiveWorld
from owmesos.simulator.protocol import VERSION_INFO, NotValid
from owmesos.simulator.wire import decode_call, encode_event, record
from owmesos.simulator.world import Fate

_log = logging.getLogger("owmesos.simulator")

STREAM_ID = "Mesos-Stream-Id"


class Outgoing:
    """The events of one stream that are not written yet; a reader that does not read is waited for, without end."""

    def __init__(self) -> None:
        self._paused_until = 0.0
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue()  # None is the end

    def event(self, event: messages.Event) -> None:
        self.put(encode_event(event))

    def put(self, data: bytes) -> None:
        self._waiting.put_nowait(record(data))

    def end(self) -> None:
        self._waiting.put_nowait(None)

    def pause(self, seconds: float) -> None:
        self._paused_until = asyncio.get_running_loop().time() + seconds

    async def write_to(self, response: web.StreamResponse) -> None:
        """Until the end of the stream. One event is one HTTP chunk."""
        loop = asyncio.get_running_loop()
        while (data := await self._waiting.get()) is not None:
            if self._paused_until > loop.time():
                await asyncio.sleep(self._paused_until - loop.time())
            await response.write(data)


class MasterHttp:
    """Serves the master number `number` of the world; `secrets` are those of the known principals."""

    def __init__(self, live: LiveWorld, number: int, secrets: Mapping[str, str]) -> None:
        self._live = live
        self._world = live.world
        self._number = number
        self._secrets = secrets
        self._watchers: list[Outgoing] = []

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Any request. Raises RequestRefused."""
        path = request.path.removeprefix("/master")
        if path == "/api/v1/scheduler":
            return await self._post(request, scheduler=True)
        if path == "/api/v1":
            return await self._post(request, scheduler=False)
        if path == "/health":
            return web.Response()
        if path == "/version":
            return web.json_response(VERSION_INFO)
        self._live.enter(lambda: self._require_leading(request.path))
        if path == "/redirect":
            raise self._redirection("")
        if request.path == "/metrics/snapshot":
            answer = self._live.enter(lambda: self._world.operate("GET_METRICS", {}))
            metrics = answer.document["get_metrics"]["metrics"]
            return web.json_response({each["name"]: each["value"] for each in metrics})
        return refusal(404)

    def _require_leading(self, path: str) -> None:
        """Raises RequestRefused where another master leads, or none does yet."""
        if self._world.leader is None:
            raise RequestRefused(503, "No leader elected")
        if self._world.leader != self._number:
            raise self._redirection(path)
        if self._world.recovering:
            raise RequestRefused(503, "Master has not finished recovery")

    def _redirection(self, path: str) -> RequestRefused:
        assert self._world.leader is not None
        host, port = self._world.addresses[self._world.leader]
        return RequestRefused(307, Location=f"//{host}:{port}{path}")

    # -- what both APIs ask of a request

    async def _post(self, request: web.BaseRequest, *, scheduler: bool) -> web.StreamResponse:
        settings = self._world.settings
        principal = principal_of(request, self._secrets)
        if principal is None and (settings.authenticate_frameworks if scheduler else settings.authenticate_readwrite):
            raise _unauthorized("mesos-master-scheduler" if scheduler else "mesos-master-readwrite")
        self._live.enter(lambda: self._require_leading(request.path))
        data = await posted_json(request)
        if scheduler:
            return await self._scheduler(request, data, principal)
        return await self._operator(request, data, principal)

    # -- schedulers

    async def _scheduler(self, request: web.BaseRequest, data: bytes, principal: str | None) -> web.StreamResponse:
        stream = request.headers.get(STREAM_ID)
        try:
            framework_id, call = decode_call(data)
        except NotValid as error:
            return refusal(400, str(error))
        if isinstance(call, messages.Subscribe):
            if stream is not None:
                return refusal(400, "Subscribe calls should not include the 'Mesos-Stream-Id' header")
            return await self._subscribe(request, call, principal)
        if stream is None:
            return refusal(400, "All non-subscribe calls should include the 'Mesos-Stream-Id' header")
        assert framework_id is not None
        known, name = stream, framework_id
        fate = self._world.fate(call)
        if fate is Fate.TAKEN:
            answer = self._live.enter(lambda: self._world.call(name, known, call))
            return refusal(answer.status, answer.text)
        if fate is Fate.UNANSWERED:
            self._live.enter(lambda: self._world.call(name, known, call))
        if request.transport is not None:
            request.transport.abort()
        return refusal(500)

    async def _subscribe(
        self, request: web.BaseRequest, call: messages.Subscribe, principal: str | None
    ) -> web.StreamResponse:
        stream = str(uuid.uuid4())
        outgoing = Outgoing()
        try:
            answer = self._live.enter(lambda: self._world.subscribe(stream, call, outgoing, principal))
            if answer.status != 200:
                return refusal(answer.status, answer.text)
            return await self._stream(request, outgoing, {STREAM_ID: stream})
        finally:
            self._live.enter(lambda: self._world.closed(stream))

    async def _stream(
        self, request: web.BaseRequest, outgoing: Outgoing, headers: dict[str, str]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": JSON, **headers})
        response.enable_chunked_encoding()
        try:
            await response.prepare(request)
            await outgoing.write_to(response)
            await response.write_eof()
        except ConnectionError:
            _log.debug("a stream broke off")
        return response

    # -- operators

    async def _operator(self, request: web.BaseRequest, data: bytes, principal: str | None) -> web.StreamResponse:
        document = document_in(data)
        if not isinstance(document, dict):
            return refusal(400, "Failed to convert JSON into Call protobuf: Expecting a JSON object")
        kind = document.get("type")
        if not isinstance(kind, str) or kind == "UNKNOWN":
            return refusal(400, "Failed to validate master::Call: Expecting 'type' to be present")
        if principal is None and self._world.settings.authenticate_readonly and kind.startswith("GET_"):
            raise _unauthorized("mesos-master-readwrite")
        if kind == "SUBSCRIBE":
            return await self._watch(request)
        answer = self._live.enter(lambda: self._world.operate(kind, document))
        return refusal(answer.status, answer.text) if answer.document is None else json_answer(answer.document)

    async def _watch(self, request: web.BaseRequest) -> web.StreamResponse:
        outgoing = Outgoing()
        self._watchers.append(outgoing)
        self._set_publishing()
        state = self._live.enter(lambda: self._world.operate("GET_STATE", {})).document["get_state"]
        heartbeat = self._world.settings.heartbeat
        subscribed = {"get_state": state, "heartbeat_interval_seconds": heartbeat}
        outgoing.put(msgspec.json.encode({"type": "SUBSCRIBED", "subscribed": subscribed}))
        beating = asyncio.ensure_future(self._beat(outgoing, heartbeat))
        try:
            return await self._stream(request, outgoing, {})
        finally:
            beating.cancel()
            self._watchers.remove(outgoing)
            self._set_publishing()

    async def _beat(self, outgoing: Outgoing, pause: float) -> None:
        while True:
            outgoing.put(b'{"type":"HEARTBEAT"}')
            await asyncio.sleep(pause)

    def _set_publishing(self) -> None:
        self._world.set_publish(self._publish if self._watchers else None)

    def _publish(self, document: dict[str, Any]) -> None:
        data = msgspec.json.encode(document)
        for watcher in self._watchers:
            watcher.put(data)


def _unauthorized(realm: str) -> RequestRefused:
    return RequestRefused(401, "401 Unauthorized.", WWW_Authenticate=f'Basic realm="{realm}"')
