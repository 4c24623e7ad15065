"""The network that breaks, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from chaos.proxy import Mode, Proxy
from tests.waiting import eventually_async, in_time


class Echo:
    """A server that answers with what it gets, in capitals, and remembers it."""

    def __init__(self) -> None:
        self.heard = b""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(100):
                self.heard += data
                writer.write(data.upper())
                await writer.drain()
        except OSError:
            pass  # the proxy broke the connection off
        finally:
            writer.close()


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[tuple[Proxy, str]]:
    server = await asyncio.start_server(echo.answer, "127.0.0.1")
    proxy = Proxy(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", lambda data: data[:1].decode(), delay=0.01)
    Client.opened = []
    yield proxy, (await proxy.listen("127.0.0.1")).partition(":")[2]
    for client in Client.opened:
        await client.close()
    await proxy.close()
    server.close()


class Client:
    """One connection."""

    opened: list[Client]

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, port: str) -> Client:
        client = cls(*await asyncio.open_connection("127.0.0.1", int(port)))
        cls.opened.append(client)
        return client

    async def close(self) -> None:
        self._writer.transport.abort()
        with suppress(OSError):
            await self._writer.wait_closed()

    def say(self, text: bytes) -> None:
        self._writer.write(text)

    async def hear(self) -> bytes:
        """Empty where the connection is broken off."""
        try:
            return await in_time(self._reader.read(100))
        except ConnectionError:
            return b""

    async def hears_nothing(self) -> bool:
        """In a time that the proxy, if it were open, would need by far less of."""
        try:
            return not await asyncio.wait_for(self._reader.read(100), 0.2)
        except asyncio.TimeoutError:
            return True


async def said(port: str, text: bytes) -> tuple[Client, bytes]:
    client = await Client.connect(port)
    client.say(text)
    return client, await client.hear()


@pytest.mark.parametrize("mode", [Mode.OPEN, Mode.SLOW])
async def test_what_is_open_or_slow_passes_everything(proxy: tuple[Proxy, str], mode: Mode) -> None:
    network, port = proxy
    network.set("a", mode)
    assert (await said(port, b"a1"))[1] == b"A1"


async def test_a_cut_breaks_off_what_is_there_and_what_comes_but_only_of_that_party(proxy: tuple[Proxy, str]) -> None:
    network, port = proxy
    first, _ = await said(port, b"a1")
    other, _ = await said(port, b"b1")
    network.set("a", Mode.CUT)
    assert await first.hear() == b""
    assert (await said(port, b"a2"))[1] == b""
    other.say(b"b2")
    assert await other.hear() == b"B2"
    network.set("a", Mode.OPEN)
    assert (await said(port, b"a3"))[1] == b"A3"


async def test_half_open_holds_back_both_ways_until_it_is_mended(proxy: tuple[Proxy, str], echo: Echo) -> None:
    network, port = proxy
    network.set("a", Mode.HALF_OPEN)
    client = await Client.connect(port)
    client.say(b"a1")
    assert await client.hears_nothing(), echo.heard
    assert echo.heard == b""
    network.set("a", Mode.OPEN)
    assert await client.hear() == b"A1"


async def test_one_way_loses_only_the_answers(proxy: tuple[Proxy, str], echo: Echo) -> None:
    network, port = proxy
    network.set("a", Mode.ONE_WAY)
    client = await Client.connect(port)
    client.say(b"a1")
    await eventually_async(lambda: echo.heard == b"a1")
    reset = asyncio.ensure_future(client.hear())
    network.reset("a")
    assert await reset == b""
