"""A second cluster for an invoker, in this process: one node, whose containers are commands that run here.

It shows what `owmesos.core.container_factory` asks of a cluster manager, and nothing more.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from owmesos.core.container_factory import CONTAINERS_STOP, InvokerEvent, PoolRecipe, StreamPart
from owmesos.core.node_stats import NodeStatsUpdate
from owmesos.core.pool.events import (
    ContainerStarted,
    ContainerStopped,
    PoolEvent,
    PoolTick,
    StartContainer,
    StopContainer,
)
from tests.fakes.one_node import OneNode
from tests.runtimes.container import free_port


class Files:
    """A container's streams."""

    remain = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def read(self, stream: str, offset: int) -> StreamPart:
        data = (self.folder / stream).read_bytes()
        return StreamPart(len(data), data[offset:] if offset >= 0 else b"")

    def is_foreign(self, stream: str, line: bytes) -> bool:
        return False


class MemoryCluster:
    """`InvokerHost` and `Hosting` in one. `async with MemoryCluster(recipe, folder) as cluster`."""

    def __init__(self, recipe: PoolRecipe, folder: Path, memory: int = 2048) -> None:
        self.node = OneNode(memory)
        self.pool = recipe.build(self.node.capacity)
        self.pool_listeners: list[Callable[[InvokerEvent], None]] = []
        self.stopped: tuple[str, int] | None = None
        self._spec_of = recipe.spec_of
        self._folder = folder
        self._events: deque[PoolEvent | NodeStatsUpdate] = deque()
        self._handling = False
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def host(self) -> MemoryCluster:
        return self

    async def __aenter__(self) -> MemoryCluster:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop_containers()
        if self._timer is not None:
            self._timer.cancel()

    def now(self) -> float:
        return time.time()

    def observe(self, *events: PoolEvent | NodeStatsUpdate) -> None:
        self._events.extend(events)
        if self._handling:
            return
        self._handling = True
        while self._events:
            event = self._events.popleft()
            self._tell(event)
            for effect in self.pool.handle(event, self.now()):
                self._carry_out(effect)
        self._handling = False
        self._set_timer()

    def stop(self, reason: str, exit_code: int) -> None:
        self.stopped = (reason, exit_code)

    def logs_of(self, container_id: str) -> Files:
        return Files(self._folder / container_id)

    async def stop_containers(self, timeout: float = CONTAINERS_STOP) -> bool:
        for process in self._running.values():
            process.terminate()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)
        return not self._running

    def _carry_out(self, effect: object) -> None:
        if isinstance(effect, StartContainer):
            task = asyncio.get_running_loop().create_task(self._run(effect))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif isinstance(effect, StopContainer) and effect.container_id in self._running:
            self._running[effect.container_id].terminate()
        else:
            self._tell(effect)

    def _tell(self, what: object) -> None:
        if isinstance(what, get_args(InvokerEvent)):
            for listener in list(self.pool_listeners):
                listener(what)

    async def _run(self, start: StartContainer) -> None:
        """From its start to its end."""
        container_id, spec, port = start.container_id, self._spec_of(start), str(free_port())
        folder = self._folder / container_id
        folder.mkdir()
        env = {**os.environ, **spec.env, "PORT": port, "MESOS_SANDBOX": str(folder)}
        assert spec.command is not None
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
            process = await asyncio.create_subprocess_shell(spec.command, cwd=folder, env=env, stdout=out, stderr=err)
        self._running[container_id] = process
        started = ContainerStarted(container_id, self.node.slot, f"127.0.0.1:{port}", mapped=False)
        self.observe(self.node.started(start), started)
        code = await process.wait()
        del self._running[container_id]
        self.observe(ContainerStopped(container_id, f"exited with {code}"), self.node.ended(container_id))

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        when = self.pool.next_wake()
        if when is not None:
            pause = max(0.0, when - self.now())
            self._timer = asyncio.get_running_loop().call_later(pause, self.observe, PoolTick())
