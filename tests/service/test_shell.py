"""What the decisions want done is carried out by its type."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from owmesos.core.container_factory import FOR_INVOKER
from owmesos.core.placement import Slot
from owmesos.core.pool.events import ContainerStarted, Dispatch, StartKind
from owmesos.errors import InvariantBroken
from owmesos.mesos.messages import Event, FrameworkInfo, Offers, decode_event
from owmesos.mesos.scheduler.effects import Effect
from owmesos.mesos.scheduler.scheduler import Scheduler
from owmesos.mesos.scheduler.settings import Settings
from owmesos.service import shell as shells
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


async def test_others_have_their_turn_between_the_parts_of_a_large_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """A REVIVE brings the offers of all agents at once: 2,000 of them would take a tenth of a second."""
    monkeypatch.setattr(shells, "MOST_OFFERS", 2)
    monkeypatch.setattr(shells, "_TURN", 0.0)
    offers = [{"id": {"value": f"O{number}"}} for number in range(5)]
    record = json.dumps({"type": "OFFERS", "offers": {"offers": offers}}).encode()
    happened: list[object] = []

    class Driver:
        async def events(self) -> AsyncIterator[Event]:
            yield decode_event(record, pytest.fail)

    class Observing(Shell):
        def observe(self, event: object) -> None:
            assert isinstance(event, Offers)
            assert list(event.offers) == []
            happened.append([each.id.value for each in event.unreadable])
            asyncio.get_running_loop().call_soon(happened.append, "another's turn")

    nothing: Any = None
    driver: Any = Driver()
    observing = Observing(Scheduler(Settings(), FrameworkInfo("root", "test")), driver, None, nothing, Clock())
    await observing._pump()
    turn = "another's turn"
    assert happened == [["O0", "O1"], turn, ["O2", "O3"], turn, ["O4"], turn]
