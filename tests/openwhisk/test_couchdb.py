"""The client of CouchDB's API, on a server of the test's own that answers as it is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from owmesos.errors import InvalidInput
from owmesos.openwhisk.couchdb import CouchDB, CouchFailed, Written

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Notes what it is asked."""

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.answer: Answer = self.plain
        self.url = ""

    async def plain(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"{}")

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
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
    await client.attachment("db", "guest/a", "x/y", "1-a")
    assert [request.raw_path for request in server.requests] == [
        "/db/guest%2Fa%20b%2F%C3%A4%3F%23%25?rev=1-a",
        "/db/guest%2Fa/x%2Fy?rev=1-a",
    ]
    assert server.requests[0].headers["Authorization"] == "Basic dXNAZXI6cGE6c3M="


async def test_what_is_not_there_is_none(server: Server, client: CouchDB) -> None:
    server.says(404, b'{"error":"not_found"}')
    assert await client.document("db", "a") is None
    assert await client.attachment("db", "a", "b") is None
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
    async def slow(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(5)
        return web.Response()

    server.answer = slow
    began = time.monotonic()
    with pytest.raises(CouchFailed, match="too long"):
        await client.document("db", "a")
    assert time.monotonic() - began < 3


async def test_a_connection_that_breaks_is_tried_once_more(server: Server, client: CouchDB) -> None:
    async def breaking(request: web.Request) -> web.StreamResponse:
        server.answer = server.plain
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    server.answer = breaking
    assert await client.document("db", "a") == b"{}"
    assert len(server.requests) == 2


@pytest.mark.parametrize("url", ["", "localhost:5984", "ftp://localhost", "http://"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        CouchDB(url)
