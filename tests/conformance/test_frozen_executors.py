"""Executors that answer nothing any more: SHUTDOWN, and the end of their agent."""

from __future__ import annotations

import pytest

from owmesos.mesos.messages import Kill, Reconcile, ReconcileTask, Shutdown, Update
from tests.conformance.clusters import AgentSetup, Cluster, Setup
from tests.conformance.framework import Framework

IMPATIENT = Setup(
    agents=(AgentSetup(),),
    agent_flags={"executor_shutdown_grace_period": "1secs", "executor_reregistration_timeout": "1secs"},
)

pytestmark = [pytest.mark.setup(IMPATIENT), pytest.mark.freezes]


async def test_a_frozen_executor_answers_no_kill_and_its_task_still_runs(
    framework: Framework, cluster: Cluster
) -> None:
    task = await framework.run(await framework.only())
    await cluster.freeze(task.task_id.value)
    await framework.call(Kill(task.task_id, task.agent_id))
    await framework.call(Reconcile([ReconcileTask(task.task_id, task.agent_id)]))
    status = await framework.update(task, "TASK_RUNNING")
    assert status.reason == "REASON_RECONCILIATION"
    assert framework.untaken(Update) == []
    await framework.call(Shutdown(task.task_id, task.agent_id))
    await framework.update(task, "TASK_FAILED")


async def test_one_that_goes_on_does_what_it_was_told(framework: Framework, cluster: Cluster) -> None:
    task = await framework.run(await framework.only())
    await cluster.freeze(task.task_id.value)
    await framework.call(Kill(task.task_id, task.agent_id))
    await framework.caught_up()
    await cluster.thaw(task.task_id.value)
    status = await framework.update(task, "TASK_KILLED")
    assert status.source == "SOURCE_EXECUTOR"


async def test_after_shutdown_its_agent_destroys_its_container(framework: Framework, cluster: Cluster) -> None:
    task = await framework.run(await framework.only())
    await cluster.freeze(task.task_id.value)
    await framework.call(Shutdown(task.task_id, task.agent_id))
    status = await framework.update(task, "TASK_FAILED")
    assert (status.source, status.reason) == ("SOURCE_AGENT", "REASON_EXECUTOR_TERMINATED")
    assert status.uuid


async def test_shutdown_ends_an_executor_that_answers(framework: Framework) -> None:
    task = await framework.run(await framework.only())
    await framework.call(Shutdown(task.task_id, task.agent_id))
    status = await framework.update(task, "TASK_KILLED")
    assert status.source == "SOURCE_EXECUTOR"


async def test_a_frozen_executor_is_gone_when_its_agent_is_started_anew(framework: Framework, cluster: Cluster) -> None:
    task = await framework.run(await framework.only())
    await cluster.freeze(task.task_id.value)
    await cluster.kill("agent1")
    await cluster.start("agent1")
    status = await framework.update(task, "TASK_GONE")
    assert (status.source, status.reason) == ("SOURCE_AGENT", "REASON_EXECUTOR_REREGISTRATION_TIMEOUT")
    assert status.uuid
