"""A master's HTTP: the scheduler API, the operator API, and the few plain paths that tools look at.

Statuses, headers and texts are as measured on 1.11. docs/scheduler-http-api.md, docs/operator-http-api.md.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import uuid
from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from owmesos.mesos import messages
from owmesos.simulator.listener import TooLarge, body_of, refusal
from owmesos.simulator.live import LiveWorld
from owmesos.simulator.master.effects import Answer
from owmesos.simulator.master.operator import READS
from owmesos.simulator.wire import BadCall, decode_call, encode_event, record
from owmesos.simulator.world import Fate

_log = logging.getLogger("owmesos.simulator")

STREAM_ID = "Mesos-Stream-Id"
SCHEDULER_PATHS = frozenset({"/api/v1/scheduler", "/master/api/v1/scheduler"})
OPERATOR_PATHS = frozenset({"/api/v1", "/master/api/v1"})
_JSON = "application/json"


class Outgoing:
    """The events of one stream that are not written yet; a reader that does not read is waited for, without end."""

    def __init__(self) -> None:
        self.ended = False
        self._silent = False
        self._paused_until = 0.0
        self._waiting: deque[bytes] = deque()
        self._news = asyncio.Event()

    def event(self, event: messages.Event) -> None:
        if not self._silent:
            self.put(encode_event(event))

    def put(self, data: bytes) -> None:
        self._waiting.append(record(data))
        self._news.set()

    def end(self) -> None:
        if not self._silent:
            self.ended = True
            self._news.set()

    def silence(self) -> None:
        self._silent = True

    def pause(self, seconds: float) -> None:
        self._paused_until = asyncio.get_running_loop().time() + seconds

    async def write_to(self, response: web.StreamResponse) -> None:
        """Until the end of the stream. One event is one HTTP chunk."""
        loop = asyncio.get_running_loop()
        while True:
            if self._paused_until > loop.time():
                await asyncio.sleep(self._paused_until - loop.time())
            while self._waiting:
                await response.write(self._waiting.popleft())
            if self.ended:
                return
            self._news.clear()
            await self._news.wait()


class MasterHttp:
    """Answers for the master number `number` of the world; `secrets` are those of the principals that it knows."""

    def __init__(self, live: LiveWorld, number: int, secrets: Mapping[str, str]) -> None:
        self._live = live
        self._world = live.world
        self._number = number
        self._secrets = secrets
        self._watchers: list[Outgoing] = []

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Any request."""
        path = request.path
        if path in SCHEDULER_PATHS:
            return await self._post(request, scheduler=True)
        if path in OPERATOR_PATHS:
            return await self._post(request, scheduler=False)
        if path in ("/health", "/master/health"):
            return web.Response()
        if path in ("/version", "/master/version"):
            return web.json_response({"version": "1.11.0", "build_user": "owmesos simulator"})
        elsewhere = self._live.enter(lambda: self._elsewhere(request))
        if elsewhere is not None:
            return elsewhere
        if path in ("/redirect", "/master/redirect"):
            return self._redirection("")
        if path == "/metrics/snapshot":
            answer = self._live.enter(lambda: self._world.operate("GET_METRICS", {}))
            metrics = answer.document["get_metrics"]["metrics"]
            return web.json_response({each["name"]: each["value"] for each in metrics})
        return refusal(404)

    def _elsewhere(self, request: web.BaseRequest) -> web.Response | None:
        """Where another master leads, or none does yet."""
        if self._world.leader is None:
            return refusal(503, "No leader elected")
        if self._world.leader != self._number:
            return self._redirection(request.path)
        if self._world.recovering:
            return refusal(503, "Master has not finished recovery")
        return None

    def _redirection(self, path: str) -> web.Response:
        assert self._world.leader is not None
        host, port = self._world.addresses[self._world.leader]
        return refusal(307, Location=f"//{host}:{port}{path}")

    # -- what both APIs ask of a request

    async def _post(self, request: web.BaseRequest, *, scheduler: bool) -> web.StreamResponse:
        settings = self._world.settings
        principal = self._principal(request)
        if principal is None and (settings.authenticate_frameworks if scheduler else settings.authenticate_readwrite):
            return self._unauthorized(scheduler=scheduler)
        elsewhere = self._live.enter(lambda: self._elsewhere(request))
        if elsewhere is not None:
            return elsewhere
        if request.method != "POST":
            return refusal(405, f"Expecting 'POST', received '{request.method}'", Allow="POST")
        kind = request.headers.get("Content-Type")
        if kind is None:
            return refusal(400, "Expecting 'Content-Type' to be present")
        if kind != _JSON:
            return refusal(415, "Expecting 'Content-Type' of application/json or application/x-protobuf")
        try:
            data = await body_of(request)
        except TooLarge:
            response = refusal(413, "the body is larger than the simulator takes", Connection="close")
            response.force_close()
            return response
        if scheduler:
            return await self._scheduler(request, data, principal)
        return await self._operator(request, data, principal)

    def _principal(self, request: web.BaseRequest) -> str | None:
        """Whose secret the request knows."""
        scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Basic":
            return None
        try:
            principal, _, secret = base64.b64decode(encoded).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        known = self._secrets.get(principal)
        return principal if known is not None and known == secret else None

    def _unauthorized(self, *, scheduler: bool) -> web.Response:
        realm = "mesos-master-scheduler" if scheduler else "mesos-master-readwrite"
        return refusal(401, "401 Unauthorized.", WWW_Authenticate=f'Basic realm="{realm}"')

    # -- schedulers

    async def _scheduler(self, request: web.BaseRequest, data: bytes, principal: str | None) -> web.StreamResponse:
        stream = request.headers.get(STREAM_ID)
        try:
            framework_id, call = decode_call(data)
        except BadCall as error:
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
        response = web.StreamResponse(headers={"Content-Type": _JSON, **headers})
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
        try:
            document = msgspec.json.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return refusal(400, "Failed to parse body into JSON: syntax error at line 1 near: ")
        if not isinstance(document, dict):
            return refusal(400, "Failed to convert JSON into Call protobuf: Expecting a JSON object")
        kind = document.get("type")
        if not isinstance(kind, str) or kind == "UNKNOWN":
            return refusal(400, "Failed to validate master::Call: Expecting 'type' to be present")
        if principal is None and self._world.settings.authenticate_readonly and kind in READS:
            return self._unauthorized(scheduler=False)
        if kind == "SUBSCRIBE":
            return await self._watch(request)
        return _response(self._live.enter(lambda: self._world.operate(kind, document)))

    async def _watch(self, request: web.BaseRequest) -> web.StreamResponse:
        """The events of the operator API."""
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


def _response(answer: Answer) -> web.Response:
    if answer.document is None:
        return refusal(answer.status, answer.text)
    return web.Response(body=msgspec.json.encode(answer.document), content_type=_JSON)
