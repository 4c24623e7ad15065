"""The same framework for programs that do not use asyncio: every method waits for its answer.

The event loop runs in a thread of its own, so that heartbeats and acknowledgements go on whatever the program does.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import TimeoutError as FutureTimeout
from types import TracebackType
from typing import Any, TypeVar

from owmesos.core.launch import Launch
from owmesos.core.node_stats import NodeStatsUpdate
from owmesos.service.framework import Document, Framework, LaunchHandle
from owmesos.service.shell import Stopped

T = TypeVar("T")


class BlockingLaunch:
    """One launch. `timeout` in seconds everywhere; TimeoutError when it passes."""

    def __init__(self, framework: BlockingFramework, handle: LaunchHandle) -> None:
        self._framework = framework
        self._handle = handle
        self.id = handle.id

    def running(self, timeout: float | None = None) -> Document:
        """Returns when its task runs, or once ran. Raises LaunchFailed."""
        return self._framework._wait(self._handle.running(), timeout)

    def ended(self, timeout: float | None = None) -> Document:
        """Returns when it is over, however it ended."""
        return self._framework._wait(self._handle.ended(), timeout)

    def kill(self) -> None:
        self._framework._wait(self._handle.kill())

    def document(self) -> Document:
        return self._framework._call(self._handle.document)

    def explain(self) -> Document:
        return self._framework._call(self._handle.explain)

    def story(self) -> Document:
        return self._framework._call(self._handle.story)


class BlockingFramework:
    """`with BlockingFramework(master=…) as framework: …`; the arguments are those of `Framework`."""

    def __init__(self, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="owmesos", daemon=True)
        self._framework = Framework(**options)

    def __enter__(self) -> BlockingFramework:
        self._thread.start()
        self._wait(self._framework.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._wait(self._framework.__aexit__(kind, error, trace))
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def launch(self, launch: Launch) -> BlockingLaunch:
        """Ask for one container. It is stored when this returns. Raises InvalidInput."""
        return BlockingLaunch(self, self._wait(self._framework.launch(launch)))

    def launch_many(self, launches: list[Launch]) -> list[BlockingLaunch]:
        return [BlockingLaunch(self, handle) for handle in self._wait(self._framework.launch_many(launches))]

    def kill(self, name: str) -> BlockingLaunch:
        """By launch or task id. Raises NotKnown."""
        return BlockingLaunch(self, self._wait(self._framework.kill(name)))

    def finished(self, timeout: float | None = None) -> Stopped:
        """Returns when the framework should end, and why."""
        return self._wait(self._framework.finished(), timeout)

    def nodes(self) -> list[Document]:
        return self._call(self._framework.nodes)

    def offers(self) -> list[Document]:
        return self._call(self._framework.offers)

    def reservations(self) -> list[Document]:
        return self._call(self._framework.reservations)

    def launches(self) -> list[Document]:
        return self._call(self._framework.launches)

    def explain(self, name: str) -> Document:
        return self._call(lambda: self._framework.explain(name))

    def story(self, name: str) -> Document:
        return self._call(lambda: self._framework.story(name))

    def node_stats(self) -> Iterator[NodeStatsUpdate]:
        """What all agents have now, then every change, until the framework stops."""
        updates = self._framework.node_stats()

        try:
            while (update := self._wait(_next(updates))) is not None:
                yield update
        finally:
            self._wait(updates.aclose())

    def _wait(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout)
        except FutureTimeout:
            future.cancel()
            raise TimeoutError(f"nothing after {timeout} s") from None

    def _call(self, look: Callable[[], T]) -> T:
        async def looked() -> T:
            return look()

        return self._wait(looked())


async def _next(updates: AsyncGenerator[NodeStatsUpdate, None]) -> NodeStatsUpdate | None:
    """The next update, or None at the end."""
    try:
        return await updates.__anext__()
    except StopAsyncIteration:
        return None
