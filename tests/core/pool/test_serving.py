"""Runs on containers that are up: who takes them, and when a container is done for."""

from __future__ import annotations

from owmesos.core.pool.containers import ContainerState
from owmesos.core.pool.events import ContainerUnfit, Dispatch, FeedMore, RunDone, StartContainer, StopContainer
from owmesos.core.pool.settings import PoolSettings
from tests.core.pool.cluster import FakeCluster
from tests.core.pool.invariants import check_pool

WARM, BUSY, WARMING = ContainerState.WARM, ContainerState.BUSY, ContainerState.WARMING


def stops(world: FakeCluster) -> list[str]:
    return [effect.container_id for effect in world.take() if isinstance(effect, StopContainer)]


class TestPassing:
    def test_warm_runs_pass_a_blocked_head(self) -> None:
        world = FakeCluster({"S1": 512, "S2": 256})
        on_other = world.warm("a")
        assert world.pool.containers.by_id[on_other].slot.agent_id == "S2"
        head = world.run("large", 1024)
        assert world.buffered() == [head]
        for _ in range(3):
            run_id = world.run("a")
            assert world.given[run_id] == on_other
            world.done(run_id)
        assert world.buffered() == [head]

    def test_cold_runs_pass_it_where_they_fit(self) -> None:
        world = FakeCluster({"S1": 512})
        head = world.run("large", 1024)
        later = world.run("a")
        assert world.buffered() == [head, later]
        assert world.pool.state.buffer.by_id[later].covered_by is not None

    def test_a_container_that_is_free_again_takes_the_oldest_of_its_action(self) -> None:
        world = FakeCluster({"S1": 256})
        first = world.run("a")
        world.wait(2.0)
        second, third = world.run("a"), world.run("a")
        world.done(first)
        assert world.given[second] == world.given[first]
        world.done(second)
        assert world.given[third] == world.given[first]


class TestUnfit:
    """It came out after its run was done that its container must not serve again."""

    def test_one_without_runs_stops_at_once(self) -> None:
        world = FakeCluster({"S1": 1024})
        container_id = world.warm("a")
        world.take()
        world.send(ContainerUnfit(container_id))
        assert stops(world) == [container_id]
        world.send(ContainerUnfit(container_id))
        assert stops(world) == []
        assert world.given.get(world.run("a")) != container_id

    def test_one_with_a_run_takes_no_more_and_stops_after_it(self) -> None:
        world = FakeCluster({"S1": 1024})
        container_id = world.warm("a", concurrency=2)
        run_id = world.run("a", concurrency=2)
        assert world.given[run_id] == container_id
        world.take()
        world.send(ContainerUnfit(container_id))
        assert stops(world) == []
        assert world.given.get(world.run("a", concurrency=2)) != container_id
        world.done(run_id)
        assert stops(world) == [container_id]

    def test_of_one_that_is_gone_nothing_is_done(self) -> None:
        world = FakeCluster({"S1": 1024})
        world.send(ContainerUnfit("nonesuch"))
        assert stops(world) == []


class TestDoomed:
    def test_it_takes_no_more_runs_and_stops_after_the_last(self) -> None:
        world = FakeCluster({"S1": 1024})
        first, second = world.run("a", concurrency=3), world.run("a", concurrency=3)
        world.wait(2.0)
        world.take()
        world.done(first, reuse=False)
        assert stops(world) == []
        third = world.run("a", concurrency=3)
        assert third not in world.given
        world.done(second)
        assert stops(world) == [world.given[first]]
        world.wait(2.0)
        assert world.given[third] != world.given[first]

    def test_one_that_is_still_warming_stops_too(self) -> None:
        """/init failed."""
        world = FakeCluster({"S1": 1024})
        world.init_takes = 5.0
        run_id = world.run("a")
        world.wait(2.0)
        assert world.states() == ["warming"]
        world.take()
        world.done(run_id, reuse=False)
        assert stops(world) == [world.given[run_id]]


