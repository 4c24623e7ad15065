"""Filters: what DECLINE and ACCEPT keep from being offered, and for how long."""

from __future__ import annotations

import asyncio

import pytest

from owmesos.mesos.messages import Kill, Offers
from tests.conformance.amounts import amounts
from tests.conformance.framework import HOUR, Framework
from tests.conformance.operating import Ticks
from tests.conformance.subscribing import Subscriber


async def test_what_is_declined_with_no_filter_comes_again(framework: Framework) -> None:
    offer = await framework.only()
    await framework.decline(offer, refuse=0)
    again = await framework.offer()
    assert again.id != offer.id
    assert again.agent_id == offer.agent_id
    assert amounts(again.resources) == amounts(offer.resources)


async def test_what_is_declined_for_an_hour_comes_again_when_revived(framework: Framework, tick: Ticks) -> None:
    offers = await framework.offers()
    await framework.decline(*offers)
    await framework.gets_no_offers(tick)
    await framework.revive()
    again = {offer.agent_id: amounts(offer.resources) for offer in await framework.offers()}
    assert again == {offer.agent_id: amounts(offer.resources) for offer in offers}


@pytest.mark.parametrize("refuse", [1e9, 1e12])
async def test_a_filter_for_ever_is_taken(framework: Framework, tick: Ticks, refuse: float) -> None:
    await framework.decline(*await framework.offers(), refuse=refuse)
    await framework.gets_no_offers(tick)


async def test_a_filter_of_a_second_ends_after_it(framework: Framework) -> None:
    offer = await framework.only()
    declined = asyncio.get_running_loop().time()
    await framework.decline(offer, refuse=1.0)
    assert (await framework.noted(Offers)).at - declined > 1.0


async def test_a_filter_that_is_absent_or_negative_is_of_five_seconds(framework: Framework) -> None:
    absent, negative, *others = await framework.offers()
    await framework.decline(*others)
    declined = asyncio.get_running_loop().time()
    await framework.decline(absent, refuse=None)
    await framework.decline(negative, refuse=-1.0)
    expected = {absent.agent_id, negative.agent_id}
    while expected:
        noted = await framework.noted(Offers)
        assert 5.0 < noted.at - declined < 20.0
        assert isinstance(noted.event, Offers)
        expected -= {offer.agent_id for offer in noted.event.offers}


async def test_a_filter_of_one_agent_does_not_concern_another(framework: Framework) -> None:
    filtered, free, *others = await framework.offers()
    await framework.decline(filtered, *others)
    for _ in range(3):
        await framework.decline(free, refuse=0)
        free = await framework.offer()
        assert free.agent_id != filtered.agent_id


async def test_an_accepts_filter_is_for_what_the_tasks_leave(framework: Framework, tick: Ticks) -> None:
    offer = await framework.only()
    task = await framework.run(offer, refuse=HOUR)
    await framework.gets_no_offers(tick)
    await framework.revive()
    rest = await framework.only(offer.agent_id)
    assert amounts(rest.resources) == amounts(offer.resources).minus(amounts(task.resources))


@pytest.mark.parametrize(
    "size", [pytest.param({"cpus": 0.5, "mem": 64}, id="all"), pytest.param({"cpus": 0, "mem": 64}, id="memory")]
)
async def test_what_exceeds_a_filter_in_one_dimension_is_offered_in_spite_of_it(
    framework: Framework, tick: Ticks, size: dict[str, float]
) -> None:
    """A task that ends under a filter of an hour: its part and the rest come together."""
    offer = await framework.only()
    task = await framework.run(offer, **size, refuse=HOUR)
    await framework.gets_no_offers(tick)
    await framework.call(Kill(task.task_id, task.agent_id))
    await framework.update(task, "TASK_KILLED")
    whole = await framework.offer()
    assert amounts(whole.resources) == amounts(offer.resources)


async def test_what_is_as_much_as_an_old_filter_is_refused_though_the_last_accept_had_none(
    framework: Framework, tick: Ticks
) -> None:
    offer = await framework.only()
    first = await framework.run(offer, refuse=HOUR)
    await framework.call(Kill(first.task_id, first.agent_id))
    await framework.update(first, "TASK_KILLED")
    whole = await framework.offer()
    second = await framework.run(whole, refuse=0)
    await framework.gets_no_offers(tick)
    await framework.revive()
    rest = await framework.only(offer.agent_id)
    assert amounts(rest.resources) == amounts(whole.resources).minus(amounts(second.resources))


async def test_what_a_neighbour_frees_is_refused_by_the_filter_of_the_whole_agent(
    subscribe: Subscriber, tick: Ticks
) -> None:
    framework = await subscribe()
    offer = (await framework.offers())[0]
    await framework.decline(offer)
    neighbour = await subscribe()
    task = await neighbour.run(await neighbour.only(offer.agent_id), refuse=HOUR)
    await framework.gets_no_offers(tick)
    await neighbour.call(Kill(task.task_id, task.agent_id))
    await neighbour.update(task, "TASK_KILLED")
    await neighbour.decline(await neighbour.offer())
    await framework.gets_no_offers(tick)
    await framework.revive()
    assert amounts((await framework.offer()).resources) == amounts(offer.resources)
