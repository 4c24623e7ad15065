"""Background tasks of an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, TypeVar

T = TypeVar("T")


def keep(task: asyncio.Task[T], among: set[asyncio.Task[T]]) -> None:
    """Keep `task` in `among` until it has ended: the event loop has only weak references to tasks."""
    among.add(task)
    task.add_done_callback(among.discard)


def ignore_result(task: asyncio.Future[Any]) -> None:
    """A done callback: it is no fault that nobody has waited for the task and its error."""
    if not task.cancelled():
        task.exception()


async def is_set_within(event: asyncio.Event, seconds: float) -> bool:
    """Whether `event` is set within `seconds`."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except asyncio.TimeoutError:
        return False
    return True


async def cancel_all(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel all tasks, and wait until they have ended. Their results and errors are dropped."""
    cancelled = list(tasks)
    for task in cancelled:
        task.cancel()
    await asyncio.gather(*cancelled, return_exceptions=True)
