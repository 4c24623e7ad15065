"""The library's face: a Mesos framework in a few lines, for people who write their own.

    async with owmesos.Framework(master="zk://…", name="batch", role="batch") as framework:
        launch = await framework.launch(owmesos.Launch("make test", cpus=1, mem=512))
        await launch.running()
        await launch.ended()

Leaving the block sends TEARDOWN unless `state` is given: without a stored framework id its tasks would live on for
`failover_timeout`, a week, with nobody to stop them.
"""

from __future__ import annotations

import asyncio
import getpass
import logging
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from owmesos import documents
from owmesos.core import listings as core_listings
from owmesos.core.container_factory import CONTAINERS_STOP, InvokerHost, PoolRecipe
from owmesos.core.listings import instant
from owmesos.core.node_stats import NodeStatsUpdate
from owmesos.core.status import ProcessFacts
from owmesos.errors import InvalidInput
from owmesos.mesos import listings
from owmesos.mesos.container_factory import PooledScheduler, launch_of
from owmesos.mesos.messages import ID, Subscribe, Teardown
from owmesos.mesos.scheduler.launch import Launch
from owmesos.mesos.scheduler.scheduler import Scheduler
from owmesos.mesos.scheduler.settings import Settings, framework_info
from owmesos.mesos.status import status
from owmesos.mesos.wire.access import Access, Tls
from owmesos.mesos.wire.address import Credentials, parse_master, shown
from owmesos.mesos.wire.agent_files import AgentFiles
from owmesos.mesos.wire.detector import access_for, detector_for
from owmesos.mesos.wire.driver import Driver
from owmesos.mesos.wire.http_driver import HttpDriver
from owmesos.mesos.wire.leased import leased_detector, leased_driver
from owmesos.mesos.wire.operator_client import OperatorClient
from owmesos.resources import Resources
from owmesos.service.errors import FrameworkStopped, NotKnown
from owmesos.service.keep import Kept
from owmesos.service.keyed_answers import KeyedAnswers
from owmesos.service.launch_requests import LaunchRequests
from owmesos.service.local_master import ANY_PORT, LOCAL, LocalMaster
from owmesos.service.shell import Shell
from owmesos.service.status import StatusSource, own_version
from owmesos.service.stopped import Stopped
from owmesos.storage import ForgetAnswer
from owmesos.storage.places import store_of
from owmesos.system.clock import Clock
from owmesos.system.lease import Lease

if TYPE_CHECKING:
    from owmesos.service.mesos_view import MesosView

_log = logging.getLogger("owmesos.service")
AGENT_CONNECTIONS = 100  # to all agents together, for logs


