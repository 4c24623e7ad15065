"""What a master offers at once, because of an event, on a cluster that never allocates by itself."""

from __future__ import annotations

import asyncio

import pytest

from owmesos.mesos.messages import Kill, Offers, Rescind, Suppress, UpdateFramework
from owmesos.mesos.wire.operator_client import OperatorClient
from tests.conformance.amounts import amounts
from tests.conformance.clusters import Setup
from tests.conformance.framework import Framework
from tests.conformance.subscribing import Subscriber

pytestmark = pytest.mark.setup(Setup(master_flags={"allocation_interval": "1hrs"}))


async def _no_offer(framework: Framework) -> None:
    await framework.caught_up()
    assert framework.untaken(Offers) == []


async def test_subscribe_revive_and_nothing_else_of_a_frameworks_calls_allocate(framework: Framework) -> None:
    offers = await framework.offers()
    await framework.decline(*offers, refuse=0)
    await _no_offer(framework)
    info = framework.driver.subscription.framework_info
    await framework.call(UpdateFramework(info))
    await _no_offer(framework)
    await framework.revive()
    assert len(await framework.offers()) == len(offers)


async def test_revive_ends_a_suppression_at_once(framework: Framework) -> None:
    offers = await framework.offers()
    await framework.call(Suppress())
    await framework.decline(*offers)
    await framework.revive()
    assert len(await framework.offers()) == len(offers)


async def test_revive_sent_on_receipt_of_a_tasks_end_brings_its_resources(framework: Framework) -> None:
    """Also before the end is acknowledged."""
    whole = await framework.only()
    task = await framework.run(whole)
    framework.acknowledging = False
    await framework.call(Kill(task.task_id, task.agent_id))
    await framework.update(task, "TASK_KILLED")
    await framework.revive()
    again = await framework.only(whole.agent_id)
    assert amounts(again.resources) == amounts(whole.resources)


async def test_what_a_task_frees_waits_for_an_allocation(framework: Framework) -> None:
    whole = await framework.only()
    task = await framework.run(whole, command="exit 0")
    await framework.update(task, "TASK_FINISHED")
    await _no_offer(framework)


async def test_revive_repeats_no_offer_that_is_out_and_is_silent_when_nothing_is_free(framework: Framework) -> None:
    offers = await framework.offers()
    await framework.revive()
    await framework.caught_up()
    assert framework.untaken() == []
    await framework.decline(offers[0])
    await framework.revive()
    assert (await framework.offer()).agent_id == offers[0].agent_id
    assert framework.untaken() == []


async def test_a_hundred_revives_bring_one_event(framework: Framework) -> None:
    offers = await framework.offers()
    await framework.decline(*offers)
    await asyncio.gather(*(framework.revive() for _ in range(100)))
    assert len(await framework.offers()) == len(offers)
    await framework.caught_up()
    assert framework.untaken() == []


async def test_a_second_framework_is_offered_what_the_first_declined(subscribe: Subscriber) -> None:
    first = await subscribe()
    offers = await first.offers()
    await first.decline(*offers, refuse=0)
    second = await subscribe()
    got = len(await second.offers())
    if got < len(offers):  # the first takes part in the allocation that the second brings about
        got += len(await first.offers())
    assert got == len(offers)


async def test_an_agent_that_is_reactivated_waits_for_an_allocation(
    framework: Framework, operator: OperatorClient
) -> None:
    offer = await framework.only()
    await operator.deactivate_agent(offer.agent_id)
    await framework.next(Rescind)
    await operator.reactivate_agent(offer.agent_id)
    await _no_offer(framework)
    await framework.revive()
    assert offer.agent_id in {each.agent_id for each in await framework.offers()}
