"""Large request bodies, sent in slices.

The parts are not joined, which would copy them. Up to Python 3.11, data that the kernel does not accept at once is
copied too, which blocks the event loop: with slices only shortly. Other tasks run after each slice, also if the kernel
would accept the next one at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack

Body = Sequence[bytes | memoryview]
"""One after the other."""
SLICE = 256 * 1024  # bytes
STALLED = 2.0  # seconds


def sliced(body: Body | Lent) -> bytes | AsyncIterator[memoryview] | AsyncIterator[bytes]:
    """For aiohttp, with an explicit Content-Length."""
    if isinstance(body, Lent):
        return body.slices()
    return bytes(body[0]) if len(body) == 1 and len(body[0]) <= SLICE else _slices(body)


async def _slices(body: Body) -> AsyncIterator[memoryview]:
    for part in body:
        view = memoryview(part)
        for begin in range(0, len(view), SLICE):
            if begin:
                await asyncio.sleep(0)
            yield view[begin : begin + SLICE]


class Lent:
    """A body that is held only until it was sent, and acquired again for a repetition.

    It is acquired on entry, and released on exit at the latest. If the receiver accepts nothing for `STALLED` seconds,
    it is released until the receiver goes on.
    """

    def __init__(self, head: bytes, lend: Callable[[], AbstractAsyncContextManager[bytes | memoryview]]) -> None:
        self._head = head
        self._lend = lend
        self._loan = AsyncExitStack()
        self._giving: asyncio.Task[None] | None = None
        self._held: Body = ()  # nobody else keeps it, for that would keep its memory
        # Why it could not be acquired again: aiohttp takes that for the receiver's.
        self.failed: Exception | None = None

    async def __aenter__(self) -> Lent:
        await self.take()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.give_back()

    async def take(self) -> None:
        """Raises what the lender raises."""
        if not self._held:
            self._held = (self._head, await self._loan.enter_async_context(self._lend()))

    async def give_back(self) -> None:
        self._held = ()
        loan, self._loan = self._loan, AsyncExitStack()
        await loan.aclose()

    @property
    def length(self) -> int:
        """In bytes."""
        return sum(map(len, self._held))

    async def slices(self) -> AsyncIterator[bytes]:
        """Raises EOFError if it is shorter when it is acquired again, and what the lender raises."""
        loop = asyncio.get_running_loop()
        length, begin = self.length, 0
        while begin < length:
            if begin:
                await asyncio.sleep(0)
            try:
                await self.take()
                piece = self._slice(begin)
            except Exception as error:
                self.failed = error
                raise
            begin += len(piece)
            stalled = loop.call_later(STALLED, self._stalled)
            try:
                yield piece
            finally:
                stalled.cancel()
        await self.give_back()

    def _slice(self, begin: int) -> bytes:
        """A copy: a view would keep the whole body as long as the kernel does not accept it."""
        for part in self._held:
            if begin < len(part):
                return bytes(memoryview(part)[begin : begin + SLICE])
            begin -= len(part)
        raise EOFError("the body has become shorter")

    def _stalled(self) -> None:
        self._giving = asyncio.get_running_loop().create_task(self.give_back())
