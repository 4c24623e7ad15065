"""Status updates and their acknowledgement."""

from __future__ import annotations

import base64
from uuid import UUID

from owmesos.mesos.messages import ID, Acknowledge, Kill, Offers, Reconcile, ReconcileTask, Update
from owmesos.mesos.wire.operator_client import OperatorClient
from tests.conformance.amounts import amounts
from tests.conformance.framework import Framework
from tests.conformance.operating import task_of


async def test_one_update_of_a_task_is_under_way_at_a_time(framework: Framework, operator: OperatorClient) -> None:
    """And they come in order, though the task is over."""
    framework.acknowledging = False
    offer = await framework.only()
    task = framework.task(offer, command="exit 0")
    await framework.accept(offer, task)
    for state in ("TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"):
        status = await framework.update(task, state)
        await framework.caught_up()
        assert framework.untaken(Update) == []
        assert (await task_of(operator, framework.id, task.task_id)).status_update_state == state
        await framework.acknowledge(status)


async def test_one_task_does_not_wait_for_anothers_acknowledgement(framework: Framework) -> None:
    framework.acknowledging = False
    offer = await framework.only()
    waiting, going = framework.task(offer), framework.task(offer)
    await framework.accept(offer, waiting, going)
    await framework.update(waiting, "TASK_STARTING")
    for state in ("TASK_STARTING", "TASK_RUNNING"):
        await framework.acknowledge(await framework.update(going, state))


async def test_acknowledging_twice_or_an_older_update_does_no_harm(framework: Framework) -> None:
    framework.acknowledging = False
    offer = await framework.only()
    task = framework.task(offer)
    await framework.accept(offer, task)
    starting = await framework.update(task, "TASK_STARTING")
    await framework.acknowledge(starting)
    running = await framework.update(task, "TASK_RUNNING")
    await framework.acknowledge(starting)
    await framework.acknowledge(running)
    await framework.acknowledge(running)
    await framework.call(Kill(task.task_id, task.agent_id))
    await framework.acknowledge(await framework.update(task, "TASK_KILLED"))
    await framework.caught_up()
    assert framework.untaken(Update) == []


async def test_acknowledging_what_never_was_does_no_harm(framework: Framework) -> None:
    offer = await framework.only()
    task = await framework.run(offer)
    uuid = base64.b64encode(UUID("c0ffee00-0000-4000-8000-000000000000").bytes).decode()
    await framework.call(Acknowledge(offer.agent_id, task.task_id, uuid))
    await framework.call(Acknowledge(offer.agent_id, ID("nonesuch"), uuid))
    await framework.call(Acknowledge(ID("no-agent"), task.task_id, uuid))
    await framework.call(Reconcile([ReconcileTask(task.task_id, task.agent_id)]))
    await framework.update(task, "TASK_RUNNING")


async def test_an_update_that_is_not_acknowledged_comes_again_and_hides_the_tasks_end_until_then(
    framework: Framework, operator: OperatorClient
) -> None:
    """After ten seconds; only with it the master learns that the task is over, and its resources are free."""
    framework.acknowledging = False
    whole = await framework.only()
    task = framework.task(whole, command="exit 0")
    await framework.accept(whole, task, refuse=0)
    first = await framework.update(task, "TASK_STARTING")
    rest = await framework.offer()
    assert amounts(rest.resources) == amounts(whole.resources).minus(amounts(task.resources))
    framework.acknowledging = True
    again = await framework.update(task, "TASK_STARTING", repeated=True)
    assert (again.uuid, again.timestamp) == (first.uuid, first.timestamp)
    freed = await framework.offer()
    assert amounts(freed.resources) == amounts(task.resources)
    await framework.update(task, "TASK_RUNNING")
    await framework.update(task, "TASK_FINISHED")
    assert framework.untaken(Offers) == []
