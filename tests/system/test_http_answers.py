"""What an exception of a connection says to a person."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from pathlib import Path

import aiohttp
import pytest

from owmesos.system.http_answers import described
from owmesos.system.tls_errors import no_tls
from tests.fakes.pki import Pki

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
    ("name", "ends", "said"),
    [
        ("localhost", None, "unable to get local issuer certificate; AUTHORITY"),
        ("other.example", None, "is not valid for '127.0.0.1'; use a name that is in it"),
        ("127.0.0.1", datetime(2020, 1, 1, tzinfo=timezone.utc), "certificate has expired; renew it"),
    ],
)
async def test_why_a_certificate_is_not_trusted_and_what_to_do(
    tmp_path: Path, name: str, ends: datetime | None, said: str
) -> None:
    pki = Pki(tmp_path)
    trusting = ssl.create_default_context(cafile=pki.ca if "AUTHORITY" not in said else None)
    server = await asyncio.start_server(plain_http, "127.0.0.1", 0, ssl=pki.server(name, not_after=ends))
    port = server.sockets[0].getsockname()[1]
    async with server, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await session.get(f"https://127.0.0.1:{port}/", ssl=trusting)
    text = described(caught.value, "AUTHORITY")
    assert text.startswith("its certificate is not trusted: ")
    assert said in text


@pytest.mark.parametrize(
    ("reason", "known"), [("WRONG_VERSION_NUMBER", True), ("HTTP_REQUEST", True), ("CERTIFICATE_VERIFY_FAILED", False)]
)
def test_both_reasons_of_openssl_are_known(reason: str, known: bool) -> None:
    error = ssl.SSLError(1, "ssl")
    error.reason = reason
    assert no_tls(error) is known
    assert not no_tls(OSError(1, "no"))
