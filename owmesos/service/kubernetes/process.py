"""The process of an invoker on Kubernetes: started, checked, shown and ended.

Unlike a framework of Mesos it stores nothing of its own: an earlier process's containers are found by their labels, and
deleted.
"""

from __future__ import annotations

import asyncio
import logging

from owmesos import documents
from owmesos.core import listings, status
from owmesos.core.container_factory import InvokerHost, PoolRecipe
from owmesos.core.ledger import LedgerNode
from owmesos.errors import InvalidInput
from owmesos.kubernetes.factory import KubernetesFactory
from owmesos.kubernetes.settings import KubernetesSettings
from owmesos.kubernetes.wire.access import ClusterAccess
from owmesos.kubernetes.wire.api_client import ApiClient
from owmesos.kubernetes.wire.api_errors import ApiRequestFailed
from owmesos.kubernetes.wire.cluster_watch import ClusterWatch
from owmesos.service.errors import NotKnown
from owmesos.service.kubernetes.checks import ClusterNotUsable, check
from owmesos.service.kubernetes.name_claim import ClaimedWatch, NameClaim
from owmesos.service.kubernetes.shell import KubernetesShell
from owmesos.service.kubernetes.view import KubernetesView
from owmesos.service.status import StatusSource, own_version
from owmesos.service.stopped import Stopped
from owmesos.system.clock import Clock, process_time
from owmesos.system.lease import Lease
from owmesos.system.tasks import cancel_all

CONNECT_TIMEOUT = 60.0  # seconds
_AGAIN = 1.0  # seconds between two checks of an API server that does not answer
_log = logging.getLogger("owmesos.service")


