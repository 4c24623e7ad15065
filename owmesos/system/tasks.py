"""Background tasks of an event loop."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Iterable
from contextlib import suppress
from typing import Any, TypeVar

if sys.version_info >= (3, 11):
    from asyncio import timeout
else:
    from async_timeout import timeout

T = TypeVar("T")

_AGAIN = 10.0  # seconds; twice as long as the end of any task may take
_log = logging.getLogger("owmesos.system")


def keep(task: asyncio.Task[T], among: set[asyncio.Task[T]]) -> None:
    """Keep `task` in `among` until it has ended: the event loop has only weak references to tasks."""
    among.add(task)
    task.add_done_callback(among.discard)


def ignore_result(task: asyncio.Future[Any]) -> None:
    """A done callback: it is no fault that nobody has waited for the task and its error."""
    if not task.cancelled():
        task.exception()


async def within(work: Awaitable[T], seconds: float) -> T:
    """The result of `work`, which is cancelled after `seconds`. Raises asyncio.TimeoutError, and what `work` raises.

    As asyncio.wait_for; but that of Python 3.10 and 3.11 loses a cancellation that comes together with the result, and
    then a task that repeats something goes on forever. On Python 3.10 the one that comes together with the end of
    `seconds` is still lost: end such a task by `cancel_all`.
    """
    async with timeout(seconds):
        return await work


async def is_set_within(event: asyncio.Event, seconds: float) -> bool:
    """Whether `event` is set within `seconds`."""
    with suppress(asyncio.TimeoutError):
        await within(event.wait(), seconds)
    return event.is_set()


async def cancel_all(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel all tasks, and wait until they have ended. Their results and errors are dropped.

    Those that have not ended after some seconds are cancelled again: Python 3.10 cannot tell a cancellation from that
    of a time limit that is over at the same time.
    """
    loop, cancelled = asyncio.get_running_loop(), list(tasks)
    timer: asyncio.TimerHandle | None = None

    def cancel() -> None:
        nonlocal timer
        for task in cancelled:
            task.cancel()
        timer = loop.call_later(_AGAIN, cancel_again)

    def cancel_again() -> None:
        _log.warning("not ended for %g s, cancelled again: %s", _AGAIN, [task for task in cancelled if not task.done()])
        cancel()

    cancel()
    try:
        await asyncio.gather(*cancelled, return_exceptions=True)
    finally:
        if timer is not None:
            timer.cancel()
