"""The invoker's HTTP interface."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import aiohttp
import pytest

from owmesos.errors import InvalidInput
from owmesos.invoker.http_interface import InvokerHttp
from owmesos.openwhisk.kafka.pings import Pinger
from owmesos.openwhisk.messages import invoker_id
from owmesos.system.bounded_http import CannotListen
from tests.waiting import in_time

OURS = {"Authorization": "Basic aW52b2tlcjpzZWNyZXQ="}


class Switch:
    enabled = True

    def turn_away(self, reason: str, on: bool) -> bool:
        assert reason == "disabled"
        changed, self.enabled = self.enabled is on, not on
        return changed


@pytest.fixture
def switch() -> Switch:
    return Switch()


@pytest.fixture
async def client(switch: Switch) -> AsyncIterator[aiohttp.ClientSession]:
    server = InvokerHttp(invoker_id(0, unique_name="u"), cast(Pinger, switch), "invoker", "secret")
    port = await server.start("127.0.0.1", 0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        yield session
    await server.stop()


async def test_ping_is_for_everybody(client: aiohttp.ClientSession) -> None:
    async with client.get("/ping") as response:
        assert (response.status, await response.text()) == (200, "pong")


async def test_it_is_disabled_and_enabled(client: aiohttp.ClientSession, switch: Switch) -> None:
    for path, text in (
        ("disable", "invoker0/u is now disabled."),
        ("disable", "invoker0/u is already disabled."),
        ("enable", "invoker0/u is now enabled."),
        ("enable", "invoker0/u is already enabled."),
    ):
        async with client.post(f"/{path}", headers=OURS) as response:
            assert (response.status, await response.text()) == (200, text)
        async with client.get("/isEnabled", headers=OURS) as response:
            assert await response.json() == {"isEnabled": path == "enable"}
        assert switch.enabled is (path == "enable")


@pytest.mark.parametrize(
    "header",
    [None, "", "Basic", "Basic ???", "Basic aW52b2tlcg==", "Bearer aW52b2tlcjpzZWNyZXQ=", "Basic aW52b2tlcjpvdGhlcg=="],
)
async def test_who_is_not_known_changes_nothing(
    client: aiohttp.ClientSession, switch: Switch, header: str | None
) -> None:
    headers = {} if header is None else {"Authorization": header}
    for method, path in (("POST", "/disable"), ("POST", "/enable"), ("GET", "/isEnabled")):
        async with client.request(method, path, headers=headers) as response:
            assert response.status == 401
            assert response.headers["WWW-Authenticate"].startswith("Basic")
    assert switch.enabled


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/disable", 405), ("GET", "/metrics", 404)])
async def test_nothing_else_is_there(client: aiohttp.ClientSession, method: str, path: str, status: int) -> None:
    async with client.request(method, path, headers=OURS) as response:
        assert response.status == status


@pytest.mark.parametrize(("user", "password"), [("", "x"), ("x", "")])
def test_it_does_not_go_without_a_password(switch: Switch, user: str, password: str) -> None:
    with pytest.raises(InvalidInput):
        InvokerHttp(invoker_id(0), cast(Pinger, switch), user, password)


async def test_a_port_that_is_taken_is_said(client: aiohttp.ClientSession, switch: Switch) -> None:
    first = InvokerHttp(invoker_id(0), cast(Pinger, switch), "a", "b")
    port = await first.start("127.0.0.1", 0)
    second = InvokerHttp(invoker_id(1), cast(Pinger, switch), "a", "b")
    with pytest.raises(CannotListen, match=str(port)):
        await second.start("127.0.0.1", port)
    await first.stop()


async def test_half_requests_do_not_silence_it() -> None:
    """Strangers push out each other, and a probe that asks at once is answered."""
    server = InvokerHttp(invoker_id(0), cast(Pinger, Switch()), "user", "password")
    port = await server.start("127.0.0.1", 0)
    writers = []
    try:
        for _ in range(300):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST /disable HTTP/1.1\r\nHost: x\r\n")
            writers.append(writer)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)
        writer.write(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"pong" in await in_time(reader.readuntil(b"pong"))
    finally:
        for writer in writers:
            writer.close()
        await server.stop()


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_body_is_not_decompressed(
    encoding: str, client: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    """For a stranger; and one that cannot be would be logged with a traceback."""
    for path in ("ping", "disable"):
        async with client.post(f"/{path}", data=b"not that", headers={"Content-Encoding": encoding}) as response:
            assert response.status in (401, 405)
    await asyncio.sleep(0.1)
    assert not caplog.records
