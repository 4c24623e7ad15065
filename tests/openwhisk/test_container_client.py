"""How a container is asked, and what is made of whatever it answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from owmesos.openwhisk.container_client import ContainerClient
from owmesos.openwhisk.protocol import Answer, Outcome, Silence
from tests.openwhisk.fake_container import HANG, Answering, FakeContainer, answer, http
from tests.runtimes.container import free_port
from tests.waiting import eventually_async

Start = Callable[[Answering], Awaitable[tuple[FakeContainer, ContainerClient]]]
OK = answer({"ok": True})


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
    assert await client.post("/init", [b'{"a":', b"1}" + b" " * 3_000_000], 10.0) == Answer(200, b'{"ok": true}', 12)
    assert container.asked == [("/init", b'{"a":1}' + b" " * 3_000_000)]


async def test_a_connection_is_kept_for_the_next_call(start: Start) -> None:
    container, client = await start(lambda path, body: OK)
    for _ in range(5):
        await client.post("/run", [b"{}"], 10.0)
    assert container.connections == 1


async def test_calls_at_once_have_a_connection_each(start: Start) -> None:
    container, client = await start(lambda path, body: OK)
    await asyncio.gather(*(client.post("/run", [b"{}"], 10.0) for _ in range(5)))
    assert 1 < container.connections <= 5


async def test_an_error_is_an_answer(start: Start) -> None:
    assert await asked(start, answer({"error": "x"}, 502)) == Answer(502, b'{"error": "x"}', 14)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirection_is_an_answer_and_is_not_followed(status: int, start: Start) -> None:
    other, _ = await start(lambda path, body: OK)
    moved = f"HTTP/1.1 {status} X\r\nLocation: http://{other.address}/\r\nContent-Length: 2\r\n\r\n{{}}"
    assert await asked(start, moved.encode()) == Answer(status, b"{}", 2)
    assert other.connections == 0


async def test_what_is_over_the_limit_is_cut_and_not_waited_for(start: Start) -> None:
    outcome = await asked(start, http(200, b"x" * 2_000_000, length=5_000_000))
    assert isinstance(outcome, Answer)
    assert (outcome.truncated, len(outcome.body), outcome.length) == (True, 2**20, 5_000_000)


async def test_exactly_the_limit_is_whole(start: Start) -> None:
    outcome = await asked(start, http(200, b"x" * 2**20))
    assert isinstance(outcome, Answer)
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
    assert await asked(start, said) is Silence.BROKEN


async def test_an_answer_that_breaks_off_is_none(start: Start) -> None:
    container, client = await start(lambda path, body: http(200, b"{", length=10))
    call = asyncio.create_task(client.post("/run", [b"{}"], 10.0))
    await eventually_async(lambda: container.asked)
    await container.stop()
    assert await call is Silence.BROKEN


async def test_a_container_that_hangs_is_given_its_time(start: Start) -> None:
    assert await asked(start, HANG, timeout=0.1) is Silence.TIMED_OUT
    assert await asked(start, http(200, b"{", length=10), timeout=0.1) is Silence.TIMED_OUT


async def test_a_container_that_does_not_listen_is_unreachable_at_once() -> None:
    client = ContainerClient(f"127.0.0.1:{free_port()}")
    assert await client.post("/run", [b"{}"], 10.0) is Silence.UNREACHABLE
    await client.close()


async def test_with_retry_it_is_asked_until_it_listens() -> None:
    container = FakeContainer(lambda path, body: OK)
    port = free_port()
    client = ContainerClient(f"127.0.0.1:{port}")
    call = asyncio.create_task(client.post("/init", [b"{}"], 10.0, retry=True))
    assert not (await asyncio.wait([call], timeout=0.12))[0]
    await container.start(port)
    assert isinstance(await call, Answer)
    assert len(container.asked) == 1
    await client.close()
    await container.stop()


async def test_with_retry_a_port_that_never_opens_is_a_time_out() -> None:
    client = ContainerClient(f"127.0.0.1:{free_port()}")
    assert await client.post("/init", [b"{}"], 0.2, retry=True) is Silence.TIMED_OUT
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
    assert await asyncio.wait_for(call, 10.0) is Silence.TIMED_OUT
    assert container.asked == []
    await client.close()
    await container.stop()


@pytest.mark.parametrize("timeout", [0.0, -1.0])
async def test_without_any_time_it_is_not_asked(timeout: float, start: Start) -> None:
    container, client = await start(lambda path, body: HANG)
    assert await asyncio.wait_for(client.post("/run", [b"{}"], timeout), 10.0) is Silence.TIMED_OUT
    assert container.connections == 0


async def test_a_container_that_was_reused_and_is_gone_is_unreachable(start: Start) -> None:
    container, client = await start(lambda path, body: OK)
    await client.post("/run", [b"{}"], 10.0)
    await container.stop()
    await asyncio.sleep(0)
    outcomes = [await client.post("/run", [b"{}"], 10.0) for _ in range(2)]
    assert outcomes[-1] is Silence.UNREACHABLE


async def test_closing_ends_what_is_being_asked(start: Start) -> None:
    container, client = await start(lambda path, body: HANG)
    call = asyncio.create_task(client.post("/run", [b"{}"], 60.0))
    await eventually_async(lambda: container.asked)
    await client.close()
    assert await call is Silence.BROKEN
    assert await client.post("/run", [b"{}"], 60.0) is Silence.BROKEN


async def test_closing_ends_what_is_being_retried() -> None:
    client = ContainerClient(f"127.0.0.1:{free_port()}")
    call = asyncio.create_task(client.post("/init", [b"{}"], 60.0, retry=True))
    assert not (await asyncio.wait([call], timeout=0.06))[0]
    await client.close()
    assert await call is Silence.BROKEN
