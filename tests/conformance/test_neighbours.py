"""Frameworks that compete."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from owmesos.mesos.messages import Kill, Offer, Offers, Rescind, Scalar
from owmesos.mesos.messages.operator import QuotaConfig
from owmesos.mesos.wire.operator_client import OperatorClient
from tests.conformance.amounts import amounts
from tests.conformance.clusters import STANDARD, AgentSetup, Setup
from tests.conformance.framework import Framework
from tests.conformance.operating import Ticks
from tests.conformance.subscribing import Subscriber

FOUR = Setup(agents=(AgentSetup("cpus:2;mem:1024"),) * 4)


async def test_what_one_holds_is_not_offered_to_another_nor_taken_back(subscribe: Subscriber, tick: Ticks) -> None:
    first = await subscribe()
    await first.offers()
    second = await subscribe()
    await second.gets_no_offers(tick)
    await first.gets_no_offers(tick)
    assert first.untaken(Rescind) == []


async def test_what_one_declines_another_is_offered(subscribe: Subscriber, tick: Ticks) -> None:
    first = await subscribe()
    offers = await first.offers()
    second = await subscribe()
    await first.decline(offers[0])
    offer = await second.offer()
    assert offer.agent_id == offers[0].agent_id
    assert amounts(offer.resources) == amounts(offers[0].resources)
    # While it is out a REVIVE does not bring it.
    await first.revive()
    await first.gets_no_offers(tick)
    await second.decline(offer)
    assert (await first.offer()).agent_id == offer.agent_id


async def _get(framework: Framework, count: int) -> list[Offer]:
    """So many offers, and no more. They may come in two allocations."""
    offers: list[Offer] = []
    while len(offers) < count:
        offers += await framework.offers()
    assert len(offers) == count
    return offers


@pytest.mark.setup(FOUR)
async def test_shares_are_levelled_agent_by_agent(subscribe: Subscriber, tick: Ticks) -> None:
    """What is offered counts as much as what is used."""
    first = await subscribe()
    held = await first.offers()
    assert len(held) == 4
    second = await subscribe()
    await first.decline(held[0], refuse=0)
    assert (await second.offer()).agent_id == held[0].agent_id
    await first.decline(*held[1:], refuse=0)
    await _get(second, 1)
    await _get(first, 2)
    for framework in (first, second):
        await framework.gets_no_offers(tick)


@pytest.mark.setup(FOUR)
@pytest.mark.parametrize("shared", [pytest.param(False, id="two-roles"), pytest.param(True, id="one-role")])
async def test_two_that_decline_everything_get_half_each(subscribe: Subscriber, shared: bool) -> None:
    info = subscribe.info()
    first = await subscribe(info)
    held = await first.offers()
    second = await subscribe(subscribe.info(roles=info.roles) if shared else None)
    await first.decline(*held, refuse=0)
    for _ in range(3):
        halves = [await _get(first, 2), await _get(second, 2)]
        await first.decline(*halves[0], refuse=0)
        await second.decline(*halves[1], refuse=0)


async def test_what_is_freed_goes_to_the_one_that_has_less(subscribe: Subscriber, tick: Ticks) -> None:
    first = await subscribe()
    offer = await first.only()
    have = amounts(offer.resources)
    task = await first.run(offer, cpus=have["cpus"], mem=have["mem"])
    second = await subscribe()
    await second.offers()
    await first.call(Kill(task.task_id, task.agent_id))
    await first.update(task, "TASK_KILLED")
    assert (await first.offer()).agent_id == offer.agent_id
    await second.gets_no_offers(tick)


@pytest.mark.setup(STANDARD)
async def test_a_quotas_limit_cuts_offers_down(
    subscribe: Subscriber, operator: OperatorClient, afterwards: AsyncExitStack, tick: Ticks
) -> None:
    info = subscribe.info()
    (role,) = info.roles
    await operator.update_quota([QuotaConfig(role, limits={"cpus": Scalar(3), "mem": Scalar(2000)})])
    afterwards.push_async_callback(operator.update_quota, [QuotaConfig(role)])
    framework = await subscribe(info)
    offers = await framework.offers()
    total = amounts(*(offer.resources for offer in offers))
    assert (total["cpus"], total["mem"]) == (3, 2000)
    await framework.gets_no_offers(tick)
    # A limit below what is out takes enough of it back.
    await operator.update_quota([QuotaConfig(role, limits={"cpus": Scalar(1)})])
    out = {offer.id: offer for offer in offers}
    del out[(await framework.next(Rescind)).offer_id]
    await framework.caught_up()
    for event in framework.untaken(Rescind):
        assert isinstance(event, Rescind)
        del out[event.offer_id]
    await framework.revive()
    await tick()
    await framework.caught_up()
    new = [offer for event in framework.untaken(Offers) if isinstance(event, Offers) for offer in event.offers]
    assert amounts(*(offer.resources for offer in [*out.values(), *new]))["cpus"] == 1
