"""`owmesos.run`: an `asyncio.run` that shuts down cleanly on a signal."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Signalled(Exception):
    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` in a new event loop, in the main thread. The first Ctrl-C or SIGTERM cancels it, so that its
    `async with` blocks are left; a second one ends the process at once.

    `asyncio.run` does the first for Ctrl-C only, and not before Python 3.11: there it cancels all tasks together, also
    those that a framework needs for its TEARDOWN. Raises what `main` raises; KeyboardInterrupt after Ctrl-C, and
    SystemExit (143) after SIGTERM.
    """
    try:
        return asyncio.run(_until_signalled(main))
    except _Signalled as signalled:
        number = signalled.number
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


async def _until_signalled(main: Coroutine[Any, Any, T]) -> T:
    loop, work = asyncio.get_running_loop(), asyncio.ensure_future(main)
    received: list[int] = []
    before = {each: signal.getsignal(each) for each in _SIGNALS}

    def end(number: int) -> None:
        received.append(number)
        give_back()
        work.cancel()

    def give_back() -> None:
        for each, handler in before.items():
            if loop.remove_signal_handler(each) and handler is not None:
                signal.signal(each, handler)

    for each in _SIGNALS:
        loop.add_signal_handler(each, end, each)
    try:
        return await work
    except asyncio.CancelledError:
        if received:
            raise _Signalled(received[0]) from None
        raise
    finally:
        give_back()