class Framework(LaunchRequests):
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
        driver: Callable[[Subscribe], Driver] | None = None,
        pool: PoolRecipe | None = None,
        lease: Lease | None = None,
    ) -> None:
        """`master`: `host:port[,…]`, `https://…` or `zk://…/path`; or `local`, a simulated cluster that ends with the
        framework. `state`: a folder, or `zk://…/path`, that keeps the framework id and the launches. `new_framework`
        forgets what is kept there. Agents with less free than `least_offer` are not offered at all. `driver` builds
        another wire than our own. `pool` puts a container pool on the scheduler. With `lease` nothing is sent to the
        cluster while that does not hold: another process may lead then.

        Raises InvalidInput; StateInUse when another process owns the state.
        """
        super().__init__()
        if not isinstance(master, str):
            raise InvalidInput(f"the master must be a text, as 127.0.0.1:5050, not {master!r}")
        if not isinstance(state, (str, Path, type(None))):
            raise InvalidInput(f"the state must be a folder or zk://…, not {state!r}")
        self._settings = settings if settings is not None else Settings()
        self._keeps = state is not None
        if (principal is None) != (secret is None):
            raise InvalidInput("a principal needs a secret, and a secret needs a principal")
        credentials = Credentials.given(principal, secret)
        self._local = LocalMaster() if master == LOCAL else None
        if self._local is not None and (credentials is not None or tls is not None):
            raise InvalidInput("the local cluster has credentials of its own: leave principal, secret and tls out")
        address = ANY_PORT if self._local is not None else master
        self._masters = parse_master(address, credentials_allowed=True, tls=tls is not None)
        self._access = access_for(self._masters, Access(credentials, tls if tls is not None else Tls()))
        self._master_text = shown(master)
        self._build_driver = driver
        self._recipe = pool
        for spec in pool.samples if pool is not None else ():
            launch_of(spec)
        roles = (role,) if isinstance(role, str) else tuple(role)
        self._info = framework_info(
            name=name,
            user=user if user is not None else _own_name(),
            roles=roles,
            principal=self._access.credentials.principal if self._access.credentials is not None else None,
            gpus=self._settings.gpus,
            webui_url=webui_url,
            least_offer=least_offer,
        )
        self._lease = lease
        self._store = store_of(state, forget=new_framework, lease=lease)
        self._torn_down = False
        self._streams: list[asyncio.Queue[NodeStatsUpdate]] = []

    # -- life

    async def __aenter__(self) -> Framework:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop(teardown=not self._keeps)

    async def start(self) -> None:
        """Take up what was stored, and begin to subscribe. Does not wait for a master."""
        if self._shell is not None:
            raise InvalidInput("the framework has already been started")
        if self._stopped is not None:
            raise InvalidInput("the framework has stopped and cannot start again: make another owmesos.Framework")
        self._starts_here()
        try:
            await self._start()
        except BaseException:
            if self._local is not None:
                await asyncio.to_thread(self._local.down)
            raise

    async def _start(self) -> None:
        saved = await asyncio.to_thread(self._store.load)
        clock = Clock()
        info = self._info
        if self._local is not None:
            self._masters, credentials = await asyncio.to_thread(self._local.up)
            self._access = Access(credentials, self._access.tls)
            info = msgspec.structs.replace(info, principal=credentials.principal)
        if saved.framework_id is not None:
            info = msgspec.structs.replace(info, id=ID(saved.framework_id))
        subscription = Subscribe(info)
        detector = leased_detector(detector_for(self._masters), self._lease)
        driver = (
            self._build_driver(subscription)
            if self._build_driver is not None
            else HttpDriver(detector, subscription, self._access)
        )
        self._answers = KeyedAnswers(await asyncio.to_thread(self._store.answers), clock.now())
        if self._answers.outlived:
            await asyncio.to_thread(self._store.commit, [ForgetAnswer(key) for key in self._answers.outlived])
        scheduler = Scheduler(self._settings, info)
        scheduler.restore(saved.records, clock.now(), saved.unreadable, sent_until=saved.sent_until)
        for each in scheduler.state.unreadable.values():
            _log.warning(
                "the stored launch %s cannot be read and is set aside: it stays in the state, and its task is left"
                " alone: %s",
                each.launch_id,
                each.reason,
            )
        self._log_taken_up(scheduler, saved.framework_id)
        operator = OperatorClient(detector, self._access)
        pooled = PooledScheduler.of(self._recipe, scheduler) if self._recipe is not None else None
        files = AgentFiles(
            lambda: self.access.session(secure=self.secure, connections=AGENT_CONNECTIONS, lasting=True),
            secure=self.secure,
        )
        self._shell = Shell(scheduler, leased_driver(driver, self._lease), operator, self._store, clock, pooled, files)
        self._shell.changed.append(self._changed)
        self._shell.stats.append(self._stats)
        self._shell.ended.append(self._ended)
        self._status = StatusSource(partial(self._make_status, self._shell, clock.now()))
        self._shell.start()

    @staticmethod
    def _log_taken_up(scheduler: Scheduler, framework_id: str | None) -> None:
        """Log what an earlier process left; nothing at the first start."""
        if framework_id is None:
            return
        records = scheduler.state.launches.values()
        waiting = sum(record.state.waiting for record in records)
        live = sum(record.state.live for record in records)
        _log.info(
            "taking over framework %s; launches: %d with a task, %d waiting, %d ended, %d set aside",
            framework_id,
            live,
            waiting,
            len(records) - live - waiting,
            len(scheduler.state.unreadable),
        )

    async def stop(self, *, teardown: bool) -> None:
        """Stop this process's part. `teardown` also ends the framework at the master and kills all its tasks,
        except when the framework has stopped because another process took over its id, or no master knows it."""
        shell = self._shell
        if shell is None:
            return
        self._check_home()
        try:
            if teardown and self.framework_id is not None and not shell.let_go and not self._torn_down:
                await self._tear_down(shell)
        finally:
            shell.stop("this program has stopped it", 0)
            self._shell = None
            await shell.close()
            await asyncio.to_thread(self._store.close)
            if self._local is not None:
                await asyncio.to_thread(self._local.down)

    async def stop_containers(self, timeout: float = CONTAINERS_STOP) -> bool:
        """To be called before `stop`: the pool decides nothing more, and all its containers are stopped, also busy
        ones.

        False if not all of them ended within `timeout` seconds; the next start stops the others.
        """
        return await self._running().stop_containers(timeout)

    async def teardown(self) -> str:
        """TEARDOWN: all tasks are killed, the id is forgotten, `finished` returns. The framework id.

        Raises CallFailed (NotSubscribed, CallRefused, CallUnknown) or FrameworkStopped, and then nothing is forgotten.
        """
        return await self._tear_down(self._active())

    async def _tear_down(self, shell: Shell) -> str:
        framework_id = self.framework_id
        if framework_id is None:
            raise InvalidInput("the framework has no id yet: it has not subscribed")
        await shell.outbox.flushed()
        shell.tearing_down = True
        try:
            await shell.driver.call(Teardown())
        except BaseException:
            shell.tearing_down = False
            raise
        self._torn_down = True
        await shell.forget()
        shell.stop("torn down", 0)
        return framework_id

    async def finished(self) -> Stopped:
        """Returns when the process should end, and why: the master refuses us, another has our id, teardown."""
        return self._stopped if self._stopped is not None else await self._running().finished()

    @property
    def stopped(self) -> Stopped | None:
        """What `finished` returns, once it does."""
        return self._stopped

    @property
    def subscribed(self) -> bool:
        return self._shell is not None and self._shell.scheduler.state.connected

    def renew_access(self) -> bool:
        return self._access.renew()

    def renew_secret(self, secret: str) -> bool:
        return self._access.renew_secret(secret)

    @property
    def access(self) -> Access:
        """How this framework authenticates to the masters and agents."""
        return self._access

    @property
    def secure(self) -> bool:
        """Whether agents are spoken to by https: where the masters are. TLS is libprocess's own, so the daemons of a
        cluster have it all or none (docs/ssl.md)."""
        return self._masters.scheme == "https"

    @property
    def framework_id(self) -> str | None:
        info = self._shell.scheduler.state.info if self._shell is not None else self._info
        return info.id.value if info.id is not None else None

    @property
    def shell(self) -> Shell:
        """Carries out the decisions. Raises InvalidInput before `start`."""
        return self._running()

    @property
    def view(self) -> MesosView:
        """What the admin API shows of it. Raises InvalidInput before `start`."""
        from owmesos.service.mesos_view import MesosView  # it brings a web server and prometheus_client

        return MesosView(self._running(), self.record)

    @property
    def host(self) -> InvokerHost:
        """What an invoker needs of this process. Raises InvalidInput before `start`, and without a pool."""
        if self._recipe is None:
            raise InvalidInput("an invoker needs a framework with a pool: pass `pool`")
        return self._running()

    def keep(self, launch: Launch, wanted: int) -> Kept:
        """Keep `wanted` instances of `launch` alive within an `async with` block. Raises InvalidInput."""
        return Kept(self, launch, wanted)

    # -- what is to be seen

    def health(self) -> documents.HealthDocument:
        """Whether the master has us."""
        return {"subscribed": self.subscribed, "framework_id": self.framework_id}

    @property
    def leads(self) -> bool:
        """Whether it may act: always without `run --ha`, else while its lead is proven."""
        return self._lease is None or self._lease.holds

    def status(self, invoker: documents.InvokerStatus | None = None) -> documents.StatusDocument:
        """What somebody on call looks at first, including the status of an `invoker` in this process."""
        self._running()
        return self._status.document(invoker)

    def _make_status(self, shell: Shell, started_at: float) -> documents.StatusDocument:
        master, pooled, away = shell.driver.master, shell.pooled, self.state_away()
        process = ProcessFacts(
            version=own_version("owmesos"),
            started_at=started_at,
            servers=self._master_text,
            server=str(master) if master is not None else None,
            state_trouble=None if away is None else {"reason": away.reason, "since": instant(away.since)},
        )
        return status(shell.scheduler.state, shell.clock.now(), process, pooled.pool if pooled is not None else None)

    def nodes(self) -> list[documents.NodeDocument]:
        shell = self._running()
        return listings.nodes(shell.scheduler.state, shell.clock.now())

    def offers(self, *, outstanding: bool = False) -> list[documents.OfferDocument]:
        shell = self._running()
        return listings.offers(shell.scheduler.state, shell.clock.now(), outstanding=outstanding)

    def reservations(self) -> list[documents.ReservationDocument]:
        shell = self._running()
        return core_listings.reservations(shell.scheduler.state.ledger, shell.clock.now())

    def unreadable(self) -> list[documents.UnreadableDocument]:
        """The stored launches that are set aside."""
        return listings.unreadable(self._running().scheduler.state)

    def containers(self) -> list[documents.ContainerDocument]:
        """The pool's containers; empty without a pool."""
        shell = self._running()
        return core_listings.containers(shell.pooled.pool, shell.scheduler.state.ledger) if shell.pooled else []

    def explain(self, name: str) -> documents.LaunchExplanation | documents.ActivationExplanation:
        """Why a launch waits, or an activation. Raises NotKnown."""
        shell = self._running()
        if shell.pooled is not None and listings.find(shell.scheduler.state, name) is None:
            trouble = listings.connection_trouble(shell.scheduler.state)
            found = core_listings.activation_explanation(shell.pooled.pool, name, trouble)
            if found is None:
                raise NotKnown(name, "launch, task, container or unfinished activation")
            return found
        return self.explain_launch(name)

    async def node_stats(self) -> AsyncGenerator[NodeStatsUpdate, None]:
        """What all agents have now, then every change. Ends with `teardown` and `stop`; raises FrameworkStopped when
        the framework stops otherwise, or has stopped.
        """
        shell = self._active()
        queue: asyncio.Queue[NodeStatsUpdate] = asyncio.Queue()
        queue.put_nowait(shell.scheduler.state.stats_now())
        self._streams.append(queue)
        finished = asyncio.ensure_future(shell.finished())
        try:
            while not (finished.done() and queue.empty()):
                update = asyncio.ensure_future(queue.get())
                try:
                    await asyncio.wait([update, finished], return_when=asyncio.FIRST_COMPLETED)
                finally:
                    update.cancel()  # without effect where it is done
                if update.done():
                    yield update.result()
        finally:
            finished.cancel()
            self._streams.remove(queue)
        stopped = await finished
        if stopped.exit_code:
            raise FrameworkStopped(stopped)

    def _ended(self, stopped: Stopped) -> None:
        self._stopped = stopped
        self._all_changed()

    def _stats(self, update: NodeStatsUpdate) -> None:
        for queue in self._streams:
            queue.put_nowait(update)


def _own_name() -> str:
    """Whom tasks run as by default. Raises InvalidInput."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # OSError since Python 3.13
        raise InvalidInput(
            f"user id {os.getuid()} of this process has no user name: give the user that tasks run as"
            " (`user`, --user), or set USER"
        ) from None
