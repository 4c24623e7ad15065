"""A busy framework on a simulated cluster, for the dashboard's tests and its pictures.

What an invoker does with its containers is done here by timers: they are initialized, run, and end.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from owmesos.core.container_factory import ContainerSpec, InvokerEvent, PoolRecipe
from owmesos.core.pool.containers import ContainerShape, PoolAction
from owmesos.core.pool.events import Dispatch, Initialized, Run, RunDone
from owmesos.core.pool.pool import Pool
from owmesos.service.admin import AdminServer
from owmesos.service.admin_tokens import Tokens
from owmesos.service.framework import Framework
from owmesos.simulator import SimulatedCluster
from tests.fixtures.admin import TOKENS
from tests.waiting import eventually_async


class Scene(NamedTuple):
    framework: Framework
    server: AdminServer
    cluster: SimulatedCluster

    @property
    def url(self) -> str:
        return f"{self.server.url}/#token={TOKENS.read}"


@asynccontextmanager
async def scene(
    folder: Path, *, agents: int = 3, pool: bool = False, tokens: Tokens = TOKENS, port: int = 0, **cluster: Any
) -> AsyncIterator[Scene]:
    simulated = SimulatedCluster(folder / "cluster", agents=agents, processes=False, **cluster)
    await asyncio.to_thread(simulated.up)
    framework = Framework(master=simulated.master, name="scene", pool=RECIPE if pool else None)
    server = AdminServer("127.0.0.1", port)
    try:
        await framework.start()
        await eventually_async(lambda: framework.subscribed and len(framework.nodes()) == agents, 120)
        await server.start(framework, tokens)
        yield Scene(framework, server, simulated)
    finally:
        await server.stop()
        await framework.stop(teardown=False)
        await asyncio.to_thread(simulated.down)


def _spec(start: Any) -> ContainerSpec:
    name = f"wsk_{start.shape.kind.partition(':')[0]}_{start.shape.memory}"
    return ContainerSpec(name=name, ask=start.ask, command="sleep 3600", deadline=60.0)


RECIPE = PoolRecipe(Pool, _spec)


class Activations:
    """Invokes actions on the scene's pool, and ends what it runs."""

    def __init__(self, framework: Framework, seed: int = 1) -> None:
        self._host = framework.host
        self._chance = random.Random(seed)
        self._number = 0
        self._seconds: dict[str, float] = {}
        self._host.pool_listeners.append(self._told)

    def invoke(self, name: str, *, memory: int = 256, seconds: float = 1.0) -> str:
        self._number += 1
        run_id = f"{self._number:04x}{self._chance.getrandbits(112):028x}"
        self._seconds[run_id] = seconds
        action = PoolAction(name, "0.0.1", ContainerShape("python:3", memory))
        self._host.observe(Run(run_id, action, "guest"))
        return run_id

    def _told(self, event: InvokerEvent) -> None:
        if not isinstance(event, Dispatch):
            return
        pause = 0.3 if event.initialize else 0.0
        if event.initialize:
            self._after(pause, Initialized(event.container_id))
        self._after(pause + self._seconds[event.run_id], RunDone(event.container_id, event.run_id))

    def _after(self, seconds: float, event: Any) -> None:
        observe: Callable[[Any], None] = self._host.observe
        asyncio.get_running_loop().call_later(seconds, observe, event)
