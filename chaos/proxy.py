"""The network between processes, as a TCP proxy that can cut a connection, fall silent, lose answers, or be slow.

A party is who connects, told by the first bytes of a connection, so that one of several at the same port is cut off
and the others are not.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from contextlib import suppress

_CHUNK = 65536


class Mode(enum.Enum):
    """How a party's connections fare."""

    OPEN = "open"
    CUT = "cut"  # those there are break off, and new ones too
    HALF_OPEN = "half open"  # nothing breaks, and nothing passes either way
    ONE_WAY = "one way"  # what the party says passes; it gets no answer
    SLOW = "slow"


class _Connection:
    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.party: str | None = None
        self._ends = (client, server)

    def abort(self) -> None:
        for end in self._ends:
            end.transport.abort()


class Proxy:
    """One port that stands for another. `party_of` names who speaks, by the first bytes that came."""

    def __init__(self, target: str, party_of: Callable[[bytes], str], *, delay: float = 1.0) -> None:
        """`target` is `host:port`; `delay` is in seconds, for each piece of data of a slow party."""
        self._target = target
        self._party_of = party_of
        self._delay = delay
        self._modes: dict[str, Mode] = {}
        self._changed = asyncio.Event()
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def listen(self, host: str, port: int = 0) -> str:
        """Returns the `host:port`. Raises OSError if that is taken."""
        self._server = await asyncio.start_server(self._begin, host, port)
        return f"{host}:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def set(self, party: str, mode: Mode) -> None:
        """From now on, for what is open and what is to come."""
        self._modes[party] = mode
        self._changed.set()
        self._changed = asyncio.Event()
        if mode is Mode.CUT:
            self.reset(party)

    def reset(self, party: str) -> None:
        """Breaks a party's connections off."""
        for connection in list(self._connections):
            if connection.party == party:
                connection.abort()

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._accepted(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self._target.rpartition(":")
        try:
            upstream, server = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.transport.abort()
            return
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        connection = _Connection(writer, server)
        self._connections.add(connection)
        try:
            await asyncio.gather(
                self._pump(connection, reader, server, answers=False),
                self._pump(connection, upstream, writer, answers=True),
            )
        finally:
            connection.abort()
            self._connections.discard(connection)

    async def _pump(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        """One direction, to its end."""
        try:
            while data := await reader.read(_CHUNK):
                if connection.party is None and not answers:
                    connection.party = self._party_of(data)
                await self._passage(connection, answers=answers)
                writer.write(data)
                await writer.drain()
            await self._passage(connection, answers=answers)
            with suppress(OSError, RuntimeError):  # the other end may be gone by now
                writer.write_eof()
        except OSError:
            await self._passage(connection, answers=answers)
            connection.abort()

    async def _passage(self, connection: _Connection, *, answers: bool) -> None:
        """Returns when data may pass."""
        while True:
            mode = self._modes.get(connection.party or "", Mode.OPEN)
            if mode is Mode.CUT:
                connection.abort()
                return
            if mode is Mode.OPEN or (mode is Mode.ONE_WAY and not answers):
                return
            if mode is Mode.SLOW:
                await asyncio.sleep(self._delay)
                return
            await self._changed.wait()
