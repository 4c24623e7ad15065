"""What comes over HTTP, as one line for a person: a text, the beginning of a body, an exception."""

from __future__ import annotations

import asyncio
import os

import aiohttp

from owmesos.system.tls_errors import distrust, no_tls

_SHOWN = 300  # characters


def one_line(text: str) -> str:
    """`text` for a log or an error: printable, without line feeds, at most 300 characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"


async def body_of(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body, cut off at `limit` bytes. Raises aiohttp.ClientError."""
    try:
        return await response.content.readexactly(limit)
    except asyncio.IncompleteReadError as error:
        return error.partial


def described(error: BaseException, authority: str = "have it trusted by this machine") -> str:
    """An exception of aiohttp or the socket as one line, without what aiohttp adds to it. `authority` says what to do
    where the authority of the server's certificate is not known."""
    if isinstance(error, aiohttp.ClientPayloadError):
        return "it ended in the middle of an answer"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        untrusted = distrust(error.certificate_error, authority)
        if untrusted is not None:
            return f"its certificate is not trusted: {one_line(untrusted)}"
    if isinstance(error, aiohttp.ClientConnectorError):
        if no_tls(error.os_error):
            return "it does not speak TLS: is http:// meant?"
        if not isinstance(error, aiohttp.ClientSSLError):
            number = error.errno or 0
            closed = "it closed the connection in the TLS handshake: is http:// meant?"
            return os.strerror(number) if number > 0 else one_line(str(error.os_error)) or closed
    return one_line(str(error)) or type(error).__name__
