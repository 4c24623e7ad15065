"""Logs what has waited for a long time, and why: nothing else in the log shows that a queue does not move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from owmesos.core.listings import activation_explanation
from owmesos.core.pool.pool import Pool
from owmesos.mesos import listings
from owmesos.mesos.scheduler.state import SchedulerState

AFTER = 60.0
"""Seconds of waiting after which a line is logged."""
AGAIN = 600.0
"""Seconds until the next line."""


class LongWait(NamedTuple):
    """The launch or activation that waits longest: `since` is in seconds."""

    noun: str
    name: str
    since: float
    why: str | None

    def line(self, now: float) -> str:
        return f"the oldest {self.noun} has waited {now - self.since:.0f} s: {self.name}: {self.why}"


def of_queue(state: SchedulerState) -> LongWait | None:
    """The head of Mesos's queue, if it is not the pool's."""
    head = state.queue.head()
    if head is None or head.managed:
        return None
    return LongWait("launch", head.id, head.queued_at, listings.launch(state, head)["summary"])


def of_pool(pool: Pool, trouble: str | None) -> LongWait | None:
    """The oldest run of the pool; `trouble` as for `activation_explanation`."""
    oldest = pool.state.buffer.oldest()
    if oldest is None:
        return None
    run_id = oldest.run.run_id
    explained = activation_explanation(pool, run_id, trouble)
    return LongWait("activation", run_id, oldest.received_at, explained["summary"] if explained is not None else None)


def look(waits: Sequence[LongWait], now: float) -> tuple[list[str], float | None]:
    """The lines for the log, and in how many seconds to look again; None if nothing waits."""
    if not waits:
        return [], None
    lines = [wait.line(now) for wait in waits if now - wait.since >= AFTER]
    return lines, AGAIN if lines else max(1.0, min(wait.since for wait in waits) + AFTER - now)
