"""The event loop's lag: what a callback that works holds up."""

from __future__ import annotations

import time

from owmesos.service.loop_lag import LoopLag
from tests.waiting import eventually_async


async def test_a_loop_that_is_held_up_is_seen_to_lag() -> None:
    lag = LoopLag()
    lag.start()
    try:
        await eventually_async(lambda: lag.seconds.count == 1)
        time.sleep(0.8)  # noqa: ASYNC251  (that is what is measured)
        await eventually_async(lambda: lag.seconds.count == 2)
    finally:
        lag.stop()
    assert lag.seconds.sum > 0.25
