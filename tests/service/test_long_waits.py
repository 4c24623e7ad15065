"""What waits for long is named in the log, with the reason."""

from __future__ import annotations

import logging

import pytest

from owmesos import Launch
from owmesos.service import long_waits
from owmesos.service.framework import Framework
from tests.model.scene import agent, at_rest
from tests.model.world import World
from tests.waiting import eventually_async


def waiting(world: World) -> long_waits.LongWait:
    found = long_waits.of_queue(world.scheduler.state)
    assert found is not None
    return found


def test_the_head_of_the_queue_is_named_after_a_minute() -> None:
    world = at_rest(agent(1, mem=512))
    first = world.submit(mem=600, deadline=1000)
    submitted_at = world.now
    world.submit(mem=700, deadline=1000)
    lines, again = long_waits.look([waiting(world)], submitted_at + 20)
    assert lines == []
    assert again == pytest.approx(40)
    lines, again = long_waits.look([waiting(world)], submitted_at + 60)
    why = "of 1 agent, 1 lacks memory; nearest: agent S1 (h1) is 88 MB short"
    assert lines == [f"the oldest launch has waited 60 s: {first}: {why}"]
    assert again == long_waits.AGAIN


def test_nothing_is_said_and_nobody_looks_while_nothing_waits() -> None:
    assert long_waits.of_queue(at_rest().scheduler.state) is None
    assert long_waits.look([], 0.0) == ([], None)


async def test_the_process_logs_it(
    framework: Framework, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_waits, "AFTER", 0.05)
    with caplog.at_level(logging.WARNING, "owmesos.service"):
        handle = await framework.launch(Launch("sleep 1", mem=1800, constraints=("rack == r1",)))
        await eventually_async(lambda: f"s: {handle.id}: of 2 agents, 1 lacks memory" in caplog.text)
