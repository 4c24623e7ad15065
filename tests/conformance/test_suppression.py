"""SUPPRESS, REVIVE and roles that are suppressed from the start."""

from __future__ import annotations

from owmesos.mesos.messages import Kill, Rescind, Suppress
from tests.conformance.framework import Framework
from tests.conformance.operating import Ticks
from tests.conformance.subscribing import Subscriber


async def test_nothing_is_offered_while_suppressed(framework: Framework, tick: Ticks) -> None:
    offers = await framework.offers()
    await framework.call(Suppress())
    await framework.decline(*offers, refuse=0)
    await framework.gets_no_offers(tick)
    await framework.revive()
    assert {offer.agent_id for offer in await framework.offers()} == {offer.agent_id for offer in offers}


async def test_suppress_leaves_the_offers_that_are_out_valid(framework: Framework, tick: Ticks) -> None:
    offer = await framework.only()
    await framework.call(Suppress())
    await framework.gets_no_offers(tick)
    assert framework.untaken(Rescind) == []
    await framework.run(offer, refuse=0)
    await framework.gets_no_offers(tick)


async def test_what_is_freed_while_suppressed_comes_with_revive(framework: Framework, tick: Ticks) -> None:
    offer = await framework.only()
    task = await framework.run(offer)
    await framework.call(Suppress())
    await framework.call(Kill(task.task_id, task.agent_id))
    await framework.update(task, "TASK_KILLED")
    await framework.gets_no_offers(tick)
    await framework.revive()
    assert offer.agent_id in {each.agent_id for each in await framework.offers()}


async def test_a_role_that_is_suppressed_from_the_start_gets_offers_when_revived(
    subscribe: Subscriber, tick: Ticks
) -> None:
    info = subscribe.info()
    framework = await subscribe(info, suppressed=info.roles)
    await framework.gets_no_offers(tick)
    await framework.revive()
    assert await framework.offers()


async def test_one_role_is_suppressed_and_the_other_gets_everything(subscribe: Subscriber) -> None:
    framework = await subscribe(subscribe.info(roles=["a", "b"]), suppressed=["a"])
    first = await framework.offers()
    assert {offer.allocation_info.role for offer in first if offer.allocation_info} == {"b"}
    await framework.decline(*first)
    await framework.revive("a")
    second = await framework.offers()
    assert {offer.allocation_info.role for offer in second if offer.allocation_info} == {"a"}
    assert len(second) == len(first)


async def test_suppress_of_a_role_and_revive_of_a_role_that_are_not_ours_change_nothing(
    framework: Framework, tick: Ticks
) -> None:
    offers = await framework.offers()
    await framework.call(Suppress(["another"]))
    await framework.decline(*offers, refuse=0)
    offers = await framework.offers()
    await framework.decline(*offers)
    await framework.revive("another")
    await framework.gets_no_offers(tick)
