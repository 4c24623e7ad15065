"""The part of CouchDB's HTTP API that an invoker needs (docs.couchdb.org, HTTP API reference)."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar, cast
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from owmesos.errors import NOT_READABLE, InvalidInput, OwmesosError
from owmesos.openwhisk.reachability import Reachability
from owmesos.system.hosts import checked_host
from owmesos.system.http_answers import described
from owmesos.system.idle_connections import REUSE_WITHIN
from owmesos.system.sliced_body import sliced

TIMEOUT = 15.0  # seconds: for a whole answer to a write, and for what is read without any progress
SLOWEST = 32 * 1024  # bytes a second, in the long run, that count as progress
OK, MISSING = 200, 404
CONNECTIONS = 32  # at once
_SOON_TAKEN = 32 * 1024  # bytes
LOOK_EVERY = 10.0  # seconds; whether it still answers
LOOK_AGAIN = 1.0  # seconds; while it does not
USING = "requests"
_LOGIN = "correct --couchdb-user and --couchdb-password-file"
_ADVICE = {401: _LOGIN, 403: _LOGIN}
_AUTHORITY = "give the authority that signed it in the variable SSL_CERT_FILE, or have this machine trust it"
_REACHED_NOT = (aiohttp.ClientConnectionError, asyncio.TimeoutError, OSError)


class CouchFailed(OwmesosError):
    """No answer, or an unusable one. `status` is None without an answer."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status

    @property
    def outage(self) -> bool:
        """Whether the server, or the connection to it, is at fault, and not this one request."""
        return self.status is None or _is_outage(self.status)


class Written(msgspec.Struct, frozen=True):
    """The result for one document of a bulk request."""

    id: str = ""
    rev: str | None = None
    error: str | None = None
    reason: str | None = None


class _ViewPage(msgspec.Struct):
    rows: list[dict[str, Any]]


class _Sink(Protocol):
    """Takes an answer piece by piece."""

    def extend(self, chunk: bytes, /) -> None: ...


S = TypeVar("S", bound=_Sink)
T = TypeVar("T")


class CouchAnswer(msgspec.Struct, Generic[S]):
    """`taken` is a bytearray where the status is not OK."""

    status: int
    taken: S | bytearray


