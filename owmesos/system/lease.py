"""A lease: until when this process may act. It is renewed by who leads, and nobody acts once it has run out.

Its clock goes on while the process stands still (SIGSTOP) and while the machine is suspended. So a process that wakes
up after its lease ran out does nothing, whatever it was about to do.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # the first is Linux's
_LOOK = 0.02  # seconds
LAPSED = "this process does not know whether it still leads"
"""Why something was not sent."""


def clock() -> float:
    """Seconds, those in which the machine was suspended too."""
    return time.clock_gettime(_CLOCK)


class Lease:
    """For any thread. `taken_over`: whether another process led just before; `others`: how many wait to lead."""

    def __init__(self, session: float, now: Callable[[], float] = clock) -> None:
        """`session`: seconds of silence after which another process may act."""
        self.session = session
        self._now = now
        self._until = -math.inf
        self.taken_over = False
        self.others = 0

    @property
    def holds(self) -> bool:
        return self._now() < self._until

    def renew(self, until: float) -> None:
        """`until` by `clock`. It never becomes shorter."""
        self._until = max(self._until, until)

    def end(self) -> None:
        """For good."""
        self._now = lambda: math.inf

    async def held(self) -> None:
        """Returns once it holds; that may be never."""
        while not self.holds:  # noqa: ASYNC110  (renewed in another thread, and rarely waited for)
            await asyncio.sleep(_LOOK)

    def wait(self, seconds: float) -> bool:
        """Whether it holds now, or within so many seconds. Blocks."""
        until = time.monotonic() + seconds
        while not self.holds:
            if time.monotonic() >= until:
                return False
            time.sleep(_LOOK)
        return True