class KubernetesProcess:
    """A `ServedProcess`: `async with KubernetesProcess(access, recipe, settings) as process: …`."""

    def __init__(
        self,
        access: ClusterAccess,
        pool: PoolRecipe,
        settings: KubernetesSettings,
        *,
        connect_timeout: float = CONNECT_TIMEOUT,
        lease: Lease | None = None,
        claim: NameClaim | None = None,
    ) -> None:
        """`connect_timeout`: seconds that the API server may be away at the start. With `lease` no pod is created or
        deleted while that does not hold: another process may lead then. With `claim` nothing begins before the name is
        claimed. Raises InvalidInput."""
        self._access = access
        self._settings = settings
        self._connect_timeout = connect_timeout
        self._lease = lease
        self._claim = claim
        self._claimed: ClaimedWatch | None = None
        self._factory = KubernetesFactory.of(pool, settings)
        self._api = ApiClient(access)
        self._shell: KubernetesShell | None = None
        self._stopped: Stopped | None = None
        self._checking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> KubernetesProcess:
        """Does not wait for the API server."""
        clock = Clock()
        shell = self._shell = KubernetesShell(self._factory, self._api, clock, self._lease)
        shell.ended.append(self._ended)
        self._started_at = clock.now()
        self._status = StatusSource(self._make_status)
        self._view = KubernetesView(shell)
        watch = ClusterWatch(self._access, shell.observe_all)
        if self._claim is not None:
            self._claimed = ClaimedWatch(self._claim, watch, lambda reason: shell.stop(reason, 1))
        shell.start(self._claimed or watch)
        self._checking = asyncio.get_running_loop().create_task(self._check(shell), name="checking Kubernetes")
        return self

    async def __aexit__(self, *_: object) -> None:
        shell = self._running()
        if self._checking is not None:
            await cancel_all([self._checking])
        shell.stop("this program has stopped it", 0)
        await shell.close()
        await self._api.close()

    def _ended(self, stopped: Stopped) -> None:
        self._stopped = stopped

    async def _check(self, shell: KubernetesShell) -> None:
        """What cannot mend itself ends the process; an API server that is away may come back."""
        until = asyncio.get_running_loop().time() + self._connect_timeout
        while True:
            try:
                for line in await check(self._api, self._settings.namespace):
                    _log.warning("%s", line)
                return
            except ClusterNotUsable as error:
                shell.stop(str(error), 1)
                return
            except ApiRequestFailed as error:
                if asyncio.get_running_loop().time() >= until:
                    shell.stop(f"{error}; tried for {self._connect_timeout:g} s", 1)
                    return
                pause = error.failure.retry_after or 0.0
            await asyncio.sleep(max(_AGAIN, pause))

    async def may_begin(self) -> None:
        """Returns when an invoker may begin: at once without a claim, else when it has the name."""
        if self._claimed is not None:
            await self._claimed.begun.wait()

    async def finished(self) -> Stopped:
        return await self._running().finished()

    @property
    def stopped(self) -> Stopped | None:
        return self._stopped

    def renew_access(self) -> bool:
        """Whoever made the `ClusterAccess` renews it; files that it names are read at each connection's beginning, or
        when a credential is rejected."""
        return False

    def renew_secret(self, secret: str) -> bool:
        """It has none: kubeconfigs are as above."""
        return False

    @property
    def host(self) -> InvokerHost:
        """Raises InvalidInput before the start."""
        return self._running()

    @property
    def view(self) -> KubernetesView:
        self._running()
        return self._view

    def _running(self) -> KubernetesShell:
        if self._shell is None:
            raise InvalidInput("the process is not started: use `async with`")
        return self._shell

    # -- documents

    def health(self) -> documents.HealthDocument:
        return {"subscribed": self._running().connection.known, "framework_id": None}

    @property
    def leads(self) -> bool:
        return self._lease is None or self._lease.holds

    def status(self, invoker: documents.InvokerStatus | None = None) -> documents.StatusDocument:
        return self._status.document(invoker)

    def _make_status(self) -> documents.StatusDocument:
        shell = self._running()
        known, since, reason = shell.connection
        return {
            "version": own_version("owmesos"),
            "started_at": listings.instant(self._started_at),
            "cluster": {
                "manager": "kubernetes",
                "address": f"{self._access.server}, namespace {self._settings.namespace}",
                "connected": known,
                "since": listings.instant(since),
                "silent_since": None,
                "reason": reason if not known else shell.outbox.pauses.text(process_time()),
            },
            "framework_id": None,
            "name": self._settings.invoker,
            "roles": [],
            "launches": {},
            "unreadable": 0,
            "state_trouble": None,
            "queue": {"length": 0, "oldest": None},
            "containers": status.counts(container.state for container in shell.pool.containers),
            "runs": status.runs(shell.pool, shell.connection_trouble(), shell.now()),
            "invoker": None,
            "nodes": status.nodes(self._view, self._trouble),
        }

    def _trouble(self, agent: LedgerNode) -> str | None:
        """A node outside `--node-selector` is in no trouble: it is not meant for us."""
        state = self._factory.state
        if not state.known or state.capacity.closed.get(agent.agent_id) == "unselected":
            return None
        return self._view.node_trouble(agent)

    def nodes(self) -> list[documents.NodeDocument]:
        self._running()
        return self._view.nodes()

    def reservations(self) -> list[documents.ReservationDocument]:
        self._running()
        return self._view.reservations()

    def containers(self) -> list[documents.ContainerDocument]:
        return listings.containers(self._running().pool, self._running().factory.state.ledger)

    def explain(self, name: str) -> documents.LaunchExplanation | documents.ActivationExplanation:
        shell = self._running()
        story = shell.stories.find(name)
        if story is not None:
            return story.explanation()
        found = listings.activation_explanation(shell.pool, name, shell.connection_trouble())
        if found is None:
            raise NotKnown(name, "container or unfinished activation")
        return found

    def story(self, name: str) -> documents.StoryDocument:
        story = self._running().stories.find(name)
        if story is None:
            raise NotKnown(name, "container")
        return story.document()
