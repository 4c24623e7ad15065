"""Agents that an operator deactivates, drains or gives up."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from owmesos.mesos.messages import ID, Failure, KillPolicy, Reconcile, ReconcileTask, Rescind, Update
from owmesos.mesos.messages.values import DurationInfo
from owmesos.mesos.wire.operator_client import OperatorClient, OperatorRefused
from tests.conformance.amounts import amounts
from tests.conformance.clusters import AgentSetup, Setup
from tests.conformance.framework import Framework
from tests.conformance.operating import Ticks, agent_of
from tests.conformance.sandbox import has_said
from tests.conformance.test_kill import STUBBORN
from tests.waiting import eventually_async, in_time

ALONE = Setup(agents=(AgentSetup(),))


async def test_a_deactivated_agent_keeps_its_tasks_and_is_not_offered(
    framework: Framework, operator: OperatorClient, afterwards: AsyncExitStack, tick: Ticks
) -> None:
    offer = await framework.only()
    task = await framework.run(offer, refuse=0)
    rest = await framework.offer()
    await operator.deactivate_agent(offer.agent_id)
    afterwards.push_async_callback(operator.reactivate_agent, offer.agent_id)
    assert (await framework.next(Rescind)).offer_id == rest.id
    agent = await agent_of(operator, offer.agent_id)
    assert (agent.active, agent.deactivated) == (False, True)
    await framework.gets_no_offers(tick)
    await framework.call(Reconcile([ReconcileTask(task.task_id, task.agent_id)]))
    await framework.update(task, "TASK_RUNNING")
    assert framework.untaken() == []


async def test_a_reactivated_agent_is_offered_again(framework: Framework, operator: OperatorClient) -> None:
    offer = await framework.only()
    await operator.deactivate_agent(offer.agent_id)
    await framework.next(Rescind)
    await operator.reactivate_agent(offer.agent_id)
    await framework.revive()  # the rescission leaves a filter
    again = await framework.only(offer.agent_id)
    assert amounts(again.resources) == amounts(offer.resources)


async def test_draining_kills_the_tasks_and_keeps_the_agent_without_offers(
    framework: Framework, operator: OperatorClient, tick: Ticks
) -> None:
    offer = await framework.only()
    task = await framework.run(offer, refuse=0)
    rest = await framework.offer()
    await operator.drain_agent(offer.agent_id)
    assert (await framework.next(Rescind)).offer_id == rest.id
    status = await framework.update(task, "TASK_KILLED")
    assert (status.source, status.reason) == ("SOURCE_EXECUTOR", "REASON_AGENT_DRAINING")
    assert status.uuid

    async def drained() -> bool:
        agent = await agent_of(operator, offer.agent_id)
        assert agent.drain_info is not None
        assert (agent.active, agent.deactivated) == (False, True)
        return agent.drain_info.state == "DRAINED"

    await eventually_async(drained)
    await framework.revive()
    assert offer.agent_id not in {each.agent_id for each in await framework.offers()}
    await framework.gets_no_offers(tick)
    await _reactivate(framework, operator, offer.agent_id)


async def test_draining_leaves_commands_their_own_grace_period(framework: Framework, operator: OperatorClient) -> None:
    """Its own bound is in KILL's kill policy, of which their executor is not told."""
    offer = await framework.only()
    task = await framework.run(offer, command=STUBBORN, kill_policy=KillPolicy(DurationInfo(1_000_000_000)))
    await has_said(offer, framework.id, task, "ready")
    begun = asyncio.get_running_loop().time()
    await operator.drain_agent(offer.agent_id, max_grace_period=0.5)
    agent = await agent_of(operator, offer.agent_id)
    assert agent.drain_info is not None
    assert agent.drain_info.state == "DRAINING"
    assert agent.drain_info.config is not None
    assert agent.drain_info.config.max_grace_period is not None
    assert agent.drain_info.config.max_grace_period.nanoseconds == 500_000_000
    with pytest.raises(OperatorRefused) as refused:
        await operator.reactivate_agent(offer.agent_id)
    assert (refused.value.status, refused.value.reason) == (400, "Agent is still in the DRAINING state")
    noted = await framework.noted(Update)
    assert isinstance(noted.event, Update)
    assert noted.event.status.state == "TASK_KILLED"
    assert noted.at - begun >= 1.0

    await _reactivate(framework, operator, offer.agent_id)


