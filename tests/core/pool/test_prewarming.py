"""Prewarmed containers: never ahead of waiting runs, never before the cluster is known, never into room just made."""

from __future__ import annotations

import pytest

from owmesos.core.node_stats import NodeStatsUpdate
from owmesos.core.pool.containers import ContainerShape, ContainerState
from owmesos.core.pool.events import Dispatch, PoolTick, StartContainer, StartKind, StopContainer
from owmesos.core.pool.prewarm import PrewarmSetting, Reactive
from owmesos.core.pool.settings import PoolSettings
from owmesos.errors import InvalidInput
from tests.core.pool.agents import agent
from tests.core.pool.cluster import FakeCluster

SHAPE = ContainerShape("python:3", 256)
PREWARMED = ContainerState.PREWARMED


def prewarm(count: int, reactive: Reactive | None = None) -> tuple[PrewarmSetting, ...]:
    return (PrewarmSetting(SHAPE, count, reactive),)


def started(world: FakeCluster) -> list[bool]:
    """Of each start since the last look, whether it is a prewarmed one."""
    return [effect.prewarm for effect in world.take() if isinstance(effect, StartContainer)]


class TestWhen:
    def test_not_before_the_first_nodestats(self) -> None:
        world = FakeCluster({"S1": 1024}, prewarm=prewarm(1), settled=False)
        world.send(PoolTick())
        world.send(NodeStatsUpdate())
        assert started(world) == []
        world.settle()
        assert started(world) == [True]

    def test_not_while_runs_wait(self) -> None:
        world = FakeCluster({"S1": 768}, prewarm=prewarm(1), settled=False)
        large = world.run("large", 1024, kind="nodejs:20")
        world.settle()
        assert started(world) == []
        world.join(agent("S2", 1024))
        assert started(world) == [False]
        world.wait(2.0)
        assert large in world.given
        assert started(world) == [True]

    def test_only_where_they_are_launchable(self) -> None:
        world = FakeCluster({"S1": 300, "S2": 200}, prewarm=prewarm(3))
        world.wait(5.0)
        assert [each.slot.agent_id for each in world.containers()] == ["S1"]

    def test_at_most_half_of_max_starts_at_once(self) -> None:
        world = FakeCluster({f"S{n}": 4096 for n in range(4)}, prewarm=prewarm(30))
        assert started(world) == [True] * 10
        world.wait(1.2)
        assert started(world) == [True] * 10

    def test_not_within_a_minute_of_an_eviction(self) -> None:
        world = FakeCluster({"S1": 512}, prewarm=prewarm(1))
        world.wait(2.0)
        other = world.warm("a", kind="nodejs:20")
        world.wait(11.0)
        world.take()
        run_id = world.run("b", kind="java:8", lasts=1.0)
        assert len(world.take(StopContainer)) == 1
        evicted_at = world.now
        world.until(lambda: run_id in world.ended, 10.0)
        world.crash(other)
        world.take()
        world.observe()  # there is room for one, and not for one more of what was evicted for
        world.wait(evicted_at + 59.9 - world.now)
        assert started(world) == []
        world.wait(0.2)
        assert started(world) == [True]

    def test_within_that_minute_if_room_for_that_need_stays(self) -> None:
        world = FakeCluster({"S1": 512}, prewarm=prewarm(1))
        world.wait(2.0)
        world.warm("a", kind="nodejs:20")
        world.wait(11.0)
        world.take()
        run_id = world.run("b", kind="java:8", lasts=1.0)
        world.until(lambda: run_id in world.ended, 10.0)
        world.take()
        world.join(agent("S2", 512))
        assert started(world) == [True]

    def test_a_run_that_comes_while_one_starts_waits_for_it(self) -> None:
        world = FakeCluster({"S1": 1024}, prewarm=prewarm(1))
        assert started(world) == [True]
        run_id = world.run("a")
        assert started(world) == []
        world.wait(2.0)
        assert [effect.kind for _, effect in world.log if isinstance(effect, Dispatch)] == [StartKind.PREWARMED]
        assert run_id in world.given

    def test_one_that_did_not_start_is_not_tried_again_before_the_next_check(self) -> None:
        world = FakeCluster({"S1": 1024}, prewarm=prewarm(1), settled=False)
        world.fates = ["fails"]
        world.settle()
        assert started(world) == [True]
        world.wait(30.0)
        world.observe()
        assert started(world) == []
        world.wait(31.0)
        assert started(world) == [True]


class TestHowMany:
    @pytest.mark.parametrize(
        ("cold", "threshold", "increment", "expected"),
        [(0, 2, 1, 1), (1, 2, 1, 1), (4, 2, 1, 2), (4, 2, 2, 4), (9, 1, 1, 5)],
    )
    def test_reactive_counts_follow_the_cold_starts(
        self, cold: int, threshold: int, increment: int, expected: int
    ) -> None:
        """desired = min(max(minCount, cold div threshold x increment), maxCount)."""
        reactive = Reactive(1, 5, 1000.0, threshold, increment)
        world = FakeCluster({"S1": 8192, "S2": 8192}, prewarm=prewarm(0, reactive))
        runs = [world.run(f"a{n}") for n in range(cold)]
        world.wait(5.0)
        for run_id in runs:
            world.done(run_id)
        world.wait(60.0)
        assert len(world.containers(PREWARMED)) == expected

    def test_cold_starts_count_for_one_interval(self) -> None:
        reactive = Reactive(0, 5, 30.0, 1, 1)
        world = FakeCluster({"S1": 8192}, prewarm=prewarm(0, reactive))
        for run_id in [world.run("a"), world.run("b")]:
            world.wait(2.0)
            world.done(run_id)
        world.wait(60.0)
        assert len(world.containers(PREWARMED)) == 2
        world.wait(60.0)
        assert len(world.containers(PREWARMED)) == 0

    def test_they_are_kept_however_long_they_idle(self) -> None:
        world = FakeCluster({"S1": 1024}, prewarm=prewarm(1), settings=PoolSettings(idle_timeout=30.0))
        world.wait(1000.0)
        assert world.take(StopContainer) == []

    @pytest.mark.parametrize(
        "wrong", [(2, 1, 1.0, 1, 1), (-1, 1, 1.0, 1, 1), (0, 1, 0.0, 1, 1), (0, 1, 1.0, 0, 1), (0, 1, 1.0, 1, 0)]
    )
    def test_settings_that_make_no_sense_are_refused(self, wrong: tuple[int, int, float, int, int]) -> None:
        with pytest.raises(InvalidInput, match="minCount"):
            Reactive(*wrong)
