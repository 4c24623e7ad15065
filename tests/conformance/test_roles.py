"""A framework in several roles, and what it can change about itself with UPDATE_FRAMEWORK."""

from __future__ import annotations

import msgspec
import pytest

from owmesos.mesos.messages import (
    FrameworkInfo,
    Kill,
    Label,
    Labels,
    MinAllocatableResources,
    Offer,
    OfferFilters,
    Rescind,
    ResourceQuantities,
    Scalar,
    Suppress,
    UpdateFramework,
)
from owmesos.mesos.wire.driver import CallRefused
from owmesos.mesos.wire.operator_client import OperatorClient
from tests.conformance.amounts import amounts
from tests.conformance.framework import Framework
from tests.conformance.operating import Ticks, framework_of
from tests.conformance.subscribing import Subscriber


def role_of(offer: Offer) -> str | None:
    return offer.allocation_info.role if offer.allocation_info else None


async def test_each_agent_goes_to_one_of_the_roles_in_one_event(
    subscribe: Subscriber, operator: OperatorClient
) -> None:
    framework = await subscribe(subscribe.info(roles=["a", "b"]))
    offers = await framework.offers()
    agents = (await operator.agents()).agents
    assert len(offers) == len(agents) == len({offer.agent_id for offer in offers})
    assert {role_of(offer) for offer in offers} == {"a", "b"}
    for offer in offers:
        assert {resource.allocation_info for resource in offer.resources} == {offer.allocation_info}


async def test_what_one_role_declines_is_offered_to_the_other(subscribe: Subscriber, tick: Ticks) -> None:
    framework = await subscribe(subscribe.info(roles=["a", "b"]))
    first = {offer.agent_id: role_of(offer) for offer in await _declined(framework)}
    second = {}
    while len(second) < len(first):
        second |= {offer.agent_id: role_of(offer) for offer in await _declined(framework)}
    assert {agent: {"a": "b", "b": "a"}[role or ""] for agent, role in first.items()} == second
    await framework.gets_no_offers(tick)
    await framework.revive("b")
    third = await framework.offers()
    assert {role_of(offer) for offer in third} == {"b"}
    assert len(third) == len(first)


async def _declined(framework: Framework) -> list[Offer]:
    offers = await framework.offers()
    await framework.decline(*offers)
    return offers


async def test_a_suppressed_role_gets_nothing_and_the_other_all(subscribe: Subscriber) -> None:
    framework = await subscribe(subscribe.info(roles=["a", "b"]))
    offers = await framework.offers()
    await framework.call(Suppress(["b"]))
    await framework.decline(*offers)
    await framework.revive("a")
    again: list[Offer] = []
    while len(again) < len(offers):  # an allocation between two declines offers what the first one gave back
        again += await framework.offers()
    assert {role_of(offer) for offer in again} == {"a"}
    assert len(again) == len(offers)


async def test_offers_of_one_agent_in_two_roles_cannot_be_combined(subscribe: Subscriber) -> None:
    """One role holds the rest of an agent while the other is offered what a task frees."""
    framework = await subscribe(subscribe.info(roles=["a", "b"]), suppressed=["b"])
    offer = await framework.only()
    task = await framework.run(offer, refuse=0)
    held = await framework.offer()
    await framework.call(Suppress(["a"]))
    await framework.revive("b")
    await framework.call(Kill(task.task_id, task.agent_id))
    await framework.update(task, "TASK_KILLED")
    freed = None
    while freed is None:
        freed = next((each for each in await framework.offers() if each.agent_id == held.agent_id), None)
    assert (role_of(held), role_of(freed)) == ("a", "b")
    both = framework.task(held)
    await framework.accept([held, freed], both)
    status = await framework.update(both, "TASK_DROPPED")
    assert status.reason == "REASON_INVALID_OFFERS"
    assert "Aggregated offers must be allocated to the same role" in (status.message or "")


async def test_a_role_that_is_added_gets_offers_without_a_new_subscription(framework: Framework) -> None:
    await _declined(framework)
    info = msgspec.structs.replace(_info(framework), roles=[*_info(framework).roles, "added"])
    await framework.call(UpdateFramework(info))
    assert {role_of(offer) for offer in await framework.offers()} == {"added"}


