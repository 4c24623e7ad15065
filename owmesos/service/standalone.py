"""OpenWhisk in one process: the invoker, with its actions in a file and no Kafka, for `owmesos run --standalone`.

    standalone = Standalone(folder)
    async with Framework(master=…, pool=standalone.pool) as framework:
        await standalone.start(framework)
        await standalone.put_action("hello", WantedAction(WantedCode("python:default", "def main(args): …")))
        invoked = await standalone.invoke("hello", {"name": "you"})
        invoked.result
        await standalone.close()

It takes the Controller's place, for one user: what a Controller checks is checked here, and it builds its messages.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from owmesos.core.pool import Pool
from owmesos.core.pool_events import Dispatch, RunFailed, StartKind
from owmesos.core.pool_settings import PoolSettings
from owmesos.errors import InvalidInput, OwmesosError
from owmesos.mesos.container_factory import Effect, PooledScheduler
from owmesos.mesos.scheduler import Scheduler
from owmesos.openwhisk.activation import Activation
from owmesos.openwhisk.embedded import embedded_manifest
from owmesos.openwhisk.embedded_store import EmbeddedStore
from owmesos.openwhisk.entities import ActionDocument
from owmesos.openwhisk.ids import ControllerId, invoker_id
from owmesos.openwhisk.launching import LaunchSettings
from owmesos.openwhisk.manifest import Manifest
from owmesos.openwhisk.messages import ActivationMessage, EntityName, Identity, Namespace
from owmesos.openwhisk.results import decode_result
from owmesos.service.container_pool import container_pool
from owmesos.service.embedded_bus import EmbeddedBus
from owmesos.service.framework import Framework, NotKnown
from owmesos.service.invoker import Invoker
from owmesos.service.standalone_actions import ActionRules, WantedAction, action_document

NAMESPACE = "guest"
BLOCKING_WAIT = 60.0
"""Seconds that a blocking invocation waits for its result, as OpenWhisk's Controller does."""
LOGS_WAIT = 10.0
"""Seconds that who asks for an activation waits for its log, if its result is there already."""
MAX_PARAMETERS = 2**20
"""Bytes of an invocation's parameters, as JSON."""
MAX_WAITING = 30_000
"""Activations that have not ended."""

_STOPPED = "The invoker was stopped before the activation ended."
_CONTROLLER = ControllerId("0")
_USER = Identity(NAMESPACE, Namespace(NAMESPACE, NAMESPACE))
_encode = msgspec.json.Encoder().encode
_log = logging.getLogger("owmesos.standalone")


class ActionExists(OwmesosError):
    """It is to be created and is there already."""


class TooManyActivations(OwmesosError):
    """More are on their way than the process should hold."""


class Invoked(NamedTuple):
    """`activation` is None while it runs, and for one that nobody wanted to wait for. Its logs may be missing yet."""

    activation_id: str
    activation: Activation | None

    @property
    def result(self) -> Any:
        """What the action returned, or `{"error": …}`; None where there is no activation. See `decode_result`."""
        if self.activation is None:
            return None
        result = self.activation.response.result
        return decode_result(result) if isinstance(result, msgspec.Raw) else result


class Counts(NamedTuple):
    """Of runs since the start: how each got its container, and how many found none; of containers that made room. And
    of runs now: those that wait for a container, and those that have one."""

    warm: int
    prewarmed: int
    cold: int
    failed: int
    evicted: int
    waiting: int
    running: int


