"""Stores and sends what was decided, in order: no call is sent before everything decided before it is durable.

All queued writes are stored in one transaction. Then their calls are sent without waiting for each other's answers;
the driver keeps their order. So a burst costs one commit, and an acknowledgement waits only for the disk.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import msgspec

from owmesos.mesos.messages import Call, Kill, Reconcile, ReconcileTask, Shutdown
from owmesos.mesos.scheduler.events import CallNotTaken
from owmesos.mesos.wire.driver import CallFailed, CallRefused, Driver, NotSubscribed
from owmesos.storage import ForgetFramework, Store, StoreFailed, StoreTrouble, Write
from owmesos.system.tasks import keep

_log = logging.getLogger("owmesos.service")
_REPEATED = (Kill, Shutdown)
_LAST_ANSWERS = 5.0  # seconds; for answers under way at the end
_SLICE = 500
"""Writes that are made ready before the event loop has its turn: 5 ms."""


class Outbox:
    """`failed` is called for each call that the master did not accept."""

    def __init__(self, store: Store, driver: Driver, failed: Callable[[CallNotTaken], None]) -> None:
        self._store = store
        self._driver = driver
        self._failed = failed
        self._writes: dict[object, Callable[[], Write]] = {}
        self._calls: list[tuple[Call, float | None]] = []
        self.sent: Counter[str] = Counter()
        """Calls since the process began, by their type, those that failed included."""
        self._waiting: list[asyncio.Future[None]] = []
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="owmesos-store")
        self._sending: set[asyncio.Task[None]] = set()
        self._unanswered: set[bytes] = set()  # of calls that are repeated
        self._questions: dict[str, ReconcileTask] = {}  # by task; for the next RECONCILE
        self._asking = asyncio.Lock()
        self._whole = asyncio.Lock()
        self._work: asyncio.Task[None] | None = None
        self._broken: StoreFailed | None = None
        self._broken_told: Callable[[StoreFailed], None] = lambda error: None
        self._forgotten = False

    def store(self, key: object, write: Callable[[], Write]) -> None:
        """`key` names the written object: of several writes to one object in a batch only the last is stored.

        `write` is called when the batch is stored, and may return newer data: so a launch that changes three times
        in a batch is stored once. After `forget` nothing is stored.
        """
        if self._forgotten:
            return
        self._writes.pop(key, None)
        self._writes[key] = write
        self._wake.set()

    def send(self, call: Call, accepted_at: float | None = None) -> None:
        """`accepted_at` of an ACCEPT: just before it is sent, the store is told that it may have been sent.

        A KILL or SHUTDOWN that is repeated while the one before is not answered yet is left out, and the tasks of a
        RECONCILE go with the next that can be sent: where answers are slow, each would add to what comes before others.
        """
        if isinstance(call, _REPEATED):
            key = msgspec.json.encode(call)
            if key in self._unanswered:
                return
            self._unanswered.add(key)
        elif isinstance(call, Reconcile) and call.tasks:
            waits = bool(self._questions)
            self._questions.update((task.task_id.value, task) for task in call.tasks)
            if waits:
                return
        self._calls.append((call, accepted_at))
        self.sent[call.wire_type] += 1
        self._wake.set()

    def in_one_commit(self) -> asyncio.Lock:
        """While it is held, nothing is stored or sent: all that is decided meanwhile is stored in one commit."""
        return self._whole

    async def forget(self) -> None:
        """Store that the framework has ended, as the last write of all. Raises what the store raises."""
        self.store("framework", ForgetFramework)
        self._forgotten = True
        await self.flushed()

    @property
    def trouble(self) -> StoreTrouble | None:
        """What keeps all that is queued waiting."""
        return self._store.trouble()

    async def flushed(self) -> None:
        """Returns when everything queued before is durable. Raises what the store raised, now or before."""
        if self._broken is not None:
            raise self._broken
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self._wake.set()
        await done

    def start(self, broken: Callable[[StoreFailed], None]) -> None:
        """Begin to work. `broken` is called when the store fails: then nothing is sent, because the decisions are
        not stored."""

        async def work() -> None:
            try:
                while True:
                    await self._wake.wait()
                    await self._batch()
            except StoreFailed as error:
                self._report(error)

        loop = asyncio.get_running_loop()

        def lost(error: StoreFailed) -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(lambda: self._report(self._fail(error)))

        self._broken_told = broken
        self._store.watch(lost)
        self._work = asyncio.create_task(work(), name="outbox")

    async def close(self) -> None:
        """Store and send what is left, then wait shortly for the answers."""
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
        async with self._whole:
            self._wake.clear()
            pending, self._writes = self._writes, {}
            calls, self._calls = self._calls, []
            waiting, self._waiting = self._waiting, []
        if self._broken is not None:  # nothing is sent that is not stored, nor for a state that another process has
            self._waiting += waiting
            self._fail(self._broken)
            return
        commit: asyncio.Future[None] | None = None
        try:
            writes = await _made(pending.values())
            accepted_at = max((at for _, at in calls if at is not None), default=None)
            if writes or accepted_at is not None:
                commit = asyncio.get_running_loop().run_in_executor(self._thread, self._commit, writes, accepted_at)
                await asyncio.shield(commit)
        except StoreFailed as error:
            self._waiting += waiting
            raise self._fail(error) from None
        except Exception as error:
            _log.exception("what was decided cannot be stored")
            self._waiting += waiting
            raise self._fail(StoreFailed(f"what was decided cannot be stored: {error}")) from error
        except asyncio.CancelledError:  # closing: the rest of this batch goes into the last one
            if commit is not None:
                await asyncio.wait([commit])
            self._calls, self._waiting = calls + self._calls, waiting + self._waiting
            if commit is None or commit.exception() is not None:  # the last one may succeed, or says why not
                self._writes = {**pending, **self._writes}
            raise
        for done in waiting:
            if not done.done():
                done.set_result(None)
        for call, accepted_at in calls:
            keep(asyncio.create_task(self._call(call, accepted_at)), self._sending)

    def _commit(self, writes: Sequence[Write], accepted_at: float | None) -> None:
        if writes:
            self._store.commit(writes)
        if accepted_at is not None:
            self._store.about_to_send(accepted_at)

    def _report(self, error: StoreFailed) -> None:
        _log.error("%s", error)
        self._broken_told(error)

    def _fail(self, error: StoreFailed) -> StoreFailed:
        """Store nothing more; raise the error in all current and later waiters."""
        self._broken = error
        for done in self._waiting:
            if not done.done():
                done.set_exception(error)
        return error

    async def _call(self, call: Call, accepted_at: float | None) -> None:
        if not isinstance(call, Reconcile) or not call.tasks:
            await self._called(call, accepted_at)
            return
        async with self._asking:
            questions, self._questions = self._questions, {}
            await self._called(Reconcile(list(questions.values())), None)

    async def _called(self, call: Call, accepted_at: float | None) -> None:
        sending = partial(self._store.sending, accepted_at) if accepted_at is not None else None
        try:
            await self._driver.call(call, sending=sending)
        except StoreFailed as error:
            self._report(self._fail(error))
        except CallRefused as error:
            self._failed(CallNotTaken(call, error.status, error.reason))
        except NotSubscribed as error:
            self._failed(CallNotTaken(call, None, str(error), sent=False))
        except CallFailed as error:
            self._failed(CallNotTaken(call, None, str(error)))
        except Exception as error:  # noqa: BLE001  (a fault of ours: nobody else waits for this call's outcome)
            _log.exception("%s broke: %s", call.wire_type, error)
            self._failed(CallNotTaken(call, None, f"{type(error).__name__}: {error}"))
        finally:
            if isinstance(call, _REPEATED):
                self._unanswered.discard(msgspec.json.encode(call))


async def _made(pending: Iterable[Callable[[], Write]]) -> list[Write]:
    writes: list[Write] = []
    for write in pending:
        writes.append(write())
        if not len(writes) % _SLICE:
            await asyncio.sleep(0)
    return writes
