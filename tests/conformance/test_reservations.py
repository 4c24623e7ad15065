"""Resources that are reserved for a role: how they are offered, and how a task must ask for them."""

from __future__ import annotations

from contextlib import AsyncExitStack

import msgspec
import pytest

from owmesos.mesos.messages import (
    ID,
    Accept,
    Filters,
    Offer,
    Operation,
    Rescind,
    Reserve,
    Resource,
    Scalar,
    Unreserve,
)
from owmesos.mesos.wire.operator_client import OperatorClient
from tests.conformance.amounts import amounts
from tests.conformance.clusters import AgentSetup, Setup
from tests.conformance.framework import Framework
from tests.conformance.subscribing import Subscriber

LABELS = {"labels": [{"key": "k", "value": "v"}]}
REFINED = ["MULTI_ROLE", "PARTITION_AWARE", "RESERVATION_REFINEMENT"]


def reservation(role: str, name: str, value: float, *, labelled: bool = False) -> Resource:
    """As an operator asks for it."""
    how = {"type": "DYNAMIC", "role": role, **({"labels": LABELS} if labelled else {})}
    return Resource(name, "SCALAR", scalar=Scalar(value), reservations=[how])


class Reserving:
    """Reserves for the length of a case."""

    def __init__(self, operator: OperatorClient, afterwards: AsyncExitStack) -> None:
        self._operator = operator
        self._afterwards = afterwards

    async def __call__(self, *resources: Resource) -> ID:
        """On some agent, whose id it returns."""
        agent_id = (await self._operator.agents()).agents[0].agent_info.id
        assert agent_id is not None
        await self._operator.reserve(agent_id, list(resources))
        self._afterwards.push_async_callback(self._operator.unreserve, agent_id, list(resources))
        return agent_id


@pytest.fixture
def reserve(operator: OperatorClient, afterwards: AsyncExitStack) -> Reserving:
    return Reserving(operator, afterwards)


def reserved(offer: Offer) -> list[Resource]:
    return [resource for resource in offer.resources if resource.reservation is not None or resource.reservations]


async def test_what_is_reserved_is_offered_beside_the_rest(reserve: Reserving, subscribe: Subscriber) -> None:
    info = subscribe.info()
    (role,) = info.roles
    agent_id = await reserve(reservation(role, "cpus", 0.5))
    framework = await subscribe(info)
    offer = await framework.only(agent_id)
    (part,) = reserved(offer)
    assert (part.name, part.scalar, part.role, part.reservation) == ("cpus", Scalar(0.5), role, {})
    assert part.allocation_info == offer.allocation_info
    rest = [resource for resource in offer.resources if resource is not part]
    assert {(resource.role, resource.reservation) for resource in rest} == {("*", None)}


async def test_labels_of_a_reservation_are_offered(reserve: Reserving, subscribe: Subscriber) -> None:
    info = subscribe.info()
    agent_id = await reserve(reservation(info.roles[0], "cpus", 0.5, labelled=True))
    framework = await subscribe(info)
    (part,) = reserved(await framework.only(agent_id))
    assert part.reservation == {"labels": LABELS}


async def test_with_reservation_refinement_it_is_offered_as_a_list(reserve: Reserving, subscribe: Subscriber) -> None:
    info = subscribe.info(capabilities=REFINED)
    (role,) = info.roles
    agent_id = await reserve(reservation(role, "mem", 64, labelled=True))
    framework = await subscribe(info)
    offer = await framework.only(agent_id)
    (part,) = reserved(offer)
    assert (part.role, part.reservation) == (None, None)
    assert part.reservations == [{"type": "DYNAMIC", "role": role, "labels": LABELS}]
    task = framework.task(offer, resources=[part, *(each for each in offer.resources if each.name == "cpus")])
    await framework.accept(offer, task)
    await framework.running(task)


async def test_other_roles_do_not_see_it(reserve: Reserving, subscribe: Subscriber, operator: OperatorClient) -> None:
    part = reservation("another-role", "cpus", 0.5)
    agent_id = await reserve(part)
    framework = await subscribe()
    offer = await framework.only(agent_id)
    assert reserved(offer) == []
    total = next(agent for agent in (await operator.agents()).agents if agent.agent_info.id == agent_id)
    assert amounts(offer.resources) == amounts(total.total_resources).minus(amounts([part]))


async def test_a_child_of_the_role_sees_it(reserve: Reserving, subscribe: Subscriber) -> None:
    agent_id = await reserve(reservation("parent", "cpus", 0.5))
    framework = await subscribe(subscribe.info(roles=["parent/child"]))
    (part,) = reserved(await framework.only(agent_id))
    assert part.role == "parent"
    assert part.allocation_info is not None
    assert part.allocation_info.role == "parent/child"


