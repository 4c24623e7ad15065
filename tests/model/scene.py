"""Small clusters for tests of one behaviour each: agents of a kind, and a world that has come to rest."""

from __future__ import annotations

from typing import Any

from owmesos.core.buffer import Buffer
from owmesos.core.lifecycle import State
from owmesos.mesos.messages import ID, TaskStatus, Update
from owmesos.mesos.settings import Settings
from owmesos.resources import Resources
from tests.model.agents import Label, Link, ModelAgent, Task
from tests.model.world import World

NO_BUFFER = Buffer(share=0.0)


def agent(
    number: int = 1,
    *,
    cpus: float = 4.0,
    mem: float = 1024.0,
    rack: str | None = None,
    reserved: dict[Label, Resources] | None = None,
) -> ModelAgent:
    """Agent `S<number>` on host `h<number>`, with 1000 MB of disk and ten ports."""
    room = Resources.of(cpus=cpus, mem=mem, disk=1000, ports=[(31000, 31009)])
    return ModelAgent(number, f"S{number}", {None: room, **(reserved or {})}, rack)


def at_rest(
    *agents: ModelAgent,
    roles: tuple[str, ...] = ("web",),
    operator_api: bool = False,
    **settings: Any,
) -> World:
    """A world that is connected, knows its agents and is suppressed; without a buffer unless one is given."""
    chosen = Settings(**{"buffer": NO_BUFFER, **settings})
    world = World(agents or (agent(),), roles=roles, settings=chosen, operator_api=operator_api)
    world.wait(chosen.settle + 5.0)
    world.sent.clear()
    return world


def task_of(world: World, launch_id: str) -> Task:
    task_id = world.record(launch_id).task_id
    assert task_id is not None
    return world.master.tasks.all[task_id]


def running(world: World, **asked: object) -> str:
    launch_id = world.submit(**asked)
    world.wait(0.5)
    assert world.record(launch_id).state is State.RUNNING
    return launch_id


def cut_off(world: World, agent_id: str = "S1") -> None:
    one = world.master.agents[agent_id]
    world.master.tasks.lose(one, Link.UNREACHABLE, "TASK_UNREACHABLE", "REASON_AGENT_REMOVED")
    world.deliver()


def status_of(
    world: World, launch_id: str, state: str, reason: str | None = None, *, uuid: str | None = None
) -> Update:
    """An update of the launch's present task, as the master may send it."""
    record = world.record(launch_id)
    assert record.task_id is not None
    agent_id = ID(record.agent_id) if record.agent_id is not None else None
    return Update(TaskStatus(ID(record.task_id), state, reason=reason, agent_id=agent_id, uuid=uuid))


def says(world: World, launch_id: str, state: str, reason: str | None = None, *, uuid: str | None = None) -> None:
    """That update comes."""
    world.handle(status_of(world, launch_id, state, reason, uuid=uuid))
