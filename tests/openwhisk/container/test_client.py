"""How a container is asked, and what is made of whatever it answers."""

from __future__ import annotations

import asyncio
import select
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from owmesos.openwhisk.container.client import ContainerClient
from owmesos.openwhisk.container.protocol import ContainerAnswer, NoAnswer, Outcome
from owmesos.openwhisk.limits import ResponseLimits
from tests.openwhisk.container.fake_container import HANG, Answering, FakeContainer, answer, http, proving
from tests.runtimes.container import free_port
from tests.waiting import eventually_async, in_time

Start = Callable[[Answering], Awaitable[tuple[FakeContainer, ContainerClient]]]
OK = answer({"ok": True})


class Clock:
    """The running loop's, `ahead` by some seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        loop = asyncio.get_running_loop()
        time = loop.time
        monkeypatch.setattr(loop, "time", lambda: time() + self.ahead)


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """`await start(answering)`: a container and its client."""
    made: list[tuple[FakeContainer, ContainerClient]] = []

    async def one(answering: Answering) -> tuple[FakeContainer, ContainerClient]:
        container = await FakeContainer(answering).start()
        made.append((container, ContainerClient(container.address)))
        return made[-1]

    yield one
    for container, client in made:
        await client.close()
        await container.stop()


async def asked(start: Start, said: bytes | None, timeout: float = 10.0) -> Outcome:
    _, client = await start(lambda path, body: said)
    return await client.post("/run", [b"{}"], timeout)


async def test_the_parts_of_a_body_arrive_as_one(start: Start) -> None:
    container, client = await start(lambda path, body: OK)
    assert await client.post("/init", [b'{"a":', b"1}" + b" " * 3_000_000], 10.0) == ContainerAnswer(
        200, b'{"ok": true}', 12
    )
    assert container.asked == [("/init", b'{"a":1}' + b" " * 3_000_000)]


async def test_a_connection_is_kept_for_the_next_call(start: Start) -> None:
    container, client = await start(lambda path, body: OK)
    for _ in range(5):
        await client.post("/run", [b"{}"], 10.0)
    assert container.connections == 1


class TestIdleConnections:
    @pytest.mark.parametrize(
        ("headers", "keeps", "pause"),
        [
            ("", 5.0, 6.0),
            ("Keep-Alive: timeout=5\r\n", 5.0, 6.0),
            ("Keep-Alive: timeout=2\r\n", 2.0, 3.0),
            ("Keep-Alive: timeout=1\r\n", 1.0, 1.1),
            ("Keep-Alive: timeout=30, max=100\r\n", 30.0, 31.0),
        ],
    )
    @pytest.mark.parametrize("secret", [None, "s" * 64])
    async def test_a_container_that_closes_them_loses_no_run(
        self, headers: str, keeps: float, pause: float, secret: str | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = Clock(monkeypatch)
        said = http(200, b"{}", headers=headers)
        container = FakeContainer(proving(secret, lambda path, body: said) if secret else lambda path, body: said)
        container.keeps_idle = keeps
        await container.start()
        client = ContainerClient(container.address, secret=secret)
        for _ in range(5):
            assert await client.post("/run", [b"{}"], 10.0) == ContainerAnswer(200, b"{}", 2)
            clock.ahead += pause
        assert [path for path, _ in container.asked].count("/run") == container.connections == 5
        await client.close()
        await container.stop()

    @pytest.mark.parametrize(
        ("headers", "pause", "connections"),
        [
            ("", 3.5, 1),
            ("", 4.1, 2),
            ("Keep-Alive: timeout=30\r\n", 28.5, 1),
            ("Keep-Alive: timeout=30\r\n", 29.1, 2),
            ("Keep-Alive: timeout=3600\r\n", 59.0, 1),
            ("Keep-Alive: timeout=3600\r\n", 60.1, 2),
            ("Keep-Alive: timeout=2\r\n", 1.1, 2),
        ],
    )
    async def test_they_are_used_again_for_less_than_the_container_keeps_them(
        self, headers: str, pause: float, connections: int, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = Clock(monkeypatch)
        container, client = await start(lambda path, body: http(200, b"{}", headers=headers))
        await client.post("/run", [b"{}"], 10.0)
        clock.ahead += pause
        await client.post("/run", [b"{}"], 10.0)
        assert container.connections == connections

    async def test_those_that_are_too_old_are_closed(self, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = Clock(monkeypatch)
        container, client = await start(lambda path, body: OK)
        await client.post("/run", [b"{}"], 10.0)
        clock.ahead += 6.0
        await client.post("/run", [b"{}"], 10.0)
        await eventually_async(lambda: container.serving == 1)


async def test_calls_at_once_have_a_connection_each(start: Start) -> None:
    container, client = await start(lambda path, body: OK)
    await asyncio.gather(*(client.post("/run", [b"{}"], 10.0) for _ in range(5)))
    assert 1 < container.connections <= 5


async def test_an_error_is_an_answer(start: Start) -> None:
    assert await asked(start, answer({"error": "x"}, 502)) == ContainerAnswer(502, b'{"error": "x"}', 14)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirection_is_an_answer_and_is_not_followed(status: int, start: Start) -> None:
    other, _ = await start(lambda path, body: OK)
    moved = f"HTTP/1.1 {status} X\r\nLocation: http://{other.address}/\r\nContent-Length: 2\r\n\r\n{{}}"
    assert await asked(start, moved.encode()) == ContainerAnswer(status, b"{}", 2)
    assert other.connections == 0


async def test_what_is_over_the_limit_is_cut_and_the_rest_is_read(start: Start) -> None:
    container, client = await start(lambda path, body: http(200, b"x" * 5_000_000))
    for _ in range(2):
        outcome = await client.post("/run", [b"{}"], 10.0)
        assert outcome == ContainerAnswer(200, b"x" * 2**20, 5_000_000, 2**20)
        assert outcome.truncated
    assert container.connections == 1


@pytest.mark.parametrize(
    ("limits", "length", "cut"),
    [
        (ResponseLimits(1000, 10), 1000, False),
        (ResponseLimits(1000, 10), 1001, True),
        (ResponseLimits(10, 1000), 500, True),
        (ResponseLimits(5 * 2**20, 10), 2 * 2**20, False),
        (ResponseLimits(0, 0), 1, True),
    ],
)
async def test_each_call_has_its_own_limits(limits: ResponseLimits, length: int, cut: bool, start: Start) -> None:
    _, client = await start(lambda path, body: http(200, b"x" * length))
    outcome = await client.post("/run", [b"{}"], 10.0, limits=limits)
    body = b"x" * (min(limits.truncation, length) if cut else length)
    assert outcome == ContainerAnswer(200, body, length, limits.max if cut else None)


async def test_what_is_cut_is_told_also_when_the_rest_breaks_off(start: Start) -> None:
    container, client = await start(lambda path, body: http(200, b"x" * 2_000_000, length=5_000_000))
    call = asyncio.create_task(client.post("/run", [b"{}"], 10.0))
    await eventually_async(lambda: container.asked)
    await container.stop()
    assert await call == ContainerAnswer(200, b"x" * 2**20, 5_000_000, 2**20)


async def test_what_is_cut_is_told_also_when_the_rest_takes_too_long(start: Start) -> None:
    container, client = await start(lambda path, body: http(200, b"x" * 2_000_000, length=5_000_000))
    assert await client.post("/run", [b"{}"], 0.5) == ContainerAnswer(200, b"x" * 2**20, 5_000_000, 2**20)
    container.answering = lambda path, body: OK
    assert isinstance(await client.post("/run", [b"{}"], 10.0), ContainerAnswer)
    assert container.connections == 2


async def test_exactly_the_limit_is_whole(start: Start) -> None:
    outcome = await asked(start, http(200, b"x" * 2**20))
    assert isinstance(outcome, ContainerAnswer)
    assert not outcome.truncated


@pytest.mark.parametrize(
    "said",
    [
        None,
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}",
        http(204, b""),
    ],
)
async def test_what_is_no_answer_with_a_content_length_is_none(said: bytes | None, start: Start) -> None:
    assert await asked(start, said) is NoAnswer.BROKEN


async def test_an_answer_that_breaks_off_is_none(start: Start) -> None:
    container, client = await start(lambda path, body: http(200, b"{", length=10))
    call = asyncio.create_task(client.post("/run", [b"{}"], 10.0))
    await eventually_async(lambda: container.asked)
    await container.stop()
    assert await call is NoAnswer.BROKEN


async def test_a_container_that_hangs_is_given_its_time(start: Start) -> None:
    assert await asked(start, HANG, timeout=0.1) is NoAnswer.TIMED_OUT
    assert await asked(start, http(200, b"{", length=10), timeout=0.1) is NoAnswer.TIMED_OUT


async def test_a_container_that_does_not_listen_is_unreachable_at_once() -> None:
    client = ContainerClient(f"127.0.0.1:{free_port()}")
    assert await client.post("/run", [b"{}"], 10.0) is NoAnswer.UNREACHABLE
    await client.close()


async def test_with_retry_it_is_asked_until_it_listens() -> None:
    container = FakeContainer(lambda path, body: OK)
    port = free_port()
    client = ContainerClient(f"127.0.0.1:{port}")
    call = asyncio.create_task(client.post("/init", [b"{}"], 10.0, retry=True))
    assert not (await asyncio.wait([call], timeout=0.12))[0]
    await container.start(port)
    assert isinstance(await call, ContainerAnswer)
    assert len(container.asked) == 1
    await client.close()
    await container.stop()


async def test_with_retry_it_is_asked_again_after_a_reset_before_any_answer(start: Start) -> None:
    """As Docker's proxy does while the container does not listen yet: it accepts, and resets."""
    container, client = await start(lambda path, body: OK if len(container.asked) > 3 else None)
    assert isinstance(await client.post("/init", [b"{}"], 10.0, retry=True), ContainerAnswer)
    assert [path for path, _ in container.asked] == ["/init"] * 4


