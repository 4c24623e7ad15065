"""What an exception of a connection says to a person."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from owmesos.system.http_answers import described
from owmesos.system.tls_errors import no_tls

Server = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def plain_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    writer.close()


async def closes_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As Mesos does with what is no HTTP."""
    await reader.read(65536)
    writer.close()


@pytest.mark.parametrize(
    ("serve", "said"),
    [
        (plain_http, "it does not speak TLS: is http:// meant?"),
        (closes_at_once, "it closed the connection in the TLS handshake: is http:// meant?"),
    ],
)
async def test_https_to_a_server_without_tls(serve: Server, said: str) -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await session.get(f"https://127.0.0.1:{port}/", ssl=ssl.create_default_context())
    assert described(caught.value) == said


@pytest.mark.parametrize(
    ("reason", "known"), [("WRONG_VERSION_NUMBER", True), ("HTTP_REQUEST", True), ("CERTIFICATE_VERIFY_FAILED", False)]
)
def test_both_reasons_of_openssl_are_known(reason: str, known: bool) -> None:
    error = ssl.SSLError(1, "ssl")
    error.reason = reason
    assert no_tls(error) is known
    assert not no_tls(OSError(1, "no"))
