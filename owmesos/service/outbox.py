"""What must be stored and what must be sent, in order: no call leaves before everything decided before it is durable.

Whatever is queued is stored in one transaction, then its calls go out without waiting for one another's answers; the
driver keeps their order. So a burst costs one commit, and an acknowledgement waits for nothing but the disk.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from owmesos.mesos.driver import CallFailed, CallRefused, Driver
from owmesos.mesos.messages import Call
from owmesos.storage import Store, StoreFailed, Write

_log = logging.getLogger("owmesos.service")
_LAST_ANSWERS = 5.0


class Outbox:
    """`failed` is told of each call that was not taken: the call, the master's status or None, the reason."""

    def __init__(self, store: Store, driver: Driver, failed: Callable[[Call, int | None, str], None]) -> None:
        self._store = store
        self._driver = driver
        self._failed = failed
        self._writes: dict[object, Callable[[], Write]] = {}
        self._calls: list[Call] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="owmesos-store")
        self._sending: set[asyncio.Task[None]] = set()
        self._work: asyncio.Task[None] | None = None

    def store(self, key: object, write: Callable[[], Write]) -> None:
        """`key` names what is written: of several writes to one thing in a batch the last one counts.

        `write` is called when the batch is stored, and may then say what is newer: so a launch that changes three times
        in a batch is written down once.
        """
        self._writes.pop(key, None)
        self._writes[key] = write
        self._wake.set()

    def send(self, call: Call) -> None:
        self._calls.append(call)
        self._wake.set()

    async def flushed(self) -> None:
        """Returns when all that was put in before is durable. Raises what the store raised."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self._wake.set()
        await done

    def start(self, broken: Callable[[StoreFailed], None]) -> None:
        """Begin to work. `broken` is told when the store fails: nothing is sent on decisions that are not stored."""

        async def work() -> None:
            try:
                while True:
                    await self._wake.wait()
                    await self._batch()
            except StoreFailed as error:
                _log.error("%s", error)
                broken(error)

        self._work = asyncio.create_task(work(), name="outbox")

    async def close(self) -> None:
        """Store and send what is left, and wait a moment for the answers."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait([self._work])
        try:
            await self._batch()
            if self._sending:
                await asyncio.wait(self._sending, timeout=_LAST_ANSWERS)
        finally:
            self._thread.shutdown()

    async def _batch(self) -> None:
        self._wake.clear()
        writes, self._writes = [write() for write in self._writes.values()], {}
        calls, self._calls = self._calls, []
        waiting, self._waiting = self._waiting, []
        try:
            if writes:
                commit = asyncio.get_running_loop().run_in_executor(self._thread, self._store.commit, writes)
                await asyncio.shield(commit)
        except StoreFailed as error:
            for done in waiting:
                if not done.done():
                    done.set_exception(error)
            raise
        except asyncio.CancelledError:  # closing: the rest of this batch goes into the last one
            await asyncio.wait([commit])
            self._calls, self._waiting = calls + self._calls, waiting + self._waiting
            raise
        for done in waiting:
            if not done.done():
                done.set_result(None)
        for call in calls:
            task = asyncio.create_task(self._call(call))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _call(self, call: Call) -> None:
        try:
            await self._driver.call(call)
        except CallRefused as error:
            self._failed(call, error.status, error.reason)
        except CallFailed as error:
            self._failed(call, None, str(error))
