"""A client of the admin API, for the commands: plain, blocking, quick to load, and every error is one line."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from owmesos.cli.connection import Endpoint
from owmesos.cli.http1 import BadAnswer, HttpAnswer, HttpConnection
from owmesos.errors import InvalidInput, OwmesosError
from owmesos.openwhisk.results import decode_result
from owmesos.system.hosts import is_loopback
from owmesos.system.tls_errors import distrust, no_tls

if TYPE_CHECKING:
    import ssl

_TIMEOUT = 60.0  # seconds: twice what the API lets one request wait
PATIENCE = 15.0  # seconds to repeat a request that was not answered: `owmesos run` may be starting on a busy machine
STARTING = 3.0  # seconds before a missing framework is an error: `owmesos run` may have been started on the line before
_SILENT = 2.0  # seconds of repeating before the user is told
_PAUSES = (0.1, 0.2, 0.5)
"""Seconds between attempts; the last one repeats."""
_WAIT = 25.0  # seconds; that one request waits
_PART = 64 * 1024  # bytes of an answer that comes in parts
_EVENTS_SILENT = 15.0  # seconds, three times the interval of the API's keep-alive comments
_IDS_PER_REQUEST = 100  # keeps the request line below the limits of servers
_MAX_TARGET = 8000  # characters of a request's address; the framework rejects longer lines before it reads them
_ROUND = 3.0  # seconds for all requests that take turns
_PROBE = 3.0  # seconds; for one of several addresses to say whether it leads
_HOPS = 4  # redirections of one request
Document = dict[str, Any]


class RequestFailed(OwmesosError):
    """The framework did not do it."""


class MayPass(RequestFailed):
    """May succeed a moment later: the connection broke, or the process stops, or is not up yet."""


class NotRunning(MayPass):
    """No framework answers."""


class UnknownPath(RequestFailed):
    """The framework does not serve this part of the API."""


class NotAllowed(RequestFailed):
    """401: wrong token."""


class AdminRequest(NamedTuple):
    """A request to the admin API."""

    method: str
    path: str  # below /api/v1/
    parameters: Mapping[str, Any] | None = None  # of the query
    body: Any = None  # sent as JSON
    timeout: float = _TIMEOUT  # seconds
    key: str | None = None  # Idempotency-Key, with which the request may be repeated

    @property
    def target(self) -> str:
        return f"/api/v1/{self.path}" + ("?" + urlencode(self.parameters, doseq=True) if self.parameters else "")


_WITHOUT_A_BODY = AdminRequest("GET", "status")


def _broken(url: str, error: Exception) -> str:
    why = _described(error)
    said = f"the connection to {url} broke ({why}): is that `owmesos run`?"
    if url.startswith("http://") and "without an answer" in why:  # as a server with TLS does
        return f"{said} If it has TLS, write https://"
    return said


def _described(error: Exception) -> str:
    if no_tls(error):
        return "it does not speak TLS: write http:// in --admin"
    return str(error) or type(error).__name__


class AdminClient:
    """Every method raises RequestFailed."""

    def __init__(
        self,
        *given: Endpoint,
        token: Callable[[Endpoint], str | None] | None = None,
        tls: ssl.SSLContext | None = None,
        insecure: bool = False,
        waiting: Callable[[str], None] | None = None,
    ) -> None:
        """Of several addresses the one that leads is asked. `token` is called for each request, since a restarted
        framework may have another token; without one nobody gets the body of a request, which may hold secrets
        or code. `tls` is for https. `insecure`: a standby may send us to a leader without TLS on a network.

        `waiting` is called with one line when a request has been repeated for a while.
        """
        self._given = given
        self._at = given[0] if len(given) == 1 else None
        self._token = token or (lambda _: None)
        self._tls = tls
        self._insecure = insecure
        self._waiting = waiting

    @property
    def endpoint(self) -> Endpoint:
        """Who answered last, or is asked next. Raises NotRunning if none of several leads."""
        if self._at is None:
            self._at = self._leader()
        return self._at

    def get(self, path: str, /, **parameters: Any) -> Any:
        """A document, such as that of `invoker`, or a list of them, as of `nodes`. Raises UnknownPath if this framework
        does not serve it."""
        return self.ask(AdminRequest("GET", path, parameters))

    def watched(self, path: str, /, **parameters: Any) -> Any:
        """As `get`, for a command that watches: of several addresses, also after a standby has taken over."""
        request = AdminRequest("GET", path, parameters)
        return self.ask(request) if len(self._given) == 1 else self.ask_again(request)

    def stream(self, path: str, parameters: Mapping[str, str]) -> Iterator[bytes]:
        """The parts of an answer that is not JSON, as they come. Raises MayPass if it is cut short."""
        request = AdminRequest("GET", path, parameters)
        with self._answered(request, forever=True) as response:
            if response.status != 200 or response.kind != "text/plain":
                self._document(response)
            try:
                yield from response.parts(_PART)
                return
            except (OSError, BadAnswer):
                pass
        with self._answered(request._replace(parameters={**parameters, "tail": "0", "follow": "0"})) as response:
            if response.status != 200:
                self._document(response)
        raise MayPass(f"the connection to {self.endpoint.url} broke in the middle of the answer: repeat the command")

    def events(self) -> Iterator[tuple[str, Document]]:
        """The name and the document of each server-sent event, as they come."""
        with self._answered(AdminRequest("GET", "events", timeout=_EVENTS_SILENT)) as response:
            if response.status != 200 or response.kind != "text/event-stream":
                self._document(response)
            name, data = "", b""
            for line in response.lines():
                field, _, value = line.partition(b": ")
                if field == b"event":
                    name = value.decode(errors="replace")
                elif field == b"data":
                    data = value
                elif data and not line.strip():
                    try:
                        document = json.loads(data)
                    except (ValueError, RecursionError):
                        text = f"{self.endpoint.url} is not an owmesos admin API: an event is not valid JSON"
                        raise RequestFailed(text) from None
                    yield name, document
                    data = b""
        raise self._may_have_moved(MayPass(f"{self.endpoint.url} has ended its answer"))

    def launch(self, launch: Mapping[str, Any], count: int) -> list[Document]:
        rows: list[Document] = self.ask_again(AdminRequest("POST", "launches", body={"launch": launch, "count": count}))
        return rows

    def kill(self, choice: Mapping[str, Any]) -> list[Document]:
        """`choice` is `{"ids": […]}`, or `name` and `state`, or `all`: one row for each id or launch."""
        rows: list[Document] = self.ask_again(AdminRequest("POST", "kill", body=choice))
        return rows

    def teardown(self) -> Document:
        document: Document = self.ask(AdminRequest("POST", "teardown", body={}))
        return document

    def wait(self, ids: Sequence[str], until: str) -> list[Document]:
        """Returns when all of them are `running` or `ended`, however long that takes.

        If the ids need more than one request, the requests take turns, and soon again: a launch that has ended may be
        forgotten after 10 s.
        """
        rows: dict[str, Document] = {}
        waiting = list(ids)
        while waiting:
            parts = [waiting[begin : begin + _IDS_PER_REQUEST] for begin in range(0, len(waiting), _IDS_PER_REQUEST)]
            timeout = _WAIT if len(parts) == 1 else _ROUND / len(parts)
            for part in parts:
                parameters = {"id": part, "wait": until, "timeout": f"{timeout:g}"}
                found = self.ask_again(AdminRequest("GET", "launches", parameters))
                rows |= {row["launch_id"]: row for row in found if _reached(row, until)}
            waiting = [each for each in waiting if each not in rows]
        return [rows[each] for each in ids]

    def ask_again(self, request: AdminRequest, *, after: type[MayPass] = MayPass) -> Any:
        """As `ask`, repeated for a while where that may help. The request has a key, so the framework does it once; a
        request without one in the API is repeated after NotRunning alone, when nobody has got it."""
        request = request._replace(key=request.key or os.urandom(16).hex())
        pauses = iter(_PAUSES)
        pause, until, said, first = next(pauses), None, False, ""
        while True:
            begun = time.monotonic()
            try:
                return self.ask(request)
            except after as error:
                now, first = time.monotonic(), first or str(error)
                if until is None or now - begun > PATIENCE:  # it was taken, and worked on, before it broke
                    until = now + PATIENCE
                if now + pause > until:
                    cause = "" if first == str(error) else f", since at first: {first}"
                    raise type(error)(f"{error} (asked again for {PATIENCE:g} s{cause})") from None
                if self._waiting is not None and not said and now > until - PATIENCE + _SILENT:
                    said = True
                    self._waiting(f"{error}; asking again for {until - now:.0f} s")
            time.sleep(pause)
            pause = next(pauses, pause)

    def ask(self, request: AdminRequest) -> Any:
        """The answer's document. Waits up to STARTING seconds for a framework, which has not got the request before.

        A request with a key waits in `ask_again`.
        """
        until = time.monotonic() + (STARTING if request.method == "GET" or request.key is None else 0.0)
        while True:
            at = self._at or self._given[0]
            token = self._token(at)
            try:
                return self.ask_once(request)
            except NotRunning:
                if time.monotonic() + _PAUSES[0] > until:
                    raise
            except NotAllowed:
                if self._token(at) == token:  # else the framework has just made it
                    raise
                continue
            time.sleep(_PAUSES[0])

    def ask_once(self, request: AdminRequest) -> Any:
        """The answer's document, without repeating the request."""
        with self._answered(request) as response:
            return self._document(response)

    @contextmanager
    def _answered(self, request: AdminRequest, *, forever: bool = False) -> Iterator[HttpAnswer]:
        """The answer of the leader, which can be read within the block. `forever`: it may pause for any time."""
        for _ in range(_HOPS):
            with self._answered_at(self.endpoint, request.target, request, forever=forever) as response:
                if response.status != 307:
                    yield response
                    return
                leader = self._redirected(self.endpoint, response.location)
            self._at = leader
        raise self._may_have_moved(MayPass(f"{leader.url} redirects again and again: nobody leads at the moment"))

    @contextmanager
    def _answered_at(
        self, endpoint: Endpoint, target: str, request: AdminRequest, *, forever: bool = False
    ) -> Iterator[HttpAnswer]:
        if len(target) > _MAX_TARGET:
            raise RequestFailed(
                f"{target[:60]}… has {len(target)} characters, percent-encoded, and an address at most {_MAX_TARGET}:"
                " give a shorter name"
            )
        token, url = self._token(endpoint), endpoint.url
        withheld = token is None and request.body is not None
        if withheld:  # whoever listens there, we may not: an admin API says so without the request
            request = _WITHOUT_A_BODY
            target = request.target
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        if request.body is not None:
            headers["Content-Type"] = "application/json"
            if request.key is not None:
                headers["Idempotency-Key"] = f'"{request.key}"'
        data = None if request.body is None else json.dumps(request.body).encode()
        host, port, scheme = endpoint
        tls = self._context() if scheme == "https" else None
        connect = None if len(self._given) == 1 else min(_PROBE, request.timeout)
        try:
            with HttpConnection(host, port, timeout=request.timeout, connect=connect, tls=tls) as connection:
                response = connection.ask(request.method, target, headers, data)
                if forever:
                    connection.wait_forever()
                if withheld and response.status < 400 and response.status != 307:
                    raise RequestFailed(
                        f"{url} is not an owmesos admin API: it answers {response.status} without a token"
                    )
                yield response
        except (ConnectionRefusedError, socket.gaierror):
            said = f"no framework answers at {url}: start one with `owmesos run` or give --admin"
            if endpoint not in self._given:
                said = f"the leader does not answer at {url}, which a standby names: it waits to take over"
            raise self._may_have_moved(NotRunning(said)) from None
        except TimeoutError:
            raise self._may_have_moved(RequestFailed(f"no answer from {url} in {request.timeout:g} s")) from None
        except (OSError, BadAnswer) as error:
            untrusted = distrust(error, "give the authority that signed it by --admin-ca")
            if untrusted is not None:
                raise RequestFailed(f"the certificate of {url} is not trusted: {untrusted}") from None
            raise self._may_have_moved(MayPass(_broken(url, error))) from None

    # -- who leads

    def _may_have_moved(self, error: RequestFailed) -> RequestFailed:
        """Begin with the given addresses the next time."""
        self._at = self._given[0] if len(self._given) == 1 else None
        return error

    def _leader(self) -> Endpoint:
        """Of the given addresses, or the one that a standby among them names. Raises NotRunning."""
        standby = None
        for each in self._given:
            named = self._leader_by(each)
            if named is not None and (named == each or self._leader_by(named) == named):
                return named
            standby = standby or (each if named is not None else None)
        if standby is not None:
            raise NotRunning(f"nobody leads at the moment: {standby.url} is a standby, and waits to take over")
        listed = ", ".join(each.url for each in self._given)
        raise NotRunning(f"no framework that leads answers at {listed}: start one with `owmesos run`")

    def _leader_by(self, endpoint: Endpoint) -> Endpoint | None:
        """Who leads according to the process there; None if it does not answer or does not know."""
        request = AdminRequest("GET", "", timeout=_PROBE)
        try:
            with self._answered_at(endpoint, "/healthz?leader", request) as response:
                document = decode_result(response.read())
        except (MayPass, ValueError, RecursionError):
            return None
        except RequestFailed as error:
            if "is not trusted" in str(error):
                raise
            return None  # it is frozen
        if not isinstance(document, dict) or not document.get("standby"):
            return endpoint
        leader = document.get("leader")
        return self._redirected(endpoint, leader) if isinstance(leader, str) else None

    def _redirected(self, base: Endpoint, location: str) -> Endpoint:
        """Raises RequestFailed where the token would be sent unencrypted."""
        scheme, _, rest = location.partition("://")
        try:
            leader = Endpoint.parse(f"{scheme}://{rest.partition('/')[0]}")
        except InvalidInput:
            raise RequestFailed(f"{base.url} redirects to {location[:100]!r}, which is not an admin API") from None
        downgraded = base.scheme == "https" and leader.scheme != "https"
        if downgraded or not (leader.scheme == "https" or is_loopback(leader.host) or self._insecure):
            raise RequestFailed(
                f"{base.url} is a standby, and the token would go to the leader at {leader.url} unencrypted: give the"
                " leader a certificate" + ("" if downgraded else ", or give --admin-insecure")
            )
        return leader

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            import ssl

            self._tls = ssl.create_default_context()
        return self._tls

    def _document(self, response: HttpAnswer) -> Any:
        status, kind, text = response.status, response.kind, response.read()
        try:
            document = decode_result(text) if kind == "application/json" else None
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, (list, dict)):
            raise RequestFailed(f"{self.endpoint.url} is not an owmesos admin API ({status} {kind})")
        if status >= 400:
            said: Document = document if isinstance(document, dict) else {}
            failed: type[RequestFailed] = {401: NotAllowed, 503: MayPass}.get(status, RequestFailed)
            if "unknown_path" in said:
                failed = UnknownPath
            raise failed(str(said.get("error") or f"the framework answers with {status}"))
        return document


def _reached(row: Document, until: str) -> bool:
    """By the same rule as the framework's."""
    if row["ended_at"] is not None:
        return True
    return until == "running" and (row["started_at"] is not None or bool(row["overdue"]))
