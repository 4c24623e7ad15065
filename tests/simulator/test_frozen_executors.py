"""What becomes of launches whose executor freezes, in virtual time."""

from __future__ import annotations

import pytest

from owmesos.mesos.scheduler.launch import Launch
from owmesos.mesos.scheduler.launches import LaunchRecord
from owmesos.simulator import VirtualCluster, VirtualScheduler
from owmesos.simulator.agent.plays import Play


class Scene:
    """One launch, whose executor freezes before its task runs or while it does."""

    def __init__(self, *, runs: bool = True, **asked: object) -> None:
        slowly = Play() if runs else Play(starts_after=60.0)
        self.cluster = VirtualCluster(1, play=lambda info: slowly)
        self.ours = VirtualScheduler(self.cluster)
        self.cluster.run(6.0)
        (self.launch_id,) = self.ours.submit(Launch(command="serve", **asked))  # type: ignore[arg-type]
        self.cluster.run(2.0)
        assert self.record.state.value == ("RUNNING" if runs else "STAGING")
        assert self.record.task_id is not None
        self.cluster.world.freeze_executor(self.record.task_id)

    @property
    def record(self) -> LaunchRecord:
        (record,) = self.ours.records()
        return record

    def restart_agent(self) -> None:
        (name,) = self.cluster.world.places
        self.cluster.world.kill(name)
        self.cluster.world.start(name)
        self.cluster.run(5.0)


def test_it_is_shut_down_when_its_launch_is_killed() -> None:
    scene = Scene(kill_grace=1.0)
    scene.ours.kill(scene.launch_id)
    scene.cluster.run(14.0)
    assert scene.record.state.value == "RUNNING"
    scene.cluster.run(12.0)
    assert (scene.record.state.value, scene.record.reason) == ("FAILED", "REASON_EXECUTOR_TERMINATED")
    assert any("SHUTDOWN" in line.text for line in scene.record.story)


def test_one_that_goes_on_ends_as_it_was_told() -> None:
    scene = Scene()
    scene.ours.kill(scene.launch_id)
    scene.cluster.run(5.0)
    assert scene.record.task_id is not None
    scene.cluster.world.thaw_executor(scene.record.task_id)
    scene.cluster.run(1.0)
    assert scene.record.state.value == "KILLED"


@pytest.mark.parametrize(("retry", "state", "attempts"), [("safe", "LOST", 1), ("lost", "STAGING", 2)])
def test_it_is_gone_with_its_agent_and_may_have_begun(retry: str, state: str, attempts: int) -> None:
    scene = Scene(runs=False, retry=retry)
    scene.restart_agent()
    assert (scene.record.state.value, scene.record.attempts) == (state, attempts)
    if retry == "safe":
        assert scene.record.message is not None
        assert "an executor had its task, so it is not started again" in scene.record.message


def test_after_running_that_is_the_end() -> None:
    scene = Scene(retry="lost")
    scene.restart_agent()
    record = scene.record
    assert (record.state.value, record.reason, record.attempts) == ("LOST", "REASON_EXECUTOR_REREGISTRATION_TIMEOUT", 1)
