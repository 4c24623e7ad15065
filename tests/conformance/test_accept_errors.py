"""ACCEPT with offers or tasks that are not valid: the call is taken, and the tasks' updates tell."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from owmesos.mesos.messages import (
    ID,
    Accept,
    Filters,
    LaunchOperation,
    Operation,
    Rescind,
    Scalar,
    TaskInfo,
    Update,
)
from tests.conformance.amounts import amounts
from tests.conformance.framework import HOUR, Framework
from tests.conformance.subscribing import Subscriber


async def _dropped(framework: Framework, *tasks: TaskInfo) -> str:
    """The reason for which `tasks` were dropped."""
    messages = set()
    for task in tasks:
        status = await framework.update(task, "TASK_DROPPED")
        assert status.reason == "REASON_INVALID_OFFERS"
        assert status.source == "SOURCE_MASTER"
        assert status.uuid is None
        assert status.agent_id == task.agent_id
        assert status.message is not None
        messages.add(status.message)
    (message,) = messages
    assert message.startswith("Task launched with invalid offers: ")
    return message.removeprefix("Task launched with invalid offers: ")


async def test_a_task_too_large_fails_alone(framework: Framework) -> None:
    offer = await framework.only()
    have = amounts(offer.resources)
    good = framework.task(offer)
    large = framework.task(offer, cpus=have["cpus"] + 1)
    await framework.accept(offer, good, large)
    status = await framework.update(large, "TASK_ERROR")
    assert (status.reason, status.source, status.uuid) == ("REASON_TASK_INVALID", "SOURCE_MASTER", None)
    assert status.agent_id == offer.agent_id
    role = framework.role
    assert status.message is not None
    assert status.message.startswith("Total resources ")
    assert f"cpus(allocated: {role}):{have['cpus'] + 1:g}" in status.message
    assert " required by task and its executor is more than available " in status.message
    await framework.running(good)


async def test_tasks_are_tried_in_order_each_against_what_those_before_left(framework: Framework) -> None:
    offer = await framework.only()
    cpus = amounts(offer.resources)["cpus"] / 2
    first, large, second = (framework.task(offer, cpus=each) for each in (cpus, cpus + 0.1, cpus))
    await framework.accept(offer, first, large, second)
    await framework.update(large, "TASK_ERROR")
    await framework.running(first, second)


async def test_offers_of_different_agents_drop_all_tasks_and_are_spent(framework: Framework) -> None:
    first, second = (await framework.offers())[:2]
    tasks = [framework.task(first), framework.task(second)]
    await framework.accept([first, second], *tasks)
    reason = await _dropped(framework, *tasks)
    assert "Aggregated offers must belong to one single agent" in reason
    again = await framework.offers_of(first.agent_id, second.agent_id)
    assert amounts(again[first.agent_id].resources) == amounts(first.resources)


async def test_a_good_and_a_bad_offer_are_both_spent(framework: Framework) -> None:
    good, bad, *_ = await framework.offers()
    await framework.decline(bad)
    task = framework.task(good)
    await framework.accept([good, bad], task)
    assert await _dropped(framework, task) == f"Offer {bad.id.value} is no longer valid"
    again = await framework.offer()
    assert again.agent_id == good.agent_id


async def test_an_offer_that_was_accepted_before_is_no_longer_valid(framework: Framework) -> None:
    offer = await framework.only()
    await framework.run(offer)
    second = framework.task(offer)
    await framework.accept(offer, second)
    assert await _dropped(framework, second) == f"Offer {offer.id.value} is no longer valid"


async def test_an_accept_of_another_frameworks_offer_spends_it_without_telling_its_owner(
    subscribe: Subscriber,
) -> None:
    owner, other = await subscribe(), await subscribe()
    offer = (await owner.offers())[0]
    task = other.task(offer)
    await other.accept(offer, task)
    reason = await _dropped(other, task)
    assert reason == (
        f"Offer {offer.id.value} has invalid framework {owner.id.value} while framework {other.id.value} is expected"
    )
    await owner.caught_up()
    assert owner.untaken(Rescind) == []
    task = owner.task(offer)
    await owner.accept(offer, task)
    assert await _dropped(owner, task) == f"Offer {offer.id.value} is no longer valid"


async def test_an_offer_twice_in_one_accept_is_spent(framework: Framework) -> None:
    offer = await framework.only()
    task = framework.task(offer)
    await framework.accept([offer, offer], task)
    assert await _dropped(framework, task) == f"Duplicate offer {offer.id.value} in offer list"
    assert (await framework.offer()).agent_id == offer.agent_id


async def test_an_accept_needs_an_offer(framework: Framework) -> None:
    task = framework.task(await framework.only())
    await framework.accept([], task)
    assert await _dropped(framework, task) == "No offers specified"


async def test_without_partition_aware_such_tasks_are_lost(subscribe: Subscriber) -> None:
    framework = await subscribe(subscribe.info(capabilities=["MULTI_ROLE"]))
    offer = (await framework.offers())[0]
    await framework.decline(offer)
    task = framework.task(offer)
    await framework.accept(offer, task)
    status = await framework.update(task, "TASK_LOST")
    assert (status.reason, status.uuid) == ("REASON_INVALID_OFFERS", None)


BadTask = Callable[[TaskInfo], None]


def _without_resources(task: TaskInfo) -> None:
    task.resources = []


def _without_command(task: TaskInfo) -> None:
    task.command = None


def _with_slash_in_id(task: TaskInfo) -> None:
    task.task_id = ID("c/4")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(_without_resources, "Task uses no resources", id="no-resources"),
        pytest.param(
            _without_command,
            "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present",
            id="no-command",
        ),
        pytest.param(_with_slash_in_id, "'c/4' contains invalid characters", id="slash-in-id"),
    ],
)
async def test_a_task_that_cannot_be_fails_alone(framework: Framework, spoil: BadTask, message: str) -> None:
    offer = await framework.only()
    good, bad = framework.task(offer), framework.task(offer)
    spoil(bad)
    await framework.accept(offer, bad, good)
    status = await framework.update(bad, "TASK_ERROR")
    assert (status.reason, status.source, status.uuid) == ("REASON_TASK_INVALID", "SOURCE_MASTER", None)
    assert message in (status.message or "")
    await framework.running(good)


async def test_a_resource_that_cannot_be_fails_all_tasks_of_its_launch_but_no_other_launch(
    framework: Framework,
) -> None:
    """0.0001 is 0 in thousandths, in which Mesos counts."""
    offer = await framework.only()
    tiny, beside, good = framework.task(offer), framework.task(offer), framework.task(offer)
    tiny.resources = [msgspec.structs.replace(tiny.resources[0], scalar=Scalar(0.0001)), *tiny.resources[1:]]
    operations = [Operation("LAUNCH", launch=LaunchOperation(tasks)) for tasks in ([tiny, beside], [good])]
    await framework.call(Accept([offer.id], operations, Filters(HOUR)))
    for task in (tiny, beside):
        status = await framework.update(task, "TASK_ERROR")
        assert status.reason == "REASON_TASK_INVALID"
        assert (status.message or "").endswith("is invalid: Invalid scalar resource: value <= 0")
    await framework.running(good)


async def test_a_resource_that_is_zero_is_left_out(framework: Framework) -> None:
    offer = await framework.only()
    task = framework.task(offer)
    task.resources = [msgspec.structs.replace(task.resources[0], scalar=Scalar(0.0)), *task.resources[1:]]
    await framework.accept(offer, task)
    await framework.running(task)


async def test_a_task_for_another_agent_is_an_error(framework: Framework) -> None:
    first, second, *_ = await framework.offers()
    task = framework.task(first)
    task.agent_id = second.agent_id
    await framework.accept(first, task)
    status = await framework.update(task, "TASK_ERROR")
    used, expected = second.agent_id.value, first.agent_id.value
    assert status.message == f"Task uses invalid agent {used} while agent {expected} is expected"


async def test_a_task_id_that_is_in_use_is_an_error_for_the_second(framework: Framework) -> None:
    """The error's update names the id of the task that runs."""
    offer = await framework.only()
    first, second = framework.task(offer, task_id="one"), framework.task(offer, task_id="one")
    await framework.accept(offer, first, second)
    statuses = [(await framework.next(Update)).status for _ in range(3)]
    assert sorted(status.state for status in statuses) == ["TASK_ERROR", "TASK_RUNNING", "TASK_STARTING"]
    error = next(status for status in statuses if status.state == "TASK_ERROR")
    assert error.message == "Task has duplicate ID: one"
    await framework.caught_up()
    assert framework.untaken() == []


async def test_the_id_of_a_task_that_was_an_error_may_be_used_at_once(framework: Framework) -> None:
    """After a task that had an executor it may not: a Mesos agent aborts when that executor has not ended yet."""
    offer = await framework.only()
    bad, good = framework.task(offer, task_id="again", cpus=1e6), framework.task(offer, task_id="again")
    await framework.accept(offer, bad, good)
    await framework.update(bad, "TASK_ERROR")
    await framework.running(good)
