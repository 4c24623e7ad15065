"""A listener that nobody can take from the others: with raw sockets, and little patience."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from owmesos.system import bounded_http
from owmesos.system.bounded_http import BoundedListener, HttpLimits
from tests.waiting import eventually_async, in_time

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
SMALL = HttpLimits(waiting=8, admitted=4, head=0.3, idle=0.3)


class Server:
    """`/slow` is admitted and answered when told to, everything else at once."""

    def __init__(self, limits: HttpLimits, tls: ssl.SSLContext | None = None) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._socket.getsockname()[1]
        self.listener = BoundedListener(self._socket, tls=tls, limits=limits)
        self.web = web.Server(self._handle, access_log=None)
        self.go_on = asyncio.Event()
        self.slow = 0
        self.listener.start(self.web)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        with self.listener.handling(request) as connection:
            if request.path == "/slow":
                assert connection is not None
                connection.admit()
                self.slow += 1
                await self.go_on.wait()
            return web.Response(text="done")

    @contextlib.asynccontextmanager
    async def connected(self, data: bytes = b"") -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            await writer.drain()
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def works(self) -> bool:
        async with self.connected(GET) as (reader, _):
            return await in_time(reader.readuntil(b"done")) != b""

    async def close(self) -> None:
        self.go_on.set()
        self.listener.close()
        await self.web.shutdown(1.0)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server(SMALL)
    yield server
    await server.close()


@pytest.fixture
async def patient() -> AsyncIterator[Server]:
    server = Server(SMALL._replace(head=60, idle=60))
    yield server
    await server.close()


@pytest.mark.parametrize("data", [b"", b"G", GET[:-2], GET + b"GET / HT"])
async def test_half_a_request_is_not_waited_for(server: Server, data: bytes) -> None:
    async with server.connected(data) as (reader, _):
        answers = await in_time(reader.read())
        assert answers.count(b"done") == data.count(GET)


async def test_a_head_that_comes_byte_by_byte_has_no_longer(server: Server) -> None:
    async def all_that_comes(reader: asyncio.StreamReader) -> bytes:
        try:
            return await reader.read()
        except ConnectionResetError:  # a byte crossed the end of the connection
            return b""

    async with server.connected() as (reader, writer):
        ended = asyncio.ensure_future(all_that_comes(reader))
        for byte in GET:
            writer.write(bytes([byte]))
            await asyncio.wait([ended], timeout=0.05)
            if ended.done():
                break
        assert await ended == b""


async def test_one_that_was_answered_may_ask_again_for_a_while(server: Server) -> None:
    async with server.connected() as (reader, writer):
        for _ in range(5):
            writer.write(GET)
            await in_time(reader.readuntil(b"done"))
            await asyncio.sleep(0.1)
        assert await in_time(reader.read()) == b""  # the idle one is closed


async def test_those_who_never_ask_push_out_each_other(patient: Server) -> None:
    async with contextlib.AsyncExitStack() as stack:
        half = [await stack.enter_async_context(patient.connected(b"GET /")) for _ in range(50)]
        assert await patient.works()
        assert len(patient.listener._waiting) <= SMALL.waiting
        gone = await in_time(asyncio.gather(*(reader.read() for reader, _ in half[:40])))
        assert set(gone) == {b""}


async def test_an_admitted_request_is_not_pushed_out(patient: Server) -> None:
    async with patient.connected(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n") as (reader, _):
        await eventually_async(lambda: patient.slow == 1)
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(50):
                await stack.enter_async_context(patient.connected(b"GET /"))
            assert await patient.works()
            patient.go_on.set()
            assert b"done" in await in_time(reader.readuntil(b"done"))


async def test_an_admitted_request_may_take_its_time(server: Server) -> None:
    async with server.connected(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n") as (reader, _):
        await asyncio.sleep(2 * SMALL.head)
        server.go_on.set()
        assert b"done" in await in_time(reader.readuntil(b"done"))


async def test_too_many_admitted_requests_are_said(patient: Server) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(SMALL.admitted):
            await stack.enter_async_context(patient.connected(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"))
        await eventually_async(lambda: patient.slow == SMALL.admitted)
        async with patient.connected() as (reader, _):
            answer = await in_time(reader.read())
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 5" in answer
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.endswith(f"Content-Length: {len(body)}".encode())
        patient.go_on.set()
        await eventually_async(lambda: not patient.listener._admitted)
        assert await patient.works()


async def test_the_peer_with_the_most_makes_room(patient: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_http, "_peer", lambda address: str(address[0]))
    async with contextlib.AsyncExitStack() as stack:
        reader, writer = await asyncio.open_connection("127.0.0.1", patient.port, local_addr=("127.0.0.2", 0))
        stack.callback(writer.close)
        writer.write(GET[:10])
        await eventually_async(lambda: len(patient.listener._waiting) == 1)
        for _ in range(50):
            await stack.enter_async_context(patient.connected(b"GET /"))
        writer.write(GET[10:])
        assert b"done" in await in_time(reader.readuntil(b"done"))


@pytest.fixture
def few_descriptors() -> Iterator[int]:
    """How many more may be opened."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(each.name) for each in Path("/proc/self/fd").iterdir())
    with contextlib.ExitStack() as stack:
        between = -1
        while between < highest:
            between = os.dup(0)
            stack.callback(os.close, between)
        resource.setrlimit(resource.RLIMIT_NOFILE, (between + 41, before[1]))
        yield 40
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def clients() -> Iterator[list[socket.socket]]:
    """Opened before descriptors are few, so that none of these takes one from the server: it is the same process."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.socket()) for _ in range(60)]


async def test_without_descriptors_connections_make_room(clients: list[socket.socket], few_descriptors: int) -> None:
    limits = SMALL._replace(waiting=100, head=60, idle=60)
    server = Server(limits)
    server.listener.limits = limits  # which were reduced where the test's process has few open
    loop = asyncio.get_running_loop()
    assert len(clients) > few_descriptors
    for each in clients:
        each.setblocking(False)
        await loop.sock_connect(each, ("127.0.0.1", server.port))
    await loop.sock_sendall(clients[-1], GET)
    assert b"done" in await in_time(loop.sock_recv(clients[-1], 4096))
    assert len(server.listener._waiting) > few_descriptors // 2  # no more are closed than have to be
    await server.close()


async def test_one_that_makes_room_before_it_was_opened_is_closed(patient: Server) -> None:
    ours, theirs = socket.socketpair()
    patient.listener._took(theirs, "peer")
    assert patient.listener._make_room()
    assert theirs.fileno() < 0
    ours.close()


def test_bounds_go_with_the_descriptors_that_there_are(few_descriptors: int) -> None:
    limits = HttpLimits().within_descriptors()
    assert limits.waiting + limits.admitted <= resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2


async def test_a_handshake_that_does_not_end_is_bounded_too(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    server = Server(SMALL._replace(head=60), tls=context)
    async with contextlib.AsyncExitStack() as stack:
        for number in range(50):
            await stack.enter_async_context(server.connected(b"\x16\x03\x01" if number % 2 else b"GET / HTTP/1.1"))
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=trusting)
        writer.write(GET)
        assert b"done" in await in_time(reader.readuntil(b"done"))
        assert len(server.listener._waiting) <= SMALL.waiting
        writer.close()
    await server.close()


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        (("127.0.0.1", 1), "this machine"),
        (("127.9.9.9", 1), "this machine"),
        (("::1", 1, 0, 0), "this machine"),
        (("10.1.2.3", 1), "10.1.2.3"),
        (("fe80::1%eth0", 1, 0, 2), "fe80::1%eth0"),
        ("", ""),
    ],
)
def test_who_is_one_peer(address: object, peer: str) -> None:
    assert bounded_http._peer(address) == peer


@pytest.mark.parametrize("turns", range(5))  # of the event loop, until it is closed
async def test_none_is_left_open_that_comes_while_it_is_closed(turns: int) -> None:
    server = Server(SMALL)
    loop = asyncio.get_running_loop()
    assert await server.works()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(3)]
        for _ in range(turns):
            await asyncio.sleep(0)
        await server.close()
        for each in clients:
            each.setblocking(False)
            with contextlib.suppress(ConnectionResetError):
                assert await in_time(loop.sock_recv(each, 1)) == b""
