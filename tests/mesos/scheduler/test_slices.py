"""Thousands of launches are placed in slices, one a step, and end where they would end in one step."""

from __future__ import annotations

import pytest

from owmesos.core.placement import Strategy
from owmesos.mesos.scheduler.events import Submit, Submits
from owmesos.mesos.scheduler.launch import Launch
from owmesos.mesos.scheduler.matching import SLICE
from owmesos.mesos.scheduler.settings import Settings
from owmesos.mesos.scheduler.state import SchedulerTimer
from owmesos.mesos.scheduler.task_info import template
from owmesos.simulator.virtual import VirtualCluster
from owmesos.testing.virtual_scheduler import VirtualScheduler

AGENTS, EACH = 100, 10


class Watched:
    """All the agents' room is asked for at once. `most`: the launches that one step placed or accepted."""

    def __init__(self, strategy: Strategy) -> None:
        self.cluster = VirtualCluster(AGENTS, resources=f"cpus:{EACH};mem:{200 * EACH}")
        self.process = VirtualScheduler(self.cluster, settings=Settings(strategy=strategy))
        self.cluster.run(6.0)
        self.most = self.steps = 0
        self.process.observers.append(self._observe)
        self._before = (0, 0)

    def _observe(self, _: object) -> None:
        records = list(self.process.records())
        now = (sum(record.state.value == "RESERVED" for record in records), sum(record.attempts for record in records))
        done = max(0, now[0] - self._before[0]) + now[1] - self._before[1]
        self.most, self.steps, self._before = max(self.most, done), self.steps + (done > 0), now


@pytest.mark.parametrize("strategy", Strategy)
def test_every_step_is_short_and_every_agent_gets_one_accept(strategy: Strategy) -> None:
    world = Watched(strategy)
    world.process.submit(*[Launch(command="sleep 1000", cpus=1, mem=64)] * (AGENTS * EACH))
    world.cluster.run(10.0)
    assert all(record.state.value == "RUNNING" for record in world.process.records())
    assert world.steps >= 2 * AGENTS * EACH / SLICE
    assert world.most <= SLICE + EACH
    assert world.process.calls["ACCEPT"] == AGENTS


def test_nothing_is_declined_between_two_slices() -> None:
    world = Watched(Strategy.PACK)
    before = world.process.calls["DECLINE"]
    declined: list[int] = []

    def observe(_: object) -> None:
        state = world.process.scheduler.state
        if state.timers.get(SchedulerTimer.MATCH) is not None and state.offers.outstanding:
            declined.append(world.process.calls["DECLINE"])

    world.process.observers.append(observe)
    world.process.submit(*[Launch(command="sleep 1000", cpus=1, mem=64)] * (AGENTS * EACH))
    world.cluster.run(10.0)
    assert set(declined) == {before}


def test_the_launches_of_one_request_are_asked_for_by_one_revive() -> None:
    world = Watched(Strategy.PACK)
    before = world.process.calls["REVIVE"]
    launch = Launch(command="sleep 1000", cpus=1, mem=64)
    for number in range(5):
        submits = (Submit(f"launch-{number}", launch, template(launch)),)
        world.process.handle(Submits(submits, more=number < 4))
        assert world.process.calls["REVIVE"] == before + (number == 4)
    world.cluster.run(5.0)
    assert all(record.state.value == "RUNNING" for record in world.process.records())


def test_launches_that_were_to_follow_and_did_not_keep_nobody_waiting() -> None:
    world = Watched(Strategy.PACK)
    launch = Launch(command="sleep 1000", cpus=1, mem=64)
    world.process.handle(Submits((Submit("launch-1", launch, template(launch)),), more=True))
    world.cluster.run(5.0)
    assert [record.state.value for record in world.process.records()] == ["RUNNING"]
