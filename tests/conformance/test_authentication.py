"""Frameworks that must authenticate."""

from __future__ import annotations

import pytest

from owmesos.mesos.messages import Kill
from owmesos.mesos.wire.access import Access
from owmesos.mesos.wire.address import Credentials
from owmesos.mesos.wire.driver import SubscribeRefused
from owmesos.mesos.wire.operator_client import OperatorClient
from tests.conformance.clusters import AgentSetup, Setup
from tests.conformance.operating import framework_of
from tests.conformance.subscribing import Subscriber

pytestmark = pytest.mark.setup(
    Setup(agents=(AgentSetup(),), credentials={"owmesos": "a secret", "another": "another secret"})
)
OURS = Access(Credentials("owmesos", "a secret"))


@pytest.mark.parametrize(
    "credentials",
    [
        pytest.param(None, id="none"),
        pytest.param(Credentials("owmesos", "another secret"), id="wrong-secret"),
        pytest.param(Credentials("stranger", "a secret"), id="unknown-principal"),
    ],
)
async def test_who_cannot_say_who_they_are_is_refused(
    subscribe: Subscriber, operator: OperatorClient, credentials: Credentials | None
) -> None:
    framework = subscribe.begin(access=Access(credentials))
    assert (await framework.next(SubscribeRefused)).status == 401
    assert (await operator.frameworks()).frameworks == []


async def test_who_can_is_subscribed_and_served(subscribe: Subscriber, operator: OperatorClient) -> None:
    framework = await subscribe(subscribe.info(principal="owmesos"), access=OURS)
    task = await framework.run(await framework.only())
    await framework.call(Kill(task.task_id, task.agent_id))
    await framework.update(task, "TASK_KILLED")
    assert (await framework_of(operator, framework.id)).framework_info.principal == "owmesos"


async def test_another_principal_than_the_authenticated_one_is_refused(subscribe: Subscriber) -> None:
    framework = subscribe.begin(subscribe.info(principal="another"), access=OURS)
    refused = await framework.next(SubscribeRefused)
    assert refused.status == 400
    assert "Authenticated principal 'owmesos' does not match principal 'another' set in `FrameworkInfo`" in (
        refused.reason
    )
