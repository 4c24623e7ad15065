"""What must hold of a pool between two events: every index holds exactly what it should."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from owmesos.core.placement import Slot
from owmesos.core.pool.containers import Container, Containers, ContainerState
from owmesos.core.pool.eviction import Eviction
from owmesos.core.pool.eviction_planner import NOBODYS
from owmesos.core.pool.pool import Pool
from owmesos.core.pool.run_buffer import RunBuffer
from owmesos.core.pool.state import PoolState
from owmesos.resources import Ask

if TYPE_CHECKING:
    from owmesos.mesos.container_factory import PooledScheduler


def check_pooled(pooled: PooledScheduler) -> None:
    pooled.scheduler.state.validate()
    check_pool(pooled.pool)


def check_pool(pool: Pool) -> None:
    check_containers(pool.containers)
    check_run_buffer(pool.state.buffer)
    _check_state(pool.state)
    _check_rounds(pool._eviction)
    for container_id in pool.state.queued:
        assert pool._starts.covered(container_id), "a start is queued that no run waits for"


def _check_state(state: PoolState) -> None:
    assert not state.running.keys() & state.buffer.by_id.keys(), "a run waits and runs"
    active = Counter(container_id for container_id, _ in state.running.values())
    for container in state.containers:
        assert container.active == active[container.id], f"{container.id} has {container.active} runs"
    for waiting in state.buffer:
        assert waiting.covered_by is None or waiting.covered_by in state.containers.starting, "covered by what is over"
    for container_id, each in state.queued.items():
        assert state.capacity.queues_starts, "a start is queued where the cluster holds none"
        if container_id in state.containers.starting:
            assert state.containers.starting[container_id].slot == each.slot
    aside = state.aside
    if aside is not None:
        assert aside.run_id in state.buffer.by_id, "a node is set aside for a run that does not wait"
        for victim in aside.victims & state.containers.by_id.keys():
            assert victim in state.containers.stopping, f"victim {victim} of the round does not stop"


def _check_rounds(eviction: Eviction) -> None:
    """The head that a node is set aside for has one round, there."""
    claims: dict[Slot, Ask] = {}
    for each in eviction._behind._rounds.values():
        claims[each.slot] = claims.get(each.slot, NOBODYS).plus(eviction._behind._ask(each))
        assert each.waiting is not eviction._state.owner(), "a round beside the node that is set aside"
    assert claims == eviction._planner.claims


def check_run_buffer(buffer: RunBuffer) -> None:
    uncovered = {waiting.place for waiting in buffer.by_id.values() if waiting.covered_by is None}
    assert uncovered == {place for places in buffer._uncovered.values() for place in places}
    for index in (buffer._by_key, buffer._by_shape):
        assert sorted(place for places in index.values() for place in places) == list(buffer._all)
        assert all(places == sorted(places) for places in index.values())


def check_containers(containers: Containers) -> None:
    by_id = containers.by_id
    assert containers.memory == sum(container.shape.memory for container in by_id.values())
    for container in by_id.values():
        _check_container(containers, container)
    for index in (containers._warm, containers._warming, containers.idle_on, containers.on_agent):
        for same in index.values():
            assert all(by_id.get(container_id) is each for container_id, each in same.items()), "one that is gone"
    for idle in containers.idle_on.values():
        used = [container.last_used for container in idle.values()]
        assert used == sorted(used), "idle containers are not in the order of their last use"
    prewarmed = {container_id for same in containers._prewarmed.values() for _, container_id in same}
    assert prewarmed == {each.id for each in by_id.values() if each.state is ContainerState.PREWARMED}


def _check_container(containers: Containers, container: Container) -> None:
    where, state, key = f"{container.id} is {container.state.value}", container.state, container.key
    assert 0 <= container.active <= max(1, container.concurrency), where
    full = container.active >= container.concurrency
    assert (state is ContainerState.BUSY) == (full and state in (ContainerState.WARM, ContainerState.BUSY)), where
    assert container.idle == (container.id in containers.idle_on.get(container.slot, {})), where
    assert (state is ContainerState.STARTING) == (container.id in containers.starting), where
    assert (state is ContainerState.STOPPING) == (container.id in containers.stopping), where
    assert container.id in containers.on_agent[container.slot.agent_id], where
    for each, index in ((ContainerState.WARM, containers._warm), (ContainerState.WARMING, containers._warming)):
        ready = key is not None and container.id in index.get(key, {})
        assert ready == (state is each and container.spare), f"{where} and stands wrong among the {each.value}"
