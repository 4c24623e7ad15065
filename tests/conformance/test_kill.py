"""KILL."""

from __future__ import annotations

import asyncio

import pytest

from owmesos.mesos.messages import ID, Kill, KillPolicy, Update
from owmesos.mesos.messages.values import DurationInfo
from tests.conformance.framework import Framework
from tests.conformance.sandbox import has_said
from tests.conformance.subscribing import Subscriber

STUBBORN = "trap '' TERM; echo ready; while :; do sleep 0.1; done"


def _policy(seconds: float) -> KillPolicy:
    return KillPolicy(DurationInfo(round(seconds * 1e9)))


async def test_a_task_is_killed(framework: Framework) -> None:
    task = await framework.run(await framework.only())
    await framework.call(Kill(task.task_id, task.agent_id))
    status = await framework.update(task, "TASK_KILLED")
    assert (status.source, status.agent_id) == ("SOURCE_EXECUTOR", task.agent_id)
    assert status.uuid


async def test_the_agent_need_not_be_named(framework: Framework) -> None:
    task = await framework.run(await framework.only())
    await framework.call(Kill(task.task_id))
    await framework.update(task, "TASK_KILLED")


@pytest.mark.parametrize("in_call", [None, 0.0])
async def test_a_task_that_does_not_obey_is_killed_after_its_grace_period(
    framework: Framework, in_call: float | None
) -> None:
    """Its own: the executor of commands is never told of the KILL call's kill policy (src/executor/v0_v1executor.cpp),
    unless agents run with `http_command_executor`."""
    offer = await framework.only()
    task = await framework.run(offer, command=STUBBORN, kill_policy=_policy(0.7))
    await has_said(offer, framework.id, task, "ready")
    asked = asyncio.get_running_loop().time()
    await framework.call(Kill(task.task_id, task.agent_id, None if in_call is None else _policy(in_call)))
    noted = await framework.noted(Update)
    assert isinstance(noted.event, Update)
    assert noted.event.status.state == "TASK_KILLED"
    assert noted.at - asked >= 0.7


async def test_a_task_that_obeys_ends_before_its_grace_period(framework: Framework) -> None:
    task = await framework.run(await framework.only(), kill_policy=_policy(60))
    await framework.call(Kill(task.task_id, task.agent_id))
    await framework.update(task, "TASK_KILLED")


async def test_killing_twice_kills_once(framework: Framework) -> None:
    offer = await framework.only()
    task = await framework.run(offer, command=STUBBORN, kill_policy=_policy(0.5))
    await has_said(offer, framework.id, task, "ready")
    for _ in range(2):
        await framework.call(Kill(task.task_id, task.agent_id))
    await framework.update(task, "TASK_KILLED")
    await framework.caught_up()
    assert framework.untaken(Update) == []


async def test_a_task_killed_before_it_has_started_never_starts(framework: Framework) -> None:
    for _ in range(5):  # on a busy machine a KILL may come too late
        offer = await framework.only()
        task = framework.task(offer)
        await asyncio.gather(framework.accept(offer, task), framework.call(Kill(task.task_id, task.agent_id)))
        states = []
        while not states or states[-1] != "TASK_KILLED":
            status = await framework.update(task, "TASK_STARTING", "TASK_RUNNING", "TASK_KILLED")
            states.append(status.state)
        if states == ["TASK_KILLED"]:
            break
    else:
        pytest.fail("each of five tasks had started when its KILL came")
    assert (status.source, status.reason) == ("SOURCE_AGENT", "REASON_TASK_KILLED_DURING_LAUNCH")
    assert status.uuid


@pytest.mark.parametrize("capable", [True, False])
async def test_killing_is_told_to_those_who_know_the_state(subscribe: Subscriber, capable: bool) -> None:
    capabilities = ["MULTI_ROLE", "PARTITION_AWARE", *(["TASK_KILLING_STATE"] if capable else [])]
    framework = await subscribe(subscribe.info(capabilities=capabilities))
    task = await framework.run(await framework.only())
    await framework.call(Kill(task.task_id, task.agent_id))
    if capable:
        await framework.update(task, "TASK_KILLING")
    await framework.update(task, "TASK_KILLED")


async def test_a_kill_of_a_task_that_never_was_is_answered_as_a_reconciliation(framework: Framework) -> None:
    agent_id = (await framework.only()).agent_id
    nonesuch = ID("nonesuch")
    for asked, state in ((None, "TASK_UNKNOWN"), (ID("no-agent"), "TASK_UNKNOWN"), (agent_id, "TASK_GONE")):
        await framework.call(Kill(nonesuch, asked))
        status = await framework.update(nonesuch, state)
        assert (status.source, status.reason) == ("SOURCE_MASTER", "REASON_RECONCILIATION")
        assert status.uuid is None
        assert status.agent_id == asked


async def test_a_kill_that_comes_too_late_brings_a_second_end(framework: Framework) -> None:
    task = await framework.run(await framework.only(), command="exit 0")
    await framework.update(task, "TASK_FINISHED")
    await framework.call(Kill(task.task_id, task.agent_id))
    await framework.update(task, "TASK_GONE")
    await framework.call(Kill(task.task_id))
    await framework.update(task, "TASK_UNKNOWN")
