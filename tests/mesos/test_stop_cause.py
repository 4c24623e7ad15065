"""What a pool is told of a container that ran and has ended, by what Mesos says of its task."""

from __future__ import annotations

import pytest

from owmesos.core.pool.events import ContainerStopped, StopCause
from tests.model.scene import says, status_of
from tests.openwhisk.factory import FactoryWorld
from tests.openwhisk.runs import action
from tests.openwhisk.test_container_specs import MANIFEST, agent


def cause(state: str, reason: str | None, message: str) -> StopCause:
    world = FactoryWorld(MANIFEST, agent())
    world.run(action())
    world.wait(1)
    (container,) = world.pool.containers
    says(world, container.id, "TASK_RUNNING")
    effects = world.pooled.handle(status_of(world, container.id, state, reason, message=message), world.now)
    (stopped,) = (each for each in effects if isinstance(each, ContainerStopped))
    return stopped.cause


@pytest.mark.parametrize(
    ("state", "reason", "message", "expected"),
    [
        ("TASK_FAILED", None, "Memory limit exceeded: Requested: 256MB Maximum Used: 256MB", StopCause.OUT_OF_MEMORY),
        ("TASK_FAILED", "REASON_CONTAINER_LIMITATION_MEMORY", "killed", StopCause.OUT_OF_MEMORY),
        ("TASK_FAILED", None, "Container exited with status 137", StopCause.OUT_OF_MEMORY),
        ("TASK_FAILED", "REASON_EXECUTOR_TERMINATED", "Executor terminated", StopCause.SUPERVISOR_GONE),
        ("TASK_LOST", None, "Slave S1 removed", StopCause.LOST),
        ("TASK_UNREACHABLE", "REASON_SLAVE_REMOVED", "", StopCause.LOST),
        ("TASK_FAILED", None, "Command exited with status 1", StopCause.ENDED),
    ],
)
def test_the_cause_of_an_end(state: str, reason: str | None, message: str, expected: StopCause) -> None:
    assert cause(state, reason, message) is expected
