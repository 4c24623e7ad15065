"""What an HTTP answer says, in one line: Mesos's reason, a proxy's HTML page, or nothing."""

from __future__ import annotations

import re

import aiohttp

from owmesos.system.http_answers import body_of, one_line

READ_LIMIT = 16 * 1024


async def reason_of(response: aiohttp.ClientResponse) -> str | None:
    """See `reason_in`. Reads at most 16 KB. Raises aiohttp.ClientError."""
    return reason_in(await body_of(response, READ_LIMIT), response.content_type)


def reason_in(body: bytes | bytearray, content_type: str) -> str | None:
    """What an answer with this body says; None if it is empty."""
    text = body.decode(errors="replace")
    if "html" in content_type or text.lstrip()[:9].lower() in ("<!doctype", "<html>"):
        title = re.search(r"<title>([^<]*)</title>", text, re.IGNORECASE)
        return one_line(f"an HTML page{f' ({title[1].strip()})' if title else ''}: is that a Mesos master?")
    return one_line(text) or None


def is_json(response: aiohttp.ClientResponse) -> bool:
    return response.content_type == "application/json"
