"""The comparison with Fenzo: that a wrong placement is seen, and that both sides get one for every task."""

from __future__ import annotations

import pytest

from benchmarks.fenzo import Ours, Placed, check, compare
from benchmarks.placement import LAUNCHES, Cluster, asks_of
from owmesos.core.placement import Strategy
from owmesos.resources import Ask, Resources
from tests.servers.maven import pom
from tests.servers.process import ServerMissing

AGENTS = 30


@pytest.fixture
def cluster() -> Cluster:
    """Agent n has the rack `r<n % 10>`; a task may run on r0 to r4."""
    return Cluster.of(AGENTS, 1.0, Strategy.PACK)


def agent(cluster: Cluster, rack: str) -> str:
    return next(agent_id for agent_id, (_, attributes) in cluster.described.items() if attributes["rack"] == (rack,))


def all_of(cluster: Cluster, agent_id: str) -> Ask:
    room = next(room for slot, room in cluster.rooms.items() if slot.agent_id == agent_id)
    return Ask(room.milli_cpus, room.milli_mem, 0, 0, 1)


def test_what_fits_is_valid_and_what_was_not_placed_too(cluster: Cluster) -> None:
    there = agent(cluster, "r1")
    check(cluster, [all_of(cluster, there), Ask.of(mem=1)], [Placed(there, 31_500), None])


def test_another_rack_is_seen(cluster: Cluster) -> None:
    with pytest.raises(AssertionError, match="rack"):
        check(cluster, [Ask.of(mem=1, ports=1)], [Placed(agent(cluster, "r7"), 31_000)])


def test_room_that_is_given_twice_is_seen(cluster: Cluster) -> None:
    there = agent(cluster, "r1")
    with pytest.raises(AssertionError, match="room"):
        check(cluster, [all_of(cluster, there), Ask.of(mem=1, ports=1)], [Placed(there, 31_000), Placed(there, 31_001)])


def test_a_port_that_is_given_twice_is_seen(cluster: Cluster) -> None:
    there = agent(cluster, "r1")
    asks = [Ask.of(mem=1, ports=1)] * 2
    with pytest.raises(AssertionError, match="port 31000"):
        check(cluster, asks, [Placed(there, 31_000)] * 2)


def test_our_rounds_begin_anew_each_time(cluster: Cluster) -> None:
    ours = Ours(cluster)
    rooms: dict[object, Resources] = dict(cluster.rooms)
    first, second = (ours.round(asks_of(1))[2] for _ in range(2))
    check(cluster, asks_of(1), first)
    assert first == second
    assert dict(cluster.rooms) == rooms


def test_a_project_of_maven_names_what_it_needs() -> None:
    text = pom("things", ("org.a:b:1.2", "org.c:d:3"))
    assert "<groupId>org.a</groupId><artifactId>b</artifactId><version>1.2</version>" in text
    assert text.count("<dependency>") == 2


@pytest.mark.cluster
@pytest.mark.parametrize("strategy", ["pack", "any"])
def test_fenzo_and_ours_place_the_same_tasks(strategy: str) -> None:
    try:
        ours, theirs = compare(200, strategy, 2, 0.0)
    except ServerMissing as reason:
        pytest.skip(f"no Fenzo: {reason}")
    assert ours.tasks == theirs.tasks == LAUNCHES
    assert len(theirs.clock) == 2
