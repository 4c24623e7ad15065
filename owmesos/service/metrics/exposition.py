"""What a scrape answers: everything in Prometheus's text format.

What is decided on is read in the event loop, in slices; the text is made in a thread, since it takes longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from itertools import chain

from prometheus_client import CollectorRegistry, GCCollector, Metric, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from owmesos.service.metrics.cluster import FoundNode, cluster_metrics, node_text, read_nodes
from owmesos.service.metrics.families import gauge, histogram
from owmesos.service.metrics.pool import openwhisk_pool_metrics, pool_metrics
from owmesos.service.served import ClusterView
from owmesos.service.status import own_version

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Exposition:
    """The metrics of one process. One scrape at a time."""

    def __init__(self, view: ClusterView, more: Callable[[], Iterable[Metric]], *, nodes_shown: int) -> None:
        """`more`: the metrics of the extension, read in the event loop. With more nodes than `nodes_shown`, no node has
        series of its own."""
        self._view = view
        self._more = more
        self._nodes_shown = nodes_shown
        self._process = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._process)
        self._scraping = asyncio.Lock()

    async def text(self) -> bytes:
        async with self._scraping:
            found = await self._read()
            nodes = await read_nodes(self._view)
            return await asyncio.to_thread(self._text, found, nodes)

    async def _read(self) -> list[Metric]:
        """All but the nodes'."""
        view, pool = self._view, self._view.pool
        build = {(own_version("owmesos"),): 1.0}
        found = [
            gauge("owmesos_build_info", "1, with the version of owmesos.", build, ["version"]),
            gauge("owmesos_leader", "1 on the process that leads; 0 on a standby of `run --ha`.", 1.0),
            histogram(
                "owmesos_event_loop_lag_seconds",
                "How late the event loop ran what was due, measured twice a second.",
                {(): view.loop_lag.seconds},
            ),
            *chain.from_iterable(view.metrics()),
        ]
        await asyncio.sleep(0)
        if pool is not None:
            found += pool_metrics(pool, view.now())
            await asyncio.sleep(0)
            found += openwhisk_pool_metrics(pool, view.ledger)
        return [*found, *self._more()]

    def _text(self, found: Sequence[Metric], nodes: Sequence[FoundNode]) -> bytes:
        registry = CollectorRegistry()
        not_counted = self._view.not_counted
        registry.register(_Found([*found, *cluster_metrics(nodes, not_counted)]))
        each = node_text(nodes, not_counted) if len(nodes) <= self._nodes_shown else b""
        return generate_latest(registry) + each + generate_latest(self._process)


class _Found(Collector):
    def __init__(self, found: Sequence[Metric]) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        return self._found
