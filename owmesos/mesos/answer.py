"""What a master's HTTP answer says in one line, whatever it is: Mesos's reason, a proxy's HTML page, or
nothing.
"""

from __future__ import annotations

import os
import re

import aiohttp

READ_LIMIT = 16 * 1024
_SHOWN = 300


def one_line(text: str) -> str:
    """`text` for a log or an error: printable, without line feeds, at most 300 characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"


async def body_of(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body, cut off at `limit` bytes. Raises aiohttp.ClientError."""
    data = bytearray()
    while len(data) < limit:
        part = await response.content.read(limit - len(data))
        if not part:
            break
        data += part
    return bytes(data)


async def reason_of(response: aiohttp.ClientResponse) -> str | None:
    """What `response` says; None when its body is empty. Reads at most 16 KB. Raises aiohttp.ClientError."""
    return reason_in(await body_of(response, READ_LIMIT), response.content_type)


def reason_in(body: bytes, content_type: str) -> str | None:
    """What an answer with this body says; None when it is empty."""
    text = body.decode(errors="replace")
    if "html" in content_type or text.lstrip()[:9].lower() in ("<!doctype", "<html>"):
        title = re.search(r"<title>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        return one_line(f"an HTML page{f' ({title[1].strip()})' if title else ''}: is that a Mesos master?")
    return one_line(text) or None


def is_json(response: aiohttp.ClientResponse) -> bool:
    return response.content_type == "application/json"


def described(error: BaseException) -> str:
    """An exception of aiohttp or the socket as one line, without what aiohttp adds to it."""
    if isinstance(error, aiohttp.ClientPayloadError):
        return "it ended in the middle of an answer"
    if isinstance(error, aiohttp.ClientConnectorError) and not isinstance(error, aiohttp.ClientSSLError):
        number = error.errno or 0
        return os.strerror(number) if number > 0 else one_line(str(error.os_error))
    return one_line(str(error)) or type(error).__name__
