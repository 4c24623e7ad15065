"""A pool whose containers are processes of this machine: everything of an invoker but Kafka and the cluster.

A start runs the runtime of its kind on a free port, or puts the test's own `FakeContainer` in its place; its streams
are files, given out by a fake agent. Room is a fixed user-memory.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp

from owmesos.core.capacity import HERE, FixedCapacity
from owmesos.core.pool import Pool
from owmesos.core.pool_events import (
    ContainerStarted,
    ContainerStopped,
    Dispatch,
    PoolEvent,
    Run,
    StartContainer,
    StopContainer,
)
from owmesos.openwhisk.activation import Activation
from owmesos.openwhisk.container_proxy import AckKind, Order
from owmesos.openwhisk.containers import ActionContainers
from owmesos.openwhisk.executable import Executable
from owmesos.openwhisk.log_reader import TaskLogs
from owmesos.openwhisk.messages import ActivationMessage
from tests.fakes.agent_files import FRAMEWORK_ID, FakeAgentFiles
from tests.openwhisk.fake_container import FakeContainer
from tests.openwhisk.runs import order
from tests.runtimes.container import ActionContainer


class RealInvoker:
    """`async with RealInvoker(tmp_path) as invoker`. With `fake` the next containers are what it makes."""

    def __init__(self, folder: Path, memory: int = 4096) -> None:
        self.pool = Pool(FixedCapacity(memory))
        self.agent = FakeAgentFiles()
        self.containers = ActionContainers(self, time.time)
        self.fake: Callable[[], FakeContainer] | None = None
        self.unreachable: str | None = None  # the address that the next containers have in the place of their own
        self.processes: dict[str, ActionContainer] = {}
        self.fakes: dict[str, FakeContainer] = {}
        self.records: dict[str, Activation] = {}
        self.acks: list[tuple[AckKind, str]] = []
        self.given: dict[str, list[str]] = {}
        self._folder = folder
        self._orders: dict[str, Order] = {}
        self._ended: dict[str, asyncio.Future[Activation]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> RealInvoker:
        self._session = aiohttp.ClientSession()
        await self.agent.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await self.containers.close()
        await self._session.close()
        await self.agent.stop()
        for process in self.processes.values():
            process.__exit__()
        for fake in self.fakes.values():
            await fake.stop()

    async def invoke(self, of: Executable, content: object = None, **named: object) -> Activation:
        """The record of one activation."""
        return await self.submit(of, content, **named)

    def submit(self, of: Executable, content: object = None, **named: object) -> asyncio.Future[Activation]:
        new = order(content, of=of, **named)
        self._orders[new.run_id] = new
        done = self._ended[new.run_id] = asyncio.get_running_loop().create_future()
        self.tell(Run(new.run_id, of.for_pool(), new.message.user.namespace.name))
        return done

    def ended(self, container_id: str, reason: str) -> None:
        """The cluster says that the container's task has ended."""
        self.containers.stopped(container_id, reason)
        self.tell(ContainerStopped(container_id, reason))

    def quiet(self) -> bool:
        """No run is under way, and none waits."""
        self.pool.validate()
        return not self.pool.books.running and not self.pool.books.buffer

    # -- outcomes

    def tell(self, event: PoolEvent) -> None:
        for effect in self.pool.handle(event, time.time()):
            if isinstance(effect, StartContainer):
                self._spawn(effect)
            elif isinstance(effect, StopContainer):
                asyncio.get_running_loop().call_soon(self._stop, effect.container_id)
            elif isinstance(effect, Dispatch):
                self.given.setdefault(effect.run_id, []).append(effect.container_id)
                self.containers.run(effect.container_id, self._orders[effect.run_id], initialize=effect.initialize)

    def acknowledge(self, kind: AckKind, message: ActivationMessage, activation: Activation) -> None:
        self.acks.append((kind, activation.activation_id))

    def record(self, message: ActivationMessage, activation: Activation) -> None:
        assert activation.activation_id not in self.records
        self.records[activation.activation_id] = activation
        self._ended[activation.activation_id].set_result(activation)

    # -- within

    def _spawn(self, effect: StartContainer) -> None:
        task = asyncio.get_running_loop().create_task(self._start(effect))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start(self, effect: StartContainer) -> None:
        container_id = effect.container_id
        folder = self._folder / container_id
        folder.mkdir()
        self.agent.sandboxes[container_id] = folder
        if self.fake is not None:
            self.fakes[container_id] = await self.fake().start()
            address = self.fakes[container_id].address
        else:
            env = {"__OW_ALLOW_CONCURRENT": "true"}
            self.processes[container_id] = ActionContainer(effect.shape.kind, folder, env=env)
            address = self.processes[container_id].address
        logs = TaskLogs(self._session, self.agent.url, FRAMEWORK_ID, container_id)
        self.containers.started(container_id, self.unreachable or address, logs)
        self.tell(ContainerStarted(container_id, HERE, address))

    def _stop(self, container_id: str) -> None:
        if container_id in self.processes:
            self.processes[container_id].__exit__()
        self.ended(container_id, "stopped")
