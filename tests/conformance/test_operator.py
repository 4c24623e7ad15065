"""What an operator is told, and refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from owmesos.mesos.messages import ID, Resource, Scalar
from owmesos.mesos.messages.operator import MachineID, QuotaConfig
from owmesos.mesos.wire.operator_client import OperatorClient, OperatorRefused
from tests.conformance.amounts import amounts
from tests.conformance.framework import Framework
from tests.conformance.operating import framework_of, task_of

NO_ID = ID("nonesuch")
NOWHERE = MachineID("nowhere.example.org", "192.0.2.1")
Ask = Callable[[OperatorClient], Awaitable[None]]


async def test_the_master_is_healthy_and_tells_its_version_and_flags(operator: OperatorClient) -> None:
    assert await operator.healthy()
    assert (await operator.version()).version_info.version.startswith("1.")
    assert "allocation_interval" in await operator.flags()


async def test_the_metrics_count_agents_tasks_and_frameworks(framework: Framework, operator: OperatorClient) -> None:
    task = await framework.run(await framework.only())
    metrics = await operator.metrics()
    assert metrics["master/slaves_active"] == len((await operator.agents()).agents)
    assert metrics["master/frameworks_active"] == 1
    assert metrics["master/tasks_running"] == 1
    assert metrics["master/cpus_used"] == pytest.approx(amounts(task.resources)["cpus"])
    assert metrics["master/mem_used"] == amounts(task.resources)["mem"]


async def test_the_agents_are_described(operator: OperatorClient) -> None:
    for agent in (await operator.agents()).agents:
        assert agent.active
        assert not agent.deactivated
        assert agent.version == (await operator.version()).version_info.version
        assert agent.pid is not None
        assert agent.pid.startswith("slave(1)@")
        assert agent.registered_time is not None
        assert amounts(agent.total_resources)["cpus"] > 0
        assert agent.drain_info is None


async def test_the_frameworks_are_told_with_what_they_use_and_are_offered(
    framework: Framework, operator: OperatorClient
) -> None:
    """In sums over agents, which mean nothing for ports."""
    first, *others = await framework.offers()
    task = await framework.run(first)
    known = await framework_of(operator, framework.id)
    offered = amounts(*(offer.resources for offer in others))
    assert amounts(known.allocated_resources).scalars == amounts(task.resources).scalars
    assert amounts(known.offered_resources).scalars == offered.scalars
    assert {offer.id for offer in known.offers} == {offer.id for offer in others}


async def test_the_roles_are_told_with_their_frameworks(framework: Framework, operator: OperatorClient) -> None:
    (role,) = (role for role in (await operator.roles()).roles if role.name == framework.role)
    assert role.frameworks == [framework.id]
    assert role.weight == 1.0


async def test_a_tasks_whole_history_is_told(framework: Framework, operator: OperatorClient) -> None:
    task = await framework.run(await framework.only(), command="exit 0")
    await framework.update(task, "TASK_FINISHED")
    known = await task_of(operator, framework.id, task.task_id)
    assert (known.state, known.status_update_state) == ("TASK_FINISHED", "TASK_FINISHED")
    assert [status.state for status in known.statuses] == ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"]
    assert task.task_id in {each.task_id for each in (await operator.tasks()).completed_tasks}


@pytest.mark.parametrize(
    ("ask", "status", "reason"),
    [
        pytest.param(lambda operator: operator.drain_agent(NO_ID), 400, "Unknown agent", id="drain"),
        pytest.param(lambda operator: operator.deactivate_agent(NO_ID), 400, "Unknown agent", id="deactivate"),
        pytest.param(
            lambda operator: operator.reactivate_agent(NO_ID), 400, "Agent is not deactivated", id="reactivate"
        ),
        pytest.param(
            lambda operator: operator.mark_agent_gone(NO_ID), 404, "Agent 'nonesuch' not found", id="mark-gone"
        ),
        pytest.param(
            lambda operator: operator.teardown(NO_ID), 400, "No framework found with specified ID", id="teardown"
        ),
        pytest.param(
            lambda operator: operator.reserve(NO_ID, []), 400, "No agent found with specified ID", id="reserve"
        ),
        pytest.param(
            lambda operator: operator.start_maintenance([NOWHERE]),
            400,
            "is not part of a maintenance schedule",
            id="start-maintenance",
        ),
        pytest.param(
            lambda operator: operator.update_quota([QuotaConfig("a b")]),
            400,
            "Role component 'a b' is invalid because it contains backspace or whitespace",
            id="quota",
        ),
    ],
)
async def test_what_makes_no_sense_is_refused(operator: OperatorClient, ask: Ask, status: int, reason: str) -> None:
    with pytest.raises(OperatorRefused) as refused:
        await ask(operator)
    assert refused.value.status == status
    assert reason in refused.value.reason


async def test_more_than_there_is_cannot_be_reserved(operator: OperatorClient) -> None:
    agent_id = (await operator.agents()).agents[0].agent_info.id
    assert agent_id is not None
    reservations = [{"type": "DYNAMIC", "role": "greedy"}]
    with pytest.raises(OperatorRefused) as refused:
        await operator.reserve(agent_id, [Resource("cpus", "SCALAR", scalar=Scalar(1e6), reservations=reservations)])
    assert refused.value.status == 409
    assert "does not contain cpus:1" in refused.value.reason


async def test_a_guarantee_of_more_than_the_cluster_has_is_refused(operator: OperatorClient) -> None:
    with pytest.raises(OperatorRefused) as refused:
        await operator.update_quota([QuotaConfig("greedy", guarantees={"cpus": Scalar(1e6)})])
    assert refused.value.status == 400
    assert "exceed cluster capacity" in refused.value.reason
