"""How each cost grows with agents, containers and launches: 100, 1,000, 10,000 and 50,000 of them.

Each is measured as in the benchmark of that part (`offers`, `memory`, `placement`, `pool`, `simulator`), one size after
the other in one run; medians, in time of the processor. On each agent there is one container. Launches that wait have
ten shapes, and 100 agents are known meanwhile. From nothing to RUNNING, there are two launches for each agent.
"""

from __future__ import annotations

import gc
from pathlib import Path

from benchmarks.matrix import matrix
from benchmarks.row import Row
from benchmarks.scale import pictures
from benchmarks.scale.costs import COSTS

SIZES = (100, 1_000, 10_000, 50_000)
QUICK_SIZES = (100, 300)
ROUNDS, QUICK_ROUNDS = 20, 4
PAGE = Path(__file__).parent.parent.parent / "docs" / "scale.md"
TITLE = "How each cost grows"


def run(quick: bool = False) -> list[Row]:
    """Minutes; quick: two small sizes."""
    rows = []
    for cost in COSTS:
        for size in QUICK_SIZES if quick else SIZES:
            gc.collect()
            found = cost(size, QUICK_ROUNDS if quick else ROUNDS)
            rows += [Row(name=f"{each.name}: {size:,} {each.of}", ours=each.value, unit=each.unit) for each in found]
    return sorted(
        rows, key=lambda row: [each.name.partition(":")[0] for each in rows].index(row.name.partition(":")[0])
    )


def table(rows: list[Row]) -> list[str]:
    """A line for each cost, a column for each size."""
    return matrix("cost", rows, _parts)


def _parts(row: Row) -> tuple[str, str]:
    cost, _, place = row.name.partition(": ")
    size, _, of = place.partition(" ")
    return f"{cost} ({of})", size


def draw(rows: list[Row]) -> dict[str, bytes]:
    """The pictures of the page, by the names of their files."""
    return {"costs.png": pictures.costs([(*_parts(row), row.ours, row.unit) for row in rows])}
