"""SUBSCRIBE, and what a framework is from then on."""

from __future__ import annotations

import secrets

import msgspec
import pytest

from owmesos.mesos.messages import ID, Error, Heartbeat, Reconcile, Suppress
from owmesos.mesos.wire.operator_client import OperatorClient
from tests.conformance.framework import Framework
from tests.conformance.operating import Ticks, framework_of, is_away
from tests.conformance.subscribing import Subscriber


async def test_the_first_event_gives_the_framework_id_and_says_who_the_master_is(
    subscribe: Subscriber, operator: OperatorClient
) -> None:
    framework = subscribe.begin()
    event = await framework.subscribed()
    assert framework.place(event) == 0
    assert event.heartbeat_interval_seconds == 15.0
    master = event.master_info
    assert master is not None
    assert event.framework_id.value.startswith(f"{master.id}-")
    known = (await operator.master()).master_info
    assert (master.id, master.hostname, master.port) == (known.id, known.hostname, known.port)
    assert master.version == (await operator.version()).version_info.version


async def test_a_heartbeat_comes_at_once_and_then_every_15_seconds(framework: Framework) -> None:
    first = await framework.noted(Heartbeat)
    second = await framework.noted(Heartbeat)
    assert 14.0 < second.at - first.at < 25.0


async def test_the_master_knows_the_framework_as_it_described_itself(
    subscribe: Subscriber, operator: OperatorClient
) -> None:
    info = subscribe.info(webui_url="http://example.org/", failover_timeout=3600.0, roles=["a", "b"])
    framework = await subscribe(info)
    known = await framework_of(operator, framework.id)
    assert known.active
    assert known.connected
    got = known.framework_info
    assert (got.name, got.user, got.webui_url) == (info.name, info.user, info.webui_url)
    assert (got.failover_timeout, got.checkpoint) == (3600.0, True)
    assert sorted(got.roles) == ["a", "b"]
    assert {each.type for each in got.capabilities} == {"MULTI_ROLE", "PARTITION_AWARE"}


async def test_a_framework_id_never_seen_before_is_adopted(subscribe: Subscriber, operator: OperatorClient) -> None:
    made_up = ID(f"an id of our own {secrets.token_hex(4)}")  # another for each driver that shares the cluster
    framework = await subscribe(subscribe.info(id=made_up))
    assert framework.id == made_up
    assert (await framework_of(operator, made_up)).connected


async def test_no_roles_are_subscribed_and_get_no_offers(subscribe: Subscriber, tick: Ticks) -> None:
    framework = await subscribe(subscribe.info(roles=[]))
    await tick()
    await framework.caught_up()
    assert framework.untaken() == []


async def test_a_negative_failover_timeout_is_taken(subscribe: Subscriber) -> None:
    await subscribe(subscribe.info(failover_timeout=-1.0))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param(
            {"roles": ["a b"]},
            "'FrameworkInfo.roles' contains invalid role: "
            "Role component 'a b' is invalid because it contains backspace or whitespace",
            id="blank-in-role",
        ),
        pytest.param(
            {"roles": ["a"], "capabilities": []},
            "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable",
            id="roles-without-multi-role",
        ),
        pytest.param(
            {"roles": [], "role": "a"},
            "'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable",
            id="role-with-multi-role",
        ),
        pytest.param({"roles": ["a", "a"]}, "'FrameworkInfo.roles' contains duplicate items: { a }", id="a-role-twice"),
        pytest.param({"id": ID("a/b")}, "'a/b' contains invalid characters", id="slash-in-id"),
    ],
)
async def test_a_bad_framework_info_is_an_error_event_and_ends_the_stream(
    subscribe: Subscriber, fields: dict[str, object], message: str
) -> None:
    framework = subscribe.begin(subscribe.info(**fields))
    error = await framework.next(Error)
    assert message in error.message
    await framework.disconnected()
    assert framework.untaken() == []


async def test_a_suppressed_role_that_is_not_ours_is_an_error_event(subscribe: Subscriber) -> None:
    framework = subscribe.begin(suppressed=["nope"])
    assert "Suppressed role 'nope' is not contained in the list of roles" in (await framework.next(Error)).message
    await framework.disconnected()


async def test_a_new_subscription_keeps_the_id_and_forgets_filters(framework: Framework) -> None:
    first = framework.id
    offers = await framework.offers()
    await framework.decline(*offers)
    await framework.driver.resubscribe("the case wants it")
    assert await framework.disconnected() == "the case wants it"
    assert (await framework.subscribed()).framework_id == first
    assert {offer.agent_id for offer in await framework.offers()} == {offer.agent_id for offer in offers}


async def test_a_new_subscription_forgets_suppression(framework: Framework) -> None:
    await framework.decline(*await framework.offers())
    await framework.call(Suppress())
    await framework.driver.resubscribe("the case wants it")
    await framework.offers()


async def test_offers_that_were_out_come_again_to_a_new_subscription_under_new_ids(framework: Framework) -> None:
    before = await framework.offers()
    await framework.driver.resubscribe("the case wants it")
    after = await framework.offers()
    assert {offer.agent_id for offer in after} == {offer.agent_id for offer in before}
    assert not {offer.id for offer in after} & {offer.id for offer in before}


async def test_another_process_takes_a_framework_up_by_its_id(subscribe: Subscriber, operator: OperatorClient) -> None:
    first = await subscribe()
    task = await first.run((await first.offers())[0])
    await first.close()
    await is_away(operator, first.id)
    second = await subscribe(msgspec.structs.replace(first.driver.subscription.framework_info))
    assert second.id == first.id
    await second.call(Reconcile())
    assert (await second.update(task, "TASK_RUNNING")).reason == "REASON_RECONCILIATION"


async def test_updates_that_were_not_acknowledged_come_at_once_to_a_new_subscription(framework: Framework) -> None:
    offer = (await framework.offers())[0]
    framework.acknowledging = False
    task = framework.task(offer)
    await framework.accept(offer, task)
    before = await framework.update(task, "TASK_STARTING")
    await framework.driver.resubscribe("the case wants it")
    await framework.subscribed()
    after = await framework.update(task, "TASK_STARTING", repeated=True, timeout=8.0)
    assert (after.uuid, after.timestamp) == (before.uuid, before.timestamp)


async def test_a_new_name_and_new_roles_are_taken(subscribe: Subscriber, operator: OperatorClient) -> None:
    first = await subscribe()
    await first.close()
    await is_away(operator, first.id)
    info = msgspec.structs.replace(subscribe.info(), id=first.id)
    second = await subscribe(info)
    got = (await framework_of(operator, second.id)).framework_info
    assert (got.name, got.roles) == (info.name, info.roles)
    assert {offer.allocation_info.role for offer in await second.offers() if offer.allocation_info} == set(info.roles)


async def test_another_user_and_checkpoint_are_ignored(subscribe: Subscriber, operator: OperatorClient) -> None:
    first = await subscribe()
    await first.close()
    await is_away(operator, first.id)
    before = first.driver.subscription.framework_info
    second = await subscribe(msgspec.structs.replace(before, user="somebody-else", checkpoint=False))
    got = (await framework_of(operator, second.id)).framework_info
    assert (got.user, got.checkpoint) == (before.user, True)