async def test_a_drained_agent_is_used_again_when_it_is_reactivated(
    framework: Framework, operator: OperatorClient
) -> None:
    """Though it may take some moments longer than the master to see that it does not drain any more."""
    offer = await framework.only()
    task = await framework.run(offer)
    await operator.drain_agent(offer.agent_id)
    await framework.update(task, "TASK_KILLED")
    await _reactivate(framework, operator, offer.agent_id)


async def _reactivate(framework: Framework, operator: OperatorClient, agent_id: ID) -> None:
    """Returns when a task has started there."""

    async def reactivated() -> bool:
        await operator.reactivate_agent(agent_id)
        return True

    await eventually_async(reactivated, retry_on=(OperatorRefused,))
    while True:
        await framework.revive()
        try:
            offer = await in_time(framework.only(agent_id))
        except asyncio.TimeoutError:
            continue  # what was offered while it seemed to drain is filtered: REVIVE lifts that
        task = framework.task(offer)
        await framework.accept(offer, task)
        status = await framework.update(task, "TASK_STARTING", "TASK_DROPPED")
        if status.state == "TASK_STARTING":
            return
        assert (status.source, status.reason) == ("SOURCE_AGENT", "REASON_AGENT_DRAINING")
        assert status.message == "Task was received while agent was already draining"
        assert status.uuid


@pytest.mark.setup(ALONE, fresh=True)
async def test_an_agent_that_is_given_up_is_gone_with_its_tasks(framework: Framework, operator: OperatorClient) -> None:
    offer = await framework.only()
    task = await framework.run(offer, refuse=0)
    rest = await framework.offer()
    await operator.mark_agent_gone(offer.agent_id)
    update = await framework.next(Update)
    status = update.status
    assert (status.task_id, status.state) == (task.task_id, "TASK_GONE_BY_OPERATOR")
    assert (status.source, status.reason) == ("SOURCE_MASTER", "REASON_AGENT_REMOVED_BY_OPERATOR")
    assert (status.message, status.uuid) == ("Agent has been marked gone", None)
    rescind = await framework.next(Rescind)
    assert rescind.offer_id == rest.id
    failure = await framework.next(Failure)
    assert failure.agent_id == offer.agent_id
    assert failure.executor_id is None
    assert framework.place(update) < framework.place(rescind) < framework.place(failure)
    for task_id in (task.task_id, ID("nonesuch")):
        await framework.call(Reconcile([ReconcileTask(task_id, offer.agent_id)]))
        status = await framework.update(task_id, "TASK_GONE_BY_OPERATOR")
        assert (status.reason, status.message) == ("REASON_RECONCILIATION", "Reconciliation: Task is gone")


@pytest.mark.setup(ALONE, fresh=True)
async def test_an_agent_that_is_drained_and_given_up_fails_when_all_updates_are_acknowledged(
    framework: Framework, operator: OperatorClient
) -> None:
    offer = await framework.only()
    task = await framework.run(offer)
    framework.acknowledging = False
    await operator.drain_agent(offer.agent_id, mark_gone=True)
    status = await framework.update(task, "TASK_GONE_BY_OPERATOR")
    assert (status.source, status.reason) == ("SOURCE_EXECUTOR", "REASON_AGENT_DRAINING")
    await framework.caught_up()
    assert framework.untaken(Failure) == []
    await framework.acknowledge(status)
    assert (await framework.next(Failure)).agent_id == offer.agent_id
