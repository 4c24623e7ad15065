"""An OpenWhisk invoker on a framework: activations come in, containers run them, what became of them goes out.

It decides nothing. The pool says which container a run gets; `ActionContainers` speaks with it; this module fetches the
action, remembers whose run is whose, and tells the Controller. Where activations come from (Kafka, the command line)
and where answers and records go is given to it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Protocol

import aiohttp

from owmesos.core import pool_events as pool_of
from owmesos.errors import InvalidInput, OwmesosError
from owmesos.mesos.container_factory import Effect
from owmesos.mesos.listings import instant
from owmesos.openwhisk.activation import (
    Activation,
    Reporter,
    Response,
    developer_error,
    not_run,
    whisk_error,
)
from owmesos.openwhisk.container_proxy import AckKind, Order
from owmesos.openwhisk.containers import ActionContainers
from owmesos.openwhisk.executable import Executable
from owmesos.openwhisk.ids import ControllerId, InvokerId
from owmesos.openwhisk.log_reader import TaskLogs
from owmesos.openwhisk.manifest import Manifest
from owmesos.openwhisk.messages import Acknowledgement, ActivationMessage, Event
from owmesos.service.framework import Framework

_log = logging.getLogger("owmesos.invoker")


class ActionUnavailable(OwmesosError):
    """The action cannot be run; `response` is what its activation ends with, `recorded` whether that is kept."""

    def __init__(self, response: Response, *, recorded: bool = True) -> None:
        super().__init__(str(response.result))
        self.response = response
        self.recorded = recorded


class Actions(Protocol):
    """Where actions are read from."""

    async def executable(self, message: ActivationMessage) -> Executable:
        """Raises ActionUnavailable."""
        ...


class Acks(Protocol):
    """Whom the invoker answers."""

    def send(
        self, controller: ControllerId, message: Acknowledgement, sent: Callable[[], None] | None = None
    ) -> None: ...

    def send_event(self, event: Event) -> None: ...


class Records(Protocol):
    """Where activations are kept."""

    def put(self, message: ActivationMessage, activation: Activation) -> None: ...


class Invoker:
    """One invoker. `framework` has a pool, and is started before `start`. `user_events`: tell those who count."""

    def __init__(
        self,
        framework: Framework,
        manifest: Manifest,
        identity: InvokerId,
        *,
        actions: Actions,
        acks: Acks,
        records: Records,
        user_events: bool = False,
        pressed: Callable[[bool], None] = lambda on: None,
    ) -> None:
        self._framework = framework
        self._manifest = manifest
        self._actions = actions
        self._acks = acks
        self._records = records
        self._user_events = user_events
        self._pressed = pressed
        self._now = framework.shell.clock.now
        self._reporter = Reporter(identity, self._now)
        self._containers = ActionContainers(self, self._now)
        self._orders: dict[str, tuple[Order, Callable[[], None]]] = {}
        self._told: deque[pool_of.PoolEvent] = deque()
        self._telling = False
        self._agents = aiohttp.ClientSession()
        self._tasks: set[asyncio.Task[None]] = set()
        framework.shell.of_pool.append(self._of_pool)

    async def close(self) -> None:
        """Runs that are on their way are abandoned."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._containers.close()
        await self._agents.close()

    @property
    def held(self) -> int:
        """Activations that came and have not ended."""
        return len(self._orders) + len(self._tasks)

    # -- activations

    def activate(self, message: ActivationMessage, done: Callable[[], None] = lambda: None) -> None:
        """Run it. `done` is called once, when its acknowledgement is on its way."""
        self._spawn(self._admit(message, done))

    async def _admit(self, message: ActivationMessage, done: Callable[[], None]) -> None:
        run_id = message.activation_id
        if run_id in self._orders:
            _log.warning("activation %s came twice: it runs once", run_id)
            done()
            return
        try:
            executable = await self._actions.executable(message)
            self._check_kind(executable)
        except ActionUnavailable as error:
            self._refuse(message, error.response, recorded=error.recorded)
            done()
            return
        except Exception:  # noqa: BLE001  (a fault of ours: it is logged, and the activation ends)
            _log.exception("activation %s could not be prepared", run_id)
            self._refuse(message, whisk_error("The activation could not be prepared."))
            done()
            return
        self._orders[run_id] = (Order(message, executable), done)
        namespace = message.user.namespace.name
        self.tell(pool_of.Run(run_id, executable.for_pool(), namespace, message.health))

    def _check_kind(self, executable: Executable) -> None:
        if executable.image is not None:
            return
        try:
            self._manifest.runtime(executable.kind)
        except InvalidInput as error:
            raise ActionUnavailable(developer_error(str(error))) from None

    def _refuse(self, message: ActivationMessage, response: Response, *, recorded: bool = True) -> None:
        """It ends without having run."""
        activation = not_run(message, response, self._now())
        self.acknowledge(AckKind.COMBINED if message.blocking else AckKind.COMPLETION, message, activation)
        if recorded:
            self.record(message, activation)

    # -- what the containers tell (`owmesos.openwhisk.containers.Outcomes`)

    def tell(self, event: pool_of.PoolEvent) -> None:
        """To the pool; what is told meanwhile waits for its turn."""
        self._told.append(event)
        if self._telling:
            return
        self._telling = True
        try:
            while self._told:
                self._framework.shell.observe(self._told.popleft())
        finally:
            self._telling = False

    def acknowledge(self, kind: AckKind, message: ActivationMessage, activation: Activation) -> None:
        reporter, answer = self._reporter, self._acks.send
        if kind is AckKind.RESULT:
            answer(message.root_controller_index, reporter.result(message, activation))
            return
        report = reporter.combined if kind is AckKind.COMBINED else reporter.completion
        answer(message.root_controller_index, report(message, activation))
        if self._user_events:
            self._acks.send_event(reporter.event(message, activation))
        _, done = self._orders.pop(message.activation_id, (None, None))
        if done is not None:
            done()

    def record(self, message: ActivationMessage, activation: Activation) -> None:
        if message.user.stores_activations and not message.health:
            self._records.put(message, activation)

    # -- what the pool wants

    def _of_pool(self, effect: Effect) -> None:
        if isinstance(effect, pool_of.Dispatch):
            order, _ = self._orders[effect.run_id]
            self._containers.run(effect.container_id, order, initialize=effect.initialize)
        elif isinstance(effect, pool_of.ContainerStarted):
            self._containers.started(effect.container_id, effect.address, self._logs_of(effect.container_id))
        elif isinstance(effect, pool_of.ContainerStopped):
            self._containers.stopped(effect.container_id, effect.reason)
        elif isinstance(effect, pool_of.RunFailed):
            order, _ = self._orders[effect.run_id]
            self._refuse(order.message, whisk_error(effect.message))
        elif isinstance(effect, pool_of.Backpressure):
            self._pressed(effect.on)

    def _logs_of(self, container_id: str) -> TaskLogs | None:
        """The container's streams, at its agent."""
        books = self._framework.shell.scheduler.books
        record = books.launches[container_id]
        if record.agent_id is None or record.task_id is None or books.info.id is None:
            return None
        address = books.ledger.agent(record.agent_id).address
        if not address:
            return None
        return TaskLogs(self._agents, f"http://{address}", books.info.id.value, record.task_id)

    # -- within

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def containers(framework: Framework) -> list[dict[str, object]]:
    """One row a container, the oldest first: the documents of `owmesos containers -o json`."""
    pooled = framework.shell.pooled
    if pooled is None:
        return []
    return [
        {
            "container_id": container.id,
            "action": container.key.name if container.key is not None else None,
            "kind": container.shape.kind,
            "state": container.state.value,
            "agent_id": container.slot.agent_id,
            "address": container.address,
            "memory": container.shape.memory,
            "active": container.active,
            "last_used": instant(container.last_used),
        }
        for container in pooled.pool.containers
    ]
