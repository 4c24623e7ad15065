"""Authorizes requests to the admin API, and formats errors.

The API starts tasks, and every user of the machine reaches loopback. So every request needs a token, which is checked
before the body is read, except `/healthz`, `/livez` and the files of the dashboard's page, which hold no data.

Web pages in the user's browser also reach loopback. They have no token, but are rejected in other ways too: the Host
must be one of our names, because a page whose name was rebound to 127.0.0.1 would count as the same origin; an
Origin must be our own; and a POST or PUT must be `application/json`, which a browser sends to other origins only after
a preflight, which is never granted, as for PUT and DELETE (fetch.spec.whatwg.org, CORS protocol).
"""

from __future__ import annotations

import ipaddress
import logging
import re
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from owmesos.dashboard import page
from owmesos.errors import InvalidInput, InvariantBroken, OwmesosError
from owmesos.service.admin_bodies import RETRY_AFTER, Budget, Overloaded, cut_off_at, in_time
from owmesos.service.admin_tokens import TokenRole, Tokens
from owmesos.service.errors import LogMissing, NotKnown
from owmesos.service.idempotency import KeyReused
from owmesos.system.bounded_http import BoundedListener
from owmesos.system.lone_surrogates import encode

_log = logging.getLogger("owmesos.admin")
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?\Z")
_WILDCARDS = ("", "0.0.0.0", "::")
OPEN = ("/healthz", "/livez")
"""For everybody: they say only whether the process lives, and reaches its servers."""
ANSWERS_IN_MEMORY = 128 * 2**20  # bytes of large answers that are being sent, over all requests
_LARGE = 64 * 1024  # what is smaller, a connection's own buffer takes
_READING = ("GET", "HEAD")
_WITH_BODY = ("POST", "PUT")
_REALM = 'Bearer realm="owmesos"'
_NO_TOKEN = (
    "the admin API needs a token, in the header `Authorization: Bearer TOKEN`: `owmesos` finds it as the user who runs "
    "`owmesos run`; others give --admin-token-file"
)
_WRONG_TOKEN = (
    "the token is not valid for this admin API: tokens that `owmesos run` makes are new at each start; read its "
    "admin.token again, or give --admin-token-file"
)
_READ_ONLY = "the token only allows reading: this request needs the admin token"
_STATUS = {NotKnown: 404, LogMissing: 404, KeyReused: 422, InvalidInput: 400}
_LATER = {"Retry-After": str(RETRY_AFTER)}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def answer(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """`document` as JSON."""
    return web.Response(body=encode(document), status=status, headers=headers, content_type="application/json")


def error_response(status: int, reason: str, headers: Mapping[str, str] | None = None, **more: str) -> web.Response:
    return answer({"error": " ".join(reason.split()), **more}, status, headers)


class Guard:
    """A middleware that rejects unauthorized requests and returns every error as one line of JSON."""

    def __init__(self, bound: str, tokens: Tokens, listener: BoundedListener) -> None:
        """`bound`: the name or address that the API listens on, with `listener`."""
        self._listener = listener
        self._answers = Budget(ANSWERS_IN_MEMORY, "answers")
        self.tokens = tokens
        self._names = {bound.lower(), "localhost"}
        self._everywhere = bound in _WILDCARDS
        if self._everywhere:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        with self._listener.handling(request) as connection:
            response: web.StreamResponse | None = self._objection(request)
            if response is None:
                if connection is not None and request.path not in OPEN and request.path not in page.PATHS:
                    connection.admit()
                response = await self._handled(request, handler)
            return await self._sent(request, response)

    async def _handled(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            return _plain(request, error)
        except InvariantBroken as error:
            _log.exception("%s %s broke: %s", request.method, request.path, error)
            return error_response(500, "internal error; see the log of `owmesos run`")
        except OwmesosError as error:
            return _error_of(error)
        except web.RequestPayloadError as error:
            return error_response(400, f"the request's body cannot be read: {error}")
        except ConnectionError:
            return error_response(400, "the connection was lost")  # nobody reads it
        except Exception as error:  # noqa: BLE001  (an internal error: it is logged, the client gets one line)
            _log.exception("%s %s broke: %s", request.method, request.path, error)
            return error_response(500, "internal error; see the log of `owmesos run`")

    async def _sent(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        """Send a large answer: it counts against a budget until the client has read it, within a time limit."""
        size = response.content_length or 0
        if size < _LARGE:
            return response
        with self._answers.share() as take:
            try:
                take(size)
            except Overloaded as error:
                return _error_of(error)
            with cut_off_at(request):
                await in_time(_send(request, response), size)
        return response

    def _objection(self, request: web.Request) -> web.Response | None:
        host = request.headers.get("Host", "")
        if not self._ours(host):
            return error_response(403, f"unknown Host {host[:100]!r}: use the address that `owmesos run --admin` has")
        origin = request.headers.get("Origin")
        if origin is not None and origin.lower() != f"{request.scheme}://{host.lower()}":
            return error_response(403, f"a page of {origin[:100]!r} may not use this API")
        stranger = self._stranger(request)
        if stranger is not None:
            return stranger
        known = request.match_info.http_exception is None  # else the answer is 404 or 405, whatever it brings
        if known and request.method in _WITH_BODY and request.content_type != "application/json":
            return error_response(415, "the Content-Type must be application/json")
        return None

    def _stranger(self, request: web.Request) -> web.Response | None:
        """The answer to a request without a sufficient token."""
        if request.path in OPEN or request.path in page.PATHS:
            return None
        given = request.headers.get("Authorization")
        role = self.tokens.role(given) if given is not None else None
        if role is None:
            no_token = given is None
            headers = {"WWW-Authenticate": _REALM if no_token else f'{_REALM}, error="invalid_token"'}
            return error_response(401, _NO_TOKEN if no_token else _WRONG_TOKEN, headers)
        if role is TokenRole.READ and request.method not in _READING:
            return error_response(403, _READ_ONLY, {"WWW-Authenticate": f'{_REALM}, error="insufficient_scope"'})
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
        # An address is not a name, so nobody can rebind it.
        return self._everywhere or address.is_loopback


async def _send(request: web.Request, response: web.StreamResponse) -> None:
    await response.prepare(request)
    await response.write_eof()


def _error_of(error: OwmesosError) -> web.Response:
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 503)
    return error_response(status, str(error), _LATER if isinstance(error, Overloaded) else None)


def _plain(request: web.Request, error: web.HTTPException) -> web.Response:
    path = request.path[:200]
    reasons = {
        404: f"unknown path {path}",
        405: f"{request.method} is not allowed for {path}",
        408: "the request's body did not come in time",
        413: "the request is too large",
    }
    more = {"unknown_path": path} if isinstance(error, web.HTTPNotFound) else {}
    headers = {"Allow": error.headers["Allow"]} if isinstance(error, web.HTTPMethodNotAllowed) else None
    return error_response(error.status, reasons.get(error.status, error.reason), headers, **more)
