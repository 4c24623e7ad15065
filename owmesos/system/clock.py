"""The time for decisions."""

from __future__ import annotations

import time


class Clock:
    """Seconds since the epoch. It starts at the machine's time and never goes back: that may be changed while the
    process runs, which must not affect deadlines and filters."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        return time.monotonic() + self._offset


_PROCESS = Clock()


def process_time() -> float:
    """By one Clock for the whole process, for what has no clock of its own."""
    return _PROCESS.now()
