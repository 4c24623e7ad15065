"""Where the cluster holds a start until its room is there, it is handed over while its victims still stop."""

from __future__ import annotations

from typing import Any

from owmesos.core.pool.containers import ContainerState
from owmesos.core.pool.events import PoolEffect, SetAside, StartContainer, StopContainer
from owmesos.core.pool.settings import PoolSettings
from tests.core.pool.agents import FakeAgent, agent
from tests.core.pool.cluster import FakeCluster
from tests.core.pool.queueing_cluster import QueueingCluster
from tests.core.pool.test_eviction import GRACE, placed, stops


def filled(*sizes: int, memory: int = 256, stop_takes: float = 2.0, **named: Any) -> QueueingCluster:
    """Agents S1, … that are full of idle containers, past their grace."""
    world = QueueingCluster({f"S{n}": size for n, size in enumerate(sizes, 1)}, **named)
    for n in range(sum(sizes) // memory):
        world.warm(f"old{n}", memory)
    world.wait(GRACE)
    world.stop_takes = stop_takes
    world.take()
    return world


def starts(effects: list[PoolEffect]) -> list[StartContainer]:
    return [effect for effect in effects if isinstance(effect, StartContainer)]


class TestAStartWhileItsVictimStops:
    def test_comes_in_the_same_step_after_the_stop(self) -> None:
        world = filled(256)
        world.run("new")
        stop, start = world.take(StartContainer, StopContainer)
        assert isinstance(stop, StopContainer)
        assert isinstance(start, StartContainer)
        assert start.after == (stop.container_id,)
        assert start.slot.agent_id == "S1"

    def test_is_one_for_the_head_and_no_second_follows(self) -> None:
        world = filled(256)
        run_id = world.run("new")
        placed(world, run_id, 10.0)
        world.wait(30.0)
        assert len(starts(world.take())) == 1
        assert world.given[run_id] in world.pool.containers.by_id

    def test_follows_the_stop_without_waiting_for_node_stats(self) -> None:
        """On a cluster that cannot hold it, it waits for an offer in between."""
        world = filled(256)
        mesos = FakeCluster({"S1": 256})
        mesos.warm("old0")
        mesos.wait(GRACE)
        mesos.stop_takes = 2.0
        assert placed(world, world.run("new"), 10.0) < placed(mesos, mesos.run("new"), 10.0)

    def test_is_not_carried_out_before_the_victim_has_ended(self) -> None:
        world = filled(256, stop_takes=4.0)
        run_id = world.run("new")
        (start,) = starts(world.take())
        world.wait(3.9)
        assert start.container_id in world.held
        assert world.states() == ["stopping", "starting"]
        placed(world, run_id, 2.0)

    def test_sets_nothing_aside(self) -> None:
        world = filled(256, 512)
        world.run("new")
        assert world.take(SetAside) == []
        assert world.pool.state.aside is None

    def test_says_why_the_run_waits(self) -> None:
        world = filled(256)
        run_id = world.run("new")
        assert world.why(run_id).endswith("is starting for it on node S1, once containers there have stopped")

    def test_comes_after_what_stops_anyway(self) -> None:
        """Nothing more is stopped for it."""
        world = filled(512, stop_takes=4.0)
        old = world.run("large", 512)
        ids = stops(world)
        world.cancel(old)
        world.take()
        world.run("large2", 512)
        (start,) = world.take(StartContainer, StopContainer)
        assert isinstance(start, StartContainer)
        assert set(ids) <= set(start.after)

    def test_is_none_while_nothing_may_be_stopped_yet(self) -> None:
        world = QueueingCluster({"S1": 256})
        world.warm("old")
        world.take()
        world.run("new")
        assert starts(world.take()) == []
        assert world.aside == "S1"
        world.wait(6.0)
        assert len(starts(world.take())) == 1
        assert world.aside is None


class TestTheDebt:
    def test_admits_nothing_else(self) -> None:
        """The victim frees more than is needed: only what is left over is anybody's."""
        world = filled(512, memory=512)
        first, large, small = world.run("new", 256), world.run("too large", 512), world.run("small", 256)
        made = starts(world.take())
        assert [start.shape.memory for start in made] == [256, 256]
        placed(world, first, 5.0), placed(world, small, 5.0)
        assert large not in world.given

    def test_counts_ports_too(self) -> None:
        """One port is left over by the stop, and it is promised: for a second start another has to go."""
        two: list[FakeAgent] = [agent("S1", 4096, ports=2)]
        world = QueueingCluster(two)
        idle = [world.warm("a"), world.warm("b")]
        world.wait(GRACE)
        world.stop_takes = 2.0
        world.take()
        world.run("c")
        assert stops(world) == idle[:1]
        world.run("d")
        assert stops(world) == idle[1:]

    def test_is_reserved_until_a_withdrawn_start_is_gone(self) -> None:
        world = filled(256)
        run_id = world.run("new")
        (start,) = starts(world.take())
        world.cancel(run_id)
        assert start.container_id in world.ledger.reservations.by_launch
        world.wait(0.1)
        assert start.container_id not in world.ledger.reservations.by_launch


class TestRunsBehindTheHead:
    def test_get_theirs_in_the_same_way(self) -> None:
        world = filled(256, 256, 512)
        runs = [world.run(f"new{n}") for n in range(4)]
        effects = world.take()
        assert len(starts(effects)) == 4
        assert len([effect for effect in effects if isinstance(effect, StopContainer)]) == 4
        for run_id in runs:
            placed(world, run_id, 5.0)

    def test_start_no_more_than_may_start_at_once(self) -> None:
        world = filled(*[256] * 6, settings=PoolSettings(max_starts=2))
        runs = [world.run(f"new{n}") for n in range(6)]
        assert len(starts(world.take())) == 2
        for run_id in runs:
            placed(world, run_id, 60.0)

    def test_start_no_more_than_may_start_on_one_agent(self) -> None:
        world = filled(2048, settings=PoolSettings(max_starts_on_agent=2))
        for n in range(6):
            world.run(f"new{n}")
        assert len(starts(world.take())) == 2


class TestWithdrawing:
    def withdrawn(self, world: QueueingCluster, start: StartContainer) -> bool:
        return any(isinstance(each, StopContainer) and each.container_id == start.container_id for each in world.take())

    def test_when_the_run_is_cancelled(self) -> None:
        world = filled(256)
        run_id = world.run("new")
        (start,) = starts(world.take())
        world.cancel(run_id)
        assert self.withdrawn(world, start)
        world.wait(10.0)
        assert world.states() == []

    def test_not_when_another_run_can_use_it(self) -> None:
        world = filled(256)
        run_id = world.run("new")
        other = world.run("other")
        (start,) = starts(world.take())
        world.cancel(run_id)
        assert not self.withdrawn(world, start)
        placed(world, other, 5.0)
        assert world.given[other] == start.container_id

    def test_when_the_run_found_another_container(self) -> None:
        world = QueueingCluster({"S1": 512})
        busy = world.run("a")
        world.wait(2.0)
        world.warm("b")
        world.wait(GRACE)
        world.stop_takes = 2.0
        world.take()
        run_id = world.run("a")
        (start,) = starts(world.take())
        world.done(busy)
        assert world.given[run_id] == world.given[busy]
        assert self.withdrawn(world, start)

    def test_when_there_is_room_elsewhere(self) -> None:
        world = filled(256, stop_takes=4.0)
        run_id = world.run("new")
        (start,) = starts(world.take())
        world.join(agent("S9", 256))
        effects = world.take()
        assert [each.slot.agent_id for each in starts(effects)] == ["S9"]
        assert any(isinstance(each, StopContainer) and each.container_id == start.container_id for each in effects)
        assert placed(world, run_id, 2.0) < 2.0

    def test_when_there_is_room_elsewhere_for_all_that_it_was_for(self) -> None:
        world = filled(512, memory=128, stop_takes=4.0)
        runs = [world.run("new", 256, concurrency=3), world.run("new", 256, concurrency=3), world.run("other", 256)]
        assert len(starts(world.take())) == 2
        world.join(agent("S9", 512))
        assert {each.slot.agent_id for each in starts(world.take())} == {"S9"}
        for run_id in runs:
            assert placed(world, run_id, 2.0) < 2.0

    def test_when_a_stop_takes_too_long(self) -> None:
        """It does not count as one of the run's rounds."""
        world = filled(256, 256, stop_takes=100.0)
        run_id = world.run("new")
        (first,) = starts(world.take())
        world.wait(4.9)
        assert starts(world.take()) == []
        world.stop_takes = 1.0
        world.wait(0.2)
        (second,) = starts(world.take())
        assert {first.slot.agent_id, second.slot.agent_id} == {"S1", "S2"}
        assert world.pool.state.buffer.by_id[run_id].rounds == 1
        placed(world, run_id, 5.0)

    def test_when_a_neighbour_was_quicker_after_all(self) -> None:
        world = filled(256, 256)
        world.greedy = True
        run_id = world.run("new")
        (first,) = starts(world.take())
        world.wait(2.1)
        world.greedy = False
        assert starts(world.take()) == []
        world.wait(2.5)
        (second,) = starts(world.take())
        assert first.slot.agent_id != second.slot.agent_id
        placed(world, run_id, 5.0)

    def test_when_its_agent_is_closed(self) -> None:
        world = filled(256, 256)
        run_id = world.run("new")
        (first,) = starts(world.take())
        world.close(first.slot.agent_id)
        (second,) = starts(world.take())
        assert first.slot.agent_id != second.slot.agent_id
        placed(world, run_id, 5.0)

    def test_not_while_the_cluster_is_unknown(self) -> None:
        world = filled(256, stop_takes=4.0)
        run_id = world.run("new")
        (start,) = starts(world.take())
        world.disconnect()
        world.wait(20.0)
        assert not self.withdrawn(world, start)
        placed(world, run_id, 5.0)

    def test_leaves_one_that_was_placed_a_moment_before_to_stop(self) -> None:
        world = filled(256)
        run_id = world.run("new")
        (start,) = starts(world.take())
        world.wait(2.1)
        assert start.container_id not in world.held
        world.cancel(run_id)
        world.wait(20.0)
        assert world.states() == ["prewarmed"]


class TestAStartThatTheClusterTakesBack:
    def test_is_made_elsewhere(self) -> None:
        world = filled(256, 256)
        world.fates = ["refused"]
        run_id = world.run("new")
        world.wait(0.1)
        first, second = starts(world.take())
        assert first.slot.agent_id != second.slot.agent_id
        placed(world, run_id, 5.0)

    def test_so_often_is_not_made_for_ever(self) -> None:
        world = filled(256, 256, 256, 256, 256)
        world.fates = ["refused"] * 5
        run_id = world.run("new")
        world.wait(1.0)
        assert len(starts(world.take())) == 3
        assert "room was made 3 times" in world.why(run_id)

    def test_by_the_loss_of_its_agent_is_made_on_another(self) -> None:
        world = filled(256, 256)
        run_id = world.run("new")
        (first,) = starts(world.take())
        world.leave(first.slot.agent_id)
        placed(world, run_id, 5.0)

    def test_that_fails_counts_as_any_failed_start(self) -> None:
        world = filled(256)
        world.fates = ["fails"] * 9
        run_id = world.run("new")
        world.until(lambda: run_id in world.ended, 200.0)
        assert "did not start 3 times" in str(world.ended[run_id])
        assert world.containers(ContainerState.STARTING) == []
