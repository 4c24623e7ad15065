"""An OpenWhisk invoker on a framework: activations come in, containers run them, what became of them goes out.

It decides nothing. The pool says which container a run gets; `ActionContainers` speaks with it; this module fetches the
action, remembers whose run is whose, and tells the Controller. Where activations come from (Kafka, the command line)
and where answers and records go is given to it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import NamedTuple, Protocol

from owmesos.core import pool_events as pool_of
from owmesos.mesos.container_factory import Effect
from owmesos.openwhisk.activation import (
    NAMESPACE_BLACKLISTED,
    NOT_PREPARED,
    Activation,
    Reporter,
    Response,
    application_error,
    not_run,
    whisk_error,
)
from owmesos.openwhisk.arguments import Decrypt
from owmesos.openwhisk.container_proxy import AckKind, Order
from owmesos.openwhisk.containers import ActionContainers
from owmesos.openwhisk.entities import ActionStore, ActionUnavailable, ActivationStore, Blacklist
from owmesos.openwhisk.ids import ControllerId, InvokerId
from owmesos.openwhisk.log_reader import AgentFiles, TaskLogs
from owmesos.openwhisk.messages import Acknowledgement, ActivationMessage, Event
from owmesos.service.framework import Framework

_log = logging.getLogger("owmesos.invoker")
AGENT_CONNECTIONS = 100  # to all agents together, for logs


class Acks(Protocol):
    """Whom the invoker answers."""

    def send(
        self, controller: ControllerId, message: Acknowledgement, sent: Callable[[], None] | None = None
    ) -> None: ...

    def send_event(self, event: Event) -> None: ...


Weigh = Callable[[int], None]
"""Told of bytes that are held for an activation from now on, until it is done."""


class Held(NamedTuple):
    """An activation that came and has not ended. `done` is called when its answer is given. `result` is there while
    only its log is missing."""

    order: Order
    done: Callable[[], None]
    weigh: Weigh
    result: Activation | None = None


class CodeWeights:
    """Weighs the code of an action once, however many activations of it are under way: it is there once. The first
    bears it, and after its end the next."""

    def __init__(self) -> None:
        self._under_way: dict[int, dict[str, Weigh]] = {}  # by the executable's identity, which those here keep alive

    def begin(self, held: Held) -> None:
        executable = held.order.executable
        runs = self._under_way.setdefault(id(executable), {})
        if not runs:
            held.weigh(executable.weight)
        runs[held.order.run_id] = held.weigh

    def end(self, held: Held) -> None:
        executable = held.order.executable
        runs = self._under_way[id(executable)]
        bore = next(iter(runs)) == held.order.run_id
        del runs[held.order.run_id]
        if not runs:
            del self._under_way[id(executable)]
        elif bore:
            next(iter(runs.values()))(executable.weight)


class Invoker:
    """One invoker. `framework` has a pool, and is started already. `user_events`: tell those who count activations."""

    def __init__(
        self,
        framework: Framework,
        identity: InvokerId,
        *,
        actions: ActionStore,
        acks: Acks,
        activations: ActivationStore,
        blacklist: Blacklist | None = None,
        user_events: bool = False,
        pressed: Callable[[bool], None] = lambda on: None,
        ciphers: Mapping[str, Decrypt] | None = None,
    ) -> None:
        """`pressed` is told when nothing is launchable for long, and when that is over. Raises InvalidInput, see
        `Tls.context`."""
        self._framework = framework
        self._actions = actions
        self._acks = acks
        self._activations = activations
        self._blacklist = blacklist
        self._user_events = user_events
        self._pressed = pressed
        self._now = framework.shell.clock.now
        self._reporter = Reporter(identity, self._now)
        self._containers = ActionContainers(self, self._now, ciphers=ciphers)
        self._coming: dict[str, tuple[ActivationMessage, Callable[[], None]]] = {}  # whose action is being fetched
        self._held: dict[str, Held] = {}
        self._codes = CodeWeights()
        self._told: deque[pool_of.PoolEvent] = deque()
        self._telling = False
        session = framework.access.session(secure=framework.secure, connections=AGENT_CONNECTIONS)
        self._files = AgentFiles(session, secure=framework.secure)
        self._tasks: set[asyncio.Task[None]] = set()
        self._of_pools = framework.shell.of_pool
        self._of_pools.append(self._of_pool)

    async def close(self) -> None:
        """Runs that are on their way are abandoned."""
        if self._of_pool in self._of_pools:
            self._of_pools.remove(self._of_pool)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._containers.close()
        await self._files.close()

    def end_rest(self, why: str) -> None:
        """After `close`: tell the Controllers that what had not ended by then never will, but for its log."""
        for message, done in list(self._coming.values()):
            self._refuse(message, whisk_error(why), done)
        for order, done, _, result in self._held.values():
            if result is None:
                self._refuse(order.message, whisk_error(why), done)
            else:
                self._answer(AckKind.COMPLETION, order.message, result, done)
                self.record(order.message, result)
        self._coming, self._held, self._codes = {}, {}, CodeWeights()

    @property
    def held(self) -> int:
        """Activations that came and have not ended."""
        return len(self._held) + len(self._tasks)

    # -- activations

    def activate(
        self,
        message: ActivationMessage,
        done: Callable[[], None] = lambda: None,
        weigh: Weigh = lambda weight: None,
    ) -> None:
        """Run it. `done` is called once, from any thread, when nothing more is to be said of it. `weigh` is told what
        is held for it besides the message: its action's code, unless another activation bears that, and its result."""
        run_id = message.activation_id
        if run_id in self._held or run_id in self._coming:
            _log.warning("activation %s came twice: it runs once", run_id)
            done()
            return
        self._coming[run_id] = message, done
        self._spawn(self._admit(message, done, weigh))

    async def _admit(self, message: ActivationMessage, done: Callable[[], None], weigh: Weigh) -> None:
        run_id = message.activation_id
        try:
            if self._blacklist is not None and self._blacklist.blocks(message.user.namespace.name):
                self._refuse(message, application_error(NAMESPACE_BLACKLISTED), done, recorded=False)
                return
            executable = await self._actions.action(message.action, message.revision)
        except ActionUnavailable as error:
            _log.info("activation %s does not run: %s", run_id, error)
            self._refuse(message, error.response, done)
            return
        except Exception:  # noqa: BLE001  (a fault of ours: it is logged, and the activation ends)
            _log.exception("activation %s could not be prepared", run_id)
            self._refuse(message, whisk_error(NOT_PREPARED), done)
            return
        del self._coming[run_id]
        held = self._held[run_id] = Held(Order(message, executable), done, weigh)
        self._codes.begin(held)
        namespace = message.user.namespace.name
        self.tell(pool_of.Run(run_id, executable.for_pool(), namespace, message.health))

    def _refuse(
        self, message: ActivationMessage, response: Response, done: Callable[[], None], *, recorded: bool = True
    ) -> None:
        """It ends without having run."""
        self._coming.pop(message.activation_id, None)
        activation = not_run(message, response, self._now())
        self._answer(AckKind.COMBINED if message.blocking else AckKind.COMPLETION, message, activation, done)
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
        held = self._held[message.activation_id]
        if kind is not AckKind.COMPLETION:
            held.weigh(activation.response.weight)
        if kind is AckKind.RESULT:
            self._held[message.activation_id] = held._replace(result=activation)
            self._acks.send(message.root_controller_index, self._reporter.result(message, activation))
            return
        self._answer(kind, message, activation, self._let_go(message.activation_id).done)

    def _let_go(self, run_id: str) -> Held:
        """It has ended, but for its answer."""
        held = self._held.pop(run_id)
        self._codes.end(held)
        return held

    def _answer(
        self, kind: AckKind, message: ActivationMessage, activation: Activation, done: Callable[[], None]
    ) -> None:
        """The last that its Controller hears of it."""
        report = self._reporter.combined if kind is AckKind.COMBINED else self._reporter.completion
        self._acks.send(message.root_controller_index, report(message, activation), done)
        if self._user_events:
            self._acks.send_event(self._reporter.event(message, activation))

    def record(self, message: ActivationMessage, activation: Activation) -> None:
        if message.user.stores_activations and not message.health:
            self._activations.store(activation)

    # -- what the pool wants

    def _of_pool(self, effect: Effect) -> None:
        if isinstance(effect, pool_of.Dispatch):
            order = self._held[effect.run_id].order
            self._containers.run(effect.container_id, order, initialize=effect.initialize)
        elif isinstance(effect, pool_of.ContainerStarted):
            self._containers.started(effect.container_id, effect.address, self._logs_of(effect.container_id))
        elif isinstance(effect, pool_of.ContainerStopped):
            self._containers.stopped(effect.container_id, effect.reason)
        elif isinstance(effect, pool_of.RunFailed):
            held = self._let_go(effect.run_id)
            self._refuse(held.order.message, whisk_error(effect.message), held.done)
        elif isinstance(effect, pool_of.Backpressure):
            self._pressed(effect.on)

    def _logs_of(self, container_id: str) -> TaskLogs | None:
        """The container's streams, at its agent."""
        books = self._framework.shell.scheduler.books
        record = books.launches[container_id]
        if record.agent_id is None or record.task_id is None or books.info.id is None:
            return None
        agent = books.ledger.agent(record.agent_id)
        if not agent.address:
            return None
        return self._files.task_logs(agent.hostname, agent.address, books.info.id.value, record.task_id)

    # -- within

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
