"""One table of everything that is due at a time, so that decisions need no clock of their own.

The shell asks `next()` how long it may sleep and sends a tick; the decisions take what is `due`.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator
from enum import Enum
from typing import Generic, TypeVar

TimerName = TypeVar("TimerName", bound=Enum)


class Timers(Generic[TimerName]):
    """Times by key: a name, or a name and what it is about. Setting a key again moves it.

    Keys that are due come in the order of their times.
    """

    def __init__(self) -> None:
        self._when: dict[TimerName | tuple[TimerName, Hashable], float] = {}
        self._heap: list[tuple[float, int, TimerName | tuple[TimerName, Hashable]]] = []
        self._count = 0

    def set(self, key: TimerName | tuple[TimerName, Hashable], when: float) -> None:
        if self._when.get(key) == when:
            return
        self._when[key] = when
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, key))
        if len(self._heap) > 64 + 4 * len(self._when):
            self._heap = [entry for entry in self._heap if self._when.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

    def set_earliest(self, key: TimerName | tuple[TimerName, Hashable], when: float) -> None:
        """Like `set`, but an earlier time that is already set stays."""
        if self._when.get(key, when) >= when:
            self.set(key, when)

    def cancel(self, key: TimerName | tuple[TimerName, Hashable]) -> None:
        self._when.pop(key, None)

    def get(self, key: TimerName | tuple[TimerName, Hashable]) -> float | None:
        return self._when.get(key)

    def next(self) -> float | None:
        """The earliest time that is set."""
        heap = self._heap
        while heap and self._when.get(heap[0][2]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def due(self, now: float) -> Iterator[TimerName | tuple[TimerName, Hashable]]:
        """Take out each key whose time has come. Keys set meanwhile for a time not after `now` come too."""
        while (when := self.next()) is not None and when <= now:
            key = heapq.heappop(self._heap)[2]
            del self._when[key]
            yield key
