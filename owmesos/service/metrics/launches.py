"""Metrics of the scheduler: the subscription, launches, offers and calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import get_args

from prometheus_client import Metric

from owmesos.core.backoff import AtFault
from owmesos.mesos.messages.calls import CALLS
from owmesos.mesos.scheduler.lifecycle import ENDED, State
from owmesos.mesos.scheduler.state import SchedulerState
from owmesos.service.metrics.cluster import reservation_metrics
from owmesos.service.metrics.families import counter, gauge, histogram, waits

OWNERS = {False: "user", True: "pool"}
"""Whose launch it is, by `LaunchRecord.managed`."""


COUNTS = {
    "submitted": ("owmesos_launches_submitted", "Submitted launches."),
    "refused": (
        "owmesos_launches_refused",
        "Starts that the cluster took back since the reserved room was gone; their launches wait again.",
    ),
    "requeued": (
        "owmesos_launches_requeued",
        "Attempts that ended before they ran and were followed by another.",
    ),
}
"""Names and texts of the metrics, by the field of `LaunchCounts`."""


def launch_metrics(state: SchedulerState, now: float) -> Iterator[Metric]:
    """`now` in seconds since the epoch."""
    counts = {(OWNERS[managed],): each for managed, each in state.counts.items()}
    known = Counter((record.state, record.managed) for record in state.launches.values())
    yield gauge(
        "owmesos_launches",
        "Known launches by state, including the latest 1,000 that have ended.",
        {(each.value, owner): known[each, managed] for each in State for managed, owner in OWNERS.items()},
        ["state", "owner"],
    )
    waiting = [record.queued_at for record in state.queue if not record.managed]
    yield from waits("launch", "launches", "Launches that wait for room, without the pool's.", waiting, now)
    yield gauge("owmesos_launches_unreadable", "Stored launches that are set aside.", len(state.unreadable))
    owner = ["owner"]
    for field, (name, text) in COUNTS.items():
        yield counter(name, text, {key: getattr(each, field) for key, each in counts.items()}, owner)
    yield counter(
        "owmesos_launches_ended",
        "Launches that ended, by their last state.",
        {(ended.value, *key): each.ended[ended] for key, each in counts.items() for ended in sorted(ENDED)},
        ["state", "owner"],
    )
    yield counter(
        "owmesos_launch_start_failures",
        "Failed starts, by whose fault it was as far as known at the time.",
        {(blame,): state.backoff.failures[blame] for blame in get_args(AtFault)},
        ["blame"],
    )
    yield histogram(
        "owmesos_launch_running_seconds",
        "Time from a launch's submission until it was first seen running.",
        {key: each.running_after for key, each in counts.items()},
        owner,
    )


def mesos_metrics(state: SchedulerState, sent: Counter[str]) -> Iterator[Metric]:
    """`sent`: the calls so far, by type."""
    yield gauge("owmesos_subscribed", "1 while subscribed with a master, else 0.", state.connected)
    yield gauge("owmesos_offers_outstanding", "Offers in hand.", len(state.offers.outstanding))
    yield from reservation_metrics(state.ledger)
    yield counter(
        "owmesos_mesos_calls",
        "Calls to the master by type, including failed ones.",
        {(kind,): sent[kind] for kind in CALLS if kind != "SUBSCRIBE"},
        ["type"],
    )
