"""One container's HTTP: POSTs that end with its answer or with why there is none, on connections that are kept.

Nothing is decided here. The time is bounded for the whole of a call, the answer in size; what is over is read and
dropped, since a container whose answer is not taken may fail over it. docs: actions-new.md of OpenWhisk, "Action
Interface".

Docker accepts connections to a published port before the container listens, and resets them then: on 127.0.0.1 always,
where its proxy answers for the container. So a reset before any byte of an answer to `/init` means "not yet".

A container with a secret proves that it is the container on each connection, before anything else is sent over it. So
each connection has an HTTP session of its own, which cannot silently open another one.

A run is not idempotent, so one that is lost on a connection that the container closed meanwhile cannot be repeated: a
connection that lay idle for nearly as long as the container keeps it is not used again, nor one whose end has arrived.
On one that was used before, a reset without any answer says that nobody has read the whole request: the kernel of a
process that has ended resets a connection with unread data, and closes one without in the usual way. So a container
that ended between runs has not begun the next one.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import aiohttp
import msgspec
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from yarl import URL

from owmesos.errors import NOT_READABLE
from owmesos.openwhisk.container.protocol import OK, RETRY_INTERVAL, ContainerAnswer, NoAnswer, Outcome
from owmesos.openwhisk.limits import ResponseLimits
from owmesos.runtimes.access import proof_of, verifier_of
from owmesos.runtimes.framing import NONCE_LENGTH, PROVE
from owmesos.system.bounded_responses import BoundedResponseHandler
from owmesos.system.idle_connections import LONGEST, has_news, reuse_within
from owmesos.system.sliced_body import Body, Lent, sliced

_CONNECT_TIMEOUT = 5.0  # seconds
_NO_CONTENT = 204
_USUAL = ResponseLimits()
_OF_A_PROOF = ResponseLimits(4096, 0)  # who answers may be anybody
_BOUNDED: Callable[..., ResponseHandler] = BoundedResponseHandler  # mypy takes no `partial` of a subclass
_NO_CEILING = 2.0**31  # aiohttp rounds longer time-outs up to whole seconds


class _NotConnected(Exception):
    """The connection that was proved is gone."""


class _Proof(msgspec.Struct):
    proof: str


_proof = msgspec.json.Decoder(_Proof)


class _Connector(aiohttp.TCPConnector):
    """Gives one connection, the one that was proved, once there is one. Before, any."""

    def __init__(self) -> None:
        super().__init__(limit=1, keepalive_timeout=LONGEST)
        self._factory = partial(_BOUNDED, loop=asyncio.get_running_loop())
        self.last: asyncio.Transport | None = None
        self.proved: asyncio.Transport | None = None

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """Raises _NotConnected."""
        connection = await super().connect(req, traces, timeout)
        self.last = connection.transport
        if self.proved is not None and self.last is not self.proved:
            connection.close()
            raise _NotConnected
        return connection

    @property
    def has_ended(self) -> bool:
        """Something has arrived on it that nobody asked for, its end most likely; the event loop may not know yet."""
        return self.last is None or self.last.is_closing() or has_news(self.last.get_extra_info("socket"))


class _ContainerConnection:
    """One connection, and its session: used by one task at a time."""

    def __init__(self, base: str) -> None:
        self._base = base
        self.proved = False
        self._usable_until = math.inf  # by the loop's clock
        self._used = False
        self._connector = _Connector()
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept-Encoding"),
            auto_decompress=False,
            read_bufsize=2**20,
        )

    @property
    def is_usable(self) -> bool:
        """For a request."""
        return self._in_time and not (self._used and self._connector.has_ended)

    @property
    def _in_time(self) -> bool:
        return asyncio.get_running_loop().time() < self._usable_until

    def keep(self) -> bool:
        """After a request. False where the container closes it."""
        self._used = True
        return self._in_time

    async def close(self) -> None:
        await self._session.close()

    async def prove(self, verifier: str, deadline: float) -> NoAnswer | None:
        """None if the process at the other end proves that it is the container, else the reason, such as UNPROVEN."""
        nonce = secrets.token_hex(NONCE_LENGTH // 2)
        outcome = await self.post(PROVE, [nonce.encode()], deadline, {}, _OF_A_PROOF)
        if self._session.closed:
            return NoAnswer.UNREACHABLE
        if isinstance(outcome, NoAnswer) and self._connector.last is None:
            return outcome
        said = ""
        if isinstance(outcome, ContainerAnswer) and outcome.status == OK:
            with suppress(*NOT_READABLE):
                said = _proof.decode(outcome.body).proof
        if not secrets.compare_digest(said.encode(), proof_of(verifier, nonce).encode()):
            return NoAnswer.UNPROVEN
        self._connector.proved = self._connector.last
        self.proved = self._connector.last is not None
        return None if self.proved else NoAnswer.UNREACHABLE

    async def post(
        self, path: str, body: Body | Lent, deadline: float, headers: Mapping[str, str], limits: ResponseLimits
    ) -> Outcome:
        """Raises _NotConnected."""
        loop = asyncio.get_running_loop()
        timeout = deadline - loop.time()
        if timeout <= 0:  # to aiohttp that would be none at all
            return NoAnswer.TIMED_OUT
        length = body.length if isinstance(body, Lent) else sum(map(len, body))
        headers = {"Content-Type": "application/json", "Content-Length": str(length), **headers}
        times = aiohttp.ClientTimeout(
            total=timeout, sock_connect=min(timeout, _CONNECT_TIMEOUT), ceil_threshold=_NO_CEILING
        )
        url = URL(self._base + path, encoded=True)
        answered = False
        try:
            # An action that answers with a redirection does not send the invoker to other hosts.
            async with self._session.post(
                url, data=sliced(body), headers=headers, timeout=times, allow_redirects=False
            ) as response:
                answered = True
                # From the head on: while a long body is read, the container may have been done with it for some time.
                self._usable_until = loop.time() + reuse_within(response.headers.get("Keep-Alive"))
                return await self._answer(response, limits)
        except aiohttp.ConnectionTimeoutError:
            return NoAnswer.UNREACHABLE if timeout > _CONNECT_TIMEOUT else NoAnswer.TIMED_OUT
        except asyncio.TimeoutError:
            return NoAnswer.TIMED_OUT
        except aiohttp.ClientConnectorError:
            return NoAnswer.UNREACHABLE
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientConnectionResetError) as error:
            if answered:
                return NoAnswer.BROKEN
            unread = self._used and not isinstance(error, aiohttp.ServerDisconnectedError)
            return NoAnswer.UNREACHABLE if unread else NoAnswer.RESET
        except (aiohttp.ClientError, OSError, EOFError, ValueError):
            return NoAnswer.BROKEN
        except RuntimeError:  # a session that was closed meanwhile
            if not self._session.closed:
                raise
            return NoAnswer.BROKEN

    async def _answer(self, response: aiohttp.ClientResponse, limits: ResponseLimits) -> Outcome:
        length = response.content_length
        if length is None or response.status == _NO_CONTENT:
            response.close()
            return NoAnswer.BROKEN
        if length <= limits.max:
            return ContainerAnswer(response.status, await response.read(), length)
        if limits is _OF_A_PROOF:  # this is no container: its rest may have any length, and is not read
            response.close()
            return NoAnswer.BROKEN
        head = await response.content.readexactly(min(limits.truncation, length))
        try:
            async for _ in response.content.iter_any():
                pass
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError):  # the beginning tells all the same
            self._usable_until = -math.inf
        return ContainerAnswer(response.status, head, length, limits.max)


class ContainerClient:
    """`address` is `host:port`; `secret` is the container's, if it has one. To be used within one event loop."""

    def __init__(self, address: str, *, secret: str | None = None) -> None:
        self._base = f"http://{address}"
        self._verifier = None if secret is None else verifier_of(secret)
        self._authorization = {} if secret is None else {"Authorization": f"Bearer {secret}"}
        self._idle: list[_ContainerConnection] = []
        self._connections: set[_ContainerConnection] = set()
        self._closed = False

    async def post(
        self,
        path: str,
        body: Body | Lent,
        timeout: float,
        *,
        limits: ResponseLimits = _USUAL,
        retry: bool = False,
    ) -> Outcome:
        """The answer, within `timeout` seconds. With `retry` a container that does not listen yet is asked again,
        until `close`. Raises only what the lender of the body raises, and EOFError if it lends less than before."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        failure = NoAnswer.UNREACHABLE
        while not self._closed:
            outcome = await self._post(path, body, deadline, limits)
            if outcome is NoAnswer.RESET:
                outcome = failure = NoAnswer.BROKEN  # from now on it may have been sent
            elif outcome is not NoAnswer.UNREACHABLE:
                return outcome
            if not retry:
                return outcome
            if loop.time() + RETRY_INTERVAL >= deadline:
                return NoAnswer.TIMED_OUT
            await asyncio.sleep(RETRY_INTERVAL)
        return failure

    async def listens(self) -> bool:
        """Whether a process listens at the container's address. Nothing is sent."""
        url = URL(self._base)
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(url.host, url.port), _CONNECT_TIMEOUT)
        except (OSError, asyncio.TimeoutError):
            return False
        writer.close()
        return True

    async def close(self) -> None:
        """Requests in progress end as broken."""
        self._closed = True
        for connection in list(self._connections):
            await self._hang_up(connection)

    async def _post(self, path: str, body: Body | Lent, deadline: float, limits: ResponseLimits) -> Outcome:
        """Over a kept connection, or a new one."""
        while not self._closed:
            connection = self._idle.pop() if self._idle else self._connected()
            outcome: Outcome | None = None
            try:
                if connection.is_usable:
                    outcome = await self._post_over(connection, path, body, deadline, limits)
                    return outcome
            except _NotConnected:  # nothing was sent
                continue
            finally:
                if isinstance(outcome, ContainerAnswer) and connection.keep() and not self._closed:
                    self._idle.append(connection)
                else:
                    await self._hang_up(connection)
        return NoAnswer.UNREACHABLE

    async def _post_over(
        self, connection: _ContainerConnection, path: str, body: Body | Lent, deadline: float, limits: ResponseLimits
    ) -> Outcome:
        """Raises _NotConnected, and what the lender of the body raises."""
        if self._verifier is not None and not connection.proved:
            failure = await connection.prove(self._verifier, deadline)
            if failure is not None:
                return failure
        if isinstance(body, Lent):
            try:
                await asyncio.wait_for(body.take(), deadline - asyncio.get_running_loop().time())
            except asyncio.TimeoutError:
                return NoAnswer.TIMED_OUT
        outcome = await connection.post(path, body, deadline, self._authorization, limits)
        if isinstance(body, Lent) and body.failed is not None:
            raise body.failed
        return outcome

    def _connected(self) -> _ContainerConnection:
        connection = _ContainerConnection(self._base)
        self._connections.add(connection)
        return connection

    async def _hang_up(self, connection: _ContainerConnection) -> None:
        self._connections.discard(connection)
        await connection.close()
