"""Every effect for the invoker and for its containers is carried out by its type; one without a rule raises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from owmesos.core.container_factory import FOR_INVOKER
from owmesos.core.pool.events import PoolEffect
from owmesos.errors import InvariantBroken
from owmesos.openwhisk.container.run_state import RunEffect
from owmesos.openwhisk.container.runner import ActionContainers
from tests.invoker.invoking import Scene, invoking
from tests.openwhisk.container.real_invoker import RealInvoker
from tests.openwhisk.runs import action


class StrangeWish(PoolEffect, frozen=True):
    """Nothing that a pool wants."""


class StrangeStep(RunEffect, frozen=True):
    """No step of a run."""


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with invoking(tmp_path, action()) as scene:
        yield scene


@pytest.fixture
async def containers(tmp_path: Path) -> AsyncIterator[ActionContainers]:
    async with RealInvoker(tmp_path) as invoker:
        yield invoker.containers


async def test_an_effect_of_the_pool_that_the_invoker_does_not_know_raises(scene: Scene) -> None:
    strange: Any = StrangeWish()
    with pytest.raises(InvariantBroken, match="cannot carry out StrangeWish"):
        scene.invoker._on_pool_event(strange)


async def test_the_invoker_carries_out_all_that_a_pool_wants_of_it(scene: Scene) -> None:
    assert set(scene.invoker._handlers) == set(FOR_INVOKER)


async def test_a_step_of_a_run_that_nobody_carries_out_raises(containers: ActionContainers) -> None:
    known: Any = None  # no container is reached
    with pytest.raises(InvariantBroken, match="cannot carry out StrangeStep"):
        containers._carry_out(known, [StrangeStep()])


async def test_every_step_of_a_run_is_carried_out(containers: ActionContainers) -> None:
    steps = {kind for kind in RunEffect.__subclasses__() if kind.__module__.startswith("owmesos.")}
    assert steps == set(containers._handlers)
