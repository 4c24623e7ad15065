"""Who may talk to the admin API, and how it answers those that may not.

It starts tasks for whoever reaches it, and listens on loopback; but any web page that the user's browser shows can
reach loopback too. So: the Host must be a name of ours, else a page on a name that is rebound to 127.0.0.1 would count
as the same origin; an Origin must be our own; and a POST must be `application/json`, which a browser sends to others
only after a preflight that is never granted, as it does any PUT and DELETE (fetch.spec.whatwg.org, CORS protocol).
"""

from __future__ import annotations

import ipaddress
import logging
import re
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from owmesos.errors import InvalidInput, InvariantBroken, OwmesosError
from owmesos.service.framework import NotKnown

_log = logging.getLogger("owmesos.admin")
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?\Z")
_WILDCARDS = ("", "0.0.0.0", "::")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def answer(document: Any, status: int = 200) -> web.Response:
    """`document` as JSON."""
    return web.Response(body=msgspec.json.encode(document), status=status, content_type="application/json")


def refusal(status: int, reason: str) -> web.Response:
    return answer({"error": " ".join(reason.split())}, status)


class Guard:
    """A middleware: turns away whom it must, and makes every error one line of JSON."""

    def __init__(self, bound: str) -> None:
        """`bound`: the name or address that the API listens on."""
        self._names = {bound.lower(), "localhost"}
        self._everywhere = bound in _WILDCARDS
        if self._everywhere:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        objection = self._objection(request)
        if objection is not None:
            return objection
        try:
            return await handler(request)
        except web.HTTPException as error:
            return _plain(request, error)
        except InvariantBroken as error:
            _log.exception("%s %s broke: %s", request.method, request.path, error)
            return refusal(500, "a fault of owmesos, see the log of `owmesos run`")
        except OwmesosError as error:
            return refusal(_status(error), str(error))
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001  (a fault of ours: it is logged, the client gets one line)
            _log.exception("%s %s broke: %s", request.method, request.path, error)
            return refusal(500, "a fault of owmesos, see the log of `owmesos run`")

    def _objection(self, request: web.Request) -> web.Response | None:
        host = request.headers.get("Host", "")
        if not self._ours(host):
            return refusal(403, f"the Host {host[:100]!r} is no name of this API")
        origin = request.headers.get("Origin")
        if origin is not None and origin.lower() != f"{request.scheme}://{host.lower()}":
            return refusal(403, f"a page of {origin[:100]!r} may not use this API")
        if request.method == "POST" and request.content_type != "application/json":
            return refusal(415, "the Content-Type must be application/json")
        return None

    def _ours(self, host: str) -> bool:
        match = _HOST.match(host)
        if match is None:
            return False
        name = match["host"].strip("[]").lower()
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        # An address is no name, so nobody can rebind it.
        return self._everywhere or address.is_loopback


def _status(error: OwmesosError) -> int:
    if isinstance(error, NotKnown):
        return 404
    return 400 if isinstance(error, InvalidInput) else 503


def _plain(request: web.Request, error: web.HTTPException) -> web.Response:
    reasons = {
        404: f"there is no {request.path[:200]}",
        405: f"{request.method} is not for {request.path[:200]}",
        413: "the request is too large",
    }
    response = refusal(error.status, reasons.get(error.status, error.reason))
    if isinstance(error, web.HTTPMethodNotAllowed):
        response.headers["Allow"] = error.headers["Allow"]
    return response
