"""Why a task failed, from its stderr."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from owmesos.mesos.messages import ID, Event, Message, TaskStatus, Update
from owmesos.mesos.wire.agent_files import TaskFiles
from owmesos.service.failure_reason import added_reason, last_line, needs_last_words
from owmesos.service.shell import Shell
from owmesos.system.clock import Clock
from tests.fakes.agent_files import FRAMEWORK_ID, FakeAgentFiles
from tests.model.scene import at_rest, running, says, status_of
from tests.model.world import World

TAKEN = "Error response from daemon: driver failed: listen tcp4 0.0.0.0:31000: bind: address already in use."
NOT_RUN = "Container exited with status 125"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"docker: {TAKEN}\n", TAKEN),
        (f"docker: {TAKEN}\nSee 'docker run --help'.\n", TAKEN),
        (f'docker: {TAKEN}\ntime="2026-11-28T18:59:42Z" level=error msg="error waiting for container"\n', TAKEN),
        (f"{TAKEN}\nI1128 16:02:11.000001    12 executor.cpp:1] UPDATE 202\n\n", TAKEN),
        ("I1128 16:02:11.000001    12 executor.cpp:1] UPDATE 202\n", None),
        ("", None),
        ("x" * 1000, "x" * 500),
    ],
)
def test_the_last_line_that_says_something(text: str, line: str | None) -> None:
    assert last_line(text) == line


def submitted() -> tuple[World, str]:
    world = at_rest()
    launch_id = world.submit(name="silent", image="i", network="bridge", ports=1)
    world.wait(1)
    return world, launch_id


@pytest.mark.parametrize(
    "message",
    [
        NOT_RUN,
        "Command exited with status 1",
        "Command terminated with signal Killed",
        "Command terminated with signal Segmentation fault (core dumped)",
    ],
)
def test_they_are_needed_of_a_task_that_failed_without_a_reason(message: str) -> None:
    world, launch_id = submitted()
    state = world.scheduler.state
    assert needs_last_words(status_of(world, launch_id, "TASK_FAILED", message=message), state)
    assert not needs_last_words(status_of(world, launch_id, "TASK_KILLED", message=message), state)
    assert not needs_last_words(status_of(world, launch_id, "TASK_FAILED", message=f"{message}: why"), state)
    world.kill(launch_id)
    assert not needs_last_words(status_of(world, launch_id, "TASK_FAILED", message=message), state)


def test_a_container_that_ran_ends_without_them() -> None:
    world = at_rest()
    launch_id = running(world)
    assert needs_last_words(status_of(world, launch_id, "TASK_FAILED", message=NOT_RUN), world.scheduler.state)
    world.record(launch_id).managed = True
    assert not needs_last_words(status_of(world, launch_id, "TASK_FAILED", message=NOT_RUN), world.scheduler.state)


async def test_they_come_into_the_message(tmp_path: Path) -> None:
    world, launch_id = submitted()
    update = status_of(world, launch_id, "TASK_FAILED", message=NOT_RUN)
    (tmp_path / "stderr").write_text(f"docker: {TAKEN}\n")
    agent = FakeAgentFiles()
    await agent.start()
    agent.sandboxes[update.status.task_id.value] = tmp_path
    async with aiohttp.ClientSession() as session:
        files = TaskFiles(session, agent.url, FRAMEWORK_ID, update.status.task_id.value)
        told = await added_reason(update, files)
        await agent.stop()
        assert await added_reason(update, files) is update
    assert told.status.message == f"{NOT_RUN}: {TAKEN}"
    assert (told.status.task_id, told.status.uuid) == (update.status.task_id, update.status.uuid)


def test_the_reason_of_the_failed_start_has_them() -> None:
    world, launch_id = submitted()
    says(world, launch_id, "TASK_FAILED", message=f"{NOT_RUN}: {TAKEN}")
    assert world.record(launch_id).message == f"{NOT_RUN}: {TAKEN}"


def test_an_update_of_a_task_that_is_not_known_is_left_alone() -> None:
    update = Update(TaskStatus(ID("nonesuch.1"), "TASK_FAILED", message=NOT_RUN))
    assert not needs_last_words(update, at_rest().scheduler.state)


async def test_an_update_without_files_to_read_keeps_its_place() -> None:
    """As after a restart, before the first offer of its agent."""
    world, launch_id = submitted()
    update = status_of(world, launch_id, "TASK_FAILED", message=NOT_RUN)
    sent = [update, Message(ID("S1"), ID("executor"), "data")]
    observed: list[object] = []

    class Driver:
        async def events(self) -> AsyncIterator[Event]:
            for event in sent:
                yield event

    class Observing(Shell):
        def observe(self, event: object) -> None:
            observed.append(event)

    nothing: Any = None
    driver: Any = Driver()
    shell = Observing(world.scheduler, driver, None, nothing, Clock())
    await shell._pump()
    assert observed == sent
