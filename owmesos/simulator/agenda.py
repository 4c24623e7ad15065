"""What happens at which time: the simulator's only clock.

The master and the agents put their timers here, and the owner of the simulation (with a real clock, or a virtual one
that jumps) runs what is due. Entries of the same time run in the order in which they were added, so a run is
repeatable.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True, eq=False)
class AgendaEntry:
    """One timer; `cancel` removes it."""

    when: float
    action: Callable[..., None] | None
    args: tuple[Any, ...]

    def cancel(self) -> None:
        self.action, self.args = None, ()


def cancel(*entries: AgendaEntry | None) -> None:
    for entry in entries:
        if entry is not None:
            entry.cancel()


class Agenda:
    """Entries by time. `now` is the time of the running entry, or the last time that was asked for."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self._heap: list[tuple[float, int, AgendaEntry]] = []
        self._number = 0

    def at(self, when: float, action: Callable[..., None], *args: Any) -> AgendaEntry:
        """`action(*args)` at `when`, in seconds of the epoch; at once if that is past."""
        self._number += 1
        entry = AgendaEntry(max(when, self.now), action, args)
        heapq.heappush(self._heap, (entry.when, self._number, entry))
        return entry

    def after(self, seconds: float, action: Callable[..., None], *args: Any) -> AgendaEntry:
        return self.at(self.now + seconds, action, *args)

    def next(self) -> float | None:
        """When the next entry is due."""
        while self._heap and self._heap[0][2].action is None:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def step(self, until: float) -> bool:
        """Runs the next entry if it is due by `until`, at its own time. False if there is none."""
        when = self.next()
        if when is None or when > until:
            self.now = max(self.now, until)
            return False
        _, _, entry = heapq.heappop(self._heap)
        self.now = max(self.now, when)
        assert entry.action is not None
        entry.action(*entry.args)
        return True
