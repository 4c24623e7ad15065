"""Which of the waiting runs get a container of their own started, and which one is the blocked head.

In order, and each where it is launchable: the agent that is set aside for the head gets no other start, but health
tests when nothing else fits. Runs of one shape fail alike, so one of them is asked for.
"""

from __future__ import annotations

from typing import NamedTuple

from owmesos.core.containers import Shape
from owmesos.core.placement import Slot
from owmesos.core.pool_books import PoolBooks
from owmesos.core.run_buffer import BEFORE_ALL, Waiting
from owmesos.core.starts import Starts


class Blocked(NamedTuple):
    """`head` is the run to make room for; `shapes` are those for which there is no room."""

    head: Waiting | None
    shapes: set[Shape]


class ColdStarts:
    """Decides on the books."""

    def __init__(self, books: PoolBooks, starts: Starts) -> None:
        self._books = books
        self._starts = starts

    def run(self, now: float) -> Blocked:
        """Start what is launchable, in order."""
        buffer = self._books.buffer
        skipped: set[Shape] = set()
        failing: list[Waiting] = []
        place = BEFORE_ALL
        while (waiting := buffer.bare_after(place, skipped)) is not None:
            place = waiting.place
            if not self._starts.may_start(now):
                break
            slot = self._launchable(waiting)
            if slot is not None:
                self._starts.start(waiting.shape, slot, now, for_run=waiting, replaces=waiting.rounds > 0)
            else:
                skipped.add(waiting.shape)
                failing.append(waiting)
        return Blocked(self._head(failing, skipped), skipped)

    def _launchable(self, waiting: Waiting) -> Slot | None:
        """Where the run's container can start now. A health test gets room that is set aside only if all else fails."""
        books = self._books
        ask, constraints = books.settings.ask(waiting.shape), books.settings.constraints_of(waiting.shape)
        slot = books.capacity.find(ask, constraints, avoid=self._starts.avoided(books.aside_of_others(waiting)))
        if slot is None and waiting.run.health and books.aside is not None:
            slot = books.capacity.find(ask, constraints, avoid=self._starts.avoided(None))
        return slot

    def _head(self, failing: list[Waiting], skipped: set[Shape]) -> Waiting | None:
        """The one that T is set aside for; else the oldest, health tests last: they are small and may use T."""
        owner = self._books.owner()
        if owner is not None:
            head = owner if owner.covered_by is None and owner.shape in skipped else None
        else:
            head = next((waiting for waiting in failing if not waiting.run.health), None) or next(iter(failing), None)
        return head if head is not None and not self._throttled(head) else None

    def _throttled(self, waiting: Waiting) -> bool:
        """There is room, but enough starts are under way on the agents that have it."""
        if not self._starts.avoided(None):
            return False
        books = self._books
        aside = books.aside_of_others(waiting)
        avoid = () if aside is None else (aside,)
        ask, constraints = books.settings.ask(waiting.shape), books.settings.constraints_of(waiting.shape)
        return books.capacity.find(ask, constraints, avoid=avoid) is not None
