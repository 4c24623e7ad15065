"""Which records of one partition are under way, and how much they weigh.

The feed stops reading when that is too much, and with delivery at least once it commits no further than the oldest
that is not done: what a crash interrupts is read again.
"""

from __future__ import annotations


class Offsets:
    """Pure books; who shares them between threads locks them."""

    def __init__(self) -> None:
        self.weight = 0  # bytes
        self._open: dict[int, int] = {}
        self._next: int | None = None

    def __len__(self) -> int:
        """How many are under way."""
        return len(self._open)

    def __contains__(self, offset: object) -> bool:
        return offset in self._open

    @property
    def next(self) -> int | None:
        """One after the last that was received; None before the first."""
        return self._next

    @property
    def low_water(self) -> int | None:
        """All below are done; None before the first was received."""
        return next(iter(self._open), self._next)

    def received(self, offset: int, weight: int) -> None:
        self._open[offset] = weight
        self._next = offset + 1
        self.weight += weight

    def add_weight(self, offset: int, weight: int) -> None:
        """More is held for it: its action's code, its response. Without effect when it is done already."""
        if offset in self._open:
            self._open[offset] += weight
            self.weight += weight

    def done(self, offset: int) -> None:
        """Without effect when it is done already."""
        self.weight -= self._open.pop(offset, 0)

    def rewind(self, offset: int) -> None:
        """`offset` and what follows was not received after all; it must be done or never have been open."""
        self._next = offset

    def restart(self) -> None:
        """The topic begins anew: what was received before has no place in it."""
        self._open.clear()
        self._next = None
        self.weight = 0
