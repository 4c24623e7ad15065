"""The titles 28 to 41 of today's invoker's pool tests, `schedule()`: which warm container a run gets.

Here it is a look into an index, and there is one state of warming: every container starts without a run (late
binding), so what today's invoker calls warmingCold is warming as well.
"""

from __future__ import annotations

import pytest

from owmesos.core.placement import Slot
from owmesos.core.pool.containers import ActionKey, Container, Containers, ContainerShape, ContainerState
from owmesos.resources import Ask
from tests.core.pool.invariants import check_containers

KEY = ActionKey("guest", "a", "0.0.1")
SHAPE = ContainerShape("python:3", 256)
WARM, WARMING, BUSY = ContainerState.WARM, ContainerState.WARMING, ContainerState.BUSY


@pytest.fixture
def pool() -> Containers:
    return Containers()


def put(
    pool: Containers,
    name: str,
    state: ContainerState = WARM,
    *,
    key: ActionKey | None = KEY,
    active: int = 0,
    concurrency: int = 1,
) -> Container:
    container = Container(name, SHAPE, Ask.of(mem=256), Slot("S1", "*"), 0.0, state, key=key)
    container.active, container.concurrency = active, concurrency
    pool.put(container)
    check_containers(pool)
    return container


def test_none_if_idle_pool_is_empty(pool: Containers) -> None:
    assert pool.warm(KEY) is None


def test_reuse_applicable_warm_one_container(pool: Containers) -> None:
    container = put(pool, "c1")
    assert pool.warm(KEY) is container


def test_reuse_applicable_warm_several_applicable(pool: Containers) -> None:
    """The one that was used last: the others may grow old, and make room."""
    put(pool, "c1")
    second = put(pool, "c2")
    assert pool.warm(KEY) is second


def test_reuse_applicable_warm_several_different(pool: Containers) -> None:
    fitting = put(pool, "c1")
    put(pool, "c2", key=ActionKey("guest", "b", "0.0.1"))
    put(pool, "c3", ContainerState.PREWARMED, key=None)
    assert pool.warm(KEY) is fitting


def test_not_from_non_warm(pool: Containers) -> None:
    put(pool, "c1", ContainerState.STARTING, key=None)
    put(pool, "c2", ContainerState.PREWARMED, key=None)
    put(pool, "c3", BUSY, active=1)
    put(pool, "c4", ContainerState.STOPPING)
    assert pool.warm(KEY) is None


def test_not_with_different_invocation_namespace(pool: Containers) -> None:
    put(pool, "c1")
    assert pool.warm(KEY._replace(namespace="other")) is None


def test_not_with_different_action_name(pool: Containers) -> None:
    put(pool, "c1")
    assert pool.warm(KEY._replace(name="other")) is None


def test_not_with_different_contents(pool: Containers) -> None:
    put(pool, "c1")
    assert pool.warm(KEY._replace(digest=b"other")) is None


def test_not_with_different_version(pool: Containers) -> None:
    put(pool, "c1")
    assert pool.warm(KEY._replace(version="0.0.2")) is None


@pytest.mark.parametrize(("state", "active"), [(BUSY, 1), (BUSY, 2), (WARMING, 2)])
def test_not_when_active_at_least_max_concurrent(pool: Containers, state: ContainerState, active: int) -> None:
    put(pool, "c1", state, active=active, concurrency=active)
    assert pool.warm(KEY) is None


def test_use_warming_when_active_below_max(pool: Containers) -> None:
    container = put(pool, "c1", WARMING, active=1, concurrency=2)
    assert pool.warm(KEY) is container


def test_prefer_warm_to_warming(pool: Containers) -> None:
    warm = put(pool, "c1", active=1, concurrency=2)
    put(pool, "c2", WARMING, active=1, concurrency=2)
    assert pool.warm(KEY) is warm


def test_use_warming_cold(pool: Containers) -> None:
    """One state: it is warming, whether it was prewarmed or started for a run."""
    container = put(pool, "c1", WARMING, active=1, concurrency=2)
    assert pool.warm(KEY) is container


def test_prefer_warm_to_warming_cold(pool: Containers) -> None:
    put(pool, "c1", WARMING, active=1, concurrency=2)
    warm = put(pool, "c2", active=1, concurrency=2)
    put(pool, "c3", WARMING, active=1, concurrency=2)
    assert pool.warm(KEY) is warm


def test_prefer_warming_to_warming_cold(pool: Containers) -> None:
    """One state, so neither goes before the other: the last used does."""
    put(pool, "c1", WARMING, active=1, concurrency=2)
    last = put(pool, "c2", WARMING, active=1, concurrency=2)
    assert pool.warm(KEY) is last


def test_what_is_avoided_is_passed_over(pool: Containers) -> None:
    first = put(pool, "c1")
    second = put(pool, "c2")
    pool.unindex(second)
    second.slot = Slot("S2", "*")
    pool.put(second)
    assert pool.warm(KEY, avoid="S2") is first
    assert pool.warm(KEY, avoid="S1") is second
