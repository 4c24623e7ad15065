"""One container's HTTP: POSTs that end with its answer or with why there is none, on connections that are kept.

Nothing is decided here. The time is bounded for the whole of a call, the answer in size; what is over is read and
dropped, since a container whose answer is not taken may fail over it. docs: actions-new.md of OpenWhisk, "Action
Interface".

Docker accepts connections to a published port before the container listens, and resets them then: on 127.0.0.1 always,
where its proxy answers for the container. So a reset before any byte of an answer to `/init` means "not yet".

A container with a secret proves that it is the container on each connection, before anything else is sent over it. A
connection that is lost is replaced by another one, which proves that again.

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
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial

import aiohttp
import msgspec
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError, RawResponseMessage, StreamWriter
from aiohttp.streams import StreamReader
from yarl import URL

from owmesos.errors import NOT_READABLE
from owmesos.openwhisk.container.protocol import OK, RETRY_INTERVAL, ContainerAnswer, NoAnswer, Outcome
from owmesos.openwhisk.limits import ResponseLimits
from owmesos.runtimes.access import proof_of, verifier_of
from owmesos.runtimes.framing import NONCE_LENGTH, PROVE
from owmesos.system.bounded_responses import BoundedResponseHandler
from owmesos.system.idle_connections import has_news, reuse_within
from owmesos.system.sliced_body import Body, Lent, sliced
from owmesos.system.tasks import cancel_all, within

_CONNECT_TIMEOUT = 5.0  # seconds
_NO_CONTENT = 204
_SWITCHING = 101  # to another protocol: no interim response
_USUAL = ResponseLimits()
_OF_A_PROOF = ResponseLimits(4096, 0)  # who answers may be anybody


class _NotConnected(Exception):
    """The connection that was proved is gone."""


class _Proof(msgspec.Struct):
    proof: str


_proof = msgspec.json.Decoder(_Proof)


class _ContainerConnection:
    """One connection, used by one task at a time.

    aiohttp's protocol parses what comes. Its session is left out: with it a request takes the processor three times as
    long (measured), and it may open another connection without a word."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self.proved = False
        self.is_closed = False
        self._protocol: ResponseHandler | None = None  # once it was connected
        self._usable_until = math.inf  # by the loop's clock
        self._used = False
        self._late = False  # the time of the request was over before its answer was complete

    @property
    def is_usable(self) -> bool:
        """For a request."""
        return self._in_time and not (self._used and self._has_ended)

    @property
    def _in_time(self) -> bool:
        return asyncio.get_running_loop().time() < self._usable_until

    @property
    def _is_open(self) -> bool:
        """As far as the event loop knows."""
        return self._protocol is not None and self._protocol.is_connected() and not self._protocol.should_close

    @property
    def _has_ended(self) -> bool:
        """Something has arrived on it that nobody asked for, its end most likely; the event loop may not know yet."""
        transport = self._protocol.transport if self._protocol is not None else None
        return transport is None or not self._is_open or has_news(transport.get_extra_info("socket"))

    def keep(self) -> bool:
        """After a request. False where the container closes it."""
        self._used = True
        return self._in_time and self._is_open

    def close(self) -> None:
        """A request in progress ends."""
        self.is_closed = True
        if self._protocol is not None and self._protocol.transport is not None:
            self._protocol.transport.abort()

    async def prove(self, verifier: str, deadline: float) -> NoAnswer | None:
        """None if the process at the other end proves that it is the container, else the reason, such as UNPROVEN."""
        nonce = secrets.token_hex(NONCE_LENGTH // 2)
        outcome = await self.post(PROVE, [nonce.encode()], deadline, "", _OF_A_PROOF)
        if self.is_closed:
            return NoAnswer.UNREACHABLE
        if isinstance(outcome, NoAnswer) and self._protocol is None:
            return outcome
        said = ""
        if isinstance(outcome, ContainerAnswer) and outcome.status == OK:
            with suppress(*NOT_READABLE):
                said = _proof.decode(outcome.body).proof
        if not secrets.compare_digest(said.encode(), proof_of(verifier, nonce).encode()):
            return NoAnswer.UNPROVEN
        self.proved = self._is_open
        return None if self.proved else NoAnswer.UNREACHABLE

    async def post(
        self, path: str, body: Body | Lent, deadline: float, authorization: str, limits: ResponseLimits
    ) -> Outcome:
        """`authorization` is a header with its line's end, or nothing. Raises _NotConnected."""
        loop = asyncio.get_running_loop()
        timeout = deadline - loop.time()
        if timeout <= 0:
            return NoAnswer.TIMED_OUT
        if self._protocol is None:
            failure = await self._connect(timeout)
            if failure is not None:
                return failure
        protocol = self._protocol
        if protocol is None or not self._is_open:
            raise _NotConnected
        length = body.length if isinstance(body, Lent) else sum(map(len, body))
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {self._url.raw_authority}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {length}\r\n{authorization}Accept: */*\r\n\r\n"
        )
        protocol.set_response_params(read_until_eof=True, auto_decompress=False, read_bufsize=2**20)
        self._late = answered = False
        sending: asyncio.Task[None] | None = None
        timer = loop.call_at(deadline, self._give_up, protocol)
        try:
            sending = self._send(protocol, head.encode("latin-1"), sliced(body))
            message, content = await protocol.read()
            while message.code // 100 == 1 and message.code != _SWITCHING:
                message, content = await protocol.read()
            answered = True
            # From the head on: while a long body is read, the container may have been done with it for some time.
            self._usable_until = loop.time() + reuse_within(message.headers.get("Keep-Alive"))
            return await self._answer(message, content, limits)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientConnectionResetError) as error:
            if self._late:
                return NoAnswer.TIMED_OUT
            if answered:
                return NoAnswer.BROKEN
            unread = self._used and not isinstance(error, aiohttp.ServerDisconnectedError)
            return NoAnswer.UNREACHABLE if unread else NoAnswer.RESET
        except (aiohttp.ClientError, HttpProcessingError, OSError, EOFError, ValueError):
            return NoAnswer.TIMED_OUT if self._late else NoAnswer.BROKEN
        finally:
            timer.cancel()
            if sending is not None and not sending.done():
                self._usable_until = -math.inf
                await cancel_all([sending])

    async def _connect(self, timeout: float) -> NoAnswer | None:
        """Why there is no connection, or None. Nothing has been sent then."""
        loop = asyncio.get_running_loop()
        handler = partial(BoundedResponseHandler, loop)
        connecting = loop.create_connection(handler, self._url.raw_host or "", self._url.port or 80)
        try:
            _, self._protocol = await within(connecting, min(timeout, _CONNECT_TIMEOUT))
        except asyncio.TimeoutError:
            return NoAnswer.UNREACHABLE if timeout > _CONNECT_TIMEOUT else NoAnswer.TIMED_OUT
        except OSError:
            return NoAnswer.UNREACHABLE
        if self.is_closed:  # meanwhile
            self.close()
            return NoAnswer.UNREACHABLE
        return None

    def _give_up(self, protocol: ResponseHandler) -> None:
        """The time is over: whoever waits for the answer is told that the connection is gone."""
        self._late = True
        if protocol.transport is not None:
            protocol.transport.abort()

    def _send(
        self, protocol: ResponseHandler, head: bytes, body: bytes | AsyncIterator[bytes] | AsyncIterator[memoryview]
    ) -> asyncio.Task[None] | None:
        """A task that sends the rest: meanwhile the container may answer, and need not read it."""
        transport = protocol.transport
        assert transport is not None
        if isinstance(body, bytes):
            transport.write(head + body)
            return None
        transport.write(head)
        return asyncio.get_running_loop().create_task(self._send_slices(protocol, body))

    async def _send_slices(
        self, protocol: ResponseHandler, body: AsyncIterator[bytes] | AsyncIterator[memoryview]
    ) -> None:
        """Where it fails, that takes the place of the answer."""
        writer = StreamWriter(protocol, asyncio.get_running_loop())
        try:
            async for piece in body:
                await writer.write(piece)
        except OSError as error:
            protocol.set_exception(aiohttp.ClientOSError(error.errno, f"the request cannot be sent: {error}"))
        except Exception as error:  # noqa: BLE001  (also what the lender of the body raises: it knows that itself)
            protocol.set_exception(aiohttp.ClientConnectionError(f"the request cannot be sent: {error!r}"))

    async def _answer(self, message: RawResponseMessage, content: StreamReader, limits: ResponseLimits) -> Outcome:
        """Raises what aiohttp raises, and ValueError."""
        told = message.headers.get("Content-Length")
        if told is None or message.code == _NO_CONTENT:
            return NoAnswer.BROKEN
        length = int(told)
        if length <= limits.max:
            return ContainerAnswer(message.code, await content.read(), length)
        if limits is _OF_A_PROOF:  # this is no container: its rest may have any length, and is not read
            return NoAnswer.BROKEN
        head = await content.readexactly(min(limits.truncation, length))
        try:
            async for _ in content.iter_any():
                pass
        except (aiohttp.ClientError, OSError):  # the beginning tells all the same
            self._usable_until = -math.inf
        return ContainerAnswer(message.code, head, length, limits.max)


class ContainerClient:
    """`address` is `host:port`; `secret` is the container's, if it has one. To be used within one event loop."""

    def __init__(self, address: str, *, secret: str | None = None) -> None:
        self._url = URL(f"http://{address}")
        self._verifier = None if secret is None else verifier_of(secret)
        self._authorization = "" if secret is None else f"Authorization: Bearer {secret}\r\n"
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
        connecting = asyncio.open_connection(self._url.raw_host, self._url.port)
        try:
            _, writer = await within(connecting, _CONNECT_TIMEOUT)
        except (OSError, asyncio.TimeoutError):
            return False
        writer.close()
        return True

    async def close(self) -> None:
        """Requests in progress end as broken."""
        self._closed = True
        for connection in list(self._connections):
            self._hang_up(connection)

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
                    self._hang_up(connection)
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
                await within(body.take(), deadline - asyncio.get_running_loop().time())
            except asyncio.TimeoutError:
                return NoAnswer.TIMED_OUT
        outcome = await connection.post(path, body, deadline, self._authorization, limits)
        if isinstance(body, Lent) and body.failed is not None:
            raise body.failed
        return outcome

    def _connected(self) -> _ContainerConnection:
        connection = _ContainerConnection(self._url)
        self._connections.add(connection)
        return connection

    def _hang_up(self, connection: _ContainerConnection) -> None:
        self._connections.discard(connection)
        connection.close()
