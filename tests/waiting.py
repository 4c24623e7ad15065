"""Waiting for a condition with a deadline: the only place where a test may sleep."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_BUSY = 30.0  # seconds that a busy machine may take for what is done at once; actions have 60


def eventually(
    predicate: Callable[[], T],
    timeout: float = 60.0,
    *,
    interval: float = 0.02,
    what: str = "",
    retry_on: tuple[type[Exception], ...] = (),
) -> T:
    """The first true value of `predicate()`, asked every `interval` seconds.

    Fails the test after `timeout` seconds and says what the last answer was. Exceptions of the types in
    `retry_on` count as "not yet"; all others are raised at once.
    """
    deadline = time.monotonic() + timeout
    while True:
        last: object
        try:
            value = predicate()
            if value:
                return value
            last = value
        except retry_on as error:
            last = error
        if time.monotonic() >= deadline:
            raise AssertionError(_overdue(predicate, timeout, what, last))
        time.sleep(interval)


async def eventually_async(
    predicate: Callable[[], T | Awaitable[T]],
    timeout: float = 60.0,
    *,
    interval: float = 0.02,
    what: str = "",
    retry_on: tuple[type[Exception], ...] = (),
) -> T:
    """`eventually` for code on an event loop; `predicate` may be a coroutine function."""
    deadline = time.monotonic() + timeout
    while True:
        last: object
        try:
            answer = predicate()
            value: T = await answer if inspect.isawaitable(answer) else answer
            if value:
                return value
            last = value
        except retry_on as error:
            last = error
        if time.monotonic() >= deadline:
            raise AssertionError(_overdue(predicate, timeout, what, last))
        await asyncio.sleep(interval)


async def in_time(work: Awaitable[T]) -> T:
    """What `work` gives. Fails the test if that takes so long that something waits for what does not come."""
    return await asyncio.wait_for(work, _BUSY)


def _overdue(predicate: object, timeout: float, what: str, last: object) -> str:
    wanted = what or getattr(predicate, "__qualname__", repr(predicate))
    return f"not within {timeout:g} s: {wanted} (last answer: {last!r})"
