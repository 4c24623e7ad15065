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
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from aiohttp import web
from prometheus_client import Metric

from owmesos.core.container_factory import Hosting
from owmesos.core.pool.events import StartKind
from owmesos.core.pool.settings import PoolSettings
from owmesos.documents import InvokerStatus
from owmesos.errors import OwmesosError
from owmesos.invoker.action_rules import ActionRules, WantedAction, action_document
from owmesos.invoker.ended import EndedActivation
from owmesos.invoker.extension import STOPPED, InvokerExtension, started
from owmesos.invoker.in_flight import InFlight
from owmesos.invoker.invoker import Invoker
from owmesos.invoker.keyed_invocations import KeyedInvocations, KeyedRequest
from owmesos.invoker.metrics import record_metrics
from owmesos.invoker.no_controller import NAMESPACE, NoController, activation_message
from owmesos.invoker.resume import resume
from owmesos.invoker.unfinished import is_running, unfinished
from owmesos.openwhisk.activation import Activation
from owmesos.openwhisk.container_specs import LaunchSettings
from owmesos.openwhisk.documents import UnfinishedActivation
from owmesos.openwhisk.embedded_manifest import embedded_manifest
from owmesos.openwhisk.entities import ActionDocument
from owmesos.openwhisk.manifest import Manifest
from owmesos.openwhisk.messages import ActivationMessage, invoker_id
from owmesos.openwhisk.results import decode_result
from owmesos.openwhisk.store.activation_journal import FILE as JOURNAL
from owmesos.openwhisk.store.activation_journal import ActivationJournal
from owmesos.openwhisk.store.journal_batch import JournalFailed
from owmesos.openwhisk.store.sqlite import EmbeddedStore
from owmesos.service.errors import NotKnown
from owmesos.system.lone_surrogates import encode

_MOST_CANDIDATES = 20  # ids to look up for an ambiguous beginning
BLOCKING_WAIT = 60.0  # seconds that a blocking invocation waits for its result, as OpenWhisk's Controller does
LOGS_WAIT = 10.0  # seconds that a request for an activation waits for its log if its result is known
MAX_WAITING = 30_000  # most activations that have not ended

_log = logging.getLogger("owmesos.standalone")


class ActionExists(OwmesosError):
    """An action to be created already exists."""


class NotEnded(NotKnown):
    """An activation that waits or runs has no record, result or log yet."""

    def __init__(self, activation_id: str, run: InFlight) -> None:
        is_ = "is still running" if is_running(run) else "still waits for a container"
        OwmesosError.__init__(self, f"activation {activation_id} {is_}: it has no record, result or log before its end")


class CannotCancel(OwmesosError):
    """The activation has a container already, or has ended."""


class TooManyActivations(OwmesosError):
    """The process has as many activations in progress as it may hold."""


class Invoked(NamedTuple):
    """`activation` is None while it runs, and if the caller did not wait. Its logs may be missing yet."""

    activation_id: str
    activation: Activation | None

    @property
    def result(self) -> Any:
        """What the action returned, or `{"error": …}`; None if there is no activation. See `decode_result`."""
        if self.activation is None:
            return None
        result = self.activation.response.result
        return decode_result(result) if isinstance(result, msgspec.Raw) else result


class Counts(NamedTuple):
    """Runs and containers since the start, and the runs of now."""

    warm: int  # runs in a warm container
    prewarmed: int  # runs in a prewarmed container
    cold: int  # runs in a container started for them
    failed: int  # runs without a container
    evicted: int  # containers stopped to make room
    waiting: int  # runs that wait for a container now
    running: int  # runs that have a container now


