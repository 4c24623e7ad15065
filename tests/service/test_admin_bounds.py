"""What one client of the admin API can cost the others: not its memory, not its time."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import json
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from owmesos.invoker.routes import add_routes
from owmesos.invoker.standalone import Standalone
from owmesos.service import admin, admin_bodies
from owmesos.service.admin import AdminServer
from owmesos.service.framework import Framework
from owmesos.simulator.cluster import SimulatedCluster
from tests.fixtures.admin import AUTHORIZED, READING, TOKENS
from tests.waiting import eventually_async, in_time

MB = 2**20
KILL = b"POST /api/v1/kill HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
PUT = b"PUT /api/v1/actions/x HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
TOKEN = f"Authorization: {AUTHORIZED['Authorization']}\r\n".encode()


class Client:
    """One connection, and what is written on it as it is."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, timeout: float = 30) -> tuple[int, dict[str, str], bytes]:
        """Status, headers by small letters, body."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), timeout)
        first, *lines = head.decode().strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await asyncio.wait_for(self.reader.readexactly(int(headers["content-length"])), timeout)
        return int(first.split()[1]), headers, body

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


class Api:
    def __init__(self, port: int, session: aiohttp.ClientSession) -> None:
        self.port = port
        self.session = session
        self.url = f"http://127.0.0.1:{port}/api/v1"
        self.clients: list[Client] = []

    async def client(self) -> Client:
        self.clients.append(Client(*await asyncio.open_connection("127.0.0.1", self.port)))
        return self.clients[-1]

    async def works(self) -> bool:
        timeout = aiohttp.ClientTimeout(total=10)
        async with self.session.get(f"{self.url}/launches", headers=AUTHORIZED, timeout=timeout) as response:
            return response.status == 200

    async def put(self, name: str, code: str) -> int:
        data = json.dumps({"exec": {"kind": "python:3", "code": code}}).encode()
        headers = {**AUTHORIZED, "Content-Type": "application/json"}
        request = self.session.put(f"{self.url}/actions/{name}", data=io.BytesIO(data), headers=headers)
        async with request as response:
            return response.status


@pytest.fixture(scope="module")
def cluster() -> Iterator[SimulatedCluster]:
    with SimulatedCluster(agents=1) as cluster:
        yield cluster


@pytest.fixture
async def api(cluster: SimulatedCluster, tmp_path: Path) -> AsyncIterator[Api]:
    standalone = Standalone(tmp_path / "state", add_routes=add_routes)
    async with Framework(
        master=cluster.master, name="api", pool=standalone.pool, state=tmp_path / "state"
    ) as framework:
        await standalone.start(framework)
        server = AdminServer("127.0.0.1", 0)
        await server.start(framework, TOKENS, standalone)
        async with aiohttp.ClientSession() as session:
            found = Api(server.port, session)
            yield found
        for client in found.clients:
            await client.close()
        await server.stop()
        await standalone.close()


def memory() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def test_nothing_of_a_strangers_body_is_read_before_the_answer(api: Api) -> None:
    client = await api.client()
    await client.send(PUT + b"Content-Length: 60000000\r\n\r\n{")
    assert (await client.answer())[0] == 401
    before = memory()
    with contextlib.suppress(ConnectionError):
        for _ in range(40):
            await client.send(bytes(MB))
    assert memory() - before < 20 * MB


async def test_what_is_not_http_is_answered_and_not_logged(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    client = await api.client()
    await client.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: \x00\r\n\r\n")
    assert (await client.answer())[0] == 400
    assert not [each for each in caplog.records if each.name.startswith("aiohttp")]
    await client.close()


async def test_many_half_requests_do_not_silence_it(api: Api) -> None:
    for number in range(600):
        client = await api.client()
        with contextlib.suppress(ConnectionError):
            await client.send(KILL + (TOKEN if number % 2 else b""))
    assert await api.works()


async def test_large_bodies_that_do_not_end_are_not_in_memory(api: Api) -> None:
    assert await api.works()
    before = memory()
    for _ in range(6):
        client = await api.client()
        await client.send(PUT + TOKEN + b"Content-Length: 60000000\r\n\r\n")
        for _ in range(40):
            await client.send(b"x" * MB)
    assert memory() - before < 60 * MB  # of 240
    assert await api.works()


async def test_small_bodies_have_a_budget(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    clients = []
    for _ in range(admin.BODIES_IN_MEMORY // MB + 4):
        client = await api.client()
        await client.send(KILL + TOKEN + b"Content-Length: 1000000\r\n\r\n")
        clients.append(client)
    for client in clients:
        with contextlib.suppress(ConnectionError):
            await client.send(b"x" * 999_999)
    answers = [asyncio.ensure_future(client.answer(60)) for client in clients]
    done, others = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
    for each in done:
        status, headers, body = each.result()
        assert (status, headers["retry-after"]) == (503, "5")
        assert "requests hold 64 MB already" in json.loads(body)["error"]
    for each in others:
        each.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    assert await api.works()


async def test_large_bodies_have_a_budget(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_bodies.Budget, "take", _one_at_a_time)
    first, second = await api.client(), await api.client()
    await first.send(PUT + TOKEN + b"Content-Length: 60000000\r\n\r\n" + b"x" * 1000)
    await asyncio.sleep(0.1)
    await second.send(PUT + TOKEN + b"Content-Length: 60000000\r\n\r\n" + b"x" * 1000)
    status, headers, _ = await second.answer()
    assert (status, headers["retry-after"]) == (503, "5")


def _one_at_a_time(budget: admin_bodies.Budget, size: int) -> None:
    if budget.held:
        raise admin_bodies.Overloaded("large requests hold enough already: retry in some seconds")
    budget.held += size


@pytest.mark.parametrize("start", [KILL, PUT])
async def test_a_body_that_does_not_come_is_not_waited_for(
    api: Api, start: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_bodies, "PATIENCE", 0.2)
    client = await api.client()
    await client.send(start + TOKEN + b"Content-Length: 100\r\n\r\n{")
    status, _, body = await client.answer()
    assert (status, json.loads(body)) == (408, {"error": "the request's body did not come in time"})


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_the_limit_is_refused_by_its_head_or_when_it_gets_there(api: Api, declared: bool) -> None:
    client = await api.client()
    if declared:
        await client.send(PUT + TOKEN + b"Content-Length: 100000000\r\n\r\n")
    else:
        await client.send(KILL + TOKEN + b"Transfer-Encoding: chunked\r\n\r\n")
        await client.send((b"%x\r\n" % MB + b"x" * MB + b"\r\n") * 2)
    assert (await client.answer())[0] == 413


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"Content-Encoding: gzip\r\n", gzip.compress(b'{"ids": []}', mtime=0)),
        (b"Content-Encoding: gzip\r\n", b"not gzip"),
        (b"Content-Encoding: br\r\n", b"\x00\x01"),
    ],
)
async def test_a_compressed_body_is_not_json(api: Api, head: bytes, body: bytes) -> None:
    client = await api.client()
    await client.send(KILL + TOKEN + head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert (await client.answer())[0] == 400


async def test_a_broken_chunk_is_the_senders_fault(
    api: Api, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_bodies, "PATIENCE", 0.5)
    client = await api.client()
    await client.send(KILL + TOKEN + b"Transfer-Encoding: chunked\r\n\r\n")
    await asyncio.sleep(0.1)
    await client.send(b"zz\r\n")
    assert (await client.answer())[0] in (400, 408)
    assert "Traceback" not in caplog.text


GET = b"GET /api/v1/actions/large HTTP/1.1\r\nHost: localhost\r\n"
GET += f"Authorization: {READING['Authorization']}\r\n\r\n".encode()


async def fill_with_unread_answers(api: Api) -> None:
    """Three of 40 MB, of which no client reads more than the beginning."""
    assert await api.put("large", "#" + "x" * (40 * MB)) == 200
    for _ in range(3):
        client = await api.client()
        await client.send(GET)
        assert b" 200 " in await in_time(client.reader.readuntil(b"\r\n"))


async def can_read(api: Api) -> bool:
    async with api.session.get(f"{api.url}/actions/large", headers=READING) as response:
        return response.status == 200 and len(await response.read()) > 40 * MB


async def test_answers_that_nobody_reads_have_a_budget(api: Api) -> None:
    await fill_with_unread_answers(api)
    client = await api.client()
    await client.send(GET)
    status, headers, _ = await client.answer()
    assert (status, headers.get("retry-after")) == (503, "5")
    await api.clients[0].close()
    await eventually_async(partial(can_read, api))


async def test_answers_that_nobody_reads_have_a_time(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_bodies, "PATIENCE", 1.0)
    monkeypatch.setattr(admin_bodies, "SLOWEST", 1000 * MB)
    await fill_with_unread_answers(api)
    await eventually_async(partial(can_read, api), retry_on=(aiohttp.ClientError,))  # this reader may be slow too


async def test_code_of_the_largest_size_comes_whole(api: Api) -> None:
    code = "#" + "ü" * (10 * MB)
    assert await asyncio.gather(*(api.put(f"large{number}", code) for number in range(4))) == [200] * 4
    async with api.session.get(f"{api.url}/actions/large3", headers=READING) as response:
        assert (await response.json())["exec"]["code"] == code
