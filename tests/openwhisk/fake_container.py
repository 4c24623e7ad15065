"""A container that does what a test says, down to the bytes: a server on a free port of this machine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

Answering = Callable[[str, bytes], "bytes | None"]
"""Path and body of a request → the bytes of the answer, after which the connection stays; None: it is closed."""

HANG = b""


def http(status: int, body: bytes, *, length: int | None = None) -> bytes:
    """A response; `length` if its Content-Length is to lie."""
    told = len(body) if length is None else length
    return f"HTTP/1.1 {status} X\r\nContent-Length: {told}\r\n\r\n".encode() + body


def answer(value: Any, status: int = 200) -> bytes:
    return http(status, json.dumps(value).encode())


class FakeContainer:
    """`asked` are path and body of every request, `connections` how many were made."""

    def __init__(self, answering: Answering) -> None:
        self.answering = answering
        self.asked: list[tuple[str, bytes]] = []
        self.connections = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def serves(self) -> bool:
        """Somebody is connected to it."""
        return bool(self._writers)

    async def start(self, port: int = 0) -> FakeContainer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=2**26)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        """It and its connections are gone."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
                body = await reader.readexactly(int(fields["Content-Length"]))
                path = head.split(" ")[1]
                self.asked.append((path, body))
                said = self.answering(path, body)
                if said is None:
                    break
                writer.write(said)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the other side went away
        finally:
            self._writers.discard(writer)
            writer.close()
