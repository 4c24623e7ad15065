"""Metric families in prometheus_client's form."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from owmesos.core.histogram import Histogram

F = TypeVar("F", GaugeMetricFamily, CounterMetricFamily)
MB = 2**20
"""Bytes."""
Values = float | Mapping[Any, float]
"""One value without labels, or one for each tuple of the labels' values."""


def gauge(name: str, text: str, values: Values, labels: Sequence[str] = ()) -> GaugeMetricFamily:
    return _filled(GaugeMetricFamily(name, text, labels=labels), values)


def counter(name: str, text: str, values: Values, labels: Sequence[str] = ()) -> CounterMetricFamily:
    """`name` without `_total`."""
    return _filled(CounterMetricFamily(name, text, labels=labels), values)


def _filled(family: F, values: Values) -> F:
    for key, value in (values if isinstance(values, Mapping) else {(): values}).items():
        family.add_metric(key, value)
    return family


def waits(noun: str, plural: str, text: str, since: Collection[float], now: float) -> Iterator[Metric]:
    """How many wait, and how long the oldest has; `since` and `now` in seconds since the epoch."""
    yield gauge(f"owmesos_{plural}_waiting", text, len(since))
    yield gauge(
        f"owmesos_{plural}_oldest_wait_seconds",
        f"How long the {noun} that waits longest has waited; 0 if none waits.",
        max(0.0, now - min(since, default=now)),
    )


def histogram(
    name: str, text: str, values: Mapping[tuple[str, ...], Histogram], labels: Sequence[str] = ()
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=labels)
    for key, measured in values.items():
        buckets = [("+Inf" if bound == math.inf else str(bound), count) for bound, count in measured.at_most()]
        family.add_metric(key, buckets, measured.sum)
    return family
