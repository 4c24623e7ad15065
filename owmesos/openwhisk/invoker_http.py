"""An invoker's HTTP interface (core/invoker/DefaultInvokerServer.scala): what operators and their probes ask it.

`/ping` is for everybody. `/enable`, `/disable` and `/isEnabled` want the invoker's own user and password.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
from typing import Protocol

from aiohttp import web

from owmesos.errors import InvalidInput, OwmesosError
from owmesos.openwhisk.ids import InvokerId

_log = logging.getLogger("owmesos.invoker")
_REALM = {"WWW-Authenticate": 'Basic realm="invoker"'}


class HttpFailed(OwmesosError):
    """The interface cannot listen; the text says why."""


class Enabling(Protocol):
    """What is enabled and disabled: `health.Pinger`."""

    @property
    def enabled(self) -> bool: ...

    def enable(self, on: bool) -> bool:
        """Whether that changed anything."""
        ...


class InvokerHttp:
    """From `start` to `stop`, within one event loop."""

    def __init__(self, invoker: InvokerId, health: Enabling, user: str, password: str) -> None:
        """Raises InvalidInput where there would be no password."""
        if not user or not password:
            raise InvalidInput("the invoker's HTTP interface needs a user and a password")
        self._invoker = invoker
        self._health = health
        self._credentials = f"{user}:{password}".encode()
        self._runner: web.AppRunner | None = None

    def application(self) -> web.Application:
        application = web.Application(client_max_size=1024)
        application.router.add_get("/ping", self._ping)
        application.router.add_get("/isEnabled", self._is_enabled)
        application.router.add_post("/enable", self._enable)
        application.router.add_post("/disable", self._disable)
        return application

    async def start(self, host: str, port: int) -> int:
        """Returns the port, which port 0 leaves open. Raises HttpFailed."""
        self._runner = web.AppRunner(self.application(), access_log=None)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            await self.stop()
            raise HttpFailed(f"the invoker cannot listen on {host}:{port}: {error.strerror}") from None
        bound: int = self._runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _ping(self, request: web.Request) -> web.Response:
        return web.Response(text="pong")

    async def _is_enabled(self, request: web.Request) -> web.Response:
        self._check(request)
        return web.json_response({"isEnabled": self._health.enabled})

    async def _enable(self, request: web.Request) -> web.Response:
        return self._turn(request, on=True)

    async def _disable(self, request: web.Request) -> web.Response:
        return self._turn(request, on=False)

    def _turn(self, request: web.Request, *, on: bool) -> web.Response:
        self._check(request)
        word = "enabled" if on else "disabled"
        if not self._health.enable(on):
            return web.Response(text=f"{self._invoker} is already {word}.")
        _log.warning("%s is %s by %s", self._invoker, word, request.remote)
        return web.Response(text=f"{self._invoker} is now {word}.")

    def _check(self, request: web.Request) -> None:
        scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
        try:
            given = base64.b64decode(encoded.strip(), validate=True) if scheme.lower() == "basic" else b""
        except (binascii.Error, ValueError):
            given = b""
        if not hmac.compare_digest(given, self._credentials):
            raise web.HTTPUnauthorized(headers=_REALM)
