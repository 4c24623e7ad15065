"""What the meter counts as over-provisioned, and what is lost with its machine instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.overprovisioning.node_meter import NodeMeter
from owmesos.core.placement import Slot
from owmesos.core.pool.containers import ContainerShape
from owmesos.core.pool.events import StartContainer
from owmesos.resources import Ask


class Books:
    """`room` MB on each node. What was to happen after a while happens in `later`."""

    offer_wait = 2.0

    def __init__(self, room: dict[str, int]) -> None:
        self._room = room
        self._planned: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    def after(self, seconds: float, action: Callable[..., None], *args: Any) -> None:
        self._planned.append((action, args))

    def free(self, leaving: tuple[str, ...] = ()) -> dict[str, Ask]:
        return {node: Ask.of(mem=mem, cpus=8) for node, mem in self._room.items()}

    def memory(self) -> tuple[int, int, int]:
        return 0, 0, 0

    def later(self) -> None:
        for action, args in self._planned:
            action(*args)


class Metered:
    """Starts of 512 MB that wait for room for ever; n1 has 256 MB, and n2 none."""

    def __init__(self, *, pinned: bool) -> None:
        self.dead: set[str] = set()
        self.books = Books({"n1": 256, "n2": 0})
        self.meter = NodeMeter(self.books, lambda container_id: True, pinned=pinned, dead=self.dead)

    def start(self, name: str, node: str) -> None:
        shape, ask = ContainerShape("python:3", 512), Ask.of(mem=512, cpus=0.1)
        self.meter.wanted([StartContainer(name, shape, Slot(node, "*"), ask, (), prewarm=False)])

    @property
    def counted(self) -> tuple[int, int, int]:
        """Starts, those over-provisioned, and those on a dead machine."""
        outcome = self.meter.outcome
        return outcome.starts, outcome.overprovisioned, outcome.on_dead


class TestPinnedStarts:
    def test_that_wait_for_room_on_a_living_machine_are_over_provisioned(self) -> None:
        metered = Metered(pinned=True)
        metered.start("a", "n1")
        metered.books.later()
        assert metered.counted == (1, 1, 0)

    def test_on_a_dead_machine_are_lost_with_it(self) -> None:
        metered = Metered(pinned=True)
        metered.dead.add("n1")
        metered.start("a", "n1")
        metered.books.later()
        assert metered.counted == (1, 0, 1)

    def test_on_a_living_machine_are_judged_though_another_is_dead(self) -> None:
        metered = Metered(pinned=True)
        metered.dead.add("n2")
        metered.start("a", "n1")
        metered.books.later()
        assert metered.counted == (1, 1, 0)

    def test_whose_machine_dies_while_they_wait_stay_over_provisioned(self) -> None:
        metered = Metered(pinned=True)
        metered.start("a", "n1")
        metered.dead.add("n1")
        metered.books.later()
        assert metered.counted == (1, 1, 0)

    def test_are_counted_once_though_the_cluster_confirms_the_machine(self) -> None:
        metered = Metered(pinned=True)
        metered.dead.add("n1")
        metered.start("a", "n1")
        metered.meter.placed("a", "n1")
        assert metered.counted == (1, 0, 1)


class TestStartsThatMayGoAnywhere:
    def test_are_on_a_dead_machine_once_the_cluster_puts_them_there(self) -> None:
        metered = Metered(pinned=False)
        metered.dead.add("n1")
        metered.start("a", "user-memory")
        metered.start("b", "user-memory")
        metered.meter.placed("a", "n1")
        metered.meter.placed("b", "n2")
        assert metered.counted == (2, 0, 1)

    @pytest.mark.parametrize("dead", [(), ("n1",), ("n1", "n2")])
    def test_are_over_provisioned_as_long_as_they_have_no_machine(self, dead: tuple[str, ...]) -> None:
        metered = Metered(pinned=False)
        metered.dead.update(dead)
        metered.start("a", "user-memory")
        metered.books.later()
        assert metered.counted == (1, 1, 0)