class CouchDB:
    """One server. To be used within one event loop, from the first request to `close`."""

    def __init__(
        self,
        url: str,
        *,
        user: str | None = None,
        password: str | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        """`url` may hold user and password. Raises InvalidInput, whose text repeats neither."""
        parsed = self._url = _parsed(url)
        self._root = str(parsed.with_user(None)).rstrip("/")
        self.reachability = Reachability("CouchDB", self._root)
        self._headers = self._headers_with(user, password)
        self._tls = ssl.create_default_context() if parsed.scheme == "https" else None
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None
        self._turn = asyncio.Lock()  # to take what takes the processor long
        self._closed = False

    def renew(self, user: str | None, password: str | None) -> None:
        """For the next requests; new connections trust what the system trusts now, besides what it trusted before."""
        self._headers = self._headers_with(user, password)
        if self._tls is not None:
            self._tls.load_default_certs()

    def _headers_with(self, user: str | None, password: str | None) -> dict[str, str]:
        headers = {"Accept": "*/*"}
        user, password = user or self._url.user, password or self._url.password
        if user:
            credentials = base64.b64encode(f"{user}:{password or ''}".encode()).decode()
            headers["Authorization"] = f"Basic {credentials}"
        return headers

    async def document(self, database: str, document_id: str, revision: str | None = None) -> bytes | None:
        """None if it does not exist. Raises CouchFailed."""
        found = await self._get(f"{database}/{quote(document_id, safe='')}", _at(revision), into=bytearray)
        return None if found is None else bytes(found)

    async def attachment(
        self, database: str, document_id: str, name: str, revision: str | None = None, *, into: Callable[[], S]
    ) -> S | None:
        """`into` creates the sink that receives the content piece by piece, a new one for each attempt. None if it
        does not exist. Raises CouchFailed, and what `extend` raises."""
        path = f"{database}/{quote(document_id, safe='')}/{quote(name, safe='')}"
        return await self._get(path, _at(revision), into=into)

    async def view(self, database: str, design: str, view: str, **query: str) -> list[dict[str, Any]] | None:
        """Its rows, or None if the view does not exist. Raises CouchFailed."""
        path = f"{database}/_design/{design}/_view/{view}"
        found = await self._get(path, query, into=bytearray)
        return None if found is None else _decoded(found, _ViewPage, f"GET {path}").rows

    async def write(self, database: str, documents: Iterable[bytes]) -> list[Written]:
        """The result for each document, in their order. Raises CouchFailed; then the results are unknown."""
        path = f"{database}/_bulk_docs"
        body = b'{"docs":[' + b",".join(documents) + b"]}"
        answer = await self._request(path, {}, body, into=bytearray)
        if answer.status not in (201, 202):
            raise _failed(f"POST {path}", answer)
        return _decoded(answer.taken, list[Written], f"POST {path}")

    async def keep_looking(self, database: str) -> None:
        """Requests information on `database` while there are no other requests. Runs until it is cancelled."""
        while True:
            pause = LOOK_AGAIN if self.reachability.down else LOOK_EVERY
            await asyncio.sleep(max(0.1, pause - self.reachability.since_last_report))
            if self.reachability.since_last_report < pause:
                continue
            with suppress(CouchFailed):  # it is told to `reachability`
                await self._request(database, {}, into=bytearray)

    async def close(self) -> None:
        self._closed = True
        if self._session is not None:
            await self._session.close()

    async def _get(self, path: str, query: dict[str, str], *, into: Callable[[], S]) -> S | None:
        """None where there is none. Raises CouchFailed."""
        answer = await self._request(path, query, into=into)
        if answer.status == OK:
            return cast(S, answer.taken)
        if answer.status == MISSING:
            return None
        raise _failed(f"GET {path}", answer)

    async def _request(
        self, path: str, query: dict[str, str], body: bytes | None = None, *, into: Callable[[], S]
    ) -> CouchAnswer[S]:
        """GET, or with a body POST. Raises CouchFailed without an answer."""
        request = f"{'GET' if body is None else 'POST'} {path}"
        try:
            answer = await self._answer(
                request, URL(f"{self._root}/{path}", encoded=True).with_query(query), body, into
            )
        except CouchFailed as error:
            if not self._closed:
                self.reachability.failed(USING, str(error))
            raise
        if _is_outage(answer.status):
            self.reachability.failed(USING, str(_failed(request, answer)), advice=_ADVICE.get(answer.status))
        else:
            self.reachability.works(USING)
        return answer

    async def _answer(self, request: str, url: URL, body: bytes | None, into: Callable[[], S]) -> CouchAnswer[S]:
        """A connection that was closed while it lay idle is not a failure: it is tried twice."""
        try:
            try:
                return await self._once(url, body, into)
            except aiohttp.ClientConnectionError:
                return await self._once(url, body, into)
        except _REACHED_NOT as error:
            why = "timed out" if isinstance(error, asyncio.TimeoutError) else described(error, _AUTHORITY)
            raise CouchFailed(f"CouchDB cannot be reached: {why}") from None
        except aiohttp.ClientResponseError as error:
            raise CouchFailed(f"the answer to {request} is not CouchDB's: {one_line(error)}") from None
        except UnicodeDecodeError:
            raise
        except (aiohttp.ClientError, ValueError) as error:  # ValueError: a redirection to what is not a URL
            raise CouchFailed(f"CouchDB's answer to {request} broke off: {one_line(error)}") from None
        except RuntimeError as error:  # aiohttp's for a session that was closed meanwhile
            if not self._closed:
                raise
            raise CouchFailed(f"{request} was cancelled: the connections to CouchDB are closed") from error

    async def _once(self, url: URL, body: bytes | None, into: Callable[[], S]) -> CouchAnswer[S]:
        loop = asyncio.get_running_loop()
        begun, size = loop.time(), 0
        # What is read may be large: it only has to make progress.
        timeout = aiohttp.ClientTimeout(total=None, connect=self._timeout, sock_read=self._timeout)
        method, headers, data = "GET", self._headers, None
        if body is not None:
            method, data = "POST", sliced([body])
            headers = {**headers, "Content-Type": "application/json", "Content-Length": str(len(body))}
            timeout = aiohttp.ClientTimeout(total=self._timeout)
        async with self._opened().request(method, url, data=data, headers=headers, timeout=timeout) as response:
            taken: S | bytearray = into() if response.status == OK else bytearray()
            async for chunk in response.content.iter_any():
                size += len(chunk)
                if loop.time() - begun > self._timeout + size / SLOWEST:
                    raise asyncio.TimeoutError
                if len(chunk) > _SOON_TAKEN:
                    async with self._turn:
                        await asyncio.sleep(0)  # one piece in a round of the loop, however many attachments come
                        taken.extend(chunk)
                else:
                    taken.extend(chunk)
            return CouchAnswer(response.status, taken)

    def _opened(self) -> aiohttp.ClientSession:
        if self._closed:
            raise RuntimeError("closed")
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=REUSE_WITHIN, ssl=self._tls or True)
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return self._session


def _at(revision: str | None) -> dict[str, str]:
    return {"rev": revision} if revision else {}


def _failed(request: str, answer: CouchAnswer[S]) -> CouchFailed:
    assert isinstance(answer.taken, bytearray)
    said = one_line(bytes(answer.taken[:200]))
    return CouchFailed(f"CouchDB answers {answer.status} to {request}: {said}", answer.status)


def _decoded(data: bytearray, kind: type[T], request: str) -> T:
    """Raises CouchFailed."""
    try:
        return msgspec.json.decode(data, type=kind)
    except NOT_READABLE as error:
        raise CouchFailed(f"CouchDB's answer to {request} cannot be read: {one_line(error)}") from None


def _is_outage(status: int) -> bool:
    """Whether other requests would fail in the same way."""
    return status >= 500 or status in _ADVICE


def one_line(said: BaseException | bytes) -> str:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said) or type(said).__name__
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:300]


def _parsed(url: str) -> URL:
    """Raises InvalidInput."""
    usage = "CouchDB's URL must be http://HOST:PORT or https://HOST:PORT"
    try:
        parsed = URL(url)
        if parsed.scheme not in ("http", "https") or not parsed.raw_host or parsed.port == 0:
            raise InvalidInput(usage)
        if parsed.query_string or parsed.fragment:
            raise InvalidInput("CouchDB's URL must end with its path: it has a query or a fragment")
        checked_host(parsed.raw_host)
    except InvalidInput:
        raise
    except ValueError as error:  # yarl's text may repeat a password
        where = "its port is not a number from 1 to 65535" if "port" in str(error).lower() else "it is not a URL"
        raise InvalidInput(f"{usage}: {where}") from None
    return parsed
