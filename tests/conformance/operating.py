"""What the cases do to a cluster beside their frameworks, by the operator API."""

from __future__ import annotations

from owmesos.mesos.messages import ID
from owmesos.mesos.messages.operator import ListedAgent, ListedFramework, Task
from owmesos.mesos.wire.operator_client import OperatorClient
from tests.waiting import eventually_async

_ALLOCATIONS = "allocator/mesos/allocation_runs"


class Ticks:
    """`await tick()` returns when a whole periodic allocation has taken place, from its beginning to its offers."""

    def __init__(self, operator: OperatorClient) -> None:
        self._operator = operator

    async def __call__(self) -> None:
        begun = await self._begun()

        async def over() -> bool:
            return await self._begun() >= begun + 2

        await eventually_async(over, what="two more allocations have begun, so that one is over")

    async def _begun(self) -> float:
        return (await self._operator.metrics())[_ALLOCATIONS]


async def framework_of(operator: OperatorClient, framework_id: ID) -> ListedFramework:
    """As the master knows it; it may be over."""
    known = await operator.frameworks()
    return next(
        each for each in known.frameworks + known.completed_frameworks if each.framework_info.id == framework_id
    )


async def is_away(operator: OperatorClient, framework_id: ID) -> None:
    """Waits until the master has seen that the framework's connection is closed."""

    async def away() -> bool:
        known = await framework_of(operator, framework_id)
        return not known.connected and not known.active

    await eventually_async(away, what=f"{framework_id.value} is disconnected")


async def agent_of(operator: OperatorClient, agent_id: ID) -> ListedAgent:
    """A registered agent."""
    return next(agent for agent in (await operator.agents()).agents if agent.agent_info.id == agent_id)


async def daemon_of(operator: OperatorClient, name: str) -> ListedAgent:
    """The registered agent that is the daemon `name`, see `clusters.Setup`."""
    found = [agent for agent in (await operator.agents()).agents if daemon_name(agent) == name]
    assert len(found) == 1, f"{name} is registered {len(found)} times"
    return found[0]


def daemon_name(agent: ListedAgent) -> str | None:
    for attribute in agent.agent_info.attributes:
        if attribute.name == "daemon" and attribute.text is not None:
            return attribute.text.value
    return None


async def task_of(operator: OperatorClient, framework_id: ID, task_id: ID) -> Task:
    """A task as the master knows it, whatever became of it."""
    known = await operator.tasks()
    return next(
        task
        for task in known.tasks + known.unreachable_tasks + known.completed_tasks
        if (task.framework_id, task.task_id) == (framework_id, task_id)
    )
