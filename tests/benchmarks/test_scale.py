"""How costs grow: every one is measured, and shown by its size."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.row import Row
from benchmarks.scale import SIZES, draw, table
from benchmarks.scale.costs import COSTS, Cost

ROWS = [
    Row(name=f"a thing: {size:,} {of}", ours=size / 100, unit=unit)
    for of, unit in (("agents", "µs"), ("containers", "µs"), ("launches", "µs"), ("agents", "MB"))
    for size in SIZES
]


@pytest.mark.parametrize("cost", COSTS, ids=lambda cost: str(cost.__name__))
def test_each_cost_is_measured(cost: Callable[[int, int], list[Cost]]) -> None:
    found = cost(20, 4)
    assert found
    assert all(each.value > 0 for each in found)


def test_a_line_for_each_cost_and_a_column_for_each_size() -> None:
    head, _, *lines = table(ROWS[: len(SIZES)])
    assert head == "| cost | 100 | 1,000 | 10,000 | 50,000 |"
    assert lines == ["| a thing (agents), µs | 1 | 10 | 100 | 500 |"]


def test_what_was_not_measured_stays_empty() -> None:
    *_, line = table([*ROWS[:2], Row(name="another: 1,000 launches", ours=3, unit="s")])
    assert line == "| another (launches), s |  | 3 |"


def test_the_picture_is_a_png() -> None:
    pytest.importorskip("matplotlib")
    assert draw(ROWS)["costs.png"].startswith(b"\x89PNG")
