"""A master that dies and starts again, with a registry that survives."""

from __future__ import annotations

import pytest

from owmesos.mesos.messages import (
    ID,
    Kill,
    Offer,
    Offers,
    Reconcile,
    ReconcileTask,
    Rescind,
    Revive,
    Subscribed,
    Suppress,
    Update,
)
from owmesos.mesos.wire.driver import Disconnected, NotSubscribed, SubscribeUnanswered
from owmesos.mesos.wire.operator_client import OperatorClient
from tests.conformance.amounts import amounts
from tests.conformance.clusters import AgentSetup, Cluster, Setup
from tests.conformance.framework import Framework
from tests.conformance.operating import daemon_of

DURABLE = Setup(agents=(AgentSetup(),) * 2, master_flags={"registry": "replicated_log"})
pytestmark = pytest.mark.setup(DURABLE, fresh=True)


async def test_tasks_outlive_it_and_offers_do_not(framework: Framework, cluster: Cluster) -> None:
    first, second = await framework.offers()
    task = await framework.run(first)
    before = framework.log[0].event
    assert isinstance(before, Subscribed)
    assert before.master_info is not None
    await cluster.kill("master")
    await framework.disconnected()
    # But for attempts to subscribe anew, which the driver may have begun.
    assert [event for event in framework.untaken() if not isinstance(event, SubscribeUnanswered)] == []
    with pytest.raises(NotSubscribed):
        await framework.call(Revive())
    await cluster.start("master")
    after = await framework.subscribed()
    assert after.framework_id == framework.id
    assert after.master_info is not None
    assert after.master_info.id != before.master_info.id
    offers: dict[ID, Offer] = {}
    while len(offers) < 2:
        offers |= {offer.agent_id: offer for offer in await framework.offers()}
    assert {first.agent_id, second.agent_id} == set(offers)
    used = amounts(task.resources)
    assert amounts(offers[first.agent_id].resources) == amounts(first.resources).minus(used)
    assert offers[second.agent_id].id != second.id
    # The old offers are void without a word.
    assert framework.untaken(Rescind, Update) == []
    late = framework.task(second)
    await framework.accept(second, late)
    status = await framework.update(late, "TASK_DROPPED")
    assert status.message == f"Task launched with invalid offers: Offer {second.id.value} is no longer valid"
    # The task goes on.
    await framework.call(Reconcile([ReconcileTask(task.task_id, task.agent_id)]))
    await framework.update(task, "TASK_RUNNING")
    await framework.call(Kill(task.task_id, task.agent_id))
    await framework.update(task, "TASK_KILLED")


async def test_filters_and_suppression_do_not_outlive_it(framework: Framework, cluster: Cluster) -> None:
    offers = await framework.offers()
    await framework.decline(*offers)
    await framework.call(Suppress())
    await cluster.kill("master")
    await cluster.start("master")
    expected = {offer.agent_id for offer in offers}
    while expected:
        expected -= {offer.agent_id for offer in await framework.offers()}


async def test_a_tasks_end_in_the_meantime_is_told_when_its_agent_is_back(
    framework: Framework, cluster: Cluster
) -> None:
    """Perhaps twice, with the same uuid."""
    for seconds in (0.5, 2.0, 8.0):  # a master of another host may take a while to die
        task = await framework.run(await framework.only(), command=f"sleep {seconds}")
        await cluster.kill("master")
        lost = await framework.next(Disconnected)
        while framework.untaken(Offers):  # they are void
            await framework.next(Offers)
        await cluster.start("master")
        await framework.subscribed()
        told = await framework.next(Update, lambda event, task=task: event.status.task_id == task.task_id)
        if framework.place(told) > framework.place(lost):
            break
    else:
        raise AssertionError("the task always ended before its master")
    assert told.status.state == "TASK_FINISHED"
    await framework.call(Reconcile([ReconcileTask(task.task_id, task.agent_id)]))
    await framework.update(task, "TASK_GONE")


async def test_it_is_silent_about_agents_that_are_not_back(
    framework: Framework, cluster: Cluster, operator: OperatorClient
) -> None:
    """And takes a KILL of their tasks without doing it. What it is asked after that it answers."""
    gone = (await daemon_of(operator, "agent2")).agent_info.id
    tasks = {offer.agent_id: await framework.run(offer) for offer in await framework.offers()}
    assert gone is not None
    lost = tasks.pop(gone)
    ((back, task),) = tasks.items()
    await cluster.kill("agent2")
    await cluster.kill("master")
    await cluster.start("master")
    assert (await framework.only(back)).agent_id == back
    known = await operator.agents()
    assert [agent.agent_info.id for agent in known.agents] == [back]
    assert [agent.id for agent in known.recovered_agents] == [gone]
    for silent in (
        Reconcile([ReconcileTask(lost.task_id, gone)]),
        Reconcile([ReconcileTask(lost.task_id)]),
        Reconcile([ReconcileTask(ID("nonesuch"))]),
        Kill(lost.task_id, gone),
        Kill(ID("nonesuch")),
    ):
        await framework.call(silent)
    await framework.call(Reconcile([ReconcileTask(ID("nonesuch"), back)]))
    assert (await framework.next(Update)).status.state == "TASK_GONE"
    await framework.call(Reconcile([ReconcileTask(ID("nonesuch"), ID("no-agent"))]))
    assert (await framework.next(Update)).status.state == "TASK_UNKNOWN"
    await framework.call(Reconcile())
    assert (await framework.next(Update)).status.task_id == task.task_id
    await framework.call(Reconcile([ReconcileTask(task.task_id, back)]))
    assert (await framework.next(Update)).status.state == "TASK_RUNNING"
    assert framework.untaken(Update) == []
