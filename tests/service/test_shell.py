"""What the decisions want done is carried out by its type."""

from __future__ import annotations

from typing import Any

import pytest

from owmesos.core.container_factory import FOR_INVOKER
from owmesos.core.placement import Slot
from owmesos.core.pool.events import ContainerStarted, Dispatch, StartKind
from owmesos.errors import InvariantBroken
from owmesos.mesos.messages import FrameworkInfo
from owmesos.mesos.scheduler.effects import Effect
from owmesos.mesos.scheduler.scheduler import Scheduler
from owmesos.mesos.scheduler.settings import Settings
from owmesos.service.shell import Shell
from owmesos.system.clock import Clock


class StrangeEffect(Effect, frozen=True):
    """Nothing that anybody wants."""


@pytest.fixture
def shell() -> Shell:
    nothing: Any = None  # neither a driver nor a store is reached
    return Shell(Scheduler(Settings(), FrameworkInfo("root", "test")), nothing, None, nothing, Clock())


def test_an_effect_that_nobody_carries_out_raises(shell: Shell) -> None:
    with pytest.raises(InvariantBroken, match="cannot carry out StrangeEffect"):
        shell._carry_out([StrangeEffect()])


def test_every_effect_of_the_scheduler_is_carried_out(shell: Shell) -> None:
    known = {kind for kind in Effect.__subclasses__() if kind.__module__.startswith("owmesos.")}
    assert known < set(shell._handlers)


def test_what_a_pool_wants_of_its_invoker_is_told_to_it(shell: Shell) -> None:
    told: list[object] = []
    shell.pool_listeners.append(told.append)
    wanted = [Dispatch("run", "container", StartKind.WARMED, False), ContainerStarted("c", Slot("S1", "*"), "h:1")]
    shell._carry_out(wanted)
    assert told == wanted
    assert set(FOR_INVOKER) < set(shell._handlers)
