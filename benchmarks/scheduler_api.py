"""A master for benchmarks of drivers, in a process of its own: it takes every call, and costs as little as it can.

What it does after SUBSCRIBED is the framework's name: see `Master`.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.clusters import offers_event

_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMesos-Stream-Id: bench\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
_UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
_SUBSCRIBED = {"type": "SUBSCRIBED", "subscribed": {"framework_id": {"value": "bench"}}}


class Master:
    """`offers:EVENTS:SIZE` brings so many OFFERS of so many offers each, then a HEARTBEAT; `accepts:N` brings an
    OFFERS, and N times, at each ACCEPT, the next one; `unavailable` is answered 503. Any other name: nothing.
    """

    def __init__(self) -> None:
        self.subscribes = 0
        self.accept_ms: list[float] = []
        self._stream: asyncio.StreamWriter | None = None
        self._offered_at = 0.0
        self._one = offers_event(1)

    async def serve(self) -> None:
        """Says where it is, and at the end of its input what it has counted."""
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        print("{}:{}".format(*server.sockets[0].getsockname()), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        server.close()
        print(json.dumps([self.subscribes, self.accept_ms]))

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                if not head.startswith(b"post"):
                    break  # pymesos asks for the version first
                length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
                body = await reader.readexactly(length)
                await self._answer(body, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # it has gone
        writer.close()

    async def _answer(self, body: bytes, writer: asyncio.StreamWriter) -> None:
        if b'"SUBSCRIBE"' not in body:
            if b'"ACCEPT"' in body:
                self.accept_ms.append((time.perf_counter() - self._offered_at) * 1000)
            writer.write(_ACCEPTED)
            if b'"ACCEPT"' in body:
                self._offer()
            return
        self.subscribes += 1
        kind, *numbers = json.loads(body)["subscribe"]["framework_info"]["name"].split(":")
        if kind == "unavailable":
            writer.write(_UNAVAILABLE)
            writer.close()
            return
        writer.write(_HEAD + _chunk(json.dumps(_SUBSCRIBED).encode()))
        self._stream = writer
        if kind == "offers":
            event = _chunk(offers_event(int(numbers[1])))
            for _ in range(int(numbers[0])):
                writer.write(event)
                await writer.drain()
            writer.write(_chunk(b'{"type":"HEARTBEAT"}'))
        elif kind == "accepts":
            self._offer()

    def _offer(self) -> None:
        if self._stream is not None:
            self._offered_at = time.perf_counter()
            self._stream.write(_chunk(self._one))


def _chunk(record: bytes) -> bytes:
    framed = b"%d\n%s" % (len(record), record)
    return b"%x\r\n%s\r\n" % (len(framed), framed)


class Running:
    """A master that runs. After `end` it tells what it has counted."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "benchmarks.scheduler_api"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()
        self.subscribes = 0
        self.accept_ms: list[float] = []

    def end(self) -> None:
        """Once is enough."""
        if self._process.returncode is None:
            told, _ = self._process.communicate()
            self.subscribes, self.accept_ms = json.loads(told)


@contextmanager
def running() -> Iterator[Running]:
    master = Running()
    try:
        yield master
    finally:
        master.end()


if __name__ == "__main__":
    asyncio.run(Master().serve())
