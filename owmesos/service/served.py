"""A process as the admin API serves it, whatever its cluster manager is: its life, its documents, what follows it.

On Mesos that is the `Framework`, which has launches too; they have routes of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Protocol

from prometheus_client import Metric

from owmesos import documents
from owmesos.core.container_factory import InvokerHost
from owmesos.core.listings import NodeBook
from owmesos.dashboard.feed import DashboardFeed, FeedSource
from owmesos.service.logs import Logs
from owmesos.service.loop_lag import LoopLag
from owmesos.service.stopped import Stopped


class ClusterView(NodeBook, FeedSource, Logs, Protocol):
    """What the metrics, the dashboard and the logs read of a process that has started."""

    @property
    def loop_lag(self) -> LoopLag: ...

    @property
    def not_counted(self) -> Literal["ports", "pods"]:
        """What nodes of this cluster manager have none of, so that it has no metrics."""

    def metrics(self) -> Iterable[Iterable[Metric]]:
        """The metrics that only this cluster manager has."""

    def follow(self, feed: DashboardFeed) -> None:
        """From now on `feed` is told what happens."""


class ServedProcess(Protocol):
    """Started by `async with`; the end of the block ends this process's part."""

    async def __aenter__(self) -> object: ...

    async def __aexit__(self, *_: object) -> None: ...

    async def finished(self) -> Stopped:
        """Returns when the process should end, and why."""

    @property
    def stopped(self) -> Stopped | None:
        """What `finished` returns, once it does."""

    def renew_access(self) -> bool:
        """Read the certificates for the cluster manager again, for new connections, unless that is done at each one
        anyway. Whether there are any. Raises InvalidInput; then the former ones stay."""

    def renew_secret(self, secret: str) -> bool:
        """Authenticate with it from the next subscription on. False if nothing here needs one."""

    @property
    def host(self) -> InvokerHost: ...

    @property
    def view(self) -> ClusterView: ...

    # -- documents

    def health(self) -> documents.HealthDocument: ...

    @property
    def leads(self) -> bool:
        """Whether it may act: always, but in a group of which one process leads."""

    def status(self, invoker: documents.InvokerStatus | None = None) -> documents.StatusDocument:
        """The status of the process, including that of an `invoker` in it."""

    def nodes(self) -> list[documents.NodeDocument]: ...

    def reservations(self) -> list[documents.ReservationDocument]: ...

    def containers(self) -> list[documents.ContainerDocument]: ...

    def explain(self, name: str) -> documents.LaunchExplanation | documents.ActivationExplanation:
        """Why a launch, container or activation waits. Raises NotKnown and Ambiguous."""

    def story(self, name: str) -> documents.StoryDocument:
        """The story of a launch or a container. Raises NotKnown and Ambiguous."""
