"""An invoker on a simulated cluster, with fakes for all that is around it: actions, Controllers, records."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from owmesos.core.pool_settings import PoolSettings
from owmesos.openwhisk.activation import Activation, Response
from owmesos.openwhisk.embedded import embedded_manifest
from owmesos.openwhisk.executable import Executable
from owmesos.openwhisk.ids import ControllerId, invoker_id
from owmesos.openwhisk.manifest import Manifest
from owmesos.openwhisk.messages import (
    Acknowledgement,
    ActivationMessage,
    Combined,
    Completion,
    EntityName,
    Event,
    Result,
)
from owmesos.service.container_pool import container_pool
from owmesos.service.framework import Framework
from owmesos.service.invoker import Invoker
from tests.waiting import eventually_async


class Actions:
    """Gives the same action to all, or fails in the same way."""

    def __init__(self, action: Executable | Exception) -> None:
        self.action_or_error = action

    async def action(self, entity: EntityName, revision: str | None) -> Executable:
        if isinstance(self.action_or_error, Exception):
            raise self.action_or_error
        return self.action_or_error


class Controller:
    """What the invoker said, in order."""

    def __init__(self) -> None:
        self.heard: list[Acknowledgement] = []
        self.events: list[Event] = []

    def send(self, controller: ControllerId, message: Acknowledgement, sent: Callable[[], None] | None = None) -> None:
        self.heard.append(message)
        if sent is not None:
            sent()

    def send_event(self, event: Event) -> None:
        self.events.append(event)

    def of(self, activation_id: str) -> list[Acknowledgement]:
        return [message for message in self.heard if _subject(message) == activation_id]

    def ended(self, activation_id: str) -> bool:
        return any(isinstance(message, (Combined, Completion)) for message in self.of(activation_id))


def _subject(message: Acknowledgement) -> str:
    if isinstance(message, Completion):
        return message.activation_id
    assert isinstance(message.response, (Activation, str))
    return message.response if isinstance(message.response, str) else message.response.activation_id


class Records:
    def __init__(self) -> None:
        self.kept: dict[str, Activation] = {}

    def store(self, activation: Activation) -> None:
        assert activation.activation_id not in self.kept
        self.kept[activation.activation_id] = activation

    async def close(self) -> None: ...


class Blocked:
    def __init__(self, namespaces: Iterable[str]) -> None:
        self._namespaces = set(namespaces)

    def blocks(self, namespace: str) -> bool:
        return namespace in self._namespaces


class Scene:
    """The invoker and what is around it. `done` counts by activation id."""

    def __init__(self, framework: Framework, action: Executable | Exception, **named: object) -> None:
        self.framework = framework
        self.actions = Actions(action)
        self.controller = Controller()
        self.records = Records()
        self.done: dict[str, int] = {}
        self.invoker = Invoker(
            framework,
            invoker_id(0),
            actions=self.actions,
            acks=self.controller,
            activations=self.records,
            **named,  # type: ignore[arg-type]
        )

    def activate(self, message: ActivationMessage) -> str:
        activation_id = message.activation_id

        def done() -> None:
            self.done[activation_id] = self.done.get(activation_id, 0) + 1

        self.invoker.activate(message, done)
        return activation_id

    async def run(self, message: ActivationMessage) -> Response:
        """To its end; the response that its Controller got."""
        return await self.end_of(self.activate(message))

    async def end_of(self, activation_id: str) -> Response:
        await eventually_async(lambda: self.controller.ended(activation_id))
        assert self.done[activation_id] == 1
        told = self.controller.of(activation_id)
        whole = next(message for message in told if isinstance(message, (Combined, Result)))
        assert isinstance(whole.response, Activation)
        return whole.response.response

    async def accounts_are_right(self) -> None:
        """Nothing is held, nothing is promised, and every invariant of pool and scheduler stands."""
        pooled = self.framework.shell.pooled
        assert pooled is not None
        books = pooled.pool.books
        await eventually_async(lambda: not self.invoker.held and not books.running and not len(books.buffer))
        await eventually_async(lambda: not self.framework.reservations(), what="no reservation is left")
        pooled.validate()
        assert {each["active"] for each in self.framework.containers()} <= {0}


@asynccontextmanager
async def invoking(
    master: str,
    action: Executable | Exception,
    *,
    manifest: Manifest | None = None,
    settings: PoolSettings | None = None,
    **named: object,
) -> AsyncIterator[Scene]:
    """`named` is for the Invoker."""
    pool = container_pool(manifest if manifest is not None else embedded_manifest(), settings=settings)
    async with Framework(master=master, name="invoker", pool=pool) as framework:
        await eventually_async(lambda: framework.subscribed and framework.nodes())
        scene = Scene(framework, action, **named)
        try:
            yield scene
        finally:
            await scene.invoker.close()
