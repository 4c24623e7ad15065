"""What the scheduler counts of launches for its operator."""

from __future__ import annotations

from owmesos.mesos.scheduler.lifecycle import State
from owmesos.mesos.scheduler.state import LaunchCounts
from tests.model.scene import at_rest, running
from tests.model.world import World


def counts(world: World) -> LaunchCounts:
    return world.scheduler.state.counts[False]


def test_a_launch_counts_when_it_is_asked_for_when_it_runs_and_when_it_ends() -> None:
    world = at_rest()
    launch_id = running(world)
    asked = world.record(launch_id)
    assert asked.started_at is not None
    assert counts(world).running_after.sum == asked.started_at - asked.submitted_at
    world.kill(launch_id)
    world.wait(5.0)
    found = counts(world)
    assert (found.submitted, found.running_after.count) == (1, 1)
    assert {state: count for state, count in found.ended.items() if count} == {State.KILLED: 1}


def test_room_that_is_not_there_after_all_is_a_refusal() -> None:
    world = at_rest()
    launch_id = world.submit(mem=100)
    assert world.record(launch_id).state is State.RESERVED
    world.lose_stream()
    world.wait(10.0)
    assert counts(world).refused == 1
    assert world.record(launch_id).state is State.RUNNING
