"""RECONCILE."""

from __future__ import annotations

import asyncio

from owmesos.mesos.messages import (
    ID,
    Reconcile,
    ReconcileOperation,
    ReconcileOperations,
    ReconcileTask,
    TaskStatus,
    Update,
    UpdateOperationStatus,
)
from tests.conformance.framework import Framework
from tests.conformance.subscribing import Subscriber

NO_AGENT = ID("no-agent")
NO_TASK = ID("nonesuch")


def _answer(status: TaskStatus) -> tuple[str, str | None, ID | None]:
    """State, message and agent of what must be an answer."""
    assert (status.source, status.reason, status.uuid) == ("SOURCE_MASTER", "REASON_RECONCILIATION", None)
    return status.state, status.message, status.agent_id


async def test_a_task_that_runs_is_told_whatever_agent_is_named(framework: Framework) -> None:
    mine, other, *_ = await framework.offers()
    task = await framework.run(mine)
    for asked in (mine.agent_id, other.agent_id, NO_AGENT, None):
        await framework.call(Reconcile([ReconcileTask(task.task_id, asked)]))
        status = await framework.update(task, "TASK_RUNNING")
        assert _answer(status) == ("TASK_RUNNING", "Reconciliation: Latest task state", mine.agent_id)
        assert status.container_status is not None


async def test_a_task_that_was_just_accepted_is_staging(framework: Framework) -> None:
    for offer in await framework.offers():
        task = framework.task(offer)
        await asyncio.gather(
            framework.accept(offer, task), framework.call(Reconcile([ReconcileTask(task.task_id, task.agent_id)]))
        )
        status = await framework.update(task, "TASK_STAGING", "TASK_STARTING")
        if status.state == "TASK_STAGING":
            break  # else the machine is busy, and the question came after the start
    assert (_answer(status)[0], status.agent_id) == ("TASK_STAGING", offer.agent_id)
    await framework.running(task)


async def test_a_task_that_never_was_is_unknown_or_gone_from_a_known_agent(framework: Framework) -> None:
    agent_id = (await framework.only()).agent_id
    for asked, state, message in (
        (None, "TASK_UNKNOWN", "Reconciliation: Task is unknown"),
        (NO_AGENT, "TASK_UNKNOWN", "Reconciliation: Task is unknown"),
        (agent_id, "TASK_GONE", "Reconciliation: Task is unknown to the agent"),
    ):
        await framework.call(Reconcile([ReconcileTask(NO_TASK, asked)]))
        assert _answer(await framework.update(NO_TASK, state)) == (state, message, asked)


async def test_a_task_whose_end_was_acknowledged_is_unknown(framework: Framework) -> None:
    task = await framework.run(await framework.only(), command="exit 0")
    await framework.update(task, "TASK_FINISHED")
    await framework.call(Reconcile([ReconcileTask(task.task_id)]))
    await framework.update(task, "TASK_UNKNOWN")
    await framework.call(Reconcile([ReconcileTask(task.task_id, task.agent_id)]))
    await framework.update(task, "TASK_GONE")


async def test_a_task_whose_end_was_not_acknowledged_is_told_as_ended(framework: Framework) -> None:
    task = await framework.run(await framework.only(), command="sleep 0.2")
    framework.acknowledging = False
    await framework.update(task, "TASK_FINISHED")
    await framework.call(Reconcile([ReconcileTask(task.task_id, task.agent_id)]))
    assert _answer(await framework.update(task, "TASK_FINISHED"))[1] == "Reconciliation: Latest task state"


async def test_without_partition_aware_such_tasks_are_lost(subscribe: Subscriber) -> None:
    framework = await subscribe(subscribe.info(capabilities=["MULTI_ROLE"]))
    agent_id = (await framework.only()).agent_id
    for asked in (None, NO_AGENT, agent_id):
        await framework.call(Reconcile([ReconcileTask(NO_TASK, asked)]))
        _answer(await framework.update(NO_TASK, "TASK_LOST"))


async def test_without_tasks_each_live_one_is_told_once(framework: Framework) -> None:
    offer = await framework.only()
    await framework.call(Reconcile())
    await framework.caught_up()
    assert framework.untaken(Update) == []
    live = [framework.task(offer) for _ in range(3)]
    over = framework.task(offer, command="exit 0")
    await framework.accept(offer, *live, over)
    await framework.running(*live, over)
    await framework.update(over, "TASK_FINISHED")
    await framework.call(Reconcile())
    for task in live:
        assert _answer(await framework.update(task, "TASK_RUNNING"))[2] == offer.agent_id
    await framework.caught_up()
    assert framework.untaken(Update) == []  # what the ended task had is offered anew


async def test_a_task_asked_for_twice_is_told_twice(framework: Framework) -> None:
    await framework.call(Reconcile([ReconcileTask(NO_TASK)] * 2))
    for _ in range(2):
        await framework.update(NO_TASK, "TASK_UNKNOWN")


async def test_a_thousand_tasks_are_asked_for_in_one_call(framework: Framework) -> None:
    tasks = [ID(f"nonesuch-{n}") for n in range(1000)]
    await framework.call(Reconcile([ReconcileTask(task) for task in tasks]))
    answered = {(await framework.next(Update)).status.task_id for _ in tasks}
    assert answered == set(tasks)


async def test_another_frameworks_task_is_unknown(subscribe: Subscriber) -> None:
    first, second = await subscribe(), await subscribe()
    task = await first.run(await first.only(), task_id="of the first")
    await second.call(Reconcile([ReconcileTask(task.task_id, task.agent_id)]))
    await second.update(task, "TASK_GONE")
    await second.call(Reconcile())
    await second.caught_up()
    assert second.untaken(Update) == []


async def test_an_operation_that_never_was_is_unknown(framework: Framework) -> None:
    agent_id = (await framework.only()).agent_id
    for operation, asked, message in (
        (ID("first"), agent_id, "Reconciliation: Operation is unknown"),
        (ID("second"), None, "Reconciliation: Operation is unknown and no 'agent_id' was provided"),
    ):
        await framework.call(ReconcileOperations([ReconcileOperation(operation, asked)]))
        status = (await framework.next(UpdateOperationStatus)).status
        assert (status.operation_id, status.state, status.message) == (operation, "OPERATION_UNKNOWN", message)
        assert (status.agent_id, status.uuid) == (asked, None)
