"""A histogram as in Prometheus: counts of measured values in buckets."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds of buckets for durations from milliseconds to minutes, in seconds."""


class Histogram:
    """Values since the process began."""

    __slots__ = ("_counts", "bounds", "sum")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        """`bounds`: inclusive upper bounds of the buckets, ascending; a last bucket is unbounded."""
        self.bounds = bounds
        self.sum = 0.0
        self._counts = [0] * (len(bounds) + 1)

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        return sum(self._counts)

    def at_most(self) -> Iterator[tuple[float, int]]:
        """Each bound and how many values were at most that; the last bound is infinite."""
        return zip((*self.bounds, float("inf")), accumulate(self._counts), strict=True)
