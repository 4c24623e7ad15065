"""The same framework for programs without asyncio: every method blocks until it has its result.

The event loop runs in its own thread, so heartbeats and acknowledgements continue whatever the program does.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from functools import update_wrapper
from typing import Any, Concatenate, ParamSpec, TypeVar

from owmesos.core.node_stats import NodeStatsUpdate
from owmesos.documents import LaunchDocument, LaunchExplanation, StoryDocument
from owmesos.errors import InvalidInput, OwmesosError
from owmesos.mesos.scheduler.launch import Launch
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.service.container_log import Stream
from owmesos.service.errors import FrameworkStopped
from owmesos.service.framework import Framework
from owmesos.service.keep import Kept
from owmesos.service.launch_requests import LaunchHandle
from owmesos.service.stopped import Stopped
from owmesos.system.tasks import cancel_all

P = ParamSpec("P")
T = TypeVar("T")


class BlockingLaunch:
    """One launch. `timeout` in seconds everywhere; TimeoutError when it passes, FrameworkStopped when the framework
    stops first.
    """

    def __init__(self, framework: BlockingFramework, handle: LaunchHandle) -> None:
        self._framework = framework
        self._handle = handle
        self.id = handle.id

    def running(self, timeout: float | None = None) -> LaunchDocument:
        """Returns when its task runs, or once ran. Raises LaunchFailed."""
        return self._framework._wait(self._handle.running(), timeout)

    def ended(self, timeout: float | None = None) -> LaunchDocument:
        """Returns when it is over, however it ended."""
        return self._framework._wait(self._handle.ended(), timeout)

    def kill(self) -> None:
        self._framework._wait(self._handle.kill())

    @property
    def state(self) -> State:
        return self._framework._call(lambda: self._handle.state)

    def document(self) -> LaunchDocument:
        """What `owmesos launches -o json` shows of it."""
        return self._framework._call(self._handle.document)

    def explain(self) -> LaunchExplanation:
        return self._framework._call(self._handle.explain)

    def story(self) -> StoryDocument:
        return self._framework._call(self._handle.story)


class BlockingKept:
    """Keeps a number of instances alive within a `with` block. See `Kept`."""

    def __init__(self, framework: BlockingFramework, kept: Kept) -> None:
        self._framework = framework
        self._kept = kept

    @property
    def wanted(self) -> int:
        return self._kept.wanted

    def instances(self) -> list[LaunchDocument]:
        """Those that have not ended, the oldest first."""
        return self._framework._call(self._kept.instances)

    def running(self, timeout: float | None = None) -> list[LaunchDocument]:
        """Wait until as many as wanted run. Raises FrameworkStopped, or TimeoutError after `timeout` seconds."""
        return self._framework._wait(self._kept.running(), timeout)

    def scale(self, wanted: int) -> None:
        """Change the number of instances; returns when that is stored. Raises InvalidInput and FrameworkStopped."""
        self._framework._wait(self._kept.scale(wanted))

    def __enter__(self) -> BlockingKept:
        self._framework._wait(self._kept.__aenter__())
        return self

    def __exit__(self, *error: object) -> None:
        self._framework._wait(self._kept.__aexit__(*error))


def _like_framework(
    _: Callable[P, Framework],
) -> Callable[[Callable[..., None]], Callable[Concatenate[BlockingFramework, P], None]]:
    """Gives a constructor the parameters of `Framework`, for mypy, editors and `inspect.signature`."""

    def give(constructor: Callable[..., None]) -> Callable[Concatenate[BlockingFramework, P], None]:
        constructor.__signature__ = inspect.signature(Framework.__init__)  # type: ignore[attr-defined]
        return constructor

    return give


def _blocking(
    method: Callable[Concatenate[Framework, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[BlockingFramework, P], T]:
    """`method` for programs without asyncio: it blocks until its result is there."""

    def blocking(self: BlockingFramework, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._wait(method(self._framework, *args, **kwargs))

    update_wrapper(blocking, method)
    return blocking


def _in_its_thread(method: Callable[Concatenate[Framework, P], T]) -> Callable[Concatenate[BlockingFramework, P], T]:
    """`method`, called in the thread of the event loop."""

    def in_its_thread(self: BlockingFramework, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._call(lambda: method(self._framework, *args, **kwargs))

    update_wrapper(in_its_thread, method)
    return in_its_thread


class BlockingFramework:
    """`with BlockingFramework(master=…) as framework: …`: the arguments and methods of `Framework`, but for those
    that serve its own event loop: what invokers and the admin API use."""

    @_like_framework(Framework)
    def __init__(self, **options: Any) -> None:
        self._framework = Framework(**options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._submitting = threading.Lock()
        """Held where the loop is given work, and where it is taken away: what is given is carried out, or refused."""

    def __enter__(self) -> BlockingFramework:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end(self._framework.__aexit__(*error))

    def start(self) -> None:
        """Take up what was stored, and begin to subscribe. Does not wait for a master."""
        if self._loop is not None:
            raise InvalidInput("the framework is started already")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="owmesos", daemon=True)
        self._thread.start()
        try:
            self._wait(self._framework.start())
        except BaseException:
            self._end_loop()
            raise

    def stop(self, *, teardown: bool) -> None:
        """As `Framework.stop`; what waits in other threads gets FrameworkStopped."""
        self._end(self._framework.stop(teardown=teardown))

    def _end(self, stop: Coroutine[Any, Any, None]) -> None:
        if self._loop is None:
            stop.close()
            return
        try:
            self._wait(stop)
        finally:
            self._end_loop()

    def _end_loop(self) -> None:
        with self._submitting:
            loop, self._loop = self._loop, None
        if loop is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(_end_rest(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()

    def launch(self, launch: Launch) -> BlockingLaunch:
        """Ask for one container. It is stored when this returns. Raises InvalidInput or FrameworkStopped."""
        return BlockingLaunch(self, self._wait(self._framework.launch(launch)))

    def launch_many(self, launches: Iterable[Launch], *, key: str | None = None) -> list[BlockingLaunch]:
        """As `Framework.launch_many`. Raises InvalidInput, KeyReused or FrameworkStopped."""
        return [BlockingLaunch(self, handle) for handle in self._wait(self._framework.launch_many(launches, key=key))]

    def kill(self, name: str) -> BlockingLaunch:
        """By launch or task id. Raises NotKnown or FrameworkStopped."""
        return BlockingLaunch(self, self._wait(self._framework.kill(name)))

    def keep(self, launch: Launch, wanted: int) -> BlockingKept:
        """Keep `wanted` instances of `launch` alive within a `with` block. Raises InvalidInput."""
        return BlockingKept(self, self._call(lambda: self._framework.keep(launch, wanted)))

    kill_many = _blocking(Framework.kill_many)
    wait = _blocking(Framework.wait)
    teardown = _blocking(Framework.teardown)
    stop_containers = _blocking(Framework.stop_containers)
    status = _in_its_thread(Framework.status)
    nodes = _in_its_thread(Framework.nodes)
    offers = _in_its_thread(Framework.offers)
    reservations = _in_its_thread(Framework.reservations)
    launches = _in_its_thread(Framework.launches)
    unreadable = _in_its_thread(Framework.unreadable)
    containers = _in_its_thread(Framework.containers)
    explain = _in_its_thread(Framework.explain)
    explain_launch = _in_its_thread(Framework.explain_launch)
    story = _in_its_thread(Framework.story)

    def finished(self, timeout: float | None = None) -> Stopped:
        """Returns when the framework should end, and why."""
        if self._framework.stopped is not None:
            return self._framework.stopped
        return self._wait(self._framework.finished(), timeout)

    @property
    def stopped(self) -> Stopped | None:
        """What `finished` returns, once it does."""
        return self._framework.stopped

    @property
    def subscribed(self) -> bool:
        return self._framework.subscribed

    @property
    def framework_id(self) -> str | None:
        return self._framework.framework_id

    def node_stats(self) -> Iterator[NodeStatsUpdate]:
        """What all agents have now, then every change. Ends with the framework's orderly end; raises FrameworkStopped
        when it stops otherwise, and after the block.
        """
        return self._each(self._framework.node_stats())

    def logs(
        self, name: str, *, stream: Stream = "stdout", tail: int | None = None, follow: bool = False
    ) -> Iterator[str]:
        """As `Framework.logs`: the lines that a launch's task has written, with `follow` until it ends.

        Raises NotKnown, LogMissing, LogUnreadable, InvalidInput or FrameworkStopped.
        """
        return self._each(self._framework.logs(name, stream=stream, tail=tail, follow=follow))

    def launch_changes(self) -> Iterator[LaunchDocument]:
        """All launches as they are now, then each that has changed. Ends and raises as `node_stats`."""
        return self._each(self._framework.launch_changes())

    def _each(self, updates: AsyncGenerator[T, None]) -> Iterator[T]:
        try:
            while (update := self._wait(_next(updates))) is not None:
                yield update
        finally:
            with contextlib.suppress(FrameworkStopped):  # after the block nothing of it is left
                self._wait(updates.aclose())

    def _wait(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Raises FrameworkStopped after the block, InvalidInput before it, TimeoutError after `timeout` seconds."""
        future = self._submit(work)
        try:
            return future.result(timeout)
        except CancelledError:
            raise self._over() from None
        except FutureTimeout:
            if future.done():  # it is the work's own
                raise
            future.cancel()
            raise TimeoutError(f"nothing after {timeout} s") from None

    def _submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        with self._submitting:
            if self._loop is not None:
                return asyncio.run_coroutine_threadsafe(work, self._loop)
        work.close()
        raise self._over()

    def _over(self) -> OwmesosError:
        stopped = self._framework.stopped
        return (
            FrameworkStopped(stopped)
            if stopped is not None
            else InvalidInput("the framework is not started: use `with`")
        )

    def _call(self, look: Callable[[], T]) -> T:
        async def looked() -> T:
            return look()

        return self._wait(looked())


async def _end_rest() -> None:
    """Nothing of the loop's work is left that somebody could wait for."""
    this = asyncio.current_task()
    await cancel_all(task for task in asyncio.all_tasks() if task is not this)
    await asyncio.get_running_loop().shutdown_asyncgens()


async def _next(updates: AsyncGenerator[T, None]) -> T | None:
    """The next update, or None at the end."""
    try:
        return await updates.__anext__()
    except StopAsyncIteration:
        return None
