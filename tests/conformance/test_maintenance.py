"""Maintenance: offers say when their machine goes, and frameworks are asked to leave it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from owmesos.mesos.messages import (
    ID,
    AcceptInverseOffers,
    DeclineInverseOffers,
    Failure,
    Filters,
    InverseOffer,
    InverseOffers,
    Offer,
    Rescind,
    RescindInverseOffer,
    Suppress,
    TimeInfo,
    Unavailability,
)
from owmesos.mesos.messages.operator import MachineID, MaintenanceSchedule, MaintenanceWindow
from owmesos.mesos.messages.values import DurationInfo
from owmesos.mesos.wire.operator_client import OperatorClient
from tests.conformance.clusters import AgentSetup, Setup
from tests.conformance.framework import Framework
from tests.conformance.operating import Ticks

WINDOW = Unavailability(TimeInfo(round(time.time() + 3600) * 10**9), DurationInfo(600 * 10**9))
Announce = Callable[..., Awaitable[None]]
TWO = Setup(agents=(AgentSetup(),) * 2)


def _machine(offer: Offer) -> MachineID:
    assert offer.url is not None
    return MachineID(offer.hostname, offer.url.address.ip)


def _schedule(offer: Offer, window: Unavailability = WINDOW) -> MaintenanceSchedule:
    return MaintenanceSchedule([MaintenanceWindow([_machine(offer)], window)])


@pytest.fixture
def announce(operator: OperatorClient, afterwards: AsyncExitStack) -> Callable[..., Awaitable[None]]:
    """Schedules maintenance of an offer's machine, until the end of the case."""

    async def announce(offer: Offer, window: Unavailability = WINDOW) -> None:
        await operator.update_maintenance_schedule(_schedule(offer, window))
        afterwards.push_async_callback(operator.update_maintenance_schedule, MaintenanceSchedule())

    return announce


async def test_a_schedule_rescinds_all_offers_and_they_come_again_with_it(
    framework: Framework, announce: Announce
) -> None:
    offers = await framework.offers()
    chosen = offers[0]
    await announce(chosen)
    assert {(await framework.next(Rescind)).offer_id for _ in offers} == {offer.id for offer in offers}
    again: dict[ID, Unavailability | None] = {}
    while len(again) < len(offers):
        again |= {offer.agent_id: offer.unavailability for offer in await framework.offers()}
    assert again.pop(chosen.agent_id) == WINDOW
    assert set(again.values()) == {None}
    # What we are offered there is something that we have there.
    assert (await _asked(framework)).agent_id == chosen.agent_id


async def test_a_framework_that_has_nothing_there_is_not_asked(
    framework: Framework, announce: Announce, tick: Ticks
) -> None:
    offers = await framework.offers()
    await framework.call(Suppress())
    await framework.decline(*offers)
    await announce(offers[0])
    await framework.gets_no_offers(tick)
    assert framework.untaken() == []


async def test_a_maintenance_without_an_end_has_no_duration(framework: Framework, announce: Announce) -> None:
    chosen = (await framework.offers())[0]
    endless = Unavailability(WINDOW.start)
    await announce(chosen, endless)
    again: dict[ID, Unavailability | None] = {}
    while chosen.agent_id not in again:
        again |= {offer.agent_id: offer.unavailability for offer in await framework.offers()}
    assert again[chosen.agent_id] == endless


async def _asked(framework: Framework) -> InverseOffer:
    (inverse,) = (await framework.next(InverseOffers)).inverse_offers
    return inverse


async def test_a_framework_with_a_task_there_is_asked_to_leave_until_it_has(
    framework: Framework, announce: Announce
) -> None:
    offer = await framework.only()
    await framework.run(offer)
    await announce(offer)
    first = await _asked(framework)
    assert (first.agent_id, first.framework_id) == (offer.agent_id, framework.id)
    assert first.unavailability == WINDOW
    await framework.call(DeclineInverseOffers([first.id], Filters(0.1)))
    second = await _asked(framework)
    assert second.id != first.id
    await framework.call(AcceptInverseOffers([second.id], Filters(0.1)))
    third = await _asked(framework)
    assert third.agent_id == offer.agent_id


@pytest.mark.setup(TWO, fresh=True)
async def test_a_machine_that_is_taken_down_takes_its_tasks_with_it(
    framework: Framework, operator: OperatorClient
) -> None:
    offer = await framework.only()
    task = await framework.run(offer)
    await operator.update_maintenance_schedule(_schedule(offer))
    inverse = await _asked(framework)
    await framework.revive()
    rest = next(each for each in await framework.offers() if each.agent_id == offer.agent_id)
    await operator.start_maintenance([_machine(offer)])
    status = await framework.update(task, "TASK_LOST")
    assert (status.source, status.reason, status.uuid) == ("SOURCE_MASTER", "REASON_AGENT_REMOVED", None)
    assert "Operator initiated 'Machine DOWN'" in (status.message or "")
    assert (await framework.next(Rescind)).offer_id == rest.id
    assert (await framework.next(RescindInverseOffer)).inverse_offer_id == inverse.id
    assert (await framework.next(Failure)).agent_id == offer.agent_id
