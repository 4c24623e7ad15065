"""What is to happen at which instant: the simulator's only notion of time.

The master and the agents put their timers here, and whoever runs the simulation (a real clock, or a virtual one that
jumps) calls what is due. Entries of one instant come in the order in which they were made, so a run is repeatable.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any


class Entry:
    """One appointment; `cancel` it, or let it come."""

    __slots__ = ("action", "args", "number", "when")

    def __init__(self, when: float, number: int, action: Callable[..., None], args: tuple[Any, ...]) -> None:
        self.when = when
        self.number = number
        self.action: Callable[..., None] | None = action
        self.args = args

    def cancel(self) -> None:
        self.action, self.args = None, ()

    def __lt__(self, other: Entry) -> bool:
        return (self.when, self.number) < (other.when, other.number)


class Agenda:
    """Entries by time. `now` is the instant of the entry that runs, or the last one that was asked about."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self._heap: list[Entry] = []
        self._number = 0

    def at(self, when: float, action: Callable[..., None], *args: Any) -> Entry:
        """`action(*args)` at `when`, in seconds of the epoch; at once if that is past."""
        self._number += 1
        entry = Entry(max(when, self.now), self._number, action, args)
        heapq.heappush(self._heap, entry)
        return entry

    def after(self, seconds: float, action: Callable[..., None], *args: Any) -> Entry:
        return self.at(self.now + seconds, action, *args)

    def next(self) -> float | None:
        """When the next entry is due."""
        while self._heap and self._heap[0].action is None:
            heapq.heappop(self._heap)
        return self._heap[0].when if self._heap else None

    def step(self, until: float) -> bool:
        """Runs the next entry if it is due by `until`, at its own instant. False if there is none."""
        when = self.next()
        if when is None or when > until:
            self.now = max(self.now, until)
            return False
        entry = heapq.heappop(self._heap)
        self.now = max(self.now, entry.when)
        assert entry.action is not None
        entry.action(*entry.args)
        return True
