"""The code of actions, encoded for `/init`, within a budget of bytes.

The budget covers code that is being fetched, code that is being sent to containers, and the code used last. A user
of code waits for room in turn; code that is larger than the budget is held alone.

A container that reads its `/init` slowly holds its code all the time. So small code has its own share, and never
waits for large code.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from owmesos.openwhisk.executable import StoredCode
from owmesos.system.tasks import cancel_all, ignore_result

BUDGET = 256 * 2**20
SMALL = 2**20  # bytes
_FOR_SMALL = 8  # small code has one part of so many
Key = tuple[str, str, str, bytes]
Fetch = Callable[[StoredCode], Awaitable[bytearray]]


class _Entry:
    """`size` in bytes is reserved for it; `users` send it to containers, or wait for it."""

    def __init__(self) -> None:
        self.size = 0
        self.users = 0
        self.fetched: asyncio.Task[bytearray] | None = None

    @property
    def idle(self) -> bool:
        return not self.users and self.fetched is not None and self.fetched.done()


class CodeCache:
    """To be used within one event loop."""

    def __init__(self, fetch: Fetch, budget: int = BUDGET) -> None:
        """`budget` in bytes."""
        for_small = budget // _FOR_SMALL
        self._small = _Share(fetch, for_small)
        self._large = _Share(fetch, budget - for_small)

    @property
    def held(self) -> int:
        """In bytes."""
        return self._small.held + self._large.held

    def use(self, code: StoredCode) -> AbstractAsyncContextManager[memoryview]:
        """Raises what the fetch raises; a failure is not cached."""
        return self._share(code).use(code)

    def prefetch(self, code: StoredCode) -> None:
        """It will be needed soon: fetch it if there is room."""
        self._share(code).prefetch(code)

    async def close(self) -> None:
        await self._small.close()
        await self._large.close()

    def _share(self, code: StoredCode) -> _Share:
        return self._small if 0 < code.encoded_length <= SMALL else self._large


class _Share:
    """A part of the budget, with a turn of its own."""

    def __init__(self, fetch: Fetch, budget: int) -> None:
        self._fetch = fetch
        self._budget = budget
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()  # the last used is the last
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self.held = 0  # bytes

    @asynccontextmanager
    async def use(self, code: StoredCode) -> AsyncIterator[memoryview]:
        entry = self._entry(code)
        entry.users += 1
        try:
            assert entry.fetched is not None
            # The cancellation of one waiter must not affect the others.
            yield memoryview(await asyncio.shield(entry.fetched))
        finally:
            entry.users -= 1
            self._changed.set()

    def prefetch(self, code: StoredCode) -> None:
        if self.held + code.encoded_length <= self._budget and not self._turn.locked():
            self._entry(code)

    async def close(self) -> None:
        await cancel_all(entry.fetched for entry in self._entries.values() if entry.fetched is not None)

    def _entry(self, code: StoredCode) -> _Entry:
        # Where the document does not say what is in it, a name may have been used before.
        key = (code.document_id, code.attachment, code.digest or code.revision or "", code.head)
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry()
            entry.fetched = asyncio.get_running_loop().create_task(self._fetched(key, entry, code))
            entry.fetched.add_done_callback(ignore_result)  # a prefetch has no users to get its error
        self._entries.move_to_end(key)
        return entry

    async def _fetched(self, key: Key, entry: _Entry, code: StoredCode) -> bytearray:
        try:
            async with self._turn:
                await self._make_room(code.encoded_length)
                self._resize(entry, code.encoded_length)
            made = await self._fetch(code)
        except BaseException:
            del self._entries[key]
            self._resize(entry, 0)
            raise
        self._resize(entry, len(made))
        return made

    async def _make_room(self, size: int) -> None:
        while self.held and self.held + size > self._budget:
            idle = next((key for key, entry in self._entries.items() if entry.idle), None)
            if idle is not None:
                self._resize(self._entries.pop(idle), 0)
                continue
            self._changed.clear()
            await self._changed.wait()

    def _resize(self, entry: _Entry, size: int) -> None:
        self.held += size - entry.size
        entry.size = size
        self._changed.set()
