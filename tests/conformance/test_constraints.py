"""Offer constraints: which agents a framework is offered, by their attributes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from owmesos.mesos.messages import (
    AttributeConstraint,
    Error,
    Exists,
    Group,
    NotExists,
    OfferConstraints,
    Predicate,
    Rescind,
    RoleConstraints,
    Selector,
    TextEquals,
    TextMatches,
    TextNotEquals,
    TextNotMatches,
    UpdateFramework,
)
from owmesos.mesos.wire.driver import CallRefused
from owmesos.mesos.wire.operator_client import OperatorClient
from tests.conformance.clusters import STANDARD
from tests.conformance.framework import Framework
from tests.conformance.operating import Ticks, daemon_name
from tests.conformance.subscribing import Subscriber

HOSTNAME = Selector(pseudoattribute_type="HOSTNAME")
RACK, ZONE, SLOTS, MEDIUM = (Selector(name) for name in ("rack", "zone", "slots", "medium"))
EQUALS_R1 = Predicate(text_equals=TextEquals("r1"))
ALL = {"agent1", "agent2", "agent3"}


def constrained(role: str, *groups: list[tuple[Selector, Predicate]]) -> OfferConstraints:
    return OfferConstraints(
        {role: RoleConstraints([Group([AttributeConstraint(*pair) for pair in group]) for group in groups])}
    )


async def _names(framework: Framework, operator: OperatorClient) -> set[str | None]:
    """The daemons in the next OFFERS."""
    names = {agent.agent_info.id: daemon_name(agent) for agent in (await operator.agents()).agents}
    return {names[offer.agent_id] for offer in await framework.offers()}


@pytest.mark.setup(STANDARD)
@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        pytest.param([[(RACK, EQUALS_R1)]], {"agent1", "agent3"}, id="equals-and-a-scalar-passes"),
        pytest.param([[(RACK, Predicate(text_not_equals=TextNotEquals("r1")))]], {"agent2", "agent3"}, id="differs"),
        pytest.param([[(RACK, Predicate(text_matches=TextMatches("r[12]")))]], ALL, id="matches"),
        pytest.param([[(RACK, Predicate(text_matches=TextMatches("r")))]], {"agent3"}, id="matches-the-whole-value"),
        pytest.param(
            [[(RACK, Predicate(text_not_matches=TextNotMatches("r1")))]], {"agent2", "agent3"}, id="not-matches"
        ),
        pytest.param([[(SLOTS, Predicate(exists=Exists()))]], {"agent1", "agent2"}, id="exists"),
        pytest.param([[(SLOTS, Predicate(not_exists=NotExists()))]], {"agent3"}, id="not-exists"),
        pytest.param([[(SLOTS, Predicate(text_equals=TextEquals("x")))]], {"agent1", "agent2"}, id="scalars-pass"),
        pytest.param([[(MEDIUM, Predicate(text_equals=TextEquals("ssd")))]], {"agent1"}, id="missing-does-not-equal"),
        pytest.param(
            [[(MEDIUM, Predicate(text_not_equals=TextNotEquals("ssd")))]], {"agent2", "agent3"}, id="missing-differs"
        ),
        pytest.param([[(MEDIUM, Predicate(text_matches=TextMatches(".*")))]], {"agent1"}, id="missing-does-not-match"),
        pytest.param(
            [[(ZONE, Predicate(text_equals=TextEquals("z1"))), (SLOTS, Predicate(exists=Exists())), (RACK, EQUALS_R1)]],
            {"agent1"},
            id="all-of-a-group",
        ),
        pytest.param(
            [[(MEDIUM, Predicate(exists=Exists()))], [(ZONE, Predicate(text_equals=TextEquals("z2")))]],
            {"agent1", "agent3"},
            id="any-group",
        ),
    ],
)
async def test_agents_that_do_not_fit_are_not_offered(
    subscribe: Subscriber,
    operator: OperatorClient,
    groups: list[list[tuple[Selector, Predicate]]],
    expected: set[str],
) -> None:
    info = subscribe.info()
    framework = await subscribe(info, constraints=constrained(info.roles[0], *groups))
    assert await _names(framework, operator) == expected


@pytest.mark.setup(STANDARD)
async def test_of_a_repeated_attribute_the_first_value_counts(subscribe: Subscriber, tick: Ticks) -> None:
    info = subscribe.info()
    constraints = constrained(info.roles[0], [(MEDIUM, Predicate(text_equals=TextEquals("disk")))])
    framework = await subscribe(info, constraints=constraints)
    await framework.gets_no_offers(tick)


async def test_an_agent_is_chosen_by_its_hostname(subscribe: Subscriber, operator: OperatorClient) -> None:
    agent = (await operator.agents()).agents[0].agent_info
    info = subscribe.info()
    predicate = Predicate(text_equals=TextEquals(agent.hostname))
    framework = await subscribe(info, constraints=constrained(info.roles[0], [(HOSTNAME, predicate)]))
    assert {offer.hostname for offer in await framework.offers()} == {agent.hostname}


async def test_a_role_without_constraints_and_one_that_is_not_ours_are_unconstrained(
    subscribe: Subscriber, operator: OperatorClient
) -> None:
    framework = await subscribe(constraints=constrained("another", [(RACK, EQUALS_R1)]))
    assert len(await framework.offers()) == len((await operator.agents()).agents)


async def test_constraints_that_change_count_from_the_next_allocation_on(
    framework: Framework, operator: OperatorClient
) -> None:
    offers = await framework.offers()
    await framework.decline(*offers)
    chosen = offers[0].hostname
    info = framework.driver.subscription.framework_info
    constraints = constrained(framework.role, [(HOSTNAME, Predicate(text_equals=TextEquals(chosen)))])
    await framework.call(UpdateFramework(info, [], constraints))
    await framework.revive()
    narrow = await framework.offers()
    assert {offer.hostname for offer in narrow} == {chosen}
    # Without constraints again; what is out stays out.
    await framework.call(UpdateFramework(info))
    await framework.revive()
    wide = await framework.offers()
    assert {offer.agent_id for offer in wide} == {offer.agent_id for offer in offers} - {narrow[0].agent_id}


async def test_constraints_rescind_no_offer_that_is_out(framework: Framework, tick: Ticks) -> None:
    offer = await framework.only()
    nowhere = constrained(framework.role, [(HOSTNAME, Predicate(text_equals=TextEquals("nowhere")))])
    await framework.call(UpdateFramework(framework.driver.subscription.framework_info, [], nowhere))
    await framework.revive()
    await framework.gets_no_offers(tick)
    assert framework.untaken(Rescind) == []
    await framework.run(offer)


def _regex(role: str, regex: str) -> OfferConstraints:
    return constrained(role, [(RACK, Predicate(text_matches=TextMatches(regex)))])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(constrained, "has an empty 'RoleConstraints::groups'", id="no-groups"),
        pytest.param(lambda role: constrained(role, []), "contains an empty RoleConstraints::Group", id="empty-group"),
        pytest.param(
            lambda role: _regex(role, "r["),
            "Failed to construct regex from pattern 'r[': missing ]: [",
            id="bad-regex",
        ),
        pytest.param(lambda role: _regex(role, r"(r)\1"), "invalid escape sequence", id="back-reference"),
        pytest.param(
            lambda role: _regex(role, "|".join(f"rack-{n}" for n in range(1500))),
            "Failed to construct regex from pattern 'rack-0|",
            id="too-large",
        ),
        pytest.param(lambda role: constrained(role, [(Selector(), EQUALS_R1)]), "", id="no-selector"),
        pytest.param(lambda role: constrained(role, [(RACK, Predicate())]), "", id="no-predicate"),
    ],
)
async def test_constraints_that_are_no_good_are_refused(
    framework: Framework, make: Callable[[str], OfferConstraints], message: str
) -> None:
    info = framework.driver.subscription.framework_info
    with pytest.raises(CallRefused) as refused:
        await framework.call(UpdateFramework(info, [], make(framework.role)))
    assert refused.value.status == 400
    assert "'UpdateFramework.offer_constraints' are not valid: " in refused.value.reason
    assert message in refused.value.reason


async def test_constraints_that_are_no_good_refuse_a_subscription(subscribe: Subscriber) -> None:
    info = subscribe.info()
    framework = subscribe.begin(info, constraints=constrained(info.roles[0]))
    error = await framework.next(Error)
    expected = f"'OfferConstraints::role_constraints' has an empty 'RoleConstraints::groups' for role {info.roles[0]}"
    assert expected in error.message
    await framework.disconnected()
