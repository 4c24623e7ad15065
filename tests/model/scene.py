"""Small clusters for tests of one behaviour each: agents of a kind, and a world that has come to rest."""

from __future__ import annotations

from typing import Any

from owmesos.core.buffer import Buffer
from owmesos.mesos.settings import Settings
from owmesos.resources import Resources
from tests.model.agents import Label, ModelAgent
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