async def test_without_retry_a_reset_is_told_at_once(start: Start) -> None:
    container, client = await start(lambda path, body: None)
    assert await client.post("/run", [b"{}"], 10.0) is NoAnswer.BROKEN
    assert len(container.asked) == 1


async def test_with_retry_an_answer_that_breaks_off_is_not_asked_for_again(start: Start) -> None:
    container, client = await start(lambda path, body: b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")
    call = asyncio.create_task(client.post("/init", [b"{}"], 60.0, retry=True))
    await eventually_async(lambda: container.asked)
    await container.stop()
    assert await call is NoAnswer.BROKEN


async def test_what_ends_while_it_resets_may_have_been_asked(start: Start) -> None:
    """So it is not as if nothing had been sent."""
    container, client = await start(lambda path, body: None)
    call = asyncio.create_task(client.post("/init", [b"{}"], 60.0, retry=True))
    await eventually_async(lambda: container.asked)
    await container.stop()
    assert not (await asyncio.wait([call], timeout=0.12))[0]
    await client.close()
    assert await call is NoAnswer.BROKEN


async def test_with_retry_a_port_that_never_opens_is_a_time_out() -> None:
    client = ContainerClient(f"127.0.0.1:{free_port()}")
    assert await client.post("/init", [b"{}"], 0.2, retry=True) is NoAnswer.TIMED_OUT
    await client.close()


async def test_with_retry_it_is_not_asked_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    container = FakeContainer(lambda path, body: HANG)
    port = free_port()
    client = ContainerClient(f"127.0.0.1:{port}")
    call = asyncio.create_task(client.post("/init", [b"{}"], 60.0, retry=True))
    assert not (await asyncio.wait([call], timeout=0.02))[0]
    await container.start(port)
    loop = asyncio.get_running_loop()
    time = loop.time
    monkeypatch.setattr(loop, "time", lambda: time() + 100.0)
    assert await in_time(call) is NoAnswer.TIMED_OUT
    assert container.asked == []
    await client.close()
    await container.stop()


@pytest.mark.parametrize("timeout", [0.0, -1.0])
async def test_without_any_time_it_is_not_asked(timeout: float, start: Start) -> None:
    container, client = await start(lambda path, body: HANG)
    assert await in_time(client.post("/run", [b"{}"], timeout)) is NoAnswer.TIMED_OUT
    assert container.connections == 0


async def test_a_container_that_was_reused_and_is_gone_is_unreachable(start: Start) -> None:
    container, client = await start(lambda path, body: OK)
    await client.post("/run", [b"{}"], 10.0)
    await container.stop()
    await asyncio.sleep(0)
    outcomes = [await client.post("/run", [b"{}"], 10.0) for _ in range(2)]
    assert outcomes == [NoAnswer.UNREACHABLE] * 2


class Flooding:
    """A container that sends `before` and then `after` in answer to each request, the latter without an end."""

    def __init__(self, before: bytes, after: bytes) -> None:
        self._before = before
        self._after = after * 1000
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.stopped = asyncio.Event()
        self.sent = 0
        self.address = ""
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Flooding:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(self._before)
        await self.may_go_on.wait()
        try:
            while self.sent < 100_000_000:
                await writer.drain()
                writer.write(self._after)
                self.sent += len(self._after)
        except ConnectionError:
            self.stopped.set()
        finally:
            writer.close()


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class TestContainersThatSendWithoutAnEnd:
    async def test_interim_responses_end_the_connection(self) -> None:
        """aiohttp would skip them until the time-out, and nothing else would run meanwhile."""
        async with Flooding(b"", CONTINUE) as container:
            client = ContainerClient(container.address)
            assert await in_time(client.post("/run", [b"{}"], 60.0)) is NoAnswer.BROKEN
            await in_time(container.stopped.wait())
            await client.close()
        assert container.sent < 20_000_000

    @pytest.mark.parametrize("head", [CONTINUE, http(200, b""), http(200, b"{}")])
    async def test_what_comes_between_runs_ends_the_connection(self, head: bytes) -> None:
        """aiohttp would keep all of it."""
        async with Flooding(http(200, b"{}"), head) as container:
            container.may_go_on.clear()
            client = ContainerClient(container.address)
            assert await client.post("/run", [b"{}"], 10.0) == ContainerAnswer(200, b"{}", 2)
            container.may_go_on.set()
            await in_time(container.stopped.wait())
            await client.close()
        assert container.sent < 20_000_000

    async def test_a_long_answer_to_a_challenge_is_not_read(self) -> None:
        async with Flooding(http(200, b"", length=10**12), b"x") as stranger:
            client = ContainerClient(stranger.address, secret="s" * 64)
            assert await in_time(client.post("/init", [b"{}"], 60.0)) is NoAnswer.UNPROVEN
            await in_time(stranger.stopped.wait())
            await client.close()
        assert stranger.sent < 20_000_000

    async def test_a_few_interim_responses_are_skipped_for_each_request(self, start: Start) -> None:
        container, client = await start(lambda path, body: CONTINUE * 10 + OK)
        for _ in range(5):
            assert isinstance(await client.post("/run", [b"{}"], 10.0), ContainerAnswer)
        assert container.connections == 1


class Dying:
    """A container that answers one request, and then dies in a thread of its own, for which no event loop need run."""

    def __init__(self, how: Callable[[socket.socket], object]) -> None:
        """`how` it dies: what it does with the connection before it is closed."""
        self._how = how
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._server.accept()
        self._server.close()
        _read_request(connection)
        connection.sendall(http(200, b"{}"))
        self._how(connection)
        connection.close()

    def join(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()


def _read_request(connection: socket.socket) -> None:
    data = b""
    while not data.endswith(b"{}"):
        data += connection.recv(65536)


def _leave_unread(connection: socket.socket) -> None:
    select.select([connection], [], [], 30)


class TestContainersThatDieBetweenRuns:
    async def test_its_end_is_seen_before_the_next_run_is_sent(self) -> None:
        container = Dying(lambda connection: None)
        client = ContainerClient(container.address)
        assert isinstance(await client.post("/run", [b"{}"], 10.0), ContainerAnswer)
        container.join()  # and the event loop has not looked since
        assert await client.post("/run", [b"{}"], 10.0) is NoAnswer.UNREACHABLE
        await client.close()

    async def test_a_run_that_it_has_not_read_was_not_taken(self) -> None:
        container = Dying(_leave_unread)
        client = ContainerClient(container.address)
        assert isinstance(await client.post("/run", [b"{}"], 10.0), ContainerAnswer)
        assert await client.post("/run", [b"{}"], 10.0) is NoAnswer.UNREACHABLE
        await client.close()

    async def test_a_run_that_it_has_read_may_have_begun(self) -> None:
        container = Dying(_read_request)
        client = ContainerClient(container.address)
        assert isinstance(await client.post("/run", [b"{}"], 10.0), ContainerAnswer)
        assert await client.post("/run", [b"{}"], 10.0) is NoAnswer.BROKEN
        await client.close()


async def test_closing_ends_what_is_being_asked(start: Start) -> None:
    container, client = await start(lambda path, body: HANG)
    call = asyncio.create_task(client.post("/run", [b"{}"], 60.0))
    await eventually_async(lambda: container.asked)
    await client.close()
    assert await call is NoAnswer.BROKEN
    assert await client.post("/run", [b"{}"], 60.0) is NoAnswer.UNREACHABLE


async def test_closing_ends_what_is_being_retried() -> None:
    client = ContainerClient(f"127.0.0.1:{free_port()}")
    call = asyncio.create_task(client.post("/init", [b"{}"], 60.0, retry=True))
    assert not (await asyncio.wait([call], timeout=0.06))[0]
    await client.close()
    assert await call is NoAnswer.UNREACHABLE


async def test_the_head_of_a_request(start: Start) -> None:
    container, client = await start(lambda path, body: OK)
    await client.post("/run", [b"{}"], 10.0)
    assert container.heads[0].split("\r\n") == [
        "POST /run HTTP/1.1",
        f"Host: {container.address}",
        "Content-Type: application/json",
        "Content-Length: 2",
        "Accept: */*",
        "",
        "",
    ]


async def test_an_address_of_ipv6() -> None:
    container = await FakeContainer(lambda path, body: OK).start(host="::1")
    client = ContainerClient(f"[::1]:{container.port}")
    assert await client.listens()
    assert isinstance(await client.post("/run", [b"{}"], 10.0), ContainerAnswer)
    assert f"Host: [::1]:{container.port}\r\n" in container.heads[0]
    await client.close()
    await container.stop()


class ReadsHeadsOnly:
    """A container that sends `said` once it has the head of a request. `connections` is how many were made."""

    def __init__(self, said: bytes) -> None:
        self._said = said
        self._may_end = asyncio.Event()
        self.connections = 0

    async def __aenter__(self) -> ContainerClient:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._client = ContainerClient(f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}")
        return self._client

    async def __aexit__(self, *_: object) -> None:
        self._may_end.set()
        await self._client.close()
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.connections += 1
        writer.write(self._said)
        await self._may_end.wait()
        writer.close()


class TestContainersThatDoNotReadABody:
    BODY = (b"{", b" " * 50_000_000)  # far more than the kernel takes

    async def test_their_answer_is_taken_and_the_connection_is_not_kept(self) -> None:
        container = ReadsHeadsOnly(answer({"error": "too large"}, 413))
        async with container as client:
            for _ in range(2):
                outcome = await client.post("/init", self.BODY, 30.0)
                assert outcome == ContainerAnswer(413, b'{"error": "too large"}', 22)
        assert container.connections == 2

    async def test_they_are_given_their_time(self) -> None:
        async with ReadsHeadsOnly(HANG) as client:
            assert await client.post("/init", self.BODY, 0.2) is NoAnswer.TIMED_OUT

    async def test_closing_ends_it(self) -> None:
        container = ReadsHeadsOnly(HANG)
        async with container as client:
            call = asyncio.create_task(client.post("/init", self.BODY, 60.0))
            await eventually_async(lambda: container.connections)
            await client.close()
            assert await call is NoAnswer.BROKEN
