"""The time that decisions are given: seconds of the epoch that never jump back.

The machine's clock may be set while we run; deadlines and filters must not notice.
"""

from __future__ import annotations

import time


class Clock:
    """Starts at the machine's time and then goes with the monotonic clock."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        return time.monotonic() + self._offset