class Standalone(InvokerExtension):
    """The `Extension` of one framework. Every method after `start` raises EmbeddedStoreFailed when the file fails."""

    def __init__(
        self,
        folder: Path | None = None,
        manifest: Manifest | None = None,
        *,
        launches: LaunchSettings | None = None,
        settings: PoolSettings | None = None,
        add_routes: Callable[[Standalone, web.UrlDispatcher], None] | None = None,
        drain: float = 0.0,
    ) -> None:
        """`folder`: the framework's state; without one, actions and records end with the process. `manifest`: by
        default owmesos's own action containers. `add_routes`: `owmesos.invoker.routes.add_routes`, to serve its actions
        by the admin API. `drain`: seconds that `close` waits for running activations. Raises InvalidInput for settings
        that no launch can have."""
        self.manifest = manifest if manifest is not None else embedded_manifest()
        super().__init__(self.manifest, launches, settings, folder)
        self._add_routes = add_routes
        self._drain = drain
        self._known: dict[str, ActionDocument] = {}  # without their code
        self._changing = asyncio.Lock()
        self._store: EmbeddedStore | None = None
        self._keys: KeyedInvocations

    # -- Extension

    async def start(self, framework: Hosting) -> None:
        """Resumes what an earlier process left unfinished. Raises EmbeddedStoreFailed or JournalFailed."""
        folder, host = self._files(), framework.host
        self._host = host
        journal = self._journal = ActivationJournal(folder / JOURNAL)
        self._keys = KeyedInvocations(journal, host.now)
        self._store = EmbeddedStore(folder, self.manifest, settled=journal.forget)
        self._invoker = Invoker(
            host,
            invoker_id(0),
            manifest=self.manifest,
            actions=self._store,
            acks=NoController(),
            activations=self._store,
            begin=journal.begin,
        )
        self._known = {document.name: document for document in await self._store.actions()}
        await resume(journal, self._store, self._activate, host.now())
        _log.info("standalone: %d actions, kinds %s", len(self._known), ", ".join(self.manifest.kinds) or "none")

    async def close(self) -> None:
        """Running activations have `drain` seconds to end; then they end with an internal error, and are recorded so.
        Those that have not begun are left for the next start if there is a folder, else they end in the same way.
        Containers are stopped, because no other process knows what they hold."""
        try:
            if self._invoker is not None:
                await self._let_end(self._invoker)
                await self._invoker.close()
                self._invoker.end_rest(STOPPED, only_begun=self._folder is not None)
            await self._stop_containers()
        finally:
            if self._store is not None:
                await self._store.close()
            await self._close_files()

    async def _let_end(self, invoker: Invoker) -> None:
        def running() -> int:
            return sum(map(is_running, invoker.in_flight.all()))

        if self._folder is not None:
            invoker.wind_down()
        if running() and self._drain:
            _log.info(
                "activations that run: %d; waiting for their end, at most %g s or until a second signal",
                running(),
                self._drain,
            )
        left = await self._drained(running, self._drain)
        if left:
            _log.warning("activations that have not ended, and are recorded as an internal error: %d", left)

    def add_to(self, router: web.UrlDispatcher) -> None:
        if self._add_routes is not None:
            self._add_routes(self, router)

    def metrics(self) -> Iterator[Metric]:
        yield from super().metrics()
        if self._store is not None:
            yield from record_metrics(self._store.records, self._store.records_waiting)

    @property
    def servers(self) -> dict[str, str]:
        """None: it depends only on Mesos."""
        return {}

    async def stored_log(self, activation_id: str) -> list[str]:
        return (await self.activation(activation_id)).logs

    def status(self) -> InvokerStatus:
        waiting = started(self._store).records_waiting
        return {"invoker": None, "refuses": None, "kafka": None, "couchdb": None, "records_waiting": waiting}

    @property
    def folder(self) -> Path:
        """The folder of actions and records. Raises InvalidInput before `start`."""
        return started(self._store).folder

    # -- actions

    async def put_action(self, name: str, wanted: WantedAction, *, overwrite: bool = True) -> ActionDocument:
        """Create the action, or with `overwrite` change an existing one. Raises InvalidInput or ActionExists."""
        store = started(self._store)
        async with self._changing:
            if name in self._known and not overwrite:
                raise ActionExists(f"action {name} already exists: update it")
            before = await store.action_document(f"{NAMESPACE}/{name}") if name in self._known else None
            document = await asyncio.to_thread(
                action_document, NAMESPACE, name, wanted, before, self.manifest, ActionRules()
            )
            await store.put_action(document)
            stored = await self.action(name)
            self._known[name] = _without_code(stored)
            return stored

    async def action(self, name: str) -> ActionDocument:
        """The action with its code. Raises NotKnown."""
        document = await started(self._store).action_document(f"{NAMESPACE}/{name}")
        if document is None:
            raise NotKnown(name, "action")
        return document

    def actions(self) -> list[ActionDocument]:
        """All actions by name, without their code."""
        return [self._known[name] for name in sorted(self._known)]

    async def delete_action(self, name: str) -> ActionDocument:
        """Returns the deleted action, without its code. Its activations in progress may fail. Raises NotKnown."""
        async with self._changing:
            if name not in self._known:
                raise NotKnown(name, "action")
            await started(self._store).delete_action(f"{NAMESPACE}/{name}")
            return self._known.pop(name)

    # -- activations

    async def invoke(
        self,
        name: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        blocking: bool = True,
        wait: float | None = BLOCKING_WAIT,
        key: str | None = None,
    ) -> Invoked:
        """Run the action. With `blocking` returns when its result is known, or after `wait` seconds; None waits
        without limit.

        `parameters` override the action's own. When this returns, the activation is durable: it will have a record
        that agrees with the result, whatever happens to the process. With a `key` (chosen by the caller, 1 to 255
        characters) it is invoked once: a repetition gets the same activation, and also waits for its result. Raises
        NotKnown, InvalidInput, KeyReused, TooManyActivations, JournalFailed, EmbeddedStoreFailed.
        """
        journal, keys = started(self._journal), self._keys
        request = keys.request(key, name, parameters or {}, blocking=blocking) if key is not None else None
        activation_id = keys.find(request) if request is not None else None
        if activation_id is None:
            message = self._message(name, parameters or {}, blocking)
            activation_id = message.activation_id
            # It begins without a wait for the disk: its container is not asked before the journal has it.
            journal.take(activation_id, encode(message), keys.add(request, activation_id))
            self._activate(message)
        return await self._invoked(activation_id, request, blocking=blocking, wait=wait)

    async def _invoked(
        self, activation_id: str, request: KeyedRequest | None, *, blocking: bool, wait: float | None
    ) -> Invoked:
        """What became of it, as far as it is known within `wait` seconds."""
        run, durable = self._run(activation_id), started(self._journal).taken(activation_id)
        if run is not None and blocking:
            await asyncio.wait([run.result], timeout=wait)
        try:
            await durable
        except JournalFailed:
            self._keys.discard(request)
            raise
        if run is not None:
            result = run.result.result() if run.result.done() else None
            # What is told is what the record will say, whatever happens to the process.
            if result is not None and run.ended.done():  # the record is on its way already
                await started(self._store).written(activation_id)
            elif result is not None:
                await started(self._journal).end(activation_id, encode(result))
            return Invoked(activation_id, result)
        record = await started(self._store).activation(activation_id) if blocking else None
        return Invoked(activation_id, record.without_logs() if record is not None else None)

    def _activate(self, message: ActivationMessage) -> None:
        started(self._invoker).activate(InFlight(message, started(self._host).now()))

    def _run(self, activation_id: str) -> InFlight | None:
        """None for one that has ended, or is unknown."""
        return started(self._invoker).in_flight.find(activation_id)

    def _message(self, name: str, parameters: Mapping[str, Any], blocking: bool) -> ActivationMessage:
        action = self._known.get(name)
        if action is None:
            raise NotKnown(name, "action")
        self.manifest.runnable(action.exec.kind)
        message = activation_message(action, parameters, started(self._host).now(), blocking=blocking)
        if len(started(self._invoker).in_flight) >= MAX_WAITING:
            raise TooManyActivations(f"{MAX_WAITING} activations have not ended yet: invoke again later")
        return message

    async def find(self, name: str) -> str:
        """The whole id of an activation, by a unique beginning. Raises NotKnown and Ambiguous."""
        found = await self.whole_id(name)
        if found is None:
            raise NotKnown(name, "activation")
        return found

    async def _ended_that_begin(self, text: str) -> list[str]:
        return await started(self._store).ids_that_begin(text, _MOST_CANDIDATES)

    async def _ended_one(self, activation_id: str) -> EndedActivation:
        return EndedActivation.of(await self.activation(activation_id))

    async def cancel(self, activation_id: str) -> Activation:
        """End an activation that waits for a container; return its record, an application error.

        Raises NotKnown and CannotCancel.
        """
        run = self._run(activation_id)
        if run is None:
            await self.activation(activation_id)
            raise CannotCancel(f"activation {activation_id} has ended already")
        if not started(self._invoker).cancel(run):
            raise CannotCancel(f"activation {activation_id} has begun already: it ends by itself, or by its time limit")
        return await self.activation(activation_id)

    def unfinished(self, *, name: str | None = None, limit: int = 30, skip: int = 0) -> list[UnfinishedActivation]:
        """Activations that wait or run, the latest first."""
        runs = [run for run in started(self._invoker).in_flight.all() if name in (None, run.message.action.name)]
        return unfinished(runs[::-1][skip : skip + limit], started(self._host).pool)

    async def activation(self, activation_id: str) -> Activation:
        """The record of an activation that has ended; waits for its log if its result is known.

        Raises NotKnown and NotEnded."""
        run = self._run(activation_id)
        if run is not None and run.result.done():
            await asyncio.wait([run.ended], timeout=LOGS_WAIT)
        found = await started(self._store).activation(activation_id)
        if found is None:
            if run is not None:
                raise NotEnded(activation_id, run)
            raise NotKnown(activation_id, "activation")
        return found

    async def ended(self, activation_id: str) -> Activation:
        """As `activation`, but waits until it has ended. Raises NotKnown."""
        run = self._run(activation_id)
        if run is not None:
            await asyncio.wait([run.ended])
        return await self.activation(activation_id)

    async def activations(self, *, name: str | None = None, limit: int = 30, skip: int = 0) -> list[Activation]:
        """The records of ended activations, the last first. Waits for the logs of those whose result is known."""
        logs = [run.ended for run in started(self._invoker).in_flight.all() if run.result.done()]
        if logs:
            await asyncio.wait(logs, timeout=LOGS_WAIT)
        return list(await started(self._store).activations(name=name, limit=limit, skip=skip))

    # -- what is to be seen

    def counts(self) -> Counts:
        state = started(self._host).pool.state
        counts, starts = state.counts, state.counts.starts
        return Counts(
            warm=starts[StartKind.WARMED] + starts[StartKind.WARMING],
            prewarmed=starts[StartKind.PREWARMED],
            cold=starts[StartKind.COLD] + starts[StartKind.RECREATED],
            failed=counts.failed,
            evicted=counts.evicted,
            waiting=len(state.buffer),
            running=len(state.running),
        )


def _without_code(document: ActionDocument) -> ActionDocument:
    return msgspec.structs.replace(document, exec=msgspec.structs.replace(document.exec, code=None))
