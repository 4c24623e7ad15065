"""A pool of so many MB in both modes: on one agent of a cluster, and with a fixed user-memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.core.pool.cluster import FakeCluster

PoolOf = Callable[..., FakeCluster]


@pytest.fixture(params=["cluster", "fixed"])
def pool_of(request: pytest.FixtureRequest) -> PoolOf:
    def make(memory: int, **named: Any) -> FakeCluster:
        if request.param == "fixed":
            return FakeCluster(user_memory=memory, **named)
        return FakeCluster({"S1": memory}, **named)

    return make
