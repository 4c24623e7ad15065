"""What the admin API, the metrics, the dashboard and the logs read of a process on Kubernetes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from prometheus_client import Metric

from owmesos.core import listings
from owmesos.core.explanation import in_words
from owmesos.core.ledger import Account, Ledger, LedgerNode
from owmesos.core.node_stats import NodeStats
from owmesos.core.pool.pool import Pool
from owmesos.dashboard.feed import DashboardFeed, WaitingLaunch
from owmesos.dashboard.history import Span
from owmesos.documents import NodeDocument, ReservationDocument
from owmesos.resources import NOTHING, Resources
from owmesos.service.container_log import ContainerLog, Stream
from owmesos.service.errors import LogMissing, NotKnown
from owmesos.service.kubernetes.shell import KubernetesShell
from owmesos.service.loop_lag import LoopLag
from owmesos.service.metrics.cluster import reservation_metrics
from owmesos.service.metrics.families import counter, gauge


class KubernetesView:
    """A `ClusterView`."""

    def __init__(self, shell: KubernetesShell) -> None:
        self._shell = shell
        self._state = shell.factory.state
        self._used: dict[str, Resources] = {}
        self._used_at = -1

    @property
    def loop_lag(self) -> LoopLag:
        return self._shell.loop_lag

    @property
    def not_counted(self) -> Literal["ports"]:
        return "ports"

    @property
    def pool(self) -> Pool:
        return self._shell.pool

    def now(self) -> float:
        return self._shell.now()

    def connection_trouble(self) -> str | None:
        return self._shell.connection_trouble()

    def follow(self, feed: DashboardFeed) -> None:
        self._shell.show_on(feed)

    def metrics(self) -> Iterator[Iterator[Metric]]:
        yield self._metrics()
        yield reservation_metrics(self.ledger)

    def _metrics(self) -> Iterator[Metric]:
        shell = self._shell
        yield gauge(
            "owmesos_subscribed", "1 while nodes and pods are known as they are now, else 0.", self._state.known
        )
        yield counter(
            "owmesos_kubernetes_watch_lost", "Times that the watches of nodes and pods were lost.", shell.lost
        )
        answers: Counter[tuple[str, str]] = shell.outbox.counts
        yield counter(
            "owmesos_kubernetes_requests",
            "Requests to create and delete pods, by what the API server answered.",
            dict(answers),
            ["verb", "answer"],
        )

    # -- nodes

    @property
    def ledger(self) -> Ledger:
        return self._state.ledger

    @property
    def used(self) -> Mapping[str, Resources]:
        """Taken by our pods, by node, as `free` lacks it. Added up at most once for each state of the factory."""
        if self._used_at != self._shell.steps:
            self._used_at = self._shell.steps
            self._used = {}
            for record in self._state.records.values():
                held = self._state.room.held_by(record.uid) if record.uid is not None else None
                if held is not None:
                    node, taken = held
                    self._used[node] = self._used.get(node, NOTHING).plus(taken)
        return self._used

    def stats(self, account: Account) -> NodeStats:
        return self._state.stats(account)

    def node(self, agent: LedgerNode, account: Account) -> NodeDocument:
        row = listings.node(self, agent, account, self.now(), self.node_reason(agent))
        if self._state.known and agent.gone_at is None:  # while nothing else is heard, nothing has changed
            row |= {"observed_at": listings.instant(self.now()), "age_s": 0.0}
        return row

    def nodes(self) -> list[NodeDocument]:
        """One row a node, by name."""
        agents = sorted(self.ledger.agents.values(), key=lambda agent: agent.hostname)
        return [self.node(agent, account) for agent in agents for account in agent.accounts]

    def node_reason(self, agent: LedgerNode) -> str | None:
        """Why it gets few or no starts."""
        quota = self._state.quota
        short = quota is not None and quota[agent.agent_id] <= 0
        return self.node_trouble(agent) or (self._state.capacity.ration if short else None)

    def node_trouble(self, agent: LedgerNode) -> str | None:
        """The same where the node itself is the cause."""
        if agent.gone_at is not None:
            return f"it has been gone since {listings.instant(agent.gone_at)}"
        if not self._state.known:
            return self.connection_trouble()
        pause = self._state.backoff.agent_pause(agent.agent_id)
        if pause is not None:
            return pause.reason
        closed = self._state.capacity.closed.get(agent.agent_id)
        return f"it {in_words(closed)}" if closed is not None else self._state.backoff.doubt(agent.agent_id)

    def reservations(self, limit: int | None = None) -> list[ReservationDocument]:
        return listings.reservations(self.ledger, self.now(), limit)

    # -- containers

    @property
    def waiting(self) -> int:
        """None but activations, which the pool has."""
        return 0

    def waiting_launches(self, limit: int) -> list[WaitingLaunch]:
        return []

    def span(self, launch_id: str) -> Span | None:
        story = self._shell.stories.find(launch_id)
        return story.span() if story is not None else None

    async def log_of(self, name: str, stream: Stream, live: Callable[[], bool] | None = None) -> ContainerLog:
        story = self._shell.stories.find(name)
        if story is None:
            raise NotKnown(name, "container")
        record = story.record
        streams = self._shell.logs_of(record.id)
        if streams is None:
            raise LogMissing(f"the pod of container {record.id} is gone, and its log with it: it is {story.state}")

        def missing() -> str:
            return f"container {record.id} has no log yet: it is {story.state}"

        place = f"node {record.node or record.start.slot.agent_id}"
        return ContainerLog(streams, stream, place, missing, live if live is not None else lambda: not story.ended)
