"""The library's face: a Mesos framework in a few lines, for people who write their own.

    async with owmesos.Framework(master="zk://…", name="batch", role="batch") as framework:
        launch = await framework.launch(owmesos.Launch(command="make test", cpus=1, mem=512))
        await launch.running()
        await launch.ended()

Leaving the block sends TEARDOWN unless `state` is given: without a stored framework id its tasks would live on for
`failover_timeout`, a week, with nobody to stop them.
"""

from __future__ import annotations

import asyncio
import getpass
import secrets
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import msgspec

from owmesos.core.launch import Launch
from owmesos.core.launches import LaunchRecord
from owmesos.core.lifecycle import State
from owmesos.core.node_stats import NodeStatsUpdate
from owmesos.errors import InvalidInput, OwmesosError
from owmesos.mesos import listings, pool_listings
from owmesos.mesos.access import Access, Tls
from owmesos.mesos.address import Credentials, parse_master
from owmesos.mesos.client import HttpDriver
from owmesos.mesos.container_factory import PooledScheduler
from owmesos.mesos.detector import access_for, detector_for
from owmesos.mesos.driver import CallFailed, Driver, Subscription
from owmesos.mesos.events import KillLaunch, Submit, Submits
from owmesos.mesos.messages import ID, Teardown
from owmesos.mesos.operator import OperatorClient
from owmesos.mesos.scheduler import Scheduler
from owmesos.mesos.settings import Settings, framework_info
from owmesos.mesos.task_info import template
from owmesos.resources import Resources
from owmesos.service.clock import Clock
from owmesos.service.shell import Shell, Stopped
from owmesos.storage import ForgetFramework, MemoryStore, SQLiteStore, Store

Document = dict[str, Any]
Milestone = Literal["running", "ended"]
CONTAINERS_STOP = 10.0  # seconds; for the containers of a pool to end, when the process does
_LOOK = 0.05  # seconds


class NotKnown(OwmesosError):
    """No launch or task has this id, or whatever else was asked for by a name."""

    def __init__(self, name: str, what: str = "launch or task") -> None:
        super().__init__(f"there is no {what} {name}")


class LaunchFailed(OwmesosError):
    """The launch did not run; the text says why. `document` is what `owmesos launches` shows of it."""

    def __init__(self, document: Document) -> None:
        why = document["message"] or document["reason"] or "no reason is known"
        super().__init__(f"launch {document['launch_id']} is {document['state']}: {why}")
        self.document = document


class LaunchHandle:
    """One launch that was asked for, and stored."""

    def __init__(self, framework: Framework, launch_id: str) -> None:
        self._framework = framework
        self.id = launch_id

    async def running(self) -> Document:
        """Returns when its task runs, or once ran. Raises LaunchFailed when it ended, or is overdue, without."""
        record = await self._framework.wait_for(self.id, lambda record: _reached(record, "running"))
        document = self.document()
        if not record.ran:
            raise LaunchFailed(document)
        return document

    async def ended(self) -> Document:
        """Returns when it is over, however it ended: look at `state`."""
        await self._framework.wait_for(self.id, lambda record: record.state.ended)
        return self.document()

    async def kill(self) -> None:
        """Asks for its end; returns when that is stored. KILL is repeated until the end is seen."""
        await self._framework.kill(self.id)

    @property
    def state(self) -> State:
        return self._framework.record(self.id).state

    def document(self) -> Document:
        """What `owmesos launches -o json` shows of it."""
        return self._framework.launches([self.id])[0]

    def explain(self) -> Document:
        return self._framework.explain(self.id)

    def story(self) -> Document:
        return self._framework.story(self.id)


