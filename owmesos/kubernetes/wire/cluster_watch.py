"""Nodes and pods, watched in a thread of its own, and handed to the event loop that decides.

What decides may compute for a while, and then a watch that it read itself would be cut. The thread does nothing but
read and decode; see `event_queue` for what a slow consumer gets.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from owmesos.kubernetes.events import ApiDisconnected, KubernetesEvent
from owmesos.kubernetes.wire.access import ClusterAccess
from owmesos.kubernetes.wire.api_session import ApiSession
from owmesos.kubernetes.wire.decoding import NODES, PODS
from owmesos.kubernetes.wire.event_queue import EventQueue
from owmesos.kubernetes.wire.watcher import Deliver, Watcher, WatchLost, WatchTimes
from owmesos.system.once_per_reason import OncePerReason
from owmesos.system.tasks import cancel_all

BATCH = 500  # events that are delivered at once; between two batches the event loop does other things
_log = logging.getLogger("owmesos.kubernetes")


class ClusterWatch:
    """`deliver` is called in the event loop that called `start`, with NodesListed, NodeSeen, … in their order.

    First come NodesListed and PodsListed, in any order; so it is again after an ApiDisconnected.
    """

    def __init__(
        self,
        access: ClusterAccess,
        deliver: Deliver,
        *,
        times: WatchTimes | None = None,
        batch: int = BATCH,
    ) -> None:
        self._access = access
        self._deliver = deliver
        self._times = times or WatchTimes()
        self._batch = batch
        self._queue = EventQueue()
        self._report = OncePerReason(_log, access.server)
        self._thread: threading.Thread | None = None
        self._consumer: asyncio.AbstractEventLoop | None = None
        self._reader: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._again: asyncio.Event | None = None
        self._ready = threading.Event()
        self._closed = False
        self._heard = False  # something came since both resources were begun

    def start(self) -> None:
        """Call it in the consumer's event loop, once."""
        self._consumer = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="kubernetes-watch", daemon=True)
        self._thread.start()
        self._ready.wait()

    def relist(self, reason: str) -> None:
        """Lists nodes and pods anew."""
        _log.info("listing nodes and pods of %s anew: %s", self._access.server, reason)
        if self._reader is not None and self._again is not None and not self._closed:
            self._reader.call_soon_threadsafe(self._again.set)

    async def close(self) -> None:
        """Nothing is delivered afterwards."""
        self._closed = True
        if self._thread is None or self._reader is None or self._main is None:
            return
        with suppress(RuntimeError):  # its loop has ended already
            self._reader.call_soon_threadsafe(self._main.cancel)
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    # -- in the consumer's event loop

    def _drain(self) -> None:
        if self._closed:
            return
        events, more = self._queue.take(self._batch)
        if more and self._consumer is not None:
            self._consumer.call_soon(self._drain)
        if events:
            self._deliver(events)

    # -- in the thread

    def _run(self) -> None:
        asyncio.run(self._read())

    async def _read(self) -> None:
        self._reader = asyncio.get_running_loop()
        self._again = asyncio.Event()
        self._main = asyncio.ensure_future(self._follow())
        self._ready.set()
        with suppress(asyncio.CancelledError):
            await self._main

    def _hear(self, events: Sequence[KubernetesEvent]) -> None:
        self._heard = True
        self._put(events)

    def _put(self, events: Sequence[KubernetesEvent]) -> None:
        if self._queue.put(events) and self._consumer is not None:
            with suppress(RuntimeError):  # the consumer's loop is closed
                self._consumer.call_soon_threadsafe(self._drain)

    async def _follow(self) -> None:
        """Both resources; when one is lost, both begin again."""
        pause = self._times.pause()
        told: str | None = None
        loop = asyncio.get_running_loop()
        async with ApiSession(self._access, connections=4) as session:
            while True:
                begun = loop.time()
                self._heard = False
                lost = await self._until_lost(session)
                if self._heard:
                    told = None
                if lost is None:  # another list was asked for
                    continue
                if str(lost) != told:
                    told = str(lost)
                    _log.debug("%s is lost: %s", self._access.server, lost)
                    self._put([ApiDisconnected(str(lost))])
                pause.lived(loop.time() - begun)
                await asyncio.sleep(max(pause.next(), lost.retry_after or 0.0))

    async def _until_lost(self, session: ApiSession) -> WatchLost | None:
        """None if another list was asked for."""
        assert self._again is not None
        self._again.clear()
        tasks: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(self._watcher(session, kind).run()) for kind in (NODES, PODS)
        ]
        tasks.append(asyncio.ensure_future(self._again.wait()))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_all(tasks)
        for task in done:
            error = task.exception()
            if isinstance(error, WatchLost):
                return error
            if error is not None:
                _log.error("the watch failed by a fault of its own", exc_info=error)
                return WatchLost(f"a fault of owmesos: {type(error).__name__}: {error}")
        return None

    def _watcher(self, session: ApiSession, kind: Any) -> Watcher[Any]:
        return Watcher(session, kind, self._hear, self._report, times=self._times)