class TestReschedule:
    def test_the_run_stands_where_it_stood(self) -> None:
        world = FakeCluster({"S1": 256})
        first = world.run("a")
        world.wait(2.0)
        second = world.run("a")
        world.reschedule(first)
        assert world.buffered() == [first, second]

    def test_it_takes_a_container_that_is_ready(self) -> None:
        world = FakeCluster({"S1": 512})
        runs = [world.run("a"), world.run("a")]
        world.wait(2.0)
        world.done(runs[0])
        world.take()
        world.reschedule(runs[1])
        effects = world.take(Dispatch, StartContainer)
        assert [type(effect) for effect in effects] == [Dispatch]
        assert world.given[runs[1]] == world.given[runs[0]]

    def test_its_container_ends_the_other_runs_that_it_has(self) -> None:
        world = FakeCluster({"S1": 512})
        runs = [world.run("a", concurrency=2), world.run("a", concurrency=2)]
        world.wait(2.0)
        dead = world.given[runs[0]]
        world.take()
        world.reschedule(runs[0])
        assert stops(world) == []
        world.done(runs[1])
        assert stops(world) == [dead]

    def test_it_is_told_of_the_feed_once_for_each_run(self) -> None:
        world = FakeCluster({"S1": 512})
        run_id = world.run("a")
        world.wait(2.0)
        world.reschedule(run_id)
        world.wait(2.0)
        assert world.take(FeedMore) == []
        world.done(run_id)
        assert world.take(FeedMore) == [FeedMore()]

    def test_a_late_end_on_the_container_that_it_left_changes_nothing(self) -> None:
        world = FakeCluster({"S1": 512})
        run_id = world.run("a")
        world.wait(2.0)
        former = world.given[run_id]
        world.reschedule(run_id)
        world.wait(2.0)
        world.take()
        assert world.pool.handle(RunDone(former, run_id), world.now) == []
        check_pool(world.pool)
        assert world.states()[-1] == "busy"

    def test_the_container_being_lost_before_changes_nothing(self) -> None:
        world = FakeCluster({"S1": 512})
        run_id = world.run("a")
        world.wait(2.0)
        world.crash(world.given[run_id])
        assert world.ended == {run_id: None}
        assert world.take(FeedMore) == [FeedMore()]
        assert world.pool.containers.by_id == {}


class TestIdle:
    def test_a_container_that_idles_too_long_stops(self) -> None:
        world = FakeCluster({"S1": 512})
        idle = world.warm("a")
        world.take()
        world.wait(599.0)
        assert stops(world) == []
        world.wait(2.0)
        assert stops(world) == [idle]

    def test_each_run_begins_the_time_anew(self) -> None:
        world = FakeCluster({"S1": 512}, settings=PoolSettings(idle_timeout=100.0))
        idle = world.warm("a")
        for _ in range(5):
            world.wait(90.0)
            world.done(world.run("a"))
        world.take()
        world.wait(99.0)
        assert stops(world) == []
        world.wait(2.0)
        assert stops(world) == [idle]

    def test_one_that_idles_is_never_listed_as_paused(self) -> None:
        """Mesos cannot pause: it is warm all the time, and no state says otherwise."""
        world = FakeCluster({"S1": 512})
        world.warm("a")
        world.wait(300.0)
        assert world.states() == ["warm"]
        assert "paused" not in {state.value for state in ContainerState}

    def test_one_that_is_busy_stays(self) -> None:
        world = FakeCluster({"S1": 512}, settings=PoolSettings(idle_timeout=100.0))
        world.run("a")
        world.wait(500.0)
        assert stops(world) == []

    def test_one_that_nobody_needed_stops_too(self) -> None:
        world = FakeCluster({"S1": 512}, settings=PoolSettings(idle_timeout=100.0))
        running = world.run("a")
        world.wait(2.0)
        world.run("a")
        world.done(running)
        world.wait(2.0)
        (unused,) = world.containers(ContainerState.PREWARMED)
        world.take()
        world.wait(110.0)
        assert unused.id in stops(world)


class TestMemory:
    def test_is_accounted_until_the_container_is_gone(self) -> None:
        world = FakeCluster({"S1": 1024})
        world.stop_takes = 3.0
        run_id = world.run("a")
        assert world.pool.containers.memory == 256
        world.wait(2.0)
        world.done(run_id, reuse=False)
        assert world.pool.containers.memory == 256
        world.wait(3.1)
        assert world.pool.containers.memory == 0

    def test_a_container_on_an_agent_that_was_forgotten_hinders_nothing(self) -> None:
        """The ledger drops agents that are long gone, and with them what the pool may still ask for."""
        world = FakeCluster({"S1": 256, "S2": 256})
        world.warm("a")
        world.warm("b")
        run_id = world.run("c")
        world.leave("S1")
        world.ledger.forget_agent("S1")
        world.cluster.forget("S1")
        world.until(lambda: run_id in world.given, 12.0)
        assert [each.slot.agent_id for each in world.containers()] == ["S2"]


class TestCancel:
    def test_a_run_that_waits_is_not_served_any_more_and_the_next_is(self) -> None:
        world = FakeCluster({"S1": 256})
        running = world.run()
        world.wait(2)
        cancelled, kept = world.run(), world.run()
        world.cancel(cancelled)
        world.done(running)
        world.wait(2)
        assert kept in world.given
        assert cancelled not in world.given

    def test_its_container_that_starts_serves_another(self) -> None:
        world = FakeCluster({"S1": 256})
        cancelled = world.run()
        world.cancel(cancelled)
        kept = world.run()
        world.wait(2)
        assert kept in world.given
        assert cancelled not in world.given

    def test_a_run_that_has_a_container_goes_on(self) -> None:
        world = FakeCluster({"S1": 256})
        run_id = world.run()
        world.wait(2)
        world.cancel(run_id)
        assert run_id in world.pool.state.running
        world.cancel("nobody")
