"""ACCEPT with tasks that can be launched."""

from __future__ import annotations

import msgspec

from owmesos.mesos.messages import (
    Accept,
    AllocationInfo,
    Environment,
    Filters,
    Kill,
    Label,
    Labels,
    LaunchOperation,
    Operation,
    Variable,
)
from owmesos.mesos.wire.operator_client import OperatorClient
from tests.conformance.amounts import amounts
from tests.conformance.framework import HOUR, Framework
from tests.conformance.operating import Ticks, task_of


async def test_several_tasks_in_one_launch_all_run(framework: Framework) -> None:
    offer = await framework.only()
    tasks = [framework.task(offer, ports=1) for _ in range(3)]
    await framework.accept(offer, *tasks, refuse=0)
    await framework.running(*tasks)
    rest = await framework.offer()
    used = amounts(*(task.resources for task in tasks))
    assert amounts(rest.resources) == amounts(offer.resources).minus(used)


async def test_several_launches_in_one_accept_all_run(framework: Framework) -> None:
    offer = await framework.only()
    tasks = [framework.task(offer), framework.task(offer)]
    operations = [Operation("LAUNCH", launch=LaunchOperation([task])) for task in tasks]
    await framework.call(Accept([offer.id], operations, Filters(HOUR)))
    await framework.running(*tasks)


async def test_a_tasks_updates_say_where_it_runs(framework: Framework) -> None:
    offer = await framework.only()
    task = framework.task(offer)
    await framework.accept(offer, task)
    for state in ("TASK_STARTING", "TASK_RUNNING"):
        status = await framework.update(task, state)
        assert status.agent_id == offer.agent_id
        assert status.executor_id == task.task_id
        assert status.source == "SOURCE_EXECUTOR"
        assert status.uuid
        assert status.timestamp
        assert status.container_status is not None
        assert status.container_status.container_id is not None
        assert status.container_status.network_infos


async def test_a_task_that_ends_by_itself_is_finished_or_failed(framework: Framework) -> None:
    offer = await framework.only()
    good, bad = framework.task(offer, command="exit 0"), framework.task(offer, command="exit 3")
    await framework.accept(offer, good, bad)
    await framework.running(good, bad)
    assert (await framework.update(good, "TASK_FINISHED")).message == "Command exited with status 0"
    assert (await framework.update(bad, "TASK_FAILED")).message == "Command exited with status 3"


async def test_the_environment_reaches_the_command(framework: Framework) -> None:
    offer = await framework.only()
    task = framework.task(offer, command='test "$ANSWER" = "forty two"')
    assert task.command is not None
    task.command.environment = Environment([Variable("ANSWER", "forty two")])
    await framework.accept(offer, task)
    await framework.running(task)
    await framework.update(task, "TASK_FINISHED")


async def test_the_master_knows_a_task_as_it_was_launched(framework: Framework, operator: OperatorClient) -> None:
    offer = await framework.only()
    labels = Labels([Label("purpose", "to be seen")])
    task = await framework.run(offer, cpus=0.25, mem=48, labels=labels, data=b"\0some data")
    known = await task_of(operator, framework.id, task.task_id)
    assert (known.name, known.agent_id, known.state) == (task.name, offer.agent_id, "TASK_RUNNING")
    assert known.labels == labels
    assert amounts(known.resources) == amounts(task.resources)
    assert [status.state for status in known.statuses] == ["TASK_STARTING", "TASK_RUNNING"]


async def test_resources_without_allocation_info_get_the_offers(framework: Framework) -> None:
    offer = await framework.only()
    task = framework.task(offer)
    task.resources = [msgspec.structs.replace(resource, allocation_info=None) for resource in task.resources]
    await framework.accept(offer, task)
    await framework.running(task)


async def test_resources_allocated_to_another_role_are_more_than_there_is(framework: Framework) -> None:
    offer = await framework.only()
    task = framework.task(offer)
    other = AllocationInfo("another")
    task.resources = [msgspec.structs.replace(resource, allocation_info=other) for resource in task.resources]
    await framework.accept(offer, task)
    status = await framework.update(task, "TASK_ERROR")
    assert "is more than available" in (status.message or "")


async def test_two_offers_of_an_agent_add_up(framework: Framework) -> None:
    whole = await framework.only()
    first = await framework.run(whole, cpus=0.5, mem=128, refuse=0)
    rest = await framework.offer()
    await framework.call(Kill(first.task_id, first.agent_id))
    await framework.update(first, "TASK_KILLED")
    freed = await framework.offer()
    have = amounts(whole.resources)
    big = framework.task(rest, freed, cpus=have["cpus"], mem=have["mem"], disk=have["disk"])
    await framework.accept([rest, freed], big)
    await framework.running(big)


async def test_an_accept_without_operations_declines(framework: Framework, tick: Ticks) -> None:
    offer = await framework.only()
    await framework.accept(offer, refuse=0)
    again = await framework.offer()
    assert amounts(again.resources) == amounts(offer.resources)
    await framework.accept(again, refuse=HOUR)
    await framework.gets_no_offers(tick)
