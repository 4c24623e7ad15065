"""How room is made for a blocked head, against every pool before this one."""

from __future__ import annotations

import pytest

from owmesos.core.pool.containers import ContainerState
from owmesos.core.pool.events import SetAside, StartContainer, StopContainer
from owmesos.core.pool.prewarm import PrewarmSetting
from owmesos.core.pool.settings import PoolSettings
from owmesos.resources import Ask
from tests.core.pool.agents import agent
from tests.core.pool.cluster import OFFER_TAKES, OFFER_WAIT, FakeCluster
from tests.core.pool.test_container_pool import SHAPE

WARM = ContainerState.WARM
GRACE = 11.0


def stops(world: FakeCluster) -> list[str]:
    return [effect.container_id for effect in world.take() if isinstance(effect, StopContainer)]


def placed(world: FakeCluster, run_id: str, most: float) -> float:
    return world.until(lambda: run_id in world.given, most)


class TestVictims:
    def test_all_are_on_one_agent(self) -> None:
        """The two oldest are on two agents, and would free 512 MB that no action can use."""
        world = FakeCluster({"S1": 512})
        first = world.warm("a")
        world.join(agent("S2", 512))
        world.neighbours("S1", 256)
        world.observe()
        second, third = world.warm("b"), world.warm("c")
        world.neighbours("S1", 0)
        world.observe()
        fourth = world.warm("d")
        assert [each.slot.agent_id for each in world.containers()] == ["S1", "S2", "S2", "S1"]
        world.wait(GRACE)
        world.take()
        world.run("large", 512)
        assert stops(world) in ([first, fourth], [second, third])

    def test_they_are_counted_with_what_is_free_there(self) -> None:
        """384 MB are asked for, 256 MB are free on S2: one small victim there, not two on S1."""
        world = FakeCluster({"S1": 512})
        world.warm("a"), world.warm("b")
        world.join(agent("S2", 384))
        small = world.warm("c", 128)
        world.wait(GRACE)
        world.take()
        world.run("d", 384)
        assert stops(world) == [small]

    def test_are_the_same_in_whatever_order_nodes_have_changed(self) -> None:
        """A set's order differs from process to process, and so did a simulation's numbers."""
        world = FakeCluster({"S1": 256, "S2": 256})
        world.warm("a"), world.warm("b")
        world.wait(GRACE)
        planner = world.pool._eviction._planner
        planner.follow()
        slots = [each.slot for each in world.containers()]
        found = [planner.cheapest(SHAPE, world.now, waived=False, among=among) for among in (slots, slots[::-1])]
        assert found[0] is not None
        assert found[0] == found[1]

    def test_prewarmed_ones_go_before_warm_ones_and_older_ones_first(self) -> None:
        world = FakeCluster({"S1": 768}, prewarm=(PrewarmSetting(SHAPE, 1),))
        old, last = world.warm("a", kind="nodejs:20"), world.warm("b", kind="nodejs:20")
        world.observe()
        world.wait(GRACE + 2)
        (ready,) = world.containers(ContainerState.PREWARMED)
        world.take()
        world.run("c", kind="java:8")
        assert stops(world) == [ready.id]
        world.wait(GRACE)
        world.take()
        world.run("d", kind="java:8")
        assert stops(world) == [old]
        assert last in [each.id for each in world.containers(WARM)]

    def test_cpus_and_ports_count_as_memory_does(self) -> None:
        world = FakeCluster([agent("S1", 4096, ports=2), agent("S2", 4096, cpus=0.01)])
        idle = [world.warm("a"), world.warm("b")]
        world.wait(GRACE)
        world.take()
        run_id = world.run("c")
        assert stops(world) == idle[:1]
        assert "1 lacks cpus, 1 lacks ports" in world.why(run_id)

    def test_one_that_a_larger_one_makes_needless_stays(self) -> None:
        world = FakeCluster({"S1": 640})
        small, large = world.warm("a", 128), world.warm("b", 512)
        world.wait(GRACE)
        world.take()
        world.run("c", 512)
        assert stops(world) == [large]
        assert small in [each.id for each in world.containers(WARM)]

    def test_one_that_suffices_is_found_among_many_agents(self) -> None:
        """All others would lose two; more agents than are looked at closely."""
        world = FakeCluster({f"S{n:02}": 256 for n in range(40)})
        for n in range(40):
            for half in ("", "'") if n != 33 else ("",):
                world.warm(f"a{n}{half}", 128 if n != 33 else 256)
        (single,) = (each for each in world.containers() if each.shape.memory == 256)
        world.wait(GRACE)
        world.take()
        world.run("b", 256)
        assert stops(world) == [single.id]

    def test_what_stops_already_is_not_stopped_for_twice(self) -> None:
        """It was stopped for a head that found another container meanwhile."""
        world = FakeCluster({"S1": 512})
        world.stop_takes = 5.0
        other = world.run("x")
        world.wait(2.0)
        idle = world.warm("a")
        world.wait(GRACE)
        first = world.run("x")
        assert stops(world) == [idle]
        world.done(other)
        assert world.given[first] == world.given[other]
        assert world.aside is None
        second = world.run("y")
        assert stops(world) == []
        assert world.aside == "S1"
        placed(world, second, 10.0)
        assert len([1 for _, effect in world.log if isinstance(effect, StopContainer)]) == 1

    def test_none_is_stopped_where_it_would_not_help(self) -> None:
        world = FakeCluster({"S1": 512, "S2": 512})
        for name in "abcd":
            world.warm(name)
        world.wait(GRACE)
        world.take()
        run_id = world.run("large", 1024)
        world.wait(20.0)
        assert stops(world) == []
        assert "even without our own containers" in world.why(run_id)

    def test_an_agent_that_gets_no_starts_loses_none(self) -> None:
        world = FakeCluster({"S1": 256})
        world.warm("a")
        world.close("S1")
        world.wait(GRACE)
        world.take()
        run_id = world.run("b")
        world.wait(10.0)
        assert stops(world) == []
        assert "1 lacks memory" in world.why(run_id)

    def test_an_agent_that_is_forgotten_leaves_nothing_where_room_is_looked_for(self) -> None:
        world = FakeCluster({"S1": 512, "S2": 512}, settings=PoolSettings(max_wait=5.0))
        world.run("large", 1024)
        world.wait(6.0)
        world.leave("S2")
        world.ledger.forget_agent("S2")
        world.cluster.forget("S2")
        planner = world.pool._eviction._planner
        planner.follow()
        planner._index()
        assert [slot.agent_id for slot in planner._with_all.candidates(Ask.of(mem=1))] == ["S1"]


