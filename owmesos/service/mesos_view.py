"""What the admin API, the metrics and the dashboard read of a framework on Mesos."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal

from prometheus_client import Metric

from owmesos.core import listings as core_listings
from owmesos.core.ledger import Account, Ledger, LedgerNode
from owmesos.core.node_stats import NodeStats
from owmesos.core.pool.pool import Pool
from owmesos.dashboard.feed import DashboardFeed, Reason, WaitingLaunch, reason_of
from owmesos.dashboard.history import Span
from owmesos.documents import NodeDocument, ReservationDocument
from owmesos.mesos import listings
from owmesos.mesos.scheduler.launches import LaunchRecord
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.resources import MILLI, Resources
from owmesos.service.container_log import ContainerLog, Stream
from owmesos.service.loop_lag import LoopLag
from owmesos.service.metrics.launches import launch_metrics, mesos_metrics
from owmesos.service.shell import Shell
from owmesos.service.task_log import log_of_task

_FAILURES = (State.FAILED, State.LOST, State.ERROR)


class MesosView:
    """A `ClusterView`."""

    def __init__(self, shell: Shell, record: Callable[[str], LaunchRecord]) -> None:
        """`record` finds a launch, see `LaunchRequests.record`."""
        self._shell = shell
        self._record = record

    @property
    def loop_lag(self) -> LoopLag:
        return self._shell.loop_lag

    @property
    def not_counted(self) -> Literal["pods"]:
        return "pods"

    @property
    def pool(self) -> Pool | None:
        return self._shell.pooled.pool if self._shell.pooled is not None else None

    def now(self) -> float:
        return self._shell.now()

    def connection_trouble(self) -> str | None:
        return listings.connection_trouble(self._shell.scheduler.state)

    def follow(self, feed: DashboardFeed) -> None:
        self._shell.show_on(feed)

    def metrics(self) -> Iterator[Iterable[Metric]]:
        state = self._shell.scheduler.state
        yield mesos_metrics(state, self._shell.outbox.sent)
        yield launch_metrics(state, self.now())

    # -- nodes

    @property
    def ledger(self) -> Ledger:
        return self._shell.scheduler.state.ledger

    @property
    def used(self) -> Mapping[str, Resources]:
        return self._shell.scheduler.state.used

    def stats(self, account: Account) -> NodeStats:
        return self._shell.scheduler.state.stats(account)

    def node(self, agent: LedgerNode, account: Account) -> NodeDocument:
        return listings.node(self._shell.scheduler.state, agent, account, self.now())

    def reservations(self, limit: int | None = None) -> list[ReservationDocument]:
        return core_listings.reservations(self.ledger, self.now(), limit)

    # -- launches

    @property
    def waiting(self) -> int:
        return len(self._shell.scheduler.state.queue)

    def waiting_launches(self, limit: int) -> list[WaitingLaunch]:
        records = self._shell.scheduler.state.queue.first(limit)
        return [self._waiting(place, record) for place, record in enumerate(records)]

    def _waiting(self, position: int, record: LaunchRecord) -> WaitingLaunch:
        scheduler = self._shell.scheduler
        aside = scheduler.state.set_aside
        own = aside is not None and aside.launch_id == record.id

        def why() -> Reason:
            return reason_of(scheduler.explain(record.id), self.connection_trouble())

        return WaitingLaunch(
            ("launch", record.shape, record.launch.start_key, record.state, own),
            why,
            {
                "id": record.id,
                "kind": "container" if record.managed else "launch",
                "name": record.launch.name,
                "position": position,
                "cpus": record.ask.milli_cpus / MILLI,
                "mem": record.ask.milli_mem / MILLI,
                "since": core_listings.instant(record.queued_at or record.submitted_at),
                "reason": None,
                "nearest": None,
            },
        )

    def span(self, launch_id: str) -> Span | None:
        record = self._shell.scheduler.state.launches.get(launch_id)
        if record is None:
            return None
        return Span(
            id=record.id,
            kind="container" if record.managed else "launch",
            name=record.launch.name,
            state=record.state.value,
            waiting_at=record.submitted_at,
            starting_at=record.accepted_at if not record.state.waiting else None,
            running_at=record.started_at,
            ended_at=record.ended_at,
            agent_id=record.agent_id,
            hostname=record.hostname,
            failed=record.state in _FAILURES,
            message=record.message,
        )

    # -- logs

    async def log_of(self, name: str, stream: Stream, live: Callable[[], bool] | None = None) -> ContainerLog:
        return await log_of_task(self._shell, self._record(name), name, stream, live)
