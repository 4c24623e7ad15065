"""The client of CouchDB's API, on a server of the test's own that answers as it is told."""

from __future__ import annotations

import asyncio
import time
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from owmesos.errors import InvalidInput
from owmesos.openwhisk.store.couchdb import CouchDB, CouchFailed, Written
from tests.fakes.odd_server import ODD_ANSWERS, OddServer
from tests.fakes.pki import Pki

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Notes what it is asked."""

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.peers: set[object] = set()
        self.answer: Answer = self.plain
        self.url = ""

    async def plain(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"{}")

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if request.transport is not None:
            self.peers.add(request.transport.get_extra_info("peername"))
        self.bodies.append(await request.read())
        return await self.answer(request)

    def says(self, status: int, body: bytes) -> None:
        async def answer(request: web.Request) -> web.StreamResponse:
            return web.Response(status=status, body=body)

        self.answer = answer


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    runner = web.ServerRunner(web.Server(server.handle), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[CouchDB]:
    client = CouchDB(f"http://us%40er:pa%3Ass@{server.url}/", timeout=0.5)
    yield client
    await client.close()


async def test_names_are_escaped_and_credentials_sent(server: Server, client: CouchDB) -> None:
    await client.document("db", "guest/a b/ä?#%", "1-a")
    await client.attachment("db", "guest/a", "x/y", "1-a", into=Taken)
    assert [request.raw_path for request in server.requests] == [
        "/db/guest%2Fa%20b%2F%C3%A4%3F%23%25?rev=1-a",
        "/db/guest%2Fa/x%2Fy?rev=1-a",
    ]
    assert server.requests[0].headers["Authorization"] == "Basic dXNAZXI6cGE6c3M="


async def test_a_password_that_is_renewed_is_sent_with_the_next_request(server: Server, client: CouchDB) -> None:
    client.renew(None, "second")
    await client.document("db", "a")
    client.renew("other", "third")
    await client.document("db", "a")
    sent = [b64decode(request.headers["Authorization"].split()[1]).decode() for request in server.requests]
    assert sent == ["us@er:second", "other:third"]


async def test_new_connections_trust_what_the_system_trusts_after_a_renewal(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE, which OpenSSL reads, stands for the system's authorities."""
    (tmp_path / "new").mkdir()
    old, new, trusted = Pki(tmp_path), Pki(tmp_path / "new"), tmp_path / "system.pem"
    trusted.write_bytes(old.ca.read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    runner = web.ServerRunner(web.Server(server.handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=new.server("localhost")).start()
    client = CouchDB(f"https://localhost:{runner.addresses[0][1]}")
    try:
        with pytest.raises(CouchFailed, match="its certificate is not trusted"):
            await client.document("db", "a")
        trusted.write_bytes(new.ca.read_bytes())
        client.renew(None, None)
        assert await client.document("db", "a") == b"{}"
    finally:
        await client.close()
        await runner.cleanup()


async def test_what_is_not_there_is_none(server: Server, client: CouchDB) -> None:
    server.says(404, b'{"error":"not_found"}')
    assert await client.document("db", "a") is None
    assert await client.attachment("db", "a", "b", into=Taken) is None
    assert await client.view("db", "d", "v") is None


@pytest.mark.parametrize(("status", "body"), [(401, b"no"), (500, b"{}"), (503, b""), (200, b"<html>"), (200, b"[]")])
async def test_any_other_answer_is_an_error(server: Server, client: CouchDB, status: int, body: bytes) -> None:
    server.says(status, body)
    with pytest.raises(CouchFailed):
        await client.view("db", "d", "v")
    with pytest.raises(CouchFailed) as caught:
        await client.write("db", [b"{}"])
    assert "pa:ss" not in str(caught.value)
    assert caught.value.status in (status, None)


async def test_a_bulk_says_what_became_of_each(server: Server, client: CouchDB) -> None:
    server.says(201, b'[{"ok":true,"id":"a","rev":"1-a"},{"id":"b","error":"conflict","reason":"there"}]')
    assert await client.write("db", [b'{"_id":"a"}', b'{"_id":"b"}']) == [
        Written("a", "1-a"),
        Written("b", None, "conflict", "there"),
    ]
    assert server.bodies == [b'{"docs":[{"_id":"a"},{"_id":"b"}]}']


async def test_a_slow_server_is_not_waited_for(server: Server, client: CouchDB) -> None:
    released = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        await released.wait()
        return web.Response()

    server.answer = slow
    with pytest.raises(CouchFailed, match="timed out"):
        await client.document("db", "a")
    released.set()


class TestSlowAnswers:
    """The client's time is 0.5 s."""

    async def test_what_comes_steadily_may_take_longer_than_that(self, server: Server, client: CouchDB) -> None:
        server.answer = steadily(b"x" * 32 * 1024, 12)
        taken = await client.attachment("db", "a", "b", into=Taken)
        assert taken is not None
        assert taken.size == 12 * 32 * 1024
        assert len(await client.document("db", "a") or b"") == 12 * 32 * 1024

    async def test_what_comes_by_single_bytes_is_no_progress(self, server: Server, client: CouchDB) -> None:
        server.answer = steadily(b"x", 1000)
        with pytest.raises(CouchFailed, match="timed out"):
            await client.attachment("db", "a", "b", into=Taken)

    async def test_what_stands_still_is_given_up(self, server: Server, client: CouchDB) -> None:
        server.answer = steadily(b"x" * 1024 * 1024, 1, then=60.0)
        with pytest.raises(CouchFailed, match="timed out"):
            await client.attachment("db", "a", "b", into=Taken)

    async def test_an_attempt_that_is_repeated_begins_anew(self, server: Server, client: CouchDB) -> None:
        async def breaking(request: web.Request) -> web.StreamResponse:
            server.answer = server.plain
            assert request.transport is not None
            request.transport.close()
            return web.Response()

        server.answer, made = breaking, list[Taken]()

        def into() -> Taken:
            made.append(Taken())
            return made[-1]

        assert await client.attachment("db", "a", "b", into=into) is made[-1]
        assert made[-1].size == len(b"{}")


async def test_of_attachments_that_come_together_one_piece_is_taken_in_a_round_of_the_loop(
    server: Server, client: CouchDB
) -> None:
    server.says(200, b"x" * 4 * 2**20)
    rounds, taken_in = 0, list[int]()

    async def count() -> None:
        nonlocal rounds
        while True:
            await asyncio.sleep(0)
            rounds += 1

    class Noted(Taken):
        def extend(self, chunk: bytes) -> None:
            super().extend(chunk)
            if len(chunk) > 64 * 1024:
                taken_in.append(rounds)

    counting = asyncio.create_task(count())
    came = await asyncio.gather(*(client.attachment("db", f"a{number}", "b", into=Noted) for number in range(6)))
    counting.cancel()
    assert [each.size for each in came if each is not None] == [4 * 2**20] * 6
    assert len(taken_in) > 6
    assert len(set(taken_in)) == len(taken_in)


class Taken:
    """Counts bytes."""

    def __init__(self) -> None:
        self.size = 0

    def extend(self, chunk: bytes) -> None:
        self.size += len(chunk)


def steadily(chunk: bytes, times: int, then: float = 0.0) -> Any:
    """Answers with `chunk`, every 60 ms, so many times; then waits."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with suppress(ConnectionError):
            for _ in range(times):
                await response.write(chunk)
                await asyncio.sleep(0.06)
        await asyncio.sleep(then)
        return response

    return answer


async def test_a_connection_that_breaks_is_tried_once_more(server: Server, client: CouchDB) -> None:
    async def breaking(request: web.Request) -> web.StreamResponse:
        server.answer = server.plain
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    server.answer = breaking
    assert await client.document("db", "a") == b"{}"
    assert len(server.requests) == 2


@pytest.mark.parametrize(("pause", "connections"), [(3.5, 1), (4.5, 2)])
async def test_a_connection_that_lay_idle_is_used_again_for_four_seconds(
    server: Server, client: CouchDB, monkeypatch: pytest.MonkeyPatch, pause: float, connections: int
) -> None:
    """PouchDB Server, as any program on node, closes it after five."""
    await client.document("db", "a")
    monkeypatch.setattr("aiohttp.connector.monotonic", lambda: time.monotonic() + pause)
    await client.document("db", "a")
    assert len(server.peers) == connections


@pytest.mark.parametrize(
    "url",
    ["", "localhost:5984", "ftp://localhost", "http://", "http://u:secret@a:x", "http://u:secret@a..b", "http://a:0"],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        CouchDB(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("answer", ODD_ANSWERS.values(), ids=ODD_ANSWERS)
async def test_whatever_answers_in_its_place_is_one_error(answer: bytes) -> None:
    async with OddServer(answer) as server:
        client = CouchDB(f"http://{server.address}", timeout=5)
        asked: list[Callable[[], Awaitable[object]]] = [
            lambda: client.view("db", "design", "view"),
            lambda: client.write("db", [b"{}"]),
            lambda: client.document("db", "a"),
        ]
        outcomes = await asyncio.gather(*(ask() for ask in asked), return_exceptions=True)
        await client.close()
    for error in outcomes:
        if isinstance(error, BaseException):
            assert isinstance(error, CouchFailed)
            assert str(error).isprintable()
            assert len(str(error)) < 600


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"rows": [{"key": "\xff"}]}', b'{"rows": [{"key": "\\ud800"}]}', b"17"]
)
async def test_a_view_that_cannot_be_read_is_named(server: Server, client: CouchDB, body: bytes) -> None:
    server.says(200, body)
    with pytest.raises(CouchFailed, match="answer to GET db/_design/d/_view/v cannot be read"):
        await client.view("db", "d", "v")


async def test_what_is_asked_when_it_is_closed_is_an_error_and_no_new_connection(
    server: Server, client: CouchDB
) -> None:
    came, let_go = asyncio.Event(), asyncio.Event()

    async def hanging(request: web.Request) -> web.StreamResponse:
        came.set()
        await let_go.wait()
        return web.Response(body=b"{}")

    server.answer = hanging
    asking = asyncio.ensure_future(client.document("db", "a"))
    await came.wait()
    await client.close()
    with pytest.raises(CouchFailed):
        await asking
    with pytest.raises(CouchFailed, match="closed"):
        await client.document("db", "a")
    let_go.set()
    assert len(server.requests) == 1