async def test_the_offers_of_a_role_that_is_removed_are_rescinded(subscribe: Subscriber) -> None:
    framework = await subscribe(subscribe.info(roles=["a", "b"]))
    offers = await framework.offers()
    gone = {offer.id for offer in offers if role_of(offer) == "b"}
    await framework.call(UpdateFramework(msgspec.structs.replace(_info(framework), roles=["a"])))
    rescinded = {(await framework.next(Rescind)).offer_id for _ in gone}
    assert rescinded == gone
    await framework.caught_up()
    assert framework.untaken(Rescind) == []


async def test_update_framework_replaces_what_it_may(framework: Framework, operator: OperatorClient) -> None:
    labels = Labels([Label("a", "b")])
    info = msgspec.structs.replace(
        _info(framework), name="renamed", failover_timeout=7.0, webui_url="http://example.org/", labels=labels
    )
    await framework.call(UpdateFramework(info))
    got = (await framework_of(operator, framework.id)).framework_info
    assert (got.name, got.failover_timeout, got.webui_url, got.labels) == ("renamed", 7.0, info.webui_url, labels)


@pytest.mark.parametrize(("field", "value"), [("user", "somebody-else"), ("checkpoint", False)])
async def test_update_framework_cannot_change_user_or_checkpoint(
    framework: Framework, operator: OperatorClient, field: str, value: object
) -> None:
    info = msgspec.structs.replace(_info(framework), name="renamed", **{field: value})
    with pytest.raises(CallRefused) as refused:
        await framework.call(UpdateFramework(info))
    assert refused.value.status == 400
    assert f"Updating 'FrameworkInfo.{field}' is unsupported" in refused.value.reason
    assert (await framework_of(operator, framework.id)).framework_info.name != "renamed"


async def test_update_framework_needs_our_own_id(framework: Framework) -> None:
    info = msgspec.structs.replace(_info(framework), id=None)
    with pytest.raises(CallRefused) as refused:
        await framework.call(UpdateFramework(info))
    assert refused.value.status == 400
    assert "'framework_id' differs from 'update_framework.framework_info.id'" in refused.value.reason


async def test_update_framework_suppresses_and_unsuppresses(framework: Framework, tick: Ticks) -> None:
    """An absent suppressed role is not suppressed, and comes out of it without its filters."""
    offers = await framework.offers()
    await framework.call(UpdateFramework(_info(framework), [framework.role]))
    await framework.decline(*offers)
    await framework.gets_no_offers(tick)
    await framework.call(UpdateFramework(_info(framework)))
    assert len(await framework.offers()) == len(offers)


async def test_update_framework_clears_no_filters_of_an_active_role(framework: Framework, tick: Ticks) -> None:
    await _declined(framework)
    await framework.call(UpdateFramework(_info(framework)))
    await framework.gets_no_offers(tick)


@pytest.mark.parametrize("when", ["at the start", "later"])
async def test_agents_with_less_than_the_offer_filters_say_are_not_offered(
    subscribe: Subscriber, tick: Ticks, when: str
) -> None:
    first = await subscribe()
    offers = await first.offers()
    cpus = amounts(offers[0].resources)["cpus"]
    await first.run(offers[0])
    await first.decline(*offers[1:])
    info = subscribe.info()
    filters = {info.roles[0]: _at_least(cpus)}
    if when == "at the start":
        second = await subscribe(msgspec.structs.replace(info, offer_filters=filters))
    else:
        second = await subscribe(info, suppressed=info.roles)
        await second.call(UpdateFramework(msgspec.structs.replace(_info(second), offer_filters=filters)))
    big = {offer.agent_id for offer in offers[1:] if amounts(offer.resources)["cpus"] >= cpus}
    if big:
        assert {offer.agent_id for offer in await second.offers()} == big
    await second.gets_no_offers(tick)


def _at_least(cpus: float) -> OfferFilters:
    return OfferFilters(MinAllocatableResources([ResourceQuantities({"cpus": Scalar(cpus)})]))


def _info(framework: Framework) -> FrameworkInfo:
    return framework.driver.subscription.framework_info