class TestNoCredit:
    def test_a_start_follows_the_offer_and_not_the_stop(self) -> None:
        world = FakeCluster({"S1": 256})
        idle = world.warm("a")
        world.wait(GRACE)
        world.take()
        run_id = world.run("b")
        assert stops(world) == [idle]
        world.wait(world.stop_takes + OFFER_TAKES - 0.05)
        assert idle not in world.pool.containers.by_id
        assert world.take(StartContainer) == []
        world.wait(0.1)
        assert len(world.take(StartContainer)) == 1
        placed(world, run_id, 2.0)

    def test_a_neighbour_that_comes_first_is_seen(self) -> None:
        world = FakeCluster({"S1": 256})
        world.warm("a")
        world.wait(GRACE)
        run_id = world.run("b")
        world.neighbours("S1", 256)
        world.wait(5.0)
        assert world.buffered() == [run_id]
        assert not [effect for _, effect in world.log if isinstance(effect, StartContainer)][1:]


class TestSetAside:
    def test_no_other_start_goes_there(self) -> None:
        """A small run would fit on the target, before the large one is placed; it goes elsewhere, or waits."""
        world = FakeCluster({"S1": 512})
        world.warm("a", 384)
        large = world.run("large", 512)
        assert world.aside == "S1"
        small = world.run("b", 128)
        world.wait(1.0)
        assert world.buffered() == [large, small]
        assert "set aside for another" in world.why(small)
        world.join(agent("S2", 128))
        assert world.pool.state.buffer.by_id[small].covered_by is not None

    def test_health_tests_go_there_only_when_nothing_else_fits(self) -> None:
        world = FakeCluster({"S1": 512, "S2": 128})
        world.warm("a", 384)
        large = world.run("large", 512)
        world.take()
        first = world.run("health", 128, health=True, kind="nodejs:20")
        second = world.run("health", 128, health=True, kind="nodejs:20")
        assert [start.slot.agent_id for start in world.take() if isinstance(start, StartContainer)] == ["S2", "S1"]
        assert world.buffered() == [first, second, large]

    def test_room_is_made_for_a_health_test_that_alone_waits(self) -> None:
        world = FakeCluster({"S1": 256})
        idle = world.warm("a")
        world.wait(GRACE)
        world.take()
        run_id = world.run("health", 128, health=True)
        assert world.waiting
        assert stops(world) == [idle]
        placed(world, run_id, 4.0)

    def test_health_tests_are_first(self) -> None:
        world = FakeCluster({"S1": 256})
        running = world.run("a")
        world.wait(2.0)
        later = world.run("a")
        health = world.run("health", health=True)
        assert world.buffered() == [health, later]
        world.done(running, reuse=False)
        placed(world, health, 4.0)
        assert world.buffered() == [later]

    def test_it_is_told_once_and_ended_when_the_head_is_placed(self) -> None:
        world = FakeCluster({"S1": 256})
        world.warm("a")
        world.take()
        world.run("b")
        world.wait(20.0)
        assert world.take(SetAside) == [SetAside("S1"), SetAside(None)]

    def test_a_lost_one_is_replaced(self) -> None:
        world = FakeCluster({"S1": 256})
        first = world.warm("a")
        world.join(agent("S2", 256))
        second = world.warm("b")
        world.take()
        run_id = world.run("c")
        former = world.aside
        assert former is not None
        world.leave(former)
        assert world.aside == ("S2" if former == "S1" else "S1")
        placed(world, run_id, 12.0)
        assert {first, second} & {each.id for each in world.containers()} == set()

    def test_it_moves_to_where_a_round_can_begin_at_once(self) -> None:
        """The target had only a busy container; then one on another agent is past its grace."""
        world = FakeCluster({"S1": 512})
        world.run("long", 512, timeout=300.0)
        world.wait(2.0)
        head = world.run("large", 512)
        assert world.aside == "S1"
        world.join(agent("S2", 512), seen=False)
        world.observe("S2")
        world.wait(0.5)
        assert placed(world, head, 3.0) < 3.0

    def test_a_run_that_came_back_has_it_in_the_place_of_a_younger_one(self) -> None:
        world = FakeCluster({"S1": 256})
        first = world.run("a")
        world.wait(2.0)
        second = world.run("b")
        world.wait(6.0)
        assert world.pool.state.aside is not None
        assert world.pool.state.aside.run_id == second
        world.reschedule(first)
        assert world.buffered() == [first, second]
        assert world.pool.state.aside.run_id == first
        placed(world, first, 6.0)
        assert second not in world.given


