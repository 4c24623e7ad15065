"""The admin API: what the command line shows and asks for, over HTTP as JSON.

It decides nothing; it translates. The documents are those of `owmesos.mesos.listings`, and every error is
`{"error": "one line"}`. docs/cli.md lists the paths.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast, get_args

import msgspec
from aiohttp import web

from owmesos.core.launch import Launch
from owmesos.errors import InvalidInput
from owmesos.service.admin_guard import Guard, answer
from owmesos.service.admin_requests import STOPPING, AdminUnavailable, body, flag, one, only, unless_stopping
from owmesos.service.framework import Framework, Milestone
from owmesos.service.work import Work

MAX_BODY = 1024 * 1024
MAX_COUNT = 10_000
"""Of launches in one request."""
MAX_WAIT = 30.0
"""Seconds that one request waits at most; who wants to wait longer asks again."""
WAIT_HEADER = "Owmesos-Wait"
"""`reached` or `pending`, on an answer that was waited for."""
_SHUTDOWN = 2.0
T = TypeVar("T")


class _Wanted(msgspec.Struct, forbid_unknown_fields=True):
    launch: Launch
    count: int = 1


class _Killed(msgspec.Struct, forbid_unknown_fields=True):
    ids: list[str]


class _Nothing(msgspec.Struct, forbid_unknown_fields=True):
    pass


class AdminServer:
    """Listens from its making on, so that a port in use is known before anything else is done; answers once started."""

    def __init__(self, host: str, port: int) -> None:
        """Port 0 is any free one. Raises AdminUnavailable."""
        self._host = host
        self._socket = _listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        self._runner: web.AppRunner | None = None
        self._stopping = asyncio.Event()

    @property
    def url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    async def start(self, framework: Framework, work: Work | None = None) -> None:
        application = web.Application(middlewares=[Guard(self._host).middleware], client_max_size=MAX_BODY)
        application[STOPPING] = self._stopping
        _Routes(framework).add_to(application.router)
        if work is not None:
            work.add_to(application.router)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN, handle_signals=False)
        await self._runner.setup()
        await web.SockSite(self._runner, self._socket).start()

    async def stop(self) -> None:
        """Whoever waits for a launch or a result is told; other requests get their answers."""
        self._stopping.set()
        if self._runner is not None:
            await self._runner.cleanup()
        self.close()

    def close(self) -> None:
        """For a server that was never started."""
        self._socket.close()


class _Routes:
    def __init__(self, framework: Framework) -> None:
        self._framework = framework

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/healthz", self.health)
        router.add_get("/api/v1/nodes", _listing(self._framework.nodes))
        router.add_get("/api/v1/reservations", _listing(self._framework.reservations))
        router.add_get("/api/v1/containers", _listing(self._framework.containers))
        router.add_get("/api/v1/offers", self.offers)
        router.add_get("/api/v1/launches", self.launches)
        router.add_get("/api/v1/explain/{id}", self.explain)
        router.add_get("/api/v1/story/{id}", self.story)
        router.add_post("/api/v1/launches", self.launch)
        router.add_post("/api/v1/kill", self.kill)
        router.add_post("/api/v1/teardown", self.teardown)

    async def health(self, request: web.Request) -> web.Response:
        subscribed = self._framework.subscribed
        document = {"subscribed": subscribed, "framework_id": self._framework.framework_id}
        return answer(document, 200 if subscribed else 503)

    async def offers(self, request: web.Request) -> web.Response:
        only(request, "outstanding")
        return answer(self._framework.offers(outstanding=flag(request, "outstanding")))

    async def launches(self, request: web.Request) -> web.Response:
        only(request, "id", "wait", "timeout")
        ids = request.query.getall("id", [])
        until = one(request, "wait", "")
        if not until:
            return answer(self._framework.launches(ids or None))
        if until not in get_args(Milestone):
            raise InvalidInput("wait must be running or ended")
        if not ids:
            raise InvalidInput("wait needs the ids to wait for")
        reached = await unless_stopping(request, self._framework.wait(ids, cast(Milestone, until), _timeout(request)))
        response = answer(self._framework.launches(ids))
        response.headers[WAIT_HEADER] = "reached" if reached else "pending"
        return response

    async def explain(self, request: web.Request) -> web.Response:
        only(request)
        return answer(self._framework.explain(request.match_info["id"]))

    async def story(self, request: web.Request) -> web.Response:
        only(request)
        return answer(self._framework.story(request.match_info["id"]))

    async def launch(self, request: web.Request) -> web.Response:
        wanted = await _body(request, _Wanted)
        if not 1 <= wanted.count <= MAX_COUNT:
            raise InvalidInput(f"count must be 1 to {MAX_COUNT}, not {wanted.count}")
        handles = await self._framework.launch_many([wanted.launch] * wanted.count)
        return answer(self._framework.launches([handle.id for handle in handles]), 201)

    async def kill(self, request: web.Request) -> web.Response:
        """All ids are looked up before the first is killed."""
        ids = (await _body(request, _Killed)).ids
        for launch_id in [self._framework.record(name).id for name in ids]:
            await self._framework.kill(launch_id)
        return answer(self._framework.launches(ids))

    async def teardown(self, request: web.Request) -> web.Response:
        await _body(request, _Nothing)
        return answer({"framework_id": await self._framework.teardown()})


def _listing(rows: Callable[[], Any]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        only(request)
        return answer(rows())

    return handle


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=128)
    except OSError as error:
        # The text of create_server's errors repeats the address; that of getaddrinfo's has no number of the system.
        why = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else str(error.strerror)
        raise AdminUnavailable(
            f"the admin API cannot listen on {host}:{port}: {why.lower()}: give another --admin HOST:PORT"
        ) from None


def _timeout(request: web.Request) -> float:
    text = one(request, "timeout", str(MAX_WAIT))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= MAX_WAIT:
        raise InvalidInput(f"timeout must be 0 to {MAX_WAIT:g} seconds, not {text[:100]!r}")
    return seconds


async def _body(request: web.Request, kind: type[T]) -> T:
    only(request)
    return await body(request, kind)
