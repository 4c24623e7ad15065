"""A pool whose containers are processes of this machine: everything of an invoker but Kafka and the cluster.

A start runs the runtime of its kind on a free port, or puts the test's own `FakeContainer` in its place; its streams
are files, given out by a fake agent. Room is that of one node.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp

from owmesos.core.node_stats import NodeStatsUpdate
from owmesos.core.pool.events import (
    ContainerStarted,
    ContainerStopped,
    Dispatch,
    PoolEvent,
    Run,
    RunFailed,
    StartContainer,
    StopCause,
    StopContainer,
)
from owmesos.core.pool.pool import Pool
from owmesos.mesos.wire.agent_files import TaskFiles
from owmesos.openwhisk.activation import Activation
from owmesos.openwhisk.container.access import OPEN, ContainerAccess, secret_of
from owmesos.openwhisk.container.log_reader import ContainerLogs
from owmesos.openwhisk.container.run_state import AckKind, Order
from owmesos.openwhisk.container.runner import ActionContainers
from owmesos.openwhisk.executable import Executable
from owmesos.openwhisk.messages import ActivationMessage
from tests.core.pool.invariants import check_pool
from tests.fakes.agent_files import FRAMEWORK_ID, FakeAgentFiles
from tests.fakes.one_node import OneNode
from tests.openwhisk.container.fake_container import FakeContainer
from tests.openwhisk.runs import order
from tests.runtimes.container import ActionContainer


class RunEnded(Exception):
    """The pool gave the run up, with this text."""


class RealInvoker:
    """`async with RealInvoker(tmp_path) as invoker`. With `fake` the next containers are what it makes."""

    def __init__(self, folder: Path, memory: int = 4096) -> None:
        self.node = OneNode(memory)
        self.pool = Pool(self.node.capacity)
        self.agent = FakeAgentFiles()
        self.containers = ActionContainers(self, time.time)
        self.fake: Callable[[], FakeContainer] | None = None
        self.access = OPEN  # what is known of the next fakes
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
        self.notify_pool(Run(new.run_id, of.for_pool(), new.message.user.namespace.name))
        return done

    def ended(self, container_id: str, reason: str, cause: StopCause = StopCause.ENDED) -> None:
        """The cluster says that the container's task has ended."""
        self.containers.stopped(container_id, reason, cause)
        self.notify_pool(ContainerStopped(container_id, reason, cause))
        self.notify_pool(self.node.ended(container_id))

    def quiet(self) -> bool:
        """No run is under way, and none waits."""
        check_pool(self.pool)
        return not self.pool.state.running and not self.pool.state.buffer

    # -- outcomes

    def notify_pool(self, event: PoolEvent | NodeStatsUpdate) -> None:
        for effect in self.pool.handle(event, time.time()):
            if isinstance(effect, StartContainer):
                self._spawn(effect)
            elif isinstance(effect, StopContainer):
                asyncio.get_running_loop().call_soon(self._stop, effect.container_id)
            elif isinstance(effect, RunFailed):
                self._ended[effect.run_id].set_exception(RunEnded(effect.message))
            elif isinstance(effect, Dispatch):
                self.given.setdefault(effect.run_id, []).append(effect.container_id)
                self.containers.run(effect.container_id, self._orders[effect.run_id], initialize=effect.initialize)

    async def begin(self, run_id: str) -> None: ...

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
        self.notify_pool(self.node.started(effect))
        folder = self._folder / container_id
        folder.mkdir()
        self.agent.sandboxes[container_id] = folder
        access = self.access
        if self.fake is not None:
            self.fakes[container_id] = await self.fake().start()
            address = self.fakes[container_id].address
        else:
            env = {"__OW_ALLOW_CONCURRENT": "true"}
            access = ContainerAccess(secret_of(container_id))
            container = ActionContainer(effect.shape.kind, folder, env=env, secret=access.secret)
            self.processes[container_id] = container
            address = self.processes[container_id].address
        logs = ContainerLogs(TaskFiles(self._session, self.agent.url, FRAMEWORK_ID, container_id))
        self.containers.started(container_id, self.unreachable or address, logs, access=access)
        self.notify_pool(ContainerStarted(container_id, effect.slot, address))

    def _stop(self, container_id: str) -> None:
        if container_id in self.processes:
            self.processes[container_id].__exit__()
        self.ended(container_id, "stopped")
