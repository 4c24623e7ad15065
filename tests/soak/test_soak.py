"""A minute of `scripts/soak`. What depends on the machine's speed is printed, and not asserted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from soak.meter import Seen, slope, tables
from soak.run import Plan, Report, soak


@pytest.mark.cluster
@pytest.mark.one_python
@pytest.mark.timeout(900)
async def test_a_minute(tmp_path: Path) -> None:
    """2,000 agents, 200 launches and ends and 500 warm activations a second, faults on.

    On a slow machine the history and the queues still fill after the warm-up: whether memory stays flat is seen in
    `scripts/soak`, here only that a process does not double.
    """
    report = await soak(Plan(seconds=60.0, warm_up=20.0, max_growth=1.0), tmp_path, print)
    assert report.faults() == []
    assert report.activations[1] > 0
    assert sum(report.states.values()) > 100


def grows(at: float) -> float:
    return 100.0 + at * 2


def falls(at: float) -> float:
    return 100.0 - at / 60


@pytest.mark.parametrize(("course", "expected"), [(grows, 120.0), (falls, -1.0), (lambda at: 100.0, 0.0)])
def test_the_slope_is_that_of_the_line(course: Callable[[float], float], expected: float) -> None:
    assert slope([(float(at), course(at)) for at in range(50)]) == pytest.approx(expected)


def test_faults_are_named() -> None:
    report = Report(Plan(agents=10))
    memory = [(float(at), grows(at)) for at in range(50)]
    report.seen = {
        "launches": Seen(memory, 0.0, 0.0, 0.0, subscriptions=2, tables={"launches.x": 100_000}),
        "invoker": Seen([], 0.0, 0.0, 0.0, subscriptions=1, tables={}),
    }
    report.not_ended = ["L1"]
    report.activations = (5, 4)
    assert [line.split()[0] for line in report.faults()] == ["launches", "launches.x", "1", "1", "memory"]


def test_tables_are_found_by_their_paths() -> None:
    seen = Seen([], 0.0, 0.0, 0.0, subscriptions=1, tables={str(number): 1 for number in range(300)})
    assert tables({"a": seen}) == {}  # only objects of owmesos are looked into
    assert tables({"a": dict.fromkeys(range(300), 1)}) == {"a": 300}
