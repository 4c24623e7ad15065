"""What the pool counts for its operator."""

from __future__ import annotations

import pytest

from owmesos.core.pool.events import StartKind
from owmesos.core.pool.settings import PoolSettings
from tests.core.pool.cluster import ACCEPT_TAKES, FakeCluster


def test_each_run_counts_by_how_it_got_its_container_and_only_waits_are_measured() -> None:
    world = FakeCluster({"S1": 256})
    first = world.run("a")
    world.wait(2.0)
    world.done(first)
    world.done(world.run("a"))
    counts = world.pool.state.counts
    assert {kind: count for kind, count in counts.starts.items() if count} == {StartKind.COLD: 1, StartKind.WARMED: 1}
    assert (counts.waited, counts.wait.count) == (1, 1)
    assert counts.wait.sum == pytest.approx(ACCEPT_TAKES + world.start_takes)


def test_a_start_that_the_cluster_took_back_is_refused_and_no_failure() -> None:
    world = FakeCluster({"S1": 256})
    world.fates = ["refused"]
    world.run("a")
    world.wait(5.0)
    state = world.pool.state
    assert (state.counts.refused, sum(state.backoff.failures.values())) == (1, 0)


def test_a_run_that_ends_without_a_container_is_unplaced() -> None:
    world = FakeCluster({"S1": 256}, settings=PoolSettings(max_wait=5.0))
    world.run("large", 1024)
    world.wait(10.0)
    counts = world.pool.state.counts
    assert (counts.failed, sum(counts.starts.values()), counts.wait.count) == (1, 0, 0)


def test_what_is_stopped_to_make_room_is_an_eviction() -> None:
    world = FakeCluster({"S1": 256})
    world.warm("a")
    world.wait(60.0)
    world.run("b")
    world.wait(20.0)
    assert world.pool.state.counts.evicted == 1
