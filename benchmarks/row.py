"""One line of a benchmark's table."""

from __future__ import annotations

import statistics
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


def number(value: float) -> str:
    """Three digits that count, and no more."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def rows_of(
    name: str,
    times: list[float],
    unit: str,
    target: float,
    *,
    judged: bool,
    quick: bool,
    against: str = "",
    other: float | None = None,
) -> list[Row]:
    """The median of `times`; if it is `judged` by `target`, their 99th percentile too."""
    median = statistics.median(times)
    first = Row(
        name=name,
        ours=median,
        unit=unit,
        against=against if other is not None else "",
        other=other,
        target=f"{target:g} {unit}" if judged else "",
        met=median <= target if judged and not quick else None,
    )
    if not judged:
        return [first]
    p99 = statistics.quantiles(times, n=100, method="inclusive")[-1]
    return [first, Row(name=f"{name}, p99", ours=p99, unit=unit)]
