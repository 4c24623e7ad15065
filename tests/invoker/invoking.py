"""An invoker on a cluster, with fakes for all that is around it: actions, Controllers, records."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from owmesos.core import listings
from owmesos.core.container_factory import Hosting
from owmesos.core.pool.settings import PoolSettings
from owmesos.documents import ContainerDocument
from owmesos.invoker.extension import container_pool
from owmesos.invoker.in_flight import InFlight
from owmesos.invoker.invoker import Invoker
from owmesos.kubernetes.settings import KubernetesSettings
from owmesos.kubernetes.wire.kubeconfig import find_access
from owmesos.mesos.scheduler.settings import Settings
from owmesos.openwhisk.activation import Activation, Response
from owmesos.openwhisk.embedded_manifest import embedded_manifest
from owmesos.openwhisk.executable import Executable
from owmesos.openwhisk.manifest import Manifest
from owmesos.openwhisk.messages import (
    Acknowledgement,
    ActivationMessage,
    Combined,
    Completion,
    ControllerId,
    EntityName,
    Result,
    UserEvent,
    invoker_id,
)
from owmesos.service.framework import Framework
from owmesos.service.kubernetes.process import KubernetesProcess
from owmesos.service.kubernetes.shell import KubernetesShell
from tests.core.pool.invariants import check_pool, check_pooled
from tests.fakes.memory_cluster import MemoryCluster
from tests.waiting import eventually_async


class KubernetesPlace(NamedTuple):
    """Where pods are to run."""

    kubeconfig: Path
    namespace: str


InvokerCluster = str | Path | KubernetesPlace
"""The address of a Mesos master, a folder for a cluster in this process, or a Kubernetes."""


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
        self.events: list[UserEvent] = []

    def send(self, controller: ControllerId, message: Acknowledgement, sent: Callable[[], None] | None = None) -> None:
        self.heard.append(message)
        if sent is not None:
            sent()

    def send_event(self, event: UserEvent) -> None:
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

    patience = 30.0  # seconds for one activation

    def __init__(
        self,
        hosting: Hosting,
        action: Executable | Exception,
        manifest: Manifest | None = None,
        **named: object,
    ) -> None:
        self.host = hosting.host
        self._framework = hosting if isinstance(hosting, Framework) else None
        self._process = hosting if isinstance(hosting, KubernetesProcess) else None
        self.actions = Actions(action)
        self.controller = Controller()
        self.records = Records()
        self.done: dict[str, int] = {}
        self.invoker = Invoker(
            self.host,
            invoker_id(0),
            manifest=manifest or embedded_manifest(),
            actions=self.actions,
            acks=self.controller,
            activations=self.records,
            **named,  # type: ignore[arg-type]
        )

    def activate(self, message: ActivationMessage, age: float = 0.0) -> str:
        activation_id = message.activation_id

        def done() -> None:
            self.done[activation_id] = self.done.get(activation_id, 0) + 1

        self.invoker.activate(InFlight(message, self.host.now() - age, done))
        return activation_id

    async def run(self, message: ActivationMessage, age: float = 0.0) -> Response:
        """To its end; the response that its Controller got."""
        return await self.end_of(self.activate(message, age))

    async def end_of(self, activation_id: str) -> Response:
        await eventually_async(lambda: self.controller.ended(activation_id), self.patience)
        assert self.done[activation_id] == 1
        told = self.controller.of(activation_id)
        whole = next(message for message in told if isinstance(message, (Combined, Result)))
        assert isinstance(whole.response, Activation)
        return whole.response.response

    async def accounts_are_right(self) -> None:
        """Nothing is held, nothing is reserved, and every invariant of pool and scheduler stands."""
        state = self.host.pool.state
        await eventually_async(lambda: not len(self.invoker.in_flight) and not state.running and not len(state.buffer))
        if self._framework is not None:
            framework, pooled = self._framework, self._framework.shell.pooled
            assert pooled is not None
            await eventually_async(lambda: not framework.reservations(), what="no reservation is left")
            check_pooled(pooled)
        if self._process is not None:
            process, shell = self._process, self._process.host
            assert isinstance(shell, KubernetesShell)
            await eventually_async(lambda: not process.reservations(), what="no reservation is left")
            shell.factory.validate()
        check_pool(self.host.pool)
        assert {each["active"] for each in self.containers()} <= {0}

    @property
    def framework(self) -> Framework:
        """Where it is on Mesos."""
        assert self._framework is not None
        return self._framework

    def containers(self) -> list[ContainerDocument]:
        return listings.containers(self.host.pool, self.host.pool.state.capacity.ledger)


@asynccontextmanager
async def invoking(
    cluster: InvokerCluster,
    action: Executable | Exception,
    *,
    manifest: Manifest | None = None,
    settings: PoolSettings | None = None,
    settle: float = 0.0,
    **named: object,
) -> AsyncIterator[Scene]:
    """`named` is for the Invoker; a Mesos cluster counts as known after `settle` seconds."""
    pool = container_pool(manifest if manifest is not None else embedded_manifest(), settings=settings)
    if isinstance(cluster, Path):
        async with MemoryCluster(pool, cluster) as memory:
            scene = Scene(memory, action, manifest, **named)
            yield scene
            await scene.invoker.close()
        return
    if isinstance(cluster, KubernetesPlace):
        usual = KubernetesSettings(namespace=cluster.namespace, invoker="test", incarnation=secrets.token_hex(8))
        async with KubernetesProcess(find_access(cluster.kubeconfig), pool, usual) as process:
            await eventually_async(lambda: process.health()["subscribed"])
            scene = Scene(process, action, manifest, **named)
            try:
                yield scene
            finally:
                await scene.invoker.close()
                assert await process.host.stop_containers()
        return
    async with Framework(master=cluster, name="invoker", pool=pool, settings=Settings(settle=settle)) as framework:
        await eventually_async(lambda: framework.subscribed and framework.nodes())
        scene = Scene(framework, action, manifest, **named)
        try:
            yield scene
        finally:
            await scene.invoker.close()
