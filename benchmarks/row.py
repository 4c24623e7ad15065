"""One line of a benchmark's table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured: `ours` in `unit`, and `other`, the same of the alternative named by `against`.

    `met` is None where there is no target, or where a quick run cannot tell.
    """

    name: str
    ours: float
    unit: str
    against: str = ""
    other: float | None = None
    target: str = ""
    met: bool | None = None

    @property
    def ratio(self) -> float | None:
        """How many times ours goes into the other's: above 1 where ours is the smaller."""
        return self.other / self.ours if self.other is not None and self.ours else None
