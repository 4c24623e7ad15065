"""An invoker's HTTP interface for operators and probes (core/invoker/DefaultInvokerServer.scala).

`/ping` is public. `/enable`, `/disable` and `/isEnabled` require the invoker's own user and password.
"""

from __future__ import annotations

import base64
import hmac
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from owmesos.errors import InvalidInput
from owmesos.openwhisk.kafka.pings import Pinger
from owmesos.openwhisk.messages import InvokerId
from owmesos.system.bounded_http import BoundedListener, HttpLimits, listening_socket

_log = logging.getLogger("owmesos.invoker")
_LIMITS = HttpLimits(waiting=64, admitted=0)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_REALM = {"WWW-Authenticate": 'Basic realm="invoker"'}


class InvokerHttp:
    """From `start` to `stop`, within one event loop."""

    def __init__(self, invoker: InvokerId, pinger: Pinger, user: str, password: str) -> None:
        """Raises InvalidInput without a password."""
        self._invoker = invoker
        self._pinger = pinger
        self._credentials = _encoded(user, password)
        self._runner: web.AppRunner | None = None
        self._listener: BoundedListener | None = None

    def renew(self, user: str, password: str) -> None:
        """Replace the credentials: the former ones are rejected from now on. Raises InvalidInput without a password."""
        self._credentials = _encoded(user, password)

    async def start(self, host: str, port: int) -> int:
        """Returns the port, also for port 0. Raises CannotListen."""
        listening = listening_socket(host, port, "the invoker", "--invoker-http")
        listener = self._listener = BoundedListener(listening, limits=_LIMITS)

        @web.middleware
        async def bounded(request: web.Request, handler: Handler) -> web.StreamResponse:
            """No request takes long, so each connection makes room for others, also while one is answered."""
            with listener.handling(request):
                return await handler(request)

        application = web.Application(client_max_size=1024, middlewares=[bounded])
        application.router.add_get("/ping", self._ping)
        application.router.add_get("/isEnabled", self._is_enabled)
        application.router.add_post("/enable", self._turn)
        application.router.add_post("/disable", self._turn)
        self._runner = await listener.serve(application)
        bound: int = listening.getsockname()[1]
        return bound

    async def stop(self) -> None:
        if self._listener is not None:
            self._listener.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _ping(self, request: web.Request) -> web.Response:
        return web.Response(text="pong")

    async def _is_enabled(self, request: web.Request) -> web.Response:
        self._check(request)
        return web.json_response({"isEnabled": self._pinger.enabled})

    async def _turn(self, request: web.Request) -> web.Response:
        self._check(request)
        on = request.path == "/enable"
        word = "enabled" if on else "disabled"
        if not self._pinger.turn_away("disabled", not on):
            return web.Response(text=f"{self._invoker} is already {word}.")
        _log.warning("%s is %s by %s", self._invoker, word, request.remote)
        return web.Response(text=f"{self._invoker} is now {word}.")

    def _check(self, request: web.Request) -> None:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        same = hmac.compare_digest(given.strip().encode(errors="replace"), self._credentials)
        if not same or scheme.lower() != "basic":
            raise web.HTTPUnauthorized(headers=_REALM)


def _encoded(user: str, password: str) -> bytes:
    """Raises InvalidInput without a password."""
    if not user or not password:
        raise InvalidInput("the invoker's HTTP interface needs a user and a password")
    return base64.b64encode(f"{user}:{password}".encode())