class TestTheHeadsWait:
    @pytest.mark.parametrize("lasts", [3.0, 20.0])
    def test_is_bounded_while_small_runs_keep_coming(self, lasts: float) -> None:
        """`drain_after`, the longest time-out on the target, the stops, the offer after them; then its own start."""
        world = FakeCluster({"S1": 1024, "S2": 256})
        timeout = 20.0

        def come(number: int) -> None:
            if len(world.buffered()) < 4:
                world.run(f"small{number % 5}", timeout=timeout, lasts=lasts)
            world.later(0.2, lambda: come(number + 1))

        come(0)
        world.wait(20.0)
        large = world.run("large", 1024)
        waiting = world.pool.state.buffer.by_id[large]
        world.until(lambda: waiting.blocked_since is not None, 60.0)  # older ones are served before
        took = placed(world, large, 60.0)
        bound = world.pool.state.settings.drain_after + timeout + world.init_takes + world.stop_takes + OFFER_WAIT
        assert took <= bound + world.start_takes

    def test_after_drain_after_grace_is_waived_there(self) -> None:
        world = FakeCluster({"S1": 256}, settings=PoolSettings(idle_grace=1000.0))
        idle = world.warm("a")
        world.take()
        world.run("b")
        world.wait(4.9)
        assert stops(world) == []
        world.wait(0.2)
        assert stops(world) == [idle]

    def test_after_drain_after_its_containers_take_no_new_runs(self) -> None:
        world = FakeCluster({"S1": 512})
        runs = [world.run("a"), world.run("b")]
        world.wait(2.0)
        head = world.run("large", 512)
        world.wait(4.0)
        world.done(runs[0])
        early = world.run("a")
        assert early in world.given
        world.done(early)
        world.wait(2.0)  # now it drains
        late = world.run("a")
        assert late not in world.given
        world.done(runs[1])
        placed(world, head, 5.0)

    def test_when_the_head_is_gone_they_take_runs_again_at_once(self) -> None:
        world = FakeCluster({"S1": 512}, settings=PoolSettings(max_wait=8.0))
        runs = [world.run("a"), world.run("b")]
        world.wait(2.0)
        head = world.run("large", 512)
        world.wait(6.0)
        world.done(runs[0])
        late = world.run("a")
        assert late not in world.given
        world.until(lambda: head in world.ended, 5.0)
        assert world.given[late] == world.given[runs[0]]

    def test_what_starts_there_still_serves_the_older_run_that_it_started_for(self) -> None:
        """Nor is it a victim before: the target was chosen without counting on its room."""
        world = FakeCluster({"S1": 768})
        busy = world.run("b", 512)
        world.wait(2.0)
        world.start_takes = 9.0
        older = world.run("a")
        head = world.run("large", 512)
        world.wait(8.0)
        assert world.pool.state.draining_agent() == "S1"
        world.wait(2.0)
        assert older in world.given
        world.done(busy)
        placed(world, head, 12.0)
        assert world.states() == ["busy", "warming"]


