"""What may be at an address in place of the server that is meant: bytes to every connection, whatever it asked."""

from __future__ import annotations

import asyncio
import gzip
from types import TracebackType


def http(status: str, body: bytes = b"", *headers: str, kind: str = "text/html") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


JSON = "application/json"
PAGE = b"<html><head><title>Login</title></head></html>"
ODD_ANSWERS = {
    "a page": http("200 OK", PAGE),
    "a page that is JSON by its header": http("200 OK", PAGE, kind=JSON),
    "not found": http("404 Not Found", PAGE),
    "not found, without a word": http("404 Not Found"),
    "a page that says 400": http("400 Bad Request", PAGE),
    "400 without a word": http("400 Bad Request", kind="text/plain"),
    "400 in JSON": http("400 Bad Request", b'{"error":"no"}', kind=JSON),
    "400 in the words of its status": http("400 Bad Request", b"400: Bad Request", kind="text/plain"),
    "a page that says 403": http("403 Forbidden", PAGE),
    "a redirection to a login": http("302 Found", b"", "Location: http://127.0.0.1:1/login"),
    "a redirection to nowhere": http("307 Temporary Redirect"),
    "a redirection to a bad port": http("307 Temporary Redirect", b"", "Location: //h:99999/x"),
    "a redirection to a bad name": http("307 Temporary Redirect", b"", "Location: gopher://h/x"),
    "an empty 200": http("200 OK", b"", kind=JSON),
    "JSON that breaks off": http("200 OK", b'{"a": [1, 2', kind=JSON),
    "JSON of a hundred thousand brackets": http("200 OK", b"[" * 100_000 + b"]" * 100_000, kind=JSON),
    "JSON objects in each other": http("200 OK", b'{"a":' * 100_000 + b"1" + b"}" * 100_000, kind=JSON),
    "JSON that is not UTF-8": http("200 OK", b'{"a": "\xff\xfe"}', kind=JSON),
    "JSON with half a surrogate pair": http("200 OK", b'{"a": "\\ud800"}', kind=JSON),
    "a number": http("200 OK", b"17", kind=JSON),
    "null": http("200 OK", b"null", kind=JSON),
    "gzip": http("200 OK", gzip.compress(PAGE), "Content-Encoding: gzip"),
    "gzip that is none": http("200 OK", PAGE, "Content-Encoding: gzip"),
    "a header of 100 KB": http("200 OK", PAGE, "X: " + "x" * 100_000),
    "a thousand headers": http("200 OK", PAGE, *(f"X-{number}: {'x' * 100}" for number in range(1000))),
    "headers that are not ASCII": http("404 Not Found", PAGE, "X: \xff\xfe"),
    "a body that breaks off": http("404 Not Found", PAGE).replace(b"Content-Length: ", b"Content-Length: 9"),
    "two lengths": http("200 OK", PAGE, "Content-Length: 3"),
    "a chunk that is none": http("200 OK", b"zz\r\n", "Transfer-Encoding: chunked").replace(
        b"Content-Length: 4\r\n", b""
    ),
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "bytes": bytes(range(256)),
    "a status of letters": b"HTTP/1.1 OK fine\r\n\r\n",
    "a status line and no more": b"HTTP/1.1 200 OK\r\n",
    "nothing": b"",
}


class OddServer:
    """`async with OddServer(answer) as address: …`; `asked` counts the connections."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.asked = 0
        self.address = ""

    async def __aenter__(self) -> OddServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        try:
            await asyncio.wait_for(reader.read(64 * 1024), 5)
            writer.write(self.answer)
            await writer.drain()
        except (OSError, asyncio.TimeoutError):
            pass
        finally:
            writer.close()
