"""A master that takes back offers which are held too long."""

from __future__ import annotations

import pytest

from owmesos.mesos.messages import Offers, Rescind
from tests.conformance.amounts import amounts
from tests.conformance.clusters import AgentSetup, Setup
from tests.conformance.framework import Framework

pytestmark = pytest.mark.setup(Setup(agents=(AgentSetup(),) * 2, master_flags={"offer_timeout": "1secs"}))


async def test_an_offer_that_is_held_too_long_is_rescinded_and_comes_again(framework: Framework) -> None:
    first = await framework.noted(Offers)
    assert isinstance(first.event, Offers)
    offers = {offer.id: offer for offer in first.event.offers}
    for _ in offers:
        rescind = await framework.noted(Rescind)
        assert isinstance(rescind.event, Rescind)
        assert rescind.event.offer_id in offers
        assert rescind.at - first.at > 0.5  # as this process hears of both
    again = await framework.offers_of(*(offer.agent_id for offer in offers.values()))
    for offer in offers.values():
        assert amounts(again[offer.agent_id].resources) == amounts(offer.resources)


async def test_a_rescinded_offer_cannot_be_accepted(framework: Framework) -> None:
    offer = (await framework.offers())[0]
    await framework.next(Rescind, lambda event: event.offer_id == offer.id)
    task = framework.task(offer)
    await framework.accept(offer, task)
    status = await framework.update(task, "TASK_DROPPED")
    assert status.reason == "REASON_INVALID_OFFERS"
    assert status.message == f"Task launched with invalid offers: Offer {offer.id.value} is no longer valid"


async def test_an_offer_that_is_accepted_in_time_is_not_rescinded(framework: Framework) -> None:
    first, second = await framework.offers()
    await framework.run(first)
    assert (await framework.next(Rescind)).offer_id == second.id
    assert framework.untaken(Rescind) == []
