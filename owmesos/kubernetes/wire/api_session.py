"""Requests to the API server: connections, credentials that are renewed, time-outs, errors. Knows no resources."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NoReturn
from weakref import WeakSet

import aiohttp
import msgspec

from owmesos.errors import InvalidInput
from owmesos.kubernetes.events import ApiFailure
from owmesos.kubernetes.wire.access import ClientCertificate, ClusterAccess, Credential, CredentialsUnavailable
from owmesos.kubernetes.wire.api_errors import ApiRequestFailed, answered, unanswered, without_credentials
from owmesos.system.http_answers import body_of

TIMEOUT = 30.0  # seconds; for a whole request, unless the caller says otherwise
CONNECT_TIMEOUT = 10.0  # seconds
_REUSE_WITHIN = 30.0  # seconds; kube-apiserver closes idle connections after 90 s, load balancers after 60 s and more
_CLOSING_LOOKS, _CLOSING_PAUSE = 100, 0.01  # times, seconds
_READ_BUFFER = 256 * 1024
_ERROR_LIMIT = 64 * 1024
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 15), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))  # seconds, seconds, times
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "owmesos"}

Parameters = Sequence[tuple[str, str]]
Sending = Callable[[], None]
"""Called just before a request is written; what it raises is raised instead, and nothing was sent."""


class ApiSession:
    """Use it within one event loop. Every request raises ApiRequestFailed, and nothing else."""

    def __init__(self, access: ClusterAccess, *, connections: int = 32) -> None:
        self.access = access
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None
        self._previous: aiohttp.ClientSession | None = None  # whose requests may still be under way
        self._certificate: ClientCertificate | None = None
        self._trusted: str | None = None
        self._closed = False
        self._sockets: WeakSet[socket.socket] = WeakSet()

    async def __aenter__(self) -> ApiSession:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        self._closed = True
        for session in (self._session, self._previous):
            if session is not None:
                await session.close()
        # Their sockets are closed by the event loop a moment later, and that of a thread may end right after this.
        for _ in range(_CLOSING_LOOKS):
            if all(each.fileno() < 0 for each in self._sockets):
                break
            await asyncio.sleep(_CLOSING_PAUSE)

    async def read(
        self,
        method: str,
        path: str,
        *,
        parameters: Parameters = (),
        body: Mapping[str, Any] | None = None,
        timeout: float = TIMEOUT,
        limit: int | None = None,
        sending: Sending | None = None,
    ) -> bytes:
        """The body of the answer, cut off at `limit` bytes."""
        limits = aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT_TIMEOUT)
        async with self.stream(
            method, path, parameters=parameters, body=body, limits=limits, sending=sending
        ) as response:
            try:
                return await (response.read() if limit is None else body_of(response, limit))
            except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
                raise ApiRequestFailed(unanswered(error, self.access)) from None

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        parameters: Parameters = (),
        body: Mapping[str, Any] | None = None,
        limits: aiohttp.ClientTimeout,
        sending: Sending | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer that is a success, of which only the headers were read."""
        data = None if body is None else msgspec.json.encode(body)
        credential = await self._credential()
        response = await self._send(credential, method, path, parameters, data, limits, sending)
        try:
            if response.status == 401:
                renewed = await self._credential(rejected=credential)
                if renewed != credential:
                    _leave(response)
                    credential = renewed
                    response = await self._send(credential, method, path, parameters, data, limits, sending)
            if not 200 <= response.status < 300:
                raise ApiRequestFailed(await self._failure(response, credential))
            yield response
        finally:
            _leave(response)

    async def _failure(self, response: aiohttp.ClientResponse, credential: Credential) -> ApiFailure:
        try:
            said = await body_of(response, _ERROR_LIMIT)
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError):
            said = b""
        return answered(response.status, response.headers, said, self.access, credential)

    async def _credential(self, rejected: Credential | None = None) -> Credential:
        """Where a program has to run, or a file to be read, the event loop does not wait for it."""
        credentials = self.access.credentials
        try:
            known = credentials.current() if rejected is None else None
            if known is None:
                known = await asyncio.get_running_loop().run_in_executor(None, credentials.renew, rejected)
        except CredentialsUnavailable as error:
            raise ApiRequestFailed(without_credentials(error)) from None
        return known

    async def _send(
        self,
        credential: Credential,
        method: str,
        path: str,
        parameters: Parameters,
        data: bytes | None,
        limits: aiohttp.ClientTimeout,
        sending: Sending | None,
    ) -> aiohttp.ClientResponse:
        session = await self._session_for(credential)
        try:
            return await self._request(session, credential, method, path, parameters, data, limits, sending)
        except aiohttp.ClientConnectorCertificateError as error:
            # Nothing was sent. The authority may have been replaced.
            renewed = await self._session_for(credential, again=True)
            if renewed is session:
                self._retire_session()  # the system's are read anew next time
                raise ApiRequestFailed(unanswered(error, self.access)) from None
        try:
            return await self._request(renewed, credential, method, path, parameters, data, limits, sending)
        except aiohttp.ClientConnectorCertificateError as error:
            raise ApiRequestFailed(unanswered(error, self.access)) from None

    async def _request(
        self,
        session: aiohttp.ClientSession,
        credential: Credential,
        method: str,
        path: str,
        parameters: Parameters,
        data: bytes | None,
        limits: aiohttp.ClientTimeout,
        sending: Sending | None,
    ) -> aiohttp.ClientResponse:
        """Also raises ClientConnectorCertificateError."""
        headers = credential.headers if data is None else {**credential.headers, "Content-Type": "application/json"}
        try:
            return await session.request(
                method,
                f"{self.access.server}{path}",
                params=list(parameters),
                data=data,
                headers=headers,
                allow_redirects=False,
                timeout=limits,
                proxy=self.access.proxy_for_requests(),
                server_hostname=self.access.server_name,
                trace_request_ctx=sending,
            )
        except aiohttp.ClientConnectorCertificateError:
            raise
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError, ValueError) as error:
            raise ApiRequestFailed(unanswered(error, self.access)) from None
        except (RuntimeError, asyncio.CancelledError):
            # aiohttp raises RuntimeError for a session that is closed already, CancelledError for one that is closed
            # while a name is looked up.
            if not self._closed:
                raise
            self._is_closed()

    async def _session_for(self, credential: Credential, *, again: bool = False) -> aiohttp.ClientSession:
        """A connection shows one certificate and trusts some authorities: others need other connections."""
        if self._closed:
            self._is_closed()
        try:
            trusted = self.access.trusted(again=again)
            if self._session is not None and (credential.certificate, trusted) == (self._certificate, self._trusted):
                return self._session
            context = self.access.ssl_context(credential.certificate)
        except InvalidInput as error:
            raise ApiRequestFailed(without_credentials(error)) from None
        self._retire_session()
        self._certificate, self._trusted = credential.certificate, trusted
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._connections,
                ssl=context,
                keepalive_timeout=_REUSE_WITHIN,
                ttl_dns_cache=60,
                socket_factory=self._new_socket,
            ),
            headers=_HEADERS,
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=_READ_BUFFER,
            trace_configs=[_before_writing()],
        )
        return self._session

    def _new_socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        """One that notices within half a minute that the way to its peer is cut, also while it only listens."""
        family, kind, protocol, _, _ = address
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            made.setsockopt(socket.IPPROTO_TCP, option, value)
        self._sockets.add(made)
        return made

    def _retire_session(self) -> None:
        """The requests under way end on their old connections; those of the time before are over."""
        if self._session is None:
            return
        if self._previous is not None:
            asyncio.ensure_future(self._previous.close())  # noqa: RUF006
        self._previous, self._session = self._session, None

    def _is_closed(self) -> NoReturn:
        raise ApiRequestFailed(ApiFailure(0, "Closed", "the client is closed", certain=True)) from None


def _before_writing() -> aiohttp.TraceConfig:
    """Calls each request's `sending`: a connection may take a while, and the process may stand still meanwhile. aiohttp
    sends these signals before it writes, whatever they are called."""

    async def before(_session: object, context: Any, _parameters: object) -> None:
        sending: Sending | None = context.trace_request_ctx
        if sending is not None:
            sending()

    config = aiohttp.TraceConfig()
    config.on_request_headers_sent.append(before)
    config.on_request_chunk_sent.append(before)
    return config


def _leave(response: aiohttp.ClientResponse) -> None:
    """Its connection is used again, or closed at once if there is more to come: TLS would say good-bye first, which
    outlives the event loop of a thread that ends."""
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    response.release()
