"""Small clusters for tests of one behaviour each: agents of a kind, and a world that has come to rest."""

from __future__ import annotations

from typing import Any

from owmesos.core.ledger import Buffer
from owmesos.mesos.messages import ID, Attribute, Label, TaskStatus, Text, Update
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.mesos.scheduler.settings import Settings
from owmesos.resources import Resources
from owmesos.simulator.pieces import PieceLabels, PieceReservation, Pieces
from owmesos.simulator.protocol import AgentDescription
from tests.model.tasks import Task
from tests.model.world import World

NO_BUFFER = Buffer(share=0.0)


def agent(
    number: int = 1,
    *,
    cpus: float = 4.0,
    mem: float = 1024.0,
    rack: str | None = None,
    reserved: dict[PieceReservation, Resources] | None = None,
) -> AgentDescription:
    """Agent `S<number>` on host `h<number>`, with 1000 MB of disk and ten ports."""
    room = Resources.of(cpus=cpus, mem=mem, disk=1000, ports=[(31000, 31009)])
    return described(number, room, rack, reserved or {})


def described(
    number: int, room: Resources, rack: str | None, reserved: dict[PieceReservation, Resources]
) -> AgentDescription:
    total = Pieces({(): room, **{(reservation,): part for reservation, part in reserved.items()}})
    attributes = (Attribute("rack", "TEXT", text=Text(rack)),) if rack is not None else ()
    return AgentDescription(f"S{number}", f"h{number}", f"10.0.0.{number}", 5051, total, attributes)


def reservation(role: str, name: str) -> PieceReservation:
    """Two of one role differ by `name`."""
    return PieceReservation(role, labels=PieceLabels((Label("for", name),)))


def at_rest(
    *agents: AgentDescription,
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
    return world.cluster.tasks[task_id]


def running(world: World, **asked: object) -> str:
    launch_id = world.submit(**asked)
    world.wait(0.5)
    assert world.record(launch_id).state is State.RUNNING
    return launch_id


def cut_off(world: World, agent_id: str = "S1") -> None:
    world.cluster.cut_off(agent_id)
    world.deliver()


def status_of(world: World, launch_id: str, state: str, reason: str | None = None, **fields: Any) -> Update:
    """An update of the launch's present task, as the master may send it; `fields` are more of its status."""
    record = world.record(launch_id)
    assert record.task_id is not None
    agent_id = ID(record.agent_id) if record.agent_id is not None else None
    return Update(TaskStatus(ID(record.task_id), state, reason=reason, agent_id=agent_id, **fields))


def says(world: World, launch_id: str, state: str, reason: str | None = None, **fields: Any) -> None:
    """That update comes."""
    world.handle(status_of(world, launch_id, state, reason, **fields))


def never_arrived(world: World, launch_id: str) -> None:
    """The launch of its present task was lost on the way."""
    task = task_of(world, launch_id)
    task.forget()
    del world.cluster.tasks[task.task_id]
