"""The ends of a framework: another process takes its place, or it is removed."""

from __future__ import annotations

import pytest

from owmesos.mesos.messages import Error, Revive, Teardown
from owmesos.mesos.wire.driver import NotSubscribed
from owmesos.mesos.wire.operator_client import OperatorClient
from tests.conformance.framework import Framework
from tests.conformance.operating import Ticks, is_away, task_of
from tests.conformance.subscribing import Subscriber
from tests.waiting import eventually_async


@pytest.mark.parametrize("failover_timeout", [60.0, 0.0])
async def test_a_second_subscription_with_the_same_id_ends_the_first(
    subscribe: Subscriber, failover_timeout: float
) -> None:
    first = await subscribe(subscribe.info(failover_timeout=failover_timeout))
    offers = await first.offers()
    second = await subscribe(first.driver.subscription.framework_info)
    assert second.id == first.id
    assert (await first.next(Error)).message == "Framework failed over"
    await first.disconnected()
    assert first.untaken() == []
    with pytest.raises(NotSubscribed):
        await first.call(Revive())
    again = await second.offers_of(*(offer.agent_id for offer in offers))
    assert not {offer.id for offer in again.values()} & {offer.id for offer in offers}


async def test_the_offers_of_the_subscription_that_was_ended_are_void(subscribe: Subscriber) -> None:
    first = await subscribe()
    old = (await first.offers())[0]
    second = await subscribe(first.driver.subscription.framework_info)
    await second.offers()
    task = second.task(old)
    await second.accept(old, task)
    status = await second.update(task, "TASK_DROPPED")
    assert status.message == f"Task launched with invalid offers: Offer {old.id.value} is no longer valid"


async def test_filters_outlive_the_change_of_a_connected_subscription(subscribe: Subscriber, tick: Ticks) -> None:
    first = await subscribe()
    offers = await first.offers()
    await first.decline(*offers)
    second = await subscribe(first.driver.subscription.framework_info)
    await tick()
    await second.caught_up()
    assert second.untaken() == []
    await second.revive()
    assert len(await second.offers()) == len(offers)


async def test_teardown_ends_the_stream_without_an_event_and_kills_the_tasks(
    framework: Framework, operator: OperatorClient
) -> None:
    task = await framework.run((await framework.offers())[0])
    await framework.call(Teardown())
    await framework.disconnected()
    assert framework.untaken() == []
    assert (await task_of(operator, framework.id, task.task_id)).state == "TASK_KILLED"
    over = await operator.frameworks()
    assert framework.id in {each.framework_info.id for each in over.completed_frameworks}
    assert framework.id not in {each.framework_info.id for each in over.frameworks}


async def test_a_framework_that_was_torn_down_cannot_come_back(subscribe: Subscriber) -> None:
    first = await subscribe()
    await first.call(Teardown())
    await first.close()
    second = subscribe.begin(first.driver.subscription.framework_info)
    assert (await second.next(Error)).message == "Framework has been removed"
    await second.disconnected()
    assert second.untaken() == []


async def test_an_operator_can_tear_a_framework_down(framework: Framework, operator: OperatorClient) -> None:
    task = await framework.run((await framework.offers())[0])
    await operator.teardown(framework.id)
    await framework.disconnected()
    assert (await framework.next(Error)).message == "Framework has been removed"  # the driver tried again
    assert (await task_of(operator, framework.id, task.task_id)).state == "TASK_KILLED"


@pytest.mark.parametrize("failover_timeout", [0.0, 1.0])
async def test_a_framework_that_stays_away_too_long_is_removed(
    subscribe: Subscriber, operator: OperatorClient, failover_timeout: float
) -> None:
    first = await subscribe(subscribe.info(failover_timeout=failover_timeout))
    task = await first.run((await first.offers())[0])
    await first.close()

    async def removed() -> bool:
        over = (await operator.frameworks()).completed_frameworks
        return first.id in {each.framework_info.id for each in over}

    await eventually_async(removed)
    assert (await task_of(operator, first.id, task.task_id)).state == "TASK_KILLED"
    second = subscribe.begin(first.driver.subscription.framework_info)
    assert (await second.next(Error)).message == "Framework has been removed"


async def test_a_framework_that_is_away_is_still_known(subscribe: Subscriber, operator: OperatorClient) -> None:
    first = await subscribe()
    task = await first.run((await first.offers())[0])
    await first.close()
    await is_away(operator, first.id)
    assert (await task_of(operator, first.id, task.task_id)).state == "TASK_RUNNING"
