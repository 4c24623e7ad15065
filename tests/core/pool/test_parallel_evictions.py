"""Room for more than the head: bursts and lost agents need many containers at once."""

from __future__ import annotations

from owmesos.core.pool.containers import ContainerState
from owmesos.core.pool.events import StopContainer
from owmesos.core.pool.settings import PoolSettings
from tests.core.pool.cluster import FakeCluster
from tests.core.pool.test_eviction import GRACE, placed, stops


def filled(agents: int, each: int, **named: object) -> FakeCluster:
    """Every agent holds so many idle containers of 256 MB, of different actions."""
    world = FakeCluster({f"S{n}": 256 * each for n in range(agents)}, **named)  # type: ignore[arg-type]
    for n in range(agents * each):
        world.warm(f"old{n}")
    world.wait(GRACE)
    world.take()
    return world


class TestTheRunsBehindTheHead:
    def test_get_room_of_their_own_at_once(self) -> None:
        """One after the other it would take a second and more for each."""
        world = filled(6, 2)
        world.stop_takes = 1.0
        runs = [world.run(f"new{n}") for n in range(8)]
        assert len(stops(world)) == 8
        for run_id in runs:
            placed(world, run_id, 5.0)

    def test_never_on_the_agent_that_is_set_aside(self) -> None:
        world = filled(2, 2)
        for n in range(4):
            world.run(f"new{n}")
        stopped = [world.pool.containers.by_id[each] for each in stops(world)]
        assert world.aside is not None
        assert sum(each.slot.agent_id == world.aside for each in stopped) == 1
        assert len(stopped) == 3

    def test_do_not_stop_what_another_needs_already(self) -> None:
        """Each round counts only on what no other round is about."""
        world = filled(2, 4)
        world.run("large", 1024)
        assert len(stops(world)) == 4
        world.run("b", 512), world.run("c", 512)
        assert len(stops(world)) == 4

    def test_wait_for_the_grace_of_victims_as_the_head_does(self) -> None:
        world = FakeCluster({"S1": 256, "S2": 256})
        world.warm("a"), world.warm("b")
        world.take()
        head, behind = world.run("c"), world.run("d")
        world.wait(4.9)
        assert stops(world) == []
        world.wait(0.5)
        assert len(stops(world)) == 2
        placed(world, head, 5.0), placed(world, behind, 5.0)

    def test_get_it_although_none_can_be_made_for_the_head(self) -> None:
        world = filled(2, 2)
        head = world.run("larger than any", 1024)
        behind = world.run("b")
        assert len(stops(world)) == 1
        placed(world, behind, 4.0)
        assert world.buffered() == [head]

    def test_keep_their_round_when_they_become_the_head(self) -> None:
        world = filled(2, 1)
        world.stop_takes = 3.0
        head, behind = world.run("c"), world.run("d")
        assert len(stops(world)) == 2
        where = world.pool.state.aside
        world.leave(str(world.aside))
        assert world.pool.state.aside is not where
        placed(world, head, 8.0)
        assert behind in world.buffered()
        assert stops(world) == []

    def test_are_at_most_as_many_as_may_start(self) -> None:
        world = filled(6, 2, settings=PoolSettings(max_starts=3))
        for n in range(9):
            world.run(f"new{n}")
        assert len(stops(world)) == 4

    def test_have_three_rounds_too(self) -> None:
        world = filled(8, 1)
        world.run("head"), world.run("behind")
        gone: list[str] = []
        for _ in range(400):
            gone += stops(world)
            for each in world.agents.values():
                if not each.tasks:
                    world.neighbours(each.agent_id, 256)
            world.wait(0.1)
        assert len(gone) == 6


class TestStopsThatDoNotEnd:
    def test_their_agent_is_given_up_for_the_head(self) -> None:
        """The machine is dead, and the master does not know it yet: a KILL is answered by nobody."""
        world = FakeCluster({"S1": 256, "S2": 256})
        world.warm("a"), world.warm("b")
        world.wait(GRACE)
        world.take()
        world.stop_takes = 1000.0
        head = world.run("c")
        first = world.aside
        assert len(stops(world)) == 1
        world.stop_takes = 0.5
        world.wait(5.1)
        assert world.aside not in (None, first)
        placed(world, head, 4.0)

    def test_nothing_else_is_stopped_there(self) -> None:
        world = FakeCluster({"S1": 512})
        world.warm("a"), world.warm("b")
        world.wait(GRACE)
        world.take()
        world.stop_takes = 1000.0
        world.run("c"), world.run("d")
        world.wait(30.0)
        assert len(stops(world)) == 1
        assert world.states() == ["stopping", "warm"]
        assert world.aside is None

    def test_they_are_no_round_that_went_elsewhere(self) -> None:
        """The rounds are for neighbours that are quicker; here nobody was."""
        world = FakeCluster({f"S{n}": 256 for n in range(6)})
        for n in range(6):
            world.warm(f"old{n}")
        world.wait(GRACE)
        world.take()
        world.stop_takes = 1000.0
        head = world.run("c")
        world.wait(21.0)
        assert len(stops(world)) == 5
        world.stop_takes = 0.5
        placed(world, head, 8.0)

    def test_the_agent_counts_again_when_they_end_after_all(self) -> None:
        world = FakeCluster({"S1": 256})
        idle = world.warm("a")
        world.wait(GRACE)
        world.stop_takes = 9.0
        head = world.run("b")
        world.wait(7.0)
        assert world.pool.containers.by_id[idle].state is ContainerState.STOPPING
        placed(world, head, 6.0)
        assert len([1 for _, effect in world.log if isinstance(effect, StopContainer)]) == 1
