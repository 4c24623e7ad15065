"""Metrics of an invoker besides its pool's: requests to containers, records, Kafka and CouchDB."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client import Metric

from owmesos.openwhisk.container.runner import RequestTimes
from owmesos.openwhisk.reachability import Reachability
from owmesos.openwhisk.store.activation_writer import ActivationWriter
from owmesos.service.metrics.families import counter, gauge, histogram

if TYPE_CHECKING:  # standalone mode needs no Kafka library
    from owmesos.openwhisk.kafka.feed import Feed

REQUESTS = {"/init": ("init", "activationInit"), "/run": ("run", "activationRun")}
"""What ours and OpenWhisk's names have for each."""


def request_metrics(times: Mapping[str, RequestTimes]) -> Iterator[Metric]:
    """By path."""
    for path, (name, openwhisk) in REQUESTS.items():
        answered, failed = times[path]
        yield histogram(
            f"owmesos_{name}_seconds",
            f"Time of requests to {path} of containers. Answered means status 200 in time.",
            {("answered",): answered, ("failed",): failed},
            ["outcome"],
        )
        text = f"OpenWhisk's name: requests to {path}"
        yield counter(f"counter_invoker_{openwhisk}_start", f"{text}.", answered.count + failed.count)
        yield histogram(f"histogram_invoker_{openwhisk}_finish_seconds", f"{text} that were answered.", {(): answered})
        yield histogram(f"histogram_invoker_{openwhisk}_error_seconds", f"{text} that failed.", {(): failed})


def record_metrics(records: ActivationWriter, waiting: int) -> Iterator[Metric]:
    """`waiting`: how many are not stored yet."""
    yield gauge("owmesos_records_waiting", "Records of activations that are not stored yet.", waiting)
    yield counter("owmesos_records_written", "Records of activations that were stored.", records.written)
    yield counter("owmesos_records_dropped", "Records of activations that were given up.", records.dropped)


def server_metrics(servers: Mapping[str, Reachability]) -> Iterator[Metric]:
    """By the server's name."""
    up = {(name,): float(each.state == "up") for name, each in servers.items()}
    outages = {(name,): float(each.outages) for name, each in servers.items()}
    yield gauge(
        "owmesos_server_up", "1 while the server can be used, 0 while it cannot or was not tried.", up, ["server"]
    )
    yield counter("owmesos_server_outages", "How often the server went down.", outages, ["server"])


def feed_metrics(feed: Feed, topic: str) -> Iterator[Metric]:
    lag = {(topic,): float(feed.lag)}
    yield gauge("owmesos_kafka_lag_messages", "Activations in the topic that are not taken yet.", lag, ["topic"])
    yield gauge("gauge_kafka_topic_counter", "OpenWhisk's name: as owmesos_kafka_lag_messages.", lag, ["topic"])
    yield gauge("owmesos_activations_held", "Activations that were taken and have not ended.", feed.held)
    yield gauge("owmesos_activations_held_bytes", "Bytes in memory of these activations.", feed.weight)
