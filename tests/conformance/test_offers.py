"""What is in an offer, and how a master puts together what it offers."""

from __future__ import annotations

import pytest

from owmesos.mesos.messages import Attribute, Kill, Range, Ranges, Scalar, Text
from owmesos.mesos.wire.operator_client import OperatorClient
from tests.conformance.amounts import amounts
from tests.conformance.clusters import STANDARD
from tests.conformance.framework import Framework
from tests.conformance.operating import Ticks, agent_of
from tests.conformance.subscribing import Subscriber


async def test_one_event_offers_everything_that_is_free_one_offer_an_agent(
    framework: Framework, operator: OperatorClient
) -> None:
    offers = await framework.offers()
    agents = (await operator.agents()).agents
    assert len(offers) == len(agents)
    assert {offer.agent_id for offer in offers} == {agent.agent_info.id for agent in agents}


async def test_an_offer_says_what_the_agent_is_and_has(framework: Framework, operator: OperatorClient) -> None:
    for offer in await framework.offers():
        agent = await agent_of(operator, offer.agent_id)
        assert offer.framework_id == framework.id
        assert offer.hostname == agent.agent_info.hostname
        assert offer.url is not None
        assert offer.url.scheme == "http"
        assert (offer.url.address.hostname, offer.url.address.port) == (
            agent.agent_info.hostname,
            agent.agent_info.port,
        )
        assert offer.url.path == "/slave(1)"
        assert amounts(offer.resources) == amounts(agent.total_resources)
        assert sorted(offer.attributes, key=repr) == sorted(agent.agent_info.attributes, key=repr)
        assert offer.unavailability is None


async def test_an_offer_and_each_of_its_resources_are_allocated_to_a_role(framework: Framework) -> None:
    for offer in await framework.offers():
        assert offer.allocation_info is not None
        assert offer.allocation_info.role == framework.role
        for resource in offer.resources:
            assert resource.allocation_info == offer.allocation_info
            assert resource.role == "*"
            assert resource.reservation is None


async def test_without_multi_role_nothing_says_what_role_it_is_for(subscribe: Subscriber) -> None:
    framework = await subscribe(subscribe.info(capabilities=["PARTITION_AWARE"], roles=[], role="single"))
    offer = (await framework.offers())[0]
    assert offer.allocation_info is None
    assert [resource.allocation_info for resource in offer.resources] == [None] * len(offer.resources)
    await framework.run(offer)


async def test_with_reservation_refinement_unreserved_resources_have_no_role(subscribe: Subscriber) -> None:
    capabilities = ["MULTI_ROLE", "PARTITION_AWARE", "RESERVATION_REFINEMENT"]
    framework = await subscribe(subscribe.info(capabilities=capabilities))
    offer = (await framework.offers())[0]
    assert {(resource.role, bool(resource.reservations)) for resource in offer.resources} == {(None, False)}
    await framework.run(offer)


@pytest.mark.setup(STANDARD)
async def test_attributes_are_texts_scalars_and_ranges_and_may_occur_twice(framework: Framework) -> None:
    attributes = {
        offer.attributes[0].text.value: offer.attributes
        for offer in await framework.offers()
        if offer.attributes[0].text
    }
    assert attributes["agent1"] == [
        Attribute("daemon", "TEXT", text=Text("agent1")),
        Attribute("rack", "TEXT", text=Text("r1")),
        Attribute("zone", "TEXT", text=Text("z1")),
        Attribute("slots", "SCALAR", scalar=Scalar(4.5)),
        Attribute("spans", "RANGES", ranges=Ranges([Range(1, 5), Range(8, 9)])),
        Attribute("medium", "TEXT", text=Text("ssd")),
        Attribute("medium", "TEXT", text=Text("disk")),
    ]
    assert Attribute("slots", "SCALAR", scalar=Scalar(2.0)) in attributes["agent2"]
    assert Attribute("rack", "SCALAR", scalar=Scalar(3.0)) in attributes["agent3"]  # it looks like a number


async def test_what_a_task_leaves_is_offered_exactly(framework: Framework) -> None:
    offer = await framework.only()
    task = framework.task(offer, cpus=0.3, mem=100, disk=10, ports=2)
    await framework.accept(offer, task, refuse=0)
    rest = await framework.offer()
    assert amounts(rest.resources) == amounts(offer.resources).minus(amounts(task.resources))
    assert rest.id != offer.id
    assert rest.agent_id == offer.agent_id


async def test_what_is_used_up_is_not_named(framework: Framework) -> None:
    offer = await framework.only()
    have = amounts(offer.resources)
    task = framework.task(offer, cpus=have["cpus"], mem=have["mem"] - 64, disk=have["disk"])
    await framework.accept(offer, task, refuse=0)
    rest = await framework.offer()
    assert {resource.name for resource in rest.resources} == {"mem", "ports"}
    assert amounts(rest.resources)["mem"] == 64


async def test_cpus_without_memory_are_offered(framework: Framework) -> None:
    offer = await framework.only()
    have = amounts(offer.resources)
    await framework.accept(offer, framework.task(offer, cpus=have["cpus"] - 0.01, mem=have["mem"]), refuse=0)
    rest = amounts((await framework.offer()).resources)
    assert rest["cpus"] == 0.01
    assert rest["mem"] == 0


async def test_too_little_to_be_of_use_is_not_offered(framework: Framework, tick: Ticks) -> None:
    offer = await framework.only()
    have = amounts(offer.resources)
    task = framework.task(offer, cpus=have["cpus"], mem=have["mem"] - 24)
    await framework.accept(offer, task, refuse=0)
    await framework.running(task)
    await framework.gets_no_offers(tick)


async def test_what_is_freed_while_the_rest_is_held_is_an_offer_of_its_own(framework: Framework) -> None:
    whole = await framework.only()
    task = await framework.run(whole, cpus=0.5, mem=128, ports=1, refuse=0)
    rest = await framework.offer()
    await framework.call(Kill(task.task_id, task.agent_id))
    await framework.update(task, "TASK_KILLED")
    freed = await framework.offer()
    assert freed.agent_id == rest.agent_id
    assert amounts(freed.resources) == amounts(task.resources)
    await framework.decline(rest, freed, refuse=0)
    again = await framework.offer()
    assert amounts(again.resources) == amounts(whole.resources)


async def test_the_master_tells_an_operator_what_is_offered_and_what_is_allocated(
    framework: Framework, operator: OperatorClient
) -> None:
    offer = await framework.only()
    agent = await agent_of(operator, offer.agent_id)
    assert amounts(agent.offered_resources) == amounts(agent.total_resources)
    assert agent.allocated_resources == []
    task = await framework.run(offer, cpus=0.5, mem=128)
    agent = await agent_of(operator, offer.agent_id)
    assert agent.offered_resources == []
    assert amounts(agent.allocated_resources) == amounts(task.resources)
    assert {resource.allocation_info for resource in agent.allocated_resources} == {offer.allocation_info}
