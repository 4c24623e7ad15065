"""Agents that die, come back, or come back as others."""

from __future__ import annotations

import time

import pytest

from owmesos.mesos.messages import Failure, Kill, Reconcile, ReconcileTask, Rescind, Update
from owmesos.mesos.wire.operator_client import OperatorClient
from tests.conformance.amounts import amounts
from tests.conformance.clusters import AgentSetup, Cluster, Setup
from tests.conformance.framework import Framework
from tests.conformance.operating import task_of
from tests.conformance.subscribing import Subscriber
from tests.waiting import eventually_async

QUICK = {"agent_ping_timeout": "1secs", "max_agent_ping_timeouts": "2"}
ALONE = Setup(agents=(AgentSetup(),), master_flags=QUICK, agent_flags={"executor_reregistration_timeout": "2secs"})
PATIENT = Setup(agents=(AgentSetup(),), master_flags={"agent_ping_timeout": "15secs"}, agent_flags=ALONE.agent_flags)
"""Whose agents are missed only after their restart."""


@pytest.mark.setup(ALONE, fresh=True)
async def test_an_agent_that_dies_for_good(framework: Framework, cluster: Cluster, operator: OperatorClient) -> None:
    offer = await framework.only()
    task = await framework.run(offer, refuse=0)
    rest = await framework.offer()
    await cluster.kill("agent1")
    # Its connection breaks: the offers are gone at once.
    rescind = await framework.next(Rescind)
    assert rescind.offer_id == rest.id
    # It may still come back: its tasks are as they were, and a KILL is lost.
    await framework.call(Kill(task.task_id, task.agent_id))
    await framework.call(Reconcile([ReconcileTask(task.task_id, task.agent_id)]))
    await framework.update(task, "TASK_RUNNING")
    late = framework.task(rest)
    await framework.accept(rest, late)
    status = await framework.update(late, "TASK_DROPPED")
    assert status.message == f"Task launched with invalid offers: Offer {rest.id.value} is no longer valid"
    # It answers no ping: it is removed.
    update = await framework.next(Update)
    status = update.status
    assert (status.task_id, status.state, status.agent_id) == (task.task_id, "TASK_UNREACHABLE", offer.agent_id)
    assert (status.source, status.reason, status.uuid) == ("SOURCE_MASTER", "REASON_AGENT_REMOVED", None)
    assert status.message == "health check timed out"
    assert status.unreachable_time is not None
    failure = await framework.next(Failure)
    assert (failure.agent_id, failure.executor_id) == (offer.agent_id, None)
    assert framework.place(rescind) < framework.place(update) < framework.place(failure)
    assert (await operator.agents()).agents == []
    assert (await task_of(operator, framework.id, task.task_id)).state == "TASK_UNREACHABLE"
    # It is answered for its agent alone.
    for question, state in (
        (Reconcile([ReconcileTask(task.task_id, task.agent_id)]), "TASK_UNREACHABLE"),
        (Reconcile([ReconcileTask(task.task_id)]), "TASK_UNKNOWN"),
        (Kill(task.task_id, task.agent_id), "TASK_UNREACHABLE"),
        (Kill(task.task_id), "TASK_UNKNOWN"),
    ):
        await framework.call(question)
        status = await framework.update(task, state)
        assert status.reason == "REASON_RECONCILIATION"
        assert (status.unreachable_time is not None) == (state == "TASK_UNREACHABLE")
    await framework.call(Reconcile())
    await framework.caught_up()
    assert framework.untaken() == []


@pytest.mark.setup(ALONE, fresh=True)
async def test_without_partition_aware_or_checkpoints_its_tasks_are_lost(
    subscribe: Subscriber, cluster: Cluster
) -> None:
    """Without checkpoints as soon as the connection breaks."""
    unaware = await subscribe(subscribe.info(capabilities=["MULTI_ROLE"]))
    offer = await unaware.only()
    checkpointed = await unaware.run(offer, refuse=0)
    await unaware.decline(await unaware.offer())
    hasty = await subscribe(subscribe.info(checkpoint=False))
    forgotten = await hasty.run(await hasty.only(offer.agent_id))
    await cluster.kill("agent1")
    status = await hasty.update(forgotten, "TASK_LOST")
    assert (status.source, status.reason, status.uuid) == ("SOURCE_MASTER", "REASON_AGENT_DISCONNECTED", None)
    assert status.message == f"Agent {offer.hostname} disconnected"
    await hasty.caught_up()
    assert hasty.untaken(Failure) == []
    status = await unaware.update(checkpointed, "TASK_LOST")
    assert (status.reason, status.message) == ("REASON_AGENT_REMOVED", "health check timed out")
    assert status.unreachable_time is not None
    assert (await unaware.next(Failure)).agent_id == offer.agent_id