class TestRounds:
    def test_there_are_three_when_neighbours_take_the_room(self) -> None:
        """Each time somebody else gets what was freed; then nothing more is stopped, and the run says so."""
        world = FakeCluster({f"S{n}": 256 for n in range(5)})
        for name in "abcde":
            world.warm(name)
        world.wait(GRACE)
        world.take()
        run_id = world.run("f", timeout=300.0)
        gone: list[str] = []
        for _ in range(400):
            gone += stops(world)
            for each in world.agents.values():
                if not each.tasks:
                    world.neighbours(each.agent_id, 256)
            world.wait(0.1)
        assert len(gone) == 3
        assert world.aside is None
        assert "room was made 3 times and went elsewhere: waiting for NodeStats" in world.why(run_id)
        world.neighbours("S0", 0)
        for each in world.agents.values():
            if not each.tasks:
                world.neighbours(each.agent_id, 0)
        world.observe()
        placed(world, run_id, 3.0)

    def test_one_ends_only_when_nodestats_had_its_time(self) -> None:
        world = FakeCluster({"S1": 256, "S2": 256})
        world.warm("a"), world.warm("b")
        world.wait(GRACE)
        world.take()
        world.run("c")
        assert len(stops(world)) == 1
        assert world.aside is not None
        world.neighbours(world.aside, 256)
        world.wait(world.stop_takes + 2.4)
        assert stops(world) == []
        world.wait(0.2)
        assert len(stops(world)) == 1

    def test_none_begins_anew_when_an_older_run_takes_the_container_of_the_next_one(self) -> None:
        """The start that it leaves covers the run whose container it took, and not the head."""
        world = FakeCluster({"S1": 1024})
        world.warm("a"), world.warm("b")
        world.wait(GRACE)
        world.fates, world.stop_takes, world.start_takes = ["hangs", "starts"], 0.1, 0.3
        first, second = world.run("c"), world.run("c")
        world.run("c")
        assert len(stops(world)) == 1
        placed(world, first, world.start_takes + 0.1)
        placed(world, second, 3.0)
        assert stops(world) == []

    def test_the_agent_where_one_failed_comes_last(self) -> None:
        world = FakeCluster({"S1": 512, "S2": 256})
        world.warm("a"), world.warm("b"), world.warm("c")
        world.wait(GRACE)
        run_id = world.run("d")
        first = world.aside
        assert first is not None
        world.neighbours(first, 256)
        world.until(lambda: world.aside != first, 5.0)
        assert world.aside is not None
        placed(world, run_id, 5.0)

    def test_on_one_agent_a_second_round_is_still_made(self) -> None:
        world = FakeCluster({"S1": 512})
        world.warm("a"), world.warm("b")
        world.wait(GRACE)
        run_id = world.run("c")
        world.neighbours("S1", 256)
        placed(world, run_id, 12.0)
        assert len([1 for _, effect in world.log if isinstance(effect, StopContainer)]) == 2

    def test_stops_are_not_undone_when_the_head_finds_another_container(self) -> None:
        world = FakeCluster({"S1": 512})
        running = world.run("x")
        world.wait(2.0)
        idle = world.warm("a")
        world.wait(GRACE)
        head = world.run("x")
        assert idle in stops(world)
        world.done(running)
        assert world.given[head] == world.given[running]
        assert world.aside is None
        world.wait(2.0)
        assert idle not in world.pool.containers.by_id

    def test_unknown_is_not_full(self) -> None:
        """The master is lost: nothing is stopped for a head until NodeStats had its time to come."""
        world = FakeCluster({"S1": 256})
        world.warm("a")
        world.wait(GRACE)
        world.take()
        world.disconnect()
        run_id = world.run("b")
        world.wait(10.0)
        assert stops(world) == []
        assert "the cluster is not known yet" in world.why(run_id)
        world.settle()
        assert len(stops(world)) == 1
