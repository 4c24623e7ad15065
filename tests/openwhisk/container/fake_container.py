"""A container that does what a test says, down to the bytes: a server on a free port of this machine."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from typing import Any

from owmesos.runtimes.access import proof_of, verifier_of
from owmesos.runtimes.framing import PROVE

Answering = Callable[[str, bytes], "bytes | None"]
"""Path and body of a request → the bytes of the answer, after which the connection stays; None: it is closed."""

HANG = b""


def http(status: int, body: bytes, *, length: int | None = None, headers: str = "") -> bytes:
    """A response; `length` if its Content-Length is to lie, `headers` are more of them, each with CRLF."""
    told = len(body) if length is None else length
    return f"HTTP/1.1 {status} X\r\n{headers}Content-Length: {told}\r\n\r\n".encode() + body


def answer(value: Any, status: int = 200) -> bytes:
    return http(status, json.dumps(value).encode())


def proving(secret: str, answering: Answering) -> Answering:
    """The same of a container that has this secret."""

    def answer_or_prove(path: str, body: bytes) -> bytes | None:
        if path != PROVE:
            return answering(path, body)
        return answer({"proof": proof_of(verifier_of(secret), body.decode())})

    return answer_or_prove


class FakeContainer:
    """`asked` are path and body of every request, `heads` their heads, `connections` how many were made.

    With `keeps_idle`, in seconds by the loop's clock, it closes a connection that lay idle for longer just when the
    next request comes, as is bound to happen to one in many.
    """

    def __init__(self, answering: Answering, *, keeps_idle: float = math.inf) -> None:
        self.answering = answering
        self.keeps_idle = keeps_idle
        self.asked: list[tuple[str, bytes]] = []
        self.heads: list[str] = []
        self.connections = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def serving(self) -> int:
        """Connections that are open."""
        return len(self._writers)

    @property
    def serves(self) -> bool:
        """Somebody is connected to it."""
        return bool(self._writers)

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> FakeContainer:
        self._server = await asyncio.start_server(self._serve, host, port, limit=2**26)
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
        loop = asyncio.get_running_loop()
        closes = math.inf
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                if loop.time() > closes:
                    break
                fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
                body = await reader.readexactly(int(fields["Content-Length"]))
                path = head.split(" ")[1]
                self.asked.append((path, body))
                self.heads.append(head)
                said = self.answering(path, body)
                if said is None:
                    break
                writer.write(said)
                await writer.drain()
                closes = loop.time() + self.keeps_idle
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the other side went away
        finally:
            self._writers.discard(writer)
            writer.close()