@pytest.mark.setup(ALONE, fresh=True)
async def test_an_agent_that_comes_back_after_it_was_removed_brings_its_tasks_back(
    framework: Framework, cluster: Cluster
) -> None:
    offer = await framework.only()
    task = await framework.run(offer)
    await cluster.kill("agent1")
    await framework.update(task, "TASK_UNREACHABLE")
    await cluster.start("agent1")
    update = await framework.next(Update)
    status = update.status
    assert (status.task_id, status.state, status.agent_id) == (task.task_id, "TASK_RUNNING", offer.agent_id)
    assert (status.source, status.reason, status.uuid) == ("SOURCE_MASTER", "REASON_AGENT_REREGISTERED", None)
    assert status.message == "Unreachable agent re-reregistered"
    # In spite of the filter of an hour, which went with the agent.
    again = await framework.offer()
    assert again.agent_id == offer.agent_id
    assert amounts(again.resources) == amounts(offer.resources).minus(amounts(task.resources))
    await framework.call(Kill(task.task_id, task.agent_id))
    await framework.update(task, "TASK_KILLED")


@pytest.mark.setup(PATIENT, fresh=True)
async def test_an_agent_that_restarts_in_time_keeps_its_tasks_without_a_word(
    framework: Framework, cluster: Cluster
) -> None:
    offer = await framework.only()
    task = await framework.run(offer, refuse=0)
    rest = await framework.offer()
    await cluster.kill("agent1")
    assert (await framework.next(Rescind)).offer_id == rest.id
    await cluster.start("agent1")
    again = await framework.offer()
    assert again.agent_id == offer.agent_id
    assert amounts(again.resources) == amounts(rest.resources)
    assert framework.untaken(Update, Failure, Rescind) == []
    await framework.call(Reconcile([ReconcileTask(task.task_id, task.agent_id)]))
    await framework.update(task, "TASK_RUNNING")
    await framework.call(Kill(task.task_id, task.agent_id))
    await framework.update(task, "TASK_KILLED")


@pytest.mark.setup(PATIENT, fresh=True)
async def test_what_a_task_did_while_its_agent_was_down_is_told_when_it_is_back(
    framework: Framework, cluster: Cluster
) -> None:
    """Perhaps twice, with the same uuid."""
    task = await framework.run(await framework.only(), command="sleep 0.5")
    await cluster.kill("agent1")
    killed = time.monotonic()
    await eventually_async(lambda: time.monotonic() > killed + 1, what="the task ends, which nobody can see")
    await cluster.start("agent1")
    await framework.update(task, "TASK_FINISHED")
    await framework.caught_up()
    assert framework.untaken(Update) == []


@pytest.mark.setup(PATIENT, fresh=True)
async def test_an_agent_without_its_disk_comes_as_another_and_the_old_ones_tasks_are_lost(
    framework: Framework, cluster: Cluster
) -> None:
    offer = await framework.only()
    task = await framework.run(offer)
    await cluster.kill("agent1")
    await cluster.start("agent1", fresh=True)
    status = await framework.update(task, "TASK_LOST")
    assert (status.source, status.reason, status.uuid) == ("SOURCE_MASTER", "REASON_AGENT_REMOVED", None)
    assert status.message == f"Agent {offer.hostname} removed: a new agent registered at the same address"
    assert (await framework.next(Failure)).agent_id == offer.agent_id
    new = await framework.offer()
    assert new.agent_id != offer.agent_id
    assert (new.hostname, new.url) == (offer.hostname, offer.url)
    assert amounts(new.resources) == amounts(offer.resources)


@pytest.mark.setup(ALONE, fresh=True)
async def test_an_agent_without_its_disk_that_comes_after_it_was_removed_is_another_too(
    framework: Framework, cluster: Cluster
) -> None:
    offer = await framework.only()
    task = await framework.run(offer)
    await cluster.kill("agent1")
    await framework.update(task, "TASK_UNREACHABLE")
    await framework.next(Failure)
    await cluster.start("agent1", fresh=True)
    new = await framework.offer()
    assert new.agent_id != offer.agent_id
    # The old one's task stays what it was.
    await framework.call(Reconcile([ReconcileTask(task.task_id, task.agent_id)]))
    await framework.update(task, "TASK_UNREACHABLE")
    assert framework.untaken(Update, Failure) == []