class Standalone:
    """The `Work` of one framework. Every method after `start` raises EmbeddedStoreFailed when the file fails."""

    def __init__(
        self,
        folder: Path | None = None,
        manifest: Manifest | None = None,
        *,
        launches: LaunchSettings | None = None,
        settings: PoolSettings | None = None,
        rules: ActionRules | None = None,
    ) -> None:
        """`folder`: the framework's state; without one, actions and records end with the process. `manifest`: by
        default owmesos's own action containers. Raises InvalidInput for settings that no launch can have."""
        self.manifest = manifest if manifest is not None else embedded_manifest()
        self._folder = folder
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._recipe = container_pool(self.manifest, launches, settings)
        self._rules = rules or ActionRules()
        self._bus = EmbeddedBus()
        self._starts: Counter[StartKind] = Counter()
        self._failed = 0
        self._known: dict[str, ActionDocument] = {}  # without their code
        self._changing = asyncio.Lock()
        self._store: EmbeddedStore | None = None
        self._invoker: Invoker | None = None
        self._framework: Framework | None = None

    # -- Work

    @property
    def pool(self) -> Callable[[Scheduler], PooledScheduler]:
        return self._recipe

    async def start(self, framework: Framework) -> None:
        """Raises EmbeddedStoreFailed."""
        folder = self._folder
        if folder is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="owmesos-standalone-")
            folder = Path(self._temporary.name)
        self._framework = framework
        self._store = EmbeddedStore(folder, self.manifest)
        self._invoker = Invoker(framework, invoker_id(0), actions=self._store, acks=self._bus, activations=self._store)
        framework.shell.of_pool.append(self._count)
        self._known = {document.name: _without_code(document) for document in await self._store.actions()}
        _log.info("standalone: %d actions, kinds %s", len(self._known), ", ".join(self.manifest.kinds) or "none")

    async def close(self) -> None:
        """What has not ended ends with an internal error, and so is kept. Containers are stopped: nobody could take
        them up again, for what is in them is known only here."""
        try:
            if self._invoker is not None:
                await self._invoker.close()
                self._invoker.end_rest(_STOPPED)
            self._bus.close()
            if self._framework is not None and not await self._framework.stop_containers():
                _log.warning("not all containers have ended yet; the next start sees to them")
        finally:
            if self._store is not None:
                await self._store.close()
            if self._temporary is not None:
                self._temporary.cleanup()

    def add_to(self, router: web.UrlDispatcher) -> None:
        from owmesos.service.standalone_admin import StandaloneRoutes  # which serves this class

        StandaloneRoutes(self).add_to(router)

    # -- actions

    async def put_action(self, name: str, wanted: WantedAction, *, overwrite: bool = True) -> ActionDocument:
        """Create it, or with `overwrite` change the one that is there. Raises InvalidInput or ActionExists."""
        store = self._stored()
        async with self._changing:
            if name in self._known and not overwrite:
                raise ActionExists(f"the action {name} exists already: update it")
            before = await store.action_document(f"{NAMESPACE}/{name}") if name in self._known else None
            document = action_document(NAMESPACE, name, wanted, before, self.manifest, self._rules)
            await store.put_action(document)
            return await self._learn(name)

    async def _learn(self, name: str) -> ActionDocument:
        document = await self._stored().action_document(f"{NAMESPACE}/{name}")
        assert document is not None
        self._known[name] = _without_code(document)
        return document

    async def action(self, name: str) -> ActionDocument:
        """With its code. Raises NotKnown."""
        document = await self._stored().action_document(f"{NAMESPACE}/{name}")
        if document is None:
            raise NotKnown(name, "action")
        return document

    def actions(self) -> list[ActionDocument]:
        """All, by name, without their code."""
        return [self._known[name] for name in sorted(self._known)]

    async def delete_action(self, name: str) -> ActionDocument:
        """What it was, without its code. Its activations that are on their way may fail. Raises NotKnown."""
        async with self._changing:
            if name not in self._known:
                raise NotKnown(name, "action")
            await self._stored().delete_action(f"{NAMESPACE}/{name}")
            return self._known.pop(name)

    # -- activations

    async def invoke(
        self,
        name: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        blocking: bool = True,
        wait: float | None = BLOCKING_WAIT,
    ) -> Invoked:
        """Run it. With `blocking` returns when its result is there, or after `wait` seconds; None is for ever.

        `parameters` are laid over the action's own. Raises NotKnown, InvalidInput, TooManyActivations.
        """
        message = self._message(name, parameters or {}, blocking)
        if self._invoker is None:
            raise InvalidInput("the invoker is not started")
        awaited = self._bus.expect(message.activation_id)
        self._invoker.activate(message)
        if not blocking:
            return Invoked(message.activation_id, None)
        await asyncio.wait([awaited.result], timeout=wait)
        return Invoked(message.activation_id, awaited.result.result() if awaited.result.done() else None)

    def _message(self, name: str, parameters: Mapping[str, Any], blocking: bool) -> ActivationMessage:
        """As the Controller builds it."""
        action = self._known.get(name)
        if action is None:
            raise NotKnown(name, "action")
        self.manifest.runnable(action.exec.kind)
        content = _encode({**{each["key"]: each.get("value") for each in action.parameters}, **parameters})
        if len(content) > MAX_PARAMETERS:
            raise InvalidInput(f"the parameters have {len(content)} bytes, and {MAX_PARAMETERS} are the most")
        if len(self._bus) >= MAX_WAITING:
            raise TooManyActivations(f"{MAX_WAITING} activations have not ended yet: invoke again later")
        init = tuple(each["key"] for each in action.parameters if each.get("init"))
        return ActivationMessage(
            transid=[secrets.token_hex(16), int(self._running().shell.clock.now() * 1000)],
            action=EntityName(NAMESPACE, name, action.version),
            revision=action.rev,
            user=_USER,
            activation_id=secrets.token_hex(16),
            root_controller_index=_CONTROLLER,
            blocking=blocking,
            content=msgspec.Raw(content),
            init_args=init,
            locked_args={},
        )

    async def activation(self, activation_id: str) -> Activation:
        """The record of one that has ended; waits for its log if its result is known. Raises NotKnown."""
        awaited = self._bus.awaited(activation_id)
        if awaited is not None and awaited.result.done():
            await asyncio.wait([awaited.ended], timeout=LOGS_WAIT)
        found = await self._stored().activation(activation_id)
        if found is None:
            raise NotKnown(activation_id, "activation" if awaited is None else "record yet of the running activation")
        return found

    async def ended(self, activation_id: str) -> Activation:
        """The same, when it has ended. Raises NotKnown."""
        awaited = self._bus.awaited(activation_id)
        if awaited is not None:
            await asyncio.wait([awaited.ended])
        return await self.activation(activation_id)

    async def activations(self, *, name: str | None = None, limit: int = 30, skip: int = 0) -> list[Activation]:
        """Of those that have ended: the last first. Waits for the logs of those whose result is known."""
        logs = [awaited.ended for awaited in self._bus.told()]
        if logs:
            await asyncio.wait(logs, timeout=LOGS_WAIT)
        return list(await self._stored().activations(name=name, limit=limit, skip=skip))

    # -- what is to be seen

    def counts(self) -> Counts:
        books, starts = self._pooled().books, self._starts
        return Counts(
            warm=starts[StartKind.WARMED] + starts[StartKind.WARMING],
            prewarmed=starts[StartKind.PREWARMED],
            cold=starts[StartKind.COLD] + starts[StartKind.RECREATED],
            failed=self._failed,
            evicted=books.evictions,
            waiting=len(books.buffer),
            running=len(books.running),
        )

    def _count(self, effect: Effect) -> None:
        if isinstance(effect, Dispatch):
            self._starts[effect.kind] += 1
        elif isinstance(effect, RunFailed):
            self._failed += 1

    # -- within

    def _running(self) -> Framework:
        if self._framework is None:
            raise InvalidInput("the invoker is not started")
        return self._framework

    def _stored(self) -> EmbeddedStore:
        if self._store is None:
            raise InvalidInput("the invoker is not started")
        return self._store

    def _pooled(self) -> Pool:
        pooled = self._running().shell.pooled
        assert pooled is not None
        return pooled.pool


def _without_code(document: ActionDocument) -> ActionDocument:
    return msgspec.structs.replace(document, exec=msgspec.structs.replace(document.exec, code=None))
