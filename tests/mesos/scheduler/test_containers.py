"""What Docker's containers leave to be guessed: why they ended, and how they are."""

from __future__ import annotations

import pytest

from owmesos.mesos import listings
from owmesos.mesos.scheduler.lifecycle import State
from tests.model.scene import at_rest, running, says, task_of

KILLED = "Container exited with status 137"


@pytest.mark.parametrize(
    ("state", "message", "healthy", "told"),
    [
        (
            "TASK_FAILED",
            KILLED,
            None,
            f"{KILLED}: killed by the machine, most likely because its memory limit was exceeded",
        ),
        ("TASK_FAILED", "Container exited with status 1", None, "Container exited with status 1"),
        ("TASK_FAILED", "Command exited with status 137", None, "Command exited with status 137"),
        ("TASK_KILLED", KILLED, False, f"{KILLED}: killed because its health check failed"),
        ("TASK_KILLED", None, False, "killed because its health check failed"),
        ("TASK_KILLED", KILLED, None, KILLED),
    ],
)
def test_an_end_says_what_killed_it(state: str, message: str | None, healthy: bool | None, told: str) -> None:
    world = at_rest()
    launch_id = running(world, image="i")
    says(world, launch_id, state, message=message, healthy=healthy)
    assert world.record(launch_id).message == told


def test_one_that_we_killed_did_not_run_out_of_memory() -> None:
    world = at_rest()
    launch_id = running(world, image="i")
    task_of(world, launch_id).hang()
    world.kill(launch_id)
    says(world, launch_id, "TASK_FAILED", message=KILLED)
    assert world.record(launch_id).message == KILLED


def test_health_is_in_the_story_and_explained() -> None:
    world = at_rest()
    launch_id = running(world, image="i")
    record = world.record(launch_id)

    def summary() -> str:
        return str(listings.explanation(world.scheduler.state, record, None)["summary"])

    says(world, launch_id, "TASK_RUNNING", "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED", healthy=False)
    assert record.state is State.RUNNING
    assert record.story[-1].text == "TASK_RUNNING REASON_TASK_HEALTH_CHECK_STATUS_UPDATED unhealthy"
    assert summary() == "the launch is not waiting: it is RUNNING (its health check fails)"
    says(world, launch_id, "TASK_RUNNING", "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED", healthy=True)
    assert record.story[-1].text.endswith(" healthy")
    assert summary() == "the launch is not waiting: it is RUNNING"
