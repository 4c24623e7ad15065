"""The titles 42 to 51 of today's invoker's pool tests, `remove()`: who is stopped to make room.

The victims are on one agent, past their grace, and are counted together with what is free there.
"""

from __future__ import annotations

import pytest

from owmesos.core.pool.containers import ContainerShape, ContainerState
from owmesos.core.pool.events import StopContainer
from owmesos.core.pool.prewarm import Prewarm, PrewarmSetting, Reactive
from tests.core.pool.cluster import FakeCluster, one_agent

SHAPE = ContainerShape("python:3", 256)
GRACE = 11.0


def stops(world: FakeCluster) -> list[str]:
    return [effect.container_id for effect in world.take() if isinstance(effect, StopContainer)]


def test_nothing_if_pool_empty() -> None:
    world = one_agent(128)
    run_id = world.run("a")
    assert stops(world) == []
    assert "short" in world.why(run_id)


def test_nothing_from_busy_pool_with_non_warm() -> None:
    """What is starting, warming or busy is nobody's victim."""
    world = one_agent(256)
    world.init_takes = 1.0
    world.run("a")
    world.run("b")
    for _ in range(8):
        world.wait(0.5)
        assert stops(world) == []
    assert world.states() == ["busy"]


def test_nothing_if_not_enough_capacity() -> None:
    world = one_agent(512)
    world.warm("a")
    world.run("b")
    world.wait(GRACE)
    world.take()
    run_id = world.run("large", 1024)
    world.wait(20.0)
    assert stops(world) == []
    assert "no node could hold it even without our own containers" in world.why(run_id)


def test_single_free_container() -> None:
    world = one_agent(256)
    idle = world.warm("a")
    world.wait(GRACE)
    world.run("b")
    assert stops(world) == [idle]


def test_oldest_of_several() -> None:
    world = one_agent(768)
    old, other, last = world.warm("a"), world.warm("b"), world.warm("c")
    world.done(world.run("a"))  # now `other` is the oldest
    world.wait(GRACE)
    world.run("d")
    assert stops(world) == [other]
    assert world.states().count("warm") == 2
    assert {old, last} == {each.id for each in world.containers(ContainerState.WARM)}


def test_list_of_the_oldest_if_several_needed() -> None:
    world = one_agent(768)
    idle = [world.warm(name) for name in "abc"]
    world.wait(GRACE)
    world.run("large", 512)
    assert stops(world) == idle[:2]


def test_oldest_excluding_concurrently_busy() -> None:
    """A warm container that serves one run and could take more is not a victim."""
    world = one_agent(512)
    shared = world.run("a", concurrency=2)
    world.wait(2.0)
    idle = world.warm("b")
    world.wait(GRACE)
    world.run("c")
    assert stops(world) == [idle]
    assert world.given[shared] in world.pool.containers.by_id


def ready(world: FakeCluster) -> None:
    """The prewarmed containers have started one second after the other."""
    world.observe()
    world.until(lambda: ContainerState.STARTING.value not in world.states(), 5.0)
    world.take()


def expiring(count: int, ttl: float, *, least: int = 0) -> FakeCluster:
    reactive = Reactive(least, count, ttl, 1, 1)
    world = one_agent(4096, prewarm=(PrewarmSetting(SHAPE, count, reactive),))
    ready(world)
    return world


def test_expired_in_order_of_expiration() -> None:
    world = expiring(3, 30.0)
    first, second, third = world.containers(ContainerState.PREWARMED)
    for container, when in ((first, 3.0), (second, 1.0), (third, 2.0)):
        world.pool.containers.unindex(container)
        container.expires_at = world.now + when
        world.pool.containers.put(container)
    world.wait(60.0)
    assert stops(world) == [second.id, third.id, first.id]


def test_only_prewarm_expiration_limit_of_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Prewarm, "expiration_limit", 2)
    world = expiring(3, 30.0)
    world.wait(60.0)
    assert len(stops(world)) == 2
    world.wait(60.0)
    assert len(stops(world)) == 1


def test_only_the_expired_regardless_of_min_count() -> None:
    world = expiring(2, 30.0, least=2)
    (kept, gone) = world.containers(ContainerState.PREWARMED)
    world.pool.containers.unindex(kept)
    kept.expires_at = world.now + 100.0
    world.pool.containers.put(kept)
    world.wait(60.0)
    assert stops(world) == [gone.id]
    world.wait(2.0)
    assert len(world.containers(ContainerState.PREWARMED)) == 2  # and the count is filled up again