class Framework:
    """One framework on one cluster, within one event loop. See the module's text for its use."""

    def __init__(
        self,
        *,
        master: str,
        name: str = "owmesos",
        role: str | Sequence[str] = "*",
        user: str | None = None,
        state: str | Path | None = None,
        principal: str | None = None,
        secret: str | None = None,
        tls: Tls | None = None,
        settings: Settings | None = None,
        new_framework: bool = False,
        webui_url: str | None = None,
        least_offer: Resources | None = None,
        driver: Callable[[Subscription], Driver] | None = None,
        pool: Callable[[Scheduler], PooledScheduler] | None = None,
    ) -> None:
        """`master`: `host:port[,…]`, `https://…` or `zk://…/path`. `state`: a folder that keeps the framework id and
        the launches. `new_framework` forgets what is kept there. Agents with less free than `least_offer` are not
        offered at all. `driver` builds another wire than our own. `pool` puts a container pool
        on the scheduler.

        Raises InvalidInput; StateInUse when another process owns the folder.
        """
        self._settings = settings if settings is not None else Settings()
        self._keeps = state is not None
        masters = parse_master(master, credentials_allowed=True, tls=tls is not None)
        if (principal is None) != (secret is None):
            raise InvalidInput("a principal needs a secret, and a secret a principal")
        credentials = Credentials(principal, secret) if principal is not None and secret is not None else None
        self._access = access_for(masters, Access(credentials, tls if tls is not None else Tls()))
        self._masters = masters
        self._build_driver = driver
        self._build_pool = pool
        roles = (role,) if isinstance(role, str) else tuple(role)
        self._info = framework_info(
            name=name,
            user=user if user is not None else getpass.getuser(),
            roles=roles,
            principal=self._access.credentials.principal if self._access.credentials is not None else None,
            gpus=self._settings.gpus,
            webui_url=webui_url,
            least_offer=least_offer,
        )
        self._store: Store = SQLiteStore(Path(state), forget=new_framework) if state is not None else MemoryStore()
        self._shell: Shell | None = None
        self._torn_down = False
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._streams: list[asyncio.Queue[NodeStatsUpdate]] = []

    # -- life

    async def __aenter__(self) -> Framework:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop(teardown=not self._keeps)

    async def start(self) -> None:
        """Take up what was stored, and begin to subscribe. Does not wait for a master."""
        if self._shell is not None:
            raise InvalidInput("the framework is started already")
        saved = await asyncio.to_thread(self._store.load)
        clock = Clock()
        info = self._info
        if saved.framework_id is not None:
            info = msgspec.structs.replace(info, id=ID(saved.framework_id))
        subscription = Subscription(info)
        detector = detector_for(self._masters)
        driver = (
            self._build_driver(subscription)
            if self._build_driver is not None
            else HttpDriver(detector, subscription, self._access)
        )
        scheduler = Scheduler(self._settings, info)
        scheduler.restore(saved.records, clock.now())
        operator = OperatorClient(detector, self._access)
        pooled = self._build_pool(scheduler) if self._build_pool is not None else None
        self._shell = Shell(scheduler, driver, operator, self._store, clock, pooled)
        self._shell.changed.append(self._changed)
        self._shell.stats.append(self._stats)
        self._shell.start()

    async def stop(self, *, teardown: bool) -> None:
        """End the process's part. `teardown` ends the framework at the master too, and kills all its tasks."""
        if self._shell is None:
            return
        try:
            if teardown and self.framework_id is not None:
                await self.teardown()
        finally:
            shell, self._shell = self._shell, None
            shell.stop("stopped", 0)
            await shell.close()
            await asyncio.to_thread(self._store.close)

    async def stop_containers(self, timeout: float = CONTAINERS_STOP) -> bool:
        """Before `stop`: the pool decides nothing more, and all its containers are stopped, whatever is in them.

        False when not all were seen to end within `timeout` seconds; the next start sees to the others.
        """
        shell = self._running()
        if self._torn_down:  # the master has killed them, and nothing more may be stored
            return True
        shell.retire()
        await shell.flushed()
        until = asyncio.get_running_loop().time() + timeout
        while shell.pooled is not None and shell.pooled.living():
            if not self.subscribed or asyncio.get_running_loop().time() > until:
                return False
            await asyncio.sleep(_LOOK)
        return True

    async def teardown(self) -> str:
        """TEARDOWN: all tasks are killed, the id is forgotten, `finished` returns. The framework id.

        Raises CallFailed (NotSubscribed, CallRefused, CallUnknown), and then nothing is forgotten.
        """
        shell = self._running()
        framework_id = self.framework_id
        if framework_id is None:
            raise InvalidInput("the framework has no id yet: it was never subscribed")
        await shell.flushed()
        await shell.call(Teardown())
        self._torn_down = True
        await asyncio.to_thread(self._store.commit, [ForgetFramework()])
        shell.stop("torn down", 0)
        return framework_id

    async def finished(self) -> Stopped:
        """Returns when the process should end, and why: the master refuses us, another has our id, teardown."""
        return await self._running().finished()

    @property
    def subscribed(self) -> bool:
        return self._shell is not None and self._shell.scheduler.books.connected

    @property
    def access(self) -> Access:
        """Who we are, to the masters and to the agents."""
        return self._access

    @property
    def secure(self) -> bool:
        """Whether agents are spoken to by https: where the masters are. TLS is libprocess's own, so the daemons of a
        cluster have it all or none (docs/ssl.md)."""
        return self._masters.scheme == "https"

    @property
    def framework_id(self) -> str | None:
        info = self._shell.scheduler.books.info if self._shell is not None else self._info
        return info.id.value if info.id is not None else None

    @property
    def shell(self) -> Shell:
        """What carries the decisions out: for an invoker, which adds its own. Raises InvalidInput before `start`."""
        return self._running()

    # -- launches

    async def launch(self, launch: Launch) -> LaunchHandle:
        """Ask for one container. It is stored when this returns. Raises InvalidInput."""
        return (await self.launch_many([launch]))[0]

    async def launch_many(self, launches: Iterable[Launch]) -> list[LaunchHandle]:
        """The same for several: all are checked before the first is asked for."""
        shell = self._running()
        submits = tuple(Submit(_new_id(launch), launch, template(launch)) for launch in launches)
        shell.deliver(Submits(submits))
        await shell.flushed()
        return [LaunchHandle(self, submit.launch_id) for submit in submits]

    async def kill(self, name: str) -> LaunchHandle:
        """By launch or task id; returns when the wish is stored. Raises NotKnown."""
        shell = self._running()
        record = self.record(name)
        shell.deliver(KillLaunch(record.id))
        await shell.flushed()
        return LaunchHandle(self, record.id)

    def record(self, name: str) -> LaunchRecord:
        """What is known of a launch, by its id or a task's. To be read, not changed. Raises NotKnown."""
        found = listings.find(self._running().scheduler.books, name)
        if found is None:
            raise NotKnown(name)
        return found

    async def wait(self, names: Sequence[str], until: Milestone, timeout: float | None = None) -> bool:
        """True once all of them are there; False after `timeout` seconds. Raises NotKnown."""
        waits = [self.wait_for(name, lambda record: _reached(record, until)) for name in names]
        try:
            await asyncio.wait_for(asyncio.gather(*waits), timeout)
        except asyncio.TimeoutError:
            return False
        return True

    async def wait_for(self, name: str, reached: Callable[[LaunchRecord], bool]) -> LaunchRecord:
        """Returns once `reached` is true of the launch. Raises NotKnown, also when it was forgotten meanwhile."""
        record = self.record(name)
        while not reached(record):
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(record.id, []).append(waiting)
            await waiting
            record = self.record(record.id)
        return record

    # -- what is to be seen

    def nodes(self) -> list[Document]:
        shell = self._running()
        return listings.nodes(shell.scheduler.books, shell.clock.now())

    def offers(self, *, outstanding: bool = False) -> list[Document]:
        shell = self._running()
        return listings.offers(shell.scheduler.books, shell.clock.now(), outstanding=outstanding)

    def reservations(self) -> list[Document]:
        shell = self._running()
        return listings.reservations(shell.scheduler.books, shell.clock.now())

    def launches(self, names: Iterable[str] | None = None) -> list[Document]:
        """All, or those named. Raises NotKnown."""
        ids = None if names is None else [self.record(name).id for name in names]
        return listings.launches(self._running().scheduler.books, ids)

    def containers(self) -> list[Document]:
        """The pool's; none where there is no pool."""
        pooled = self._running().pooled
        return pool_listings.containers(pooled.pool) if pooled is not None else []

    def explain(self, name: str) -> Document:
        """Why a launch waits, or an activation. Raises NotKnown."""
        shell = self._running()
        if shell.pooled is not None and listings.find(shell.scheduler.books, name) is None:
            found = pool_listings.explanation(shell.pooled.pool, name)
            if found is None:
                raise NotKnown(name, "launch, task, container or unfinished activation")
            return found
        record = self.record(name)
        scheduler = shell.scheduler
        return listings.explanation(scheduler.books, record, scheduler.explain(record.id))

    def story(self, name: str) -> Document:
        """A launch's whole history. Raises NotKnown."""
        return listings.story(self.record(name))

    async def node_stats(self) -> AsyncGenerator[NodeStatsUpdate, None]:
        """What all agents have now, then every change, until the framework stops."""
        shell = self._running()
        queue: asyncio.Queue[NodeStatsUpdate] = asyncio.Queue()
        queue.put_nowait(shell.scheduler.books.stats_now())
        self._streams.append(queue)
        finished = asyncio.ensure_future(shell.finished())
        try:
            while not finished.done():
                update = asyncio.ensure_future(queue.get())
                await asyncio.wait([update, finished], return_when=asyncio.FIRST_COMPLETED)
                if update.done():
                    yield update.result()
                else:
                    update.cancel()
        finally:
            finished.cancel()
            self._streams.remove(queue)

    # -- within

    def _running(self) -> Shell:
        if self._shell is None:
            raise InvalidInput("the framework is not started: use `async with`, or `start`")
        return self._shell

    def _changed(self, launch_id: str) -> None:
        for waiting in self._waiting.pop(launch_id, ()):
            if not waiting.done():
                waiting.set_result(None)

    def _stats(self, update: NodeStatsUpdate) -> None:
        for queue in self._streams:
            queue.put_nowait(update)


def _reached(record: LaunchRecord, until: Milestone) -> bool:
    """`running` counts a launch that once ran, and one that never will."""
    if until == "ended":
        return record.state.ended
    return record.ran or record.overdue or record.state.ended


def _new_id(launch: Launch) -> str:
    return f"{launch.name}-{secrets.token_hex(4)}"


__all__ = ["CallFailed", "Framework", "LaunchFailed", "LaunchHandle", "NotKnown"]
