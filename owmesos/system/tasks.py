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


async def cancel_all(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel all tasks, and wait until they have ended. Their results and errors are dropped."""
    cancelled = list(tasks)
    for task in cancelled:
        task.cancel()
    await asyncio.gather(*cancelled, return_exceptions=True)