@pytest.mark.parametrize(
    "edited",
    [
        pytest.param({}, id="copied"),
        pytest.param({"allocation_info": None}, id="without-allocation-info"),
        pytest.param({"role": None, "reservation": None, "reservations": []}, id="as-a-list"),
    ],
)
async def test_a_task_gets_a_part_of_it_when_it_copies_the_reservation(
    reserve: Reserving, subscribe: Subscriber, edited: dict[str, object]
) -> None:
    info = subscribe.info()
    agent_id = await reserve(reservation(info.roles[0], "cpus", 0.5))
    framework = await subscribe(info)
    offer = await framework.only(agent_id)
    (part,) = reserved(offer)
    if "reservations" in edited:
        edited = {**edited, "reservations": [{"type": "DYNAMIC", "role": info.roles[0]}]}
    cpus = msgspec.structs.replace(part, scalar=Scalar(0.2), **edited)
    task = framework.task(offer, cpus=0)
    task.resources.append(cpus)
    await framework.accept(offer, task, refuse=0)
    await framework.running(task)
    (left,) = reserved(await framework.offer())
    assert left.scalar == Scalar(0.3)


async def test_a_task_may_have_reserved_and_unreserved_parts(reserve: Reserving, subscribe: Subscriber) -> None:
    info = subscribe.info()
    agent_id = await reserve(reservation(info.roles[0], "cpus", 0.5))
    framework = await subscribe(info)
    offer = await framework.only(agent_id)
    task = framework.task(offer, cpus=amounts(offer.resources)["cpus"])
    assert len([resource for resource in task.resources if resource.name == "cpus"]) == 2
    await framework.accept(offer, task)
    await framework.running(task)


@pytest.mark.parametrize("how", ["plain", "role-alone", "without-labels"])
async def test_a_task_that_asks_for_it_otherwise_does_not_get_it(
    reserve: Reserving, subscribe: Subscriber, how: str
) -> None:
    info = subscribe.info()
    agent_id = await reserve(reservation(info.roles[0], "cpus", 0.5, labelled=how == "without-labels"))
    framework = await subscribe(info)
    offer = await framework.only(agent_id)
    (part,) = reserved(offer)
    if how == "plain":  # means unreserved, of which there is less
        everything = Scalar(amounts(offer.resources)["cpus"])
        asked = msgspec.structs.replace(part, role="*", reservation=None, scalar=everything)
    elif how == "role-alone":  # means reserved by the agent's flags
        asked = msgspec.structs.replace(part, reservation=None)
    else:
        asked = msgspec.structs.replace(part, reservation={})
    task = framework.task(offer, cpus=0)
    task.resources.append(asked)
    await framework.accept(offer, task)
    status = await framework.update(task, "TASK_ERROR")
    assert status.reason == "REASON_TASK_INVALID"
    assert "is more than available" in (status.message or "")


async def test_reserving_what_is_offered_rescinds_the_offer(reserve: Reserving, subscribe: Subscriber) -> None:
    framework = await subscribe()
    offers = {offer.agent_id: offer for offer in await framework.offers()}
    agent_id = await reserve(reservation(framework.role, "cpus", 0.5))
    assert (await framework.next(Rescind)).offer_id == offers[agent_id].id
    await framework.revive()  # the rescission leaves a filter
    again = await framework.offer()
    assert again.agent_id == agent_id
    assert amounts(reserved(again))["cpus"] == 0.5
    assert framework.untaken(Rescind) == []


async def test_unreserving_what_is_offered_rescinds_the_offer(framework: Framework, operator: OperatorClient) -> None:
    first = await framework.only()
    part = reservation(framework.role, "cpus", 0.5)
    await operator.reserve(first.agent_id, [part])
    await framework.next(Rescind)
    await framework.revive()
    second = await framework.only(first.agent_id)
    await operator.unreserve(first.agent_id, [part])
    assert (await framework.next(Rescind)).offer_id == second.id
    await framework.revive()
    assert reserved(await framework.only(first.agent_id)) == []


async def test_a_framework_reserves_and_unreserves_by_itself(framework: Framework) -> None:
    offer = await framework.only()
    part = reservation(framework.role, "cpus", 0.5)
    await framework.call(Accept([offer.id], [Operation("RESERVE", reserve=Reserve([part]))], Filters(0)))
    offer = await framework.offer()
    (got,) = reserved(offer)
    assert (got.scalar, got.role) == (Scalar(0.5), framework.role)
    await framework.call(Accept([offer.id], [Operation("UNRESERVE", unreserve=Unreserve([got]))], Filters(0)))
    offer = await framework.offer()
    assert reserved(offer) == []


STATIC = Setup(agents=(AgentSetup("cpus(static):1;cpus:1;mem:512"),))


@pytest.mark.setup(STATIC)
async def test_what_an_agents_flags_reserve_has_a_role_and_no_reservation(subscribe: Subscriber) -> None:
    framework = await subscribe(subscribe.info(roles=["static"]))
    offer = await framework.only()
    cpus = {resource.role: resource for resource in offer.resources if resource.name == "cpus"}
    assert set(cpus) == {"static", "*"}
    assert cpus["static"].reservation is None
    task = framework.task(offer, cpus=2)
    await framework.accept(offer, task)
    await framework.running(task)


@pytest.mark.setup(STATIC)
async def test_what_an_agents_flags_reserve_is_for_that_role(subscribe: Subscriber) -> None:
    framework = await subscribe()
    offer = await framework.only()
    assert amounts(offer.resources)["cpus"] == 1
