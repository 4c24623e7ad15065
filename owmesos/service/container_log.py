"""One log of a launch, a task or a container: its bytes from its sandbox, as they are, as they come, or its last lines.

Nothing is kept here: the agent has the files, also for some time after the task's end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Literal, NamedTuple

from owmesos.core.container_factory import ContainerStreams, StreamAway, StreamMissing, StreamPart, StreamUnreadable
from owmesos.runtimes.framing import SENTINEL
from owmesos.service.errors import LogMissing, LogUnreadable

TAIL_BYTES = 4 * 2**20
"""Bytes at the end of a log in which `tail` looks for lines."""
INTERVAL = 0.5  # seconds between reads of a followed log
RECOVERY = 8.0  # seconds; a restarted Mesos agent knows its containers again after 6.5 s (measured)
_CHUNK = 64 * 1024  # bytes
_LONGEST = 2**20  # bytes of a line
_END_OF_RUN = SENTINEL.encode() + b"\n"
_BEGINNING = 200  # bytes of a line that show whether the executor wrote it
Stream = Literal["stdout", "stderr"]


class ContainerLog(NamedTuple):
    """One stream of a task or a container."""

    streams: ContainerStreams
    stream: Stream  # stdout or stderr
    place: str  # the node, for messages
    missing: Callable[[], str]  # what to say if there is none
    live: Callable[[], bool]  # whether more may come
    last_run: bool = False  # of a container that serves one activation at a time: without what earlier ones wrote

    async def read(self, offset: int) -> StreamPart:
        """Raises LogMissing and LogUnreadable."""
        try:
            return await self.streams.read(self.stream, offset)
        except StreamMissing:
            raise LogMissing(self.missing()) from None
        except StreamAway as error:
            said = str(error).rpartition(" from ")[2]  # `http://10.0.0.1:5051/api/v1: Connection refused`
            raise LogUnreadable(f"the log is on {self.place}, which does not answer: {said}") from error
        except StreamUnreadable as error:
            raise LogUnreadable(str(error)) from error

    async def begin_of_last(self, lines: int) -> int:
        """The offset of the last `lines` lines within TAIL_BYTES, without the executor's lines. Raises LogMissing and
        LogUnreadable."""
        begin = end = (await self.read(-1)).size
        missing, after = lines, b""  # `after`: the first bytes after `data`
        async for start, data in self._back_from(end if lines else 0):
            at = len(data) - (begin == end and data.endswith(b"\n"))
            while missing and (at := data.rfind(b"\n", 0, at)) >= 0:
                line = (data[at + 1 : at + 1 + _BEGINNING] + after)[:_BEGINNING].partition(b"\n")[0]
                missing -= not self.streams.is_foreign(self.stream, line)
            if not missing:
                return start + at + 1
            begin, after = start, (data[:_BEGINNING] + after)[:_BEGINNING]
        return begin

    async def begin_of_run(self) -> int:
        """The offset after the last line that ends an activation, within TAIL_BYTES. Raises LogMissing and
        LogUnreadable."""
        begin = size = (await self.read(-1)).size
        after = b""  # the first bytes after `data`
        async for begin, data in self._back_from(size):
            at = (data + after).rfind(_END_OF_RUN)
            if at >= 0:
                return begin + at + len(_END_OF_RUN)
            after = (data + after)[: len(_END_OF_RUN)]
        return begin

    async def _back_from(self, end: int) -> AsyncGenerator[tuple[int, bytes], None]:
        """Where each chunk of the TAIL_BYTES before `end` begins, and its bytes; the last one first."""
        least = max(0, end - TAIL_BYTES)
        while end > least:
            begin = max(least, end - _CHUNK)
            yield begin, (await self.read(begin)).data[: end - begin]
            end = begin

    async def parts(
        self, tail: int | None = None, follow: Callable[[], Awaitable[object]] | None = None
    ) -> AsyncGenerator[bytes, None]:
        """What there is now, without the executor's lines; with `tail`, its last so many lines. With `follow`, which is
        awaited between two looks, until nothing more can come. The first part comes when the log is found, and may be
        empty. Raises LogMissing and LogUnreadable, and what `follow` raises.
        """
        offset = await self.begin_of_last(tail) if tail is not None else 0
        offset = max(offset, await self.begin_of_run()) if self.last_run else offset
        part = await self.read(offset)
        end, live, own = part.size, True, OwnLines(self)
        yield own.of(part.data)
        while not own.over:
            if part.data:
                offset += len(part.data)
            elif part.size < offset:
                offset = 0  # the log was truncated or rotated
            elif follow is None or not live:
                break
            if offset >= end and follow is None:
                break
            if follow is not None and not part.data:
                await follow()
            live = self.live()  # checked before reading, so that the last output is read too
            part = await self._patiently(offset)
            if part.data:
                yield own.of(part.data)
        yield own.end()

    async def lines(
        self, tail: int | None = None, follow: Callable[[], Awaitable[object]] | None = None
    ) -> AsyncGenerator[str, None]:
        """As `parts`, as text, without the ends of lines. What is not UTF-8 is replaced, and a line longer than 1 MiB
        comes in pieces."""
        rest = b""
        async for part in self.parts(tail, follow):
            *lines, rest = (rest + part).split(b"\n")
            if len(rest) > _LONGEST:
                lines, rest = [*lines, rest], b""
            for line in lines:
                yield line.decode(errors="replace")
        if rest:
            yield rest.decode(errors="replace")

    async def _patiently(self, offset: int) -> StreamPart:
        until = asyncio.get_running_loop().time() + RECOVERY
        while True:
            try:
                return await self.read(offset)
            except (LogMissing, LogUnreadable) as error:
                away = isinstance(error, LogMissing) or isinstance(error.__cause__, StreamAway)
                if not away or asyncio.get_running_loop().time() > until:
                    raise
            await asyncio.sleep(INTERVAL)


class OwnLines:
    """Leaves out what the executor writes into its task's stderr. Where the log is that of one activation it is `over`
    at the line that ends it: what follows is of the next one."""

    def __init__(self, log: ContainerLog) -> None:
        self._log = log
        self._rest = b""  # a line that has not ended yet
        self.over = False

    def of(self, data: bytes) -> bytes:
        """The task's own lines of `data`; a line that is not complete is kept for the next call."""
        if self._log.stream != "stderr" and not self._log.last_run:
            return data
        *lines, rest = (self._rest + data).split(b"\n")
        if len(rest) > _CHUNK:
            lines, rest = [*lines, rest], b""
        end = _END_OF_RUN[:-1]
        if self._log.last_run and end in lines:
            self.over, lines, rest = True, lines[: lines.index(end)], b""
        self._rest = rest
        return b"".join(line + b"\n" for line in lines if not self._foreign(line))

    def end(self) -> bytes:
        return b"" if self._foreign(self._rest) else self._rest

    def _foreign(self, line: bytes) -> bool:
        return self._log.streams.is_foreign(self._log.stream, line)
