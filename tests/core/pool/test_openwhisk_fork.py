"""The titles of the fork's tests for clusters (tests/core/pool/titles.py).

The fork asked other invokers for room, tried at once what it could not place, and kept its containers from being used
when the cluster was full. The rules that took their place are said test by test.
"""

from __future__ import annotations

from owmesos.core.pool.containers import ContainerShape
from owmesos.core.pool.events import StartContainer, StopContainer
from owmesos.core.pool.prewarm import PrewarmSetting
from owmesos.core.pool.settings import PoolSettings
from owmesos.resources import Ask
from tests.core.pool.agents import agent
from tests.core.pool.cluster import FakeCluster

SHAPE = ContainerShape("python:3", 256)


def prewarm(count: int) -> tuple[PrewarmSetting, ...]:
    return (PrewarmSetting(SHAPE, count),)


def test_init_prewarms_only_when_init_prewarms_is_sent() -> None:
    """No message is needed: the first NodeStats is what they wait for."""
    world = FakeCluster({"S1": 1024}, prewarm=prewarm(2), settled=False)
    world.wait(1.0)
    assert world.take(StartContainer) == []
    world.settle()
    assert len(world.take(StartContainer)) == 2


def test_limit_the_number_of_container_prewarm_starts() -> None:
    """Half of `max_starts` at once, and no more than may start on one agent."""
    world = FakeCluster({"S1": 9000, "S2": 9000}, prewarm=prewarm(12), settings=PoolSettings(max_starts=12))
    world.observe()
    assert len(world.take(StartContainer)) == 6
    world.wait(2.0)
    assert len(world.take(StartContainer)) == 6
    world.wait(2.0)
    assert world.states() == ["prewarmed"] * 12


def test_request_space_from_cluster_if_no_resources_available() -> None:
    """Nobody is asked: room is made out of our own idle containers, as much as is needed and not ten times that."""
    world = FakeCluster({"S1": 1024})
    idle = [world.warm(name) for name in "abcd"]
    world.wait(11.0)
    world.take()
    run_id = world.run("e")
    assert world.take(StopContainer, StartContainer) == [StopContainer(idle[0], f"its room is for run {run_id}")]


def test_process_runbuffer_on_resource_update() -> None:
    world = FakeCluster({"S1": 128})
    run_id = world.run("a")
    assert world.buffered() == [run_id]
    world.agents["S1"].total = Ask.of(cpus=4, mem=256, ports=10)
    world.observe()
    assert len(world.take(StartContainer)) == 1


def test_release_reservation_on_container_started() -> None:
    """What the start holds is in NodeStats by then: an ACCEPT leaves only what is left over."""
    world = FakeCluster({"S1": 512})
    world.run("a")
    assert world.ledger.available(world.agents["S1"].slot).mem == 256
    world.wait(2.0)
    assert world.ledger.reservations.by_launch == {}
    assert world.ledger.available(world.agents["S1"].slot).mem == 256


def test_release_reservation_on_container_removed() -> None:
    """The same for a start that is lost before it is up; the run keeps its place."""
    world = FakeCluster({"S1": 512})
    world.start_takes = 5.0
    run_id = world.run("a")
    world.wait(1.0)
    (start,) = (effect for effect in world.take() if isinstance(effect, StartContainer))
    assert start.container_id in world.ledger.reservations.by_launch
    world.crash(start.container_id)
    assert start.container_id not in world.ledger.reservations.by_launch
    assert world.pool.state.buffer.by_id[run_id].attempts == 1


def test_not_remove_container_younger_than_idle_grace_instant() -> None:
    """Nor a prewarmed one. After `drain_after` of a head's waiting that grace is waived."""
    world = FakeCluster({"S1": 256}, settings=PoolSettings(idle_grace=10.0, drain_after=30.0))
    idle = world.warm("a")
    world.take()
    run_id = world.run("b")
    world.wait(9.9)
    assert world.take(StopContainer) == []
    world.wait(0.2)
    assert world.take(StopContainer) == [StopContainer(idle, f"its room is for run {run_id}")]


def test_not_block_warm_usage_if_cluster_has_no_capacity() -> None:
    world = FakeCluster({"S1": 256})
    idle = world.warm("a")
    world.neighbours("S1", 10_000)
    world.observe()
    assert world.given[world.run("a")] == idle


def test_not_block_warm_usage_if_cluster_has_no_capacity_with_single_prewarm() -> None:
    world = FakeCluster({"S1": 256}, prewarm=prewarm(1))
    world.observe()
    world.wait(2.0)
    (ready,) = world.containers()
    world.neighbours("S1", 10_000)
    world.observe()
    assert world.given[world.run("a")] == ready.id


def hosts() -> FakeCluster:
    """30 hosts with 68 to 2,500 MB free, nearly all of their cpus and ports, as in the fork's test."""
    return FakeCluster([agent(f"S{n}", 68 + n * 2432 // 29, cpus=31.9, ports=950) for n in range(30)])


def test_capacity_for_256_with_256_reserved() -> None:
    world = hosts()
    world.run("a")
    assert len(world.take(StartContainer)) == 1
    world.run("b")
    assert len(world.take(StartContainer)) == 1


def test_no_capacity_for_4096() -> None:
    """The sum would do; one agent has to."""
    world = hosts()
    run_id = world.run("a", 4096)
    assert world.take(StartContainer) == []
    assert "of 30 nodes, 30 lack memory; nearest: node S29" in world.why(run_id)


def test_update_nodestats_async() -> None:
    """What is decided between two NodeStats counts on what the last one showed, less what was decided since."""
    world = FakeCluster({"S1": 512})
    runs = [world.run(name) for name in "abc"]
    assert len(world.take(StartContainer)) == 2
    assert world.buffered() == runs
    world.agents["S1"].total = Ask.of(cpus=4, mem=768, ports=10)
    world.wait(0.2)
    assert len(world.take(StartContainer)) == 1
