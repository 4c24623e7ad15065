"""How long an event loop stops: the most between two runs of a timer."""

from __future__ import annotations

import asyncio
import time

_TIMER = 0.001  # seconds


async def longest_stop(ended: asyncio.Event) -> tuple[float, float]:
    """Until `ended`: in ms of the processor, and by the clock."""
    used = clock = 0.0
    last_used, last = time.thread_time(), time.perf_counter()
    while not ended.is_set():
        await asyncio.sleep(_TIMER)
        now_used, now = time.thread_time(), time.perf_counter()
        used, clock = max(used, now_used - last_used), max(clock, now - last - _TIMER)
        last_used, last = now_used, now
    return used * 1000, clock * 1000
